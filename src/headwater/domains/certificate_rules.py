"""The rules of certificates and their private keys, as pure functions: what is accepted, and for which domains it is good."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headwater.domains.errors import DomainError, error
from headwater.domains.rules import format_time

CHAIN_MAX_BYTES = 64 * 1024
"""A certificate for a hundred names with three above it has a fifth of this; every TLS client must read it all."""

CHAIN_MAX_CERTIFICATES = 10
"""OpenSSL's clients give up at a depth of 100, others at 10; real chains have two to four."""

KEY_MAX_BYTES = 16 * 1024
"""An RSA key of 4096 bits has 3.3 kB as PEM."""

RSA_BITS_MIN, RSA_BITS_MAX = 2048, 4096
"""The least that authorities and OpenSSL's security level 2 accept; each doubling of the bits makes a handshake some six times
as dear, and anybody may ask for one."""

CURVES = (ec.SECP256R1, ec.SECP384R1)
"""The curves that every browser and phone takes in a certificate."""

HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
"""Certificates signed over SHA-1 or MD5 can be forged, and clients refuse them."""

EXPIRES_SOON_S = 30 * 86_400.0
"""From when on a certificate's state is `expire_soon`."""

_NAME = re.compile(r"[A-Za-z0-9_.*-]{1,128}", re.ASCII)
_KEY_BLOCK = re.compile(r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----", re.DOTALL)


class CertificateFacts(msgspec.Struct, frozen=True):
    """What a certificate says. Times are unix seconds.

    chain: PEM, the certificate first, then those above it. names: DNS names, lower-case. issuer: who issued it, as RFC 4514
    writes it; organization: the same in a word.
    """

    chain: str
    key_type: str
    common_name: str
    issuer: str
    organization: str
    names: tuple[str, ...]
    fingerprint: str
    not_before_s: float
    not_after_s: float


class KeyPair(CertificateFacts, frozen=True):
    """A certificate that has passed the rules, with its private key as PEM."""

    key: str


def certificate_name(text: str) -> str:
    """A name under which an account may keep a certificate. Raises InvalidCertName.Malformed."""
    if not _NAME.fullmatch(text):
        raise error("InvalidCertName.Malformed", "Use 1 to 128 letters, digits, and `_ . * -`.")
    return text


def read_pair(chain: str, key: str, now_s: float) -> KeyPair:
    """Check a certificate, its chain and its key, given as PEM.

    The certificate is the one that belongs to the key; the others must be the certificates above it, in any order.
    Raises InvalidSSLPub.Malformed, InvalidSSLPub.Expired, InvalidSSLPub.Weak, InvalidSSLPri.Malformed, Certificate.MissMatch.
    """
    private = _private_key(key)
    certificates = read_certificates(chain)
    try:
        ordered = _ordered(certificates, private.public_key())
        _check(ordered, now_s)
        said = _describe(ordered)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as fault:
        raise _malformed(f"A certificate cannot be understood: {fault}.") from fault
    plain = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return KeyPair(**msgspec.structs.asdict(said), key=plain.decode())


def describe(text: str) -> CertificateFacts:
    """What the first certificate of a PEM text says, whatever it is good for. Raises InvalidSSLPub.Malformed."""
    try:
        return _describe(read_certificates(text)[:1])
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as fault:
        raise _malformed(f"The certificate cannot be understood: {fault}.") from fault


def read_certificates(text: str) -> list[x509.Certificate]:
    """The certificates of a PEM text. Raises InvalidSSLPub.Malformed."""
    if len(text) > CHAIN_MAX_BYTES:
        raise _malformed(f"The certificates have more than {CHAIN_MAX_BYTES} bytes.")
    if "PRIVATE KEY-----" in text:
        raise _malformed("It holds a private key, which belongs into SSLPri.")
    count = text.count("-----BEGIN CERTIFICATE-----")
    if not count:
        raise _malformed("Expected PEM that begins with -----BEGIN CERTIFICATE-----.")
    if count > CHAIN_MAX_CERTIFICATES:
        raise _malformed(f"It holds {count} certificates; a chain has at most {CHAIN_MAX_CERTIFICATES}.")
    try:
        certificates = x509.load_pem_x509_certificates(text.encode())
    except (ValueError, UnsupportedAlgorithm) as fault:
        raise _malformed("A certificate in it is damaged.") from fault
    if len(certificates) != count:
        raise _malformed("A certificate in it is damaged.")
    return certificates


def decode_parameter(text: str) -> str:
    """The PEM of a parameter that is to be Base64 of PEM, perhaps URL-encoded once more; PEM itself is taken, too.

    That is how DescribeLiveDomainByCertificate takes SSLPub (reference control-plane 2.2). Raises InvalidSSLPub.Malformed.
    """
    plain = unquote(text) if "%" in text else text
    if "-----BEGIN" in plain:
        return plain
    try:
        return base64.b64decode("".join(plain.split()), validate=True).decode("ascii")
    except (binascii.Error, ValueError) as fault:
        raise _malformed("Expected the PEM text in Base64.") from fault


def covers(names: Iterable[str], domain: str) -> bool:
    """True if a certificate with these names is good for the domain: a wildcard stands for one label (RFC 6125, 6.4.3)."""
    parent = "*." + domain.partition(".")[2]
    return any(name in (domain, parent) for name in names)


def check_covers(names: Sequence[str], domain: str) -> None:
    """Raises InvalidSSLPub.DomainMismatch that says for which names the certificate is."""
    if not covers(names, domain):
        shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        raise error("InvalidSSLPub.DomainMismatch", f"It is for {shown}, not for {domain}.")


def state(names: Sequence[str], not_after_s: float, domain: str, now_s: float) -> str:
    """`ok`, `mismatch`, `expired` or `expire_soon`, as DescribeLiveHttpsDomainList calls it."""
    if not covers(names, domain):
        return "mismatch"
    if not_after_s <= now_s:
        return "expired"
    return "expire_soon" if not_after_s - now_s <= EXPIRES_SOON_S else "ok"


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names that the certificate is for; its common name if it has no such extension (RFC 6125, 6.4.4)."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        names = [common_name(certificate)]
    else:
        names = extension.value.get_values_for_type(x509.DNSName)
    return tuple(dict.fromkeys(name.lower().rstrip(".") for name in names if name))


def common_name(certificate: x509.Certificate) -> str:
    """The common name of its subject, "" if it has none."""
    return _attribute(certificate.subject, NameOID.COMMON_NAME)


def key_type(key: PublicKeyTypes) -> str:
    """`RSA`, `ECDSA`, `DSA` or `OTHER`."""
    match key:
        case rsa.RSAPublicKey():
            return "RSA"
        case ec.EllipticCurvePublicKey():
            return "ECDSA"
        case dsa.DSAPublicKey():
            return "DSA"
        case _:
            return "OTHER"


def _private_key(text: str) -> PrivateKeyTypes:
    if len(text) > KEY_MAX_BYTES:
        raise _bad_key(f"The key has more than {KEY_MAX_BYTES} bytes.")
    blocks = [match.group(0) for match in _KEY_BLOCK.finditer(text)]
    if len(blocks) != 1:
        found = f"{len(blocks)} keys" if blocks else "none"
        raise _bad_key(f"Expected one private key as PEM, which begins with -----BEGIN PRIVATE KEY-----; found {found}.")
    block = blocks[0]
    if "ENCRYPTED" in block:
        raise _bad_key("The key is encrypted with a passphrase; decrypt it first (openssl pkey -in KEY -out PLAIN).")
    try:
        key = serialization.load_pem_private_key(block.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as fault:
        raise _bad_key("The key is damaged or of an unknown kind.") from fault
    _check_strength(key.public_key())
    return key


def _check_strength(key: PublicKeyTypes) -> None:
    match key:
        case rsa.RSAPublicKey() if RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
            return
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, CURVES):
            return
        case rsa.RSAPublicKey():
            found = f"RSA of {key.key_size} bits"
        case ec.EllipticCurvePublicKey():
            found = f"the curve {key.curve.name}"
        case _:
            found = key_type(key)
    raise error(
        "InvalidSSLPub.Weak", f"Use RSA of {RSA_BITS_MIN} to {RSA_BITS_MAX} bits, or ECDSA on P-256 or P-384; not {found}."
    )


def _ordered(certificates: list[x509.Certificate], public: PublicKeyTypes) -> list[x509.Certificate]:
    """The key's certificate, then each one's issuer. Raises Certificate.MissMatch, InvalidSSLPub.Malformed."""
    rest = list(dict.fromkeys(certificates))
    own = [certificate for certificate in rest if _is_for(certificate, public)]
    if not own:
        raise error("Certificate.MissMatch")
    if len(own) > 1:
        raise _malformed("It holds several certificates for this key; give one, with the certificates above it.")
    chain = own
    rest.remove(own[0])
    while rest:
        above = next((certificate for certificate in rest if _issued(certificate, chain[-1])), None)
        if above is None:
            stranger = rest[0].subject.rfc4514_string()
            raise _malformed(f"`{stranger}` is not above `{chain[-1].subject.rfc4514_string()}`: give one chain.")
        chain.append(above)
        rest.remove(above)
    return chain


def _is_for(certificate: x509.Certificate, public: PublicKeyTypes) -> bool:
    try:
        return certificate.public_key() == public
    except (ValueError, UnsupportedAlgorithm):
        return False


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check(chain: Sequence[x509.Certificate], now_s: float) -> None:
    for certificate in chain:
        which = f"`{certificate.subject.rfc4514_string()}`"
        begins_s, ends_s = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
        if ends_s <= now_s:
            raise error("InvalidSSLPub.Expired", f"{which} ended at {format_time(ends_s)}.")
        if begins_s > now_s:
            raise error("InvalidSSLPub.Expired", f"{which} begins only at {format_time(begins_s)}.")
        self_signed = certificate.issuer == certificate.subject  # clients trust it by itself or not at all
        if not self_signed and not isinstance(certificate.signature_hash_algorithm, HASHES):
            raise error("InvalidSSLPub.Weak", f"{which} is not signed over SHA-256, SHA-384 or SHA-512.")
    if not names_of(chain[0]):
        raise _malformed("The certificate is for no DNS name.")
    try:
        usage = chain[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.SERVER_AUTH not in usage and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usage:
        raise _malformed("The certificate is not for servers (its extended key usage lacks serverAuth).")


def _describe(chain: Sequence[x509.Certificate]) -> CertificateFacts:
    own = chain[0]
    names = names_of(own)
    return CertificateFacts(
        chain="".join(certificate.public_bytes(serialization.Encoding.PEM).decode() for certificate in chain),
        key_type=key_type(own.public_key()),
        common_name=common_name(own) or (names[0] if names else ""),
        issuer=own.issuer.rfc4514_string(),
        organization=_attribute(own.issuer, NameOID.ORGANIZATION_NAME) or _attribute(own.issuer, NameOID.COMMON_NAME),
        names=names,
        fingerprint=own.fingerprint(hashes.SHA256()).hex(),
        not_before_s=own.not_valid_before_utc.timestamp(),
        not_after_s=own.not_valid_after_utc.timestamp(),
    )


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    values = name.get_attributes_for_oid(oid)
    value = values[0].value if values else ""
    return value if isinstance(value, str) else ""


def _malformed(detail: str) -> DomainError:
    return error("InvalidSSLPub.Malformed", detail)


def _bad_key(detail: str) -> DomainError:
    return error("InvalidSSLPri.Malformed", detail)
