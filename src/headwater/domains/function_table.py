"""Every domain function that we know: its arguments, what excludes it, and what a media node does with it.

Reference control-plane 4.1 and 4.2, media-plane 1.6. Functions that are not in the table are stored word for word, and so are
arguments that a function of the table does not name. `python -m headwater.domains.function_table docs/domain-functions.md`
writes the table of the manual anew.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from headwater.access.addresses import parse_network
from headwater.access.regions import is_region
from headwater.domains import rules
from headwater.domains.errors import DomainError

ENTRIES_MAX: Final = 10_000
"""Entries of one list: more than any customer keeps by hand, and few enough to compile in a tenth of a second."""

HEADER_VALUE_MAX: Final = 1024
"""Characters of a response header's value; all headers of an answer stay far below what players accept."""

REMOTE_TIMEOUT_MAX_MS: Final = 3000
"""Longest wait for the customer's own server (reference media-plane 1.6)."""

PROTOCOLS: Final = ("rtmp", "rtmps", "flv", "ws-flv", "hls")
"""What `headwater_access` can switch off; `rtmps` is RTMP over TLS."""

RESERVED_HEADERS: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "date",
        "location",
        "sec-websocket-accept",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers on which the connection itself depends: `set_resp_header` leaves them alone."""

MARKERS: Final = ("<!-- functions -->\n", "<!-- end of functions -->\n")
"""Between these lines of the manual stands the table."""

Check = Callable[[str], bool]


class Arg(msgspec.Struct, frozen=True):
    """One argument. check: whether a value may be. An argument that is not required may be absent or empty."""

    check: Check
    required: bool = False


class Known(msgspec.Struct, frozen=True):
    """One function. excludes: the one that must be deleted first. effect: what a media node does; "" if it is only kept.

    streaming_only: it protects plays and would protect nothing on an ingest domain. multiple: it may stand several times.
    ours: it is Headwater's own; such a function has no arguments beyond these.
    """

    args: Mapping[str, Arg] = {}
    effect: str = ""
    multiple: bool = False
    excludes: str = ""
    streaming_only: bool = False
    ours: bool = False


def needed(check: Check) -> Arg:
    """An argument without which the function means nothing."""
    return Arg(check, required=True)


def one_of(*values: str) -> Check:
    """One of these words."""
    return lambda text: text in values


def number(low: int, high: int) -> Check:
    """A whole number within bounds."""
    return lambda text: text.isascii() and text.isdecimal() and len(text) <= 12 and low <= int(text) <= high


def list_of(check: Check, separator: str = ",") -> Check:
    """A list of which every entry is good; space around entries means nothing."""

    def good(text: str) -> bool:
        entries = split(text, separator)
        return 0 < len(entries) <= ENTRIES_MAX and all(check(entry) for entry in entries)

    return good


def split(text: str, separator: str = ",") -> list[str]:
    """The entries of a list without the space around them; empty ones are left out."""
    return [entry.strip() for entry in text.split(separator) if entry.strip()]


def _any(text: str) -> bool:
    return True


def _some(text: str) -> bool:
    return bool(text.strip())


def _network(text: str) -> bool:
    try:
        parse_network(text)
    except ValueError:
        return False
    return True


def _matching(pattern: str) -> Check:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _url(text: str) -> bool:
    """An http or https URL with a host, of characters that may stand in a header."""
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and "@" not in parts.netloc
            and re.fullmatch(r"[!-~]{1,2048}", text) is not None
        )
    except ValueError:
        return False


def _host(text: str) -> bool:
    try:
        rules.domain_name(text)
    except DomainError:
        return False
    return True


_switch = one_of("on", "off")
_page = _matching(r"(https?://)?[\w*-]([\w.*-]{0,252}[\w*-])?(:\d{1,5})?")
_agent = _matching(r"[^\x00-\x1f\x7f]{1,256}")
_header_name = _matching(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_header_value = _matching(rf"[ -~]{{1,{HEADER_VALUE_MAX}}}")
_path = _matching(r"/[!-~]{0,1024}")
_status = number(400, 599)
_ttl = number(1, 99_999_999)
_weight = number(1, 99)

_addresses = {"ip_list": needed(list_of(_network))}
_ip_acl = {**_addresses, "customize_response_status_code": Arg(_status), "ip_acl_xfwd": Arg(one_of("on", "off", "all"))}
_pairs = _matching(r"[!-~]{0,2048}")
_header_pairs = _matching(r"[A-Za-z0-9_-]{1,64} *:[ -{}~]{0,1024}(\|[A-Za-z0-9_-]{1,64} *:[ -{}~]{0,1024}){0,15}")

KNOWN: Final[dict[str, Known]] = {
    # Access
    "aliauth": Known(
        effect="pushes and plays need a signature of type A with one of the keys, as old as `ali_auth_delta` at most"
    ),
    "referer_white_list_set": Known(
        {"refer_domain_allow_list": needed(list_of(_page)), "allow_empty": Arg(_switch)},
        "plays from other pages are refused",
        excludes="referer_black_list_set",
        streaming_only=True,
    ),
    "referer_black_list_set": Known(
        {"refer_domain_deny_list": needed(list_of(_page)), "allow_empty": Arg(_switch)},
        "plays from these pages are refused",
        excludes="referer_white_list_set",
        streaming_only=True,
    ),
    "ip_allow_list_set": Known(_ip_acl, "pushes and plays from other addresses are refused", excludes="ip_black_list_set"),
    "ip_black_list_set": Known(_ip_acl, "pushes and plays from these addresses are refused", excludes="ip_allow_list_set"),
    "ali_ua": Known(
        {"ua": needed(list_of(_agent, "|")), "type": needed(one_of("black", "white"))},
        "user agents are refused, or the only ones that are not; of RTMP it is the flashVer",
    ),
    "cdn_remote_auth": Known(
        {
            "enable": needed(_switch),
            "remote_auth_addr": Arg(_url),
            "remote_auth_method": Arg(one_of("get", "post", "head")),
            "remote_auth_type": Arg(list_of(_matching(r"[A-Za-z0-9]{1,16}"), "|")),
            "remote_auth_reserve_args": Arg(_pairs),
            "remote_auth_custom_args": Arg(_pairs),
            "remote_auth_reserve_header": Arg(_pairs),
            "remote_auth_custom_header": Arg(_header_pairs),
            "remote_auth_success_code": Arg(list_of(number(100, 599))),
            "remote_auth_fail_code": Arg(list_of(number(100, 599))),
            "remote_auth_other_code_act": Arg(one_of("pass", "reject")),
            "remote_auth_fail_resp_code": Arg(_status),
            "remote_auth_timeout": Arg(number(1, REMOTE_TIMEOUT_MAX_MS)),
            "remote_auth_timeout_action": Arg(one_of("pass", "reject")),
        },
        "your own server is asked about every push and play; `remote_auth_timeout_action` says what a time-out means",
    ),
    "https_force": Known({"enable": needed(_switch)}, "plays over HTTP are sent to HTTPS by a redirect", excludes="http_force"),
    "http_force": Known({"enable": needed(_switch)}, "plays over HTTPS are sent to HTTP by a redirect", excludes="https_force"),
    "https_tls_version": Known(
        {name: Arg(_switch) for name in ("tls10", "tls11", "tls12", "tls13")},
        "connections with another version of TLS are refused; there is no TLS 1.0 and 1.1 here",
    ),
    "websocket": Known({"enabled": needed(_switch)}, "`off`: no FLV over WebSocket"),
    "ipv6": Known({"switch": needed(_switch), "region": Arg(_any)}, "`off`: clients that come by IPv6 are refused"),
    "headwater_access": Known(
        {
            "protocols_denied": Arg(list_of(one_of(*PROTOCOLS))),
            "regions_denied": Arg(list_of(is_region)),
            "regions_allowed": Arg(list_of(is_region)),
        },
        "these protocols are refused; clients in these regions, or in all others, are refused",
        ours=True,
    ),
    "headwater_live": Known(
        effect="how a streaming domain treats its streams and viewers",
        streaming_only=True,
        ours=True,
    ),
    # Answers
    "set_resp_header": Known(
        {
            "key": needed(lambda text: _header_name(text) and text.lower() not in RESERVED_HEADERS),
            "value": needed(_header_value),
        },
        "a header of the answers over HTTP-FLV and HLS; the value `null` takes one away",
        multiple=True,
    ),
    "HSTS": Known(
        {
            "enabled": needed(_switch),
            "https_hsts_max_age": Arg(number(0, 999_999_999)),
            "https_hsts_include_subdomains": Arg(_switch),
        },
        "answers over HTTPS carry Strict-Transport-Security",
    ),
    "gzip": Known({"enable": needed(_switch)}, "`off`: playlists are not compressed"),
    "error_page": Known(
        {"error_code": needed(_status), "rewrite_page": needed(_url)},
        "a play that is refused with this status is sent to this page by a redirect",
        multiple=True,
    ),
    # Kept only: they concern an origin, a cache or files, which a live edge has not.
    "ip_white_list_set": Known(_addresses),
    "filetype_based_ttl_set": Known(
        {"ttl": needed(_ttl), "file_type": needed(list_of(_some)), "weight": Arg(_weight)}, multiple=True
    ),
    "path_based_ttl_set": Known({"ttl": needed(_ttl), "path": needed(_path), "weight": Arg(_weight)}, multiple=True),
    "oss_auth": Known({"oss_bucket_id": needed(_some)}),
    "set_req_host_header": Known({"domain_name": needed(_host)}),
    "set_hashkey_args": Known({"hashkey_args": Arg(_any), "disable": Arg(_switch)}),
    "set_req_header": Known({"key": needed(_header_name), "value": needed(_header_value)}, multiple=True),
    "https_option": Known({"http2": Arg(_switch), "ocsp_stapling": Arg(_switch)}),
    "l2_oss_key": Known({"private_oss_auth": Arg(_switch)}),
    "forward_scheme": Known({"enable": Arg(_switch), "scheme_origin": Arg(one_of("http", "https", "follow"))}),
    "green_manager": Known({"enable": Arg(_switch)}),
    "tmd_signature": Known(
        {
            "name": needed(_some),
            "path": needed(_path),
            "interval": Arg(number(1, 86_400)),
            "count": Arg(number(1, 1_000_000_000)),
            "ttl": Arg(number(1, 86_400)),
        },
        multiple=True,
    ),
    "cc_defense": Known({"enable": Arg(_switch)}),
    "dynamic": Known({"enable": Arg(_switch)}),
    "range": Known({"enable": Arg(one_of("on", "off", "force"))}),
    "video_seek": Known({"enable": Arg(_switch)}),
    "brotli": Known({"enable": Arg(_switch)}),
    "tesla": Known({"enable": Arg(_switch), "trim_js": Arg(_switch), "trim_css": Arg(_switch)}),
    "filetype_force_ttl_code": Known({"file_type": needed(list_of(_some)), "code_string": needed(_some)}, multiple=True),
    "path_force_ttl_code": Known({"path": needed(_path), "code_string": needed(_some)}, multiple=True),
    "limit_rate": Known(),
    "host_redirect": Known({"regex": needed(_some), "replacement": needed(_some)}, multiple=True),
    "origin_response_header": Known({"header_name": needed(_header_name)}, multiple=True),
    "forward_timeout": Known({"forward_timeout": Arg(number(1, 900))}),
    "dm_coverage": Known({"coverage": Arg(one_of("domestic", "overseas", "global"))}),
    "edge_function": Known(),
    "quic": Known(),
    "p2pqos": Known(),
    "ali_remove_args": Known(),
    "https_origin_sni": Known(),
    "alivod": Known(),
}
"""By name."""

MULTIPLE: Final = frozenset(name for name, known in KNOWN.items() if known.multiple)
"""Functions that may stand several times on a domain; all others replace themselves."""


def bad_argument(name: str, args: Mapping[str, str]) -> str | None:
    """The name of the first argument that a function of the table cannot have; None if all are good."""
    known = KNOWN.get(name)
    if known is None:
        return None
    for arg, rule in known.args.items():
        value = args.get(arg, "")
        if (value or rule.required) and not rule.check(value):
            return arg
    if known.ours and known.args:
        return next((arg for arg in args if arg not in known.args), None)
    return None


def markdown() -> str:
    """The table of the manual."""
    lines = ["| function | what it does here |", "|---|---|"]
    kept: Literal["kept"] = "kept"
    for name, known in sorted(KNOWN.items(), key=lambda item: (not item[1].effect, item[0])):
        notes = [known.effect or kept]
        if known.streaming_only:
            notes.append("streaming domains only")
        if known.excludes:
            notes.append(f"excludes `{known.excludes}`")
        if known.multiple:
            notes.append("may stand several times")
        lines.append(f"| `{name}` | {'; '.join(notes)} |")
    return "\n".join(lines) + "\n"


def write(path: Path) -> None:
    """Put the table into the manual."""
    head, begin, rest = path.read_text().partition(MARKERS[0])
    _, end, tail = rest.partition(MARKERS[1])
    path.write_text(head + begin + markdown() + end + tail)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
