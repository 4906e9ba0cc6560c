"""What the zone answers: the nearest nodes, the right denials, and nothing to who should get nothing."""

from __future__ import annotations

import ipaddress
import struct
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.cluster.nodes import NodePresence
from headwater.dns.names import pack
from headwater.dns.zone import Target, Zone, ZoneError
from headwater.settings import Dns
from support.dns_world import (
    IN_CHINA,
    IN_GERMANY,
    IN_JAPAN,
    NODES,
    PLAY,
    PUSH,
    ZONE,
    DnsWorld,
    addresses,
    scope,
)


@pytest.fixture
def world(tmp_path: Path) -> DnsWorld:
    return DnsWorld(tmp_path)


# the nearest


def test_everybody_gets_the_nearest_node(world: DnsWorld) -> None:
    assert addresses(world.ask(PLAY, client=IN_GERMANY)) == ["192.0.2.1"]
    assert addresses(world.ask(PLAY, client=IN_JAPAN)) == ["192.0.2.2"]
    assert addresses(world.ask(PLAY, client=IN_CHINA)) == ["192.0.2.3"]
    assert addresses(world.ask(PLAY, "AAAA", client=IN_CHINA)) == ["2001:db8::3"]
    answer = world.ask(PLAY)
    assert answer.flags & dns.flags.AA
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.answer[0].ttl == 30
    assert not answer.authority


def test_the_clients_subnet_counts_more_than_its_resolver(world: DnsWorld) -> None:
    answer = world.ask(PLAY, client=IN_GERMANY, subnet="202.12.27.0/24")
    assert addresses(answer) == ["192.0.2.2"]
    option = next(option for option in answer.options if isinstance(option, dns.edns.ECSOption))
    assert (option.address, option.srclen) == ("202.12.27.0", 24)
    assert 8 <= (scope(answer) or 0) <= 24
    v6 = world.ask(PLAY, subnet="2400:3200::/56")
    assert addresses(v6) == ["192.0.2.3"]


def test_what_only_looks_like_a_subnet_is_none_and_spoils_no_later_answer(world: DnsWorld) -> None:
    first = world.ask(PLAY, subnet="202.12.27.0/24")
    value = struct.pack("!HBB", 1, 24, 0) + bytes((202, 12, 27))
    disguised = dns.message.make_query(PLAY, "A", options=[dns.edns.GenericOption("65001", value)])
    for _ in range(2):
        answer = world.send(disguised)
        assert addresses(answer) == ["192.0.2.1"]
        assert not answer.options
    record = b"\0" + struct.pack("!HHIH", 16, 1, 0, len(value) + 4) + struct.pack("!HH", 8, len(value)) + value
    plain = dns.message.make_query(PLAY, "A", use_edns=False).to_wire()
    for _ in range(2):
        answer = dns.message.from_wire(world.raw(plain[:10] + b"\0\1" + plain[12:] + record) or b"")
        assert (addresses(answer), answer.edns) == (["192.0.2.1"], -1)
    again = world.ask(PLAY, subnet="202.12.27.0/24")
    assert (addresses(again), scope(again)) == (addresses(first), scope(first))


def test_one_template_serves_every_name_case_and_subnet(world: DnsWorld) -> None:
    world.add("other.example.com", "global")
    world.ask(PLAY, subnet="202.12.27.0/24")
    world.ask(PLAY, subnet="202.12.28.0/24")
    packed = world.responder.misses
    for name in (PLAY.upper(), f"oTHer.example.com.{ZONE}"):
        for subnet in ("202.12.27.0/24", "202.12.28.0/24"):
            answer = world.ask(name, subnet=subnet)
            assert (addresses(answer), str(answer.question[0].name)) == (["192.0.2.2"], name + ".")
            option = next(option for option in answer.options if isinstance(option, dns.edns.ECSOption))
            assert f"{option.address}/{option.srclen}" == subnet
    assert world.responder.misses == packed


def test_a_template_is_not_used_for_a_name_that_would_make_the_answer_too_long(world: DnsWorld) -> None:
    many = msgspec.structs.replace(NODES["fra"], addresses_v4=tuple(f"192.0.2.{n}" for n in range(1, 27)))
    world.nodes["fra"] = many
    long = ".".join(["x" * 50] * 3)
    world.add(f"{long}.example.com", "global")
    assert len(addresses(world.ask(PLAY, edns=False))) == 26
    cut = world.ask(f"{long}.example.com.{ZONE}", edns=False)
    assert cut.flags & dns.flags.TC
    assert len(addresses(world.ask(PLAY, edns=False))) == 26


