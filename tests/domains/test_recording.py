"""Recording templates reach the plan, each stream has one, and what was recorded can be asked for and clipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from headwater.access.plan import Plan, Record, RecordFormat, best_match, decode, plan_key
from headwater.domains.errors import DomainError
from headwater.domains.library import LibraryFormat
from headwater.domains.record_content import Clip
from headwater.domains.record_rules import GivenFormat
from headwater.domains.rules import format_time
from headwater.store.models import MediaSlice, Recording
from support.domain_world import ACTOR, PLAY, PUSH, World, code, refused
from support.record_rows import BUCKET, ENDPOINT, Center, recorded

FILE, SLICE = "{AppName}/{StreamName}/{StartTime}_{EndTime}", "{AppName}/{StreamName}/{UnixTimestamp}_{Sequence}"
SLICED, WHOLE = GivenFormat("m3u8", 600, FILE, SLICE, 5), GivenFormat("mp4", None, FILE)
PLACE: dict[str, Any] = {"endpoint": "OSS-cn-shanghai.aliyuncs.com", "bucket": "recordings"}


async def add(world: World, app: str = "live", stream: str = "*", **arguments: Any) -> None:
    given = {"formats": [WHOLE], **PLACE, **arguments}
    await world.services.recording.add(world.account, PLAY, app, stream, actor=ACTOR, **given)


async def plan(world: World) -> Plan | None:
    entry = await world.cluster.get(plan_key(PLAY))
    return None if entry is None else decode(entry.value)


async def test_a_template_is_in_the_plan_as_long_as_it_is_there(world: World) -> None:
    await world.pair()
    end_s = world.now_s + 3600
    await add(
        world,
        "live",
        "cam",
        formats=[SLICED, WHOLE],
        rendition_formats=[WHOLE],
        renditions=["ld"],
        on_demand=7,
        delay_s=15,
        end_time=format_time(end_s),
    )
    files = (RecordFormat("m3u8", 600, FILE, SLICE, 5), RecordFormat("mp4", 3600, FILE))
    expected = Record(
        "live", "cam", "oss-cn-shanghai.aliyuncs.com", "recordings", 7, 15, 0, int(end_s), files, files[1:], ("ld",)
    )
    found = await plan(world)
    assert found is not None
    assert found.records == (expected,)
    await world.services.recording.remove(world.account, PLAY, "live", "cam", actor=ACTOR)
    assert await plan(world) is None
    assert await code(world.services.recording.remove(world.account, PLAY, "live", "cam", actor=ACTOR)) == "ConfigNotFound"


async def test_a_deleted_domain_has_no_plan(world: World) -> None:
    await world.pair()
    await add(world)
    await world.domains.delete(world.account, PLAY, actor=ACTOR)
    assert await plan(world) is None


async def test_a_stream_is_recorded_by_the_template_that_names_it_most_exactly(world: World) -> None:
    await world.pair()
    for app, stream, delay_s in (("*", "*", 15), ("live", "*", 16), ("live", "cam", 17)):
        await add(world, app, stream, delay_s=delay_s)
    found = await plan(world)
    assert found is not None

    def delay_of(app: str, stream: str) -> int:
        record = best_match(found.records, app, stream)
        assert record is not None
        return record.delay_s

    assert [delay_of("other", "cam"), delay_of("live", "other"), delay_of("live", "cam")] == [15, 16, 17]
    for app, stream in (("*", "*"), ("live", ""), ("live", "cam")):
        assert await code(add(world, app, stream)) == "ConfigAlreadyExists"


async def test_a_change_leaves_what_it_does_not_name(world: World) -> None:
    await world.pair()
    await add(world, formats=[SLICED], delay_s=20)
    update = world.services.recording.update
    await update(world.account, PLAY, "live", endpoint=ENDPOINT, on_demand=2, formats=[GivenFormat("mp4")], actor=ACTOR)
    (item,) = (await world.services.recording.templates(world.account, PLAY)).items
    assert (item.on_demand, item.delay_s, item.formats) == (2, 20, (RecordFormat("mp4", 3600, FILE),))
    assert (item.endpoint, item.bucket, item.created_s) == (ENDPOINT, "recordings", world.now_s)
    assert await code(update(world.account, PLAY, "other", endpoint=ENDPOINT, actor=ACTOR)) == "ConfigNotFound"


async def test_templates_are_listed_in_the_order_in_which_they_were_made(world: World) -> None:
    await world.pair()
    for stream in ("c", "a", "b"):
        await add(world, "live", stream)
    await add(world, "other", "a")
    templates = world.services.recording.templates

    async def streams(**arguments: Any) -> list[str]:
        return [item.stream for item in (await templates(world.account, PLAY, **arguments)).items]

    assert await streams(app="live") == ["c", "a", "b"]
    assert await streams(order="desc", page_size=3) == ["a", "b", "a"]
    assert await streams(order="desc", page_size=3, page_number=2) == ["c"]
    assert await streams(stream="a") == ["a", "a"]
    assert (await templates(world.account, PLAY, page_size=1)).total == 4


async def test_only_a_main_streaming_domain_of_the_account_has_templates(world: World) -> None:
    await world.pair()
    add_to = world.services.recording.add
    for account, name, expected in (
        (world.account, PUSH, "IllegalOperation"),
        (world.stranger, PLAY, "InvalidDomain.NotFound"),
    ):
        assert await code(add_to(account, name, "live", formats=[WHOLE], actor=ACTOR, **PLACE)) == expected
    await world.add("sub.example.com")
    await add_to(world.account, "sub.example.com", "live", formats=[WHOLE], actor=ACTOR, **PLACE)
    assert await world.cluster.get(plan_key("sub.example.com")) is not None
    await world.services.bindings.map_play(world.account, "sub.example.com", PLAY, actor=ACTOR)
    assert await world.cluster.get(plan_key("sub.example.com")) is None
    assert (
        await code(add_to(world.account, "sub.example.com", "live", formats=[WHOLE], actor=ACTOR, **PLACE))
        == "IllegalOperation"
    )


async def test_a_bucket_is_written_to_before_it_is_taken_and_is_one_account_s(world: World) -> None:
    await world.pair()
    await world.domains.add(world.stranger, "play.example.org", "liveVideo", "eu-central-1", actor=ACTOR)
    await add(world)
    theirs = world.services.recording.add(world.stranger, "play.example.org", "live", formats=[WHOLE], actor=ACTOR, **PLACE)
    assert (await refused(theirs)).message.endswith("It is not a bucket of this account.")
    assert (await refused(add(world, "other", bucket="vod"))).code == "InvalidOssBucket.NotFound"
    assert await code(add(world, "other", bucket="No_Bucket")) == "InvalidOssBucket.Malformed"
    assert await code(add(world, "other", endpoint="no/host")) == "InvalidOssEndpoint.Malformed"


async def test_a_bucket_that_holds_files_is_taken_only_once_it_is_granted(world: World, tmp_path: Path) -> None:
    kept = tmp_path / "objects" / "backups" / "2026" / "db.m3u8"
    kept.parent.mkdir(parents=True)
    kept.write_text("the operator's own")
    await world.pair()
    fault = await refused(add(world, bucket="backups"))
    assert (fault.code, "must grant it" in fault.message) == ("InvalidOssBucket.NotFound", True)
    await world.services.buckets.grant("backups", world.account, actor=ACTOR)
    await add(world, bucket="backups")
    assert kept.read_text() == "the operator's own"
    assert await code(world.services.buckets.grant("backups", world.stranger, actor=ACTOR)) == "Bucket.InUse"
    assert await code(world.services.buckets.grant("../x", world.account, actor=ACTOR)) == "InvalidOssBucket.Malformed"


async def test_a_bucket_that_cannot_be_written_to_is_refused_with_the_reason(world: World) -> None:
    await world.pair()
    await add(world)
    place = world.services.recording._buckets._stores.local_path(ENDPOINT, "blocked", "x")
    assert place is not None
    place.parent.parent.mkdir(parents=True, exist_ok=True)
    place.parent.write_bytes(b"")  # a file where the bucket's folder would be
    error = await refused(add(world, "other", bucket="blocked"))
    assert error.code == "InvalidOssBucket.NotFound"
    assert "bucket blocked at oss-cn-shanghai.aliyuncs.com cannot be written to" in error.message


async def test_a_stream_goes_to_a_bucket_or_to_the_media_library(world: World) -> None:
    await world.pair()
    library = world.services.library
    await library.add(world.account, PLAY, "live", "cam", actor=ACTOR)
    assert await code(add(world, "live", "cam")) == "ConfigAlreadyExists"
    await add(world, "live", "other")
    assert await code(library.add(world.account, PLAY, "live", "other", actor=ACTOR)) == "ConfigAlreadyExists"
    found = await plan(world)
    assert found is not None
    record = best_match(found.records, "live", "cam")
    assert record is not None
    assert (record.bucket, record.endpoint, record.storage) == ("vod", "oss-eu-central-1.aliyuncs.com", "vod")
    assert [item.storage for item in found.records] == ["oss", "vod"]
    assert [item.format for item in record.formats] == ["m3u8"]
    assert record.formats[0].object_prefix.startswith(f"{PLAY}/{{AppName}}/")


async def test_the_library_keeps_files_where_its_template_says(world: World) -> None:
    await world.pair()
    library = world.services.library
    await library.add(
        world.account,
        PLAY,
        "live",
        location="media.oss-cn-beijing.aliyuncs.com",
        formats=[LibraryFormat("mp4", 0, "news,sports"), LibraryFormat("m3u8")],
        content="raw,transcode",
        renditions=["ld"],
        cycle_s=300,
        actor=ACTOR,
    )
    found = await plan(world)
    assert found is not None
    (record,) = found.records
    assert (record.bucket, record.endpoint) == ("media", "oss-cn-beijing.aliyuncs.com")
    assert [(item.format, item.cycle_s, item.slice_s) for item in record.formats] == [("mp4", 300, 0), ("m3u8", 300, 30)]
    assert record.rendition_formats == record.formats
    await library.update(world.account, PLAY, "live", formats=[LibraryFormat("flv")], delay_s=60, actor=ACTOR)
    (item,) = (await library.templates(world.account, PLAY)).items
    assert (item.formats, item.delay_s, item.cycle_s, item.renditions) == ((LibraryFormat("flv"),), 60, 300, ("ld",))
    await library.remove(world.account, PLAY, "live", actor=ACTOR)
    assert await plan(world) is None
    for wrong, expected in (
        ({"cycle_s": 299}, "InvalidCycleDuration.Malformed"),
        ({"content": "everything"}, "InvalidRecordContent"),
        ({"content": "transcode"}, "MissingTranscodeTemplates"),
        ({"renditions": ["ld"]}, "InvalidTranscodeTemplates"),
        ({"formats": [LibraryFormat("cmaf")]}, "InvalidFormat.Malformed"),
        ({"formats": []}, "InvalidFormat.Malformed"),
        ({"formats": [LibraryFormat("m3u8", 4)]}, "InvalidSliceDuration"),
        ({"formats": [LibraryFormat("mp4", 0, "x" * 33)]}, "InvalidTags"),
        ({"location": ".x"}, "InvalidStorageLocation"),
    ):
        assert await code(library.add(world.account, PLAY, "live", actor=ACTOR, **wrong)) == expected


async def test_a_command_goes_to_the_center(world: World) -> None:
    await world.pair()
    command = world.services.recording.command
    error = await refused(command(world.account, PLAY, "live", "cam", "start", actor=ACTOR))
    assert (error.code, error.status) == ("ServiceUnavailable", 503)
    center = Center()
    world.services.recording._centers = center  # type: ignore[assignment]
    await command(world.account, PLAY, "live", "cam", "stop", actor=ACTOR)
    question = {"domain": PLAY, "app": "live", "stream": "cam", "command": "stop"}
    assert center.asked == [("POST", "/record/command", question)]
    assert await code(command(world.account, PLAY, "live", "*", "stop", actor=ACTOR)) == "InvalidStreamName"


async def test_the_times_of_recordings_are_told(world: World) -> None:
    await world.pair()
    world.now_s += 86_400
    start_s = world.now_s - 1000
    await recorded(world.database, PLAY, "live", "cam", start_s=start_s, seconds=30)
    await recorded(world.database, PLAY, "live", "cam", start_s=start_s + 100, seconds=30, template="ld")
    await recorded(world.database, PLAY, "live", "cam", start_s=start_s + 500, seconds=30)

    async def times(stream: str, start_s: float, end_s: float) -> list[tuple[float, float]]:
        found = await world.services.record_content.contents(
            world.account, PLAY, "live", stream, format_time(start_s), format_time(end_s)
        )
        assert {(item.endpoint, item.bucket, item.name) for item in found} <= {
            (ENDPOINT, BUCKET, "{StreamName}/{UnixTimestamp}_{Sequence}")
        }
        return [(item.start_s, item.end_s) for item in found]

    assert await times("cam", start_s - 10, start_s + 1000) == [(start_s, start_s + 30), (start_s + 500, start_s + 530)]
    assert await times("cam", start_s + 30, start_s + 500) == []
    assert await times("cam_ld", start_s, start_s + 1000) == [(start_s + 100, start_s + 130)]
    with pytest.raises(DomainError, match="EndTime should be later"):
        await times("cam", start_s, start_s)
    with pytest.raises(DomainError, match="exceeds the limit"):
        await times("cam", start_s - 5 * 86_400, start_s)
    with pytest.raises(DomainError, match="older than 180 days"):
        await times("cam", start_s - 200 * 86_400, start_s - 199 * 86_400)


async def clip(world: World, start_s: float, end_s: float, stream: str = "cam", **arguments: Any) -> Clip:
    given = {"endpoint": ENDPOINT, "bucket": BUCKET, "object_": "clips/{AppName}/{StreamName}/{Second}.m3u8", **arguments}
    return await world.services.record_content.create_clip(
        world.account, PLAY, "live", stream, format_time(start_s), format_time(end_s), actor=ACTOR, **given
    )


async def listed(world: World, item: Clip) -> list[str]:
    """The addresses in a clip's playlist."""
    stores = world.services.record_content._stores
    text = (await stores.get(item.endpoint, item.bucket, item.key)).decode()
    assert text.endswith("#EXT-X-ENDLIST\n")
    return [line for line in text.splitlines() if not line.startswith("#")]


