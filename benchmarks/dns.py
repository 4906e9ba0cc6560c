"""Headwater's DNS beside Knot with its geoip module: the same zone, the same answers, one core each.

    python -m benchmarks.dns [--seconds 8] [--rounds 3] [--json FILE]

Both serve 1,000 names, whose answers depend on the client's subnet: 60 networks, 20 nodes, two addresses an answer. Before
anything is measured the answers of both are compared. Each server runs on CPU 0, with one UDP thread; `dns_load.c` asks on
CPU 1 as fast as it is answered, and checks each answer. What counts is the server's CPU time for each query: on one machine the
load itself may be the slower one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import msgspec

from benchmarks.load import pin
from benchmarks.measure import cpu_s
from benchmarks.servers import free_port
from headwater.access.policy import Policy, encode, policy_key
from headwater.cluster.embedded import EmbeddedCluster
from headwater.cluster.nodes import NodePresence, node_key
from headwater.cluster.server import serve
from headwater.dns.config import DNS_PREFIX, DnsConfig
from headwater.settings import Dns, Domains, Listen, Log, Places, Settings

ZONE = "w.example.net"
NAMES, NETWORKS, NODES = 1000, 60, 20
TTL_S = 30
OUTSTANDING = 512
SERVER_CPU, LOAD_CPU = 0, 1
COMPARED = 300
CACHE = Path(__file__).with_name(".cache")


@dataclass(frozen=True)
class Run:
    """One run: queries answered a second, the server's CPU time for each, what was lost or wrong."""

    per_second: float
    cpu_us: float
    kernel_us: float
    lost: int
    wrong: int


def name(number: int) -> str:
    """One of the names, relative to the zone."""
    return f"play{number}.customer{number % 50}.example.com"


def network(number: int) -> str:
    """One of the networks."""
    return f"{10 + number}.0.0.0/8"


def node_addresses(number: int) -> tuple[str, str]:
    """The addresses that serve a network."""
    node = number % NODES
    return f"192.0.2.{node}", f"198.51.100.{node}"


def queries(kind: str, draw: random.Random) -> Iterator[bytes]:
    """Packed queries. ready: 20,000 that come again and again; case: 100,000 whose letters vary, as some resolvers have it."""
    for number in range(20_000 if kind == "ready" else 100_000):
        text = f"{name(number % NAMES)}.{ZONE}"
        if kind == "case":
            text = "".join(letter.upper() if draw.getrandbits(1) else letter for letter in text)
        subnet = bytes((10 + draw.randrange(NETWORKS), draw.randrange(4), draw.randrange(5)))
        option = struct.pack("!HHHBB", 8, 4 + len(subnet), 1, 24, 0) + subnet
        labels = b"".join(bytes((len(label),)) + label.encode() for label in text.split("."))
        question = struct.pack("!HHHHHH", 0, 0, 1, 0, 0, 1) + labels + b"\0" + struct.pack("!HH", 1, 1)
        yield question + b"\0" + struct.pack("!HHIH", 41, 1232, 0, len(option)) + option


@asynccontextmanager
async def headwater(folder: Path, port: int) -> AsyncIterator[int]:
    """The DNS process with a store of ours; its process id."""
    table = "network,nodes\n" + "".join(f"{network(n)},node{n % NODES}\n" for n in range(NETWORKS))
    (folder / "networks.csv").write_text(table)
    cluster = EmbeddedCluster()
    for number in range(NAMES):
        policy = Policy(name(number), "1", "liveVideo", "online", "eu", "global")
        await cluster.put(policy_key(policy.domain), encode(policy))
    for number in range(NODES):
        node = NodePresence(f"node{number}", ("edge",), addresses_v4=node_addresses(number))
        await cluster.put(node_key(node.id), msgspec.json.encode(node))
    path = str(folder / "store")
    server = await serve(cluster, path)
    settings = Settings(
        listen=Listen(dns=f"127.0.0.1:{port}"),
        log=Log(level="warning"),
        domains=Domains(cname_zone=ZONE),
        places=Places(networks=str(folder / "networks.csv")),
        dns=Dns(ttl_s=TTL_S),
    )
    config = DnsConfig("bench", ("127.0.0.1",), settings, path, str(folder / "door"))
    command = (sys.executable, "-m", "headwater.dns")
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, preexec_fn=pin(SERVER_CPU))
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(config) + b"\n")
    while not await cluster.list(DNS_PREFIX):
        if process.returncode is not None:
            raise SystemExit("the DNS process did not start")
        await asyncio.sleep(0.05)
    try:
        yield process.pid
    finally:
        process.terminate()
        await process.wait()
        await server.close()
        await cluster.close()


