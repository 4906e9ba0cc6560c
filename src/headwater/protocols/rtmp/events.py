"""What an RTMP peer did: the events of both kinds of connection."""

from __future__ import annotations

from typing import Any

import msgspec


class Connected(msgspec.Struct, frozen=True):
    """A client asks to connect to an application; answer with accept_connect or reject_connect.

    The texts are those of the connect command, empty if it lacks them; `object` is the whole command object.
    """

    app: str
    tc_url: str
    flash_ver: str
    page_url: str
    swf_url: str
    object: dict[str, Any]


class PublishRequested(msgspec.Struct, frozen=True):
    """A client asks to publish; answer with accept_publish or reject_publish.

    name: the stream's name with its `?query`. kind: `live`, `record` or `append`, or whatever the client says.
    Encoders that do not wait for the answer send media at once; it follows as MediaMessage.
    """

    name: str
    kind: str
    stream_id: int


class PlayRequested(msgspec.Struct, frozen=True):
    """A client asks to play; answer with accept_play or reject_play.

    start, duration: as on the wire, -2 and -1 by default (Adobe RTMP 1.0, 7.2.2.1); FFmpeg and librtmp multiply them by 1000.
    """

    name: str
    start: float
    duration: float
    reset: bool
    stream_id: int


class MediaMessage(msgspec.Struct, frozen=True, gc=False):
    """One audio (8), video (9) or script (18) message of the stream; `timestamp` is in ms and wraps at 32 bits."""

    kind: int
    timestamp: int
    payload: bytes


class PublishEnded(msgspec.Struct, frozen=True):
    """The client ended its publishing; the connection may go on."""


class PlayEnded(msgspec.Struct, frozen=True):
    """The client ended its playing; the connection may go on."""


class PauseRequested(msgspec.Struct, frozen=True):
    """The player was paused or resumed at `ms` of its own clock; it has been answered."""

    paused: bool
    ms: float


class ReceiveAudio(msgspec.Struct, frozen=True):
    """The player wants audio, or no longer."""

    enabled: bool


class ReceiveVideo(msgspec.Struct, frozen=True):
    """The player wants video, or no longer."""

    enabled: bool


class Handshaken(msgspec.Struct, frozen=True):
    """The handshake with the server is over; connect has been sent."""


class ConnectAccepted(msgspec.Struct, frozen=True):
    """The server accepted connect; publish or play may be called. `info` is its information object."""

    info: dict[str, Any]


class ConnectRejected(msgspec.Struct, frozen=True):
    """The server refused connect."""

    code: str
    description: str


class StatusReceived(msgspec.Struct, frozen=True):
    """An onStatus of the server: its code (such as NetStream.Publish.Start), level and description."""

    code: str
    level: str
    description: str


ServerEvent = (
    Connected
    | PublishRequested
    | PlayRequested
    | MediaMessage
    | PublishEnded
    | PlayEnded
    | PauseRequested
    | ReceiveAudio
    | ReceiveVideo
)
ClientEvent = Handshaken | ConnectAccepted | ConnectRejected | StatusReceived | MediaMessage
Event = ServerEvent | ClientEvent
