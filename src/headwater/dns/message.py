"""Reads queries, which may be anything, and packs what answers are made of (RFC 1035, RFC 6891, RFC 7871, RFC 7873)."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from headwater.dns.names import end_of

HEADER_BYTES = 12

RECORDS_MAX = 16
"""Records that a query may carry besides its question; resolvers send one or two (EDNS, a signature)."""

A: Final = 1
NS: Final = 2
CNAME: Final = 5
SOA: Final = 6
HINFO: Final = 13
TXT: Final = 16
AAAA: Final = 28
OPT: Final = 41
IXFR: Final = 251
AXFR: Final = 252
ANY: Final = 255

IN: Final = 1

NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
BADVERS: Final = 16

QR: Final = 0x8000
AA: Final = 0x0400
TC: Final = 0x0200
RD: Final = 0x0100
OPCODE: Final = 0x7800
DO: Final = 0x8000

CLIENT_SUBNET: Final = 8
COOKIE: Final = 10

SUBNET_AT: Final = 19
"""Where the value of a client subnet is after the question's name, if it is the only option of the only record: type and class
(4 bytes), the OPT record (11), code and length of the option (4)."""

NAME_POINTER: Final = b"\xc0\x0c"
"""A name that is the question's: a pointer to where every question begins (RFC 1035 section 4.1.4)."""

_HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_OPTION = struct.Struct("!HH")
_ONE_RECORD: Final = struct.pack("!HHHH", 1, 0, 0, 1)
_SUBNET = struct.Struct("!HBB")


class MessageError(Exception):
    """A query that cannot be answered with more than this code.

    query: as far as it was read, if its EDNS options are what is wrong. Its answer must have an OPT record, or resolvers take
    us for a server that knows no EDNS (RFC 6891 section 7).
    """

    def __init__(self, rcode: int, query: Query | None = None) -> None:
        super().__init__(rcode)
        self.rcode = rcode
        self.query = query


class Subnet(NamedTuple):
    """The client subnet of a query. family: 1 for IPv4, 2 for IPv6. address: only its first `source` bits, in whole bytes."""

    family: int
    source: int
    address: bytes


class Query(NamedTuple):
    """One question. name: as asked, its case kept. edns: whether an OPT record came; the fields after it come from there."""

    flags: int
    name: bytes
    type: int
    class_: int
    edns: bool = False
    payload: int = 512
    version: int = 0
    dnssec: bool = False
    subnet: Subnet | None = None
    cookie: bytes = b""


def parse(message: bytes) -> Query:
    """The question of a message. Raises MessageError.

    The caller has made sure that there is a whole header, and that it is a query, not a response.
    """
    _, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(message)
    if flags & OPCODE:
        raise MessageError(NOTIMP)
    if questions != 1 or answers + authorities + additionals > RECORDS_MAX:
        raise MessageError(FORMERR)
    try:
        at = end_of(message, HEADER_BYTES)
        type_, class_ = _QUESTION.unpack_from(message, at)
        query = Query(flags, message[HEADER_BYTES:at], type_, class_)
        at += 4
        for number in range(answers + authorities + additionals):
            root = message[at] == 0
            at = _skip_name(message, at)
            record_type, record_class, ttl, length = _RECORD.unpack_from(message, at)
            at += _RECORD.size
            if at + length > len(message):
                raise MessageError(FORMERR)
            if record_type == OPT:
                if query.edns or not root or number < answers + authorities:
                    raise MessageError(FORMERR)
                try:
                    query = _with_edns(query, record_class, ttl, message[at : at + length])
                except (MessageError, struct.error):
                    raise MessageError(FORMERR, query._replace(edns=True)) from None
            at += length
    except (ValueError, IndexError, struct.error):
        raise MessageError(FORMERR) from None
    if at != len(message):
        raise MessageError(FORMERR)
    return query


def _skip_name(message: bytes, at: int) -> int:
    """Past a name that may end with a pointer, which is not followed: what it says does not matter here."""
    while (length := message[at]) != 0:
        if length >= 0xC0:
            return at + 2
        if length > 63:
            raise MessageError(FORMERR)
        at += length + 1
    return at + 1


