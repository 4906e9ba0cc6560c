"""Starts the processes of a load run, adds up what they report, and ends them."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import sys
from collections.abc import Callable

import msgspec

from headwater.load.plan import Plan
from headwater.load.tally import Report, Tally

FILES_BESIDE = 64
"""Open files of a process that are no connections."""

FILES_PER_HLS_VIEWER = 2
"""A connection, and one more for segments of another host. All others have one connection."""

LINE_BYTES_MAX = 4 * 1024 * 1024
END_TIMEOUT_S = 15.0
"""After its end a process has so long for its last report."""

Progress = Callable[[Tally], None]


class RunError(Exception):
    """A run that cannot be, or did not come to its end; the message is for the user."""


def raise_file_limit(clients: int, processes: int, *, hls: bool) -> None:
    """Allow this process's children as many open files as they need. Raises RunError if the system does not."""
    needed = -(-clients // processes) * (FILES_PER_HLS_VIEWER if hls else 1) + FILES_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise RunError(
            f"{clients} clients in {processes} processes need {needed} open files in each, and the system allows {hard}"
            " (ulimit -Hn); raise the limit, or use more --processes"
        )
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def run(plans: list[Plan], progress: Progress) -> Tally:
    """Run all processes until their time is over, they have nothing left to do, or Ctrl-C. Raises RunError.

    progress: called with the sum of all at each report.
    """
    return asyncio.run(_run(plans, progress))


async def _run(plans: list[Plan], progress: Progress) -> Tally:
    latest: dict[int, Tally] = {}

    def add_up() -> Tally:
        total = Tally()
        for _, tally in sorted(latest.items()):
            total.merge(tally)
        return total

    def take(index: int, tally: Tally) -> None:
        latest[index] = tally
        progress(add_up())

    children = [_Child(plan, take) for plan in plans]
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for child in children:
            child.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        async with asyncio.TaskGroup() as group:
            for child in children:
                group.create_task(child.run())
    except* RunError as errors:
        raise RunError(str(errors.exceptions[0])) from None
    return add_up()


class _Child:
    """One process."""

    def __init__(self, plan: Plan, take: Callable[[int, Tally], None]) -> None:
        self._plan = plan
        self._take = take
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Let it end now."""
        self._stop.set()

    async def run(self) -> None:
        """From its start to its end. Raises RunError if it ends without a last report."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headwater.load"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
            start_new_session=True,  # Ctrl-C is ours to handle
        )
        assert process.stdin is not None
        assert process.stdout is not None
        stopper = asyncio.create_task(self._stopped(process.stdin))
        try:
            process.stdin.write(msgspec.json.encode(self._plan) + b"\n")
            async for line in process.stdout:
                report = msgspec.json.decode(line, type=Report)
                self._take(self._plan.index, report.tally)
                if report.final:
                    break
            else:
                raise RunError(f"process {self._plan.index} ended without a report")
        finally:
            stopper.cancel()
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), END_TIMEOUT_S)
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _stopped(self, stdin: asyncio.StreamWriter) -> None:
        await self._stop.wait()
        stdin.close()
