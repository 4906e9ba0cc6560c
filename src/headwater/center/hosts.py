"""Runs jobs in processes: starts them, watches that they live, kills the hung, reaps the dead, and starts again with pauses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError

from headwater.center.department import AskFailed, Department
from headwater.center.jobs import (
    HUNG_S,
    LINE_MAX_BYTES,
    NO_SOURCE,
    Alive,
    Answer,
    Ask,
    Change,
    Ended,
    JobState,
    Order,
    Report,
    Setup,
    Start,
    Stop,
    Told,
)
from headwater.center.manager import Desired

BACKOFF_FIRST_S = 0.5
"""Pause before a failed job's first restart, as for workers (supervisor)."""

BACKOFF_FACTOR = 2.0

BACKOFF_MAX_S = 15.0
"""Longest pause: whoever has mended the cause should not wait long."""

HEALTHY_S = 60.0
"""A job that has run for so long was healthy: its next failure counts as a first one."""

STOP_S = 25.0
"""A job that was asked to stop and has not ended by then is killed with its process: the process itself gives it 20 s."""

ASK_S = 15.0
"""How long a job may take to answer: a snapshot waits for the next key frame, ten seconds away at most."""

log = structlog.get_logger()

Key = tuple[str, str]
"""Kind and id of a job."""


class RunningJob:
    """A job that is wanted, whether its process is up or not.

    state: what it said last; error: why it failed the last time, or waits. since: unix seconds at which it was wanted first.
    company: how many jobs may share its process: fewer after a crash, so that the one that causes it is found by itself.
    restarting: it is stopped in order to be started again.
    """

    def __init__(self, desired: Desired, since: float) -> None:
        self.desired = desired
        self.since = since
        self.state: JobState | None = None
        self.error = ""
        self.failures = 0
        self.company = sys.maxsize
        self.stopping_at: float | None = None
        self.restarting = False
        self._attempts = 0
        self._pause_s = BACKOFF_FIRST_S
        self._started_at = 0.0
        self.next_try_at = 0.0

    @property
    def ready(self) -> bool:
        """Whether it may be started now: it has what it needs."""
        return not self.desired.waits and (self.desired.source == NO_SOURCE or bool(self.desired.source.socket))

    @property
    def kind(self) -> str:
        return self.desired.kind

    @property
    def id(self) -> str:
        return self.desired.wanted.id

    def start(self, now: float) -> Start:
        """The order that starts it."""
        self._attempts += 1
        self._started_at = now
        self.state = JobState()
        wanted = self.desired.wanted
        return Start(wanted.id, self.desired.source, msgspec.Raw(wanted.spec), self._attempts)

    def alive(self, state: JobState, now: float) -> None:
        """It has said what it does."""
        self.state = state
        if now - self._started_at >= HEALTHY_S:
            self.error = ""  # whoever looks at a job that is well should not think that it is not

    def failed(self, error: str, now: float) -> None:
        """It has ended though it is wanted: note when to try again."""
        if now - self._started_at >= HEALTHY_S:
            self._pause_s, self.company = BACKOFF_FIRST_S, sys.maxsize
        self.state = None
        self.error = error
        self.failures += 1
        self.next_try_at = now + self._pause_s
        log.error("job failed", kind=self.kind, job=self.id, error=error, restart_in_s=self._pause_s, failures=self.failures)
        self._pause_s = min(self._pause_s * BACKOFF_FACTOR, BACKOFF_MAX_S)


