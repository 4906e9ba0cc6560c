"""The certificate of the TLS listeners: the operator's own, or a self-signed one made at first start."""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headwater.settings import SettingsError, Tls

NAMES = ("localhost", "*.localhost", "*.demo.localhost")
"""A wildcard stands for one label only (RFC 6125, section 6.4.3), so the demo's domains need one of their own."""

ADDRESSES = ("127.0.0.1", "::1")

VALIDITY = datetime.timedelta(days=825)
"""The longest validity that Apple's systems accept for a certificate which the user has trusted by hand."""

RENEW_BEFORE = datetime.timedelta(days=30)
"""A certificate that ends so soon is made anew at start."""


def certificate(settings: Tls, directory: Path, now: datetime.datetime) -> tuple[Path, Path]:
    """Paths of certificate and key as PEM files; makes the self-signed pair in `directory` if none is configured.

    Raises SettingsError if a configured file cannot be read or only one of the two is given.
    """
    if settings.certificate or settings.key:
        return _configured(settings.certificate, "tls.certificate"), _configured(settings.key, "tls.key")
    certificate_file, key_file = directory / "certificate.pem", directory / "key.pem"
    if not (certificate_file.exists() and key_file.exists()) or _ends_soon(certificate_file, now):
        _make(certificate_file, key_file, now)
    return certificate_file, key_file


def _configured(name: str, setting: str) -> Path:
    if not name:
        raise SettingsError(f"{setting}: tls.certificate and tls.key must be set both or neither")
    path = Path(name).absolute()
    if not os.access(path, os.R_OK):
        raise SettingsError(f"{setting}: cannot read {path}")
    return path


def _ends_soon(file: Path, now: datetime.datetime) -> bool:
    try:
        return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc - now < RENEW_BEFORE
    except ValueError:
        return True


def _make(certificate_file: Path, key_file: Path, now: datetime.datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Headwater, self-signed")])
    names = [x509.DNSName(name) for name in NAMES]
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # a client's clock may be a little behind
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(key_file, pem, 0o600)
    _write(certificate_file, built.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Replace the file in one step, with its rights right from the first moment."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    new.replace(path)
