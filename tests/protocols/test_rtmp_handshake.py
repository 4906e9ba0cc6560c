"""The RTMP handshake: plain and with digests of both schemas, checked with HMACs of the test's own."""

from __future__ import annotations

import hashlib
import hmac
import random

import pytest

from headwater.protocols.rtmp.errors import RemoteProtocolError
from headwater.protocols.rtmp.handshake import ClientHandshake, ServerHandshake, client_hello

SUFFIX = bytes.fromhex("F0EEC24A8068BEE82E00D0D1029E7E576EEC5D2D29806FAB93B8E636CFEB31AE")
PLAYER = b"Genuine Adobe Flash Player 001"
SERVER = b"Genuine Adobe Flash Media Server 001"
DIGEST_AT = {0: 772, 1: 8}


def sha256(key: bytes, *parts: bytes) -> bytes:
    code = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        code.update(part)
    return code.digest()


def place(packet: bytes, schema: int) -> int:
    at = DIGEST_AT[schema]
    return at + 4 + (packet[at] + packet[at + 1] + packet[at + 2] + packet[at + 3]) % 728


def digest_c1(schema: int, seed: int) -> bytes:
    packet = b"\0\0\0\x01" + bytes((128, 0, 7, 2)) + random.Random(seed).randbytes(1528)
    at = place(packet, schema)
    return packet[:at] + sha256(PLAYER, packet[:at], packet[at + 32 :]) + packet[at + 32 :]


@pytest.mark.parametrize("schema", [0, 1])
@pytest.mark.parametrize("seed", range(20))
def test_a_client_with_digests_gets_digests_that_it_can_verify(schema: int, seed: int) -> None:
    c1 = digest_c1(schema, seed)
    reply, rest = ServerHandshake().receive(b"\x03" + c1)
    assert rest is None
    assert len(reply) == 3073
    assert reply[0] == 3
    s1, s2 = reply[1:1537], reply[1537:]
    at = place(s1, schema)
    assert s1[at : at + 32] == sha256(SERVER, s1[:at], s1[at + 32 :])
    assert s1[4:8] != bytes(4)
    c1_at = place(c1, schema)
    key = sha256(SERVER + SUFFIX, c1[c1_at : c1_at + 32])
    assert s2[-32:] == sha256(key, s2[:-32])


@pytest.mark.parametrize("version", [bytes(4), bytes((9, 0, 124, 2))])
def test_a_client_without_digests_gets_its_own_bytes_back(version: bytes) -> None:
    c1 = b"\0\0\0\x05" + version + random.Random(1).randbytes(1528)
    reply, _ = ServerHandshake().receive(b"\x03" + c1)
    assert reply[1537:] == c1
    assert reply[5:9] == bytes(4)


def test_the_handshake_works_however_it_is_split() -> None:
    data = b"\x03" + digest_c1(1, 3) + bytes(1536) + b"the rest"
    for size in (1, 2, 7, 1000, 1536, 1537, 3073, 4000):
        handshake = ServerHandshake()
        sent = after = b""
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            if after:
                after += piece
                continue
            reply, rest = handshake.receive(piece)
            sent += reply
            after += rest or b""
        assert len(sent) == 3073
        assert after == b"the rest"[-len(after) :]


def test_our_client_and_our_server_shake_hands() -> None:
    server, client = ServerHandshake(), ClientHandshake()
    reply, _ = server.receive(client_hello())
    c2, rest = client.receive(reply + b"more")
    assert rest == b"more"
    assert server.receive(c2 + b"then") == (b"", b"then")
    assert c2 == reply[1:1537]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "looks like HTTP"),
        (b"POST /open/1 HTTP/1.1\r\n", "looks like HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "looks like TLS"),
        (b"\x06", "RTMPE"),
        (b"\x00" * 4000, "not RTMP"),
        (b"\xff", "not RTMP"),
    ],
)
def test_what_is_not_rtmp_is_refused_at_its_first_byte(data: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        ServerHandshake().receive(data)
