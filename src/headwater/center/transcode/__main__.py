"""A transcoding job as a process: `python -m headwater.center.transcode`."""

from __future__ import annotations

import os
import sys

from headwater.center import process
from headwater.center.transcode.job import TranscodeJob
from headwater.center.transcode.spec import NICENESS

if __name__ == "__main__":
    os.nice(NICENESS)
    sys.exit(process.main("transcode", TranscodeJob))
