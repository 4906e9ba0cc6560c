"""Bounds on what one key, value, subject or watcher may cost the store, the same in every implementation."""

from __future__ import annotations

from headwater.cluster.interface import ClusterError

NAME_MAX_BYTES = 1024
"""Keys, subjects, queues and job ids: three names of at most 255 bytes (domain, app, stream) and a prefix fit."""

VALUE_MAX_BYTES = 1024 * 1024
"""Values and payloads; the default bound of a NATS message, so that what works on one machine works on many."""

WATCH_QUEUE_MAX = 1024
"""Changes that wait for a watcher that does not read, above its snapshot. With more it starts over from what exists."""

EVENT_QUEUE_MAX = 1024
"""Events that wait for a subscriber that does not read. With more the oldest are lost (at most once is the promise)."""

JOB_TIMEOUT_S = 10.0
"""A taker that is silent for so long has lost its job: long enough for a busy process, short enough for a live stream."""

LEASE_TTL_MAX_S = 3600.0
"""A longer lease would make a vanished process look alive for hours; it is always a mistake."""


def check_name(name: str) -> None:
    """Raises ClusterError if a key, subject, queue or job id is empty or too long."""
    if not name or len(name.encode("utf-8", "surrogatepass")) > NAME_MAX_BYTES:
        raise ClusterError(f"a name must have 1 to {NAME_MAX_BYTES} bytes: {name[:40]!r}")


def check_value(value: bytes) -> None:
    """Raises ClusterError if a value or payload is too long."""
    if len(value) > VALUE_MAX_BYTES:
        raise ClusterError(f"a value has {len(value)} bytes, more than {VALUE_MAX_BYTES}")


def check_subject(subject: str) -> None:
    """Raises ClusterError if events cannot be published on this subject: empty, too long, or a wildcard."""
    check_name(subject)
    if subject.endswith(">"):
        raise ClusterError(f"a wildcard cannot be published on: {subject[:40]!r}")


def check_ttl(ttl_s: float) -> None:
    """Raises ClusterError if a lease cannot last so long."""
    if not 0 < ttl_s <= LEASE_TTL_MAX_S:
        raise ClusterError(f"a lease lasts more than 0 and at most {LEASE_TTL_MAX_S:g} seconds, not {ttl_s!r}")
