"""What a recording is told, and what it tells: its specification, and the lines of its journal.

The journal lies beside the pieces of a recording. Whoever reads it from the start knows which pieces there are, where slices
and files begin, and which of these are complete; so a recording whose process has died goes on, or is finished, from there.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from headwater.access.plan import RecordFormat

VIDEO_CODECS, AUDIO_CODECS = frozenset({"h264", "hevc"}), frozenset({"aac", "mp3"})
"""What is recorded; other codecs fail, as the service says (reference media-plane 3)."""

SLICED = frozenset({"m3u8", "cmaf"})
"""Formats whose files are playlists of slices."""

EXTENSIONS = {"m3u8": ".m3u8", "cmaf": ".m3u8", "flv": ".flv", "mp4": ".mp4"}
SLICE_EXTENSIONS = {"m3u8": ".ts", "cmaf": ".m4s"}
CONTENT_TYPES = {
    ".m3u8": "application/vnd.apple.mpegurl",
    ".ts": "video/mp2t",
    ".m4s": "video/iso.segment",
    ".flv": "video/x-flv",
    ".mp4": "video/mp4",
}


class RecordSpec(msgspec.Struct, frozen=True):
    """How one stream is recorded. stream: its own name in files, that of the rendition if it is one. formats: one of each kind.

    folder: where the recording stands on this node. endpoint, bucket: where it goes. delay_s: how long its publisher may be
    away. since_s: unix seconds; a recording begins there, as far as the stream's ring goes back.
    """

    recording: int
    folder: str
    endpoint: str
    bucket: str
    delay_s: int
    domain: str
    app: str
    stream: str
    formats: tuple[RecordFormat, ...]
    storage: Literal["oss", "vod"] = "oss"
    since_s: float = 0.0


class PieceLine(msgspec.Struct, frozen=True, tag="piece"):
    """A piece begins. It begins with codec configuration and, if there is video, a key frame, but for one that only follows
    because the one before it was long enough.

    begins: by format, `file` or `slice`: what begins with this piece (a file of slices begins with a slice).
    start_ms: on the recording's own timeline, which never runs back. unix_ms: when that was.
    session: of the publisher. offset_ms: the recording's time less the time of the live stream. clock: whose time that is: the
    worker's name for the stream, which another worker, or a stream published anew, does not have.
    broken: it does not go on from the piece before.
    """

    number: int
    start_ms: int
    unix_ms: int
    session: str
    offset_ms: int
    begins: dict[str, str] = {}
    broken: bool = False
    clock: str = ""


class Slice(msgspec.Struct, frozen=True, tag="slice"):
    """A slice is complete on disk. path: in the recording's folder. pieces: first and last of what it is made of.

    file: number of the file whose playlist lists it. init_...: of the object that must stand in front of it (cmaf).
    start_ms: unix milliseconds. counters: continuity counters with which the slice behind it goes on (m3u8).
    """

    format: str
    file: int
    number: int
    pieces: tuple[int, int]
    path: str
    key: str
    start_ms: int
    duration_ms: int
    width: int
    height: int
    bytes: int
    sha256: str
    broken: bool = False
    init_path: str = ""
    init_key: str = ""
    init_bytes: int = 0
    init_sha256: str = ""
    counters: tuple[int, ...] = ()


class File(msgspec.Struct, frozen=True, tag="file"):
    """A file is complete on disk. start_ms, end_ms: unix milliseconds; duration_ms: of its media."""

    format: str
    number: int
    pieces: tuple[int, int]
    path: str
    key: str
    start_ms: int
    end_ms: int
    duration_ms: int
    width: int
    height: int
    bytes: int
    sha256: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A slice or file of the format `what` could not be made; the recording goes on with the others. error "": there was
    nothing to make it of. With what "" nothing can be recorded (told, not written down).
    """

    what: str
    error: str
    number: int = 0
    slice: bool = False


class Began(msgspec.Struct, frozen=True, tag="began"):
    """The first media of a recording, or of another publisher's, is on disk (told, not written down)."""

    unix_ms: int


Line = PieceLine | Slice | File | Failed
"""A line of the journal."""

Event = Began | Slice | File | Failed
"""What a recording tells the center."""
