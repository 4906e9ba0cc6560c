"""Starts recording processes by forking, which costs no imports: for tests that kill a hundred of them.

python -m support.record_forks: reads a path of a FIFO in each line, and says the pid of a job process whose standard input it
is. The processes look at their sockets all the time, so that the moment of a kill means as much as it can.
"""

from __future__ import annotations

import os
import signal
import sys

from headwater.center import process
from headwater.center.record import job


def main() -> None:
    """Until standard input ends."""
    job.READ_S = job.BUSY_S = 0.001
    job.SYNC_S = job.AGAIN_S = 0.01
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while fifo := sys.stdin.readline().strip():
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open(fifo, os.O_RDONLY), 0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.dup2(os.pipe()[1], 1)  # nobody listens
        os._exit(process.main("record", job.RecordJob))


if __name__ == "__main__":
    main()