class JobProcess:
    """One process of a kind of work, in a process group of its own, with its jobs.

    cores, memory_bytes: what it uses, from /proc. told: awaits the department about what happened, one thing after the other.
    """

    def __init__(
        self,
        department: Department,
        setup: Setup,
        notes: Path,
        clock: Callable[[], float],
        ended: Callable[[JobProcess, str, str], None],
        died: Callable[[JobProcess, str], None],
    ) -> None:
        self.department = department
        self.jobs: dict[str, RunningJob] = {}
        self.cores = 0.0
        self.cpu_s = 0.0
        self.memory_bytes = 0
        self.pid = 0
        self._notes = notes
        self._clock = clock
        self._ended = ended
        self._died = died
        self._alive_at = clock()
        self._looked_at = clock()
        self._process: asyncio.subprocess.Process | None = None
        self._orders: list[bytes] = [msgspec.json.encode(setup)]
        self._asked: dict[str, asyncio.Future[Answer]] = {}
        self._events: asyncio.Queue[Told | Ended] = asyncio.Queue()
        self._killed_for = ""
        self._finishing = False
        self.task = asyncio.get_running_loop().create_task(self._live(), name=f"job process {department.kind}")

    # orders

    def say(self, order: Order) -> None:
        """Give an order."""
        self._orders.append(msgspec.json.encode(order))
        self._send()

    async def ask(self, job: str, question: object) -> msgspec.Raw:
        """Ask one of its jobs. Raises AskFailed."""
        number = secrets.token_hex(4)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        self.say(Ask(job, number, msgspec.Raw(msgspec.json.encode(question))))
        try:
            async with asyncio.timeout(ASK_S):
                answer = await future
        except TimeoutError:
            raise AskFailed(f"the job has not answered within {ASK_S:g} s") from None
        finally:
            del self._asked[number]
        if answer.error:
            raise AskFailed(answer.error)
        return answer.body

    def finish(self) -> None:
        """Let it end in order: no more orders will come."""
        self._finishing = True
        self._send()

    def kill(self, reason: str) -> None:
        """End it now, with whatever it has started."""
        self._killed_for = self._killed_for or reason
        if self.pid:
            log.error("job process killed", kind=self.department.kind, pid=self.pid, reason=reason, jobs=len(self.jobs))
            kill_group(self.pid)

    # what it does by itself

    def look(self) -> None:
        """Kill it if it is hung, and read what it uses. To be called about once a second."""
        now = self._clock()
        if self._killed_for or not self.pid:
            return
        if now - self._alive_at > HUNG_S:
            self.kill(f"no sign of life for {HUNG_S:g} s")
            return
        for name, job in self.jobs.items():
            if job.state is not None and job.state.stuck_s > HUNG_S:
                self.kill(f"job {name} is stuck for {job.state.stuck_s:.0f} s")
                return
            if job.stopping_at is not None and now - job.stopping_at > STOP_S:
                self.kill(f"job {name} does not stop")
                return
        used = usage_of(self.pid)
        if used is not None and now > self._looked_at:
            cpu_s, self.memory_bytes = used
            self.cores = max(cpu_s - self.cpu_s, 0.0) / (now - self._looked_at)
            self.cpu_s, self._looked_at = cpu_s, now

    async def _live(self) -> None:
        department = self.department
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                department.module,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=LINE_MAX_BYTES,
            )
        except OSError as error:
            self._died(self, f"the process cannot be started: {error}")
            return
        self.pid = process.pid
        self._alive_at = self._looked_at = self._clock()
        note = self._notes / str(process.pid)
        try:
            note.write_text(_begun(process.pid))
        except OSError as error:  # a full disk; only a center after this one would miss it
            log.warning("job process cannot be noted", kind=department.kind, pid=process.pid, error=str(error))
        log.info("job process started", kind=department.kind, pid=process.pid)
        telling = asyncio.get_running_loop().create_task(self._tell())
        try:
            self._send()
            await self._read(process)
            code = await process.wait()
            await self._events.join()  # what it said before its end
        finally:
            telling.cancel()
            kill_group(process.pid)  # whatever it has left running
            self.pid = 0
            if process.stdin is not None:
                process.stdin.close()
            with contextlib.suppress(OSError):
                note.unlink(missing_ok=True)
            for future in self._asked.values():
                if not future.done():
                    future.set_exception(AskFailed("the job's process has ended"))
        log.info("job process ended", kind=department.kind, pid=process.pid, exit=code)
        why = self._killed_for or (f"the process died by {_signal(-code)}" if code < 0 else f"the process ended with {code}")
        self._died(self, why)

    def _send(self) -> None:
        stdin = self._process.stdin if self._process is not None else None
        if stdin is None or stdin.is_closing():
            return
        stdin.write(b"".join(order + b"\n" for order in self._orders))
        self._orders.clear()
        if self._finishing:
            stdin.close()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        decoder = msgspec.json.Decoder(Report)
        try:
            while line := await process.stdout.readline():
                self._alive_at = self._clock()
                self._take(decoder.decode(line))
        except (ValueError, msgspec.MsgspecError) as error:  # a line too long, or none of ours
            self.kill(f"it says what cannot be understood: {error}")

    def _take(self, report: Report) -> None:
        match report:
            case Alive():
                for name, state in report.jobs.items():
                    if (job := self.jobs.get(name)) is not None:
                        job.alive(state, self._alive_at)
            case Answer():
                future = self._asked.get(report.id)
                if future is not None and not future.done():
                    future.set_result(report)
            case Told() | Ended():
                self._events.put_nowait(report)

    async def _tell(self) -> None:
        """Hand on what happened, in order, whatever the department does with it."""
        while True:
            event = await self._events.get()
            try:
                if isinstance(event, Ended):
                    self._ended(self, event.job, event.error)
                await self._hand_on(event)
            except Exception:  # the department's fault with one event is no reason to stop the others
                log.exception("department failed", kind=self.department.kind, job=event.job)
            finally:
                self._events.task_done()

    async def _hand_on(self, event: Told | Ended) -> None:
        """Tell the department; while the database is away, again and again, unless this process has to end."""
        pause_s = BACKOFF_FIRST_S
        while True:
            try:
                if isinstance(event, Told):
                    await self.department.told(event.job, event.event)
                else:
                    await self.department.ended(event.job, event.error)
                return
            except SQLAlchemyError as error:
                if self._finishing or self._killed_for:
                    raise
                log.warning("a job's news waits for the database", job=event.job, error=str(error), again_in_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * BACKOFF_FACTOR, BACKOFF_MAX_S)