async def test_a_clip_lists_the_slices_that_were_complete_between_its_times(world: World) -> None:
    await world.pair()
    world.now_s += 86_400
    start_s = world.now_s - 1000
    await recorded(world.database, PLAY, "live", "cam", start_s=start_s, seconds=60)
    number = int(start_s)
    item = await clip(world, start_s + 15, start_s + 35)
    assert (item.duration_ms, item.width, item.height) == (20_000, 320, 180)
    assert item.key == "clips/live/cam/55.m3u8"
    assert item.url == f"http://shapes.oss-cn-shanghai.aliyuncs.com/{item.key}"
    assert await listed(world, item) == [f"../../../cam/{number + 10}_1.ts", f"../../../cam/{number + 20}_2.ts"]
    whole = await clip(world, start_s + 15, start_s + 35, whole_end=True, object_="whole.m3u8")
    assert await listed(world, whole) == [f"cam/{number + n}_{n // 10}.ts" for n in (10, 20, 30)]


async def test_slices_of_another_bucket_are_listed_by_their_urls(world: World) -> None:
    await world.pair()
    world.now_s += 86_400
    start_s = world.now_s - 1000
    await recorded(world.database, PLAY, "live", "cam", start_s=start_s, seconds=20)
    item = await clip(world, start_s, start_s + 10, bucket="clips")
    assert await listed(world, item) == [f"http://shapes.oss-cn-shanghai.aliyuncs.com/cam/{int(start_s)}_0.ts"]


