"""What operators are promised: readiness, metrics, logs, an end in order, and data that outlives a restart."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import socket
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.api import Api, Pair, make_pair
from support.commands import headwater
from support.encoders import TagPush, trickle
from support.flv import VIDEO, FlvTag
from support.metrics import metrics, total
from support.players import HttpViewer, RtmpViewer, get
from support.ports import free_port
from support.rtmp import Status
from support.server import LISTENERS, Server, running
from support.signing import auth_key
from support.wait import until, within


def test_metrics_follow_what_happens(server: Server, pair: Pair, clip: list[FlvTag]) -> None:
    streams = total(server, "headwater_streams")
    viewers = {kind: total(server, "headwater_viewers", protocol=kind) for kind in ("rtmp", "flv", "ws-flv", "hls")}
    received, sent = total(server, "headwater_received_bytes_total"), total(server, "headwater_sent_bytes_total")
    refused = total(server, "headwater_refused_total", reason="signature_missing", action="play")
    get(pair.play_url("flv", signed=False))
    with TagPush(pair.push_url()) as push:
        push.send(clip[:200])
        pair.wait_online()
        with HttpViewer(pair.play_url("flv")) as flv, RtmpViewer(pair.play_url("rtmp")) as rtmp:
            flv.wait_frames(5)
            rtmp.wait_frames(5)
            assert total(server, "headwater_streams") == streams + 1
            for kind in ("rtmp", "flv"):
                assert total(server, "headwater_viewers", protocol=kind) == viewers[kind] + 1
        until(lambda: total(server, "headwater_viewers", protocol="rtmp") == viewers["rtmp"], "the viewers are gone", 3)
    assert total(server, "headwater_received_bytes_total") > received + 10_000
    assert total(server, "headwater_sent_bytes_total") > sent + 10_000
    assert total(server, "headwater_refused_total", reason="signature_missing", action="play") == refused + 1
    assert any(name.startswith("headwater_viewer_jumps") for name in metrics(server))


def test_a_jump_of_a_slow_viewer_is_counted(server: Server, pair: Pair, clip: list[FlvTag]) -> None:
    pair.session(viewer_lag=1, flush="realtime")
    before = total(server, "headwater_viewer_jumps_total")
    with TagPush(pair.push_url()) as push:
        push.send(clip[:40])
        pair.wait_online()
        padded = [FlvTag(tag.kind, tag.timestamp_ms, tag.body + bytes(150_000 * (tag.kind == VIDEO))) for tag in clip[40:]]
        with (
            contextlib.closing(HttpViewer.silent(pair.play_url("flv"))) as slow,
            HttpViewer(pair.play_url("flv")) as good,
            trickle(push, padded),
        ):
            good.wait_frames(1)
            good.wait_time(good.tags[-1].timestamp_ms + 3_000)

            def jumped() -> bool:
                assert slow.recv(200_000, socket.MSG_WAITALL), (
                    "the slow viewer was let go"
                )  # so much: the server may write again
                return total(server, "headwater_viewer_jumps_total") > before

            until(jumped, "the jump is counted", 10)
        jumps = [entry["jumps"] for entry in _ended_plays(server, pair)]
        assert sorted(jumps)[0] == 0, "the good viewer must not jump"


def _ended_plays(server: Server, pair: Pair) -> list[dict[str, Any]]:
    stream = f"{pair.streaming}/live/cam"
    return until(lambda: _both(server.events("play ended", stream=stream)), "both viewers are gone", 5)


def _both(entries: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    return entries if len(entries) == 2 else None


def test_every_line_of_a_session_carries_its_id(server: Server, pair: Pair, clip: list[FlvTag]) -> None:
    with TagPush(pair.push_url()) as push:
        push.send(clip[:50])
        pair.wait_online()
        with HttpViewer(pair.play_url("flv")) as viewer:
            viewer.wait_frames(1)
        push.stop()
    stream = f"{pair.streaming}/live/cam"
    for begin, end in (("publish started", "publish ended"), ("play started", "play ended")):
        started = server.wait_log(begin, stream=stream)
        ended = server.wait_log(end, stream=stream)
        assert started["session"] == ended["session"]
        assert started["level"] == "info"
        assert ended["reason"]


def test_the_end_comes_in_order(clip: list[FlvTag]) -> None:
    with running() as server:
        pair = make_pair(server, Api(server, server.account()))
        workers = server.children()
        with TagPush(pair.push_url()) as push:
            push.send(clip[:100])
            pair.wait_online()
            with HttpViewer(pair.play_url("flv")) as flv, RtmpViewer(pair.play_url("rtmp")) as rtmp:
                flv.wait_frames(5)
                rtmp.wait_frames(5)
                server.stop()  # checks the exit code and the log
                until(lambda: flv.ended.is_set() and rtmp.ended.is_set(), "the viewers are told", 2)
                assert flv.error is None
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
        assert server.events("publish ended")
        assert server.events("play ended")


def test_the_end_is_quick_when_nobody_is_there() -> None:
    with running({"drain_s": "30"}) as server:
        server.process.send_signal(signal.SIGTERM)
        within(5, lambda: server.process.poll() is not None, "the program ends")
        assert server.process.returncode == 0


def test_ctrl_c_ends_in_order_too() -> None:
    with running() as server:
        server.process.send_signal(signal.SIGINT)
        within(5, lambda: server.process.poll() is not None, "the program ends")
        assert server.process.returncode == 0
        server.check_log()


def test_a_dead_worker_comes_back_and_the_api_stays(clip: list[FlvTag]) -> None:
    with running() as server:
        pair = make_pair(server, Api(server, server.account()))
        with TagPush(pair.push_url()) as push:
            push.send(clip[:50])
            pair.wait_online()
            (worker,) = server.children()
            os.kill(worker, signal.SIGKILL)
            pair.wait_offline()
        again = until(lambda: _try_push(pair), "the new worker takes a push", 10)
        with again:
            again.send(clip[:50])
            pair.wait_online()
            with HttpViewer(pair.play_url("flv")) as viewer:
                viewer.wait_frames(5)
        assert server.children() != [worker]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 0


def _try_push(pair: Pair) -> TagPush | None:
    try:
        return TagPush(pair.push_url())
    except Exception:
        return None


def test_no_worker_outlives_its_platform() -> None:
    with running() as server:
        workers = server.children()
        assert workers
        server.kill()
        within(5, lambda: not any(_alive(pid) for pid in workers), "the workers leave")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_accounts_domains_and_bans_outlive_a_restart(clip: list[FlvTag]) -> None:
    with running() as server:
        account = server.account()
        pair = make_pair(server, Api(server, account))
        pair.api.call(
            "ForbidLiveStream", domain_name=pair.ingest, app_name="live", stream_name="bad", live_stream_type="publisher"
        )
        server.stop()
        with running(data_dir=server.data_dir) as again:
            pair = Pair(again, Api(again, account), pair.ingest, pair.streaming, pair.ingest_key, pair.streaming_key)
            with TagPush(pair.push_url()) as push:
                push.send(clip[:50])
                pair.wait_online()
            with pytest.raises(Status, match="forbidden"), TagPush(pair.push_url("bad")):
                pass
            blocked = pair.api.call("DescribeLiveStreamsBlockList", domain_name=pair.streaming)
            assert blocked["StreamUrls"]["StreamUrl"] == [f"{pair.streaming}/live/bad"]


def test_secrets_are_sealed(server: Server, pair: Pair) -> None:
    files = [file for file in server.data_dir.rglob("*") if file.is_file() and file != server.log_file]
    keys = [file for file in files if "key" in file.name]
    assert keys
    for file in keys:
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file
    for secret in (pair.api.account.access_key_secret, pair.ingest_key, pair.streaming_key):
        assert not any(secret.encode() in file.read_bytes() for file in files)
        assert secret not in server.said()


def test_settings_come_from_the_environment_and_flags_win() -> None:
    port, other = free_port(), free_port()
    environ = {"HEADWATER_LISTEN__METRICS": f"127.0.0.1:{port}", "HEADWATER_LISTEN__CONSOLE": f"127.0.0.1:{other}"}
    with running({"listen.metrics": None, "listen.console": ""}, environ):
        assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 200
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", other)) == errno.ECONNREFUSED


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--set", "listen.rtmp=nowhere"], "listen.rtmp"),
        (["--set", "nonsense=1"], "nonsense"),
        (["--set", "ring.seconds=-1"], "ring.seconds"),
        (["--config", "/no/such/file"], "/no/such/file"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, flags: list[str], named: str) -> None:
    done = headwater("up", "--data-dir", str(tmp_path), *flags)
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in said
    assert named in said


def test_a_port_in_use_is_named(server: Server, tmp_path: Path) -> None:
    port = server.ports["rtmp"]
    listen = {name: f"127.0.0.1:{free_port()}" for name in LISTENERS} | {"rtmp": f"127.0.0.1:{port}"}
    flags = [flag for name, value in listen.items() for flag in ("--set", f"listen.{name}={value}")]
    done = headwater("up", "--data-dir", str(tmp_path), *flags)
    assert done.returncode not in (0, None)
    assert str(port) in done.stdout + done.stderr
    assert "ready" not in done.stdout.split()


def test_the_command_signs_urls(server: Server) -> None:
    key = secrets.token_hex(16)
    url = headwater("url", "sign", "rtmp://push.example.com/live/cam", "--key", key).stdout.strip()
    head, _, token = url.partition("?auth_key=")
    assert head == "rtmp://push.example.com/live/cam"
    timestamp, rand, uid, _digest = token.split("-")
    assert token == auth_key("/live/cam", key, int(timestamp), rand, uid)
