"""Free certificates with the whole program and a real ACME server: proved through our own edge, renewed, failed, repaired."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dns.message
import dns.query
import httpx
import pytest

from support.api import REGION, Api
from support.pebble import Pebble, Resolver
from support.ports import free_port
from support.server import Server, running
from support.tls import shown_to
from support.wait import until

pytestmark = pytest.mark.xdist_group("free certificates")

VALIDITY_S = 9
"""A certificate is renewed after 6 s."""


@dataclass
class Place:
    """A server whose certificates Pebble issues."""

    server: Server
    api: Api
    pebble: Pebble
    resolver: Resolver
    http: str
    acme: dict[str, str]
    dns_port: int

    def add(self, domain: str) -> None:
        self.api.call("AddLiveDomain", domain_name=domain, live_domain_type="liveVideo", region=REGION)
        until(lambda: self.api.call("DescribeLiveDomainDetail", domain_name=domain), "added", 5)

    def switch_on(self, domain: str) -> None:
        self.api.call("SetLiveDomainCertificate", domain_name=domain, sslprotocol="on", cert_type="free")

    def texts(self, name: str) -> list[str]:
        """The TXT records of a name in the operator's zone, as our DNS answers."""
        query = dns.message.make_query(name, "TXT")
        answer = dns.query.udp(query, "127.0.0.1", port=self.dns_port, timeout=5)
        return [record.to_text().strip('"') for rrset in answer.answer for record in rrset]

    def shown(self, domain: str) -> bytes:
        """The certificate of a domain, if a client that trusts the authority is content with it."""
        try:
            return shown_to(self.server.ports["https"], domain, self.pebble.root)
        except OSError:  # ssl.SSLError is one
            return b""

    def info(self, domain: str) -> dict[str, str]:
        (info,) = self.api.call("DescribeLiveDomainCertificateInfo", domain_name=domain)["CertInfos"]["CertInfo"]
        return {str(name): str(value) for name, value in info.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("pebble")
    port, http_port, dns_port = free_port(), free_port(), free_port()
    with Resolver() as resolver, Pebble(folder, resolver, port=port, http_port=http_port, validity_s=VALIDITY_S) as pebble:
        acme = {
            "acme.directory": pebble.directory,
            "acme.agree_terms": "true",
            "acme.ca_file": str(pebble.ca_file),
            "acme.settle_s": "0.1",
            "acme.retry_s": "0.5",
        }
        settings = {**acme, "listen.http": f"127.0.0.1:{http_port}", "listen.dns": f"127.0.0.1:{dns_port}"}
        with running(settings) as server:
            yield Place(server, Api(server, server.account()), pebble, resolver, settings["listen.http"], acme, dns_port)


def test_a_free_certificate_comes_through_our_own_edge_and_is_renewed(place: Place) -> None:
    place.add("free.test")
    assert place.info("free.test")["SSLProtocol"] == "off"
    place.switch_on("free.test")
    assert place.info("free.test")["Status"] in ("applying", "success")
    first = until(lambda: place.shown("free.test"), "the certificate is shown", 15)
    info = place.info("free.test")
    assert (info["CertType"], info["CertName"], info["Status"]) == ("free", "free:free.test", "success")
    assert info["CertOrg"].startswith("Pebble Intermediate CA")

    def renewed() -> bool:
        now = place.shown("free.test")
        assert now, "there was no good certificate for a moment"
        return now != first

    until(renewed, "the next certificate is shown", 15)
    assert place.info("free.test")["CertName"] == "free:free.test"
    place.api.call("SetLiveDomainCertificate", domain_name="free.test", sslprotocol="off")


def test_what_fails_is_said_and_goes_on_by_itself_once_repaired(place: Place) -> None:
    place.resolver.absent.add("broken.test")
    place.add("broken.test")
    place.switch_on("broken.test")
    until(lambda: place.info("broken.test")["Status"] == "failed", "the order failed", 15)
    said = place.server.wait_log("certificate not issued", domain="broken.test")
    assert (said["level"], said["type"]) == ("warning", "connection")
    metrics = httpx.get(f"http://127.0.0.1:{place.server.ports['metrics']}/metrics").text
    assert "headwater_certificate_orders_failing 1.0" in metrics
    place.resolver.absent.discard("broken.test")
    until(lambda: place.shown("broken.test"), "the certificate is shown", 15)
    place.api.call("SetLiveDomainCertificate", domain_name="broken.test", sslprotocol="off")


def test_a_free_certificate_is_proved_by_our_own_dns(place: Place) -> None:
    """The domain has no address at all; only the challenge's name is delegated to us."""
    place.add("dns.test")
    cname = place.api.call("DescribeLiveDomainDetail", domain_name="dns.test")["DomainDetail"]["Cname"]
    place.resolver.absent.add("dns.test")
    place.resolver.cnames["_acme-challenge.dns.test"] = f"_acme-challenge.{cname}"
    place.resolver.texts = place.texts
    flags = [flag for name in place.acme for flag in ("--set", f"{name}={place.acme[name]}")]
    said = place.server.run("certificate", "issue", "dns.test", "--challenge", "dns-01", *flags)
    assert f"needs the CNAME record _acme-challenge.dns.test to _acme-challenge.{cname}" in said
    place.add("wake.test")
    place.switch_on("wake.test")  # which makes the server look at once
    until(lambda: place.shown("dns.test"), "the certificate is shown", 15)
    until(lambda: not place.texts(f"_acme-challenge.{cname}"), "the record is gone", 5)
    for domain in ("dns.test", "wake.test"):
        place.api.call("SetLiveDomainCertificate", domain_name=domain, sslprotocol="off")


def test_the_operator_orders_and_looks_by_command(place: Place) -> None:
    place.resolver.absent.add("command.test")
    place.add("command.test")
    flags = [flag for name in place.acme for flag in ("--set", f"{name}={place.acme[name]}")]
    made = json.loads(place.server.run("certificate", "issue", "command.test", "--json", *flags))
    assert (made["enabled"], made["type"], made["issuance"]["status"]) == (True, "free", "waiting")
    place.add("other.test")
    place.switch_on("other.test")  # which makes the server look at once
    until(lambda: place.info("command.test")["Status"] == "failed", "the order failed", 15)
    said = "free certificate: failed, by http-01\nThe authority could not connect to command.test"
    until(lambda: said in place.server.run("certificate", "show", "command.test"), "the command says so", 15)
    until(lambda: place.shown("other.test"), "the certificate is shown", 15)
    assert "other.test  on  free:other.test  expire_soon" in place.server.run("certificate", "list", "--days", "1")
    for domain in ("command.test", "other.test"):
        place.api.call("SetLiveDomainCertificate", domain_name=domain, sslprotocol="off")


def test_nobody_else_finds_answers_to_challenges(place: Place) -> None:
    for path in ("", "x", "../../etc/passwd", "%2e%2e/x", "a/b", "x" * 300):
        answer = httpx.get(f"http://{place.http}/.well-known/acme-challenge/{path}", headers={"Host": "free.test"})
        assert answer.status_code == 404


def test_bad_settings_are_named_at_the_start(tmp_path: Path) -> None:
    server = Server(tmp_path, {"acme.directory": "http://plain.test/dir"})
    assert server.process.wait(20) != 0
    server.kill()
    assert "acme.directory" in server.said()
