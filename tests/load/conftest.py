"""Lets runs inside a test report often, so that no test waits for a report."""

from __future__ import annotations

import pytest

from headwater.load import process


@pytest.fixture(autouse=True)
def _quick_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "REPORT_EVERY_S", 0.01)
    monkeypatch.setattr(process, "CHECK_EVERY_S", 0.01)
    monkeypatch.setattr(process, "FAREWELL_S", 0.01)
