"""What a publisher sends while another one is its stream's master: kept so far back that it can take over at a key frame."""

from __future__ import annotations

from headwater.live.stream import LiveStream, StreamKey, StreamOptions
from headwater.media import codecs
from headwater.media.tag import SCRIPT, VIDEO, Flags
from headwater.media.timeline import Timeline

HELD_BYTES_MAX = 16 * 1024 * 1024
"""A GOP that is larger is not kept: 10 s of 12 Mbit/s. Its publisher then takes over at its next key frame."""

Message = tuple[int, int, bytes]
"""Kind, wire timestamp, payload."""


class Standby:
    """Takes the place of a publisher's live stream until it is the master: the newest GOP, and what decoders must know."""

    __slots__ = ("_bytes", "_gop", "_headers", "key", "options", "timeline")

    def __init__(self, key: StreamKey, options: StreamOptions) -> None:
        self.key = key
        self.options = options
        self.timeline = Timeline()
        self._headers: dict[tuple[int, int], Message] = {}
        self._gop: list[Message] = []
        self._bytes = 0

    def write(self, kind: int, wire_timestamp: int, payload: bytes) -> None:
        """Take one message of the publisher, as a live stream does."""
        flags = codecs.classify(kind, payload)
        message = (kind, wire_timestamp, payload)
        if flags & (Flags.CONFIG | Flags.METADATA) or kind == SCRIPT:
            self._headers[kind, flags & (Flags.CONFIG | Flags.METADATA)] = message
            return
        if kind == VIDEO and flags & Flags.KEY:
            self._forget()
        elif not self._gop:
            return
        self._gop.append(message)
        self._bytes += len(payload)
        if self._bytes > HELD_BYTES_MAX:
            self._forget()

    def replay(self, stream: LiveStream) -> None:
        """Give what is held to the live stream that the publisher feeds from now on."""
        for message in (*self._headers.values(), *self._gop):
            stream.write(*message)

    def _forget(self) -> None:
        self._gop.clear()
        self._bytes = 0
