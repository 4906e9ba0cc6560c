"""A customer's server on loopback: it notes every callback and answers as a test tells it to, badly too."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from support.wait import until


@dataclass(frozen=True)
class Called:
    """One request as it came. target: path and query; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Behave = Callable[["Handler"], object]


class CallbackServer:
    """Answers 200 with `ok`, unless `answers` says otherwise for a path: statuses, one for each call, the last for all further
    ones. `behaves` replaces the answer altogether.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.called: list[Called] = []
        self.answers: dict[str, list[int]] = {}
        self.behaves: dict[str, Behave] = {}
        self.ended = threading.Event()
        self._server = _Server((address, 0), Handler)
        self._server.owner = self
        self._host = address
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def url(self, path: str) -> str:
        return f"http://{self._host}:{self._server.server_address[1]}{path}"

    def at(self, path: str) -> list[Called]:
        """What came to a path so far."""
        return [call for call in self.called if call.path == path]

    def wait(self, path: str, count: int, timeout_s: float = 20.0) -> list[Called]:
        """The calls to a path, once there are so many."""
        return until(lambda: calls if len(calls := self.at(path)) >= count else None, f"{count} callbacks at {path}", timeout_s)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    owner: CallbackServer


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection; HTTP/1.1, so that connections are kept as customers' servers keep them."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        owner = self.server.owner
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Called(self.command, self.path, headers, body)
        owner.called.append(call)
        behave = owner.behaves.get(call.path)
        try:
            if behave is not None:
                self.close_connection = True
                behave(self)
                return
            statuses = owner.answers.get(call.path, [200])
            status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        """Say nothing."""
