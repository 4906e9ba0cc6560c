"""`headwater load` and the real program: what it pushes is what it plays, over every protocol."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from support.api import Api, Pair, make_pair
from support.server import PROGRAM, Server
from support.wait import until

pytestmark = pytest.mark.xdist_group("load")

KINDS = [
    ("rtmp", "rtmp"),
    ("flv", "http"),
    ("ws", "ws"),
    ("hls", "http"),
    ("rtmp", "rtmps"),
    ("flv", "https"),
    ("ws", "wss"),
    ("hls", "https"),
]


def load(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run to its end: exit code, JSON, and what was printed for people."""
    done = subprocess.run(
        [*PROGRAM, "load", *arguments, "--json", "-"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def loaded(server: Server, api: Api) -> Iterator[Pair]:
    """Domains with two streams on air, `cam-0` and `cam-1`, both from `headwater load`."""
    pair = make_pair(server, api)
    publishers = subprocess.Popen(
        [
            *(*PROGRAM, "load", "--publish", pair.push_url("cam-{n}", signed=False), "--key", pair.ingest_key),
            *("-c", "2", "-t", "0", "--bitrate", "300", "--json", "-"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for name in ("cam-0", "cam-1"):
            pair.wait_online(name, 30)
        yield pair
    finally:
        publishers.send_signal(signal.SIGINT)
        said, summary = publishers.communicate(timeout=30)
    assert publishers.returncode == 0, summary
    assert "2 of 2 were accepted" in summary
    assert "all well" in summary
    result = json.loads(said)
    assert result["ok"]
    assert result["sent_bytes"] > 100_000


@pytest.fixture(scope="module")
def viewed(loaded: Pair) -> dict[tuple[str, str], tuple[int, dict[str, Any], str]]:
    """Both streams, watched by six viewers over every protocol at once: exit code, JSON, and what was printed for people."""
    running = {
        (kind, scheme): subprocess.Popen(
            [
                *(*PROGRAM, "load", loaded.play_url(kind, "cam-{n}", signed=False, scheme=scheme), "-c", "6", "--streams", "2"),
                *("--check", "all", "-t", "8", "--stall", "10", "--key", loaded.streaming_key, "-k", "--json", "-"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for kind, scheme in KINDS
    }
    done = {}
    for name, process in running.items():
        said, summary = process.communicate(timeout=60)
        done[name] = process.returncode, json.loads(said), summary
    return done


@pytest.mark.parametrize(("kind", "scheme"), KINDS)
def test_viewers_of_every_protocol_find_nothing_wrong(
    viewed: dict[tuple[str, str], tuple[int, dict[str, Any], str]], kind: str, scheme: str
) -> None:
    code, result, summary = viewed[kind, scheme]
    assert code == 0, summary
    assert result["ok"]
    assert result["faults"] == {}
    assert (result["started"], result["begun"], result["checked"]) == (6, 6, 6)
    assert result["first_ms"]["count"] == 6
    if kind == "hls":
        assert result["segments"] >= 6
    else:
        assert result["tags"] > 100
        assert result["delay_ms"]["count"] > 100
        assert result["delay_ms"]["min"] > 0


def test_processes_share_the_work(loaded: Pair) -> None:
    url = loaded.play_url("flv", "cam-{n}", signed=False)
    code, result, summary = load(
        *("-r", url, "-c", "5", "--streams", "2", "--processes", "2", "-t", "2", "--stall", "10"),
        *("--key", loaded.streaming_key),
    )
    assert code == 0, summary
    assert (result["started"], result["begun"], result["processes"]) == (5, 5, 2)
    assert len(result["load"]["cpu_percent"]) == 2


@pytest.mark.parametrize("kind", ["rtmp", "flv", "ws", "hls"])
def test_refused_viewers_end_at_once_with_the_servers_words(loaded: Pair, kind: str) -> None:
    url = loaded.play_url(kind, "cam-0", signed=False)
    code, result, summary = load(url, "-c", "3", "-t", "0", "--key", "0123456789abcdef")
    assert code == 1
    assert result["faults"]["refused"]["count"] == 3
    assert "denied by req auth: invalid md5hash=" in "".join(result["faults"]["refused"]["texts"])
    assert "refused 3: the server said no" in summary


def test_refused_publishers_end_at_once_with_the_servers_words(loaded: Pair) -> None:
    url = loaded.push_url("cam-{n}", signed=False)
    code, result, _ = load("--publish", url, "-c", "2", "-t", "0", "--bitrate", "300", "--key", "0123456789abcdef")
    assert code == 1
    assert result["faults"]["refused"]["count"] == 2
    assert "denied by req auth: invalid md5hash=" in "".join(result["faults"]["refused"]["texts"])


def test_a_self_signed_certificate_is_refused_unless_told_otherwise(loaded: Pair) -> None:
    url = loaded.play_url("flv", "cam-0", signed=False, scheme="https")
    code, result, _ = load(url, "-t", "0", "--key", loaded.streaming_key)
    assert code == 1
    assert "--insecure" in "".join(result["faults"]["tls"]["texts"])


def test_a_stream_that_ends_is_told(loaded: Pair) -> None:
    loaded.session(reconnect_window=0)
    publisher = subprocess.Popen(
        [*PROGRAM, "load", "--publish", loaded.push_url("short"), "-t", "0", "--bitrate", "300"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        loaded.wait_online("short", 30)
        viewers = subprocess.Popen(
            [*PROGRAM, "load", loaded.play_url("rtmp", "short"), "-c", "2", "-t", "0", "--json", "-"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        entries = {"protocol": "rtmp", "stream": f"{loaded.streaming}/live/short"}
        until(lambda: len(loaded.server.events("play started", **entries)) == 2, "two viewers", 20)
    finally:
        publisher.send_signal(signal.SIGTERM)
        assert publisher.wait(20) == 0
    said, _ = viewers.communicate(timeout=20)
    assert viewers.returncode == 1
    result = json.loads(said)
    assert result["faults"]["ended"]["count"] == 2
    assert result["begun"] == 2
