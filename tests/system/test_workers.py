"""What several media workers promise: one machine to the outside, whichever worker a connection comes to."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from support.api import Api, Pair, make_pair
from support.encoders import LAST_GOP_MS, TagPush, ffmpeg_push, trickle
from support.flv import FlvTag, check_times
from support.metrics import total
from support.players import Hls, HttpViewer, RtmpViewer, decode_segment, get
from support.rtmp import Status
from support.server import Server, running
from support.wait import until, within

pytestmark = pytest.mark.xdist_group("workers")

TRIES = 40
"""The kernel chooses a connection's worker: that one of two is never chosen in so many tries happens once in 10^12."""


@pytest.fixture(scope="module")
def workers() -> Iterator[Server]:
    """A server with two workers."""
    with running({"workers": "2"}) as server:
        yield server


@pytest.fixture(scope="module")
def api(workers: Server) -> Api:
    return Api(workers, workers.account())


@pytest.fixture
def pair(workers: Server, api: Api) -> Pair:
    return make_pair(workers, api)


def _worker_of(server: Server, event: str, pair: Pair, number: int) -> str:
    """The worker that logged the event of this number about the pair's stream."""
    stream = f"{pair.streaming}/live/cam"
    return str(until(lambda: server.events(event, stream=stream)[number:], f"{event} {number}")[0]["process"])


class Crowd:
    """Viewers of one stream, until every worker has at least one."""

    def __init__(self, pair: Pair) -> None:
        self._stack = contextlib.ExitStack()
        self.viewers: dict[str, list[HttpViewer]] = {}
        for number in range(TRIES):
            viewer = self._stack.enter_context(HttpViewer(pair.play_url("flv")))
            viewer.wait_frames(1)
            self.viewers.setdefault(_worker_of(pair.server, "play started", pair, number), []).append(viewer)
            if len(self.viewers) == 2:
                return
        raise AssertionError(f"all of {TRIES} viewers came to one worker")

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def all(self) -> list[HttpViewer]:
        return [viewer for viewers in self.viewers.values() for viewer in viewers]


@contextlib.contextmanager
def _push_at(pair: Pair, worker: str, clip: list[FlvTag]) -> Iterator[TagPush]:
    """A push whose connection has come to this worker."""
    before = len(pair.server.events("publish started", stream=f"{pair.streaming}/live/cam"))
    for number in range(before, before + TRIES):
        with TagPush(pair.push_url()) as push:
            push.send(clip[:100], shift_ms=7000 * number)
            if _worker_of(pair.server, "publish started", pair, number) == worker:
                push.send(clip[100:], shift_ms=7000 * number)
                yield push
                return
    raise AssertionError(f"none of {TRIES} pushes came to {worker}")


def _push_again(pair: Pair) -> TagPush | None:
    """A push as of an encoder that tries again; None while its connection still comes to a worker that is dying."""
    try:
        return TagPush(pair.push_url())
    except OSError:
        return None


def test_viewers_of_every_worker_get_the_same_stream_and_are_counted_once(pair: Pair, clip: list[FlvTag]) -> None:
    server = pair.server
    streams, viewers = total(server, "headwater_streams"), total(server, "headwater_viewers", protocol="flv")
    with TagPush(pair.push_url()) as push:
        push.send(clip[:200])
        with Crowd(pair) as crowd:
            assert total(server, "headwater_streams") == streams + 1
            assert total(server, "headwater_relays") == 1
            assert total(server, "headwater_viewers", protocol="flv") == viewers + len(crowd.all)
            push.send(clip[200:])
            last = clip[-1].timestamp_ms - 500
            here, there = (viewers[0].wait_time(last) for viewers in crowd.viewers.values())
            common = {(tag.kind, tag.timestamp_ms, tag.body) for tag in here}
            assert len(common & {(tag.kind, tag.timestamp_ms, tag.body) for tag in there}) > 200  # same bytes, same times


def test_rtmp_and_websocket_viewers_are_relayed_too(pair: Pair, clip: list[FlvTag]) -> None:
    with TagPush(pair.push_url()) as push, contextlib.ExitStack() as stack:
        push.send(clip)
        for number in range(TRIES):
            viewer = stack.enter_context(RtmpViewer(pair.play_url("rtmp")))
            check_times(viewer.wait_frames(25))
            if len({_worker_of(pair.server, "play started", pair, each) for each in range(number + 1)}) == 2:
                return
        raise AssertionError("all viewers came to one worker")


def test_a_second_push_is_refused_by_whichever_worker_it_comes_to(pair: Pair, clip: list[FlvTag]) -> None:
    with TagPush(pair.push_url()) as first, trickle(first, clip):
        pair.wait_online()
        asked: set[str] = set()
        for number in range(TRIES):
            with pytest.raises(Status, match="BadName"), TagPush(pair.push_url()):
                pass
            asked.add(str(pair.server.events("publish refused", domain=pair.ingest)[number]["process"]))
            if len(asked) == 2:
                return
        raise AssertionError("all pushes came to one worker")