async def test_what_cannot_be_clipped_is_refused(world: World) -> None:
    await world.pair()
    world.now_s += 86_400
    start_s = world.now_s - 1000
    assert await code(clip(world, start_s, start_s + 60)) == "InvalidStream.NotFound"
    await recorded(world.database, PLAY, "live", "cam", start_s=start_s, seconds=30, state="local")
    assert await code(clip(world, start_s, start_s + 60)) == "NoRecordContent"  # not stored yet
    await recorded(world.database, PLAY, "live", "cam", start_s=start_s + 100, seconds=30)
    await recorded(world.database, PLAY, "live", "cam", start_s=start_s + 200, seconds=30, bucket="another")
    assert await code(clip(world, start_s + 100, start_s + 300)) == "InvalidConfig.Changed"
    assert await code(clip(world, start_s + 100, start_s + 300, object_="{Name}.m3u8")) == "InvalidOssObject.Malformed"
    assert await code(clip(world, start_s + 100, start_s + 150, bucket="vod")) == "InvalidOssBucket.NotFound"
    assert await code(clip(world, start_s - 91 * 86_400, start_s - 90 * 86_400)) == "InvalidStartTime.Malformed"


async def test_clips_are_found_listed_and_deleted(world: World) -> None:
    await world.pair()
    world.now_s += 86_400
    content, start_s = world.services.record_content, world.now_s - 1000
    await recorded(world.database, PLAY, "live", "cam", start_s=start_s, seconds=60)
    made = []
    for number in range(3):
        made.append(await clip(world, start_s, start_s + 60, object_=f"{number}.m3u8"))
        world.now_s += 1
    span = (format_time(world.now_s - 60), format_time(world.now_s + 60))
    page = await content.clips(world.account, PLAY, "live", "cam", *span, order="desc", page_size=2)
    assert (page.items, page.total) == ([made[2], made[1]], 3)
    assert await content.clip(world.account, PLAY, "live", "cam", made[0].id) == made[0]
    assert await code(content.clip(world.account, PLAY, "live", "other", made[0].id)) == "InvalidRecordId.NotFound"
    told = await content.delete_clips(world.account, PLAY, "live", "cam", [made[0].id, "no"], files=True, actor=ACTOR)
    assert [(item.id, item.message) for item in told] == [(made[0].id, "OK"), ("no", "FileNotFound")]
    await content.delete_clips(world.account, PLAY, "live", "cam", [made[1].id], files=False, actor=ACTOR)
    stores = content._stores
    sizes = [await stores.size(item.endpoint, item.bucket, item.key) for item in made]
    assert [size is not None for size in sizes] == [False, True, True]
    assert (await content.clips(world.account, PLAY, "live", "cam", *span)).items == [made[2]]
    too_many = content.delete_clips(world.account, PLAY, "live", "cam", list(map(str, range(21))), files=True, actor=ACTOR)
    assert await code(too_many) == "InvalidRecordId"


