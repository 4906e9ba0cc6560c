"""Who watches over HLS: a viewer is somebody who keeps asking for one playlist with one signature from one address.

A player may come with each request to another worker of the machine. So each viewer has a home among the workers, where it is
counted: the other workers tell it whom they have seen.
"""

from __future__ import annotations

import hashlib

VIEWER_GONE_S = 30.0
"""A viewer who has not asked for the playlist for so long is gone; the slowest players reload every 15 s or so."""

MAX_VIEWERS = 200_000
"""Bound on what is remembered; beyond it an old viewer whose signature has expired meanwhile must get a new URL."""

ViewerId = int
"""A hash of domain, signed path, auth_key, client address and user agent."""


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
        self._seen: dict[ViewerId, float] = {}
        self._at_home = 0
        self._guests: dict[int, set[ViewerId]] = {}

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

    def saw(self, viewer: ViewerId, now: float) -> None:
        """An admitted viewer has got a playlist here."""
        self.heard(viewer, now)
        home = self.home(viewer)
        if home != self._index:
            self._guests.setdefault(home, set()).add(viewer)

    def heard(self, viewer: ViewerId, now: float) -> None:
        """A viewer has got a playlist, here or at a worker that tells us."""
        at_home = self.at_home(viewer)
        if self._seen.pop(viewer, None) is None:
            self.joins += at_home
            self._at_home += at_home
            if len(self._seen) >= MAX_VIEWERS:
                self._forget(next(iter(self._seen)))
        self._seen[viewer] = now

    def guests(self) -> dict[int, set[ViewerId]]:
        """Whom this worker has seen since the last call, by the home that must be told."""
        guests, self._guests = self._guests, {}
        return guests

    def sweep(self, now: float) -> None:
        """Forget who has gone. The oldest stand first, since each request moves its viewer to the end."""
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest] > now - VIEWER_GONE_S:
                return
            self._forget(oldest)

    def _forget(self, viewer: ViewerId) -> None:
        del self._seen[viewer]
        self._at_home -= self.at_home(viewer)
