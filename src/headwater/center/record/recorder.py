"""Takes the bytes of a live stream into the pieces of a recording: what was read is on disk before anything else is read.

This is the path of every frame of every recording, so it does little: it looks at the head of each tag, finds where slices and
files begin, and writes whole reads as they came. Everything else is made of the pieces later (`center.record.build`).
"""

from __future__ import annotations

import os
import struct
import sys

import structlog

from headwater.center.record.spec import AUDIO_CODECS, SLICED, VIDEO_CODECS, PieceLine, RecordSpec
from headwater.center.record.spool import TAG_HEADER_BYTES, TAG_TAIL_BYTES, Folder, Span, frames, write_all
from headwater.media import codecs, flv
from headwater.media.errors import MediaError
from headwater.media.tag import AUDIO, SCRIPT, VIDEO, Flags
from headwater.media.timeline import FRAME_MS

PIECE_MS = 10_000
"""A new piece begins at the first key frame after so long: pieces that are needed no more free their space early."""

PIECE_BYTES_MAX = 16 * 1024 * 1024
"""And at any frame after so many bytes: whoever reads pieces reads them whole."""

PATIENCE_MS = 15_000
"""A slice or file that should end waits so long for a key frame, then it ends without one; and sound for its picture."""

SILENT_VIDEO_MS = 2000
"""Sound that has waited so long without any picture is recorded alone: its publisher may have come back without one."""

GAP_MS = 1000
"""A longer hole where a connection was lost is marked as a break."""

CLOCKS_MS = 2000
"""How far two readings of when a stream began may be apart: they are taken while megabytes are being passed on."""

_HALF, _MASK = 1 << 31, (1 << 32) - 1
_NEVER = sys.maxsize

_unpack_header = struct.Struct(">II3x").unpack_from
_pack_stamp = struct.Struct(">I").pack_into

log = structlog.get_logger()


class Unsupported(Exception):
    """A codec that is not recorded; the message says which."""


