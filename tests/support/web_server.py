"""A little web server on loopback that answers what a test tells it to, and knows what it was asked."""

from __future__ import annotations

import http.server
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass
class Page:
    """An answer."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class WebServer:
    """Answers from `pages`: (host without port, path) to a page; anything else is 404. `asked` holds what came."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.pages: dict[tuple[str, str], Page] = {}
        self.asked: list[tuple[str, str]] = []
        self._server = _Server((address, 0), _Handler)
        self._server.web = self
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    web: WebServer


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        asked = (self.headers.get("Host", "").partition(":")[0], self.path)
        self.server.web.asked.append(asked)
        page = self.server.web.pages.get(asked, Page(status=404))
        self.send_response(page.status)
        for name, value in page.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in page.headers:
            self.send_header("Content-Length", str(len(page.body)))
        self.end_headers()
        try:
            self.wfile.write(page.body)
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        """Say nothing."""
