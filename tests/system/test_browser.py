"""A real browser plays, in pages of another origin, with the libraries that people use."""

from __future__ import annotations

import pytest

from support.api import Pair
from support.browser import Browser
from support.encoders import TagPush
from support.flv import FlvTag

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("kind", ["flv", "ws"])
def test_mpegts_js_plays_flv(live: Pair, browser: Browser, kind: str) -> None:
    browser.play("playFlv", live.play_url(kind))
    assert browser.size() == (160, 90)
    assert browser.sound_bytes() > 0


def test_hls_js_plays_hls(live: Pair, browser: Browser) -> None:
    browser.play("playHls", live.play_url("hls"), seconds=6)  # longer than a segment
    assert browser.size() == (160, 90)
    assert browser.sound_bytes() > 0


def test_hls_js_plays_across_a_restart_of_the_publisher(pair: Pair, browser: Browser, clip: list[FlvTag]) -> None:
    with TagPush(pair.push_url()) as first:
        first.send([tag for tag in clip if tag.timestamp_ms < 11_000])
        pair.wait_online()
        browser.play("playHls", pair.play_url("hls"), seconds=1)
    pair.wait_offline()
    with TagPush(pair.push_url()) as second:
        second.send(clip, shift_ms=500_000)
        begin = float(browser.page.evaluate("video.currentTime"))
        browser.page.wait_for_function(f"() => problems.length || video.currentTime > {begin + 6}", timeout=40_000)
        assert not browser.page.evaluate("problems")


def test_a_refusal_reaches_the_page(live: Pair, browser: Browser) -> None:
    url = live.play_url("flv", signed=False)
    status, reason = browser.page.evaluate(
        "async url => { const answer = await fetch(url); return [answer.status, answer.headers.get('X-Tengine-Error')]; }", url
    )
    assert status == 403
    assert str(reason).startswith("denied by req auth")
