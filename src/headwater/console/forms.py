"""Reads the fields of a form that a browser has sent, within bounds."""

from __future__ import annotations

from typing import Literal
from urllib.parse import parse_qsl

from starlette.requests import Request

BODY_MAX_BYTES = 4 * 1024 * 1024
"""A form's bytes: a register of some 50,000 lines pasted as CSV, escaped."""
FIELDS_MAX = 500
"""A page of domains has at most 100 check boxes; nothing else comes near."""


class FormError(Exception):
    """The request holds no form that we read. `status`: what HTTP calls it."""

    def __init__(self, status: Literal[400, 413, 415], message: str) -> None:
        super().__init__(message)
        self.status = status


class Form:
    """The fields in the order in which they came. A field that is absent reads as ""."""

    def __init__(self, fields: list[tuple[str, str]] | None = None) -> None:
        self._fields = fields or []

    def get(self, name: str) -> str:
        """The first field of that name without white space around it."""
        return next((value.strip() for key, value in self._fields if key == name), "")

    def secret(self, name: str) -> str:
        """The first field of that name as it is, for passwords."""
        return next((value for key, value in self._fields if key == name), "")

    def all(self, name: str) -> list[str]:
        """All fields of that name."""
        return [value.strip() for key, value in self._fields if key == name]

    def number(self, name: str) -> int | None:
        """A whole number; None if the field is empty or something else."""
        text = self.get(name)
        return int(text) if text.isascii() and text.isdecimal() and len(text) <= 12 else None


async def read_form(request: Request) -> Form:
    """The form of a request. Raises FormError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/x-www-form-urlencoded", ""):
        raise FormError(415, "forms are sent as application/x-www-form-urlencoded")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX_BYTES:
            raise FormError(413, f"a form has at most {BODY_MAX_BYTES} bytes")
    return parse_form(bytes(body))


def parse_form(body: bytes) -> Form:
    """The form in a body or a query. Raises FormError."""
    try:
        text = body.decode("ascii")
        fields = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise FormError(400, str(error)) from error
    return Form([(name, value.replace("\r\n", "\n").replace("\0", "")) for name, value in fields])