def _with_edns(query: Query, payload: int, extended: int, options: bytes) -> Query:
    subnet: Subnet | None = None
    cookie = b""
    at = 0
    version = extended >> 16 & 0xFF
    while at < len(options) and not version:  # another version may lay its options out in another way
        code, length = _OPTION.unpack_from(options, at)
        at += _OPTION.size
        value = options[at : at + length]
        if len(value) != length:
            raise MessageError(FORMERR)
        at += length
        if code == CLIENT_SUBNET:
            if subnet is not None:
                raise MessageError(FORMERR)
            subnet = _subnet(value)
        elif code == COOKIE:
            # RFC 7873 section 4: 8 bytes of the client's, and none or 8 to 32 of the server's
            if length != 8 and not 16 <= length <= 40:
                raise MessageError(FORMERR)
            cookie = value
    return query._replace(
        edns=True,
        payload=max(payload, 512),  # RFC 6891 section 6.2.3
        version=version,
        dnssec=bool(extended & DO),
        subnet=subnet,
        cookie=cookie,
    )


def _subnet(value: bytes) -> Subnet:
    """RFC 7871 section 6, with the checks of section 7.1.2: the very bytes that the prefix needs, and zeros after it."""
    family, source, scope = _SUBNET.unpack_from(value)
    address = value[_SUBNET.size :]
    width = {0: 0, 1: 32, 2: 128}.get(family)  # 0 comes without an address, from who only wants to hide one
    if width is None or source > width or scope or len(address) != (source + 7) // 8:
        raise MessageError(FORMERR)
    if source % 8 and address[-1] & (0xFF >> source % 8):
        raise MessageError(FORMERR)
    return Subnet(family, source, address)


def header(id_: bytes, flags: int, questions: int, answers: int, authorities: int, additionals: int) -> bytes:
    """The header of an answer to the query with these two bytes of id."""
    return id_ + _HEADER.pack(0, flags, questions, answers, authorities, additionals)[2:]


def record(owner: bytes, type_: int, ttl_s: int, data: bytes) -> bytes:
    """A resource record of class IN."""
    return owner + _RECORD.pack(type_, IN, ttl_s, len(data)) + data


def text_data(text: str) -> bytes:
    """The data of a TXT record: strings of at most 255 bytes (RFC 1035 section 3.3.14)."""
    raw = text.encode()
    return b"".join(bytes((len(raw[at : at + 255]),)) + raw[at : at + 255] for at in range(0, len(raw), 255)) or b"\0"


def opt_record(payload: int, rcode: int, dnssec: bool, options: bytes) -> bytes:
    """The OPT record of an answer (RFC 6891 section 6.1)."""
    extended = (rcode >> 4) << 24 | (DO if dnssec else 0)
    return b"\0" + _RECORD.pack(OPT, payload, extended, len(options)) + options


def subnet_value(subnet: Subnet, scope: int) -> bytes:
    """The value of the option; its fourth byte is the scope."""
    return _SUBNET.pack(subnet.family, subnet.source, scope) + subnet.address


def is_subnet_shape(message: bytes, shape: bytes, value: bytes) -> bool:
    """Whether the only record of a message is OPT, and its only option a client subnet. shape: what follows the name."""
    opt = b"\0" + OPT.to_bytes(2)
    lengths = (len(value) + _OPTION.size).to_bytes(2), CLIENT_SUBNET.to_bytes(2) + len(value).to_bytes(2)
    return message[4:HEADER_BYTES] == _ONE_RECORD and shape[4:7] == opt and (shape[13:15], shape[15:]) == lengths


def subnet_option(subnet: Subnet, scope: int) -> bytes:
    """A client subnet as it is echoed, with the prefix for which the answer holds (RFC 7871 section 7.2.1)."""
    data = subnet_value(subnet, scope)
    return _OPTION.pack(CLIENT_SUBNET, len(data)) + data


def cookie_option(cookie: bytes) -> bytes:
    """A whole cookie: the client's and the server's part (RFC 7873 section 4)."""
    return _OPTION.pack(COOKIE, len(cookie)) + cookie
