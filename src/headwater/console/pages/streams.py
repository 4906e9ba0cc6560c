"""Live streams: the list, and a stream's page with its preview, renditions, pictures, recordings and jobs."""

from __future__ import annotations

import asyncio
import base64
import posixpath
from collections.abc import AsyncIterator
from typing import cast, get_args
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from headwater.access.plan import ANY
from headwater.cluster.centers import JobPresence
from headwater.console.visit import Visit
from headwater.domains.errors import DomainError, error
from headwater.domains.record_content import FileRecord
from headwater.domains.recording import Command
from headwater.domains.urls import endpoints, resolves

SHOWN = 200
"""Streams on the page of all; a search finds the others."""
PICTURES, RECORDINGS, FILES = 12, 10, 30
CODECS = {7: "H.264", 12: "HEVC", 10: "AAC", 2: "MP3"}
"""Codec ids of FLV, as announcements name them."""
KINDS = {".m3u8": "application/vnd.apple.mpegurl", ".ts": "video/mp2t", ".mp4": "video/mp4", ".m4s": "video/iso.segment"}


async def show(visit: Visit) -> Response:
    """What is live now."""
    search = visit.query.get("q").lower()
    live = [item for item in await visit.services.streams.live(visit.account) if not item.source]
    found = [item for item in live if search in f"{item.domain}/{item.app}/{item.stream}".lower()]
    jobs = await visit.services.centers.jobs()
    busy: dict[tuple[str, str, str], list[JobPresence]] = {}
    for job in jobs:
        busy.setdefault((job.domain, job.app, job.stream), []).append(job)
    return visit.render(
        "streams.html", streams=found[:SHOWN], total=len(found), live=len(live), search=search, jobs=busy, codecs=CODECS
    )


async def detail(visit: Visit) -> Response:
    """One stream, live or not."""
    account, domain, app, stream = await _named(visit)
    services = visit.services
    all_live = [item for item in await services.streams.live(account) if (item.domain, item.app) == (domain, app)]
    live = next((item for item in all_live if item.stream == stream), None)
    jobs = [job for job in await services.centers.jobs() if (job.domain, job.app, job.stream) == (domain, app, stream)]
    made, shown = None, stream
    products = sorted((item for item in all_live if item.source == stream), key=lambda item: -item.height)
    running = {item.template for item in products}
    templates = await services.transcoding.templates(account, domain)
    offered = {item.template: item.lazy for item in templates if item.app in (app, ANY) and item.template not in running}
    if live is not None:
        if visit.query.get("play") in {*(item.stream for item in products), *(f"{stream}_{name}" for name in offered)}:
            shown = visit.query.get("play")
        named = await asyncio.to_thread(resolves, domain)
        settings = visit.console.settings
        where = endpoints(settings.listen, None if named else settings.public_host)
        made = await services.domains.urls(account, domain, app, shown, where)
    return visit.render(
        "stream.html",
        domain=domain,
        app=app,
        stream=stream,
        root=_address(domain, app, stream),
        live=live,
        made=made,
        shown=shown,
        products=products,
        offered=offered,
        pictures=await services.snapshots.strip(account, domain, app, stream, count=PICTURES),
        recordings=await services.record_content.recordings(account, domain, app=app, stream=stream, limit=RECORDINGS),
        files=await services.record_content.files(account, domain, app=app, stream=stream, limit=FILES),
        file_address=_file_address,
        jobs=jobs,
        codecs=CODECS,
    )


async def act(visit: Visit) -> Response:
    """Cut or forbid a stream, or steer its recording."""
    account, domain, app, stream = await _named(visit)
    what = visit.form.get("what")
    if what in get_args(Command):
        await visit.services.recording.command(account, domain, app, stream, cast(Command, what), actor=visit.actor)
        visit.done("The recorder has been told.")
    elif what in ("cut", "forbid"):
        await visit.services.streams.forbid_stream(account, domain, app, stream, oneshot=what == "cut", actor=visit.actor)
        if what == "cut":
            visit.done("The push was cut. The encoder may come back.")
        else:
            visit.done("The stream is forbidden, and its push was cut.")
    elif what == "resume":
        await visit.services.streams.resume_stream(account, domain, app, stream, actor=visit.actor)
        visit.done("The stream is allowed again.")
    else:
        visit.failed(visit.say("Nothing was changed."))
    return visit.go(_address(domain, app, stream))


async def take(visit: Visit) -> Response:
    """A picture of this moment, for the page."""
    account, domain, app, stream = await _named(visit)
    try:
        picture = await visit.services.snapshots.take(domain, app, stream, account_id=account)
    except DomainError as fault:
        return visit.render("stream_picture.html", picture="", problem=visit.explain(fault))
    return visit.render("stream_picture.html", picture=base64.b64encode(picture).decode(), problem="")


async def picture(visit: Visit) -> Response:
    """A picture that was taken."""
    account, domain, app, stream = await _named(visit)
    taken_ms = visit.path("taken_ms")
    if not (taken_ms.isascii() and taken_ms.isdecimal() and len(taken_ms) < 16):
        raise error("InvalidSnapshot.NotFound")
    data = await visit.services.snapshots.picture(account, domain, app, stream, int(taken_ms))
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})


async def recorded(visit: Visit) -> Response:
    """An object of a recording: a file, a playlist, or a slice that a playlist names."""
    domain = visit.path("name")
    account = await visit.account_of(domain)
    found = await visit.services.record_content.find(account, domain, visit.path("bucket"), visit.path("key"))
    name = posixpath.basename(found.key)
    kind = KINDS.get(posixpath.splitext(name)[1], "application/octet-stream")
    headers = {"Cache-Control": "private, no-store", "Accept-Ranges": "bytes"}
    if visit.query.get("save"):
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    first, last, partial = _range(visit.request.headers.get("range", ""), found.bytes)
    headers["Content-Length"] = str(last + 1 - first)
    if partial:
        headers["Content-Range"] = f"bytes {first}-{last}/{found.bytes}"

    async def parts() -> AsyncIterator[bytes]:
        at = first
        while at <= last:
            length = min(PART_BYTES, last + 1 - at)
            yield await visit.services.record_content.read(found, at, length)
            at += length

    return StreamingResponse(parts(), 206 if partial else 200, headers, kind)


PART_BYTES = 1024 * 1024
"""What is read of an object at once."""


def _range(header: str, size: int) -> tuple[int, int, bool]:
    """First and last byte, and whether that is a part. A range that cannot be served is the whole."""
    unit, _, text = header.partition("=")
    first, dash, last = text.partition("-")
    if unit != "bytes" or not dash or not first.isdecimal() or (last and not last.isdecimal()) or len(first + last) > 30:
        return 0, size - 1, False
    start, end = int(first), min(int(last), size - 1) if last else size - 1
    return (start, end, True) if start <= end else (0, size - 1, False)


def _address(domain: str, app: str, stream: str) -> str:
    return f"/streams/{domain}/{app}/{stream}"


def _file_address(domain: str, file: FileRecord) -> str:
    return f"/recorded/{domain}/{quote(file.bucket)}/{quote(file.key)}"


async def _named(visit: Visit) -> tuple[str, str, str, str]:
    """The account to act for, and the stream that the address names. Raises InvalidDomain.NotFound."""
    domain = visit.path("name")
    return await visit.account_of(domain), domain, visit.path("app"), visit.path("stream")
