"""A real headless Chromium that plays in pages which the tests serve, from another origin than the streams."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import playwright.sync_api
from playwright.sync_api import Page, sync_playwright

from support.ports import free_port
from support.programs import program

VENDOR = Path(__file__).parents[2] / "src" / "headwater" / "console" / "static" / "vendor"

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)

PAGE = """<!doctype html>
<meta charset="utf-8"><title>player</title><link rel="icon" href="data:,">
<video id="video" muted autoplay playsinline width="320" height="180"></video>
<script src="/hls.js/hls.min.js"></script>
<script src="/mpegts.js/mpegts.js"></script>
<script>
const video = document.getElementById("video");
window.problems = [];
function playHls(url) {
  window.player = new Hls({liveSyncDurationCount: 2});
  player.on(Hls.Events.ERROR, (_, data) => { if (data.fatal) problems.push(data.type + " " + data.details); });
  player.loadSource(url);
  player.attachMedia(video);
}
function playFlv(url) {
  window.player = mpegts.createPlayer({type: "flv", isLive: true, url}, {enableStashBuffer: false});
  player.on(mpegts.Events.ERROR, (kind, detail, info) => problems.push([kind, detail, JSON.stringify(info)].join(" ")));
  player.attachMediaElement(video);
  player.load();
  player.play();
}
</script>
"""


class _Pages(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/":
            super().do_GET()
            return
        body = PAGE.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Browser:
    """One page of Chromium with a video element."""

    def __init__(self, page: Page):
        self.page = page
        self.console: list[str] = []
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.console.append(f"pageerror: {error}"))

    def play(self, function: str, url: str, seconds: float = 2.0, timeout_s: float = 30.0) -> None:
        """Play with `playFlv` or `playHls` until that much time was shown. Raises AssertionError on a fatal error."""
        self.page.evaluate(f"url => {function}(url)", url)
        self._wait("video.videoWidth > 0 && video.currentTime > 0", timeout_s)
        begin = float(self.page.evaluate("video.currentTime"))
        self._wait(f"video.currentTime >= {begin + seconds}", timeout_s)
        decoded = int(self.page.evaluate("video.getVideoPlaybackQuality().totalVideoFrames"))
        assert decoded >= 10 * seconds, f"only {decoded} pictures in {seconds} s"

    def size(self) -> tuple[int, int]:
        """Width and height of the picture."""
        width, height = self.page.evaluate("[video.videoWidth, video.videoHeight]")
        return int(width), int(height)

    def sound_bytes(self) -> int:
        """How many bytes of sound were decoded."""
        return int(self.page.evaluate("video.webkitAudioDecodedByteCount"))

    def _wait(self, condition: str, timeout_s: float) -> None:
        # A wait that ends on problems too, so that a failure says what the player said.
        try:
            self.page.wait_for_function(f"() => problems.length > 0 || ({condition})", timeout=timeout_s * 1000, polling=50)
        except Exception as error:
            raise AssertionError(f"not within {timeout_s} s: {condition}; {self._state()}") from error
        assert not self.page.evaluate("problems"), self._state()

    def _state(self) -> str:
        video = "time: video.currentTime, width: video.videoWidth, ready: video.readyState, error: video.error?.message"
        return f"{self.page.evaluate('({problems, ' + video + '})')} {self.console[-20:]}"


class Chromium:
    """A running Chromium, and a server of the pages that it opens."""

    def __init__(self, process: playwright.sync_api.Browser, pages_url: str) -> None:
        self._process = process
        self._pages_url = pages_url

    @contextlib.contextmanager
    def visitor(self) -> Iterator[Browser]:
        """Somebody new, with nothing kept from others (cookies, cache, storage), on a page that plays."""
        context = self._process.new_context(ignore_https_errors=True)
        try:
            page = context.new_page()
            page.goto(self._pages_url)
            yield Browser(page)
        finally:
            context.close()


@contextlib.contextmanager
def chromium() -> Iterator[Chromium]:
    """A browser for as long as the block lasts."""
    executable = program("chromium")
    port = free_port()
    pages = http.server.ThreadingHTTPServer(("127.0.0.1", port), lambda *args: _Pages(*args, directory=str(VENDOR)))
    pages.daemon_threads = True
    thread = threading.Thread(target=pages.serve_forever, daemon=True)
    thread.start()
    try:
        with sync_playwright() as play:
            process = play.chromium.launch(executable_path=executable, headless=True, args=list(ARGUMENTS))
            try:
                yield Chromium(process, f"http://127.0.0.1:{port}/")
            finally:
                process.close()
    finally:
        pages.shutdown()
        pages.server_close()
        thread.join(5)
