"""The real program with its live center, for all who test what the center makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.server import Server, running


@pytest.fixture(scope="session")
def center() -> Iterator[Server]:
    """A server whose center runs, one for each test process; customers' servers may be on loopback. Tests make their own
    accounts, domains and buckets.
    """
    with running({"center.enabled": "true", "workers": "2", "notify.private_addresses": "true"}) as server:
        yield server
