"""A request that comes again is answered quickly, and never otherwise than if it were read and judged."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from headwater.access import plan
from headwater.access.plan import Group, Plan, Rendition
from headwater.access.policy import (
    Access,
    AgentRule,
    Answers,
    Ban,
    Block,
    IpRule,
    Policy,
    RefererRule,
    RegionRule,
    RemoteAuth,
    Session,
    Signing,
)
from headwater.access.signing import sign
from headwater.delivery import play
from headwater.delivery.hls_again import SHARED_MAX, Shared
from headwater.delivery.hls_viewers import VIEWER_GONE_S
from headwater.live.stream import LiveStream
from headwater.media import flv
from headwater.node.http import HttpConnection
from headwater.node.worker import Node
from headwater.protocols.http import REPEATED_BYTES_MAX
from headwater.settings import Access as AccessSettings
from headwater.settings import Limits, Settings
from support import media_worker
from support.media_clips import flv_clip
from support.media_worker import DOMAIN, KEY

SECRET, OTHER_SECRET, VALIDITY_S = "0123456789abcdef", "fedcba9876543210", 600
SIGNED = Policy(
    DOMAIN, "1", "liveVideo", "online", "cn", streaming_domain=DOMAIN, signing=Signing(keys=(SECRET,), validity_s=VALIDITY_S)
)
PATH = "/live/cam.m3u8"
TAGS = flv.Reader().feed(flv_clip(video="h264", audio=None, seconds=4, gop=25, bframes=0))


class Publisher:
    """Whoever pushes the stream."""

    id, last_data_at, remote, product, made_of = "encoder", 0.0, False, False, None

    def cut(self, reason: str) -> None: ...

    def replaced(self, reason: str) -> None: ...


class Wire:
    """The transport of a connection, and the client at its end. full: the client reads nothing."""

    def __init__(self, node: Node, ip: str = "192.0.2.1", tls: str = "") -> None:
        self.sent = b""
        self.writes = 0
        self.full = self.closed = False
        self._extra = {
            "peername": (ip, 1),
            "sockname": ("127.0.0.1", 80),
            "ssl_object": SimpleNamespace(version=lambda: tls) if tls else None,
        }
        self.connection = HttpConnection(node, "https" if tls else "http")
        self.connection.connection_made(cast(Any, self))

    def ask(self, *parts: bytes) -> str:
        """What comes back for these bytes, without the date."""
        self.sent = b""
        for part in parts:
            self.connection.data_received(part)
        return re.sub(r"\r\nDate: [^\r]+", "", self.sent.decode("latin-1"))

    def get_extra_info(self, name: str) -> object:
        return self._extra.get(name)

    def set_write_buffer_limits(self, **_: int) -> None: ...

    def get_write_buffer_size(self) -> int:
        return int(self.full)

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes) -> None:
        self.writelines([data])

    def writelines(self, parts: Iterable[bytes]) -> None:
        self.writes += 1
        self.sent += b"".join(parts)

    def close(self) -> None:
        self.closed = True

    abort = close


class World:
    """A worker with a stream that is packed as HLS. read: requests that were read and judged, rather than known."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.read = 0
        self.stream: LiveStream = node.hub.publish(KEY, Publisher(), Session(), 15, 0.0)
        self._answer = node.http.answer
        cast(Any, node.http).answer = self._count
        self._round = 0
        self.push()

    def _count(self, *args: Any) -> Any:
        self.read += 1
        return self._answer(*args)

    def push(self) -> None:
        """Four more seconds of the stream."""
        for tag in TAGS:
            self.stream.write(tag.kind, tag.timestamp_ms + self._round * 4000, tag.payload)
        self._round += 1
        if self.stream.hls is not None:
            self.stream.hls.flush(self.stream.headers)

    def change(self, **fields: Any) -> None:
        """The domain's policy is another one now."""
        self.node.rules.set_policy(msgspec.structs.replace(SIGNED, **fields))

    def segment(self, playlist: str) -> bytes:
        """The request for the newest segment of a playlist."""
        return request(re.findall(r"cam-\d+-[0-9a-f]+\.ts", playlist)[-1].join(("/live/", "")))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    settings = Settings(limits=Limits(unknown_stream_wait_s=0.1), access=AccessSettings(trusted_proxies=("198.51.100.0/24",)))
    async with media_worker.running(tmp_path, SIGNED, settings) as worker:
        yield World(worker.node)


