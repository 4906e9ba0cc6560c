"""What the transport stream promises: any decoder sees the frames that came in, when they were meant."""

from __future__ import annotations

import contextlib
import io
import itertools

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.media import codecs, flv, mpegts
from headwater.media.errors import MediaError
from headwater.media.mpegts import AUDIO_PID, VIDEO_PID, TsMuxer
from headwater.media.tag import AUDIO, VIDEO, Flags, Tag
from support.media_clips import flv_clip
from support.ts import TransportStream, read_ts

TICKS = 2**33
PAIRS = [("h264", "aac"), ("h264", "mp3"), ("h264", None), ("hevc", "aac"), ("hevc", None), (None, "aac"), (None, "mp3")]


def _legacy(tag: Tag) -> Tag:
    """An enhanced HEVC tag in the form with codec id 12."""
    payload = tag.payload
    if tag.kind != VIDEO or not payload[0] & 0x80 or payload[0] & 0x0F == 4:
        return tag
    packet_type = payload[0] & 0x0F
    body = payload[8:] if packet_type == 1 else payload[5:]
    composition = payload[5:8] if packet_type == 1 else bytes(3)
    head = bytes((payload[0] & 0x70 | 12, 0 if packet_type == 0 else 1))
    return Tag(tag.kind, tag.timestamp_ms, head + composition + body, tag.flags)


def _enhanced(tag: Tag) -> Tag:
    """An H.264, AAC or MP3 tag of old FLV in the form with a FourCC."""
    payload = tag.payload
    if tag.kind == VIDEO and not payload[0] & 0x80:
        head, body = bytes((0x80 | payload[0] & 0x70 | payload[1],)), payload[2:] if payload[1] == 1 else payload[5:]
        return Tag(VIDEO, tag.timestamp_ms, head + b"avc1" + body, tag.flags)
    if tag.kind == AUDIO:
        if payload[0] >> 4 == codecs.SOUND_MP3:
            return Tag(AUDIO, tag.timestamp_ms, b"\x91.mp3" + payload[1:], tag.flags)
        return Tag(AUDIO, tag.timestamp_ms, bytes((0x90 | payload[1],)) + b"mp4a" + payload[2:], tag.flags)
    return tag


def _muxer(tags: list[Tag]) -> TsMuxer:
    muxer = TsMuxer()
    for tag in tags:
        if tag.flags & Flags.CONFIG and tag.kind == VIDEO:
            muxer.set_video(codecs.parse_video_config(tag.payload))
        elif tag.flags & Flags.CONFIG:
            muxer.set_audio(codecs.parse_audio_config(tag.payload))
    return muxer


def _mux(tags: list[Tag], muxer: TsMuxer | None = None) -> bytes:
    muxer = muxer or _muxer(tags)
    return b"".join([muxer.start_segment(), *(muxer.mux(tag) for tag in tags), muxer.flush()])


def _decoded(data: bytes, form: str) -> dict[str, list[tuple[float, bytes]]]:
    """Time in seconds and content of every frame, by kind of stream."""
    frames: dict[str, list[tuple[float, bytes]]] = {}
    with av.open(io.BytesIO(data), "r", format=form) as container:
        for packet in container.demux():
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame | av.AudioFrame)
                assert frame.time is not None
                frames.setdefault(packet.stream.type, []).append((frame.time, bytes(frame.planes[0])))
    return frames


def _times(frames: list[tuple[float, bytes]]) -> list[float]:
    return [time for time, _ in frames]


def _check(stream: TransportStream) -> None:
    """The rules of every stream of ours."""
    for pid in stream.types:
        pes = stream.of(pid)
        assert pes
        assert all(each.pts >= each.dts for each in pes)
        assert all(before.dts <= after.dts for before, after in itertools.pairwise(pes))
        if pid == stream.pcr_pid:
            assert all(each.pcr is not None and each.pcr <= each.dts for each in pes)
        else:
            assert all(each.pcr is None for each in pes)
    assert stream.pcr_pid == (VIDEO_PID if VIDEO_PID in stream.types else AUDIO_PID)
    behind = [pes.dts - earlier.dts for earlier, pes in itertools.pairwise(stream.pes)]
    assert min(behind, default=0) >= -(mpegts.AUDIO_PES_MS + 50) * 90


