"""Walks a stream from header to header without looking at what lies between: what every viewer can afford to check.

Both walkers read received bytes where they lie. A header that is cut off is kept, and put in front of the next bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from headwater.load.faults import Fault, Kind
from headwater.load.http import Buffer
from headwater.media.tag import AUDIO, SCRIPT, VIDEO
from headwater.protocols.rtmp.handshake import HANDSHAKE_BYTES

Report = Callable[[Kind, str], None]
"""Takes note of a fault after which the stream goes on."""

TRACKS = {AUDIO: "audio", VIDEO: "video", SCRIPT: "script"}

_BACK = 0x8000_0000
"""Timestamps count modulo 2^32: a difference with this bit is one into the past."""

WALKS_MAX = 4
"""Walks that are remembered for a stream: viewers who read a little later get two batches at once, or one and a half."""

FLV_HEADER_BYTES = 9
_TAG_HEADER_BYTES = 11
_STEP_BYTES = 4 + _TAG_HEADER_BYTES
_step = struct.Struct(">III3s").unpack_from
"""PreviousTagSize, then the tag's header: kind and size, timestamp with its top byte last, stream id (FLV 10.1, E.3, E.4.1)."""

_ZEROS = bytes(3)


def backwards(kind: int, before_ms: int, now_ms: int) -> str:
    """The words for a timestamp that ran back."""
    return f"{TRACKS[kind]} timestamps ran back by {(before_ms - now_ms) & 0xFFFF_FFFF} ms"


class Memo:
    """The last walks over a stream, for all viewers of that stream in this process.

    A server sends the same bytes to all of them, so after the first one has walked over a batch, the others need only compare:
    the same bytes after the same state lead to the same state. Walks on which something was wrong are not remembered.
    """

    __slots__ = ("_walks",)

    def __init__(self) -> None:
        self._walks: dict[int, tuple[object, bytes, Any, int]] = {}  # by size: state before, bytes, state after, tags

    def recall(self, before: object, data: Buffer, at: int, end: int) -> tuple[Any, int] | None:
        """The state after these bytes, and how many tags or messages begin in them; None if they are others."""
        walk = self._walks.get(end - at)
        if walk is None or walk[0] != before or not data.startswith(walk[1], at):
            return None
        return walk[2], walk[3]

    def remember(self, before: object, data: Buffer, at: int, end: int, after: object, seen: int) -> None:
        """A walk that went well."""
        walks = self._walks
        walks.pop(end - at, None)
        if len(walks) >= WALKS_MAX:
            del walks[next(iter(walks))]
        walks[end - at] = before, bytes(data[at:end]), after, seen


_FlvState = tuple[bytes, int, int, int | None, int | None]
"""Bytes of a header that is cut off; else how many to skip to the next header; the size that must stand in front of that; the
last timestamps of audio and video."""


class FlvWalker:
    """Checks tag boundaries and timestamps of an FLV file. memo: what the viewers of one stream share, if there are several."""

    __slots__ = ("_memo", "_report", "_state")

    def __init__(self, report: Report, memo: Memo | None) -> None:
        self._report = report
        self._memo = memo
        self._state: _FlvState = (b"", FLV_HEADER_BYTES, 0, None, None)

    def feed(self, data: Buffer, at: int, end: int) -> int:
        """How many tags begin in `data[at:end]`. Raises Fault if the file is torn."""
        before, memo = self._state, self._memo
        if memo is None:
            return self._walk(data, at, end)[0]
        known = memo.recall(before, data, at, end)
        if known is not None:
            self._state, tags = known
            return tags
        tags, well = self._walk(data, at, end)
        if well:
            memo.remember(before, data, at, end, self._state, tags)
        return tags

    def _walk(self, data: Buffer, at: int, end: int) -> tuple[int, bool]:
        held, skip, previous, audio_ms, video_ms = self._state
        if held:
            data = held + data[at:end]
            at, end = 0, len(data)
        at += skip
        tags, well = 0, True
        while at + _STEP_BYTES <= end:
            before, kind_and_size, stamp, stream_id = _step(data, at)
            kind, size = kind_and_size >> 24, kind_and_size & 0xFFFFFF
            if before != previous or kind not in TRACKS or stream_id != _ZEROS:
                self._torn(before, previous, bytes(data[at + 4 : at + _STEP_BYTES]))
            if kind != SCRIPT:
                now_ms = stamp >> 8 | (stamp & 0xFF) << 24
                if kind == AUDIO:
                    before_ms, audio_ms = audio_ms, now_ms
                else:
                    before_ms, video_ms = video_ms, now_ms
                if before_ms is not None and now_ms - before_ms & _BACK:
                    self._report("backwards", backwards(kind, before_ms, now_ms))
                    well = False
            previous = size + _TAG_HEADER_BYTES
            at += size + _STEP_BYTES
            tags += 1
        rest = (bytes(data[at:end]), 0) if at < end else (b"", at - end)
        self._state = (*rest, previous, audio_ms, video_ms)
        return tags, well

    def _torn(self, before: int, previous: int, header: bytes) -> None:
        if before != previous:
            raise Fault("torn", f"PreviousTagSize {before} after a tag of {previous} bytes")
        raise Fault("torn", f"no FLV tag: {header.hex()}")


class _ChunkStream(NamedTuple):
    """What the next chunk of an RTMP chunk stream is relative to.

    missing: bytes of the message to come. extended: the extended timestamp, if the last header had one. body: of a message that
    is no media.
    """

    kind: int = 0
    length: int = 0
    timestamp: int = 0
    delta: int = 0
    extended: bytes = b""
    missing: int = 0
    body: bytes = b""


