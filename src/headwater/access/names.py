"""What a client asked for: the names of app and stream, the query, and the domain that is meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote_plus

QUERY_FIELDS_MAX = 64
"""Query parameters that are read; those beyond are ignored. Encoders and players send about ten."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}", re.ASCII)


def is_name(text: str) -> bool:
    """True if this can be the name of an app or a stream: at most 255 of `A-Za-z0-9_.-`, the first one no `.` or `-`.

    Reference media-plane 1.2; that dots are allowed and a leading underscore too is ours, because encoders send both.
    """
    return _NAME.fullmatch(text) is not None


def split_query(text: str) -> tuple[str, dict[str, str]]:
    """`path?a=1&b=2` as its path (untouched) and its decoded parameters. The first of several equal names counts."""
    path, _, query = text.partition("?")
    fields: dict[str, str] = {}
    for field in query.split("&", QUERY_FIELDS_MAX)[:QUERY_FIELDS_MAX]:
        name, _, value = field.partition("=")
        if name:
            fields.setdefault(unquote_plus(name), unquote_plus(value))
    return path, fields


def request_domain(host: str | None, query: Mapping[str, str]) -> str:
    """The domain that a request means: `vhost=` in its query, else its host. Lower-case, without port; "" if neither."""
    domain = (query.get("vhost") or host or "").strip().lower()
    if domain.startswith("["):  # an IPv6 address and perhaps a port
        return domain[1:].partition("]")[0]
    return domain.partition(":")[0].removesuffix(".")


def cname_target(domain: str, zone: str) -> str:
    """The CNAME target of a domain in the operator's zone; `_all` stands for every subdomain, for no name begins with `_`."""
    return f"_all{domain}.{zone}" if domain.startswith(".") else f"{domain}.{zone}"
