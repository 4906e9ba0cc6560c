"""Who asks: the facts of a client's request that access rules look at."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from headwater.access.addresses import AddressSet

TEXT_MAX = 1024
"""Characters of Referer and User-Agent that are looked at and kept: longer ones are no browser's, and viewers are many."""

FORWARDED_MAX = 16
"""Addresses of X-Forwarded-For that are looked at, the nearest ones: longer chains of proxies do not exist."""


class Client(msgspec.Struct, frozen=True):
    """One client, as seen when it asks to push or to play.

    ip: the address at the other end of the connection. protocol: `rtmp`, `flv`, `ws-flv` or `hls`. secure: over TLS.
    staging: it came by a staging address. forwarded: the addresses that trusted proxies name, the farthest first.
    referer: of an RTMP player its pageUrl, of a WebSocket its Origin if it sends no Referer. user_agent: of RTMP the flashVer.
    tls: the version of TLS as OpenSSL names it, such as `TLSv1.3`; "" without TLS.
    """

    ip: str
    protocol: str
    secure: bool = False
    staging: bool = False
    forwarded: tuple[str, ...] = ()
    referer: str = ""
    user_agent: str = ""
    tls: str = ""

    @property
    def origin(self) -> str:
        """The address of the client itself, behind the operator's own proxies."""
        return self.forwarded[-1] if self.forwarded else self.ip

    @property
    def spoken(self) -> str:
        """The protocol, `rtmps` for RTMP over TLS."""
        return "rtmps" if self.secure and self.protocol == "rtmp" else self.protocol


class Peer(msgspec.Struct, frozen=True):
    """The two ends of a connection: the client's address and ours, and the version of TLS ("" without)."""

    ip: str
    server: str
    tls: str = ""


class Doors:
    """What the operator says of the addresses on either end of a connection (settings `access.*`).

    trusted_proxies: networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; from anybody else they
    are only claims. staging_addresses: our own addresses by which staged configurations can be tried.
    """

    def __init__(self, trusted_proxies: tuple[str, ...] = (), staging_addresses: tuple[str, ...] = ()) -> None:
        self._proxies = AddressSet(trusted_proxies)
        self._staging = frozenset(staging_addresses)

    def side(self, peer: Peer) -> tuple[bool, bool, bool]:
        """All that a client of an HTTP request has of its connection but for the addresses: secure, staging, proxied."""
        return bool(peer.tls), peer.server in self._staging, bool(self._proxies) and peer.ip in self._proxies

    def rtmp(self, peer: Peer, *, page_url: str, flash_ver: str) -> Client:
        """A client of an RTMP connection."""
        return Client(
            peer.ip,
            "rtmp",
            secure=bool(peer.tls),
            staging=peer.server in self._staging,
            referer=page_url[:TEXT_MAX],
            user_agent=flash_ver[:TEXT_MAX],
            tls=peer.tls,
        )

    def http(self, peer: Peer, protocol: str, headers: Mapping[str, str]) -> Client:
        """A client of an HTTP request. headers: names in lower case."""
        secure = bool(peer.tls)
        forwarded: tuple[str, ...] = ()
        if self._proxies and peer.ip in self._proxies:
            forwarded = self._forwarded(headers.get("x-forwarded-for", ""))
            secure = headers.get("x-forwarded-proto", "https" if secure else "http").strip().lower() == "https"
        referer = headers.get("referer", "")
        if not referer and protocol == "ws-flv":
            referer = headers.get("origin", "")
        return Client(
            peer.ip,
            protocol,
            secure=secure,
            staging=peer.server in self._staging,
            forwarded=forwarded,
            referer=referer[:TEXT_MAX],
            user_agent=headers.get("user-agent", "")[:TEXT_MAX],
            tls=peer.tls,
        )

    def _forwarded(self, header: str) -> tuple[str, ...]:
        """The addresses of the header up to the last one that is no proxy of ours; that one is what our proxies saw."""
        addresses = [part.strip() for part in header.rsplit(",", FORWARDED_MAX)[-FORWARDED_MAX:]]
        while len(addresses) > 1 and addresses[-1] in self._proxies:
            addresses.pop()
        return tuple(address for address in addresses if address)
