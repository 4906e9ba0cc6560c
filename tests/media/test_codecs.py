"""What is said of a tag and of a codec's configuration, for old FLV and Enhanced RTMP, and that no input does harm."""

from __future__ import annotations

import contextlib
import io
import time

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.media import codecs, flv
from headwater.media.codecs import AudioConfig, VideoConfig
from headwater.media.errors import MediaError
from headwater.media.tag import AUDIO, SCRIPT, VIDEO, Flags
from support.media_clips import flv_clip

NONE, KEY, CONFIG, METADATA = map(int, (Flags.NONE, Flags.KEY, Flags.CONFIG, Flags.METADATA))

MOD_EX_NANOSECONDS = b"\x02\x00\x00\x07"
"""Three bytes of data behind their size less one; the byte behind them has the modifier's type and the next packet type."""


@pytest.mark.parametrize(
    ("payload", "flags"),
    [
        (b"", NONE),
        (b"\x17", NONE),
        (b"\x17\x00\0\0\0rec", CONFIG),
        (b"\x17\x01\0\0\0nal", KEY),
        (b"\x27\x01\0\0\0nal", NONE),
        (b"\x17\x02\0\0\0", NONE),
        (b"\x57\x00\0\0\0", NONE),
        (b"\x1c\x00\0\0\0rec", CONFIG),
        (b"\x1c\x01\0\0\0nal", KEY),
        (b"\x2c\x01\0\0\0nal", NONE),
        (b"\x1d\x00\0\0\0rec", CONFIG),
        (b"\x1d\x01\0\0\0obu", KEY),
        (b"\x12\x00", KEY),
        (b"\x22\x00", NONE),
        (b"\x32\x00", NONE),
        (b"\x14\x00\x01", KEY),
        (b"\x52\x00", NONE),
        (b"\x90hvc1rec", CONFIG),
        (b"\x91hvc1\0\0\0nal", KEY),
        (b"\xa1hvc1\0\0\0nal", NONE),
        (b"\x92hvc1", NONE),
        (b"\x93av01obu", KEY),
        (b"\xa3av01obu", NONE),
        (b"\xd4hvc1amf", NONE),
        (b"\x94hvc1amf", NONE),
        (b"\x95av01rec", CONFIG),
        (b"\x91zzzz???", KEY),
        (b"\xd0\x00", NONE),
        (b"\x96\x00vp09\x00rec", CONFIG),
        (b"\x96\x01hvc1\x00\0\0\0nal", KEY),
        (b"\x96\x03av01\x00obu", KEY),
        (b"\xa6\x03av01\x00obu", NONE),
        (b"\x96\x00hvc1\x01rec", NONE),
        (b"\x96\x03hvc1\x01nal", NONE),
        (b"\x96\x13av01\x00\0\0\x03obu\x01\0\0\x03obu", KEY),
        (b"\x96\x20av01\x00\0\0\x03recvp09\x01\0\0\x03rec", CONFIG),
        (b"\x96\x13av01\x00\0\0\x09obu", NONE),
        (b"\x97" + MOD_EX_NANOSECONDS + b"\x01hvc1\0\0\0nal", KEY),
        (b"\xa7" + MOD_EX_NANOSECONDS + b"\x01hvc1\0\0\0nal", NONE),
        (b"\x97" + MOD_EX_NANOSECONDS + b"\x07" + MOD_EX_NANOSECONDS + b"\x00hvc1rec", CONFIG),
        (b"\x97\xff\x00\xff" + bytes(256) + b"\x03av01obu", KEY),
        (b"\x97" + MOD_EX_NANOSECONDS + b"\x06\x00av01\x00rec", CONFIG),
        (b"\x97\x02\x00", NONE),
        (b"\x97\xff", NONE),
    ],
)
def test_video_tags_are_classified(payload: bytes, flags: int) -> None:
    assert codecs.classify(VIDEO, payload) == flags


@pytest.mark.parametrize(
    ("payload", "flags"),
    [
        (b"", NONE),
        (b"\xaf", NONE),
        (b"\xaf\x00\x12\x10", CONFIG),
        (b"\xaf\x01\x21", NONE),
        (b"\x2f\xff\xfb", NONE),
        (b"\x2f\x00", NONE),
        (b"\x82\x00", NONE),
        (b"\x90OpusOpusHead", CONFIG),
        (b"\x91Opusdata", NONE),
        (b"\x92Opus", NONE),
        (b"\x94ac-3order", NONE),
        (b"\x91.mp3data", NONE),
        (b"\x90mp4a\x12\x10", CONFIG),
        (b"\x90fLaCrec", CONFIG),
        (b"\x95\x00mp4a\x00\x12\x10", CONFIG),
        (b"\x95\x00mp4a\x01\x12\x10", NONE),
        (b"\x97" + MOD_EX_NANOSECONDS + b"\x00ec-3", CONFIG),
        (b"\x97\x02", NONE),
    ],
)
def test_audio_tags_are_classified(payload: bytes, flags: int) -> None:
    assert codecs.classify(AUDIO, payload) == flags


