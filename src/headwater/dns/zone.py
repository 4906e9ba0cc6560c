"""The operator's zone: which names exist in it and what stands there.

A name below the zone comes from three sources. A domain that a customer added gives `<domain>.<zone>` addresses, which depend
on who asks. Keys `dns-txt/<name>` in the cluster's store give TXT records, for ACME. A file of the operator's own, in the
format of zone files, gives all else; where it has a CNAME, that is all there is.
"""

from __future__ import annotations

import ipaddress
import struct
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

import dns.exception
import dns.name
import dns.rdatatype
import dns.zone

from headwater.access.names import cname_target
from headwater.access.policy import Scope
from headwater.cluster.nodes import Role
from headwater.dns import names
from headwater.dns.message import AAAA, CNAME, NS, SOA, A, text_data
from headwater.settings import Dns as DnsSettings

RECORD_TYPES: Final = ("A", "AAAA", "CAA", "CNAME", "HTTPS", "MX", "SRV", "SVCB", "TXT")
"""What the operator's file may hold: what needs no more of a server than to hand it out."""

SOA_TTL_S = 3600
"""Of SOA and NS, which change when the operator changes the delegation."""

REFRESH_S, RETRY_S, EXPIRE_S = 3600, 600, 1_209_600
"""For secondaries, of which there are none: answers by place cannot be transferred (docs/dns.md)."""


class ZoneError(Exception):
    """A setting or file of the zone that cannot be used; the message names it."""


class Target(NamedTuple):
    """What a domain's name leads to: nodes of this role that may serve this scope."""

    role: Role
    scope: Scope


class Records(NamedTuple):
    """The records of one name and type."""

    ttl_s: int
    data: tuple[bytes, ...]


class Zone:
    """The names of the zone. Names are packed and in lower case."""

    def __init__(self, origin: str, settings: DnsSettings, own_addresses: tuple[str, ...], serial: int) -> None:
        """own_addresses: of the name server when the settings name none. Raises ZoneError."""
        try:
            self.origin = names.pack(origin)
        except ValueError as error:
            raise ZoneError(f"domains.cname_zone: {error}") from error
        self.targets: dict[bytes, Target] = {}
        self.texts: dict[bytes, Records] = {}
        self.below: Counter[bytes] = Counter()
        """How many names one label longer exist: a name with names below it exists, even if nothing stands there (RFC 8020)."""
        self.fixed: dict[bytes, dict[int, Records]] = {}
        self._suffix = f".{origin.removesuffix('.').lower()}"
        self._settings = settings
        self._own_addresses = own_addresses
        self.load_fixed(serial)

    def load_fixed(self, serial: int) -> None:
        """Read the operator's file again. Raises ZoneError, and keeps what was there."""
        fixed = _read_records(self._settings.records, self._suffix[1:]) if self._settings.records else {}
        servers = self._settings.nameservers or ("=".join(("ns1" + self._suffix, "/".join(self._own_addresses))),)
        server_names = []
        for entry in servers:
            name, addresses = _name_server(entry)
            server_names.append(name)
            if self.holds(name):
                for type_, data in addresses.items():
                    fixed.setdefault(name, {})[type_] = Records(SOA_TTL_S, tuple(data))
        apex = fixed.setdefault(self.origin, {})
        if CNAME in apex:
            raise ZoneError(f"dns.records: {self._settings.records} has a CNAME at the zone itself, where none may be")
        apex[NS] = Records(SOA_TTL_S, tuple(server_names))
        apex[SOA] = Records(SOA_TTL_S, (self._soa(server_names[0], serial),))
        for name in fixed.keys() - self.fixed.keys():
            self._comes(name)
        gone = self.fixed.keys() - fixed.keys()
        self.fixed = fixed
        for name in gone:
            self._went(name)

    def _soa(self, server: bytes, serial: int) -> bytes:
        hostmaster = self._settings.hostmaster or "hostmaster" + self._suffix
        try:
            mailbox = names.pack(hostmaster.replace("@", ".", 1))
        except ValueError as error:
            raise ZoneError(f"dns.hostmaster: {error}") from error
        negative_s = self._settings.negative_ttl_s
        return server + mailbox + struct.pack("!IIIII", serial & 0xFFFFFFFF, REFRESH_S, RETRY_S, EXPIRE_S, negative_s)

    def holds(self, name: bytes) -> bool:
        """Whether a name is the zone's or below it; label by label, for a label may hold any byte."""
        while len(name) > len(self.origin):
            name = names.parent(name)
        return name == self.origin

    def exists(self, name: bytes) -> bool:
        """Whether anything stands at a name or below it."""
        return name in self.targets or name in self.below or name in self.texts or name in self.fixed

    def set_target(self, domain: str, target: Target | None) -> None:
        """A domain was added or changed, or is gone (None)."""
        try:
            name = names.pack(cname_target(domain, self._suffix[1:]))
        except ValueError:  # no name, or too long to have a target: refused when it was added
            return
        if target is None:
            if self.targets.pop(name, None) is not None:
                self._went(name)
        else:
            self._comes(name)
            self.targets[name] = target

    def set_texts(self, name: str, texts: list[str] | None) -> None:
        """The TXT records of a name were put or are gone (None); a name outside the zone is nothing to us."""
        try:
            packed = names.pack(name)
        except ValueError:
            return
        if not self.holds(packed):
            return
        if not texts:
            if self.texts.pop(packed, None) is not None:
                self._went(packed)
            return
        self._comes(packed)
        self.texts[packed] = Records(self._settings.ttl_s, tuple(map(text_data, texts)))

    def _comes(self, name: bytes) -> None:
        """Something is about to stand at a name."""
        known = self.exists(name)
        while not known and name != self.origin:
            name = names.parent(name)
            known = self.exists(name)
            self.below[name] += 1

    def _went(self, name: bytes) -> None:
        """Something has stopped to stand at a name."""
        while not self.exists(name) and name != self.origin:
            name = names.parent(name)
            self.below[name] -= 1
            if not self.below[name]:
                del self.below[name]


