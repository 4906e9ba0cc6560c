"""A chunk writer that takes every liberty of the RTMP specification, to test readers with."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RawMessage:
    """One message and the chunk stream that carries it."""

    chunk_stream_id: int
    type_id: int
    stream_id: int
    timestamp: int
    payload: bytes


@dataclass
class _Sent:
    """The last header of a chunk stream."""

    message: RawMessage
    time_field: int


@dataclass
class ChunkWriter:
    """Writes messages with chunk formats, interleaving and chunk sizes by the dice.

    repeat_extended: whether type 3 chunks repeat the extended timestamp, which senders do and do not.
    """

    dice: random.Random
    chunk_size: int = 128
    repeat_extended: bool = True
    _sent: dict[int, _Sent] = field(default_factory=dict)

    def write(self, messages: list[RawMessage]) -> tuple[bytes, list[RawMessage]]:
        """The bytes, and the messages in the order in which they become complete."""
        out = bytearray()
        completed: list[RawMessage] = []
        waiting: dict[int, list[RawMessage]] = {}
        for message in messages:
            waiting.setdefault(message.chunk_stream_id, []).append(message)
        rest: dict[int, bytes] = {}
        while waiting:
            if self.dice.random() < 0.05:
                size = self.dice.choice((1, 2, 3, 17, 128, 4096, 70_000))
                body = size.to_bytes(4)
                out += bytes((2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0))
                out += b"\xc2".join(body[at : at + self.chunk_size] for at in range(0, 4, self.chunk_size))
                self.chunk_size = size
            chunk_stream_id = self.dice.choice(sorted(waiting))
            message = waiting[chunk_stream_id][0]
            if chunk_stream_id in rest:
                out += self._basic(3, chunk_stream_id)
                if self._sent[chunk_stream_id].time_field >= 0xFFFFFF and self.repeat_extended:
                    out += self._sent[chunk_stream_id].time_field.to_bytes(4)
            else:
                out += self._header(message)
                rest[chunk_stream_id] = message.payload
            left = rest[chunk_stream_id]
            out += left[: self.chunk_size]
            rest[chunk_stream_id] = left[self.chunk_size :]
            if not rest[chunk_stream_id]:
                del rest[chunk_stream_id]
                completed.append(waiting[chunk_stream_id].pop(0))
                if not waiting[chunk_stream_id]:
                    del waiting[chunk_stream_id]
        return bytes(out), completed

    def _basic(self, chunk_type: int, chunk_stream_id: int) -> bytes:
        forms = []
        if 2 <= chunk_stream_id < 64:
            forms.append(bytes((chunk_type << 6 | chunk_stream_id,)))
        if 64 <= chunk_stream_id < 320:
            forms.append(bytes((chunk_type << 6, chunk_stream_id - 64)))
        if chunk_stream_id >= 64:
            forms.append(bytes((chunk_type << 6 | 1, (chunk_stream_id - 64) % 256, (chunk_stream_id - 64) // 256)))
        return self.dice.choice(forms)

    def _header(self, message: RawMessage) -> bytes:
        types = [0]
        last = self._sent.get(message.chunk_stream_id)
        delta = 0
        if last is not None and last.message.stream_id == message.stream_id:
            delta = (message.timestamp - last.message.timestamp) % (1 << 32)
            types.append(1)
            if (last.message.type_id, len(last.message.payload)) == (message.type_id, len(message.payload)):
                types.append(2)
                if delta == last.time_field:
                    types.append(3)
        chunk_type = self.dice.choice(types)
        time_field = message.timestamp if chunk_type == 0 else delta
        self._sent[message.chunk_stream_id] = _Sent(message, time_field)
        header = self._basic(chunk_type, message.chunk_stream_id)
        if chunk_type < 3:
            header += min(time_field, 0xFFFFFF).to_bytes(3)
        if chunk_type < 2:
            header += len(message.payload).to_bytes(3) + bytes((message.type_id,))
        if chunk_type < 1:
            header += message.stream_id.to_bytes(4, "little")
        if time_field >= 0xFFFFFF and (chunk_type < 3 or self.repeat_extended):
            header += time_field.to_bytes(4)
        return header
