"""What the API answers to requests that it refuses, from the plausible to the absurd: always a well-formed error."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update
from starlette.types import Message
from structlog.testing import capture_logs

from headwater.openapi import app as app_module
from headwater.openapi import http as http_module
from headwater.openapi.app import create_app
from headwater.openapi.catalog import catalog
from headwater.openapi.envelope import BODY_MAX_BYTES, QUERY_MAX_BYTES
from headwater.openapi.http import HEAD_MAX_BYTES, URL_MAX_BYTES
from headwater.openapi.operations import OPERATIONS
from headwater.store.models import AccessKey
from support.api_server import ApiServer
from support.api_signer import timestamp, v1_parameters, v3_headers

ACTION = "DescribeLiveUserDomains"
REQUEST_ID = re.compile("[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def http(api_server: ApiServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{api_server.endpoint}") as client:
        yield client


@pytest.fixture(scope="module")
def key(api_server: ApiServer) -> tuple[str, str]:
    return api_server.account.access_key_id, api_server.account.access_key_secret


def error_of(response: httpx.Response) -> tuple[str, int]:
    """The code and the status, after a look at the form of the whole answer."""
    if response.headers["content-type"] == "text/xml;charset=utf-8":
        root = ElementTree.fromstring(response.content)
        assert root.tag == "Error"
        fields = {child.tag: child.text or "" for child in root}
    else:
        assert response.headers["content-type"] == "application/json;charset=utf-8"
        fields = response.json()
    assert set(fields) == {"RequestId", "HostId", "Code", "Message", "Recommend"}
    assert REQUEST_ID.fullmatch(fields["RequestId"])
    assert fields["Message"]
    return fields["Code"], response.status_code


def raw(api_server: ApiServer, request_line: bytes) -> bytes:
    """What a request gets that no HTTP client would send."""
    host, port = api_server.endpoint.split(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


def v1(http: httpx.Client, key: tuple[str, str], action: str = ACTION, **parameters: str) -> httpx.Response:
    return http.get("/", params=v1_parameters(action, parameters, *key))


def v3(http: httpx.Client, key: tuple[str, str], extra: dict[str, str] | None = None) -> httpx.Response:
    host = http.base_url.netloc.decode()
    return http.post("/", headers=v3_headers(ACTION, {}, *key, host=host, extra=extra))


def test_a_signed_request_is_answered(http: httpx.Client, key: tuple[str, str]) -> None:
    assert v3(http, key).json()["TotalCount"] == 0
    response = v1(http, key)
    assert response.headers["content-type"] == "text/xml;charset=utf-8"
    assert ElementTree.fromstring(response.content).findtext("TotalCount") == "0"
    assert v1(http, key, Format="JSON").json()["TotalCount"] == 0
    assert v1(http, key, Format="json").json()["TotalCount"] == 0
    body = v1_parameters(ACTION, {"Format": "JSON"}, *key, method="POST")
    assert http.post("/", data=body).json()["TotalCount"] == 0
    half = dict(list(body.items())[:5])
    assert error_of(http.post("/", params=half, data=body)) == ("InvalidParameter", 400)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_not_supported(http: httpx.Client, method: str) -> None:
    if method == "BREW":  # not a method at all: the HTTP parser itself may refuse it
        assert http.request(method, "/").status_code == 400
        return
    assert error_of(http.request(method, "/")) == ("UnsupportedHTTPMethod", 400)


def test_head_gets_the_status_and_no_body(http: httpx.Client) -> None:
    response = http.head("/")
    assert (response.status_code, response.content) == (400, b"")


@pytest.mark.parametrize("path", ["/x", "/index.html", "/%2e%2e/etc/passwd", "/%00", "/%ff", "/?/x", "/a?Format=XML"])
def test_there_is_one_path(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    expected = ("MissingAction", 400) if path.startswith("/?") else ("InvalidApi.NotFound", 404)
    assert error_of(response) == expected


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", ("MissingAction", 400)),
        ("Action=", ("MissingAction", 400)),
        (f"Action={ACTION}", ("MissingVersion", 400)),
        (f"Action={ACTION}&Version=2015-01-01", ("NoSuchVersion", 400)),
        ("Action=DescribeWeather&Version=2016-11-01", ("InvalidApi.NotFound", 404)),
        ("Action=describeliveuserdomains&Version=2016-11-01", ("InvalidApi.NotFound", 404)),
        (f"Action={ACTION}&Version=2016-11-01", ("MissingAccessKeyId", 400)),
        (f"Action={ACTION}&Version=2016-11-01&Format=HTML", ("InvalidParameter.Format", 400)),
        (f"Action={ACTION}&Action=x&Version=2016-11-01", ("InvalidParameter", 400)),
        ("%zz=%&&&==&%", ("MissingAction", 400)),
        ("Action=%ff", ("InvalidParameter", 400)),
    ],
)
def test_what_is_wrong_is_named(http: httpx.Client, query: str, code: tuple[str, int]) -> None:
    assert error_of(http.get(f"/?{query}")) == code


@pytest.mark.parametrize(
    ("common", "code"),
    [
        ({"AccessKeyId": ""}, ("MissingAccessKeyId", 400)),
        ({"AccessKeyId": "nobody"}, ("InvalidAccessKeyId.NotFound", 404)),
        ({"SignatureMethod": "HMAC-MD5"}, ("InvalidSignatureMethod", 400)),
        ({"SignatureVersion": "0.9"}, ("InvalidSignatureVersion", 400)),
        ({"SignatureNonce": ""}, ("MissingSignatureNonce", 400)),
        ({"Timestamp": ""}, ("MissingTimestamp", 400)),
        ({"Timestamp": "now"}, ("InvalidTimeStamp.Format", 400)),
        ({"Timestamp": timestamp(time.time() - 7200)}, ("InvalidTimeStamp.Expired", 400)),
        ({"Timestamp": timestamp(time.time() + 7200)}, ("InvalidTimeStamp.Expired", 400)),
        ({"SecurityToken": "x"}, ("InvalidSecurityToken.MismatchWithAccessKey", 400)),
        ({"Format": "HTML"}, ("InvalidParameter.Format", 400)),
        ({"PageSize": "x"}, ("InvalidPageSize", 400)),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_v1_is_refused_by_part(http: httpx.Client, key: tuple[str, str], common: dict[str, str], code: tuple[str, int]) -> None:
    parameters = v1_parameters(ACTION, {}, *key, **common)
    response = http.get("/", params=parameters)
    assert error_of(response) == code
    if "Format" not in common:
        assert response.headers["content-type"] == "text/xml;charset=utf-8"


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        ({"x-acs-action": "DescribeWeather"}, ("InvalidApi.NotFound", 404)),
        ({"x-acs-version": "2015-01-01"}, ("NoSuchVersion", 400)),
        ({"x-acs-date": "now"}, ("InvalidTimeStamp.Format", 400)),
        ({"x-acs-date": timestamp(time.time() - 7200)}, ("InvalidTimeStamp.Expired", 400)),
        ({"x-acs-content-sha256": "0" * 64}, ("SignatureDoesNotMatch", 400)),
        ({"x-acs-security-token": "x"}, ("InvalidSecurityToken.MismatchWithAccessKey", 400)),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_v3_is_refused_by_part(http: httpx.Client, key: tuple[str, str], extra: dict[str, str], code: tuple[str, int]) -> None:
    response = v3(http, key, extra)
    assert error_of(response) == code
    assert response.headers["content-type"] == "application/json;charset=utf-8"


def test_a_wrong_secret_does_not_match(http: httpx.Client, key: tuple[str, str]) -> None:
    assert error_of(v1(http, (key[0], "wrong"))) == ("SignatureDoesNotMatch", 400)
    assert error_of(v3(http, (key[0], "wrong"))) == ("SignatureDoesNotMatch", 400)


def test_an_access_key_that_is_switched_off_is_refused(http: httpx.Client, api_server: ApiServer) -> None:
    account = api_server.new_account("switched-off")

    async def switch_off() -> None:
        async with api_server.database.write() as session:
            await session.execute(update(AccessKey).where(AccessKey.id == account.access_key_id).values(status="inactive"))

    api_server.do(switch_off())
    own = (account.access_key_id, account.access_key_secret)
    assert error_of(v1(http, own)) == ("InvalidAccessKeyId.Inactive", 400)
    assert error_of(v3(http, own)) == ("InvalidAccessKeyId.Inactive", 400)


def test_a_request_counts_once(http: httpx.Client, key: tuple[str, str]) -> None:
    parameters = v1_parameters(ACTION, {}, *key)
    assert http.get("/", params=parameters).status_code == 200
    assert error_of(http.get("/", params=parameters)) == ("SignatureNonceUsed", 400)
    headers = v3_headers(ACTION, {}, *key, host=http.base_url.netloc.decode())
    assert http.post("/", headers=headers).status_code == 200
    assert error_of(http.post("/", headers=headers)) == ("SignatureNonceUsed", 400)


def test_of_one_request_sent_eight_times_at_once_one_counts(http: httpx.Client, key: tuple[str, str]) -> None:
    parameters = v1_parameters(ACTION, {}, *key)
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: http.get("/", params=parameters), range(8)))
    assert sorted(response.status_code for response in responses) == [200] + [400] * 7


def test_a_refused_signature_does_not_use_up_its_nonce(http: httpx.Client, key: tuple[str, str]) -> None:
    parameters = v1_parameters(ACTION, {}, *key)
    forged = {**parameters, "Signature": "x"}
    assert error_of(http.get("/", params=forged)) == ("SignatureDoesNotMatch", 400)
    assert http.get("/", params=parameters).status_code == 200


def test_the_unsigned_action_header_does_not_choose_the_operation_of_a_v1_request(
    http: httpx.Client, key: tuple[str, str]
) -> None:
    response = http.get("/", params=v1_parameters(ACTION, {}, *key), headers={"x-acs-action": "DeleteLiveDomain"})
    assert response.status_code == 200


@pytest.mark.parametrize("action", ["DescribeLiveDomainLimit", "AddLiveDomain"])
def test_who_is_not_signed_in_learns_nothing_but_names(http: httpx.Client, action: str) -> None:
    assert error_of(http.get(f"/?Action={action}&Version=2016-11-01")) == ("MissingAccessKeyId", 400)


def test_every_operation_that_is_not_built_answers_501(http: httpx.Client, key: tuple[str, str]) -> None:
    for action in sorted(set(catalog()) - set(OPERATIONS))[::40]:
        assert error_of(v1(http, key, action)) == ("NotImplemented", 501)


@pytest.mark.parametrize("name", ["DomainName", "LiveDomainType", "Region"])
def test_a_mandatory_parameter_is_named(http: httpx.Client, key: tuple[str, str], name: str) -> None:
    parameters = {"DomainName": "x.test", "LiveDomainType": "liveEdge", "Region": "cn-shanghai", "Format": "JSON"}
    response = v1(http, key, "AddLiveDomain", **{**parameters, name: ""})
    assert error_of(response) == (f"Missing{name}", 400)
    assert response.json()["Message"] == f"{name} is mandatory for this action."


def test_a_list_of_nothing_but_commas_is_missing(http: httpx.Client, key: tuple[str, str]) -> None:
    response = v1(http, key, "BatchDeleteLiveDomainConfigs", DomainNames=" , ,", FunctionNames="aliauth")
    assert error_of(response) == ("MissingDomainNames", 400)


def test_too_much_is_refused_with_a_readable_answer(api_server: ApiServer, http: httpx.Client) -> None:
    big = b"x" * (BODY_MAX_BYTES + 1)
    assert error_of(http.post("/", content=big, headers=FORM)) == ("RequestTooLarge", 413)
    chunks = iter([b"x" * 65536] * (BODY_MAX_BYTES // 65536 + 1))
    assert error_of(http.post("/", content=chunks, headers=FORM)) == ("RequestTooLarge", 413)
    answer = raw(api_server, b"GET /?a=" + b"x" * QUERY_MAX_BYTES + b" HTTP/1.1")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"Code":"RequestTooLarge"' in answer
    assert error_of(http.get("/?" + "&".join(f"a{n}=" for n in range(1001)))) == ("InvalidParameter", 400)


def test_a_body_of_the_largest_size_is_read(http: httpx.Client) -> None:
    body = b"a=" + b"x" * (BODY_MAX_BYTES - 2)
    assert error_of(http.post("/", content=body, headers=FORM)) == ("MissingAction", 400)


@pytest.mark.parametrize(
    ("wire", "status", "code"),
    [
        (b"GET /?a=" + b"x" * URL_MAX_BYTES + b" HTTP/1.1", 413, "RequestTooLarge"),
        (b"GET /" + b"x" * URL_MAX_BYTES + b" HTTP/1.1", 413, "RequestTooLarge"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * HEAD_MAX_BYTES * 2, 413, "RequestTooLarge"),
        (b"GET / HTTP/1.1" + b"\r\nA: b" * HEAD_MAX_BYTES, 413, "RequestTooLarge"),
        (b"x" * HEAD_MAX_BYTES * 2, 400, "InvalidRequest"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "InvalidRequest"),
        (b"GET / HTTP/1.1\r\nContent-Length: x", 400, "InvalidRequest"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", 400, "InvalidRequest"),
    ],
)
def test_what_is_no_request_gets_an_answer_that_the_sdks_can_read(
    api_server: ApiServer, wire: bytes, status: int, code: str
) -> None:
    with capture_logs() as logs:
        head, _, body = raw(api_server, wire).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"content-type: application/json" in head
    answer = json.loads(body)
    assert answer["Code"] == code
    assert [(line["event"], line["code"], line["request_id"]) for line in logs] == [("api_request", code, answer["RequestId"])]


def test_a_client_that_never_ends_its_head_is_told_and_left(monkeypatch: pytest.MonkeyPatch, api_server: ApiServer) -> None:
    monkeypatch.setattr(http_module, "HEAD_TIMEOUT_S", 0.1)
    host, port = api_server.endpoint.split(":")
    good = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    for sent in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n", good + b"GET / HTTP/1.1\r\n"):
        with socket.create_connection((host, int(port)), 5) as connection:
            connection.sendall(sent)
            answer = b"".join(iter(lambda connection=connection: connection.recv(65536), b""))  # type: ignore[misc]
        assert b"HTTP/1.1 408 " in answer
        assert answer.endswith(b"}")
        assert json.loads(answer[answer.rindex(b"{") :])["Code"] == "RequestTimeout"


@pytest.mark.parametrize(
    "wire", [b"OPTIONS * HTTP/1.1", b"GET // HTTP/1.1", b"GET http://other.test/ HTTP/1.1", b"GET /?\x80\xff=1 HTTP/1.1"]
)
def test_odd_request_lines_do_no_harm(api_server: ApiServer, http: httpx.Client, wire: bytes) -> None:
    answer = raw(api_server, wire)
    assert re.match(rb"HTTP/1.1 4\d\d ", answer)
    assert b"Traceback" not in answer
    assert error_of(http.get("/")) == ("MissingAction", 400)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")), max_size=4),
    st.sampled_from(sorted(OPERATIONS)),
    st.sampled_from(["JSON", "XML"]),
)
def test_any_signed_parameters_get_an_answer(
    http: httpx.Client, key: tuple[str, str], values: dict[str, str], action: str, kind: str
) -> None:
    parameters = {"DomainName": "a.test", "AppName": "live", "StreamName": "x", "LiveStreamType": "publisher"}
    parameters |= {"DomainNames": "a.test", "FunctionNames": "x", "PushDomain": "a.test", "PullDomain": "b.test"}
    parameters |= dict(zip(parameters, values.values(), strict=False)) | {"Format": kind}
    response = v1(http, key, action, **parameters)
    assert response.status_code == 200 or error_of(response)[1] in (400, 403, 404)


def test_the_unforeseen_is_an_internal_error_with_its_traceback_in_the_log(
    http: httpx.Client, key: tuple[str, str], api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(api_server.services.domains, "list_domains", fail)
    with capture_logs() as logs:
        response = v3(http, key)
    assert error_of(response) == ("InternalError", 500)
    assert "fire" not in response.text
    failed, line = logs
    assert (failed["event"], failed["log_level"], failed["exc_info"]) == ("api_failed", "error", True)
    assert failed["request_id"] == line["request_id"] == response.json()["RequestId"]
    assert (line["event"], line["status"], line["code"], line["action"]) == ("api_request", 500, "InternalError", ACTION)


def test_every_request_has_one_line_in_the_log_without_its_secrets(http: httpx.Client, key: tuple[str, str]) -> None:
    with capture_logs() as logs:
        response = v1(http, key, Format="JSON", DomainName="s3cret")
    (line,) = logs
    assert line["request_id"] == response.json()["RequestId"]
    assert (line["status"], line["code"], line["action"], line["access_key_id"]) == (200, "", ACTION, key[0])
    assert "s3cret" not in str(line)
    assert key[1] not in str(line)


async def asgi(api_server: ApiServer, messages: list[Message], hang: bool = False) -> list[Message]:
    """The application without a server: what it sends for the messages that it receives."""
    sent: list[Message] = []
    queue = iter(messages)

    async def receive() -> Message:
        message = next(queue, None)
        if message is None:
            if hang:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}
        return message

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": [], "client": None}
    await create_app(api_server.services)(scope, receive, send)
    return sent


async def test_a_client_that_leaves_while_it_sends_stands_in_the_log(api_server: ApiServer) -> None:
    with capture_logs() as logs:
        await asgi(api_server, [{"type": "http.request", "body": b"a", "more_body": True}])
    assert [(line["event"], line["code"], line["status"]) for line in logs] == [("api_request", "ClientLeft", 499)]


async def test_a_body_that_comes_too_slowly_ends_the_connection(api_server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "BODY_TIMEOUT_S", 0.01)
    start, body = await asgi(api_server, [{"type": "http.request", "body": b"a", "more_body": True}], hang=True)
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]
    assert b'"Code":"RequestTimeout"' in body["body"]


def test_the_api_starts_without_media_code() -> None:
    check = (
        "import sys, headwater.openapi.app; print(sys.modules.keys() & {'av', 'headwater.live.hub', 'headwater.media.codecs'})"
    )
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout.strip() == "set()"
