"""A zone with domains and nodes in three parts of the world, and queries to its responder, for tests of DNS."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.rdatatype

from headwater.access.places import Places
from headwater.access.policy import Scope
from headwater.cluster.nodes import NodePresence
from headwater.dns.answers import Responder
from headwater.dns.limiter import Limiter
from headwater.dns.zone import Target, Zone
from headwater.settings import Dns
from headwater.settings import Places as PlaceSettings

ZONE = "w.example.net"
PLAY = f"play.example.com.{ZONE}"
PUSH = f"push.example.com.{ZONE}"

IN_CHINA = "114.114.114.114"
IN_GERMANY = "193.99.144.80"
IN_JAPAN = "202.12.27.33"

NODES = {
    "fra": NodePresence("fra", ("ingest", "edge"), "eu", 50.1, 8.7, ("192.0.2.1",), ("2001:db8::1",), "overseas"),
    "tyo": NodePresence("tyo", ("ingest", "edge"), "jp", 35.7, 139.7, ("192.0.2.2",), (), "overseas"),
    "pek": NodePresence("pek", ("edge",), "cn", 39.9, 116.4, ("192.0.2.3",), ("2001:db8::3",), "domestic"),
}


class DnsWorld:
    """The responder of a zone, asked with dnspython's messages. Changes to `nodes` hold after `changed`."""

    def __init__(self, folder: Path, records: str = "", networks: str = "", **settings: object) -> None:
        if records:
            (folder / "records").write_text(records)
            settings["records"] = str(folder / "records")
        if networks:
            (folder / "networks").write_text(networks)
        places = Places(PlaceSettings(networks=str(folder / "networks") if networks else ""))
        dns_settings = Dns(**{"addresses_per_answer": 1, **settings})  # type: ignore[arg-type]
        self.nodes = dict(NODES)
        self.zone = Zone(ZONE, dns_settings, ("192.0.2.53", "2001:db8::53"), 1)
        self.limiter = Limiter(dns_settings.same_answers_per_s, dns_settings.answers_per_s)
        self.responder = Responder(self.zone, dns_settings, places, lambda: self.nodes.values(), self.limiter)
        self.add("play.example.com", "global")
        self.zone.set_target("push.example.com", Target("ingest", "global"))

    def add(self, domain: str, scope: Scope) -> None:
        """Add a streaming domain."""
        self.zone.set_target(domain, Target("edge", scope))
        self.responder.changed()

    def ask(
        self,
        name: str,
        type_: str = "A",
        *,
        client: str = IN_GERMANY,
        subnet: str | None = None,
        tcp: bool = False,
        edns: bool = True,
    ) -> dns.message.Message:
        """The answer to one question, whose form is checked as every answer's."""
        query = dns.message.make_query(name, type_, use_edns=0 if edns else False)
        if subnet is not None:
            network = ipaddress.ip_network(subnet)
            query.use_edns(0, options=[dns.edns.ECSOption(str(network.network_address), network.prefixlen)])
        return self.send(query, client=client, tcp=tcp)

    def send(self, query: dns.message.Message, *, client: str = IN_GERMANY, tcp: bool = False) -> dns.message.Message:
        """The answer to a message."""
        wire = self.raw(query.to_wire(), client=client, tcp=tcp)
        assert wire is not None
        answer = dns.message.from_wire(wire)
        assert answer.id == query.id
        assert answer.flags & dns.flags.QR
        assert not answer.flags & dns.flags.RA
        assert len(wire) <= (65535 if tcp else max(512, query.payload) if query.edns >= 0 else 512)
        return answer

    def raw(self, wire: bytes, *, client: str = IN_GERMANY, tcp: bool = False) -> bytes | None:
        """The answer's bytes. By UDP twice, for the second may come from memory: both must be the same."""
        if tcp:
            return self.responder.answer_tcp(wire, client)
        first = self.responder.answer_udp(wire, client)
        if self.limiter.cut + self.limiter.dropped == 0:
            assert self.responder.answer_udp(wire, client) == first
        return first


def addresses(answer: dns.message.Message) -> list[str]:
    """The addresses in an answer."""
    return [record.address for records in answer.answer for record in records if records.rdtype in (1, 28)]


def scope(answer: dns.message.Message) -> int | None:
    """The scope of the client subnet that an answer echoes."""
    found = [option.scopelen for option in answer.options if isinstance(option, dns.edns.ECSOption)]
    return found[0] if found else None
