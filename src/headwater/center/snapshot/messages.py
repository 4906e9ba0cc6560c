"""What the center and a snapshot job say to one another (the specs and events of `center.jobs`)."""

from __future__ import annotations

import msgspec


class Place(msgspec.Struct, frozen=True):
    """Where the pictures of a stream go: overwrite, sequence are object names with variables, "" for none.

    callback: the URL of the template that is told, "" for none.
    """

    endpoint: str
    bucket: str
    overwrite: str
    sequence: str
    callback: str = ""


class SnapshotSpec(msgspec.Struct, frozen=True):
    """A job: a picture every interval_s seconds, told of with the place where it goes."""

    interval_s: float
    place: Place


class PictureTaken(msgspec.Struct, frozen=True):
    """A picture lies in the spool. path: of the file. created_ms: unix milliseconds at which its key frame came."""

    domain: str
    app: str
    stream: str
    path: str
    created_ms: int
    size_bytes: int
    sha256: str
    place: Place
