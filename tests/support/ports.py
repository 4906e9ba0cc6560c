"""Free TCP ports on 127.0.0.1 for servers under test, from a range that belongs to one test process."""

from __future__ import annotations

import itertools
import os
import socket

from support.wait import until

FIRST = 10_000
"""Below the range from which Linux takes the ports of outgoing connections (32768 and up)."""

PER_WORKER = 2_000

REFUSED_BY_BROWSERS = frozenset({10_080})
"""Ports of our range that the fetch standard's list of bad ports holds: no browser opens them."""

_worker = int("".join(filter(str.isdigit, os.environ.get("PYTEST_XDIST_WORKER", ""))) or 0)
_start = FIRST + (_worker % 10) * PER_WORKER
# Two test runs at once on one machine begin at different places.
_candidates = itertools.cycle(
    port
    for offset in range(PER_WORKER)
    if (port := _start + (os.getpid() * 37 + offset) % PER_WORKER) not in REFUSED_BY_BROWSERS
)


def wait_listening(port: int, timeout_s: float = 10.0) -> None:
    """Return as soon as somebody listens on a port."""

    def listening() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(listening, f"somebody listens on port {port}", timeout_s)


def free_port() -> int:
    """A port that nobody listens on; no port is given twice until the range is used up."""
    for port in itertools.islice(_candidates, PER_WORKER):
        with socket.socket() as probe:
            # As asyncio's servers do: a port whose last connections are in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port from {_start} to {_start + PER_WORKER - 1}")
