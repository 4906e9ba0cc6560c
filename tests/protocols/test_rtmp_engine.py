"""The RTMP engine: encoders and players get the answers that they wait for, and hostile peers an error that says why."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.protocols import rtmp
from headwater.protocols.rtmp import amf
from headwater.protocols.rtmp.chunks import Demuxer, Message, pack_message

HELLO = b"\x03" + bytes(1536)
C2 = bytes(1536)
AUDIO, VIDEO, SCRIPT = 8, 9, 18
CONNECT = {"app": "live", "type": "nonprivate", "flashVer": "FMLE/3.0 (compatible; FMSc/1.0)", "tcUrl": "rtmp://in.test/live"}
METADATA = amf.encode("onMetaData", amf.EcmaArray(width=1920.0))


def command(name: str, *values: Any, stream_id: int = 0, type_id: int = 20) -> bytes:
    body = amf.encode(name, *values)
    return pack_message(3, type_id, stream_id, 0, b"\0" + body if type_id == 17 else body)


def media(kind: int, timestamp: int, payload: bytes, *, stream_id: int = 1, chunk_size: int = 128) -> bytes:
    return pack_message(4, kind, stream_id, timestamp, payload, chunk_size=chunk_size)


def control(type_id: int, number: int) -> bytes:
    return pack_message(2, type_id, 0, 0, number.to_bytes(4))


PUBLISH = (
    command("connect", 1.0, CONNECT),
    control(1, 4096),
    command("releaseStream", 2.0, None, "key?auth_key=1"),
    command("FCPublish", 3.0, None, "key?auth_key=1"),
    command("createStream", 4.0, None),
    command("publish", 5.0, None, "key?auth_key=1", "live", stream_id=1),
)
MEDIA = (
    media(SCRIPT, 0, amf.encode("@setDataFrame") + METADATA, chunk_size=4096),
    media(AUDIO, 0, b"\xaf\x00\x12\x10"),
    media(VIDEO, 40, b"\x17\x01" + bytes(5000), chunk_size=4096),
)
GOODBYE = (command("FCUnpublish", 6.0, None, "key?auth_key=1"), command("deleteStream", 7.0, None, 1.0))
CONVERSATION = (HELLO, C2, *PUBLISH, *MEDIA, *GOODBYE)
EVENTS: list[rtmp.ServerEvent] = [
    rtmp.Connected("live", "rtmp://in.test/live", CONNECT["flashVer"], "", "", CONNECT),
    rtmp.PublishRequested("key?auth_key=1", "live", 1),
    rtmp.MediaMessage(SCRIPT, 0, METADATA),
    rtmp.MediaMessage(AUDIO, 0, b"\xaf\x00\x12\x10"),
    rtmp.MediaMessage(VIDEO, 40, b"\x17\x01" + bytes(5000)),
    rtmp.PublishEnded(),
]


class Peer:
    """Feeds a server's connection, accepts everything, and reads what it answers."""

    def __init__(self, server: rtmp.ServerConnection | None = None, *, accept: bool = True) -> None:
        self.server = server or rtmp.ServerConnection()
        self.accept = accept
        self.raw = bytearray()
        self._demuxer = Demuxer(rtmp.RtmpLimits())

    def send(self, *pieces: bytes) -> list[rtmp.ServerEvent]:
        events = []
        for piece in pieces:
            got = self.server.receive_data(piece)
            events += got
            for event in got if self.accept else ():
                match event:
                    case rtmp.Connected():
                        self.server.accept_connect()
                    case rtmp.PublishRequested():
                        self.server.accept_publish()
                    case rtmp.PlayRequested():
                        self.server.accept_play()
        return events

    def answers(self) -> list[Message]:
        self.raw += self.server.data_to_send()
        if len(self.raw) < 3073:
            return []
        fresh = bytes(self.raw[3073:])
        del self.raw[3073:]
        return self._demuxer.receive(fresh)

    def commands(self) -> list[list[Any]]:
        return [amf.decode(m.payload) for m in self.answers() if m.type_id == 20]

    def codes(self) -> list[str]:
        found = []
        for values in self.commands():
            info = values[3] if len(values) > 3 else None
            found.append(f"{values[0]} {info['code']}" if isinstance(info, dict) else values[0])
        return found


