"""The RTMP chunk stream: bytes to messages, messages to bytes (Adobe RTMP 1.0, section 5.3).

The demuxer is the hot path of ingest. A chunk's payload is never kept for the rest of it to come: bytes go to the message's
buffer as they arrive, so only a cut header (18 bytes at most) is ever looked at twice, and what a message announces is never
allocated in advance. The chunks of one message usually follow one another; such a run is taken in a few slices, whatever
the chunk size.
"""

from __future__ import annotations

import struct

import msgspec

from headwater.media.tag import AUDIO, SCRIPT, VIDEO
from headwater.protocols.rtmp.errors import RemoteProtocolError
from headwater.protocols.rtmp.limits import RtmpLimits

CHUNK_SIZE_DEFAULT = 128
CHUNK_SIZE_MAX = 0xFFFFFF
"""Above this a chunk size means nothing, because no message is longer (5.4.1)."""
EXTENDED = 0xFFFFFF
"""In the three-byte field: the timestamp follows in four bytes (5.3.1.3)."""

TYPE_SET_CHUNK_SIZE = 1
TYPE_ABORT = 2

_RUN_CHUNKS = 256
"""Chunks looked at in one step of a run: bounds the work that a peer can cause by breaking the run late."""

CHUNK_STREAM = {AUDIO: 4, VIDEO: 6, SCRIPT: 5}
"""Tag kind -> the chunk stream that carries it to viewers."""

_U32 = struct.Struct(">I").unpack_from
_TWO_U32 = struct.Struct(">II").unpack_from
_U32_LITTLE = struct.Struct("<I").unpack_from


class Message(msgspec.Struct, gc=False):
    """One RTMP message: type id, message stream id, absolute 32-bit timestamp and body."""

    type_id: int
    stream_id: int
    timestamp: int
    payload: bytes


class _ChunkStream:
    """What the next chunk of a chunk stream is relative to."""

    __slots__ = ("body", "delta", "extended", "length", "missing", "stream_id", "timestamp", "type_id")

    def __init__(self) -> None:
        self.timestamp = 0
        self.delta = 0
        self.length = 0
        self.type_id = 0
        self.stream_id = 0
        self.extended = b""  # the four bytes of the extended timestamp if the last header had one
        self.body: bytearray | None = None  # of a message that has begun
        self.missing = 0  # bytes of it to come


