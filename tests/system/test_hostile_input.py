"""Garbage, truncated, slow and oversized input ends that one connection, while a neighbour's stream goes on undisturbed."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api, Pair, make_pair
from support.encoders import TagPush
from support.flv import VIDEO, FlvTag, check_times
from support.players import HttpViewer, get, insecure
from support.rtmp import COMMAND, RtmpClient, encode
from support.server import Server, running
from support.wait import until

PLAIN = ("rtmp", "http", "api", "metrics")
LISTENERS = ("rtmp", "rtmps", "http", "https", "api", "metrics")


@pytest.fixture(scope="module")
def neighbour(live: Pair) -> Iterator[HttpViewer]:
    """A viewer of another stream during all these tests, who must not notice anything."""
    with HttpViewer(live.play_url("flv")) as viewer:
        viewer.wait_frames(2)
        yield viewer
        viewer.wait_frames(_frames(viewer) + 20, timeout_s=3)
        check_times(viewer.tags)


@pytest.fixture(autouse=True)
def undisturbed(live: Pair, neighbour: HttpViewer) -> Iterator[None]:
    """After each test the neighbour's stream has gone on without a gap, and the server has nothing to complain of."""
    workers = live.server.children()
    yield
    neighbour.wait_frames(_frames(neighbour) + 1, timeout_s=3)
    check_times(neighbour.tags)
    assert live.server.children() == workers, "a worker died"
    live.server.check_log()


def _frames(viewer: HttpViewer) -> int:
    return sum(tag.kind == VIDEO for tag in viewer.tags)


def connect(server: Server, listener: str) -> socket.socket:
    """A connection with a time-out."""
    return socket.create_connection(("127.0.0.1", server.ports[listener]), 15)


def drained(connection: socket.socket, within_s: float = 15.0) -> bytes:
    """Everything that the server sends until it closes the connection. Raises AssertionError if it does not in time."""
    got = bytearray()
    deadline = time.monotonic() + within_s
    connection.settimeout(within_s)
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            got += data
            assert time.monotonic() < deadline, "the server keeps the connection"
    return bytes(got)


@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("seed", range(4))
def test_garbage_is_thrown_out(live: Pair, listener: str, seed: int) -> None:
    noise = random.Random(seed)
    garbage = [
        noise.randbytes(4000),
        b"\x03" + noise.randbytes(4 * 1536),
        b"GET " + noise.randbytes(3000).replace(b"\n", b"") + b"\r\n\r\n",
        b"\x16\x03\x01\xff\xff" + noise.randbytes(3000),
    ][seed]
    with connect(live.server, listener) as connection:
        with contextlib.suppress(OSError):  # the connection may be gone by now
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
        drained(connection)


@pytest.mark.parametrize("listener", LISTENERS)
def test_a_connection_that_says_nothing_may_go(live: Pair, listener: str) -> None:
    for abrupt in (False, True):
        connection = connect(live.server, listener)
        if abrupt:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


@pytest.mark.parametrize("size", [1, 2, 1536, 1537, 1538, 3073, 3074, 3100])
def test_truncated_rtmp_is_let_go(live: Pair, size: int) -> None:
    whole = b"\x03" + bytes(8) + os.urandom(1528) + os.urandom(1536) + b"\x03\0\0\0\0\0\x40\x14\0\0\0\0" + encode("connect")
    with connect(live.server, "rtmp") as connection:
        connection.sendall(whole[:size])
        connection.shutdown(socket.SHUT_WR)
        drained(connection)


