"""A live center and a media worker within the test's own process, with departments of the tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headwater.access.plan import Group, Plan, Rendition, encode, plan_key
from headwater.access.policy import Policy
from headwater.access.presence import StreamPresence, stream_key
from headwater.access.presence import encode as encode_presence
from headwater.center.config import CenterConfig
from headwater.center.server import CenterServer
from headwater.cluster.centers import Centers
from headwater.live.stream import LiveStream, StreamKey
from headwater.settings import Center, Limits, Settings
from headwater.store.database import Database
from support.databases import prepared
from support.fake_department import FakeDepartment
from support.media_worker import DOMAIN, KEY, Worker, running
from support.wait import eventually

PRODUCT = StreamKey(DOMAIN, "live", "cam_ld")


class World:
    """A media worker and a center with a department of renditions and one of recordings."""

    def __init__(self, folder: Path, worker: Worker, database: Database) -> None:
        self.worker = worker
        self.renditions = FakeDepartment("transcode", follows_plan=True)
        self.renditions.renditions = True
        self.records = FakeDepartment("record")
        settings = Settings(data_dir=str(folder), center=Center(transcode_cores=50, idle_s=0.2))
        self.center = CenterServer(
            CenterConfig("node", settings, "", str(folder / "center.sock")),
            worker.cluster,
            database,
            asyncio.get_running_loop(),
            (lambda _: self.renditions, lambda _: self.records),
        )
        self.centers = Centers(worker.cluster)

    async def plan(self, *renditions: Rendition, most: int = 0, groups: tuple[Group, ...] = ()) -> None:
        plan = Plan(DOMAIN, "1", "cn", renditions_max=most, renditions=renditions, groups=groups)
        await self.worker.cluster.put(plan_key(DOMAIN), encode(plan))

    async def announce(self, key: StreamKey = KEY) -> None:
        """The encoder of the hub is no session that the worker would announce by itself."""
        presence = StreamPresence(*key, "encoder", "push.test", "rtmp://", 1.0, "::1", "::1", "node", 0)
        await self.worker.cluster.put(stream_key(*key), encode_presence(presence))

    def state(self, kind: str, job: str = "cam") -> str:
        found = self.center.hosts.jobs.get((kind, job))
        return "" if found is None else "waiting" if found.state is None else found.state.state

    async def product(self, key: StreamKey = PRODUCT) -> LiveStream:
        """The rendition, once it is live."""
        return await eventually(lambda: self.worker.node.hub.streams.get(key), f"{key} is live", 20)


@contextlib.asynccontextmanager
async def world(policy: Policy | None = None, wait_s: float = 10.0) -> AsyncIterator[World]:
    """Both, running. wait_s: how long viewers wait for a rendition."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="hw-") as name:
        patch.setenv("PYTHONPATH", f"{Path(__file__).parents[1]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        folder = Path(name)
        database = await Database.open(prepared(folder))
        async with contextlib.AsyncExitStack() as exits:
            exits.push_async_callback(database.close)
            settings = Settings(limits=Limits(unknown_stream_wait_s=0.1), center=Center(wait_s=wait_s))
            worker = await exits.enter_async_context(running(folder, policy, settings))
            world = World(folder, worker, database)
            await world.center.start()
            exits.push_async_callback(world.center.stop)
            yield world
        assert world.records.closed
