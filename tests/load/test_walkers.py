"""The walkers see what whole readers see, however the bytes are cut."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.load import http, websocket
from headwater.load.faults import Fault
from headwater.load.walk import FlvWalker, Memo, RtmpWalker
from headwater.media import flv
from headwater.media.tag import AUDIO, SCRIPT, VIDEO
from headwater.protocols.rtmp.chunks import Demuxer
from headwater.protocols.rtmp.handshake import HANDSHAKE_BYTES
from headwater.protocols.rtmp.limits import DEFAULT_LIMITS
from headwater.protocols.websocket import Opcode, pack_binary, pack_frame
from support.media_clips import flv_clip
from support.rtmp_chunks import ChunkWriter, RawMessage

FILE = flv_clip(seconds=1)
TAGS = flv.Reader().feed(FILE)


dices = st.integers(0, 2**32 - 1).map(random.Random)


def quiet(kind: str, text: str) -> None:
    """No fault is expected."""
    raise AssertionError(f"{kind}: {text}")


def pieces(data: bytes, dice: random.Random, most: int) -> list[bytes]:
    """The data in pieces of any size."""
    cut = []
    while data:
        size = dice.randint(1, most)
        cut.append(data[:size])
        data = data[size:]
    return cut


@given(dices, st.sampled_from([1, 3, 20, 500, 5000]))
def test_flv_may_be_cut_anywhere(dice: random.Random, most: int) -> None:
    walker = FlvWalker(quiet, None)
    room = bytearray(6000)
    seen = 0
    for piece in pieces(FILE, dice, most):
        at = dice.randint(0, 900)
        room[at : at + len(piece)] = piece
        seen += walker.feed(room, at, at + len(piece))
    assert seen == len(TAGS)


@given(dices, st.sampled_from([20, 500, 5000]), st.integers(13, len(FILE) - 1))
def test_viewers_who_share_a_memory_see_the_same_and_each_its_own_faults(dice: random.Random, most: int, at: int) -> None:
    memo = Memo()
    wrong = bytearray(FILE)
    wrong[at] ^= 0x80
    cut = pieces(FILE, dice, most)
    cut_wrong, start = [], 0
    for piece in cut:
        cut_wrong.append(bytes(wrong[start : start + len(piece)]))
        start += len(piece)
    walkers = [FlvWalker(quiet, memo) for _ in range(3)]
    found: list[str] = []
    shared, alone = (
        FlvWalker(lambda kind, text: found.append(kind), memo),
        FlvWalker(lambda kind, text: found.append(kind), None),
    )
    ends: dict[FlvWalker, str] = {}
    seen = [0, 0, 0]
    for piece, other in zip(cut, cut_wrong, strict=True):
        for index, walker in enumerate(walkers):
            seen[index] += walker.feed(piece, 0, len(piece))
        for walker in (shared, alone):
            try:
                if walker not in ends:
                    walker.feed(other, 0, len(other))
            except Fault as fault:
                ends[walker] = fault.text
    assert seen == [len(TAGS)] * 3
    assert ends.get(shared) == ends.get(alone)
    assert len(found) % 2 == 0


@given(st.binary(max_size=200), st.integers(0, len(FILE)))
def test_flv_garbage_ends_in_a_fault_or_not_at_all(garbage: bytes, at: int) -> None:
    walker = FlvWalker(lambda kind, text: None, None)
    try:
        walker.feed(FILE[:at] + garbage + FILE[at:], 0, len(FILE) + len(garbage))
    except Fault as fault:
        assert fault.kind == "torn"


messages = st.lists(
    st.builds(
        RawMessage,
        chunk_stream_id=st.sampled_from([3, 4, 6, 63, 64, 319, 320, 65599]),
        type_id=st.sampled_from([AUDIO, VIDEO, SCRIPT, 20, 4, 5]),
        stream_id=st.just(1),
        timestamp=st.sampled_from([0, 40, 0xFFFFFE, 0xFFFFFF, 0x1000000, 0xFFFFFFFF]),
        payload=st.binary(max_size=300),
    ),
    max_size=25,
)


@given(messages, dices, st.booleans(), st.sampled_from([1, 7, 100, 10_000]))
def test_rtmp_may_be_chunked_and_cut_anywhere(sent: list[RawMessage], dice: random.Random, repeat: bool, most: int) -> None:
    data, _ = ChunkWriter(dice, repeat_extended=repeat).write(sent)
    read = Demuxer(DEFAULT_LIMITS).receive(data)
    memo = Memo()
    walkers = [RtmpWalker(lambda kind, text: None, memo) for _ in range(2)]
    media = 0
    for piece in pieces(bytes(HANDSHAKE_BYTES) + data, dice, most):
        begun = [walker.feed(bytearray(piece), 0, len(piece)) for walker in walkers]
        assert begun[0] == begun[1]
        media += begun[0]
    wanted = [(message.type_id, message.payload) for message in read if message.type_id not in (AUDIO, VIDEO, SCRIPT)]
    assert [walker.others for walker in walkers] == [wanted, wanted]
    assert media == sum(message.type_id in (AUDIO, VIDEO, SCRIPT) for message in read)


@given(st.binary(max_size=300), messages, dices)
def test_rtmp_garbage_ends_in_a_fault_or_not_at_all(garbage: bytes, sent: list[RawMessage], dice: random.Random) -> None:
    data, _ = ChunkWriter(dice).write(sent)
    at = dice.randint(0, len(data))
    walker = RtmpWalker(lambda kind, text: None, None)
    try:
        for piece in pieces(bytes(HANDSHAKE_BYTES) + data[:at] + garbage + data[at:], dice, 200):
            walker.feed(piece, 0, len(piece))
    except Fault as fault:
        assert fault.kind == "protocol"


def test_rtmp_times_are_those_of_each_track() -> None:
    data, _ = ChunkWriter(random.Random(1)).write(
        [
            RawMessage(4, AUDIO, 1, 1000, b"a"),
            RawMessage(6, VIDEO, 1, 900, b"v"),
            RawMessage(5, SCRIPT, 1, 0, b"s"),
            RawMessage(4, AUDIO, 1, 1000, b"a"),
            RawMessage(6, VIDEO, 1, 899, b"v"),
        ]
    )
    found: list[tuple[str, str]] = []
    RtmpWalker(lambda kind, text: found.append((kind, text)), None).feed(bytes(HANDSHAKE_BYTES) + data, 0, 3073 + len(data))
    assert found == [("backwards", "video timestamps ran back by 1 ms")]


BODY = random.Random(7).randbytes(3000)


def body_of(framing: http.Framing, data: bytes, dice: random.Random) -> bytes:
    """What a framing finds in data that arrives in pieces."""
    found = bytearray()
    for piece in pieces(data, dice, 40):
        room = bytearray(b"???" + piece + b"???")
        for start, end in framing.ranges(room, 3, 3 + len(piece)):
            found += room[start:end]
    return bytes(found)


@given(dices)
def test_chunked_bodies_may_be_cut_anywhere(dice: random.Random) -> None:
    chunks = pieces(BODY, dice, 700)
    data = b"".join(b"%X;name=value\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nTrailer: x\r\n\r\n"
    framing = http.Chunked()
    assert body_of(framing, data, dice) == BODY
    assert framing.done


@pytest.mark.parametrize("data", [b"x\r\n", b"-5\r\n", b"+5\r\n", b"0x5\r\n", b"5_0\r\n", b"1" * 2000, b"0\r\n\r\nmore"])
def test_wrong_chunks_are_faults(data: bytes) -> None:
    with pytest.raises(Fault) as fault:
        http.Chunked().ranges(data, 0, len(data))
    assert fault.value.kind == "protocol"


@given(dices)
def test_websocket_messages_may_be_cut_anywhere(dice: random.Random) -> None:
    frames = websocket.Frames()
    parts = pieces(BODY, dice, 400)
    parts.append(bytes(70_000))
    data = b"".join(pack_frame(Opcode.PING, b"p%d" % number) + pack_binary(part) for number, part in enumerate(parts))
    assert body_of(frames, data, dice) == BODY + bytes(70_000)
    assert len(frames.replies) == len(parts)


@pytest.mark.parametrize(
    "frame",
    [b"\x82\x80\0\0\0\0", b"\xc2\x01x", b"\x83\x00", b"\x81\x01x", b"\x09\x00", b"\x89\x7e\x00\x80" + bytes(128)],
)
def test_wrong_websocket_frames_are_faults(frame: bytes) -> None:
    with pytest.raises(Fault) as fault:
        websocket.Frames().ranges(frame, 0, len(frame))
    assert fault.value.kind == "protocol"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nX-Odd:  a:b \r\n\r\n"


@pytest.mark.parametrize("at", range(len(HEAD) + 1))
def test_heads_may_be_cut_anywhere(at: int) -> None:
    reader = http.HeadReader()
    data = HEAD + b"body"
    found = reader.feed(data, 0, at)
    if found is None:
        found = reader.feed(data[at:], 0, len(data) - at)
        assert found is not None
        found = found[0], found[1] + at
    head, start = found
    assert (head.status, head.reason) == (200, "OK")
    assert head.headers == {"content-type": "video/x-flv", "x-odd": "a:b"}
    assert data[start:] == b"body"


@pytest.mark.parametrize(
    "data", [b"SSH-2.0\r\n", b"HTTP/1.1 20\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", b"HTTP/1." + bytes(40_000)]
)
def test_what_is_no_http_is_a_fault(data: bytes) -> None:
    with pytest.raises(Fault) as fault:
        http.HeadReader().feed(data, 0, len(data))
    assert fault.value.kind == "protocol"
