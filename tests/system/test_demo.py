"""The one command that a newcomer types: it shows everything at work, and says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support.ports import free_port
from support.server import LISTENERS
from support.wait import until


@pytest.fixture
def environ() -> dict[str, str]:
    """Free ports for a demo, by the environment."""
    listen = {f"HEADWATER_LISTEN__{name.upper()}": f"127.0.0.1:{free_port()}" for name in (*LISTENERS, "dns")}
    return {**os.environ, **listen}


def test_the_check_plays_every_url(environ: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="hw-") as directory:
        command = [sys.executable, "-m", "headwater", "demo", "--check", "--data-dir", directory]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environ, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for scheme in ("rtmp://", "http://", ".flv", ".m3u8", "ws://"):
        assert scheme in done.stdout


def test_the_demo_prints_what_to_paste_and_ends_with_ctrl_c(environ: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="hw-") as directory:
        output = Path(directory) / "output"
        with output.open("w") as file:
            command = [sys.executable, "-m", "headwater", "demo", "--data-dir", directory]
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environ)
        try:
            wanted = (".m3u8?", ".flv?", "auth_key=", "Ctrl-C", "demo.localhost")
            until(lambda: all(text in output.read_text() for text in wanted) or process.poll() is not None, "the demo", 40)
            assert process.poll() is None, output.read_text()
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0, output.read_text()
        finally:
            process.kill()
            process.wait()
        assert "Traceback" not in output.read_text()
