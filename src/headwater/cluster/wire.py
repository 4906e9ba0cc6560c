"""The messages between a process and the store on the Unix socket: a 4-byte big-endian length, then msgpack.

Every request carries an id of the client's choice; its reply carries the same. `Watch`, `Subscribe` and `Take` stay open
under their id until `Cancel`. A watch or subscription is pulled: the server sends one batch and waits for `Next`, so a slow
reader holds one batch in its process and the bounded queue in the store, and never blocks its neighbours on the socket.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec

from headwater.cluster.interface import Change, ClusterError, Entry, Event
from headwater.cluster.limits import VALUE_MAX_BYTES

BATCH_BYTES = 256 * 1024
"""Entries, changes and events travel in batches of about so much, so that one long list does not hold up the rest."""

FRAME_MAX_BYTES = VALUE_MAX_BYTES + 2 * BATCH_BYTES
"""The largest frame is a batch that was not quite full when the largest value came on top; names and numbers have room."""

HEADER_BYTES = 4


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What both directions have in common: the id of the request."""

    id: int


class Get(Message, frozen=True):
    """`Cluster.get`; answered by Found."""

    key: str


class List(Message, frozen=True):
    """`Cluster.list`; answered by one or more Entries."""

    prefix: str


class Put(Message, frozen=True):
    """`Cluster.put`; `lease` is "" without one. Answered by Done with the revision."""

    key: str
    value: bytes
    lease: str
    expect_revision: int | None


class Delete(Message, frozen=True):
    """`Cluster.delete`; answered by Done with 1 if the key existed."""

    key: str
    expect_revision: int | None


class Watch(Message, frozen=True):
    """`Cluster.watch`; answered by Changes, again after each Next."""

    prefix: str


class KeepLease(Message, frozen=True):
    """Make a lease of the client's own choice of id, or keep it alive. Answered by Done with 1 if it existed."""

    lease: str
    ttl_s: float


class EndLease(Message, frozen=True):
    """`Lease.revoke`; answered by Done."""

    lease: str


class Publish(Message, frozen=True):
    """`Cluster.publish`; answered by Done."""

    subject: str
    payload: bytes


class Subscribe(Message, frozen=True):
    """`Cluster.subscribe`; answered by Events, again after each Next."""

    subject: str


class Next(Message, frozen=True):
    """The batch of this watch or subscription has been read: send another when there is something."""


class Cancel(Message, frozen=True):
    """End this watch, subscription or take; a job that was already given out on it is released. Not answered."""


class Offer(Message, frozen=True):
    """`Cluster.offer`; answered by Done with 1 if it was added."""

    queue: str
    job: str
    payload: bytes


class Withdraw(Message, frozen=True):
    """`Cluster.withdraw`; answered by Done with 1 if it existed."""

    queue: str
    job: str


class Take(Message, frozen=True):
    """`Cluster.take`; answered by Taken. The id of this request names the job from then on."""

    queue: str


class KeepJob(Message, frozen=True):
    """`Job.keep_alive` of the job that was taken under the request id `take`; answered by Done."""

    take: int


class FinishJob(Message, frozen=True):
    """`Job.done`, or `Job.release` if `again`; answered by Done."""

    take: int
    again: bool


class Done(Message, frozen=True):
    """A request was carried out; `value` is its number, if it has one."""

    value: int = 0


class Found(Message, frozen=True):
    """What a key holds."""

    entry: Entry | None


class Entries(Message, frozen=True):
    """Part of a list; `more` says that another part follows."""

    entries: list[Entry]
    more: bool


class Changes(Message, frozen=True):
    """A batch of a watch."""

    changes: list[Change]


class Events(Message, frozen=True):
    """A batch of a subscription."""

    events: list[Event]


class Taken(Message, frozen=True):
    """A job for a taker."""

    job: str
    payload: bytes
    attempt: int


class Failed(Message, frozen=True):
    """A request was not carried out. `error` names the exception class of `interface`."""

    error: str
    message: str


ChangeRequest = Put | Delete | KeepLease | EndLease | Publish | Offer | Withdraw | KeepJob | FinishJob
"""Requests that are answered by Done."""

Request = Get | List | Watch | Subscribe | Take | Next | Cancel | ChangeRequest
Reply = Done | Found | Entries | Changes | Events | Taken | Failed


class ProtocolError(ClusterError):
    """The other side sent what is no message; its connection is of no more use."""


_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def frame(message: Message) -> bytes:
    """A message as it travels."""
    body = _encoder.encode(message)
    return len(body).to_bytes(HEADER_BYTES, "big") + body


async def read_request(reader: asyncio.StreamReader) -> Request:
    """The next request. Raises ProtocolError, or IncompleteReadError and OSError at the end of the connection."""
    return _decode(_requests, await _read_frame(reader))


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """The next reply. Raises ProtocolError, or IncompleteReadError and OSError at the end of the connection."""
    return _decode(_replies, await _read_frame(reader))


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    size = int.from_bytes(await reader.readexactly(HEADER_BYTES), "big")
    if size > FRAME_MAX_BYTES:
        raise ProtocolError(f"a frame of {size} bytes, more than {FRAME_MAX_BYTES}")
    return await reader.readexactly(size)


T = TypeVar("T")


def _decode(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"not a message: {error}") from error
