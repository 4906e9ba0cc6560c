"""The harness's own readers see what they are there to see."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import m3u8
from support.flv import AUDIO, SCRIPT, VIDEO, FlvReader, FlvTag, check_start, check_times
from support.ports import free_port
from support.rtmp import decode_all, encode
from support.signing import auth_key


def flv(*tags: FlvTag) -> bytes:
    """The tags as a file."""
    out = b"FLV\x01\x05\0\0\0\x09\0\0\0\0"
    for tag in tags:
        stamp = tag.timestamp_ms
        out += bytes([tag.kind]) + len(tag.body).to_bytes(3, "big") + (stamp & 0xFFFFFF).to_bytes(3, "big")
        out += bytes([stamp >> 24 & 0xFF, 0, 0, 0]) + tag.body + struct.pack(">I", 11 + len(tag.body))
    return out


METADATA = FlvTag(SCRIPT, 0, b"\x02\0\x0aonMetaData\x05")
CONFIG = FlvTag(VIDEO, 0, b"\x17\0\0\0\0avcC")
KEY = FlvTag(VIDEO, 40, b"\x17\1\0\0\0key")
INTER = FlvTag(VIDEO, 80, b"\x27\1\0\0\0inter")
SOUND = FlvTag(AUDIO, 0x01020304, b"\xaf\1sound")


@given(st.integers(1, 200))
def test_tags_are_read_in_any_pieces(size: int) -> None:
    tags = [METADATA, CONFIG, KEY, INTER, SOUND]
    data = flv(*tags)
    reader = FlvReader()
    got = [tag for at in range(0, len(data), size) for tag in reader.feed(data[at : at + size])]
    reader.finish()
    assert got == tags


def test_a_torn_stream_is_seen() -> None:
    data = flv(METADATA, CONFIG, KEY)
    with pytest.raises(AssertionError, match="torn"):
        list(FlvReader().feed(data[:40] + data[50:] + flv(INTER)[13:] * 10))
    reader = FlvReader()
    list(reader.feed(data[:-3]))
    with pytest.raises(AssertionError, match="within a tag"):
        reader.finish()


def test_a_good_start_is_known_from_a_bad_one() -> None:
    check_start([METADATA, CONFIG, KEY, INTER])
    for bad in ([CONFIG, KEY], [METADATA, KEY], [METADATA, CONFIG, INTER], [METADATA, KEY, CONFIG]):
        with pytest.raises(AssertionError):
            check_start(bad)


def test_time_that_runs_back_or_leaps_is_seen() -> None:
    check_times([KEY, INTER])
    with pytest.raises(AssertionError):
        check_times([INTER, KEY])
    with pytest.raises(AssertionError):
        check_times([KEY, FlvTag(VIDEO, 5000, INTER.body)])


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=20),
        lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=8), values, max_size=4),
        max_leaves=12,
    )
)
def test_amf_values_come_back(value: object) -> None:
    assert decode_all(encode(value)) == [value]


GOOD = """#EXTM3U
#EXT-X-VERSION:3
#EXT-X-TARGETDURATION:5
#EXT-X-MEDIA-SEQUENCE:7
#EXTINF:5.000,
cam-7.ts?x=1
#EXT-X-DISCONTINUITY
#EXTINF:4.2,
cam-8.ts?x=1
"""
URL = "http://play.example/live/cam.m3u8"


def test_a_good_playlist_is_read() -> None:
    playlist = m3u8.parse(GOOD, URL)
    assert [segment.url for segment in playlist.segments] == [
        "http://play.example/live/cam-7.ts?x=1",
        "http://play.example/live/cam-8.ts?x=1",
    ]
    assert [segment.discontinuity for segment in playlist.segments] == [False, True]
    assert playlist.sequence == 7


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("#EXTM3U\n", ""),
        ("#EXT-X-TARGETDURATION:5\n", ""),
        ("#EXT-X-TARGETDURATION:5", "#EXT-X-TARGETDURATION:4"),
        ("#EXT-X-VERSION:3", "#EXT-X-VERSION:2"),
        ("#EXTINF:5.000,\n", ""),
        ("5.000,", "5.000"),
        ("5.000,", "five,"),
        ("cam-8.ts?x=1\n", ""),
        ("cam-8.ts?x=1\n", "cam-8.ts?x=1"),
        ("cam-8.ts", "cam-7.ts"),
        ("#EXT-X-DISCONTINUITY", "#EXT-X-UNHEARD-OF"),
        ("#EXT-X-VERSION:3\n", "#EXT-X-VERSION:3\n#EXT-X-VERSION:3\n"),
    ],
)
def test_a_bad_playlist_is_seen(old: str, new: str) -> None:
    assert old in GOOD
    with pytest.raises(AssertionError):
        m3u8.parse(GOOD.replace(old, new), URL)


def test_a_playlist_that_does_not_follow_is_seen() -> None:
    before = m3u8.parse(GOOD, URL)
    good = GOOD.replace("#EXTINF:5.000,\ncam-7.ts?x=1\n", "").replace("SEQUENCE:7", "SEQUENCE:8") + "#EXTINF:5,\ncam-9.ts\n"
    m3u8.check_follows(before, m3u8.parse(good, URL))
    for bad in (GOOD.replace("SEQUENCE:7", "SEQUENCE:6"), GOOD.replace("cam-8", "cam-9"), GOOD.replace("4.2", "4.3")):
        with pytest.raises(AssertionError):
            m3u8.check_follows(before, m3u8.parse(bad, URL))


def test_the_signer_signs_as_the_reference_says() -> None:
    # media-plane 1.5, worked values
    assert auth_key("/video/standard", "aliyunliveexp1234", 1622194197) == "1622194197-0-0-5552ff52b5e4e20387c6dc18afce206b"
    assert auth_key("/video/standard.flv", "aliyunliveexp1234", 1622194197).endswith("-9fad133cb7fd0072f7b7b508e64c1883")


def test_ports_are_not_given_twice() -> None:
    assert len({free_port() for _ in range(50)}) == 50


def test_the_clip_is_what_an_encoder_sends(clip: list[FlvTag]) -> None:
    check_start(clip)
    check_times(clip)
    keys = [tag.timestamp_ms for tag in clip if tag.is_key_frame]
    assert [key // 1000 for key in keys] == list(range(16))
