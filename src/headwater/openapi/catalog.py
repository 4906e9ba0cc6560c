"""Which operations the ApsaraVideo Live API 2016-11-01 has: all 435 of them, whether they work here or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType


@dataclass(frozen=True)
class CatalogEntry:
    """One operation of the service and what it is for."""

    name: str
    family: str
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
            name, _, meaning = line.partition(" ")
            entries[name] = CatalogEntry(name, family, meaning)
    return MappingProxyType(entries)
