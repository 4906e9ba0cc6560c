"""The real program as tests see it: a process on free ports, with its log, its accounts and its end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.store.database import DATABASE_FILE
from support.commands import headwater
from support.databases import prepared
from support.ports import free_port
from support.wait import until

PROGRAM = (sys.executable, "-m", "headwater")

LISTENERS = ("rtmp", "rtmps", "http", "https", "api", "console", "metrics")

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0

DEFAULTS = {
    "log.format": "json",
    "domains.quota": "100000",
    "drain_s": "1",
    "workers": "1",
    "listen.dns": "",
    "api.limits_scale": "0",
    "center.enabled": "false",
    "limits.unknown_stream_wait_s": "0.2",
}
"""Every test makes its own domains, so the account's quota and the limits of the API are lifted; connections left open must not
hold up the end. Tests say themselves when they want several workers, DNS, the live center, or a wait for publishers."""


@dataclass(frozen=True)
class Account:
    """An account with its first access key."""

    account_id: str
    access_key_id: str
    access_key_secret: str


class Server:
    """One running `headwater up`."""

    def __init__(
        self,
        data_dir: Path,
        settings: Mapping[str, str | None] | None = None,
        environ: Mapping[str, str] | None = None,
        *,
        new: bool = False,
    ) -> None:
        """Start it. A setting that is None is left to the environment or the program's default. new: as `running` says."""
        self.data_dir = data_dir
        self.ports = {name: free_port() for name in LISTENERS}
        self.settings: dict[str, str | None] = {
            **DEFAULTS,
            **{f"listen.{name}": f"127.0.0.1:{port}" for name, port in self.ports.items()},
            **(settings or {}),
        }
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")},
            "PYTHONWARNINGS": "default",
            **(environ or {}),
        }
        self.log_file = data_dir / "log"
        self._ready = threading.Event()
        self._accounts = 0
        data_dir.mkdir(parents=True, exist_ok=True)
        if not (new or (data_dir / DATABASE_FILE).exists() or "HEADWATER_DATABASE" in self._environ):
            prepared(data_dir)
        flags = [flag for name, value in self.settings.items() if value is not None for flag in ("--set", f"{name}={value}")]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*PROGRAM, "up", "--data-dir", str(data_dir), *flags],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environ,
                text=True,
            )
        self.output: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:  # its end comes with the last of the program's processes
            for line in stdout:
                self.output.append(line.rstrip("\n"))
                if line.strip() == "ready":
                    self._ready.set()
        self._ready.set()

    def wait_ready(self) -> None:
        """Raises AssertionError with the log if the program does not say `ready` in time."""
        said = self._ready.wait(READY_TIMEOUT_S) and "ready" in (line.strip() for line in self.output)
        if not said:
            self.kill()
            raise AssertionError(f"the server did not become ready; exit code {self.process.returncode}\n{self.said()}")

    def said(self) -> str:
        """Everything that the program has written."""
        return "\n".join(self.output) + "\n" + self.log_file.read_text()

    def events(self, event: str | None = None, **fields: object) -> list[dict[str, Any]]:
        """The log's lines as objects, those of one event if named, whose fields have the given values."""
        lines = []
        for line in self.log_file.read_text().splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and (event is None or entry.get("event") == event):
                    lines.append(entry)
        return [entry for entry in lines if all(entry.get(name) == value for name, value in fields.items())]

    def run(self, *arguments: str) -> str:
        """Run another `headwater` command on this server's data and return what it prints."""
        done = headwater(*arguments, "--data-dir", str(self.data_dir), environ=self._environ)
        assert done.returncode == 0, f"headwater {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def account(self) -> Account:
        """A new account, made by the command while the server runs."""
        self._accounts += 1
        made = json.loads(self.run("account", "create", f"tester-{self._accounts}", "--json"))
        return Account(made["account_id"], made["access_key_id"], made["access_key_secret"])

    def stop(self) -> None:
        """End the program in order and check that it had nothing to complain of."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not stop within {STOP_TIMEOUT_S} s of SIGTERM\n{self.said()}") from None
        self._reader.join()
        assert code == 0, f"the server ended with {code}\n{self.said()}"
        self.check_log()

    def check_log(self) -> None:
        """Raises AssertionError if the log holds an error, a traceback or a warning of Python's."""
        complaints = [line for line in self.said().splitlines() if _COMPLAINT.search(line)]
        assert not complaints, "the server complained:\n" + "\n".join(complaints[:20])

    def kill(self) -> None:
        """End the program at once."""
        self.process.kill()
        self.process.wait()
        self._reader.join(1)  # workers that are left behind may hold its end open for a moment

    def children(self) -> list[int]:
        """The process ids of the media workers."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def wait_log(self, event: str, timeout_s: float = 10.0, **fields: object) -> dict[str, Any]:
        """The first line of the log with this event and these fields."""
        return until(lambda: self.events(event, **fields), f"log event {event} {fields}", timeout_s)[0]


_COMPLAINT = re.compile(
    r'"level": ?"(error|critical)"|Traceback \(most recent call last\)|ResourceWarning|RuntimeWarning|DeprecationWarning'
    r"|never awaited|never retrieved"
)


@contextlib.contextmanager
def running(
    settings: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] | None = None,
    data_dir: Path | None = None,
    *,
    new: bool = False,
) -> Iterator[Server]:
    """A server that is ready, with data of its own unless `data_dir` is given; it is ended and checked afterwards.

    new: it makes its database; otherwise it finds one that has no rows yet.
    """
    with contextlib.ExitStack() as stack:
        # Unix socket paths are limited to 107 bytes, which pytest's own temporary directories come near to.
        directory = data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hw-")))
        server = Server(directory, settings, environ, new=new)
        try:
            server.wait_ready()
            yield server
            if server.process.poll() is None:
                server.stop()
        finally:
            server.kill()
