"""The life of one client, viewer or publisher: begun, at work, ended by a fault or with the run."""

from __future__ import annotations

import abc
import asyncio
import functools
import socket
import ssl
import sys
import time
import traceback
from collections.abc import Callable
from typing import TypeVar

from headwater.load.clip import Clip
from headwater.load.faults import Fault, Kind
from headwater.load.plan import Plan
from headwater.load.tally import Tally
from headwater.load.target import Target
from headwater.load.walk import Memo

CONNECT_TIMEOUT_S = 10.0
"""For connection and TLS handshake together."""

FIRST_TIMEOUT_S = 20.0
"""A viewer that has no whole frame by then gets none: a young HLS stream's first playlist may take 10 s."""

BUFFER_BYTES = 256 * 1024
"""All connections of a process are read into one buffer: it stays in the processor's cache."""

AnyProtocol = TypeVar("AnyProtocol", bound=asyncio.BaseProtocol)


class Run:
    """What all clients of one process share. clip: what publishers send; None for viewers."""

    def __init__(self, plan: Plan, clip: Clip | None = None) -> None:
        self.plan = plan
        self.clip = clip
        self.tally = Tally()
        self.loop = asyncio.get_running_loop()
        self.buffer = bytearray(BUFFER_BYTES)
        self.view = memoryview(self.buffer)
        self._memos: dict[int, Memo] = {}
        self._addresses: dict[tuple[str, int], tuple[str, int]] = {}

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made only if it is used: it reads all certificates of the system."""
        context = ssl.create_default_context()
        if self.plan.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def memo(self, number: int) -> Memo | None:
        """What the viewers of this client's stream remember together; None if there is only one."""
        streams = self.plan.streams
        return self._memos.setdefault(number % streams, Memo()) if self.plan.clients > streams else None

    async def connect(self, make: Callable[[], AnyProtocol], target: Target) -> tuple[asyncio.Transport, AnyProtocol]:
        """A connection to the target's host. Raises Fault."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                host, port = await self._address(target.host, target.port)
                tls = (self._tls, target.host) if target.tls else (None, None)
                transport, protocol = await self.loop.create_connection(make, host, port, ssl=tls[0], server_hostname=tls[1])
        except TimeoutError:
            raise Fault("connect", f"no connection within {CONNECT_TIMEOUT_S:.0f} s") from None
        except ssl.SSLCertVerificationError as error:
            hint = "; --insecure accepts any certificate"
            raise Fault("tls", f"{error.verify_message or error.reason}{hint}") from None
        except ssl.SSLError as error:
            raise Fault("tls", error.reason or str(error)) from None
        except OSError as error:
            raise Fault("connect", error.strerror or str(error)) from None
        return transport, protocol

    async def _address(self, host: str, port: int) -> tuple[str, int]:
        """Names are looked up once: thousands of clients must not load the resolver too."""
        known = self._addresses.get((host, port))
        if known is None:
            if host == "localhost" or host.endswith(".localhost"):
                host = "127.0.0.1"  # RFC 6761, section 6.3; few resolvers know the names below it
            found = await self.loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            known = self._addresses[host, port] = str(found[0][4][0]), port
        return known


class Session(abc.ABC):
    """One client. Subclasses say what it does once it is connected."""

    def __init__(self, run: Run, number: int) -> None:
        self.run = run
        self.number = number
        self.tally = run.tally
        self.ended = False
        self.begun_us = 0  # unix time of the start
        self._begun_at = 0.0
        self._media_at: float | None = None  # of the last media, None before the first
        self._got_first = False
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start the client."""
        self.begun_us = time.time_ns() // 1000
        self._begun_at = time.monotonic()
        self.tally.started += 1
        self.tally.open += 1
        self._task = self.run.loop.create_task(self._guard())

    async def _guard(self) -> None:
        try:
            await self._run()
        except Fault as fault:
            self.fail(fault)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            self.fail(Fault("internal", traceback.format_exc(limit=0).strip()))

    @abc.abstractmethod
    async def _run(self) -> None:
        """Connect; return or raise Fault."""

    @abc.abstractmethod
    def _close(self) -> None:
        """Give up the connection."""

    # What happened

    def report(self, kind: Kind, text: str) -> None:
        """A fault after which the client goes on."""
        self.tally.fault(kind, text)

    def fail(self, fault: Fault) -> None:
        """The client's end, with the reason."""
        if not self.ended:
            self.tally.fault(fault.kind, fault.text)
            self._end()

    def first(self, at_us: int) -> None:
        """The first whole key frame or segment came, or the publish was accepted; only the first call counts."""
        if not self._got_first:
            self._got_first = True
            self.tally.begun += 1
            self.tally.first_ms.add((at_us - self.begun_us) / 1000)
            if self.run.plan.stay_s is not None:
                self.run.loop.call_later(self.run.plan.stay_s, self._go)

    def media(self, now: float, allowed_s: float) -> None:
        """Media came, or was taken; a longer pause than allowed since the last was a stall."""
        before = self._media_at
        if before is not None and now - before > allowed_s:
            self.tally.stalls += 1
            self.tally.stalled_s += now - before
        self._media_at = now

    def allowed_pause_s(self) -> float:
        """A longer pause of media is a stall."""
        return self.run.plan.stall_s

    # What is asked from time to time

    def check(self, now: float) -> bool:
        """Whether the client is stalled now. Gives up one that never got anything."""
        if self.ended:
            return False
        if not self._got_first and now - self._begun_at > FIRST_TIMEOUT_S:
            self.fail(Fault("silent", f"nothing within {FIRST_TIMEOUT_S:.0f} s"))
            return False
        return self._media_at is not None and now - self._media_at > self.allowed_pause_s()

    def finish(self, now: float) -> asyncio.Task[None] | None:
        """End with the run, and judge what is missing by now. The task that is left to wait for, if there is one."""
        if not self.ended:
            allowed_s = self.allowed_pause_s()
            if self._media_at is not None:
                self.media(now, allowed_s)
            if not self._got_first and now - self._begun_at > allowed_s:
                self.tally.fault("silent", "nothing until the end of the run")
            self._end()
        if self._task is None or self._task.done():
            return None
        self._task.cancel()
        return self._task

    def _go(self) -> None:
        """The client has stayed as long as it wanted to."""
        if not self.ended:
            self._end()

    def _end(self) -> None:
        self.ended = True
        self.tally.open -= 1
        self._close()
