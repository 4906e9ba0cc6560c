"""How sockets of media connections are set up, on purpose rather than by default."""

from __future__ import annotations

import asyncio
import socket

from headwater.access.client import Peer

TCP_NOTSENT_LOWAT = 25
"""Linux, tcp(7); Python 3.11's socket module does not name it."""

NOTSENT_BYTES = 256 * 1024
"""Bytes that the kernel may hold for a viewer without having sent them: two seconds of 1 Mbit/s. Without this bound a slow
viewer's delay would hide in megabytes of socket buffer, where we can neither see it nor jump over it."""

KEEPALIVE_S = 30
"""A vanished peer (no FIN, no RST) is found after this idle time and three probes."""


def prepare(transport: asyncio.Transport) -> None:
    """Set a new connection's socket and write buffer.

    The transport's own buffer is bounded by one write: `pause_writing` comes as soon as the socket is full, so that a
    viewer's place is kept as a cursor and not as a queue.
    """
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOTSENT_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S // 3)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    transport.set_write_buffer_limits(high=0, low=0)


def peer_of(transport: asyncio.Transport) -> Peer:
    """The two ends of a connection."""
    tls = transport.get_extra_info("ssl_object")
    return Peer(
        _ip(transport.get_extra_info("peername")),
        _ip(transport.get_extra_info("sockname")),
        str(tls.version()) if tls is not None else "",
    )


def _ip(name: object) -> str:
    if isinstance(name, tuple) and name:
        return str(name[0]).removeprefix("::ffff:")
    return "local"
