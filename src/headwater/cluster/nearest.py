"""The choice of the nodes that serve a client: near, not busy, of the wanted role, within the domain's edge group."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence

from headwater.access.policy import Scope, serves
from headwater.cluster.nodes import NodePresence, Role

EARTH_RADIUS_KM = 6371.0

UNKNOWN_KM = 10_000.0
"""Distance when one of the two places is unknown: the mean of any two points on earth."""

BASE_KM = 200.0
"""Added to every distance: below it, load says more about a path's quality than kilometres do."""

HEADROOM_MIN = 0.05
"""A full node counts as 20 times as far, not as infinitely far: it still serves where it is the only one."""

NEAR_FACTOR = 1.5
"""Nodes that cost up to so many times the best share the clients of a place."""

SPREAD_BUCKETS = 64
"""Clients of a place are spread over its nodes in so many parts: with 10 nodes each takes 6 or 7."""


def distance_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Along the great circle (haversine formula)."""
    a, b = math.radians(latitude), math.radians(other_latitude)
    half = math.sin((b - a) / 2) ** 2
    half += math.cos(a) * math.cos(b) * math.sin(math.radians(other_longitude - longitude) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, half)))


def cost(node: NodePresence, latitude: float | None, longitude: float | None) -> float:
    """How far a node is, in kilometres, as if its load had stretched the way: half used, twice as far."""
    if latitude is None or longitude is None or node.latitude is None or node.longitude is None:
        way_km = UNKNOWN_KM
    else:
        way_km = distance_km(latitude, longitude, node.latitude, node.longitude)
    return (BASE_KM + way_km) / max(1.0 - node.load, HEADROOM_MIN)


def nearest(
    nodes: Iterable[NodePresence],
    role: Role,
    scope: Scope,
    count: int,
    *,
    latitude: float | None = None,
    longitude: float | None = None,
    region: str = "",
    preferred: Sequence[str] = (),
    bucket: int = 0,
) -> tuple[list[NodePresence], bool]:
    """At most `count` nodes for a client, best first, and whether `bucket` had a say.

    region, preferred: what the operator's table of networks wants; it yields when none of these nodes is there.
    bucket: the part of the clients to which this one belongs, 0 to SPREAD_BUCKETS - 1. When more nodes than `count` are about
    equally near, each part gets others of them, by rendezvous hashing, in proportion to their free capacity.
    """
    able = [node for node in nodes if role in node.roles and serves(node.edge_group, scope)]
    by_id = {node.id: node for node in able}
    wanted = [by_id[name] for name in preferred if name in by_id]
    if wanted:
        return wanted[:count], False
    able = [node for node in able if node.region == region] or able if region else able
    ranked = sorted((cost(node, latitude, longitude), node.id, node) for node in able)
    near = [node for price, _, node in ranked if price <= ranked[0][0] * NEAR_FACTOR]
    if len(near) <= count:
        return near, False
    return sorted(near, key=lambda node: _draw(node, bucket))[:count], True


def _draw(node: NodePresence, bucket: int) -> float:
    """Weighted rendezvous hashing: the smallest draw wins, in proportion to the weight."""
    weight = node.capacity_mbps * max(1.0 - node.load, HEADROOM_MIN)
    digest = hashlib.blake2b(f"{node.id} {bucket}".encode(), digest_size=6).digest()
    uniform = (int.from_bytes(digest) + 0.5) / 2**48
    return -math.log(uniform) / weight