def test_an_answer_that_is_the_same_for_all_has_scope_0(world: DnsWorld) -> None:
    assert scope(world.ask(ZONE, "SOA", subnet="202.12.27.0/24")) == 0
    assert scope(world.ask(f"no.{ZONE}", subnet="202.12.27.0/24")) == 0
    assert scope(world.ask(PLAY, "TXT", subnet="202.12.27.0/24")) == 0
    assert scope(world.ask(PLAY)) is None


def test_who_hides_the_client_gets_the_answer_for_the_resolver(world: DnsWorld) -> None:
    hidden = world.ask(PLAY, client=IN_JAPAN, subnet="0.0.0.0/0")
    assert (addresses(hidden), scope(hidden)) == (["192.0.2.2"], 0)


def test_a_domain_is_served_only_within_its_edge_group(world: DnsWorld) -> None:
    world.add("home.example.com", "domestic")
    world.add("away.example.com", "overseas")
    for client in (IN_GERMANY, IN_JAPAN, IN_CHINA):
        assert addresses(world.ask(f"home.example.com.{ZONE}", client=client)) == ["192.0.2.3"]
        assert "192.0.2.3" not in addresses(world.ask(f"away.example.com.{ZONE}", client=client))


def test_a_domain_that_stands_for_all_its_subdomains_has_a_target(world: DnsWorld) -> None:
    world.add(".wide.example.com", "global")
    assert addresses(world.ask(f"_all.wide.example.com.{ZONE}")) == ["192.0.2.1"]


def test_an_ingest_domain_leads_to_nodes_that_take_pushes(world: DnsWorld) -> None:
    assert addresses(world.ask(PUSH, client=IN_CHINA)) == ["192.0.2.2"]


def test_a_dead_node_leaves_the_answers(world: DnsWorld) -> None:
    assert addresses(world.ask(PLAY)) == ["192.0.2.1"]
    del world.nodes["fra"]
    world.responder.changed()
    assert addresses(world.ask(PLAY)) == ["192.0.2.3"]


def test_a_busy_node_sends_its_clients_to_the_next(world: DnsWorld) -> None:
    near = NodePresence("ams", ("edge",), "eu", 52.4, 4.9, ("192.0.2.4",))
    world.nodes |= {"ams": near, "fra": msgspec.structs.replace(NODES["fra"], load=0.95)}
    world.responder.changed()
    assert addresses(world.ask(PLAY)) == ["192.0.2.4"]


def test_without_any_node_the_server_says_that_it_fails_so_that_nobody_keeps_a_denial(world: DnsWorld) -> None:
    world.nodes.clear()
    world.responder.changed()
    assert world.ask(PLAY).rcode() == dns.rcode.SERVFAIL
    assert world.ask(PLAY, "TXT").rcode() == dns.rcode.NOERROR


def test_the_operators_networks_come_before_the_database(tmp_path: Path) -> None:
    world = DnsWorld(tmp_path, networks=f"network,country,nodes\n{IN_GERMANY}/32,JP,\n10.0.0.0/8,,pek\n10.7.0.0/16,,fra\n")
    assert addresses(world.ask(PLAY, client=IN_GERMANY)) == ["192.0.2.2"]
    answer = world.ask(PLAY, subnet="10.6.0.0/24")
    assert (addresses(answer), scope(answer)) == (["192.0.2.3"], 16)
    assert addresses(world.ask(PLAY, subnet="10.7.0.0/24")) == ["192.0.2.1"]


def test_clients_of_one_place_are_spread_and_the_scope_says_so(world: DnsWorld) -> None:
    for number in range(9):
        twin = msgspec.structs.replace(NODES["fra"], id=f"fra{number}", addresses_v4=(f"198.51.100.{number}",))
        world.nodes[twin.id] = twin
    world.responder.changed()
    answers = {}
    for third in range(0, 256, 16):
        answer = world.ask(PLAY, subnet=f"193.99.{third}.0/24")
        assert (scope(answer) or 0) >= 20
        answers[third] = addresses(answer)[0]
    assert len(set(answers.values())) >= 4
    assert addresses(world.ask(PLAY, subnet="193.99.15.0/24")) == [answers[0]]


# names and types


