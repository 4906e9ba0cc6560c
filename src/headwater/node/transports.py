"""How sockets of media connections are set up, on purpose rather than by default."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

from headwater.access.client import Peer

TCP_NOTSENT_LOWAT = 25
"""Linux, tcp(7); Python 3.11's socket module does not name it."""

NOTSENT_BYTES = 256 * 1024
"""Bytes that the kernel may hold for a viewer without having sent them: two seconds of 1 Mbit/s. Without this bound a slow
viewer's delay would hide in megabytes of socket buffer, where we can neither see it nor jump over it."""

PIECE_BYTES = 4 * 16 * 1024
"""Whole TLS records (RFC 8446, 5.1), and more than a usual batch: that one still costs a single call."""

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
    # A TLS transport counts "at the limit" as full, so its limit cannot be zero.
    tls = transport.get_extra_info("sslcontext") is not None
    transport.set_write_buffer_limits(high=1 if tls else 0, low=0)


class Pieces:
    """Writes to a TLS transport in pieces.

    Each is encrypted as a whole into a buffer of its connection, which never shrinks again: one burst of a whole GOP would
    cost every viewer as much memory for as long as it stays.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """As the transport's."""
        if len(data) <= PIECE_BYTES:
            self._transport.write(data)
            return
        view = memoryview(data)
        for at in range(0, len(data), PIECE_BYTES):
            self._transport.write(view[at : at + PIECE_BYTES])

    def writelines(self, parts: Iterable[bytes]) -> None:
        """As the transport's."""
        for part in parts:
            self.write(part)


def sink_of(transport: asyncio.Transport) -> asyncio.Transport | Pieces:
    """What large amounts are written to."""
    return Pieces(transport) if transport.get_extra_info("sslcontext") is not None else transport


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