def connected(connect: dict[str, Any] = CONNECT, **limits: int) -> Peer:
    peer = Peer(rtmp.ServerConnection(limits=rtmp.RtmpLimits(**limits)))
    peer.send(HELLO + C2, command("connect", 1.0, connect), command("createStream", 2.0, None))
    peer.answers()
    return peer


def publishing() -> Peer:
    peer = connected()
    peer.send(command("publish", 3.0, None, "key", "live", stream_id=1))
    peer.answers()
    return peer


def playing(*values: Any) -> Peer:
    peer = connected()
    peer.send(command("play", 3.0, None, "key", *values, stream_id=1))
    return peer


# Publishing


def test_an_encoder_publishes_from_handshake_to_goodbye() -> None:
    assert Peer().send(*CONVERSATION) == EVENTS


def test_an_encoder_that_waits_for_nothing_is_served_too() -> None:
    assert Peer().send(b"".join(CONVERSATION)) == EVENTS


def test_splitting_at_every_offset_gives_the_same_events() -> None:
    data = b"".join(CONVERSATION)
    offsets = [*range(0, 3073, 97), *range(3060, len(data) - 5100), *range(len(data) - 5100, len(data), 7)]
    for offset in offsets:
        assert Peer().send(data[:offset], data[offset:]) == EVENTS
    for size in (1, 2, 3, 500):
        assert Peer().send(*(data[at : at + size] for at in range(0, len(data), size))) == EVENTS


def test_connect_and_publish_are_answered_in_the_order_that_encoders_expect() -> None:
    peer = Peer()
    peer.send(HELLO, C2, PUBLISH[0])
    answers = peer.answers()
    assert [m.type_id for m in answers] == [5, 6, 20]  # Set Chunk Size is the demuxer's own
    assert answers[1].payload == (2_500_000).to_bytes(4) + b"\x02"
    [result] = [amf.decode(m.payload) for m in answers if m.type_id == 20]
    assert result[:2] == ["_result", 1.0]
    assert result[3]["code"] == "NetConnection.Connect.Success"
    peer.send(*PUBLISH[1:])
    answers = peer.answers()
    got = [amf.decode(m.payload) for m in answers]
    assert got[:3] == [
        ["_result", 2.0, None, amf.UNDEFINED],
        ["_result", 3.0, None, amf.UNDEFINED],
        ["_result", 4.0, None, 1.0],
    ]
    assert [values[0] for values in got[3:]] == ["onFCPublish", "onStatus"]
    assert got[4][3] == {"level": "status", "code": "NetStream.Publish.Start", "description": "key is now published."}
    assert answers[-1].stream_id == 1
    peer.send(*MEDIA)
    assert peer.codes() == []
    peer.send(*GOODBYE)
    assert peer.codes() == ["onFCUnpublish NetStream.Unpublish.Success", "onStatus NetStream.Unpublish.Success", "_result"]


def test_onfcpublish_comes_only_to_those_who_sent_fcpublish() -> None:
    peer = connected()
    peer.send(command("publish", 3.0, None, "key", stream_id=1))
    assert peer.codes() == ["onStatus NetStream.Publish.Start"]


def test_nothing_is_answered_before_the_decision_about_connect() -> None:
    peer = Peer(accept=False)
    peer.send(HELLO + C2, *PUBLISH[:5])
    assert peer.answers() == []
    peer.server.accept_connect()
    assert [values[:2] for values in peer.commands()] == [
        ["_result", 1.0],
        ["_result", 2.0],
        ["_result", 3.0],
        ["_result", 4.0],
    ]


def test_a_refused_connect_says_why_and_ends_everything() -> None:
    peer = Peer(accept=False)
    peer.send(HELLO + C2, PUBLISH[0])
    peer.server.reject_connect("no such app")
    [error] = peer.commands()
    assert error == [
        "_error",
        1.0,
        None,
        {"level": "error", "code": "NetConnection.Connect.Rejected", "description": "no such app"},
    ]
    assert peer.send(*PUBLISH[1:], b"\xff" * 1000) == []
    assert peer.answers() == []


def test_a_refused_publish_says_why_and_its_media_do_not_count() -> None:
    peer = connected()
    peer.accept = False
    peer.send(command("publish", 3.0, None, "key", stream_id=1))
    peer.server.reject_publish("wrong signature")
    assert peer.commands()[0][3] == {"level": "error", "code": "NetStream.Publish.BadName", "description": "wrong signature"}
    assert peer.send(media(VIDEO, 0, b"x")) == []


