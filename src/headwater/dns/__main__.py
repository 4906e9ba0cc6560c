"""Starts the DNS process: `python -m headwater.dns`, with one line of JSON (`DnsConfig`) on standard input."""

from __future__ import annotations

import sys

import msgspec
import uvloop

from headwater.access.places import PlacesError
from headwater.cluster.interface import ClusterError
from headwater.dns import server
from headwater.dns.config import DnsConfig
from headwater.dns.zone import ZoneError
from headwater.observe import log


def main() -> int:
    """Run until told to stop; returns the exit code."""
    config = msgspec.json.decode(sys.stdin.readline(), type=DnsConfig)
    log.configure(config.settings.log.format, config.settings.log.level, process="dns")
    try:
        uvloop.run(server.run(config))
    except OSError as error:
        print(f"headwater dns: listen.dns: {error}", file=sys.stderr)
        return 1
    except (ZoneError, PlacesError, ClusterError) as error:
        print(f"headwater dns: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
