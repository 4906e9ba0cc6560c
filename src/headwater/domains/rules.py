"""The rules of names, types, regions, scopes and times, as pure functions (reference control-plane 2.2 and 3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Literal, cast, get_args

import idna
from publicsuffixlist import PublicSuffixList

from headwater.access.policy import DomainType
from headwater.domains.errors import error, invalid

Scope = Literal["domestic", "overseas", "global"]
SearchType = Literal["fuzzy_match", "pre_match", "suf_match", "full_match"]
Protocol = Literal["rtmp", "flv", "hls"]
Level = Literal["short", "medium", "long"]

NAME_MAX = 253
"""Characters of a domain name (RFC 1035 section 2.3.4, without the root's dot)."""

CHINA = "cn-"
"""How the ids of live centers in China begin."""

DELAY_MAX_S = 60
"""Longest delay on offer. The service documents no maximum; nobody asks a live stream to start a minute ago."""

LEVELS_S: dict[Protocol, dict[Level, int]] = {
    "rtmp": {"short": 2, "medium": 4, "long": 8},
    "flv": {"short": 2, "medium": 4, "long": 8},
    "hls": {"short": 3, "medium": 6, "long": 15},
}
"""Seconds of each delay level (reference media-plane 6.2; RTMP and FLV `long` is only documented as more than 4 s)."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


def domain_name(text: str, *, leading_dot: bool = False) -> str:
    """The name in lower case, an international one as its A-label. Raises InvalidDomainName.Malformed.

    At least two labels; no wildcard, scheme, port, underscore, address, and no dot at either end. leading_dot: allow one in
    front, which stands for every subdomain (reference control-plane 3.1).
    """
    if leading_dot and text.startswith("."):
        return f".{domain_name(text[1:])}"
    name = text.lower()
    try:
        if not name.isascii():
            name = idna.encode(name, uts46=True).decode("ascii")
        labels = name.split(".")
        for label in labels:
            if label.startswith("xn--"):
                idna.ulabel(label)  # what stands for no name can be typed nowhere, nor be shown to anybody
    except idna.IDNAError:
        raise error("InvalidDomainName.Malformed") from None
    good = len(name) <= NAME_MAX and len(labels) >= 2 and all(_LABEL.fullmatch(label) for label in labels)
    if not good or labels[-1].isdecimal():  # a numeric top label is part of an address (RFC 3696 section 2)
        raise error("InvalidDomainName.Malformed")
    return name


def root_domain(name: str) -> str | None:
    """The registrable domain of a name by the public suffix list, `example.co.uk` of `a.b.example.co.uk`.

    None for a public suffix itself: anybody may register names under it, so it is nobody's to prove.
    """
    return _suffixes().privatesuffix(name.removeprefix("."))


def is_under(name: str, suffixes: Sequence[str]) -> bool:
    """Whether a name is one of these suffixes or lies below one."""
    return any(name.removeprefix(".") == suffix or name.endswith(f".{suffix}") for suffix in suffixes)


def needs_filing(scope: Scope, region: str) -> bool:
    """Whether a domain needs an ICP filing: it is delivered in mainland China, or its media is processed there.

    Reference add-a-domain-name: needed for Mainland China and Global, and not for Outside Mainland China when the live center
    is outside China, too.
    """
    return scope != "overseas" or region.startswith(CHINA)


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()  # reading the list takes 0.1 s, so it is read when it is first asked


def domain_type(text: str) -> DomainType:
    """Raises InvalidLiveDomainType."""
    if text not in get_args(DomainType):
        raise invalid("LiveDomainType")
    return cast(DomainType, text)


def region(text: str, regions: Sequence[str]) -> str:
    """A live center on offer. Raises InvalidRegion."""
    if text not in regions:
        raise invalid("Region")
    return text


def scope(text: str) -> Scope:
    """The edge group. Raises InvalidScope."""
    if text not in get_args(Scope):
        raise invalid("Scope")
    return cast(Scope, text)


def delay(protocol: Protocol, delay_s: int | None, level: str | None) -> tuple[int, Level | None] | None:
    """Seconds and level that are meant; seconds win over a level, and None means that neither was given.

    Raises InvalidRtmpDelay, InvalidRtmpLevel and the like.
    """
    if delay_s is not None:
        if not 1 <= delay_s <= DELAY_MAX_S:
            raise invalid(f"{protocol.capitalize()}Delay")
        return delay_s, None
    if not level:
        return None
    if level not in get_args(Level):
        raise invalid(f"{protocol.capitalize()}Level")
    known = cast(Level, level)
    return LEVELS_S[protocol][known], known


def parse_time(text: str) -> float:
    """`yyyy-MM-ddTHH:mm:ssZ` as unix seconds. Raises ValueError."""
    if not _TIME.fullmatch(text):
        raise ValueError(f"expected yyyy-MM-ddTHH:mm:ssZ, got `{text}`")
    try:
        return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise ValueError(f"there is no time `{text}`") from None


def format_time(time_s: float) -> str:
    """Unix seconds as `yyyy-MM-ddTHH:mm:ssZ`, which is how the service writes every time."""
    return datetime.fromtimestamp(time_s, UTC).strftime(_TIME_FORMAT)