@pytest.mark.parametrize("convert", [None, _legacy, _enhanced], ids=["as FFmpeg writes it", "legacy", "enhanced"])
@pytest.mark.parametrize(("video", "audio"), PAIRS)
def test_a_decoder_sees_every_frame_at_its_time(video: str | None, audio: str | None, convert: object) -> None:
    data = flv_clip(video, audio)
    tags = flv.Reader().feed(data)
    if callable(convert):
        tags = [convert(tag) for tag in tags]
    ts = _mux(tags)
    _check(read_ts(ts))
    came, went = _decoded(data, "flv"), _decoded(ts, "mpegts")
    assert came.keys() == went.keys()
    offset = mpegts.START_TICKS / 90_000
    for kind, frames in came.items():
        assert [content for _, content in went[kind]] == [content for _, content in frames]
        tolerance = 0.0006 if kind == "video" else 0.003  # audio times are counted on by the decoder within a PES
        for time, expected in zip(_times(went[kind]), _times(frames), strict=True):
            assert time - offset == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("video", ["h264", "hevc"])
def test_every_segment_stands_alone_and_the_counters_run_on(video: str) -> None:
    tags = flv.Reader().feed(flv_clip(video, "aac"))
    muxer, counters = _muxer(tags), dict[int, int]()
    segments: list[bytes] = []
    parts = [muxer.start_segment()]
    for tag in tags:
        if tag.flags & Flags.KEY and len(parts) > 20:
            segments.append(b"".join([*parts, muxer.flush()]))
            parts = [muxer.start_segment()]
        parts.append(muxer.mux(tag))
    segments.append(b"".join([*parts, muxer.flush()]))
    assert len(segments) == 4
    for segment in segments:
        stream = read_ts(segment, counters)
        counters = stream.counters
        assert stream.tables == 1
        first = stream.of(VIDEO_PID)[0]
        assert first.random_access
        assert [pes.random_access for pes in stream.of(VIDEO_PID)].count(True) == 1
        assert len(_decoded(segment, "mpegts")["video"]) == 25


@pytest.mark.parametrize(("video", "delimiter", "sets"), [("h264", 9, {7, 8}), ("hevc", 35, {32, 33, 34})])
def test_frames_begin_with_a_delimiter_and_key_frames_with_parameter_sets(video: str, delimiter: int, sets: set[int]) -> None:
    tags = flv.Reader().feed(flv_clip(video, None))
    for pes in read_ts(_mux(tags)).of(VIDEO_PID):
        units = [unit for unit in pes.data.split(b"\0\0\0\1") if unit]
        types = [unit[0] & 0x1F if video == "h264" else unit[0] >> 1 for unit in units]
        assert types[0] == delimiter
        assert types.count(delimiter) == 1
        assert pes.random_access == (set(types) >= sets)
        assert len([each for each in types if each in sets]) == (len(sets) if pes.random_access else 0)


def test_parameter_sets_and_delimiters_in_the_frame_are_not_doubled() -> None:
    muxer = _muxer(flv.Reader().feed(flv_clip("h264", None)))
    units = [b"\x09\xf0", b"\x67own", b"\x68own", b"\x65slice"]
    tag = Tag(VIDEO, 0, b"\x17\x01\0\0\0" + b"".join(len(unit).to_bytes(4, "big") + unit for unit in units))
    (pes,) = read_ts(muxer.mux(tag)).pes
    assert pes.data == b"\0\0\0\1\x09\xf0\0\0\0\1\x67own\0\0\0\1\x68own\0\0\0\1\x65slice"


def test_audio_is_gathered_into_few_packets() -> None:
    stream = read_ts(_mux(flv.Reader().feed(flv_clip("h264", "aac"))))
    audio = stream.of(AUDIO_PID)
    assert 30 <= len(audio) <= 45
    assert all(pes.random_access for pes in audio)


