"""Metrics as plain data, in which a media worker hands them to the main process."""

from __future__ import annotations

from typing import Literal

import msgspec


class Sample(msgspec.Struct, frozen=True):
    """One value of a metric under its labels."""

    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, frozen=True):
    """One metric: its Prometheus name without a `_total` suffix, its kind, one sentence of help, its samples."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: list[Sample]
