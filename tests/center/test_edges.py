"""Edge transcoding in the live center: which jobs run, when they are tried again, and which servers they may reach."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import cast

import msgspec
import pytest

from headwater.access.media_url import INPUT_SCHEMES, parse_media_url
from headwater.access.outgoing import PublicOnly
from headwater.access.plan import Rendition, Video
from headwater.center.department import Center, Standing
from headwater.center.edge.backoff import Backoff
from headwater.center.edge.pull import pull
from headwater.center.edge.spec import EdgeSpec
from headwater.center.edges import Edges
from headwater.center.hosts import BACKOFF_MAX_S, HEALTHY_S
from headwater.store.database import Database
from headwater.store.models import Account, EdgeJob
from support.clock import Clock
from support.databases import prepared
from support.wait import eventually

SMALL = Rendition("*", "small", video=Video(height=120))


class Node:
    """What the department has of the center, and what it asks of it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.node = "here"
        self.jobs: list[Standing] = []
        self.restarted: list[str] = []

    def stand(self, kind: str, jobs: Collection[Standing]) -> None:
        assert kind == "edge"
        self.jobs = list(jobs)

    def restart(self, kind: str, job: str) -> None:
        self.restarted.append(job)

    def names(self) -> list[str]:
        return [job.wanted.id for job in self.jobs]


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    with tempfile.TemporaryDirectory(prefix="hw-") as folder:
        database = await Database.open(prepared(Path(folder)))
        async with database.write() as session:
            session.add(Account(id="1", name="one", created_s=0.0))
        yield Node(database)
        await database.close()


async def keep(node: Node, name: str, *, cluster: str = "here", running: bool = True) -> None:
    async with node.database.write() as session:
        session.add(
            EdgeJob(
                id=name,
                account="1",
                cluster=cluster,
                name=name,
                template="small",
                template_name="small",
                input="rtmp://in.test/live/cam",
                output="rtmp://out.test/live/cam",
                rendition=msgspec.json.encode(SMALL).decode(),
                running=running,
                created_s=0.0,
                changed_s=0.0,
                started_s=1.0,
                stopped_s=None,
            )
        )


async def test_the_jobs_that_are_started_on_this_node_run_whenever_the_center_begins(node: Node) -> None:
    await keep(node, "mine")
    await keep(node, "stopped", running=False)
    await keep(node, "elsewhere", cluster="there")
    for _ in range(2):  # the center, and the one after it
        node.jobs = []
        department = Edges(cast(Center, node))
        await department.start()
        await eventually(node.names, "the jobs are known")
        await department.close()
        assert node.names() == ["mine"]
    spec = msgspec.json.decode(node.jobs[0].wanted.spec, type=EdgeSpec)
    assert spec == EdgeSpec(SMALL, "rtmp://in.test/live/cam", "rtmp://out.test/live/cam")
    assert node.jobs[0].cores > 0


async def test_a_job_that_was_changed_between_two_looks_begins_anew(node: Node) -> None:
    await keep(node, "mine")
    department = Edges(cast(Center, node))
    await department._look()
    async with node.database.write() as session:
        row = await session.get(EdgeJob, "mine")
        assert row is not None
        row.input = "rtmp://in.test/live/other"
    await department._look()
    await department._look()
    assert node.restarted == ["mine"]


def test_a_connection_is_tried_again_with_pauses_that_grow_until_it_has_lasted() -> None:
    clock = Clock()
    backoff = Backoff(clock)
    assert backoff.due()
    assert [backoff.failed() for _ in range(7)] == [0.5, 1, 2, 4, 8, BACKOFF_MAX_S, BACKOFF_MAX_S]
    assert not backoff.due()
    clock.now_s += BACKOFF_MAX_S
    assert backoff.due()
    backoff.connected()
    clock.now_s += HEALTHY_S
    assert backoff.failed() == 0.5


@pytest.mark.parametrize("url", ["rtmp://localhost:1/live/cam", "http://localhost:1/live/cam.flv", "rtmp://127.1:1/live/cam"])
async def test_a_name_that_leads_into_the_operators_network_is_not_connected_to(url: str) -> None:
    found = parse_media_url(url, INPUT_SCHEMES, allow_private=False)
    with pytest.raises(OSError, match="no public address"):
        await anext(pull(found, PublicOnly(allow_private=False)))


def test_what_is_told_of_a_url_has_no_secrets() -> None:
    url = parse_media_url("rtmps://a.test:444/live/stream-key?sign=1234", INPUT_SCHEMES, allow_private=False)
    assert url.masked == "rtmps://a.test:444/live/..."
    assert (url.rtmp_app, url.rtmp_name, url.tc_url) == ("live", "stream-key?sign=1234", "rtmps://a.test:444/live")
    assert url.without_secrets("no stream stream-key, sign=1234 is bad") == "no stream ..., ... is bad"
