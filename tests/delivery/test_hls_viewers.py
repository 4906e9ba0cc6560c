"""An HLS viewer is one play, from its first playlist to its silence, whichever workers it asks."""

from __future__ import annotations

import pytest
import structlog
from structlog.testing import capture_logs

from headwater.delivery import hls_viewers
from headwater.delivery.hls_viewers import VIEWER_GONE_S, HlsViewers, Play, viewer_id

PLAY = Play("play.test/live/cam", "192.0.2.1")


@pytest.fixture(autouse=True)
def _plain_logs() -> None:
    structlog.reset_defaults()


def test_a_viewer_is_whoever_asks_for_one_playlist_with_one_signature_from_one_place() -> None:
    one = ("play.test", "/live/cam.m3u8", "key", "192.0.2.1", "player")
    ids = {viewer_id(*(part + "x" * (index == at) for index, part in enumerate(one))) for at in range(5)}
    assert len({viewer_id(*one), *ids}) == 6
    assert viewer_id(*one) == viewer_id(*one)


def test_a_viewer_is_one_play_in_count_and_log() -> None:
    viewers = HlsViewers(0, 1)
    with capture_logs() as lines:
        for now in (0, 5, 10):
            viewers.saw(7, PLAY, now)
        viewers.sweep(10 + VIEWER_GONE_S - 1)
        assert (len(viewers), viewers.joins) == (1, 1)
        viewers.sweep(10 + VIEWER_GONE_S)
    assert (len(viewers), viewers.joins) == (0, 1)
    started, ended = lines
    assert started == {
        "event": "play started",
        "log_level": "info",
        "session": "0000000000000007",
        "stream": "play.test/live/cam",
        "protocol": "hls",
        "client": "192.0.2.1",
    }
    assert (ended["event"], ended["session"], ended["seconds"]) == ("play ended", "0000000000000007", 10)


def test_a_viewer_of_two_workers_is_counted_and_logged_at_home_alone() -> None:
    home, other = HlsViewers(0, 2), HlsViewers(1, 2)
    with capture_logs() as lines:
        for now in range(0, 60, 10):
            other.saw(4, PLAY, now)
            for index, guests in other.guests().items():
                assert index == 0
                for viewer, play in guests.items():
                    home.heard(viewer, play, now)
            home.sweep(now)
            other.sweep(now)
        assert (len(home), home.joins, len(other), other.joins) == (1, 1, 0, 0)
        assert home.known(4)
        assert other.known(4)
        home.close("the node stops")
        other.close("the node stops")
    assert [(line["event"], line.get("reason")) for line in lines] == [("play started", None), ("play ended", "the node stops")]
    assert not other.guests()


def test_who_may_no_longer_watch_is_gone_at_once() -> None:
    viewers = HlsViewers(0, 1)
    viewers.saw(1, PLAY, 0)
    viewers.refused(2, "unknown")
    with capture_logs() as lines:
        viewers.refused(1, "forbidden")
    assert len(viewers) == 0
    assert [line["reason"] for line in lines] == ["forbidden"]


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hls_viewers, "MAX_VIEWERS", 10)
    viewers = HlsViewers(0, 1)
    for viewer in range(25):
        viewers.saw(viewer, PLAY, viewer)
    assert (len(viewers), viewers.joins) == (10, 25)
    assert not viewers.known(14)
    assert viewers.known(15)
