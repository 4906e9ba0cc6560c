"""A little DNS server on loopback, over UDP and TCP, whose records and moods a test sets."""

from __future__ import annotations

import contextlib
import socketserver
import struct
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Literal, Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from support.ports import free_port

Mood = Literal["well", "silent", "servfail", "garbage", "truncate"]

CHAIN_MAX = 8
"""CNAME records in one answer: they may go round."""


class NameServer:
    """Answers from `records`: (name, type) to the texts of its records. A name without any record does not exist."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.mood: Mood = "well"
        self.asked: list[tuple[str, str]] = []
        self.address, self.port = address, free_port()
        self._udp = _Udp((address, self.port), _UdpHandler)
        self._tcp = _Tcp((address, self.port), _TcpHandler)
        self._udp.names = self._tcp.names = self
        self._threads = [
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}) for server in (self._udp, self._tcp)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for server, thread in zip((self._udp, self._tcp), self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()

    def txt(self, name: str, *values: str) -> None:
        """Set the TXT records of a name."""
        self.records[name, "TXT"] = [f'"{value}"' for value in values]

    def answer(self, data: bytes, *, tcp: bool) -> bytes | None:
        """The reply to a question."""
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        response = dns.message.make_response(query)
        if self.mood == "silent":
            return None
        if self.mood == "garbage":
            return data[:2] + b"\xff" * 10
        if self.mood == "servfail":
            response.set_rcode(dns.rcode.SERVFAIL)
            return response.to_wire()
        if self.mood == "truncate" and not tcp:
            response.flags |= dns.flags.TC
            return response.to_wire()
        while (name, "CNAME") in self.records and kind != "CNAME" and len(response.answer) < CHAIN_MAX:
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", *self.records[name, "CNAME"]))
            name = self.records[name, "CNAME"][0].removesuffix(".")
        if (name, kind) in self.records:
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, *self.records[name, kind]))
        elif not any(known == name for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()


class _Udp(socketserver.ThreadingUDPServer):
    names: NameServer


class _Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    names: NameServer


class _UdpHandler(socketserver.BaseRequestHandler):
    server: _Udp

    def handle(self) -> None:
        data, sock = self.request
        reply = self.server.names.answer(data, tcp=False)
        if reply is not None:
            sock.sendto(reply, self.client_address)


class _TcpHandler(socketserver.StreamRequestHandler):
    server: _Tcp

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            (size,) = struct.unpack("!H", self.rfile.read(2))
            reply = self.server.names.answer(self.rfile.read(size), tcp=True)
            if reply is not None:
                self.wfile.write(struct.pack("!H", len(reply)) + reply)


@contextlib.contextmanager
def name_servers(count: int) -> Iterator[list[NameServer]]:
    """Several servers."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(NameServer()) for _ in range(count)]
