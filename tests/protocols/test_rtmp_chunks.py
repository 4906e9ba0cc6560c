"""The RTMP chunk stream: every way to cut messages is understood, and nothing that a peer sends costs more than it should."""

from __future__ import annotations

import contextlib
import random
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.protocols.rtmp.chunks import Demuxer, Message, pack_message, pack_tag
from headwater.protocols.rtmp.errors import RemoteProtocolError
from headwater.protocols.rtmp.limits import RtmpLimits
from support.rtmp_chunks import ChunkWriter, RawMessage

SEEDS = st.integers(0, 1 << 32)


def raw(message: Message, chunk_stream_id: int = 0) -> RawMessage:
    return RawMessage(chunk_stream_id, message.type_id, message.stream_id, message.timestamp, message.payload)


def without_carrier(messages: list[RawMessage]) -> list[RawMessage]:
    return [RawMessage(0, m.type_id, m.stream_id, m.timestamp, m.payload) for m in messages]


def in_pieces(demuxer: Demuxer, data: bytes, cuts: list[int]) -> list[RawMessage]:
    messages = []
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        messages += [raw(message) for message in demuxer.receive(data[begin:end])]
    return messages


def random_messages(dice: random.Random, count: int) -> list[RawMessage]:
    messages = []
    clock = dict.fromkeys((3, 4, 63, 64, 319, 320, 65599), dice.choice((0, 40, 0xFFFFF0, 0xFFFFFF, 0x1000000, 0xFFFFFF00)))
    for _ in range(count):
        chunk_stream_id = dice.choice(list(clock))
        step = dice.choice((0, 23, 23, 40, 40, 0xFFFFFE, 0xFFFFFF, 0x1000001, 0xFFFFFFFF))
        clock[chunk_stream_id] = (clock[chunk_stream_id] + step) % (1 << 32)
        size = dice.choice((0, 1, 3, 4, 127, 128, 129, 300, 300, 5000))
        payload = bytes(dice.randrange(0xF0, 0x100) for _ in range(size))
        type_id = dice.choice((8, 9, 18, 20))
        messages.append(RawMessage(chunk_stream_id, type_id, dice.choice((1, 1, 1, 7)), clock[chunk_stream_id], payload))
    return messages


@given(SEEDS)
def test_any_mix_of_chunk_formats_sizes_and_interleaving_gives_the_messages_back(seed: int) -> None:
    dice = random.Random(seed)
    data, completed = ChunkWriter(dice).write(random_messages(dice, 12))
    cuts = sorted(dice.sample(range(len(data)), dice.randrange(0, min(len(data), 30))))
    assert in_pieces(Demuxer(RtmpLimits()), data, cuts) == without_carrier(completed)


@given(SEEDS)
def test_senders_that_do_not_repeat_the_extended_timestamp_are_understood(seed: int) -> None:
    dice = random.Random(seed)
    # Payload bytes are 0xF0 and up; timestamps stay below, as they do for the first 46 days of a stream.
    messages = [
        RawMessage(m.chunk_stream_id, m.type_id, m.stream_id, m.timestamp % 0xE0000000, m.payload)
        for m in random_messages(dice, 12)
    ]
    writer = ChunkWriter(dice, repeat_extended=False)
    data, completed = writer.write([m for m in messages if m.chunk_stream_id == 4] or messages[:1])
    cuts = sorted(dice.sample(range(len(data)), dice.randrange(0, min(len(data), 30))))
    assert in_pieces(Demuxer(RtmpLimits()), data, cuts) == without_carrier(completed)


def test_splitting_at_every_offset_changes_nothing() -> None:
    dice = random.Random(4)
    data, completed = ChunkWriter(dice).write([m for m in random_messages(dice, 10) if len(m.payload) < 1000])
    for cut in range(len(data) + 1):
        assert in_pieces(Demuxer(RtmpLimits()), data, [cut]) == without_carrier(completed)
    assert in_pieces(Demuxer(RtmpLimits()), data, list(range(1, len(data)))) == without_carrier(completed)


