"""What media nodes and the DNS must know of certificates: the certificate of each domain and the answers to ACME challenges.

Certificates travel through `cluster/` under `certificate/<domain>`. The answers to challenges are there only as long as an
order runs, under a lease: `acme-http/<domain>/<token>` holds the text that the web answers at CHALLENGE_PATH (RFC 8555,
section 8.3), `dns-txt/<name>` a JSON list of the strings of the TXT records of that name (section 8.4).
"""

from __future__ import annotations

import msgspec

CERTIFICATE_PREFIX = "certificate/"
HTTP_CHALLENGE_PREFIX = "acme-http/"
DNS_TXT_PREFIX = "dns-txt/"

CHALLENGE_PATH = "/.well-known/acme-challenge/"


class DomainCertificate(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of `certificate/<domain>`; a domain without one gets the operator's certificate.

    enabled: False once the domain's owner has switched HTTPS off: TLS handshakes for its name are refused.
    chain, key: PEM, the domain's own certificate first.
    """

    enabled: bool = True
    chain: str = ""
    key: str = ""

    def __repr__(self) -> str:
        """Without the key, which must not get into a log."""
        return f"DomainCertificate(enabled={self.enabled}, chain={len(self.chain)} characters)"


def encode_certificate(value: DomainCertificate) -> bytes:
    """The bytes that travel through the cluster's store."""
    return msgspec.json.encode(value)


def decode_certificate(data: bytes) -> DomainCertificate:
    """Raises msgspec.ValidationError or msgspec.DecodeError if the bytes are no certificate."""
    return msgspec.json.decode(data, type=DomainCertificate)


def certificate_key(domain: str) -> str:
    """Where a domain's certificate stands in the cluster's store."""
    return CERTIFICATE_PREFIX + domain


def http_challenge_key(domain: str, token: str) -> str:
    """Where the answer to an HTTP-01 challenge stands in the cluster's store."""
    return f"{HTTP_CHALLENGE_PREFIX}{domain}/{token}"


def dns_txt_key(name: str) -> str:
    """Where the TXT records of a name stand in the cluster's store; `name` is lower-case, without the root's dot."""
    return DNS_TXT_PREFIX + name
