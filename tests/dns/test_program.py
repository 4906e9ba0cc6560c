"""The real program's DNS, asked by `dig` and by raw sockets, over UDP and TCP."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rcode
import httpx
import msgspec
import pytest

from headwater.cluster.client import RemoteCluster
from headwater.cluster.nodes import NodePresence, node_key
from support.api import REGION, Api
from support.commands import headwater
from support.ports import free_port
from support.programs import program
from support.server import Server, running
from support.wait import eventually, until

pytestmark = pytest.mark.xdist_group("dns")

ZONE = "w.example.net"
LOOPBACK = "127.0.0.1"
LONG_TEXT = "x" * 250


@pytest.fixture(scope="module")
def dns_server() -> Iterator[Server]:
    port = free_port()
    settings = {
        "listen.dns": f"0.0.0.0:{port}",
        "domains.cname_zone": ZONE,
        "node.id": "here",
        "node.addresses": "192.0.2.1,2001:db8::1",
        "node.latitude": "50",
        "node.longitude": "8",
        "dns.ttl_s": "5",
    }
    with running(settings) as server:
        server.ports["dns"] = port
        yield server


@pytest.fixture(scope="module")
def domain(dns_server: Server) -> str:
    """The CNAME target of a streaming domain."""
    api = Api(dns_server, dns_server.account())
    api.call("AddLiveDomain", domain_name="play.customer.test", live_domain_type="liveVideo", region=REGION)
    target = f"play.customer.test.{ZONE}"
    until(lambda: ask(dns_server, target).answer, "the domain has its target")
    return target


@contextlib.asynccontextmanager
async def store(server: Server) -> AsyncIterator[RemoteCluster]:
    cluster = await RemoteCluster.connect(str(server.data_dir / "run" / "cluster.sock"))
    yield cluster
    await cluster.close()


def ask(server: Server, name: str, type_: str = "A", *, tcp: bool = False, **more: Any) -> dns.message.Message:
    query = dns.message.make_query(name, type_, **more)
    send = dns.query.tcp if tcp else dns.query.udp
    return send(query, LOOPBACK, port=server.ports["dns"], timeout=5)


def dig(server: Server, *arguments: str) -> str:
    command = [program("dig"), f"@{LOOPBACK}", "-p", str(server.ports["dns"]), "+tries=1", "+time=5", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_dig_gets_the_addresses_of_this_node(dns_server: Server, domain: str) -> None:
    for transport in ("+notcp", "+tcp"):
        assert dig(dns_server, domain, "A", "+short", transport).split() == ["192.0.2.1"]
        assert dig(dns_server, domain, "AAAA", "+short", transport).split() == ["2001:db8::1"]
    said = dig(dns_server, domain, "A", "+norecurse", "+cookie", "+subnet=198.51.100.0/24")
    assert re.search(r"status: NOERROR.*\n;; flags: qr aa;", said)
    assert re.search(r"CLIENT-SUBNET: 198\.51\.100\.0/24/\d+", said)
    assert re.search(r"COOKIE: [0-9a-f]{32} \(good\)", said)
    assert "WARNING" not in said
    assert "192.0.2.1" in said


def test_dig_sees_the_denials_and_the_zone(dns_server: Server, domain: str) -> None:
    assert "status: NXDOMAIN" in dig(dns_server, f"none.{ZONE}")
    empty = dig(dns_server, domain, "MX")
    assert "status: NOERROR" in empty
    assert "ANSWER: 0" in empty
    assert "SOA" in empty
    assert "status: REFUSED" in dig(dns_server, "example.org")
    assert dig(dns_server, ZONE, "NS", "+short").split() == [f"ns1.{ZONE}."]
    assert "Transfer failed" in dig(dns_server, ZONE, "AXFR")
    assert "RFC8482" in dig(dns_server, domain, "ANY", "+notcp")


async def test_texts_come_from_the_store_and_a_long_answer_from_udp_to_tcp(dns_server: Server, domain: str) -> None:
    name = f"_acme-challenge.{domain}"
    async with store(dns_server) as cluster:
        lease = await cluster.lease(30)
        texts = [f"{number}{LONG_TEXT}" for number in range(6)]
        await cluster.put(f"dns-txt/{name}", msgspec.json.encode(texts), lease=lease)
        await eventually(lambda: ask(dns_server, name, "TXT").flags & dns.flags.TC, "the texts are served")
        assert "Truncated, retrying in TCP mode" in dig(dns_server, name, "TXT", "+bufsize=1232")
        assert sorted(dig(dns_server, name, "TXT", "+short").split()) == sorted(f'"{text}"' for text in texts)
        await lease.revoke()
        await eventually(lambda: ask(dns_server, name, "TXT").rcode() == dns.rcode.NXDOMAIN, "the texts are gone")


async def test_a_nearer_node_is_answered_while_its_lease_lasts(dns_server: Server, domain: str) -> None:
    def found() -> list[str]:
        return dig(dns_server, domain, "+short", "+subnet=202.12.27.0/24").split()

    async with store(dns_server) as cluster:
        assert found() == ["192.0.2.1"]
        lease = await cluster.lease(30)
        tokyo = NodePresence("tokyo", ("edge",), latitude=35.7, longitude=139.7, addresses_v4=("192.0.2.9",))
        await cluster.put(node_key("tokyo"), msgspec.json.encode(tokyo), lease=lease)
        await eventually(lambda: found() == ["192.0.2.9"], "the new node is answered")
        await lease.revoke()
        await eventually(lambda: found() == ["192.0.2.1"], "the node has left the answers")


def test_a_domain_that_is_deleted_has_no_target_any_more(dns_server: Server) -> None:
    api = Api(dns_server, dns_server.account())
    api.call("AddLiveDomain", domain_name="short.customer.test", live_domain_type="liveEdge", region=REGION)
    until(lambda: ask(dns_server, f"short.customer.test.{ZONE}").answer, "the domain has its target")
    api.call("DeleteLiveDomain", domain_name="short.customer.test")
    until(lambda: ask(dns_server, f"short.customer.test.{ZONE}").rcode() == dns.rcode.NXDOMAIN, "the target is gone")


def test_one_connection_may_ask_many_questions_at_once(dns_server: Server, domain: str) -> None:
    queries = [dns.message.make_query(domain, type_) for type_ in ("A", "AAAA", "TXT")] * 20
    with socket.create_connection((LOOPBACK, dns_server.ports["dns"]), 5) as connection:
        sent = b"".join(struct.pack("!H", len(query.to_wire())) + query.to_wire() for query in queries)
        for at in range(0, len(sent), 7):
            connection.sendall(sent[at : at + 7])
        stream = connection.makefile("rb")
        for query in queries:
            answer = dns.message.from_wire(stream.read(struct.unpack("!H", stream.read(2))[0]))
            assert query.is_response(answer)


def test_what_is_no_message_ends_a_connection(dns_server: Server) -> None:
    with socket.create_connection((LOOPBACK, dns_server.ports["dns"]), 5) as connection:
        connection.sendall(b"\0\3abc")
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(10) == b""


def test_an_answer_comes_from_the_address_that_was_asked(dns_server: Server, domain: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(dns.message.make_query(domain, "A").to_wire(), ("127.0.0.7", dns_server.ports["dns"]))
        assert client.recvfrom(4096)[1][0] == "127.0.0.7"


def test_ugly_datagrams_leave_the_server_answering(dns_server: Server, domain: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for size in (0, 1, 11, 12, 13, 512, 5000, 60_000):
            client.sendto(os.urandom(size), (LOOPBACK, dns_server.ports["dns"]))
    assert ask(dns_server, domain).answer


def test_its_metrics_are_shown_with_all_others(dns_server: Server, domain: str) -> None:
    ask(dns_server, domain)
    shown = httpx.get(f"http://{LOOPBACK}:{dns_server.ports['metrics']}/metrics").text
    assert re.search(r'headwater_dns_queries_total\{transport="udp"\} [1-9]', shown)
    assert re.search(r"headwater_dns_names [1-9]", shown)


def test_a_server_that_dies_comes_back_and_the_others_do_not_notice() -> None:
    port = free_port()
    with running({"listen.dns": f"{LOOPBACK}:{port}"}) as server:
        server.ports["dns"] = port
        (pid,) = (event["pid"] for event in server.events("dns ready"))
        os.kill(pid, signal.SIGKILL)
        until(lambda: len(server.events("dns ready")) == 2, "the server is back")
        assert ask(server, "w.headwater.internal", "SOA").answer
        assert len(server.events("worker ready")) == 1
        server.kill()  # its log holds the death that was wanted


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("dns.nameservers=a b", "dns.nameservers"),
        ("dns.records=/nowhere", "dns.records: cannot read /nowhere"),
        ("places.networks=/nowhere", "places.networks"),
        ("domains.cname_zone=a..b", "domains.cname_zone"),
    ],
)
def test_settings_that_cannot_be_used_are_named_at_the_start(
    setting: str, complaint: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    listen = [f"--set=listen.{name}=" for name in ("rtmps", "https", "metrics", "console")]
    listen += [f"--set=listen.{name}={LOOPBACK}:{free_port()}" for name in ("rtmp", "http", "api", "dns")]
    folder = tmp_path_factory.mktemp("d")
    done = headwater("up", "--data-dir", str(folder), *listen, "--set", setting)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
