"""All renditions of a stream, made in one go: pictures, sound, key frames, and what they become of a source that changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from headwater.access.plan import Audio, Rendition, Video, Watermark
from headwater.center.transcode.decoding import VideoDecoder
from headwater.center.transcode.sei import TEXT_UUID
from headwater.center.transcode.spec import InsertSei, Mark, Spec
from headwater.center.transcode.transcoder import Transcoder
from headwater.media import nal
from headwater.media.codecs import CODED_FRAMES, parse_video_config, split_video
from headwater.media.tag import AUDIO, VIDEO, Flags, Tag
from support.footage import Seen, brightness, footage, frames, keys, shown_ms, watch

SMALL = Video(kbps=200, height=90)
COPIED = Audio()


def rendition(template: str, video: Video | None = SMALL, audio: Audio | None = COPIED) -> Rendition:
    return Rendition("live", template, video=video, audio=audio)


def feed(transcoder: Transcoder, tags: Iterable[Tag], made: dict[str, list[Tag]], waited_s: float = 0.0) -> None:
    for tag in tags:
        transcoder.feed(tag, waited_s)
        for template, ready in transcoder.take().items():
            made.setdefault(template, []).extend(ready)


def finish(transcoder: Transcoder, made: dict[str, list[Tag]]) -> None:
    transcoder.flush()
    for template, ready in transcoder.take().items():
        made.setdefault(template, []).extend(ready)


def transcode(
    tags: Iterable[Tag], *renditions: Rendition, marks: Sequence[Mark] = ()
) -> tuple[dict[str, list[Tag]], Transcoder]:
    transcoder, made = Transcoder(Spec(renditions, tuple(marks))), dict[str, list[Tag]]()
    feed(transcoder, tags, made)
    finish(transcoder, made)
    for tags_made in made.values():
        assert_in_order(tags_made)
    return made, transcoder


def assert_in_order(tags: list[Tag]) -> None:
    for kind in (AUDIO, VIDEO):
        times = [tag.timestamp_ms for tag in tags if tag.kind == kind]
        assert times == sorted(times)
    assert all(shown_ms(tag) >= tag.timestamp_ms for tag in frames(tags))


@pytest.fixture(scope="module")
def source() -> list[Tag]:
    """Two seconds with B-frames and a key frame every 13 frames."""
    return footage(2.0, gop=13, bframes=2, start_ms=500_000)


def test_one_pass_makes_every_kind_of_rendition(source: list[Tag]) -> None:
    made, transcoder = transcode(
        source,
        rendition("plain"),
        rendition("hevc", Video(codec="h265", kbps=200, height=120), Audio("opus")),
        rendition("fast", Video(kbps=200, height=120, low_latency=True), Audio("mp3", 64)),
        rendition("origin", Video(codec="copy"), Audio("aac", rate=22050)),
        rendition("sound", None, Audio("aac", 48)),
        rendition("mute", Video(kbps=200, profile=1, bframes=False), None),
    )
    assert transcoder.frames == 50
    assert (transcoder.dropped, transcoder.notes()) == (0, [])
    seen = {template: watch(tags) for template, tags in made.items()}

    def looks(seen: Seen) -> tuple[tuple[int, int], str, int, str, int, int]:
        return seen.size, seen.codec, len(seen.video_times), seen.audio_codec, seen.audio_rate, seen.audio_channels

    assert looks(seen["plain"]) == ((160, 90), "h264", 50, "aac", 44100, 1)
    assert looks(seen["hevc"]) == ((214, 120), "hevc", 50, "opus", 48000, 1)
    assert looks(seen["fast"]) == ((214, 120), "h264", 50, "mp3float", 44100, 1)
    assert looks(seen["origin"]) == ((320, 180), "h264", 50, "aac", 22050, 1)
    assert looks(seen["sound"]) == ((0, 0), "", 0, "aac", 44100, 1)
    assert looks(seen["mute"]) == ((320, 180), "h264", 50, "", 0, 0)
    assert all(one.loudest > 4000 for template, one in seen.items() if template != "mute")


def test_key_frames_stand_exactly_where_the_source_has_them_with_its_timestamps(source: list[Tag]) -> None:
    made, _ = transcode(source, rendition("a"), rendition("b", Video(codec="h265", kbps=99, height=100, fps=10)))
    assert len(keys(source)) == 4
    assert keys(made["a"]) == keys(made["b"]) == keys(source)
    assert sorted(map(shown_ms, frames(made["a"]))) == sorted(map(shown_ms, frames(source)))
    assert len(frames(made["b"])) < 30


def test_without_alignment_key_frames_stand_on_the_common_clock(source: list[Tag]) -> None:
    long_gop = footage(2.0, gop=1000, audio=None, start_ms=500_000)
    made, _ = transcode(
        long_gop,
        rendition("a", Video(kbps=200, align=False, gop_s=1)),
        rendition("b", Video(kbps=200, align=False, gop_frames=10, fps=10)),
    )
    assert keys(made["a"]) == keys(made["b"]) == [500_000, 501_000]


def test_a_low_latency_rendition_gives_each_frame_at_once_and_has_no_b_frames(source: list[Tag]) -> None:
    plain = footage(1.0, audio=None)
    transcoder = Transcoder(Spec((rendition("fast", Video(kbps=200, height=90, low_latency=True)),)))
    for tag in plain:
        transcoder.feed(tag)
        if frames([tag]):
            ready = frames(transcoder.take()["fast"])
            assert [one.timestamp_ms for one in ready] == [tag.timestamp_ms]
            assert shown_ms(ready[0]) == ready[0].timestamp_ms


def test_a_slow_picture_is_not_held_back_by_frames_to_look_ahead_to() -> None:
    slides = footage(9.0, fps=1, gop=3, audio=None)
    made = {
        "plain": SMALL,
        "hevc": Video(codec="h265", kbps=200, height=90),
        "narrow": Video(kbps=200, height=90, narrowband=True),
        "narrow-hevc": Video(codec="h265", kbps=200, height=90, narrowband=True),
    }
    transcoder = Transcoder(Spec(tuple(rendition(template, video) for template, video in made.items())))
    shown = dict.fromkeys(made, -1)
    for tag in slides:
        transcoder.feed(tag)
        for template, ready in transcoder.take().items():
            shown[template] = max([shown[template], *map(shown_ms, frames(ready))])
    newest_ms = shown_ms(frames(slides)[-1])
    assert shown == dict.fromkeys(made, newest_ms)


def test_the_first_sound_has_its_own_time_before_what_follows() -> None:
    made, _ = transcode(footage(1.0, rate_hz=48_000, start_ms=500_000), rendition("a", None, Audio("aac", 48)))
    times = [tag.timestamp_ms for tag in made["a"] if not tag.flags & Flags.CONFIG]
    assert len(times) == len(set(times))
    assert times[0] < 500_000 <= times[1]  # an encoder of AAC begins with what leads in


def test_removes_b_frames_even_from_a_stream_that_is_copied_otherwise(source: list[Tag]) -> None:
    made, _ = transcode(source, rendition("rts", Video(codec="copy", bframes=False), Audio("opus")))
    assert all(shown_ms(tag) == tag.timestamp_ms for tag in frames(made["rts"]))
    seen = watch(made["rts"])
    assert (seen.size, seen.codec, seen.audio_codec) == ((320, 180), "h264", "opus")


def test_a_profile_of_aac_that_nobody_encodes_becomes_aac_lc_and_that_is_told(source: list[Tag]) -> None:
    made, transcoder = transcode(source, rendition("a", None, Audio("aac", 48, profile="aac_he")))
    assert watch(made["a"]).audio_codec == "aac"
    assert transcoder.notes() == ["sound: AAC-LC instead of aac_he, for which there is no encoder"]


def test_the_rate_is_capped_to_the_templates() -> None:
    noise = footage(3.0, size=(160, 90), gop=25, options={"crf": "5"})
    made, _ = transcode(noise, rendition("a", Video(kbps=60, low_latency=True)))
    assert sum(len(tag.payload) for tag in frames(made["a"])) * 8 / 3 < 60_000 * 1.2


def test_renditions_come_and_go_without_disturbing_the_others(source: list[Tag]) -> None:
    alone, _ = transcode(source, rendition("a"))
    transcoder, made = Transcoder(Spec((rendition("a"),))), dict[str, list[Tag]]()
    third = len(source) // 3
    feed(transcoder, source[:third], made)
    transcoder.apply(Spec((rendition("a"), rendition("b", Video(kbps=100, height=100)))))
    feed(transcoder, source[third : 2 * third], made)
    transcoder.apply(Spec((rendition("a"),)))
    feed(transcoder, source[2 * third :], made)
    finish(transcoder, made)
    assert made["a"] == alone["a"]
    joined = watch(made["b"])
    assert 5 < len(joined.video_times) < 25
    assert joined.audio_codec == "aac"
    assert joined.keys[0] == joined.video_times[0]
    later = list(keys(made["b"])[1:])
    assert set(later) <= set(keys(source))


def test_a_source_that_changes_is_followed() -> None:
    """Resolution, codec, sample rate, a track that is gone: the renditions go on, on the same clock."""
    parts = [
        footage(0.6, size=(320, 180)),
        footage(0.6, size=(180, 320), start_ms=600),
        footage(0.6, size=(320, 180), video="libx265", audio="aac", rate_hz=48000, channels=2, start_ms=1200),
        footage(0.6, size=(320, 180), audio=None, start_ms=1800),
        footage(0.6, size=(320, 180), video=None, start_ms=2400),
        footage(0.6, size=(320, 180), audio="libmp3lame", start_ms=3000),
    ]
    source = [tag for part in parts for tag in part]
    made, transcoder = transcode(source, rendition("a", Video(kbps=200, fit="short", fit_width=90), Audio("aac", rate=22050)))
    seen = watch(made["a"])
    assert seen.sizes == [(160, 90), (90, 160)]
    assert len(seen.video_times) == 75
    assert seen.video_times[-1] == max(map(shown_ms, frames(source)))
    assert seen.audio_times[-1] > 3500
    assert (transcoder.damaged, transcoder.dropped) == (0, 0)
    silent = [now for now in seen.audio_times if 2000 < now < 2350]
    assert silent == []


def test_a_clock_that_begins_anew_is_followed() -> None:
    transcoder, tags = Transcoder(Spec((rendition("a"),))), dict[str, list[Tag]]()
    feed(transcoder, footage(0.6, audio=None, start_ms=100_000), tags)
    feed(transcoder, footage(0.6, audio=None), tags)
    finish(transcoder, tags)
    times = sorted(map(shown_ms, frames(tags["a"])))
    assert len(times) == 30
    assert times[:2] == [0, 40]
    assert times[-1] == 100_560


def test_sound_alone_follows_a_clock_that_begins_anew() -> None:
    transcoder, tags = Transcoder(Spec((rendition("a", None, Audio("aac", 48)),))), dict[str, list[Tag]]()
    feed(transcoder, footage(0.6, video=None, start_ms=100_000), tags)
    before = len(tags["a"])
    feed(transcoder, footage(0.6, video=None), tags)
    later = [tag.timestamp_ms for tag in tags["a"][before:]]
    assert max(later[1:]) < 1000
    assert later[1:] == sorted(later[1:])


def test_a_rendition_that_joins_copied_ones_begins_at_the_next_key_frame(source: list[Tag]) -> None:
    copied = rendition("copy", Video(codec="copy"))
    transcoder, made = Transcoder(Spec((copied, rendition("a")))), dict[str, list[Tag]]()
    feed(transcoder, source[:30], made)
    transcoder.apply(Spec((copied,)))
    feed(transcoder, source[30:80], made)
    joined_ms = source[79].timestamp_ms
    made.pop("a")
    transcoder.apply(Spec((copied, rendition("a"))))
    feed(transcoder, source[80:], made)
    finish(transcoder, made)
    times = sorted(map(shown_ms, frames(made["a"])))
    assert times[0] == min(now for now in keys(source) if now > joined_ms)


def test_encoders_that_fall_behind_get_fewer_frames_but_every_key_frame(source: list[Tag]) -> None:
    transcoder, made = Transcoder(Spec((rendition("a"),))), dict[str, list[Tag]]()
    feed(transcoder, source, made, waited_s=1.5)
    finish(transcoder, made)
    assert 20 <= len(frames(made["a"])) <= 30
    assert transcoder.dropped == 50 - len(frames(made["a"]))
    assert keys(made["a"]) == keys(source)


# texts in the stream


def texts(tags: Iterable[Tag]) -> list[tuple[int, bool, str]]:
    """When each text is shown, whether in a key frame, and what it says."""
    found, config = [], None
    for tag in tags:
        if tag.kind == VIDEO:
            packet = split_video(tag.payload)
            if tag.flags & Flags.CONFIG:
                config = parse_video_config(tag.payload)
            elif packet is not None and packet.packet_type == CODED_FRAMES:
                assert config is not None
                codec = config.codec
                kind = nal.AVC_SEI if codec == "h264" else nal.HEVC_SEI
                for unit in nal.units(packet.data, config.nal_length_bytes):
                    if nal.unit_type(codec, unit) == kind:
                        for message in nal.sei_messages(codec, unit):
                            if message.payload.startswith(TEXT_UUID):
                                text = message.payload[len(TEXT_UUID) :].decode()
                                found.append((shown_ms(tag), packet.key, text))
    return sorted(found)


@pytest.mark.parametrize("video", [SMALL, Video(codec="h265", kbps=99, height=100), Video(codec="copy")])
def test_writes_texts_into_renditions(video: Video, source: list[Tag]) -> None:
    transcoder, made = Transcoder(Spec((rendition("a", video),))), dict[str, list[Tag]]()
    half = len(source) // 2
    feed(transcoder, source[:half], made)
    asked_ms = source[half - 1].timestamp_ms
    assert transcoder.insert_sei(InsertSei("three\0\0\1times", "frame", 2, 400)).renditions == ("a",)
    transcoder.insert_sei(InsertSei("every key", "keyframe", -1))
    feed(transcoder, source[half:], made)
    finish(transcoder, made)
    found = texts(made["a"])
    every = [now for now, key, text in found if text == "every key" and key]
    assert every == [now for now in keys(source) if now >= asked_ms]
    three = [now for now, _, text in found if text == "three\0\0\1times"]
    assert len(three) == 3
    assert asked_ms + 400 <= three[0] <= asked_ms + 480
    assert len(watch(made["a"]).video_times) == 50
    assert len(found) == len(every) + 3


def test_a_new_text_ends_one_that_is_repeated_for_ever(source: list[Tag]) -> None:
    transcoder, made = Transcoder(Spec((rendition("a"),))), dict[str, list[Tag]]()
    transcoder.insert_sei(InsertSei("old", "frame", -1))
    feed(transcoder, source[:70], made)
    transcoder.insert_sei(InsertSei("new", "frame", 0))
    feed(transcoder, source[70:], made)
    finish(transcoder, made)
    said = [text for _, _, text in texts(made["a"])]
    assert said.count("new") == 1
    assert 0 < said.count("old") < 40


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_passes_on_the_sources_texts_if_asked_to(codec: str, source: list[Tag]) -> None:
    first, _ = Transcoder(Spec((rendition("a", Video(codec="copy")),))), dict[str, list[Tag]]()
    said: dict[str, list[Tag]] = {}
    first.insert_sei(InsertSei("hello", "frame", -1))
    feed(first, source, said)
    finish(first, said)
    made, _ = transcode(
        said["a"],
        rendition("all", Video(codec=codec, kbps=99, sei=True)),  # type: ignore[arg-type]
        rendition("fewer", Video(codec=codec, kbps=99, sei=True, fps=10)),  # type: ignore[arg-type]
        rendition("none", Video(codec=codec, kbps=99)),  # type: ignore[arg-type]
    )
    assert [now for now, _, _ in texts(made["all"])] == sorted(map(shown_ms, frames(source)))
    assert len(texts(made["fewer"])) >= 48, "those of frames that are left out go with the next"
    assert texts(made["none"]) == []


# watermarks


def logo(folder: Path, name: str = "logo.png", level: int = 255, size: tuple[int, int] = (40, 20)) -> str:
    path = folder / name
    Image.new("RGBA", size, (level, level, level, 255)).save(path)
    return str(path)


def test_lays_a_watermark_over_every_size_in_its_corner(tmp_path: Path) -> None:
    mark = Watermark("r", "live", "*", "p", 640, 360, 40, 20, 20, "TopRight")
    source = footage(0.4, audio=None)
    made, transcoder = transcode(
        source, rendition("full", Video(kbps=500)), rendition("half", SMALL), marks=[Mark(mark, logo(tmp_path, level=0))]
    )
    assert transcoder.notes() == []
    for template, scale in (("full", 0.5), ("half", 0.25)):
        shown = watch(made[template], keep=True).pictures[5]
        left, top = shown.width - int(100 * scale), int(20 * scale)
        assert brightness(shown, left + 4, top + 2) < 30, "the mark itself: 80x40 at 640x360"
        assert brightness(shown, left - 12, top + 2) > 45, "left of it"
        assert brightness(shown, left + 4, int(64 * scale) + 2) > 45, "below it"


def test_a_transparent_watermark_lets_the_picture_through(tmp_path: Path) -> None:
    levels = []
    for transparency in (0, 128, 255):
        mark = Watermark("r", "live", "*", "p", 320, 180, 60, 0, 0, "TopLeft", transparency)
        made, _ = transcode(
            footage(0.2, audio=None), rendition("a", Video(kbps=500)), marks=[Mark(mark, logo(tmp_path, level=255))]
        )
        levels.append(brightness(watch(made["a"], keep=True).pictures[2], 60, 20))
    assert levels[0] < levels[1] - 40 < levels[2] - 80


def test_a_watermark_changes_while_the_stream_goes_on_and_may_come_late(tmp_path: Path) -> None:
    wanted = rendition("a", Video(kbps=800, low_latency=True))
    first = Mark(Watermark("r", "live", "*", "p", 320, 180, 60, 0, 0, "TopLeft"), str(tmp_path / "late.png"))
    transcoder, made = Transcoder(Spec((wanted,), (first,))), dict[str, list[Tag]]()
    source = footage(2.0, audio=None)
    feed(transcoder, source[:13], made)
    assert transcoder.notes() == ["watermark r: its picture is not there yet"]
    logo(tmp_path, "late.png", 255)
    transcoder.look_again()
    feed(transcoder, source[13:26], made)
    assert transcoder.notes() == []
    second = Mark(Watermark("r", "live", "*", "q", 320, 180, 60, 0, 0, "BottomRight"), logo(tmp_path, "q.png", 0))
    transcoder.apply(Spec((wanted,), (second,)))
    feed(transcoder, source[26:39], made)
    transcoder.apply(Spec((wanted,)))
    feed(transcoder, source[39:], made)
    finish(transcoder, made)
    assert keys(made["a"]) == keys(source), "the stream itself did not begin anew"
    pictures = watch(made["a"], keep=True).pictures
    corners = [
        (brightness(one, 10, 10) > 200, brightness(one, 300, 160) < 40) for one in (pictures[8], pictures[22], pictures[34])
    ]
    assert corners == [(False, False), (True, False), (False, True)]
    assert brightness(pictures[48], 300, 160) > 45


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_a_broken_watermark_is_told_and_left_out(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(data)
    mark = Mark(Watermark("r", "live", "*", "p", 320, 180, 60, 0, 0), str(path))
    made, transcoder = transcode(footage(0.2, audio=None), rendition("a"), marks=[mark])
    assert len(frames(made["a"])) == 5
    assert transcoder.notes()[0].startswith("watermark r: ")


@pytest.mark.parametrize(
    ("pix_fmt", "video"),
    [
        ("yuv420p10le", "libx265"),
        ("yuvj420p", "libx264"),
        ("yuv444p", "libx264"),
        ("yuv422p", "libx264"),
        ("yuv420p10le", "libx264"),
    ],
)
def test_pictures_of_other_formats_become_the_usual_one(pix_fmt: str, video: str, tmp_path: Path) -> None:
    mark = Mark(Watermark("r", "live", "*", "p", 320, 180, 60, 0, 0, "TopLeft"), logo(tmp_path, level=255))
    usual, _ = transcode(footage(0.3, audio=None), rendition("a", Video(kbps=800)))
    made, transcoder = transcode(
        footage(0.3, audio=None, video=video, pix_fmt=pix_fmt), rendition("a", Video(kbps=800)), marks=[mark]
    )
    assert transcoder.notes() == []
    first, second = (watch(tags["a"], keep=True).pictures[3] for tags in (usual, made))
    assert second.format.name == "yuv420p"
    assert abs(brightness(first, 200, 100) - brightness(second, 200, 100)) < 6
    assert brightness(second, 20, 20) > 220


def test_a_pixel_that_is_not_square_keeps_its_shape() -> None:
    source = footage(0.2, size=(240, 180), audio=None, options={"x264-params": "sar=4/3"})
    made, _ = transcode(source, rendition("a", SMALL))
    assert [shape(tags) for tags in (source, made["a"])] == [Fraction(4, 3), Fraction(4, 3)]


def shape(tags: list[Tag]) -> Fraction | None:
    """Of a pixel, as the stream's first picture says."""
    config, first = (split_video(tag.payload) for tag in (tags[0], frames(tags)[0]))
    assert config is not None
    assert first is not None
    decoder = VideoDecoder("h264", config.data, threads=1, low_delay=True)
    decoder.decode(first.data, 0, 0)
    return decoder.sample_aspect_ratio


def test_makes_whole_pictures_of_interlaced_ones() -> None:
    source = footage(0.6, options={"x264-params": "interlaced=1"})
    made, transcoder = transcode(source, rendition("a", Video(kbps=300, deinterlace=True)), rendition("b", Video(kbps=300)))
    assert abs(len(frames(made["a"])) - 15) <= 1
    assert len(frames(made["b"])) == 15
    assert transcoder.notes() == []
    assert set(keys(made["a"])) == set(keys(source))
