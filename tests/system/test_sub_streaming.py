"""A sub-streaming domain plays the streams of its main streaming domain with a key of its own, for as long as it is bound."""

from __future__ import annotations

import dataclasses

import pytest

from support.api import REGION, Pair
from support.encoders import TagPush, trickle
from support.flv import FlvTag
from support.players import HttpViewer, RtmpViewer, get
from support.wait import until, within


@pytest.fixture
def sub(pair: Pair) -> Pair:
    """The pair as viewers of a sub-streaming domain see it."""
    name = f"sub-{pair.streaming}"
    pair.api.call("AddLiveDomain", domain_name=name, live_domain_type="liveVideo", region=REGION)
    pair.api.call("AddLiveDomainPlayMapping", play_domain=name, pull_domain=pair.streaming)
    viewed = dataclasses.replace(pair, streaming=name, streaming_key=pair.api.config(name, "aliauth")["auth_key1"])
    viewed.wait_known()
    return viewed


def test_viewers_of_a_sub_streaming_domain_see_the_stream_until_it_is_unbound(
    pair: Pair, sub: Pair, clip: list[FlvTag]
) -> None:
    with TagPush(pair.push_url()) as push:
        push.send(clip[:100])
        pair.wait_online()
        assert get(sub.play_url("flv", key=pair.streaming_key)).status_code == 403, "the main domain's key is another one"
        with (
            HttpViewer(sub.play_url("flv")) as flv,
            RtmpViewer(sub.play_url("rtmp")) as rtmp,
            HttpViewer(pair.play_url("flv")) as main,
            trickle(push, clip[100:]),
        ):
            for viewer in (flv, rtmp, main):
                viewer.wait_frames(5)
            assert get(sub.play_url("hls")).status_code == 200
            sub.api.call("DeleteLiveDomainPlayMapping", play_domain=sub.streaming, pull_domain=pair.streaming)
            within(1, lambda: flv.ended.is_set() and rtmp.ended.is_set(), "viewers of the sub-streaming domain are let go")
            seen = len(main.tags)
            main.wait(lambda tags: len(tags) > seen + 50, "viewers of the main streaming domain go on")
            assert get(sub.play_url("flv")).status_code == 404


def test_stopping_the_sub_stops_nobody_else(pair: Pair, sub: Pair, clip: list[FlvTag]) -> None:
    with TagPush(pair.push_url()) as push, trickle(push, clip):
        pair.wait_online()
        with HttpViewer(sub.play_url("flv")) as viewer, HttpViewer(pair.play_url("flv")) as main:
            viewer.wait_frames(1)
            main.wait_frames(1)
            pair.api.call("StopLiveDomain", domain_name=sub.streaming)
            within(1, lambda: viewer.ended.is_set(), "viewers of the sub-streaming domain are let go")
            until(lambda: get(sub.play_url("flv")).status_code == 403, "the sub-streaming domain refuses")
            seen = len(main.tags)
            main.wait(lambda tags: len(tags) > seen + 20, "viewers of the main streaming domain go on")


def test_deleting_the_main_domain_lets_everybody_go(pair: Pair, sub: Pair, clip: list[FlvTag]) -> None:
    with TagPush(pair.push_url()) as push:
        push.send(clip[:100])
        pair.wait_online()
        with HttpViewer(sub.play_url("flv")) as viewer:
            viewer.wait_frames(1)
            pair.api.call("DeleteLiveDomain", domain_name=pair.streaming)
            within(1, lambda: viewer.ended.is_set(), "viewers are let go")
