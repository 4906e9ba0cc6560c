"""Runs of the load generator inside the test's own process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from headwater.load import process
from headwater.load.plan import Plan
from headwater.load.tally import Tally

PLAN = Plan(
    url="",
    clients=1,
    processes=1,
    index=0,
    seconds=30,
    delay_s=0,
    streams=1,
    check=1,
    stall_s=10,
    stay_s=None,
    key=None,
    insecure=False,
    clip=None,
)


async def run_load(url: str, until: Callable[[Tally], bool] | None = None, **changes: Any) -> Tally:
    """Run until the clients have ended by themselves, or the tally is as wanted; with `changes` to a plan for one client."""
    stop = asyncio.Event()

    def emit(tally: Tally) -> None:
        if until is not None and until(tally):
            stop.set()

    return await process.run(msgspec.structs.replace(PLAN, url=url, **changes), emit, stop)


def fault_counts(tally: Tally) -> dict[str, int]:
    """How many faults of each kind."""
    return {kind: sum(texts.values()) for kind, texts in tally.faults.items()}
