"""Promises of the record of usage: every byte counts once, in its five minutes, for the domain and account that owns it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.domains.errors import DomainError
from headwater.domains.usage import DAY_S, POINT_S, merge, share, split
from headwater.observe.traffic import Traffic
from support.domain_world import ACTOR, PLAY, PUSH, REGION, World

T0 = 1_699_920_000
"""Midnight UTC of the world's day."""


async def test_what_was_recorded_is_told_as_averages_of_five_minutes(world: World) -> None:
    await world.pair()
    await world.usage.record(T0, T0 + 60, {PLAY: Traffic(0, 3_000, 600), PUSH: Traffic(7_500)})
    await world.usage.record(T0 + 60, T0 + 120, {PLAY: Traffic(0, 4_500, 900)})
    await world.usage.record(T0 + 600, T0 + 660, {PLAY: Traffic(0, 300, 0)})
    series = await world.usage.series(world.account, "streaming", [PLAY], T0, T0 + 900)
    assert [(point.start_s - T0, point.traffic.bytes_out, point.out_bps) for point in series] == [
        (0, 7_500, 200),
        (300, 0, 0),
        (600, 300, 8),
    ]
    assert (series[0].out_plain_bps, series[0].out_tls_bps) == (160, 40)
    pushed = await world.usage.series(world.account, "ingest", [], T0, T0 + 300)
    assert [(point.traffic.bytes_in, point.in_bps) for point in pushed] == [(7_500, 200)]


async def test_an_hour_and_a_day_tell_their_peak_and_their_sum(world: World) -> None:
    await world.pair()
    for minutes, size in ((0, 1_000), (5, 30_000), (55, 500), (60, 600), (25 * 60, 900_000)):
        start = T0 + minutes * 60
        await world.usage.record(start, start + 60, {PLAY: Traffic(0, size, 0)})
    hours = await world.usage.series(world.account, "streaming", [PLAY], T0 + 1, T0 + 7_200, 3600)
    assert [(point.start_s - T0, point.traffic.bytes_out, point.out_bps) for point in hours] == [
        (0, 31_500, 800),
        (3600, 600, 16),
    ]
    days = await world.usage.series(world.account, "streaming", [PLAY], T0, T0 + 2 * DAY_S, DAY_S)
    assert [(point.traffic.bytes_out, point.out_bps) for point in days] == [(32_100, 800), (900_000, 24_000)]


async def test_domains_are_merged_before_their_peak_is_taken(world: World) -> None:
    await world.pair()
    await world.domains.add(world.account, "other.example.com", "liveVideo", REGION, actor=ACTOR)
    await world.usage.record(T0, T0 + 300, {PLAY: Traffic(0, 3_000), "other.example.com": Traffic(0, 300)})
    await world.usage.record(T0 + 300, T0 + 600, {PLAY: Traffic(0, 300), "other.example.com": Traffic(0, 3_000)})
    for names in ([], [PLAY, "OTHER.example.com"]):
        (hour,) = await world.usage.series(world.account, "streaming", names, T0, T0 + 3600, 3600)
        assert (hour.traffic.bytes_out, hour.out_bps) == (6_600, 88)


async def test_usage_is_told_to_the_owner_alone_and_only_of_the_right_side(world: World) -> None:
    await world.pair()
    await world.usage.record(T0, T0 + 60, {PLAY: Traffic(0, 3_000)})
    assert (await world.usage.series(world.stranger, "streaming", [], T0, T0 + 300))[0].traffic == Traffic()
    for account, side, name, code in (
        (world.stranger, "streaming", PLAY, "InvalidDomain.NotFound"),
        (world.account, "ingest", PLAY, "IllegalOperation"),
        (world.account, "streaming", PUSH, "IllegalOperation"),
        (world.account, "streaming", "absent.example.com", "InvalidDomain.NotFound"),
        (world.account, "streaming", "no name", "InvalidDomainName.Malformed"),
    ):
        with pytest.raises(DomainError) as refusal:
            await world.usage.series(account, side, [name], T0, T0 + 300)  # type: ignore[arg-type]
        assert refusal.value.code == code


