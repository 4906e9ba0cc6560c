"""Domain functions as customers set them (BatchSetLiveDomainConfigs): parsed, checked as the table says, stored word for word.

Reference control-plane 4. What they mean for a media node: `domains.access_functions`, and here for `aliauth` (URL signing) and
our own `headwater_live` (how a streaming domain treats its streams and viewers).
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from headwater.access.policy import DomainType, Session, Signing
from headwater.domains.errors import DomainError, error, invalid
from headwater.domains.function_table import KNOWN, bad_argument
from headwater.wording import sentence

ALIAUTH: Final = "aliauth"
HEADWATER_LIVE: Final = "headwater_live"

TEXT_MAX = 256 * 1024
"""Characters of one Functions parameter: thousands of addresses in an IP list."""
FUNCTIONS_MAX = 50
ARGS_MAX = 50
"""Functions in one call and arguments of one function; the largest documented function has about fifteen."""

VALIDITY_MIN_S = 60
"""Shortest validity of a signature (reference media-plane 1.5: one minute)."""
VALIDITY_MAX_S = 10 * 366 * 86400
"""The service documents no longest one; ten years keeps sums of times far from overflow."""
VALIDITY_DEFAULT_S = 1800
KEY_LENGTHS = range(16, 33)
"""Characters of a signing key (reference control-plane 4.1)."""

_SIGNING_ON = frozenset({"type_a", "req_auth"})
"""Values of auth_type that switch signing on: `req_auth` stands in a sample of the service and can mean nothing else."""

LAG_MIN_BYTES = 64 * 1024
"""Least bound on what a viewer may fall behind: below, every key frame of a common stream would be a reason to jump."""
LAG_MAX_BYTES = 1024**3
"""Rings hold less than that."""

Args = tuple[tuple[str, str], ...]
"""Arguments in the order in which they came: (name, value)."""


class FunctionSetting(msgspec.Struct, frozen=True):
    """One function as a customer sets it. config_id: the record to update; None: a new one, or the only one there is."""

    name: str
    args: Args
    config_id: int | None = None


class _Arg(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] = msgspec.field(name="argName")
    value: str | int | float | bool | None = msgspec.field(name="argValue")


class _Function(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_]{1,128}$")] = msgspec.field(name="functionName")
    args: Annotated[list[_Arg], msgspec.Meta(max_length=ARGS_MAX)] = msgspec.field(name="functionArgs", default_factory=list)
    config_id: int | str | None = msgspec.field(name="configId", default=None)


_decoder = msgspec.json.Decoder(Annotated[list[_Function], msgspec.Meta(min_length=1, max_length=FUNCTIONS_MAX)])


def parse(text: str) -> list[FunctionSetting]:
    """The JSON of the parameter Functions. Raises InvalidFunctions.Malformed."""
    if len(text) > TEXT_MAX:
        raise error("InvalidFunctions.Malformed", "It is too long.")
    try:
        functions = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as fault:
        raise error("InvalidFunctions.Malformed", sentence(fault)) from None
    return [
        FunctionSetting(f.name, tuple((a.name, _text(a.value)) for a in f.args), _config_id(f.config_id)) for f in functions
    ]


def check(setting: FunctionSetting, domain_type: DomainType) -> None:
    """Raises InvalidArgValue.Malformed for an argument that means nothing, IllegalOperation for the wrong kind of domain."""
    known = KNOWN.get(setting.name)
    if known is None:
        return
    if known.streaming_only and domain_type != "liveVideo":
        raise error("IllegalOperation", f"{setting.name} is for streaming domains.")
    argument = bad_argument(setting.name, dict(setting.args))
    if argument is not None:
        raise _bad(setting.name, argument)
    match setting.name:
        case "aliauth":
            signing(setting.args)
        case "headwater_live":
            session(setting.args)
        case "https_tls_version":
            values = dict(setting.args)
            if all(values.get(version) == "off" for version in ("tls12", "tls13")):
                raise _bad(setting.name, "tls12")
        case "headwater_access":
            if {"regions_denied", "regions_allowed"} <= {name for name, value in setting.args if value}:
                raise _bad(setting.name, "regions_allowed")
        case "cdn_remote_auth":
            values = dict(setting.args)
            if values.get("enable") == "on" and not values.get("remote_auth_addr"):
                raise _bad(setting.name, "remote_auth_addr")


def check_exclusion(setting: FunctionSetting, others: Mapping[str, Args]) -> None:
    """Raises ConfigConflict if another function of the domain excludes this one. others: the domain's functions by name."""
    known = KNOWN.get(setting.name)
    if known is None or known.excludes not in others:
        return
    if switched_off(setting.args) or switched_off(others[known.excludes]):
        return
    raise error("ConfigConflict", f"Delete {known.excludes} first.")


