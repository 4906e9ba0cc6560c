"""Turns the bytes of a query into the bytes of its answer. This is the hot path.

Nearly all queries ask for the addresses of a domain. What they differ in is the id, the name in whatever case, and the client's
subnet; everything else of query and answer comes in a few shapes. So an answer is packed once as a **template** for its shape
and its set of nodes, and then serves every name and every client that gets these nodes: id, name and subnet are put in. What
has no template is parsed and packed from the zone; answers among these that are the same for everybody are kept by their query.
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

PACKED_MAX = 20_000
"""Templates, and other answers, that are kept ready; each costs about 500 bytes. When they are more, all are forgotten: hot
ones are back at once."""

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

    __slots__ = ("bucket", "latitude", "longitude", "nodes", "ready", "region")

    def __init__(
        self, latitude: float | None, longitude: float | None, region: str, nodes: tuple[str, ...], bucket: int
    ) -> None:
        self.latitude = latitude
        self.longitude = longitude
        self.region = region
        self.nodes = nodes
        self.bucket = bucket
        self.ready: dict[Target, Chosen] = {}


class Chosen:
    """A set of nodes as addresses. drawn: whether the client's network had a say in it, besides its place."""

    __slots__ = ("drawn", "v4", "v6")

    def __init__(self, v4: Records, v6: Records, drawn: bool) -> None:
        self.v4 = v4
        self.v6 = v6
        self.drawn = drawn


