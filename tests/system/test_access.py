"""Who may push and play, by address, region, page, user agent, protocol and the customer's own server; and staging."""

from __future__ import annotations

import http.server
import json
import secrets
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from support.api import Api, Pair, Refused, make_pair
from support.encoders import TagPush
from support.flv import FlvTag
from support.players import HttpViewer, RtmpViewer
from support.ports import free_port
from support.rtmp import RtmpClient, Status
from support.server import Server, running
from support.wait import until

pytestmark = pytest.mark.xdist_group("access")

CHINA, AMERICA, PROXY, STAGING = (f"127.{number}.0.1" for number in (1, 2, 3, 9))
"""Every address of 127.0.0.0/8 is this machine: enough to play clients of the whole world."""

NETWORKS = "network,country\n127.1.0.0/16,CN\n127.2.0.0/16,US\n"

ADMITTED = 404
"""Nobody pushes the stream, so whoever may play it is told that it is not there."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that knows where the addresses of this test are, listens everywhere, and may ask servers on this machine."""
    ports = {name: free_port() for name in ("rtmp", "http")}
    with tempfile.TemporaryDirectory(prefix="hw-") as folder:
        networks = Path(folder) / "networks.csv"
        networks.write_text(NETWORKS)
        settings = {
            "places.networks": str(networks),
            "access.trusted_proxies": f"{PROXY}/32",
            "access.staging_addresses": STAGING,
            "access.private_auth_servers": "true",
            **{f"listen.{name}": f"0.0.0.0:{port}" for name, port in ports.items()},
        }
        with running(settings) as server:
            server.ports.update(ports)
            yield server


@pytest.fixture(scope="module")
def api(server: Server) -> Api:
    """The server's first account."""
    return Api(server, server.account())


def play(
    pair: Pair, kind: str = "flv", *, source: str = "127.0.0.1", at: str = "127.0.0.1", stream: str = "nobody", **headers: str
) -> httpx.Response:
    """One request over HTTP, from one address of this machine to another."""
    url = pair.play_url(kind, stream, scheme="http").replace("127.0.0.1", at, 1)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with httpx.Client(transport=httpx.HTTPTransport(local_address=source), headers=named) as client:
        return client.get(url)


def play_rtmp(pair: Pair, *, source: str = "", at: str = "127.0.0.1", **properties: str) -> str:
    """What an RTMP player is told."""
    url = pair.play_url("rtmp", "nobody").replace("127.0.0.1", at, 1)
    with RtmpClient(url, source=source) as client, pytest.raises(Status) as told:
        client.connect(**properties)
        client.play()
    return told.value.description


def push(pair: Pair, *, source: str = "", stream: str = "cam", **properties: str) -> str:
    """Why a push is refused; "" if it is not."""
    with RtmpClient(pair.push_url(stream), source=source) as client:
        client.connect(**properties)
        try:
            client.publish()
        except Status as status:
            return status.description
        return ""


def takes_effect(pair: Pair, expected: int, **request: str) -> httpx.Response:
    """The answer once it has the expected status."""
    return until(lambda: answer if (answer := play(pair, **request)).status_code == expected else None, f"{expected}", 3)


def _when(url: str, status: int) -> httpx.Response | None:
    answer = httpx.get(url, verify=False)
    return answer if answer.status_code == status else None


def test_a_blocked_address_may_neither_push_nor_play(pair: Pair) -> None:
    for domain in (pair.ingest, pair.streaming):
        pair.api.set_config(domain, "ip_black_list_set", ip_list="127.1.0.0/16, 192.0.2.7,2001:db8::/32")
    answer = takes_effect(pair, 403, source=CHINA)
    assert answer.headers["X-Tengine-Error"].startswith("denied by ip acl")
    assert play(pair, "hls", source=CHINA).status_code == 403
    assert "denied by ip acl" in play_rtmp(pair, source=CHINA)
    assert "denied by ip acl" in push(pair, source=CHINA)
    assert play(pair, source=AMERICA).status_code == ADMITTED
    assert push(pair, source=AMERICA) == ""


def test_an_allow_list_lets_nobody_else_in_and_has_a_status_of_its_own(pair: Pair) -> None:
    pair.api.set_config(pair.streaming, "ip_allow_list_set", ip_list=AMERICA, customize_response_status_code=451)
    takes_effect(pair, 451, source=CHINA)
    assert play(pair, source=AMERICA).status_code == ADMITTED


