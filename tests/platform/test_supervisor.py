"""A worker lives as long as its platform: it comes back when it dies, and goes when it is asked to."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headwater import supervisor
from headwater.supervisor import Supervisor

OBEDIENT = """
import pathlib, sys, time
line = sys.stdin.readline()
with open(sys.argv[1], "a") as file:
    file.write(line)
time.sleep(600)
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + OBEDIENT
SHORT = "import sys; sys.exit(3)"

BEATING = f"""
import asyncio, os, signal, sys
sys.path.insert(0, {str(Path(supervisor.__file__).parents[1])!r})  # -S leaves out where it is installed
from headwater.observe import heartbeat
async def main():
    heartbeat.begin(asyncio.get_running_loop())
    with open(sys.argv[1], "a") as file:
        file.write(sys.stdin.readline())
    await asyncio.sleep(600)
asyncio.run(main())
"""

Start = Callable[..., Supervisor]


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Starts supervisors with short pauses, and ends them all."""
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(supervisor, "BACKOFF_MAX_S", 0.03)
    monkeypatch.setattr(supervisor, "KILL_MARGIN_S", 0.1)
    started: list[Supervisor] = []

    def begin(code: str, *, drain_s: float = 5.0, on_exit: Callable[[], Awaitable[None]] | None = None) -> Supervisor:
        command = (sys.executable, "-S", "-c", code, str(tmp_path / "told"))
        started.append(Supervisor("worker-0", command, b"what it must know\n", drain_s, on_exit=on_exit))
        return started[-1]

    yield begin
    for item in started:
        item.hurry()
        await item.stop()


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def told(file: Path, times: int) -> None:
    await eventually(lambda: file.exists() and file.read_text().count("what it must know\n") >= times)


async def timed(work: Awaitable[object]) -> float:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await work
    return loop.time() - begin


async def test_a_worker_is_told_what_it_must_know_and_ends_on_sigterm(start: Start, tmp_path: Path) -> None:
    worker = start(OBEDIENT)
    await told(tmp_path / "told", 1)
    pid = worker.pid
    assert pid is not None
    assert os.getpgid(pid) == pid != os.getpgid(0)
    assert await worker.stop() == -signal.SIGTERM
    assert worker.pid is None
    assert not Path(f"/proc/{pid}").exists()


async def test_a_worker_that_dies_comes_back_and_the_log_says_why(start: Start, tmp_path: Path) -> None:
    with capture_logs() as logs:
        worker = start(OBEDIENT)
        await told(tmp_path / "told", 1)
        first = worker.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await told(tmp_path / "told", 2)
    assert worker.pid not in (None, first)
    assert worker.restarts == 1
    assert worker.first_exit.result() == -signal.SIGKILL
    (died,) = [line for line in logs if line["event"] == "worker died"]
    assert (died["exit"], died["log_level"]) == ("SIGKILL", "error")


async def test_a_worker_comes_back_even_if_what_it_left_cannot_be_cleared_away(start: Start) -> None:
    async def clear_away() -> None:
        raise OSError("the store is away")

    with capture_logs() as logs:
        worker = start(SHORT, on_exit=clear_away)
        await eventually(lambda: worker.restarts >= 2)
    assert "what a worker has left behind could not be taken back" in [line["event"] for line in logs]


async def test_pauses_grow_up_to_a_bound(start: Start) -> None:
    with capture_logs() as logs:
        worker = start(SHORT)
        await eventually(lambda: worker.restarts >= 4)
    pauses = [line["restart_in_s"] for line in logs if line["event"] == "worker died"]
    assert pauses[:4] == [0.01, 0.02, 0.03, 0.03]
    assert worker.first_exit.result() == 3


async def test_a_healthy_minute_forgives_what_was_before(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "HEALTHY_AFTER_S", 0.0)
    with capture_logs() as logs:
        worker = start(SHORT)
        await eventually(lambda: worker.restarts >= 3)
    assert {line["restart_in_s"] for line in logs if line["event"] == "worker died"} == {0.01}


async def test_a_worker_that_hangs_is_killed_and_started_anew_and_one_that_works_is_not(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LOOK_S", 0.2)
    with capture_logs() as logs:
        worker = start(BEATING)
        await told(tmp_path / "told", 1)
        first = worker.pid
        assert first is not None
        await asyncio.sleep(supervisor.HUNG_LOOKS * 0.2 + 1)  # it lives on longer than one that hangs
        assert worker.pid == first
        os.kill(first, signal.SIGSTOP)
        await told(tmp_path / "told", 2)
    assert worker.pid not in (None, first)
    assert worker.restarts == 1
    assert [line["reason"] for line in logs if line["event"] == "worker killed"] == ["no sign of life for 30 s"]


async def test_a_worker_that_cannot_be_started_is_tried_again(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object, **__: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", full)
    worker = start(OBEDIENT)
    await eventually(lambda: worker.restarts >= 2)
    monkeypatch.undo()
    await eventually(lambda: worker.pid)


async def test_a_worker_that_does_not_listen_is_killed(start: Start, tmp_path: Path) -> None:
    worker = start(STUBBORN, drain_s=0.1)
    await told(tmp_path / "told", 1)
    with capture_logs() as logs:
        assert await worker.stop() == -signal.SIGKILL
    assert [line["log_level"] for line in logs if line["event"] == "worker killed"] == ["error"]


async def test_a_hurry_does_not_wait_for_the_drain(start: Start, tmp_path: Path) -> None:
    worker = start(STUBBORN, drain_s=600)
    await told(tmp_path / "told", 1)
    worker.hurry()
    assert await timed(worker.stop()) < 5


async def test_a_stop_at_any_moment_of_the_start_ends_the_worker(start: Start) -> None:
    for steps in range(6):
        worker = start(OBEDIENT, drain_s=0.1)
        for _ in range(steps):
            await asyncio.sleep(0)
        await worker.stop()
        assert worker.pid is None


async def test_what_a_dead_worker_has_left_running_goes_with_it(start: Start, tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(child)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)"
    )
    worker = start(code)
    await eventually(lambda: child.exists() and child.read_text())
    await worker.stop()
    pid = int(child.read_text())

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    await eventually(gone)