def test_media_that_does_not_wait_for_the_answer_is_not_lost() -> None:
    peer = connected()
    peer.accept = False
    events = peer.send(command("publish", 3.0, None, "key", stream_id=1) + media(VIDEO, 0, b"\x17\x00"))
    assert events == [rtmp.PublishRequested("key", "live", 1), rtmp.MediaMessage(VIDEO, 0, b"\x17\x00")]


def test_media_counts_only_on_the_stream_that_publishes() -> None:
    peer = connected()
    assert peer.send(media(VIDEO, 0, b"too early")) == []
    peer = publishing()
    assert peer.send(media(VIDEO, 0, b"x", stream_id=2), media(SCRIPT, 0, METADATA, stream_id=0)) == []
    assert peer.send(media(VIDEO, 0, b"")) == []
    assert peer.send(media(VIDEO, 0, b"x")) == [rtmp.MediaMessage(VIDEO, 0, b"x")]


@pytest.mark.parametrize(
    ("goodbye", "answers"),
    [
        (command("deleteStream", 4.0, None, 1.0), []),
        (command("deleteStream", 0.0, None, 1.0), []),
        (command("closeStream", 0.0, None, stream_id=1), ["onFCUnpublish", "onStatus"]),
        (command("publish", 0.0, None, False, stream_id=1), ["onFCUnpublish", "onStatus"]),
        (command("FCUnpublish", 0.0, None, "key"), ["onFCUnpublish", "onStatus"]),
    ],
)
def test_publishing_ends_once_in_every_way_and_may_begin_again(goodbye: bytes, answers: list[str]) -> None:
    peer = publishing()
    assert peer.send(goodbye + media(VIDEO, 0, b"late")) == [rtmp.PublishEnded()]
    assert [values[0] for values in peer.commands()] == answers
    assert peer.send(goodbye) == []
    peer.answers()
    again = command("createStream", 5.0, None) + command("publish", 6.0, None, "again", stream_id=1) + media(VIDEO, 0, b"x")
    assert peer.send(again) == [rtmp.PublishRequested("again", "live", 1), rtmp.MediaMessage(VIDEO, 0, b"x")]
    assert peer.codes()[-1] == "onStatus NetStream.Publish.Start"


def test_a_publisher_is_cut_with_a_reason() -> None:
    peer = publishing()
    peer.server.end_publish("the stream is forbidden")
    assert peer.commands()[0][3] == {
        "level": "error",
        "code": "NetStream.Publish.Rejected",
        "description": "the stream is forbidden",
    }
    assert peer.send(media(VIDEO, 0, b"x")) == []


def test_a_request_that_is_withdrawn_at_once_needs_no_answer() -> None:
    peer = connected()
    withdrawn = command("publish", 3.0, None, "one", stream_id=1) + command("deleteStream", 4.0, None, 1.0)
    second = command("createStream", 5.0, None) + command("play", 6.0, None, "two", stream_id=1)
    events = peer.send(withdrawn + second)
    assert [type(event) for event in events] == [rtmp.PublishRequested, rtmp.PublishEnded, rtmp.PlayRequested]
    assert peer.codes() == ["_result", "onStatus NetStream.Play.Reset", "onStatus NetStream.Play.Start"]
    peer.server.end_publish("too late to matter")
    assert peer.codes() == []


def test_requests_without_end_are_refused() -> None:
    peer = connected()
    one = command("play", 3.0, None, "one", stream_id=1) + command("closeStream", 0.0, None, stream_id=1)
    with pytest.raises(rtmp.RemoteProtocolError, match="more than 8 publish and play commands"):
        peer.send(one * 9)


def test_a_connection_has_one_stream_at_a_time() -> None:
    peer = publishing()
    assert peer.send(command("createStream", 4.0, None), command("publish", 5.0, None, "two", stream_id=2)) == []
    assert peer.send(command("play", 6.0, None, "two", stream_id=2)) == []
    assert peer.codes() == ["_result", "onStatus NetStream.Publish.BadName", "onStatus NetStream.Play.Failed"]


@pytest.mark.parametrize("name", [None, "", 5.0, amf.UNDEFINED])
def test_a_stream_needs_a_name(name: Any) -> None:
    peer = connected()
    assert peer.send(command("publish", 3.0, None, name, stream_id=1), command("play", 4.0, None, name, stream_id=1)) == []
    assert peer.codes() == ["onStatus NetStream.Publish.BadName", "onStatus NetStream.Play.StreamNotFound"]


