"""A domain's functions, each as a form: access control, answers, streams and viewers."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from headwater.console import function_forms
from headwater.console.function_forms import FORMS, GROUPS
from headwater.console.pages.domain import page, shown_domain
from headwater.console.visit import Visit
from headwater.domains.errors import DomainError
from headwater.domains.function_store import FunctionRecord
from headwater.domains.function_table import KNOWN


async def show(visit: Visit) -> Response:
    """All functions."""
    return await _page(visit)


async def change(visit: Visit) -> Response:
    """Set or remove one function."""
    account, domain = await shown_domain(visit)
    form, services = visit.form, visit.services.domains
    name, config_id = form.get("function"), form.number("config_id")
    known = FORMS.get(name)
    try:
        if form.get("what") == "remove":
            if config_id is None:
                await services.delete_functions(account, [domain.name], [name], actor=visit.actor)
            else:
                await services.delete_function(account, domain.name, config_id, actor=visit.actor)
            visit.done("{name} was removed.", name=visit.say(known.title) if known else name)
        else:
            stored = [item for item in await services.functions(account, domain.name, [name]) if item.config_id == config_id]
            before = stored[0].args if stored else ()
            args = function_forms.arguments(known, form, before) if known else function_forms.lines(form.get("lines"))
            functions = msgspec.json.encode(function_forms.as_json(name, args, config_id)).decode()
            await services.set_functions(account, [domain.name], functions, actor=visit.actor)
            visit.done(
                "{name} was saved. It holds for new and for running sessions.", name=visit.say(known.title) if known else name
            )
    except DomainError as fault:
        return await _page(visit, name, config_id, visit.explain(fault), fault.status)
    return visit.go(f"/domains/{domain.name}/access#{name}")


async def _page(visit: Visit, wrong: str = "", wrong_id: int | None = None, problem: str = "", status: int = 200) -> Response:
    account, domain = await shown_domain(visit)
    stored: dict[str, list[FunctionRecord]] = {}
    for record in await visit.services.domains.functions(account, domain.name):
        stored.setdefault(record.name, []).append(record)

    def records(name: str) -> list[tuple[FunctionRecord | None, dict[str, str]]]:
        """What a function's forms show: each record, and an empty one where there may be another."""
        form, found = FORMS[name], stored.get(name, [])
        shown: list[tuple[FunctionRecord | None, dict[str, str]]] = [
            (record, function_forms.values(form, record.args)) for record in found
        ]
        if form.multiple or not found:
            shown.append((None, function_forms.values(form, None)))
        if problem and wrong == name:  # what was typed is shown again
            typed = {item.name: visit.form.get(item.name) for item in form.fields}
            shown = [(record, typed if (record.config_id if record else None) == wrong_id else old) for record, old in shown]
        return shown

    return await page(
        visit,
        "access.html",
        account,
        domain,
        status=status,
        groups=GROUPS,
        stored=stored,
        records=records,
        others=[record for name, found in stored.items() if name not in FORMS for record in found],
        kept=sorted(name for name in KNOWN if name not in FORMS),
        wrong=wrong,
        wrong_id=wrong_id,
        problem=problem,
    )
