"""The catalogue of operations and its page."""

from __future__ import annotations

from pathlib import Path

from headwater.openapi.catalog import catalog
from headwater.openapi.coverage import coverage_page
from headwater.openapi.operations import OPERATIONS

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def test_the_service_has_436_operations_in_23_families() -> None:
    assert len(catalog()) == 436
    assert len({entry.family for entry in catalog().values()}) == 23
    assert all(entry.meaning and "|" not in entry.meaning for entry in catalog().values())


def test_every_operation_that_works_is_one_of_the_services() -> None:
    assert set(OPERATIONS) <= set(catalog())


def test_the_page_of_operations_is_fresh() -> None:
    stale = "docs/operations.md is stale: run python -m headwater.openapi.coverage docs/operations.md"
    assert PAGE.read_text(encoding="utf-8") == coverage_page(OPERATIONS), stale