def test_a_new_connection_must_say_what_it_wants_in_time() -> None:
    with running({"limits.first_packet_s": "1"}) as server, contextlib.ExitStack() as stack:
        quiet = [stack.enter_context(connect(server, listener)) for listener in ("rtmp", "rtmps", "http", "https")]
        slow = [stack.enter_context(connect(server, listener)) for listener in ("rtmp", "http")]
        slow[0].sendall(b"\x03" + bytes(100))
        slow[1].sendall(b"GET /live/cam.flv HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        for connection in quiet + slow:
            drained(connection, within_s=5)


def test_oversized_rtmp_is_thrown_out(live: Pair) -> None:
    with RtmpClient(live.push_url("other")) as client:
        client.connect()
        header = struct.pack(">I", 1)[1:] + b"\xff\xff\xff" + bytes([VIDEO]) + b"\1\0\0\0"
        client.socket.sendall(b"\x06" + header + bytes(4096))
        with contextlib.suppress(ConnectionError):
            for _ in range(5000):
                client.socket.sendall(b"\xc6" + bytes(4096))
            pytest.fail("a message of 16 MB before any publish was swallowed")


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0x80000000])
def test_senseless_chunk_sizes_do_no_harm(live: Pair, size: int) -> None:
    with RtmpClient(live.push_url("other")) as client, contextlib.suppress(OSError):
        client.handshake()
        client.send_message(1, struct.pack(">I", size))
        client.send_message(COMMAND, os.urandom(100))
        drained(client.socket)


@pytest.mark.parametrize(
    "body",
    [
        encode("connect") + encode(1) + b"\x03" + (b"\0\1a\x03" * 5000),
        encode("connect") + encode(1) + b"\x0a\xff\xff\xff\xff",
        encode("connect") + encode(1) + b"\x08\xff\xff\xff\xff" + b"\0\1a\x05" * 1000,
        encode("connect") + encode(1) + b"\x0c\x7f\xff\xff\xff",
        encode("connect") + encode(1) + b"\x03\xff\xff",
        encode("connect") + encode("one") + encode(None),
        encode("connect"),
        encode("publish") + encode(1) + encode(None) + encode("cam"),
        encode("play") + encode(1) + encode(None) + encode("cam"),
        encode("createStream") + encode(float("nan")),
        encode(17) + encode(None),
        b"",
        b"\xff" * 500,
    ],
    ids=range(13),
)
def test_mad_commands_do_no_harm(live: Pair, body: bytes) -> None:
    with RtmpClient(live.push_url("other"), timeout_s=15) as client:
        client.handshake()
        with contextlib.suppress(OSError):
            client.send_message(COMMAND, body)
            client.socket.shutdown(socket.SHUT_WR)
        drained(client.socket)


def test_mutated_pushes_end_alone(pair: Pair, clip: list[FlvTag]) -> None:
    noise = random.Random(7)
    for round_ in range(12):
        with TagPush(pair.push_url(f"s{round_}")) as push, contextlib.suppress(OSError):
            for tag in clip[:60]:
                body = bytearray(tag.body)
                for _ in range(3):
                    body[noise.randrange(min(len(body), 24))] = noise.randrange(256)
                push.send([FlvTag(tag.kind, noise.randrange(1 << 32), bytes(body[: noise.randrange(len(body) + 1)]))])
            push.client.socket.sendall(noise.randbytes(2000))


def test_a_mutated_stream_hurts_no_player(pair: Pair, clip: list[FlvTag]) -> None:
    noise = random.Random(8)
    mutated = []
    for tag in clip:
        body = bytearray(tag.body)
        if noise.random() < 0.5:
            body[noise.randrange(min(len(body), 24))] = noise.randrange(256)
        mutated.append(FlvTag(tag.kind, tag.timestamp_ms, bytes(body)))
    with TagPush(pair.push_url()) as push:
        push.send(clip[:4])
        pair.wait_online()
        with HttpViewer(pair.play_url("flv")) as viewer:
            viewer.wait(lambda tags: tags, "a tag")
            with contextlib.suppress(OSError):
                push.send(mutated)
                viewer.wait(lambda tags: len(tags) > 100, "a hundred tags")
        get(pair.play_url("hls"))


