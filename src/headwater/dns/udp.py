"""The UDP listener: a plain socket that is read until it is empty, which costs less per query than a datagram transport."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Callable

BATCH = 64
"""Datagrams answered before the event loop gets its turn: a flood must not keep TCP and the cluster's store waiting."""

RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
"""What may wait in the kernel: a tenth of a second of the heaviest load. The kernel caps it at net.core.rmem_max."""

QUERY_MAX_BYTES = 4096
"""A longer query is cut by the kernel and found malformed; real ones have some dozens of bytes."""

_CONTROL_BYTES = 64
_PACKET_INFO_V4 = struct.Struct("=I4s4s")
IP_PKTINFO = 8  # in socket from Python 3.14 on


class UdpListener:
    """Answers the datagrams of one address. answer: of a query and the address that it came from; None for no answer."""

    def __init__(
        self, address: tuple[str, int], answer: Callable[[bytes, str], bytes | None], loop: asyncio.AbstractEventLoop
    ) -> None:
        """Raises OSError if the address cannot be had."""
        self.received = self.unsent = 0
        self._answer = answer
        self._loop = loop
        host = "127.0.0.1" if address[0] == "localhost" else address[0]
        ip = ipaddress.ip_address(host)
        self._socket = socket.socket(socket.AF_INET if ip.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            if ip.version == 6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            if ip.is_unspecified:
                # An answer must leave from the very address that was asked, which may be any of the machine's.
                if ip.version == 4:
                    self._socket.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
                else:
                    self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            self._socket.bind((host, address[1]))
        except OSError:
            self._socket.close()
            raise

    def start(self) -> None:
        """Begin to answer."""
        self._loop.add_reader(self._socket, self._readable)

    def close(self) -> None:
        """Stop."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _readable(self) -> None:
        receive, send, answer = self._socket.recvmsg, self._socket.sendmsg, self._answer
        for _ in range(BATCH):
            try:
                query, control, _, sender = receive(QUERY_MAX_BYTES, _CONTROL_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            self.received += 1
            response = answer(query, sender[0])
            if response is None:
                continue
            try:
                send((response,), _from_asked(control) if control else (), 0, sender)
            except OSError:  # the socket is full, or the sender's address cannot be answered
                self.unsent += 1


def _from_asked(control: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """The control message that makes an answer leave from the address that was asked, by whatever interface it will."""
    level, kind, data = control[0]
    if level == socket.IPPROTO_IP:
        _, asked, _ = _PACKET_INFO_V4.unpack(data)
        return [(level, kind, _PACKET_INFO_V4.pack(0, asked, b""))]
    return [(level, kind, data)]  # link-local addresses mean nothing without their interface
