"""What the load generators share: how one that a runner started reports, and how a runner drives it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HOME = Path(__file__).parent.parent
STOP_S = 10.0
"""How long a program that was asked to end may take before it is killed."""


class LoadError(Exception):
    """A load generator ended or did not answer; the message holds what it said."""


def raise_file_limit() -> int:
    """Allow as many open files as the system lets us have. Returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def cpu_s() -> float:
    """CPU time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def say(report: dict[str, Any]) -> None:
    """One report as a line of JSON."""
    print(json.dumps(report), flush=True)


class Orders:
    """When a load generator is to report and to end.

    With `follow`, it reports at each line on standard input and ends at the end of the file, so it cannot outlive its
    runner; otherwise it reports every `every_s`. It ends after `seconds` in any case.
    """

    def __init__(self, *, follow: bool, every_s: float, seconds: float) -> None:
        self._follow = follow
        self._every_s = every_s
        now = time.monotonic()
        self._end = now + seconds
        self._next = now + every_s
        self._poll = select.poll()
        if follow:
            os.set_blocking(sys.stdin.fileno(), False)
            self._poll.register(sys.stdin, select.POLLIN | select.POLLHUP)

    def due(self) -> tuple[bool, bool]:
        """(whether a report is due, whether it is time to end)."""
        now = time.monotonic()
        if now >= self._end:
            return True, True
        if not self._follow:
            if now < self._next:
                return False, False
            self._next += self._every_s
            return True, False
        if not self._poll.poll(0):
            return False, False
        data = os.read(sys.stdin.fileno(), 4096)
        return bool(data), not data


class Load:
    """A load generator that a runner started and asks for reports."""

    def __init__(self, module: str, args: Sequence[str], cpu: int | None, timeout_s: float) -> None:
        """Start `python -m benchmarks.<module>` and wait until it is at work. Raises LoadError."""
        self.name = module
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}", "--follow", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=HOME,
            preexec_fn=pin(cpu),
        )
        try:
            self.started = self._line(timeout_s)
        except BaseException:
            self.stop()
            raise

    def report(self) -> dict[str, Any]:
        """What happened since the last report. Raises LoadError."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(b"report\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise LoadError(f"{self.name} is gone") from error
        return self._line(STOP_S)

    def _line(self, timeout_s: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], timeout_s)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            raise LoadError(f"{self.name} {'ended' if ready else 'did not answer in time'}")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise LoadError(f"{self.name}: {found['error']}")
        return found

    def stop(self) -> None:
        """End the load generator and wait for it."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        end(self.process)


class Program:
    """A `headwater load` that a runner started: it says what it has seen when it is stopped."""

    def __init__(self, url: str, count: int, *options: str, cpu: int | None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="headwater-load-")
        self._said = Path(self._folder.name) / "said.json"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headwater", "load", url, "-c", str(count), "-k", "--json", str(self._said), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=pin(cpu),
        )

    def result(self) -> dict[str, Any]:
        """End the run and return what it has seen. Raises LoadError if it could not begin."""
        self.stop()
        if not self._said.exists():
            raise LoadError(f"headwater load ended with {self.process.returncode}")
        found: dict[str, Any] = json.loads(self._said.read_text())
        return found

    def stop(self) -> None:
        """End it, as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        end(self.process)

    def close(self) -> None:
        """End it, if that has not happened, and forget what it said."""
        self.stop()
        self._folder.cleanup()


def pin(cpu: int | None) -> Any:
    """For `preexec_fn`: run the new process on this CPU alone (None: anywhere), with as many files as may be."""

    def prepare() -> None:
        raise_file_limit()
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

    return prepare


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that was asked to end; kill it if it does not."""
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
