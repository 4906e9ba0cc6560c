"""Nodes announce themselves, are forgotten when they die, and the nearest ones that may serve are chosen."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.access.places import Places
from headwater.access.policy import EdgeGroup, Scope, serves
from headwater.cluster.embedded import EmbeddedCluster, EmbeddedLease
from headwater.cluster.interface import Cluster
from headwater.cluster.nearest import SPREAD_BUCKETS, distance_km, nearest
from headwater.cluster.nodes import (
    LEASE_S,
    NodeAnnouncer,
    NodeList,
    NodePresence,
    node_key,
    own_presence,
)
from headwater.observe.machine import MachineLoad
from headwater.settings import Center, Node, Settings
from headwater.settings import Places as PlaceSettings
from support.clock import Clock
from support.wait import eventually

WORKERS = "worker/n1/"


def node(id_: str, latitude: float | None = None, longitude: float | None = None, **more: object) -> NodePresence:
    return NodePresence(id_, ("ingest", "edge"), latitude=latitude, longitude=longitude, **more)  # type: ignore[arg-type]


BERLIN = node("berlin", 52.5, 13.4)
PARIS = node("paris", 48.9, 2.35)
TOKYO = node("tokyo", 35.7, 139.7)


def ids(nodes: list[NodePresence]) -> list[str]:
    return [node.id for node in nodes]


def test_the_nearest_node_comes_first_and_far_ones_stay_away() -> None:
    found, drawn = nearest([TOKYO, PARIS, BERLIN], "edge", "global", 3, latitude=48.1, longitude=11.6)
    assert (ids(found), drawn) == (["berlin", "paris"], False)
    assert ids(nearest([TOKYO, PARIS, BERLIN], "edge", "global", 1, latitude=35, longitude=139)[0]) == ["tokyo"]


def test_load_makes_a_node_further_away_but_a_full_one_still_serves_alone() -> None:
    busy = node("berlin", 52.5, 13.4, load=0.9)
    assert ids(nearest([busy, PARIS], "edge", "global", 1, latitude=52, longitude=13)[0]) == ["paris"]
    full = node("berlin", 52.5, 13.4, load=1.0)
    assert ids(nearest([full], "edge", "global", 1, latitude=52, longitude=13)[0]) == ["berlin"]


def test_only_nodes_of_the_wanted_role_serve() -> None:
    ingest = NodePresence("i", ("ingest",))
    assert nearest([ingest], "edge", "global", 2) == ([], False)
    assert ids(nearest([ingest, BERLIN], "ingest", "global", 2)[0]) == ["berlin", "i"]


@pytest.mark.parametrize(
    ("group", "scope", "may"),
    [
        ("domestic", "domestic", True),
        ("domestic", "overseas", False),
        ("domestic", "global", True),
        ("overseas", "domestic", False),
        ("overseas", "overseas", True),
        ("overseas", "global", True),
        ("", "domestic", True),
        ("", "overseas", True),
    ],
)
def test_nodes_outside_the_edge_group_never_serve_the_domain(group: EdgeGroup, scope: Scope, may: bool) -> None:
    assert serves(group, scope) is may
    found, _ = nearest([node("n", edge_group=group)], "edge", scope, 1, preferred=("n",))
    assert bool(found) is may


def test_the_operators_table_decides_while_its_nodes_are_there() -> None:
    choose = functools.partial(
        nearest, [BERLIN, PARIS, node("fra", region="eu")], "edge", "global", 2, latitude=52.5, longitude=13.4
    )
    assert ids(choose(preferred=("gone", "paris"))[0]) == ["paris"]
    assert ids(choose(preferred=("gone",))[0]) == ["berlin"]
    assert ids(choose(region="eu")[0]) == ["fra"]
    assert ids(choose(region="us")[0]) == ["berlin"]


def test_nodes_of_one_place_share_its_clients_by_capacity() -> None:
    small = [node(f"small-{n}", 0, 0) for n in range(6)]
    large = node("large", 0, 0, capacity_mbps=4000)
    first: Counter[str] = Counter()
    for bucket in range(SPREAD_BUCKETS):
        found, drawn = nearest([*small, large], "edge", "global", 2, latitude=0, longitude=0, bucket=bucket)
        assert drawn
        assert len(set(ids(found))) == 2
        first[found[0].id] += 1
    assert first["large"] == max(first.values())
    assert len(first) == 7


def test_when_a_node_leaves_only_its_clients_move() -> None:
    nodes = [node(f"n{n}", 0, 0) for n in range(8)]
    for bucket in range(SPREAD_BUCKETS):
        before, _ = nearest(nodes, "edge", "global", 1, latitude=0, longitude=0, bucket=bucket)
        after, _ = nearest(nodes[1:], "edge", "global", 1, latitude=0, longitude=0, bucket=bucket)
        assert before == after or before == [nodes[0]]


@given(*(st.floats(-bound, bound) for bound in (90, 180, 90, 180)))
def test_distances_are_those_of_a_sphere(a: float, b: float, c: float, d: float) -> None:
    way = distance_km(a, b, c, d)
    assert 0 <= way <= 20_016
    assert way == pytest.approx(distance_km(c, d, a, b), abs=1e-3)
    assert distance_km(a, b, a, b) < 1e-3


def test_known_distances() -> None:
    assert distance_km(52.5, 13.4, 48.9, 2.35) == pytest.approx(878, abs=10)
    assert distance_km(52.5, 13.4, 35.7, 139.7) == pytest.approx(8925, abs=30)


async def test_a_node_has_media_roles_only_while_a_worker_listens(cluster: Cluster) -> None:
    announcer = NodeAnnouncer(cluster, own_presence("n1", Settings(), Places(PlaceSettings())), WORKERS, lambda: 0.512)
    nodes = NodeList(cluster)
    tasks = [asyncio.create_task(work) for work in (announcer.run(), nodes.run())]
    await eventually(lambda: nodes.nodes.get("n1"), "the node is listed")
    assert nodes.nodes["n1"].load == 0.5
    assert nodes.nodes["n1"].roles == ("control", "dns", "center")
    await cluster.put(WORKERS + "0", b"{}")
    await eventually(lambda: "edge" in nodes.nodes["n1"].roles, "it serves")
    await cluster.delete(WORKERS + "0")
    await eventually(lambda: "edge" not in nodes.nodes["n1"].roles, "it serves no more")
    tasks[0].cancel()
    await eventually(lambda: not nodes.nodes, "the node took itself back")
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_dead_node_is_forgotten(store: EmbeddedCluster, clock: Clock) -> None:
    changes: list[int] = []
    nodes = NodeList(store, lambda: changes.append(len(nodes.nodes)))
    following = asyncio.create_task(nodes.run())
    store.keep_lease("of another process", LEASE_S)
    lease = EmbeddedLease(store, "of another process")
    await store.put(node_key("berlin"), msgspec.json.encode(BERLIN), lease=lease)
    await eventually(lambda: nodes.listed() == [BERLIN], "the node is listed")
    clock.now_s += LEASE_S
    store.expire()
    await eventually(lambda: not nodes.nodes, "the node is forgotten")
    assert changes == [1, 0]
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


def test_the_machine_is_as_busy_as_its_busiest_part(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    clock = Clock()

    def now(busy: int, idle: int, sent: int, seconds: float) -> None:
        (tmp_path / "stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 1 1 1\n")
        (tmp_path / "net" / "dev").write_text(
            "Inter-|   Receive  |  Transmit\n face |bytes |bytes\n"
            f"    lo: 9 0 0 0 0 0 0 0 {sent * 99} 0\n  eth0: 7 1 0 0 0 0 0 0 {sent} 5 0\n"
        )
        clock.now_s += seconds

    now(0, 0, 0, 0)
    load = MachineLoad(8, tmp_path, clock)
    now(30, 70, 0, 1)
    assert load.look() == pytest.approx(0.3)
    now(30, 170, 500_000, 1)
    assert load.look() == pytest.approx(0.5)
    now(30, 270, 9_000_000, 1)
    assert load.look() == 1.0
    assert load.look() == 0.0


def test_what_the_settings_leave_out_comes_from_the_public_address() -> None:
    places = Places(PlaceSettings())
    mine = own_presence("n", Settings(node=Node(addresses=("114.114.114.114", "2400:3200::1"), edge_group="domestic")), places)
    assert (mine.latitude, mine.longitude) == (32, 115)
    assert (mine.addresses_v4, mine.addresses_v6) == (("114.114.114.114",), ("2400:3200::1",))
    assert own_presence("n", Settings(public_host="192.0.2.7"), places).addresses_v4 == ("192.0.2.7",)
    assert own_presence("n", Settings(public_host="live.example.com"), places).addresses_v4 == ()
    assert "center" not in own_presence("n", Settings(center=Center(enabled=False)), places).roles
    exact = own_presence("n", Settings(node=Node(latitude=1.0, longitude=2.0)), places)
    assert (exact.latitude, exact.longitude) == (1, 2)
