"""A viewer: a cursor in a shared output and the transport to which that output's bytes are written."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from headwater.live.output import Output

Payer = tuple[str, bool]
"""For whom bytes are counted as usage: the domain of the viewer's URL, and whether they went over TLS."""


class Sink(Protocol):
    """The part of an asyncio transport that the fan-out uses."""

    def write(self, data: bytes) -> None: ...


class Owner(Protocol):
    """The connection to which a viewer belongs."""

    def end_viewer(self, reason: str) -> None:
        """The stream has no more for this viewer: say good-bye as the protocol wants it, and close."""

    def abort_viewer(self, reason: str) -> None:
        """The viewer takes no bytes any more: drop the connection."""


class Viewer:
    """One player of one stream.

    request: what it asked for, kept for whoever admitted it to judge it again. payer: for whom its bytes are counted.
    cursor: index of the output's batch that it gets next; only meaningful while it is behind.
    stalled_at: loop time at which its socket was found full, None while it takes bytes.
    since_s: unix time at which it came.
    bytes_out: what it was sent; of what shared flushes gave it, only what came before the flush at `mark` (see Output).
    start_bytes: how far behind in bytes a domain's delay lets it start; it may always be so far behind.
    jumps, skipped_ms, skipped_bytes: how often it fell behind the bound and jumped to a key frame, and what it missed by that.
    """

    __slots__ = (
        "bytes_out",
        "cursor",
        "id",
        "jumps",
        "mark",
        "output",
        "owner",
        "payer",
        "request",
        "since_s",
        "sink",
        "skipped_bytes",
        "skipped_ms",
        "stalled_at",
        "start_bytes",
    )

    def __init__(self, session_id: str, sink: Sink, owner: Owner, request: object, payer: Payer) -> None:
        self.id = session_id
        self.sink = sink
        self.owner = owner
        self.request = request
        self.payer = payer
        self.since_s = time.time()
        self.output: Output | None = None
        self.cursor = 0
        self.stalled_at: float | None = None
        self.bytes_out = 0
        self.mark = 0
        self.start_bytes = 0
        self.jumps = 0
        self.skipped_ms = 0
        self.skipped_bytes = 0

    def pause_writing(self) -> None:
        """The transport took what was written but can take no more now."""
        if self.output is not None:
            self.output.pause(self)

    def resume_writing(self) -> None:
        """The transport has written out all it had."""
        if self.output is not None:
            self.output.resume(self)

    def leave(self) -> None:
        """The connection is gone: take the viewer out of its output."""
        if self.output is not None:
            self.output.leave(self)
