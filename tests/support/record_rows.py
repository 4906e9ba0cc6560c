"""What the live center would have recorded, as rows of its tables, and a center that obeys."""

from __future__ import annotations

from typing import Any

import msgspec

from headwater.access.plan import RecordFormat
from headwater.store.database import Database
from headwater.store.models import MediaSlice, RecordedFile, Recording

SLICES = "{StreamName}/{UnixTimestamp}_{Sequence}"
ENDPOINT, BUCKET = "oss-cn-shanghai.aliyuncs.com", "shapes"
FORMATS = (
    RecordFormat("m3u8", 3600, "{StreamName}/{StartTime}_{EndTime}", SLICES, 10),
    RecordFormat("mp4", 3600, "{StreamName}/{StartTime}_{EndTime}"),
)


class Center:
    """Says yes to every command and remembers it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []

    async def ask(self, method: str, path: str, body: Any = None) -> None:
        self.asked.append((method, path, body))


async def recorded(
    database: Database,
    domain: str,
    app: str,
    stream: str,
    *,
    start_s: float,
    seconds: int,
    template: str = "",
    slice_s: int = 10,
    bucket: str = BUCKET,
    state: str = "stored",
) -> int:
    """A recording of some seconds in slices and in one MP4 file, complete and stored; its id."""
    start_ms = int(start_s) * 1000
    spec = {"recording": 0, "formats": FORMATS}
    name = f"{stream}_{template}" if template else stream
    common = {"domain": domain, "app": app, "stream": stream, "template": template}
    stored = {"endpoint": ENDPOINT, "bucket": bucket, "state": state, "width": 320, "height": 180, "bytes": 1000}
    async with database.write() as session:
        row = Recording(
            **common,
            node="node",
            session="session",
            trigger=0,
            state="closed",
            held=False,
            spec=msgspec.json.encode(spec).decode(),
            push_args="{}",
            started_s=start_s,
            ended_s=start_s + seconds,
            close_at_s=0.0,
            error="",
        )
        session.add(row)
        await session.flush()
        for number in range(seconds // slice_s):
            session.add(
                MediaSlice(
                    **common,
                    **stored,
                    kind="record",
                    recording=row.id,
                    file_number=0,
                    format="m3u8",
                    number=number,
                    key=f"{name}/{start_ms // 1000 + number * slice_s}_{number}.ts",
                    init_key="",
                    start_ms=start_ms + number * slice_s * 1000,
                    duration_ms=slice_s * 1000,
                    discontinuity=False,
                    local_path="",
                )
            )
        session.add(
            RecordedFile(
                **common,
                **stored,
                recording=row.id,
                format="mp4",
                number=0,
                key=f"{name}/file.mp4",
                start_ms=start_ms,
                end_ms=start_ms + seconds * 1000,
                duration_ms=seconds * 1000,
                sha256="",
                created_s=start_s + seconds,
            )
        )
        return row.id
