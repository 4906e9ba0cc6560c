"""Calls customers' servers: bounded in time and in what is read of the answer, without redirects, in public networks alone."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

import httpcore
import msgspec

from headwater.access.outgoing import PublicOnly

TIMEOUT_S = 5.0
"""Reference media-plane 5.2: 5 s for the whole of a call."""
ANSWER_MAX_BYTES = 2048
"""What is read of an answer: as much as the service keeps of the answer to an on-demand question (reference 3.3)."""
IDLE_S = 15.0
"""How long a connection is kept for the next call."""
USER_AGENT = "Go-http-client/1.1"
"""As the service's calls have it (reference 3.3): customers may know them by it."""


class CallFailed(Exception):
    """There was no answer; the message says why."""


class Answer(msgspec.Struct, frozen=True):
    """What a customer's server said; the body is cut."""

    status: int
    body: bytes

    @property
    def good(self) -> bool:
        """Whether it took the callback."""
        return 200 <= self.status < 300


class Client:
    """Makes the calls; one for a process. allow_private: servers may have addresses that are not public."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def call(self, method: str, url: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
        """Call a URL. Raises CallFailed if there is no answer in time."""
        if self._pool is None:
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=ssl.create_default_context(),
                max_connections=None,  # the caller bounds its calls
                keepalive_expiry=IDLE_S,
                network_backend=PublicOnly(allow_private=self._allow_private),
            )
        all_headers = {"Host": urlsplit(url).netloc, "User-Agent": USER_AGENT, "Accept": "*/*", **(headers or {})}
        if method == "POST":
            all_headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        try:
            async with asyncio.timeout(TIMEOUT_S):
                async with self._pool.stream(method, url, headers=list(all_headers.items()), content=body or None) as response:
                    said = b""
                    async for part in response.aiter_stream():
                        said += part
                        if len(said) >= ANSWER_MAX_BYTES:
                            break
                    return Answer(response.status, said[:ANSWER_MAX_BYTES])
        except TimeoutError:
            raise CallFailed(f"no answer within {TIMEOUT_S:g} s") from None
        except (OSError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, ValueError) as fault:
            raise CallFailed(str(fault) or type(fault).__name__) from fault

    async def close(self) -> None:
        """Close what is kept open."""
        if self._pool is not None:
            await self._pool.aclose()
