"""The ports that the tests give to servers."""

from __future__ import annotations

from support.ports import PER_WORKER, REFUSED_BY_BROWSERS, free_port


def test_no_port_is_given_that_a_browser_refuses() -> None:
    given = {free_port() for _ in range(PER_WORKER)}
    assert not given & REFUSED_BY_BROWSERS
