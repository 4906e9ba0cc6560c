"""A domain's renditions: transcoding templates with what they cost, multi-bitrate groups, and watermarks."""

from __future__ import annotations

import os
from typing import Final

from starlette.responses import Response

from headwater.access.cost import cost_cores
from headwater.access.plan import ANY, Video
from headwater.console.pages.center import change_or_show
from headwater.console.pages.domain import page, shown_domain
from headwater.console.visit import Visit
from headwater.domains.errors import error, invalid
from headwater.domains.presets import PRESETS, preset
from headwater.domains.service import DomainRecord
from headwater.domains.transcode_parameters import Parameters
from headwater.domains.transcoding import NOT_CHILDREN, rendition_of
from headwater.domains.watermarks import Placement

SOURCE: Final = (1920, 1080, 25.0)
"""The stream for which costs are shown: width, height, frames a second."""
SOURCE_CHILD: Final = "*source"
"""The stream itself among a group's children; no template's name has an asterisk."""
CUSTOM_KINDS: Final = ("h264", "h264-nbhd", "h265", "h265-nbhd", "audio")
CORNERS: Final = ("TopLeft", "TopRight", "BottomLeft", "BottomRight")
VARIANTS: Final = (("H.264", ""), ("H.265", ""), ("H.264", "low"), ("H.265", "low"), ("H.264", "narrow"))
"""How the standard templates are shown: a column for each codec and kind."""


def _variant(video: Video) -> tuple[str, str]:
    kind = "low" if video.low_latency else "narrow" if video.narrowband else ""
    return "H.264" if video.codec == "h264" else "H.265", kind


def _offers() -> list[tuple[int, int, list[tuple[str, float] | None]]]:
    """Rows: lines, kilobits a second, and for each variant the template's name and what it costs."""
    rows = []
    for lines in sorted({video.fit_width for video in PRESETS.values()}):
        level = {_variant(video): name for name, video in PRESETS.items() if video.fit_width == lines}
        names = [level.get(variant) for variant in VARIANTS]
        cells = [None if name is None else (name, cost_cores(preset(ANY, name, lazy=True), *SOURCE)) for name in names]
        rows.append((lines, PRESETS[level[VARIANTS[0]]].kbps, cells))
    return rows


OFFERS: Final = _offers()


async def show(visit: Visit) -> Response:
    """Everything."""
    return await _show(visit)


async def change(visit: Visit) -> Response:
    """Add or remove one of them."""
    return await change_or_show(visit, "transcoding", _save, _show)


async def picture(visit: Visit) -> Response:
    """The picture of a watermark."""
    account = await visit.account_of(visit.path("name"))
    data = await visit.services.watermarks.picture(account, visit.path("id"))
    kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
    return Response(data, media_type=kind, headers={"Cache-Control": "private, max-age=300"})


async def _show(visit: Visit, problem: str = "", status: int = 200) -> Response:
    account, domain = await shown_domain(visit)
    services = visit.services
    templates = await services.transcoding.templates(account, domain.name)
    rows = [(item, rendition := rendition_of(item), cost_cores(rendition, *SOURCE)) for item in templates]
    offered: dict[str, list[str]] = {}
    for item in templates:
        if not item.lazy and item.template not in NOT_CHILDREN:
            offered.setdefault(item.app, []).append(item.template)
    watermarks = (await services.watermarks.templates(account)).items
    return await page(
        visit,
        "transcoding.html",
        account,
        domain,
        status=status,
        rows=rows,
        cores=sum(cost for *_, cost in rows),
        machine=visit.console.settings.center.transcode_cores or len(os.sched_getaffinity(0)),
        groups=await services.transcoding.groups(account, domain.name),
        offered=offered,
        source_child=SOURCE_CHILD,
        watermarks=watermarks,
        named=[(item.id, item.name) for item in watermarks],
        rules=(await services.watermarks.rules(account, domain=domain.name)).items,
        offers=OFFERS,
        variants=VARIANTS,
        kinds=CUSTOM_KINDS,
        corners=[(corner, corner) for corner in CORNERS],
        typed=visit.form,
        problem=problem,
    )


async def _save(visit: Visit, account: str, domain: DomainRecord, what: str) -> str:
    form, name, actor = visit.form, domain.name, visit.actor
    transcoding, watermarks = visit.services.transcoding, visit.services.watermarks
    app = form.get("app") or ANY
    lazy = form.get("trigger") != "publish"
    match what:
        case "presets":
            chosen = [item for item in form.all("template") if item in PRESETS]
            if not chosen:
                raise invalid("Template")
            for template in chosen:
                await transcoding.add(account, name, app, template, kind="preset", lazy=lazy, actor=actor)
            return visit.say("The templates were saved. Viewers may ask for them at once.")
        case "custom":
            parameters = Parameters(
                form.get("type"),
                width=form.number("width") or 0,
                height=form.number("height") or 0,
                fps=form.number("fps") or 0,
                video_kbps=form.number("video_kbps") or 0,
                gop=form.get("gop"),
                audio_kbps=form.number("audio_kbps") or 0,
                audio_codec=form.get("audio_codec"),
            )
            template = form.get("template")
            await transcoding.add(account, name, app, template, kind="custom", lazy=lazy, parameters=parameters, actor=actor)
            return visit.say("The templates were saved. Viewers may ask for them at once.")
        case "remove":
            await transcoding.remove(account, name, app, form.get("template"), actor=actor)
            return visit.say("The template was removed, and its renditions end.")
        case "group":
            children = ["" if child == SOURCE_CHILD else child for child in form.all("children")]
            await transcoding.set_group(account, name, app, form.get("group"), children, actor=actor)
            return visit.say("The group was saved.")
        case "no-group":
            await transcoding.remove_group(account, name, app, form.get("group"), actor=actor)
            return visit.say("The group was removed.")
        case "watermark":
            placement = Placement(
                ref_width=1920,
                ref_height=1080,
                height=form.number("height") or 0,
                x=form.number("x") or 0,
                y=form.number("y") or 0,
                corner=form.get("corner"),
                transparency=form.number("transparency") or 0,
            )
            await watermarks.add(account, form.get("title"), form.get("url"), placement, actor=actor)
            return visit.say("The watermark was saved. A rule says over which streams it lies.")
        case "no-watermark":
            await watermarks.remove(account, form.get("id"), actor=actor)
            return visit.say("The watermark was removed.")
        case "rule":
            stream = form.get("stream") or ANY
            await watermarks.add_rule(
                account, name, app, stream, form.get("id"), title=form.get("title") or "console", actor=actor
            )
            return visit.say("The rule was saved.")
        case "no-rule":
            await watermarks.remove_rule(account, name, id_=form.get("id"), actor=actor)
            return visit.say("The rule was removed.")
    raise error("InvalidParam")
