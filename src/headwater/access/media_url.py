"""The URL of somebody else's stream, to be read or published to: taken apart, checked, and told without secrets."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

import msgspec

from headwater.access.public import is_public

INPUT_SCHEMES: Final = ("rtmp", "rtmps", "http", "https")
"""http and https: FLV."""

OUTPUT_SCHEMES: Final = ("rtmp", "rtmps")

URL_MAX: Final = 2048
"""Characters. Signed URLs have some hundred."""

_PORTS: Final = {"rtmp": 1935, "rtmps": 443, "http": 80, "https": 443}

_SECRET_MIN: Final = 4
"""A shorter part of a URL is hidden in no text: it would be found in words that mean something else."""


class MediaUrl(msgspec.Struct, frozen=True):
    """A URL taken apart. authority: host and port as they stand in it. path begins with `/`; query is without its `?`."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str
    query: str

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in ("rtmps", "https")

    @property
    def resource(self) -> str:
        """Path and query, as HTTP requests them."""
        return self.path + (f"?{self.query}" if self.query else "")

    @property
    def rtmp_app(self) -> str:
        """The application: the path without its last part."""
        return self.path.strip("/").rpartition("/")[0]

    @property
    def rtmp_name(self) -> str:
        """The stream's name with its query, as publish and play commands carry it."""
        return self.path.rpartition("/")[2] + (f"?{self.query}" if self.query else "")

    @property
    def tc_url(self) -> str:
        """The URL of the application, as the connect command carries it."""
        return f"{self.scheme}://{self.authority}/{self.rtmp_app}"

    @property
    def masked(self) -> str:
        """What logs and audit entries may say: neither the query nor the last part of the path, which is often a key."""
        folder = self.path.rpartition("/")[0]
        return f"{self.scheme}://{self.authority}{folder}/..."

    def without_secrets(self, text: str) -> str:
        """A text of the other side, which may repeat what we have asked for, without what `masked` leaves out."""
        for secret in (self.rtmp_name, self.query, self.path.rpartition("/")[2]):
            if len(secret) >= _SECRET_MIN:
                text = text.replace(secret, "...")
        return text


def parse_media_url(url: str, schemes: Collection[str], *, allow_private: bool) -> MediaUrl:
    """Take a URL apart. An address that is written out is looked at here, names when they are connected to.

    Raises ValueError with a sentence for people, which does not repeat the URL.
    """
    if len(url) > URL_MAX:
        raise ValueError(f"It has at most {URL_MAX} characters.")
    if any(not "!" <= character <= "~" for character in url):
        raise ValueError("It has no spaces, control characters and letters beyond ASCII.")
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")
    except ValueError:  # a UnicodeError is one
        raise ValueError("It is no valid URL.") from None
    scheme = parts.scheme.lower()
    if scheme not in schemes:
        raise ValueError(f"It begins with {', '.join(f'{name}://' for name in schemes)}.")
    if not parts.hostname or port == 0:
        raise ValueError("It has no valid host and port.")
    if "@" in parts.netloc:
        raise ValueError("It has no user and password: sign it in its query.")
    if parts.fragment:
        raise ValueError("It has no fragment.")
    application, _, name = parts.path.strip("/").rpartition("/")
    if not name or parts.path.endswith("/"):
        raise ValueError("Its path ends with the name of a stream.")
    if scheme.startswith("rtmp") and not application:
        raise ValueError("It has an application and a stream: rtmp://host/app/stream.")
    _check_address(parts.hostname, allow_private)
    return MediaUrl(scheme, parts.hostname, port or _PORTS[scheme], parts.netloc, parts.path, parts.query)


def _check_address(host: str, allow_private: bool) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return  # a name
    if not allow_private and not is_public(host):
        raise ValueError("Its address is not a public one.")