def test_a_signature_is_never_repeated() -> None:
    peer = Peer()
    peer.send(b"".join(CONVERSATION))
    assert b"auth_key" not in peer.server.data_to_send()


# Media in other clothes


def test_aggregates_are_unpacked_with_their_timestamps_moved() -> None:
    def part(kind: int, timestamp: int, body: bytes) -> bytes:
        header = bytes((kind,)) + len(body).to_bytes(3) + (timestamp & 0xFFFFFF).to_bytes(3) + bytes((timestamp >> 24, 0, 0, 0))
        return header + body + (len(body) + 11).to_bytes(4)

    body = part(AUDIO, 0x01000000, b"a") + part(VIDEO, 0x01000010, b"v") + part(SCRIPT, 0x01000010, METADATA) + part(3, 0, b"?")
    expected = [
        rtmp.MediaMessage(AUDIO, 0xFFFFFFF8, b"a"),
        rtmp.MediaMessage(VIDEO, 8, b"v"),
        rtmp.MediaMessage(SCRIPT, 8, METADATA),
    ]
    assert publishing().send(media(22, 0xFFFFFFF8, body)) == expected
    assert publishing().send(media(22, 0xFFFFFFF8, body[:-4])) == expected
    assert publishing().send(media(22, 0, body, stream_id=5)) == []
    for cut in (5, len(body) - 10):
        with pytest.raises(rtmp.RemoteProtocolError, match="aggregate"):
            publishing().send(media(22, 0, body[:cut]))


def test_amf3_data_becomes_amf0() -> None:
    amf3_object = bytes.fromhex("11 0a0b01 0b7769647468 0487 40 01")
    body = b"\0" + amf.encode("@setDataFrame", "onMetaData") + amf3_object
    [event] = publishing().send(media(15, 7, body))
    assert event == rtmp.MediaMessage(SCRIPT, 7, amf.encode("onMetaData", {"width": 960.0}))
    with pytest.raises(rtmp.RemoteProtocolError, match="message of type 15"):
        publishing().send(media(15, 7, body[:-4]))


def test_amf3_commands_are_understood() -> None:
    peer = Peer()
    events = peer.send(HELLO + C2, command("connect", 1.0, {**CONNECT, "objectEncoding": 3.0}))
    assert isinstance(events[0], rtmp.Connected)
    assert peer.commands()[0][3]["objectEncoding"] == 3.0
    peer.send(command("createStream", 2.0, None, type_id=17))
    assert peer.send(command("publish", 3.0, None, "key", stream_id=1, type_id=17)) == [rtmp.PublishRequested("key", "live", 1)]


def test_metadata_is_passed_on_as_players_know_it() -> None:
    peer = publishing()
    cue = amf.encode("onCuePoint", {"name": "x"})
    clear = amf.encode("@clearDataFrame", "onMetaData")
    got = peer.send(media(SCRIPT, 0, METADATA), media(SCRIPT, 5, cue), media(SCRIPT, 6, clear))
    assert got == [rtmp.MediaMessage(SCRIPT, 0, METADATA), rtmp.MediaMessage(SCRIPT, 5, cue)]


# Playing


def test_a_player_is_answered_as_players_expect() -> None:
    peer = playing(-2.0, -1.0, True)
    answers = peer.answers()
    assert [m.type_id for m in answers] == [4, 20, 20]
    assert answers[0].payload == b"\0\0\0\0\0\x01"
    assert amf.decode(answers[1].payload)[3]["code"] == "NetStream.Play.Reset"
    assert amf.decode(answers[2].payload)[3]["code"] == "NetStream.Play.Start"
    assert {m.stream_id for m in answers[1:]} == {1}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), (-2.0, -1.0, True)),
        ((-1.0, 30.0, False), (-1.0, 30.0, False)),
        ((-2000.0,), (-2000.0, -1.0, True)),
        (("x", None, 0.0), (-2.0, -1.0, False)),
    ],
)
def test_what_play_asks_for_is_told(values: tuple[Any, ...], expected: tuple[float, float, bool]) -> None:
    peer = connected()
    [event] = peer.send(command("play", 3.0, None, "key?auth_key=1", *values, stream_id=1))
    assert event == rtmp.PlayRequested("key?auth_key=1", *expected, 1)


