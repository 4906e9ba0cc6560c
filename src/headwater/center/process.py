"""What every job process is: takes orders from the center on standard input, runs its jobs, and says how they are.

python -m headwater.center.record  ->  process.main("record", RecordJob)
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec
import structlog
import uvloop

from headwater.center.jobs import (
    ALIVE_S,
    LINE_MAX_BYTES,
    Alive,
    Answer,
    Ask,
    Change,
    Ended,
    JobState,
    Order,
    Report,
    Setup,
    Source,
    Start,
    Stop,
    Told,
)
from headwater.observe import log as logs

FINISH_S = 20.0
"""How long jobs may take to finish once the process is asked to end: a file's last bytes on a busy disk."""

log = structlog.get_logger()


class Job(Protocol):
    """One job of a process. Its methods are called on the event loop; what takes long belongs into a thread."""

    async def run(self) -> None:
        """Work until `stop`; returns when everything is in order. What it raises is the reason why the job failed."""

    async def change(self, source: Source, spec: msgspec.Raw) -> None:
        """Go on with another source or spec."""

    async def stop(self, reason: str) -> None:
        """Finish: `run` returns soon after."""

    async def ask(self, question: msgspec.Raw) -> object:
        """The answer to a question of the center's, to be encoded as JSON. What it raises is told as the error."""

    def state(self) -> JobState:
        """What the job does now."""


class Desk:
    """What a job has of its process.

    start: the order with which it began. setup: what the process was told. loop: on which the job's methods are called.
    """

    def __init__(self, process: JobProcess, start: Start) -> None:
        self.start = start
        self.setup = process.setup
        self.loop = process.loop
        self._process = process

    def tell(self, event: object) -> None:
        """Say to the department that something has happened (`Department.told`), in order; from any thread."""
        told = Told(self.start.job, msgspec.Raw(msgspec.json.encode(event)))
        self.loop.call_soon_threadsafe(self._process.say, told)


Make = Callable[[Desk], Job]
"""Makes a job at its start. Raises what is wrong with its spec."""


class JobProcess:
    """All jobs of this process."""

    def __init__(self, setup: Setup, make: Make, output: asyncio.WriteTransport, loop: asyncio.AbstractEventLoop) -> None:
        self.setup = setup
        self.loop = loop
        self._make = make
        self._output = output
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: dict[str, asyncio.Task[None]] = {}

    def say(self, report: Report) -> None:
        """Write a line to the center."""
        if not self._output.is_closing():
            self._output.write(msgspec.json.encode(report) + b"\n")

    def take(self, order: Order) -> None:
        """Carry out an order."""
        match order:
            case Start():
                self._running[order.job] = self._own(self._live(order))
            case Change():
                self._own(self._change(order))
            case Stop():
                self._own(self._stop(order.job, order.reason))
            case Ask():
                self._own(self._answer(order))

    async def beat(self) -> None:
        """Say every ALIVE_S what the jobs do, until cancelled."""
        while True:
            self.say(Alive({name: job.state() for name, job in self._jobs.items()}))
            await asyncio.sleep(ALIVE_S)

    async def finish(self, reason: str) -> None:
        """Stop all jobs in order, as far as they do in time."""
        for name in tuple(self._jobs):
            self._own(self._stop(name, reason))
        if self._running:
            await asyncio.wait(self._running.values(), timeout=FINISH_S)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _live(self, start: Start) -> None:
        error = ""
        structlog.contextvars.bind_contextvars(job=start.job)  # of this task and what it begins
        log.info("job starts", stream=f"{start.source.domain}/{start.source.app}/{start.source.stream}")
        try:
            job = self._jobs[start.job] = self._make(Desk(self, start))
            await job.run()
        except Exception as failure:  # the top of a job
            log.exception("job failed")
            error = str(failure) or type(failure).__name__
        finally:
            self._jobs.pop(start.job, None)
            self._running.pop(start.job, None)
        log.info("job ended", error=error)
        # after whatever the job has told by call_soon_threadsafe
        self.loop.call_soon(self.say, Ended(start.job, error))

    async def _change(self, order: Change) -> None:
        job = self._jobs.get(order.job)
        if job is not None:
            try:
                await job.change(order.source, order.spec)
            except Exception as failure:  # the job goes on as before
                log.exception("job cannot be changed", job=order.job, error=str(failure))

    async def _stop(self, name: str, reason: str) -> None:
        job = self._jobs.get(name)
        if job is not None:
            try:
                await job.stop(reason)
            except Exception:  # what does not stop is cancelled
                log.exception("job cannot be stopped", job=name)
                self._running[name].cancel()

    async def _answer(self, order: Ask) -> None:
        job = self._jobs.get(order.job)
        try:
            if job is None:
                raise LookupError("the job is not running")
            body, error = await job.ask(order.question), ""
        except Exception as failure:  # told to whoever asked
            body, error = None, str(failure) or type(failure).__name__
        self.say(Answer(order.id, msgspec.Raw(msgspec.json.encode(body)), error))

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def main(kind: str, make: Make) -> int:
    """Run the process until its standard input ends, or until SIGTERM; returns the exit code."""
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not stand between the reports
    gc.collect()
    gc.freeze()  # what is imported stays
    uvloop.run(_run(kind, make, output))
    return 0


async def _run(kind: str, make: Make, output: int) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    reader = asyncio.StreamReader(limit=LINE_MAX_BYTES)
    orders, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(output, "wb", buffering=0))
    first = await reader.readline()
    if not first:  # not needed any more
        orders.close()
        transport.close()
        return
    setup = msgspec.json.decode(first, type=Setup)
    logs.configure(setup.settings.log.format, setup.settings.log.level, process=f"{kind}-{setup.number}")
    process = JobProcess(setup, make, transport, loop)
    beating = loop.create_task(process.beat())
    asked = loop.create_task(stopping.wait())
    decoder = msgspec.json.Decoder(Order)
    try:
        while not asked.done():
            reading = loop.create_task(reader.readline())
            await asyncio.wait([reading, asked], return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                reading.cancel()
                break
            line = reading.result()
            if not line:
                break
            process.take(decoder.decode(line))
        await process.finish("the process is asked to stop" if asked.done() else "the center is gone")
    finally:
        asked.cancel()
        beating.cancel()
        orders.close()
        with contextlib.suppress(OSError):
            transport.close()
