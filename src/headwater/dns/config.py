"""What the main process tells the DNS process at its start: one line of JSON on its standard input."""

from __future__ import annotations

import msgspec

from headwater.settings import Settings

DNS_PREFIX = "dns/"
"""Keys `dns/<node>` in the cluster's store: a DNS server that listens and knows every name, with a lease."""


class DnsConfig(msgspec.Struct, frozen=True):
    """Everything the DNS process needs. It is started as `python -m headwater.dns`.

    addresses: public addresses of this node.
    cluster_socket, internal_socket: Unix sockets of the cluster's store, and on which the process answers `GET /metrics`.
    """

    node: str
    addresses: tuple[str, ...]
    settings: Settings
    cluster_socket: str
    internal_socket: str


class DnsPresence(msgspec.Struct, frozen=True):
    """The value of a server's key."""

    pid: int
