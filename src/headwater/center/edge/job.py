"""The job of edge transcoding: reads the input, lets a thread make the rendition, and publishes it to the output.

Input and output are lost and found again each by itself; the rendition's clock goes on over that (`media.timeline`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

import msgspec
import structlog

from headwater.access.media_url import INPUT_SCHEMES, OUTPUT_SCHEMES, parse_media_url
from headwater.access.outgoing import PublicOnly
from headwater.center.edge.backoff import Backoff
from headwater.center.edge.link import said
from headwater.center.edge.pull import pull
from headwater.center.edge.push import FAULTS, Push
from headwater.center.edge.spec import EdgeSpec
from headwater.center.jobs import JobState, Source
from headwater.center.process import Desk
from headwater.center.sender import Sender
from headwater.center.transcode.spec import Spec
from headwater.center.transcode.thread import TranscoderThread
from headwater.media.errors import MediaError
from headwater.media.tag import AUDIO, VIDEO, Flags, Tag
from headwater.media.timeline import Timeline

HOLD_S: Final = 10.0
"""How long the output stays connected without an input: a publisher that is silent for so long is ended by most servers."""

UNREAD_MAX_BYTES: Final = 16 * 1024 * 1024
"""What may wait for the decoder: four seconds of 32 Mbit/s. More stays with its server, which may send as fast as it likes."""

ROOM_S: Final = 0.05
"""How often that is looked at, while there is no room."""

log = structlog.get_logger()


class EdgeTranscodeJob:
    """One job. Raises msgspec.ValidationError for a spec that is none, ValueError for URLs that are not allowed."""

    def __init__(self, desk: Desk) -> None:
        self._loop = desk.loop
        settings = desk.setup.settings.center
        allow_private = settings.private_edge_urls
        network = PublicOnly(allow_private=allow_private)
        spec = msgspec.json.decode(desk.start.spec, type=EdgeSpec)
        self._network = network
        self._input = parse_media_url(spec.input, INPUT_SCHEMES, allow_private=allow_private)
        self._push = Push(parse_media_url(spec.output, OUTPUT_SCHEMES, allow_private=allow_private), network)
        self._timeline = Timeline()
        made = Spec((spec.rendition,), (), settings.transcode_threads, settings.transcode_nvenc)
        self._thread = TranscoderThread(made, desk.loop, self._send)
        self._sender: Sender[Push] | None = None
        self._input_fault = "not connected yet"
        self._needs_key = True

    async def run(self) -> None:
        """Work until `stop`; raises what the thread has failed by."""
        self._sender = Sender(self._push)
        reading = self._loop.create_task(self._read())
        try:
            await self._thread.run()
        finally:
            reading.cancel()
            ended, _ = await asyncio.gather(reading, self._sender.close(), return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended

    async def change(self, source: Source, spec: msgspec.Raw) -> None:
        """Nothing: the department lets a job begin anew that has another spec."""

    async def stop(self, reason: str) -> None:
        """Finish; what the encoders hold is still published."""
        log.info("edge transcoding stops", reason=reason)
        self._thread.close()

    async def ask(self, question: msgspec.Raw) -> object:
        """There is nothing to ask."""
        raise LookupError("edge transcoding answers no questions")

    def state(self) -> JobState:
        """What the job does now: `waiting` while its input or its output is not there."""
        state = self._thread.state()
        faults = [f"input: {self._input_fault}"] if self._input_fault else []
        if state.state == "running" and self._push.waits:
            faults.append(f"output: {self._push.waits}")
        detail = "; ".join([*faults, *([state.detail] if state.detail else [])])
        return msgspec.structs.replace(state, state="waiting" if faults else state.state, detail=detail)

    async def _read(self) -> None:
        """Read the input, again and again. What is unforeseen ends the job, which is then started anew."""
        try:
            await self._read_on()
        finally:
            self._thread.close()

    async def _read_on(self) -> None:
        backoff, last_at = Backoff(), time.monotonic()
        while True:
            try:
                async with contextlib.aclosing(pull(self._input, self._network)) as parts:
                    self._timeline.begin_session()
                    self._needs_key = True
                    async for tags in parts:
                        if self._input_fault:
                            log.info("input is read", input=self._input.masked)
                            self._input_fault = ""
                            backoff.connected()
                        self._thread.feed(self._mapped(tags))
                        last_at = time.monotonic()
                        while self._thread.inbox.waiting_bytes > UNREAD_MAX_BYTES:
                            await asyncio.sleep(ROOM_S)
            except (*FAULTS, MediaError) as error:
                fault = said(self._input, error)
            pause_s = backoff.failed()
            if fault != self._input_fault:
                log.warning("input is not read", input=self._input.masked, error=fault, again_in_s=pause_s)
            self._input_fault = fault
            if time.monotonic() - last_at >= HOLD_S:
                await self._push.close()
            await asyncio.sleep(pause_s)

    def _mapped(self, tags: list[Tag]) -> list[Tag]:
        """Sound and pictures on our own clock, without pictures that follow from none that we have."""
        mapped = []
        for tag in tags:
            if tag.kind not in (AUDIO, VIDEO):
                continue
            if tag.kind == VIDEO and not tag.flags & Flags.CONFIG:
                if self._needs_key and not tag.flags & Flags.KEY:
                    continue
                self._needs_key = False
            at_ms = self._timeline.map(tag.kind, tag.timestamp_ms)
            mapped.append(msgspec.structs.replace(tag, timestamp_ms=at_ms))
        return mapped

    def _send(self, ready: dict[str, list[Tag]]) -> None:
        for tags in ready.values():
            if self._sender is not None:
                self._sender.send(tags)
