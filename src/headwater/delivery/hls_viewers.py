"""Who watches over HLS: a viewer is somebody who keeps asking for one playlist with one signature from one address."""

from __future__ import annotations

VIEWER_GONE_S = 30.0
"""A viewer who has not asked for the playlist for so long is gone; the slowest players reload every 15 s or so."""

MAX_VIEWERS = 100_000
"""Bound on what is remembered; beyond it an old viewer whose signature has expired meanwhile must get a new URL."""

ViewerId = tuple[str, str, str, str, str]
"""Domain, signed path, auth_key, client address, user agent."""


class HlsViewers:
    """The viewers of all playlists, with the time of their last request."""

    def __init__(self) -> None:
        self._seen: dict[ViewerId, float] = {}
        self.joins = 0

    def __len__(self) -> int:
        return len(self._seen)

    def known(self, viewer: ViewerId) -> bool:
        """Whether this viewer was admitted and still watches: its signature may expire meanwhile, as a running play's may."""
        return viewer in self._seen

    def saw(self, viewer: ViewerId, now: float) -> None:
        """An admitted viewer has got a playlist."""
        if self._seen.pop(viewer, None) is None:
            self.joins += 1
            if len(self._seen) >= MAX_VIEWERS:
                del self._seen[next(iter(self._seen))]
        self._seen[viewer] = now

    def sweep(self, now: float) -> None:
        """Forget who has gone. The oldest stand first, since each request moves its viewer to the end."""
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest] > now - VIEWER_GONE_S:
                return
            del self._seen[oldest]
