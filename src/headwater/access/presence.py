"""What media workers announce in the cluster's store, with leases: themselves, live streams, and who pushes these."""

from __future__ import annotations

import msgspec

STREAM_PREFIX = "stream/"
"""Keys `stream/<streaming domain>/<app>/<stream>`: a live stream (`StreamPresence`)."""
UPSTREAM_PREFIX = "upstream/"
WORKER_PREFIX = "worker/"
"""Keys `worker/<node>/<index>`: a media worker that listens and knows every policy, with a lease."""
PROMOTE_SUBJECT = "promote"
"""Event subject; its payload is a `Promote`."""


FAULT_SUBJECT = "publish-fault"
"""Event subject without a payload: a worker has laid down a `PublishFault` (access.faults)."""


class StreamPresence(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stream that is being published now.

    session: id of the publisher's session; a new push of the same name has a new one. Times are unix seconds.
    upstream: number of the publisher among those who push this stream at once, 0 where the domain allows but one.
    reason: why it is the master: `published`, `ended` or `silent` (its forerunner), `set` (by the customer).
    hls_number: the number that the next HLS segment will have, 0 if none was packed.
    codecs: as in the CODECS attribute of HLS (RFC 6381), "" while not known.
    source, template: for a product of the center (a rendition, a delayed copy): the name of the stream of the same app that it
    is made of, and what makes it; "" for what a publisher pushes.
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
    upstream: int = 0
    reason: str = "published"
    hls_number: int = 0
    width: int = 0
    height: int = 0
    frame_rate: int = 0
    video_kbps: int = 0
    audio_kbps: int = 0
    video_codec_id: int = 0
    audio_codec_id: int = 0
    codecs: str = ""
    source: str = ""
    template: str = ""


def stream_key(domain: str, app: str, stream: str) -> str:
    """Where a live stream stands in the cluster's store."""
    return f"{STREAM_PREFIX}{domain}/{app}/{stream}"


def encode(presence: StreamPresence) -> bytes:
    """The bytes that travel through the cluster's store."""
    return msgspec.json.encode(presence)


def decode(data: bytes) -> StreamPresence:
    """Raises msgspec.ValidationError or msgspec.DecodeError if the bytes are no presence."""
    return msgspec.json.decode(data, type=StreamPresence)


class WorkerPresence(msgspec.Struct, frozen=True):
    """The value of a worker's key. internal_socket: path of the Unix socket on which it answers its machine (node.internal)."""

    pid: int
    internal_socket: str


class UpstreamPresence(msgspec.Struct, frozen=True):
    """One of several publishers of a stream; it is the master if the stream's own presence names its session.

    It stands under `upstream/<streaming domain>/<app>/<stream>/<number>`; numbers are 1, 2, ... and stay while it pushes.
    """

    session: str
    client_ip: str
    since: float
    node: str
    worker: int


class Promote(msgspec.Struct, frozen=True):
    """Make this publisher the stream's master (SetLiveDomainMultiStreamMaster)."""

    domain: str
    app: str
    stream: str
    upstream: int


class PublishFault(msgspec.Struct, frozen=True):
    """A push that a worker has cut. code: as in DescribeLiveDomainPublishErrorCode (reference media-plane 9)."""

    publish_domain: str
    app: str
    stream: str
    session: str
    client_ip: str
    code: int
    reason: str
    at_s: float


def upstream_key(domain: str, app: str, stream: str, number: int) -> str:
    """Where one of several publishers stands in the cluster's store."""
    return f"{UPSTREAM_PREFIX}{domain}/{app}/{stream}/{number}"
