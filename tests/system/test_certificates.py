"""HTTPS and RTMPS of the real program: which certificate a TLS client is shown, and how it changes under running viewers."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from support import api_clients
from support.api import REGION, Api, Pair
from support.api_clients import CLIENTS, Caller, Refusal
from support.certificates import Authority, Issued, ec_key, rsa_key
from support.flv import FlvTag
from support.players import HttpViewer
from support.server import Server, running
from support.tls import TlsClient, TlsFlvViewer, shown_to
from support.wait import until, within

AUTHORITY = Authority()
ROOT = AUTHORITY.root.certificate


@pytest.fixture(params=["tea-v3", "classic"])
def call(request: pytest.FixtureRequest, server: Server, api: Api) -> Iterator[Caller]:
    """Both SDKs, as the account of the shared server."""
    key = (api.account.access_key_id, api.account.access_key_secret)
    yield CLIENTS[request.param](f"127.0.0.1:{server.ports['api']}", *key)
    api_clients.close_connections()


@pytest.fixture
def https(server: Server) -> int:
    return server.ports["https"]


def switch_on(api: Api, domain: str, issued: Issued, **options: str) -> None:
    chain, key = issued.chain_pem, issued.key_pem
    api.call("SetLiveDomainCertificate", domain_name=domain, sslprotocol="on", sslpub=chain, sslpri=key, **options)


def shown_within_a_second(port: int, domain: str, issued: Issued) -> None:
    def shown() -> bool:
        try:
            return shown_to(port, domain) == issued.der
        except (ssl.SSLError, ConnectionError):
            return False  # a worker that does not know yet that HTTPS is on

    within(1, shown, f"{domain} shows the certificate")


@pytest.mark.parametrize("key", [ec_key(), rsa_key()], ids=["ECDSA", "RSA"])
def test_each_name_is_shown_its_own_certificate(server: Server, api: Api, pair: Pair, https: int, key: Any) -> None:
    default = shown_to(https, None)
    for domain in (pair.ingest, pair.streaming):
        assert shown_to(https, domain) == default
        issued = AUTHORITY.issue(domain, key=key)
        switch_on(api, domain, issued)
        shown_within_a_second(https, domain, issued)
        shown_within_a_second(server.ports["rtmps"], domain, issued)
        shown_within_a_second(https, domain.upper(), issued)
        with TlsClient(https, domain, ROOT) as client:  # a client that checks all of it
            assert client.socket.version() == "TLSv1.3"
            assert client.socket.selected_alpn_protocol() == "http/1.1"
    for name in (None, "localhost", f"deeper.{pair.streaming}", "nobody.test"):
        assert shown_to(https, name) == default


def test_tls_1_2_is_spoken_and_1_1_is_not(api: Api, pair: Pair, https: int) -> None:
    issued = AUTHORITY.issue(pair.streaming)
    switch_on(api, pair.streaming, issued)
    shown_within_a_second(https, pair.streaming, issued)
    for name in (pair.streaming, "nobody.test"):
        with TlsClient(https, name, maximum_version=ssl.TLSVersion.TLSv1_2) as client:
            assert client.socket.version() == "TLSv1.2"
        with pytest.raises(ssl.SSLError), pytest.warns(DeprecationWarning, match="TLSv1_1"):
            TlsClient(https, name, maximum_version=ssl.TLSVersion.TLSv1_1)


def test_rtmp_goes_on_after_the_name_was_chosen(server: Server, api: Api, pair: Pair) -> None:
    issued = AUTHORITY.issue(pair.ingest)
    switch_on(api, pair.ingest, issued)
    port = server.ports["rtmps"]
    shown_within_a_second(port, pair.ingest, issued)
    with TlsClient(port, pair.ingest, ROOT) as client:
        client.socket.sendall(b"\x03" + bytes(1536))
        received = b""
        while len(received) < 1 + 2 * 1536:
            received += client.socket.recv(65536)
        assert received[:1] == b"\x03"


def test_switched_off_the_handshake_is_refused_and_on_again_it_works(api: Api, pair: Pair, https: int) -> None:
    issued = AUTHORITY.issue(pair.streaming)
    switch_on(api, pair.streaming, issued, cert_name="again")
    shown_within_a_second(https, pair.streaming, issued)
    api.call("SetLiveDomainCertificate", domain_name=pair.streaming, sslprotocol="off")
    detail = api.call("DescribeLiveDomainDetail", domain_name=pair.streaming)["DomainDetail"]
    assert (detail["SSLProtocol"], detail["CertName"], detail["SSLPub"]) == ("off", "", "")

    def refused() -> bool:
        try:
            return not shown_to(https, pair.streaming)
        except (ssl.SSLError, ConnectionError):
            return True

    until(refused, "the handshake is refused", 1)
    assert shown_to(https, pair.ingest)
    api.call("SetLiveDomainCertificate", domain_name=pair.streaming, sslprotocol="on", cert_type="cas", cert_name="again")
    shown_within_a_second(https, pair.streaming, issued)


def test_a_new_certificate_costs_a_viewer_no_byte(server: Server, api: Api, live: Pair, https: int) -> None:
    first = AUTHORITY.issue(live.streaming)
    switch_on(api, live.streaming, first, cert_name="swapped")
    shown_within_a_second(https, live.streaming, first)
    parts = urlsplit(live.play_url("flv"))
    with (
        TlsFlvViewer(https, f"{parts.path}?{parts.query}", live.streaming, ROOT) as viewer,
        HttpViewer(live.play_url("flv")) as plain,
    ):
        viewer.wait_frames(5)
        start = plain.wait_frames(5)[-1].timestamp_ms
        for _ in range(5):
            latest = AUTHORITY.issue(live.streaming)
            switch_on(api, live.streaming, latest, cert_name="swapped", force_set="1")
            shown_within_a_second(https, live.streaming, latest)
        end = start + 2000
        seen, expected = (between(one.wait_time(end), start, end) for one in (viewer, plain))
        assert seen == expected
        assert sum(tag.kind == 9 for tag in seen) >= 45
        assert viewer.client.shown == first.der
        api.call("SetLiveDomainCertificate", domain_name=live.streaming, sslprotocol="off")
        viewer.wait_time(end + 1000)  # who is here stays


def between(tags: list[FlvTag], start_ms: int, end_ms: int) -> list[FlvTag]:
    return [tag for tag in tags if tag.is_frame and start_ms < tag.timestamp_ms < end_ms]


def test_a_restart_keeps_certificates(tmp_path_factory: pytest.TempPathFactory) -> None:
    issued = AUTHORITY.issue("kept.test")
    folder = tmp_path_factory.mktemp("kept")
    with running(data_dir=folder) as server:
        api = Api(server, server.account())
        api.call("AddLiveDomain", domain_name="kept.test", live_domain_type="liveVideo", region=REGION)
        switch_on(api, "kept.test", issued)
    assert issued.key_pem.split("\n")[1].encode() not in b"".join(file.read_bytes() for file in folder.glob("headwater.db*"))
    with running(data_dir=folder) as server:
        assert shown_to(server.ports["https"], "kept.test") == issued.der  # from its first moment on


def test_the_six_operations(call: Caller, api: Api, pair: Pair) -> None:
    domain = pair.streaming
    issued = AUTHORITY.issue(domain, key=rsa_key())
    secret = {"SSLPub": issued.chain_pem, "SSLPri": issued.key_pem}
    name = f"cert-{domain}"
    (before,) = call("DescribeLiveDomainCertificateInfo", DomainName=domain)["CertInfos"]["CertInfo"]
    assert (before["SSLProtocol"], before["CertName"], before["Status"]) == ("off", "", "")

    call("SetLiveDomainCertificate", DomainName=domain, SSLProtocol="on", CertName=name, DryRun=True, **secret)
    assert call("DescribeLiveCertificateList", DomainName=domain)["CertificateListModel"]["Count"] == 0
    call("SetLiveDomainCertificate", DomainName=domain, SSLProtocol="on", CertType="upload", CertName=name, **secret)

    detail = call("DescribeLiveDomainDetail", DomainName=domain)["DomainDetail"]
    assert (detail["SSLProtocol"], detail["CertName"], detail["SSLPub"]) == ("on", name, issued.chain_pem)
    (info,) = call("DescribeLiveDomainCertificateInfo", DomainName=domain)["CertInfos"]["CertInfo"]
    assert info["CertExpireTime"] == issued.certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    wanted = {
        "CertDomainName": domain,
        "CertLife": "3 months",
        "CertName": name,
        "CertOrg": "Headwater Tests",
        "CertType": "upload",
        "DomainName": domain,
        "SSLProtocol": "on",
        "SSLPub": issued.chain_pem,
        "Status": "success",
    }
    assert {key: info[key] for key in wanted} == wanted

    listed = call("DescribeLiveCertificateList", DomainName=domain)["CertificateListModel"]
    (entry,) = listed["CertList"]["Cert"]
    assert (listed["Count"], entry["CertName"], entry["Common"]) == (1, name, domain)
    assert entry["Issuer"] == "CN=Test Intermediate,O=Headwater Tests"
    kept = call("DescribeLiveCertificateDetail", CertName=name)
    assert (kept["CertId"], kept["Cert"]) == (entry["CertId"], issued.chain_pem)

    page = call("DescribeLiveHttpsDomainList", Keyword=domain[:-5], PageNumber=1, PageSize=10)
    (on,) = page["CertInfos"]["CertInfo"]
    assert (page["TotalCount"], on["DomainName"], on["CertStatus"], on["CertCommonName"]) == (1, domain, "ok", domain)

    encoded = base64.b64encode(issued.pem.encode()).decode()
    for status, domains in ((True, domain), (False, "")):
        (match,) = call("DescribeLiveDomainByCertificate", SSLPub=encoded, SSLStatus=status)["CertInfos"]["CertInfo"]
        assert (match["DomainList"], match["DomainNames"], match["CertType"]) == (domains, domain, "RSA")
        assert (match["CertExpired"], match["CertExpireTime"][-3:]) == ("no", "GMT")

    other = AUTHORITY.issue(domain)
    with pytest.raises(Refusal, match=r"400 Certificate\.Duplicated: .*The certificate name is duplicated"):
        call(
            "SetLiveDomainCertificate",
            DomainName=domain,
            SSLProtocol="on",
            CertName=name,
            SSLPub=other.pem,
            SSLPri=other.key_pem,
        )


def refusals(domain: str) -> dict[str, tuple[dict[str, str], str]]:
    good, other = AUTHORITY.issue(domain), AUTHORITY.issue("other.test")
    pair = {"SSLPub": good.pem, "SSLPri": good.key_pem}
    return {
        "no such protocol": ({"SSLProtocol": "yes"}, "400 InvalidSSLProtocol.ValueNotSupported"),
        "no such type": ({"CertType": "bought"}, "400 InvalidCertType.ValueNotSupported"),
        "no certificate": ({}, "400 SSLPub.MissingParameter"),
        "no key": ({"SSLPub": good.pem}, "400 SSLPri.MissingParameter"),
        "wrong key": ({**pair, "SSLPri": other.key_pem}, "400 Certificate.MissMatch"),
        "garbage": ({**pair, "SSLPub": "garbage"}, "400 InvalidSSLPub.Malformed"),
        "wrong name": ({"SSLPub": other.pem, "SSLPri": other.key_pem}, "400 InvalidSSLPub.DomainMismatch"),
        "hostile name": ({**pair, "CertName": "<script>"}, "400 InvalidCertName.Malformed"),
        "no free ones here": ({"CertType": "free"}, "400 FreeCertificate.NotAvailable"),
        "unknown name": ({"CertType": "cas", "CertName": "absent"}, "404 Certificate.NotFound"),
        "unknown domain": ({**pair, "DomainName": "absent.test"}, "404 InvalidDomain.NotFound"),
        "no domain name": ({**pair, "DomainName": "*.test"}, "400 InvalidDomainName.Malformed"),
    }


@pytest.mark.parametrize("case", list(refusals("x.test")))
def test_what_is_wrong_is_told_by_its_code(case: str, server: Server, api: Api, live: Pair) -> None:
    call = CLIENTS["tea-v3"](f"127.0.0.1:{server.ports['api']}", api.account.access_key_id, api.account.access_key_secret)
    parameters, error = refusals(live.ingest)[case]
    with pytest.raises(Refusal) as refused:
        call("SetLiveDomainCertificate", **{"DomainName": live.ingest, "SSLProtocol": "on", **parameters})
    assert str(refused.value).startswith(error + ": ")
    assert call("DescribeLiveCertificateList", DomainName=live.ingest)["CertificateListModel"]["Count"] == 0


def test_a_hostile_server_name_harms_nobody(server: Server, https: int) -> None:
    for name in (b"\xff\xfe", b"a\0b.test", b"." * 16, b"\n\r\x1b[2J"):
        with socket.create_connection(("127.0.0.1", https), timeout=10) as raw:
            raw.sendall(client_hello(name))
            assert raw.recv(1) in (b"\x15", b"\x16", b"")  # an alert, a ServerHello, or the end
    assert shown_to(https, "a" * 63 + ".test") == shown_to(https, None)
    assert "Traceback" not in server.said()


def client_hello(name: bytes) -> bytes:
    """OpenSSL's ClientHello with another server name of 16 bytes (RFC 6066, section 3)."""
    placeholder = "placeholder.test"
    outgoing = ssl.MemoryBIO()
    connection = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=placeholder)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read().replace(placeholder.encode(), name.ljust(16, b"\xff"))
