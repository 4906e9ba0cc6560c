"""TLS clients that ask for a name at the server's address, and say which certificate they were shown."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Self

from cryptography import x509

from support.certificates import client_context
from support.flv import FlvReader, FlvTag
from support.players import Viewer


class TlsClient:
    """A TLS connection to 127.0.0.1 with this server name. Raises ssl.SSLError if the handshake fails."""

    def __init__(self, port: int, name: str | None, root: x509.Certificate | None = None, **options: ssl.TLSVersion) -> None:
        context = client_context(root)
        context.set_alpn_protocols(["h2", "http/1.1"])
        for option, value in options.items():
            setattr(context, option, value)
        raw = socket.create_connection(("127.0.0.1", port), timeout=10)
        try:
            self.socket = context.wrap_socket(raw, server_hostname=name)
        except BaseException:
            raw.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def shown(self) -> bytes:
        """The server's certificate as DER."""
        shown = self.socket.getpeercert(binary_form=True)
        assert shown is not None
        return shown

    def get(self, path: str, host: str) -> bytes:
        """The answer to one HTTP request, to the end of the connection."""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while data := self.socket.recv(65536):
            answer += data
        return answer


def shown_to(port: int, name: str | None, root: x509.Certificate | None = None) -> bytes:
    """The certificate, as DER, that a client is shown who asks for a name."""
    with TlsClient(port, name, root) as client:
        return client.shown


class TlsFlvViewer(Viewer):
    """HTTP-FLV over TLS by the domain's own name."""

    def __init__(self, port: int, path: str, host: str, root: x509.Certificate) -> None:
        self.client = TlsClient(port, host, root)
        self.client.socket.settimeout(20)
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        super().__init__(f"https://{host}{path}")

    def _receive(self) -> Iterator[FlvTag]:
        self.client.socket.sendall(self._request)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.client.socket.recv(1)
        assert head.startswith(b"HTTP/1.1 200"), head
        reader = FlvReader()
        while data := self.client.socket.recv(65536):
            yield from reader.feed(data)
        reader.finish()

    def _shut(self) -> None:
        with contextlib.suppress(OSError):
            self.client.socket.shutdown(socket.SHUT_RDWR)
        self.client.socket.close()