def test_a_refused_play_says_why() -> None:
    peer = connected()
    peer.accept = False
    peer.send(command("play", 3.0, None, "key", stream_id=1))
    peer.server.reject_play("no such stream")
    assert peer.codes() == ["onStatus NetStream.Play.StreamNotFound"]


def test_the_end_of_the_stream_is_told_to_the_player() -> None:
    peer = playing()
    peer.answers()
    peer.server.end_play("the publisher has gone")
    answers = peer.answers()
    assert [m.type_id for m in answers] == [4, 18, 20]
    assert answers[0].payload == b"\0\x01\0\0\0\x01"
    assert amf.decode(answers[1].payload)[1]["code"] == "NetStream.Play.Complete"
    assert amf.decode(answers[2].payload)[3]["code"] == "NetStream.Play.UnpublishNotify"


@pytest.mark.parametrize(
    "goodbye",
    [
        command("deleteStream", 0.0, None, 1.0),
        command("closeStream", 0.0, None, stream_id=1),
        command("play", 0.0, None, False, stream_id=1),
    ],
)
def test_playing_ends_in_every_way(goodbye: bytes) -> None:
    assert playing().send(goodbye) == [rtmp.PlayEnded()]


def test_another_play_takes_the_place_of_the_first() -> None:
    events = playing().send(command("play", 4.0, None, "two", stream_id=1))
    assert events == [rtmp.PlayEnded(), rtmp.PlayRequested("two", -2.0, -1.0, True, 1)]


def test_pausing_seeking_and_choosing_tracks_are_answered() -> None:
    peer = playing()
    peer.answers()
    pause = [command("pause", 0.0, None, True, 1500.0, stream_id=1), command("pauseRaw", 0.0, None, False, 1500.0, stream_id=1)]
    assert peer.send(*pause) == [rtmp.PauseRequested(True, 1500.0), rtmp.PauseRequested(False, 1500.0)]
    assert peer.codes() == ["onStatus NetStream.Pause.Notify", "onStatus NetStream.Unpause.Notify"]
    tracks = [command("receiveAudio", 0.0, None, False, stream_id=1), command("receiveVideo", 0.0, None, True, stream_id=1)]
    assert peer.send(*tracks) == [rtmp.ReceiveAudio(False), rtmp.ReceiveVideo(True)]
    assert peer.codes() == ["onStatus NetStream.Seek.Notify", "onStatus NetStream.Play.Start"]
    assert peer.send(command("seek", 0.0, None, 0.0, stream_id=1)) == []
    assert peer.codes() == ["onStatus NetStream.Seek.Failed"]


def test_only_the_first_message_stream_plays_because_viewers_share_their_bytes() -> None:
    peer = connected()
    peer.send(command("createStream", 3.0, None))
    assert peer.send(command("play", 4.0, None, "key", stream_id=2)) == []
    assert peer.codes() == ["_result", "onStatus NetStream.Play.Failed"]


# The rest of the protocol


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("releaseStream", "_result"),
        ("_checkbw", "_result"),
        ("getStreamLength", "_result"),
        ("FCSubscribe", "_result"),
        ("FCUnsubscribe", "_result"),
        ("FCUnpublish", "_result"),
        ("teapot", "_error NetConnection.Call.Failed"),
    ],
)
def test_commands_that_wait_for_an_answer_get_one_and_others_none(name: str, answer: str) -> None:
    peer = connected()
    assert peer.send(command(name, 9.0, None, "key")) == []
    assert peer.codes()[0] == answer
    assert peer.send(command(name, 0.0, None, "key")) == []
    assert not [code for code in peer.codes() if not code.startswith("onFC")]


@pytest.mark.parametrize("name", ["_result", "_error", "onStatus"])
def test_answers_are_never_answered(name: str) -> None:
    peer = connected()
    assert peer.send(command(name, 9.0, None, {"code": "x"})) == []
    assert peer.answers() == []


def test_pings_are_answered_and_asked() -> None:
    peer = connected()
    peer.send(pack_message(2, 4, 0, 0, b"\0\x06\x12\x34\x56\x78"))
    assert [m.payload for m in peer.answers()] == [b"\0\x07\x12\x34\x56\x78"]
    peer.server.ping((1 << 32) + 9)
    assert [m.payload for m in peer.answers()] == [b"\0\x06\0\0\0\x09"]
    ignored = [b"\0\x07\0\0\0\x09", b"\0\x03\0\0\0\x01\0\0\x0b\xb8", b"\0\x1f\0\0", b""]
    assert peer.send(*(pack_message(2, 4, 0, 0, body) for body in ignored)) == []
    assert peer.answers() == []


