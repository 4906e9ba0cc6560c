"""Publishes what a job makes at the pace of whoever takes it, and gives up whole GOPs of what is not taken in time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import structlog

from headwater.center.publish import TakenOver
from headwater.media.tag import VIDEO, Flags, Tag

UNSENT_MAX_BYTES = 8 * 1024 * 1024
"""What may wait to be published: four seconds of 16 Mbit/s. More is given up, up to the next key frame."""

log = structlog.get_logger()


class Product(Protocol):
    """Where tags are published. stream: its name, for the log."""

    @property
    def stream(self) -> str: ...

    async def write(self, tags: Sequence[Tag]) -> None:
        """Publish these tags; waits while no more is taken. Raises TakenOver."""

    async def close(self) -> None:
        """End in order: what was written is delivered."""


P = TypeVar("P", bound=Product)


class Sender(Generic[P]):
    """Publishes one product from a task of its own, so that none waits for another. fault: why it does not, "" if it does."""

    def __init__(self, publication: P) -> None:
        self.publication = publication
        self.fault = ""
        self._unsent: deque[Tag] = deque()
        self._bytes = 0
        self._skipping = False
        self._news = asyncio.Event()
        self._closing = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    def send(self, tags: list[Tag]) -> None:
        """Publish these when there is time for them."""
        if self.fault:
            return
        for tag in tags:
            headers = tag.flags & (Flags.CONFIG | Flags.METADATA)
            if self._bytes > UNSENT_MAX_BYTES:
                self._skipping = True
            elif self._skipping and tag.kind == VIDEO and tag.flags & Flags.KEY:
                self._skipping = False
            if self._skipping and not headers:
                continue
            self._unsent.append(tag)
            self._bytes += len(tag.payload)
        self._news.set()

    async def close(self) -> None:
        """Publish what is there, then end the stream."""
        self._closing = True
        self._news.set()
        await self._task
        await self.publication.close()

    async def _run(self) -> None:
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._unsent:
                    tags, self._unsent, self._bytes = list(self._unsent), deque(), 0
                    await self.publication.write(tags)
                if self._closing:
                    return
        except TakenOver as error:
            self.fault = str(error)
            self._unsent.clear()
            log.warning("product is published by somebody else", stream=self.publication.stream)
