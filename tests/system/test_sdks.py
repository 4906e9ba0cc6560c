"""Both official SDKs run the seed's whole procedure: add, bind, push, list, forbid, resume, delete."""

from __future__ import annotations

import base64
import hmac
import importlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import httpx
import pytest
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient

from support.api import REGION, Api, Pair, Refused, utc
from support.encoders import TagPush, trickle
from support.flv import FlvTag
from support.players import get, watch
from support.rtmp import Status
from support.server import Server
from support.wait import until, within

Call = Callable[..., dict[str, Any]]


class Classic:
    """The classic SDK (aliyun-python-sdk-live, HMAC-SHA1) with the face of the current one."""

    def __init__(self, server: Server, current: Api):
        self._port = server.ports["api"]
        account = current.account
        self._client = AcsClient(account.access_key_id, account.access_key_secret, REGION, auto_retry=False, timeout=10)

    def call(self, operation: str, **arguments: object) -> dict[str, Any]:
        """Call an operation; its answer as a dict of wire names. Raises Refused."""
        module = importlib.import_module(f"aliyunsdklive.request.v20161101.{operation}Request")
        request = getattr(module, f"{operation}Request")()
        request.set_endpoint(f"127.0.0.1:{self._port}")
        request.set_protocol_type("http")
        for name, value in arguments.items():
            wire = "".join(part.capitalize() for part in name.split("_"))
            getattr(request, f"set_{wire}")(value)
        try:
            answer: dict[str, Any] = json.loads(self._client.do_action_with_exception(request))
        except ServerException as error:
            raise Refused(error.get_error_code(), error.get_http_status(), error.get_error_msg()) from error
        return answer


@pytest.fixture(params=["current", "classic"])
def call(request: pytest.FixtureRequest, server: Server, api: Api) -> Call:
    """One of the two SDKs, called by an operation's name."""
    return api.call if request.param == "current" else Classic(server, api).call


def test_the_whole_procedure(call: Call, server: Server, api: Api, clip: list[FlvTag]) -> None:
    name = secrets.token_hex(5)
    pair = Pair(server, api, f"push-{name}.test", f"play-{name}.test")

    # Add two domains; a second time they exist already.
    for domain, kind in ((pair.ingest, "liveEdge"), (pair.streaming, "liveVideo")):
        assert call("AddLiveDomain", domain_name=domain, live_domain_type=kind, region=REGION)["RequestId"]
        with pytest.raises(Refused) as refused:
            call("AddLiveDomain", domain_name=domain, live_domain_type=kind, region=REGION)
        assert (refused.value.code, refused.value.status) == ("DomainAlreadyExist", 400)
    listed = call("DescribeLiveUserDomains", domain_name=name)
    entries = {entry["DomainName"]: entry for entry in listed["Domains"]["PageData"]}
    assert {domain: entry["LiveDomainType"] for domain, entry in entries.items()} == {
        pair.ingest: "liveEdge",
        pair.streaming: "liveVideo",
    }
    detail = call("DescribeLiveDomainDetail", domain_name=pair.streaming)["DomainDetail"]
    assert detail["Region"] == REGION
    assert detail["DomainStatus"] == "online"
    assert detail["Cname"].startswith(pair.streaming + ".")

    # Bind them; the other way round they are of the wrong type.
    with pytest.raises(Refused) as refused:
        call("AddLiveDomainMapping", push_domain=pair.streaming, pull_domain=pair.ingest)
    assert refused.value.code == "InvalidPushDomain"
    call("AddLiveDomainMapping", push_domain=pair.ingest, pull_domain=pair.streaming)
    models = call("DescribeLiveDomainMapping", domain_name=pair.streaming)["LiveDomainModels"]["LiveDomainModel"]
    assert {"DomainName": pair.ingest, "Type": "publish"} in models

    # Their keys, for signed URLs.
    def key(domain: str) -> str:
        answer = call("DescribeLiveDomainConfigs", domain_name=domain, function_names="aliauth")
        (config,) = answer["DomainConfigs"]["DomainConfig"]
        arguments = {arg["ArgName"]: arg["ArgValue"] for arg in config["FunctionArgs"]["FunctionArg"]}
        assert arguments["auth_type"] == "type_a"
        return str(arguments["auth_key1"])

    pair.ingest_key, pair.streaming_key = key(pair.ingest), key(pair.streaming)
    pair.wait_known()

    # Push, list, play.
    with TagPush(pair.push_url()) as push, trickle(push, clip):
        entry = until(lambda: _online(call, pair), "online", 5)
        assert entry["PublishUrl"].startswith(f"rtmp://{pair.ingest}/live/cam") or "/live/cam" in entry["PublishUrl"]
        watch(pair.play_url("flv"), frames=10).check()

        # Forbid: the push is cut within a second and stays refused.
        stream = {"app_name": "live", "stream_name": "cam", "live_stream_type": "publisher"}
        call("ForbidLiveStream", domain_name=pair.ingest, **stream)
        within(1.0, lambda: get(pair.play_url("flv")).status_code != 200, "nobody can play")
        until(lambda: _online(call, pair) is None, "offline", 2)
    with pytest.raises(Status, match="forbidden"), TagPush(pair.push_url()):
        pass
    blocked = call("DescribeLiveStreamsBlockList", domain_name=pair.streaming)
    assert blocked["StreamUrls"]["StreamUrl"] == [f"{pair.streaming}/live/cam"]

    # Resume: it may push again.
    call("ResumeLiveStream", domain_name=pair.ingest, **stream)
    again = until(lambda: _try_push(pair), "the push is accepted", 2)
    with again, trickle(again, clip):
        until(lambda: _online(call, pair), "online again", 5)
    published = call(
        "DescribeLiveStreamsPublishList",
        domain_name=pair.streaming,
        start_time=utc(time.time() - 3600),
        end_time=utc(time.time() + 60),
    )
    assert published["TotalNum"] >= 2
    assert {entry["StreamName"] for entry in published["PublishInfo"]["LiveStreamPublishInfo"]} == {"cam"}

    # Delete.
    call("DeleteLiveDomainMapping", push_domain=pair.ingest, pull_domain=pair.streaming)
    for domain in (pair.ingest, pair.streaming):
        call("StopLiveDomain", domain_name=domain)
        call("DeleteLiveDomain", domain_name=domain)
        with pytest.raises(Refused) as refused:
            call("DescribeLiveDomainDetail", domain_name=domain)
        assert (refused.value.code, refused.value.status) == ("InvalidDomain.NotFound", 404)