def test_lists_of_a_kind_exclude_each_other(pair: Pair) -> None:
    pair.api.set_config(pair.streaming, "ip_allow_list_set", ip_list=AMERICA)
    with pytest.raises(Refused) as refused:
        pair.api.set_config(pair.streaming, "ip_black_list_set", ip_list=CHINA)
    assert (refused.value.code, refused.value.status) == ("ConfigConflict", 400)
    assert "ip_allow_list_set" in refused.value.message


def test_only_a_trusted_proxy_says_who_is_behind_it(pair: Pair) -> None:
    pair.api.set_config(pair.streaming, "ip_black_list_set", ip_list=CHINA)
    takes_effect(pair, 403, source=PROXY, x_forwarded_for=f"{AMERICA}, {CHINA}")
    assert play(pair, source=PROXY, x_forwarded_for=f"{CHINA}, {AMERICA}").status_code == ADMITTED
    assert play(pair, source=AMERICA, x_forwarded_for=CHINA).status_code == ADMITTED
    pair.api.set_config(pair.streaming, "ip_black_list_set", ip_list=CHINA, ip_acl_xfwd="all")
    takes_effect(pair, 403, source=PROXY, x_forwarded_for=f"{CHINA}, {AMERICA}")


def test_a_running_session_ends_when_its_address_is_blocked(pair: Pair, clip: list[FlvTag]) -> None:
    with TagPush(pair.push_url()) as encoder:
        encoder.send(clip[:60])
        pair.wait_online()
        with HttpViewer(pair.play_url("flv")) as flv, RtmpViewer(pair.play_url("rtmp")) as rtmp:
            flv.wait_frames(2)
            rtmp.wait_frames(2)
            pair.api.set_config(pair.streaming, "ip_black_list_set", ip_list="127.0.0.1")
            assert flv.ended.wait(3)
            assert rtmp.ended.wait(3)
        pair.api.set_config(pair.ingest, "ip_black_list_set", ip_list="127.0.0.1")
        pair.wait_offline(timeout_s=3)


def test_pages_are_told_apart_by_their_host(pair: Pair) -> None:
    pages = "*.example.com,https://shop.test"
    pair.api.set_config(pair.streaming, "referer_white_list_set", refer_domain_allow_list=pages, allow_empty="off")
    assert takes_effect(pair, 403, referer="https://example.org/").headers["X-Tengine-Error"].startswith("denied by referer")
    for page in ("https://www.example.com/live?x", "http://a.b.EXAMPLE.com:8080/", "https://shop.test/"):
        assert play(pair, referer=page).status_code == ADMITTED, page
    for page in ("", "https://example.com/", "http://shop.test/", "https://example.com.evil.test/", "https://[", "::"):
        assert play(pair, referer=page).status_code == 403, page
    assert "denied by referer" in play_rtmp(pair, pageUrl="https://example.org/")
    assert "no such stream" in play_rtmp(pair, pageUrl="https://www.example.com/")
    assert push(pair) == ""
    with pytest.raises(Refused) as refused:
        pair.api.set_config(pair.ingest, "referer_black_list_set", refer_domain_deny_list="example.org")
    assert refused.value.code == "IllegalOperation"


def test_user_agents_are_matched_whole_whatever_their_case(pair: Pair) -> None:
    for domain in (pair.ingest, pair.streaming):
        pair.api.set_config(domain, "ali_ua", type="black", ua="*curl*|badbot/1.?|evil*")
    takes_effect(pair, 403, user_agent="xCURL/8")
    assert play(pair, user_agent="Evil").status_code == 403
    assert play(pair, user_agent="not evil").status_code == ADMITTED
    assert "denied by user agent" in play_rtmp(pair, flashVer="evil player")
    assert "denied by user agent" in push(pair, flashVer="evil encoder")
    assert push(pair, flashVer="FMLE/3.0") == ""


def test_regions_are_refused_by_domain(pair: Pair) -> None:
    pair.api.set_config(pair.streaming, "headwater_access", regions_denied="AS")
    assert takes_effect(pair, 403, source=CHINA).headers["X-Tengine-Error"].startswith("denied by region")
    assert play(pair, source=AMERICA).status_code == ADMITTED
    assert play(pair, source="127.0.0.1").status_code == ADMITTED
    pair.api.set_config(pair.streaming, "headwater_access", regions_allowed="CN")
    takes_effect(pair, 403, source=AMERICA)
    assert play(pair, source=CHINA).status_code == ADMITTED
    assert play(pair, source="127.0.0.1").status_code == 403


