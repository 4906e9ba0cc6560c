"""The process of time-shift jobs."""

import sys

from headwater.center.process import main
from headwater.center.shift.job import ShiftJob

sys.exit(main("shift", ShiftJob))