def _online(call: Call, pair: Pair) -> dict[str, Any] | None:
    answer = call("DescribeLiveStreamsOnlineList", domain_name=pair.streaming)
    entries: list[dict[str, Any]] = answer["OnlineInfo"]["LiveStreamOnlineInfo"]
    return entries[0] if entries else None


def _try_push(pair: Pair) -> TagPush | None:
    try:
        return TagPush(pair.push_url())
    except Status:
        return None


def test_old_clients_can_have_xml(server: Server, api: Api) -> None:
    # No SDK for Python asks for it any more, so the request is signed here (control-plane 1.3).
    query = {
        "Action": "DescribeLiveUserDomains",
        "Version": "2016-11-01",
        "Format": "XML",
        "AccessKeyId": api.account.access_key_id,
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "SignatureNonce": secrets.token_hex(16),
        "Timestamp": utc(time.time()),
    }
    canonical = "&".join(f"{quote(name, safe='~')}={quote(query[name], safe='~')}" for name in sorted(query))
    to_sign = f"GET&%2F&{quote(canonical, safe='~')}"
    digest = hmac.new(f"{api.account.access_key_secret}&".encode(), to_sign.encode(), "sha1").digest()
    query["Signature"] = base64.b64encode(digest).decode()
    answer = httpx.get(f"http://127.0.0.1:{server.ports['api']}/", params=query)
    assert answer.status_code == 200, answer.text
    assert "xml" in answer.headers["content-type"]
    root = ElementTree.fromstring(answer.text)
    assert root.tag == "DescribeLiveUserDomainsResponse"
    assert root.findtext("RequestId")
    # Sent again it is a replay.
    again = httpx.get(f"http://127.0.0.1:{server.ports['api']}/", params=query)
    assert again.status_code == 400
    assert ElementTree.fromstring(again.text).findtext("Code") == "SignatureNonceUsed"


def test_a_wrong_secret_is_refused(server: Server, api: Api) -> None:
    stranger = Api(server, replace(api.account, access_key_secret="x" * 30))
    for call in (stranger.call, Classic(server, stranger).call):
        with pytest.raises(Refused) as refused:
            call("DescribeLiveUserDomains")
        # The classic SDK gives this code another name, once it has seen that the strings to sign are the same.
        assert refused.value.code in ("SignatureDoesNotMatch", "InvalidAccessKeySecret")


def test_an_unknown_key_is_refused(server: Server, api: Api) -> None:
    stranger = Api(server, replace(api.account, access_key_id="LTAInobody"))
    for call in (stranger.call, Classic(server, stranger).call):
        with pytest.raises(Refused) as refused:
            call("DescribeLiveUserDomains")
        assert refused.value.code == "InvalidAccessKeyId.NotFound"


def test_accounts_do_not_see_each_other(server: Server, live: Pair) -> None:
    other = Api(server, server.account())
    assert other.call("DescribeLiveUserDomains")["TotalCount"] == 0
    with pytest.raises(Refused) as refused:
        other.call("DescribeLiveDomainDetail", domain_name=live.streaming)
    assert refused.value.code == "InvalidDomain.NotFound"
    with pytest.raises(Refused):
        other.call(
            "ForbidLiveStream", domain_name=live.ingest, app_name="live", stream_name="cam", live_stream_type="publisher"
        )
    assert live.online() is not None


def test_what_is_not_built_says_so(api: Api) -> None:
    with pytest.raises(Refused) as refused:
        api.call("DescribeCasters")
    assert (refused.value.code, refused.value.status) == ("NotImplemented", 501)


def test_unknown_functions_are_kept_word_for_word(pair: Pair) -> None:
    pair.api.set_config(pair.streaming, "nobody_knows", key="X-Whatever", value="Ünïcode, and = signs")
    assert pair.api.config(pair.streaming, "nobody_knows") == {"key": "X-Whatever", "value": "Ünïcode, and = signs"}
    pair.api.call("BatchDeleteLiveDomainConfigs", domain_names=pair.streaming, function_names="nobody_knows")
    assert pair.api.config(pair.streaming, "nobody_knows") == {}


def test_the_list_can_be_narrowed_and_paged(live: Pair) -> None:
    def listed(**arguments: object) -> dict[str, Any]:
        return live.api.call("DescribeLiveStreamsOnlineList", domain_name=live.streaming, **arguments)

    assert listed(stream_name="cam", query_type="strict")["TotalNum"] == 1
    assert listed(stream_name="ca", query_type="strict")["TotalNum"] == 0
    assert listed(stream_name="ca")["TotalNum"] == 1
    assert listed(app_name="elsewhere")["TotalNum"] == 0
    assert listed(page_num=2, page_size=1)["OnlineInfo"]["LiveStreamOnlineInfo"] == []