async def test_recordings_and_their_files_are_listed_newest_first(world: World) -> None:
    await world.pair()
    world.now_s += 86_400
    content = world.services.record_content
    start_s = world.now_s - 1000
    first = await recorded(world.database, PLAY, "live", "cam", start_s=start_s, seconds=30)
    second = await recorded(world.database, PLAY, "live", "other", start_s=start_s + 100, seconds=30)
    found = await content.recordings(world.account, PLAY)
    assert [(item.id, item.duration_s, item.files, item.bytes) for item in found] == [
        (second, 30, 1, 1000),
        (first, 30, 1, 1000),
    ]
    assert [item.id for item in await content.recordings(world.account, PLAY, before=second)] == [first]
    assert [item.id for item in await content.recordings(world.account, PLAY, stream="other", state="closed")] == [second]
    (file,) = await content.files(world.account, PLAY, recording=first)
    assert (file.format, file.duration_ms, file.state) == ("mp4", 30_000, "stored")
    assert file.url == "http://shapes.oss-cn-shanghai.aliyuncs.com/cam/file.mp4"
    assert [item.stream for item in await content.files(world.account, PLAY, format_="mp4")] == ["other", "cam"]
    assert await code(content.recordings(world.stranger, PLAY)) == "InvalidDomain.NotFound"


