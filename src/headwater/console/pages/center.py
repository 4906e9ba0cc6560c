"""What the live center does with a domain's streams: recording, snapshots, time shift and delay, and the callbacks about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.responses import Response

from headwater.access.plan import ANY
from headwater.console.forms import Form
from headwater.console.pages.domain import page, shown_domain
from headwater.console.visit import Visit
from headwater.domains import record_rules, snapshots, time_shift
from headwater.domains.errors import DomainError
from headwater.domains.record_rules import GivenFormat
from headwater.domains.service import DomainRecord

FORMATS: Final = ("m3u8", "mp4", "flv", "cmaf")
FILE_NAME = "record/{AppName}/{StreamName}/{Sequence}_{EscapedStartTime}_{EscapedEndTime}"
SLICE_NAME = "record/{AppName}/{StreamName}/{UnixTimestamp}_{Sequence}"
"""The service's own examples (reference media-plane 3.1)."""
PICTURE_NAME = "snapshot/{AppName}/{StreamName}/{UnixTimestamp}.jpg"
SHOWN = 30
"""Templates on a page; an account with more reads them by the API."""

Save = Callable[[Visit, str, DomainRecord, str], Awaitable[str]]
"""Carries out what a form says; returns what there is to say of it."""


async def recording(visit: Visit) -> Response:
    """Recording templates."""
    return await _recording(visit)


async def change_recording(visit: Visit) -> Response:
    """Add or remove one."""
    return await change_or_show(visit, "recording", _save_recording, _recording)


async def _recording(visit: Visit, problem: str = "", status: int = 200) -> Response:
    account, domain = await shown_domain(visit)
    listed = await visit.services.recording.templates(account, domain.name, page_size=SHOWN)
    return await page(
        visit,
        "recording.html",
        account,
        domain,
        status=status,
        listed=listed,
        typed=visit.form,
        problem=problem,
        formats=FORMATS,
        cycles=record_rules.CYCLE_DEFAULT_S,
        file_name=FILE_NAME,
        slice_name=SLICE_NAME,
        delay_s=record_rules.DELAY_DEFAULT_S,
    )


async def _save_recording(visit: Visit, account: str, domain: DomainRecord, what: str) -> str:
    form, service = visit.form, visit.services.recording
    app, stream = form.get("app") or ANY, form.get("stream") or ANY
    if what == "remove":
        await service.remove(account, domain.name, app, stream, actor=visit.actor)
        return visit.say("The template was removed. Recordings that run go on until their push ends.")
    chosen = [name for name in FORMATS if name in form.all("format")]
    sliced = record_rules.SLICED
    found = [
        GivenFormat(
            name,
            form.number(f"cycle_{name}"),
            form.get("object_prefix"),
            form.get("slice_prefix") if name in sliced else "",
            form.number("slice_s") if name in sliced else None,
        )
        for name in chosen
    ]
    renditions = form.get("renditions").replace(",", " ").split()
    await service.add(
        account,
        domain.name,
        app,
        stream,
        endpoint=form.get("endpoint"),
        bucket=form.get("bucket"),
        formats=found,
        rendition_formats=found if renditions else (),
        renditions=renditions,
        on_demand=form.number("on_demand") or 0,
        delay_s=form.number("delay_s"),
        actor=visit.actor,
    )
    return visit.say("The template was saved. It holds from the next push on.")


async def pictures(visit: Visit) -> Response:
    """Snapshot templates."""
    return await _pictures(visit)


async def change_pictures(visit: Visit) -> Response:
    """Add or remove one."""
    return await change_or_show(visit, "snapshots", _save_pictures, _pictures)


async def _pictures(visit: Visit, problem: str = "", status: int = 200) -> Response:
    account, domain = await shown_domain(visit)
    listed = await visit.services.snapshots.templates(account, domain.name, page_size=SHOWN)
    return await page(
        visit,
        "snapshots.html",
        account,
        domain,
        status=status,
        listed=listed,
        typed=visit.form,
        problem=problem,
        interval=snapshots.INTERVAL_S,
        picture_name=PICTURE_NAME,
    )


async def _save_pictures(visit: Visit, account: str, domain: DomainRecord, what: str) -> str:
    form, service = visit.form, visit.services.snapshots
    app = form.get("app") or ANY
    if what == "remove":
        await service.remove(account, domain.name, app, actor=visit.actor)
        return visit.say("The template was removed. The pictures stay.")
    await service.add(
        account,
        domain.name,
        app,
        interval_s=form.number("interval_s") or 0,
        endpoint=form.get("endpoint"),
        bucket=form.get("bucket"),
        overwrite=form.get("overwrite"),
        sequence=form.get("sequence"),
        actor=visit.actor,
    )
    return visit.say("The template was saved. It holds from the next push on.")


