"""MP4: packs tracks of copied frames into a file with its index in front, or into fragments (ISO/IEC 14496-12, -14 and -15).

Only what is needed to write H.264, H.265, AAC and MP3, one video and one audio track; section numbers are those of 14496-12.
All sizes and times that grow with a file have 64 bits.
"""

from __future__ import annotations

import itertools
import operator
import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from headwater.media.codecs import AAC_RATES_HZ, AudioConfig, VideoConfig
from headwater.media.errors import MediaError

MOVIE_TIMESCALE = 1000
"""Ticks a second of the movie as a whole (8.2.2)."""

VIDEO_TIMESCALE = 90_000
"""Ticks a second of video tracks: milliseconds, and frames of all usual rates, are whole numbers of it."""

VIDEO_ID, AUDIO_ID = 1, 2
"""Track numbers."""

AAC_FRAME_SAMPLES = 1024
"""Samples in an AAC frame, of the core coder (ISO/IEC 14496-3, 4.5.1.1)."""

AUDIO_SLACK_MS = 60
"""Timestamps in ms wander around the true times of audio frames; up to this, frames are laid end to end instead of following
them. Beyond, something is missing, or the encoder's clock is another one, and the track follows the timestamps again."""

SYNC_SAMPLE, OTHER_SAMPLE = 0x02000000, 0x01010000
"""Sample flags (8.8.3.1): a frame that depends on no other; one that does, and that no decoder can start with."""

_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
"""The transformation that changes nothing (6.2.2)."""

_UNDETERMINED = 0x55C4
"""Language `und` (8.4.2.3)."""

_BRANDS = b"isom\0\0\x02\0isomiso2mp41"
_FRAGMENT_BRANDS = b"iso6\0\0\0\0iso6mp41dash"
"""Major brand, minor version and compatible brands (4.3) of files and of initialization segments."""

MDAT_HEADER_BYTES = 16
"""Of the box that holds the frames: it has the 64-bit size in any case."""


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box (4.2)."""
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """A box with version and flags (4.2)."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def mdat_header(payload_bytes: int) -> bytes:
    """The head of the box that holds so many bytes of frames (8.1.1)."""
    return struct.pack(">I4sQ", 1, b"mdat", payload_bytes + MDAT_HEADER_BYTES)


# Tracks


@dataclass(slots=True)
class Samples:
    """Some frames of a track, in decoding order.

    dts: decode times in ticks of the track, which never run back. offsets: presentation time less decode time, in ticks.
    sync: indexes of those that a decoder can start with (video only).
    """

    dts: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("I"))
    offsets: array[int] = field(default_factory=lambda: array("i"))
    sync: array[int] = field(default_factory=lambda: array("I"))

    def add(self, dts: int, size: int, offset: int = 0, *, sync: bool = False) -> None:
        """Add a frame."""
        if sync:
            self.sync.append(len(self.sizes))
        self.dts.append(dts)
        self.sizes.append(size)
        self.offsets.append(offset)


@dataclass(slots=True)
class Track:
    """A track: how its frames are decoded, and which they are.

    entries: sample entries (8.5.2), more than one if the codec's configuration changed. chunks: (first frame, sample entry's
    index, offset in the file) of each run of frames that stand together in the file (8.7.4).
    """

    video: bool
    timescale: int
    width: int = 0
    height: int = 0
    entries: list[bytes] = field(default_factory=list)
    samples: Samples = field(default_factory=Samples)
    chunks: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def id(self) -> int:
        """Its number in the file."""
        return VIDEO_ID if self.video else AUDIO_ID

    def entry(self, packed: bytes) -> int:
        """The index of a sample entry, added unless it is there."""
        if packed not in self.entries:
            self.entries.append(packed)
        return self.entries.index(packed)


class AudioClock:
    """Turns the timestamps of audio frames, in ms, into times without gaps and overlaps (see AUDIO_SLACK_MS)."""

    def __init__(self, rate_hz: int, frame_samples: int) -> None:
        self.rate_hz = rate_hz
        self.frame_samples = frame_samples
        self._slack = AUDIO_SLACK_MS * rate_hz // 1000
        self._next: int | None = None

    def ticks(self, timestamp_ms: int) -> int:
        """The time of the next frame, in samples."""
        told = timestamp_ms * self.rate_hz // 1000
        due = self._next
        if due is None or not -self._slack <= told - due <= self._slack:
            due = told if due is None else max(told, due)
        self._next = due + self.frame_samples
        return due