class Template(NamedTuple):
    """An answer without id, name and subnet. head: from the flags to the name. tail: what follows the name.

    name_bytes_max: for longer names the answer would be too long.
    """

    head: bytes
    tail: bytes
    name_bytes_max: int


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
    chosen: Chosen | None = None
    """The nodes, if the answer is their addresses and nothing else."""


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
        self._templates: dict[tuple[bytes, bytes, Chosen], Template] = {}
        self._packed: dict[bytes, tuple[bytes, bytes]] = {}
        self._chosen_sets: dict[tuple[Records, Records, bool], Chosen] = {}
        self._sources: dict[str, Source] = {}
        self._subnets: dict[bytes, Source] = {}
        """By the value of the option, as it is in queries; whatever is in here is well-formed."""
        self._clients: dict[tuple[object, ...], Client] = {}

    def changed(self, *, places: bool = False) -> None:
        """Names or nodes have changed, and with `places` also where addresses are."""
        self._templates.clear()
        self._packed.clear()
        self._chosen_sets.clear()
        for client in self._clients.values():
            client.ready.clear()
        if places:
            self._forget_places()

    def answer_udp(self, query: bytes, address: str) -> bytes | None:
        """The answer to a datagram; None if it gets none."""
        if len(query) < m.HEADER_BYTES or query[2] & 0x80:  # a response to a response would go round for ever
            return None
        source = self._sources.get(address) or self._source(address)
        network = source.network
        name_end = query.find(0, m.HEADER_BYTES) + 1
        asked = query[m.HEADER_BYTES : name_end]
        account = asked.lower()  # the lengths are below the letters, so that they stay what they are
        answer = self._from_template(query, asked, account, name_end, source)
        if answer is not None:
            self.hits += 1
        elif (packed := self._packed.get(query[2:])) is not None:
            self.hits += 1
            answer, account = query[:2] + packed[0], packed[1]
        else:
            self.misses += 1
            body, account, proved = self._pack(query, address, source, None)
            answer = query[:2] + body
            if proved:
                network = None
        if network is not None:
            verdict = self.limiter.judge(network, account)
            if verdict:
                return None if verdict is Verdict.DROP else _cut(query)
        return answer

    def _from_template(self, query: bytes, asked: bytes, name: bytes, end: int, source: Source) -> bytes | None:
        """The answer if its shape and its nodes are known. end: where the name ends if the query is well-formed.

        The name is one of ours, byte for byte; the shape was that of a well-formed query; and so was the subnet. So nothing is
        left to be checked.
        """
        target = self.zone.targets.get(name)
        if target is None or name in self.zone.fixed:
            return None
        shape, subnet = query[end : end + m.SUBNET_AT], query[end + m.SUBNET_AT :]
        if subnet:
            found = self._subnets.get(subnet)
            if found is None or shape[-1] != len(subnet):
                return None
            source = found
        chosen = source.client.ready.get(target)
        if chosen is None:
            return None
        template = self._templates.get((query[2 : m.HEADER_BYTES], shape, chosen))
        if template is None or len(name) > template.name_bytes_max:
            return None
        if subnet:
            scope = _scope(source, chosen).to_bytes(1)
            return query[:2] + template.head + asked + template.tail + subnet[:3] + scope + subnet[4:]
        return query[:2] + template.head + asked + template.tail

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
        value = m.subnet_value(subnet, 0)
        source = self._subnets.get(value)
        if source is None:
            if len(self._subnets) >= SOURCES_MAX:
                self._subnets.clear()
            if subnet.family == 1:
                source = self._locate(ipaddress.IPv4Address(subnet.address.ljust(4, b"\0")))
            else:
                source = self._locate(ipaddress.IPv6Address(subnet.address.ljust(16, b"\0")))
            self._subnets[value] = source
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
                self._forget_places()
            client = self._clients[key] = Client(*key)
        return Source(client, found.prefix, address.version, None)

    def _forget_places(self) -> None:
        """Sources hold clients, so they go together: a client that is not listed would keep its nodes for ever."""
        self._sources.clear()
        self._subnets.clear()
        self._clients.clear()

    def _chosen(self, target: Target, client: Client) -> Chosen:
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
            key = Records(ttl_s, v4), Records(ttl_s, v6), drawn
            chosen = client.ready[target] = self._chosen_sets.setdefault(key, Chosen(*key))
        return chosen

    # what is said

    def _pack(self, message: bytes, address: str, asker: Source, bound: int | None) -> tuple[bytes, bytes, bool]:
        """All but the id of an answer, what counts as the same answer, and whether the client's address is proved.

        bound: how long the answer may be; None for what the query allows by UDP.
        """
        try:
            query = m.parse(message)
        except m.MessageError as error:
            self._tell(error.rcode)
            if error.query is not None:
                said = Sections(error.rcode, lasting=False)
                return self._assemble(error.query, said, b"", UDP_PAYLOAD_PLAIN_BYTES), b"error", False
            flags = int.from_bytes(message[2:4]) & (m.OPCODE | m.RD)
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
        if bound is None and not query.cookie:
            if said.chosen is not None:
                self._keep_template(message, body, len(name), payload, said.chosen)
            elif said.lasting:
                if len(self._packed) >= PACKED_MAX:
                    self._packed.clear()
                self._packed[message[2:]] = (body, account)
        return body, account, proved

    def _keep_template(self, message: bytes, body: bytes, name_bytes: int, bound: int, chosen: Chosen) -> None:
        """Keep an answer as a template if its query has a usual shape: no more than EDNS with at most a subnet."""
        end = m.HEADER_BYTES + name_bytes
        shape, subnet = message[end : end + m.SUBNET_AT], message[end + m.SUBNET_AT :]
        cut_short = body[0] & m.TC >> 8
        if cut_short or (subnet and not (m.is_subnet_shape(message, shape, subnet) and subnet in self._subnets)):
            return
        if len(self._templates) >= PACKED_MAX:
            self._templates.clear()
        tail = body[end - 2 : len(body) - len(subnet)]
        room = bound - (len(body) + 2 - name_bytes)
        self._templates[message[2 : m.HEADER_BYTES], shape, chosen] = Template(body[: m.HEADER_BYTES - 2], tail, room)

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
        chosen: Chosen | None = None
        found = self._records(name, query.type)
        target = zone.targets.get(name)
        if found is None and target is not None and query.type in (m.A, m.AAAA):
            chosen = self._chosen(target, source.client)
            found = chosen.v4 if query.type == m.A else chosen.v6
            scope = _scope(source, chosen)
            if not chosen.v4.data and not chosen.v6.data:
                # Nobody serves the domain now. A denial would be believed and kept; resolvers may use what they still have.
                return Sections(m.SERVFAIL)
        type_ = m.HINFO if query.type == m.ANY else query.type
        if found is None or not found.data:
            return Sections(m.NOERROR, (count, records), self._denial(query.name), scope=scope)
        records += b"".join(m.record(owner, type_, found.ttl_s, data) for data in found.data)
        additional = self._glue(found.data) if type_ == m.NS else (0, b"")
        template_of = chosen if not count else None
        return Sections(m.NOERROR, (count + len(found.data), records), additional=additional, scope=scope, chosen=template_of)

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


def _scope(source: Source, chosen: Chosen) -> int:
    """The prefix of a client's subnet for which its nodes are the right ones."""
    return max(source.prefix, SPREAD_PREFIX[source.version]) if chosen.drawn else source.prefix


def _cut(query: bytes) -> bytes | None:
    """An answer without records that sends a real client to TCP."""
    try:
        end = names.end_of(query, m.HEADER_BYTES) + 4
    except ValueError:
        return None
    flags = m.QR | m.TC | int.from_bytes(query[2:4]) & (m.OPCODE | m.RD)
    return m.header(query[:2], flags, 1, 0, 0, 0) + query[m.HEADER_BYTES : end]
