"""Typed requests: the parameters of one operation as a struct whose fields carry the names on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from headwater.domains.errors import Code, error
from headwater.domains.rules import parse_time
from headwater.openapi.envelope import unflatten
from headwater.openapi.errors import invalid, missing
from headwater.wording import sentence

PageNumber = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
"""Reference control-plane 2.2, DescribeLiveUserDomains: 1 to 100000."""


class Request(msgspec.Struct, rename="pascal"):
    """The parameters of the operation after which the subclass is named; a field without default is mandatory."""


class Tag(msgspec.Struct, frozen=True, rename="pascal"):
    """One item of a `Tag.N.Key`, `Tag.N.Value` list."""

    key: str
    value: str = ""


T = TypeVar("T", bound=Request)


def read_request(request_type: type[T], parameters: Mapping[str, str]) -> T:
    """Convert the parameters; those that the operation does not know are ignored, an empty one counts as absent.

    Numbers and booleans come as text, booleans in any case. Raises ApiError `Missing<Param>` or `Invalid<Param>`.
    """
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(request_type):
        value = unflatten(parameters, field.encode_name)
        if value is None or value == "":
            if field.required:
                raise missing(field.encode_name)
            continue
        try:
            values[field.name] = msgspec.convert(value, field.type, strict=False)
        except msgspec.ValidationError as error:
            raise invalid(field.encode_name, sentence(error, field.type, always_text=True)) from None
    return request_type(**values)


def read_time(text: str, malformed: Code) -> float:
    """A time as unix seconds. Raises DomainError with this code."""
    try:
        return parse_time(text)
    except ValueError as fault:
        raise error(malformed, f"{fault}.") from None