@pytest.mark.parametrize(
    ("start_s", "end_s", "count", "code"),
    [
        (T0, T0, 1, "InvalidEndTime.Mismatch"),
        (T0 + 1, T0, 1, "InvalidEndTime.Mismatch"),
        (T0, T0 + 91 * DAY_S, 1, "InvalidTimeSpan"),
        (T0, T0 + 300, 501, "DomainNameOverLimit"),
    ],
)
async def test_a_question_without_sense_is_refused(world: World, start_s: int, end_s: int, count: int, code: str) -> None:
    await world.pair()
    with pytest.raises(DomainError) as refusal:
        await world.usage.series(world.account, "streaming", [PLAY] * count, start_s, end_s)
    assert refusal.value.code == code


async def test_what_came_late_is_divided_among_its_points(world: World) -> None:
    await world.pair()
    await world.usage.record(T0 + 240, T0 + 360, {PLAY: Traffic(0, 1_001)})
    series = await world.usage.series(world.account, "streaming", [PLAY], T0, T0 + 600)
    assert [point.traffic.bytes_out for point in series] == [500, 501]


async def test_a_deleted_domain_leaves_no_usage_behind_and_gets_none(world: World) -> None:
    await world.domains.add(world.account, PLAY, "liveVideo", REGION, actor=ACTOR)
    await world.usage.record(T0, T0 + 60, {PLAY: Traffic(0, 3_000)})
    await world.domains.delete(world.account, PLAY, actor=ACTOR)
    await world.usage.record(T0 + 60, T0 + 120, {PLAY: Traffic(0, 3_000), "never.example.com": Traffic(1)})
    await world.domains.add(world.stranger, PLAY, "liveVideo", REGION, actor=ACTOR)
    assert (await world.usage.series(world.stranger, "streaming", [], T0, T0 + 300))[0].traffic == Traffic()


async def test_the_average_daily_peak_is_over_whole_days_and_all_domains(world: World) -> None:
    await world.pair()
    world.now_s = T0 + 3 * DAY_S + 7_000
    megabit = 1_000_000 * POINT_S // 8
    for day, sizes in enumerate(((60, 20), (10,), (), (500,))):
        for at, size in enumerate(sizes):
            start = T0 + day * DAY_S + at * POINT_S
            traffic = {PLAY: Traffic(0, size * megabit), PUSH: Traffic(megabit)}
            await world.usage.record(start, start + 60, traffic)
    assert [peak.bps / 1e6 for peak in await world.usage.daily_peaks(world.account, 3)] == [61, 11, 0]
    assert await world.usage.average_daily_peak_mbps(world.account, 3) == 24
    assert await world.usage.average_daily_peak_mbps(world.account) == pytest.approx(72 / 30)
    assert await world.usage.average_daily_peak_mbps(world.stranger) == 0


async def test_what_is_too_old_is_removed(world: World) -> None:
    await world.pair()
    for days in (0, 1, 92):
        start = T0 + days * DAY_S
        await world.usage.record(start, start + 60, {PLAY: Traffic(0, 300)})
    world.now_s = T0 + 92 * DAY_S + POINT_S
    await world.usage.purge()
    series = await world.usage.series(world.account, "streaming", [PLAY], T0 + 3 * DAY_S, T0 + 93 * DAY_S, DAY_S)
    assert sum(point.traffic.bytes_out for point in series) == 300
    series = await world.usage.series(world.account, "streaming", [PLAY], T0, T0 + 2 * DAY_S, DAY_S)
    assert [point.traffic.bytes_out for point in series] == [0, 300]


@given(st.integers(0, 10**12), st.floats(0, 1e6), st.floats(0, 4_000))
def test_dividing_a_span_loses_no_byte(size: int, start_s: float, length_s: float) -> None:
    shares = split(start_s, start_s + length_s)
    parts = share(Traffic(size, size, size), shares)
    assert sum((part for _, part in parts), Traffic()) == Traffic(size, size, size)
    assert all(part.bytes_in >= 0 for _, part in parts)
    assert parts[0][0] <= start_s < parts[0][0] + POINT_S
    assert all(point % POINT_S == 0 and (point <= start_s or point < start_s + length_s) for point, _ in parts)


def test_a_series_without_points_has_every_interval() -> None:
    assert [point.start_s for point in merge({}, 0, 901, POINT_S)] == [0, 300, 600, 900]
