"""The codes by which customers name regions, and whether a place is in one of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from headwater.access.countries import countries
from headwater.access.places import Place

CONTINENTS: Final = frozenset({"AF", "AN", "AS", "EU", "NA", "OC", "SA"})

SHARED: Final = {"AFG": "AF", "ASM": "AS", "NAM": "NA", "SAU": "SA"}
"""Countries whose code is a continent's too: two letters mean the continent, so the country is named by its ISO 3166-1
alpha-3 code."""


class RegionSet:
    """Some continents and countries."""

    def __init__(self, codes: Iterable[str]) -> None:
        """codes: valid ones."""
        chosen = frozenset(codes)
        self._continents = chosen & CONTINENTS
        self._countries = frozenset(SHARED.get(code, code) for code in chosen - CONTINENTS)

    def __contains__(self, place: Place) -> bool:
        """False for a place that is not known."""
        return place.country in self._countries or place.continent in self._continents


def is_region(code: str) -> bool:
    """Whether this names a continent (AF, AN, AS, EU, NA, OC, SA) or a country (ISO 3166-1), in capitals.

    The country database knows no provinces, so there are no codes for them.
    """
    return code in CONTINENTS or code in countries() or code in SHARED
