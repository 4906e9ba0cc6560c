"""What one process of a load run is to do: it travels to the process as one line of JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from headwater.access.signing import sign_url
from headwater.load.target import NUMBER, Target, parse_target

CHECKED_PER_STREAM = 4
"""So many viewers of each stream are checked in full unless the user says otherwise."""

CHECKED_MAX = 64
"""So many at most: they cost a few percent of a core."""


class Plan(msgspec.Struct, frozen=True):
    """One process's part of a run.

    url: with `{n}` in it, perhaps. clients: of all processes. index: of this process; it has the clients whose number modulo
    `processes` is this. seconds: how long the run lasts; None until it is stopped. delay_s: between two connections, of
    whatever process. streams: `{n}` counts modulo this. check: how many viewers are checked in full. stall_s: a longer pause of
    media is a stall. stay_s: a client leaves so long after its first media; None to stay. key: signs every URL. insecure:
    certificates are not checked. clip: path of the FLV to publish; None for viewers.
    """

    url: str
    clients: int
    processes: int
    index: int
    seconds: float | None
    delay_s: float
    streams: int
    check: int
    stall_s: float
    stay_s: float | None
    key: str | None
    insecure: bool
    clip: str | None

    def numbers(self) -> Iterator[int]:
        """The clients of this process."""
        return iter(range(self.index, self.clients, self.processes))

    def target(self, number: int) -> Target:
        """Where a client connects to; signed now if there is a key. Raises ValueError."""
        url = self.url.replace(NUMBER, str(number % self.streams))
        if self.key is not None:
            url = sign_url(url, self.key, int(time.time()))
        return parse_target(url)

    def is_checked(self, number: int) -> bool:
        """Whether a viewer is checked in full: as many of each stream, spread over the times at which they join."""
        turn, turns = number // self.streams, -(-self.clients // self.streams)
        checked = min(-(-self.check // self.streams), turns)
        return (turn + 1) * checked // turns > turn * checked // turns


def checked_by_default(clients: int, streams: int) -> int:
    """How many viewers are checked in full if the user does not say."""
    return min(clients, CHECKED_PER_STREAM * streams, CHECKED_MAX)
