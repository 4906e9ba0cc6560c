"""The RTMP protocol engine without I/O: the server's and the client's side of one connection.

Bytes go in by `receive_data`, which returns events; what is to be sent comes out of `data_to_send`. The engine answers
by itself whatever needs no decision. The life of a server's connection, and what ends each state:

    HANDSHAKE --C2--> CONNECTING --connect command--> DECIDING --accept_connect--> READY
                                                               --reject_connect--> REFUSED (input is ignored)

and in READY there is at most one stream at a time, as all encoders and players have it:

    NONE --publish--> PUBLISH_ASKED --accept_publish--> PUBLISHING --FCUnpublish, closeStream, deleteStream--> NONE
    NONE --play--> PLAY_ASKED --accept_play--> PLAYING --closeStream, deleteStream, play(false)--> NONE

The peer does not wait for us: bytes that are received at once may hold a publish and its end. The state above is that of the
last byte received, while the owner is still busy with the first event. So a decision is about the oldest request that has had
none, and has no effect if the peer has taken it back; an end has none if the peer was faster.

Truth lies in Adobe's RTMP 1.0 (sections are cited), in its "RTMP Commands Messages" chapter for what is on paper, and for
the rest (releaseStream, FCPublish and so on) in what Flash Media Server answered and encoders have relied on since.
"""

from __future__ import annotations