def test_received_bytes_are_acknowledged_before_the_window_is_full() -> None:
    peer = publishing()
    peer.send(control(5, 20_000))
    peer.answers()
    peer.send(*(media(VIDEO, 0, bytes(8000)) for _ in range(4)))
    acknowledgements = [int.from_bytes(m.payload) for m in peer.answers() if m.type_id == 3]
    assert acknowledgements
    assert all(later - earlier < 20_000 for earlier, later in zip([0, *acknowledgements], acknowledgements, strict=False))
    assert peer.server.bytes_received - acknowledgements[-1] < 20_000


def test_a_peer_that_announces_no_window_is_acknowledged_too() -> None:
    peer = publishing()
    peer.send(control(1, 1 << 20), *(media(VIDEO, 0, bytes(500_000), chunk_size=1 << 20) for _ in range(3)))
    assert [m.type_id for m in peer.answers()] == [3]


def test_enhanced_rtmp_is_negotiated_with_those_who_ask() -> None:
    plain, enhanced = Peer(), Peer()
    plain.send(HELLO + C2, command("connect", 1.0, CONNECT))
    assert "fourCcList" not in plain.commands()[0][3]
    enhanced.send(HELLO + C2, command("connect", 1.0, {**CONNECT, "fourCcList": ["hvc1"]}))
    info = enhanced.commands()[0][3]
    assert {"av01", "vp09", "hvc1", "avc1", "Opus", "ac-3", "ec-3", "mp4a", "fLaC", ".mp3", "vp08"} == set(info["fourCcList"])
    assert info["videoFourCcInfoMap"]["hvc1"] == info["audioFourCcInfoMap"]["Opus"] == 4
    assert info["capsEx"] == 0


def test_streams_are_numbered_from_one_and_bounded() -> None:
    peer = connected(message_streams=3)
    peer.send(*(command("createStream", 3.0, None) for _ in range(3)))
    assert [values[0] if values[0] == "_error" else values[3] for values in peer.commands()] == [2.0, 3.0, "_error"]
    peer.send(command("deleteStream", 0.0, None, 1.0), command("createStream", 4.0, None))
    assert peer.commands() == [["_result", 4.0, None, 1.0]]


UGLY: dict[str, tuple[Iterable[bytes], str]] = {
    "HTTP": ([b"GET /live/key.flv HTTP/1.1\r\n"], "looks like HTTP"),
    "TLS": ([b"\x16\x03\x01"], "looks like TLS"),
    "publish before connect": ([HELLO + C2, PUBLISH[5]], "'publish' before connect"),
    "two connects": ([HELLO + C2, PUBLISH[0], PUBLISH[0]], "second connect"),
    "connect without an object": ([HELLO + C2, command("connect", 1.0, None)], "without its command object"),
    "connect alone": ([HELLO + C2, command("connect")], "without its command object"),
    "a command without a name": ([HELLO + C2, pack_message(3, 20, 0, 0, amf.encode(5.0))], "without a name"),
    "an empty command": ([HELLO + C2, pack_message(3, 20, 0, 0, b"")], "without a name"),
    "a cut command": ([HELLO + C2, pack_message(3, 20, 0, 0, b"\x02\x00\x07conn")], "ends early"),
    "a huge command": ([HELLO + C2, command("connect", 1.0, {"app": "x" * 70_000})], "command of 7[0-9]{4} bytes"),
    "a deep command": ([HELLO + C2, pack_message(3, 20, 0, 0, b"\x02\0\x01x" + b"\x03\0\x01a" * 99)], "too deeply"),
    "a window of one byte": ([HELLO + C2, pack_message(2, 5, 0, 0, b"\x01")], "instead of 4"),
    "a ping of nothing": ([HELLO + C2, pack_message(2, 4, 0, 0, b"\0\x06")], "without its timestamp"),
    "garbage after the handshake": ([HELLO + C2, b"\xff" * 100], "no header"),
}


