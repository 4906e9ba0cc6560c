"""Viewers begin as far behind the newest picture as their domain's delay says: told by the timestamps of what they get."""

from __future__ import annotations

import pytest

from support.api import Pair
from support.encoders import TagPush
from support.flv import VIDEO, FlvTag
from support.players import HttpViewer, RtmpViewer, Viewer, WebSocketViewer
from support.wait import until

GOP_MS = 1000
"""Of the clip."""


def begins_behind_ms(viewer: Viewer, newest_ms: int) -> int:
    """How far behind the newest tag a viewer's first picture is, once it has them all. It is a key frame."""
    with viewer:
        until(lambda: viewer.tags and viewer.tags[-1].timestamp_ms >= newest_ms, "the newest tag", 5)
        frames = [tag for tag in viewer.tags if tag.kind == VIDEO and tag.is_frame]
        assert frames[0].is_key_frame
        return newest_ms - frames[0].timestamp_ms


@pytest.mark.parametrize(
    ("delays", "rtmp_s", "flv_s"),
    [
        ({}, 0, 0),
        ({"rtmp_delay": 3, "flv_delay": 7}, 3, 7),
        ({"rtmp_level": "long", "flv_level": "short"}, 8, 2),
        ({"flv_delay": 60}, 0, 14),
    ],
    ids=["unset", "seconds", "levels", "longer than the stream"],
)
def test_viewers_begin_with_the_whole_gop_that_is_the_delay_behind(
    pair: Pair, clip: list[FlvTag], delays: dict[str, object], rtmp_s: int, flv_s: int
) -> None:
    if delays:
        pair.api.call("SetLiveStreamDelayConfig", domain_name=pair.streaming, **delays)
    with TagPush(pair.push_url()) as encoder:
        encoder.send(clip)
        pair.wait_online()
        newest_ms = clip[-1].timestamp_ms
        begins_behind_ms(RtmpViewer(pair.play_url("rtmp")), newest_ms)  # so that all has arrived
        for viewer, delay_s in (
            (RtmpViewer(pair.play_url("rtmp")), rtmp_s),
            (HttpViewer(pair.play_url("flv")), flv_s),
            (WebSocketViewer(pair.play_url("ws")), flv_s),
        ):
            behind_ms = begins_behind_ms(viewer, newest_ms)
            assert delay_s * 1000 <= behind_ms <= delay_s * 1000 + GOP_MS + (GOP_MS if flv_s == 14 else 0), viewer.url


def test_a_changed_delay_holds_for_those_who_come_later(pair: Pair, clip: list[FlvTag]) -> None:
    with TagPush(pair.push_url()) as encoder:
        encoder.send(clip)
        pair.wait_online()
        newest_ms = clip[-1].timestamp_ms
        begins_behind_ms(RtmpViewer(pair.play_url("rtmp")), newest_ms)  # so that all has arrived
        assert begins_behind_ms(HttpViewer(pair.play_url("flv")), newest_ms) <= GOP_MS
        pair.api.call("SetLiveStreamDelayConfig", domain_name=pair.streaming, flv_delay=5)
        until(lambda: begins_behind_ms(HttpViewer(pair.play_url("flv")), newest_ms) >= 5000, "the new delay", 3)