def test_audio_is_written_though_no_more_audio_comes() -> None:
    tags = flv.Reader().feed(flv_clip("h264", "aac"))
    muxer = _muxer(tags)
    muxer.start_segment()
    sound = next(tag.payload for tag in tags if tag.kind == AUDIO and not tag.flags)
    assert muxer.mux(Tag(AUDIO, 0, sound))  # the first one of a segment goes by itself
    assert not muxer.mux(Tag(AUDIO, 23, sound))
    frame = next(tag for tag in tags if tag.flags & Flags.KEY)
    stream = read_ts(muxer.start_segment() + muxer.mux(Tag(VIDEO, 150, frame.payload)))
    assert [pes.pid for pes in stream.pes] == [AUDIO_PID, VIDEO_PID]


def test_a_flood_of_audio_at_one_time_still_fits_the_length_field() -> None:
    tags = flv.Reader().feed(flv_clip(None, "aac"))
    muxer = _muxer(tags)
    flood = [Tag(AUDIO, 0, b"\xaf\x01" + bytes(4000)) for _ in range(100)]
    stream = read_ts(_mux(flood, muxer))
    assert sum(len(pes.data) for pes in stream.pes) == 100 * 4007


@given(st.integers(0, 2**40))
def test_time_wraps_at_33_bits(start_ms: int) -> None:
    tags = flv.Reader().feed(flv_clip("h264", "aac", seconds=1))
    shifted = [Tag(tag.kind, tag.timestamp_ms + start_ms, tag.payload, tag.flags) for tag in tags]
    plain, wrapped = read_ts(_mux(tags)), read_ts(_mux(shifted))
    for before, after in zip(plain.pes, wrapped.pes, strict=True):
        assert before.data == after.data
        assert (before.pts + start_ms * 90) % TICKS == after.pts
        assert (before.dts + start_ms * 90) % TICKS == after.dts
        if before.pcr is not None:
            assert after.pcr == (before.pcr + start_ms * 90) % TICKS


def test_a_negative_composition_time_never_shows_a_frame_before_it_is_decoded() -> None:
    muxer = _muxer(flv.Reader().feed(flv_clip("h264", None)))
    tag = Tag(VIDEO, 0, b"\x17\x01\xff\xff\x00\0\0\0\x02\x65x")
    (pes,) = read_ts(muxer.mux(tag)).pes
    assert pes.pts == pes.dts == mpegts.START_TICKS


def test_new_codecs_come_with_new_tables_even_within_a_segment() -> None:
    tags = flv.Reader().feed(flv_clip("h264", "aac", seconds=1))
    muxer = TsMuxer()
    assert muxer.start_segment() == b""
    assert muxer.mux(tags[-1]) == b""
    muxer.set_video(codecs.parse_video_config(next(tag for tag in tags if tag.kind == VIDEO).payload))
    data = muxer.start_segment()
    assert read_ts(data).types == {VIDEO_PID: 0x1B}
    key = next(tag for tag in tags if tag.flags & Flags.KEY)
    data += muxer.mux(key)
    muxer.set_audio(codecs.parse_audio_config(next(tag for tag in tags if tag.kind == AUDIO).payload))
    data += muxer.mux(key)
    stream = read_ts(data)
    assert stream.tables == 2
    assert stream.types == {VIDEO_PID: 0x1B, AUDIO_PID: 0x0F}
    muxer.set_video(None)
    assert muxer.mux(key) == b""


@pytest.mark.parametrize(
    "body", [b"\0\0\0", b"\0\0\0\x09short", b"\xff\xff\xff\xff\x65", b"\0\0\0\x01\x65\0", b"\0\0\0\0" * 5000], ids=repr
)
def test_a_broken_frame_is_an_error_of_that_frame_alone(body: bytes) -> None:
    tags = flv.Reader().feed(flv_clip("h264", "aac", seconds=1))
    muxer = _muxer(tags)
    data = muxer.start_segment()
    for tag in tags:
        if tag.kind == VIDEO:
            with pytest.raises(MediaError):
                muxer.mux(Tag(VIDEO, tag.timestamp_ms, b"\x27\x01\0\0\0" + body))
        data += muxer.mux(tag)
    assert data + muxer.flush() == _mux(tags)