def request(target: str = "", *lines: str, uid: str = "0") -> bytes:
    """What a player sends; for the playlist with a good signature unless it says something else."""
    target = target or f"{PATH}?auth_key={sign(PATH, int(time.time()), SECRET, uid=uid)}"
    return "\r\n".join([f"GET {target} HTTP/1.1", f"Host: {DOMAIN}", "User-Agent: player", *lines, "", ""]).encode()


async def test_what_is_known_is_neither_read_nor_judged_and_the_answer_is_the_same(world: World) -> None:
    wire, reload = Wire(world.node), request()
    first = wire.ask(reload)
    assert first.startswith("HTTP/1.1 200 OK")
    assert [wire.ask(reload) for _ in range(3)] == [first] * 3
    assert (world.read, wire.writes) == (1, 4)
    segment = world.segment(first)
    whole = wire.ask(segment)
    assert whole.startswith("HTTP/1.1 200 OK")
    assert [wire.ask(segment), Wire(world.node, "192.0.2.2").ask(segment)] == [whole] * 2
    assert world.read == 2


async def test_a_known_request_gets_the_playlist_of_now(world: World) -> None:
    wire, reload = Wire(world.node), request()
    before = wire.ask(reload)
    world.push()
    world.push()
    after = wire.ask(reload)
    assert world.read == 1
    assert after != before
    assert after == Wire(world.node).ask(reload)


async def test_what_is_known_is_counted_as_everything_is(world: World) -> None:
    counted = []
    for wires in ([Wire(world.node)] * 4, [Wire(world.node) for _ in range(4)]):
        before = world.node.http.hls_bytes_out
        answers = [wire.ask(request()) for wire in wires]
        answers += [wire.ask(world.segment(answers[0])) for wire in wires]
        counted.append(world.node.http.hls_bytes_out - before)
        assert counted[-1] == sum(len(answer.partition("\r\n\r\n")[2]) for answer in answers)
    assert counted[0] == counted[1]
    assert world.node.http.hls_sent == {(DOMAIN, False): sum(counted)}
    assert (len(world.node.http.hls_viewers), world.node.http.hls_viewers.joins) == (1, 1)


