"""The process of jobs for delayed streams."""

import sys

from headwater.center.delay.job import DelayJob
from headwater.center.process import main

sys.exit(main("delay", DelayJob))
