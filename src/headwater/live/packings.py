"""How a stream is packed for each protocol whose viewers share bytes: FLV over HTTP, FLV over WebSocket, RTMP."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.media import flv
from headwater.media.tag import SCRIPT, Tag
from headwater.protocols import rtmp, websocket


def _time(header: Tag, timestamp_ms: int) -> int:
    """When a header is said to be: metadata at 0, for FFmpeg takes a later one for a stream of subtitles."""
    return 0 if header.kind == SCRIPT else timestamp_ms


class FlvPacking:
    """An endless FLV file."""

    name = "flv"

    def start(self, headers: Sequence[Tag], timestamp_ms: int, tracks: int) -> bytes:
        """The file header, then metadata and codec configuration."""
        tags = [flv.pack_tag(tag.kind, _time(tag, timestamp_ms), tag.payload) for tag in headers]
        return flv.file_header(tracks) + b"".join(tags)

    def pack(self, tags: Sequence[Tag]) -> bytes:
        """The tags as FLV tags."""
        return b"".join([flv.pack_tag(tag.kind, tag.timestamp_ms, tag.payload) for tag in tags])


class WebSocketFlvPacking(FlvPacking):
    """The same FLV bytes in binary WebSocket messages (RFC 6455); a server's frames are not masked, so they can be shared."""

    name = "ws-flv"

    def start(self, headers: Sequence[Tag], timestamp_ms: int, tracks: int) -> bytes:
        """The file's beginning as one message."""
        return websocket.pack_binary(super().start(headers, timestamp_ms, tracks))

    def pack(self, tags: Sequence[Tag]) -> bytes:
        """The tags as one message."""
        return websocket.pack_binary(super().pack(tags))


class RtmpPacking:
    """RTMP messages, all with one chunk size and message stream id 1."""

    name = "rtmp"

    def start(self, headers: Sequence[Tag], timestamp_ms: int, tracks: int) -> bytes:
        """Metadata and codec configuration."""
        return b"".join(rtmp.pack_tag(tag.kind, _time(tag, timestamp_ms), tag.payload) for tag in headers)

    def pack(self, tags: Sequence[Tag]) -> bytes:
        """The tags as RTMP messages."""
        return b"".join([rtmp.pack_tag(tag.kind, tag.timestamp_ms, tag.payload) for tag in tags])


class RelayPacking(FlvPacking):
    """FLV for another worker, which is given each read at once."""

    name = "relay"


RELAY = RelayPacking()

PACKINGS = {packing.name: packing for packing in (FlvPacking(), WebSocketFlvPacking(), RtmpPacking())}