def test_a_stream_is_blocked_by_region_until_it_is_released(pair: Pair) -> None:
    names = {"domain_name": pair.streaming, "app_name": "live"}
    done = pair.api.call("SetLiveStreamBlock", **names, stream_name="nobody", block_type="blacklist", location_list="CN")
    assert (done["Status"], done["Description"]) == ("ok", "ok")
    assert takes_effect(pair, 403, source=CHINA).headers["X-Tengine-Error"].startswith("denied by region")
    assert "denied by region" in play_rtmp(pair, source=CHINA)
    assert play(pair, source=AMERICA).status_code == ADMITTED
    assert play(pair, source=CHINA, stream="other").status_code == ADMITTED
    pair.api.call("SetLiveStreamBlock", **names, stream_name="pushed", block_type="blacklist", location_list="CN")
    assert push(pair, source=CHINA, stream="pushed") == ""
    pair.api.call("SetLiveStreamBlock", **names, stream_name="nobody", block_type="whitelist", location_list="AS")
    takes_effect(pair, 403, source=AMERICA)
    pair.api.call("DeleteLiveStreamBlock", **names, stream_name="nobody")
    takes_effect(pair, ADMITTED, source=AMERICA)


def test_https_is_forced_by_a_redirect(pair: Pair) -> None:
    pair.api.set_config(pair.streaming, "https_force", enable="on")
    answer = takes_effect(pair, 302)
    assert answer.headers["Location"] == str(answer.url).replace("http://", "https://").replace(
        str(pair.server.ports["http"]), str(pair.server.ports["https"])
    )
    url = pair.play_url("flv", "nobody", scheme="https")
    assert httpx.get(url, verify=False).status_code == ADMITTED
    assert "no such stream" in play_rtmp(pair)
    assert play(pair, source=PROXY, x_forwarded_proto="https").status_code == ADMITTED
    pair.api.set_config(pair.streaming, "https_force", enable="off")
    pair.api.set_config(pair.streaming, "http_force", enable="on")
    again = until(lambda: _when(url, 302), "the redirect to HTTP", 3)
    assert again.headers["Location"].startswith("http://")


def test_protocols_and_tls_versions_are_switched_off(pair: Pair) -> None:
    pair.api.set_config(pair.streaming, "headwater_access", protocols_denied="flv,rtmp")
    assert takes_effect(pair, 403).headers["X-Tengine-Error"].startswith("denied by protocol")
    assert "denied by protocol" in play_rtmp(pair)
    assert play(pair, "hls").status_code == ADMITTED
    with RtmpClient(pair.play_url("rtmp", "nobody", scheme="rtmps")) as client, pytest.raises(Status) as told:
        client.connect()
        client.play()
    assert "no such stream" in told.value.description
    pair.api.set_config(pair.streaming, "https_tls_version", tls12="on", tls13="off")
    url = pair.play_url("hls", "nobody", scheme="https")
    answer = until(lambda: _when(url, 403), "TLS 1.3 is off", 3)
    assert "version of TLS" in answer.headers["X-Tengine-Error"]
    pair.api.set_config(pair.streaming, "websocket", enabled="off")
    key = "AAAAAAAAAAAAAAAAAAAAAA=="
    upgrade = {"upgrade": "websocket", "connection": "upgrade", "sec_websocket_version": "13", "sec_websocket_key": key}
    assert until(lambda: play(pair, **upgrade).status_code == 403, "no WebSocket", 3)


def test_answers_carry_the_domains_headers(pair: Pair, clip: list[FlvTag]) -> None:
    header = [{"key": "Access-Control-Allow-Origin", "value": "https://a.test"}, {"key": "Cache-Control", "value": "null"}]
    functions = [
        {"functionName": "set_resp_header", "functionArgs": [{"argName": n, "argValue": v} for n, v in args.items()]}
        for args in header
    ]
    pair.api.call("BatchSetLiveDomainConfigs", domain_names=pair.streaming, functions=json.dumps(functions))
    pair.api.set_config(pair.streaming, "HSTS", enabled="on", https_hsts_max_age=60)
    pair.api.set_config(pair.streaming, "gzip", enable="off")
    pair.api.set_config(pair.streaming, "error_page", error_code=404, rewrite_page="https://a.test/off-air")
    answer = takes_effect(pair, 302)
    assert answer.headers["Location"] == "https://a.test/off-air"
    assert answer.headers["Access-Control-Allow-Origin"] == "https://a.test"
    with TagPush(pair.push_url()) as encoder:
        encoder.send(clip[:120])
        pair.wait_online()
        playlist = httpx.get(pair.play_url("hls", scheme="https"), verify=False)
        assert playlist.headers["Strict-Transport-Security"] == "max-age=60"
        assert "content-encoding" not in playlist.headers
        assert "cache-control" not in playlist.headers
        segment = next(line for line in playlist.text.splitlines() if line and not line.startswith("#"))
        got = httpx.get(str(playlist.url.join(segment)), verify=False)
        assert (got.status_code, got.headers["Access-Control-Allow-Origin"]) == (200, "https://a.test")


