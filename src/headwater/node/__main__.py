"""Starts a media worker: `python -m headwater.node`, with one line of JSON (`WorkerConfig`) on standard input."""

from __future__ import annotations

import gc
import sys

import msgspec
import uvloop

from headwater.node import worker
from headwater.node.certificates import report_unraisable
from headwater.node.config import WorkerConfig
from headwater.observe import log


def main() -> int:
    """Run until told to stop; returns the exit code."""
    line = sys.stdin.readline()
    config = msgspec.json.decode(line, type=WorkerConfig)
    log.configure(config.settings.log.format, config.settings.log.level, process=f"worker-{config.index}")
    sys.unraisablehook = report_unraisable
    # Viewers and tags are many, long-lived and free of cycles: looking through them for garbage would only cost.
    gc.collect()
    gc.freeze()
    try:
        uvloop.run(worker.run(config))
    except OSError as error:
        print(f"headwater worker: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
