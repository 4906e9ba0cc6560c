"""The RPC envelope: a raw HTTP request as named parameters, an answer as JSON or XML (reference control-plane 1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

import msgspec

from headwater.domains.errors import DomainError
from headwater.openapi.errors import (
    ApiError,
    api_not_found,
    invalid,
    invalid_parameter,
    missing,
    no_such_version,
    request_too_large,
    unsupported_method,
)
from headwater.openapi.signature import SignedRequest

API_VERSION = "2016-11-01"

QUERY_MAX_BYTES = 60_000
"""Clients put everything in the query. It ends below the 65,535 bytes of a URL at which the HTTP parser itself gives up; longer
lists of functions travel in a form."""

BODY_MAX_BYTES = 1024 * 1024
"""No operation takes a file; 1 MiB is far above a certificate chain or a studio's whole layout."""

PARAMETERS_MAX = 1_000
"""Query and form together: 50 resources with 20 tags each, in Key and Value, never come in one call."""

LIST_ITEMS_MAX = 200
"""Items of one repeated parameter; the longest list that any operation documents has 100."""

NESTING_MAX = 8
"""Levels of `A.1.B.2...`; the deepest parameter of the API has 5."""

FORM_TYPE = "application/x-www-form-urlencoded"

CONTENT_TYPES = {"JSON": "application/json;charset=utf-8", "XML": "text/xml;charset=utf-8"}
"""The SDK reads an error as XML only if the type is exactly this one."""

Format = Literal["JSON", "XML"]

_XML_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    content_type: str
    body: bytes


def parse(method: str, path: str, query: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> SignedRequest:
    """Check method, path and sizes, and decode the parameters.

    A name that comes twice is refused: which of the values is meant could differ between who signs and who obeys.
    Raises ApiError.
    """
    if method not in ("GET", "POST"):
        raise unsupported_method()
    if path != "/":
        raise api_not_found()
    if len(query) > QUERY_MAX_BYTES:
        raise request_too_large(QUERY_MAX_BYTES)
    if len(body) > BODY_MAX_BYTES:
        raise request_too_large(BODY_MAX_BYTES)
    decoded = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)
    content_type = next((value for name, value in decoded if name == "content-type"), "")
    form = body if content_type.partition(";")[0].strip().lower() == FORM_TYPE else b""
    pairs_of_query = _decode(query)
    pairs_of_form = _decode(form)
    names = [name for name, _ in pairs_of_query + pairs_of_form]
    if len(names) > PARAMETERS_MAX:
        raise invalid_parameter(f"More than {PARAMETERS_MAX} parameters.")
    if any("\0" in text for pair in pairs_of_query + pairs_of_form for text in pair):  # no database keeps it
        raise invalid_parameter("A parameter holds the character U+0000.")
    if len(set(names)) != len(names):
        raise invalid_parameter("A parameter is given more than once.")
    return SignedRequest(method, path, dict(pairs_of_query), dict(pairs_of_form), decoded, body)


def parameters_of(request: SignedRequest) -> dict[str, str]:
    """Query and form merged: clients use the one or the other by operation."""
    return {**request.query, **request.form}


def response_format(request: SignedRequest) -> Format:
    """What `Format` asks for, in any case; else XML for V1.0, and JSON for V3 and for whoever signs nothing.

    Raises ApiError `InvalidParameter.Format`.
    """
    parameters = parameters_of(request)
    text = parameters.get("Format", "").upper()
    if text == "JSON":
        return "JSON"
    if text == "XML":
        return "XML"
    if text:
        raise ApiError("InvalidParameter.Format", 400, "Specified parameter Format is not valid, please use XML or JSON.")
    return "XML" if "Signature" in parameters and not request.is_v3 else "JSON"


def action_of(request: SignedRequest) -> str:
    """The operation's name: with V3 the signed header, else the parameter, for with V1.0 no header is signed.

    Raises ApiError when it is missing, or the version is missing or not ours.
    """
    names = ("x-acs-action", "x-acs-version") if request.is_v3 else ("Action", "Version")
    parameters = parameters_of(request)
    action, version = (request.header(name) if request.is_v3 else parameters.get(name, "") for name in names)
    if not action:
        raise missing(names[0])
    if not version:
        raise missing(names[1])
    if version != API_VERSION:
        raise no_such_version()
    return action


def unflatten(parameters: Mapping[str, str], name: str) -> Any:
    """The value of one parameter: a text, or what `Name.1.Key`, `Name.A.B` build, or None when there is nothing.

    Numbers are positions in a list, counted from 1; gaps close up. Raises ApiError `Invalid<Name>` when the pieces
    contradict each other or are too many.
    """
    prefix = name + "."
    tree: dict[str, Any] = {}
    for key, value in parameters.items():
        if not key.startswith(prefix):
            continue
        *path, last = key[len(prefix) :].split(".")
        if len(path) >= NESTING_MAX:
            raise invalid(name)
        node = tree
        for part in path:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise invalid(name)
        if last in node:
            raise invalid(name)
        node[last] = value
    if not tree:
        return parameters.get(name)
    if name in parameters:
        raise invalid(name)
    return _lists(tree, name)


def render_success(action: str, request_id: str, fields: Mapping[str, Any], kind: Format) -> Answer:
    """The fields of an operation's response with the request id, below `<ActionResponse>` in XML."""
    return _render(200, f"{action}Response", {"RequestId": request_id, **fields}, kind)


def render_error(error: ApiError | DomainError, request_id: str, host: str, kind: Format) -> Answer:
    """An error: RequestId, HostId, Code, Message and Recommend, always."""
    fields = {
        "RequestId": request_id,
        "HostId": host,
        "Code": error.code,
        "Message": error.message,
        "Recommend": f"https://api.alibabacloud.com/troubleshoot?q={error.code}&product=live",
    }
    return _render(error.status, "Error", fields, kind)


def _decode(text: bytes) -> list[tuple[str, str]]:
    """Form rules: `+` is a space, blank values stay, text is UTF-8."""
    try:
        return parse_qsl(
            text.decode(), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=PARAMETERS_MAX
        )
    except UnicodeDecodeError:
        raise invalid_parameter("The parameters are not UTF-8.") from None
    except ValueError:
        raise invalid_parameter(f"More than {PARAMETERS_MAX} parameters.") from None


def _lists(node: Any, name: str) -> Any:
    if not isinstance(node, dict):
        return node
    if not all(key.isascii() and key.isdecimal() for key in node):
        return {key: _lists(value, name) for key, value in node.items()}
    if len(node) > LIST_ITEMS_MAX or any(len(key) > len(str(LIST_ITEMS_MAX)) or int(key) < 1 for key in node):
        raise invalid(name)
    return [_lists(node[key], name) for key in sorted(node, key=int)]


def _render(status: int, root: str, fields: Mapping[str, Any], kind: Format) -> Answer:
    if kind == "JSON":
        body = msgspec.json.encode(fields)
    else:
        body = f'<?xml version="1.0" encoding="UTF-8"?><{root}>{_xml(fields)}</{root}>'.encode()
    return Answer(status, CONTENT_TYPES[kind], body)


def _xml(fields: Mapping[str, Any]) -> str:
    """A list repeats its element; what is None is left out."""
    text = ""
    for name, value in fields.items():
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if item is not None:
                text += f"<{name}>{_xml(item) if isinstance(item, Mapping) else _xml_text(item)}</{name}>"
    return text


def _xml_text(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return escape(_XML_FORBIDDEN.sub("\ufffd", text))
