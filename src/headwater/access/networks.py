"""The operator's own table of networks: where they are, and which nodes serve them. It comes before any database.

A CSV file with a header. `network` is needed, every other column may be left out or empty:

    network,country,latitude,longitude,region,nodes
    10.1.0.0/16,CN,31.2,121.5,,
    2001:db8:7::/48,,,,eu-central-1,
    192.0.2.0/24,,,,,fra-1 fra-2

`country` is an ISO 3166-1 code; without coordinates the country's are taken. `region` names the nodes' region that is
nearest, `nodes` the very nodes, in order of preference. The longest matching network wins.
"""

from __future__ import annotations

import csv
import ipaddress
from pathlib import Path
from typing import Final

import msgspec

from headwater.access.countries import countries

NETWORKS_MAX = 200_000
"""More lines than any operator keeps by hand; each costs a few hundred bytes in every process that reads the table."""

_COLUMNS: Final = ("network", "country", "latitude", "longitude", "region", "nodes")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NetworksError(Exception):
    """A table that cannot be read; the message names the file, the line and what is expected."""


class Network(msgspec.Struct, frozen=True):
    """One line of the table. Empty or None: not said."""

    country: str = ""
    latitude: float | None = None
    longitude: float | None = None
    region: str = ""
    nodes: tuple[str, ...] = ()


class _Branch:
    """A node of the binary tree: its two children and the network that ends here."""

    __slots__ = ("network", "one", "zero")

    def __init__(self) -> None:
        self.zero: _Branch | None = None
        self.one: _Branch | None = None
        self.network: Network | None = None


class Networks:
    """Networks by prefix; the longest match wins."""

    def __init__(self) -> None:
        self._roots = {4: _Branch(), 6: _Branch()}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, prefix: ipaddress.IPv4Network | ipaddress.IPv6Network, network: Network) -> None:
        """Add a network; a second one with the same prefix replaces the first."""
        branch = self._roots[prefix.version]
        bits, width = int(prefix.network_address), prefix.max_prefixlen
        for depth in range(prefix.prefixlen):
            if bits >> (width - 1 - depth) & 1:
                branch.one = branch = branch.one or _Branch()
            else:
                branch.zero = branch = branch.zero or _Branch()
        self._count += branch.network is None
        branch.network = network

    def find(self, address: Address) -> tuple[Network | None, int]:
        """The network of an address, and the shortest prefix of the address within which every address has this answer."""
        branch: _Branch | None = self._roots[address.version]
        bits, width = int(address), address.max_prefixlen
        found, depth = None, 0
        while branch is not None:
            found = branch.network or found
            if branch.zero is None and branch.one is None:
                return found, depth
            if depth == width:
                break
            branch = branch.one if bits >> (width - 1 - depth) & 1 else branch.zero
            depth += 1
        return found, depth


def read(path: Path) -> Networks:
    """The table in a file. Raises NetworksError."""
    networks = Networks()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, skipinitialspace=True, strict=True)
            unknown = set(rows.fieldnames or ()) - set(_COLUMNS)
            if unknown or "network" not in (rows.fieldnames or ()):
                raise NetworksError(f"{path}: the first line names the columns, of {', '.join(_COLUMNS)}; network is needed")
            for row in rows:
                try:
                    networks.add(*_line(row))
                except ValueError as error:
                    raise NetworksError(f"{path}, line {rows.line_num}: {error}") from None
                if len(networks) > NETWORKS_MAX:
                    raise NetworksError(f"{path}: more than {NETWORKS_MAX} networks")
    except OSError as error:
        raise NetworksError(f"cannot read {path}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise NetworksError(f"{path} is no CSV file in UTF-8: {error}") from error
    return networks


def _line(row: dict[str, str | None]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, Network]:
    if None in row:
        raise ValueError("more fields than columns")
    text = {name: (row.get(name) or "").strip() for name in _COLUMNS}
    country = text["country"].upper()
    if country and country not in countries():
        raise ValueError(f"`{country}` is no ISO 3166-1 code of a country")
    latitude, longitude = _degrees(text["latitude"], 90), _degrees(text["longitude"], 180)
    if (latitude is None) != (longitude is None):
        raise ValueError("latitude and longitude come together")
    network = Network(country, latitude, longitude, text["region"], tuple(text["nodes"].split()))
    if network == Network():
        raise ValueError("says nothing of the network: give a country, coordinates, a region or nodes")
    return ipaddress.ip_network(text["network"]), network


def _degrees(text: str, bound: int) -> float | None:
    if not text:
        return None
    try:
        degrees = float(text)
    except ValueError:
        raise ValueError(f"`{text}` is no number of degrees") from None
    if not -bound <= degrees <= bound:
        raise ValueError(f"{text} is not between -{bound} and {bound} degrees")
    return degrees
