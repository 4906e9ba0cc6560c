"""The player page: small, strict about what it loads, and it plays in a real browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import httpx
import pytest

from support.api import Pair
from support.browser import Browser
from support.console_site import Site
from support.wait import until

BYTES_MAX = 300_000
"""Before any media, with the two players in it."""


@pytest.fixture
async def client(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """The application without a server."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site.app), base_url=site.base) as client:
        yield client


async def test_the_page_and_its_files_are_served(client: httpx.AsyncClient) -> None:
    page = await client.get("/player")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    files = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert len(files) == 4
    for file in files:
        assert (await client.get(file)).status_code == 200, file


async def test_nothing_runs_that_is_not_ours(client: httpx.AsyncClient) -> None:
    for path in ("/player", "/static/player.js", "/absent"):
        headers = (await client.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    page = (await client.get("/player")).text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|https?://(?!play\.example\.com)", page)


async def test_the_page_and_its_players_are_small_on_the_wire(client: httpx.AsyncClient) -> None:
    page = await client.get("/player")
    files = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    sizes = [len(page.content)]
    for file in files:
        async with client.stream("GET", file, headers={"accept-encoding": "gzip"}) as response:
            sizes.append(sum([len(chunk) async for chunk in response.aiter_raw()]))
    assert sum(sizes) < BYTES_MAX, sizes


async def test_paths_do_not_lead_out(client: httpx.AsyncClient) -> None:
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/app.py"):
        assert (await client.get(path)).status_code == 404


def state(browser: Browser, url: str) -> str:
    """What the page says of a URL once it is no longer connecting."""
    page = browser.page
    page.fill("#url", url)
    page.click("button")
    until(lambda: page.inner_text("#state") not in ("Connecting…", "Waiting for data…"), "the page says something", 20)
    return page.inner_text("#state")


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["flv", "ws", "hls"])
def test_it_plays(live: Pair, browser: Browser, kind: str) -> None:
    query = urlencode({"url": live.play_url(kind)})
    browser.page.goto(f"http://127.0.0.1:{live.server.ports['console']}/player?{query}")
    # not by wait_for_function: it evaluates strings in the page, which the page's policy forbids
    until(lambda: browser.page.evaluate("document.getElementById('video').currentTime > 1"), "it plays", 30)
    until(lambda: browser.page.inner_text("#picture").startswith("160"), "the page shows the size")
    assert browser.page.inner_text("#state") == "Playing."
    assert not [line for line in browser.console if "Content Security Policy" in line or line.startswith("pageerror")]


@pytest.mark.browser
def test_it_says_in_plain_words_what_is_wrong(live: Pair, browser: Browser) -> None:
    browser.page.goto(f"http://127.0.0.1:{live.server.ports['console']}/player")
    for kind in ("flv", "hls"):
        assert "HTTP 403" in state(browser, live.play_url(kind, signed=False))
        assert "no such stream" in state(browser, live.play_url(kind, stream="absent"))
    assert "before any media came" in state(browser, live.play_url("ws", signed=False))
    assert "cannot be reached" in state(browser, "http://127.0.0.1:8/live/x.flv")
    assert "must end in" in state(browser, "rtmp://127.0.0.1/live/cam")
    assert not [line for line in browser.console if line.startswith("pageerror")]