class Recorder:
    """Writes one stream into its folder. Call `connect` for each connection, then `feed` with what comes.

    It takes up what an earlier process has left in the folder. written_ms: time of the newest frame on disk, on the recording's
    own timeline, -1 before the first. written_bytes: by this process.
    """

    def __init__(self, folder: Folder, spec: RecordSpec) -> None:
        self.written_ms = -1
        self.written_bytes = 0
        self._folder = folder
        self._formats = {format_.format: format_ for format_ in spec.formats}
        self._piece: int | None = None
        self._piece_bytes = 0
        self._configs: dict[int, bytes] = {}
        self._last_ms = {VIDEO: -1, AUDIO: -1}
        self._audio_head = -1
        self._video_heads: frozenset[int] = frozenset()
        # of the connection: the publisher, the newest tag at its beginning, and when time 0 of the live stream was
        self._session = ""
        self._clock = ""
        self._newest_ms = -1
        self._session_ms = 0
        self._unix0_ms = 0
        self._headed = False
        self._held = bytearray()
        # how its times become ours: `wire` means `base_ms`
        self._mapped = False
        self._wire = self._base_ms = self._offset_ms = 0
        # what the next frames must be or bring
        self._repeats: set[int] = set()
        self._waiting = True
        self._broken = False
        self._overlaps = False
        self._changed = False
        self._new_files = False
        self._cut_at_ms = self._force_at_ms = 0
        self._ended: list[Span] = []
        if folder.ledger.last:
            self._take_up()

    # what the job says

    def connect(self, session: str, newest_ms: int, now_ms: int, *, session_ms: int = 0, clock: str = "") -> None:
        """A connection to the stream's worker is made; what comes begins with configuration and the newest GOP, or before.

        newest_ms: time of the newest tag that the worker has, on the stream's timeline; -1 if it has none. now_ms: unix.
        session_ms: since when what the worker has is of this publisher. clock: the worker's name for the stream, "" if unknown.
        """
        self._close_piece()
        self._held.clear()
        self._configs.clear()  # they come again, of what the stream has now: a publisher may be back without a picture
        self._headed = self._mapped = False
        self._broken |= session != self._session and self.written_ms >= 0
        self._session = session
        self._clock = clock
        self._newest_ms = newest_ms
        self._session_ms = session_ms
        self._unix0_ms = now_ms - max(newest_ms, 0)

    def follow(self, session: str) -> None:
        """Another publisher goes on with the stream, over the same connection."""
        if session != self._session:
            self._session = session
            self._broken = True
            self._cut_at_ms = 0

    def new_files(self) -> None:
        """Files end with the next key frame, and new ones begin."""
        self._new_files = True
        self._cut_at_ms = 0

    def close(self) -> None:
        """Nothing more is written."""
        self._close_piece()

    @property
    def descriptor(self) -> int | None:
        """Of the piece that is being written, for whoever syncs it."""
        return self._piece

    # what comes

    def feed(self, data: bytes | memoryview) -> list[Span]:
        """Write what has come; returns the slices and files that have ended with it, in the order in which they are to be made.

        Raises Unsupported for a codec that cannot be recorded, OSError for a disk that takes nothing, MediaError for what is no
        FLV.
        """
        held = self._held
        held += data
        self._ended = []
        if not self._headed and not self._skip_file_header():
            return self._ended
        total = len(held)
        end = total - TAG_HEADER_BYTES - TAG_TAIL_BYTES
        position = run = 0
        last_ms = self._last_ms
        known = False
        while position <= end:
            kind_size, stamp = _unpack_header(held, position)
            following = position + (kind_size & 0xFFFFFF) + 15
            if following > total:
                break
            if not known:  # what holds until something changes
                video_heads, audio_head, raw = self._video_heads, self._audio_head, self._audio_head >> 4 != codecs.SOUND_AAC
                has_video, zero, zero_ms, moved = VIDEO in self._configs, self._wire, self._base_ms, self._offset_ms != 0
                cut_at_ms, plain = self._cut_at_ms, self._mapped and not self._waiting and not self._repeats
                known = True
            kind = kind_size >> 24
            head = held[position + 11]
            if kind == VIDEO and head in video_heads and held[position + 12] == 1:
                frame, key = True, head < 0x20
            elif kind == AUDIO and head == audio_head and (raw or held[position + 12] == 1):
                frame, key = True, not has_video
            else:
                known = False
                frame, key = self._look(kind, bytes(held[position + 11 : following - 4]))
            wire = stamp >> 8 | (stamp & 0xFF) << 24
            if known and plain:
                time_ms = zero_ms + ((wire - zero + _HALF & _MASK) - _HALF)
            elif frame:
                known = False
                time_ms, frame = self._judge(kind, wire, key=key)
            if not frame:
                self._write(held, run, position)
                position = run = following
                continue
            if time_ms >= cut_at_ms or not known:
                if time_ms >= self._cut_at_ms and (key or self._changed or time_ms >= self._force_at_ms):
                    self._write(held, run, position)
                    run = position
                    self._cut(time_ms, wire, key=key)
                known = False
                moved = self._offset_ms != 0
            if moved:
                _pack_stamp(held, position + 4, (time_ms & 0xFFFFFF) << 8 | time_ms >> 24 & 0xFF)
            last_ms[kind] = time_ms
            if time_ms > self.written_ms:
                self.written_ms = time_ms
            position = following
        self._write(held, run, position)
        if position:
            del held[:position]
        return self._ended

    def _judge(self, kind: int, wire: int, *, key: bool) -> tuple[int, bool]:
        """The time of a frame, and whether it is to be written: it may come before the first key frame, or once more."""
        if not self._mapped and not self._map(wire):
            return -1, False
        time_ms = self._base_ms + ((wire - self._wire + _HALF & _MASK) - _HALF)
        if self._waiting and not key and (kind == VIDEO or time_ms < self._force_at_ms):
            if kind == VIDEO:
                self._force_at_ms = self._base_ms + PATIENCE_MS
            return time_ms, False
        if kind in self._repeats:
            if time_ms <= self._last_ms[kind]:
                return time_ms, False
            self._repeats.discard(kind)
        return time_ms, True

    def _skip_file_header(self) -> bool:
        held = self._held
        if len(held) < len(flv.FILE_HEADER):
            return False
        if not held.startswith(b"FLV\x01"):
            raise MediaError(f"no FLV: it begins with {bytes(held[:4]).hex()}")
        del held[: len(flv.FILE_HEADER)]
        self._headed = True
        return True

    def _look(self, kind: int, payload: bytes) -> tuple[bool, bool]:
        """(whether it is a frame to be written, whether slices can begin with it) of a tag that the fast path does not know.

        Raises Unsupported.
        """
        if kind == SCRIPT or not payload:
            return False, False
        flags = codecs.classify(kind, payload)
        try:
            if flags & Flags.CONFIG:
                self._configure(kind, payload)
                return False, False
            packet = codecs.split_video(payload) if kind == VIDEO else codecs.split_audio(payload)
        except MediaError as error:
            log.info("a frame was left out of a recording", error=str(error))
            return False, False
        if packet is None or packet.packet_type != codecs.CODED_FRAMES:
            return False, False
        if kind == VIDEO:
            _check("video", packet.codec, VIDEO_CODECS)
            return VIDEO in self._configs, bool(flags & Flags.KEY)
        _check("audio", packet.codec, AUDIO_CODECS)
        if packet.codec == "mp3":
            if self._configs.pop(AUDIO, None) is not None and self._piece is not None:
                self._changed = True
                self._cut_at_ms = 0
        elif AUDIO not in self._configs:
            return False, False
        self._audio_head = payload[0] if payload[0] >> 4 != codecs.SOUND_EX else -1
        return True, VIDEO not in self._configs

    def _configure(self, kind: int, payload: bytes) -> None:
        """Raises Unsupported, and MediaError for a configuration that is broken."""
        if kind == VIDEO:
            video = codecs.parse_video_config(payload)
            _check("video", video.codec if video is not None else None, VIDEO_CODECS)
            legacy = payload[0] & 0x80 == 0
            self._video_heads = frozenset((0x10 | payload[0] & 0x0F, 0x20 | payload[0] & 0x0F)) if legacy else frozenset()
        else:
            audio = codecs.parse_audio_config(payload)
            _check("audio", audio.codec if audio is not None else None, AUDIO_CODECS)
            self._audio_head = -1
        if self._configs.get(kind) != payload:
            self._configs[kind] = payload
            if self._piece is not None:
                self._changed = True
                self._cut_at_ms = 0

    # times

    def _map(self, wire: int) -> bool:
        """Settle what the times of this connection mean, with the first frame's. False: it is of what was recorded before, by
        another clock.
        """
        if self._newest_ms >= 0:  # the wire has 32 bits only
            wire_ms = self._newest_ms + ((wire - self._newest_ms + _HALF & _MASK) - _HALF)
        else:
            wire_ms = wire
            self._unix0_ms -= wire
        last = self._folder.ledger.pieces.get(self._folder.ledger.last)
        self._overlaps = False
        if last is None or self.written_ms < 0:
            self._offset_ms = 0
        elif self._goes_on(last):
            self._repeats = {VIDEO, AUDIO}
            self._overlaps = wire_ms + self._offset_ms <= self.written_ms + GAP_MS
            self._broken |= not self._overlaps
        elif wire_ms < self._unknown_from_ms(last):
            return False
        else:
            self._offset_ms = self.written_ms + FRAME_MS - wire_ms
            self._broken = True
            self._repeats = set()
        self._mapped = True
        self._waiting = not self._overlaps
        self._wire, self._base_ms = wire, wire_ms + self._offset_ms
        self._cut_at_ms = 0
        self._force_at_ms = 0 if not self._waiting else self._base_ms + SILENT_VIDEO_MS
        return True

    def _unknown_from_ms(self, last: PieceLine) -> int:
        """From when on, by this connection's clock, nothing of a stream is written yet whose other clock was that of `last`."""
        if self._session != last.session:
            return self._session_ms
        written_unix_ms = last.unix_ms + self.written_ms - last.start_ms
        return max(self._session_ms, written_unix_ms - self._unix0_ms + 1)

    def _goes_on(self, last: PieceLine) -> bool:
        """Whether this is the very live stream, on the very timeline, whose newest frames we have.

        A stream that was published anew counts from 0 again. If clocks have no names, what tells the two apart is when time 0
        was: it stays where it was, or moves by a pause that the timeline hides; with a new stream it moves by all that was
        written, too.
        """
        self._offset_ms = last.offset_ms
        written_ms = self.written_ms - last.offset_ms  # on the live stream's timeline
        if self._clock and last.clock:
            return self._clock == last.clock
        if self._session == last.session:
            return True
        if self._newest_ms < written_ms - CLOCKS_MS:
            return False
        unix0_ms = last.unix_ms - (last.start_ms - last.offset_ms)
        away_ms = self._unix0_ms + self._newest_ms - (unix0_ms + written_ms)
        slack_ms = min(CLOCKS_MS, written_ms // 2)
        return -slack_ms <= self._unix0_ms - unix0_ms <= away_ms - (self._newest_ms - written_ms) + slack_ms

    # pieces

    def _cut(self, time_ms: int, wire: int, *, key: bool) -> None:
        """A new piece begins with the frame of this time."""
        self._close_piece()
        patience_ms = 0 if key or self._changed else PATIENCE_MS
        # what is known in part goes on from there; where another publisher begins is a key frame
        later = self._overlaps and self._broken and not key and not self._changed
        broken = self._broken and not later
        begins: dict[str, str] = {}
        ledger = self._folder.ledger
        first = not ledger.last
        for name, format_ in self._formats.items():
            file_ms = format_.cycle_s * 1000 + patience_ms
            slice_ms = format_.slice_s * 1000 + patience_ms
            if first or self._new_files or time_ms - ledger.began_ms(name, is_slice=False) >= file_ms:
                begins[name] = "file"
            elif name in SLICED and (broken or self._changed or time_ms - ledger.began_ms(name, is_slice=True) >= slice_ms):
                begins[name] = "slice"
        number = ledger.last + 1
        line = PieceLine(
            number=number,
            start_ms=time_ms,
            unix_ms=self._unix0_ms + time_ms - self._offset_ms,
            session=self._session,
            offset_ms=self._offset_ms,
            begins=begins,
            broken=broken or (self._changed and bool(begins)),
            clock=self._clock,
        )
        self._piece = os.open(self._folder.piece_path(number), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._ended += self._folder.write(line)
        self._waiting = self._changed = self._new_files = False
        self._broken = later
        self._wire, self._base_ms = wire, time_ms
        headers = b"".join(flv.pack_tag(kind, time_ms, payload) for kind, payload in self._configs.items())
        self._piece_bytes = len(headers)
        write_all(self._piece, headers)
        self._plan_cuts(time_ms)
        if later:
            self._cut_at_ms = 0

    def _plan_cuts(self, time_ms: int) -> None:
        """When the next piece should begin at a key frame, and when it must begin with any frame."""
        ledger = self._folder.ledger
        due = _NEVER
        for name, format_ in self._formats.items():
            due = min(due, ledger.began_ms(name, is_slice=False) + format_.cycle_s * 1000)
            if name in SLICED:
                due = min(due, ledger.began_ms(name, is_slice=True) + format_.slice_s * 1000)
        self._cut_at_ms = min(due, time_ms + PIECE_MS)
        self._force_at_ms = due + PATIENCE_MS

    def _write(self, held: bytearray, start: int, end: int) -> None:
        if end <= start or self._piece is None:
            return
        with memoryview(held) as view:
            write_all(self._piece, view[start:end])
        self.written_bytes += end - start
        self._piece_bytes += end - start
        if self._piece_bytes >= PIECE_BYTES_MAX:
            self._cut_at_ms = self._force_at_ms = 0

    def _close_piece(self) -> None:
        descriptor, self._piece = self._piece, None
        if descriptor is not None:
            os.close(descriptor)

    def _take_up(self) -> None:
        """Read what the process before this one has written: the newest frames, and the configuration in force."""
        ledger = self._folder.ledger
        line = ledger.pieces[ledger.last]
        self._session = line.session
        for line, data in self._folder.pieces(max(ledger.last - 2, 1), ledger.last):
            for kind, time_ms, start, end in frames(line, data):
                payload = data[start:end]
                if codecs.classify(kind, payload) & Flags.CONFIG:
                    self._configure(kind, payload)
                else:
                    self._last_ms[kind] = max(self._last_ms[kind], time_ms)
                    self.written_ms = max(self.written_ms, time_ms)
        if self.written_ms < 0:
            self.written_ms = line.start_ms  # nothing but configuration


def _check(what: str, codec: str | None, known: frozenset[str]) -> None:
    if codec not in known:
        raise Unsupported(
            f"recording takes H.264 and H.265 video with AAC and MP3 audio; this {what} is {codec or 'another codec'}"
        )
