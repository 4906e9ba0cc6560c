"""The nodes that are there now, as each announces itself: `node/<id>` in the cluster's store, with a lease."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable
from typing import Literal, get_args

import msgspec
import structlog

from headwater.access.places import Places
from headwater.access.policy import EdgeGroup
from headwater.cluster.interface import Cluster, ClusterError, LeaseEnded
from headwater.settings import Settings

NODE_PREFIX = "node/"

LEASE_S = 5.0
"""A node that is gone for so long is dead: its addresses leave the answers of DNS."""

UPDATE_S = 5.0
"""How often a node's load is taken anew."""

LOAD_STEP = 0.05
"""Loads are told in such steps: smaller changes move nobody to another node, so they need not travel."""

RETRY_S = 0.5
"""How long to wait when the store cannot be reached."""

Role = Literal["control", "dns", "ingest", "center", "edge"]
MEDIA_ROLES: tuple[Role, ...] = ("ingest", "edge")
"""The roles that a node has only while one of its media workers listens."""

log = structlog.get_logger()


class NodePresence(msgspec.Struct, frozen=True, omit_defaults=True):
    """One node. Degrees, north and east positive, None when unknown.

    capacity_mbps: what its network can send. load: the used part of the machine, 0 to 1.
    """

    id: str
    roles: tuple[Role, ...]
    region: str = ""
    latitude: float | None = None
    longitude: float | None = None
    addresses_v4: tuple[str, ...] = ()
    addresses_v6: tuple[str, ...] = ()
    edge_group: EdgeGroup = ""
    capacity_mbps: int = 1000
    load: float = 0.0


def own_presence(node: str, settings: Settings, places: Places) -> NodePresence:
    """This machine as its settings describe it; what they leave out is taken from its first public address."""
    addresses = [ipaddress.ip_address(address) for address in settings.node.addresses]
    if not addresses:
        with contextlib.suppress(ValueError):  # a name: the operator must say the addresses
            addresses.append(ipaddress.ip_address(settings.public_host))
    latitude, longitude = settings.node.latitude, settings.node.longitude
    if (latitude is None or longitude is None) and addresses:
        place = places.find(addresses[0]).place
        latitude, longitude = place.latitude, place.longitude
    return NodePresence(
        id=node,
        roles=tuple(role for role in get_args(Role) if settings.center.enabled or role != "center"),
        region=settings.node.region,
        latitude=latitude,
        longitude=longitude,
        addresses_v4=tuple(str(address) for address in addresses if address.version == 4),
        addresses_v6=tuple(str(address) for address in addresses if address.version == 6),
        edge_group=settings.node.edge_group,
        capacity_mbps=settings.node.capacity_mbps,
    )


def node_key(node: str) -> str:
    """Where a node stands in the cluster's store."""
    return NODE_PREFIX + node


class NodeList:
    """All nodes, as told by the cluster's store. `run` keeps it up to date."""

    def __init__(self, cluster: Cluster, changed: Callable[[], None] = lambda: None) -> None:
        self.nodes: dict[str, NodePresence] = {}
        self._cluster = cluster
        self._changed = changed

    async def run(self) -> None:
        """Follow the store until cancelled; `changed` is called after each change."""
        self.nodes.clear()
        async for change in self._cluster.watch(NODE_PREFIX):
            if change.key:
                self.apply(change.key, change.value)

    def apply(self, key: str, value: bytes | None) -> None:
        """Take one change of the store."""
        node = key.removeprefix(NODE_PREFIX)
        if value is None:
            self.nodes.pop(node, None)
        else:
            self.nodes[node] = msgspec.json.decode(value, type=NodePresence)
        self._changed()

    def listed(self) -> list[NodePresence]:
        """The nodes by id."""
        return sorted(self.nodes.values(), key=lambda node: node.id)


class NodeAnnouncer:
    """Announces this node, with its load, and with its media roles only while one of its workers is there.

    workers: prefix of the keys of this node's media workers. load: the used part of the machine since the last call.
    """

    def __init__(self, cluster: Cluster, node: NodePresence, workers: str, load: Callable[[], float]) -> None:
        self._cluster = cluster
        self._node = node
        self._workers_prefix = workers
        self._load = load
        self._workers: set[str] = set()
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Keep the announcement true until cancelled; then take it back."""
        watching = asyncio.create_task(self._watch_workers())
        try:
            while True:
                try:
                    await self._hold()
                except LeaseEnded:
                    log.warning("node was forgotten and announces itself again", node=self._node.id)
                except ClusterError as error:
                    log.warning("node could not be announced", node=self._node.id, error=str(error))
                    await asyncio.sleep(RETRY_S)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _hold(self) -> None:
        lease = await self._cluster.lease(LEASE_S)
        try:
            told: NodePresence | None = None
            while True:
                self._news.clear()
                presence = self._presence()
                if presence != told:
                    await self._cluster.put(node_key(presence.id), msgspec.json.encode(presence), lease=lease)
                    told = presence
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), UPDATE_S)
        finally:
            with contextlib.suppress(ClusterError):
                await lease.revoke()

    def _presence(self) -> NodePresence:
        load = round(round(self._load() / LOAD_STEP) * LOAD_STEP, 2)
        roles = tuple(role for role in self._node.roles if self._workers or role not in MEDIA_ROLES)
        return msgspec.structs.replace(self._node, roles=roles, load=load)

    async def _watch_workers(self) -> None:
        async for change in self._cluster.watch(self._workers_prefix):
            if not change.key:
                continue
            before = bool(self._workers)
            if change.value is None:
                self._workers.discard(change.key)
            else:
                self._workers.add(change.key)
            if bool(self._workers) != before:
                self._news.set()
