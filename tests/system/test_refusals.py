"""Who is refused, with which code and why; over every protocol, for pushes and plays."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import pytest
import websockets.exceptions
import websockets.sync.client

from support.api import REGION, Api, Pair, make_pair
from support.encoders import TagPush, ffmpeg_push, wait_refused
from support.flv import FlvTag
from support.players import HttpViewer, RtmpViewer, get
from support.rtmp import Status
from support.server import Server
from support.signing import auth_key
from support.wait import until

DAY_S = 86_400


def refused_push(url: str) -> Status:
    """The status with which a push is refused."""
    with pytest.raises(Status) as refused, TagPush(url):
        pass
    assert refused.value.level == "error"
    assert refused.value.code == "NetStream.Publish.BadName"
    assert refused.value.description
    return refused.value


def refused_play(url: str) -> Status:
    """The status with which an RTMP play is refused."""
    with pytest.raises(Status) as refused, RtmpViewer(url):
        pass
    assert refused.value.level == "error"
    assert refused.value.code == "NetStream.Play.StreamNotFound"
    assert refused.value.description
    return refused.value


BAD_SIGNATURES: dict[str, tuple[Callable[[Pair], dict[str, object]], str]] = {
    "missing": (lambda _: {"signed": False}, "denied by req auth"),
    "wrong key": (lambda _: {"key": "0123456789abcdef0123456789abcdef"}, "invalid md5hash="),
    "the other domain's key": (lambda _: {}, "invalid md5hash="),
    "expired": (lambda _: {"timestamp": int(time.time()) - 7 * DAY_S}, "expired timestamp="),
}


@pytest.mark.parametrize("name", BAD_SIGNATURES)
def test_pushes_need_a_good_signature(live: Pair, name: str) -> None:
    make, text = BAD_SIGNATURES[name]
    arguments = make(live) or {"key": live.streaming_key}
    url = live.push_url("other", **arguments)  # type: ignore[arg-type]
    assert text in refused_push(url).description
    assert live.online("other") is None


@pytest.mark.parametrize("name", BAD_SIGNATURES)
def test_plays_need_a_good_signature(live: Pair, name: str) -> None:
    make, text = BAD_SIGNATURES[name]
    arguments = make(live) or {"key": live.ingest_key}
    assert text in refused_play(live.play_url("rtmp", **arguments)).description  # type: ignore[arg-type]
    for kind in ("flv", "hls"):
        answer = get(live.play_url(kind, **arguments))  # type: ignore[arg-type]
        assert answer.status_code == 403
        assert text in answer.headers["X-Tengine-Error"]
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        websockets.sync.client.connect(live.play_url("ws", **arguments), proxy=None)  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403
    assert text in refused.value.response.headers["X-Tengine-Error"]


@pytest.mark.parametrize(
    "token", ["", "1", "1-2-3", "a-0-0-" + "0" * 32, "99999999999999999999-0-0-" + "0" * 32, "%00", "-" * 4000]
)
def test_a_malformed_signature_is_only_a_refusal(live: Pair, token: str) -> None:
    url = live.play_url("flv", signed=False) + "&auth_key=" + token
    answer = get(url)
    assert answer.status_code == 403
    assert answer.headers["X-Tengine-Error"].startswith("denied by req auth")
    push = live.push_url("other", signed=False) + "&auth_key=" + token
    assert "denied by req auth" in refused_push(push).description


def test_a_signature_is_good_for_its_own_path_only(live: Pair) -> None:
    flv = auth_key("/live/cam.flv", live.streaming_key)
    url = live.play_url("hls", signed=False) + "&auth_key=" + flv
    assert get(url).status_code == 403


def test_a_rand_and_a_uid_may_be_anything(live: Pair) -> None:
    token = auth_key("/live/cam.flv", live.streaming_key, rand=secrets.token_hex(16), uid="77")
    with HttpViewer(live.play_url("flv", signed=False) + "&auth_key=" + token) as viewer:
        viewer.wait_frames(1)


def test_a_signature_within_its_validity_is_good_and_later_not(live: Pair) -> None:
    delta = int(live.api.config(live.streaming, "aliauth")["ali_auth_delta"])
    with HttpViewer(live.play_url("flv", timestamp=int(time.time()) - delta + 30)) as viewer:
        viewer.wait_frames(1)
    assert get(live.play_url("flv", timestamp=int(time.time()) - delta - 30)).status_code == 403


def test_unknown_streams_are_not_found(live: Pair) -> None:
    for kind in ("flv", "hls"):
        answer = get(live.play_url(kind, "nobody"))
        assert answer.status_code == 404
        assert answer.headers["X-Tengine-Error"]
    refused_play(live.play_url("rtmp", "nobody"))


def test_unknown_domains_are_refused(live: Pair) -> None:
    stranger = Pair(live.server, live.api, "push.stranger.test", "play.stranger.test", "k" * 16, "k" * 16)
    assert "unknown domain" in refused_push(stranger.push_url()).description
    assert "unknown domain" in refused_play(stranger.play_url("rtmp")).description
    for kind in ("flv", "hls"):
        answer = get(stranger.play_url(kind))
        assert answer.status_code in (403, 404)
        assert "unknown domain" in answer.headers["X-Tengine-Error"]


def test_domains_keep_to_their_type(live: Pair) -> None:
    crossed = Pair(live.server, live.api, live.streaming, live.ingest, live.streaming_key, live.ingest_key)
    refused_push(crossed.push_url("other"))
    refused_play(crossed.play_url("rtmp"))
    assert get(crossed.play_url("flv")).status_code == 403


def test_an_unbound_ingest_domain_takes_no_push(server: Server, api: Api) -> None:
    domain = f"push-{secrets.token_hex(5)}.test"
    api.call("AddLiveDomain", domain_name=domain, live_domain_type="liveEdge", region=REGION)
    key = api.config(domain, "aliauth")["auth_key1"]
    pair = Pair(server, api, domain, "", key)
    until(lambda: "unknown domain" not in refused_push(pair.push_url()).description, "the domain is known", 3)
    assert "not bound" in refused_push(pair.push_url()).description


def test_stopped_domains_are_refused_and_started_ones_serve_again(pair: Pair, clip: list[FlvTag]) -> None:
    pair.api.call("StopLiveDomain", domain_name=pair.ingest)
    pair.api.call("StopLiveDomain", domain_name=pair.streaming)
    until(lambda: "offline" in refused_push(pair.push_url()).description, "the push is refused", 3)
    until(lambda: get(pair.play_url("flv")).status_code == 403, "the play is refused", 3)
    assert "offline" in get(pair.play_url("flv")).headers["X-Tengine-Error"]
    assert "offline" in refused_play(pair.play_url("rtmp")).description
    pair.api.call("StartLiveDomain", domain_name=pair.ingest)
    pair.api.call("StartLiveDomain", domain_name=pair.streaming)
    until(lambda: get(pair.play_url("flv")).status_code == 404, "the domain is back", 3)
    with TagPush(pair.push_url()) as push:
        push.send(clip[:50])
        pair.wait_online()
        with HttpViewer(pair.play_url("flv")) as viewer:
            viewer.wait_frames(5)


def test_deleted_domains_are_unknown(server: Server, api: Api) -> None:
    pair = make_pair(server, api)
    api.call("DeleteLiveDomainMapping", push_domain=pair.ingest, pull_domain=pair.streaming)
    for domain in (pair.ingest, pair.streaming):
        api.call("StopLiveDomain", domain_name=domain)
        api.call("DeleteLiveDomain", domain_name=domain)
    until(lambda: "unknown domain" in refused_push(pair.push_url()).description, "the ingest domain is gone", 3)
    answer = until(lambda: _when_unknown(pair), "the streaming domain is gone", 3)
    assert answer in (403, 404)


def _when_unknown(pair: Pair) -> int | None:
    answer = get(pair.play_url("flv"))
    return answer.status_code if "unknown domain" in answer.headers.get("X-Tengine-Error", "") else None


def test_a_forbidden_stream_is_refused_everywhere(pair: Pair) -> None:
    pair.api.call("ForbidLiveStream", domain_name=pair.ingest, app_name="live", stream_name="bad", live_stream_type="publisher")
    until(lambda: "forbidden" in _push_answer(pair, "bad"), "the push is refused", 3)
    answer = get(pair.play_url("flv", "bad"))
    assert answer.status_code in (403, 404)
    assert answer.headers["X-Tengine-Error"]
    with TagPush(pair.push_url("good")):
        pass


def _push_answer(pair: Pair, stream: str) -> str:
    try:
        with TagPush(pair.push_url(stream)):
            return ""
    except Status as status:
        return status.description


@pytest.mark.parametrize("name", ["..", ".hidden", "-dash", "a" * 256, "a%20b", "a*b"])
def test_bad_names_are_refused(live: Pair, name: str) -> None:
    push = f"rtmp://127.0.0.1:{live.server.ports['rtmp']}/live/{name}?vhost={live.ingest}"
    push += "&auth_key=" + auth_key(f"/live/{name}", live.ingest_key)
    refused_push(push)


def test_signing_can_be_switched_off(pair: Pair, clip: list[FlvTag]) -> None:
    for domain in (pair.ingest, pair.streaming):
        pair.api.set_config(domain, "aliauth", auth_type="no_auth")
    until(lambda: get(pair.play_url("flv", signed=False)).status_code == 404, "plays need no signature", 3)
    with TagPush(pair.push_url(signed=False)) as push:
        push.send(clip[:50])
        pair.wait_online()
        with HttpViewer(pair.play_url("flv", signed=False)) as viewer:
            viewer.wait_frames(5)


def test_ffmpeg_is_told_why(live: Pair) -> None:
    with ffmpeg_push(live.push_url("other", key="x" * 16)) as encoder:
        assert "invalid md5hash" in wait_refused(encoder)


def test_every_refusal_stands_in_the_log_with_its_session(live: Pair) -> None:
    name = "s" + secrets.token_hex(5)
    refused_push(live.push_url(name, signed=False))
    get(live.play_url("flv", name, signed=False))
    for event in ("publish refused", "play refused"):
        entry = live.server.wait_log(event, 3, stream=name)
        assert entry["reason"] == "signature_missing"
        assert entry["session"]
