"""Starts the live center: `python -m headwater.center`, with one line of JSON (`CenterConfig`) on standard input."""

from __future__ import annotations

import sys

import msgspec
import uvloop

from headwater.center import server
from headwater.center.config import CenterConfig
from headwater.cluster.interface import ClusterError
from headwater.observe import log
from headwater.store.crypto import SecretsError
from headwater.store.database import DatabaseUnusableError


def main() -> int:
    """Run until told to stop; returns the exit code."""
    config = msgspec.json.decode(sys.stdin.readline(), type=CenterConfig)
    log.configure(config.settings.log.format, config.settings.log.level, process="center")
    try:
        uvloop.run(server.run(config))
    except (OSError, ClusterError, SecretsError, DatabaseUnusableError) as error:
        print(f"headwater center: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
