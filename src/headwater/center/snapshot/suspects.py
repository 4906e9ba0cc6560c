"""Finds the stream that has killed a job process, so that the others of the process go on without it.

A decoder is native code: a bitstream that meets a mistake in it takes the process down. So a file says which stream is being
decoded, and says so only as long as that takes. Whoever finds it at the start of a job knows that the decoding never ended.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

HELD_FIRST_S = 30.0
HELD_MAX_S = 3600.0
"""How long a stream is set aside after its first crash; twice as long after each further one, up to an hour."""

FORGIVEN_AFTER = 20
"""Pictures without a crash after which a stream is as good as any other."""

_DECODING = "?"


class Guard:
    """The mark of one job. crashes: how often it has taken its process down, unless that is forgiven."""

    def __init__(self, folder: Path, job: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / hashlib.sha256(job.encode()).hexdigest()[:32]
        self._good = 0
        self._crashed_s = 0.0
        self.crashes = 0
        with contextlib.suppress(FileNotFoundError, ValueError):
            text = self._path.read_text()
            self.crashes = int(text.removesuffix(_DECODING))
            if text.endswith(_DECODING):
                self.crashes += 1
                self._crashed_s = self._path.stat().st_mtime

    def held_s(self, now_s: float) -> float:
        """How much longer the stream is to be set aside. now_s: unix time."""
        held = min(HELD_FIRST_S * 2 ** min(self.crashes - 1, 10), HELD_MAX_S) if self._crashed_s else 0.0
        return max(0.0, self._crashed_s + held - now_s)

    @contextlib.contextmanager
    def decoding(self) -> Iterator[None]:
        """Around the decoding of one key frame; an exception is a way out like any other."""
        self._path.write_text(f"{self.crashes}{_DECODING}")
        try:
            yield
        finally:
            self._good += 1
            if self._good >= FORGIVEN_AFTER:
                self.crashes = 0
            if self.crashes:
                self._path.write_text(str(self.crashes))
            else:
                self._path.unlink(missing_ok=True)
