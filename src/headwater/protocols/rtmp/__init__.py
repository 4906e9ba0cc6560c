"""RTMP without I/O: bytes in, events out, bytes to send out."""

from headwater.protocols.rtmp.chunks import pack_tag
from headwater.protocols.rtmp.engine import ClientConnection, ServerConnection
from headwater.protocols.rtmp.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from headwater.protocols.rtmp.events import (
    ClientEvent,
    ConnectAccepted,
    Connected,
    ConnectRejected,
    Event,
    Handshaken,
    MediaMessage,
    PauseRequested,
    PlayEnded,
    PlayRequested,
    PublishEnded,
    PublishRequested,
    ReceiveAudio,
    ReceiveVideo,
    ServerEvent,
    StatusReceived,
)
from headwater.protocols.rtmp.limits import RtmpLimits

__all__ = [
    "ClientConnection",
    "ClientEvent",
    "ConnectAccepted",
    "ConnectRejected",
    "Connected",
    "Event",
    "Handshaken",
    "LocalProtocolError",
    "MediaMessage",
    "PauseRequested",
    "PlayEnded",
    "PlayRequested",
    "ProtocolError",
    "PublishEnded",
    "PublishRequested",
    "ReceiveAudio",
    "ReceiveVideo",
    "RemoteProtocolError",
    "RtmpLimits",
    "ServerConnection",
    "ServerEvent",
    "StatusReceived",
    "pack_tag",
]
