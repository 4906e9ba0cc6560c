"""What FLV promises: what is packed is read again, however it arrives, and no input does harm."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.media import flv
from headwater.media.errors import MediaError
from headwater.media.tag import AUDIO, SCRIPT, VIDEO, Flags, Tag
from support.flv import FlvReader
from support.media_clips import flv_clip

kinds = st.sampled_from((AUDIO, VIDEO, SCRIPT))
triples = st.tuples(kinds, st.integers(0, 2**32 - 1), st.binary(max_size=300))


def _read(data: bytes, *cuts: int) -> list[Tag]:
    reader = flv.Reader()
    bounds = [0, *sorted(cuts), len(data)]
    return [tag for start, end in itertools.pairwise(bounds) for tag in reader.feed(data[start:end])]


@given(st.lists(triples, max_size=5), st.lists(st.integers(0, 1600), max_size=6))
def test_what_is_packed_is_read_again_in_any_pieces(tags: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
    data = flv.FILE_HEADER + b"".join(flv.pack_tag(*tag) for tag in tags)
    assert [(tag.kind, tag.timestamp_ms, tag.payload) for tag in _read(data, *cuts)] == tags


@given(st.lists(triples.filter(lambda tag: tag[2]), max_size=5))
def test_a_strict_reader_accepts_what_is_packed(tags: list[tuple[int, int, bytes]]) -> None:
    reader = FlvReader()
    read = list(reader.feed(flv.FILE_HEADER + b"".join(flv.pack_tag(*tag) for tag in tags)))
    reader.finish()
    assert [(tag.kind, tag.timestamp_ms, tag.body) for tag in read] == tags


def test_timestamps_beyond_32_bits_wrap() -> None:
    data = flv.FILE_HEADER + flv.pack_tag(VIDEO, 2**32 + 5, b"x") + flv.pack_tag(VIDEO, 0x01020304, b"x")
    assert [tag.timestamp_ms for tag in _read(data)] == [5, 0x01020304]
    assert flv.pack_tag(VIDEO, 0x01020304, b"x")[4:8] == b"\x02\x03\x04\x01"


def test_a_real_file_split_at_every_offset_reads_alike() -> None:
    data = flv_clip(seconds=0.5, gop=5)
    whole = _read(data)
    assert {tag.flags for tag in whole} == {Flags.NONE, Flags.KEY, Flags.CONFIG, Flags.METADATA}
    for offset in range(len(data)):
        assert _read(data, offset) == whole
    assert _read(data, *range(len(data))) == whole


def test_a_payload_that_fits_no_tag_is_refused() -> None:
    with pytest.raises(MediaError):
        flv.pack_tag(VIDEO, 0, bytes(2**24))


@pytest.mark.parametrize(
    "data",
    [
        b"FLX",
        b"\0",
        b"FLV\x02",
        b"FLV\x01\x05\x00\x00\x00\x08",
        b"FLV\x01\x05\xff\xff\xff\xff",
        flv.FILE_HEADER + b"\x07" + bytes(14),
        flv.FILE_HEADER + b"\x29" + bytes(14),
        flv.FILE_HEADER + b"\x09" + bytes(9) + b"\x01" + bytes(4),
        flv.FILE_HEADER + b"\x09\x00\x04\x01" + bytes(11),
    ],
    ids=["signature", "first byte", "version", "short header", "endless header", "kind", "encrypted", "stream id", "too long"],
)
def test_what_is_no_flv_is_refused_and_stays_refused(data: bytes) -> None:
    reader = flv.Reader(payload_bytes_max=1024)
    for more in (data, b"", flv.FILE_HEADER):
        with pytest.raises(MediaError):
            reader.feed(more)


def test_tags_before_the_broken_one_are_not_given_twice() -> None:
    reader = flv.Reader()
    assert len(reader.feed(flv.FILE_HEADER + flv.pack_tag(AUDIO, 0, b"ab"))) == 1
    with pytest.raises(MediaError):
        reader.feed(flv.pack_tag(AUDIO, 1, b"ab") + bytes(20))
    with pytest.raises(MediaError):
        reader.feed(b"")


@given(st.binary(max_size=200), st.booleans())
def test_garbage_raises_nothing_but_media_error(data: bytes, headed: bool) -> None:
    with contextlib.suppress(MediaError):
        _read(flv.FILE_HEADER + data if headed else data)


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_mutated_file_raises_nothing_but_media_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(flv_clip(seconds=0.5, gop=5))
    for offset, value in changes:
        data[offset % len(data)] = value
    with contextlib.suppress(MediaError):
        _read(bytes(data))
