"""What viewers of HLS find out about playlists, segments and transport streams."""

from __future__ import annotations

import time

import pytest

from headwater.load.clip import parse_clip
from headwater.media import codecs, flv
from headwater.media.mpegts import PACKET_BYTES, TsMuxer
from headwater.media.tag import VIDEO, Flags, Tag
from support.fake_media import hls, http_answer, serving
from support.load_runs import fault_counts, run_load
from support.media_clips import flv_clip

TAGS = flv.Reader().feed(flv_clip(seconds=4, gop=10, bframes=0))
"""Ten GOPs of 0.4 s: with a target duration of 0 s, which such segments may have, playlists are reloaded at once."""


def muxer_of(tags: list[Tag]) -> TsMuxer:
    """A muxer that knows the configuration in these tags."""
    muxer = TsMuxer()
    for tag in tags:
        if tag.flags & Flags.CONFIG and tag.kind == VIDEO:
            muxer.set_video(codecs.parse_video_config(tag.payload))
        elif tag.flags & Flags.CONFIG:
            muxer.set_audio(codecs.parse_audio_config(tag.payload))
    return muxer


def segments_of(tags: list[Tag]) -> list[bytes]:
    """One segment for each GOP."""
    muxer = muxer_of(tags)
    segments: list[list[bytes]] = []
    for tag in tags:
        if tag.flags & Flags.KEY:
            if segments:
                segments[-1].append(muxer.flush())
            segments.append([muxer.start_segment()])
        if segments:
            segments[-1].append(muxer.mux(tag))
    segments[-1].append(muxer.flush())
    return [b"".join(parts) for parts in segments]


SEGMENTS = segments_of(TAGS)