def test_metadata_is_known_by_its_name() -> None:
    assert codecs.classify(SCRIPT, b"\x02\x00\x0aonMetaData\x08\0\0\0\0\0\0\x09") == METADATA
    assert codecs.classify(SCRIPT, b"\x02\x00\x0aonCuePoint") == NONE
    assert codecs.classify(SCRIPT, b"") == NONE


@given(st.integers(0, 255), st.binary(max_size=24))
def test_classify_never_raises(kind: int, payload: bytes) -> None:
    for each in (kind, VIDEO, AUDIO):
        flags = codecs.classify(each, payload)
        assert flags in (NONE, KEY, CONFIG, METADATA)


@given(st.binary(max_size=24))
def test_a_tag_and_its_parts_agree(payload: bytes) -> None:
    try:
        packet = codecs.split_video(payload)
    except MediaError:
        return
    flags = codecs.classify(VIDEO, payload)
    if packet is not None and flags & KEY:
        assert packet.key
    if packet is not None and packet.codec is not None and packet.packet_type == codecs.SEQUENCE_START:
        assert flags == CONFIG


def test_a_tag_of_nothing_but_modifiers_costs_no_time() -> None:
    payload = b"\x97" + b"\x00\x00\x07" * 2_000_000
    started = time.process_time()
    assert codecs.classify(VIDEO, payload) == NONE
    assert time.process_time() - started < 0.05


def _configs(data: bytes) -> tuple[VideoConfig | None, AudioConfig | None]:
    video: VideoConfig | None = None
    audio: AudioConfig | None = None
    for tag in flv.Reader().feed(data):
        if tag.kind == VIDEO:
            video = video or codecs.parse_video_config(tag.payload)
        elif tag.kind == AUDIO:
            audio = audio or codecs.parse_audio_config(tag.payload)
    return video, audio


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
@pytest.mark.parametrize("size", [(128, 72), (1920, 1080), (640, 360), (162, 98), (1280, 720), (1080, 1920)])
def test_the_size_is_what_a_decoder_sees(codec: str, size: tuple[int, int]) -> None:
    data = flv_clip(video=codec, audio=None, seconds=0.04, size=size, bframes=0)
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        decoded = next(container.decode(stream))
        seen = decoded.width, decoded.height
    video, _ = _configs(data)
    assert video is not None
    assert video.codec == codec
    assert (video.width, video.height) == seen == size


@pytest.mark.parametrize(
    ("options", "pix_fmt", "profile"),
    [
        ({"profile": "baseline"}, "yuv420p", 66),
        ({"profile": "main"}, "yuv420p", 77),
        ({"x264-params": "interlaced=1"}, "yuv420p", 100),
        ({"x264-params": "cqm=jvt"}, "yuv420p", 100),
        ({"profile": "high10"}, "yuv420p10le", 110),
        ({"profile": "high422"}, "yuv422p", 122),
        ({"profile": "high444"}, "yuv444p", 244),
        ({"profile": "high444", "x264-params": "cqm=jvt"}, "yuv444p", 244),
    ],
    ids=str,
)
def test_every_shape_of_an_h264_sps_is_read(options: dict[str, str], pix_fmt: str, profile: int) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="flv") as output:
        stream = output.add_stream("libx264", rate=25, options=dict(options))
        stream.width, stream.height, stream.pix_fmt = 162, 100, pix_fmt
        output.mux(stream.encode(av.VideoFrame(162, 100, pix_fmt)))
        output.mux(stream.encode(None))
    video, _ = _configs(file.getvalue())
    assert video is not None
    assert (video.codec, video.codec_id, video.width, video.height, video.nal_length_bytes) == ("h264", 7, 162, 100, 4)
    assert video.profile == profile
    assert [unit[0] & 0x1F for unit in video.parameter_sets] == [7, 8]


def test_hevc_has_its_parameter_sets_in_order() -> None:
    video, _ = _configs(flv_clip(video="hevc", audio=None, seconds=0.2))
    assert video is not None
    assert (video.codec_id, video.profile, video.level % 3) == (12, 1, 0)
    assert [unit[0] >> 1 for unit in video.parameter_sets] == [32, 33, 34]


def test_hevc_with_the_chinese_codec_id_is_the_same() -> None:
    configs = [tag for tag in flv.Reader().feed(flv_clip(video="hevc", audio=None, seconds=0.2)) if tag.flags & CONFIG]
    record = configs[0].payload[5:]
    assert codecs.parse_video_config(b"\x1c\x00\0\0\0" + record) == codecs.parse_video_config(configs[0].payload)


def test_vp9_and_opus_are_known_by_name() -> None:
    video, audio = _configs(flv_clip(video="vp9", audio="opus", seconds=0.2))
    assert video is not None
    assert audio is not None
    assert (video.codec, video.codec_id) == ("vp9", 0)
    assert (audio.codec, audio.sample_rate_hz, audio.channels) == ("opus", 48_000, 1)


