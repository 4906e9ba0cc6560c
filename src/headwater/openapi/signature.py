"""Who signed a request, and whether rightly: V1.0 (HMAC-SHA1) and V3 (ACS3-HMAC-SHA256), without I/O.

V1.0 (reference control-plane 1.3) carries everything as parameters, V3 (1.4) as headers. Both go the same way here:
`read_claim` finds out what the request says about itself, the caller looks up the secret, `Claim.verify` compares.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from headwater.domains.rules import parse_time
from headwater.openapi.errors import ApiError, invalid, missing

TIMESTAMP_WINDOW_S = 31 * 60
"""How far a time stamp may be from now, in both directions (reference control-plane 1.3)."""

V3_ALGORITHM = "ACS3-HMAC-SHA256"
V3_PREFIX = "ACS3-"
V3_MANDATORY_SIGNED = ("host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce", "x-acs-version")
"""Headers that say what is asked, by whom and when: a signature that leaves one out protects nothing."""

SIGNED_HEADERS_MAX = 64
"""The SDK signs about a dozen headers; a long list only costs work."""

_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True)
class SignedRequest:
    """What a signature covers. Header names are lower case, values as received; parameters are decoded, each name once."""

    method: str
    path: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """The first value of a header, without the space around it; the empty string when it is absent."""
        return next((value.strip() for key, value in self.headers if key == name), "")

    @property
    def is_v3(self) -> bool:
        return self.header("authorization").startswith(V3_PREFIX)


@dataclass(frozen=True)
class Claim:
    """What a request says about its signer, before anything is believed. `signed_at` is in unix seconds."""

    version: Literal["1.0", "3"]
    access_key_id: str
    nonce: str
    signed_at: float
    security_token: str
    string_to_sign: str = field(repr=False)
    signature: str = field(repr=False)

    @property
    def expires_s(self) -> float:
        """Unix seconds after which the time stamp is refused; until then the nonce must be remembered."""
        return self.signed_at + TIMESTAMP_WINDOW_S

    def check_time(self, now_s: float) -> None:
        """Raises ApiError `InvalidTimeStamp.Expired` outside the window around now."""
        if abs(now_s - self.signed_at) > TIMESTAMP_WINDOW_S:
            raise ApiError("InvalidTimeStamp.Expired", 400, "Specified time stamp or date value is expired.")

    def verify(self, secret: str) -> None:
        """Raises ApiError `SignatureDoesNotMatch` unless the secret made this signature."""
        make = sign_v1 if self.version == "1.0" else sign_v3
        if not hmac.compare_digest(make(secret, self.string_to_sign).encode(), self.signature.encode()):
            raise _does_not_match(f"server string to sign is:{self.string_to_sign}")


def read_claim(request: SignedRequest) -> Claim:
    """The claim of a request, by its headers if they carry one, else by its parameters.

    Raises ApiError when a part is missing or malformed, the method of signing is unknown, or the body is another one than
    the signed one.
    """
    if request.is_v3:
        return _read_v3(request)
    return _read_v1(request)


def percent_encode(text: str) -> str:
    """RFC 3986: only unreserved characters stay, so a space is `%20`, `*` is `%2A`, and `~` stays."""
    return quote(text, safe="")


def canonical_query(parameters: Iterable[tuple[str, str]]) -> str:
    """Parameters sorted by their name's bytes, percent-encoded, joined with `&`; an empty value keeps its `=`."""
    ordered = sorted(parameters, key=lambda item: item[0].encode())
    return "&".join(f"{percent_encode(name)}={percent_encode(value)}" for name, value in ordered)


def string_to_sign_v1(method: str, parameters: Mapping[str, str]) -> str:
    """Reference control-plane 1.3: values are encoded twice, the signature itself is left out."""
    canonical = canonical_query((name, value) for name, value in parameters.items() if name != "Signature")
    return f"{method}&{percent_encode('/')}&{percent_encode(canonical)}"