@pytest.mark.parametrize("name", UGLY)
def test_what_a_peer_does_wrong_is_refused_by_name(name: str) -> None:
    pieces, reason = UGLY[name]
    peer = Peer()
    with pytest.raises(rtmp.RemoteProtocolError, match=reason):
        peer.send(*pieces)
    with pytest.raises(rtmp.LocalProtocolError):
        peer.send(b"x")


def test_commands_without_waiting_are_bounded() -> None:
    peer = Peer(accept=False)
    with pytest.raises(rtmp.RemoteProtocolError, match="without waiting"):
        peer.send(HELLO + C2, PUBLISH[0], command("createStream", 2.0, None) * 100)


@pytest.mark.parametrize(
    "call",
    [
        lambda server: server.accept_connect(),
        lambda server: server.reject_connect(""),
        lambda server: server.accept_publish(),
        lambda server: server.reject_publish(""),
        lambda server: server.accept_play(),
        lambda server: server.reject_play(""),
        lambda server: server.end_publish(""),
        lambda server: server.end_play(""),
    ],
)
def test_calls_out_of_turn_are_our_own_mistake(call: Callable[[rtmp.ServerConnection], None]) -> None:
    for peer in (Peer(), connected()):
        with pytest.raises(rtmp.LocalProtocolError):
            call(peer.server)


def test_a_chunk_size_that_peers_could_not_read_is_our_own_mistake() -> None:
    for size in (0, 127, 1 << 24):
        with pytest.raises(rtmp.LocalProtocolError):
            rtmp.ServerConnection(chunk_size_out=size)


@given(st.integers(0, 1 << 32))
def test_mutated_conversations_raise_remote_errors_and_nothing_else(seed: int) -> None:
    dice = random.Random(seed)
    data = bytearray(b"".join(CONVERSATION))
    for _ in range(dice.randrange(1, 8)):
        at = dice.choice((dice.randrange(3073, 3900), dice.randrange(len(data))))
        if dice.random() < 0.5:
            data[at] = dice.randrange(256)
        elif dice.random() < 0.5:
            del data[at : at + dice.randrange(1, 9)]
        else:
            data[at:at] = dice.randbytes(dice.randrange(1, 9))
    with contextlib.suppress(rtmp.RemoteProtocolError):
        Peer().send(*(bytes(data[at : at + 1000]) for at in range(0, len(data), 1000)))


COMMANDS = st.sampled_from(
    ["connect", "createStream", "deleteStream", "closeStream", "releaseStream", "FCPublish", "FCUnpublish", "FCSubscribe",
     "publish", "play", "pause", "seek", "receiveAudio", "receiveVideo", "getStreamLength", "_checkbw", "_result", "teapot"]
)  # fmt: skip
ARGUMENTS: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, False, 1.0, 0.0, -1.0, float("nan"), float("inf"), 1e300, "key", "", {}, [], amf.UNDEFINED]
)


@given(st.lists(st.tuples(COMMANDS, ARGUMENTS, st.lists(ARGUMENTS, max_size=4), st.integers(0, 3)), max_size=12), st.booleans())
def test_commands_in_any_order_with_any_arguments_raise_remote_errors_and_nothing_else(
    commands: list[tuple[str, Any, list[Any], int]], together: bool
) -> None:
    peer = connected()
    pieces = [command(name, transaction, *values, stream_id=stream_id) for name, transaction, values, stream_id in commands]
    with contextlib.suppress(rtmp.RemoteProtocolError):
        peer.send(*([b"".join(pieces)] if together else pieces))


# Our own client


class Pipe:
    """A client and a server, connected; everything is accepted."""

    def __init__(self, client: rtmp.ClientConnection) -> None:
        self.client = client
        self.peer = Peer()

    def run(self) -> tuple[list[rtmp.ClientEvent], list[rtmp.ServerEvent]]:
        client_events: list[rtmp.ClientEvent] = []
        server_events: list[rtmp.ServerEvent] = []
        while (up := self.client.data_to_send()) or (down := self.peer.server.data_to_send()):
            if up:
                server_events += self.peer.send(up)
            else:
                client_events += self.client.receive_data(down)
        return client_events, server_events


