"""Promises about snapshot templates and about the pictures that were taken."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from headwater.access import plan as plans
from headwater.access.plan import Plan, Snapshots
from headwater.domains import snapshots
from headwater.domains.object_names import problem
from headwater.domains.snapshots import KEPT_S, OVERWRITE_VARIABLES, SEQUENCE_VARIABLES, TEMPLATES_MAX, Taken
from headwater.store.models import Bucket, Callback, Snapshot, SnapshotNotify, SnapshotTemplate, Upload
from support import pictures
from support.domain_world import ACTOR, PLAY, PUSH, World, code, refused

OSS = {"endpoint": "oss-cn-shanghai.aliyuncs.com", "bucket": "pictures"}
OVERWRITE, SEQUENCE = "{AppName}/{StreamName}.jpg", "snapshot/{AppName}/{StreamName}/{Sequence}.jpg"
START_MS = 1_700_000_000_000


async def add(world: World, app: str = "live", **changes: object) -> None:
    fields: dict[str, object] = {"interval_s": 5, **OSS, "overwrite": OVERWRITE, "sequence": SEQUENCE, **changes}
    await world.services.snapshots.add(world.account, PLAY, app, **fields, actor=ACTOR)  # type: ignore[arg-type]


async def plan_of(world: World) -> Plan | None:
    entry = await world.cluster.get(plans.plan_key(PLAY))
    return None if entry is None else plans.decode(entry.value)


async def take(
    world: World, created_ms: int, stream: str = "cam", overwrite: str = OVERWRITE, sequence: str = SEQUENCE
) -> list[Taken]:
    return await pictures.take(world.database, PLAY, created_ms, stream=stream, overwrite=overwrite, sequence=sequence)


async def times(world: World, start_s: float, end_s: float, **options: object) -> tuple[list[int], int | None]:
    page = await world.services.snapshots.taken(world.account, PLAY, "live", "cam", start_s, end_s, **options)  # type: ignore[arg-type]
    return [item.created_ms for item in page.items], page.next_s


async def callbacks(world: World) -> list[str]:
    async with world.database.read() as session:
        return list(await session.scalars(select(Callback.url).order_by(Callback.id)))


async def test_a_template_reaches_the_plan_is_changed_part_by_part_and_goes(world: World) -> None:
    await world.pair()
    await add(world, callback="https://learn.aliyundoc.com/cb")
    await add(world, "*", interval_s=60, overwrite="", endpoint="https://OSS-cn-shanghai.aliyuncs.com/")
    plan = await plan_of(world)
    assert plan is not None
    assert plan.snapshots == (
        Snapshots("*", 60, OSS["endpoint"], OSS["bucket"], sequence=SEQUENCE),
        Snapshots("live", 5, OSS["endpoint"], OSS["bucket"], OVERWRITE, SEQUENCE, "https://learn.aliyundoc.com/cb"),
    )
    service = world.services.snapshots
    await service.update(world.account, PLAY, "live", interval_s=10, sequence="", actor=ACTOR)
    (changed,) = (await service.templates(world.account, PLAY, app="live")).items
    assert (changed.interval_s, changed.overwrite, changed.sequence) == (10, OVERWRITE, "")
    assert changed.callback == "https://learn.aliyundoc.com/cb"
    page = await service.templates(world.account, PLAY, order="desc", page_size=1)
    assert ([item.app for item in page.items], page.total) == (["live"], 2)
    for app in ("live", "*"):
        await service.remove(world.account, PLAY, app, actor=ACTOR)
    assert await plan_of(world) is None
    assert await code(service.remove(world.account, PLAY, "live", actor=ACTOR)) == "ConfigNotFound"
    assert await code(service.update(world.account, PLAY, "live", interval_s=9, actor=ACTOR)) == "ConfigNotFound"


async def test_templates_that_cannot_work_are_refused_with_what_is_wrong(world: World) -> None:
    await world.pair()
    for app, changes, expected in (
        ("-live", {}, "InvalidAppName"),
        ("live", {"interval_s": 4}, "InvalidTimeInterval"),
        ("live", {"interval_s": 3601}, "InvalidTimeInterval"),
        ("live", {"overwrite": "", "sequence": ""}, "MissingOverwriteOssObject"),
        ("live", {"overwrite": "{StreamName}.png"}, "InvalidOverwriteOssObject.Malformed"),
        ("live", {"sequence": "{StreamName}.jpg"}, "InvalidSequenceOssObject.Malformed"),
        ("live", {"callback": "ftp://example.com/"}, "InvalidCallback.Malformed"),
        ("live", {"callback": "http://"}, "InvalidCallback.Malformed"),
        ("live", {"callback": "https://example.com/" + "x" * 500}, "InvalidCallback.Malformed"),
        ("live", {"bucket": "No_Bucket"}, "InvalidOssBucket.Malformed"),
        ("live", {"endpoint": "not an endpoint"}, "InvalidOssEndpoint.Malformed"),
    ):
        assert await code(add(world, app, **changes)) == expected, changes
    assert "{Sequence}" in (await refused(add(world, sequence="{StreamName}.jpg"))).message
    assert await code(world.services.snapshots.templates(world.account, PUSH)) == "IllegalOperation"
    assert await code(world.services.snapshots.templates(world.stranger, PLAY)) == "InvalidDomain.NotFound"
    await add(world)
    assert await code(add(world)) == "ConfigAlreadyExists"
    update = world.services.snapshots.update(world.account, PLAY, "live", overwrite="", sequence="", actor=ACTOR)
    assert await code(update) == "MissingOverwriteOssObject"
    async with world.database.write() as session:
        for number in range(TEMPLATES_MAX - 1):
            row = SnapshotTemplate(
                domain=PLAY, app=f"app{number}", interval_s=5, **OSS, overwrite="x.jpg", sequence="", callback="", created_s=1
            )
            session.add(row)
    assert await code(add(world, "more")) == "QuotaExceeded.SnapshotConfig"


@pytest.mark.parametrize(
    "template", ["/a.jpg", "a//b.jpg", "../a.jpg", "a\\b.jpg", "{AppName.jpg", "{Nobody}.jpg", "a\n.jpg", "x" * 252 + ".jpg"]
)
def test_names_that_are_no_names_of_files_are_seen_when_they_are_saved(template: str) -> None:
    assert problem(template, OVERWRITE_VARIABLES)
    assert not problem("{AppName}/{StreamName}_{UnixTimestamp}.jpg", SEQUENCE_VARIABLES)


async def test_another_accounts_bucket_is_none_to_take(world: World) -> None:
    await world.pair()
    async with world.database.write() as session:
        session.add(Bucket(store="", bucket="theirs", account=world.stranger, since_s=1))
    assert await code(add(world, bucket="theirs")) == "InvalidOssBucket.NotFound"
    await add(world)
    update = world.services.snapshots.update(world.account, PLAY, "live", bucket="theirs", actor=ACTOR)
    assert await code(update) == "InvalidOssBucket.NotFound"


async def test_numbers_go_on_and_an_overwritten_picture_is_one_picture(world: World) -> None:
    await world.pair()
    for number in range(3):
        await take(world, START_MS + number * 5000)
    assert (await times(world, START_MS / 1000, START_MS / 1000 + 60))[0] == [
        START_MS,
        START_MS + 5000,
        START_MS + 10_000,
        START_MS + 10_000,
    ]
    page = await world.services.snapshots.taken(world.account, PLAY, "live", "cam", START_MS / 1000, START_MS / 1000 + 60)
    assert [(item.object, item.is_overlay) for item in page.items] == [
        ("snapshot/live/cam/1.jpg", False),
        ("snapshot/live/cam/2.jpg", False),
        ("live/cam.jpg", True),
        ("snapshot/live/cam/3.jpg", False),
    ]
    await world.services.snapshots.delete(world.account, PLAY, "live", "cam", [START_MS + 10_000], files=False, actor=ACTOR)
    (numbered,) = await take(world, START_MS + 20_000, overwrite="")
    assert numbered.object == "snapshot/live/cam/4.jpg"


async def test_a_picture_that_waits_is_not_told_of_until_it_is_stored(world: World) -> None:
    await world.pair()
    await add(world, callback="https://example.com/of-the-template")
    (waiting,) = await pictures.take(world.database, PLAY, START_MS, overwrite=OVERWRITE, is_stored=False)
    assert (await times(world, START_MS / 1000, START_MS / 1000 + 60))[0] == []
    assert await callbacks(world) == []
    async with world.database.write() as session:
        await snapshots.stored(session, await snapshots.row_of(session, waiting))
    assert (await times(world, START_MS / 1000, START_MS / 1000 + 60))[0] == [START_MS]
    assert await callbacks(world) == ["https://example.com/of-the-template"]


async def test_a_picture_takes_the_place_of_one_that_waits_under_its_name(world: World, tmp_path: Path) -> None:
    await world.pair()
    (first,) = await pictures.take(world.database, PLAY, START_MS, overwrite=OVERWRITE, is_stored=False)
    async with world.database.write() as session:
        row = await snapshots.row_of(session, first)
        fields = {"sha256": "", "content_type": "", "error": "", "state": "waiting", "node": "here", "owner_kind": "snapshot"}
        upload = Upload(path=str(tmp_path / "x.jpg"), **OSS, key=first.object, bytes=1, owner_id=row, tries=0, **fields)
        upload.next_try_s = upload.created_s = 1
        session.add(upload)
    async with world.database.write() as session:
        assert await snapshots.drop_uploads(session, [row]) == [tmp_path / "x.jpg"]
    (second,) = await take(world, START_MS + 5000, sequence="")
    async with world.database.read() as session:
        assert await snapshots.row_of(session, second) == row
        assert await session.scalar(select(func.count()).select_from(Upload)) == 0
    assert (await times(world, START_MS / 1000, START_MS / 1000 + 60))[0] == [START_MS + 5000]


async def test_callbacks_say_what_is_listed_and_go_to_the_template_or_to_the_domain(world: World) -> None:
    await world.pair()
    (taken,) = await take(world, START_MS, sequence="")
    assert await callbacks(world) == [], "nobody wants to know"
    async with world.database.write() as session:
        session.add(SnapshotNotify(domain=PLAY, notify_url="https://example.com/of-the-domain", signed=False, key=""))
    await take(world, START_MS, sequence="")
    await pictures.take(world.database, PLAY, START_MS, overwrite=OVERWRITE, callback="https://example.com/of-the-template")
    assert await callbacks(world) == ["https://example.com/of-the-domain", "https://example.com/of-the-template"]
    async with world.database.read() as session:
        (body,) = set(await session.scalars(select(Callback.body)))
    assert msgspec.json.decode(body) == {
        "DomainName": PLAY,
        "AppName": "live",
        "StreamName": "cam",
        "CreateTime": "2023-11-14T22:13:20Z",
        "CreateTimestamp": START_MS,
        "IsOverlay": True,
        "OssEndpoint": OSS["endpoint"],
        "OssBucket": OSS["bucket"],
        "OssObject": taken.object,
    }


async def test_pages_of_pictures_miss_nothing_and_repeat_nothing(world: World) -> None:
    await world.pair()
    taken_ms = [START_MS + offset for offset in (0, 400, 900, 1000, 5000, 5001, 9999, 60_000)]
    for created_ms in taken_ms:
        await take(world, created_ms, overwrite="")
    for limit in (1, 2, 3, 10):
        assert await _walked(world, "asc", limit) == taken_ms, limit
        assert await _walked(world, "desc", limit) == taken_ms[::-1], limit


async def _walked(world: World, order: str, limit: int) -> list[int]:
    """All pictures of a minute, page by page; a second more on the side from which one comes, for a span must have a length."""
    start_s, end_s, found = START_MS / 1000 - 1, START_MS / 1000 + 61, []
    while True:
        page, next_s = await times(world, start_s, end_s, limit=limit, order=order)
        found += page
        if next_s is None:
            return found
        start_s, end_s = (next_s, end_s) if order == "asc" else (start_s, next_s)


async def test_questions_about_more_than_a_day_or_nothing_are_refused(world: World) -> None:
    await world.pair()
    for start_s, end_s, expected in ((10, 10, "InvalidEndTime.Mismatch"), (0, 86_401, "InvalidTimeSpan")):
        asked = world.services.snapshots.taken(world.account, PLAY, "live", "cam", start_s, end_s)
        assert await code(asked) == expected


async def test_pictures_are_deleted_with_their_files_or_without(world: World, tmp_path: Path) -> None:
    await world.pair()
    await add(world)
    service, folder = world.services.snapshots, tmp_path / "objects" / "pictures"
    for number in range(2):
        for item in await take(world, START_MS + number * 5000, overwrite=""):
            (folder / item.object).parent.mkdir(parents=True, exist_ok=True)
            (folder / item.object).write_bytes(b"jpeg %d" % number)
    assert await service.picture(world.account, PLAY, "live", "cam", START_MS) == b"jpeg 0"
    strip = await service.strip(world.account, PLAY, "live", "cam", count=5)
    assert [item.created_ms for item in strip] == [START_MS, START_MS + 5000]
    gone = await service.delete(world.account, PLAY, "live", "cam", [START_MS, 7], files=True, actor=ACTOR)
    assert [(item.created_ms, item.problem) for item in gone] == [(START_MS, ""), (7, "FileNotFound")]
    assert not (folder / "snapshot/live/cam/1.jpg").exists()
    assert await code(service.picture(world.account, PLAY, "live", "cam", START_MS)) == "InvalidSnapshot.NotFound"
    await service.delete(world.account, PLAY, "live", "cam", [START_MS + 5000], files=False, actor=ACTOR)
    assert (folder / "snapshot/live/cam/2.jpg").read_bytes() == b"jpeg 1"
    assert await service.strip(world.account, PLAY, "live", "cam") == []
    too_many = service.delete(world.account, PLAY, "live", "cam", list(range(201)), files=False, actor=ACTOR)
    assert await code(too_many) == "InvalidCreateTimestampList"


async def test_a_picture_whose_file_is_gone_says_so_and_can_be_forgotten(world: World) -> None:
    await world.pair()
    await take(world, START_MS, overwrite="")
    service = world.services.snapshots
    assert await code(service.picture(world.account, PLAY, "live", "cam", START_MS)) == "Snapshot.NotReadable"
    (gone,) = await service.delete(world.account, PLAY, "live", "cam", [START_MS], files=True, actor=ACTOR)
    assert gone.problem == ""


async def test_after_a_year_it_is_forgotten_that_a_picture_was_taken(world: World) -> None:
    await world.pair()
    await take(world, START_MS)
    world.now_s = START_MS / 1000 + KEPT_S
    assert await world.services.snapshots.purge() == 0
    world.now_s += 1
    assert await world.services.snapshots.purge() == 3  # two pictures, and the stream's number
    async with world.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(Snapshot)) == 0


async def test_nothing_is_noted_of_a_domain_that_is_gone(world: World) -> None:
    with pytest.raises(IntegrityError):
        await take(world, START_MS)


async def test_a_name_that_is_too_long_with_its_stream_is_left_out(world: World) -> None:
    await world.pair()
    (short,) = await take(world, START_MS, stream="s" * 255, overwrite="{StreamName}.jpg", sequence="{UnixTimestamp}.jpg")
    assert short.object == "1700000000.jpg"
