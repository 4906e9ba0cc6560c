"""The record of usage holds what publishers sent and viewers really got, to the byte, over restarts."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from support.api import Api, Pair, make_pair
from support.encoders import TagPush
from support.flv import FlvTag
from support.players import HttpViewer, get
from support.server import Server, running
from support.wait import until


@pytest.fixture
def own() -> Iterator[Server]:
    """A server that this test may stop."""
    with running() as server:
        yield server


def traffic(pair: Pair) -> tuple[int, int, int]:
    """What is recorded of a pair: bytes in, bytes out, bytes out over TLS."""

    def total(operation: str, domain: str, value: str) -> int:
        (name,) = ("TrafficDataPerInterval",)
        return sum(int(row[value]) for row in pair.api.call(operation, domain_name=domain)[name]["DataModule"])

    return (
        total("DescribeLiveDomainPushTrafficData", pair.ingest, "TrafficValue"),
        total("DescribeLiveDomainTrafficData", pair.streaming, "TrafficValue"),
        total("DescribeLiveDomainTrafficData", pair.streaming, "HttpsTrafficValue"),
    )


def watch(url: str, sizes: dict[str, int]) -> threading.Thread:
    """Read a live stream to its end in a thread, and note how many bytes came."""

    def run() -> None:
        sizes[url] = len(get(url).content)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def again(pair: Pair, server: Server) -> Pair:
    return Pair(server, Api(server, pair.api.account), pair.ingest, pair.streaming, pair.ingest_key, pair.streaming_key)


def test_every_byte_is_recorded_once_for_its_domain_over_restarts(own: Server, clip: list[FlvTag]) -> None:
    pair = make_pair(own, Api(own, own.account()))
    pair.session(reconnect_window=0)
    sizes: dict[str, int] = {}
    secure = pair.play_url("flv", scheme="https")
    with TagPush(pair.push_url()) as push:
        push.send(clip[:300])
        pair.wait_online()
        threads = [watch(url, sizes) for url in (pair.play_url("flv"), secure)]
        until(lambda: len(own.events("play started")) == 2, "both viewers are there")
        playlist = get(pair.play_url("hls"), **{"Accept-Encoding": "identity"})
        assert playlist.status_code == 200
        segment = next(line for line in playlist.text.splitlines() if line.endswith(f".ts?vhost={pair.streaming}"))
        sizes["hls"] = len(playlist.content) + len(get(f"http://127.0.0.1:{own.ports['http']}/live/{segment}").content)
        push.send(clip[300:600])
        push.stop()
        for thread in threads:
            thread.join(10)
    (ended,) = own.events("publish ended")
    own.stop()
    sent = sum(len(tag.body) for tag in clip[:600])
    assert sent < ended["bytes"] < sent * 1.1
    for event in own.events("play ended", protocol="flv"):
        assert event["bytes"] in sizes.values()
    with running(data_dir=own.data_dir) as restarted:
        pair = again(pair, restarted)
        expected = (ended["bytes"], sum(sizes.values()), sizes[secure])
        assert traffic(pair) == expected
        restarted.stop()
    with running(data_dir=own.data_dir) as restarted:
        assert traffic(again(pair, restarted)) == expected, "a start adds nothing"


def test_a_worker_that_was_killed_does_not_disturb_the_record(clip: list[FlvTag]) -> None:
    with running({"workers": "1"}) as server:
        pair = make_pair(server, Api(server, server.account()))
        with TagPush(pair.push_url()) as push:
            push.send(clip[:100])
            pair.wait_online()
            (worker,) = server.children()
            os.kill(worker, signal.SIGKILL)
            pair.wait_offline()
        with until(lambda: _try_push(pair), "the new worker takes a push", 10) as push:
            push.send(clip[:100])
            pair.wait_online()
            with HttpViewer(pair.play_url("flv")) as viewer:
                viewer.wait_frames(5)
        until(lambda: server.events("publish ended"), "the push has ended")
        (ended,) = server.events("publish ended")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 0
        server.log_file.unlink()  # it rightly complains of the worker's death
        with running(data_dir=server.data_dir) as restarted:
            assert traffic(again(pair, restarted))[0] == ended["bytes"]


def _try_push(pair: Pair) -> TagPush | None:
    try:
        return TagPush(pair.push_url())
    except Exception:
        return None
