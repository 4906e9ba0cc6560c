"""TLS carries every byte to its own connection, whatever the others do; handshakes and ends are in order."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headwater.node.certificates import Certificates
from headwater.node.tls import PIECE_BYTES, RECORD_BYTES, TlsListener, TlsTransport
from support.certificates import Authority, client_context
from support.wait import eventually

SIZES = (1, 0, 100, RECORD_BYTES, RECORD_BYTES + 1, PIECE_BYTES, PIECE_BYTES + 1, 300_000)


class Echo(asyncio.Protocol):
    """Sends back what it gets."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.received = 0
        self.transport: TlsTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TlsTransport)
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")

    def pause_writing(self) -> None:
        self.events.append("full")

    def resume_writing(self) -> None:
        self.events.append("empty")


class Server:
    """A TLS listener, and the connections that it has made."""

    def __init__(self, certificates: Certificates, handshake_s: float) -> None:
        self.made: list[Echo] = []
        self.listener = TlsListener(self._make, certificates.context, asyncio.get_running_loop(), handshake_s)
        self.port = 0
        self._clients: list[asyncio.StreamWriter] = []

    def _make(self) -> Echo:
        self.made.append(Echo())
        return self.made[-1]

    async def connect(self, *, tls: bool = True) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client, after its handshake if it makes one, here and there."""
        options: dict[str, Any] = {"ssl": client_context(), "server_hostname": "operator.test"} if tls else {}
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **options)
        self._clients.append(writer)
        if tls:
            await eventually(lambda: self.made[-1].events, "the handshake is done")
        return reader, writer

    async def close(self) -> None:
        """Nobody is connected any more."""
        for writer in self._clients:
            writer.transport.abort()
        await eventually(lambda: all(each.events[-1:] != ["made"] for each in self.made), "all connections are gone")
        await asyncio.sleep(0.01)  # asyncio closes sockets in its next round


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    issued = Authority().issue("operator.test")
    (tmp_path / "chain.pem").write_text(issued.chain_pem)
    (tmp_path / "key.pem").write_text(issued.key_pem)
    server = Server(Certificates(str(tmp_path / "chain.pem"), str(tmp_path / "key.pem")), handshake_s=30)
    listening = await asyncio.get_running_loop().create_server(server.listener, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()
    await server.close()
    assert not server.listener.encrypted.pending


async def test_every_byte_comes_to_its_own_connection(server: Server) -> None:
    async def talk(seed: int) -> None:
        reader, writer = await server.connect()
        noise = random.Random(seed)
        for size in SIZES:
            data = noise.randbytes(size)
            writer.write(data)
            assert await reader.readexactly(size) == data
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(talk(seed) for seed in range(4)))
    await eventually(lambda: [each.events[-1] for each in server.made] == ["lost"] * 4, "all connections are gone")


async def test_parts_are_one_stream_of_bytes(server: Server) -> None:
    reader, _ = await server.connect()
    parts = [bytes([at]) * size for at, size in enumerate((*SIZES, *SIZES))]
    server.made[0].transport.writelines(parts)
    assert await reader.readexactly(2 * sum(SIZES)) == b"".join(parts)


async def test_a_client_that_reads_nothing_is_noticed_and_gets_all_later(server: Server) -> None:
    reader, writer = await server.connect()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    echo = server.made[0]
    echo.transport.set_write_buffer_limits(high=0, low=0)
    sent = 0
    while "full" not in echo.events:
        echo.transport.write(bytes(100_000))
        sent += 100_000
    assert echo.transport.get_write_buffer_size()
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert len(await reader.readexactly(sent)) == sent
    await eventually(lambda: echo.events[-1] == "empty", "the socket takes bytes again")


async def test_the_end_comes_after_the_last_byte_and_is_said(server: Server) -> None:
    def read() -> bytes:
        context = client_context()
        with (
            socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw,
            context.wrap_socket(raw, server_hostname="operator.test", suppress_ragged_eofs=False) as client,
        ):
            client.sendall(b"begin")
            data = b""
            while part := client.recv(65536):
                data += part
            return data

    reading = asyncio.get_running_loop().run_in_executor(None, read)
    await eventually(lambda: server.made and server.made[0].received, "the client has begun")
    transport = server.made[0].transport
    transport.write(bytes(2_000_000))
    transport.close()
    transport.write(b"too late")
    assert transport.is_closing()
    assert len((await reading).removeprefix(b"begin")) == 2_000_000  # SSLEOFError without a good-bye


async def test_the_clients_good_bye_ends_the_connection(server: Server) -> None:
    def say_good_bye() -> None:
        raw = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        with client_context().wrap_socket(raw, server_hostname="operator.test") as client, client.unwrap() as rest:
            assert rest.recv(1) == b""

    await asyncio.get_running_loop().run_in_executor(None, say_good_bye)
    await eventually(lambda: server.made[0].events == ["made", "lost"], "the connection is gone")


async def test_garbage_ends_only_its_own_connection(server: Server) -> None:
    reader, writer = await server.connect()
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", bytes(3000)):
        other, to_other = await server.connect(tls=False)
        to_other.write(garbage)
        await other.read()  # an alert and the end, or only the end
        assert server.made[-1].events == []
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"

    def break_in() -> None:
        raw = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        with client_context().wrap_socket(raw, server_hostname="operator.test") as client:
            os.write(client.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))  # a record that nobody has encrypted
            with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
                client.recv(1)

    await asyncio.get_running_loop().run_in_executor(None, break_in)
    await eventually(lambda: server.made[-1].events == ["made", "lost"], "the broken connection is gone")
    writer.write(b"still here")
    assert await reader.readexactly(10) == b"still here"


async def test_a_handshake_has_its_time(server: Server) -> None:
    server.listener.handshake_s = 0.05
    reader, _ = await server.connect(tls=False)
    assert await reader.read() == b""
    assert server.made[0].events == []


async def test_nothing_of_a_connection_stays(server: Server) -> None:
    _, writer = await server.connect()
    connection = weakref.ref(server.made[0])
    writer.close()
    await eventually(lambda: server.made[0].events[-1] == "lost", "the connection is gone")
    server.made.clear()
    await asyncio.sleep(0.01)  # asyncio's own transport lets go of us in its next round
    assert connection() is None
