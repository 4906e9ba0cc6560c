"""What a job of a delayed stream is told."""

from __future__ import annotations

import msgspec


class DelaySpec(msgspec.Struct, frozen=True):
    """A stream is published again delay_s later under another name. folder: below the spool, where it waits."""

    delay_s: int
    name: str
    folder: str
