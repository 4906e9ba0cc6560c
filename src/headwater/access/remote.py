"""Remote authentication: the customer's own server is asked about a push or play before it begins.

Reference media-plane 1.6 (`cdn_remote_auth`). One question for each push and play, as it comes; whoever watches over HLS is
asked about once. While the answer is awaited nothing else waits. No answer in time, or none at all, means what the rule says.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol
from urllib.parse import quote, urlencode, urlsplit

import httpcore
import msgspec
import structlog

from headwater.access.client import Client
from headwater.access.outgoing import PublicOnly
from headwater.access.policy import RemoteAuth
from headwater.access.refusal import Refusal, refuse

CONCURRENT_MAX: Final = 64
"""Questions of one domain at once. Others of the domain wait, and their time runs, so a slow server holds up its own domain."""

ANSWER_BYTES_MAX: Final = 64 * 1024
"""Only the status counts; a body is read, so that the connection can be used again, but not more than this of it."""

IDLE_S: Final = 15.0
"""How long a connection to a customer's server is kept for the next question."""

Kind = Literal["publish", "play"]

log = structlog.get_logger()


class Asked(Protocol):
    """A push or play that is to be asked about. answered: the rule by which it was asked about before, and admitted."""

    @property
    def domain(self) -> str: ...
    @property
    def app(self) -> str: ...
    @property
    def stream(self) -> str: ...
    @property
    def uri(self) -> str: ...
    @property
    def args(self) -> Mapping[str, str]: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def client(self) -> Client: ...
    @property
    def answered(self) -> RemoteAuth | None: ...


class Question(msgspec.Struct, frozen=True):
    """An HTTP request without a body."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]


def unanswered(rule: RemoteAuth | None, asked: Asked) -> RemoteAuth | None:
    """The rule by which must be asked before this one may begin or go on; None if there is nothing to ask.

    `remote_auth_type` names extensions of paths that are asked about, and RTMP has none.
    """
    if rule is None or rule == asked.answered:
        return None
    return rule if not rule.types or _extension(asked.uri) in rule.types else None


def question(rule: RemoteAuth, kind: Kind, asked: Asked) -> Question:
    """What the customer's server is asked: its address with the client's arguments and headers, as far as the rule keeps them.

    Our own headers say what it is about, since an RTMP client sends none.
    """
    args = _kept(rule.kept_args, asked.args) | {name: _value(value, asked) for name, value in rule.added_args}
    own = {
        "X-Live-Action": kind,
        "X-Live-Domain": asked.domain,
        "X-Live-App": asked.app,
        "X-Live-Stream": asked.stream,
        "X-Live-Client": asked.client.origin,
    }
    headers: dict[str, tuple[str, str]] = {}
    for name, value in (
        *((name, value) for name, value in _kept(rule.kept_headers, asked.headers).items() if name.lower() not in _OWN_HEADERS),
        *own.items(),
        *((name, _value(value, asked)) for name, value in rule.added_headers),
    ):
        headers[_same(name)] = name, value
    url = rule.url + (("&" if "?" in rule.url else "?") + urlencode(args) if args else "")
    return Question(rule.method, url, tuple((name, _printable(value)) for name, value in headers.values()))


def judge(rule: RemoteAuth, status: int | None) -> Refusal | None:
    """What an answer means; None is no answer in time."""
    if status is None:
        good, text = rule.timeout_passes, "denied by remote auth: no answer in time"
    elif status in rule.success:
        return None
    else:
        good, text = status not in rule.fail and rule.others_pass, f"denied by remote auth: status {status}"
    return None if good else refuse("remote_denied", text, rule.refused_status)


class Asker:
    """Asks customers' servers; one for all domains of a worker.

    allow_private: servers may have addresses that are not public, such as 127.0.0.1 (setting `access.private_auth_servers`).
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._pool: httpcore.AsyncConnectionPool | None = None
        self._places: dict[str, asyncio.Semaphore] = {}
        self._later: set[asyncio.Task[None]] = set()

    async def ask(self, rule: RemoteAuth, kind: Kind, asked: Asked) -> Refusal | None:
        """None if the customer's server agrees, or if its silence means that."""
        place = self._places.setdefault(asked.domain, asyncio.Semaphore(CONCURRENT_MAX))
        status = None
        try:
            async with asyncio.timeout(rule.timeout_s), place:
                status = await self._status(question(rule, kind, asked))
        except (TimeoutError, OSError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            detail = str(error) or type(error).__name__
            log.warning("no answer from a remote auth server", domain=asked.domain, url=rule.url, detail=detail)
        return judge(rule, status)

    def ask_later(self, rule: RemoteAuth, kind: Kind, asked: Asked, refused: Callable[[Refusal], None]) -> None:
        """Ask about somebody who is here already, and say so if it is refused."""

        async def find_out() -> None:
            refusal = await self.ask(rule, kind, asked)
            if refusal is not None:
                refused(refusal)

        task = asyncio.get_running_loop().create_task(find_out())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def close(self) -> None:
        """Ask nobody any more."""
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)
        if self._pool is not None:
            await self._pool.aclose()

    async def _status(self, asked: Question) -> int:
        if self._pool is None:
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=ssl.create_default_context(),
                max_connections=None,  # each domain has its own bound
                keepalive_expiry=IDLE_S,
                network_backend=PublicOnly(allow_private=self._allow_private),
            )
        headers = [("Host", urlsplit(asked.url).netloc), ("Accept", "*/*"), *asked.headers]
        if asked.method == "POST":
            headers.append(("Content-Length", "0"))
        async with self._pool.stream(asked.method, asked.url, headers=headers) as response:
            size = 0
            async for part in response.aiter_stream():
                size += len(part)
                if size > ANSWER_BYTES_MAX:
                    break
            return response.status


_OWN_HEADERS: Final = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "upgrade", "accept", "range", "if-none-match", "if-range"}
)
"""Headers of the client's own connection and answer, which mean nothing to the customer's server."""


def _extension(uri: str) -> str:
    _, dot, extension = uri.rpartition("/")[2].rpartition(".")
    return extension.lower() if dot else ""


def _kept(names: tuple[str, ...] | None, values: Mapping[str, str]) -> dict[str, str]:
    """Those of the values that are named; None names all."""
    if names is None:
        return dict(values)
    wanted = {name.lower() for name in names}
    return {name: value for name, value in values.items() if name.lower() in wanted}


def _value(text: str, asked: Asked) -> str:
    """A value of the customer's own; `$arg_x`, `$http_x` and a few others stand for what the client sent."""
    name = text.removeprefix("$")
    if name == text:
        return text
    if name.startswith("arg_"):
        return asked.args.get(name[4:], "")
    if name.startswith("http_"):
        return asked.headers.get(name[5:].replace("_", "-").lower(), "")
    facts = {"uri": asked.uri, "host": asked.domain, "remote_addr": asked.client.origin}
    return facts.get(name, text)


def _same(name: str) -> str:
    """Alike for headers that a server may take for one another: many read `X_Live_App` as `X-Live-App` (RFC 3875, 4.1.18).

    What a client sends must not stand beside what we say: many a server takes the first of two.
    """
    return name.lower().replace("_", "-")


def _printable(value: str) -> str:
    return quote(value, safe=" !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
