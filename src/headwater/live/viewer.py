"""A viewer: a cursor in a shared output and the transport to which that output's bytes are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from headwater.live.output import Output

Claim = tuple[str, str, str | None]
"""What a client showed when it was admitted: domain, signed path, auth_key; kept to ask again when the rules change."""


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

    cursor: index of the output's batch that it gets next; only meaningful while it is behind.
    stalled_at: loop time at which its socket was found full, None while it takes bytes.
    jumps: how often it fell behind the bound and jumped to a key frame.
    """

    __slots__ = ("claim", "cursor", "id", "jumps", "output", "owner", "sink", "stalled_at")

    def __init__(self, session_id: str, sink: Sink, owner: Owner, claim: Claim) -> None:
        self.id = session_id
        self.sink = sink
        self.owner = owner
        self.claim = claim
        self.output: Output | None = None
        self.cursor = 0
        self.stalled_at: float | None = None
        self.jumps = 0

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
