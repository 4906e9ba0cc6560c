"""A small client of the API, so that the demo sets up its domains as any user would."""

from __future__ import annotations

import datetime
import hashlib
import secrets
from collections.abc import Collection
from typing import Any

import httpx

from headwater.openapi.signature import canonical_query, sign_v3

VERSION = "2016-11-01"


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class ApiClient:
    """Calls operations with the signature ACS3-HMAC-SHA256 (reference control-plane 1.4)."""

    def __init__(self, endpoint: str, access_key_id: str, access_key_secret: str) -> None:
        self._endpoint = endpoint
        self._key_id = access_key_id
        self._secret = access_key_secret
        self._http = httpx.AsyncClient(base_url=f"http://{endpoint}", timeout=10)

    async def __aenter__(self) -> ApiClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def call(self, action: str, *, accept: Collection[str] = (), **parameters: str) -> dict[str, Any]:
        """The answer of an operation. Raises DemoError for an error, unless its code is one of `accept`."""
        query = canonical_query(parameters.items())
        digest = hashlib.sha256(b"").hexdigest()
        headers = {
            "host": self._endpoint,
            "x-acs-action": action,
            "x-acs-content-sha256": digest,
            "x-acs-date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
            "x-acs-signature-nonce": secrets.token_hex(16),
            "x-acs-version": VERSION,
        }
        signed = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = f"POST\n/\n{query}\n{lines}\n{signed}\n{digest}"
        to_sign = "ACS3-HMAC-SHA256\n" + hashlib.sha256(canonical.encode()).hexdigest()
        headers["authorization"] = (
            f"ACS3-HMAC-SHA256 Credential={self._key_id},SignedHeaders={signed},Signature={sign_v3(self._secret, to_sign)}"
        )
        response = await self._http.post(f"/?{query}", headers=headers)
        answer: dict[str, Any] = response.json()
        if response.is_error and answer.get("Code") not in accept:
            raise DemoError(f"{action}: {answer.get('Code')}: {answer.get('Message')}")
        return answer
