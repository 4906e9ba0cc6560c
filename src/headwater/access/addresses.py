"""A set of IP addresses and networks that says quickly whether it holds an address."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

_MAPPED = b"\0" * 10 + b"\xff\xff"
"""An IPv4 address mapped into IPv6 begins with this (RFC 4291 section 2.5.5.2)."""


class AddressSet:
    """Addresses and networks of both families, compiled once.

    Networks stand by the length of their prefix, so a look-up takes one step for each length in use, however many there are.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Raises ValueError for what is no address and no network in CIDR notation."""
        self._by_prefix: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        for text in networks:
            version, number, shift = _parse(text.strip())
            self._by_prefix[version].setdefault(shift, set()).add(number >> shift)

    def __bool__(self) -> bool:
        return any(self._by_prefix.values())

    def __contains__(self, address: str) -> bool:
        """False for what is no address."""
        try:
            if ":" not in address:
                number, version = int.from_bytes(socket.inet_pton(socket.AF_INET, address), "big"), 4
            else:
                packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
                mapped = packed.startswith(_MAPPED)
                number, version = int.from_bytes(packed[12:] if mapped else packed, "big"), 4 if mapped else 6
        except (OSError, ValueError):
            return False
        return any(number >> shift in networks for shift, networks in self._by_prefix[version].items())


def _parse(text: str) -> tuple[int, int, int]:
    """Version, address as a number, and bits of the host; quick for what is plain, since lists are long and loops wait."""
    address, _, prefix = text.partition("/")
    if ":" not in address and (not prefix or prefix.isdecimal()):
        try:
            shift = 32 - int(prefix or 32)
            if shift >= 0:
                return 4, int.from_bytes(socket.inet_pton(socket.AF_INET, address), "big"), shift
        except (OSError, ValueError):
            pass
    network = parse_network(text)
    return network.version, int(network.network_address), network.max_prefixlen - network.prefixlen


def parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """An address or a network; bits of the host may be set, as in `192.0.2.7/24`. Raises ValueError."""
    return ipaddress.ip_network(text.strip(), strict=False)
