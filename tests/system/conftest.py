"""What system tests share: the real program with its live center, and one real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.browser import Browser, Chromium
from support.browser import chromium as running_chromium
from support.server import Server, running


@pytest.fixture(scope="session")
def center() -> Iterator[Server]:
    """A server whose center runs, one for each test process; customers' servers may be on loopback. Tests make their own
    accounts, domains and buckets.
    """
    with running({"center.enabled": "true", "workers": "2", "notify.private_addresses": "true"}) as server:
        yield server


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """One browser for all tests, for its start costs more than most of them; each has its own context."""
    with running_chromium() as chromium:
        yield chromium


@pytest.fixture
def browser(chromium: Chromium) -> Iterator[Browser]:
    """Somebody who has never been here before."""
    with chromium.visitor() as visitor:
        yield visitor