def audio_clock(config: AudioConfig) -> AudioClock:
    """The clock of a codec. Raises MediaError if the codec does not fit into MP4."""
    if config.codec == "aac":
        if config.frequency_index < len(AAC_RATES_HZ):
            return AudioClock(AAC_RATES_HZ[config.frequency_index], AAC_FRAME_SAMPLES)
        return AudioClock(config.sample_rate_hz, AAC_FRAME_SAMPLES)
    if config.codec == "mp3":  # ISO/IEC 11172-3, 2.4.2.1; MPEG-2 halves it
        return AudioClock(config.sample_rate_hz, 1152 if config.sample_rate_hz >= 32_000 else 576)
    raise MediaError(f"MP4 files here cannot carry {config.codec} audio")


def video_entry(config: VideoConfig, record: bytes) -> bytes:
    """The sample entry of a video codec (8.5.2; 14496-15, 5.4.2.1 and 8.4.1.1). record: its configuration record.

    Raises MediaError if the codec does not fit.
    """
    kinds = {"h264": (b"avc1", b"avcC"), "hevc": (b"hvc1", b"hvcC")}
    if config.codec not in kinds:
        raise MediaError(f"MP4 files here cannot carry {config.codec} video")
    kind, configuration = kinds[config.codec]
    return box(
        kind,
        struct.pack(">6xH16xHHIIIH32sHh", 1, config.width, config.height, 0x480000, 0x480000, 0, 1, b"", 24, -1),
        box(configuration, record),
    )


def audio_entry(config: AudioConfig) -> bytes:
    """The sample entry of an audio codec (8.5.2; 14496-14, 5.6.1). Raises MediaError if the codec does not fit."""
    rate_hz = audio_clock(config).rate_hz
    if config.codec == "aac":
        decoder = b"\x40\x15" + bytes(11) + _descriptor(5, config.specific_config)
    else:
        decoder = (b"\x6b" if config.sample_rate_hz >= 32_000 else b"\x69") + b"\x15" + bytes(11)
    stream = struct.pack(">HB", 0, 0) + _descriptor(4, decoder) + _descriptor(6, b"\x02")
    return box(
        b"mp4a",
        struct.pack(">6xH8xHHHHI", 1, config.channels or 2, 16, 0, 0, (rate_hz if rate_hz < 65_536 else 0) << 16),
        full_box(b"esds", 0, 0, _descriptor(3, stream)),
    )


def _descriptor(tag: int, body: bytes) -> bytes:
    """A descriptor with its length in four bytes (ISO/IEC 14496-1, 8.3.3)."""
    size = len(body)
    return bytes((tag, size >> 21 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size & 0x7F)) + body


# Files with their index in front


def file_head(tracks: Sequence[Track], *, duration_ms: int, payload_bytes: int) -> bytes:
    """All that stands in front of the frames: brands, index, and the head of the box of frames.

    The chunks' offsets are those from the first frame on: this function moves them by its own length. Times of all tracks count
    from the same moment, the file's beginning.
    """
    start = box(b"ftyp", _BRANDS)
    movie = box(b"moov", _movie_header(duration_ms), *(_track(track, duration_ms) for track in tracks))
    moved = len(start) + len(movie) + MDAT_HEADER_BYTES
    for track in tracks:  # the index says where frames are, which depends on how long it is itself
        movie = movie.replace(_chunk_offsets(track, 0), _chunk_offsets(track, moved), 1)
    return start + movie + mdat_header(payload_bytes)


def _movie_header(duration_ms: int) -> bytes:
    return full_box(
        b"mvhd",
        1,
        0,
        struct.pack(">QQIQIH10x", 0, 0, MOVIE_TIMESCALE, duration_ms, 0x10000, 0x0100),
        _MATRIX,
        bytes(24),
        struct.pack(">I", AUDIO_ID + 1),
    )


