"""A job process whose jobs do what their spec says: run, fail, crash, fall silent, take long to stop, publish a product."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import msgspec

from headwater.center import process
from headwater.center.jobs import JobState, Source
from headwater.center.process import Desk
from headwater.center.publish import Publication
from headwater.center.source import SourceReader


class Spec(msgspec.Struct):
    """mode: what the job does. publish: templates under which it publishes its source again."""

    mode: str = "run"
    publish: tuple[str, ...] = ()


class FakeJob:
    """Tells what is said to it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._spec = msgspec.json.decode(desk.start.spec, type=Spec)
        self._stopping = asyncio.Event()
        self._reader = SourceReader(desk.start.source)
        self._products: dict[str, Publication] = {}

    async def run(self) -> None:
        self._desk.tell(["started", self._desk.start.attempt, os.getpid()])
        match self._spec.mode:
            case "fail":
                raise ValueError("as it was told")
            case "fail once" if self._desk.start.attempt == 1:
                raise ValueError("once")
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
                await asyncio.sleep(0.05)
                os.kill(os.getpid(), signal.SIGSTOP)
        if self._spec.publish:
            await self._publish()
        await self._stopping.wait()
        if self._spec.mode == "stubborn":
            await asyncio.sleep(3600)
        self._desk.tell(["stopped"])
        await asyncio.gather(*(product.close() for product in self._products.values()))

    async def _publish(self) -> None:
        async for part in self._reader:
            for template in self._spec.publish:
                if template not in self._products:
                    source = self._desk.start.source
                    self._products[template] = Publication(source, f"{source.stream}_{template}", template)
                await self._products[template].write(part.tags)
            for template in [template for template in self._products if template not in self._spec.publish]:
                await self._products.pop(template).close()

    async def change(self, source: Source, spec: msgspec.Raw) -> None:
        self._spec = msgspec.json.decode(spec, type=Spec)
        self._reader.follow(source)
        self._desk.tell(["changed", source.session])

    async def stop(self, reason: str) -> None:
        self._reader.close()
        self._stopping.set()

    async def ask(self, question: msgspec.Raw) -> object:
        if bytes(question) == b'"fail"':
            raise ValueError("no answer")
        return ["asked", question]

    def state(self) -> JobState:
        stuck_s = 1000.0 if self._spec.mode == "stuck" else 0.0
        return JobState("running", speed=1.0, frames=7, stuck_s=stuck_s)


if __name__ == "__main__":
    sys.exit(process.main("fake", FakeJob))