def playlist(*numbers: int, marks: tuple[int, ...] = (), gone: int = 0, ended: bool = False, name: str = "s") -> bytes:
    """A playlist of these segments, with discontinuity marks in front of some."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:0", f"#EXT-X-MEDIA-SEQUENCE:{numbers[0]}"]
    if gone:
        lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{gone}")
    for number in numbers:
        if number in marks:
            lines.append("#EXT-X-DISCONTINUITY")
        lines += ["#EXTINF:0.400,", f"{name}{number}.ts"]
    return "\n".join([*lines, *["#EXT-X-ENDLIST"] * ended, ""]).encode()


def files(segments: list[bytes]) -> dict[str, bytes]:
    """The segments by path."""
    return {f"/live/s{number}.ts": data for number, data in enumerate(segments)}


GOING_ON = [playlist(0, 1, 2), playlist(1, 2, 3), playlist(1, 2, 3), playlist(4, 5, 6), playlist(5, 6, 7, ended=True)]

URL = "http://{}/live/cam.m3u8?auth_key=1-0-0-x"


@pytest.mark.parametrize("how", [{}, {"zipped": True}, {"close": True}])
@pytest.mark.parametrize("check", [0, 1])
async def test_a_good_stream_is_all_well_until_its_end(how: dict[str, bool], check: int) -> None:
    async with serving(hls(GOING_ON, files(SEGMENTS), **how)) as address:
        tally = await run_load(URL.format(address), check=check)
    assert tally.faults == {"ended": {"the playlist says that the stream is over (#EXT-X-ENDLIST)": 1}}
    assert (tally.begun, tally.playlists, tally.segments) == (1, 5, 8)
    assert tally.received_bytes > sum(map(len, SEGMENTS[:8]))


async def test_viewers_begin_three_segments_before_the_edge() -> None:
    async with serving(hls([playlist(0, 1, 2, 3, 4, 5, ended=True)], files(SEGMENTS))) as address:
        tally = await run_load(URL.format(address))
    assert tally.segments == 3


async def test_the_first_variant_of_a_master_playlist_is_played() -> None:
    master = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000000\nlow/cam.m3u8\n"
    segments = {f"/live/low/s{number}.ts": data for number, data in enumerate(SEGMENTS)}
    async with serving(hls(GOING_ON, {"/live/cam.m3u8": master, **segments})) as address:
        tally = await run_load(URL.format(address))
    assert fault_counts(tally) == {"ended": 1}
    assert tally.segments == 8


def without_packet(data: bytes, index: int) -> bytes:
    """A segment that lost one packet."""
    return data[: index * PACKET_BYTES] + data[(index + 1) * PACKET_BYTES :]


def leaping(by_ms: int) -> list[Tag]:
    """The clip, a minute late, with timestamps that leap in front of the second GOP."""
    second = [index for index, tag in enumerate(TAGS) if tag.flags & Flags.KEY][1]
    return [
        Tag(tag.kind, tag.timestamp_ms + 60_000 + (by_ms if index >= second else 0), tag.payload, tag.flags)
        for index, tag in enumerate(TAGS)
    ]


def a_key_frame_lost() -> list[bytes]:
    """Segments of which the first has no key frame."""
    keys = [index for index, tag in enumerate(TAGS) if tag.flags & Flags.KEY]
    muxer = muxer_of(TAGS)
    first = muxer.start_segment() + b"".join(muxer.mux(tag) for tag in TAGS[keys[0] + 1 : keys[1]]) + muxer.flush()
    return [first, *SEGMENTS[1:]]


LEAP, BACK = segments_of(leaping(30_000)), segments_of(leaping(-30_000))

WRONG_MEDIA: dict[str, tuple[list[bytes], dict[str, int]]] = {
    "a packet is lost": ([SEGMENTS[0], without_packet(SEGMENTS[1], 5), *SEGMENTS[2:]], {"continuity": 1}),
    "a segment's end is lost": ([SEGMENTS[0][: -3 * PACKET_BYTES], *SEGMENTS[1:]], {"continuity": 1}),
    "the clock leaps": (LEAP, {"discontinuity": 2}),
    "the clock runs back": (BACK, {"backwards": 2}),
    "no key frame": (a_key_frame_lost(), {"start": 1, "continuity": 1}),
    "no tables": ([without_packet(without_packet(SEGMENTS[0], 0), 0), *SEGMENTS[1:]], {"start": 1}),
}


@pytest.mark.parametrize("what", WRONG_MEDIA)
async def test_wrong_segments_are_found_by_viewers_who_look_into_them(what: str) -> None:
    segments, expected = WRONG_MEDIA[what]
    async with serving(hls([playlist(0, 1, 2, ended=True)], files(segments))) as address:
        checked = await run_load(URL.format(address), check=1)
        unchecked = await run_load(URL.format(address), check=0)
    found = fault_counts(checked)
    assert found.keys() == {*expected, "ended"}
    assert all(found[kind] >= count for kind, count in expected.items())
    assert fault_counts(unchecked) == {"ended": 1}


@pytest.mark.parametrize("segments", [LEAP, BACK])
async def test_a_leap_that_the_playlist_announces_is_fine(segments: list[bytes]) -> None:
    async with serving(hls([playlist(0, 1, 2, marks=(1,), ended=True)], files(segments))) as address:
        tally = await run_load(URL.format(address))
    assert fault_counts(tally) == {"ended": 1}


async def test_other_tracks_without_a_mark_are_found() -> None:
    silent = segments_of([tag for tag in TAGS if tag.kind == VIDEO])
    segments = [SEGMENTS[0], *silent[1:]]
    async with serving(hls([playlist(0, 1, 2, ended=True)], files(segments))) as address:
        unmarked = await run_load(URL.format(address))
    async with serving(hls([playlist(0, 1, 2, marks=(1,), ended=True)], files(segments))) as address:
        marked = await run_load(URL.format(address))
    assert "discontinuity" in unmarked.faults
    assert fault_counts(marked) == {"ended": 1}


@pytest.mark.parametrize("check", [0, 1])
@pytest.mark.parametrize("segment", [SEGMENTS[0][:-7], b"", b"<html>".ljust(PACKET_BYTES), b"x" + SEGMENTS[0][:-1]])
async def test_every_viewer_sees_what_is_no_transport_stream(segment: bytes, check: int) -> None:
    async with serving(hls([playlist(0)], files([segment]))) as address:
        tally = await run_load(URL.format(address), check=check)
    assert fault_counts(tally) == {"torn": 1}


WRONG_PLAYLISTS: dict[str, tuple[list[bytes], str, str]] = {
    "numbers run back": ([playlist(3, 4, 5), playlist(1, 2, 3)], "sequence", "ran back from 3 to 1"),
    "segments were never listed": ([playlist(0, 1, 2), playlist(5, 6, 7)], "sequence", "segments 3 to 4 were never listed"),
    "the newest vanished": ([playlist(0, 1, 2), playlist(0, 1)], "sequence", "the newest segment was 2 and is 1"),
    "another segment": ([playlist(0, 1, 2), playlist(1, 2, name="t")], "playlist", "segment 1 is another one"),
    "a mark came late": ([playlist(0, 1, 2), playlist(1, 2, marks=(2,))], "playlist", "segment 2 is another one"),
    "a mark was not counted": (
        [playlist(0, 1, 2, marks=(1,)), playlist(2, 3, 4)],
        "discontinuity",
        "the discontinuity sequence went from 0 to 0 while 1 marks left",
    ),
}


@pytest.mark.parametrize("check", [0, 1])
@pytest.mark.parametrize("what", WRONG_PLAYLISTS)
async def test_wrong_playlists_are_found_by_every_viewer(what: str, check: int) -> None:
    versions, kind, words = WRONG_PLAYLISTS[what]
    async with serving(hls(versions, files(SEGMENTS))) as address:
        tally = await run_load(URL.format(address), lambda tally: tally.playlists >= 2, check=check)
    assert kind in tally.faults
    assert words in "".join(tally.faults[kind])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff\xfe",
        b"#EXTM3U\n#EXTINF:1,\ns0.ts\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\ns0.ts\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.6,\ns0.ts\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:one\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:nan,\ns0.ts\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nftp://there/s0.ts\n",
        b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nother.m3u8\n",
    ],
)
async def test_what_is_no_playlist_ends_the_viewer(body: bytes) -> None:
    async with serving(hls([body], {})) as address:
        tally = await run_load(URL.format(address))
    assert fault_counts(tally) == {"playlist": 1}
    assert tally.begun == 0


async def test_a_segment_that_is_not_there_is_told_and_the_viewer_goes_on() -> None:
    there = {path: data for path, data in files(SEGMENTS).items() if path != "/live/s1.ts"}
    async with serving(hls([playlist(0, 1, 2, ended=True)], there)) as address:
        tally = await run_load(URL.format(address))
    assert tally.faults["segment"] == {"HTTP 404: Not Found": 1}
    assert fault_counts(tally) == {"segment": 1, "ended": 1}
    assert tally.segments == 2


async def test_a_server_that_hangs_up_in_the_middle_is_told() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n#EXTM3U\n"
    async with serving(http_answer(answer)) as address:
        tally = await run_load(URL.format(address))
    assert fault_counts(tally) == {"protocol": 1}


async def test_a_server_that_says_nothing_is_told() -> None:
    async with serving(http_answer(b"")) as address:
        tally = await run_load(URL.format(address))
    assert fault_counts(tally) == {"ended": 1}


async def test_the_delay_is_measured_from_the_publishers_clock() -> None:
    clip = parse_clip(flv_clip(seconds=4, gop=10, bframes=0))
    now_us = time.time_ns() // 1000
    tags = [*clip.headers]
    for frame in clip.frames:
        # the first segment was sent before the viewer came, the others after it
        sent_us = now_us + (60_000_000 if frame.timestamp_ms >= 400 else -60_000_000)
        payload = clip.payload(frame, sent_us)
        tags.append(Tag(frame.kind, frame.timestamp_ms, payload, codecs.classify(frame.kind, payload)))
    async with serving(hls([playlist(0, 1, 2, ended=True)], files(segments_of(tags)))) as address:
        tally = await run_load(URL.format(address))
    assert fault_counts(tally) == {"ended": 1}
    assert tally.delay_ms.count == 20
    assert -60_000 <= tally.delay_ms.least_ms < -50_000


async def test_a_viewer_takes_each_segment_once() -> None:
    async with serving(hls([playlist(0, 1), playlist(1, 2, 3, 4, ended=True)], files(SEGMENTS))) as address:
        tally = await run_load(URL.format(address))
    assert fault_counts(tally) == {"ended": 1}
    assert tally.segments == 5