@pytest.mark.parametrize("timestamp", [0, 1, 0xFFFFFE, 0xFFFFFF, 0x1000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("chunk_size", [128, 4096, 60000])
def test_what_is_packed_is_read_back(timestamp: int, chunk_size: int) -> None:
    demuxer = Demuxer(RtmpLimits())
    demuxer.chunk_size = chunk_size
    for size in (0, 1, chunk_size - 1, chunk_size, chunk_size + 1, 3 * chunk_size, 3 * chunk_size + 5):
        payload = random.Random(size).randbytes(size)
        [message] = demuxer.receive(pack_message(6, 9, 1, timestamp, payload, chunk_size=chunk_size))
        assert (message.type_id, message.stream_id, message.timestamp, message.payload) == (9, 1, timestamp, payload)


def test_a_packed_tag_has_the_bytes_of_the_specification() -> None:
    assert pack_tag(9, 0x010203, b"ab").hex() == "0601020300000209010000006162"
    assert pack_tag(8, 0x01000000, b"abc", chunk_size=2).hex() == "04ffffff0000030801000000010000006162c40100000063"
    assert pack_tag(18, (1 << 32) + 5, b"", stream_id=3).hex() == "050000050000001203000000"


def test_timestamps_wrap_at_32_bits() -> None:
    demuxer = Demuxer(RtmpLimits())
    first = pack_message(4, 8, 1, 0xFFFFFFF0, b"x")
    delta_of_32 = bytes((0x80 | 4, 0, 0, 0x20)) + b"y"
    again = bytes((0xC0 | 4,)) + b"z"
    assert [m.timestamp for m in demuxer.receive(first + delta_of_32 + again)] == [0xFFFFFFF0, 0x10, 0x30]


def test_type_3_after_type_0_adds_the_timestamp_itself() -> None:
    # Specification 5.3.1.2.4; FFmpeg relies on it: audio at 23 ms, then at 46 ms with a header of one byte.
    messages = Demuxer(RtmpLimits()).receive(pack_message(4, 8, 1, 23, b"x") + bytes((0xC4,)) + b"y")
    assert [m.timestamp for m in messages] == [23, 46]


def test_a_new_chunk_size_holds_from_the_next_chunk_on_even_inside_a_message() -> None:
    demuxer = Demuxer(RtmpLimits())
    payload = bytes(range(200))
    data = pack_message(6, 9, 1, 0, payload)[: 12 + 128]
    data += pack_message(2, 1, 0, 0, (10).to_bytes(4))
    for at in range(128, 200, 10):
        data += bytes((0xC6,)) + payload[at : at + 10]
    assert [m.payload for m in demuxer.receive(data)] == [payload]
    assert demuxer.chunk_size == 10


def test_abort_drops_the_unfinished_message() -> None:
    demuxer = Demuxer(RtmpLimits())
    begun = pack_message(6, 9, 1, 0, bytes(300))[: 12 + 128]
    abort = pack_message(2, 2, 0, 0, (6).to_bytes(4))
    abort_unknown = pack_message(2, 2, 0, 0, (99).to_bytes(4))
    whole = pack_message(6, 9, 1, 40, b"new")
    assert [m.payload for m in demuxer.receive(begun + abort + abort_unknown + whole)] == [b"new"]


def test_librtmp_may_begin_with_a_type_1_header() -> None:
    message = bytes((0x42,)) + bytes(3) + (6).to_bytes(3) + bytes((4,)) + b"\x00\x03abcd"
    assert [m.type_id for m in Demuxer(RtmpLimits()).receive(message)] == [4]


UGLY = {
    "type 3 without a header": (b"\xc5abc", "no header"),
    "type 2 without a header": (b"\x85\0\0\0", "no header"),
    "chunk size zero": (pack_message(2, 1, 0, 0, bytes(4)), "chunk size 0"),
    "chunk size with the top bit": (pack_message(2, 1, 0, 0, b"\xff\xff\xff\xff"), "chunk size 4294967295"),
    "chunk size of two bytes": (pack_message(2, 1, 0, 0, b"\x10\x00"), "instead of 4"),
    "abort without a number": (pack_message(2, 2, 0, 0, b""), "instead of 4"),
    "a message of 16 MB": (b"\x06\0\0\0\xff\xff\xff\x09\x01\0\0\0", "message of 16777215 bytes"),
    "a header inside a message": (pack_message(6, 9, 1, 0, bytes(300))[:140] + pack_message(6, 9, 1, 0, b"x"), "missing"),
    "too many chunk streams": (b"".join(pack_message(n, 8, 1, 0, b"x") for n in range(2, 64)) + b"\x00\x00" + bytes(11)
                               + b"\x00\x01" + bytes(11) + b"\x00\x02" + bytes(11), "more than 64 chunk streams"),
}  # fmt: skip


@pytest.mark.parametrize("name", UGLY)
def test_broken_chunk_streams_are_refused_and_say_why(name: str) -> None:
    data, reason = UGLY[name]
    with pytest.raises(RemoteProtocolError, match=reason):
        Demuxer(RtmpLimits()).receive(data)
    with pytest.raises(RemoteProtocolError, match=reason):
        in_pieces(Demuxer(RtmpLimits()), data, list(range(1, len(data))))


def test_unfinished_messages_are_bounded_together() -> None:
    demuxer = Demuxer(RtmpLimits(buffered_bytes=1000))
    begun = [pack_message(n, 9, 1, 0, bytes(400))[: 12 + 128] for n in range(2, 20)]
    with pytest.raises(RemoteProtocolError, match="more than 1000 bytes of unfinished messages"):
        demuxer.receive(b"".join(begun))


def test_finished_and_aborted_messages_leave_the_bound() -> None:
    demuxer = Demuxer(RtmpLimits(buffered_bytes=1000))
    for _ in range(20):
        for data in (pack_message(6, 9, 1, 0, bytes(900)), pack_message(4, 8, 1, 0, bytes(900))[:140]):
            for at in range(0, len(data), 7):
                demuxer.receive(data[at : at + 7])
        demuxer.receive(pack_message(2, 2, 0, 0, (4).to_bytes(4)))


def test_an_announced_size_allocates_nothing() -> None:
    tracemalloc.start()
    try:
        demuxers = [Demuxer(RtmpLimits()) for _ in range(10)]
        for demuxer in demuxers:
            demuxer.receive(pack_message(6, 9, 1, 0, b"")[:4] + (8 << 20).to_bytes(3) + b"\x09\x01\0\0\0abc")
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("chunk_size", [1, 128, 1 << 23])
def test_a_large_message_in_small_reads_takes_linear_time(chunk_size: int) -> None:
    def cpu_s(size: int) -> float:
        data = pack_message(6, 9, 1, 0, bytes(size), chunk_size=chunk_size)
        demuxer = Demuxer(RtmpLimits())
        demuxer.chunk_size = chunk_size
        begin = time.process_time()
        for at in range(0, len(data), 100):
            demuxer.receive(data[at : at + 100])
        return time.process_time() - begin

    small = min(cpu_s(50_000) for _ in range(3))
    assert min(cpu_s(800_000) for _ in range(3)) < 16 * small * 6 + 0.05


def test_chunks_that_break_every_run_take_linear_time() -> None:
    # One-byte chunks of two messages in turn: each looks like the beginning of a run and is none.
    def cpu_s(size: int) -> float:
        data = pack_message(5, 9, 1, 0, bytes(size), chunk_size=size)[:12] + b"a"
        data += pack_message(6, 9, 1, 0, bytes(size), chunk_size=size)[:12] + b"a"
        data += b"\xc5a\xc5a\xc6a\xc6a" * (size // 4)
        demuxer = Demuxer(RtmpLimits())
        demuxer.chunk_size = 1
        begin = time.process_time()
        demuxer.receive(data)
        return time.process_time() - begin

    small = min(cpu_s(4_000) for _ in range(3))
    assert min(cpu_s(64_000) for _ in range(3)) < 16 * small * 6 + 0.05


@given(SEEDS, st.data())
def test_mutated_chunks_raise_protocol_errors_and_nothing_else(seed: int, data: st.DataObject) -> None:
    dice = random.Random(seed)
    valid, _ = ChunkWriter(dice).write(random_messages(dice, 6))
    mutated = bytearray(valid)
    for _ in range(data.draw(st.integers(1, 5))):
        mutated[dice.randrange(len(mutated))] = dice.randrange(256)
    with contextlib.suppress(RemoteProtocolError):
        in_pieces(Demuxer(RtmpLimits()), bytes(mutated), [len(mutated) // 3])


@given(st.binary(max_size=300))
def test_noise_raises_protocol_errors_and_nothing_else(noise: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        Demuxer(RtmpLimits()).receive(noise)
