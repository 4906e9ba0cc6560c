"""Connections to servers that customers name: to public addresses alone, unless the operator allows others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

import httpcore

from headwater.access.public import is_public


class PublicOnly(httpcore.AsyncNetworkBackend):
    """Connects to public addresses only, and to the very address that was looked at: a customer names the server, and must not
    reach into the operator's network by it.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises OSError if the host has no public address."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        allowed = [address for address in addresses if self._allow_private or is_public(address)]
        if not allowed:
            raise OSError(f"{host} has no public address: {', '.join(addresses)}")
        fault: Exception = OSError("never tried")
        for address in allowed[:2]:
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                fault = error
        raise fault

    async def sleep(self, seconds: float) -> None:
        """Only retries would sleep, and there are none."""
        await asyncio.sleep(seconds)
