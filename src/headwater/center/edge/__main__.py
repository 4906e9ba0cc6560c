"""A job of edge transcoding as a process: `python -m headwater.center.edge`."""

from __future__ import annotations

import os
import sys

from headwater.center import process
from headwater.center.edge.job import EdgeTranscodeJob
from headwater.center.transcode.spec import NICENESS

if __name__ == "__main__":
    os.nice(NICENESS)
    sys.exit(process.main("edge", EdgeTranscodeJob))
