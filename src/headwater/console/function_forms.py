"""The domain functions as forms: which fields each has, and what they mean in plain words.

A function that is not here can be set as name and value lines; the rules of all are those of `domains.function_table`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from headwater.console.forms import Form
from headwater.domains.functions import Args

BOTH = ("liveEdge", "liveVideo")
STREAMING = ("liveVideo",)


@dataclass(frozen=True)
class Field:
    """One argument. kind: `list` is a text area with an entry a line, joined by `separator`; `choice` offers `options`.

    default: what is shown, and so saved, when the function is not set yet.
    """

    name: str
    label: str
    kind: Literal["text", "number", "choice", "list", "key"] = "text"
    hint: str = ""
    default: str = ""
    options: tuple[tuple[str, str], ...] = ()
    separator: str = ","
    required: bool = False


@dataclass(frozen=True)
class FunctionForm:
    """One function. title and text: what it does. types: the domains for which it is meant."""

    name: str
    title: str
    text: str
    fields: tuple[Field, ...] = field(default=())
    types: tuple[str, ...] = BOTH
    multiple: bool = False


@dataclass(frozen=True)
class FunctionGroup:
    """Functions under one title."""

    title: str
    forms: tuple[FunctionForm, ...]


ON_OFF = (("on", "On"), ("off", "Off"))
OFF_ON = (("off", "Off"), ("on", "On"))
ENTRY_A_LINE = "One entry a line."

GROUPS = (
    FunctionGroup(
        "Who may push and play",
        (
            FunctionForm(
                "aliauth",
                "URL signing",
                "Pushes and plays need a signature of type A in their URL, made with one of the two keys.",
                (
                    Field("auth_type", "Signing", "choice", options=(("type_a", "On"), ("no_auth", "Off"))),
                    Field("auth_key1", "Primary key", "key", "16 to 32 characters.", required=True),
                    Field("auth_key2", "Secondary key", "key", "Valid, too: change keys without a break."),
                    Field("ali_auth_delta", "Validity in seconds", "number", "For how long a URL may be used.", "1800"),
                ),
            ),
            FunctionForm(
                "ip_allow_list_set",
                "IP allow list",
                "Pushes and plays from other addresses are refused. It excludes the deny list.",
                (Field("ip_list", "Addresses or networks", "list", ENTRY_A_LINE, required=True),),
            ),
            FunctionForm(
                "ip_black_list_set",
                "IP deny list",
                "Pushes and plays from these addresses are refused. It excludes the allow list.",
                (Field("ip_list", "Addresses or networks", "list", ENTRY_A_LINE, required=True),),
            ),
            FunctionForm(
                "referer_white_list_set",
                "Referer allow list",
                "Plays from other web pages are refused. It excludes the deny list.",
                (
                    Field("refer_domain_allow_list", "Web sites", "list", ENTRY_A_LINE, required=True),
                    Field(
                        "allow_empty", "Players without a page", "choice", options=(("on", "May play"), ("off", "Are refused"))
                    ),
                ),
                STREAMING,
            ),
            FunctionForm(
                "referer_black_list_set",
                "Referer deny list",
                "Plays from these web pages are refused. It excludes the allow list.",
                (
                    Field("refer_domain_deny_list", "Web sites", "list", ENTRY_A_LINE, required=True),
                    Field(
                        "allow_empty", "Players without a page", "choice", options=(("on", "May play"), ("off", "Are refused"))
                    ),
                ),
                STREAMING,
            ),
            FunctionForm(
                "ali_ua",
                "User agents",
                "Some programs are refused, or all others.",
                (
                    Field(
                        "type", "These are", "choice", options=(("black", "Refused"), ("white", "The only ones that may come"))
                    ),
                    Field(
                        "ua", "User agents", "list", "One entry a line; * stands for any text.", separator="|", required=True
                    ),
                ),
            ),
            FunctionForm(
                "headwater_access",
                "Regions and protocols",
                "Refuse protocols, or clients by the country or continent of their address.",
                (
                    Field("protocols_denied", "Refused protocols", "list", "rtmp, rtmps, flv, ws-flv, hls"),
                    Field(
                        "regions_denied",
                        "Refused regions",
                        "list",
                        "Codes such as CN, US or the continents AS, EU. Leave one of the two empty.",
                    ),
                    Field("regions_allowed", "Only these regions", "list"),
                ),
            ),
            FunctionForm(
                "cdn_remote_auth",
                "Remote authentication",
                "Your own server is asked about every push and play.",
                (
                    Field("enable", "Remote authentication", "choice", options=ON_OFF),
                    Field("remote_auth_addr", "Address of your server", hint="https://auth.example.com/check"),
                    Field(
                        "remote_auth_method", "Method", "choice", options=(("get", "GET"), ("post", "POST"), ("head", "HEAD"))
                    ),
                    Field("remote_auth_success_code", "Status codes that let in", default="200"),
                    Field("remote_auth_fail_code", "Status codes that refuse", default="403"),
                    Field("remote_auth_timeout", "Wait for an answer, in milliseconds", "number", "At most 3000.", "2000"),
                    Field(
                        "remote_auth_timeout_action",
                        "Without an answer in time",
                        "choice",
                        options=(("pass", "Let in"), ("reject", "Refuse")),
                    ),
                ),
            ),
            FunctionForm(
                "https_force",
                "Force HTTPS",
                "Plays over HTTP are sent to HTTPS. It excludes forcing HTTP.",
                (Field("enable", "Force HTTPS", "choice", options=ON_OFF),),
            ),
            FunctionForm(
                "http_force",
                "Force HTTP",
                "Plays over HTTPS are sent to HTTP. It excludes forcing HTTPS.",
                (Field("enable", "Force HTTP", "choice", options=ON_OFF),),
            ),
            FunctionForm(
                "https_tls_version",
                "TLS versions",
                "Connections with another version of TLS are refused.",
                (Field("tls12", "TLS 1.2", "choice", options=ON_OFF), Field("tls13", "TLS 1.3", "choice", options=ON_OFF)),
            ),
            FunctionForm(
                "websocket",
                "WebSocket",
                "Whether FLV can be played over WebSocket.",
                (Field("enabled", "WebSocket", "choice", options=ON_OFF),),
                STREAMING,
            ),
            FunctionForm(
                "ipv6", "IPv6", "Whether clients may come by IPv6.", (Field("switch", "IPv6", "choice", options=ON_OFF),)
            ),
        ),
    ),
    FunctionGroup(
        "Answers",
        (
            FunctionForm(
                "set_resp_header",
                "Response headers",
                "Headers that answers over HTTP-FLV and HLS carry.",
                (
                    Field("key", "Header", hint="Access-Control-Allow-Origin", required=True),
                    Field("value", "Value", hint="The value null takes a header away.", required=True),
                ),
                STREAMING,
                multiple=True,
            ),
            FunctionForm(
                "HSTS",
                "HSTS",
                "Browsers that came by HTTPS once keep to it.",
                (
                    Field("enabled", "HSTS", "choice", options=ON_OFF),
                    Field("https_hsts_max_age", "For how many seconds", "number", default="31536000"),
                    Field("https_hsts_include_subdomains", "Subdomains, too", "choice", options=OFF_ON),
                ),
            ),
            FunctionForm(
                "gzip",
                "Compression",
                "Whether playlists are compressed.",
                (Field("enable", "Compression", "choice", options=ON_OFF),),
                STREAMING,
            ),
            FunctionForm(
                "error_page",
                "Error pages",
                "A play that is refused is sent to a page of yours.",
                (
                    Field("error_code", "Status code", "number", default="403", required=True),
                    Field("rewrite_page", "Address of the page", hint="https://www.example.com/403.html", required=True),
                ),
                STREAMING,
                multiple=True,
            ),
        ),
    ),
    FunctionGroup(
        "Streams and viewers",
        (
            FunctionForm(
                "headwater_live",
                "Reconnects and slow viewers",
                "What happens when two push the same name, when a publisher drops, and when a viewer is slow.",
                (
                    Field(
                        "on_conflict",
                        "A second push of the same name",
                        "choice",
                        options=(("reject", "Is refused"), ("takeover", "Takes over")),
                    ),
                    Field("reconnect_window", "Viewers wait for a dropped publisher, in seconds", "number", "0 to 1800", "10"),
                    Field(
                        "flush",
                        "Sent to viewers",
                        "choice",
                        options=(("standard", "Every 350 ms"), ("low", "Every 100 ms"), ("realtime", "At once")),
                    ),
                    Field("viewer_lag", "A slow viewer may lag, in seconds", "number", "1 to 60", "10"),
                ),
                STREAMING,
            ),
        ),
    ),
)

FORMS = {form.name: form for group in GROUPS for form in group.forms}
"""By the function's name."""


