"""The bounds on connections: how many an address may hold, and how long one may take to say what it wants."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Protocol

from headwater.settings import Limits

SOCKETS = 0.98
"""The share of open files that clients' connections may take, whatever they want; the rest is for the worker itself, which
could not even accept and refuse otherwise."""


class Connection(Protocol):
    """A connection that can be told to go."""

    def expire(self) -> None:
        """It took too long to say what it wants, or has been idle for too long."""

    def drain(self, reason: str) -> None:
        """The node stops: end in order."""


class Connections:
    """All connections of a worker.

    A connection is *pending* from `opened` until `settled`: it has a deadline by which it must say what it wants. One that has
    been served *rests* until its next request, with a deadline too, but is no stranger any more: thousands of HLS viewers may
    come from one address.

    files: how many files the worker may have open.
    """

    def __init__(self, limits: Limits, loop: asyncio.AbstractEventLoop, files: int) -> None:
        self._limits = limits
        self._room = int(files * SOCKETS)
        self._loop = loop
        self._open: Counter[str] = Counter()
        self._pending_of: Counter[str] = Counter()
        self._pending: dict[Connection, str] = {}
        self._deadlines: dict[Connection, float] = {}
        self._all: dict[Connection, str] = {}

    def __len__(self) -> int:
        return len(self._all)

    def opened(self, connection: Connection, address: str) -> str | None:
        """Count a new connection; returns the bound that it breaks, in which case it is not counted and must go."""
        limits = self._limits
        if limits.connections_per_address and self._open[address] >= limits.connections_per_address:
            return "connections_per_address"
        if self._pending_of[address] >= limits.pending_per_address:
            return "pending_per_address"
        if len(self._all) >= self._room:
            return "files"
        self._open[address] += 1
        self._all[connection] = address
        self.expect(connection, limits.first_packet_s)
        return None

    def expect(self, connection: Connection, seconds: float) -> None:
        """Give a connection so long to say what it wants."""
        address = self._all.get(connection)
        if address is None:
            return
        if connection not in self._pending:
            self._pending[connection] = address
            self._pending_of[address] += 1
        self._deadlines[connection] = self._loop.time() + seconds

    def rests(self, connection: Connection, seconds: float) -> None:
        """A connection has been served, and may wait so long before it asks for more."""
        self.settled(connection)
        if connection in self._all:
            self._deadlines[connection] = self._loop.time() + seconds

    def settled(self, connection: Connection) -> None:
        """A connection has said what it wants; its session watches over it from now on."""
        self._deadlines.pop(connection, None)
        address = self._pending.pop(connection, None)
        if address is not None:
            _decrease(self._pending_of, address)

    def closed(self, connection: Connection) -> None:
        """A connection is gone."""
        self.settled(connection)
        address = self._all.pop(connection, None)
        if address is not None:
            _decrease(self._open, address)

    def sweep(self) -> None:
        """Let go of connections whose time is over. To be called about once a second."""
        now = self._loop.time()
        for connection in [connection for connection, deadline in self._deadlines.items() if deadline <= now]:
            connection.expire()

    def everyone(self) -> list[Connection]:
        """All open connections."""
        return list(self._all)


def _decrease(counter: Counter[str], key: str) -> None:
    if counter[key] > 1:
        counter[key] -= 1
    else:
        del counter[key]
