"""A live stream as media nodes announce it: `stream/<streaming domain>/<app>/<stream>` in the cluster's store, with a lease."""

from __future__ import annotations

import msgspec

STREAM_PREFIX = "stream/"


class StreamPresence(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stream that is being published now.

    session: id of the publisher's session; a new push of the same name has a new one. Times are unix seconds.
    hls_number: the number that the next HLS segment will have, 0 if none was packed.
    data rates are kbit/s over the last seconds; codec ids are FLV's (7 is AVC, 12 is HEVC, 10 is AAC), 0 when unknown.
    """

    domain: str
    app: str
    stream: str
    session: str
    publish_domain: str
    publish_url: str
    published_at: float
    client_ip: str
    server_ip: str
    node: str
    worker: int
    hls_number: int = 0
    width: int = 0
    height: int = 0
    frame_rate: int = 0
    video_kbps: int = 0
    audio_kbps: int = 0
    video_codec_id: int = 0
    audio_codec_id: int = 0


def stream_key(domain: str, app: str, stream: str) -> str:
    """Where a live stream stands in the cluster's store."""
    return f"{STREAM_PREFIX}{domain}/{app}/{stream}"


def encode(presence: StreamPresence) -> bytes:
    """The bytes that travel through the cluster's store."""
    return msgspec.json.encode(presence)


def decode(data: bytes) -> StreamPresence:
    """Raises msgspec.ValidationError or msgspec.DecodeError if the bytes are no presence."""
    return msgspec.json.decode(data, type=StreamPresence)
