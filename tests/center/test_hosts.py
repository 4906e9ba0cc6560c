"""Jobs run in processes of their own: what dies is started again, what hangs is killed, what is not wanted ends in order."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy.exc import OperationalError

from headwater.center import hosts as hosts_module
from headwater.center.department import AskFailed, Wanted
from headwater.center.hosts import Hosts, reap_left_behind, usage_of
from headwater.center.jobs import Setup, Source
from headwater.center.manager import Desired
from headwater.settings import Settings
from support.fake_department import FakeDepartment
from support.wait import eventually

Key = tuple[str, str]


class House:
    """Hosts, and the jobs that a test wants of them. Time runs `ahead` of the real one."""

    def __init__(self, notes: Path, jobs_per_process: int = 1) -> None:
        self.department = FakeDepartment(jobs_per_process=jobs_per_process)
        self.ahead_s = 0.0
        self.notes = notes
        self.hosts = Hosts([self.department], Setup(Settings(), str(notes)), notes, lambda: time.monotonic() + self.ahead_s)
        self.desired: dict[Key, Desired] = {}

    def want(self, job: str, mode: str = "run", session: str = "s1") -> None:
        spec = msgspec.json.encode({"mode": mode})
        source = Source("play.test", "live", job, session, "/nowhere.sock")
        self.desired["record", job] = Desired("record", Wanted(job, spec), source)
        self.hosts.carry_out(self.desired)

    def drop(self, job: str) -> None:
        del self.desired["record", job]
        self.hosts.carry_out(self.desired)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        def look() -> object:
            self.hosts.carry_out(self.desired)
            return condition()

        await eventually(look, what, 20)

    async def started(self, count: int) -> list[int]:
        """The processes in which jobs have begun, in order."""
        await self.until(lambda: len(self.department.events("started")) >= count, f"{count} jobs have begun")
        return [int(str(event[2])) for event in self.department.events("started")]

    async def running(self, job: str) -> None:
        def runs() -> bool:
            state = self.hosts.jobs["record", job].state
            return state is not None and state.state == "running"

        await self.until(runs, f"{job} runs")


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[1]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(hosts_module, "BACKOFF_FIRST_S", 0.05)
    house = House(tmp_path)
    yield house
    await house.hosts.close(5)
    assert list(tmp_path.iterdir()) == []


async def test_what_a_job_tells_waits_for_the_database(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    told, failures = house.department.told, 0

    async def locked(job: str, event: msgspec.Raw) -> None:
        nonlocal failures
        if failures < 2:
            failures += 1
            raise OperationalError("INSERT", {}, Exception("database is locked"))
        await told(job, event)

    monkeypatch.setattr(house.department, "told", locked)
    house.want("cam")
    await house.started(1)
    assert failures == 2


async def test_a_job_whose_process_the_disk_cannot_note_runs_and_is_started_again(house: House) -> None:
    """The disk is full. Nobody would have read what the process says, and its job would have been begun for ever."""
    house.notes.rmdir()
    house.want("cam")
    await house.running("cam")
    (pid,) = await house.started(1)
    os.kill(pid, signal.SIGKILL)
    await house.started(2)
    house.notes.mkdir()


async def test_a_job_runs_answers_changes_and_ends_in_order(house: House) -> None:
    house.want("cam")
    await house.running("cam")
    assert bytes(await house.hosts.ask("record", "cam", {"a": 1})) == b'["asked",{"a":1}]'
    with pytest.raises(AskFailed, match="no answer"):
        await house.hosts.ask("record", "cam", "fail")
    with pytest.raises(AskFailed, match="not running"):
        await house.hosts.ask("record", "other", 1)
    house.want("cam", session="s2")
    await eventually(lambda: house.department.events("changed") == [["changed", "s2"]], "the job knows the new session")
    process = house.hosts.process_of(("record", "cam"))
    assert process is not None
    used = usage_of(process.pid)
    assert used is not None
    assert used[1] > 1_000_000
    house.drop("cam")
    await house.until(lambda: not house.hosts.jobs, "the job has ended")
    assert house.department.over == [("cam", "")]
    assert house.department.heard[-1] == ("cam", ["stopped"])
    await eventually(lambda: usage_of(process.pid) is None, "its process has ended")


async def test_a_job_that_fails_is_started_again_with_pauses_that_grow(house: House) -> None:
    house.want("cam", "fail")
    await house.started(3)
    assert [event[1] for event in house.department.events("started")][:3] == [1, 2, 3]
    assert house.department.over[0] == ("cam", "as it was told")
    assert house.hosts.jobs["record", "cam"].error == "as it was told"
    job = house.hosts.jobs["record", "cam"]
    await house.until(lambda: job.failures >= 3, "it has failed for the third time")
    assert job.next_try_at - time.monotonic() <= 0.2
    assert house.hosts.restarts["record"] >= 3


async def test_a_job_that_has_been_well_for_a_while_has_no_error_any_more(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.want("cam")
    await house.running("cam")
    (first,) = await house.started(1)
    os.kill(first, signal.SIGKILL)
    await house.started(2)
    await house.running("cam")
    job = house.hosts.jobs["record", "cam"]
    assert (job.error, job.failures) == ("the process died by SIGKILL", 1)
    monkeypatch.setattr(hosts_module, "HEALTHY_S", 0.0)
    await house.until(lambda: not job.error, "its error is forgotten")
    assert job.failures == 1


async def test_a_job_whose_process_crashes_is_started_in_another_one(house: House) -> None:
    house.want("cam", "crash")
    await house.until(lambda: len(house.department.over) > 1, "it has crashed twice")
    assert house.department.over[0] == ("cam", "the process died by SIGSEGV")
    assert house.hosts.deaths["record"] >= 2
    house.want("cam")
    await house.running("cam")


async def test_a_job_that_gives_no_sign_of_life_is_killed_and_started_again(house: House) -> None:
    house.want("cam", "hang")
    (pid,) = await house.started(1)
    await eventually(lambda: _state(pid) == "T", "the process stands still")
    house.want("cam", "run")
    house.ahead_s = 60
    await house.started(2)
    await house.running("cam")
    assert usage_of(pid) is None
    assert house.department.over[0] == ("cam", "no sign of life for 15 s")


async def test_a_job_whose_own_thread_is_stuck_is_killed(house: House) -> None:
    house.want("cam", "stuck")
    await house.started(2)
    assert house.department.over[0] == ("cam", "job cam is stuck for 1000 s")


async def test_a_job_that_does_not_stop_is_killed(house: House) -> None:
    house.want("cam", "stubborn")
    await house.running("cam")
    house.drop("cam")
    house.ahead_s = 10
    house.hosts.carry_out(house.desired)
    house.ahead_s = 26
    await house.until(lambda: not house.hosts.jobs, "the job is gone")


async def test_jobs_share_a_process_and_a_crash_parts_them(tmp_path: Path, house: House) -> None:
    shared = House(house.notes, jobs_per_process=4)
    for job in "abcd":
        shared.want(job)
    pids = await shared.started(4)
    assert len(set(pids)) == 1
    os.kill(pids[0], signal.SIGKILL)
    pids = (await shared.started(8))[4:]
    assert len(set(pids)) == 2
    await shared.hosts.close(5)


async def test_when_the_center_ends_so_do_its_jobs_and_a_process_that_does_not_is_killed(house: House) -> None:
    house.want("good")
    house.want("bad", "stubborn")
    pids = await house.started(2)
    await house.running("good")
    await house.running("bad")
    await house.hosts.close(0.5)
    assert [usage_of(pid) for pid in pids] == [None, None]
    assert ("good", "") in house.department.over


async def test_jobs_of_a_killed_center_are_waited_for_and_then_killed(house: House, tmp_path: Path) -> None:
    house.want("cam", "hang")
    (pid,) = await house.started(1)
    (tmp_path / str(os.getpid())).write_text("1")  # a number that is another program's by now
    await reap_left_behind(tmp_path, 0.0)
    await eventually(lambda: usage_of(pid) is None, "the process is gone")
    assert not (tmp_path / str(os.getpid())).exists()
    house.desired.clear()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
