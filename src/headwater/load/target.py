"""The URL that a client opens: which protocol it means, and the parts that a connection needs."""

from __future__ import annotations

from typing import Literal
from urllib.parse import SplitResult, urlsplit

import msgspec

Protocol = Literal["rtmp", "flv", "ws-flv", "hls"]

NUMBER = "{n}"
"""Stands in a URL for the client's number."""

_PORTS = {"rtmp": 1935, "rtmps": 443, "http": 80, "https": 443, "ws": 80, "wss": 443}


class Target(msgspec.Struct, frozen=True):
    """A URL taken apart. resource: path and query, as requested. authority: host and port, as they stand in the URL."""

    protocol: Protocol
    tls: bool
    host: str
    port: int
    authority: str
    resource: str

    @property
    def origin(self) -> tuple[str, int, bool]:
        """What a connection can be used for again."""
        return self.host, self.port, self.tls

    @property
    def rtmp_app(self) -> str:
        """The application: the path without its last part."""
        return self.resource.partition("?")[0].strip("/").rpartition("/")[0]

    @property
    def rtmp_name(self) -> str:
        """The stream's name with its query, as publish and play commands carry it."""
        path, mark, query = self.resource.partition("?")
        return path.rpartition("/")[2] + mark + query

    @property
    def tc_url(self) -> str:
        """The URL of the application, as the connect command carries it."""
        return f"{'rtmps' if self.tls else 'rtmp'}://{self.authority}/{self.rtmp_app}"


def parse_target(url: str) -> Target:
    """What a URL means. Raises ValueError, with a message for the user."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise ValueError(f"`{url}`: the URL must begin with one of {', '.join(f'{name}://' for name in _PORTS)}")
    if not parts.hostname:
        raise ValueError(f"`{url}`: the URL has no host")
    if any(character <= " " or character == "\x7f" for character in url):
        raise ValueError(f"`{url}`: the URL holds a space or a control character")
    protocol = _protocol(url, scheme, parts)
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    authority = parts.netloc.rpartition("@")[2]
    return Target(
        protocol, scheme in ("rtmps", "https", "wss"), parts.hostname, parts.port or _PORTS[scheme], authority, resource
    )


def _protocol(url: str, scheme: str, parts: SplitResult) -> Protocol:
    if scheme in ("rtmp", "rtmps"):
        if "/" not in parts.path.strip("/"):
            raise ValueError(f"`{url}`: an RTMP URL has an application and a stream: rtmp://host/app/stream")
        return "rtmp"
    if scheme in ("ws", "wss"):
        return "ws-flv"
    if parts.path.endswith(".m3u8"):
        return "hls"
    if parts.path.endswith(".flv"):
        return "flv"
    raise ValueError(f"`{url}`: the path must end with .flv or .m3u8, or the URL begin with ws:// or rtmp://")
