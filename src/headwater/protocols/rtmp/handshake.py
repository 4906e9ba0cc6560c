"""The RTMP handshake: plain, and with the digests that Flash players and librtmp ask for.

Sources: Adobe RTMP 1.0 section 5.2 for the plain one. The digest form is not specified; it is what Flash Media Server 3 and
later do and every server has followed since: C1 and S1 carry an HMAC-SHA256 of themselves at an offset that they encode, in
one of two layouts, and S2 is signed with a key that is made from the digest of C1.

A C1 or S1 of 1536 bytes is: time (4), version (4), then two blocks of 764 bytes, the key and the digest. Schema 0 has the key
first, schema 1 the digest first. A digest block is: offset (4 bytes, whose sum counts), then the digest somewhere in the rest.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from headwater.protocols.rtmp.errors import RemoteProtocolError

VERSION = 3
PACKET_BYTES = 1536
HANDSHAKE_BYTES = 1 + 2 * PACKET_BYTES
"""All that a peer sends before the first chunk: C0, C1 and C2."""

DIGEST_BYTES = 32
_BLOCK_BYTES = 764
_BLOCK_START = {0: 8 + _BLOCK_BYTES, 1: 8}
"""Schema -> where the block with the digest begins."""

_SUFFIX = bytes.fromhex("f0eec24a8068bee82e00d0d1029e7e576eec5d2d29806fab93b8e636cfeb31ae")
PLAYER_KEY = b"Genuine Adobe Flash Player 001"
SERVER_KEY = b"Genuine Adobe Flash Media Server 001"
SERVER_KEY_FULL = SERVER_KEY + _SUFFIX

_SERVER_VERSION = bytes((4, 5, 0, 1))
"""What S1 says with digests: Flash Media Server 4.5. A version of zero would say that there is no digest."""


def digest_offset(packet: bytes, schema: int) -> int:
    """Where the digest of a C1 or S1 lies."""
    block = _BLOCK_START[schema]
    return block + 4 + sum(packet[block : block + 4]) % (_BLOCK_BYTES - 4 - DIGEST_BYTES)


def packet_digest(packet: bytes, offset: int, key: bytes) -> bytes:
    """The HMAC of the packet without the bytes of the digest itself."""
    return hmac.digest(key, packet[:offset] + packet[offset + DIGEST_BYTES :], hashlib.sha256)


def find_digest(packet: bytes, key: bytes) -> tuple[int, bytes] | None:
    """The schema and the digest of a C1 or S1; None if it carries no valid one."""
    for schema in _BLOCK_START:
        offset = digest_offset(packet, schema)
        digest = packet[offset : offset + DIGEST_BYTES]
        if hmac.compare_digest(digest, packet_digest(packet, offset, key)):
            return schema, digest
    return None


def check_version(first: int) -> None:
    """Raise RemoteProtocolError unless the first byte of a connection is that of RTMP."""
    if first == VERSION:
        return
    if first == 0x16:
        guess = "this looks like TLS, which RTMPS has on a port of its own"
    elif 0x41 <= first <= 0x5A:
        guess = "this looks like HTTP, which has a port of its own"
    elif first in (6, 8, 9):
        guess = "this is encrypted RTMP (RTMPE), which is not offered; RTMPS is"
    else:
        guess = "this is not RTMP"
    raise RemoteProtocolError(f"the connection begins with byte 0x{first:02x} instead of RTMP version 3: {guess}")


def server_response(c1: bytes) -> bytes:
    """S0, S1 and S2 for a client's C1, with digests if C1 has one."""
    if c1[4:8] != bytes(4) and (found := find_digest(c1, PLAYER_KEY)) is not None:
        schema, client_digest = found
        return bytes((VERSION,)) + _digest_s1(schema) + _digest_s2(client_digest)
    s1 = bytes(8) + os.urandom(PACKET_BYTES - 8)
    return bytes((VERSION,)) + s1 + c1  # S2 is the echo of C1 (5.2.4)


def _digest_s1(schema: int) -> bytes:
    packet = bytes(4) + _SERVER_VERSION + os.urandom(PACKET_BYTES - 8)
    offset = digest_offset(packet, schema)
    return packet[:offset] + packet_digest(packet, offset, SERVER_KEY) + packet[offset + DIGEST_BYTES :]


def _digest_s2(client_digest: bytes) -> bytes:
    body = os.urandom(PACKET_BYTES - DIGEST_BYTES)
    key = hmac.digest(SERVER_KEY_FULL, client_digest, hashlib.sha256)
    return body + hmac.digest(key, body, hashlib.sha256)


def client_hello() -> bytes:
    """C0 and C1 of the plain handshake."""
    return bytes((VERSION,)) + bytes(8) + os.urandom(PACKET_BYTES - 8)


class ServerHandshake:
    """Collects C0, C1 and C2. C2 is not compared: real clients send all sorts of it."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answered = False

    def receive(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Take bytes; return what to send and, once the handshake is over, the bytes that follow it (else None)."""
        received = self._received
        received += data
        if received:
            check_version(received[0])
        reply = b""
        if not self._answered and len(received) >= 1 + PACKET_BYTES:
            reply = server_response(bytes(received[1 : 1 + PACKET_BYTES]))
            self._answered = True
        if len(received) < HANDSHAKE_BYTES:
            return reply, None
        return reply, bytes(received[HANDSHAKE_BYTES:])


class ClientHandshake:
    """Collects S0, S1 and S2; answers S1 with its echo, C2."""

    def __init__(self) -> None:
        self._received = bytearray()

    def receive(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Take bytes; return what to send and, once the handshake is over, the bytes that follow it (else None)."""
        received = self._received
        received += data
        if received:
            check_version(received[0])
        if len(received) < HANDSHAKE_BYTES:
            return b"", None
        return bytes(received[1 : 1 + PACKET_BYTES]), bytes(received[HANDSHAKE_BYTES:])
