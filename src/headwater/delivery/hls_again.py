"""HLS requests that come again, byte for byte: what is remembered of them, and the answers that many get in the same second.

A player asks for its playlist every few seconds with the same bytes over the same connection, and thousands of players ask for
the same segment alike. What such a request says need not be read twice, and what was judged need not be judged again as long as
nothing has been told by which it could be judged otherwise (`Delivery.revision`). All else is looked at each time: whether the
viewer still is one, where the stream is, what its playlist says now.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import msgspec

from headwater.access.policy import Answers, RemoteAuth
from headwater.delivery.hls_viewers import Play, ViewerId
from headwater.live.stream import StreamKey
from headwater.live.viewer import Payer
from headwater.protocols.http import Again, Parts, Response, response_parts

SHARED_MAX = 1024
"""Requests for segments that are remembered, some hundred bytes each: beyond it the oldest go. A stream has ten segments or so,
and the players of one page send the same headers."""


class Reload(msgspec.Struct, frozen=True):
    """A playlist that an admitted viewer has got and may get again.

    query: as HlsOutput.playlist takes it. zips: whether the client takes gzip. answered: as PlayRequest has it.
    """

    who: ViewerId
    key: StreamKey
    play: Play
    query: str
    zips: bool
    answered: RemoteAuth | None
    answers: Answers
    payer: Payer
    revision: tuple[int, int]


class SegmentAgain(msgspec.Struct, frozen=True):
    """A segment that was given and may be given again. number, word: as HlsOutput.segment takes them."""

    key: StreamKey
    number: int
    word: str
    answers: Answers
    payer: Payer
    revision: tuple[int, int]

    @property
    def name(self) -> str:
        """What its address ends in."""
        return f"{self.number}-{self.word}"


class Shared:
    """Answers to requests that anybody may send by the same side of the worker, by their bytes."""

    def __init__(self) -> None:
        self._known: dict[bytes, Again] = {}
        self.get = self._known.get

    def keep(self, request: bytes, again: Again) -> None:
        """Remember how to answer a request."""
        if len(self._known) >= SHARED_MAX:
            del self._known[next(iter(self._known))]
        self._known[request] = again


class Ready:
    """Answers as they go to the socket, for the present second: with the next one their Date is another."""

    def __init__(self) -> None:
        self._unix_s = 0
        self._parts: dict[Hashable, Parts] = {}

    def parts(self, name: Hashable, make: Callable[[], Response], now_s: float) -> Parts:
        """The answer of that name to a GET on a connection that stays open, made if it is the first of its second."""
        if int(now_s) != self._unix_s:
            self._parts.clear()
            self._unix_s = int(now_s)
        parts = self._parts.get(name)
        if parts is None:
            parts = self._parts[name] = response_parts(make(), None, now_s, keep_alive=True)
        return parts

    def clear(self, now_s: float) -> None:
        """Let go of what is of an earlier second. To be called about once a second: segments are large."""
        if int(now_s) != self._unix_s:
            self._parts.clear()