def sign_v1(secret: str, string_to_sign: str) -> str:
    """Base64 of HMAC-SHA1 with the secret and a trailing `&`."""
    digest = hmac.new(f"{secret}&".encode(), string_to_sign.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def string_to_sign_v3(request: SignedRequest, signed_headers: list[str], content_sha256: str) -> str:
    """Reference control-plane 1.4. A repeated header counts once, with its values sorted and joined by commas."""
    headers = ""
    for name in signed_headers:
        values = sorted(value.strip() for key, value in request.headers if key == name)
        headers += f"{name}:{','.join(values)}\n"
    canonical = "\n".join(
        (
            request.method,
            request.path,
            canonical_query(request.query.items()),
            headers,
            ";".join(signed_headers),
            content_sha256,
        )
    )
    # What was signed are a header's bytes; latin-1 gives them back, because headers are decoded with it.
    return f"{V3_ALGORITHM}\n{hashlib.sha256(canonical.encode('latin-1')).hexdigest()}"


def sign_v3(secret: str, string_to_sign: str) -> str:
    """Lower-case hex of HMAC-SHA256 with the secret as it is."""
    return hmac.new(secret.encode(), string_to_sign.encode(), hashlib.sha256).hexdigest()


def _read_v1(request: SignedRequest) -> Claim:
    parameters = {**request.query, **request.form}
    if parameters.get("SignatureType"):
        raise invalid("SignatureType", "This server takes signatures with an access key only.")
    for name in ("AccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "SignatureNonce", "Timestamp"):
        if not parameters.get(name):
            raise missing(name)
    if parameters["SignatureMethod"] != "HMAC-SHA1":
        raise _invalid_method()
    if parameters["SignatureVersion"] != "1.0":
        raise invalid("SignatureVersion")
    return Claim(
        version="1.0",
        access_key_id=parameters["AccessKeyId"],
        nonce=parameters["SignatureNonce"],
        signed_at=_signed_at(parameters["Timestamp"]),
        security_token=parameters.get("SecurityToken", ""),
        string_to_sign=string_to_sign_v1(request.method, parameters),
        signature=parameters["Signature"],
    )


def _read_v3(request: SignedRequest) -> Claim:
    algorithm, _, rest = request.header("authorization").partition(" ")
    if algorithm != V3_ALGORITHM:
        raise _invalid_method()
    parts: dict[str, str] = {}
    for item in rest.split(","):
        name, equals, value = item.strip().partition("=")
        if not equals or not value or name in parts:
            raise _incomplete("Authorization is not `Credential=...,SignedHeaders=...,Signature=...`.")
        parts[name] = value
    for name in ("Credential", "SignedHeaders", "Signature"):
        if name not in parts:
            raise _incomplete(f"Authorization has no {name}.")
    for name in V3_MANDATORY_SIGNED:
        if not request.header(name):
            raise missing(name)
    signed_headers = _signed_headers(request, parts["SignedHeaders"])
    content_sha256 = request.header("x-acs-content-sha256")
    if not hmac.compare_digest(hashlib.sha256(request.body).hexdigest().encode(), content_sha256.encode()):
        raise _does_not_match("x-acs-content-sha256 is not the lower-case hex SHA-256 of the body.")
    return Claim(
        version="3",
        access_key_id=parts["Credential"],
        nonce=request.header("x-acs-signature-nonce"),
        signed_at=_signed_at(request.header("x-acs-date")),
        security_token=request.header("x-acs-security-token") or request.header("x-acs-bearer-token"),
        string_to_sign=string_to_sign_v3(request, signed_headers, content_sha256),
        signature=parts["Signature"],
    )


def _signed_headers(request: SignedRequest, text: str) -> list[str]:
    names = text.split(";")
    if len(names) > SIGNED_HEADERS_MAX or len(set(names)) != len(names) or not all(map(_HEADER_NAME.fullmatch, names)):
        raise _incomplete("SignedHeaders is not a list of lower-case header names.")
    for name in V3_MANDATORY_SIGNED:
        if name not in names:
            raise _incomplete(f"{name} is not signed.")
    present = {name for name, _ in request.headers}
    for name in names:
        if name not in present:
            raise _incomplete(f"The signed header {name} is not in the request.")
    return sorted(names)


def _signed_at(text: str) -> float:
    try:
        return parse_time(text)
    except ValueError:
        raise ApiError("InvalidTimeStamp.Format", 400, "Specified time stamp or date value is not well formatted.") from None


def _invalid_method() -> ApiError:
    return ApiError("InvalidSignatureMethod", 400, "Specified signature method is not valid.")


def _incomplete(reason: str) -> ApiError:
    return ApiError("IncompleteSignature", 400, f"The request signature is not complete. {reason}")


def _does_not_match(reason: str) -> ApiError:
    return ApiError("SignatureDoesNotMatch", 400, f"Specified signature is not matched with our calculation. {reason}")
