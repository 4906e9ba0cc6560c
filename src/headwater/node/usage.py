"""The books of a worker: what each domain received and sent since the worker's start, for the main process to collect."""

from __future__ import annotations

import secrets
from collections import Counter
from typing import TYPE_CHECKING

from headwater.live.viewer import Payer
from headwater.observe.traffic import Traffic, WorkerUsage

if TYPE_CHECKING:
    from headwater.node.worker import Node

IDLE_REPORTS = 10
"""A domain that has not moved in so many reports is left out and forgotten: its last sum has long been collected."""


class Books:
    """Sums by domain. Sessions and outputs count by themselves and are read here when somebody asks, not at each packet."""

    def __init__(self) -> None:
        self._run = secrets.token_hex(8)
        self._sums: dict[str, Traffic] = {}
        self._idle: Counter[str] = Counter()

    def report(self, node: Node) -> WorkerUsage:
        """The sums as of now. Only the owner's side counts: what workers relay to one another is nobody's usage."""
        for stream in node.hub.streams.values():
            for output in stream.outputs.values():
                output.settle()
        node.ingest.settle()
        sent = [traffic.sent for traffic in node.hub.traffic.values()] + [node.http.hls_sent]
        return self.book(node.ingest.received, sent)

    def book(self, received: Counter[str], sent: list[Counter[Payer]]) -> WorkerUsage:
        """Take what was counted since the last report over from these counters, which are left empty."""
        growth: dict[str, Traffic] = {}
        none = Traffic()
        for domain, size in received.items():
            growth[domain] = growth.get(domain, none) + Traffic(bytes_in=size)
        for counter in sent:
            for (domain, tls), size in counter.items():
                growth[domain] = growth.get(domain, none) + Traffic(bytes_out=size, bytes_out_tls=size if tls else 0)
            counter.clear()
        received.clear()
        self._forget_idle(growth)
        for domain, traffic in growth.items():
            self._sums[domain] = self._sums.get(domain, none) + traffic
        return WorkerUsage(self._run, dict(self._sums))

    def _forget_idle(self, growth: dict[str, Traffic]) -> None:
        for domain in tuple(self._sums):
            if domain in growth:
                self._idle.pop(domain, None)
                continue
            self._idle[domain] += 1
            if self._idle[domain] > IDLE_REPORTS:
                del self._sums[domain], self._idle[domain]
