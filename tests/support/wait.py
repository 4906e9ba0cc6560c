"""Waits for a condition of another process or task, with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.03


def until(condition: Callable[[], T | None], what: str, timeout_s: float = 10.0) -> T:
    """Ask `condition` until it answers something true, and return that. Raises AssertionError at the deadline."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout_s} s: {what} (the last answer was {answer!r})")
        time.sleep(POLL_S)


async def eventually(condition: Callable[[], T | None], what: str, timeout_s: float = 10.0) -> T:
    """As `until`, for what happens on the test's own event loop."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what} (the last answer was {answer!r})"
        await asyncio.sleep(0.001)
    return answer


def within(seconds: float, condition: Callable[[], T | None], what: str) -> float:
    """How many seconds it took until `condition` was true; at most `seconds`, or AssertionError."""
    started = time.monotonic()
    until(condition, what, seconds)
    return time.monotonic() - started
