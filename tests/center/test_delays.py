"""Delayed streams: who gets one, and what the buffer promises."""

from __future__ import annotations

import errno
import os
from io import FileIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from headwater.access.plan import Delay, Plan
from headwater.access.presence import StreamPresence
from headwater.center.delay import spool as spools
from headwater.center.delay.job import MOMENT_MS, Gate, moments
from headwater.center.delay.spec import NOTE_FILE, DelaySpec, Note
from headwater.center.delay.spool import DelaySpool
from headwater.center.delays import Delays, delay_of
from headwater.center.department import Center
from headwater.center.source import Part
from headwater.media import flv
from headwater.media.tag import AUDIO, VIDEO, Flags, Tag
from support.media_clips import flv_clip

NOW_MS = 1_700_000_000_000


def stream(argument: str = "", name: str = "cam") -> StreamPresence:
    url = f"rtmp://push.test/live/{name}" + (f"?auth_key=x&alDelayTime={argument}" if argument else "")
    return StreamPresence("play.test", "live", name, "s", "push.test", url, 1.0, "192.0.2.1", "192.0.2.2", "node", 0)


@pytest.mark.parametrize(
    ("trigger", "argument", "delay_s"),
    [
        ("CONFIG_ONLY", "", 30),
        ("CONFIG_ONLY", "60", 30),
        ("PUBLISH_ONLY", "", None),
        ("PUBLISH_ONLY", "60", 60),
        ("PUBLISH_ONLY", "15", None),
        ("PUBLISH_ONLY", "3601", None),
        ("PUBLISH_ONLY", "x", None),
        ("PUBLISH_CONFIG", "", 30),
        ("PUBLISH_CONFIG", "16", 16),
        ("PUBLISH_CONFIG", "99999999", 30),
        ("PUBLISH_CONFIG", "\u0663\u0660", 30),
    ],
)
def test_whose_delay_holds(trigger: str, argument: str, delay_s: int | None) -> None:
    plan = Plan("play.test", "a", "eu", delays=(Delay("live", "*", 30, trigger),))  # type: ignore[arg-type]
    assert delay_of(stream(argument), plan) == delay_s
    assert delay_of(stream(argument, "cam-alidelay"), plan) is None
    assert delay_of(stream(argument), msgspec.structs.replace(plan, delays=(Delay("live", "b", 30, "CONFIG_ONLY"),))) is None


def tags_of_clip() -> list[Tag]:
    return flv.Reader().feed(flv_clip())


def read_all(spool: DelaySpool) -> list[tuple[int, list[Tag]]]:
    found = []
    while (record := spool.read()) is not None:
        found.append(record)
    return found


def test_the_buffer_gives_back_what_was_written_in_order_and_removes_it(tmp_path: Path) -> None:
    spool = DelaySpool(tmp_path / "b")
    tags = tags_of_clip()
    assert spool.read() is None
    spool.write(tags[:50], NOW_MS)
    assert read_all(spool) == [(NOW_MS, tags[:3]), (NOW_MS, tags[:50])]
    spool.write(tags[50:60], NOW_MS - 5)
    spool.write(tags[60:], NOW_MS + spools.FILE_MS)
    records = read_all(spool)
    assert [due for due, _ in records] == [NOW_MS, NOW_MS + spools.FILE_MS, NOW_MS + spools.FILE_MS]
    assert records[0][1] + records[2][1] == tags[50:]
    assert len(list((tmp_path / "b").iterdir())) == 1, "the first file was read, so it is gone"
    spool.close()


def test_a_new_process_goes_on_with_what_was_written_even_if_its_end_is_cut_off(tmp_path: Path) -> None:
    spool, tags = DelaySpool(tmp_path), tags_of_clip()
    spool.write(tags[:40], NOW_MS)
    spool.write(tags[40:50], NOW_MS + 100)
    spool.close()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    again = DelaySpool(tmp_path)
    assert [some for _, some in read_all(again)][1:] == [tags[:40]]
    again.write(tags[50:], NOW_MS + 200)
    assert [some for _, some in read_all(again)] == [tags[50:]]
    again.close()


@pytest.mark.parametrize("damage", [b"\0" * 64, b"\xff" * 64])
def test_damage_in_a_file_costs_the_rest_of_that_file(tmp_path: Path, damage: bytes) -> None:
    spool, tags = DelaySpool(tmp_path), tags_of_clip()
    spool.write(tags[:40], NOW_MS)
    spool.write(tags[40:], NOW_MS + spools.FILE_MS)
    first = min(tmp_path.iterdir())
    first.write_bytes(first.read_bytes()[:-64] + damage)
    assert read_all(spool)[-1] == (NOW_MS + spools.FILE_MS, tags[40:])
    spool.close()


