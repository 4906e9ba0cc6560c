"""The official SDK against the server under test, and a pair of domains that is ready to push to and to play from."""

from __future__ import annotations

import json
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx
from alibabacloud_live20161101 import models
from alibabacloud_live20161101.client import Client
from alibabacloud_tea_openapi.models import Config

from support.server import Account, Server
from support.signing import auth_key
from support.wait import until

REGION = "cn-shanghai"

EXTENSIONS = {"flv": ".flv", "hls": ".m3u8"}


class Refused(Exception):
    """The API's error: `code`, HTTP `status`, `message`."""

    def __init__(self, code: str, status: int, message: str):
        super().__init__(f"{status} {code}: {message}")
        self.code, self.status, self.message = code, status, message


class Api:
    """The SDK's client of one account; every operation is called by its name."""

    def __init__(self, server: Server, account: Account):
        self.account = account
        self.client = Client(
            Config(
                access_key_id=account.access_key_id,
                access_key_secret=account.access_key_secret,
                endpoint=f"127.0.0.1:{server.ports['api']}",
                protocol="http",
                region_id=REGION,
                connect_timeout=5_000,
                read_timeout=10_000,
            )
        )

    def call(self, operation: str, **arguments: object) -> dict[str, Any]:
        """Call e.g. `AddLiveDomain` with the SDK's argument names; the answer as a dict of wire names. Raises Refused."""
        method = re.sub(r"(?<!^)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", operation).lower()
        request = getattr(models, f"{operation}Request")(**arguments)
        try:
            response = getattr(self.client, method)(request)
        except Exception as error:
            code = getattr(error, "code", None)
            if code is None:
                raise
            status = getattr(error, "status_code", None) or (getattr(error, "data", None) or {}).get("statusCode", 0)
            raise Refused(str(code), int(status or 0), str(getattr(error, "message", error))) from error
        answer: dict[str, Any] = response.body.to_map()
        return answer

    def set_config(self, domain: str, function: str, **arguments: object) -> None:
        """BatchSetLiveDomainConfigs for one function of one domain."""
        args = [{"argName": name, "argValue": str(value)} for name, value in arguments.items()]
        functions = json.dumps([{"functionName": function, "functionArgs": args}])
        self.call("BatchSetLiveDomainConfigs", domain_names=domain, functions=functions)

    def config(self, domain: str, function: str) -> dict[str, str]:
        """The arguments of a domain's function; empty if it is not set."""
        answer = self.call("DescribeLiveDomainConfigs", domain_name=domain, function_names=function)
        for config in answer.get("DomainConfigs", {}).get("DomainConfig", []):
            if config["FunctionName"] == function:
                return {arg["ArgName"]: arg["ArgValue"] for arg in config["FunctionArgs"]["FunctionArg"]}
        return {}

    def online(self, streaming_domain: str) -> list[dict[str, Any]]:
        """DescribeLiveStreamsOnlineList."""
        answer = self.call("DescribeLiveStreamsOnlineList", domain_name=streaming_domain)
        listed: list[dict[str, Any]] = answer["OnlineInfo"].get("LiveStreamOnlineInfo", [])
        return listed


@dataclass
class Pair:
    """An ingest domain bound to a streaming domain, and their keys."""

    server: Server
    api: Api
    ingest: str
    streaming: str
    ingest_key: str = ""
    streaming_key: str = ""
    app: str = "live"
    extra: dict[str, str] = field(default_factory=dict)

    def push_url(
        self,
        stream: str = "cam",
        *,
        app: str | None = None,
        scheme: str = "rtmp",
        key: str | None = None,
        timestamp: int | None = None,
        signed: bool = True,
    ) -> str:
        """Where an encoder pushes to, by the server's address."""
        path = f"/{app or self.app}/{stream}"
        query = {"vhost": self.ingest}
        if signed:
            query["auth_key"] = auth_key(path, key or self.ingest_key, timestamp)
        return f"{scheme}://127.0.0.1:{self.server.ports[scheme]}{path}?{urlencode(query)}"

    def play_url(
        self,
        kind: str,
        stream: str = "cam",
        *,
        app: str | None = None,
        scheme: str | None = None,
        key: str | None = None,
        timestamp: int | None = None,
        signed: bool = True,
    ) -> str:
        """Where a viewer plays: kind is `rtmp`, `flv`, `hls` or `ws`; scheme is e.g. `rtmps` or `https`."""
        scheme = scheme or {"rtmp": "rtmp", "ws": "ws"}.get(kind, "http")
        listener = {"ws": "http", "wss": "https"}.get(scheme, scheme)
        path = f"/{app or self.app}/{stream}" + {"rtmp": "", "hls": ".m3u8"}.get(kind, ".flv")
        query = {"vhost": self.streaming}
        if signed:
            query["auth_key"] = auth_key(path, key or self.streaming_key, timestamp)
        return f"{scheme}://127.0.0.1:{self.server.ports[listener]}{path}?{urlencode(query)}"

    def online(self, stream: str = "cam") -> dict[str, Any] | None:
        """The stream's entry in the list of online streams."""
        for entry in self.api.online(self.streaming):
            if entry["StreamName"] == stream and entry["AppName"] == self.app:
                return entry
        return None

    def wait_online(self, stream: str = "cam", timeout_s: float = 15.0) -> dict[str, Any]:
        """The stream's entry in the list of online streams, as soon as it is there."""
        return until(lambda: self.online(stream), f"{stream} online", timeout_s)

    def wait_offline(self, stream: str = "cam", timeout_s: float = 15.0) -> None:
        """Return as soon as the stream is not online any more."""
        until(lambda: self.online(stream) is None, f"{stream} offline", timeout_s)

    def session(self, **arguments: object) -> None:
        """Set how the streaming domain treats its streams (function `headwater_live`)."""
        self.api.set_config(self.streaming, "headwater_live", **arguments)

    def wait_known(self) -> None:
        """Return as soon as the media worker knows the domains: it refuses what is unsigned, and not what is signed."""
        url = self.play_url("flv", "nobody", signed=False)
        until(lambda: "X-Tengine-Error" in httpx.get(url).headers, f"the worker knows {self.streaming}", 5)
        signed = self.play_url("flv", "nobody")
        until(lambda: httpx.get(signed).status_code == 404, f"the worker takes the key of {self.streaming}", 5)


def make_pair(server: Server, api: Api) -> Pair:
    """Two new domains under `.test`, bound to each other, with their keys as the API tells them."""
    name = secrets.token_hex(5)
    pair = Pair(server, api, f"push-{name}.test", f"play-{name}.test")
    for domain, kind in ((pair.ingest, "liveEdge"), (pair.streaming, "liveVideo")):
        api.call("AddLiveDomain", domain_name=domain, live_domain_type=kind, region=REGION)
        until(lambda domain=domain: _status(api, domain) == "online", f"{domain} online", 5)  # type: ignore[misc]
    api.call("AddLiveDomainMapping", push_domain=pair.ingest, pull_domain=pair.streaming)
    pair.ingest_key = api.config(pair.ingest, "aliauth")["auth_key1"]
    pair.streaming_key = api.config(pair.streaming, "aliauth")["auth_key1"]
    pair.wait_known()
    return pair


def _status(api: Api, domain: str) -> str:
    return str(api.call("DescribeLiveDomainDetail", domain_name=domain)["DomainDetail"]["DomainStatus"])


def utc(seconds: float) -> str:
    """Unix seconds as the API writes times."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
