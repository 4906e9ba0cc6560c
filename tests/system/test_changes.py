"""What is changed through the API reaches the sessions that run, within a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from support.api import Pair, utc
from support.encoders import TagPush, trickle
from support.flv import FlvTag
from support.players import HttpViewer, RtmpViewer, get
from support.wait import until, within

REACHES_WITHIN_S = 1.0


@pytest.fixture
def on_air(pair: Pair, clip: list[FlvTag]) -> Iterator[TagPush]:
    """A running push of the stream `cam`."""
    with TagPush(pair.push_url()) as push:
        push.send(clip[:100])
        pair.wait_online()
        yield push


def forbid(pair: Pair, **more: str) -> None:
    """Forbid the stream `cam`."""
    pair.api.call(
        "ForbidLiveStream", domain_name=pair.ingest, app_name="live", stream_name="cam", live_stream_type="publisher", **more
    )


def change_key(domain: str) -> Callable[[Pair], None]:
    """Give the pair's `ingest` or `streaming` domain another key."""
    return lambda pair: pair.api.set_config(
        getattr(pair, domain), "aliauth", auth_type="type_a", auth_key1="fedcba9876543210fedcba9876543210", ali_auth_delta=1800
    )


ENDS_THE_PUSH: dict[str, Callable[[Pair], object]] = {
    "the stream is forbidden": forbid,
    "the stream is cut once": lambda pair: forbid(pair, oneshot="yes"),
    "the ingest domain is stopped": lambda pair: pair.api.call("StopLiveDomain", domain_name=pair.ingest),
    "the streaming domain is stopped": lambda pair: pair.api.call("StopLiveDomain", domain_name=pair.streaming),
    "the binding is removed": lambda pair: pair.api.call(
        "DeleteLiveDomainMapping", push_domain=pair.ingest, pull_domain=pair.streaming
    ),
    "the ingest domain's key is changed": change_key("ingest"),
}


@pytest.mark.parametrize("change", ENDS_THE_PUSH)
def test_a_push_is_cut(pair: Pair, on_air: TagPush, change: str) -> None:
    ENDS_THE_PUSH[change](pair)
    within(REACHES_WITHIN_S, lambda: _closed(on_air), f"{change}: the push is cut")


def _closed(push: TagPush) -> bool:
    push.client.socket.settimeout(0.02)
    try:
        push.client.read()
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


ENDS_THE_PLAY: dict[str, Callable[[Pair], object]] = {
    "the streaming domain is stopped": lambda pair: pair.api.call("StopLiveDomain", domain_name=pair.streaming),
    "the streaming domain's key is changed": change_key("streaming"),
    "the stream is forbidden": forbid,
}


@pytest.mark.parametrize("change", ENDS_THE_PLAY)
def test_viewers_are_let_go(pair: Pair, on_air: TagPush, change: str) -> None:
    with HttpViewer(pair.play_url("flv")) as flv, RtmpViewer(pair.play_url("rtmp")) as rtmp:
        flv.wait_frames(1)
        rtmp.wait_frames(1)
        ENDS_THE_PLAY[change](pair)
        within(REACHES_WITHIN_S, lambda: flv.ended.is_set() and rtmp.ended.is_set(), f"{change}: viewers are let go")


def test_a_new_key_opens_and_the_old_one_as_secondary_stays_good(pair: Pair, on_air: TagPush, clip: list[FlvTag]) -> None:
    new = "fedcba9876543210fedcba9876543210"
    with HttpViewer(pair.play_url("flv")) as old_viewer, trickle(on_air, clip[100:]):
        old_viewer.wait_frames(1)
        pair.api.set_config(
            pair.streaming, "aliauth", auth_type="type_a", auth_key1=new, auth_key2=pair.streaming_key, ali_auth_delta=1800
        )
        within(REACHES_WITHIN_S, lambda: get(pair.play_url("hls", "nobody", key=new)).status_code == 404, "the new key opens")
        assert get(pair.play_url("hls", "nobody")).status_code == 404
        count = len(old_viewer.tags)
        old_viewer.wait(lambda tags: len(tags) > count + 50, "the old viewer goes on")


def test_a_cut_once_is_no_ban(pair: Pair, on_air: TagPush, clip: list[FlvTag]) -> None:
    forbid(pair, oneshot="yes")
    within(REACHES_WITHIN_S, lambda: _closed(on_air), "the push is cut")
    with TagPush(pair.push_url()) as again:
        again.send(clip[:50])
        pair.wait_online()
    answer = pair.api.call("DescribeLiveStreamsBlockList", domain_name=pair.streaming)
    assert answer["TotalNum"] == 0


def test_a_ban_ends_by_itself(pair: Pair, clip: list[FlvTag]) -> None:
    forbid(pair, resume_time=utc(time.time() + 2))
    until(lambda: not _can_push(pair), "the push is refused", 2)
    until(lambda: _can_push(pair), "the ban is over", 6)


def _can_push(pair: Pair) -> bool:
    try:
        with TagPush(pair.push_url()):
            return True
    except Exception:
        return False


def test_other_streams_are_not_touched(pair: Pair, on_air: TagPush, live: Pair) -> None:
    with HttpViewer(live.play_url("flv")) as neighbour:
        neighbour.wait_frames(5)
        pair.api.call("StopLiveDomain", domain_name=pair.streaming)
        within(REACHES_WITHIN_S, lambda: _closed(on_air), "the push is cut")
        neighbour.wait_frames(60)
