"""Nothing stays of a stream, a viewer or a name once it is gone: a tenth of what `make -C benchmarks churn` does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parents[2]
TIMEOUT_S = 300


def test_nothing_stays_of_names_that_came_and_went() -> None:
    # HLS keeps the last segments of a stream for 30 s on purpose: the whole run plays it too, and waits.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.churn", "--names", "2000", "--requests", "10000", "--hls-every", "0"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=HOME,
        env={name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
