"""A recording without its job: FLV bytes go in, slices and files come out; and what is in these files, as PyAV reads them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
from av.packet import Packet

from headwater.access.plan import RecordFormat
from headwater.center.record.finish import finish
from headwater.center.record.recorder import Recorder
from headwater.center.record.spec import Event, File, RecordSpec, Slice
from headwater.center.record.spool import Folder, told
from headwater.media import codecs, flv
from headwater.media.tag import VIDEO, Flags, Tag

PREFIX = "rec/{AppName}/{StreamName}/{Sequence}_{EscapedStartTime}_{EscapedEndTime}"
SLICE_PREFIX = "rec/{AppName}/{StreamName}/slices/{UnixTimestamp}_{Sequence}"

START_MS = 1_488_985_786_000
"""When the streams of these tests begin: the service's own example."""


def a_format(name: str, cycle_s: int = 3600, slice_s: int = 5) -> RecordFormat:
    """A format with its own place in the bucket."""
    return RecordFormat(name, cycle_s, f"{name}/{PREFIX}", f"{name}/{SLICE_PREFIX}", slice_s)  # type: ignore[arg-type]


def a_spec(folder: Path, *formats: RecordFormat) -> RecordSpec:
    """How stream `live/cam` is recorded into a folder."""
    return RecordSpec(
        recording=1,
        folder=str(folder),
        endpoint="oss.test",
        bucket="live-files",
        delay_s=180,
        domain="play.test",
        app="live",
        stream="cam",
        formats=formats or tuple(map(a_format, ("m3u8", "cmaf", "flv", "mp4"))),
    )


def tags_of(clip: bytes) -> list[Tag]:
    """The tags of an FLV file, without metadata."""
    return [tag for tag in flv.Reader().feed(clip) if not tag.flags & Flags.METADATA]


def relayed(tags: Sequence[Tag], *, plus_ms: int = 0) -> bytes:
    """Tags as a worker relays them, with other times."""
    return flv.FILE_HEADER + b"".join(flv.pack_tag(tag.kind, tag.timestamp_ms + plus_ms, tag.payload) for tag in tags)


def record(
    spec: RecordSpec,
    data: bytes,
    *,
    at_once: int = 65_536,
    session: str = "s1",
    unix_ms: int = START_MS,
    newest_ms: int = 0,
    session_ms: int = 0,
    clock: str = "",
) -> None:
    """Record the bytes of one connection, `at_once` at a time; it begins with the stream itself, unless the worker had more."""
    folder = Folder(Path(spec.folder))
    recorder = Recorder(folder, spec)
    recorder.connect(session, newest_ms, unix_ms, session_ms=session_ms, clock=clock or session)
    for start in range(0, len(data), at_once):
        recorder.feed(data[start : start + at_once])
    recorder.close()
    folder.close()


def finished(spec: RecordSpec) -> list[Event]:
    """Finish the recording; everything that was ever made of it."""
    finish(spec, lambda _: None)
    return list(told(Path(spec.folder)))


def files(made: Sequence[Event], format_: str) -> list[File]:
    """The files of one format."""
    return [each for each in made if isinstance(each, File) and each.format == format_]


def slices(made: Sequence[Event], format_: str) -> list[Slice]:
    """The slices of one format."""
    return [each for each in made if isinstance(each, Slice) and each.format == format_]


def stored(spec: RecordSpec, made: Sequence[Event], bucket: Path) -> None:
    """Put everything into a folder by its key, as uploads do."""
    for each in made:
        if isinstance(each, File | Slice):
            names = [(each.path, each.key)]
            if isinstance(each, Slice) and each.init_path:
                names.append((each.init_path, each.init_key))
            for path, key in names:
                (bucket / key).parent.mkdir(parents=True, exist_ok=True)
                (bucket / key).write_bytes((Path(spec.folder) / path).read_bytes())


class Contents:
    """What a file holds: packets of video and audio, and how many frames of each can be decoded without error."""

    def __init__(self, source: str | bytes) -> None:
        self.packets: dict[str, list[Packet[Any]]] = {"video": [], "audio": []}
        self.decoded = {"video": 0, "audio": 0}
        self.codecs: dict[str, str] = {}
        with av.open(io.BytesIO(source) if isinstance(source, bytes) else source, "r") as opened:
            self.duration_s = (opened.duration or 0) / 1e6
            self.format = opened.format.name
            for stream in opened.streams:
                self.codecs[stream.type] = stream.codec_context.name
            for packet in opened.demux():
                if packet.size:
                    self.packets[packet.stream.type].append(packet)
                for _ in packet.decode():
                    self.decoded[packet.stream.type] += 1

    def times_ms(self, kind: str) -> list[int]:
        """Presentation times of the packets, in decoding order, in ms."""
        return [round(float((packet.pts or 0) * packet.time_base) * 1000) for packet in self.packets[kind]]

    def data(self, kind: str) -> list[bytes]:
        """The packets' bytes."""
        return [bytes(packet) for packet in self.packets[kind]]


def frames_of(tags: Sequence[Tag], kind: int) -> list[bytes]:
    """What decoders get of the frames of one kind."""
    split = codecs.split_video if kind == VIDEO else codecs.split_audio
    found = []
    for tag in tags:
        packet = split(tag.payload) if tag.kind == kind else None
        if packet is not None and packet.packet_type == codecs.CODED_FRAMES and packet.data:
            found.append(packet.data)
    return found
