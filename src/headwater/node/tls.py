"""TLS on a worker's connections: OpenSSL between a socket and its connection, with one buffer for all that is encrypted.

asyncio and uvloop give each TLS connection a buffer of its own for what OpenSSL has encrypted. With a thousand viewers these
are too many for the processor's caches: every byte goes out to memory and back once more before it is sent. Here all
connections of a listener share one, which therefore stays in the cache (docs/performance.md has figures).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

RECORD_BYTES = 16 * 1024
"""The most plain bytes of a TLS record (RFC 8446, 5.1), so the most that one call of OpenSSL decrypts."""

PIECE_BYTES = 4 * RECORD_BYTES
"""So much is encrypted before it is handed to the socket: more than a usual batch, which therefore costs a single call, and
little enough to stay in the cache."""


class TlsListener:
    """Makes the connections of one listener; to be given to `create_server` as the factory of its protocols.

    factory: makes the connection that is told what was decrypted, and writes what is to be encrypted. It learns of its client
    once the handshake is done. context: must refuse renegotiation (ssl.OP_NO_RENEGOTIATION), by which a write could have to
    wait for a read. handshake_s: how long a handshake may take.

    The buffer is empty whenever no call of OpenSSL is under way: who makes one takes out what it has left there, in any case.
    """

    def __init__(
        self,
        factory: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
        loop: asyncio.AbstractEventLoop,
        handshake_s: float,
    ) -> None:
        self.context = context
        self.loop = loop
        self.handshake_s = handshake_s
        self.encrypted = ssl.MemoryBIO()
        self._factory = factory

    def __call__(self) -> TlsTransport:
        """A new connection."""
        return TlsTransport(self, self._factory())


class TlsTransport(asyncio.Protocol, asyncio.Transport):
    """The TLS of one connection: the protocol of its socket's transport, and the transport of the connection above."""

    __slots__ = (
        "_closing",
        "_connection",
        "_decrypted_from",
        "_encrypt",
        "_encrypted",
        "_handshake",
        "_listener",
        "_socket",
        "_tls",
    )

    def __init__(self, listener: TlsListener, connection: asyncio.Protocol) -> None:
        super().__init__()
        self._listener = listener
        self._encrypted = listener.encrypted
        self._decrypted_from = ssl.MemoryBIO()
        self._tls = listener.context.wrap_bio(self._decrypted_from, listener.encrypted, server_side=True)
        self._encrypt = self._tls.write  # takes all: Python leaves SSL_MODE_ENABLE_PARTIAL_WRITE off, and memory is never full
        self._connection: asyncio.Protocol | None = connection
        self._handshake: asyncio.TimerHandle | None = None
        self._closing = False
        self._socket: asyncio.Transport

    # the socket's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected, and is to begin the handshake."""
        self._socket = cast(asyncio.Transport, transport)  # uvloop's are none by type
        self._handshake = self._listener.loop.call_later(self._listener.handshake_s, self.abort)

    def data_received(self, data: bytes) -> None:
        """Encrypted bytes from the client; what they hold is given on in one piece."""
        if self._closing:
            return
        self._decrypted_from.write(data)
        try:
            if self._handshake is None or self._shake_hands():
                plain, ended = self._decrypt()
            else:
                return
        except ssl.SSLError:  # OpenSSL has put an alert into the buffer that says why, and it is under way already
            self._closing = True
            self._socket.close()
            return
        if plain and self._connection is not None:
            self._connection.data_received(plain)
        if ended:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._closing = True
        connection, self._connection = self._connection, None  # which knows us, so neither would ever be freed
        if self._handshake is not None:
            self._handshake.cancel()
        elif connection is not None:
            connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """The socket is full."""
        if self._handshake is None and self._connection is not None:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        if self._handshake is None and self._connection is not None:
            self._connection.resume_writing()

    def _shake_hands(self) -> bool:
        """Go on with the handshake; whether it is done. Raises ssl.SSLError."""
        assert self._handshake is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._send()
        self._handshake.cancel()
        self._handshake = None
        if self._connection is not None:
            self._connection.connection_made(self)
        return True

    def _decrypt(self) -> tuple[bytes, bool]:
        """What can be read now, and whether the client will send no more. Raises ssl.SSLError."""
        parts: list[bytes] = []
        ended = False
        try:
            while not ended:
                part = self._tls.read(RECORD_BYTES)
                parts.append(part)
                ended = not part
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        finally:
            self._send()  # answers of OpenSSL's own, to an update of keys for instance
        return b"".join(parts), ended

    def _send(self) -> None:
        """Hand what OpenSSL has put into the buffer to the socket."""
        if self._encrypted.pending:
            self._socket.write(self._encrypted.read())

    # the connection's side

    def write(self, data: Any) -> None:
        """Encrypt and send: the hot path of every viewer."""
        if len(data) > PIECE_BYTES:
            self.writelines((data,))
        elif not self._closing:
            try:
                self._encrypt(data)
            except ssl.SSLError:  # the keys are used up, or memory is
                self.abort()
            finally:
                self._send()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Encrypt and send; small parts share a call."""
        if self._closing:
            return
        try:
            for data in list_of_data:
                for piece in (data,) if len(data) <= PIECE_BYTES else _pieces(data):
                    self._encrypt(piece)
                    if self._encrypted.pending >= PIECE_BYTES:
                        self._send()
        except ssl.SSLError:
            self.abort()
        finally:
            self._send()

    def close(self) -> None:
        """Say good-bye (RFC 8446, 6.1) and close the socket once all is sent; the client's own good-bye is not waited for."""
        if self._closing:
            return
        self._closing = True
        try:
            self._tls.unwrap()
        except ssl.SSLError:  # it wants the client's good-bye, or the handshake is not done
            pass
        finally:
            self._send()
        self._socket.close()

    def abort(self) -> None:
        """Drop the connection."""
        self._closing = True
        self._socket.abort()

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._closing or self._socket.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the socket's transport, with `ssl_object` and `sslcontext`."""
        if name == "ssl_object":
            return self._tls
        if name == "sslcontext":
            return self._tls.context
        return self._socket.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Of the encrypted bytes that the socket has not taken."""
        self._socket.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """The encrypted bytes that the socket has not taken."""
        return self._socket.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Take no more from the socket: everything that came is decrypted and given on already."""
        self._socket.pause_reading()

    def resume_reading(self) -> None:
        """Take from the socket again."""
        self._socket.resume_reading()


def _pieces(data: Any) -> Iterator[memoryview]:
    """What is large, in pieces that are not copied."""
    view = memoryview(data)
    return (view[at : at + PIECE_BYTES] for at in range(0, len(view), PIECE_BYTES))
