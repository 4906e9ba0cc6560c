"""A transcoding job as a process: `python -m headwater.center.transcode`."""

from __future__ import annotations

import os
import sys

from headwater.center import process
from headwater.center.transcode.job import TranscodeJob

NICENESS = 5
"""Encoders take whatever they get; a machine that is short of cores must serve its viewers and publishers first (nice(2))."""

if __name__ == "__main__":
    os.nice(NICENESS)
    sys.exit(process.main("transcode", TranscodeJob))
