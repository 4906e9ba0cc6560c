"""Turns the bytes of a query into the bytes of its answer. This is the hot path.

Most answers are packed once: the same bytes after the id, from the same part of the world, get the same bytes back. What is
not in that memory is parsed and packed from the zone, the node list and the place of who asks.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import zlib
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from headwater.access.places import Places
from headwater.cluster.nearest import SPREAD_BUCKETS, nearest
from headwater.cluster.nodes import NodePresence
from headwater.dns import message as m
from headwater.dns import names
from headwater.dns.limiter import Limiter, Verdict
from headwater.dns.zone import Records, Target, Zone
from headwater.settings import Dns as DnsSettings

PACKED_MAX = 50_000
"""Answers kept ready; each costs about 400 bytes. When they are more, all are forgotten: hot ones are back at once."""

SOURCES_MAX = 100_000
"""Addresses and client subnets whose place is kept ready. Forged addresses may be any number."""

CLIENTS_MAX = 50_000
"""Parts of the world that are told apart: with a country database 250 countries times SPREAD_BUCKETS."""

CNAME_CHAIN_MAX = 8
"""CNAMEs within the zone that one answer follows; more are a loop, or a mistake."""

SPREAD_PREFIX: Final = {4: 20, 6: 36}
"""Networks of this size count as one client where nodes share the clients of a place: resolvers can cache by them."""

LIMITED_PREFIX_V6_BYTES = 7
"""What one subscriber has of IPv6 is up to a /56; a /24 of IPv4 is the usual measure of rate limits, too."""

UDP_PAYLOAD_PLAIN_BYTES = 512
"""Without EDNS an answer by UDP has at most so many bytes (RFC 1035 section 4.2.1)."""

TCP_PAYLOAD_MAX_BYTES = 65_535

HINFO_ANY = b"\x07RFC8482\x00"
"""The answer to ANY (RFC 8482 section 4.2): everything at once would only serve amplification."""

COOKIE_SECRET_BYTES = 16


class Client:
    """Who gets the same answers: those of one place and of one part of its networks."""

    __slots__ = ("bucket", "generation", "latitude", "longitude", "nodes", "ready", "region")

    def __init__(
        self, latitude: float | None, longitude: float | None, region: str, nodes: tuple[str, ...], bucket: int
    ) -> None:
        self.latitude = latitude
        self.longitude = longitude
        self.region = region
        self.nodes = nodes
        self.bucket = bucket
        self.generation = -1
        self.ready: dict[Target, Chosen] = {}


class Chosen(NamedTuple):
    """The addresses for a client, packed. drawn: whether the client's network had a say, besides its place."""

    v4: Records
    v6: Records
    drawn: bool


class Source(NamedTuple):
    """Where an address is. prefix: bits of it that made the place. network: for rate limits; None if it has none."""

    client: Client
    prefix: int
    version: int
    network: bytes | None


class Sections(NamedTuple):
    """What an answer says: code, records of each section with their number, and the subnet prefix for which it holds."""

    rcode: int
    answers: tuple[int, bytes] = (0, b"")
    authority: tuple[int, bytes] = (0, b"")
    additional: tuple[int, bytes] = (0, b"")
    scope: int = 0
    lasting: bool = True
    """Whether it is worth keeping: there is no end to names that do not exist."""


