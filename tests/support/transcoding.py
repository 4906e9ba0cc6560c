"""What tests of templates need: a center that says what it makes, and pictures."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from headwater.cluster.centers import CenterRefusal, JobPresence


def job(domain: str, app: str, stream: str, *templates: str) -> JobPresence:
    """The job of a source stream with some renditions, as the center tells it."""
    id_ = f"{domain}/{app}/{stream}"
    return JobPresence("transcode", id_, domain, app, stream, "session", "running", 1.0, parts=dict.fromkeys(templates, "fine"))


class JobCenter:
    """Has these jobs, says yes to every command and remembers it; refuses those about streams without a job."""

    def __init__(self, *jobs: JobPresence) -> None:
        self.running = list(jobs)
        self.asked: list[tuple[str, str, Any]] = []

    async def jobs(self) -> list[JobPresence]:
        return self.running

    async def ask(self, method: str, path: str, body: Any = None) -> None:
        if all((item.app, item.stream) != (body["app"], body["stream"]) for item in self.running):
            raise CenterRefusal(404, "NotTranscoded", "no rendition of this stream runs")
        self.asked.append((method, path, body))


def picture(width: int, height: int, format_: str = "PNG") -> bytes:
    """A picture of one colour."""
    data = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(data, format_)
    return data.getvalue()
