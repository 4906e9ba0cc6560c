"""The certificate of the TLS listeners: made once, for the names that we listen on, and never readable by others."""

from __future__ import annotations

import datetime
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from headwater import tls
from headwater.settings import SettingsError, Tls

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_the_first_start_makes_a_certificate_and_later_ones_keep_it(tmp_path: Path) -> None:
    certificate, key = tls.certificate(Tls(), tmp_path / "tls", NOW)
    made = certificate.read_bytes(), key.read_bytes()
    assert tls.certificate(Tls(), tmp_path / "tls", NOW + datetime.timedelta(days=300)) == (certificate, key)
    assert (certificate.read_bytes(), key.read_bytes()) == made
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)


def test_the_key_is_for_the_owner_only(tmp_path: Path) -> None:
    _, key = tls.certificate(Tls(), tmp_path / "tls", NOW)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700


def test_it_is_for_the_names_that_a_demo_uses(tmp_path: Path) -> None:
    certificate, _ = tls.certificate(Tls(), tmp_path, NOW)
    parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "*.localhost", "*.demo.localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert parsed.not_valid_before_utc <= NOW < parsed.not_valid_after_utc


@pytest.mark.parametrize("spoil", ["expired", "garbage", "no key"])
def test_a_certificate_that_cannot_serve_is_made_anew(tmp_path: Path, spoil: str) -> None:
    certificate, key = tls.certificate(Tls(), tmp_path, NOW)
    old = certificate.read_bytes()
    now = NOW
    match spoil:
        case "expired":
            now = NOW + tls.VALIDITY
        case "garbage":
            certificate.write_bytes(b"no certificate")
        case "no key":
            key.unlink()
    tls.certificate(Tls(), tmp_path, now)
    assert certificate.read_bytes() != old
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)


def test_the_operators_own_files_are_used(tmp_path: Path) -> None:
    certificate, key = tls.certificate(Tls(), tmp_path / "made", NOW)
    assert tls.certificate(Tls(str(certificate), str(key)), tmp_path / "other", NOW) == (certificate, key)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["certificate", "key"])
def test_half_a_pair_and_missing_files_are_named(tmp_path: Path, name: str) -> None:
    certificate, key = tls.certificate(Tls(), tmp_path, NOW)
    good = {"certificate": str(certificate), "key": str(key)}
    for bad in ("", str(tmp_path / "absent")):
        with pytest.raises(SettingsError, match=rf"tls\.{name}"):
            tls.certificate(Tls(**{**good, name: bad}), tmp_path, NOW)
