"""A domain's HTTPS: its certificate, brought along, kept already or issued by the ACME authority."""

from __future__ import annotations

from starlette.responses import Response

from headwater.console.pages.domain import page, shown_domain
from headwater.console.visit import Visit
from headwater.domains.errors import DomainError


async def show(visit: Visit) -> Response:
    """HTTPS as it is, and what can be done about it."""
    return await _page(visit)


async def change(visit: Visit) -> Response:
    """Upload a certificate, use one that is kept, have one issued, or switch HTTPS off."""
    account, domain = await shown_domain(visit)
    form, services = visit.form, visit.services.certificates
    try:
        match form.get("what"):
            case "upload":
                await services.upload(
                    account, domain.name, form.secret("chain"), form.secret("key"), name=form.get("name"), actor=visit.actor
                )
                visit.done("The certificate is in use. Viewers who are connected stay connected.")
            case "use":
                await services.use(account, domain.name, form.get("name"), actor=visit.actor)
                visit.done("The certificate is in use. Viewers who are connected stay connected.")
            case "free":
                await services.issue(account, domain.name, form.get("challenge"), actor=visit.actor)
                visit.done("A certificate was asked for. It is used as soon as it is there.")
            case _:
                await services.switch_off(account, domain.name, actor=visit.actor)
                visit.done("HTTPS was switched off.")
    except DomainError as fault:
        return await _page(visit, visit.explain(fault), fault.status)
    return visit.go(f"/domains/{domain.name}/certificate")


async def _page(visit: Visit, problem: str = "", status: int = 200) -> Response:
    account, domain = await shown_domain(visit)
    services = visit.services.certificates
    https = await services.https(account, domain.name)
    kept = await services.certificates(account, domain.name)
    return await page(
        visit,
        "certificate.html",
        account,
        domain,
        status=status,
        https=https,
        kept=[item for item in kept if https.certificate is None or item.id != https.certificate.id],
        free=services.free_available,
        challenge=visit.console.settings.acme.challenge,
        problem=problem,
        form=visit.form,
        now_s=visit.console.clock(),
    )
