"""A domain's pages: its basics, binding, URLs, delay, and what is done to it."""

from __future__ import annotations

import asyncio
from typing import Any

import segno
from markupsafe import Markup
from starlette.responses import Response

from headwater.access.policy import Latency
from headwater.console.visit import Visit
from headwater.domains import rules
from headwater.domains.errors import DomainError, error
from headwater.domains.service import DelayChoice, DomainRecord
from headwater.domains.urls import StreamUrls, endpoints, resolves

BOTH = ("liveEdge", "liveVideo")
TABS = (
    ("", "Overview", BOTH),
    ("/binding", "Binding", BOTH),
    ("/urls", "URL generator", BOTH),
    ("/access", "Access control", BOTH),
    ("/certificate", "Certificate", BOTH),
    ("/delay", "Delay", ("liveVideo",)),
    ("/transcoding", "Transcoding", ("liveVideo",)),
    ("/recording", "Recording", ("liveVideo",)),
    ("/snapshots", "Snapshots", ("liveVideo",)),
    ("/shift", "Time shift", ("liveVideo",)),
    ("/callbacks", "Callbacks", BOTH),
    ("/usage", "Usage", BOTH),
)
"""Path below the domain's, text, and the types of domains that have this page."""


OFFERED = 200
"""Domains that a choice offers; an account with more binds by the API."""


async def overview(visit: Visit) -> Response:
    """The basics."""
    account, domain = await shown_domain(visit)
    tags = (await visit.services.tags.tags_of(account, [domain.name])).get(domain.name, {})
    state = (await visit.services.cnames.known([domain.name])).get(domain.name)
    return await page(visit, "domain.html", account, domain, tags=tags, state=state)


async def status(visit: Visit) -> Response:
    """Start, stop or delete the domain."""
    account, domain = await shown_domain(visit)
    services, what = visit.services.domains, visit.form.get("what")
    match what:
        case "start":
            await services.start(account, domain.name, actor=visit.actor)
            visit.done("{name} was started.", name=domain.name)
        case "stop":
            await services.stop(account, domain.name, actor=visit.actor)
            visit.done("{name} was stopped. Pushes and plays are refused, and those that ran have ended.", name=domain.name)
        case "delete":
            await services.delete(account, domain.name, actor=visit.actor)
            visit.done("{name} was deleted. Remove its CNAME record from your DNS, too.", name=domain.name)
            return visit.go("/domains")
        case "scope":
            await services.set_scope(account, domain.name, visit.form.get("scope"), actor=visit.actor)
            visit.done("The edge group was changed.")
        case "tag":
            tag = (visit.form.get("key"), visit.form.get("value"))
            await visit.services.tags.tag(account, [domain.name], [tag], actor=visit.actor)
        case "untag":
            await visit.services.tags.untag(account, [domain.name], [visit.form.get("key")], actor=visit.actor)
        case _:
            visit.failed(visit.say("Nothing was changed."))
    return visit.back(f"/domains/{domain.name}")


async def cname(visit: Visit) -> Response:
    """The step in which the domain is pointed at us; the page asks for its state while it is open."""
    account, domain = await shown_domain(visit)
    state = (await visit.services.cnames.known([domain.name])).get(domain.name)
    return await page(visit, "cname.html", account, domain, state=state)


async def cname_state(visit: Visit) -> Response:
    """The state of the CNAME record now: as a sentence, or for the list as a word."""
    account, domain = await shown_domain(visit)
    state = await visit.services.cnames.check(account, domain.name)
    template = "cname_word.html" if visit.query.get("as") == "word" else "cname_state.html"
    return visit.render(template, domain=domain, state=state, known=True)


async def binding(visit: Visit) -> Response:
    """What the domain is bound to, and what it could be bound to."""
    account, domain = await shown_domain(visit)
    related = await visit.services.bindings.mappings(account, domain.name)
    kinds = {kind for _, kind in related}
    taken = {domain.name, *(name for name, _ in related)}
    main = [name for name, kind in related if kind == "vhost"]

    async def free(type_: str) -> list[str]:
        page = await visit.services.domains.list_domains(account, type_=type_, region=domain.region, page_size=OFFERED)
        return [item.name for item in page.items if item.name not in taken]

    sub = domain.type == "liveVideo" and bool(main)
    return await page(
        visit,
        "binding.html",
        account,
        domain,
        main=main,
        sub=sub,
        ingest=[name for name, kind in related if kind == "publish"],
        subs=[name for name, kind in related if kind == "play"],
        free_ingest=await free("liveEdge") if domain.type == "liveVideo" and not sub else [],
        free_streaming=[] if main else await free("liveVideo"),
        may_be_sub=domain.type == "liveVideo" and not kinds,
    )


