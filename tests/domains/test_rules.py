"""Promises about names, levels and times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.access.names import cname_target
from headwater.domains import rules
from headwater.domains.errors import DomainError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("demo.aliyundoc.com", "demo.aliyundoc.com"),
        ("Demo.Aliyundoc.COM", "demo.aliyundoc.com"),
        ("example.com", "example.com"),
        ("a.b.c.d.e", "a.b.c.d.e"),
        ("1.live-2.localhost", "1.live-2.localhost"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("直播.例え", "xn--z6ut02b.xn--r8jz45g"),
        (".".join(["a" * 63] * 3 + ["b" * 61]), ".".join(["a" * 63] * 3 + ["b" * 61])),
    ],
)
def test_good_domain_names(text: str, name: str) -> None:
    assert rules.domain_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "*.aliyundoc.com",
        ".example.com",
        "example.com.",
        "a..b",
        "a_b.example.com",
        "-a.example.com",
        "a-.example.com",
        "http://example.com",
        "example.com:80",
        "example.com/a",
        " example.com",
        "example.com\n",
        "127.0.0.1",
        "[::1]",
        "a" * 64 + ".com",
        ".".join(["a" * 63] * 3 + ["b" * 62]),
        "\u0661.\u0661",
        "\ud800.com",
    ],
)
def test_bad_domain_names(text: str) -> None:
    with pytest.raises(DomainError) as refused:
        rules.domain_name(text)
    assert refused.value.code == "InvalidDomainName.Malformed"
    assert refused.value.message == "The specific value of parameter DomainName is malformed."


def test_a_leading_dot_is_allowed_where_it_is_asked_for() -> None:
    assert rules.domain_name(".Example.com", leading_dot=True) == ".example.com"
    for text in ("..example.com", ".", ".com", "*.example.com", ".*.example.com"):
        with pytest.raises(DomainError):
            rules.domain_name(text, leading_dot=True)


@pytest.mark.parametrize(
    ("name", "root"),
    [
        ("demo.aliyundoc.com", "aliyundoc.com"),
        ("aliyundoc.com", "aliyundoc.com"),
        (".aliyundoc.com", "aliyundoc.com"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("a.user.github.io", "user.github.io"),
        ("a.xn--85x722f.com.cn", "xn--85x722f.com.cn"),
        ("a.b.unknown-suffix", "b.unknown-suffix"),
        ("co.uk", None),
        ("github.io", None),
    ],
)
def test_the_registrable_domain_is_by_the_public_suffix_list(name: str, root: str | None) -> None:
    assert rules.root_domain(name) == root


def test_a_name_is_under_a_suffix_at_a_dot() -> None:
    assert rules.is_under("a.test", ["test"])
    assert rules.is_under("test", ["test"])
    assert rules.is_under(".a.test", ["test"])
    assert not rules.is_under("atest", ["test"])
    assert not rules.is_under("test.com", ["test"])


def test_every_domain_has_a_cname_target_in_the_operators_zone() -> None:
    assert cname_target("demo.example.com", "w.zone.net") == "demo.example.com.w.zone.net"
    assert cname_target(".example.com", "w.zone.net") == "_all.example.com.w.zone.net"


@given(st.text(max_size=300))
def test_any_text_is_a_plain_name_or_refused(text: str) -> None:
    try:
        name = rules.domain_name(text)
    except DomainError:
        return
    assert name.isascii()
    assert rules.domain_name(name) == name


def test_types_regions_and_scopes_are_the_offered_ones() -> None:
    assert rules.domain_type("liveEdge") == "liveEdge"
    assert rules.region("cn-beijing", ["cn-beijing"]) == "cn-beijing"
    assert rules.scope("overseas") == "overseas"
    with pytest.raises(DomainError, match="InvalidLiveDomainType"):
        rules.domain_type("vod")
    with pytest.raises(DomainError, match="InvalidRegion"):
        rules.region("mars", ["cn-beijing"])
    with pytest.raises(DomainError, match="InvalidScope"):
        rules.scope("local")


def test_seconds_of_delay_win_over_a_level() -> None:
    assert rules.delay("hls", None, "short") == (3, "short")
    assert rules.delay("rtmp", None, "medium") == (4, "medium")
    assert rules.delay("flv", 7, "medium") == (7, None)
    assert rules.delay("flv", None, "") is None


@pytest.mark.parametrize(
    ("delay_s", "level", "code"), [(0, None, "InvalidHlsDelay"), (61, None, "InvalidHlsDelay"), (None, "x", "InvalidHlsLevel")]
)
def test_delays_out_of_range_are_refused(delay_s: int | None, level: str | None, code: str) -> None:
    with pytest.raises(DomainError) as refused:
        rules.delay("hls", delay_s, level)
    assert refused.value.code == code


def test_times_are_written_as_the_service_does() -> None:
    assert rules.parse_time("2021-05-28T09:29:57Z") == 1622194197
    assert rules.format_time(1622194197.9) == "2021-05-28T09:29:57Z"


@pytest.mark.parametrize("text", ["", "2021-05-28", "2021-5-28T09:29:57Z", "2021-05-28T09:29:57", "2021-13-28T09:29:57Z", "x"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        rules.parse_time(text)