def switched_off(args: Args) -> bool:
    """Whether a function stands there without effect."""
    return ("enable", "off") in args


def signing(args: Args) -> Signing:
    """What `aliauth` means. Raises InvalidArgValue.Malformed."""
    values = dict(args)
    enabled = values.get("auth_type") in _SIGNING_ON
    if not enabled and values.get("auth_type") != "no_auth":
        raise _bad(ALIAUTH, "auth_type")
    keys = tuple(values[name] for name in ("auth_key1", "auth_key2") if values.get(name))
    if enabled and not values.get("auth_key1"):
        raise _bad(ALIAUTH, "auth_key1")
    for name in ("auth_key1", "auth_key2"):
        key = values.get(name, "")
        if key and not (len(key) in KEY_LENGTHS and key.isascii() and key.isprintable() and " " not in key):
            raise _bad(ALIAUTH, name)
    validity = values.get("ali_auth_delta") or str(VALIDITY_DEFAULT_S)
    return Signing(
        enabled=enabled, keys=keys, validity_s=int(_number(ALIAUTH, "ali_auth_delta", validity, VALIDITY_MIN_S, VALIDITY_MAX_S))
    )


def session(args: Args) -> Session:
    """What `headwater_live` means. Raises InvalidArgValue.Malformed, for an unknown argument too."""
    fields: dict[str, Any] = {}
    for name, value in args:
        match name, value:
            case "on_conflict", "reject" | "takeover":
                fields["on_conflict"] = value
            case "flush", "realtime" | "low" | "standard":
                fields["flush"] = value
            case "reconnect_window", _:
                fields["reconnect_window_s"] = _number(HEADWATER_LIVE, name, value, 0, 1800)
            case "viewer_lag", _:
                fields["viewer_lag_s"] = _number(HEADWATER_LIVE, name, value, 1, 60)
            case "viewer_lag_bytes", _:
                fields["viewer_lag_bytes"] = int(_number(HEADWATER_LIVE, name, value, LAG_MIN_BYTES, LAG_MAX_BYTES))
            case _:
                raise _bad(HEADWATER_LIVE, name)
    return Session(**fields)


def encode_args(args: Args) -> str:
    """The arguments as they are stored."""
    return msgspec.json.encode(args).decode()


def decode_args(text: str) -> Args:
    """The arguments as they were stored."""
    return msgspec.json.decode(text, type=Args)


def new_signing() -> FunctionSetting:
    """What every new domain gets: type A with a random primary key."""
    alphabet = string.ascii_letters + string.digits
    key = "".join(secrets.choice(alphabet) for _ in range(KEY_LENGTHS[-1]))
    return FunctionSetting(ALIAUTH, (("auth_type", "type_a"), ("auth_key1", key), ("ali_auth_delta", str(VALIDITY_DEFAULT_S))))


def _text(value: str | float | bool | None) -> str:
    """Values are strings; clients that send JSON numbers or booleans mean their text."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def config_id(text: str) -> int:
    """The number of a record. Raises InvalidConfigId."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):  # 18 digits fit into 64 bits
        raise invalid("ConfigId")
    return int(text)


def _config_id(value: int | str | None) -> int | None:
    if value is None or value == "":
        return None
    try:
        return config_id(str(value))
    except DomainError:
        raise error("InvalidFunctions.Malformed", "configId is not a number.") from None


def _number(function: str, name: str, text: str, low: float, high: float) -> float:
    if not (text.isascii() and text.isdecimal() and len(text) <= 12 and low <= int(text) <= high):
        raise _bad(function, name)
    return float(text)


def _bad(function: str, name: str) -> Exception:
    return error("InvalidArgValue.Malformed", f"{function}: {name}.")
