"""What the center and a snapshot job say to one another (the specs and events of `center.jobs`)."""

from __future__ import annotations

import msgspec


class Place(msgspec.Struct, frozen=True):
    """Where the pictures of a stream go: overwrite, sequence are object names with variables, "" for none."""

    endpoint: str
    bucket: str
    overwrite: str
    sequence: str


class SnapshotSpec(msgspec.Struct, frozen=True):
    """A job: a picture every interval_s seconds into the folder `spool`, told of with the place where it goes."""

    interval_s: float
    spool: str
    place: Place


class Taken(msgspec.Struct, frozen=True):
    """A picture lies in the spool. path: of the file. created_ms: unix milliseconds of its key frame's arrival."""

    path: str
    created_ms: int
    place: Place