import enum
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from headwater.media.tag import AUDIO, SCRIPT, VIDEO
from headwater.protocols.rtmp import enhanced, handshake
from headwater.protocols.rtmp.amf import UNDEFINED
from headwater.protocols.rtmp.chunks import Demuxer, Message, pack_tag
from headwater.protocols.rtmp.errors import LocalProtocolError, RemoteProtocolError
from headwater.protocols.rtmp.events import (
    ClientEvent,
    ConnectAccepted,
    Connected,
    ConnectRejected,
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
from headwater.protocols.rtmp.limits import DEFAULT_LIMITS, RtmpLimits
from headwater.protocols.rtmp.messages import (
    BANDWIDTH_LIMIT_DYNAMIC,
    TypeId,
    UserControl,
    amf_values,
    number,
    pack_command,
    pack_control,
    pack_data,
    pack_user_control,
    script_body,
    unpack_aggregate,
)

WINDOW_BYTES = 2_500_000
"""The acknowledgement window that we announce, and the peer's until it announces its own: what librtmp, FFmpeg and SRS use."""

SERVER_PROPERTIES = {"fmsVer": "FMS/3,5,7,7009", "capabilities": 31.0, "mode": 1.0}
"""Flash Media Server 3.5 is the oldest that every encoder treats as able to do H.264."""

MEDIA_STREAM_ID = 1
"""The message stream of all players: they are sent the same bytes, in which it stands."""

REQUESTS_MAX = 8
"""Publish and play commands that may wait for a decision. More than one happens only if they were withdrawn at once."""

HELD_MAX = 32
"""Answers that wait for the decision about connect; a client that sends all its commands at once needs four."""

TEXT_MAX = 200
"""Characters of a peer's text that are repeated in our answers and errors."""


class _Connection:
    """What both sides do alike: the output, control messages and acknowledgements."""

    def __init__(self, limits: RtmpLimits, chunk_size_out: int) -> None:
        if not 128 <= chunk_size_out <= 0xFFFFFF:
            raise LocalProtocolError(f"chunk size {chunk_size_out}; it must be from 128 to 16777215")
        self.bytes_received = 0
        self.chunk_size_out = chunk_size_out
        self._limits = limits
        self._demuxer = Demuxer(limits)
        self._chunk_size_now = 128  # until our Set Chunk Size is out
        self._out: list[bytes] = []
        self._peer_window = WINDOW_BYTES
        self._acknowledged = 0

    @property
    def chunk_size_in(self) -> int:
        """The peer's chunk size."""
        return self._demuxer.chunk_size

    def data_to_send(self) -> bytes:
        """All that has been queued since the last call."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def ping(self, timestamp: int) -> None:
        """Ask the peer for a sign of life; `timestamp` in ms is what it sends back (7.1.7)."""
        self._out.append(pack_user_control(UserControl.PING_REQUEST, timestamp))

    def _acknowledge(self) -> None:
        # At half the window, so that a sender that stops at the window never has to (5.4.3).
        if self.bytes_received - self._acknowledged >= self._peer_window // 2:
            self._acknowledged = self.bytes_received
            self._out.append(pack_control(TypeId.ACKNOWLEDGEMENT, self.bytes_received))

    def _control(self, message: Message) -> None:
        """Protocol control and user control messages; types that do not exist are passed over."""
        if message.type_id == TypeId.WINDOW_ACKNOWLEDGEMENT_SIZE:
            self._peer_window = number(message) or WINDOW_BYTES
        elif message.type_id == TypeId.USER_CONTROL and message.payload[:2] == b"\x00\x06":
            if len(message.payload) < 6:
                raise RemoteProtocolError("ping request without its timestamp")
            self._out.append(pack_user_control(UserControl.PING_RESPONSE, int.from_bytes(message.payload[2:6])))

    def _send_command(self, name: str, transaction: float, *arguments: Any, stream_id: int = 0) -> None:
        self._out.append(pack_command(name, transaction, *arguments, stream_id=stream_id, chunk_size=self._chunk_size_now))

    def _set_chunk_size(self) -> None:
        self._out.append(pack_control(TypeId.SET_CHUNK_SIZE, self.chunk_size_out))
        self._chunk_size_now = self.chunk_size_out

    def _command(self, message: Message) -> tuple[str, float, list[Any]]:
        """Name, transaction id and the values after it, of which the first is the command object."""
        if len(message.payload) > self._limits.command_bytes:
            raise RemoteProtocolError(
                f"command of {len(message.payload)} bytes; at most {self._limits.command_bytes} are accepted"
            )
        values = amf_values(message, self._limits)
        if not values or not isinstance(values[0], str):
            raise RemoteProtocolError("command without a name")
        transaction = values[1] if len(values) > 1 else 0.0
        # Some encoders send null as the transaction id of commands that want no answer.
        return values[0], float(transaction) if isinstance(transaction, int | float) else 0.0, values[2:]


class _State(enum.Enum):
    """Of a server's connection; see the module's docstring."""

    HANDSHAKE = enum.auto()
    CONNECTING = enum.auto()
    DECIDING = enum.auto()
    READY = enum.auto()
    REFUSED = enum.auto()
    FAILED = enum.auto()


class _Role(enum.Enum):
    """What the one stream of a server's connection is doing."""

    NONE = enum.auto()
    PUBLISH_ASKED = enum.auto()
    PUBLISHING = enum.auto()
    PLAY_ASKED = enum.auto()
    PLAYING = enum.auto()


_PUBLISH = (_Role.PUBLISH_ASKED, _Role.PUBLISHING)
_PLAY = (_Role.PLAY_ASKED, _Role.PLAYING)
_NO_STREAM = -1
_AUDIO_VIDEO = (AUDIO, VIDEO)


class _Request:
    """A publish or play command that has had no decision yet."""

    __slots__ = ("fc_publish", "name", "reset", "role", "stream_id", "withdrawn")

    def __init__(self, role: _Role, stream_id: int, name: str, *, reset: bool = False, fc_publish: bool = False) -> None:
        self.role = role
        self.stream_id = stream_id
        self.name = name
        self.reset = reset
        self.fc_publish = fc_publish
        self.withdrawn = False


class ServerConnection(_Connection):
    """The server's side of one connection.

    limits: what the peer may cost. chunk_size_out: of what we send, also of the media that goes past this object.
    """

    def __init__(self, *, limits: RtmpLimits = DEFAULT_LIMITS, chunk_size_out: int = 60000) -> None:
        super().__init__(limits, chunk_size_out)
        self._state = _State.HANDSHAKE
        self._handshake = handshake.ServerHandshake()
        self._connect_transaction = 1.0
        self._connect_object: dict[str, Any] = {}
        self._held: list[bytes] = []  # answers to commands that did not wait for the answer to connect
        self._streams: set[int] = set()
        self._role = _Role.NONE
        self._stream_id = _NO_STREAM
        self._media_stream_id = _NO_STREAM  # the stream's id while it publishes, for the hot path
        self._name = ""
        self._requests: deque[_Request] = deque()
        self._accepted: set[_Role] = set()
        self._fc_publish = False

    # Input

    def receive_data(self, data: bytes) -> list[ServerEvent]:
        """What the peer did with these bytes.

        Raises RemoteProtocolError when it broke the protocol; the events of this call are lost with it, and nothing may be
        received after that.
        """
        if self._state is _State.FAILED:
            raise LocalProtocolError("bytes for a connection that has already failed")
        events: list[ServerEvent] = []
        try:
            self._receive(data, events)
        except RemoteProtocolError:
            self._state = _State.FAILED
            raise
        return events

    def _receive(self, data: bytes, events: list[ServerEvent]) -> None:
        self.bytes_received += len(data)
        if self._state is _State.HANDSHAKE:
            reply, rest = self._handshake.receive(data)
            if reply:
                self._out.append(reply)
            if rest is None:
                return
            data = rest
            self._state = _State.CONNECTING
        elif self._state is _State.REFUSED:
            return
        for message in self._demuxer.receive(data):
            kind = message.type_id
            if kind in _AUDIO_VIDEO:
                if message.stream_id == self._media_stream_id and message.payload:
                    events.append(MediaMessage(kind, message.timestamp, message.payload))
            else:
                self._other(message, events)
        self._acknowledge()

    def _other(self, message: Message, events: list[ServerEvent]) -> None:
        match message.type_id:
            case TypeId.COMMAND_AMF0 | TypeId.COMMAND_AMF3:
                self._on_command(message, events)
            case TypeId.DATA_AMF0 | TypeId.DATA_AMF3:
                if message.stream_id == self._media_stream_id and (body := script_body(message, self._limits)):
                    events.append(MediaMessage(SCRIPT, message.timestamp, body))
            case TypeId.AGGREGATE:
                if message.stream_id != self._media_stream_id:
                    return
                for part in unpack_aggregate(message):
                    if part.type_id in _AUDIO_VIDEO and part.payload:
                        events.append(MediaMessage(part.type_id, part.timestamp, part.payload))
                    elif part.type_id == SCRIPT and (body := script_body(part, self._limits)):
                        events.append(MediaMessage(SCRIPT, part.timestamp, body))
            case _:
                self._control(message)

    def _on_command(self, message: Message, events: list[ServerEvent]) -> None:
        name, transaction, values = self._command(message)
        if name == "connect":
            self._on_connect(transaction, values, events)
            return
        if self._state is _State.CONNECTING:
            raise RemoteProtocolError(f"command {name[:TEXT_MAX]!r} before connect")
        handler = _COMMANDS.get(name)
        if handler is not None:
            handler(self, message.stream_id, transaction, values[1:], events)
        elif transaction and name not in _REPLIES:
            self._answer_error(transaction, "NetConnection.Call.Failed", f"Method not found ({name[:TEXT_MAX]}).")

    # connect

    def _on_connect(self, transaction: float, values: list[Any], events: list[ServerEvent]) -> None:
        if self._state is not _State.CONNECTING:
            raise RemoteProtocolError("a second connect command")
        request = values[0] if values else None
        if not isinstance(request, dict):
            raise RemoteProtocolError("connect command without its command object")
        self._connect_transaction = transaction or 1.0
        self._connect_object = request
        self._state = _State.DECIDING
        app, tc_url, flash_ver, page_url, swf_url = (_text(request.get(name)) for name in _CONNECT_TEXTS)
        events.append(Connected(app, tc_url, flash_ver, page_url, swf_url, request))

    def accept_connect(self) -> None:
        """Let the client in."""
        self._require(_State.DECIDING, "accept_connect")
        self._state = _State.READY
        held, self._held = self._held, []
        info: dict[str, Any] = {
            "level": "status",
            "code": "NetConnection.Connect.Success",
            "description": "Connection succeeded.",
            "objectEncoding": 3.0 if self._connect_object.get("objectEncoding") == 3 else 0.0,
        }
        info |= enhanced.connect_reply(self._connect_object)
        self._out.append(pack_control(TypeId.WINDOW_ACKNOWLEDGEMENT_SIZE, WINDOW_BYTES))
        self._out.append(pack_control(TypeId.SET_PEER_BANDWIDTH, WINDOW_BYTES, bytes((BANDWIDTH_LIMIT_DYNAMIC,))))
        self._set_chunk_size()
        self._send_command("_result", self._connect_transaction, SERVER_PROPERTIES, info)
        self._out += held
        self._connect_object = {}

    def reject_connect(self, description: str) -> None:
        """Refuse the client; whatever it still sends is ignored."""
        self._require(_State.DECIDING, "reject_connect")
        self._state = _State.REFUSED
        self._held.clear()
        self._requests.clear()
        self._media_stream_id = _NO_STREAM
        info = {"level": "error", "code": "NetConnection.Connect.Rejected", "description": description}
        self._send_command("_error", self._connect_transaction, None, info)

    def _require(self, state: _State, call: str) -> None:
        if self._state is not state:
            raise LocalProtocolError(f"{call} in state {self._state.name}")

    # Answers

    def _answer(self, transaction: float, *values: Any) -> None:
        """`_result`, unless the command asked for no answer."""
        if transaction:
            self._reply("_result", transaction, None, *values)

    def _answer_error(self, transaction: float, code: str, description: str) -> None:
        self._reply("_error", transaction, None, {"level": "error", "code": code, "description": description})

    def _status(self, stream_id: int, code: str, description: str, *, level: str = "status") -> None:
        info = {"level": level, "code": code, "description": description}
        self._reply("onStatus", 0.0, None, info, stream_id=stream_id)

    def _reply(self, name: str, transaction: float, *values: Any, stream_id: int = 0) -> None:
        # Held answers follow Set Chunk Size, so the larger size is right for them too.
        data = pack_command(name, transaction, *values, stream_id=stream_id, chunk_size=self.chunk_size_out)
        if self._state is not _State.DECIDING:
            self._out.append(data)
        elif len(self._held) < HELD_MAX:
            self._held.append(data)
        else:
            raise RemoteProtocolError("too many commands without waiting for the answer to connect")

    # Commands of the connection

    def _on_create_stream(self, _: int, transaction: float, __: list[Any], ___: list[ServerEvent]) -> None:
        if len(self._streams) >= self._limits.message_streams:
            description = f"At most {self._limits.message_streams} streams at a time."
            self._answer_error(transaction, "NetConnection.Call.Failed", description)
            return
        created = next(number for number in itertools.count(MEDIA_STREAM_ID) if number not in self._streams)
        self._streams.add(created)
        self._answer(transaction, float(created))

    def _on_delete_stream(self, stream_id: int, _: float, values: list[Any], events: list[ServerEvent]) -> None:
        """Has no answer (7.2.2.3)."""
        deleted = values[0] if values and isinstance(values[0], int | float) else stream_id
        self._streams.discard(int(deleted) if deleted == deleted and abs(deleted) < 1 << 32 else 0)
        if deleted == self._stream_id:
            self._end(events)

    def _on_plain(self, _: int, transaction: float, __: list[Any], ___: list[ServerEvent]) -> None:
        """releaseStream, _checkbw and the like: nothing to do, and the peer waits for an answer."""
        self._answer(transaction, UNDEFINED)

    def _on_get_stream_length(self, _: int, transaction: float, __: list[Any], ___: list[ServerEvent]) -> None:
        self._answer(transaction, 0.0)  # a live stream has none

    def _on_fc_publish(self, _: int, transaction: float, __: list[Any], ___: list[ServerEvent]) -> None:
        self._fc_publish = True
        self._answer(transaction, UNDEFINED)

    def _on_fc_unpublish(self, _: int, transaction: float, values: list[Any], events: list[ServerEvent]) -> None:
        self._fc_publish = False
        if self._role in _PUBLISH:
            self._answer_unpublish()
            self._end(events)
        self._answer(transaction, UNDEFINED)

    def _on_fc_subscribe(self, _: int, transaction: float, values: list[Any], __: list[ServerEvent]) -> None:
        self._answer(transaction, UNDEFINED)
        info = {"level": "status", "code": "NetStream.Play.Start", "description": _text(values[0] if values else "")[:TEXT_MAX]}
        self._reply("onFCSubscribe", 0.0, None, info)

    # Publishing

    def _on_publish(self, stream_id: int, _: float, values: list[Any], events: list[ServerEvent]) -> None:
        name = values[0] if values else None
        if name is False:  # publish(false) stops, as in ActionScript
            self._on_close_stream(stream_id, 0.0, [], events)
            return
        if not isinstance(name, str) or not name:
            self._status(stream_id, "NetStream.Publish.BadName", "publish without a stream name", level="error")
            return
        if self._role is not _Role.NONE:
            description = "this connection already has a stream"
            self._status(stream_id, "NetStream.Publish.BadName", description, level="error")
            return
        kind = values[1] if len(values) > 1 and isinstance(values[1], str) else "live"
        self._ask(_Request(_Role.PUBLISH_ASKED, stream_id, name, fc_publish=self._fc_publish))
        self._media_stream_id = stream_id
        self._fc_publish = False
        events.append(PublishRequested(name, kind, stream_id))

    def accept_publish(self) -> None:
        """Let the client publish."""
        request = self._decide(_Role.PUBLISH_ASKED, "accept_publish")
        self._accepted.add(_Role.PUBLISHING)
        if request is None:
            return
        self._role = _Role.PUBLISHING
        description = f"{_shown(request.name)} is now published."
        if request.fc_publish:
            self._reply("onFCPublish", 0.0, None, {"code": "NetStream.Publish.Start", "description": description})
        self._status(request.stream_id, "NetStream.Publish.Start", description)

    def reject_publish(self, description: str, code: str = "NetStream.Publish.BadName") -> None:
        """Refuse to let the client publish."""
        self._reject(_Role.PUBLISH_ASKED, "reject_publish", description, code)

    def end_publish(self, description: str, code: str = "NetStream.Publish.Rejected") -> None:
        """Cut the publisher off. With code NetStream.Unpublish.Success it is told that all is well instead."""
        if not self._ending(_Role.PUBLISHING, "end_publish"):
            return
        level = "status" if code == "NetStream.Unpublish.Success" else "error"
        self._status(self._stream_id, code, description, level=level)
        self._clear()

    def _answer_unpublish(self) -> None:
        description = f"{_shown(self._name)} is now unpublished."
        info = {"code": "NetStream.Unpublish.Success", "description": description}
        self._reply("onFCUnpublish", 0.0, None, info)
        self._status(self._stream_id, "NetStream.Unpublish.Success", description)

    # Playing

    def _on_play(self, stream_id: int, _: float, values: list[Any], events: list[ServerEvent]) -> None:
        """7.2.2.1."""
        name = values[0] if values else None
        if name is False:  # play(false) stops, as in ActionScript
            self._on_close_stream(stream_id, 0.0, [], events)
            return
        if not isinstance(name, str) or not name:
            self._status(stream_id, "NetStream.Play.StreamNotFound", "play without a stream name", level="error")
            return
        if self._role in _PLAY and stream_id == self._stream_id:
            self._end(events)  # another stream is asked for in place of this one
        if self._role is not _Role.NONE:
            self._status(stream_id, "NetStream.Play.Failed", "this connection already has a stream", level="error")
            return
        if stream_id != MEDIA_STREAM_ID:
            description = f"only message stream {MEDIA_STREAM_ID}, the first of a connection, can play"
            self._status(stream_id, "NetStream.Play.Failed", description, level="error")
            return
        start = _number(values, 1, -2.0)
        duration = _number(values, 2, -1.0)
        reset = bool(values[3]) if len(values) > 3 and isinstance(values[3], bool | int | float) else True
        self._ask(_Request(_Role.PLAY_ASKED, stream_id, name, reset=reset))
        events.append(PlayRequested(name, start, duration, reset, stream_id))

    def accept_play(self) -> None:
        """Let the client play; media may be sent from now on.

        The data messages |RtmpSampleAccess and NetStream.Data.Start are left out: only the Flash player wanted them, and FFmpeg
        takes them for one more stream.
        """
        request = self._decide(_Role.PLAY_ASKED, "accept_play")
        self._accepted.add(_Role.PLAYING)
        if request is None:
            return
        self._role = _Role.PLAYING
        stream_id = request.stream_id
        name = _shown(request.name)
        self._out.append(pack_user_control(UserControl.STREAM_BEGIN, stream_id))
        if request.reset:
            self._status(stream_id, "NetStream.Play.Reset", f"Playing and resetting {name}.")
        self._status(stream_id, "NetStream.Play.Start", f"Started playing {name}.")

    def reject_play(self, description: str, code: str = "NetStream.Play.StreamNotFound") -> None:
        """Refuse to let the client play."""
        self._reject(_Role.PLAY_ASKED, "reject_play", description, code)

    def end_play(self, description: str) -> None:
        """Tell the player that the stream has ended."""
        if not self._ending(_Role.PLAYING, "end_play"):
            return
        stream_id = self._stream_id
        self._out.append(pack_user_control(UserControl.STREAM_EOF, stream_id))
        complete = {"level": "status", "code": "NetStream.Play.Complete", "duration": 0.0, "bytes": 0.0}
        self._out.append(pack_data("onPlayStatus", complete, stream_id=stream_id, chunk_size=self.chunk_size_out))
        self._status(stream_id, "NetStream.Play.UnpublishNotify", description)
        self._clear()

    def _on_pause(self, stream_id: int, _: float, values: list[Any], events: list[ServerEvent]) -> None:
        """7.2.2.9."""
        if self._role is not _Role.PLAYING or stream_id != self._stream_id:
            return
        paused = bool(values[0]) if values and isinstance(values[0], bool) else True
        if paused:
            self._status(stream_id, "NetStream.Pause.Notify", f"Pausing {_shown(self._name)}.")
        else:
            self._status(stream_id, "NetStream.Unpause.Notify", f"Unpausing {_shown(self._name)}.")
        events.append(PauseRequested(paused, _number(values, 1, 0.0)))

    def _on_seek(self, stream_id: int, _: float, __: list[Any], ___: list[ServerEvent]) -> None:
        if self._role in _PLAY and stream_id == self._stream_id:
            self._status(stream_id, "NetStream.Seek.Failed", "A live stream has nothing to seek in.", level="error")

    def _on_receive_audio(self, stream_id: int, _: float, values: list[Any], events: list[ServerEvent]) -> None:
        if self._wants(stream_id, values):
            events.append(ReceiveAudio(values[0]))

    def _on_receive_video(self, stream_id: int, _: float, values: list[Any], events: list[ServerEvent]) -> None:
        if self._wants(stream_id, values):
            events.append(ReceiveVideo(values[0]))

    def _wants(self, stream_id: int, values: list[Any]) -> bool:
        """Whether a receiveAudio or receiveVideo counts; answered as 7.2.2.4 says."""
        if self._role not in _PLAY or stream_id != self._stream_id or not values or not isinstance(values[0], bool):
            return False
        if values[0] and self._role is _Role.PLAYING:
            self._status(stream_id, "NetStream.Seek.Notify", f"Seeking {_shown(self._name)}.")
            self._status(stream_id, "NetStream.Play.Start", f"Started playing {_shown(self._name)}.")
        return True

    # The end of a stream

    def _on_close_stream(self, stream_id: int, _: float, __: list[Any], events: list[ServerEvent]) -> None:
        if stream_id != self._stream_id:
            return
        if self._role in _PUBLISH:
            self._answer_unpublish()
        self._end(events)

    def _end(self, events: list[ServerEvent]) -> None:
        """The peer has ended its stream, or taken back its request for one."""
        if self._role in (_Role.PUBLISH_ASKED, _Role.PLAY_ASKED):
            self._requests[-1].withdrawn = True
        if self._role in _PUBLISH:
            events.append(PublishEnded())
        elif self._role in _PLAY:
            events.append(PlayEnded())
        self._clear()

    def _clear(self) -> None:
        self._role = _Role.NONE
        self._stream_id = self._media_stream_id = _NO_STREAM
        self._name = ""

    # Decisions

    def _ask(self, request: _Request) -> None:
        if len(self._requests) >= REQUESTS_MAX:
            raise RemoteProtocolError(f"more than {REQUESTS_MAX} publish and play commands without waiting for an answer")
        self._requests.append(request)
        self._role = request.role
        self._stream_id = request.stream_id
        self._name = request.name

    def _decide(self, role: _Role, call: str) -> _Request | None:
        """The request that is decided now; None if the peer has taken it back."""
        self._require(_State.READY, call)
        if not self._requests or self._requests[0].role is not role:
            raise LocalProtocolError(f"{call} without a request for it")
        request = self._requests.popleft()
        return None if request.withdrawn else request

    def _ending(self, role: _Role, call: str) -> bool:
        """Whether there is still something to end from our side."""
        if role not in self._accepted:
            raise LocalProtocolError(f"{call} of a stream that was never accepted")
        return self._role is role

    def _reject(self, role: _Role, call: str, description: str, code: str) -> None:
        request = self._decide(role, call)
        if request is not None:
            self._status(request.stream_id, code, description, level="error")
            self._clear()


_Handler = Callable[[ServerConnection, int, float, list[Any], list[ServerEvent]], None]

_COMMANDS: dict[str, _Handler] = {
    "createStream": ServerConnection._on_create_stream,
    "initStream": ServerConnection._on_plain,
    "deleteStream": ServerConnection._on_delete_stream,
    "closeStream": ServerConnection._on_close_stream,
    "releaseStream": ServerConnection._on_plain,
    "FCPublish": ServerConnection._on_fc_publish,
    "FCUnpublish": ServerConnection._on_fc_unpublish,
    "FCSubscribe": ServerConnection._on_fc_subscribe,
    "FCUnsubscribe": ServerConnection._on_plain,
    "_checkbw": ServerConnection._on_plain,
    "checkBandwidth": ServerConnection._on_plain,
    "getStreamLength": ServerConnection._on_get_stream_length,
    "getMovLen": ServerConnection._on_get_stream_length,
    "publish": ServerConnection._on_publish,
    "play": ServerConnection._on_play,
    "pause": ServerConnection._on_pause,
    "pauseRaw": ServerConnection._on_pause,
    "seek": ServerConnection._on_seek,
    "receiveAudio": ServerConnection._on_receive_audio,
    "receiveVideo": ServerConnection._on_receive_video,
}

_CONNECT_TEXTS = ("app", "tcUrl", "flashVer", "pageUrl", "swfUrl")

_REPLIES = ("_result", "_error", "onStatus")
"""Answers to commands; we send none that wants one, so they are passed over."""


def _shown(name: str) -> str:
    """A stream's name without its query, which may hold a signature."""
    return name.partition("?")[0][:TEXT_MAX]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(values: Sequence[Any], index: int, default: float) -> float:
    value = values[index] if index < len(values) else default
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


class ClientConnection(_Connection):
    """The client's side of one connection: one stream, published or played.

    url_app, tc_url: as in the connect command. fourcc_list: codecs of Enhanced RTMP to offer; none says nothing about it.
    """

    def __init__(
        self,
        url_app: str,
        tc_url: str,
        *,
        limits: RtmpLimits = DEFAULT_LIMITS,
        chunk_size_out: int = 4096,
        fourcc_list: Iterable[str] = (),
        flash_ver: str = "FMLE/3.0 (compatible; Headwater)",
        page_url: str = "",
        swf_url: str = "",
    ) -> None:
        super().__init__(limits, chunk_size_out)
        self._handshake: handshake.ClientHandshake | None = handshake.ClientHandshake()
        self._connect: dict[str, Any] = {"app": url_app, "type": "nonprivate", "flashVer": flash_ver, "tcUrl": tc_url}
        self._connect |= {key: url for key, url in (("pageUrl", page_url), ("swfUrl", swf_url)) if url}
        if codecs := list(fourcc_list):
            self._connect["fourCcList"] = codecs
        self._connected = False
        self._transaction = 1.0
        self._create_transaction = 0.0
        self._command_name = ""
        self._name = ""
        self._stream_id = 0
        self._out.append(handshake.client_hello())

    @property
    def stream_id(self) -> int:
        """The message stream that the server made for us; 0 before."""
        return self._stream_id

    def receive_data(self, data: bytes) -> list[ClientEvent]:
        """What the server did with these bytes. Raises RemoteProtocolError."""
        events: list[ClientEvent] = []
        self.bytes_received += len(data)
        if self._handshake is not None:
            reply, rest = self._handshake.receive(data)
            if rest is None:
                return events
            self._handshake = None
            data = rest
            self._out.append(reply)
            self._send_command("connect", 1.0, self._connect)
            events.append(Handshaken())
        for message in self._demuxer.receive(data):
            match message.type_id:
                case TypeId.AUDIO | TypeId.VIDEO:
                    events.append(MediaMessage(message.type_id, message.timestamp, message.payload))
                case TypeId.DATA_AMF0 | TypeId.DATA_AMF3:
                    if body := script_body(message, self._limits):
                        events.append(MediaMessage(SCRIPT, message.timestamp, body))
                case TypeId.AGGREGATE:
                    events += [MediaMessage(part.type_id, part.timestamp, part.payload) for part in unpack_aggregate(message)]
                case TypeId.COMMAND_AMF0 | TypeId.COMMAND_AMF3:
                    self._on_command(message, events)
                case _:
                    self._control(message)
        self._acknowledge()
        return events

    def publish(self, name: str) -> None:
        """Ask to publish; StatusReceived tells the answer, NetStream.Publish.Start if all is well."""
        self._begin("publish", name)

    def play(self, name: str) -> None:
        """Ask to play; StatusReceived tells the answer, NetStream.Play.Start if all is well."""
        self._begin("play", name)

    def send_tag(self, kind: int, timestamp: int, payload: bytes) -> None:
        """Send one tag of the stream that is being published; metadata goes as `@setDataFrame`, as encoders send it."""
        if self._command_name != "publish" or not self._stream_id:
            raise LocalProtocolError("send_tag without a stream to publish")
        if kind == SCRIPT and payload.startswith(b"\x02\x00\x0aonMetaData"):
            payload = b"\x02\x00\x0d@setDataFrame" + payload
        self._out.append(pack_tag(kind, timestamp, payload, stream_id=self._stream_id, chunk_size=self._chunk_size_now))

    def end(self) -> None:
        """End the stream in the way of encoders and players; another may be begun after it."""
        if not self._command_name:
            raise LocalProtocolError("end without a stream")
        if self._command_name == "publish":
            self._send_command("FCUnpublish", self._next_transaction(), None, self._name)
        if self._stream_id:
            self._send_command("deleteStream", self._next_transaction(), None, float(self._stream_id))
        self._command_name = ""
        self._create_transaction = 0.0
        self._stream_id = 0

    def _begin(self, command: str, name: str) -> None:
        if not self._connected:
            raise LocalProtocolError(f"{command} before the server has accepted connect")
        if self._command_name:
            raise LocalProtocolError(f"{command} on a connection that has a stream already")
        self._command_name = command
        self._name = name
        if command == "publish":
            self._send_command("releaseStream", self._next_transaction(), None, name)
            self._send_command("FCPublish", self._next_transaction(), None, name)
        self._create_transaction = self._next_transaction()
        self._send_command("createStream", self._create_transaction, None)

    def _next_transaction(self) -> float:
        self._transaction += 1
        return self._transaction

    def _on_command(self, message: Message, events: list[ClientEvent]) -> None:
        name, transaction, values = self._command(message)
        info = values[1] if len(values) > 1 else None
        fields: dict[str, Any] = info if isinstance(info, dict) else {}
        code, level, description = (_text(fields.get(key)) for key in ("code", "level", "description"))
        if name == "onStatus":
            events.append(StatusReceived(code, level, description))
        elif name == "_result" and transaction == 1:
            self._connected = True
            self._set_chunk_size()
            events.append(ConnectAccepted(fields))
        elif name == "_error" and transaction == 1:
            events.append(ConnectRejected(code, description))
        elif transaction != self._create_transaction or not self._create_transaction:
            return  # an answer to releaseStream or FCPublish, which change nothing
        elif name == "_error":
            events.append(StatusReceived(code, "error", description))
        elif name == "_result":
            if not isinstance(info, int | float) or not 0 < info < 1 << 32:
                raise RemoteProtocolError("answer to createStream without a stream id")
            self._on_stream_created(int(info))

    def _on_stream_created(self, stream_id: int) -> None:
        self._stream_id = stream_id
        self._create_transaction = 0.0
        transaction = self._next_transaction()
        if self._command_name == "publish":
            self._send_command("publish", transaction, None, self._name, "live", stream_id=stream_id)
        else:
            self._send_command("play", transaction, None, self._name, -2.0, stream_id=stream_id)
            self._out.append(pack_user_control(UserControl.SET_BUFFER_LENGTH, stream_id, 3000))
