"""URL signing of type A: the `auth_key` that proves that a push or play URL was issued by the domain's owner.

Rules and worked values: reference media-plane 1.5. `auth_key = timestamp-rand-uid-md5hash`, where md5hash is the lower-case
hex MD5 of `URI-timestamp-rand-uid-key` and URI is the path alone, as requested, without the query.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

AUTH_KEY = "auth_key"
"""Name of the query parameter that carries the token."""

SigningReason = Literal["signature_missing", "signature_malformed", "signature_invalid", "signature_expired"]

_SCHEMES = frozenset({"rtmp", "rtmps", "http", "https", "ws", "wss"})

# rand is "0" or a UUID without hyphens and uid is "0"; 64 characters leave room for other generators and bound the hashing.
# Twelve digits of seconds reach the year 33658.
_TOKEN = re.compile(r"([0-9]{1,12})-([A-Za-z0-9_]{1,64})-([A-Za-z0-9_]{1,64})-([0-9a-f]{32})", re.ASCII)


class SigningFault(msgspec.Struct, frozen=True):
    """Why a token was refused. `text` is safe in a header: it repeats only characters that the token's pattern allows."""

    reason: SigningReason
    text: str


def sign(uri: str, timestamp: int, key: str, rand: str = "0", uid: str = "0") -> str:
    """The token for a path such as `/app/stream.flv`; it is accepted until `timestamp` plus the domain's validity."""
    return f"{timestamp}-{rand}-{uid}-{_digest(uri, str(timestamp), rand, uid, key)}"


def check(
    uri: str,
    token: str | None,
    keys: Sequence[str],
    validity_s: int,
    now_s: float,
    *,
    ignore_expiry: bool = False,
) -> SigningFault | None:
    """None if the token was made with one of the keys and is not expired.

    ignore_expiry is for sessions that were admitted before: validity is for the start of a push or play only.
    """
    if not token:
        return SigningFault("signature_missing", "denied by req auth: missing auth_key")
    match = _TOKEN.fullmatch(token)
    if match is None:
        return SigningFault("signature_malformed", "denied by req auth: malformed auth_key")
    timestamp, rand, uid, digest = match.groups()
    genuine = False
    for key in keys:  # no early end: the time taken must not tell which key it was
        genuine |= hmac.compare_digest(_digest(uri, timestamp, rand, uid, key), digest)
    if not genuine:
        return SigningFault("signature_invalid", f"denied by req auth: invalid md5hash={digest}")
    if not ignore_expiry and int(timestamp) + validity_s < now_s:
        return SigningFault("signature_expired", f"denied by req auth: expired timestamp={timestamp}")
    return None


def sign_url(url: str, key: str, timestamp: int, *, rand: str = "0", uid: str = "0") -> str:
    """The complete URL with its `auth_key`: other query parameters stay as they are, an older `auth_key` is replaced.

    Raises ValueError if this is no rtmp, http or ws URL (with or without TLS) with a host and a path.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.netloc or len(parts.path) < 2:
        raise ValueError(f"expected a complete rtmp, http or ws URL with a path, got `{url}`")
    kept = [field for field in parts.query.split("&") if field and field.partition("=")[0] != AUTH_KEY]
    query = "&".join([*kept, f"{AUTH_KEY}={sign(parts.path, timestamp, key, rand, uid)}"])
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def _digest(uri: str, timestamp: str, rand: str, uid: str, key: str) -> str:
    text = f"{uri}-{timestamp}-{rand}-{uid}-{key}"
    # surrogates (a path that was no UTF-8) must not end the session with an error of ours
    return hashlib.md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
