"""Tells addresses of the public internet from those of private networks, so that checks cannot be sent into the latter."""

from __future__ import annotations

import ipaddress

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""RFC 6052 section 2.1: the last 32 bits are the IPv4 address that is really reached."""


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet, whatever notation or tunnel it hides behind.

    Raises ValueError for what is no address.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.scope_id:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved
