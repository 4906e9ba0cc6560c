"""Reads a stream from somebody else's server: RTMP, or FLV over HTTP, both with or without TLS."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpcore

from headwater.access.media_url import MediaUrl
from headwater.access.outgoing import PublicOnly
from headwater.center.edge.link import CONNECT_S, SILENT_S, LinkFault, RtmpLink, tls
from headwater.media import flv
from headwater.media.codecs import classify
from headwater.media.tag import Tag
from headwater.protocols import rtmp


def pull(url: MediaUrl, network: PublicOnly) -> AsyncGenerator[list[Tag], None]:
    """The tags of one connection, with the timestamps of the wire; it ends by an exception.

    Raises LinkFault, and what reading and connecting does: OSError, httpcore errors, RemoteProtocolError, MediaError.
    """
    return _rtmp(url, network) if url.scheme.startswith("rtmp") else _flv(url, network)


async def _rtmp(url: MediaUrl, network: PublicOnly) -> AsyncGenerator[list[Tag], None]:
    link, media = await RtmpLink.open(url, network, "play")
    try:
        while True:
            if media:
                yield [_tag(message) for message in media]
            media = await link.receive(SILENT_S)
    finally:
        await link.close()


def _tag(message: rtmp.MediaMessage) -> Tag:
    return Tag(message.kind, message.timestamp, message.payload, classify(message.kind, message.payload))


async def _flv(url: MediaUrl, network: PublicOnly) -> AsyncGenerator[list[Tag], None]:
    """Redirects are not followed: the customer names the server that is asked."""
    timeouts = {"connect": CONNECT_S, "read": SILENT_S, "write": CONNECT_S, "pool": CONNECT_S}
    headers = [("Host", url.authority), ("Accept", "*/*")]
    address = f"{url.scheme}://{url.authority}{url.resource}"
    async with (
        httpcore.AsyncConnectionPool(ssl_context=tls(), network_backend=network) as pool,
        pool.stream("GET", address, headers=headers, extensions={"timeout": timeouts}) as response,
    ):
        if response.status != 200:
            raise LinkFault(f"the server answers {response.status}")
        reader = flv.Reader()
        async for data in response.aiter_stream():
            if tags := reader.feed(data):
                yield tags
    raise LinkFault("the stream has ended")