class Hosts:
    """All job processes of the center.

    notes: a folder in which each process is noted while it lives, for `reap_left_behind`. clock: monotonic seconds; wall: unix
    seconds. restarts, deaths: of jobs and of processes, by kind.
    """

    def __init__(
        self,
        departments: Iterable[Department],
        setup: Setup,
        notes: Path,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.jobs: dict[Key, RunningJob] = {}
        self.restarts: dict[str, int] = {}
        self.deaths: dict[str, int] = {}
        self._departments = {department.kind: department for department in departments}
        self._setup = setup
        self._notes = notes
        self._clock = clock
        self._wall = wall
        self._processes: list[JobProcess] = []
        self._places: dict[Key, JobProcess] = {}
        self._numbers: dict[str, int] = {}
        self._over: set[asyncio.Task[None]] = set()
        self._closing = False

    def carry_out(self, desired: Mapping[Key, Desired]) -> None:
        """Let exactly these jobs run. Call it whenever they change, and about once a second."""
        now = self._clock()
        for key, job in tuple(self.jobs.items()):
            wanted = desired.get(key)
            if wanted is None:
                self._stop(key, job, now)
            elif job.stopping_at is None and (wanted.wanted.spec, wanted.source) != (
                job.desired.wanted.spec,
                job.desired.source,
            ):
                job.desired = wanted
                if key in self._places:
                    self._places[key].say(Change(job.id, wanted.source, msgspec.Raw(wanted.wanted.spec)))
                else:
                    job.next_try_at = min(job.next_try_at, now)  # what was wrong may be right now
            elif job.stopping_at is None:
                job.desired = wanted
        for key, wanted in desired.items():
            if key not in self.jobs:
                self.jobs[key] = RunningJob(wanted, self._wall())
        for key, job in self.jobs.items():
            if key not in self._places and job.stopping_at is None and now >= job.next_try_at and job.ready:
                self._place(key, job, now)
        for process in self._processes:
            process.look()
        for process in [process for process in self._processes if not process.jobs]:
            self._retire(process)

    def process_of(self, key: Key) -> JobProcess | None:
        """Where a job runs."""
        return self._places.get(key)

    def processes(self) -> list[JobProcess]:
        """All that run jobs."""
        return list(self._processes)

    async def ask(self, kind: str, job: str, question: object) -> msgspec.Raw:
        """Ask a running job. Raises AskFailed."""
        process = self._places.get((kind, job))
        if process is None:
            raise AskFailed("the job is not running")
        return await process.ask(job, question)

    def restart(self, kind: str, job: str) -> None:
        """Let a running job finish and begin anew. Raises AskFailed."""
        process, running = self._places.get((kind, job)), self.jobs.get((kind, job))
        if process is None or running is None or running.stopping_at is not None:
            raise AskFailed("the job is not running")
        running.restarting = True
        running.stopping_at = self._clock()
        process.say(Stop(job, "it is asked to begin anew"))

    async def close(self, within_s: float) -> None:
        """End all jobs in order; what has not ended in time is killed."""
        self._closing = True
        tasks = [process.task for process in self._processes] + list(self._over)
        for process in tuple(self._processes):
            process.finish()
        if tasks:
            await asyncio.wait(tasks, timeout=within_s)
        for process in tuple(self._processes):
            process.kill("it did not end in time")
        if tasks:
            await asyncio.wait(tasks)

    def _stop(self, key: Key, job: RunningJob, now: float) -> None:
        process = self._places.get(key)
        if process is None:
            if job.stopping_at is None:
                del self.jobs[key]
        elif job.stopping_at is None:
            job.stopping_at = now
            process.say(Stop(job.id, "it is not wanted any more"))

    def _place(self, key: Key, job: RunningJob, now: float) -> None:
        department = self._departments[job.kind]
        for process in self._processes:
            room = min([department.jobs_per_process, job.company, *(other.company for other in process.jobs.values())])
            if process.department is department and len(process.jobs) < room and job.id not in process.jobs:
                break
        else:
            number = self._numbers[job.kind] = self._numbers.get(job.kind, 0) + 1
            setup = msgspec.structs.replace(self._setup, number=number)
            process = JobProcess(department, setup, self._notes, self._clock, self._job_ended, self._process_died)
            self._processes.append(process)
        process.jobs[job.id] = job
        self._places[key] = process
        process.say(job.start(now))

    def _retire(self, process: JobProcess) -> None:
        """A process without jobs ends by itself once it has no orders to wait for."""
        self._processes.remove(process)
        process.finish()
        self._over.add(process.task)
        process.task.add_done_callback(self._over.discard)

    def _job_ended(self, process: JobProcess, name: str, error: str) -> None:
        job = process.jobs.pop(name, None)
        if job is None:
            return
        key = (job.kind, job.id)
        del self._places[key]
        if job.restarting and not self._closing:
            job.restarting, job.stopping_at, job.state, job.next_try_at = False, None, None, self._clock()
            return
        if job.stopping_at is not None or self._closing:
            del self.jobs[key]
            return
        self.restarts[job.kind] = self.restarts.get(job.kind, 0) + 1
        job.failed(error or "it ended by itself", self._clock())

    def _process_died(self, process: JobProcess, why: str) -> None:
        if process in self._processes:
            self._processes.remove(process)
        company = max(len(process.jobs) // 2, 1)
        kind = process.department.kind
        if process.jobs:
            self.deaths[kind] = self.deaths.get(kind, 0) + 1
        for name, job in tuple(process.jobs.items()):
            job.company = company
            self._job_ended(process, name, why)
            task = asyncio.get_running_loop().create_task(self._tell_ended(process.department, name, why))
            self._over.add(task)
            task.add_done_callback(self._over.discard)

    async def _tell_ended(self, department: Department, job: str, error: str) -> None:
        try:
            await department.ended(job, error)
        except Exception:  # as for every other event
            log.exception("department failed", kind=department.kind, job=job)


def kill_group(group: int) -> None:
    """End a process group, if it is still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def usage_of(pid: int) -> tuple[float, int] | None:
    """CPU seconds and resident bytes of a process (proc(5)); None once it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * resource.getpagesize()


async def reap_left_behind(folder: Path, within_s: float) -> None:
    """Wait for the job processes of a center that was killed, which end by themselves; kill those that do not."""
    deadline = time.monotonic() + within_s
    for pid in [int(name) for name in os.listdir(folder) if name.isdecimal()]:  # noqa: PTH208 (a few names, once)
        begun = (folder / str(pid)).read_text()
        while begun and _begun(pid) == begun:
            if time.monotonic() >= deadline:
                log.error("job process left behind is killed", pid=pid)
                kill_group(pid)
                break
            await asyncio.sleep(0.05)
        (folder / str(pid)).unlink(missing_ok=True)


def _begun(pid: int) -> str:
    """When a process began (proc(5), starttime), which tells it from a later one with its number; "" once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
