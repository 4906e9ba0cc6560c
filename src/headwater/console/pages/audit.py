"""The audit log: who changed what, with the difference that it made."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from headwater.console.visit import Visit
from headwater.domains import rules

PAGE_SIZE = 50

Line = tuple[str, Literal["same", "gone", "new"], str]
"""A line of a difference: the name of the value, what became of it, and the value."""


async def show(visit: Visit) -> Response:
    """One page of the log, the newest first."""
    query = visit.query
    filters = {name: query.get(name) for name in ("actor", "action", "object", "from", "to")}
    from_s, to_s = _day_s(filters["from"]), _day_s(filters["to"])
    entries = await visit.services.audit.entries(
        visit.account,
        actor=filters["actor"],
        action=filters["action"],
        object_=filters["object"],
        from_s=from_s,
        to_s=None if to_s is None else to_s + 86400,  # the last day is meant, too
        before_id=query.number("before"),
        limit=PAGE_SIZE + 1,
    )
    accounts = {} if visit.account else {item.id: item.name for item in await visit.services.accounts.accounts()}
    older = entries[PAGE_SIZE - 1].id if len(entries) > PAGE_SIZE else None
    kept = {name: value for name, value in filters.items() if value}
    return visit.render(
        "audit.html",
        entries=[(entry, difference(entry.before, entry.after)) for entry in entries[:PAGE_SIZE]],
        filters=filters,
        filtered=bool(kept),
        actions=await visit.services.audit.actions(visit.account),
        accounts=accounts,
        older="/audit?" + urlencode({**kept, "before": older}) if older else "",
        first=query.number("before") is None,
    )


def difference(before: Any, after: Any) -> list[Line]:
    """What was changed, value by value, in the order of their names."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    lines: list[Line] = []
    for name in sorted(old.keys() | new.keys()):
        if name in old and name in new and old[name] == new[name]:
            lines.append((name, "same", old[name]))
            continue
        if name in old:
            lines.append((name, "gone", old[name]))
        if name in new:
            lines.append((name, "new", new[name]))
    return lines


def _leaves(value: Any, path: str = "") -> list[tuple[str, str]]:
    """The values of an object under their paths."""
    match value:
        case None if not path:
            return []
        case dict():
            return [leaf for key, item in value.items() for leaf in _leaves(item, f"{path}.{key}" if path else str(key))]
        case [] | {}:
            return [(path, "[]" if value == [] else "{}")]
        case list() if not all(isinstance(item, str | int | float) for item in value):
            return [leaf for index, item in enumerate(value) for leaf in _leaves(item, f"{path}[{index}]")]
        case str():
            return [(path, value)]
        case _:
            return [(path, msgspec.json.encode(value).decode())]


def _day_s(text: str) -> float | None:
    """The begin of a day (UTC) as a date field sends it; None if it is none."""
    try:
        return rules.parse_time(f"{text}T00:00:00Z")
    except ValueError:
        return None
