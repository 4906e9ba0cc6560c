"""Where an address is: the operator's table first, then a database in MaxMind's format."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.access.countries import countries
from headwater.access.networks import Network, Networks
from headwater.access.places import NOWHERE, Place, Places, PlacesError
from headwater.settings import Places as Settings


def places(tmp_path: Path, table: str) -> Places:
    file = tmp_path / "networks.csv"
    file.write_text(table)
    return Places(Settings(networks=str(file)))


def test_the_shipped_database_knows_countries() -> None:
    known = Places(Settings())
    china = known.place("114.114.114.114")
    assert (china.country, china.continent, china.latitude, china.longitude) == ("CN", "AS", 32, 115)
    assert known.place("2400:3200::1").country == "CN"
    assert known.place("::ffff:114.114.114.114") == china


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "fe80::1", "::1", "no address", "", "1.2.3"])
def test_nobody_knows_where_a_private_address_is(address: str) -> None:
    assert Places(Settings()).place(address) == NOWHERE


def test_the_operators_networks_come_first_and_the_longest_wins(tmp_path: Path) -> None:
    known = places(
        tmp_path,
        "network,country,latitude,longitude,region,nodes\n"
        "114.114.0.0/16,JP,,,,\n"
        "114.114.114.0/24,,31.2,121.5,,\n"
        "10.0.0.0/8,,,,eu-central-1,\n"
        "2001:db8::/32,de,50.1,8.7,,fra-1 fra-2\n",
    )
    assert known.place("114.114.1.1") == Place("JP", "AS", *_degrees("JP"))
    assert known.place("114.114.114.114") == Place("", "", 31.2, 121.5)
    assert known.find(ipaddress.ip_address("10.9.8.7")).region == "eu-central-1"
    found = known.find(ipaddress.ip_address("2001:db8::5"))
    assert (found.place, found.nodes) == (Place("DE", "EU", 50.1, 8.7), ("fra-1", "fra-2"))


def test_a_line_without_a_place_leaves_the_place_to_the_database(tmp_path: Path) -> None:
    known = places(tmp_path, "network,nodes\n114.114.0.0/16,pek-1\n")
    found = known.find(ipaddress.ip_address("114.114.114.114"))
    assert (found.place.country, found.nodes) == ("CN", ("pek-1",))


def test_a_prefix_never_covers_a_network_with_another_answer(tmp_path: Path) -> None:
    known = places(tmp_path, "network,country\n8.8.8.0/24,JP\n8.8.0.0/16,FR\n")
    assert known.find(ipaddress.ip_address("8.8.8.8")).prefix == 24
    beside = known.find(ipaddress.ip_address("8.8.9.1"))
    assert (beside.place.country, beside.prefix) == ("FR", 24)
    assert known.find(ipaddress.ip_address("8.8.128.1")).prefix == 17
    assert known.find(ipaddress.ip_address("8.9.0.1")).prefix == 16


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 8)), max_size=12), st.integers(0, 255))
def test_the_tree_finds_what_a_search_of_all_networks_finds(lines: list[tuple[int, int]], low: int) -> None:
    base = ipaddress.IPv4Address("192.0.2.0")
    networks = Networks()
    table: dict[ipaddress.IPv4Network, Network] = {}
    for number, (offset, bits) in enumerate(lines):
        prefix = ipaddress.IPv4Network((int(base) + offset, 24 + bits), strict=False)
        table[prefix] = Network(nodes=(str(number),))
        networks.add(prefix, table[prefix])

    def search(address: ipaddress.IPv4Address) -> Network | None:
        matches = [prefix for prefix in table if address in prefix]
        return table[max(matches, key=lambda prefix: prefix.prefixlen)] if matches else None

    address = ipaddress.IPv4Address(int(base) + low)
    found, length = networks.find(address)
    assert found == search(address)
    alike = ipaddress.IPv4Network((int(address), max(length, 24)), strict=False)
    assert {search(other) for other in alike} == {found}


def test_changed_files_are_followed_and_broken_ones_leave_what_was_known(tmp_path: Path) -> None:
    file = tmp_path / "networks.csv"
    known = places(tmp_path, "network,country\n10.0.0.0/8,FR\n")
    assert not known.refresh()
    _replace(file, "network,country\n10.0.0.0/8,IT\n")
    assert known.refresh()
    assert known.place("10.0.0.1").country == "IT"
    _replace(file, "network,country\n10.0.0.0/8,??\n")
    with pytest.raises(PlacesError, match=r"places\.networks: .*line 2: `\?\?` is no ISO 3166-1 code"):
        known.refresh()
    assert known.place("10.0.0.1").country == "IT"
    assert not known.refresh()


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("", "the first line names the columns"),
        ("net,country\n", "the first line names the columns"),
        ("network,country\n10.0.0.1/8,FR\n", "line 2: 10.0.0.1/8 has host bits set"),
        ("network,country\n10.0.0.0/8\n", "line 2: says nothing"),
        ("network,country\n10.0.0.0/8,FR,x\n", "line 2: more fields than columns"),
        ("network,latitude\n10.0.0.0/8,1\n", "line 2: latitude and longitude come together"),
        ("network,latitude,longitude\n10.0.0.0/8,91,1\n", "line 2: 91 is not between -90 and 90"),
        ("network,latitude,longitude\n10.0.0.0/8,nan,1\n", "line 2: nan is not between"),
        ("network,latitude,longitude\n10.0.0.0/8,x,1\n", "line 2: `x` is no number"),
    ],
)
def test_a_table_with_a_fault_is_refused_with_its_line(tmp_path: Path, table: str, complaint: str) -> None:
    with pytest.raises(PlacesError, match="places.networks: .*" + complaint):
        places(tmp_path, table)


def test_a_missing_or_foreign_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlacesError, match=r"places\.database: cannot read"):
        Places(Settings(database=str(tmp_path / "none.mmdb")))
    (tmp_path / "text.mmdb").write_text("hello")
    with pytest.raises(PlacesError, match=r"places\.database: .* is no MaxMind database"):
        Places(Settings(database=str(tmp_path / "text.mmdb")))


@pytest.mark.parametrize(
    ("record", "place"),
    [
        ({"country_code": "FR"}, ("FR", "EU")),
        ({"country": "fr", "continent": "EU"}, ("FR", "EU")),
        ({"country": {"iso_code": "FR"}, "location": {"latitude": 43.3, "longitude": 5.4}}, ("FR", "EU", 43.3, 5.4)),
        ({"continent": {"code": "EU"}}, ("", "EU")),
        ({"country_code": "ZZ", "latitude": "1.5", "longitude": "2"}, ("ZZ", "", 1.5, 2)),
        ({"country": 7, "location": {"latitude": "north"}}, ("", "")),
        ("nonsense", ("", "")),
    ],
)
def test_every_common_layout_of_records_is_read(
    monkeypatch: pytest.MonkeyPatch, record: object, place: tuple[object, ...]
) -> None:
    class Database:
        def get_with_prefix_len(self, _: object) -> tuple[object, int]:
            return record, 9

    known = Places(Settings())
    monkeypatch.setattr(known, "_database", Database())
    country = str(place[0])
    wanted = place if len(place) == 4 else (*place, *(_degrees(country) if country in countries() else (None, None)))
    found = known.find(ipaddress.ip_address("1.2.3.4"))
    assert (msgspec.structs.astuple(found.place), found.prefix) == (wanted, 9)


def test_every_country_of_the_database_has_a_continent_and_coordinates() -> None:
    assert {country.continent for country in countries().values()} == {"AF", "AN", "AS", "EU", "NA", "OC", "SA"}
    assert len(countries()) == 251
    assert all(-90 <= country.latitude <= 90 and -180 <= country.longitude <= 180 for country in countries().values())


def _degrees(country: str) -> tuple[float, float]:
    return countries()[country].latitude, countries()[country].longitude


def _replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)