def _name_server(entry: str) -> tuple[bytes, dict[int, list[bytes]]]:
    """`name` or `name=address/address`."""
    name, _, listed = entry.partition("=")
    addresses: dict[int, list[bytes]] = {}
    try:
        for text in filter(None, listed.split("/")):
            address = ipaddress.ip_address(text.strip())
            addresses.setdefault(A if address.version == 4 else AAAA, []).append(address.packed)
        return names.pack(name.strip()), addresses
    except ValueError as error:
        raise ZoneError(f"dns.nameservers: `{entry}`: {error}; expected `name` or `name=address/address`") from error


def _read_records(file: str, origin: str) -> dict[bytes, dict[int, Records]]:
    try:
        zone = dns.zone.from_text(
            Path(file).read_text(),
            dns.name.from_text(origin),
            relativize=False,
            check_origin=False,
            allow_include=False,
            filename=file,
        )
    except OSError as error:
        raise ZoneError(f"dns.records: cannot read {file}: {error.strerror}") from error
    except (dns.exception.DNSException, UnicodeDecodeError, ValueError) as error:
        raise ZoneError(f"dns.records: {error}") from error
    found: dict[bytes, dict[int, Records]] = {}
    for name, node in zone.nodes.items():
        packed = name.to_wire()
        assert packed is not None  # without a file it returns the bytes
        if name.is_wild():
            raise ZoneError(f"dns.records: {file}: `{name}`: wildcards are not served; every domain has a name of its own")
        for records in node.rdatasets:
            type_ = dns.rdatatype.to_text(records.rdtype)
            if type_ not in RECORD_TYPES:
                raise ZoneError(f"dns.records: {file}: `{name}`: {type_} is none of {', '.join(RECORD_TYPES)}")
            data = []
            for one in records:
                wire = one.to_wire(origin=None)
                assert wire is not None
                data.append(wire)
            found.setdefault(packed.lower(), {})[int(records.rdtype)] = Records(records.ttl, tuple(data))
    return found
