"""What can be wrong with a connection or its stream: every kind of fault that the load generator reports."""

from __future__ import annotations

from typing import Literal, get_args

Kind = Literal[
    "connect",
    "tls",
    "refused",
    "protocol",
    "silent",
    "ended",
    "torn",
    "start",
    "backwards",
    "frame",
    "playlist",
    "sequence",
    "segment",
    "continuity",
    "discontinuity",
    "internal",
]

MEANINGS: dict[Kind, str] = {
    "connect": "no connection came about",
    "tls": "the TLS handshake failed",
    "refused": "the server said no",
    "protocol": "the server broke RTMP, HTTP or WebSocket",
    "silent": "connected, but no whole frame or segment came, or the publish was never answered",
    "ended": "the server ended the connection or the stream",
    "torn": "what came is no FLV or no transport stream",
    "start": "the stream did not begin with codec configuration, then a key frame",
    "backwards": "a timestamp ran back",
    "frame": "a video frame is not made of whole NAL units",
    "playlist": "a playlist breaks RFC 8216",
    "sequence": "media sequence numbers ran back or left some out",
    "segment": "a segment that stands in the playlist could not be had",
    "continuity": "a continuity counter did not go on: packets are missing, or were counted anew",
    "discontinuity": "timestamps or codecs changed, and the playlist does not say so",
    "internal": "a mistake of the load generator itself",
}
"""In the order of a connection's life, in which summaries list them."""

assert set(MEANINGS) == set(get_args(Kind))


class Fault(Exception):
    """A fault after which the connection is of no use. text: what happened, in the server's words where it has any."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind: Kind = kind
        self.text = text
