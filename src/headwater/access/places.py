"""Where an address is: country, continent and coordinates, by the operator's table first and then by a database.

The database is a file in MaxMind's format that is mapped into memory: opening it reads nothing, a look-up takes about a
microsecond, and all processes share its pages. A country database is shipped (`data/`, NOTICE says whose it is); the setting
`places.database` names another one, for instance one that knows cities.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, Final

import maxminddb
import msgspec

from headwater.access.countries import countries
from headwater.access.networks import Network, Networks, NetworksError, read
from headwater.settings import Places as PlaceSettings

SHIPPED_DATABASE: Final = Path(__file__).with_name("data") / "geo-whois-asn-country" / "geo-whois-asn-country.mmdb"


class PlacesError(Exception):
    """A database or table that cannot be used; the message names the setting and the file."""


class Place(msgspec.Struct, frozen=True):
    """Where an address is; "" and None where that is not known.

    country: ISO 3166-1 code. continent: AF, AN, AS, EU, NA, OC or SA. Degrees, north and east positive.
    """

    country: str = ""
    continent: str = ""
    latitude: float | None = None
    longitude: float | None = None


NOWHERE: Final = Place()


class Found(msgspec.Struct, frozen=True):
    """All that is known of an address.

    prefix: bits of the address within which every address has this very answer (the scope of RFC 7871 section 7.2.1).
    region, nodes: what the operator's table says of who shall serve it.
    """

    place: Place
    prefix: int
    region: str = ""
    nodes: tuple[str, ...] = ()


class Places:
    """The operator's table and the database, together. Call `refresh` from time to time to follow changed files."""

    def __init__(self, settings: PlaceSettings) -> None:
        """Open both. Raises PlacesError."""
        self._database_file = Path(settings.database) if settings.database else SHIPPED_DATABASE
        self._networks_file = Path(settings.networks) if settings.networks else None
        self._stamps = self._look()
        self._database = self._open()
        self._networks = self._read()

    def place(self, address: str) -> Place:
        """Where an address is; NOWHERE if nobody knows, or if it is no address."""
        try:
            return self.find(ipaddress.ip_address(address)).place
        except ValueError:
            return NOWHERE

    def find(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Found:
        """All that is known of an address; an IPv4 address mapped into IPv6 (RFC 4291 section 2.5.5.2) is that one."""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            found = self.find(address.ipv4_mapped)
            return msgspec.structs.replace(found, prefix=found.prefix + 96)
        network, prefix = self._networks.find(address)
        if network is not None and (network.country or network.latitude is not None):
            return Found(_place_of_network(network), prefix, network.region, network.nodes)
        try:
            record, database_prefix = self._database.get_with_prefix_len(address)
        except (ValueError, maxminddb.InvalidDatabaseError):  # IPv6 in a database of IPv4, or a broken record
            record, database_prefix = None, 0
        place, prefix = _place_of_record(record), max(prefix, database_prefix)
        return Found(place, prefix) if network is None else Found(place, prefix, network.region, network.nodes)

    def refresh(self) -> bool:
        """Read again what has changed on disk; True if anything did. Raises PlacesError, and keeps what was read before."""
        stamps = self._look()
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        networks, database = self._read(), self._open()
        self._database.close()
        self._networks, self._database = networks, database
        return True

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def _look(self) -> list[tuple[int, int, int] | None]:
        stamps: list[tuple[int, int, int] | None] = []
        for file in (self._database_file, self._networks_file):
            try:
                status = file.stat() if file is not None else None
            except OSError:
                status = None
            stamps.append((status.st_mtime_ns, status.st_size, status.st_ino) if status is not None else None)
        return stamps

    def _open(self) -> maxminddb.Reader:
        try:
            return maxminddb.open_database(self._database_file)
        except OSError as error:
            raise PlacesError(f"places.database: cannot read {self._database_file}: {error.strerror}") from error
        except (maxminddb.InvalidDatabaseError, ValueError) as error:
            raise PlacesError(f"places.database: {self._database_file} is no MaxMind database: {error}") from error

    def _read(self) -> Networks:
        try:
            return Networks() if self._networks_file is None else read(self._networks_file)
        except NetworksError as error:
            raise PlacesError(f"places.networks: {error}") from error


def _place_of_network(network: Network) -> Place:
    return _complete(network.country, "", network.latitude, network.longitude)


def _place_of_record(record: Any) -> Place:
    """A record as MaxMind lays it out (GeoIP2 City or Country), or flat as the free databases have it."""
    if not isinstance(record, dict):
        return NOWHERE
    location = record.get("location")
    degrees = location if isinstance(location, dict) else record
    return _complete(
        _code(record, "country", "iso_code"),
        _code(record, "continent", "code"),
        _number(degrees.get("latitude")),
        _number(degrees.get("longitude")),
    )


def _code(record: dict[str, Any], name: str, key: str) -> str:
    value = record.get(name)
    if isinstance(value, dict):
        value = value.get(key)
    for candidate in (record.get(f"{name}_code"), value):
        if isinstance(candidate, str) and len(candidate) == 2:
            return candidate.upper()
    return ""


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _complete(code: str, continent: str, latitude: float | None, longitude: float | None) -> Place:
    """Fill what is missing from the country."""
    country = countries().get(code)
    if country is not None:
        continent = continent or country.continent
        if latitude is None or longitude is None:
            latitude, longitude = country.latitude, country.longitude
    if latitude is None or longitude is None:
        latitude = longitude = None
    return Place(code, continent, latitude, longitude)