def test_names_are_alike_in_any_case_and_the_question_comes_back_as_asked(world: DnsWorld) -> None:
    odd = "PlAy.exAmple.Com.w.EXAMPLE.net"
    answer = world.ask(odd)
    assert addresses(answer) == ["192.0.2.1"]
    assert str(answer.question[0].name) == odd + "."


def test_the_zone_tells_of_itself(world: DnsWorld) -> None:
    soa = world.ask(ZONE, "SOA").answer[0][0]
    assert (str(soa.mname), str(soa.rname)) == (f"ns1.{ZONE}.", f"hostmaster.{ZONE}.")
    servers = world.ask(ZONE, "NS")
    assert [str(record.target) for record in servers.answer[0]] == [f"ns1.{ZONE}."]
    assert {str(records[0]) for records in servers.additional} == {"192.0.2.53", "2001:db8::53"}
    assert addresses(world.ask(f"ns1.{ZONE}")) == ["192.0.2.53"]


@pytest.mark.parametrize("name", [f"no.{ZONE}", f"a.b.c.{ZONE}", f"x.{PLAY}", f"www.ns1.{ZONE}"])
@pytest.mark.parametrize("type_", ["A", "TXT", "ANY", "SOA"])
def test_a_name_that_is_not_there_is_denied_with_the_soa(world: DnsWorld, name: str, type_: str) -> None:
    answer = world.ask(name, type_)
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert answer.flags & dns.flags.AA
    assert not answer.answer
    (soa,) = answer.authority
    assert (str(soa.name), soa.rdtype, soa.ttl, soa[0].minimum) == (f"{ZONE}.", dns.rdatatype.SOA, 30, 30)


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        (PLAY, "TXT"),
        (PLAY, "MX"),
        (PUSH, "AAAA"),  # the node in Japan has no IPv6
        (f"example.com.{ZONE}", "A"),  # a name with names below it exists (RFC 8020)
        (f"com.{ZONE}", "NS"),
        (ZONE, "A"),
        (f"ns1.{ZONE}", "TXT"),
    ],
)
def test_a_type_that_is_not_there_is_no_missing_name(world: DnsWorld, name: str, type_: str) -> None:
    answer = world.ask(name, type_, client=IN_JAPAN)
    assert answer.rcode() == dns.rcode.NOERROR
    assert not answer.answer
    assert answer.authority[0].rdtype == dns.rdatatype.SOA


def test_names_between_vanish_with_the_last_name_below(world: DnsWorld) -> None:
    world.zone.set_target("play.example.com", None)
    world.responder.changed()
    assert world.ask(f"com.{ZONE}").rcode() == dns.rcode.NOERROR
    world.zone.set_target("push.example.com", None)
    world.zone.set_target("push.example.com", None)
    world.responder.changed()
    assert world.ask(f"com.{ZONE}").rcode() == dns.rcode.NXDOMAIN
    assert world.ask(PLAY).rcode() == dns.rcode.NXDOMAIN


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["target", "texts"]), st.sampled_from(["a.b", "b", "x.a.b", "c.b", "d", "a.a.a.d"]), st.booleans()
        ),
        max_size=20,
    )
)
def test_a_name_exists_while_anything_stands_at_it_or_below(steps: list[tuple[str, str, bool]]) -> None:
    zone = Zone(ZONE, Dns(nameservers=("ns.example.org",)), (), 1)
    there: set[tuple[str, str]] = set()
    for kind, name, comes in steps:
        if kind == "target":
            zone.set_target(name, Target("edge", "global") if comes else None)
        else:
            zone.set_texts(f"{name}.{ZONE}", ["t"] if comes else None)
        (there.add if comes else there.discard)((kind, name))
    names = {name for _, name in there}
    for name in ("a.b", "b", "x.a.b", "c.b", "d", "a.a.a.d", "a.a.d", "a.d", "e"):
        wanted = any(other == name or other.endswith(f".{name}") for other in names)
        assert zone.exists(pack(f"{name}.{ZONE}")) == wanted


def test_any_gets_the_least_answer(world: DnsWorld) -> None:
    for name in (PLAY, ZONE):
        (records,) = world.ask(name, "ANY").answer
        assert str(records[0]) == '"RFC8482" ""'


