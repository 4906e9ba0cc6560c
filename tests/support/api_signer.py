"""A signer of API requests of the tests' own, written from the reference and not from the server's code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
import uuid
from collections.abc import Mapping

UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"


def percent(text: str) -> str:
    return "".join(chr(byte) if byte in UNRESERVED else f"%{byte:02X}" for byte in text.encode())


def timestamp(at_s: float | None = None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))


def query_of(parameters: Mapping[str, str]) -> str:
    return "&".join(f"{percent(name)}={percent(parameters[name])}" for name in sorted(parameters, key=str.encode))


def v1_parameters(
    action: str, parameters: Mapping[str, str], key_id: str, secret: str, method: str = "GET", **common: str
) -> dict[str, str]:
    """All parameters of a V1.0 request, signed. `common` replaces common parameters; an empty one is left out."""
    merged = {
        "Action": action,
        "Version": "2016-11-01",
        "AccessKeyId": key_id,
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "SignatureNonce": uuid.uuid4().hex,
        "Timestamp": timestamp(),
        **parameters,
        **common,
    }
    merged = {name: value for name, value in merged.items() if value or name in parameters}
    text = f"{method}&%2F&{percent(query_of(merged))}"
    digest = hmac.new(f"{secret}&".encode(), text.encode(), hashlib.sha1).digest()
    return {**merged, "Signature": base64.b64encode(digest).decode()}


def v3_headers(
    action: str,
    parameters: Mapping[str, str],
    key_id: str,
    secret: str,
    host: str,
    method: str = "POST",
    body: bytes = b"",
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The headers of a V3 request, signed. `extra` adds or replaces headers before signing."""
    headers = {
        "host": host,
        "x-acs-action": action,
        "x-acs-version": "2016-11-01",
        "x-acs-date": timestamp(),
        "x-acs-signature-nonce": uuid.uuid4().hex,
        "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        **(extra or {}),
    }
    names = sorted(headers)
    lines = [method, "/", query_of(parameters)]
    lines += [f"{name}:{headers[name].strip()}" for name in names]
    lines += ["", ";".join(names), headers["x-acs-content-sha256"]]
    text = "ACS3-HMAC-SHA256\n" + hashlib.sha256("\n".join(lines).encode()).hexdigest()
    signature = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = f"ACS3-HMAC-SHA256 Credential={key_id},SignedHeaders={';'.join(names)},Signature={signature}"
    return headers