def test_mp3_is_its_own_configuration() -> None:
    _, audio = _configs(flv_clip(video=None, audio="mp3", seconds=0.2))
    assert audio == AudioConfig("mp3", 2, 44_100, 1)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("1210", (44_100, 2, 2, 4, 2)),
        ("1190", (48_000, 2, 2, 3, 2)),
        ("1588", (8_000, 1, 2, 11, 1)),
        ("2b920800", (44_100, 2, 2, 7, 2)),  # HE-AAC, explicit SBR over 22.05 kHz
        ("eb8a0800", (44_100, 2, 2, 7, 1)),  # HE-AAC v2: parametric stereo over mono
        ("178056221000", (44_100, 2, 2, 4, 2)),  # the rate written out, though it has an index
        ("1780300810", (24_592, 2, 2, 15, 2)),  # a rate without index
        ("11b8", (48_000, 8, 2, 3, 7)),
    ],
)
def test_aac_configurations_are_read(record: str, expected: tuple[int, int, int, int, int]) -> None:
    data = bytes.fromhex(record)
    for payload in (b"\xaf\x00" + data, b"\x90mp4a" + data):
        audio = codecs.parse_audio_config(payload)
        assert audio is not None
        assert (
            audio.sample_rate_hz,
            audio.channels,
            audio.object_type,
            audio.frequency_index,
            audio.channel_configuration,
        ) == expected
        assert audio.specific_config == data


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x17", b"\x17\x01\0\0\0nal", b"\x12rec", b"\x90zzzzrec", b"\x91hvc1\0\0\0nal", b"\x92avc1", b"\x96\x00hvc1\x01rec"],
)
def test_what_is_no_video_configuration_gives_none_or_says_what_is_broken(payload: bytes) -> None:
    with contextlib.suppress(MediaError):
        assert codecs.parse_video_config(payload) is None


@pytest.mark.parametrize(
    "payload", [b"\x17\x00\0\0\0", b"\x17\x00\0\0\0\x01\x64\x00\x1f\xff\xe0\x00", b"\x90hvc1", b"\x90av01\x81"]
)
def test_a_broken_video_configuration_is_an_error(payload: bytes) -> None:
    with pytest.raises(MediaError):
        codecs.parse_video_config(payload)


def test_endless_parameter_sets_are_an_error() -> None:
    (tag,) = [tag for tag in flv.Reader().feed(flv_clip(audio=None, seconds=0.2)) if tag.flags & CONFIG]
    sps_bytes = int.from_bytes(tag.payload[11:13], "big")
    pps = b"\xff\xff" + bytes(0xFFFF)
    with pytest.raises(MediaError, match="too long"):
        codecs.parse_video_config(tag.payload[: 13 + sps_bytes] + b"\x02" + pps + pps)


@pytest.mark.parametrize("payload", [b"\xaf\x00", b"\xaf\x00\x16\x90", b"\x2f\x00\x00\x00\x00"])
def test_a_broken_audio_configuration_is_an_error(payload: bytes) -> None:
    with pytest.raises(MediaError):
        codecs.parse_audio_config(payload)


@pytest.mark.parametrize("video", ["h264", "hevc", "av1"])
@given(data=st.data())
def test_cut_and_mutated_configurations_raise_nothing_but_media_error(video: str, data: st.DataObject) -> None:
    tags = flv.Reader().feed(flv_clip(video=video, seconds=0.2))
    for tag in tags:
        if not tag.flags & CONFIG:
            continue
        payload = bytearray(tag.payload)
        for _ in range(data.draw(st.integers(0, 4))):
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
        del payload[data.draw(st.integers(0, len(payload))) :]
        with contextlib.suppress(MediaError):
            parsed = codecs.parse_video_config(bytes(payload)) if tag.kind == VIDEO else None
            assert parsed is None or (parsed.width <= codecs.PICTURE_EDGE_MAX and parsed.height <= codecs.PICTURE_EDGE_MAX)
        with contextlib.suppress(MediaError):
            codecs.parse_audio_config(bytes(payload))


@given(
    st.sampled_from((b"\x17\x00\0\0\0", b"\x90hvc1", b"\x90av01", b"\xaf\x00", b"\x2f", b"\x90mp4a")), st.binary(max_size=120)
)
def test_garbage_configurations_raise_nothing_but_media_error(head: bytes, body: bytes) -> None:
    for parse in (codecs.parse_video_config, codecs.parse_audio_config):
        with contextlib.suppress(MediaError):
            parse(head + body)


def test_codecs_have_the_names_that_playlists_use() -> None:
    high = codecs.VideoConfig("h264", 7, parameter_sets=(b"\x67\x64\x00\x1f\xac", b"\x68\xee"))
    main = codecs.VideoConfig("hevc", 12, profile=1, level=93)
    assert codecs.video_name(high) == "avc1.64001f"
    assert codecs.video_name(main) == "hvc1.1.6.L93.B0"
    assert codecs.video_name(codecs.VideoConfig("h264", 7)) == ""
    assert codecs.video_name(codecs.VideoConfig("vp8", 0)) == ""
    assert codecs.audio_name(codecs.AudioConfig("aac", 10, object_type=5)) == "mp4a.40.5"
    assert codecs.audio_name(codecs.AudioConfig("mp3", 2)) == "mp4a.40.34"
    assert codecs.audio_name(codecs.AudioConfig("opus", 0)) == ""
