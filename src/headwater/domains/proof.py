"""Looks for the proof that somebody owns a domain: a TXT record in DNS, or a file on the domain's web server.

Reference control-plane 3.6. Names and addresses come from customers, so every question is bounded in time and size, and no
check connects to an address that is not on the public internet unless the operator allows it.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Sequence
from typing import Literal

import dns.asyncquery
import dns.exception
import dns.inet
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset
import httpx
import msgspec

from headwater.access.public import is_public
from headwater.settings import Ownership, SettingsError

RECORD_LABEL = "verification"
"""Host record of the TXT record at the root domain."""
FILE_NAME = "verification.html"

TRIES = 2
"""Times that a DNS question is asked: UDP loses packets."""
NAME_SERVERS_MAX = 4
"""A zone's name servers that are asked; registries ask for two, and few zones have more than four."""
ADDRESSES_MAX = 2
"""Addresses of one host that are tried."""
VALUES_MAX = 10
"""TXT records that are told; a name may have hundreds."""
FILE_MAX_BYTES = 4096
"""What is read of the verification file, which has 39 characters."""
REDIRECTS_MAX = 3
"""To https, to `www`, and one to spare."""
QUOTE_MAX = 100
"""Characters that are told of what was found."""

Outcome = Literal["match", "other", "missing", "failed"]
"""match: the content is there. other: something else is. missing: nothing is. failed: no answer to rely on."""


class Finding(msgspec.Struct, frozen=True):
    """What one place answered. source: who was asked, for instance `resolver 192.0.2.1`. text: a sentence for the owner."""

    source: str
    outcome: Outcome
    text: str


class Server(msgspec.Struct, frozen=True):
    """A DNS server."""

    address: str
    port: int

    def __str__(self) -> str:
        return self.address if self.port == 53 else f"{self.address}:{self.port}"


class _NoAnswer(Exception):
    """A server gave no answer to rely on; the message says what it did instead."""


