"""A job process for snapshots: `python -m headwater.center.snapshot`, started by the center alone."""

from __future__ import annotations

import sys

from headwater.center import process
from headwater.center.snapshot.job import SnapshotJob

if __name__ == "__main__":
    sys.exit(process.main("snapshot", SnapshotJob))