def test_a_full_buffer_leaves_out_what_comes_until_there_is_room_and_a_key_frame(tmp_path: Path) -> None:
    tags = tags_of_clip()
    key = next(index for index, tag in enumerate(tags) if tag.flags & Flags.KEY and index > 20)
    spool = DelaySpool(tmp_path, bytes_max=1)
    spool.write(tags[:10], NOW_MS)
    spool.write(tags[10:20], NOW_MS + 1)
    assert spool.full
    spool._bytes_max = 10**9
    spool.write([tag for tag in tags[20:key] if not tag.flags & Flags.KEY], NOW_MS + 2)
    spool.write(tags[key:], NOW_MS + 3)
    assert [due - NOW_MS for due, _ in read_all(spool)] == [0, 0, 3]
    spool.close()


def test_a_full_disk_costs_what_comes_meanwhile_and_nothing_of_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Disk(FileIO):
        full = False

        def write(self, data: Any, /) -> int:
            if Disk.full:
                super().write(bytes(data[:7]))
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    monkeypatch.setattr(spools, "FileIO", Disk)
    tags = tags_of_clip()
    keys = [index for index, tag in enumerate(tags) if tag.flags & Flags.KEY]
    spool = DelaySpool(tmp_path)
    spool.write(tags[: keys[1]], NOW_MS)
    Disk.full = True
    for at in (1, 2):  # one in the file that is written, one that would begin another
        spool.write(tags[keys[1] : keys[1] + 5], NOW_MS + at * spools.FILE_MS)
        assert spool.full
    Disk.full = False
    spool.write(tags[keys[1] + 5 : keys[2]], NOW_MS + 3 * spools.FILE_MS)
    spool.write(tags[keys[2] :], NOW_MS + 4 * spools.FILE_MS)
    assert not spool.full
    shown = [tag for _, some in read_all(spool) for tag in some if not tag.flags & (Flags.CONFIG | Flags.METADATA)]
    assert shown == [tag for tag in (*tags[: keys[1]], *tags[keys[2] :]) if not tag.flags & (Flags.CONFIG | Flags.METADATA)]
    spool.close()


def test_after_a_hole_nothing_passes_before_the_next_key_frame_but_configuration() -> None:
    gate = Gate()
    config = Tag(VIDEO, 0, b"c", Flags.CONFIG)
    key, frame, sound = Tag(VIDEO, 0, b"k", Flags.KEY), Tag(VIDEO, 40, b"f"), Tag(AUDIO, 40, b"a")
    assert gate.take([config, key, frame], late=True) == [config]
    assert gate.take([frame, sound], late=False) == []
    assert gate.take([sound, key, frame, sound], late=False) == [key, frame, sound]
    sounds = Gate()
    assert sounds.take([sound], late=True) == []
    assert sounds.take([sound], late=False) == [sound]


def test_what_a_connection_begins_with_is_due_as_it_was_made() -> None:
    tags = [Tag(VIDEO, time_ms, b"f") for time_ms in range(0, 2000, 40)]
    found = list(moments(Part(tags, fresh=True, newest_ms=1960), tags, NOW_MS))
    assert [tag for _, some in found for tag in some] == tags
    for at_ms, some in found:
        assert all(0 <= NOW_MS - 1960 + tag.timestamp_ms - at_ms < MOMENT_MS for tag in some)
    assert list(moments(Part(tags), tags, NOW_MS)) == [(NOW_MS, tags)]
    assert list(moments(Part(tags), [], NOW_MS)) == []


async def test_a_center_plays_out_what_still_waits_when_the_publisher_does_not_come_back(tmp_path: Path) -> None:
    now_s = NOW_MS // 1000
    resumed: list[Any] = []
    center = SimpleNamespace(spool=tmp_path, resume=lambda *told: resumed.append(told), stream=lambda _: None)
    delays = Delays(cast(Center, center), lambda: now_s)

    def buffer(name: str, age_s: int, note: bytes | None = None) -> Path:
        (wanted,) = delays.wanted(stream(name=name), plan, {})
        folder = tmp_path / msgspec.json.decode(wanted.spec, type=DelaySpec).folder
        spool = DelaySpool(folder)
        spool.write(tags_of_clip()[:50], NOW_MS)
        spool.close()
        (file,) = folder.glob("*.delay")
        os.utime(file, (now_s - age_s, now_s - age_s))
        if note is None:
            note = msgspec.json.encode(Note("play.test", "live", name, 60))
        (folder / NOTE_FILE).write_bytes(note)
        return folder

    plan = Plan("play.test", "a", "eu", delays=(Delay("live", "*", 60, "CONFIG_ONLY"),))
    over = buffer("over", 61)
    await delays.ended("play.test/live/over", "")
    assert not over.exists(), "it is played out"
    waits, over = buffer("waits", 20), buffer("over", 61)
    strange = [buffer("broken", 20, b"{"), buffer("other", 20, msgspec.json.encode(Note("play.test", "live", "x", 60)))]
    await delays.start()
    assert resumed == [(("play.test", "live", "waits"), "delay", *delays.wanted(stream(name="waits"), plan, {}), now_s - 20)]
    assert waits.is_dir()
    assert not over.exists(), "nothing in it can be due any more"
    assert all(folder.is_dir() for folder in strange), "until an hour has gone"
    await delays.ended("play.test/live/waits", "")
    assert waits.is_dir(), "its center ends, not its time"