# remote authentication


@dataclass
class Question:
    """What the customer's server was asked."""

    method: str
    path: str
    args: dict[str, str]
    headers: dict[str, str]


@dataclass
class AuthServer:
    """The customer's own server. silent: it does not answer until `release` is set."""

    status: int = 200
    silent: bool = False
    asked: list[Question] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    url: str = ""


@pytest.fixture
def auth() -> Iterator[AuthServer]:
    state = AuthServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            parts = urlsplit(self.path)
            args = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.asked.append(Question(self.command, parts.path, args, headers))
            if state.silent:
                state.release.wait(20)
            self.send_response(state.status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"ok")

        do_GET = do_POST = do_HEAD = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state.url = f"http://127.0.0.1:{server.server_address[1]}/auth"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield state
        state.release.set()
        server.shutdown()


def ask(pair: Pair, auth: AuthServer, *domains: str, **more: object) -> None:
    """Switch remote authentication on, and wait until it holds."""
    for domain in domains or (pair.streaming,):
        pair.api.set_config(domain, "cdn_remote_auth", enable="on", remote_auth_addr=auth.url, **more)
    until(lambda: _asked(pair, auth), "the customer's server is asked", 3)
    auth.asked.clear()


def _asked(pair: Pair, auth: AuthServer) -> bool:
    play(pair)
    return bool(auth.asked)


def test_the_customers_server_is_asked_about_every_play(pair: Pair, auth: AuthServer) -> None:
    ask(pair, auth)
    assert play(pair, "flv", referer="https://a.test/", x_extra="1").status_code == ADMITTED
    [question] = auth.asked
    assert (question.method, question.path) == ("GET", "/auth")
    assert question.args["vhost"] == pair.streaming
    assert question.args["auth_key"]
    assert question.headers["x-extra"] == "1"
    assert question.headers["referer"] == "https://a.test/"
    assert {name: question.headers[f"x-live-{name}"] for name in ("action", "domain", "app", "stream", "client")} == {
        "action": "play",
        "domain": pair.streaming,
        "app": "live",
        "stream": "nobody",
        "client": "127.0.0.1",
    }
    auth.status = 403
    answer = play(pair, "hls")
    assert (answer.status_code, answer.headers["X-Tengine-Error"]) == (403, "denied by remote auth: status 403")
    assert "denied by remote auth" in play_rtmp(pair)


def test_the_customers_server_is_asked_about_every_push(pair: Pair, auth: AuthServer) -> None:
    ask(pair, auth, pair.streaming, pair.ingest, remote_auth_method="post")
    assert push(pair) == ""
    assert [(question.method, question.headers["x-live-action"]) for question in auth.asked] == [("POST", "publish")]
    auth.status = 403
    assert "denied by remote auth" in push(pair, stream="other")


def test_the_question_is_as_the_customer_wants_it(pair: Pair, auth: AuthServer) -> None:
    ask(
        pair,
        auth,
        remote_auth_method="head",
        remote_auth_reserve_args="vhost",
        remote_auth_custom_args="token=$arg_auth_key|vendor=headwater",
        remote_auth_reserve_header="x-one",
        remote_auth_custom_header="X-Uri: $uri|X-Two: 2",
        remote_auth_success_code="204",
        remote_auth_fail_code="401",
        remote_auth_fail_resp_code="410",
    )
    auth.status = 204
    assert play(pair, x_one="1", x_other="1").status_code == ADMITTED
    [question] = auth.asked
    assert question.method == "HEAD"
    assert sorted(question.args) == ["token", "vendor", "vhost"]
    assert (question.headers["x-one"], question.headers["x-uri"], question.headers["x-two"]) == ("1", "/live/nobody.flv", "2")
    assert "x-other" not in question.headers
    auth.status = 401
    assert play(pair).status_code == 410
    auth.status = 500
    assert play(pair).status_code == ADMITTED
    ask(pair, auth, remote_auth_other_code_act="reject")
    assert play(pair).status_code == 403


