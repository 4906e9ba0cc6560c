"""What a worker takes of the stream that it pulls from another one."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from headwater.live.stream import StreamKey
from headwater.media import flv
from headwater.media.tag import VIDEO, Flags, Tag
from headwater.node.relay import Pull, Relay

KEY_FRAME, CONFIG = b"\x17\x01\0\0\0frame", b"\x17\0\0\0\0config"


class _Stream:
    def __init__(self, held: int) -> None:
        self.ring = self
        self.next = held
        self.taken: list[tuple[int, bytes]] = []

    def write(self, kind: int, timestamp_ms: int, payload: bytes) -> None:
        self.taken.append((timestamp_ms, payload))


class _Relay:
    def __init__(self, stream: _Stream) -> None:
        self.stream = stream

    def begun(self, pull: Pull) -> _Stream:
        return self.stream

    def ended(self, pull: Pull) -> None:
        pass


def pulled(held: int, session_ms: int, times_ms: list[int]) -> list[int]:
    """The times of the frames that a stream which has held so many tags takes of an answer with these."""
    stream = _Stream(held)

    async def pull() -> None:
        loop = asyncio.get_running_loop()
        one = Pull(cast(Relay, _Relay(stream)), StreamKey("play.test", "live", "cam"), 0, cast(Any, loop))
        one.data_received(b"HTTP/1.1 200 OK\r\nX-Newest-Ms: 1\r\nX-Session-Ms: %d\r\n\r\n" % session_ms + flv.FILE_HEADER)
        tags = [Tag(VIDEO, times_ms[0], CONFIG, Flags.CONFIG), *(Tag(VIDEO, at, KEY_FRAME, Flags.KEY) for at in times_ms)]
        one.data_received(b"".join(flv.pack_tag(tag.kind, tag.timestamp_ms & 0xFFFFFFFF, tag.payload) for tag in tags))
        one.close()

    asyncio.run(pull())
    assert stream.taken[0][1] == CONFIG
    return [at for at, payload in stream.taken if payload == KEY_FRAME]


@pytest.mark.parametrize("session_ms", [5000, (1 << 32) - 20], ids=["soon", "as 32 bits wrap"])
def test_viewers_who_wait_for_a_publisher_that_has_moved_see_nothing_again(session_ms: int) -> None:
    times = [session_ms + at for at in (-2000, -1000, 0, 1000)]
    assert pulled(7, session_ms, times) == [at & 0xFFFFFFFF for at in times[2:]]


def test_whoever_has_seen_nothing_yet_begins_with_what_there_is() -> None:
    assert pulled(0, 5000, [3000, 4000, 5000]) == [3000, 4000, 5000]
