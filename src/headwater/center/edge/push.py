"""Publishes a stream to somebody else's RTMP server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import httpcore
import structlog

from headwater.access.media_url import MediaUrl
from headwater.access.outgoing import PublicOnly
from headwater.center.edge.backoff import Backoff
from headwater.center.edge.link import LinkFault, RtmpLink, said
from headwater.center.publish import Opening
from headwater.media.tag import Tag
from headwater.protocols import rtmp

FAULTS: Final = (
    LinkFault,
    OSError,
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    rtmp.RemoteProtocolError,
)
"""What may go wrong with a connection."""

log = structlog.get_logger()


class Push:
    """A stream that is published as there are tags to write; the connection is made, and made again, for them.

    waits: why it is not published now, "" while it is.
    """

    def __init__(self, url: MediaUrl, network: PublicOnly) -> None:
        self.stream = url.masked
        self.waits = "nothing was written yet"
        self._url = url
        self._network = network
        self._opening = Opening()
        self._backoff = Backoff()
        self._link: RtmpLink | None = None
        self._listening: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def write(self, tags: Sequence[Tag]) -> None:
        """Publish these tags; waits while the server takes no more.

        Without a connection they are lost, but for the codec configuration; with a new one it goes on at a key frame.
        """
        async with self._lock:
            self._opening.note(tags)
            try:
                if self._link is None:
                    tags = self._opening.cut(tags)
                    if not tags or not self._backoff.due():
                        return
                    await self._connect()
                    self._send(self._opening.headers(tags[0].timestamp_ms))
                self._send(tags)
                if self._link is not None:
                    await self._link.flush()
            except FAULTS as error:
                await self._forget(said(self._url, error))

    async def close(self) -> None:
        """End the stream in order; a later tag begins it anew."""
        async with self._lock:
            link = self._link
            if link is not None:
                try:
                    link.engine.end()
                    await link.flush()
                except FAULTS as error:
                    log.info("output is not ended in order", output=self.stream, error=said(self._url, error))
            await self._forget("")
            self.waits = "nothing is written now"

    async def _connect(self) -> None:
        self._link, _ = await RtmpLink.open(self._url, self._network, "publish")
        self._backoff.connected()
        self.waits = ""
        self._listening = asyncio.get_running_loop().create_task(self._listen(self._link))
        log.info("output is published", output=self.stream)

    async def _listen(self, link: RtmpLink) -> None:
        """Answer the server, and notice its end; the next write makes a new connection."""
        try:
            while True:
                await link.receive(None)
        except FAULTS as error:
            if self._link is link:
                self._link = None
                self._failed(said(self._url, error))
                await link.close()

    def _send(self, tags: Sequence[Tag]) -> None:
        if self._link is not None:
            for tag in tags:
                self._link.engine.send_tag(tag.kind, tag.timestamp_ms & 0xFFFF_FFFF, tag.payload)

    async def _forget(self, fault: str) -> None:
        link, self._link = self._link, None
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        if link is not None:
            await link.close()
        if fault:
            self._failed(fault)

    def _failed(self, fault: str) -> None:
        pause_s = self._backoff.failed()
        if fault != self.waits:
            log.warning("output is not published", output=self.stream, error=fault, again_in_s=pause_s)
        self.waits = fault
