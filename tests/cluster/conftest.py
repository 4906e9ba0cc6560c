"""A store with a clock of its own, as itself and through the Unix socket: both keep the same promises."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from headwater.cluster.client import RemoteCluster
from headwater.cluster.embedded import EmbeddedCluster
from headwater.cluster.interface import Cluster
from headwater.cluster.server import ClusterServer, serve
from support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(clock: Clock) -> AsyncIterator[EmbeddedCluster]:
    store = EmbeddedCluster(clock)
    yield store
    await store.close()


@pytest.fixture
def socket_path() -> Iterator[str]:
    # Not tmp_path: the path of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="hw-") as folder:
        yield str(Path(folder) / "cluster.sock")


@pytest.fixture
async def server(store: EmbeddedCluster, socket_path: str) -> AsyncIterator[ClusterServer]:
    server = await serve(store, socket_path)
    yield server
    await server.close()


@pytest.fixture
async def remote(server: ClusterServer, socket_path: str) -> AsyncIterator[RemoteCluster]:
    remote = await RemoteCluster.connect(socket_path)
    yield remote
    await remote.close()


@pytest.fixture(params=["embedded", "remote"])
async def cluster(request: pytest.FixtureRequest, store: EmbeddedCluster, socket_path: str) -> AsyncIterator[Cluster]:
    """The interface, by either implementation, on top of `store`."""
    if request.param == "embedded":
        yield store
        return
    server = await serve(store, socket_path)
    remote = await RemoteCluster.connect(socket_path)
    yield remote
    await remote.close()
    await server.close()
