"""What publishers send, and what they tell of a server that does not want it."""

from __future__ import annotations

import io
from pathlib import Path

import av
import pytest

from headwater.load import clock
from headwater.load.clip import make_clip, parse_clip
from headwater.media import codecs, flv
from headwater.media.errors import MediaError
from headwater.media.tag import AUDIO, SCRIPT, VIDEO, Flags
from headwater.protocols.rtmp import MediaMessage
from support.fake_media import flv_file, rtmp_ingest, serving
from support.load_runs import fault_counts, run_load
from support.media_clips import flv_clip
from support.ports import free_port


@pytest.fixture
def short(tmp_path: Path) -> str:
    """An FLV of a fifth of a second, so that laps are quickly over."""
    file = tmp_path / "short.flv"
    file.write_bytes(flv_clip(seconds=0.2, gop=5, bframes=0))
    return str(file)


async def test_laps_follow_one_another_with_one_clock(short: str) -> None:
    took: list[MediaMessage] = []
    async with serving(rtmp_ingest(took)) as address:
        tally = await run_load(f"rtmp://{address}/live/cam?vhost=push.test", lambda tally: len(took) > 60, clip=short)
    assert tally.faults == {}
    assert (tally.begun, tally.first_ms.count) == (1, 1)
    assert tally.tags > 55
    assert tally.sent_bytes > sum(len(message.payload) for message in took)
    assert took[0].kind == SCRIPT
    for kind in (AUDIO, VIDEO):
        times = [message.timestamp for message in took if message.kind == kind]
        assert times == sorted(times)
        assert times[-1] > 400
    video = [message for message in took if message.kind == VIDEO]
    assert codecs.classify(VIDEO, video[0].payload) & Flags.CONFIG
    assert codecs.classify(VIDEO, video[1].payload) & Flags.KEY
    clocks = [clock.find(message.payload) for message in video[1:]]
    assert None not in clocks
    assert clocks == sorted(clocks)  # type: ignore[type-var]


async def test_refusals_are_told_in_the_servers_words(short: str) -> None:
    async with serving(rtmp_ingest([], refuse="denied by req auth: no such key")) as address:
        tally = await run_load(f"rtmp://{address}/live/cam-{{n}}", clients=2, streams=2, clip=short)
    assert tally.faults == {"refused": {"NetStream.Publish.BadName: denied by req auth: no such key": 2}}
    assert tally.begun == 0


async def test_a_server_that_hangs_up_is_told(short: str) -> None:
    async with serving(rtmp_ingest([], close_after=10)) as address:
        tally = await run_load(f"rtmp://{address}/live/cam", clip=short)
    assert fault_counts(tally) == {"ended": 1}
    assert tally.begun == 1


async def test_nobody_listens(short: str) -> None:
    tally = await run_load(f"rtmp://127.0.0.1:{free_port()}/live/cam", clip=short)
    assert fault_counts(tally) == {"connect": 1}


def test_the_built_in_clip_has_its_bit_rate_and_gops() -> None:
    clip = parse_clip(make_clip(500))
    size = sum(len(frame.payload) for frame in clip.frames)
    assert size * 8 / clip.duration_ms == pytest.approx(500, rel=0.1)
    assert clip.gop_ms == 2000
    assert 8000 <= clip.duration_ms <= 8100
    assert {tag.kind for tag in clip.headers} == {SCRIPT, AUDIO, VIDEO}
    assert all(frame.split >= 0 for frame in clip.frames if frame.kind == VIDEO)


@pytest.mark.parametrize("bitrate_kbps", [0, 199, 50_001])
def test_an_absurd_bit_rate_is_refused(bitrate_kbps: int) -> None:
    with pytest.raises(ValueError, match="the bit rate must be from 200 to 50000 kbit/s"):
        make_clip(bitrate_kbps)


@pytest.mark.parametrize(("video", "audio"), [("h264", "mp3"), ("hevc", "aac"), ("h264", None), (None, "aac")])
def test_files_of_any_codec_can_be_published(video: str | None, audio: str | None) -> None:
    data = flv_clip(video, audio, seconds=2)
    clip = parse_clip(data)
    tags = flv.Reader().feed(data)
    frames = sum(tag.kind != SCRIPT and not tag.flags & Flags.CONFIG for tag in tags)
    assert frames - 3 <= len(clip.frames) <= frames  # without what comes before the key frame, and the end of the sequence
    assert clip.duration_ms == pytest.approx(2000, abs=120)
    assert [frame.timestamp_ms for frame in clip.frames] == sorted(frame.timestamp_ms for frame in clip.frames)
    marked = [frame for frame in clip.frames if frame.split >= 0]
    assert len(marked) == (50 if video == "h264" else 0)
    for frame in marked:
        packet = codecs.split_video(clip.payload(frame, 1_700_000_000_123_456))
        assert packet is not None
        assert clock.find(packet.data) == 1_700_000_000_123_456


def test_a_decoder_takes_frames_with_the_clock() -> None:
    clip = parse_clip(flv_clip(seconds=1))
    frames = [type(tag)(tag.kind, 0, tag.payload) for tag in clip.headers]
    frames += [
        type(frames[0])(frame.kind, frame.timestamp_ms, clip.payload(frame, 1_700_000_000_000_000)) for frame in clip.frames
    ]
    with av.open(io.BytesIO(flv_file(frames)), "r") as opened:
        assert len(list(opened.decode(video=0))) == 25


def test_a_file_that_begins_in_a_gop_is_published_from_its_first_key_frame() -> None:
    tags = flv.Reader().feed(flv_clip(seconds=2, gop=10, bframes=0))
    key = next(index for index, tag in enumerate(tags) if tag.flags & Flags.KEY)
    clip = parse_clip(flv_file([*tags[:key], *tags[key + 1 :]]))
    first = next(frame for frame in clip.frames if frame.kind == VIDEO)
    assert codecs.classify(VIDEO, first.payload) & Flags.KEY
    assert clip.frames[0].timestamp_ms == 0


def test_a_configuration_that_changes_in_the_file_is_sent_again_each_lap() -> None:
    tags = flv.Reader().feed(flv_clip(seconds=1, bframes=0))
    config = next(tag for tag in tags if tag.kind == VIDEO and tag.flags & Flags.CONFIG)
    clip = parse_clip(flv_file([*tags, type(config)(VIDEO, 1000, config.payload), *tags[-1:]]))
    kinds = [codecs.classify(frame.kind, frame.payload) for frame in clip.frames]
    assert kinds[0] & Flags.CONFIG
    assert sum(bool(flags & Flags.CONFIG) for flags in kinds) == 3


@pytest.mark.parametrize("data", [b"", flv.FILE_HEADER, flv.FILE_HEADER + flv.pack_tag(SCRIPT, 0, b"\x02\0\x01x")])
def test_a_file_without_media_is_refused(data: bytes) -> None:
    with pytest.raises(MediaError):
        parse_clip(data)


def test_what_is_no_flv_is_refused() -> None:
    with pytest.raises(MediaError, match="no FLV"):
        parse_clip(b"MP4, perhaps")
