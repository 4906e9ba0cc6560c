"""A transcoding job as a process: `python -m headwater.center.transcode`."""

from __future__ import annotations

import sys

from headwater.center import process
from headwater.center.transcode.job import TranscodeJob

if __name__ == "__main__":
    sys.exit(process.main("transcode", TranscodeJob))
