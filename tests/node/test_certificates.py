"""Which certificate a TLS handshake is answered with, tried on handshakes in memory."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from headwater.access.certificate import CERTIFICATE_PREFIX, DomainCertificate, encode_certificate
from headwater.node.certificates import Certificates
from support.certificates import Authority, Issued, client_context


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def certificates(tmp_path: Path, authority: Authority) -> Certificates:
    issued = authority.issue("operator.test")
    (tmp_path / "chain.pem").write_text(issued.chain_pem)
    (tmp_path / "key.pem").write_text(issued.key_pem)
    return Certificates(str(tmp_path / "chain.pem"), str(tmp_path / "key.pem"))


def give(certificates: Certificates, domain: str, issued: Issued, *, enabled: bool = True) -> None:
    kept = DomainCertificate(enabled=enabled, chain=issued.chain_pem, key=issued.key_pem)
    certificates.changed(CERTIFICATE_PREFIX + domain, encode_certificate(kept))


def shown(certificates: Certificates, name: str) -> str:
    """The common name of the certificate that a client is shown who asks for this name."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(to_client, to_server, server_hostname=name)
    server = certificates.context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    der = client.getpeercert(binary_form=True)
    assert der is not None
    [common_name] = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(common_name.value)


def test_a_domain_with_a_leading_dot_gives_its_certificate_to_every_subdomain(
    certificates: Certificates, authority: Authority
) -> None:
    give(certificates, ".example.com", authority.issue("*.example.com"))
    for name in ("a.example.com", "A.Example.Com", "b.a.example.com", "d.c.b.a.example.com"):
        assert shown(certificates, name) == "*.example.com"
    for name in ("example.com", "notexample.com", "a.example.org", "com", "localhost"):
        assert shown(certificates, name) == "operator.test"


def test_the_nearest_name_wins_and_an_own_certificate_before_all(certificates: Certificates, authority: Authority) -> None:
    give(certificates, ".example.com", authority.issue("*.example.com"))
    give(certificates, ".live.example.com", authority.issue("*.live.example.com"))
    give(certificates, "own.live.example.com", authority.issue("own.live.example.com"))
    assert shown(certificates, "own.live.example.com") == "own.live.example.com"
    assert shown(certificates, "other.live.example.com") == "*.live.example.com"
    assert shown(certificates, "live.example.com") == "*.example.com"
    certificates.changed(f"{CERTIFICATE_PREFIX}.live.example.com", None)
    assert shown(certificates, "other.live.example.com") == "*.example.com"


def test_tls_that_is_switched_off_is_refused_for_every_subdomain(certificates: Certificates, authority: Authority) -> None:
    give(certificates, ".example.com", authority.issue("*.example.com"), enabled=False)
    with pytest.raises(ssl.SSLError, match="CALLBACK_FAILED"):
        shown(certificates, "a.example.com")
