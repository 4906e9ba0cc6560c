"""What a job of time shift is told, and what it tells."""

from __future__ import annotations

import msgspec


class ShiftSpec(msgspec.Struct, frozen=True):
    """A stream of which slices are kept. name: under which it is live: the stream itself, or a rendition by `template`.

    folder: below the spool, where its slices wait to be stored.
    """

    domain: str
    app: str
    stream: str
    template: str
    name: str
    slice_s: int
    days: int
    folder: str


class SliceMade(msgspec.Struct, frozen=True):
    """A slice is complete on disk. The rest is as in `slicer.Cut`."""

    spec: ShiftSpec
    path: str
    start_ms: int
    duration_ms: int
    broken: bool
    bytes: int
    sha256: str
