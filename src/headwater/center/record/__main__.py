"""The job process of recordings: `python -m headwater.center.record`."""

from __future__ import annotations

import gc
import sys

from headwater.center import process
from headwater.center.record.job import RecordJob

GARBAGE_OBJECTS = 50_000
"""So many objects are made and not freed before Python looks for cycles among them. Its own 700 are as many as the tags of ten
seconds, which are in no cycle: looking through them time and again was a tenth of what recordings cost."""

if __name__ == "__main__":
    gc.set_threshold(GARBAGE_OBJECTS)
    sys.exit(process.main("record", RecordJob))
