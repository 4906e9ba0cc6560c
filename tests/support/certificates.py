"""A certificate authority for tests: chains of any kind, good and bad, and what a TLS client is shown."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

DAY = datetime.timedelta(days=1)
YEARS = datetime.timedelta(days=3650)

CA_USAGE = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)
"""What an authority's certificate is for."""


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key; made once for each size, for that takes its time."""
    return rsa.generate_private_key(65537, bits)


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """A new key on P-256, or on another curve."""
    return ec.generate_private_key(curve or ec.SECP256R1())


@dataclass(frozen=True)
class Issued:
    """A certificate with its key and the certificates above it, its issuer first."""

    certificate: x509.Certificate
    key: PrivateKey
    above: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> str:
        """The certificate alone."""
        return pem(self.certificate)

    @property
    def chain_pem(self) -> str:
        """The certificate and what is above it, but for the root."""
        return pem(self.certificate, *self.above[:-1])

    @property
    def key_pem(self) -> str:
        return key_pem(self.key)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)


class Authority:
    """A root with one intermediate authority, which issues. `now` is the time at which everything is valid."""

    def __init__(self, now: datetime.datetime | None = None) -> None:
        self.now = (now or datetime.datetime.now(datetime.UTC)).replace(microsecond=0)
        self.root = make("Test Root", ec_key(), self.now - DAY, self.now + YEARS, ca=True)
        self.intermediate = make("Test Intermediate", ec_key(), self.now - DAY, self.now + YEARS, issuer=self.root, ca=True)

    def issue(self, *names: str, key: PrivateKey | None = None, days: float = 90, **options: Any) -> Issued:
        """A certificate for these DNS names that began yesterday and ends in so many days."""
        begins = options.pop("begins", self.now - DAY)
        ends = self.now + datetime.timedelta(days=days)
        return make(names[0], key or ec_key(), begins, ends, issuer=self.intermediate, names=names, **options)


def make(
    common_name: str,
    key: PrivateKey,
    begins: datetime.datetime,
    ends: datetime.datetime,
    *,
    issuer: Issued | None = None,
    names: tuple[str, ...] = (),
    ca: bool = False,
    usage: x509.ObjectIdentifier | None = None,
    organization: str = "Headwater Tests",
    algorithm: hashes.SHA256 | hashes.SHA224 | None = None,
) -> Issued:
    """A certificate, self-signed without an issuer; `names`, addresses too, become its subjectAltName."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        # Python 3.13 and newer take no chain without these, nor an authority without its usage.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if ca:
        builder = builder.add_extension(CA_USAGE, critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
    if not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage or ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    chosen = None if isinstance(signer, ed25519.Ed25519PrivateKey) else algorithm or hashes.SHA256()
    above = (issuer.certificate, *issuer.above) if issuer else ()
    return Issued(builder.sign(signer, chosen), key, above)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def pem(*certificates: x509.Certificate) -> str:
    """Certificates as one PEM text."""
    return "".join(certificate.public_bytes(serialization.Encoding.PEM).decode() for certificate in certificates)


def key_pem(key: PrivateKey, passphrase: bytes | None = None, *, traditional: bool = False) -> str:
    """A key as PEM: PKCS #8, or the older form of OpenSSL."""
    form = serialization.PrivateFormat.TraditionalOpenSSL if traditional else serialization.PrivateFormat.PKCS8
    seal = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, seal).decode()


def client_context(root: x509.Certificate | None = None) -> ssl.SSLContext:
    """A TLS client that trusts this root alone, or takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if root is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=pem(root))
    return context
