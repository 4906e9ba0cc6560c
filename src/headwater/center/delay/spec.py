"""What a job of a delayed stream is told, and what it leaves beside its buffer."""

from __future__ import annotations

import msgspec


class DelaySpec(msgspec.Struct, frozen=True):
    """A stream is published again delay_s later under another name. folder: below the spool, where it waits."""

    delay_s: int
    name: str
    folder: str


NOTE_FILE = "stream.json"
"""The `Note`, in the buffer's folder."""


class Note(msgspec.Struct, frozen=True):
    """Whose buffer it is: a center that is started anew when the publisher has gone must know what to play."""

    domain: str
    app: str
    stream: str
    delay_s: int