def test_our_client_publishes_to_our_server() -> None:
    pipe = Pipe(rtmp.ClientConnection("live", "rtmp://in.test/live", fourcc_list=["hvc1"]))
    client_events, [event] = pipe.run()
    assert isinstance(event, rtmp.Connected)
    assert event.object["fourCcList"] == ["hvc1"]
    assert [type(event) for event in client_events] == [rtmp.Handshaken, rtmp.ConnectAccepted]
    pipe.client.publish("key")
    client_events, server_events = pipe.run()
    assert client_events == [rtmp.StatusReceived("NetStream.Publish.Start", "status", "key is now published.")]
    assert server_events == [rtmp.PublishRequested("key", "live", 1)]
    frame = random.Random(1).randbytes(20_000)
    pipe.client.send_tag(SCRIPT, 0, METADATA)
    pipe.client.send_tag(VIDEO, 0xFFFFFFFF, frame)
    pipe.client.send_tag(VIDEO, 0x100000020, frame)
    assert pipe.run()[1] == [
        rtmp.MediaMessage(SCRIPT, 0, METADATA),
        rtmp.MediaMessage(VIDEO, 0xFFFFFFFF, frame),
        rtmp.MediaMessage(VIDEO, 0x20, frame),
    ]
    assert pipe.peer.server.chunk_size_in == 4096
    pipe.client.end()
    assert pipe.run()[1] == [rtmp.PublishEnded()]
    pipe.client.play("key")
    assert rtmp.PlayRequested("key", -2.0, -1.0, True, 1) in pipe.run()[1]


def test_our_client_plays_what_is_packed_for_viewers() -> None:
    pipe = Pipe(rtmp.ClientConnection("live", "rtmp://out.test/live"))
    pipe.run()
    pipe.client.play("key")
    events, _ = pipe.run()
    assert [event.code for event in events if isinstance(event, rtmp.StatusReceived)] == [
        "NetStream.Play.Reset",
        "NetStream.Play.Start",
    ]
    frame = random.Random(2).randbytes(200_000)
    data = rtmp.pack_tag(VIDEO, 0x1000000, frame) + rtmp.pack_tag(AUDIO, 0x1000001, b"a")
    got = [event for at in range(0, len(data), 1448) for event in pipe.client.receive_data(data[at : at + 1448])]
    assert got == [rtmp.MediaMessage(VIDEO, 0x1000000, frame), rtmp.MediaMessage(AUDIO, 0x1000001, b"a")]


def test_our_client_tells_refusals() -> None:
    pipe = Pipe(rtmp.ClientConnection("live", "rtmp://in.test/live"))
    pipe.peer.accept = False
    pipe.run()
    pipe.peer.server.reject_connect("closed")
    events, _ = pipe.run()
    assert events == [rtmp.ConnectRejected("NetConnection.Connect.Rejected", "closed")]
    with pytest.raises(rtmp.LocalProtocolError):
        pipe.client.publish("key")


def test_our_client_is_not_hurt_by_garbage() -> None:
    for data in (b"HTTP/1.1 400 Bad Request", HELLO + bytes(1536) + b"\xff\xff"):
        client = rtmp.ClientConnection("live", "rtmp://in.test/live")
        with pytest.raises(rtmp.RemoteProtocolError):
            client.receive_data(data)


@given(st.integers(0, 1 << 32))
def test_mutated_answers_raise_remote_errors_and_nothing_else(seed: int) -> None:
    dice = random.Random(seed)
    pipe = Pipe(rtmp.ClientConnection("live", "rtmp://in.test/live"))
    steps: list[Callable[[], None]] = [lambda: None, lambda: pipe.client.publish("key"), pipe.client.end]
    with contextlib.suppress(rtmp.RemoteProtocolError, rtmp.LocalProtocolError):
        for step in steps:
            step()
            while up := pipe.client.data_to_send():
                pipe.peer.send(up)
                down = bytearray(pipe.peer.server.data_to_send())
                if down and dice.random() < 0.5:
                    down[-dice.randrange(1, min(len(down), 300) + 1)] = dice.randrange(256)
                pipe.client.receive_data(bytes(down))


@pytest.mark.parametrize("stream_id", [float("nan"), float("inf"), 0.0, -1.0, "1", None])
def test_our_client_refuses_an_impossible_stream_id(stream_id: Any) -> None:
    client = rtmp.ClientConnection("live", "rtmp://in.test/live")
    client.receive_data(HELLO + C2 + command("_result", 1.0, None, {}))
    client.play("key")
    with pytest.raises(rtmp.RemoteProtocolError, match="without a stream id"):
        client.receive_data(command("_result", 2.0, None, stream_id))
