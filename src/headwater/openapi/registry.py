"""The register of the operations that work, by name, and what each call of one is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from headwater.domains.services import Services
from headwater.openapi.schema import Request
from headwater.store.database import Actor

Fields = Mapping[str, Any]
"""The fields of a response under their names on the wire, without RequestId."""

RequestT = TypeVar("RequestT", bound=Request)


@dataclass(frozen=True)
class Call:
    """One verified call. account: id of the account whose access key signed it. actor: who stands in the audit log."""

    services: Services
    account: str
    actor: Actor


@dataclass(frozen=True)
class Operation(Generic[RequestT]):
    """A registered operation: the type that its parameters are read as, and the function that carries it out."""

    request_type: type[RequestT]
    run: Callable[[Call, RequestT], Awaitable[Fields]]


OPERATIONS: dict[str, Operation[Any]] = {}
"""Filled by `operation` when the modules of `operations/` are imported."""


def operation(
    request_type: type[RequestT],
) -> Callable[[Callable[[Call, RequestT], Awaitable[Fields]]], Callable[[Call, RequestT], Awaitable[Fields]]]:
    """Register the decorated function as the operation after which the request type is named."""

    def register(run: Callable[[Call, RequestT], Awaitable[Fields]]) -> Callable[[Call, RequestT], Awaitable[Fields]]:
        OPERATIONS[request_type.__name__] = Operation(request_type, run)
        return run

    return register