async def test_what_a_former_domain_of_the_name_recorded_is_nobody_s(world: World) -> None:
    await world.pair()
    world.now_s += 86_400
    start_s = world.now_s - 1000
    await recorded(world.database, PLAY, "live", "cam", start_s=start_s, seconds=30)
    content, span = world.services.record_content, (format_time(start_s - 60), format_time(start_s + 60))
    keys = ["cam/file.mp4", f"cam/{int(start_s)}_0.ts"]
    for key in keys:
        await content._stores.put_bytes(ENDPOINT, BUCKET, key, b"film")
        assert (await content.find(world.account, PLAY, BUCKET, key)).bytes == 4
    await world.domains.delete(world.account, PLAY, actor=ACTOR)
    await world.domains.add(world.stranger, PLAY, "liveVideo", "eu-central-1", actor=ACTOR)
    world.account = world.stranger
    for key in keys:
        assert await code(content.find(world.account, PLAY, BUCKET, key)) == "InvalidFile.NotFound"
    assert await content.recordings(world.account, PLAY) == []
    assert await content.files(world.account, PLAY) == []
    assert await content.contents(world.account, PLAY, "live", "cam", *span) == []
    assert await code(clip(world, start_s, start_s + 60)) == "InvalidStream.NotFound"


async def test_what_is_too_old_is_forgotten(world: World) -> None:
    await world.pair()
    world.now_s += 86_400
    start_s = world.now_s - 1000
    await recorded(world.database, PLAY, "live", "cam", start_s=start_s, seconds=30)
    await clip(world, start_s, start_s + 30)
    assert await world.streams.purge() == 0
    world.now_s += 91 * 86_400
    assert await world.streams.purge() == 3
    async with world.database.read() as session:
        assert await session.get(MediaSlice, 1) is None
    world.now_s += 91 * 86_400
    assert await world.streams.purge() == 3
    async with world.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(Recording)) == 0


async def test_changes_stand_in_the_audit_log(world: World) -> None:
    await world.pair()
    await add(world)
    (entry,) = await world.services.audit.entries(world.account, action="AddLiveAppRecordConfig")
    assert entry.object == f"{PLAY}/live/*"
    assert json.loads(json.dumps(entry.after))["bucket"] == "recordings"