async def bind(visit: Visit) -> Response:
    """Bind or unbind two domains. what: `ingest`, `sub` or `main` with the other domain, or the same with `un` before it."""
    account, domain = await shown_domain(visit)
    other, services, what = visit.form.get("other"), visit.services.bindings, visit.form.get("what")
    edge = domain.type == "liveEdge"
    match what.removeprefix("un"):
        case "main" if edge:
            push, pull, kind = domain.name, other, "ingest"
        case "ingest":
            push, pull, kind = other, domain.name, "ingest"
        case "main":
            push, pull, kind = domain.name, other, "sub"
        case _:
            push, pull, kind = other, domain.name, "sub"
    match kind, what.startswith("un"):
        case "ingest", False:
            await services.map(account, push, pull, actor=visit.actor)
            visit.done("{push} is now bound to {pull}: what is pushed there can be played here.", push=push, pull=pull)
        case "ingest", True:
            await services.unmap(account, push, pull, actor=visit.actor)
            visit.done("{push} is no longer bound to {pull}.", push=push, pull=pull)
        case "sub", False:
            await services.map_play(account, push, pull, actor=visit.actor)
            visit.done("{push} now plays the streams of {pull}.", push=push, pull=pull)
        case _:
            await services.unmap_play(account, push, pull, actor=visit.actor)
            visit.done("{push} no longer plays the streams of {pull}.", push=push, pull=pull)
    return visit.go(f"/domains/{domain.name}/binding")


async def urls(visit: Visit) -> Response:
    """The generator of ready URLs."""
    account, domain = await shown_domain(visit)
    app, stream, made, problem = visit.query.get("app") or "live", visit.query.get("stream") or "stream", None, ""
    named = await asyncio.to_thread(resolves, domain.name)
    try:
        made = await _urls(visit, account, domain, app, stream, named)
    except DomainError as fault:
        unbound = visit.say("Bind this ingest domain to a streaming domain first.")
        problem = unbound if fault.code == "IllegalOperation" else visit.explain(fault)
    return await page(visit, "urls.html", account, domain, app=app, stream=stream, made=made, problem=problem, named=named)


async def qr(visit: Visit) -> Response:
    """The QR code of one play URL, for a phone."""
    account, domain = await shown_domain(visit)
    query = visit.query
    named = await asyncio.to_thread(resolves, domain.name)
    made = await _urls(visit, account, domain, query.get("app"), query.get("stream"), named)
    url = made.play.get(query.get("protocol"))
    if url is None:
        raise error("InvalidDomain.NotFound")
    return visit.render("qr.html", code=_qr(url))


async def _urls(visit: Visit, account: str, domain: DomainRecord, app: str, stream: str, named: bool) -> StreamUrls:
    settings = visit.console.settings
    where = endpoints(settings.listen, None if named else settings.public_host)
    return await visit.services.domains.urls(account, domain.name, app, stream, where)


async def delay(visit: Visit) -> Response:
    """The delay of each protocol."""
    account, domain = await shown_domain(visit)
    delays = await visit.services.domains.delays(account, domain.name)
    return await page(
        visit, "delay.html", account, domain, delays=delays, levels=rules.LEVELS_S, longest=rules.DELAY_MAX_S, default=Latency()
    )


async def set_delay(visit: Visit) -> Response:
    """Set the delays that were chosen."""
    account, domain = await shown_domain(visit)
    choices: dict[str, Any] = {}
    for protocol in ("rtmp", "flv", "hls"):
        level = visit.form.get(protocol)
        seconds = visit.form.number(f"{protocol}_s")
        if level == "seconds":
            choices[protocol] = DelayChoice(delay_s=0 if seconds is None else seconds)
        elif level:
            choices[protocol] = DelayChoice(level=level)
    await visit.services.domains.set_delay(account, domain.name, **choices, actor=visit.actor)
    visit.done("The delay was set. Viewers who connect from now on have it.")
    return visit.go(f"/domains/{domain.name}/delay")


async def shown_domain(visit: Visit) -> tuple[str, DomainRecord]:
    """The account to act for, and the domain that the address names. Raises InvalidDomain.NotFound."""
    account = await visit.account_of(visit.path("name"))
    return account, await visit.services.domains.detail(account, visit.path("name"))


async def page(
    visit: Visit, template: str, account: str, domain: DomainRecord, *, status: int = 200, **values: Any
) -> Response:
    """One of the domain's pages."""
    owner = None if visit.account else await visit.services.accounts.account(account)
    related = await visit.services.bindings.mappings(account, domain.name)
    return visit.render(template, status, domain=domain, owner=owner, related=related, tabs=TABS, **values)


def _qr(url: str) -> Markup:
    """A QR code as SVG."""
    code = segno.make(url, error="l", micro=False)
    return Markup(code.svg_inline(scale=4, border=3, omitsize=True, svgclass="qr", lineclass=None))