def test_texts_put_by_others_are_served_until_they_are_gone(world: DnsWorld) -> None:
    name = f"_acme-challenge.play.example.com.{ZONE}"
    assert world.ask(name, "TXT").rcode() == dns.rcode.NXDOMAIN
    world.zone.set_texts(name, ["one", "x" * 300])
    world.zone.set_texts("_acme-challenge.elsewhere.example.org", ["no"])
    world.responder.changed()
    found = world.ask(name, "TXT").answer[0]
    assert {b"".join(record.strings) for record in found} == {b"one", b"x" * 300}
    assert world.ask(name, "A").rcode() == dns.rcode.NOERROR
    world.zone.set_texts(name, None)
    world.responder.changed()
    assert world.ask(name, "TXT").rcode() == dns.rcode.NXDOMAIN


RECORDS = """
@ 300 CAA 0 issue "ca.example"
@ 300 TXT "hello"
move.example.com 300 CNAME cdn.example.org.
in 300 CNAME play.example.com
gone 300 CNAME nobody
loop 300 CNAME loop
deep.down 60 A 192.0.2.99
play.example.com 60 TXT "kept"
"""


def test_the_operators_file_adds_records(tmp_path: Path) -> None:
    world = DnsWorld(tmp_path, records=RECORDS)
    assert str(world.ask(ZONE, "CAA").answer[0][0]) == '0 issue "ca.example"'
    assert addresses(world.ask(f"deep.down.{ZONE}")) == ["192.0.2.99"]
    assert world.ask(f"down.{ZONE}").rcode() == dns.rcode.NOERROR
    assert str(world.ask(PLAY, "TXT").answer[0][0]) == '"kept"'
    assert addresses(world.ask(PLAY)) == ["192.0.2.1"]


def test_a_cname_is_all_there_is_and_is_followed_within_the_zone(tmp_path: Path) -> None:
    world = DnsWorld(tmp_path, records=RECORDS)
    world.add("move.example.com", "global")
    moved = world.ask(f"move.example.com.{ZONE}")
    assert [str(records[0]) for records in moved.answer] == ["cdn.example.org."]
    inside = world.ask(f"in.{ZONE}")
    assert [records.rdtype for records in inside.answer] == [dns.rdatatype.CNAME, dns.rdatatype.A]
    assert addresses(inside) == ["192.0.2.1"]
    assert str(inside.answer[1].name) == f"{PLAY}."
    assert world.ask(f"gone.{ZONE}").rcode() == dns.rcode.NXDOMAIN
    assert len(world.ask(f"gone.{ZONE}").answer) == 1
    assert world.ask(f"in.{ZONE}", "MX").authority[0].rdtype == dns.rdatatype.SOA
    assert [str(r[0]) for r in world.ask(f"in.{ZONE}", "CNAME").answer] == [f"{PLAY}."]
    assert world.ask(f"loop.{ZONE}").rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize(
    ("records", "complaint"),
    [
        ("* 60 A 192.0.2.1\n", "wildcards are not served"),
        ("a 60 NS ns.example.org.\n", "NS is none of A, AAAA"),
        ("@ 60 CNAME b\n", "a CNAME at the zone itself"),
        ("a 60 A 300.1.1.1\n", r"dns\.records: .*/records:\d"),
        ("$INCLUDE /etc/passwd\n", "dns.records"),
    ],
)
def test_a_file_that_cannot_be_served_is_refused(tmp_path: Path, records: str, complaint: str) -> None:
    with pytest.raises(ZoneError, match=complaint):
        DnsWorld(tmp_path, records=records)


def test_name_servers_are_the_operators_to_name(tmp_path: Path) -> None:
    world = DnsWorld(tmp_path, nameservers=("ns.example.org", f"a.{ZONE}=192.0.2.7/2001:db8::7"), hostmaster="me@example.org")
    answer = world.ask(ZONE, "NS")
    assert {str(record.target) for record in answer.answer[0]} == {"ns.example.org.", f"a.{ZONE}."}
    assert addresses(world.ask(f"a.{ZONE}", "AAAA")) == ["2001:db8::7"]
    assert str(world.ask(ZONE, "SOA").answer[0][0].rname) == "me.example.org."
    with pytest.raises(ZoneError, match=r"dns\.nameservers: `a=b`"):
        DnsWorld(tmp_path, nameservers=("a=b",))


# who gets nothing


