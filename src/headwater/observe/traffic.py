"""Traffic as plain data: bytes in and out, in which media workers and the record of usage speak of it."""

from __future__ import annotations

import msgspec


class Traffic(msgspec.Struct, frozen=True):
    """Bytes from publishers and to viewers; bytes_out_tls are those of bytes_out that went over TLS."""

    bytes_in: int = 0
    bytes_out: int = 0
    bytes_out_tls: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.bytes_in + other.bytes_in, self.bytes_out + other.bytes_out, self.bytes_out_tls + other.bytes_out_tls
        )

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.bytes_in - other.bytes_in, self.bytes_out - other.bytes_out, self.bytes_out_tls - other.bytes_out_tls
        )

    @property
    def bytes_out_plain(self) -> int:
        """What went to viewers without TLS."""
        return self.bytes_out - self.bytes_out_tls


class WorkerUsage(msgspec.Struct, frozen=True):
    """What a worker tells. run: an id of the process, new at each start. domains: sums since then; idle ones may be missing."""

    run: str
    domains: dict[str, Traffic]
