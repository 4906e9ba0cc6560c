"""One process of a load run: `python -m headwater.load` reads its plan from standard input, and ends when that is closed.

It writes a line of JSON for each report, the last of them when everything is over.
"""

from __future__ import annotations

import asyncio
import os
import sys

import msgspec
import uvloop

from headwater.load.plan import Plan
from headwater.load.process import run
from headwater.load.tally import Report, Tally


def _write(tally: Tally, *, final: bool) -> None:
    try:
        sys.stdout.buffer.write(msgspec.json.encode(Report(tally, final)) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(1)  # whoever started this process is gone


async def _main() -> None:
    stop = asyncio.Event()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    plan = msgspec.json.decode(await reader.readline(), type=Plan)

    async def wait_for_end() -> None:
        await reader.read()
        stop.set()

    waiting = asyncio.create_task(wait_for_end())
    tally = await run(plan, lambda tally: _write(tally, final=False), stop)
    _write(tally, final=True)
    waiting.cancel()


if __name__ == "__main__":
    uvloop.run(_main())
