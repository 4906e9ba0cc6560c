"""Bounds how often sign-ins may fail, for each address and for each user name."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable

ADDRESS_TRIES = 20
"""Failed sign-ins from one address: an office behind one address mistypes now and then."""
USER_TRIES = 8
"""Failed sign-ins for one name, wherever they come from."""
WINDOW_S = 600.0
"""Time in which the tries come back, one after the other: at most 48 guesses an hour for a name, once the first are used up."""
KEYS_MAX = 20_000
"""Names and addresses remembered, some 4 MB; beyond it the one that failed longest ago is forgotten."""


class SignInLimiter:
    """A leaky bucket for each address and each name. It lives in memory: a restart is no way around it for strangers."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._levels: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def wait_s(self, address: str, user: str = "") -> int:
        """0, or the seconds to wait if there is no try left. user: empty where only the address counts."""
        return math.ceil(max(0.0, *(self._wait_s(key, tries) for key, tries in _keys(address, user))))

    def begin(self, address: str, user: str = "") -> int:
        """Take one try, before its password is looked at; 0, or the seconds to wait if there is none left."""
        if wait_s := self.wait_s(address, user):
            return wait_s
        for key, tries in _keys(address, user):
            self._levels[key] = (self._level(key, tries) + 1, self._clock())
            self._levels.move_to_end(key)
        while len(self._levels) > KEYS_MAX:
            self._levels.popitem(last=False)
        return 0

    def succeeded(self, address: str, user: str) -> None:
        """Give the try back: it was no guess. The name's record is clean; of the address only this try is forgotten."""
        (address_key, tries), *user_keys = _keys(address, user)
        for key, _ in user_keys:
            self._levels.pop(key, None)
        self._levels[address_key] = (max(self._level(address_key, tries) - 1, 0), self._clock())

    def _level(self, key: tuple[str, str], tries: int) -> float:
        level, since_s = self._levels.get(key, (0.0, 0.0))
        return max(level - (self._clock() - since_s) * tries / WINDOW_S, 0.0)

    def _wait_s(self, key: tuple[str, str], tries: int) -> float:
        return (self._level(key, tries) + 1 - tries) * WINDOW_S / tries


def _keys(address: str, user: str) -> list[tuple[tuple[str, str], int]]:
    keys = [(("address", _network(address)), ADDRESS_TRIES)]
    if user:
        keys.append((("user", user[:64]), USER_TRIES))
    return keys


def _network(address: str) -> str:
    """An IPv6 customer owns a /64 at least, so that is what counts as one address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address
