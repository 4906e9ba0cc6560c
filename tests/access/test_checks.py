"""Promises of the compiled access rules: addresses, patterns, regions, and who stands behind a proxy."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.access.addresses import AddressSet
from headwater.access.checks import Checks
from headwater.access.client import Client, Doors, Peer
from headwater.access.patterns import Patterns
from headwater.access.places import NOWHERE, Place
from headwater.access.policy import Access, IpRule, RegionRule
from headwater.access.regions import RegionSet, is_region

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
NETWORKS = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)), st.tuples(st.ip_addresses(v=6), st.integers(0, 128))
).map(lambda pair: f"{pair[0]}/{pair[1]}")


@given(st.lists(NETWORKS, max_size=5), ADDRESSES)
def test_a_set_holds_what_its_networks_hold(networks: list[str], address: ipaddress.IPv4Address) -> None:
    expected = any(address in ipaddress.ip_network(network, strict=False) for network in networks)
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is None:
        assert (str(address) in AddressSet(networks)) == expected


def test_an_address_mapped_into_ipv6_is_the_address_itself() -> None:
    addresses = AddressSet(["192.0.2.0/24"])
    assert "::ffff:192.0.2.7" in addresses
    assert "::ffff:198.51.100.7" not in addresses


@pytest.mark.parametrize("text", ["", "local", "192.0.2", "192.0.2.1.1", "x:y", "192.0.2.1\0", "fe80::1%eth0"])
def test_what_is_no_address_is_in_no_set(text: str) -> None:
    assert text not in AddressSet(["0.0.0.0/0", "fe80::/128"])


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("*", ["", "a"], []),
        ("a*b", ["ab", "axb", "AxxB"], ["a", "b", "abc", "ba"]),
        ("*ab*ab*", ["abab", "xabyabz"], ["ab", "aab"]),
        ("aa*aa", ["aaaa", "aaxaa"], ["aa", "aaa"]),
        ("*.example.com", ["a.example.com", "a.b.example.com"], ["example.com", "example.com.evil.test"]),
        ("example.com", ["Example.COM"], ["a.example.com"]),
    ],
)
def test_patterns(pattern: str, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if not Patterns([pattern]).match(text)] == []
    assert [text for text in bad if Patterns([pattern]).match(text)] == []


@given(st.text("ab*", max_size=8), st.text("ab", max_size=12))
def test_patterns_match_as_a_slow_reading_of_them_does(pattern: str, text: str) -> None:
    def slow(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return slow(pattern[1:], text) or (bool(text) and slow(pattern, text[1:]))
        return text[:1] == pattern[0] and slow(pattern[1:], text[1:])

    assert Patterns([pattern]).match(text) == slow(pattern, text)


def test_letters_that_mean_a_continent_and_a_country_mean_the_continent() -> None:
    assert Place("CN", "AS") in RegionSet(["AS"])
    assert Place("AS", "OC") not in RegionSet(["AS"])
    assert Place("AS", "OC") in RegionSet(["ASM"])
    assert Place("SA", "AS") in RegionSet(["SAU"])
    assert Place("BR", "SA") in RegionSet(["SA"])
    assert NOWHERE not in RegionSet(["AS", "EU", "CN"])
    assert [code for code in ("CN", "EU", "SAU", "XX", "cn", "") if is_region(code)] == ["CN", "EU", "SAU"]


def test_who_is_nowhere_is_refused_by_a_list_of_allowed_regions_only() -> None:
    for allow in (True, False):
        checks = Checks(Access(region=RegionRule(("CN",), allow)), lambda address: NOWHERE)
        assert (checks.judge(Client("192.0.2.1", "flv")) is not None) == allow


def test_only_trusted_proxies_are_believed() -> None:
    doors = Doors(("192.0.2.0/24",), ("203.0.113.9",))
    headers = {"x-forwarded-for": "198.51.100.1, 198.51.100.2, 192.0.2.7", "x-forwarded-proto": "https"}
    known = doors.http(Peer("192.0.2.1", "203.0.113.9"), "hls", headers)
    assert (known.origin, known.secure, known.staging) == ("198.51.100.2", True, True)
    stranger = doors.http(Peer("198.51.100.9", "203.0.113.8"), "hls", headers)
    assert (stranger.origin, stranger.secure, stranger.staging) == ("198.51.100.9", False, False)


def test_ipv6_can_be_switched_off() -> None:
    checks = Checks(Access(ipv6=False), lambda address: NOWHERE)
    assert checks.judge(Client("2001:db8::1", "flv")) is not None
    assert checks.judge(Client("192.0.2.1", "flv")) is None


@pytest.mark.parametrize(("forwarded", "refused"), [("on", True), ("off", False), ("all", True)])
def test_an_address_list_looks_where_it_is_told_to(forwarded: str, refused: bool) -> None:
    rule = IpRule(("198.51.100.0/24",), forwarded=forwarded)  # type: ignore[arg-type]
    client = Client("192.0.2.1", "flv", forwarded=("203.0.113.1", "198.51.100.1"))
    assert (Checks(Access(ip=rule), lambda address: NOWHERE).judge(client) is not None) == refused
