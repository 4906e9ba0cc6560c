"""Promises about what a client may ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.access.names import QUERY_FIELDS_MAX, is_name, request_domain, split_query


@pytest.mark.parametrize("name", ["a", "_a", "0", "live", "a.b-c_d", "A" * 255])
def test_good_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "-a", ".a", "..", "a/b", "a b", "a\n", "ä", "a%2e", "a*", "A" * 256, "\u0660"])
def test_bad_names(name: str) -> None:
    assert not is_name(name)


def test_splits_path_and_query() -> None:
    assert split_query("stream?auth_key=1-0-0-a&x=%2F+b&flag") == ("stream", {"auth_key": "1-0-0-a", "x": "/ b", "flag": ""})
    assert split_query("stream") == ("stream", {})
    assert split_query("?a=1&a=2&=3&&") == ("", {"a": "1"})


@given(st.text())
def test_any_text_splits_within_bounds(text: str) -> None:
    path, fields = split_query(text)
    assert text.startswith(path)
    assert len(fields) <= QUERY_FIELDS_MAX


def test_parameters_beyond_the_bound_are_ignored() -> None:
    _, fields = split_query("p?" + "&".join(f"k{i}={i}" for i in range(QUERY_FIELDS_MAX + 5)))
    assert len(fields) == QUERY_FIELDS_MAX
    assert fields[f"k{QUERY_FIELDS_MAX - 1}"] == str(QUERY_FIELDS_MAX - 1)


@pytest.mark.parametrize(
    ("host", "query", "domain"),
    [
        ("Play.Example.com:8080", {}, "play.example.com"),
        ("play.example.com.", {}, "play.example.com"),
        ("127.0.0.1:1935", {"vhost": "PLAY.example.com"}, "play.example.com"),
        ("127.0.0.1", {"vhost": ""}, "127.0.0.1"),
        ("[::1]:8080", {}, "::1"),
        (None, {}, ""),
        (None, {"vhost": "a.b"}, "a.b"),
    ],
)
def test_the_domain_that_is_meant(host: str | None, query: dict[str, str], domain: str) -> None:
    assert request_domain(host, query) == domain