class Responder:
    """Answers queries. `nodes` returns all nodes; call `changed` when it, the zone or the places have changed."""

    def __init__(
        self,
        zone: Zone,
        settings: DnsSettings,
        places: Places,
        nodes: Callable[[], Iterable[NodePresence]],
        limiter: Limiter,
    ) -> None:
        self.zone = zone
        self.limiter = limiter
        self.hits = 0
        self.misses = 0
        self.rcodes: dict[int, int] = {}
        self._settings = settings
        self._places = places
        self._nodes = nodes
        self._secret = os.urandom(COOKIE_SECRET_BYTES)
        self._unlimited = [ipaddress.ip_network(text) for text in settings.unlimited_networks]
        self._generation = 0
        self._packed: dict[tuple[bytes, Client], tuple[bytes, bytes]] = {}
        self._sources: dict[str, Source] = {}
        self._subnets: dict[m.Subnet, Source] = {}
        self._clients: dict[tuple[object, ...], Client] = {}

    def changed(self, *, places: bool = False) -> None:
        """Names or nodes have changed, and with `places` also where addresses are."""
        self._generation += 1
        self._packed.clear()
        if places:
            self._sources.clear()
            self._subnets.clear()
            self._clients.clear()

    def answer_udp(self, query: bytes, address: str) -> bytes | None:
        """The answer to a datagram; None if it gets none."""
        source = self._sources.get(address) or self._source(address)
        packed = self._packed.get((query[2:], source.client))
        unlimited = source.network is None
        if packed is not None:
            self.hits += 1
            body, account = packed
        else:
            if len(query) < m.HEADER_BYTES or query[2] & 0x80:  # a response to a response would go round for ever
                return None
            self.misses += 1
            body, account, proved = self._pack(query, address, source, None)
            unlimited = unlimited or proved
        if not unlimited:
            verdict = self.limiter.judge(source.network, account)
            if verdict:
                return None if verdict is Verdict.DROP else _cut(query)
        return query[:2] + body

    def answer_tcp(self, query: bytes, address: str) -> bytes | None:
        """The answer to a message that came by TCP; None if it gets none, for which the connection should be closed."""
        if len(query) < m.HEADER_BYTES or query[2] & 0x80:
            return None
        source = self._sources.get(address) or self._source(address)
        return query[:2] + self._pack(query, address, source, TCP_PAYLOAD_MAX_BYTES)[0]

    # where who asks is

    def _source(self, address: str) -> Source:
        if len(self._sources) >= SOURCES_MAX:
            self._sources.clear()
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        network = parsed.packed[: 3 if parsed.version == 4 else LIMITED_PREFIX_V6_BYTES]
        if any(parsed.version == free.version and parsed in free for free in self._unlimited):
            network = None  # type: ignore[assignment]
        self._sources[address] = source = self._locate(parsed)._replace(network=network)
        return source

    def _subnet_source(self, subnet: m.Subnet) -> Source:
        source = self._subnets.get(subnet)
        if source is None:
            if len(self._subnets) >= SOURCES_MAX:
                self._subnets.clear()
            if subnet.family == 1:
                source = self._locate(ipaddress.IPv4Address(subnet.address.ljust(4, b"\0")))
            else:
                source = self._locate(ipaddress.IPv6Address(subnet.address.ljust(16, b"\0")))
            self._subnets[subnet] = source
        return source

    def _locate(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Source:
        found = self._places.find(address)
        size = SPREAD_PREFIX[address.version]
        bucket = zlib.crc32((int(address) >> address.max_prefixlen - size).to_bytes(5)) % SPREAD_BUCKETS
        place = found.place
        key = (place.latitude, place.longitude, found.region, found.nodes, bucket)
        client = self._clients.get(key)
        if client is None:
            if len(self._clients) >= CLIENTS_MAX:
                self._clients.clear()
            client = self._clients[key] = Client(*key)
        return Source(client, found.prefix, address.version, None)

    def _chosen(self, target: Target, client: Client) -> Chosen:
        if client.generation != self._generation:
            client.ready.clear()
            client.generation = self._generation
        chosen = client.ready.get(target)
        if chosen is None:
            found, drawn = nearest(
                self._nodes(),
                target.role,
                target.scope,
                self._settings.addresses_per_answer,
                latitude=client.latitude,
                longitude=client.longitude,
                region=client.region,
                preferred=client.nodes,
                bucket=client.bucket,
            )
            v4 = tuple(ipaddress.IPv4Address(text).packed for node in found for text in node.addresses_v4)
            v6 = tuple(ipaddress.IPv6Address(text).packed for node in found for text in node.addresses_v6)
            ttl_s = self._settings.ttl_s
            chosen = client.ready[target] = Chosen(Records(ttl_s, v4), Records(ttl_s, v6), drawn)
        return chosen

    # what is said

    def _pack(self, message: bytes, address: str, asker: Source, bound: int | None) -> tuple[bytes, bytes, bool]:
        """All but the id of an answer, what counts as the same answer, and whether the client's address is proved.

        bound: how long the answer may be; None for what the query allows by UDP.
        """
        try:
            query = m.parse(message)
        except m.MessageError as error:
            flags = int.from_bytes(message[2:4]) & (m.OPCODE | m.RD)
            self._tell(error.rcode)
            return m.header(b"", m.QR | flags | error.rcode, 0, 0, 0, 0), b"error", False
        proved = False
        options = b""
        if query.cookie:
            cookie = query.cookie[:8] + self._server_cookie(query.cookie[:8], address)
            proved = cookie == query.cookie
            options = m.cookie_option(cookie)
        source = self._subnet_source(query.subnet) if query.subnet is not None and query.subnet.source else asker
        name = query.name.lower()  # lengths are below the letters, so that they stay what they are
        said = self._say(query, name, source)
        self._tell(said.rcode)
        if query.subnet is not None:
            # A scope of 0 says that the answer holds for everybody (RFC 7871 section 7.2.1).
            options += m.subnet_option(query.subnet, said.scope if query.subnet.source else 0)
        payload = min(query.payload, self._settings.udp_payload_bytes) if query.edns else UDP_PAYLOAD_PLAIN_BYTES
        body = self._assemble(query, said, options, bound or payload)
        account = name if said.lasting else bytes((said.rcode,))
        if bound is None and not query.cookie and said.lasting:
            if len(self._packed) >= PACKED_MAX:
                self._packed.clear()
            self._packed[message[2:], asker.client] = (body, account)
        return body, account, proved

    def _assemble(self, query: m.Query, said: Sections, options: bytes, bound: int) -> bytes:
        flags = m.QR | query.flags & m.RD | said.rcode & 0xF
        if said.rcode in (m.NOERROR, m.NXDOMAIN):
            flags |= m.AA
        question = query.name + query.type.to_bytes(2) + query.class_.to_bytes(2)
        opt = b""
        if query.edns:
            opt = m.opt_record(self._settings.udp_payload_bytes, said.rcode, query.dnssec, options)
        room = bound - m.HEADER_BYTES - len(question) - len(opt)
        answers, authority, additional = said.answers, said.authority, said.additional
        if len(answers[1]) + len(authority[1]) + len(additional[1]) > room:
            additional = (0, b"")
        if len(answers[1]) + len(authority[1]) > room:
            flags |= m.TC
            answers = authority = (0, b"")
        head = m.header(b"", flags, 1, answers[0], authority[0], additional[0] + query.edns)
        return head + question + answers[1] + authority[1] + additional[1] + opt

    def _say(self, query: m.Query, name: bytes, source: Source) -> Sections:
        if query.version:
            return Sections(m.BADVERS, lasting=False)
        if query.type == m.OPT:
            return Sections(m.FORMERR, lasting=False)
        if query.class_ != m.IN or query.type in (m.AXFR, m.IXFR):
            return Sections(m.REFUSED, lasting=False)
        zone = self.zone
        if not zone.exists(name):
            if not zone.holds(name):
                return Sections(m.REFUSED, lasting=False)
            return Sections(m.NXDOMAIN, authority=self._denial(query.name), lasting=False)
        owner = m.NAME_POINTER
        count, records, scope = 0, b"", 0
        for _ in range(CNAME_CHAIN_MAX):
            alias = zone.fixed.get(name, {}).get(m.CNAME)
            if alias is None or query.type in (m.CNAME, m.ANY):
                break
            count, records = count + 1, records + m.record(owner, m.CNAME, alias.ttl_s, alias.data[0])
            owner = alias.data[0]
            name = owner.lower()
            if not zone.holds(name):
                return Sections(m.NOERROR, (count, records))
            if not zone.exists(name):
                return Sections(m.NXDOMAIN, (count, records), self._denial(query.name))
        else:
            return Sections(m.SERVFAIL)
        found = self._records(name, query.type)
        target = zone.targets.get(name)
        if found is None and target is not None and query.type in (m.A, m.AAAA):
            chosen = self._chosen(target, source.client)
            found = chosen.v4 if query.type == m.A else chosen.v6
            scope = max(source.prefix, SPREAD_PREFIX[source.version]) if chosen.drawn else source.prefix
            if not chosen.v4.data and not chosen.v6.data:
                # Nobody serves the domain now. A denial would be believed and kept; resolvers may use what they still have.
                return Sections(m.SERVFAIL)
        type_ = m.HINFO if query.type == m.ANY else query.type
        if found is None or not found.data:
            return Sections(m.NOERROR, (count, records), self._denial(query.name), scope=scope)
        records += b"".join(m.record(owner, type_, found.ttl_s, data) for data in found.data)
        additional = self._glue(found.data) if type_ == m.NS else (0, b"")
        return Sections(m.NOERROR, (count + len(found.data), records), additional=additional, scope=scope)

    def _records(self, name: bytes, type_: int) -> Records | None:
        """What stands at a name and is the same for everybody."""
        if type_ == m.ANY:
            return Records(self._settings.ttl_s, (HINFO_ANY,))
        found = self.zone.fixed.get(name, {}).get(type_)
        texts = self.zone.texts.get(name) if type_ == m.TXT else None
        if texts is None or found is None:
            return found or texts
        return Records(min(found.ttl_s, texts.ttl_s), found.data + texts.data)

    def _denial(self, question: bytes) -> tuple[int, bytes]:
        """The SOA record that lets resolvers keep a denial (RFC 2308). Its owner is the end of the question's name."""
        zone = self.zone
        pointer = (0xC000 | m.HEADER_BYTES + len(question) - len(zone.origin)).to_bytes(2)
        return 1, m.record(pointer, m.SOA, self._settings.negative_ttl_s, zone.fixed[zone.origin][m.SOA].data[0])

    def _glue(self, servers: Iterable[bytes]) -> tuple[int, bytes]:
        """The addresses of name servers within the zone."""
        records = [
            m.record(server, type_, found.ttl_s, data)
            for server in servers
            for type_ in (m.A, m.AAAA)
            if (found := self.zone.fixed.get(server, {}).get(type_)) is not None
            for data in found.data
        ]
        return len(records), b"".join(records)

    def _server_cookie(self, client_cookie: bytes, address: str) -> bytes:
        """What only we can make for this client and address (RFC 7873 section 6)."""
        return hashlib.blake2b(client_cookie + address.encode(), digest_size=8, key=self._secret).digest()

    def _tell(self, rcode: int) -> None:
        self.rcodes[rcode] = self.rcodes.get(rcode, 0) + 1


def _cut(query: bytes) -> bytes | None:
    """An answer without records that sends a real client to TCP."""
    try:
        end = names.end_of(query, m.HEADER_BYTES) + 4
    except ValueError:
        return None
    flags = m.QR | m.TC | int.from_bytes(query[2:4]) & (m.OPCODE | m.RD)
    return m.header(query[:2], flags, 1, 0, 0, 0) + query[m.HEADER_BYTES : end]