_NO_STREAM = _ChunkStream()
_AGGREGATE, _DATA_AMF3 = 22, 15
_MEDIA = frozenset({AUDIO, VIDEO, SCRIPT, _DATA_AMF3, _AGGREGATE})
_SET_CHUNK_SIZE, _ABORT = 1, 2
_EXTENDED = 0xFFFFFF

OTHER_BYTES_MAX = 64 * 1024
"""Commands and control messages, which are kept until they are whole, are shorter than this."""

_u32 = struct.Struct(">I").unpack_from
_two_u32 = struct.Struct(">II").unpack_from


_RtmpState = tuple[bytes, int, int, dict[int, _ChunkStream], int | None, int | None]
"""Bytes that are cut off; else how many to skip to the next header; the chunk size; the chunk streams; the last timestamps of
audio and video. None of it is changed, only replaced: viewers share it."""


class RtmpWalker:
    """Checks the chunks and timestamps of what an RTMP server sends, from its first byte on (Adobe RTMP 1.0, 5.3.1).

    memo: as for FlvWalker. others: whole messages that are no media, by type and body, until the owner takes them away.
    """

    __slots__ = ("_memo", "_report", "_state", "others")

    def __init__(self, report: Report, memo: Memo | None) -> None:
        self.others: list[tuple[int, bytes]] = []
        self._report = report
        self._memo = memo
        self._state: _RtmpState = (b"", HANDSHAKE_BYTES, 128, {}, None, None)

    def feed(self, data: Buffer, at: int, end: int) -> int:
        """How many media messages begin in `data[at:end]`. Raises Fault if the chunks make no sense."""
        before, memo = self._state, self._memo
        if memo is None:
            return self._walk(data, at, end)[0]
        known = memo.recall(before, data, at, end)
        if known is not None:
            self._state, begun = known
            return begun
        others = len(self.others)
        begun, well = self._walk(data, at, end)
        if well and len(self.others) == others:
            memo.remember(before, data, at, end, self._state, begun)
        return begun

    def _walk(self, data: Buffer, at: int, end: int) -> tuple[int, bool]:
        """What is cut off and kept will be read again, so nothing changes before all of it is known to be there: a header, and
        the whole chunk if it is no media.
        """
        held, skip, chunk_size, streams, audio_ms, video_ms = self._state
        streams = streams.copy()
        if held:
            data = held + data[at:end]
            at, end = 0, len(data)
        at += skip
        begun, well = 0, True
        while at < end:
            first, pos = data[at], at + 1
            number = first & 0x3F
            if number < 2:  # the two- and three-byte forms
                pos += number + 1
                if pos > end:
                    break
                number = 64 + int.from_bytes(data[at + 1 : pos], "little")
            if first >= 0x80 and number not in streams:
                raise Fault("protocol", f"an RTMP chunk without timestamp or length, the first on chunk stream {number}")
            kind, length, timestamp, delta, extended, missing, body = streams.get(number, _NO_STREAM)
            fresh = not missing
            if first < 0xC0:
                if missing:
                    raise Fault("protocol", f"an RTMP message begins while {missing} bytes of the last are missing")
                start = pos
                pos += 11 if first < 0x40 else 7 if first < 0x80 else 3
                if pos > end:
                    break
                if first < 0x80:
                    delta, shape = _two_u32(data, start - 1)
                    kind, length = shape & 0xFF, shape >> 8
                else:
                    delta = _u32(data, start - 1)[0]
                delta &= 0xFFFFFF
                extended = b""
                if delta == _EXTENDED:
                    extended = bytes(data[pos : pos + 4])
                    pos += 4
                    if pos > end:
                        break
                    delta = int.from_bytes(extended, "big")
            elif extended:
                field = data[pos : min(pos + 4, end)]
                if field == extended:  # some senders leave it out
                    pos += 4
                elif len(field) < 4 and extended.startswith(field):
                    break
            if fresh:
                missing = length
                timestamp = delta if first < 0x40 else timestamp + delta & 0xFFFF_FFFF
            size = missing if missing < chunk_size else chunk_size
            missing -= size
            if kind not in _MEDIA:
                if length > OTHER_BYTES_MAX:
                    raise Fault("protocol", f"an RTMP message of type {kind} has {length} bytes")
                if pos + size > end:
                    break
                body += data[pos : pos + size]
                if not missing:
                    chunk_size = self._other(kind, body, chunk_size, streams)
                    body = b""
            elif fresh:
                begun += 1
                before_ms: int | None = None
                if kind == VIDEO:
                    before_ms, video_ms = video_ms, timestamp
                elif kind == AUDIO:
                    before_ms, audio_ms = audio_ms, timestamp
                if before_ms is not None and timestamp - before_ms & _BACK:
                    self._report("backwards", backwards(kind, before_ms, timestamp))
                    well = False
            streams[number] = _ChunkStream(kind, length, timestamp, delta, extended, missing, body)
            at = pos + size
        rest = (bytes(data[at:end]), 0) if at < end else (b"", at - end)
        self._state = (*rest, chunk_size, streams, audio_ms, video_ms)
        return begun, well

    def _other(self, kind: int, body: bytes, chunk_size: int, streams: dict[int, _ChunkStream]) -> int:
        """Take a whole message that is no media; the chunk size from here on."""
        number = int.from_bytes(body[:4], "big")
        if kind == _SET_CHUNK_SIZE:
            if not 1 <= number < 1 << 31:
                raise Fault("protocol", f"an RTMP chunk size of {number}")
            return number
        if kind != _ABORT:
            self.others.append((kind, body))
        elif number in streams:
            streams[number] = streams[number]._replace(missing=0, body=b"")
        return chunk_size