@pytest.mark.parametrize("name", ["example.com", ".", "net", f"w{ZONE}", "xw.example.net", "google.com"])
def test_other_zones_are_refused(world: DnsWorld, name: str) -> None:
    answer = world.ask(name)
    assert answer.rcode() == dns.rcode.REFUSED
    assert not answer.flags & dns.flags.AA
    assert not any(answer.sections[1:])


def test_a_label_that_contains_the_zone_is_not_in_the_zone(world: DnsWorld) -> None:
    inner = world.zone.origin[:-1]
    name = bytes((len(inner),)) + inner + b"\0"
    answer = dns.message.from_wire(world.raw(_query(name)) or b"")
    assert answer.rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("type_", ["AXFR", "IXFR"])
@pytest.mark.parametrize("tcp", [False, True])
def test_nobody_may_copy_the_zone(world: DnsWorld, type_: str, tcp: bool) -> None:
    assert world.ask(ZONE, type_, tcp=tcp).rcode() == dns.rcode.REFUSED


def test_other_classes_and_operations_are_refused(world: DnsWorld) -> None:
    chaos = dns.message.make_query("version.bind", "TXT", rdclass=dns.rdataclass.CH)
    assert world.send(chaos).rcode() == dns.rcode.REFUSED
    for opcode in (dns.opcode.NOTIFY, dns.opcode.UPDATE, dns.opcode.STATUS):
        query = dns.message.make_query(PLAY, "A")
        query.set_opcode(opcode)
        answer = dns.message.from_wire(world.raw(query.to_wire()) or b"", ignore_trailing=True)
        assert (answer.rcode(), answer.opcode()) == (dns.rcode.NOTIMP, opcode)


# sizes and EDNS


def test_an_answer_that_is_too_long_is_cut_and_whole_by_tcp(world: DnsWorld) -> None:
    world.zone.set_texts(f"big.{ZONE}", [f"{number} " + "x" * 200 for number in range(12)])
    world.responder.changed()
    for query in (dns.message.make_query(f"big.{ZONE}", "TXT"), dns.message.make_query(f"big.{ZONE}", "TXT", payload=4096)):
        cut = world.send(query)
        assert cut.flags & dns.flags.TC
        assert not any(cut.sections[1:])
        whole = world.send(query, tcp=True)
        assert not whole.flags & dns.flags.TC
        assert len(whole.answer[0]) == 12


def test_without_edns_an_answer_has_512_bytes_and_no_opt(world: DnsWorld) -> None:
    world.zone.set_texts(f"big.{ZONE}", ["x" * 200, "y" * 200, "z" * 200])
    world.responder.changed()
    plain = world.ask(f"big.{ZONE}", "TXT", edns=False)
    assert plain.flags & dns.flags.TC
    assert plain.edns == -1
    assert not world.ask(f"big.{ZONE}", "TXT").flags & dns.flags.TC


def test_edns_is_answered_in_kind(world: DnsWorld) -> None:
    query = dns.message.make_query(PLAY, "A", want_dnssec=True)
    answer = world.send(query)
    assert (answer.edns, answer.payload) == (0, 1232)
    assert answer.ednsflags & dns.flags.DO
    later = dns.message.make_query(PLAY, "A", use_edns=1)
    assert world.send(later).rcode() == dns.rcode.BADVERS
    strange = dns.message.make_query(PLAY, "A", options=[dns.edns.GenericOption("65001", b"?")])
    assert addresses(world.send(strange)) == ["192.0.2.1"]


@pytest.mark.parametrize(
    "option",
    [
        struct.pack("!HBB", 1, 24, 0) + b"\x01\x02",  # too few bytes
        struct.pack("!HBB", 1, 24, 0) + b"\x01\x02\x03\x04",  # too many
        struct.pack("!HBB", 1, 33, 0) + b"\x01\x02\x03\x04\x05",
        struct.pack("!HBB", 1, 20, 0) + b"\x01\x02\x1f",  # bits after the prefix
        struct.pack("!HBB", 1, 24, 24) + b"\x01\x02\x03",  # a scope in a query
        struct.pack("!HBB", 7, 0, 0),
        b"\x00\x01",
        b"",
    ],
)
def test_a_subnet_that_is_none_is_a_format_error(world: DnsWorld, option: bytes) -> None:
    query = dns.message.make_query(PLAY, "A", options=[dns.edns.GenericOption("ECS", option)])
    answer = world.send(query)
    assert (answer.rcode(), answer.question) == (dns.rcode.FORMERR, query.question)
    assert answer.edns == 0  # without it resolvers take us for a server that knows no EDNS (RFC 6891 section 7)


