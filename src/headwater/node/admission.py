"""Whether a worker takes more viewers and publishers: decided from readings of its load, without I/O.

A newcomer on a worker that is full makes every viewer stutter, so it is better told at once to come back later. Who is here
goes on. A bound that is reached holds until the load is clearly below it again, so that the answer does not flicker.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

import msgspec

from headwater.settings import Bounds, Overload

WINDOW = 6
"""Readings over which load is measured: three seconds at two a second. One slow moment, such as a thousand joins, is no
overload; three seconds of it are what a player's buffer can take."""

RELEASE = 0.9
"""The share of a bound below which the load must fall before newcomers are taken again."""

Resource = Literal["cpu", "lag", "files", "bandwidth"]
Action = Literal["publish", "play"]


class Reading(msgspec.Struct, frozen=True):
    """What was read at one moment.

    now_s: of a clock that never runs back. cpu_s: CPU time that the process has used so far. late_s: how much later than
    planned the event loop came to this reading. files: open ones. sent_bytes: media bytes sent so far.
    """

    now_s: float
    cpu_s: float
    late_s: float
    files: int
    sent_bytes: int


class Load(msgspec.Struct, frozen=True):
    """The load over the last readings.

    cpu: CPU time used, as a share of one core: a worker is one thread. lag: the least that the loop was late at any reading,
    in seconds, so it is 0 unless the loop is late all the time. files: open ones as a share of those allowed.
    bandwidth: Mbit/s of media sent.
    """

    cpu: float = 0.0
    lag: float = 0.0
    files: float = 0.0
    bandwidth: float = 0.0


class Gauge:
    """Turns readings into load. files_max: how many open files the system allows."""

    def __init__(self, files_max: int) -> None:
        self._files_max = files_max
        self._readings: deque[Reading] = deque(maxlen=WINDOW + 1)

    def add(self, reading: Reading) -> Load:
        """The load as of this reading; at rest until there are enough of them."""
        readings = self._readings
        readings.append(reading)
        first = readings[0]
        seconds = reading.now_s - first.now_s
        files = reading.files / self._files_max
        if len(readings) <= WINDOW or seconds <= 0:
            return Load(files=files)
        return Load(
            cpu=(reading.cpu_s - first.cpu_s) / seconds,
            lag=min(reading.late_s for reading in readings),
            files=files,
            bandwidth=(reading.sent_bytes - first.sent_bytes) * 8 / seconds / 1e6,
        )


class Gate:
    """Open or shut for one kind of newcomer. shut_by: the resources that keep it shut; empty: it is open."""

    def __init__(self, bounds: Bounds, workers: int) -> None:
        self._bounds: dict[Resource, float] = {
            "cpu": bounds.cpu,
            "lag": bounds.lag_s,
            "files": bounds.files,
            "bandwidth": bounds.out_mbps / workers,
        }
        self.shut_by: tuple[Resource, ...] = ()

    def judge(self, load: Load) -> bool:
        """Take a new load into account; returns whether the gate was opened or shut by it."""
        was_shut = bool(self.shut_by)
        self.shut_by = tuple(
            resource
            for resource, bound in self._bounds.items()
            if bound and getattr(load, resource) >= (bound * RELEASE if resource in self.shut_by else bound)
        )
        return bool(self.shut_by) != was_shut


class Admission:
    """The gates of one worker, and the load at which they were last judged.

    workers: how many share the node's bandwidth; the kernel spreads connections evenly over them.
    """

    def __init__(self, settings: Overload, files_max: int, workers: int) -> None:
        self.load = Load()
        self.gates: dict[Action, Gate] = {
            "publish": Gate(settings.publishers, workers),
            "play": Gate(settings.viewers, workers),
        }
        self._gauge = Gauge(files_max)

    def read(self, reading: Reading) -> list[Action]:
        """Judge anew; returns the actions that are refused, or no longer refused, because of this reading."""
        self.load = self._gauge.add(reading)
        return [action for action, gate in self.gates.items() if gate.judge(self.load)]

    def full(self, action: Action) -> str | None:
        """The resource that a newcomer would overload, None if there is room."""
        shut_by = self.gates[action].shut_by
        return shut_by[0] if shut_by else None
