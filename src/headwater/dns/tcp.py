"""The TCP listener: messages after their lengths (RFC 7766), with bounds on what a client may cost."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from typing import cast

CONNECTIONS_MAX = 1000
"""Open connections. Only answers that were cut short by UDP come here, one question each."""

CONNECTIONS_PER_ADDRESS_MAX = 50
"""A busy resolver keeps a few."""

IDLE_S = 10.0
"""A connection that asks nothing for so long is closed (RFC 7766 section 6.2.3: of the order of a few seconds)."""

UNSENT_MAX_BYTES = 256 * 1024
"""Who asks on and on without reading is not heard any more until it reads."""

_LENGTH_BYTES = 2


class TcpListener:
    """The connections of one address. answer: of a query and the address that it came from; None for no answer."""

    def __init__(self, answer: Callable[[bytes, str], bytes | None], loop: asyncio.AbstractEventLoop) -> None:
        self.received = self.refused = 0
        self.answer = answer
        self.loop = loop
        self.connections: set[_Connection] = set()
        self.by_address: Counter[str] = Counter()
        self._server: asyncio.Server | None = None

    async def start(self, address: tuple[str, int]) -> None:
        """Listen. Raises OSError if the address cannot be had."""
        host, port = address
        if host == "::":  # together with IPv4, as by UDP; asyncio would make it IPv6 alone
            bound = socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True)
            self._server = await self.loop.create_server(lambda: _Connection(self), sock=bound)
        else:
            self._server = await self.loop.create_server(lambda: _Connection(self), host, port)

    def close(self) -> None:
        """Stop, and end all connections."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self.connections):
            connection.end()


class _Connection(asyncio.Protocol):
    def __init__(self, listener: TcpListener) -> None:
        self._listener = listener
        self._buffer = bytearray()
        self._paused = False
        self._address = ""
        self._transport: asyncio.Transport
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by type
        listener = self._listener
        self._address = (transport.get_extra_info("peername") or ("",))[0]
        listener.connections.add(self)
        listener.by_address[self._address] += 1
        if (
            not self._address
            or len(listener.connections) > CONNECTIONS_MAX
            or listener.by_address[self._address] > CONNECTIONS_PER_ADDRESS_MAX
        ):
            listener.refused += 1
            self.end()
            return
        self._transport.set_write_buffer_limits(high=UNSENT_MAX_BYTES)
        self._wait()

    def connection_lost(self, _: Exception | None) -> None:
        if self._idle is not None:
            self._idle.cancel()
        listener = self._listener
        listener.connections.discard(self)
        listener.by_address[self._address] -= 1
        if not listener.by_address[self._address]:
            del listener.by_address[self._address]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._answer()

    def eof_received(self) -> bool:
        return bool(self._buffer) and self._paused  # what was asked is answered first

    def pause_writing(self) -> None:
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        self._transport.resume_reading()
        self._answer()

    def end(self) -> None:
        """Close at once: a client that still waits asks again."""
        self._transport.abort()

    def _answer(self) -> None:
        buffer, listener = self._buffer, self._listener
        asked = False
        while not self._paused and len(buffer) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(buffer[:_LENGTH_BYTES])
            if len(buffer) < end:
                break
            query = bytes(buffer[_LENGTH_BYTES:end])
            del buffer[:end]
            listener.received += 1
            asked = True
            response = listener.answer(query, self._address)
            if response is None:
                self.end()
                return
            self._transport.write(len(response).to_bytes(_LENGTH_BYTES) + response)
        if asked:  # bytes alone do not keep a connection open: one by one they could for ever
            self._wait()

    def _wait(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self._listener.loop.call_later(IDLE_S, self.end)
