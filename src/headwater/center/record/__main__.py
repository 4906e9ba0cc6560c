"""The job process of recordings: `python -m headwater.center.record`."""

from __future__ import annotations

import sys

from headwater.center import process
from headwater.center.record.job import RecordJob

if __name__ == "__main__":
    sys.exit(process.main("record", RecordJob))
