"""Finishes a recording whose stream has gone: makes the slices and files that are still due, and ends those that are open.

python -m headwater.center.record.finish: reads a `RecordSpec` as a line of JSON, and says each thing that it has made as one.
It may die at any time and be run again: what its journal says is made is not made twice.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from headwater.center.record.build import Builder
from headwater.center.record.spec import Event, Failed, RecordSpec
from headwater.center.record.spool import Folder, write_all
from headwater.observe import log as logs

NICENESS = 5
"""Live streams come first."""


def finish(spec: RecordSpec, say: Callable[[Event], None]) -> None:
    """Make what is due, and then remove the pieces. Raises OSError if the disk takes nothing, SpoolBusy."""
    folder = Folder(Path(spec.folder))
    try:
        ledger = folder.ledger
        ledger.end()
        builder = Builder(folder, spec)
        for span in ledger.due():
            made = builder.attempt(span, ledger.slices(span.format, span.file))
            folder.write(made)
            folder.sync()
            if not isinstance(made, Failed) or made.error:
                say(made)
        for path in folder.path.glob("*.piece"):
            path.unlink()
    finally:
        folder.close()


def main() -> int:
    """Finish one recording; the exit code is 0 when nothing is left to do."""
    os.nice(NICENESS)
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # logs must not stand between the lines
    logs.configure("auto", "info", process="record-finish")
    spec = msgspec.json.decode(sys.stdin.buffer.readline(), type=RecordSpec)

    def say(event: Event) -> None:
        write_all(output, msgspec.json.encode(event) + b"\n")

    finish(spec, say)
    return 0


if __name__ == "__main__":
    sys.exit(main())
