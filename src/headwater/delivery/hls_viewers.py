"""Who watches over HLS: a viewer is somebody who keeps asking for one playlist with one signature from one address.

A player may come with each request to another worker of the machine. So each viewer has a home among the workers, where it is
counted and logged as every other play is: the other workers tell it whom they have seen.
"""

from __future__ import annotations

import hashlib

import msgspec
import structlog

from headwater.access.policy import RemoteAuth

VIEWER_GONE_S = 30.0
"""A viewer who has not asked for the playlist for so long is gone; the slowest players reload every 15 s or so."""

MAX_VIEWERS = 100_000
"""Bound on what a worker remembers, some 50 MB. Beyond it the one who has been silent longest counts as gone, and must get a
new URL if its signature has expired meanwhile. No worker serves that many playlists in half a minute."""

ViewerId = int
"""A hash of domain, signed path, auth_key, client address and user agent."""

log = structlog.get_logger()


class Play(msgspec.Struct, frozen=True):
    """What a viewer watches, for the log. stream: `domain/app/stream`. client: its address."""

    stream: str
    client: str


class _Seen(msgspec.Struct):
    """A viewer: what it watches, when it was seen first and last, and which remote authentication has agreed to it here.

    instead: it was given the source of the rendition that it asked for.
    """

    play: Play
    since: float
    at: float
    answered: RemoteAuth | None = None
    instead: bool = False


def viewer_id(domain: str, uri: str, token: str, client: str, user_agent: str) -> ViewerId:
    """The viewer who asks so; 64 bits, by which two viewers are taken for one once in a lifetime."""
    text = f"{domain}\0{uri}\0{token}\0{client}\0{user_agent}"
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


class HlsViewers:
    """The viewers that this worker has seen or was told of, with the time of their last request.

    index: this worker's; workers: how many there are. joins: viewers that have begun, counted at home.
    """

    def __init__(self, index: int, workers: int) -> None:
        self.joins = 0
        self._index = index
        self._workers = workers
        self._seen: dict[ViewerId, _Seen] = {}
        self._at_home = 0
        self._guests: dict[int, dict[ViewerId, Play]] = {}

    def __len__(self) -> int:
        """How many watch, counted at home."""
        return self._at_home

    def home(self, viewer: ViewerId) -> int:
        """The worker at which a viewer is counted."""
        return viewer % self._workers

    def at_home(self, viewer: ViewerId) -> bool:
        """Whether this worker is a viewer's home."""
        return self.home(viewer) == self._index

    def known(self, viewer: ViewerId) -> bool:
        """Whether this viewer was admitted and still watches: its signature may expire meanwhile, as a running play's may."""
        return viewer in self._seen

    def answered(self, viewer: ViewerId) -> RemoteAuth | None:
        """The remote authentication that has agreed to this viewer: one who goes on watching here is not asked about again."""
        seen = self._seen.get(viewer)
        return seen.answered if seen is not None else None

    def instead(self, viewer: ViewerId) -> bool:
        """Whether a viewer got a source stream instead of its rendition; it keeps that, for players cannot change over."""
        seen = self._seen.get(viewer)
        return seen is not None and seen.instead

    def goes_on(self, viewer: ViewerId, answered: RemoteAuth | None) -> bool:
        """Whether this viewer still watches what it asked for, by leave of that remote authentication."""
        seen = self._seen.get(viewer)
        return seen is not None and seen.answered is answered and not seen.instead

    def saw(
        self, viewer: ViewerId, play: Play, now: float, answered: RemoteAuth | None = None, *, instead: bool = False
    ) -> None:
        """An admitted viewer has got a playlist here. answered: the remote authentication that has agreed.

        instead: the playlist is of the source of the rendition that was asked for.
        """
        seen = self._met(viewer, play, now)
        seen.answered = answered
        seen.instead = instead
        home = self.home(viewer)
        if home != self._index:
            self._guests.setdefault(home, {})[viewer] = play

    def heard(self, viewer: ViewerId, play: Play, now: float) -> None:
        """A viewer has got a playlist at a worker that tells us."""
        self._met(viewer, play, now)

    def _met(self, viewer: ViewerId, play: Play, now: float) -> _Seen:
        seen = self._seen.pop(viewer, None)
        if seen is None:
            if len(self._seen) >= MAX_VIEWERS:
                self._end(next(iter(self._seen)), "too many viewers to remember")
            seen = _Seen(play, now, now)
            if self.at_home(viewer):
                self.joins += 1
                self._at_home += 1
                log.info("play started", session=_session(viewer), stream=play.stream, protocol="hls", client=play.client)
        seen.at = now
        self._seen[viewer] = seen
        return seen

    def refused(self, viewer: ViewerId, reason: str) -> None:
        """A viewer asked for the playlist again and may no longer have it."""
        if viewer in self._seen:
            self._end(viewer, reason)

    def guests(self) -> dict[int, dict[ViewerId, Play]]:
        """Whom this worker has seen since the last call, by the home that must be told."""
        guests, self._guests = self._guests, {}
        return guests

    def sweep(self, now: float) -> None:
        """Forget who has gone. The oldest stand first, since each request moves its viewer to the end."""
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest].at > now - VIEWER_GONE_S:
                return
            self._end(oldest, f"asked for no playlist for {VIEWER_GONE_S:g} s")

    def close(self, reason: str) -> None:
        """The worker stops."""
        for viewer in tuple(self._seen):
            self._end(viewer, reason)

    def _end(self, viewer: ViewerId, reason: str) -> None:
        seen = self._seen.pop(viewer)
        if self.at_home(viewer):
            self._at_home -= 1
            log.info(
                "play ended",
                session=_session(viewer),
                stream=seen.play.stream,
                protocol="hls",
                reason=reason,
                seconds=round(seen.at - seen.since, 1),
            )


def _session(viewer: ViewerId) -> str:
    return f"{viewer:016x}"
