"""Keeps a worker process alive: starts it, kills it when it hangs, restarts it with growing pauses, and stops it in order.

The worker's life hangs on its standard input: the pipe stays open as long as the main process lives, so even after a
`kill -9` of the main process the worker reads the end of file and leaves. No worker outlives its platform.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from headwater.observe import heartbeat

BACKOFF_FIRST_S = 0.5
"""Pause before the first restart: a worker that died once should be back before a player gives up."""

BACKOFF_FACTOR = 2.0

BACKOFF_MAX_S = 15.0
"""Longest pause: an operator who has mended the cause should not wait long for the next try."""

HEALTHY_AFTER_S = 60.0
"""A worker that has lived for so long was healthy: its next death counts as a first one."""

KILL_MARGIN_S = 3.0
"""How much longer than its drain time a stopping worker may take before it is killed."""

LOOK_S = 1.0
"""How often a worker's sign of life (observe.heartbeat) is looked for."""

HUNG_LOOKS = 30
"""A worker whose event loop has had no turn for so many looks is killed and started anew. After half a minute without a byte
every player's buffer has run dry and encoders have given up, so the kill takes nothing from anybody; a worker that is merely
busy gets many turns in that time, for no piece of its work takes a second. Looks are counted, not seconds: when the whole
machine stood still, this process had no turn either.
"""

START_FAILED = 127
"""Stands for the exit code of a process that could not be started, as in a shell."""

log = structlog.get_logger()


class Supervisor:
    """One worker process and its restarts.

    command: the program and its arguments. told: the bytes written to its standard input at each start.
    drain_s: how long a worker that was asked to stop may take for its connections.
    on_exit: awaited after each end of the worker, before it is started again.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        told: bytes,
        drain_s: float,
        clock: Callable[[], float] = time.monotonic,
        on_exit: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.name = name
        self.pid: int | None = None
        self.restarts = 0
        self.first_exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Set with the exit code when the worker ends for the first time: a start that waits for it can give up."""
        self._command = tuple(command)
        self._told = told
        self._drain_s = drain_s
        self._clock = clock
        self._on_exit = on_exit
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._last_exit: int | None = None
        self._task = asyncio.create_task(self._run(), name=f"supervisor {name}")

    async def stop(self) -> int | None:
        """End the worker: SIGTERM, then SIGKILL if it does not go in time. Returns its exit code, None if it was not up."""
        running = self.pid is not None
        self._stopping.set()
        await self._task
        return self._last_exit if running else None

    def hurry(self) -> None:
        """Do not wait any longer for a worker that was asked to stop."""
        self._hurry.set()

    async def _run(self) -> None:
        pause_s = BACKOFF_FIRST_S
        while not self._stopping.is_set():
            started = self._clock()
            self._last_exit = code = await self._live()
            if self._on_exit is not None:
                try:
                    await self._on_exit()
                except Exception:  # the worker must come back all the same
                    log.exception("what a worker has left behind could not be taken back", worker=self.name)
            if not self.first_exit.done():
                self.first_exit.set_result(code)
            if self._stopping.is_set():
                return
            if self._clock() - started >= HEALTHY_AFTER_S:
                pause_s = BACKOFF_FIRST_S
            self.restarts += 1
            log.error("worker died", worker=self.name, exit=_say(code), restart_in_s=pause_s, restarts=self.restarts)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            pause_s = min(pause_s * BACKOFF_FACTOR, BACKOFF_MAX_S)

    async def _live(self) -> int:
        """Start the worker and return its exit code once it has ended, by itself or because it was asked to stop."""
        beats, beater = os.pipe()
        os.set_blocking(beats, False)
        try:
            # A session of its own keeps the terminal's Ctrl-C away from the worker: it is asked to stop in its turn.
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                start_new_session=True,
                pass_fds=(beater,),
                env={**os.environ, heartbeat.VARIABLE: str(beater)},
            )
        except OSError as error:  # no memory or no process to be had just now
            os.close(beats)
            log.error("worker cannot be started", worker=self.name, error=str(error))
            return START_FAILED
        finally:
            os.close(beater)
        assert process.stdin is not None  # stdin=PIPE
        self.pid = process.pid
        log.info("worker started", worker=self.name, pid=process.pid)
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        watching = asyncio.create_task(self._watch(process, beats))
        try:
            process.stdin.write(self._told)
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await self._end(process, ended)
            return await ended
        finally:
            stopping.cancel()
            watching.cancel()
            os.close(beats)
            process.stdin.close()
            self.pid = None
            self._sweep(process.pid)

    async def _watch(self, process: asyncio.subprocess.Process, beats: int) -> None:
        """Kill the worker if it shows no sign of life any more. One that has shown none yet is still starting."""
        silent: int | None = None
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                if not os.read(beats, 4096):
                    return  # it ends
                silent = 0
            except BlockingIOError:
                if silent is not None:
                    silent += 1
            if silent is not None and silent >= HUNG_LOOKS:
                log.error("worker killed", worker=self.name, pid=process.pid, reason=f"no sign of life for {HUNG_LOOKS} s")
                self._send(process, signal.SIGKILL)
                return

    async def _end(self, process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
        self._send(process, signal.SIGTERM)
        hurried = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({ended, hurried}, timeout=self._drain_s + KILL_MARGIN_S, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not ended.done():
            log.error("worker killed", worker=self.name, pid=process.pid, reason="it did not stop in time")
            self._send(process, signal.SIGKILL)

    def _sweep(self, group: int) -> None:
        """Whatever the dead worker has left running in its process group goes with it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)

    @staticmethod
    def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)


def _say(code: int) -> str:
    if code >= 0:
        return f"code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
