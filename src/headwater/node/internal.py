"""The worker's own door, a Unix socket: the main process asks here for metrics and usage, a person for a census."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

import msgspec

from headwater.node import census
from headwater.observe.families import Family
from headwater.observe.traffic import WorkerUsage
from headwater.protocols.http import HttpError, RequestReader, Response, pack_response


class InternalConnection(asyncio.Protocol):
    """One request and its answer as JSON: `GET /metrics`, `GET /usage`, and `GET /census` for whoever looks for leaks."""

    def __init__(self, families: Callable[[], list[Family]], usage: Callable[[], WorkerUsage]) -> None:
        self._families = families
        self._usage = usage
        self._reader = RequestReader()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The main process has connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by type

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        try:
            requests = self._reader.feed(data)
        except HttpError as error:
            self._transport.write(pack_response(Response(error.status), None, time.time(), keep_alive=False))
            self._transport.close()
            return
        for request in requests:
            match request.path:
                case "/metrics":
                    response = _json(self._families())
                case "/usage":
                    response = _json(self._usage())
                case "/census":
                    response = _json(census.take())
                case _:
                    response = Response(404)
            self._transport.write(pack_response(response, request, time.time(), keep_alive=request.keep_alive))
            if not request.keep_alive:
                self._transport.close()


def _json(answer: object) -> Response:
    return Response(200, (("Content-Type", "application/json"),), msgspec.json.encode(answer))
