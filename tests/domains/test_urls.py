"""Promises of the ready-to-paste URLs."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec
import pytest

from headwater.access.client import Client
from headwater.access.names import request_domain, split_query
from headwater.access.policy import Policy, Signing
from headwater.access.verdict import Grant, Rules
from headwater.domains.urls import Endpoints, stream_urls

NOW = 1_700_000_000.25
CLIENT = Client("192.0.2.1", "rtmp")
PUSH = Policy("push.test", "1", "liveEdge", "online", "r", streaming_domain="play.test", signing=Signing(keys=("p" * 16,)))
PLAY = Policy(
    "play.test", "1", "liveVideo", "online", "r", streaming_domain="play.test", signing=Signing(keys=("q" * 16, "r" * 16))
)
ALL = Endpoints(None, 1935, 1936, 80, 8443)


def test_urls_name_the_domain_and_leave_out_usual_ports() -> None:
    urls = stream_urls(PUSH, PLAY, "live", "a", ALL, NOW)
    assert urls.push.startswith("rtmp://push.test/live/a?auth_key=1700000001-0-0-")
    assert {name: url.partition("?")[0] for name, url in urls.play.items()} == {
        "rtmp": "rtmp://play.test/live/a",
        "http-flv": "http://play.test/live/a.flv",
        "ws-flv": "ws://play.test/live/a.flv",
        "hls": "http://play.test/live/a.m3u8",
        "rtmps": "rtmps://play.test:1936/live/a",
        "https-flv": "https://play.test:8443/live/a.flv",
        "wss-flv": "wss://play.test:8443/live/a.flv",
        "hls-tls": "https://play.test:8443/live/a.m3u8",
    }
    assert urls.push_expires_s == 1_700_000_001 + 1800


@pytest.mark.parametrize("host", [None, "127.0.0.1", "::1"])
def test_every_url_is_admitted_until_it_expires(host: str | None) -> None:
    rules = Rules()
    rules.set_policy(PUSH)
    rules.set_policy(PLAY)
    urls = stream_urls(PUSH, PLAY, "live", "a", msgspec.structs.replace(ALL, host=host), NOW)
    for url, admit in [(urls.push, rules.admit_publish), *((url, rules.admit_play) for url in urls.play.values())]:
        parts = urlsplit(url)
        assert parts.port is None or parts.port > 0
        _, query = split_query(f"?{parts.query}")
        for now_s in (NOW, NOW + 1800):
            verdict = admit(request_domain(parts.netloc, query), "live", "a", parts.path, query["auth_key"], CLIENT, now_s)
            assert isinstance(verdict, Grant)


def test_obs_gets_server_and_key_apart() -> None:
    urls = stream_urls(PUSH, PLAY, "live", "a", Endpoints("127.0.0.1", 19350), NOW)
    assert urls.obs_server == "rtmp://127.0.0.1:19350/live"
    assert urls.obs_key.startswith("a?vhost=push.test&auth_key=")
    assert f"{urls.obs_server}/{urls.obs_key}" == urls.push


def test_without_signing_there_is_nothing_to_expire() -> None:
    open_push, open_play = (msgspec.structs.replace(policy, signing=Signing(enabled=False)) for policy in (PUSH, PLAY))
    urls = stream_urls(open_push, open_play, "live", "a", Endpoints(), NOW)
    assert urls.push == "rtmp://push.test/live/a"
    assert urls.play["hls"] == "http://play.test/live/a.m3u8"
    assert (urls.push_expires_s, urls.play_expires_s) == (None, None)


def test_only_listeners_that_exist_have_urls() -> None:
    urls = stream_urls(None, PLAY, "live", "a", Endpoints(rtmp=None, http=8080), NOW)
    assert (urls.push, urls.obs_server, urls.obs_key) == ("", "", "")
    assert sorted(urls.play) == ["hls", "http-flv", "ws-flv"]
