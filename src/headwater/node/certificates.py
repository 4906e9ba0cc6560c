"""The certificates of a media worker: which one a TLS handshake gets, chosen by the name that the client asks for."""

from __future__ import annotations

import os
import ssl
import sys
from collections import OrderedDict

import structlog

from headwater.access.certificate import CERTIFICATE_PREFIX, DomainCertificate, decode_certificate

CONTEXTS_MAX = 1_000
"""TLS contexts that are kept ready, each some 50 kB; to make that of a domain which is not among them takes a millisecond."""

ALPN = ["http/1.1"]
"""What we speak over TLS besides RTMP, which has no name of its own there."""

log = structlog.get_logger()


class Certificates:
    """The certificates of all domains. HTTPS and RTMPS listen with `context`, whose handshakes ask here.

    A handshake takes the certificate as it is at that moment, running connections keep theirs: so a certificate is changed
    without anybody noticing.
    """

    def __init__(self, certificate_file: str, key_file: str) -> None:
        """The operator's certificate, for names that have none of their own. Raises OSError if it cannot be read."""
        self.context = _context()
        self.context.load_cert_chain(certificate_file, key_file)
        self.context.sni_callback = self._choose
        self._certificates: dict[str, DomainCertificate] = {}
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()

    def changed(self, key: str, value: bytes | None) -> None:
        """Take note of a key below CERTIFICATE_PREFIX."""
        domain = key.removeprefix(CERTIFICATE_PREFIX)
        self._contexts.pop(domain, None)
        if value is None:
            self._certificates.pop(domain, None)
        else:
            self._certificates[domain] = decode_certificate(value)

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
        """OpenSSL's question during a handshake (RFC 6066, section 3).

        Raises nothing; the number of an alert refuses the handshake, whereupon the connection is closed.
        """
        domain = self._holder((name or "").lower().removesuffix("."))
        certificate = self._certificates.get(domain)
        if certificate is None:
            return None
        if not certificate.enabled:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        context = self._contexts.get(domain)
        if context is None:
            try:
                context = _context_of(certificate)
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                log.warning("certificate cannot be used", domain=domain, error=str(error))
                return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
            self._contexts[domain] = context
            if len(self._contexts) > CONTEXTS_MAX:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(domain)
        connection.context = context
        return None

    def _holder(self, name: str) -> str:
        """The domain whose certificate a name gets: itself, or the nearest one with a leading dot, which has its subdomains."""
        domain = name
        while domain not in self._certificates:
            _, dot, rest = domain.removeprefix(".").partition(".")
            if not rest:
                return name
            domain = dot + rest
        return domain


def report_unraisable(fault: sys.UnraisableHookArgs) -> None:
    """Python's report of an error that nobody can catch; for `sys.unraisablehook`.

    Python cannot hand over a server name that is not ASCII: it refuses the handshake and prints a traceback. What any stranger
    can cause must not fill the log, so it becomes one line of the lowest level.
    """
    if isinstance(fault.exc_value, UnicodeDecodeError) and isinstance(fault.object, bytes):
        log.debug("handshake refused", detail="the server name is not ASCII", name=repr(fault.object[:64]))
    else:
        sys.__unraisablehook__(fault)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # of TLS 1.2; nobody needs it, and node.tls could not write meanwhile
    context.set_alpn_protocols(ALPN)
    return context


def _context_of(certificate: DomainCertificate) -> ssl.SSLContext:
    """OpenSSL reads certificates from files only, as Python shows it; this file is memory and has no name."""
    context = _context()
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    with open(descriptor, "w") as file:
        file.write(certificate.chain)
        file.write(certificate.key)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    return context
