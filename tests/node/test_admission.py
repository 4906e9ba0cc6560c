"""Newcomers are refused while load is near its bounds, for the resource that is short, and without flicker."""

from __future__ import annotations

import pytest

from headwater.node.admission import WINDOW, Admission, Gate, Gauge, Load, Reading
from headwater.settings import Bounds, Overload, PublisherBounds

BOUNDS = Bounds(cpu=0.8, lag_s=0.5, files=0.9, out_mbps=100)


def steady(seconds: float, *, cpu: float = 0.0, late_s: float = 0.0, files: int = 0, mbps: float = 0.0) -> list[Reading]:
    """Two readings a second of an even load."""
    return [Reading(at / 2, cpu * at / 2, late_s, files, int(mbps * at / 2 * 1e6 / 8)) for at in range(int(seconds * 2) + 1)]


@pytest.mark.parametrize(
    ("load", "shut_by"),
    [
        (Load(), ()),
        (Load(cpu=0.79, lag=0.49, files=0.89, bandwidth=99), ()),
        (Load(cpu=0.8), ("cpu",)),
        (Load(lag=0.5), ("lag",)),
        (Load(files=0.9), ("files",)),
        (Load(bandwidth=100), ("bandwidth",)),
        (Load(cpu=1, bandwidth=1000), ("cpu", "bandwidth")),
    ],
)
def test_each_resource_has_its_bound(load: Load, shut_by: tuple[str, ...]) -> None:
    gate = Gate(BOUNDS, 1)
    assert gate.judge(load) is bool(shut_by)
    assert gate.shut_by == shut_by


def test_a_bound_of_zero_is_none() -> None:
    gate = Gate(Bounds(cpu=0, lag_s=0, files=0, out_mbps=0), 1)
    assert not gate.judge(Load(cpu=1, lag=60, files=1, bandwidth=1e6))


def test_the_bandwidth_of_the_node_is_divided_among_its_workers() -> None:
    gate = Gate(BOUNDS, 4)
    assert not gate.judge(Load(bandwidth=24.9))
    assert gate.judge(Load(bandwidth=25))


def test_load_around_a_bound_does_not_make_it_flicker() -> None:
    gate = Gate(BOUNDS, 1)
    told = []
    for cpu in (0.79, 0.81, 0.79, 0.73, 0.8, 0.721, 0.719, 0.79, 0.8):
        gate.judge(Load(cpu=cpu))
        told.append(bool(gate.shut_by))
    assert told == [False, True, True, True, True, True, False, False, True]


def test_one_resource_that_recovers_does_not_hide_another() -> None:
    gate = Gate(BOUNDS, 1)
    gate.judge(Load(cpu=0.9, files=0.95))
    assert not gate.judge(Load(cpu=0.1, files=0.85))
    assert gate.shut_by == ("files",)


def test_load_is_measured_over_the_last_three_seconds() -> None:
    gauge = Gauge(files_max=1000)
    loads = [gauge.add(reading) for reading in steady(5, cpu=0.5, late_s=0.2, files=250, mbps=80)]
    assert all(load == Load(files=0.25) for load in loads[:WINDOW])
    for load in loads[WINDOW:]:
        assert (load.cpu, load.lag, load.files) == (0.5, 0.2, 0.25)
        assert load.bandwidth == pytest.approx(80)


def test_a_moment_of_lag_is_no_overload_but_three_seconds_of_it_are() -> None:
    admission = Admission(Overload(BOUNDS), 1000, 1)
    for reading in [*steady(3), Reading(3.5, 0, 5.0, 0, 0), Reading(4.0, 0, 0.0, 0, 0)]:
        assert admission.read(reading) == []
    told = [admission.read(Reading(4.5 + at, 0, 1.0, 0, 0)) for at in range(WINDOW + 1)]
    assert [actions for actions in told if actions] == [["publish", "play"]]
    assert admission.full("play") == "lag"


def test_publishers_are_taken_longer_than_viewers() -> None:
    admission = Admission(Overload(Bounds(cpu=0.9), PublisherBounds(cpu=0.97)), 1000, 1)
    for reading in steady(4, cpu=0.93):
        admission.read(reading)
    assert admission.full("play") == "cpu"
    assert admission.full("publish") is None


def test_a_clock_that_stands_still_is_no_load() -> None:
    gauge = Gauge(100)
    assert [gauge.add(Reading(1.0, at, 0, 0, at)) for at in range(9)] == [Load()] * 9
