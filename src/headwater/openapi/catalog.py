"""Which operations the ApsaraVideo Live API 2016-11-01 has: all 436 of them, whether they work here or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType


@dataclass(frozen=True)
class CallLimit:
    """How many calls of one operation an account may make in a period (reference control-plane 1.7, last line)."""

    calls: int
    period_s: int


@dataclass(frozen=True)
class CatalogEntry:
    """One operation of the service and what it is for. limit: what is documented; None: nothing is."""

    name: str
    family: str
    limit: CallLimit | None
    meaning: str


@cache
def catalog() -> Mapping[str, CatalogEntry]:
    """Every operation by name, family by family, as `operations.txt` lists them."""
    entries: dict[str, CatalogEntry] = {}
    family = ""
    for line in files(__package__).joinpath("operations.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            family = line[1:-1]
        elif line and not line.startswith("#"):
            name, limit, meaning = line.split(" ", 2)
            entries[name] = CatalogEntry(name, family, _limit(limit), meaning)
    return MappingProxyType(entries)


def _limit(text: str) -> CallLimit | None:
    if text == "-":
        return None
    calls, _, unit = text.partition("/")
    return CallLimit(int(calls), {"s": 1, "min": 60}[unit])
