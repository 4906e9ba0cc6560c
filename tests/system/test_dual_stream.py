"""Two encoders push one stream: one is the master, the other stands by, and viewers notice no change between them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from support.api import Pair
from support.encoders import TagPush, endless, trickle
from support.flv import VIDEO, FlvTag, check_times
from support.players import HttpViewer
from support.rtmp import Status
from support.wait import until


@pytest.fixture
def dual(pair: Pair) -> Pair:
    """A pair of domains whose streams may have two publishers."""
    pair.api.call("SetLiveDomainMultiStreamConfig", domain=pair.streaming, switch="on")
    assert pair.api.call("DescribeLiveDomainMultiStreamConfig", domain=pair.streaming)["Switch"] == "on"
    return pair


class Encoder:
    """An encoder in real time, whose pictures can be told from another one's by a mark at their end."""

    def __init__(self, pair: Pair, clip: list[FlvTag], mark: bytes) -> None:
        self.mark = mark
        self._stack = contextlib.ExitStack()
        until(lambda: self._connect(pair), "the push is taken")
        marked = [FlvTag(tag.kind, tag.timestamp_ms, tag.body + mark * (tag.kind == VIDEO and tag.is_frame)) for tag in clip]
        self._stack.enter_context(trickle(self.push, endless(marked)))

    def _connect(self, pair: Pair) -> bool:
        try:
            self.push = self._stack.enter_context(TagPush(pair.push_url()))
        except Status:
            return False  # the switch has not reached every worker yet
        return True

    def stop(self) -> None:
        self._stack.close()

    def seen_by(self, viewer: HttpViewer) -> bool:
        return any(tag.body.endswith(self.mark) for tag in viewer.tags[-10:] if tag.kind == VIDEO)


@contextlib.contextmanager
def encoders(pair: Pair, clip: list[FlvTag], count: int = 2) -> Iterator[list[Encoder]]:
    """Encoders of one stream; the first one is the master."""
    with contextlib.ExitStack() as stack:
        made: list[Encoder] = []
        for number in range(1, count + 1):
            made.append(Encoder(pair, clip, b"\0MARK%d" % number))
            stack.callback(made[-1].stop)
            until(lambda number=number: len(_upstreams(pair)) == number, "it is listed")  # type: ignore[misc]
        yield made


def _listed(pair: Pair) -> dict[str, Any]:
    streams = pair.api.call("QueryLiveDomainMultiStreamList", domain=pair.streaming)["OnlineStreams"]
    return next((each for each in streams if each["StreamName"] == "cam"), {})


def _upstreams(pair: Pair) -> dict[str, bool]:
    """The publishers by number, and which is the master."""
    return {each["UpstreamSequence"]: each["MasterFlag"] for each in _listed(pair).get("UpstreamList", [])}


@pytest.mark.parametrize("turn", range(3))  # the two may come to one worker or to two
def test_the_one_that_stands_by_takes_over_when_the_master_ends(dual: Pair, clip: list[FlvTag], turn: int) -> None:
    with encoders(dual, clip) as (first, second), HttpViewer(dual.play_url("flv")) as viewer:
        viewer.wait_frames(30)
        assert first.seen_by(viewer)
        assert not second.seen_by(viewer)
        assert _upstreams(dual) == {"1": True, "2": False}
        first.stop()
        until(lambda: second.seen_by(viewer), "the second one is seen")
        assert not viewer.ended.is_set()
        check_times(viewer.tags, jump_ms=3000)
        until(lambda: _upstreams(dual) == {"2": True}, "the list says so")
        until(
            lambda: any(change["UpstreamSequence"] == "2" for change in _listed(dual).get("ChangeLogs", [])),
            "so does the log of changes",
        )


def test_the_one_that_stands_by_takes_over_when_the_master_is_silent(dual: Pair, clip: list[FlvTag]) -> None:
    with TagPush(until(lambda: dual.push_url(), "a URL")) as first:
        first.send(clip[:100])
        until(lambda: len(_upstreams(dual)) == 1, "it is listed")
        second = Encoder(dual, clip, b"\0MARK2")
        with contextlib.closing(_Closing(second)), HttpViewer(dual.play_url("flv")) as viewer:
            until(lambda: second.seen_by(viewer), "the second one is seen")
            assert not viewer.ended.is_set()


class _Closing:
    def __init__(self, encoder: Encoder) -> None:
        self.close = encoder.stop


def test_the_customer_chooses_the_master_and_the_other_one_stands_by(dual: Pair, clip: list[FlvTag]) -> None:
    with encoders(dual, clip) as (first, second), HttpViewer(dual.play_url("flv")) as viewer:
        until(lambda: first.seen_by(viewer), "the first one is seen")
        for chosen, number in ((second, "2"), (first, "1")):
            dual.api.call(
                "SetLiveDomainMultiStreamMaster",
                domain=dual.streaming,
                app_name="live",
                stream_name="cam",
                upstream_sequence=number,
            )
            until(lambda chosen=chosen: chosen.seen_by(viewer), "the chosen one is seen")  # type: ignore[misc]
            until(lambda number=number: _upstreams(dual).get(number), "the list says so")  # type: ignore[misc]
            assert len(_upstreams(dual)) == 2
        assert not viewer.ended.is_set()
        check_times(viewer.tags, jump_ms=3000)


def test_without_the_optimal_mode_nobody_takes_over_from_a_master_that_is_there(dual: Pair, clip: list[FlvTag]) -> None:
    dual.api.call(
        "SetLiveDomainMultiStreamOptimalMode", domain=dual.streaming, app_name="live", stream_name="cam", optimal_mode="off"
    )
    with encoders(dual, clip) as (first, second), HttpViewer(dual.play_url("flv")) as viewer:
        until(lambda: first.seen_by(viewer), "the first one is seen")
        assert _listed(dual)["OptimalMode"] == "off"
        first.stop()
        until(lambda: second.seen_by(viewer), "the second one is seen, for there is no master any more")


def test_switched_off_one_publisher_is_left(dual: Pair, clip: list[FlvTag]) -> None:
    with encoders(dual, clip) as (_, second):
        dual.api.call("SetLiveDomainMultiStreamConfig", domain=dual.streaming, switch="off")

        def cut() -> bool:
            second.push.client.socket.settimeout(0.05)
            try:
                second.push.client.read()
            except TimeoutError:
                return False
            except OSError:
                return True
            return False

        until(cut, "the one that stood by is cut")


def test_a_fifth_publisher_is_too_many(dual: Pair, clip: list[FlvTag]) -> None:
    with encoders(dual, clip, 4):
        extra = Encoder(dual, clip, b"\0MARK5")
        dual.server.wait_log("publish ended", reason="the stream has 4 publishers already", stream=f"{dual.streaming}/live/cam")
        extra.stop()
        assert len(_upstreams(dual)) == 4
