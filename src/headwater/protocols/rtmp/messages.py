"""RTMP messages: their type ids, user control events and the commands inside them (Adobe RTMP 1.0, sections 5.4, 6 and 7)."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from typing import Any

from headwater.protocols.rtmp import amf
from headwater.protocols.rtmp.chunks import Message, pack_message
from headwater.protocols.rtmp.errors import RemoteProtocolError
from headwater.protocols.rtmp.limits import RtmpLimits

CONTROL_CHUNK_STREAM = 2
"""Protocol control messages must use it (5.4)."""
COMMAND_CHUNK_STREAM = 3
SCRIPT_CHUNK_STREAM = 5

_SET_DATA_FRAME = b"\x02\x00\x0d@setDataFrame"
_CLEAR_DATA_FRAME = b"\x02\x00\x0f@clearDataFrame"
_SUB_HEADER = struct.Struct(">II")


class TypeId(enum.IntEnum):
    """Message type ids (5.4, 7.1)."""

    SET_CHUNK_SIZE = 1
    ABORT = 2
    ACKNOWLEDGEMENT = 3
    USER_CONTROL = 4
    WINDOW_ACKNOWLEDGEMENT_SIZE = 5
    SET_PEER_BANDWIDTH = 6
    AUDIO = 8
    VIDEO = 9
    DATA_AMF3 = 15
    COMMAND_AMF3 = 17
    DATA_AMF0 = 18
    COMMAND_AMF0 = 20
    AGGREGATE = 22


class UserControl(enum.IntEnum):
    """Event types of user control messages (7.1.7)."""

    STREAM_BEGIN = 0
    STREAM_EOF = 1
    SET_BUFFER_LENGTH = 3
    PING_REQUEST = 6
    PING_RESPONSE = 7


BANDWIDTH_LIMIT_DYNAMIC = 2
"""Limit type of Set Peer Bandwidth (5.4.5)."""


def pack_control(type_id: int, number: int, suffix: bytes = b"") -> bytes:
    """A protocol control message whose body is a 32-bit number."""
    return pack_message(CONTROL_CHUNK_STREAM, type_id, 0, 0, (number & 0xFFFFFFFF).to_bytes(4) + suffix)


def pack_user_control(event: UserControl, *numbers: int) -> bytes:
    """A user control message whose data are 32-bit numbers."""
    body = event.to_bytes(2) + b"".join((number & 0xFFFFFFFF).to_bytes(4) for number in numbers)
    return pack_message(CONTROL_CHUNK_STREAM, TypeId.USER_CONTROL, 0, 0, body)


def pack_command(name: str, transaction: float, *arguments: Any, stream_id: int = 0, chunk_size: int) -> bytes:
    """An AMF0 command."""
    body = amf.encode(name, transaction, *arguments)
    return pack_message(COMMAND_CHUNK_STREAM, TypeId.COMMAND_AMF0, stream_id, 0, body, chunk_size=chunk_size)


def pack_data(*values: Any, stream_id: int, chunk_size: int) -> bytes:
    """An AMF0 data message."""
    return pack_message(SCRIPT_CHUNK_STREAM, TypeId.DATA_AMF0, stream_id, 0, amf.encode(*values), chunk_size=chunk_size)


def number(message: Message) -> int:
    """The 32-bit number that a protocol control message begins with. Raises RemoteProtocolError."""
    if len(message.payload) < 4:
        raise RemoteProtocolError(f"control message {message.type_id} of {len(message.payload)} bytes instead of 4")
    return int.from_bytes(message.payload[:4])


def amf_values(message: Message, limits: RtmpLimits) -> list[Any]:
    """The values of a command or data message. Raises RemoteProtocolError.

    Bodies of the AMF3 types begin with a zero byte and go on in AMF0, which switches to AMF3 where it needs to.
    """
    body = message.payload
    if message.type_id in (TypeId.COMMAND_AMF3, TypeId.DATA_AMF3):
        body = body.removeprefix(b"\0")
    try:
        return amf.decode(body, depth_max=limits.amf_depth, values_max=limits.amf_values)
    except amf.AmfError as error:
        raise RemoteProtocolError(f"message of type {message.type_id}: {error}") from error


def script_body(message: Message, limits: RtmpLimits) -> bytes:
    """The body of a data message as a script tag: AMF0 without `@setDataFrame`; empty if nothing is to be passed on.

    `@setDataFrame` is the encoder's way to say "keep this for later viewers"; players know only what follows it.
    Raises RemoteProtocolError.
    """
    body = message.payload
    if message.type_id == TypeId.DATA_AMF3:
        try:
            body = amf.encode(*amf_values(message, limits), depth_max=limits.amf_depth, values_max=limits.amf_values)
        except amf.AmfError as error:
            raise RemoteProtocolError(f"message of type {message.type_id}: {error}") from error
    if body.startswith(_CLEAR_DATA_FRAME):
        return b""
    return body.removeprefix(_SET_DATA_FRAME)


def unpack_aggregate(message: Message) -> Iterator[Message]:
    """The messages inside an aggregate message (7.1.6), their timestamps moved to the aggregate's.

    Raises RemoteProtocolError.
    """
    body = message.payload
    pos = 0
    offset: int | None = None
    while pos < len(body):
        if len(body) - pos < 11:
            raise RemoteProtocolError("aggregate message ends inside the header of a message")
        head, time = _SUB_HEADER.unpack_from(body, pos)
        size = head & 0xFFFFFF
        timestamp = time >> 8 | (time & 0xFF) << 24
        pos += 11
        if size > len(body) - pos:
            raise RemoteProtocolError(f"aggregate message announces {size} bytes and has {len(body) - pos}")
        if offset is None:
            offset = message.timestamp - timestamp
        yield Message(head >> 24, message.stream_id, timestamp + offset & 0xFFFFFFFF, body[pos : pos + size])
        pos += size + 4  # the back pointer; some senders leave the last one out
