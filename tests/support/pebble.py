"""Pebble, a real ACME server for tests (Debian's package `pebble`), and the resolver that it asks."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import httpx
from cryptography import x509

from support.certificates import Authority, client_context
from support.ports import free_port
from support.programs import program
from support.wait import until

EAB_KEY_ID, EAB_KEY = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


class Resolver:
    """A recursive resolver, as far as Pebble can tell: every name has the address 127.0.0.1.

    absent: names that do not exist. cnames: aliases, followed. texts: what finds the TXT records of a name.
    """

    def __init__(self, texts: Callable[[str], Iterable[str]] = lambda _: ()) -> None:
        self.absent: set[str] = set()
        self.cnames: dict[str, str] = {}
        self.texts = texts
        resolver = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, connection = self.request
                connection.sendto(resolver.answer(data), self.client_address)

        self._server = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, data: bytes) -> bytes:
        """The answer to one query."""
        query = dns.message.from_wire(data)
        question = query.question[0]
        response = dns.message.make_response(query, recursion_available=True)
        name = question.name
        asked = name.to_text(omit_final_dot=True).lower()
        if asked in self.absent:
            response.set_rcode(dns.rcode.NXDOMAIN)
            return response.to_wire()
        if asked in self.cnames:
            alias = dns.rrset.from_text(name, 1, "IN", "CNAME", self.cnames[asked] + ".")
            response.answer.append(alias)
            asked = self.cnames[asked]
            name = alias[0].target
        if question.rdtype == dns.rdatatype.A:
            response.answer.append(dns.rrset.from_text(name, 1, "IN", "A", "127.0.0.1"))
        elif question.rdtype == dns.rdatatype.TXT and (texts := list(self.texts(asked))):
            response.answer.append(dns.rrset.from_text(name, 1, "IN", "TXT", *(f'"{text}"' for text in texts)))
        return response.to_wire()


class Pebble:
    """A running Pebble. directory: its URL. ca_file: what its own HTTPS is checked with."""

    def __init__(
        self,
        folder: Path,
        resolver: Resolver,
        *,
        port: int | None = None,
        http_port: int = 1,
        validity_s: int = 90 * 86400,
        eab: bool = False,
        **environ: str,
    ) -> None:
        self.port = port or free_port()
        management = free_port()
        self.directory = f"https://localhost:{self.port}/dir"
        self.ca_file = folder / "pebble-ca.pem"
        authority = Authority()
        own = authority.issue("localhost")
        files = {"certificate.pem": own.chain_pem, "key.pem": own.key_pem, "pebble-ca.pem": authority.root.pem}
        for name, content in files.items():
            (folder / name).write_text(content)
        config: dict[str, Any] = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{management}",
            "certificate": str(folder / "certificate.pem"),
            "privateKey": str(folder / "key.pem"),
            "httpPort": http_port,
            "tlsPort": 1,
            "externalAccountBindingRequired": eab,
            "externalAccountMACKeys": {EAB_KEY_ID: EAB_KEY} if eab else {},
            "certificateValidityPeriod": validity_s,
        }
        (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
        self._log = (folder / "pebble.log").open("w")
        self._process = subprocess.Popen(
            [program("pebble"), "-strict", "-config", str(folder / "pebble.json"), "-dnsserver", resolver.address],
            env={**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0", **environ},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._web = httpx.Client(base_url=f"https://localhost:{management}", verify=client_context(authority.root.certificate))
        self.root = x509.load_pem_x509_certificate(until(self._read_root, "pebble answers", 10))

    def _read_root(self) -> bytes | None:
        try:
            return self._web.get("/roots/0").content
        except httpx.TransportError:
            assert self._process.poll() is None, "pebble ended"
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._web.close()
        self._process.terminate()
        self._process.wait()
        self._log.close()
