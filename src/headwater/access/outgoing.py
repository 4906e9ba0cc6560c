"""Connections to servers that customers name: to public addresses alone, unless the operator allows others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import httpcore

from headwater.access.public import is_public

LOOKUPS_MAX: Final = 64
"""Names that are looked up at once. A look-up cannot be broken off, and its name server is the customer's."""

_lookups: Final = ThreadPoolExecutor(LOOKUPS_MAX, "lookup")
"""Threads of their own, which exist once they are needed: names that take long must hold up nothing but calls to customers."""


class PublicOnly(httpcore.AsyncNetworkBackend):
    """Connects to public addresses only, and to the very address that was looked at: a customer names the server, and must not
    reach into the operator's network by it.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._backend = httpcore.AnyIOBackend()
        self._found: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises OSError if the host has no public address."""
        addresses = await self._addresses(host, port)
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

    async def _addresses(self, host: str, port: int) -> list[str]:
        """One look-up for all who ask for a host meanwhile, so that one slow name takes one thread."""
        key = host, port
        asked = self._found.get(key)
        if asked is None:
            asked = self._found[key] = asyncio.get_running_loop().run_in_executor(_lookups, _look_up, host, port)
            asked.add_done_callback(lambda done: self._looked_up(key, done))
        return await asyncio.shield(asked)

    def _looked_up(self, key: tuple[str, int], done: asyncio.Future[list[str]]) -> None:
        del self._found[key]
        if not done.cancelled():
            done.exception()  # whoever asked may have left

    async def sleep(self, seconds: float) -> None:
        """Only retries would sleep, and there are none."""
        await asyncio.sleep(seconds)


def _look_up(host: str, port: int) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
