"""Time-shift URLs mean what the service says, and whatever else stands in them gets an error that says what is wrong."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.access.names import split_query
from headwater.access.shift import ShiftAsked, ShiftError, anchored, parse, parse_span

ON = {"aliyunols": "on"}
START_MS = 1_508_832_140_000
"""2017-10-24 16:02:20 in China."""

LATEST_S = 253_402_300_799


def asked(query: str) -> ShiftAsked | None:
    return parse(split_query("?" + query)[1])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "aliyunols=on&lhs_start_human_s_8=20171024160220&lhs_end_human_s_8=20171024160420",
            ShiftAsked(START_MS, START_MS + 120_000),
        ),
        ("aliyunols=on&lhs_offset_unix_ms_0=1800000", ShiftAsked(offset_ms=1_800_000)),
        ("lhs_offset_unix_s_0=90&lhs_start=1&aliyunols=on", ShiftAsked(offset_ms=90_000)),
        ("aliyunols=on&lhs_start_unix_s_0=1508832140", ShiftAsked(START_MS)),
        ("aliyunols=on&lhs_start_unix_us_0=1508832140000999", ShiftAsked(START_MS)),
        ("aliyunols=on&lhs_start_unix_ns_0=1508832140000000000", ShiftAsked(START_MS)),
        ("aliyunols=on&lhs_start_human_ms_8=20171024160220125", ShiftAsked(START_MS + 125)),
        (
            "aliyunols=on&lhs_start_human_s_0=20171024080220&lhs_vodend_unix_s_0=1508832200&auth_key=x",
            ShiftAsked(START_MS, START_MS + 60_000, vod=True),
        ),
        ("aliyunols=on", None),
        ("lhs_start_unix_s_0=1508832140", None),
        ("aliyunols=off&lhs_nonsense=1", None),
        ("aliyunols=on&lhs_start=1", None),
    ],
)
def test_what_urls_mean(query: str, expected: ShiftAsked | None) -> None:
    assert asked(query) == expected


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("lhs_start=2", "`lhs_start` is no parameter of time shift; they are lhs_<start|end|vodend|offset>_..."),
        (
            "lhs_begin_unix_s_0=1",
            "`lhs_begin_unix_s_0` is no parameter of time shift; they are lhs_<start|end|vodend|offset>_...",
        ),
        (
            "lhs_start_unix_m_0=1",
            "`lhs_start_unix_m_0` is no parameter of time shift; they are lhs_<start|end|vodend|offset>_...",
        ),
        ("lhs_<b>=1", "`lhs_?b?` is no parameter of time shift; they are lhs_<start|end|vodend|offset>_..."),
        ("lhs_start_unix_s_0=", "lhs_start: expected a whole number, got ``"),
        ("lhs_start_unix_s_0=-5", "lhs_start: expected a whole number, got `-5`"),
        ("lhs_start_unix_s_0=1.5", "lhs_start: expected a whole number, got `1.5`"),
        ("lhs_start_unix_s_0=%D9%A1", "lhs_start: expected a whole number, got `?`"),
        (
            "lhs_start_unix_s_0=1508832140000",
            "lhs_start: `1508832140000` is beyond the year 9999; is the unit s right?",
        ),
        ("lhs_start_human_s_8=2017102416", "lhs_start: expected a time such as 20171024160220, got `2017102416`"),
        ("lhs_start_human_s_8=20171024160220125", "lhs_start: expected a time such as 20171024160220, got `20171024160220125`"),
        ("lhs_start_human_s_8=20171332000000", "lhs_start: there is no time `20171332000000`"),
        ("lhs_start_human_s_8=19700101000000", "lhs_start: `19700101000000` is before 1970"),
        ("lhs_offset_human_s_8=20171024160220", "lhs_offset is a number: lhs_offset_unix_<s|ms|us|ns>_0"),
        ("lhs_end_unix_s_0=5", "lhs_end needs lhs_start"),
        ("lhs_vodend_unix_s_0=5", "lhs_vodend needs lhs_start"),
        ("lhs_offset_unix_s_0=5&lhs_vodend_unix_s_0=5", "lhs_vodend needs lhs_start"),
        ("lhs_start_unix_s_0=5&lhs_end_unix_s_0=5", "lhs_end must be later than lhs_start"),
        ("lhs_start_unix_s_0=5&lhs_vodend_unix_s_0=4", "lhs_vodend must be later than lhs_start"),
        ("lhs_start_unix_s_0=5&lhs_vodend_unix_s_0=86406", "lhs_vodend can be 24 hours after lhs_start at most"),
        ("lhs_start_unix_s_0=5&lhs_start_unix_ms_0=5", "lhs_start is there twice"),
        ("lhs_start_unix_s_0=5&lhs_offset_unix_s_0=5", "lhs_start and lhs_offset cannot be used together"),
        (
            "lhs_start_unix_s_0=5&lhs_end_unix_s_0=6&lhs_vodend_unix_s_0=6",
            "lhs_end and lhs_vodend cannot be used together",
        ),
    ],
)
def test_nonsense_is_told_what_is_wrong_with_it(query: str, error: str) -> None:
    with pytest.raises(ShiftError) as refused:
        asked(f"aliyunols=on&{query}")
    assert str(refused.value) == error


@given(st.integers(0, LATEST_S), st.sampled_from(["s", "ms", "us", "ns"]))
def test_a_unix_time_is_the_same_in_every_unit(second: int, unit: str) -> None:
    value = second * {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}[unit]
    assert asked(f"aliyunols=on&lhs_start_unix_{unit}_0={value}") == ShiftAsked(second * 1000)


@given(st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(9999, 12, 30)), st.integers(0, 9))
def test_a_human_time_is_that_of_its_zone(moment: datetime.datetime, zone: int) -> None:
    moment = moment.replace(microsecond=0, tzinfo=datetime.timezone(datetime.timedelta(hours=zone)))
    text = f"{moment.year:04}{moment:%m%d%H%M%S}"
    found = asked(f"aliyunols=on&lhs_start_human_s_{zone}={text}")
    assert found == ShiftAsked(round(moment.timestamp() * 1000))


@given(st.dictionaries(st.text(max_size=40), st.text(max_size=40), max_size=6), st.text(max_size=30), st.text(max_size=30))
def test_any_query_is_understood_or_refused_in_harmless_words(query: dict[str, str], name: str, value: str) -> None:
    for read in (parse, parse_span):
        try:
            read({**query, **ON, f"lhs_{name}": value})
        except ShiftError as error:
            assert str(error).isascii()
            assert str(error).isprintable()
            assert len(str(error)) < 200


@given(st.integers(0, 10**9))
def test_an_anchored_query_asks_for_the_offset_and_keeps_the_rest(offset_ms: int) -> None:
    query = "auth_key=1-0-0-ab&aliyunols=on&lhs_start_unix_s_0=5&lhs_start=1&lhs_end_unix_s_0=60"
    moved = anchored(query, offset_ms)
    assert asked(moved) == ShiftAsked(offset_ms=offset_ms, end_ms=60_000)
    assert split_query("?" + moved)[1]["auth_key"] == "1-0-0-ab"
    assert anchored(moved, offset_ms + 1) == moved.replace(f"={offset_ms}", f"={offset_ms + 1}")


def test_the_timeline_has_a_start_and_an_end_within_a_day() -> None:
    assert parse_span({"lhs_start_unix_s_0": "5", "lhs_end_unix_s_0": "65", "app": "live"}) == (5000, 65_000)
    for query in ({}, {"lhs_start_unix_s_0": "5"}, {"lhs_start_unix_s_0": "5", "lhs_end_unix_s_0": "90000"}):
        with pytest.raises(ShiftError):
            parse_span(query)