def test_silence_means_what_the_domain_says_and_holds_up_nobody_else(pair: Pair, auth: AuthServer) -> None:
    other = make_pair(pair.server, pair.api)
    ask(pair, auth, remote_auth_timeout=300)
    auth.silent = True
    waiting = threading.Thread(target=play, args=(pair,))
    waiting.start()
    until(lambda: auth.asked, "the question is asked", 3)
    assert play(other).status_code == ADMITTED
    assert waiting.is_alive()
    waiting.join()
    assert play(pair).status_code == ADMITTED
    assert "no such stream" in play_rtmp(pair)
    auth.silent = False
    ask(pair, auth, remote_auth_timeout=300, remote_auth_timeout_action="reject")
    auth.silent = True
    answer = play(pair)
    assert (answer.status_code, answer.headers["X-Tengine-Error"]) == (403, "denied by remote auth: no answer in time")
    assert "no answer in time" in play_rtmp(pair)


def test_a_viewer_of_hls_is_asked_about_once(pair: Pair, auth: AuthServer, clip: list[FlvTag]) -> None:
    ask(pair, auth)
    with TagPush(pair.push_url()) as encoder:
        encoder.send(clip[:120])
        pair.wait_online()
        url = pair.play_url("hls")
        for _ in range(3):
            assert httpx.get(url).status_code == 200
        assert len(auth.asked) == 1


def test_running_sessions_are_asked_about_when_remote_authentication_begins(
    pair: Pair, auth: AuthServer, clip: list[FlvTag]
) -> None:
    with TagPush(pair.push_url()) as encoder:
        encoder.send(clip[:60])
        pair.wait_online()
        with HttpViewer(pair.play_url("flv")) as viewer:
            viewer.wait_frames(2)
            auth.status = 403
            ask(pair, auth, pair.streaming, pair.ingest)
            assert viewer.ended.wait(3)
        pair.wait_offline(timeout_s=3)


def test_a_viewer_may_wait_for_a_live_stream(pair: Pair, auth: AuthServer, clip: list[FlvTag]) -> None:
    ask(pair, auth)
    with TagPush(pair.push_url()) as encoder:
        encoder.send(clip[:60])
        pair.wait_online()
        for viewer in (HttpViewer(pair.play_url("flv")), RtmpViewer(pair.play_url("rtmp"))):
            with viewer:
                viewer.wait_frames(2)


# staging


def test_staged_functions_hold_for_those_who_come_by_a_staging_address(pair: Pair) -> None:
    functions = json.dumps(
        [{"functionName": "ip_black_list_set", "functionArgs": [{"argName": "ip_list", "argValue": "127.0.0.0/8"}]}]
    )
    pair.api.call("SetLiveDomainStagingConfig", domain_name=pair.streaming, functions=functions)
    takes_effect(pair, 403, at=STAGING)
    assert "denied by ip acl" in play_rtmp(pair, at=STAGING)
    assert play(pair).status_code == ADMITTED
    staged = pair.api.call("DescribeLiveDomainStagingConfig", domain_name=pair.streaming, function_names="ip_black_list_set")[
        "DomainConfigs"
    ]
    assert [(config["FunctionName"], config["Status"]) for config in staged] == [("ip_black_list_set", "testing")]
    pair.api.call("RollbackLiveStagingConfig", domain_name=pair.streaming, function_name="ip_black_list_set")
    takes_effect(pair, ADMITTED, at=STAGING)
    pair.api.call("SetLiveDomainStagingConfig", domain_name=pair.streaming, functions=functions)
    pair.api.call("PublishLiveStagingConfigToProduction", domain_name=pair.streaming, function_name="ip_black_list_set")
    takes_effect(pair, 403)
    assert pair.api.config(pair.streaming, "ip_black_list_set") == {"ip_list": "127.0.0.0/8"}


def test_a_staged_key_is_good_at_a_staging_address_only(pair: Pair) -> None:
    key = secrets.token_hex(16)
    args = [{"argName": name, "argValue": value} for name, value in (("auth_type", "type_a"), ("auth_key1", key))]
    functions = json.dumps([{"functionName": "aliauth", "functionArgs": args}])
    pair.api.call("SetLiveDomainStagingConfig", domain_name=pair.streaming, functions=functions)
    takes_effect(pair, 403, at=STAGING)
    staged = Pair(pair.server, pair.api, pair.ingest, pair.streaming, pair.ingest_key, key)
    assert play(staged, at=STAGING).status_code == ADMITTED
    assert play(staged).status_code == 403
    assert play(pair).status_code == ADMITTED
