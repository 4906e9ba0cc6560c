"""A connection to somebody else's RTMP server, and the faults that end one.

All connections of edge transcoding are made by `access.outgoing.PublicOnly`, to the very address that was looked at.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from functools import cache
from typing import Final

import httpcore

from headwater.access.media_url import MediaUrl
from headwater.access.outgoing import PublicOnly
from headwater.protocols import rtmp

CONNECT_S: Final = 8.0
"""For a connection, and for each answer until the stream begins. A job that is stopped meanwhile has 20 s to end."""

SILENT_S: Final = 10.0
"""An input that sends nothing for so long is given up, as a publisher is (reference media-plane 5.2)."""

STUCK_S: Final = 8.0
"""A server that takes nothing for so long is given up."""

READ_BYTES: Final = 64 * 1024

FOURCC: Final = ("hvc1", "av01", "vp09")
"""Codecs of Enhanced RTMP that we can take, and send in the form in which they came."""

_STARTS: Final = {"publish": "NetStream.Publish.Start", "play": "NetStream.Play.Start"}
_ENDS: Final = ("NetStream.Play.Stop", "NetStream.Play.UnpublishNotify", "NetStream.Unpublish.Success")


class LinkFault(Exception):
    """Why there is no stream, for people, without secrets."""


@cache
def tls() -> ssl.SSLContext:
    """Trusts whom the system trusts."""
    return ssl.create_default_context()


def said(url: MediaUrl, error: Exception) -> str:
    """What a fault says, without secrets."""
    return url.without_secrets(str(error) or type(error).__name__)[:300]


class RtmpLink:
    """One stream that is published or played over a connection of its own."""

    def __init__(self, url: MediaUrl, stream: httpcore.AsyncNetworkStream) -> None:
        self.engine = rtmp.ClientConnection(url.rtmp_app, url.tc_url, fourcc_list=FOURCC)
        self._url = url
        self._stream = stream

    @classmethod
    async def open(cls, url: MediaUrl, network: PublicOnly, command: str) -> tuple[RtmpLink, list[rtmp.MediaMessage]]:
        """Connect and begin to `publish` or `play`; what is played may begin with the answer.

        Raises LinkFault, and what reading and connecting does: OSError, httpcore errors, rtmp.RemoteProtocolError.
        """
        async with asyncio.timeout(CONNECT_S):  # the name's look-up, too
            stream = await network.connect_tcp(url.host, url.port, CONNECT_S)
        try:
            if url.tls:
                stream = await stream.start_tls(tls(), url.host, CONNECT_S)
            link = cls(url, stream)
            return link, await link._begin(command)
        except BaseException:
            await stream.aclose()
            raise

    async def receive(self, within_s: float | None) -> list[rtmp.MediaMessage]:
        """The next media; empty if something else came. Raises LinkFault at the end of the stream, and as `open`."""
        return self._media(await self._events(within_s))

    async def flush(self) -> None:
        """Send what the engine has ready; waits while the server takes no more."""
        data = self.engine.data_to_send()
        if data:
            await self._stream.write(data, STUCK_S)

    async def close(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def _begin(self, command: str) -> list[rtmp.MediaMessage]:
        await self.flush()
        media: list[rtmp.MediaMessage] = []
        started = False
        begin: Callable[[str], None] = self.engine.publish if command == "publish" else self.engine.play
        while not started:
            for event in await self._events(CONNECT_S):
                match event:
                    case rtmp.ConnectAccepted():
                        begin(self._url.rtmp_name)
                    case rtmp.ConnectRejected(code, description):
                        raise LinkFault(self._url.without_secrets(f"refused: {code} {description}".rstrip()))
                    case rtmp.StatusReceived(code):
                        self._check(event)
                        started = started or code == _STARTS[command]
                    case rtmp.MediaMessage():
                        media.append(event)
                        started = started or command == "play"  # servers exist that say nothing first
                    case _:
                        pass
            await self.flush()
        return media

    async def _events(self, within_s: float | None) -> list[rtmp.ClientEvent]:
        data = await self._stream.read(READ_BYTES, within_s)
        if not data:
            raise LinkFault("the server has closed the connection")
        events = self.engine.receive_data(data)
        await self.flush()
        return events

    def _media(self, events: list[rtmp.ClientEvent]) -> list[rtmp.MediaMessage]:
        media = []
        for event in events:
            if isinstance(event, rtmp.MediaMessage):
                media.append(event)
            elif isinstance(event, rtmp.StatusReceived):
                self._check(event)
        return media

    def _check(self, status: rtmp.StatusReceived) -> None:
        if status.level == "error":
            raise LinkFault(self._url.without_secrets(f"refused: {status.code} {status.description}".rstrip()))
        if status.code in _ENDS:
            raise LinkFault("the stream has ended")