def texts() -> Iterator[str]:
    """Every text of the forms, for the catalogue."""
    for group in GROUPS:
        yield group.title
        for form in group.forms:
            yield from (form.title, form.text)
            for item in form.fields:
                yield item.label
                yield from (text for _, text in item.options if not text.isupper())
                if item.hint and item.hint[-1] == ".":
                    yield item.hint


def values(form: FunctionForm, args: Args | None) -> dict[str, str]:
    """What the fields show: the stored arguments, or the defaults."""
    stored = dict(args or ())
    shown = {}
    for item in form.fields:
        value = stored.get(item.name, "" if args is not None else item.default)
        shown[item.name] = "\n".join(part.strip() for part in value.split(item.separator)) if item.kind == "list" else value
    return shown


def arguments(form: FunctionForm, sent: Form, stored: Args) -> list[tuple[str, str]]:
    """The arguments that a form means; what is stored beyond its fields stays."""
    names = {item.name for item in form.fields}
    kept = [(name, value) for name, value in stored if name not in names]
    wanted = []
    for item in form.fields:
        value = sent.get(item.name)
        if item.kind == "list":
            parts = [part.strip() for line in value.split("\n") for part in line.split(item.separator)]
            value = item.separator.join(part for part in parts if part)
        if value:
            wanted.append((item.name, value))
    return [*wanted, *kept]


def lines(text: str) -> list[tuple[str, str]]:
    """Arguments written as `name=value`, one a line."""
    pairs = [line.partition("=") for line in text.split("\n") if line.strip()]
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def as_json(name: str, args: Sequence[tuple[str, str]], config_id: int | None = None) -> list[dict[str, object]]:
    """The value of the parameter Functions."""
    function: dict[str, object] = {
        "functionName": name,
        "functionArgs": [{"argName": key, "argValue": value} for key, value in args],
    }
    return [function if config_id is None else {**function, "configId": config_id}]
