"""Where a media worker listens."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import httpx
import pytest
import uvloop

from support import media_worker
from support.ports import free_port


def has_ipv6() -> bool:
    """Whether this machine has an address of IPv6 to itself; containers often have not."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize(("address", "clients"), [("[::]", ["127.0.0.1", "[::1]"]), ("[::1]", ["[::1]"])])
def test_all_addresses_of_ipv6_are_those_of_ipv4_too(tmp_path: Path, address: str, clients: list[str]) -> None:
    port = free_port()

    async def answers() -> list[str]:
        answered = []
        async with media_worker.running(tmp_path, http=f"{address}:{port}"), httpx.AsyncClient() as client:
            for host in ("127.0.0.1", "[::1]"):
                with contextlib.suppress(httpx.ConnectError):
                    assert (await client.get(f"http://{host}:{port}/")).status_code == 404
                    answered.append(host)
        return answered

    assert uvloop.run(answers()) == clients  # the loop of the workers