async def shift(visit: Visit) -> Response:
    """Time shift, and delayed streams."""
    return await _shift(visit)


async def change_shift(visit: Visit) -> Response:
    """Switch one on or off."""
    return await change_or_show(visit, "shift", _save_shift, _shift)


async def _shift(visit: Visit, problem: str = "", status: int = 200) -> Response:
    account, domain = await shown_domain(visit)
    return await page(
        visit,
        "shift.html",
        account,
        domain,
        status=status,
        shifts=await visit.services.time_shift.rules(account, domain.name),
        delays=await visit.services.delays.rules(account, domain.name, page_size=SHOWN),
        typed=visit.form,
        problem=problem,
        days_max=time_shift.DAYS_MAX,
        slice_max_s=time_shift.SLICE_MAX_S,
    )


async def _save_shift(visit: Visit, account: str, domain: DomainRecord, what: str) -> str:
    form, services, actor = visit.form, visit.services, visit.actor
    app, stream = form.get("app") or ANY, form.get("stream") or ANY
    match what:
        case "open":
            await services.time_shift.open(
                account,
                domain.name,
                app=app,
                stream=stream,
                days=form.number("days") or 0,
                slice_s=form.number("slice_s") or 0,
                renditions=bool(form.get("renditions")),
                actor=actor,
            )
            return visit.say("Time shift is on from the next push on.")
        case "close":
            await services.time_shift.close(account, domain.name, app=app, stream=stream, actor=actor)
            return visit.say("Time shift is off.")
        case "delay":
            seconds, trigger = form.number("delay_s") or 0, form.get("trigger")
            await services.delays.create(account, domain.name, app, stream, seconds, trigger, actor=actor)
            return visit.say("Delayed copies are published from the next push on.")
    await services.delays.delete(account, domain.name, app, stream, actor=actor)
    return visit.say("There are no delayed copies of these streams any more.")


async def callbacks(visit: Visit) -> Response:
    """Where the domain's events are told."""
    return await _callbacks(visit)


async def change_callbacks(visit: Visit) -> Response:
    """Set or remove one."""
    return await change_or_show(visit, "callbacks", _save_callbacks, _callbacks)


async def _callbacks(visit: Visit, problem: str = "", status: int = 200) -> Response:
    account, domain = await shown_domain(visit)
    notify, now_s = visit.services.notify, visit.console.clock()
    ingest = domain.type == "liveEdge"
    families = ("stream", "exception", "switch") if ingest else ("record", "snapshot")
    told = await visit.services.callbacks.records(account, domain.name, families, 0, now_s + 1, page_size=SHOWN)  # type: ignore[arg-type]
    return await page(
        visit,
        "callbacks.html",
        account,
        domain,
        status=status,
        stream=await notify.stream(account, domain.name) if ingest else None,
        record=None if ingest else await notify.record(account, domain.name),
        snapshot=None if ingest else await notify.snapshot(account, domain.name),
        told=told,
        typed=visit.form,
        problem=problem,
    )


async def _save_callbacks(visit: Visit, account: str, domain: DomainRecord, what: str) -> str:
    form, notify, name, actor = visit.form, visit.services.notify, domain.name, visit.actor
    signed, key = bool(form.get("signed")), form.get("key")
    match what:
        case "stream":
            urls = {field: form.get(field) for field in ("notify_url", "exception_url", "switch_url")}
            await notify.set_stream(account, name, **urls, signed=signed, key=key, actor=actor)
        case "record":
            known = await notify.record(account, name)
            await notify.set_record(
                account,
                name,
                form.get("notify_url"),
                on_demand_url=form.get("on_demand_url"),
                status=bool(form.get("status")),
                signed=signed,
                key=key,
                new=known is None,
                actor=actor,
            )
        case "snapshot":
            known_too = await notify.snapshot(account, name)
            await notify.set_snapshot(
                account, name, form.get("notify_url"), signed=signed, key=key, new=known_too is None, actor=actor
            )
        case "no-stream":
            await notify.delete_stream(account, name, actor=actor)
        case "no-record":
            await notify.delete_record(account, name, actor=actor)
        case _:
            await notify.delete_snapshot(account, name, actor=actor)
    return visit.say("Nothing is told any more.") if what.startswith("no-") else visit.say("The callbacks were saved.")


async def change_or_show(
    visit: Visit, path: str, save: Save, show: Callable[[Visit, str, int], Awaitable[Response]]
) -> Response:
    """Carry out a form, or show it again with what is wrong."""
    account, domain = await shown_domain(visit)
    try:
        said = await save(visit, account, domain, visit.form.get("what"))
    except DomainError as fault:
        return await show(visit, visit.explain(fault), fault.status)
    visit.done(said)
    visit.form = Form()
    return visit.go(f"/domains/{domain.name}/{path}")