HTTP_GARBAGE = {
    "huge header": b"GET / HTTP/1.1\r\nHost: x\r\nX-Big: " + b"a" * 200_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(5000)) + b"\r\n",
    "huge target": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "bad length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "huge body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n" + b"a" * 100_000,
    "a null": b"GET /live/\0.flv HTTP/1.1\r\nHost: x\r\n\r\n",
    "climbing": b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "bare escapes": b"GET /live/%zz%.m3u8?auth_key=%&vhost=%ff HTTP/1.1\r\nHost: x\r\n\r\n",
    "space in header": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "bad upgrade": b"GET /live/cam.flv HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
}


@pytest.mark.parametrize("listener", ["http", "api", "metrics"])
@pytest.mark.parametrize("name", HTTP_GARBAGE)
def test_bad_http_gets_an_error_or_the_door(live: Pair, name: str, listener: str) -> None:
    with connect(live.server, listener) as connection:
        with contextlib.suppress(OSError):  # the door: the connection may be gone by now
            connection.sendall(HTTP_GARBAGE[name])
            connection.shutdown(socket.SHUT_WR)
        answer = drained(connection)
    if answer:
        status = int(answer.split()[1])
        assert 400 <= status < 500 or status in (200, 501, 505), answer[:200]
        if listener == "http":
            assert status != 200


@pytest.mark.parametrize(
    "garbage", [b"\xff" * 200, b"\x81\x05hello", b"\x09\x80\0\0\0\0", b"\x82\xff" + b"\x7f" * 8, b"\x83\x80\0\0\0\0"]
)
def test_a_websocket_viewer_who_talks_nonsense_is_let_go(live: Pair, garbage: bytes) -> None:
    url = live.play_url("flv")
    target = url[url.index("/live/") :]
    with connect(live.server, "http") as connection:
        connection.sendall(
            f"GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert b" 101 " in connection.recv(65536)
        connection.sendall(garbage)
        drained(connection, within_s=5)


def test_a_client_that_breaks_tls_is_let_go(live: Pair) -> None:
    for listener in ("rtmps", "https"):
        raw = connect(live.server, listener)
        secure = insecure().wrap_socket(raw, server_hostname="localhost")
        secure.sendall(b"\x03")
        os.write(secure.fileno(), b"this is no TLS record")
        with contextlib.suppress(OSError):
            while secure.recv(65536):
                pass
        secure.close()


def test_one_address_cannot_take_every_place() -> None:
    settings = {"limits.pending_per_address": "20", "limits.connections_per_address": "30"}
    with running(settings) as server, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connect(server, "rtmp")) for _ in range(40)]

        def refused() -> bool:
            return sum(_is_closed(connection) for connection in idle) >= 20

        until(refused, "connections beyond the limit are closed", 5)
        assert not _is_closed(idle[0])


def test_many_behind_one_address_may_rest_between_their_requests() -> None:
    """As HLS viewers do: whoever has been answered is no stranger."""
    with running({"limits.pending_per_address": "5"}) as server, contextlib.ExitStack() as stack:
        resting = [stack.enter_context(connect(server, "http")) for _ in range(5)]
        for _ in range(4):
            for connection in resting[-5:]:
                connection.sendall(b"GET /crossdomain.xml HTTP/1.1\r\nHost: x\r\n\r\n")
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            resting += [stack.enter_context(connect(server, "http")) for _ in range(5)]
        assert not any(_is_closed(connection) for connection in resting)


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_nothing_leaks(server: Server, api: Api, clip: list[FlvTag]) -> None:
    pair = make_pair(server, api)
    workers = server.children()

    def descriptors() -> int:
        return sum(len(list(Path(f"/proc/{worker}/fd").iterdir())) for worker in workers)

    before = descriptors()
    for number in range(30):
        with connect(server, "rtmp") as connection:
            connection.sendall(b"\x03" + bytes(1536))
        get(pair.play_url("flv", f"none{number}"))
        with TagPush(pair.push_url()) as push:
            push.send(clip[:10])
            push.stop()
    until(lambda: descriptors() <= before + 3 * len(workers), "the descriptors are given back", 5)