class ProofFinder:
    """Asks DNS and web servers. Holds nothing between two checks."""

    def __init__(self, settings: Ownership) -> None:
        self._settings = settings
        self._resolvers = [resolver_address(text) for text in settings.resolvers]

    async def in_dns(self, root: str, content: str) -> list[Finding]:
        """Look for the TXT record. Every resolver is asked, and the zone's own servers if none of those knows the record.

        Resolvers remember for a while that a record is missing; the zone's own servers know at once that it has come.
        """
        name = f"{RECORD_LABEL}.{root}"
        try:
            resolvers = self._resolvers or _system_resolvers()
        except dns.exception.DNSException as fault:
            return [
                Finding("resolver", "failed", f"This machine has no DNS resolver ({fault}); set domains.ownership.resolvers.")
            ]
        findings = await asyncio.gather(*(self._txt(f"resolver {server}", server, name, content) for server in resolvers))
        if all(finding.outcome != "match" for finding in findings):
            servers = await self._name_servers(root, resolvers)
            findings += await asyncio.gather(
                *(self._txt(f"name server {host} ({server})", server, name, content) for host, server in servers)
            )
        return findings

    async def in_file(self, root: str, content: str) -> list[Finding]:
        """Look for the file on the web server of the root domain."""
        url = httpx.URL(scheme="http", host=root, port=self._settings.file_port, path=f"/{FILE_NAME}")
        try:
            async with asyncio.timeout(self._settings.file_timeout_s):
                return [await self._file(url, root, content)]
        except TimeoutError:
            return [Finding(str(url), "failed", f"The web server took longer than {self._settings.file_timeout_s:g} s.")]

    # DNS

    async def _txt(self, source: str, server: Server, name: str, content: str) -> Finding:
        try:
            rrset = await self._ask(server, name, dns.rdatatype.TXT)
        except _NoAnswer as fault:
            return Finding(source, "failed", f"It {fault}.")
        if rrset is None:
            return Finding(source, "missing", f"There is no TXT record {name}.")
        values = sorted(b"".join(record.strings).decode("utf-8", "replace") for record in rrset)
        if any(value.strip() == content for value in values):
            return Finding(source, "match", f"The TXT record {name} is there.")
        said = ", ".join(f'"{quoted(value)}"' for value in values[:VALUES_MAX])
        return Finding(source, "other", f"The TXT record {name} says {said}.")

    async def _ask(self, server: Server, name: str, kind: dns.rdatatype.RdataType) -> dns.rrset.RRset | None:
        """The records of a name, CNAMEs followed within the answer; None if there are none. Raises _NoAnswer."""
        timeout_s = self._settings.query_timeout_s
        for tries_left in reversed(range(TRIES)):
            try:
                query = dns.message.make_query(name, kind, use_edns=0, payload=1232)
                response, _ = await dns.asyncquery.udp_with_fallback(
                    query, server.address, timeout_s, server.port, ignore_unexpected=True, ignore_errors=True
                )
                code = response.rcode()
                if code == dns.rcode.NXDOMAIN:
                    return None
                if code != dns.rcode.NOERROR:
                    raise _NoAnswer(f"answered {dns.rcode.to_text(code)}")
                if not isinstance(response, dns.message.QueryMessage):
                    raise _NoAnswer("answered something else than was asked")
                return response.resolve_chaining().answer
            except dns.exception.Timeout:
                if not tries_left:
                    raise _NoAnswer(f"did not answer within {TRIES * timeout_s:g} s") from None
            except (dns.exception.DNSException, EOFError) as fault:
                raise _NoAnswer(f"gave an answer that cannot be read ({type(fault).__name__})") from None
            except OSError as fault:
                raise _NoAnswer(f"cannot be reached ({fault.strerror or fault})") from None
        raise AssertionError("unreachable")

    async def _first_answer(
        self, resolvers: Sequence[Server], name: str, kind: dns.rdatatype.RdataType
    ) -> dns.rrset.RRset | None:
        """The records as the first resolver that answers has them; None if there are none or nobody answers."""
        for server in resolvers:
            try:
                return await self._ask(server, name, kind)
            except _NoAnswer:
                continue
        return None

    async def _name_servers(self, root: str, resolvers: Sequence[Server]) -> list[tuple[str, Server]]:
        """Some of the zone's own name servers, each with an address."""
        records = await self._first_answer(resolvers, root, dns.rdatatype.NS)
        hosts = sorted(record.target.to_text(omit_final_dot=True) for record in records or ())[:NAME_SERVERS_MAX]
        found = await asyncio.gather(*(self._addresses(host, resolvers) for host in hosts))
        return [(host, Server(some[0], self._settings.dns_port)) for host, some in zip(hosts, found, strict=True) if some]

    async def _addresses(self, host: str, resolvers: Sequence[Server]) -> list[str]:
        """The addresses of a host that a check may connect to."""
        found = await asyncio.gather(
            *(self._first_answer(resolvers, host, kind) for kind in (dns.rdatatype.A, dns.rdatatype.AAAA))
        )
        addresses = [record.address for records in found for record in records or ()]
        return [address for address in addresses if self._settings.private_addresses or is_public(address)][:ADDRESSES_MAX]

    # The file

    async def _file(self, url: httpx.URL, root: str, content: str) -> Finding:
        asked = str(url)
        for _ in range(REDIRECTS_MAX + 1):
            try:
                status, location, body = await self._get(url)
            except _NoAnswer as fault:
                return Finding(asked, "failed", f"{url.host} {fault}.")
            where = "It" if str(url) == asked else f"After a redirect, {url}"
            if location:
                try:
                    url = url.join(location)
                except httpx.InvalidURL:
                    return Finding(asked, "failed", f"{where} redirects to something that is no URL.")
                if not self._may_follow(url, root):
                    return Finding(asked, "failed", f"{where} redirects to {quoted(str(url))}, which is not part of {root}.")
                continue
            if status != 200:
                return Finding(asked, "missing" if status == 404 else "failed", f"{where} answers with HTTP status {status}.")
            text = body.decode("utf-8-sig", "replace").strip()
            if text == content:
                return Finding(asked, "match", "The file is there.")
            return Finding(asked, "other", f'{where} holds "{quoted(text)}".')
        return Finding(asked, "failed", f"It redirects more than {REDIRECTS_MAX} times.")

    def _may_follow(self, url: httpx.URL, root: str) -> bool:
        """Only what belongs to the same root can prove anything, and only web servers are asked."""
        inside = url.host == root or url.host.endswith(f".{root}")
        ports = {"http": (80, self._settings.file_port), "https": (443,)}.get(url.scheme, ())
        return inside and (url.port or {"http": 80, "https": 443}.get(url.scheme)) in ports

    async def _get(self, url: httpx.URL) -> tuple[int, str, bytes]:
        """Status, target of a redirect or "", and the beginning of the body. Raises _NoAnswer."""
        try:
            resolvers = self._resolvers or _system_resolvers()
        except dns.exception.DNSException:
            raise _NoAnswer("cannot be looked up: this machine has no DNS resolver; set domains.ownership.resolvers") from None
        addresses = await self._addresses(url.host, resolvers)
        if not addresses:
            raise _NoAnswer("has no address on the public internet")
        fault: httpx.HTTPError | None = None
        async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=self._settings.file_timeout_s) as client:
            for address in addresses:
                # by its address, so that what was checked is what is connected to
                request = client.build_request(
                    "GET",
                    url.copy_with(host=address),
                    headers={"host": url.netloc.decode("ascii"), "accept-encoding": "identity", "user-agent": "Headwater"},
                    extensions={"sni_hostname": url.host},
                )
                try:
                    response = await client.send(request, stream=True)
                    try:
                        if response.is_redirect:
                            return response.status_code, response.headers.get("location", ""), b""
                        return response.status_code, "", await _beginning(response)
                    finally:
                        await response.aclose()
                except httpx.HTTPError as error:
                    fault = error
        raise _NoAnswer(f"could not be asked: {quoted(str(fault)) or type(fault).__name__}")


def resolver_address(text: str) -> Server:
    """`address`, `address:port` or `[v6]:port`. Raises SettingsError."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = text, "53"
    host = host.removeprefix("[").removesuffix("]")
    if not (dns.inet.is_address(host) and port.isdecimal() and 0 < int(port) < 65536):
        raise SettingsError(f"domains.ownership.resolvers: expected an address, or address:port, got `{text}`")
    return Server(host, int(port))


def quoted(text: str) -> str:
    """What a stranger's server said, shortened and without characters that would act on a terminal or a page's layout."""
    plain = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in text[: QUOTE_MAX + 1])
    return plain if len(plain) <= QUOTE_MAX else f"{plain[:QUOTE_MAX]}..."


async def _beginning(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= FILE_MAX_BYTES:
            break
    return bytes(body[:FILE_MAX_BYTES])


def _system_resolvers() -> list[Server]:
    """Raises dns.exception.DNSException."""
    resolver = dns.resolver.Resolver()
    return [Server(str(address), resolver.port) for address in resolver.nameservers]
