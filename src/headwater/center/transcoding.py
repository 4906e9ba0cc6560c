"""The transcoding department: one job for each source stream that has renditions to make, and texts written into them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from headwater.access.plan import ANY, Plan, Watermark
from headwater.access.presence import StreamPresence
from headwater.center.department import AskFailed, Center, Wanted
from headwater.center.manager import renditions_of
from headwater.center.transcode.spec import InsertSei, Mark, Spec, decode_question
from headwater.domains.watermarks import picture_of
from headwater.wording import sentence

LINGER_S = 3.0
"""A publisher who is back so soon, or whose stream has gone over to another worker, finds its renditions still running."""

PICTURES = "watermarks"
"""The folder in the spool with the pictures that jobs read."""

log = structlog.get_logger()


class SeiOrder(msgspec.Struct, frozen=True):
    """POST /transcode/sei: write a text into the renditions of a source stream."""

    domain: str
    app: str
    stream: str
    sei: InsertSei


class RestartOrder(msgspec.Struct, frozen=True):
    """POST /transcode/restart: let the job of a source stream begin anew."""

    domain: str
    app: str
    stream: str


class Transcoding:
    """Renditions of all source streams."""

    kind = "transcode"
    module = "headwater.center.transcode"
    jobs_per_process = 1  # a codec that crashes takes nothing with it but its own stream's renditions
    follows_plan = True

    def __init__(self, center: Center) -> None:
        self._center = center
        self._folder = center.spool / PICTURES
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self.routes: Sequence[BaseRoute] = [
            Route("/transcode/sei", self._insert_sei, methods=["POST"]),
            Route("/transcode/restart", self._restart, methods=["POST"]),
        ]

    async def start(self) -> None:
        """Make the folder of pictures; those of an earlier run may be of rules that are gone."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            path.unlink()

    def needs(self, stream: StreamPresence, plan: Plan) -> Collection[str]:
        """None: it makes renditions, for others."""
        return ()

    def wanted(self, stream: StreamPresence, plan: Plan, granted: Mapping[str, float]) -> list[Wanted]:
        """One job, if the stream has any rendition that may run."""
        settings = self._center.settings.center
        spec = spec_of(stream, plan, granted, self._folder, threads=settings.transcode_threads, nvenc=settings.transcode_nvenc)
        if spec is None:
            return []
        for mark in spec.marks:
            self._provide(mark)
        return [Wanted(job_id(stream.domain, stream.app, stream.stream), msgspec.json.encode(spec), LINGER_S)]

    async def told(self, job: str, event: msgspec.Raw) -> None:
        """Its jobs have nothing to tell: what they make is published at once."""

    async def ended(self, job: str, error: str) -> None:
        """Nothing is left open."""

    async def close(self) -> None:
        """Fetch no more pictures."""
        for task in self._fetching.values():
            task.cancel()
        await asyncio.gather(*self._fetching.values(), return_exceptions=True)

    def _provide(self, mark: Mark) -> None:
        """See to it that a watermark's picture comes into its file; the job looks for it until it is there."""
        if mark.path not in self._fetching and not Path(mark.path).exists():
            task = asyncio.get_running_loop().create_task(self._fetch(mark))
            self._fetching[mark.path] = task
            task.add_done_callback(lambda _: self._fetching.pop(mark.path, None))

    async def _fetch(self, mark: Mark) -> None:
        async with self._center.database.read() as session:
            data = await picture_of(session, mark.mark.picture)
        if data is None:
            log.warning("watermark has no picture", rule=mark.mark.rule)
            return
        path = Path(mark.path)
        part = path.with_suffix(".part")
        await asyncio.to_thread(part.write_bytes, data)
        part.rename(path)

    async def _insert_sei(self, request: Request) -> Response:
        try:
            order = msgspec.json.decode(await request.body(), type=SeiOrder)
            decode_question(msgspec.json.encode(order.sei))
        except msgspec.DecodeError as error:
            return _refused(400, "InvalidParam", sentence(error))
        job = job_id(order.domain, order.app, order.stream)
        try:
            return Response(bytes(await self._center.ask(self.kind, job, order.sei)), media_type="application/json")
        except AskFailed as error:
            return _refused(404, "NotTranscoded", f"no rendition of this stream runs: {error}")

    async def _restart(self, request: Request) -> Response:
        try:
            order = msgspec.json.decode(await request.body(), type=RestartOrder)
        except msgspec.DecodeError as error:
            return _refused(400, "InvalidParam", sentence(error))
        try:
            self._center.restart(self.kind, job_id(order.domain, order.app, order.stream))
        except AskFailed as error:
            return _refused(404, "NotTranscoded", f"no rendition of this stream runs: {error}")
        return Response(status_code=204)


def _refused(status: int, code: str, text: str) -> Response:
    return Response(msgspec.json.encode({"code": code, "message": text}), status, media_type="application/json")


def job_id(domain: str, app: str, stream: str) -> str:
    """The job of a source stream."""
    return f"{domain}/{app}/{stream}"


def spec_of(
    stream: StreamPresence, plan: Plan, granted: Mapping[str, float], folder: Path, *, threads: int, nvenc: bool
) -> Spec | None:
    """What is made of a source stream now; None if nothing is. folder: where its watermark's picture stands."""
    if stream.template:
        return None
    known = renditions_of(plan, stream.app)
    renditions = tuple(known[template] for template in sorted(granted) if template in known)
    if not renditions:
        return None
    mark = mark_of(plan, stream.app, stream.stream)
    marks = (Mark(mark, str(folder / picture_name(mark.picture))),) if mark is not None else ()
    return Spec(renditions, marks, threads, nvenc)


def picture_name(picture: str) -> str:
    """The file name of a watermark's picture."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", picture) or "_"


def mark_of(plan: Plan, app: str, stream: str) -> Watermark | None:
    """The watermark of a stream: of the rules that match, the one that says most. An exact name beats any pattern."""
    matching = [mark for mark in plan.watermarks if mark.app in (app, ANY) and matches(mark.stream, stream)]
    return max(matching, key=lambda mark: (mark.app != ANY, "*" not in mark.stream, len(mark.stream), mark.rule), default=None)


def matches(pattern: str, name: str) -> bool:
    """Whether a stream's name is what a rule's pattern says (reference media-plane 1.2).

    A name; `*`; or one `*` in front of or behind a text or a group of texts: `*(t1|t2)`, `(abc|123)*`.
    """
    if pattern == ANY:
        return True
    if pattern.startswith("*"):
        return name.endswith(_choices(pattern[1:]))
    if pattern.endswith("*"):
        return name.startswith(_choices(pattern[:-1]))
    return name == pattern


def _choices(text: str) -> tuple[str, ...]:
    if text.startswith("(") and text.endswith(")"):
        return tuple(text[1:-1].split("|"))
    return (text,)