def test_a_silent_publisher_of_another_worker_is_taken_over(pair: Pair, clip: list[FlvTag]) -> None:
    with TagPush(pair.push_url()) as first:
        first.send(clip[:100])
        other = {"worker-0": "worker-1", "worker-1": "worker-0"}[_worker_of(pair.server, "publish started", pair, 0)]
        with HttpViewer(pair.play_url("flv")) as viewer:
            seen = viewer.wait_frames(1)[-1].timestamp_ms
            with _push_at(pair, other, clip):
                check_times(viewer.wait_time(seen + LAST_GOP_MS), jump_ms=4500)


def test_viewers_stay_when_the_publisher_moves_to_another_worker(pair: Pair, clip: list[FlvTag]) -> None:
    with contextlib.ExitStack() as stack:
        push = stack.enter_context(TagPush(pair.push_url()))
        push.send(clip[:200])
        crowd = stack.enter_context(Crowd(pair))
        hls = stack.enter_context(Hls(pair.play_url("hls")))
        before = hls.refresh()
        first = _worker_of(pair.server, "publish started", pair, 0)
        for worker in (set(crowd.viewers) - {first}).pop(), first:
            push.stop()
            pair.wait_offline()
            seen = max(viewer.tags[-1].timestamp_ms for viewer in crowd.all)
            push = stack.enter_context(_push_at(pair, worker, clip))
            for viewer in crowd.all:
                check_times(viewer.wait_time(seen + LAST_GOP_MS), jump_ms=4500)
                assert not viewer.ended.is_set()
            number = before.sequence
            after = hls.wait(lambda playlist, number=number: playlist.sequence > number, "the numbers grow")  # type: ignore[misc]
            assert after.discontinuity_sequence > before.discontinuity_sequence  # so that players notice
            decode_segment(hls.fetch(after.segments[-1])).check()
            before = after


def test_viewers_of_every_worker_are_let_go_when_the_window_has_passed(pair: Pair, clip: list[FlvTag]) -> None:
    pair.session(reconnect_window=4)
    with TagPush(pair.push_url()) as push:
        push.send(clip[:200])
        with Crowd(pair) as crowd:
            push.client.abort()
            within(6.5, lambda: all(viewer.ended.is_set() for viewer in crowd.all), "the end of all viewers")


def test_hls_is_packed_once_and_every_worker_serves_it(pair: Pair, clip: list[FlvTag]) -> None:
    joins = total(pair.server, "headwater_plays_total", protocol="hls")
    url = pair.play_url("hls")
    with ffmpeg_push(pair.push_url()):
        pair.wait_online()
        bodies: dict[str, bytes] = {}
        for _ in range(TRIES):  # each request with a connection of its own
            playlist = get(url)
            assert playlist.status_code == 200
            segment = re.findall(r"^[^#].*$", playlist.text, re.MULTILINE)[0]
            answer = get(str(httpx.URL(url).join(segment)))
            assert answer.status_code == 200
            assert bodies.setdefault(segment, answer.content) == answer.content
        for body in bodies.values():
            decode_segment(body).check()
        within(3, lambda: total(pair.server, "headwater_plays_total", protocol="hls") == joins + 1, "one viewer is counted")


def test_a_viewer_waits_a_moment_for_a_publisher_who_is_about_to_come(clip: list[FlvTag]) -> None:
    with running({"workers": "2", "limits.unknown_stream_wait_s": "4"}) as server, ThreadPoolExecutor() as threads:
        pair = make_pair(server, Api(server, server.account()))
        with HttpViewer(pair.play_url("flv")) as flv:
            asking = threads.submit(RtmpViewer, pair.play_url("rtmp"))
            until(lambda: total(server, "headwater_waiting") == 2, "both wait")
            with TagPush(pair.push_url()) as push:
                push.send(clip)
                check_times(flv.wait_frames(25))
                with asking.result() as rtmp:
                    check_times(rtmp.wait_frames(25))


def test_a_worker_that_is_killed_comes_back_and_the_others_notice_nothing(clip: list[FlvTag]) -> None:
    with running({"workers": "2"}) as server:
        api = Api(server, server.account())
        pair, other = make_pair(server, api), make_pair(server, api)
        with TagPush(pair.push_url()) as push, TagPush(other.push_url()) as second:
            push.send(clip[:200])
            victim = _worker_of(server, "publish started", pair, 0)
            with Crowd(pair) as crowd:
                survivors = crowd.viewers[next(worker for worker in crowd.viewers if worker != victim)]
                seen = survivors[0].tags[-1].timestamp_ms
                second.send(clip[:100])
                apart = _worker_of(server, "publish started", other, 0) != victim
                with HttpViewer(other.play_url("flv")) as neighbour:
                    neighbour.wait_frames(5)
                    apart = apart and _worker_of(server, "play started", other, 0) != victim
                    pids = [entry["pid"] for entry in server.events("worker started", worker=victim)]
                    os.kill(pids[-1], signal.SIGKILL)
                    with until(lambda: _push_again(pair), "the encoder is back") as again:
                        again.send(clip, shift_ms=90_000)
                        for viewer in survivors:
                            check_times(viewer.wait_time(seen + LAST_GOP_MS), jump_ms=4500)
                            assert not viewer.ended.is_set()
                    assert not (apart and neighbour.ended.is_set())
        until(lambda: len(server.events("worker started", worker=victim)) > len(pids), "it is started again")
        until(lambda: total(server, "headwater_worker_up") == 2, "both answer")
        server.kill()  # its log holds the death of a worker, which an end in order does not forgive
