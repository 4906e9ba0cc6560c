"""What certificates and keys are accepted, and what each bad one is told."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from headwater.domains import certificate_rules as rules
from headwater.domains.errors import DomainError
from support.certificates import Authority, Issued, ec_key, key_pem, make, pem, rsa_key

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
NOW_S = NOW.timestamp()
AUTHORITY = Authority(NOW)
GOOD = AUTHORITY.issue("play.example.com", "*.live.example.com")
OTHER = AUTHORITY.issue("play.example.com")
DAY = datetime.timedelta(days=1)


def read(chain: str, key: str) -> rules.KeyPair:
    return rules.read_pair(chain, key, NOW_S)


def refusal(chain: str, key: str) -> DomainError:
    with pytest.raises(DomainError) as refused:
        read(chain, key)
    return refused.value


def test_a_good_pair_says_all_about_itself() -> None:
    pair = read(GOOD.chain_pem, GOOD.key_pem)
    assert pair.chain == GOOD.chain_pem
    assert pair.key == GOOD.key_pem
    assert pair.names == ("play.example.com", "*.live.example.com")
    assert (pair.common_name, pair.organization, pair.key_type) == ("play.example.com", "Headwater Tests", "ECDSA")
    assert pair.issuer == "CN=Test Intermediate,O=Headwater Tests"
    assert pair.fingerprint == GOOD.certificate.fingerprint(hashes.SHA256()).hex()
    assert (pair.not_before_s, pair.not_after_s) == (NOW_S - 86400, NOW_S + 90 * 86400)


@pytest.mark.parametrize(
    ("key", "kind"),
    [(rsa_key(), "RSA"), (ec_key(), "ECDSA"), (ec_key(ec.SECP384R1()), "ECDSA")],
    ids=["RSA 2048", "P-256", "P-384"],
)
@pytest.mark.parametrize("traditional", [False, True], ids=["PKCS8", "traditional"])
def test_the_usual_keys_are_taken_in_both_forms(key: Any, kind: str, traditional: bool) -> None:
    issued = AUTHORITY.issue("play.example.com", key=key)
    pair = read(issued.chain_pem, key_pem(key, traditional=traditional))
    assert pair.key_type == kind
    assert pair.key == key_pem(key)


def test_a_chain_in_any_order_is_put_in_order() -> None:
    shuffled = pem(AUTHORITY.root.certificate, AUTHORITY.intermediate.certificate, GOOD.certificate, GOOD.certificate)
    ordered = pem(GOOD.certificate, AUTHORITY.intermediate.certificate, AUTHORITY.root.certificate)
    assert read(shuffled, GOOD.key_pem).chain == ordered


def test_windows_lines_text_around_and_curve_parameters_do_no_harm() -> None:
    chain = "subject=CN = play\n" + GOOD.chain_pem.replace("\n", "\r\n") + "\n\n"
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert read(chain, parameters + key_pem(GOOD.key, traditional=True)).chain == GOOD.chain_pem


def test_a_self_signed_certificate_is_taken() -> None:
    own = make("play.example.com", ec_key(), NOW - DAY, NOW + DAY, names=("play.example.com",))
    assert read(own.pem, own.key_pem).organization == "Headwater Tests"


def test_without_alternative_names_the_common_name_counts() -> None:
    own = make("Play.Example.com", ec_key(), NOW - DAY, NOW + DAY)
    assert read(own.pem, own.key_pem).names == ("play.example.com",)


def weak(key: Any) -> Issued:
    return AUTHORITY.issue("play.example.com", key=key)


def issued_by_expired() -> Issued:
    old = make("Old", ec_key(), NOW - 9 * DAY, NOW - DAY, issuer=AUTHORITY.root, ca=True)
    return make("play.example.com", ec_key(), NOW - DAY, NOW + DAY, issuer=old, names=("play.example.com",))


BAD: dict[str, tuple[Callable[[], tuple[str, str]], str, str]] = {
    "the key of another certificate": (lambda: (GOOD.chain_pem, OTHER.key_pem), "Certificate.MissMatch", "private key"),
    "only the intermediate": (lambda: (AUTHORITY.intermediate.pem, GOOD.key_pem), "Certificate.MissMatch", ""),
    "no PEM": (lambda: ("hello", GOOD.key_pem), "InvalidSSLPub.Malformed", "BEGIN CERTIFICATE"),
    "an empty certificate": (
        lambda: ("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", GOOD.key_pem),
        "InvalidSSLPub.Malformed",
        "damaged",
    ),
    "Base64 of garbage": (
        lambda: ("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", GOOD.key_pem),
        "InvalidSSLPub.Malformed",
        "damaged",
    ),
    "half a certificate": (lambda: (GOOD.pem[:300], GOOD.key_pem), "InvalidSSLPub.Malformed", "damaged"),
    "one good and one damaged": (
        lambda: (GOOD.pem + AUTHORITY.intermediate.pem[:200], GOOD.key_pem),
        "InvalidSSLPub.Malformed",
        "damaged",
    ),
    "the key in the wrong place": (lambda: (GOOD.chain_pem + GOOD.key_pem, GOOD.key_pem), "InvalidSSLPub.Malformed", "SSLPri"),
    "both swapped": (lambda: (GOOD.key_pem, GOOD.chain_pem), "InvalidSSLPri.Malformed", "BEGIN PRIVATE KEY"),
    "a huge text": (lambda: (GOOD.chain_pem + " " * 65536, GOOD.key_pem), "InvalidSSLPub.Malformed", "65536 bytes"),
    "too many certificates": (lambda: (GOOD.pem * 11, GOOD.key_pem), "InvalidSSLPub.Malformed", "at most 10"),
    "several chains": (
        lambda: (GOOD.chain_pem + Authority(NOW).intermediate.pem, GOOD.key_pem),
        "InvalidSSLPub.Malformed",
        "one chain",
    ),
    "two certificates for one key": (
        lambda: (GOOD.pem + AUTHORITY.issue("b.example.com", key=GOOD.key).pem, GOOD.key_pem),
        "InvalidSSLPub.Malformed",
        "several certificates",
    ),
    "a gap in the chain": (
        lambda: (pem(GOOD.certificate, AUTHORITY.root.certificate), GOOD.key_pem),
        "InvalidSSLPub.Malformed",
        "Test Root",
    ),
    "ended": (lambda: pair_of(AUTHORITY.issue("a.example.com", days=-0.5)), "InvalidSSLPub.Expired", "ended at 2026-05-31"),
    "not begun": (
        lambda: pair_of(AUTHORITY.issue("a.example.com", begins=NOW + DAY)),
        "InvalidSSLPub.Expired",
        "begins only at 2026-06-02",
    ),
    "under an ended one": (lambda: pair_of(issued_by_expired()), "InvalidSSLPub.Expired", "CN=Old"),
    "not for servers": (
        lambda: pair_of(AUTHORITY.issue("a.example.com", usage=ExtendedKeyUsageOID.CLIENT_AUTH)),
        "InvalidSSLPub.Malformed",
        "serverAuth",
    ),
    "RSA of 1024 bits": (lambda: pair_of(weak(rsa_key(1024))), "InvalidSSLPub.Weak", "RSA of 1024 bits"),
    "an unusual curve": (lambda: pair_of(weak(ec_key(ec.SECP256K1()))), "InvalidSSLPub.Weak", "secp256k1"),
    "Ed25519": (lambda: pair_of(weak(ed25519.Ed25519PrivateKey.generate())), "InvalidSSLPub.Weak", "OTHER"),
    "signed over SHA-224": (
        lambda: pair_of(AUTHORITY.issue("a.example.com", algorithm=hashes.SHA224())),
        "InvalidSSLPub.Weak",
        "SHA-256",
    ),
    "an encrypted key": (lambda: (GOOD.chain_pem, key_pem(GOOD.key, b"secret")), "InvalidSSLPri.Malformed", "passphrase"),
    "an encrypted key of the old form": (
        lambda: (GOOD.chain_pem, key_pem(GOOD.key, b"secret", traditional=True)),
        "InvalidSSLPri.Malformed",
        "passphrase",
    ),
    "no key": (lambda: (GOOD.chain_pem, "no key"), "InvalidSSLPri.Malformed", "found none"),
    "a damaged key": (
        lambda: (GOOD.chain_pem, "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n"),
        "InvalidSSLPri.Malformed",
        "damaged",
    ),
    "two keys": (lambda: (GOOD.chain_pem, GOOD.key_pem + OTHER.key_pem), "InvalidSSLPri.Malformed", "found 2 keys"),
    "a huge key": (lambda: (GOOD.chain_pem, GOOD.key_pem + " " * 16384), "InvalidSSLPri.Malformed", "16384 bytes"),
}


def pair_of(issued: Issued) -> tuple[str, str]:
    return issued.chain_pem, issued.key_pem


@pytest.mark.parametrize("name", BAD)
def test_a_bad_pair_is_refused_and_told_why(name: str) -> None:
    make_pair, code, words = BAD[name]
    error = refusal(*make_pair())
    assert (error.code, error.status) == (code, 400)
    assert words in error.message


@given(st.text(max_size=300), st.sampled_from(["", "-----BEGIN CERTIFICATE-----\n", GOOD.pem]))
def test_no_text_does_more_than_be_refused(text: str, before: str) -> None:
    for chain, key in ((before + text, GOOD.key_pem), (GOOD.pem, text)):
        try:
            read(chain, key)
        except DomainError as error:
            assert error.status == 400


@given(st.integers(0, len(GOOD.pem) - 1), st.integers(0, 255))
def test_one_damaged_byte_makes_no_other_trouble(at: int, byte: int) -> None:
    der = bytearray(GOOD.der)
    der[at % len(der)] = byte
    text = "-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(bytes(der)).decode() + "-----END CERTIFICATE-----\n"
    try:
        rules.describe(text)
        read(text, GOOD.key_pem)
    except DomainError as error:
        assert error.status == 400


@pytest.mark.parametrize(
    ("names", "domain", "good"),
    [
        (("play.example.com",), "play.example.com", True),
        (("*.example.com",), "play.example.com", True),
        (("*.example.com",), "a.play.example.com", False),
        (("*.example.com",), "example.com", False),
        (("*.com",), "example.com", True),
        (("other.example.com", "play.example.com"), "play.example.com", True),
        (("*.play.example.com",), "play.example.com", False),
        (("p*.example.com",), "play.example.com", False),
        (("*",), "play.example.com", False),
    ],
)
def test_a_wildcard_stands_for_one_whole_label(names: tuple[str, ...], domain: str, good: bool) -> None:
    assert rules.covers(names, domain) is good


def test_who_asks_for_another_domain_is_told_the_names() -> None:
    with pytest.raises(DomainError, match=r"It is for a\.test, \*\.b\.test, not for c\.test"):
        rules.check_covers(("a.test", "*.b.test"), "c.test")


@pytest.mark.parametrize(
    ("ends_in_days", "domain", "state"),
    [(31, "a.test", "ok"), (30, "a.test", "expire_soon"), (0, "a.test", "expired"), (31, "b.test", "mismatch")],
)
def test_the_state_of_a_certificate(ends_in_days: float, domain: str, state: str) -> None:
    assert rules.state(("a.test",), NOW_S + ends_in_days * 86400, domain, NOW_S) == state


@pytest.mark.parametrize("name", ["", "a b", "a/b", "free:a.test", "x" * 129, "ü", "<b>", "a\nb", "';--"])
def test_names_of_certificates_are_plain(name: str) -> None:
    with pytest.raises(DomainError, match=r"InvalidCertName\.Malformed"):
        rules.certificate_name(name)
    assert rules.certificate_name("*.example.com_2026-1") == "*.example.com_2026-1"


def test_the_parameter_comes_as_base64_once_more_encoded_or_plain() -> None:
    encoded = base64.b64encode(GOOD.pem.encode()).decode()
    for text in (GOOD.pem, encoded, quote(encoded, safe=""), quote(GOOD.pem, safe=""), "\n".join([encoded[:64], encoded[64:]])):
        assert rules.decode_parameter(text) == GOOD.pem
    for text in ("%%%", "no base64!", "ü", base64.b64encode(b"\xff\xfe").decode()):
        with pytest.raises(DomainError, match=r"InvalidSSLPub\.Malformed"):
            rules.decode_parameter(text)


def test_what_is_described_need_not_be_acceptable() -> None:
    old = AUTHORITY.issue("a.example.com", key=rsa_key(1024), days=-0.5)
    said = rules.describe(old.pem + OTHER.pem)
    assert (said.common_name, said.key_type, said.chain) == ("a.example.com", "RSA", old.pem)


def test_a_certificate_without_any_name_is_described_but_not_used() -> None:
    key = ec_key()
    empty = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .sign(key, hashes.SHA256())
    )
    assert rules.describe(pem(empty)).names == ()
    assert "no DNS name" in refusal(pem(empty), key_pem(key)).message
