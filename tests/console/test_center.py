"""What is set for the live center in the console holds; what is wrong is said, and what was typed is not lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.console.pages.center import FILE_NAME, SLICE_NAME
from headwater.settings import Settings
from headwater.store.database import Database
from support.console_site import Site, Visitor

PLAY, PUSH = "play.example.test", "push.example.test"
RECORD = {
    "what": "add",
    "app": "live",
    "stream": "*",
    "bucket": "records",
    "endpoint": "local",
    "format": ["m3u8", "mp4"],
    "object_prefix": FILE_NAME,
    "slice_prefix": SLICE_NAME,
}


@pytest.fixture
async def placed(tmp_path: Path, site: Site) -> Site:
    """The same site with its buckets in a folder of the test."""
    database: Database = site.services.accounts._database
    placed = Site(database, Settings(data_dir=str(tmp_path)))
    account = await placed.account("ada")
    await placed.domain(account, PLAY)
    await placed.domain(account, PUSH, "liveEdge")
    return placed


@pytest.fixture
async def ada(placed: Site) -> Visitor:
    return await placed.visitor("ada")


async def _account(site: Site) -> str:
    return (await site.services.accounts.accounts())[0].id


async def test_a_recording_template_is_saved_and_removed(placed: Site, ada: Visitor) -> None:
    path = f"/domains/{PLAY}/recording"
    await ada.post(path, RECORD)
    listed = await placed.services.recording.templates(await _account(placed), PLAY)
    (template,) = listed.items
    assert [item.format for item in template.formats] == ["m3u8", "mp4"]
    await ada.post(path, {"what": "remove", "app": "live", "stream": "*"})
    assert (await placed.services.recording.templates(await _account(placed), PLAY)).total == 0


async def test_a_wrong_name_is_said_and_the_form_is_kept(placed: Site, ada: Visitor) -> None:
    page = await ada.post(f"/domains/{PLAY}/recording", {**RECORD, "object_prefix": "no/variables"})
    assert page.status == 400
    assert "no/variables" in page.html
    assert any(attrs.get("role") == "alert" for _, attrs in page.tags)


async def test_a_snapshot_template_is_saved(placed: Site, ada: Visitor) -> None:
    form = {"what": "add", "app": "live", "interval_s": "5", "bucket": "pictures", "endpoint": "local", "overwrite": ""}
    await ada.post(f"/domains/{PLAY}/snapshots", {**form, "sequence": "{StreamName}/{Sequence}.jpg"})
    listed = await placed.services.snapshots.templates(await _account(placed), PLAY)
    assert [item.interval_s for item in listed.items] == [5]


async def test_time_shift_and_delayed_copies_are_switched(placed: Site, ada: Visitor) -> None:
    path = f"/domains/{PLAY}/shift"
    await ada.post(path, {"what": "open", "app": "live", "stream": "*", "days": "3", "slice_s": "5"})
    assert [rule.days for rule in await placed.services.time_shift.rules(await _account(placed), PLAY)] == [3]
    await ada.post(path, {"what": "close", "app": "live", "stream": "*"})
    assert await placed.services.time_shift.rules(await _account(placed), PLAY) == []
    await ada.post(path, {"what": "delay", "app": "live", "stream": "cam", "delay_s": "20", "trigger": "CONFIG_ONLY"})
    assert (await placed.services.delays.rules(await _account(placed), PLAY)).total == 1
    await ada.post(path, {"what": "no-delay", "app": "live", "stream": "cam"})
    assert (await placed.services.delays.rules(await _account(placed), PLAY)).total == 0


async def test_callbacks_are_set_signed_and_removed(placed: Site, ada: Visitor) -> None:
    path, account = f"/domains/{PUSH}/callbacks", await _account(placed)
    await ada.post(path, {"what": "stream", "notify_url": "https://a.test/", "signed": "1", "key": "k" * 16})
    assert (await placed.services.notify.stream(account, PUSH)).signed
    page = await ada.post(path, {"what": "stream", "notify_url": "ftp://a.test/"})
    assert page.status == 400
    await ada.post(path, {"what": "no-stream"})
    assert (await placed.services.notify.stream(account, PUSH)).notify_url == ""
    path = f"/domains/{PLAY}/callbacks"
    await ada.post(path, {"what": "record", "notify_url": "https://a.test/", "status": "1"})
    await ada.post(path, {"what": "snapshot", "notify_url": "https://b.test/"})
    record, snapshot = await placed.services.notify.record(account, PLAY), await placed.services.notify.snapshot(account, PLAY)
    assert record is not None
    assert snapshot is not None
    assert (record.status, snapshot.notify_url) == (True, "https://b.test/")


async def test_renditions_and_groups_are_set_and_removed(placed: Site, ada: Visitor) -> None:
    path, account = f"/domains/{PLAY}/transcoding", await _account(placed)
    await ada.post(path, {"what": "presets", "app": "live", "template": ["lld", "lsd"]})
    custom = {"what": "custom", "app": "live", "template": "mine", "type": "h264", "width": "640", "height": "360", "fps": "25"}
    await ada.post(path, {**custom, "video_kbps": "500", "trigger": "publish"})
    templates = await placed.services.transcoding.templates(account, PLAY)
    assert {(item.template, item.lazy) for item in templates} == {("lld", True), ("lsd", True), ("mine", False)}
    page = await ada.get(path)
    assert "640" in page.text
    offered = [fields["value"] for _, fields in page.tags if fields.get("name") == "children"]
    assert offered == ["*source", "mine"]
    await ada.post(path, {"what": "group", "app": "live", "group": "all", "children": ["mine", "*source"]})
    assert [item.children for item in await placed.services.transcoding.groups(account, PLAY)] == [("mine", "")]
    await ada.post(path, {"what": "no-group", "app": "live", "group": "all"})
    await ada.post(path, {"what": "remove", "app": "live", "template": "mine"})
    assert len(await placed.services.transcoding.templates(account, PLAY)) == 2


async def test_a_wrong_template_is_said_and_what_was_typed_is_kept(ada: Visitor) -> None:
    form = {"what": "custom", "template": "wide", "type": "h264", "width": "99999", "height": "360", "fps": "25"}
    page = await ada.post(f"/domains/{PLAY}/transcoding", {**form, "video_kbps": "500"})
    assert page.status == 400
    assert "99999" in page.html
