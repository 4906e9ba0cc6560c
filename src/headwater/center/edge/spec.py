"""What the department tells a job of edge transcoding to do."""

from __future__ import annotations

import msgspec

from headwater.access.plan import Rendition


class EdgeSpec(msgspec.Struct, frozen=True):
    """Read `input`, make the rendition of it, publish it to `output`. The URLs were checked when the job was started."""

    rendition: Rendition
    input: str
    output: str