def test_a_cookie_that_is_none_is_a_format_error_of_a_server_that_knows_edns(world: DnsWorld) -> None:
    query = dns.message.make_query(PLAY, "A", options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12")])
    answer = world.send(query)
    assert (answer.rcode(), answer.edns, answer.answer) == (dns.rcode.FORMERR, 0, [])


def test_a_cookie_comes_back_and_frees_from_the_rate_limit(tmp_path: Path) -> None:
    world = DnsWorld(tmp_path, same_answers_per_s=1)
    query = dns.message.make_query(PLAY, "A", options=[dns.edns.CookieOption(b"12345678", b"")])
    (option,) = dns.message.from_wire(world.responder.answer_udp(query.to_wire(), IN_GERMANY) or b"").options
    assert isinstance(option, dns.edns.CookieOption)
    assert (option.client, len(option.server)) == (b"12345678", 8)
    query.use_edns(0, options=[option])
    for _ in range(5):
        assert addresses(dns.message.from_wire(world.responder.answer_udp(query.to_wire(), IN_GERMANY) or b""))
    assert world.limiter.cut + world.limiter.dropped == 0
    others = [world.responder.answer_udp(query.to_wire(), "193.99.144.81") for _ in range(5)]  # the cookie is not its own
    assert None in others


# rate limits


def test_a_network_that_asks_too_much_is_cut_short_or_dropped_until_the_next_second(tmp_path: Path) -> None:
    world = DnsWorld(tmp_path, same_answers_per_s=10)
    query = dns.message.make_query(PLAY, "A").to_wire()
    answers = [world.responder.answer_udp(query, IN_GERMANY) for _ in range(30)]
    assert all(answer is not None and not answer[2] & 2 for answer in answers[:10])
    late = answers[10:]
    assert late.count(None) == 10
    for answer in filter(None, late):
        cut = dns.message.from_wire(answer)
        assert cut.flags & dns.flags.TC
        assert not cut.answer
        assert len(answer) <= len(query)
    assert world.responder.answer_udp(query, IN_JAPAN) is not None
    assert addresses(dns.message.from_wire(world.responder.answer_tcp(query, IN_GERMANY) or b""))
    world.limiter.next_window()
    assert world.responder.answer_udp(query, "193.99.144.200") == answers[0]


def test_names_that_are_not_there_count_as_one_answer(tmp_path: Path) -> None:
    world = DnsWorld(tmp_path, same_answers_per_s=10)
    answers = [
        world.responder.answer_udp(dns.message.make_query(f"{number}.{ZONE}", "A").to_wire(), IN_GERMANY)
        for number in range(30)
    ]
    assert answers.count(None) == 10


def test_all_answers_of_a_network_have_a_bound_too(tmp_path: Path) -> None:
    world = DnsWorld(tmp_path, same_answers_per_s=0, answers_per_s=10)
    query = dns.message.make_query(PLAY, "A").to_wire()
    assert [world.responder.answer_udp(query, IN_GERMANY) for _ in range(12)].count(None) == 1
    loop = [world.responder.answer_udp(query, "127.0.0.1") for _ in range(100)]
    assert None not in loop


# whatever comes


def _query(name: bytes, type_: int = 1, class_: int = 1, *, flags: int = 0, counts: tuple[int, ...] = (1, 0, 0, 0)) -> bytes:
    return struct.pack("!HHHHHH", 7, flags, *counts) + name + struct.pack("!HH", type_, class_)


GOOD = _query(b"\x04play\x07example\x03com\x01w\x07example\x03net\0")
OPT = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)