@asynccontextmanager
async def knot(folder: Path, port: int) -> AsyncIterator[int]:
    """Knot with the same names and networks; its process id."""
    records = "".join(f"{name(n)} {TTL_S} A 192.0.2.1\n" for n in range(NAMES))
    (folder / "zone").write_text(f"@ 60 SOA ns1 hostmaster 1 3600 600 86400 30\n@ 60 NS ns1\nns1 60 A 127.0.0.1\n{records}")
    with (folder / "geo.conf").open("w") as file:
        for number in range(NAMES):
            file.write(f"{name(number)}.{ZONE}:\n")
            for each in range(NETWORKS):
                file.write(f"  - net: {network(each)}\n    A: [ {', '.join(node_addresses(each))} ]\n")
    (folder / "knot.conf").write_text(
        f"""server:
    rundir: {folder}
    listen: 127.0.0.1@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    edns-client-subnet: on
database:
    storage: {folder}
mod-geoip:
  - id: places
    config-file: {folder}/geo.conf
    ttl: {TTL_S}
    mode: subnet
zone:
  - domain: {ZONE}
    file: {folder}/zone
    module: mod-geoip/places
"""
    )
    log = (folder / "log").open("w")
    command = ("knotd", "-c", str(folder / "knot.conf"))
    process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, preexec_fn=pin(SERVER_CPU))
    deadline = time.monotonic() + 30
    while not await asyncio.to_thread(answered, port):
        if process.returncode is not None or time.monotonic() > deadline:
            raise SystemExit(f"Knot did not start:\n{(folder / 'log').read_text()}")
        await asyncio.sleep(0.1)
    try:
        yield process.pid
    finally:
        process.terminate()
        await process.wait()
        log.close()


def answered(port: int) -> bool:
    """Whether a server answers at a port."""
    try:
        dns.query.udp(dns.message.make_query(ZONE, "SOA"), "127.0.0.1", 0.5, port)
    except (dns.exception.Timeout, OSError):
        return False
    return True


def answers(port: int, asked: list[bytes]) -> list[tuple[int, list[str]]]:
    """Code and addresses of each answer."""
    found: list[tuple[int, list[str]]] = []
    for wire in asked:
        answer = dns.query.udp(dns.message.from_wire(wire), "127.0.0.1", 5, port)
        found.append((answer.rcode(), sorted(str(record) for records in answer.answer for record in records)))
    return found


def load(program: Path, port: int, seconds: float, file: Path) -> tuple[int, int, int, float]:
    """Ask as fast as there are answers: right, lost, wrong, seconds."""
    command = [str(program), str(port), str(seconds), str(OUTSTANDING), str(file)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, preexec_fn=pin(LOAD_CPU))
    right, lost, wrong, took = said.stdout.split()
    return int(right), int(lost), int(wrong), float(took)


def measured(program: Path, pid: int, port: int, seconds: float, file: Path) -> Run:
    """One run after a short one that warms up."""
    load(program, port, 1, file)
    before = cpu_s(pid)
    right, lost, wrong, took = load(program, port, seconds, file)
    spent_s, kernel_s = (now - then for now, then in zip(cpu_s(pid), before, strict=True))
    return Run(right / took, spent_s / right * 1e6, kernel_s / right * 1e6, lost, wrong)


@contextmanager
def compiled() -> Iterator[Path]:
    """The load client."""
    CACHE.mkdir(exist_ok=True)
    program = CACHE / "dns_load"
    source = Path(__file__).with_name("dns_load.c")
    subprocess.run(["cc", "-O2", "-Wall", "-o", str(program), str(source)], check=True)
    yield program


async def compare(arguments: argparse.Namespace) -> dict[str, dict[str, list[Run]]]:
    """All runs, by kind of queries and server."""
    runs: dict[str, dict[str, list[Run]]] = {}
    with tempfile.TemporaryDirectory(prefix="hw-dns-") as temporary, compiled() as program:
        folder = Path(temporary)
        files: dict[str, Path] = {}
        packed: list[bytes] = []
        for kind in ("ready", "case"):
            packed = list(queries(kind, random.Random(1)))
            files[kind] = folder / kind
            files[kind].write_bytes(b"".join(struct.pack("!H", len(wire)) + wire for wire in packed))
        asked = packed[:COMPARED]
        servers = {"Headwater": headwater} | ({"Knot": knot} if shutil.which("knotd") else {})
        said: dict[str, list[tuple[int, list[str]]]] = {}
        for _ in range(arguments.rounds):
            for title, start in servers.items():
                own, port = folder / title, free_port()
                own.mkdir(exist_ok=True)
                async with start(own, port) as pid:
                    said[title] = await asyncio.to_thread(answers, port, asked)
                    if any(other != said[title] for other in said.values()):
                        raise SystemExit("the two servers do not answer alike")
                    for kind, file in files.items():
                        run = await asyncio.to_thread(measured, program, pid, port, arguments.seconds, file)
                        runs.setdefault(kind, {}).setdefault(title, []).append(run)
    return runs


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    runs = asyncio.run(compare(arguments))
    print("| queries | server | CPU us a query | of it kernel | queries a second on one core | asked a second | lost | wrong |")
    print("|---|---|---|---|---|---|---|---|")
    for kind, by_server in runs.items():
        for title, found in by_server.items():
            cpu = statistics.median(run.cpu_us for run in found)
            kernel = statistics.median(run.kernel_us for run in found)
            rate = statistics.median(run.per_second for run in found)
            lost, wrong = sum(run.lost for run in found), sum(run.wrong for run in found)
            print(f"| {kind} | {title} | {cpu:.2f} | {kernel:.2f} | {1e6 / cpu:,.0f} | {rate:,.0f} | {lost} | {wrong} |")
    if arguments.json:
        saved = {kind: {title: [vars(run) for run in found] for title, found in all_.items()} for kind, all_ in runs.items()}
        arguments.json.write_text(json.dumps(saved, indent=1))


if __name__ == "__main__":
    main()
