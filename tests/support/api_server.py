"""A real server of the API on a free loopback port, in a thread of the test process, with a database of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvicorn

from headwater.cluster.embedded import EmbeddedCluster
from headwater.domains import services
from headwater.domains.accounts import NewAccount
from headwater.openapi.app import create_app
from headwater.openapi.http import BoundedHttp
from headwater.settings import Settings
from headwater.store.database import Actor, Database
from support.databases import prepared

T = TypeVar("T")


class ApiServer:
    """Runs everything on an event loop of its own thread; `do` lets a test act inside, beside the API."""

    def __init__(
        self,
        folder: Path,
        limits_scale: float = 0,
        clock: Callable[[], float] = time.time,
        settings: Settings = Settings(),  # noqa: B008 (frozen)
    ) -> None:
        """limits_scale, clock: of the API; by default without limits on the number of calls."""
        self._folder = folder
        self._settings = msgspec.structs.replace(settings, data_dir=str(folder))
        self._limits_scale = limits_scale
        self._clock = clock
        self._socket = socket.socket(proto=socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen()  # so that the first request waits for the server instead of being refused
        self.endpoint = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._ready.wait(30)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            self.database = await Database.open(
                self._settings.database or prepared(self._folder), key_file=self._folder / "secret.key"
            )
            self.cluster = EmbeddedCluster()
            self.services = services.build(self.database, self.cluster, self._settings)
            self.account = await self.services.accounts.create("first", actor=Actor("test"))
            app = create_app(self.services, self._clock, self._limits_scale)
            self._server = uvicorn.Server(
                uvicorn.Config(app, http=BoundedHttp, log_config=None, lifespan="off", server_header=False)
            )
        finally:
            self._ready.set()
        await self._server.serve(sockets=[self._socket])
        await self.cluster.close()
        await self.database.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def new_account(self, name: str) -> NewAccount:
        return self.do(self.services.accounts.create(name, actor=Actor("test")))

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()
        assert not self._thread.is_alive()
