"""A media worker within the test's own process: no ports, only its internal socket, over a store of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from headwater import tls
from headwater.access import presence
from headwater.access.policy import Policy, Session, Signing, encode, policy_key
from headwater.access.presence import StreamPresence, stream_key
from headwater.center.jobs import Source
from headwater.cluster.embedded import EmbeddedCluster
from headwater.live.stream import LiveStream, StreamKey
from headwater.media.tag import AUDIO, VIDEO
from headwater.node.config import WorkerConfig
from headwater.node.worker import Node
from headwater.settings import Limits, Listen, Settings

DOMAIN = "play.test"
KEY = StreamKey(DOMAIN, "live", "cam")
VIDEO_CONFIG, KEY_FRAME, FRAME = b"\x17\x00\x00\x00\x00config", b"\x17\x01\x00\x00\x00k", b"\x27\x01\x00\x00\x00p"
SOUND = b"\xaf\x01a"


class Encoder:
    """A publisher of the hub that writes 25 frames a second, a key frame each second."""

    remote = False
    product = False
    made_of = None

    def __init__(self, worker: Worker, key: StreamKey = KEY) -> None:
        self.id = "encoder"
        self.last_data_at = worker.node.loop.time()
        self.cut_for = ""
        self.stream: LiveStream = worker.node.hub.publish(key, self, Session(), 15, self.last_data_at)
        self.frames = 0
        self.stream.write(VIDEO, 0, VIDEO_CONFIG)

    def write(self, frames: int) -> None:
        for _ in range(frames):
            self.stream.write(VIDEO, self.frames * 40, FRAME if self.frames % 25 else KEY_FRAME)
            self.stream.write(AUDIO, self.frames * 40, SOUND)
            self.frames += 1

    def end(self) -> None:
        self.stream.publisher = None
        self.stream.detach()

    def cut(self, reason: str) -> None:
        self.cut_for = reason

    def replaced(self, reason: str) -> None:
        self.cut(reason)


class Worker:
    """The worker and what the test asks of it."""

    def __init__(self, node: Node, cluster: EmbeddedCluster) -> None:
        self.node = node
        self.cluster = cluster

    def source(self, key: StreamKey = KEY, session: str = "encoder") -> Source:
        """What a job of this stream is told."""
        return Source(*key, session=session, socket=self.node.config.internal_socket)

    async def presence(self, key: StreamKey) -> StreamPresence | None:
        """What is announced of a stream."""
        entry = await self.cluster.get(stream_key(*key))
        return None if entry is None else presence.decode(entry.value)


@contextlib.asynccontextmanager
async def running(
    folder: Path, policy: Policy | None = None, settings: Settings | None = None, http: str = ""
) -> AsyncIterator[Worker]:
    """A worker that knows one streaming domain without URL signing. http: where it listens for that."""
    loop = asyncio.get_running_loop()
    cluster = EmbeddedCluster()
    policy = policy or Policy(DOMAIN, "1", "liveVideo", "online", "cn", streaming_domain=DOMAIN, signing=Signing(enabled=False))
    await cluster.put(policy_key(policy.domain), encode(policy))
    listen = Listen(**{**dict.fromkeys(Listen.__struct_fields__, ""), "http": http})
    settings = msgspec.structs.replace(settings or Settings(limits=Limits(unknown_stream_wait_s=0.1)), listen=listen, drain_s=0)
    certificate, key = tls.certificate(settings.tls, folder / "tls", datetime.datetime.now(datetime.UTC))
    config = WorkerConfig("node", 0, 1, settings, "", str(folder / "worker.sock"), str(certificate), str(key))
    node = Node(config, cluster, loop)
    await node.start()
    try:
        yield Worker(node, cluster)
    finally:
        await node.stop()
        await cluster.close()