class Demuxer:
    """Turns the bytes of one direction of a connection into messages.

    chunk_size: of the peer; it changes by itself with Set Chunk Size, which like Abort is not passed on.
    """

    def __init__(self, limits: RtmpLimits) -> None:
        self.chunk_size = CHUNK_SIZE_DEFAULT
        self._limits = limits
        self._streams: dict[int, _ChunkStream] = {}
        self._cut_header = b""
        self._open_chunk: _ChunkStream | None = None  # whose payload goes on with the next bytes
        self._open_missing = 0  # payload bytes of that chunk to come
        self._buffered_bytes = 0

    def receive(self, data: bytes) -> list[Message]:
        """The messages that `data` completes. Raises RemoteProtocolError."""
        messages: list[Message] = []
        pos = 0
        if self._cut_header:
            data = self._cut_header + data
            self._cut_header = b""
        elif self._open_chunk is not None:
            pos = self._go_on(self._open_chunk, data, messages)
        end = len(data)
        streams = self._streams
        while pos < end:
            start = pos
            first = data[pos]
            pos += 1
            chunk_stream_id = first & 0x3F
            if chunk_stream_id < 2:  # the two- and three-byte forms (5.3.1.1)
                extra = chunk_stream_id + 1
                if end - pos < extra:
                    self._cut_header = data[start:]
                    break
                chunk_stream_id = 64 + int.from_bytes(data[pos : pos + extra], "little")
                pos += extra
            stream = streams.get(chunk_stream_id)
            if first >= 0xC0:
                if stream is None:
                    raise RemoteProtocolError(f"type 3 chunk on chunk stream {chunk_stream_id}, which has had no header")
                if stream.extended:
                    # Specification: repeated here. Some senders leave it out, so look whether it is what comes next.
                    field = data[pos : pos + 4]
                    if field == stream.extended:
                        pos += 4
                    elif len(field) < 4 and stream.extended.startswith(field):
                        self._cut_header = data[start:]
                        break
                body = stream.body
                if body is None:
                    stream.timestamp = stream.timestamp + stream.delta & 0xFFFFFFFF
                    missing = stream.length
                else:
                    missing = stream.missing
            else:
                header_end = pos + (11 if first < 0x40 else 7 if first < 0x80 else 3)
                if header_end > end:
                    self._cut_header = data[start:]
                    break
                if first < 0x80:
                    time, shape = _TWO_U32(data, pos - 1)  # the byte before, 3 of time; 3 of length, the type id
                    time &= 0xFFFFFF
                else:
                    time = _U32(data, pos - 1)[0] & 0xFFFFFF
                    shape = 0
                if time == EXTENDED:
                    if header_end + 4 > end:
                        self._cut_header = data[start:]
                        break
                    extended = data[header_end : header_end + 4]
                    time = int.from_bytes(extended)
                else:
                    extended = b""
                if stream is None:
                    stream = self._new_stream(chunk_stream_id, first >> 6)
                elif stream.body is not None:
                    raise RemoteProtocolError(
                        f"new message on chunk stream {chunk_stream_id} while {stream.missing} bytes of the last are missing"
                    )
                if first < 0x40:
                    stream.timestamp = time
                    stream.stream_id = _U32_LITTLE(data, pos + 7)[0]
                else:
                    stream.timestamp = stream.timestamp + time & 0xFFFFFFFF
                if first < 0x80:
                    stream.type_id = shape & 0xFF
                    stream.length = shape >> 8
                    if stream.length > self._limits.message_bytes:
                        raise RemoteProtocolError(
                            f"message of {stream.length} bytes; at most {self._limits.message_bytes} are accepted"
                        )
                stream.delta = time  # after a type 0 chunk too: type 3 then adds the timestamp itself (5.3.1.2.4)
                stream.extended = extended
                pos = header_end + len(extended)
                body = None
                missing = stream.length

            chunk_size = self.chunk_size
            if missing <= chunk_size and missing <= end - pos:
                if body is None:
                    payload = data[pos : pos + missing]
                else:
                    body += data[pos : pos + missing]
                    payload = bytes(body)
                    self._buffered_bytes -= len(payload) - missing
                    stream.body = None
                pos += missing
                if stream.type_id <= TYPE_ABORT:
                    self._control(stream.type_id, payload)
                else:
                    messages.append(Message(stream.type_id, stream.stream_id, stream.timestamp, payload))
                continue
            pos = self._begin_or_append(stream, missing, data, pos, first, messages)
        return messages

    def _new_stream(self, chunk_stream_id: int, header_type: int) -> _ChunkStream:
        # Type 1 as the very first header is wrong too, but librtmp sends it on chunk stream 2.
        if header_type > 1:
            raise RemoteProtocolError(f"type {header_type} chunk on chunk stream {chunk_stream_id}, which has had no header")
        if len(self._streams) >= self._limits.chunk_streams:
            raise RemoteProtocolError(f"more than {self._limits.chunk_streams} chunk streams")
        stream = self._streams[chunk_stream_id] = _ChunkStream()
        return stream

    def _begin_or_append(
        self, stream: _ChunkStream, missing: int, data: bytes, pos: int, first: int, messages: list[Message]
    ) -> int:
        """Take as much of a message as `data` has, from the payload of a chunk on; return the new position.

        Follows the message over its chunks while nothing comes between them.
        """
        chunk_size = self.chunk_size
        end = len(data)
        body = stream.body
        if body is None:
            body = stream.body = bytearray()
        before = len(body)
        # Only a plain one-byte header can be followed blindly.
        follow = first & 0x3F > 1 and not stream.extended
        marker = first | 0xC0
        self._open_chunk = None
        while missing > chunk_size:
            step = chunk_size + 1
            run = min((end - pos) // step, (missing - 1) // chunk_size, _RUN_CHUNKS)
            if not run or not follow or data[pos + chunk_size] != marker:
                break
            if run > 1:
                headers = data[pos + chunk_size : pos + run * step : step]
                run -= len(headers.lstrip(headers[:1]))
            taken = bytearray(data[pos : pos + run * step])
            del taken[chunk_size::step]
            body += taken
            pos += run * step
            missing -= run * chunk_size
        chunk = min(missing, chunk_size)
        taken_now = min(chunk, end - pos)
        body += data[pos : pos + taken_now]
        pos += taken_now
        missing -= taken_now
        stream.missing = missing
        self._buffered_bytes += len(body) - before
        if taken_now < chunk:
            self._open_chunk = stream
            self._open_missing = chunk - taken_now
        elif not missing:
            self._complete(stream, body, messages)
        if self._buffered_bytes > self._limits.buffered_bytes:
            raise RemoteProtocolError(f"more than {self._limits.buffered_bytes} bytes of unfinished messages")
        return pos

    def _go_on(self, stream: _ChunkStream, data: bytes, messages: list[Message]) -> int:
        """Take the rest of a chunk that the last bytes cut; return the position after it."""
        body = stream.body
        assert body is not None
        taken = data[: self._open_missing]
        body += taken
        stream.missing -= len(taken)
        self._open_missing -= len(taken)
        self._buffered_bytes += len(taken)
        if not self._open_missing:
            self._open_chunk = None
            if not stream.missing:
                self._complete(stream, body, messages)
        if self._buffered_bytes > self._limits.buffered_bytes:
            raise RemoteProtocolError(f"more than {self._limits.buffered_bytes} bytes of unfinished messages")
        return len(taken)

    def _complete(self, stream: _ChunkStream, body: bytearray, messages: list[Message]) -> None:
        self._buffered_bytes -= len(body)
        stream.body = None
        if stream.type_id <= TYPE_ABORT:
            self._control(stream.type_id, bytes(body))
        else:
            messages.append(Message(stream.type_id, stream.stream_id, stream.timestamp, bytes(body)))

    def _control(self, type_id: int, payload: bytes) -> None:
        """Act on Set Chunk Size (5.4.1) and Abort (5.4.2); type 0 does not exist and is passed over."""
        if type_id and len(payload) < 4:
            raise RemoteProtocolError(f"control message {type_id} of {len(payload)} bytes instead of 4")
        number = int.from_bytes(payload[:4])
        if type_id == TYPE_SET_CHUNK_SIZE:
            if not 1 <= number < 1 << 31:
                raise RemoteProtocolError(f"chunk size {number}; it must be from 1 to 2147483647")
            self.chunk_size = min(number, CHUNK_SIZE_MAX)
        elif type_id == TYPE_ABORT:
            stream = self._streams.get(number)
            if stream is not None and stream.body is not None:
                self._buffered_bytes -= len(stream.body)
                stream.body = None


def pack_message(
    chunk_stream_id: int, type_id: int, stream_id: int, timestamp: int, payload: bytes, *, chunk_size: int = CHUNK_SIZE_DEFAULT
) -> bytes:
    """One message as a type 0 chunk and the type 3 chunks that it needs. `chunk_stream_id` is 2 to 63.

    `timestamp` is cut to 32 bits. From 0xFFFFFF on it is written as extended timestamp, in every chunk.
    """
    timestamp &= 0xFFFFFFFF
    extended = timestamp.to_bytes(4) if timestamp >= EXTENDED else b""
    fields = chunk_stream_id << 56 | min(timestamp, EXTENDED) << 32 | len(payload) << 8 | type_id
    header = fields.to_bytes(8) + stream_id.to_bytes(4, "little") + extended
    if len(payload) <= chunk_size:
        return header + payload
    follow = bytes((0xC0 | chunk_stream_id,)) + extended
    return header + follow.join([payload[at : at + chunk_size] for at in range(0, len(payload), chunk_size)])


def pack_tag(kind: int, timestamp: int, payload: bytes, *, stream_id: int = 1, chunk_size: int = 60000) -> bytes:
    """One audio, video or script message to a viewer; the same bytes for all viewers of a stream."""
    return pack_message(CHUNK_STREAM[kind], kind, stream_id, timestamp, payload, chunk_size=chunk_size)
