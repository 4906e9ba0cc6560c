"""Edge transcoding: jobs of the live center that read a stream from anywhere, transcode it, and publish it anywhere.

What the service's data centers are, here the nodes with a live center are. The row of a job says what is wanted; the center of
its node reads it (`center.edges`) and sees to it that the job runs.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.media_url import INPUT_SCHEMES, OUTPUT_SCHEMES, parse_media_url
from headwater.access.plan import ANY, Rendition, Video
from headwater.cluster.centers import CenterError, Centers
from headwater.cluster.nodes import NodeList
from headwater.domains.errors import DomainError, error
from headwater.domains.presets import PRESETS, preset
from headwater.domains.transcoding import rendition_of, template_of
from headwater.store.database import Actor, Change, Database
from headwater.store.models import Domain, EdgeJob, TranscodeTemplate

JOBS_MAX: Final = 100
"""Jobs of an account. Ours: each that is started takes a process and cores of the machine."""

LISTED_S: Final = 180 * 86_400
"""A job that nobody has changed for so long is not listed (ListEdgeTranscodeJob), unless it runs."""

COMMON: Final = "common"
"""The type of all that is offered here: standard transcoding and narrowband. The service has `nbhd-2` and `ultra-hd`, too."""

FOLLOWS_SOURCE: Final = "ws"
"""What a template says of a property that is as the source has it (GetEdgeTranscodeTemplate)."""

ADAPTS: Final = -2
"""What it says of a width or height that follows from the other one."""

_NAME = re.compile(r"[\w-]{1,255}")
_KIND = "custom"

log = structlog.get_logger()


class EdgeTemplate(msgspec.Struct, frozen=True):
    """A template that a job may use. id: a standard one's is its name, a custom one's is `DOMAIN/APP/NAME`.

    codec: `H.264`, `H.265`, or "" for sound alone. created_s: None for a standard one.
    """

    id: str
    name: str
    codec: str
    resolution: str
    bitrate: str
    fps: str
    gop: str
    created_s: float | None


class EdgeJobRecord(msgspec.Struct, frozen=True):
    """A job, as its row (`store.models.EdgeJob`)."""

    id: str
    cluster: str
    name: str
    template: str
    template_name: str
    input: str
    output: str
    running: bool
    created_s: float
    started_s: float | None
    stopped_s: float | None


class EdgeJobPage(msgspec.Struct, frozen=True):
    """One page of jobs; `total` counts all pages."""

    items: list[EdgeJobRecord]
    total: int


class EdgeTemplatePage(msgspec.Struct, frozen=True):
    """One page of templates; `total` counts all pages."""

    items: list[EdgeTemplate]
    total: int


class EdgeTranscodingService:
    """Jobs and their templates. Methods raise DomainError for what they refuse.

    cluster: the id of a node with a live center, InvalidParameter for another. allow_private: URLs may have addresses that are
    not public.
    """

    def __init__(
        self,
        database: Database,
        nodes: NodeList,
        centers: Centers,
        *,
        allow_private: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._centers = centers
        self._allow_private = allow_private
        self._clock = clock

    # Jobs

    async def create(
        self, account_id: str, cluster: str, name: str, template_id: str, input_url: str, output_url: str, *, actor: Actor
    ) -> str:
        """Keep a job, which does nothing until it is started (CreateEdgeTranscodeJob). Returns its id.

        Raises InvalidParameter, TemplateNotFound, QuotaExceeded.EdgeJob.
        """
        self._check_cluster(cluster)
        _check_name(name)
        self._check_urls(input_url, output_url)
        now_s, job_id = self._clock(), secrets.token_hex(16)
        async with self._database.change(account_id, actor, "CreateEdgeTranscodeJob", job_id, now_s) as change:
            session = change.session
            template, _ = await _template(session, account_id, template_id)
            count = select(func.count()).select_from(EdgeJob).where(EdgeJob.account == account_id)
            if (await session.scalar(count) or 0) >= JOBS_MAX:
                raise error("QuotaExceeded.EdgeJob")
            row = EdgeJob(
                id=job_id,
                account=account_id,
                cluster=cluster,
                name=name,
                template=template.id,
                template_name=template.name,
                input=input_url,
                output=output_url,
                rendition="",
                running=False,
                created_s=now_s,
                changed_s=now_s,
                started_s=None,
                stopped_s=None,
            )
            session.add(row)
            change.after = _told(row)
        return job_id

    async def start(self, account_id: str, cluster: str, job_id: str, *, actor: Actor) -> None:
        """Let a job run from now on, over restarts of everything, by its template as it is now (StartEdgeTranscodeJob).

        Raises JobNotFound, OperationDenied if it runs, TemplateNotFound.
        """
        self._check_cluster(cluster)
        now_s = self._clock()
        async with self._database.change(account_id, actor, "StartEdgeTranscodeJob", job_id, now_s) as change:
            row = await _stopped(change, account_id, cluster, job_id)
            self._check_urls(row.input, row.output)  # what is allowed may have changed
            template, rendition = await _template(change.session, account_id, row.template)
            row.template_name = template.name
            row.rendition = msgspec.json.encode(rendition).decode()
            row.running, row.started_s, row.changed_s = True, now_s, now_s
            change.after = _told(row)
        await self._tell_center()

    async def stop(self, account_id: str, cluster: str, job_id: str, *, actor: Actor) -> None:
        """Let a job run no longer (StopEdgeTranscodeJob). Raises JobNotFound, OperationDenied if it does not run."""
        now_s = self._clock()
        async with self._database.change(account_id, actor, "StopEdgeTranscodeJob", job_id, now_s) as change:
            row = await _job(change.session, account_id, cluster, job_id)
            if not row.running:
                raise error("OperationDenied", "The job is not running.")
            change.before = _told(row)
            row.running, row.stopped_s, row.changed_s = False, now_s, now_s
            change.after = _told(row)
        await self._tell_center()

    async def update(
        self,
        account_id: str,
        cluster: str,
        job_id: str,
        *,
        name: str = "",
        template_id: str = "",
        input_url: str = "",
        output_url: str = "",
        actor: Actor,
    ) -> None:
        """Change what is given of a job that does not run (UpdateEdgeTranscodeJob).

        Raises JobNotFound, OperationDenied if it runs, InvalidParameter, TemplateNotFound.
        """
        if name:
            _check_name(name)
        async with self._database.change(account_id, actor, "UpdateEdgeTranscodeJob", job_id, self._clock()) as change:
            row = await _stopped(change, account_id, cluster, job_id)
            self._check_urls(input_url, output_url)
            if template_id:
                template, _ = await _template(change.session, account_id, template_id)
                row.template, row.template_name = template.id, template.name
            row.name = name or row.name
            row.input = input_url or row.input
            row.output = output_url or row.output
            row.changed_s = self._clock()
            change.after = _told(row)

    async def delete(self, account_id: str, cluster: str, job_id: str, *, actor: Actor) -> None:
        """Forget a job; one that runs is ended (DeleteEdgeTranscodeJob). Raises JobNotFound."""
        async with self._database.change(account_id, actor, "DeleteEdgeTranscodeJob", job_id, self._clock()) as change:
            row = await _job(change.session, account_id, cluster, job_id)
            change.before, running = _told(row), row.running
            await change.session.delete(row)
        if running:
            await self._tell_center()

    async def job(self, account_id: str, cluster: str, job_id: str) -> EdgeJobRecord:
        """One job (GetEdgeTranscodeJob). Raises JobNotFound."""
        async with self._database.read() as session:
            return _record(await _job(session, account_id, cluster, job_id))

    async def jobs(
        self,
        account_id: str,
        cluster: str,
        *,
        running: bool | None = None,
        keyword: str = "",
        newest_first: bool = True,
        page_number: int = 1,
        page_size: int = 10,
    ) -> EdgeJobPage:
        """The jobs of a node by the time of their creation (ListEdgeTranscodeJob). keyword: an id, or a part of a name."""
        self._check_cluster(cluster)
        recent = or_(EdgeJob.changed_s >= self._clock() - LISTED_S, EdgeJob.running)
        where = [EdgeJob.account == account_id, EdgeJob.cluster == cluster, recent]
        if running is not None:
            where.append(EdgeJob.running == running)
        if keyword:
            where.append(or_(EdgeJob.id == keyword, EdgeJob.name.icontains(keyword, autoescape=True)))
        order = (EdgeJob.created_s.desc(), EdgeJob.id) if newest_first else (EdgeJob.created_s, EdgeJob.id)
        async with self._database.read() as session:
            total = await session.scalar(select(func.count()).select_from(EdgeJob).where(*where)) or 0
            rows = select(EdgeJob).where(*where).order_by(*order)
            page = rows.limit(page_size).offset((page_number - 1) * page_size)
            return EdgeJobPage([_record(row) for row in await session.scalars(page)], total)

    # Templates

    async def template(self, account_id: str, cluster: str, template_id: str) -> EdgeTemplate:
        """One template (GetEdgeTranscodeTemplate). Raises TemplateNotFound."""
        self._check_cluster(cluster)
        async with self._database.read() as session:
            return (await _template(session, account_id, template_id))[0]

    async def templates(
        self,
        account_id: str,
        cluster: str,
        *,
        codec: str = "",
        keyword: str = "",
        newest_first: bool = True,
        page_number: int = 1,
        page_size: int = 10,
    ) -> EdgeTemplatePage:
        """The standard templates and the account's custom ones by the time of their creation (ListEdgeTranscodeTemplate).

        Standard ones are older than all others. keyword: an id, or a part of a name.
        """
        self._check_cluster(cluster)
        found = [_described(name, preset(ANY, name, lazy=False), None) for name in PRESETS]
        async with self._database.read() as session:
            mine = select(TranscodeTemplate).join(Domain, Domain.name == TranscodeTemplate.domain)
            for row in await session.scalars(mine.where(Domain.account == account_id, TranscodeTemplate.kind == _KIND)):
                found.append(_described(_template_id(row), rendition_of(template_of(row)), row.created_s))
        found = [
            item
            for item in found
            if codec in ("", item.codec) and (not keyword or keyword == item.id or keyword.lower() in item.name.lower())
        ]
        found.sort(key=lambda item: item.id)
        found.sort(key=lambda item: item.created_s or 0.0, reverse=newest_first)
        first = (page_number - 1) * page_size
        return EdgeTemplatePage(found[first : first + page_size], len(found))

    # Helpers

    def _check_cluster(self, cluster: str) -> None:
        node = self._nodes.nodes.get(cluster)
        if node is None or "center" not in node.roles:
            raise error("InvalidParameter", "ClusterId is not the id of a node with a live center.")

    def _check_urls(self, input_url: str, output_url: str) -> None:
        """Look at those that are given."""
        for parameter, url, schemes in (
            ("StreamInput", input_url, INPUT_SCHEMES),
            ("StreamOutput", output_url, OUTPUT_SCHEMES),
        ):
            try:
                if url:
                    parse_media_url(url, schemes, allow_private=self._allow_private)
            except ValueError as fault:
                raise _wrong(parameter, str(fault)) from None

    async def _tell_center(self) -> None:
        """Let the center look at once; it looks by itself from time to time, too."""
        try:
            await self._centers.ask("POST", "/edge/look")
        except CenterError as fault:
            log.info("live center is not told of edge transcoding", error=str(fault))


def _wrong(parameter: str, sentence: str) -> DomainError:
    return error("InvalidParameter", f"{parameter}: {sentence}")


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise _wrong("Name", "It has 1 to 255 letters, digits, hyphens and underscores.")


async def _job(session: AsyncSession, account_id: str, cluster: str, job_id: str) -> EdgeJob:
    row = await session.get(EdgeJob, job_id)
    if row is None or (row.account, row.cluster) != (account_id, cluster):
        raise error("JobNotFound")
    return row


async def _stopped(change: Change, account_id: str, cluster: str, job_id: str) -> EdgeJob:
    """A job that does not run, as it was before the change."""
    row = await _job(change.session, account_id, cluster, job_id)
    if row.running:
        raise error("OperationDenied", "The job is running; stop it first.")
    change.before = _told(row)
    return row


async def _template(session: AsyncSession, account_id: str, template_id: str) -> tuple[EdgeTemplate, Rendition]:
    """A template and what it makes. Raises TemplateNotFound."""
    if template_id in PRESETS:
        rendition = preset(ANY, template_id, lazy=False)
        return _described(template_id, rendition, None), rendition
    key = tuple(template_id.split("/"))
    row = await session.get(TranscodeTemplate, key) if len(key) == 3 else None
    owner = await session.get(Domain, row.domain) if row is not None else None
    if row is None or owner is None or owner.account != account_id or row.kind != _KIND:
        raise error("TemplateNotFound")
    rendition = rendition_of(template_of(row))
    return _described(template_id, rendition, row.created_s), rendition


def _template_id(row: TranscodeTemplate) -> str:
    return f"{row.domain}/{row.app}/{row.template}"


def _described(template_id: str, rendition: Rendition, created_s: float | None) -> EdgeTemplate:
    video = rendition.video
    if video is None:
        return EdgeTemplate(template_id, rendition.template, "", "", "", "", "", created_s)
    return EdgeTemplate(
        template_id,
        rendition.template,
        "H.265" if video.codec == "h265" else "H.264",
        _resolution(video),
        str(video.kbps) if video.kbps else FOLLOWS_SOURCE,
        str(video.fps) if video.fps else FOLLOWS_SOURCE,
        _gop(video),
        created_s,
    )


def _resolution(video: Video) -> str:
    """As of a landscape picture; a portrait one is turned."""
    width, height = video.width, video.height
    if video.fit:
        width, height = {
            "short": (0, video.fit_width),
            "long": (video.fit_width, 0),
            "screen": (video.fit_width, video.fit_height),
        }[video.fit]
    return f"{width or ADAPTS}*{height or ADAPTS}" if width or height else FOLLOWS_SOURCE


def _gop(video: Video) -> str:
    if video.align:
        return FOLLOWS_SOURCE
    return f"{video.gop_s}s" if video.gop_s else str(video.gop_frames) if video.gop_frames else FOLLOWS_SOURCE


def _record(row: EdgeJob) -> EdgeJobRecord:
    return EdgeJobRecord(
        row.id,
        row.cluster,
        row.name,
        row.template,
        row.template_name,
        row.input,
        row.output,
        row.running,
        row.created_s,
        row.started_s,
        row.stopped_s,
    )


def _told(row: EdgeJob) -> EdgeJobRecord:
    """What an audit entry may say: the URLs without their secrets."""
    record = _record(row)
    input_, output = (parse_media_url(url, INPUT_SCHEMES, allow_private=True).masked for url in (record.input, record.output))
    return msgspec.structs.replace(record, input=input_, output=output)