CHANGES: dict[str, Callable[[World], None]] = {
    "another key": lambda world: world.change(signing=Signing(keys=(OTHER_SECRET,))),
    "offline": lambda world: world.change(status="offline"),
    "removed": lambda world: world.node.rules.remove_policy(DOMAIN),
    "an address list": lambda world: world.change(access=Access(ip=IpRule(("192.0.2.1",)))),
    "a referer list": lambda world: world.change(
        access=Access(referer=RefererRule(("good.test",), allow=True, allow_empty=False))
    ),
    "a user agent list": lambda world: world.change(access=Access(agent=AgentRule(("play*",)))),
    "a region list": lambda world: world.change(access=Access(region=RegionRule(("CN",), allow=True))),
    "https only": lambda world: world.change(access=Access(scheme="https")),
    "no hls": lambda world: world.change(access=Access(denied_protocols=("hls",))),
    "remote authentication": lambda world: world.change(access=Access(remote=RemoteAuth("http://127.0.0.1:1/"))),
    "a ban": lambda world: world.node.rules.set_ban(Ban(*KEY, time.time() + 60)),
    "a blocked region": lambda world: world.node.rules.set_block(
        Block(*KEY, RegionRule(("CN",), allow=True), time.time() + 60)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_of_the_rules_holds_at_once_for_who_is_connected(world: World, change: str) -> None:
    wire, reload = Wire(world.node), request()
    assert [wire.ask(reload)[9:12] for _ in range(2)] == ["200"] * 2
    CHANGES[change](world)
    assert not wire.ask(reload).startswith("HTTP/1.1 200")
    assert world.read == 2


@pytest.mark.parametrize("change", [change for change in CHANGES if change not in ("another key", "remote authentication")])
async def test_segments_are_for_those_alone_who_may_play_whoever_tells_them_the_address(world: World, change: str) -> None:
    wire = Wire(world.node)
    segment = world.segment(wire.ask(request()))
    assert [wire.ask(segment)[9:12] for _ in range(2)] == ["200"] * 2
    CHANGES[change](world)
    for asker in (wire, Wire(world.node)):
        assert asker.ask(segment)[9:12] in ("302", "403", "404")


@pytest.mark.parametrize(
    ("access", "other"),
    [
        (Access(ip=IpRule(("192.0.2.7",))), ("192.0.2.7", "TLSv1.3")),
        (Access(region=RegionRule(("CN",))), ("114.114.114.114", "TLSv1.3")),
        (Access(ipv6=False), ("2001:db8::1", "TLSv1.3")),
        (Access(tls_versions=("TLSv1.3",)), ("192.0.2.1", "TLSv1.2")),
        (Access(), ("114.114.114.114", "TLSv1.3")),
    ],
)
async def test_a_segment_that_one_got_is_not_for_who_comes_from_elsewhere(
    world: World, access: Access, other: tuple[str, str]
) -> None:
    world.change(access=access)
    if access == Access():
        world.node.rules.set_block(Block(*KEY, RegionRule(("CN",)), time.time() + 60))
    segment = world.segment(Wire(world.node, tls="TLSv1.3").ask(request()))
    for _ in range(2):
        assert Wire(world.node, tls="TLSv1.3").ask(segment)[9:12] == "200"
        assert Wire(world.node, *other).ask(segment)[9:12] == "403"


async def test_a_blocked_stream_is_so_under_the_names_of_its_renditions_and_groups(world: World) -> None:
    planned = Plan(DOMAIN, "", "", renditions=(Rendition("*", "ld"),), groups=(Group("*", "multi", ("", "ld")),))
    world.node.renditions.plan_changed(f"{plan.PLAN_PREFIX}{DOMAIN}", plan.encode(planned))
    world.change(signing=Signing(enabled=False))
    world.node.rules.set_block(Block(*KEY, RegionRule(("CN",)), time.time() + 60))
    for path in (PATH, "/live/cam_ld.m3u8", "/live/cam_multi.m3u8", "/live/cam_ld.flv", "/live/cam_ld-1-0123456789abcdef.ts"):
        assert Wire(world.node, "114.114.114.114").ask(request(path))[9:12] == "403", path
    assert Wire(world.node, "192.0.2.1").ask(request("/live/cam_ld-1-0123456789abcdef.ts"))[9:12] == "404"


ANSWERS: dict[str, Answers] = {
    "a header": Answers(headers=(("X-Name", "value"),)),
    "a header less": Answers(headers=(("Vary", None), ("Accept-Ranges", None))),
    "no gzip": Answers(gzip=False),
}


@pytest.mark.parametrize("answers", ANSWERS)
async def test_a_change_of_the_answers_holds_at_once_for_who_is_connected(world: World, answers: str) -> None:
    wire, reload = Wire(world.node), request("", "Accept-Encoding: gzip")
    segment = world.segment(Wire(world.node).ask(request()))
    for asked in (reload, segment):
        wire.ask(asked)
        assert wire.ask(asked).startswith("HTTP/1.1 200")
    world.change(answers=ANSWERS[answers])
    for asked in (reload, segment):
        assert wire.ask(asked) == wire.ask(asked) == Wire(world.node).ask(asked)
    assert ("X-Name: value" in wire.ask(segment)) == (answers == "a header")
    assert ("gzip" in wire.ask(reload)) == (answers != "no gzip")


async def test_who_is_no_viewer_any_more_must_have_a_signature_that_is_valid_still(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire, reload = Wire(world.node), request()
    wire.ask(reload)
    monkeypatch.setattr(play, "time", SimpleNamespace(time=lambda: time.time() + 2 * VALIDITY_S))
    assert wire.ask(reload).startswith("HTTP/1.1 200")  # it watches on, as every running play may
    world.node.http.hls_viewers.sweep(world.node.loop.time() + VIEWER_GONE_S)
    assert wire.ask(reload).startswith("HTTP/1.1 403")
    assert wire.ask(reload).startswith("HTTP/1.1 403")


async def test_only_the_same_bytes_from_the_same_side_are_the_same_request(world: World) -> None:
    wire, reload = Wire(world.node), request()
    wire.ask(reload)
    forged = request(f"{PATH}?auth_key={sign(PATH, int(time.time()), OTHER_SECRET)}")
    assert wire.ask(forged).startswith("HTTP/1.1 403")
    world.change(access=Access(ip=IpRule(("192.0.2.7",)), agent=AgentRule(("robot*",))))
    wire.ask(reload)
    assert Wire(world.node, "192.0.2.7").ask(reload).startswith("HTTP/1.1 403")
    assert wire.ask(reload.replace(b"player", b"robot ")).startswith("HTTP/1.1 403")
    assert wire.ask(reload).startswith("HTTP/1.1 200")


async def test_a_segment_over_tls_and_by_a_proxy_is_dressed_for_its_own_side(world: World) -> None:
    world.change(answers=Answers(hsts="max-age=5"))
    segment = world.segment(Wire(world.node).ask(request()))
    claimed = segment.replace(b"User-Agent: player", b"X-Forwarded-Proto: https")
    for asked, ip, tls, strict in (
        (segment, "192.0.2.1", "", False),
        (segment, "192.0.2.1", "TLSv1.3", True),
        (claimed, "192.0.2.1", "", False),
        (claimed, "198.51.100.1", "", True),  # a trusted proxy
        (claimed, "192.0.2.1", "", False),
    ):
        assert [("max-age=5" in Wire(world.node, ip, tls).ask(asked)) for _ in range(2)] == [strict] * 2


async def test_what_is_not_one_whole_request_by_itself_is_read(world: World) -> None:
    wire, reload = Wire(world.node), request()
    wire.ask(reload)
    answer = wire.ask(reload)
    assert wire.ask(reload[:20], reload[20:]) == answer
    assert wire.ask(reload + reload) == answer * 2
    assert wire.ask(b"\r\n", reload) == answer
    assert world.read == 4
    begun = b"GET / HTTP/1.1\r\nX: "  # what looks like a request here is a header's value
    assert wire.ask(begun, reload).startswith("HTTP/1.1 404")


async def test_who_does_not_read_gets_no_further_answers(world: World) -> None:
    wire, reload = Wire(world.node), request()
    answer = wire.ask(reload)
    wire.full = True
    assert wire.ask(reload, reload) == ""
    wire.full = False
    wire.connection.resume_writing()
    assert re.sub(r"\r\nDate: [^\r]+", "", wire.sent.decode("latin-1")) == answer * 2


@pytest.mark.parametrize("line", ['If-None-Match: "x"', "Range: bytes=0-9", "Connection: close"])
async def test_what_depends_on_more_is_not_kept(world: World, line: str) -> None:
    playlist = Wire(world.node).ask(request())
    segment = world.segment(playlist).removesuffix(b"\r\n") + f"{line}\r\n\r\n".encode()
    before = world.read
    for asked in (segment, segment, request("", line), request("", line)):
        assert Wire(world.node).ask(asked)[9:12] in ("200", "206")
    assert world.read == before + 4


async def test_a_request_of_many_bytes_is_not_kept(world: World) -> None:
    wire, reload = Wire(world.node), request("", "Cookie: " + "x" * REPEATED_BYTES_MAX)
    assert wire.ask(reload) == wire.ask(reload)
    assert world.read == 2


async def test_a_plan_that_gives_the_name_another_meaning_holds_at_once(world: World) -> None:
    wire, reload = Wire(world.node), request()
    wire.ask(reload)
    planned = Plan(DOMAIN, "", "", groups=(Group("*", "cam", ("",)),))
    world.node.renditions.plan_changed(f"{plan.PLAN_PREFIX}{DOMAIN}", plan.encode(planned))
    wire.ask(reload)
    assert world.read == 2


async def test_a_stream_that_has_ended_is_looked_for_anew(world: World) -> None:
    wire, reload = Wire(world.node), request()
    wire.ask(reload)
    world.node.hub.end(world.stream, "the end")
    assert "#EXT-X-ENDLIST" in wire.ask(reload)
    segment = world.segment(wire.ask(reload))
    assert wire.ask(segment) == wire.ask(segment)
    world.node.hub.close("the tail is over")
    assert wire.ask(segment).startswith("HTTP/1.1 404")


def test_requests_for_segments_are_kept_within_bounds() -> None:
    shared = Shared()
    for number in range(SHARED_MAX + 10):
        shared.keep(b"%d" % number, lambda: None)
    assert shared.get(b"9") is None
    assert shared.get(b"10") is not None
