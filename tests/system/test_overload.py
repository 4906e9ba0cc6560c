"""A server that is full tells newcomers to come back later, and those who are there notice nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.api import Api, make_pair
from support.encoders import TagPush, trickle
from support.flv import FlvTag
from support.metrics import total
from support.players import HttpViewer, RtmpViewer, get
from support.rtmp import Status
from support.server import Server, running
from support.wait import until

SETTINGS = {"workers": "1", "overload.viewers.out_mbps": "0.01", "overload.publishers.out_mbps": "0.01"}


@pytest.fixture(scope="module")
def tiny() -> Iterator[Server]:
    """A server whose network is said to carry next to nothing."""
    with running(SETTINGS) as server:
        yield server


def refused(server: Server, action: str) -> float:
    return total(server, "headwater_overload_refused_total", action=action, resource="bandwidth")


def test_newcomers_are_refused_and_who_is_here_goes_on(tiny: Server, clip: list[FlvTag]) -> None:
    pair = make_pair(tiny, Api(tiny, tiny.account()))
    hls = pair.play_url("hls")
    with TagPush(pair.push_url()) as push:
        push.send(clip[:100])
        pair.wait_online()
        with trickle(push, clip[100:] * 20), HttpViewer(pair.play_url("flv")) as viewer:
            assert get(hls).status_code == 200
            until(lambda: total(tiny, "headwater_overloaded", action="play") == 1, "the overload", 15)

            answer = get(pair.play_url("flv"))
            assert answer.status_code == 503
            assert 5 <= int(answer.headers["retry-after"]) <= 15
            assert answer.headers["connection"] == "close"
            assert get(hls, **{"User-Agent": "newcomer"}).status_code == 503
            with pytest.raises(Status) as play, RtmpViewer(pair.play_url("rtmp")):
                pass
            assert play.value.code == "NetStream.Play.Failed"
            assert refused(tiny, "play") == 3
            assert tiny.events("play refused", reason="overload", protocol="rtmp")
            assert tiny.events("overloaded: newcomers are refused", action="play", short=["bandwidth"])

            with pytest.raises(Status) as publish, TagPush(pair.push_url("other")):
                pass
            assert publish.value.code == "NetStream.Publish.Failed"
            assert refused(tiny, "publish") == 1

            assert get(hls).status_code == 200, "a viewer who is here is no newcomer"
            viewer.wait_time(viewer.tags[-1].timestamp_ms + 1000)
    with TagPush(pair.push_url()):
        pass  # a publisher who returns to its viewers is no newcomer
    until(lambda: total(tiny, "headwater_overloaded", action="play") == 0, "the end of the overload", 15)
    assert get(pair.play_url("flv", "nobody")).status_code == 404
