"""The server's side of WebSocket, against bytes from RFC 6455, an independent encoder, and garbage."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.protocols import websocket
from headwater.protocols.websocket import FrameReader, Opcode, WebSocketError


def masked(opcode: int, payload: bytes, mask: bytes = b"\x37\xfa\x21\x3d", first: int = 0x80) -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes([first | opcode, 0x80 | size])
    elif size < 65536:
        head = bytes([first | opcode, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first | opcode, 0x80 | 127]) + size.to_bytes(8, "big")
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def test_the_accept_key_is_that_of_rfc_6455_section_1_3() -> None:
    assert websocket.accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("key", ["", "short", "dGhlIHNhbXBsZSBub25jZQ==\r\nX: y", "*" * 24, "AAAA"])
def test_a_key_that_is_not_16_bytes_of_base64_is_refused(key: str) -> None:
    with pytest.raises(WebSocketError):
        websocket.accept_key(key)


def test_the_masked_hello_of_rfc_6455_section_5_7_is_read() -> None:
    assert FrameReader().feed(bytes.fromhex("818537fa213d7f9f4d5158")) == [(Opcode.TEXT, b"Hello")]


@pytest.mark.parametrize(
    ("size", "head"), [(0, "8200"), (125, "827d"), (126, "827e007e"), (65535, "827effff"), (65536, "827f0000000000010000")]
)
def test_frames_are_packed_with_the_shortest_length(size: int, head: str) -> None:
    frame = websocket.pack_binary(bytes(size))
    assert frame[: len(head) // 2] == bytes.fromhex(head)
    assert len(frame) == len(head) // 2 + size


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 9, 10]), st.binary(max_size=125)), max_size=5),
    st.lists(st.integers(1, 40), max_size=40),
)
def test_frames_split_anywhere_are_the_same_frames(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(masked(opcode, payload) for opcode, payload in frames)
    reader, got, at = FrameReader(), [], 0
    for cut in [*cuts, len(data) + 1]:
        got += reader.feed(data[at : at + cut])
        at += cut
    assert got == frames


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_waited_for(data: bytes) -> None:
    with contextlib.suppress(WebSocketError):
        FrameReader().feed(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x01a",  # not masked
        masked(1, b"a", first=0xC0),  # reserved bit
        masked(3, b"a"),  # unknown opcode
        masked(9, bytes(126)),  # long ping
        masked(9, b"a", first=0),  # ping in fragments
        masked(2, bytes(websocket.MAX_FRAME_BYTES + 1))[:20],  # too long, known from its head
    ],
)
def test_a_breach_of_the_protocol_is_an_error(data: bytes) -> None:
    with pytest.raises(WebSocketError):
        FrameReader().feed(data)