def test_frames_that_no_header_can_hold_are_errors() -> None:
    muxer = _muxer(flv.Reader().feed(flv_clip("h264", "aac", seconds=1)))
    with pytest.raises(MediaError):
        muxer.mux(Tag(AUDIO, 0, b"\xaf\x01" + bytes(8200)))
    with pytest.raises(MediaError):
        muxer.mux(Tag(AUDIO, 0, b"\x2f\xff\xfb\x90\xc0" + bytes(70_000)))
    with pytest.raises(MediaError):
        muxer.mux(Tag(AUDIO, 0, b"\x2fgarbage"))


@given(st.lists(st.tuples(st.sampled_from((AUDIO, VIDEO)), st.binary(max_size=40)), max_size=20), st.integers(0, 1))
def test_garbage_raises_nothing_but_media_error_and_leaves_a_whole_stream(
    payloads: list[tuple[int, bytes]], which: int
) -> None:
    muxer = _muxer(flv.Reader().feed(flv_clip(("h264", "hevc")[which], "aac", seconds=1)))
    heads = {AUDIO: (b"", b"\xaf\x01", b"\x91mp4a", b"\x2f"), VIDEO: (b"", b"\x17\x01\0\0\0", b"\x1c\x01\0\0\0", b"\x93hvc1")}
    data = muxer.start_segment()
    for time, (kind, payload) in enumerate(payloads):
        for head in heads[kind]:
            with contextlib.suppress(MediaError):
                data += muxer.mux(Tag(kind, time * 20, head + payload))
    read_ts(data + muxer.flush())


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=30))
def test_frames_of_any_size_fill_whole_packets(sizes: list[int]) -> None:
    muxer = _muxer(flv.Reader().feed(flv_clip("h264", None, seconds=1)))
    data = muxer.start_segment()
    for number, size in enumerate(sizes):
        unit = b"\x41" + bytes((number % 200 + 2,)) * size
        data += muxer.mux(Tag(VIDEO, number * 40, b"\x27\x01\0\0\0" + len(unit).to_bytes(4, "big") + unit))
    assert [len(pes.data) for pes in read_ts(data).pes] == [6 + 4 + 1 + size for size in sizes]


@pytest.mark.parametrize(("video", "audio"), [("h264", "aac"), ("hevc", "mp3"), (None, "aac")])
def test_packets_are_the_same_one_tag_at_a_time_and_many_at_once(video: str | None, audio: str) -> None:
    tags = flv.Reader().feed(flv_clip(video, audio)) * 8
    muxer = _muxer(tags)
    parts = [muxer.start_segment()]
    for tag in tags:
        data = b"before" + tag.payload + b"behind"
        parts.append(bytes(muxer.add(tag.kind, tag.timestamp_ms, data, 6, len(data) - 6)))
    parts.append(muxer.flush())
    assert b"".join(parts) == _mux(tags)
    assert 3 <= sum(map(bool, parts)) < len(tags) / 10


@pytest.mark.parametrize(
    ("video", "audio", "word"),
    [("h264", "aac", None), ("hevc", "mp3", None), ("av1", "aac", "av1"), ("vp9", "aac", "vp9"), ("h264", "opus", "opus")],
)
def test_what_cannot_be_carried_is_said(video: str, audio: str, word: str | None) -> None:
    configs = [tag for tag in flv.Reader().feed(flv_clip(video, audio, seconds=0.2)) if tag.kind in (AUDIO, VIDEO)]
    parsed_video = next(config for tag in configs if tag.kind == VIDEO and (config := codecs.parse_video_config(tag.payload)))
    parsed_audio = next(sound for tag in configs if tag.kind == AUDIO and (sound := codecs.parse_audio_config(tag.payload)))
    reason = mpegts.supported(parsed_video, parsed_audio)
    assert (reason is None) if word is None else (reason is not None and word in reason)
    assert mpegts.supported(None, None) is None


@pytest.mark.parametrize("record", ["1200", "1780300810", "f8f45000"], ids=["no channels", "own rate", "object type 39"])
def test_aac_that_adts_cannot_describe_is_said(record: str) -> None:
    config = codecs.parse_audio_config(b"\xaf\x00" + bytes.fromhex(record))
    assert "ADTS" in (mpegts.supported(None, config) or "")
