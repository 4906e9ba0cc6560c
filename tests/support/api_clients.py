"""The official SDKs, both signatures, behind one call that takes and gives the names on the wire."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from typing import Any, Protocol

from alibabacloud_live20161101 import models
from alibabacloud_live20161101.client import Client
from alibabacloud_tea_openapi.models import Config
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from darabonba.core import DaraCore

REGION = "cn-shanghai"

_classic_clients: list[AcsClient] = []


class Refusal(Exception):
    """What an SDK raised for the API's error."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.code, self.status, self.message = code, status, message


class Caller(Protocol):
    """Calls an operation by its name. Raises Refusal."""

    def __call__(self, operation: str, **parameters: Any) -> dict[str, Any]: ...


def tea(endpoint: str, key_id: str, secret: str, signature_algorithm: str | None = None) -> Caller:
    """The current SDK: V3 (ACS3-HMAC-SHA256), or V1.0 with signature_algorithm `v2`."""
    client = Client(
        Config(
            access_key_id=key_id,
            access_key_secret=secret,
            endpoint=endpoint,
            protocol="http",
            signature_algorithm=signature_algorithm,
        )
    )

    def call(operation: str, **parameters: Any) -> dict[str, Any]:
        method = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        request = getattr(models, f"{operation}Request")().from_map(parameters)
        try:
            answer: dict[str, Any] = getattr(client, method)(request).body.to_map()
        except Exception as error:
            if getattr(error, "code", None) is None:
                raise
            raise Refusal(str(error.code), int(error.status_code), str(error.message)) from error  # type: ignore[attr-defined]
        return answer

    return call


def tea_v2(endpoint: str, key_id: str, secret: str) -> Caller:
    """The current SDK with the older signature."""
    return tea(endpoint, key_id, secret, "v2")


def classic(endpoint: str, key_id: str, secret: str) -> Caller:
    """The classic SDK: V1.0 (HMAC-SHA1)."""
    client = AcsClient(key_id, secret, REGION, auto_retry=False)
    _classic_clients.append(client)

    def call(operation: str, **parameters: Any) -> dict[str, Any]:
        module = importlib.import_module(f"aliyunsdklive.request.v20161101.{operation}Request")
        request = getattr(module, f"{operation}Request")()
        request.set_endpoint(endpoint)
        request.set_protocol_type("http")
        request.set_accept_format("json")
        for name, value in parameters.items():
            setter = getattr(request, f"set_{name}", None) or getattr(request, f"set_{name}s", None)
            if setter is not None:
                setter(value)
            else:  # newer than the SDK
                request.add_query_param(name, value)
        try:
            answer: dict[str, Any] = json.loads(client.do_action_with_exception(request))
        except ServerException as error:
            raise Refusal(error.get_error_code(), error.get_http_status(), error.get_error_msg()) from error
        return answer

    return call


def close_connections() -> None:
    """Close the connections that the SDKs keep alive for the life of the process."""
    for session in [*DaraCore._sessions.values(), *(client.session for client in _classic_clients)]:
        session.close()
    _classic_clients.clear()


CLIENTS: dict[str, Callable[[str, str, str], Caller]] = {"tea-v3": tea, "tea-v2": tea_v2, "classic": classic}
