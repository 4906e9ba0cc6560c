"""Promises of recorded files: every frame is in them as it came, at its time, and players of every kind can read them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.center.record.build import Builder
from headwater.center.record.recorder import Recorder, Unsupported
from headwater.center.record.spec import Event, RecordSpec
from headwater.center.record.spool import Folder, SpoolBusy
from headwater.media import flv
from headwater.media.tag import AUDIO, VIDEO, Flags, Tag
from headwater.protocols.rtmp import amf
from support.media_clips import flv_clip
from support.recordings import (
    START_MS,
    Contents,
    a_format,
    a_spec,
    files,
    finished,
    frames_of,
    record,
    relayed,
    slices,
    stored,
    tags_of,
)
from support.ts import read_ts

SECONDS = 4


@dataclass(frozen=True)
class Made:
    """What was made of a clip, and where it is stored."""

    tags: list[Tag]
    events: list[Event]
    bucket: Path

    def path(self, format_: str, number: int = 0) -> str:
        return str(self.bucket / files(self.events, format_)[number].key)


def make(folder: Path, clip: bytes, *formats: object) -> Made:
    spec = a_spec(folder / "recording", *formats)  # type: ignore[arg-type]
    tags = tags_of(clip)
    record(spec, relayed(tags), at_once=7001)
    events = finished(spec)
    stored(spec, events, folder / "bucket")
    return Made(tags, events, folder / "bucket")


CLIPS = {
    "h264 and aac": ("h264", "aac"),
    "hevc and mp3": ("hevc", "mp3"),
    "sound alone": (None, "aac"),
    "picture alone": ("h264", None),
}


@pytest.mark.parametrize("clip", CLIPS)
def test_every_frame_is_in_every_format_as_it_came(clip: str, tmp_path: Path) -> None:
    made = make(
        tmp_path, flv_clip(*CLIPS[clip], seconds=SECONDS), *(a_format(f, 3600, 2) for f in ("m3u8", "cmaf", "flv", "mp4"))
    )
    video, audio = frames_of(made.tags, VIDEO), frames_of(made.tags, AUDIO)
    for format_ in ("flv", "mp4", "cmaf"):
        contents = Contents(made.path(format_))
        assert contents.data("video") == video, format_
        assert contents.data("audio") == audio, format_
        assert contents.decoded == {"video": len(video), "audio": len(audio)}, format_
    contents = Contents(made.path("m3u8"))  # transport streams change the bytes around a frame
    assert contents.decoded == {"video": len(video), "audio": len(audio)}


def test_all_formats_tell_the_same_times(tmp_path: Path) -> None:
    made = make(tmp_path, flv_clip(seconds=SECONDS), *(a_format(f, 3600, 2) for f in ("m3u8", "cmaf", "flv", "mp4")))
    source = Contents(flv_clip(seconds=SECONDS)).times_ms("video")
    for format_, moved_ms in (("flv", 0), ("mp4", 0), ("cmaf", 0), ("m3u8", 1000)):
        contents = Contents(made.path(format_))
        assert contents.times_ms("video") == [time_ms + moved_ms for time_ms in source], format_
        apart = contents.times_ms("audio")[0] - contents.times_ms("video")[0]
        assert abs(apart - (Contents(flv_clip(seconds=SECONDS)).times_ms("audio")[0] - source[0])) <= 2, format_


def test_an_flv_file_knows_its_length_its_size_and_its_key_frames(tmp_path: Path) -> None:
    made = make(tmp_path, flv_clip(seconds=SECONDS), a_format("flv"))
    data = Path(made.path("flv")).read_bytes()
    script, *_ = flv.Reader().feed(data)
    _, metadata = amf.decode(script.payload)
    assert metadata["filesize"] == len(data)
    assert metadata["duration"] == pytest.approx(SECONDS, abs=0.2)
    assert (metadata["width"], metadata["height"], metadata["videocodecid"]) == (128, 72, 7)
    assert metadata["keyframes"]["times"] == [0, 1, 2, 3]
    for position in metadata["keyframes"]["filepositions"]:
        assert data[int(position)] == VIDEO
        assert data[int(position) + 11] == 0x17


def test_an_mp4_file_has_its_index_in_front(tmp_path: Path) -> None:
    made = make(tmp_path, flv_clip(seconds=SECONDS), a_format("mp4"))
    data = Path(made.path("mp4")).read_bytes()
    kinds, position = [], 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        kinds.append(data[position + 4 : position + 8])
        position += size if size != 1 else int.from_bytes(data[position + 8 : position + 16], "big")
    assert kinds == [b"ftyp", b"moov", b"mdat"]
    assert position == len(data)


def test_cycles_cut_files_at_key_frames_without_a_loss(tmp_path: Path) -> None:
    made = make(tmp_path, flv_clip(seconds=5), a_format("mp4", 2), a_format("m3u8", 3, 1))
    assert [file.duration_ms for file in files(made.events, "mp4")] == [2000, 2000, pytest.approx(1100, abs=60)]
    assert [(file.start_ms - START_MS, file.end_ms - START_MS) for file in files(made.events, "mp4")][:2] == [
        (0, 2000),
        (2000, 4000),
    ]
    video = [data for number in range(3) for data in Contents(made.path("mp4", number)).data("video")]
    assert video == frames_of(made.tags, VIDEO)
    assert [each.file for each in slices(made.events, "m3u8")] == [0, 0, 0, 1, 1]
    assert files(made.events, "m3u8")[1].key.startswith("m3u8/rec/live/cam/1_2017-03-08-23-09-49_2017-03-08-23-09-51")


def test_names_are_those_of_the_template(tmp_path: Path) -> None:
    format_ = a_format("m3u8", 3600, 2)
    made = make(tmp_path, flv_clip(seconds=SECONDS), format_)
    assert files(made.events, "m3u8")[0].key == "m3u8/rec/live/cam/0_2017-03-08-23-09-46_2017-03-08-23-09-50.m3u8"
    assert slices(made.events, "m3u8")[1].key == "m3u8/rec/live/cam/slices/1488985788_1.ts"
    assert "\nslices/1488985786_0.ts\n" in Path(made.path("m3u8")).read_text()


def test_a_publisher_who_returns_goes_on_with_the_same_files(tmp_path: Path) -> None:
    """Times run on; the playlist says that something is missing."""
    spec = a_spec(tmp_path / "recording", *(a_format(f, 3600, 2) for f in ("m3u8", "flv", "mp4")))
    tags = tags_of(flv_clip(seconds=SECONDS))
    record(spec, relayed(tags))
    record(spec, relayed(tags), session="s2", unix_ms=START_MS + 60_000)
    events = finished(spec)
    stored(spec, events, tmp_path / "bucket")
    made = Made(tags, events, tmp_path / "bucket")
    for format_ in ("flv", "mp4"):
        assert len(files(events, format_)) == 1
        contents = Contents(made.path(format_))
        assert contents.data("video") == frames_of(tags, VIDEO) * 2
        times = [round(float((packet.dts or 0) * packet.time_base) * 1000) for packet in contents.packets["video"]]
        steps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert min(steps) > 0
        assert max(steps) < 200
    playlist = Path(made.path("m3u8")).read_text()
    assert playlist.count("#EXT-X-DISCONTINUITY\n") == 1
    assert [each.broken for each in slices(events, "m3u8")] == [False, False, True, False]
    assert slices(events, "m3u8")[2].start_ms == START_MS + 60_000


@pytest.mark.parametrize("configured", [False, True], ids=["sound alone", "a picture that is announced and never comes"])
def test_a_publisher_who_returns_without_a_picture_is_recorded(configured: bool, tmp_path: Path) -> None:
    spec = a_spec(tmp_path / "recording", a_format("flv"))
    with_picture, sound = tags_of(flv_clip(seconds=SECONDS)), tags_of(flv_clip(None, "aac", seconds=20))
    record(spec, relayed(with_picture), session="s1")
    header = [tag for tag in with_picture if tag.kind == VIDEO and tag.flags & Flags.CONFIG]
    record(spec, relayed([*(header if configured else []), *sound]), session="s2", unix_ms=START_MS + 60_000)
    made = finished(spec)
    stored(spec, made, tmp_path / "bucket")
    contents = Contents(str(tmp_path / "bucket" / files(made, "flv")[0].key))
    recorded = contents.data("audio")[len(frames_of(with_picture, AUDIO)) :]
    played = frames_of(sound, AUDIO)
    assert recorded == played[-len(recorded) :]
    lost_s = 20 * (1 - len(recorded) / len(played))
    assert lost_s == pytest.approx(2.0 if configured else 0.0, abs=0.2)


def test_a_process_that_follows_a_dead_one_writes_nothing_twice(tmp_path: Path) -> None:
    """The worker's ring begins a little before what the dead process had written."""
    spec = a_spec(tmp_path / "recording", a_format("m3u8", 3600, 2), a_format("mp4"))
    tags = tags_of(flv_clip(seconds=SECONDS))
    data = relayed(tags)
    folder = Folder(Path(spec.folder))
    recorder = Recorder(folder, spec)
    recorder.connect("s1", 0, START_MS)
    recorder.feed(data[: len(data) * 2 // 3])  # ends within a frame
    folder.close()
    folder = Folder(Path(spec.folder))
    recorder = Recorder(folder, spec)
    recorder.connect("s1", tags[-1].timestamp_ms, START_MS + tags[-1].timestamp_ms)
    recorder.feed(data)
    recorder.close()
    folder.close()
    events = finished(spec)
    stored(spec, events, tmp_path / "bucket")
    contents = Contents(Made(tags, events, tmp_path / "bucket").path("mp4"))
    assert contents.data("video") == frames_of(tags, VIDEO)
    assert contents.data("audio") == frames_of(tags, AUDIO)
    assert not any(each.broken for each in slices(events, "m3u8"))


PUSH_MS = 2000


def pushes(count: int) -> list[list[Tag]]:
    """A stream as so many pushes of two seconds, each from time 0 on with its configuration in front."""
    tags = tags_of(flv_clip(seconds=2 * count, bframes=0))
    configs = [tag for tag in tags if tag.flags & Flags.CONFIG]
    key_ms = [tag.timestamp_ms for tag in tags if tag.kind == VIDEO and tag.flags == Flags.KEY][::2]
    parts = []
    for start_ms, end_ms in itertools.pairwise([*key_ms, 1 << 31]):
        own = [tag for tag in tags if not tag.flags & Flags.CONFIG and start_ms <= tag.timestamp_ms < end_ms]
        parts.append([*configs, *(Tag(tag.kind, tag.timestamp_ms - start_ms, tag.payload, tag.flags) for tag in own)])
    return parts


def later(tags: list[Tag], by_ms: int) -> list[Tag]:
    return [Tag(tag.kind, tag.timestamp_ms + by_ms, tag.payload, tag.flags) for tag in tags]


def assert_recorded_once(spec: RecordSpec, parts: list[list[Tag]], folder: Path) -> None:
    events = finished(spec)
    stored(spec, events, folder)
    contents = Contents(str(folder / files(events, "mp4")[0].key))
    assert contents.data("video") == [frame for part in parts for frame in frames_of(part, VIDEO)]
    assert contents.data("audio") == [frame for part in parts for frame in frames_of(part, AUDIO)]


def test_a_publisher_who_goes_from_worker_to_worker_is_recorded_once(tmp_path: Path) -> None:
    """The worker to which it comes back has relayed what it has sent to the other one meanwhile, by a clock of its own."""
    spec = a_spec(tmp_path / "recording", a_format("mp4"))
    first, second, third = parts = pushes(3)
    record(spec, relayed(first), session="s1", clock="a")
    record(spec, relayed(second), session="s2", clock="b", unix_ms=START_MS + 2500)
    held = [*first, *later(second, PUSH_MS + 40), *later(third, 2 * PUSH_MS + 80)]
    at_ms = 2 * PUSH_MS + 80
    record(spec, relayed(held), session="s3", clock="c", unix_ms=START_MS + 6000, newest_ms=3 * PUSH_MS + 40, session_ms=at_ms)
    assert_recorded_once(spec, parts, tmp_path / "bucket")


def test_what_was_read_over_the_connection_of_the_publisher_before_is_not_missed(tmp_path: Path) -> None:
    """A new publisher's first frames may come before it is told of, and a process begins anew in the middle of a GOP."""
    spec = a_spec(tmp_path / "recording", a_format("m3u8", 3600, 2), a_format("mp4"))
    first, second = parts = pushes(2)
    stream = relayed([*first, *later(second, PUSH_MS + 40)])
    whole = len(stream)
    record(spec, stream[: whole * 5 // 8], session="s1", clock="a")
    newest_ms = 2 * PUSH_MS
    ring = relayed(later(second, PUSH_MS + 40))
    record(spec, ring, session="s2", clock="a", unix_ms=START_MS + 9000, newest_ms=newest_ms, session_ms=PUSH_MS + 40)
    assert_recorded_once(spec, parts, tmp_path / "bucket")


def test_a_stream_that_was_read_from_another_worker_is_not_taken_for_known(tmp_path: Path) -> None:
    """That worker had it for an hour; the one with the publisher counts from its return on."""
    spec = a_spec(tmp_path / "recording", a_format("mp4"))
    first, second = parts = pushes(2)
    relayed_by_other = later([*first, *later(second, PUSH_MS + 40)], 3_600_000)
    half = [tag for tag in relayed_by_other if tag.timestamp_ms < 3_600_000 + PUSH_MS + 40 + 1000]
    record(spec, relayed(half), session="s2", clock="a", newest_ms=3_600_000, unix_ms=START_MS)
    record(spec, relayed(second), session="s2", clock="b", newest_ms=PUSH_MS, unix_ms=START_MS + 2 * PUSH_MS + 40)
    assert_recorded_once(spec, parts, tmp_path / "bucket")


def test_slices_that_different_processes_make_follow_one_another_without_a_jump(tmp_path: Path) -> None:
    """Decoders take a jump of continuity counters for lost packets."""
    spec = a_spec(tmp_path / "recording", a_format("m3u8", 3600, 2))
    record(spec, relayed(tags_of(flv_clip(seconds=SECONDS))))
    folder = Folder(Path(spec.folder))
    first = folder.ledger.due()[0]
    folder.write(Builder(folder, spec).make(first, []))
    folder.close()
    made = slices(finished(spec), "m3u8")
    assert len(made) == 2
    counters: dict[int, int] = {}
    for each in made:
        read_ts((Path(spec.folder) / each.path).read_bytes(), counters)


def test_a_picture_that_changes_its_size_is_followed(tmp_path: Path) -> None:
    small, large = tags_of(flv_clip(seconds=2)), tags_of(flv_clip(seconds=2, size=(256, 144)))
    spec = a_spec(tmp_path / "recording", *(a_format(f, 3600, 5) for f in ("m3u8", "cmaf", "mp4")))
    later = [Tag(tag.kind, tag.timestamp_ms + 2100, tag.payload, tag.flags) for tag in large]
    record(spec, relayed([*small, *later]))
    events = finished(spec)
    stored(spec, events, tmp_path / "bucket")
    assert [(each.width, each.broken) for each in slices(events, "m3u8")] == [(128, False), (256, True)]
    assert len({each.init_key for each in slices(events, "cmaf")}) == 2
    contents = Contents(Made([], events, tmp_path / "bucket").path("mp4"))
    assert contents.decoded["video"] == 100
    assert contents.data("video") == frames_of(small, VIDEO) + frames_of(large, VIDEO)


@pytest.mark.parametrize("returns", [False, True], ids=["at once", "of a publisher who returns"])
def test_sound_that_becomes_mp3_is_followed(returns: bool, tmp_path: Path) -> None:
    """MP3 has no configuration that would tell of the change."""
    aac, mp3 = tags_of(flv_clip(seconds=2)), tags_of(flv_clip(seconds=2, audio="mp3"))
    spec = a_spec(tmp_path / "recording", *(a_format(f, 3600, 5) for f in ("m3u8", "cmaf", "mp4")))
    later = [Tag(tag.kind, tag.timestamp_ms + 2100, tag.payload, tag.flags) for tag in mp3]
    if returns:
        record(spec, relayed(aac))
        record(spec, relayed(later), session="another", unix_ms=START_MS + 5000)
    else:
        record(spec, relayed([*aac, *later]))
    events = finished(spec)
    stored(spec, events, tmp_path / "bucket")
    assert [each.broken for each in slices(events, "m3u8")] == [False, True]
    assert len({each.init_key for each in slices(events, "cmaf")}) == 2
    file = Path(Made([], events, tmp_path / "bucket").path("mp4")).read_bytes()
    heard = [Contents((tmp_path / "bucket" / each.key).read_bytes()) for each in slices(events, "m3u8")]
    assert [each.codecs["audio"] for each in heard] == ["aac", "mp3float"]
    assert heard[1].data("audio") == frames_of(mp3, AUDIO)
    assert file.count(b"mp4a") == 2


def test_other_codecs_are_refused_with_a_word_why(tmp_path: Path) -> None:
    spec = a_spec(tmp_path / "recording", a_format("flv"))
    with pytest.raises(Unsupported, match="this audio is opus"):
        record(spec, relayed(tags_of(flv_clip("h264", "opus"))))


def test_two_processes_never_write_one_recording(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with pytest.raises(SpoolBusy):
        Folder(tmp_path)
    folder.close()
    Folder(tmp_path).close()


def test_a_recording_of_nothing_makes_no_files(tmp_path: Path) -> None:
    spec: RecordSpec = a_spec(tmp_path / "recording")
    record(spec, flv.FILE_HEADER)
    assert finished(spec) == []


def test_what_is_finished_is_not_made_again(tmp_path: Path) -> None:
    spec = a_spec(tmp_path / "recording", a_format("m3u8", 3600, 2), a_format("mp4"))
    record(spec, relayed(tags_of(flv_clip(seconds=SECONDS))))
    assert finished(spec) == finished(spec)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 60_000), at_once=st.integers(1, 20_000), torn=st.binary(max_size=40))
def test_wherever_the_bytes_stop_all_whole_frames_before_are_kept(
    cut: int, at_once: int, torn: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec = a_spec(tmp_path_factory.mktemp("cut") / "recording", a_format("flv"))
    data = relayed(tags_of(flv_clip(seconds=SECONDS)))[:cut]
    record(spec, data, at_once=at_once)
    with (Path(spec.folder) / "journal").open("ab") as journal:
        journal.write(torn)  # a line that a power cut has spoiled
    made = files(finished(spec), "flv")
    whole = list(flv.Reader().feed(data)) if len(data) >= 13 else []
    kept = tags_of((Path(spec.folder) / made[0].path).read_bytes()) if made else []
    video = frames_of(whole, VIDEO)
    assert frames_of(kept, VIDEO) == video
    if video:
        first = next(index for index, tag in enumerate(whole) if tag.kind == VIDEO and tag.flags & 1)
        assert frames_of(kept, AUDIO) == frames_of(whole[first:], AUDIO)