UGLY = [
    b"",
    GOOD[:11],
    GOOD[:-1],
    GOOD + b"x",
    _query(b"\xc0\x0c"),  # a pointer to itself
    _query(b"\x40" + b"a" * 64 + b"\0"),
    _query(b"\x80\0"),
    _query(b"\x3f" + b"a" * 62),
    _query((b"\x3f" + b"a" * 63) * 4 + b"\0"),
    _query(b"\x03\0\0\0\0"),
    _query(b"\0", 41),
    _query(b"\0", 0, 0),
    _query(b"", counts=(0, 0, 0, 0))[:12],
    _query(b"\0", counts=(2, 0, 0, 0)),
    _query(b"\0", counts=(65535, 65535, 65535, 65535)),
    _query(b"\0", counts=(1, 0, 0, 1)),
    GOOD[:10] + b"\0\2" + GOOD[12:] + OPT + OPT,
    GOOD[:10] + b"\0\1" + GOOD[12:] + OPT[:-1] + b"\x05",
    GOOD[:10] + b"\0\1" + GOOD[12:] + b"\x01a" + OPT,
    GOOD[:10] + b"\0\1" + GOOD[12:] + b"\0" + struct.pack("!HHIH", 41, 0, 0, 4) + struct.pack("!HH", 8, 9),
    GOOD[:10] + b"\0\1" + GOOD[12:] + b"\0" + struct.pack("!HHIH", 41, 0, 0, 11) + struct.pack("!HH", 10, 7) + b"1234567",
    GOOD[:8] + b"\0\1\0\0" + GOOD[12:] + OPT,  # an OPT record where it must not be
    b"\0" * 12,
    b"\xff" * 512,
]


@pytest.mark.parametrize("wire", UGLY)
@pytest.mark.parametrize("tcp", [False, True])
def test_ugly_packets_get_a_short_refusal_or_nothing(world: DnsWorld, wire: bytes, tcp: bool) -> None:
    answer = world.raw(wire, tcp=tcp)
    if len(wire) < 12 or wire[2] & 0x80:
        assert answer is None
    else:
        assert answer is not None
        assert answer[:2] == wire[:2]
        assert answer[3] & 15 in (dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.REFUSED)
        assert len(answer) <= len(wire) + 11


def test_responses_are_never_answered(world: DnsWorld) -> None:
    assert world.raw(GOOD[:2] + b"\x80" + GOOD[3:]) is None


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> DnsWorld:
    return DnsWorld(tmp_path_factory.mktemp("dns"), same_answers_per_s=0, answers_per_s=0)


@given(wire=st.binary(max_size=80))
def test_any_bytes_are_survived(shared: DnsWorld, wire: bytes) -> None:
    _check(shared, wire)


@given(at=st.integers(0, 120), flip=st.integers(1, 255), cut=st.integers(0, 120), subnet=st.booleans())
def test_broken_queries_are_survived(shared: DnsWorld, at: int, flip: int, cut: int, subnet: bool) -> None:
    options: list[dns.edns.Option] = [dns.edns.ECSOption("202.12.27.0", 24)] if subnet else []
    options.append(dns.edns.CookieOption(b"12345678", b"x" * 8))
    wire = bytearray(dns.message.make_query(PLAY, "A", options=options, id=1).to_wire())
    wire[at % len(wire)] ^= flip
    _check(shared, bytes(wire))
    _check(shared, bytes(wire[: cut % len(wire)]))


@given(
    labels=st.lists(st.binary(min_size=1, max_size=63), max_size=4),
    type_=st.integers(0, 65535),
    class_=st.sampled_from([1, 1, 1, 3, 255]),
    flags=st.integers(0, 0x7FFF),
)
def test_any_question_gets_an_answer_that_others_can_read(
    shared: DnsWorld, labels: list[bytes], type_: int, class_: int, flags: int
) -> None:
    name = b"".join(bytes((len(label),)) + label for label in labels) + shared.zone.origin
    answer = _check(shared, _query(name, type_, class_, flags=flags))
    if not flags & 0x7800 and class_ == 1 and len(name) <= 255 and type_ not in (41, 251, 252):
        assert answer is not None
        assert answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


@given(address=st.ip_addresses(), bits=st.integers(0, 128))
def test_any_subnet_gets_an_address_and_a_scope_within_its_width(
    shared: DnsWorld, address: ipaddress.IPv4Address | ipaddress.IPv6Address, bits: int
) -> None:
    bits = min(bits, address.max_prefixlen)
    answer = shared.ask(PLAY, subnet=str(ipaddress.ip_network((int(address), bits), strict=False)))
    assert addresses(answer)
    assert 0 <= (scope(answer) or 0) <= address.max_prefixlen


def _check(world: DnsWorld, wire: bytes) -> dns.message.Message | None:
    answer = world.raw(wire)
    assert (answer is None) == (len(wire) < 12 or bool(wire[2] & 0x80))
    by_tcp = world.raw(wire, tcp=True)
    assert (by_tcp is None) == (answer is None)
    if answer is None:
        return None
    assert len(answer) <= 1232
    return dns.message.from_wire(answer)
