"""Dates of a stream's times: alike for all who ask, true to the encoder's clock, and not disturbed by a network that stalls."""

from __future__ import annotations

from headwater.live.dates import LATE_MS, Dates

NOON = 1_795_434_000_000


def test_nothing_has_a_date_before_a_publisher_came() -> None:
    assert Dates().at(0) is None


def test_dates_follow_the_timeline_of_the_first_tag() -> None:
    dates = Dates()
    dates.begin(500, NOON)
    assert [dates.at(500), dates.at(2500), dates.at(0)] == [NOON, NOON + 2000, NOON - 500]


def test_a_stall_moves_no_date() -> None:
    dates = Dates()
    dates.begin(0, NOON)
    for second in range(1, 40):
        late_ms = 3000 if 10 <= second < 13 else 200
        dates.note(second * 1000, NOON + second * 1000 + late_ms)
    assert dates.at(39_000) == NOON + 39_000


def test_what_comes_early_was_made_earlier_and_what_has_its_date_keeps_it() -> None:
    dates = Dates()
    dates.begin(0, NOON)  # four seconds at once, as from a buffer
    dates.note(4000, NOON + 100)
    assert dates.at(4000) == NOON + 100
    assert dates.at(3999) == NOON + 3999
    assert dates.at(6000) == NOON + 2100


def test_a_slow_encoder_is_followed_when_all_that_comes_is_late() -> None:
    dates = Dates()
    dates.begin(0, NOON)
    ends = LATE_MS // 1000 + 1
    for second in range(1, ends + 1):
        dates.note(second * 1000, NOON + second * 1000 + (700 if second % 2 else 900))
    assert dates.at(ends * 1000) == NOON + ends * 1000 + 700
    assert dates.at(ends * 1000 - 1) == NOON + ends * 1000 - 1


def test_a_publisher_who_returns_is_dated_anew() -> None:
    dates = Dates()
    dates.begin(0, NOON)
    dates.note(8000, NOON + 8000)
    dates.begin(8040, NOON + 60_000)
    assert dates.at(8000) == NOON + 8000
    assert dates.at(9040) == NOON + 61_000
