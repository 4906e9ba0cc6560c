"""Asks a register of claims that several platforms share, over the operator's API of the Headwater that keeps it."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import httpx
import msgspec
import structlog

from headwater.domains.errors import error
from headwater.settings import SharedClaims

ANSWER_MAX_BYTES = 16 * 1024
"""What is read of an answer, which has a hundred bytes."""

_log = structlog.get_logger(__name__)


class _Answer(msgspec.Struct):
    name: str = ""
    code: str = ""


class _NoAnswer(Exception):
    """The register gave no answer to rely on; the message says what it did instead."""


class SharedRegister:
    """The register that the settings name, if any. Holds nothing between two questions."""

    def __init__(self, settings: SharedClaims) -> None:
        self._settings = settings

    async def check(self, name: str) -> None:
        """Raises DomainAlreadyExist for a name that is held there; ServiceUnavailable if the register does not answer,
        unless the settings allow names to be added all the same.
        """
        if not self._settings.url:
            return
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                held = await self._held(name)
        except (_NoAnswer, TimeoutError) as fault:
            reason = str(fault) or f"It took longer than {self._settings.timeout_s:g} s."
            _log.warning("shared register unanswered", domain=name, reason=reason, required=self._settings.required)
            if self._settings.required:
                detail = "The shared register of names cannot be asked now, and no name is added without it."
                raise error("ServiceUnavailable", detail) from None
            return
        if held:
            raise error("DomainAlreadyExist")

    async def _held(self, name: str) -> bool:
        url = f"{self._settings.url.rstrip('/')}/claims/{quote(name, safe='')}"
        headers = {"authorization": f"Bearer {self._settings.token}", "accept-encoding": "identity"}
        try:
            async with (
                httpx.AsyncClient(timeout=self._settings.timeout_s, headers=headers) as client,
                client.stream("GET", url) as response,
            ):
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > ANSWER_MAX_BYTES:
                        raise _NoAnswer(f"Its answer has more than {ANSWER_MAX_BYTES} bytes.")
        except (httpx.HTTPError, httpx.InvalidURL) as fault:
            raise _NoAnswer(str(fault) or type(fault).__name__) from fault
        try:
            answer = msgspec.json.decode(bytes(body), type=_Answer)
        except msgspec.DecodeError:
            answer = _Answer()
        if response.status_code == 200 and answer.name == name:
            return True
        if response.status_code == 404 and answer.code == "EntityNotExist.Claim":  # any other 404 means a wrong address
            return False
        raise _NoAnswer(f"It answers with HTTP status {response.status_code} {answer.code}".rstrip() + ".")