def _track(track: Track, duration_ms: int) -> bytes:
    samples = track.samples
    durations = _durations(track, duration_ms)
    media_ticks = sum(durations)
    tables = [
        full_box(b"stsd", 0, 0, struct.pack(">I", len(track.entries)), *track.entries),
        _runs(b"stts", durations),
    ]
    if any(samples.offsets):
        tables.append(_runs(b"ctts", samples.offsets, signed=min(samples.offsets) < 0))
    if track.video and len(samples.sync) < len(samples.sizes):
        tables.append(full_box(b"stss", 0, 0, _counted(array("I", (index + 1 for index in samples.sync)))))
    tables += [
        _chunk_map(track),
        full_box(b"stsz", 0, 0, struct.pack(">I", 0), _counted(samples.sizes)),
        _chunk_offsets(track, 0),
    ]
    return box(
        b"trak",
        _track_header(track, duration_ms),
        _edits(track, media_ticks),
        _media(track, media_ticks, tables),
    )


def _chunk_offsets(track: Track, moved: int) -> bytes:
    """Where each chunk is in the file (8.7.5)."""
    return full_box(b"co64", 0, 0, _counted(array("Q", [offset + moved for _, _, offset in track.chunks])))


def _edits(track: Track, media_ticks: int) -> bytes:
    """When the track is shown (8.6.6): nothing until its first frame is due, then all of it.

    A track's own clock begins with its first decode time, and frames may be shown later than they are decoded, so both are
    said: how long nothing is shown, and where on the track's own clock the first frame is.
    """
    samples = track.samples
    if not samples.dts:
        return b""
    shown = min(map(operator.add, samples.dts, samples.offsets))
    own = max(shown - samples.dts[0], 0)
    # a file that is cut off may lack the frames that are shown before its last one
    last = max(map(operator.add, samples.dts, samples.offsets)) + media_ticks - (samples.dts[-1] - samples.dts[0])
    edits = [(-(-(last - shown) * MOVIE_TIMESCALE // track.timescale), own)]
    if shown > 0:
        edits.insert(0, (shown * MOVIE_TIMESCALE // track.timescale, -1))
    lines = (struct.pack(">QqI", duration, time, 0x10000) for duration, time in edits)
    return box(b"edts", full_box(b"elst", 1, 0, struct.pack(">I", len(edits)), *lines))


def _durations(track: Track, duration_ms: int) -> array[int]:
    """How long each frame lasts: until the next one, the last one until the end of the file."""
    dts = track.samples.dts
    durations = array("q", map(operator.sub, dts[1:], dts))
    if dts:
        durations.append(max(duration_ms * track.timescale // 1000 - dts[-1], 1))
    return durations


def _track_header(track: Track, duration_ms: int) -> bytes:
    return full_box(
        b"tkhd",
        1,
        3,  # enabled, in the movie
        struct.pack(">QQI4xQ8xHHH2x", 0, 0, track.id, duration_ms, 0, 0, 0 if track.video else 0x0100),
        _MATRIX,
        struct.pack(">II", track.width << 16, track.height << 16),
    )


def _media(track: Track, media_ticks: int, tables: Sequence[bytes]) -> bytes:
    handler = b"vide" if track.video else b"soun"
    head = full_box(b"vmhd", 0, 1, bytes(8)) if track.video else full_box(b"smhd", 0, 0, bytes(4))
    data = box(b"dinf", full_box(b"dref", 0, 0, struct.pack(">I", 1), full_box(b"url ", 0, 1)))
    return box(
        b"mdia",
        full_box(b"mdhd", 1, 0, struct.pack(">QQIQHH", 0, 0, track.timescale, media_ticks, _UNDETERMINED, 0)),
        full_box(b"hdlr", 0, 0, struct.pack(">I4s12x", 0, handler), b"\0"),
        box(b"minf", head, data, box(b"stbl", *tables)),
    )


def _runs(kind: bytes, values: Iterable[int], *, signed: bool = False) -> bytes:
    """A table of values, each with how often it comes in a row (8.6.1)."""
    table = array("I")
    count = 0
    for value, run in itertools.groupby(values):
        table.append(len(list(run)))
        table.append(value & 0xFFFFFFFF)
        count += 1
    return full_box(kind, int(signed), 0, struct.pack(">I", count), _big_endian(table))


def _counted(values: array[int]) -> bytes:
    """How many values there are, and these."""
    return struct.pack(">I", len(values)) + _big_endian(values)


def _big_endian(values: array[int]) -> bytes:
    if sys.byteorder == "little":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def _chunk_map(track: Track) -> bytes:
    """How many frames each chunk has, with which sample entry (8.7.4): a line where either changes."""
    table = array("I")
    ends = [first for first, _, _ in track.chunks[1:]] + [len(track.samples.sizes)]
    known: tuple[int, int] | None = None
    for number, ((first, entry, _), end) in enumerate(zip(track.chunks, ends, strict=True), 1):
        if known != (end - first, entry):
            known = end - first, entry
            table.extend((number, end - first, entry + 1))
    return full_box(b"stsc", 0, 0, struct.pack(">I", len(table) // 3), _big_endian(table))


# Fragments


def init_segment(tracks: Sequence[Track]) -> bytes:
    """What a player needs before the first fragment (8.8.1): the tracks, without frames."""
    movie = box(
        b"moov",
        _movie_header(0),
        *(_empty_track(track) for track in tracks),
        box(b"mvex", *(full_box(b"trex", 0, 0, struct.pack(">5I", track.id, 1, 0, 0, 0)) for track in tracks)),
    )
    return box(b"ftyp", _FRAGMENT_BRANDS) + movie


def _empty_track(track: Track) -> bytes:
    tables = [
        full_box(b"stsd", 0, 0, struct.pack(">I", len(track.entries)), *track.entries),
        full_box(b"stts", 0, 0, bytes(4)),
        full_box(b"stsc", 0, 0, bytes(4)),
        full_box(b"stsz", 0, 0, bytes(8)),
        full_box(b"stco", 0, 0, bytes(4)),
    ]
    return box(b"trak", _track_header(track, 0), _media(track, 0, tables))


def fragment_head(sequence: int, tracks: Sequence[Track], *, end_ms: int) -> bytes:
    """All that stands in front of a fragment's frames (8.8.4 to 8.8.12); those of each track follow together, in this order.

    sequence: counts fragments from 1 on. end_ms: where the fragment ends, and its last frames with it.
    """
    tracks = [track for track in tracks if track.samples.sizes]
    runs = [_run(track, end_ms) for track in tracks]
    size = 8 + 16 + sum(map(_traf_bytes, runs))
    offset = size + MDAT_HEADER_BYTES
    parts = [full_box(b"mfhd", 0, 0, struct.pack(">I", sequence))]
    for track, run in zip(tracks, runs, strict=True):
        parts.append(_traf(track, run, offset))
        offset += sum(track.samples.sizes)
    return box(b"moof", *parts) + mdat_header(offset - size - MDAT_HEADER_BYTES)


_TRUN_FIELDS = 0xF01
"""What a run says of each frame: duration, size, flags, offset; and where its data begin (8.8.8)."""


def _run(track: Track, end_ms: int) -> bytes:
    """Duration, size, flags and composition offset of each frame, packed."""
    samples = track.samples
    table = array("I", bytes(16 * len(samples.sizes)))
    table[0::4] = array("I", (duration & 0xFFFFFFFF for duration in _durations(track, end_ms)))
    table[1::4] = samples.sizes
    flags = array("I", [OTHER_SAMPLE if track.video else SYNC_SAMPLE]) * len(samples.sizes)
    for index in samples.sync:
        flags[index] = SYNC_SAMPLE
    table[2::4] = flags
    table[3::4] = array("I", (offset & 0xFFFFFFFF for offset in samples.offsets))
    return _big_endian(table)


def _traf_bytes(run: bytes) -> int:
    return 8 + 16 + 20 + 20 + len(run)


def _traf(track: Track, run: bytes, data_offset: int) -> bytes:
    return box(
        b"traf",
        full_box(b"tfhd", 0, 0x020000, struct.pack(">I", track.id)),  # offsets count from the start of the moof
        full_box(b"tfdt", 1, 0, struct.pack(">Q", track.samples.dts[0])),
        full_box(b"trun", 1, _TRUN_FIELDS, struct.pack(">Ii", len(run) // 16, data_offset), run),
    )
