"""What a node does at its start, and what it says when it cannot."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import sqlite3
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import structlog
from structlog.testing import capture_logs

from headwater import platform
from headwater.settings import Bounds, Limits, Overload, Settings
from support.api import Api, make_pair
from support.commands import headwater
from support.ports import free_port
from support.postgres import Postgres
from support.server import LISTENERS, Server, running


def up(data_dir: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """`headwater up` on free ports, for starts that must fail."""
    listen = {f"listen.{name}": f"127.0.0.1:{free_port()}" for name in (*LISTENERS, "dns")}
    flags = [f"--set={name}={value}" for name, value in {**listen, **settings}.items()]
    return headwater("up", "--data-dir", str(data_dir), *flags)


@contextlib.contextmanager
def begun(data_dir: Path, environ: dict[str, str] | None = None) -> Iterator[Server]:
    """A server from the first moment of its start."""
    server = Server(data_dir, environ=environ)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()
        assert server.process.stdout is not None
        server.process.stdout.close()


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that tells the user why it did not start."""
    assert done.returncode == 1
    assert "ready" not in done.stdout.split()
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("headwater: ")]
    return line


def test_the_first_start_shows_a_key_once_and_never_in_the_log() -> None:
    with running(new=True) as server:
        output = "\n".join(server.output)
        assert "account main was made" in output
        secret = next(line.split()[1] for line in server.output if "access_key_secret" in line)
        key_id = next(line.split()[1] for line in server.output if "access_key_id" in line)
        password = next(line.split()[1] for line in server.output if line.startswith("  password "))
        assert secret not in server.log_file.read_text()
        assert password not in server.log_file.read_text()
        assert [account["name"] for account in json.loads(server.run("account", "list", "--json"))] == ["main"]
        server.stop()
        with begun(server.data_dir) as again:
            again.wait_ready()
            assert secret not in again.said()
            assert "password" not in "\n".join(again.output)
            assert key_id not in "\n".join(again.output)
            again.stop()


def test_a_start_that_fails_makes_no_account_whose_key_nobody_saw(tmp_path: Path) -> None:
    for name in ("certificate", "key"):
        (tmp_path / name).write_text("garbage")
    data = tmp_path / "data"
    line = complaint(up(data, **{"tls.certificate": str(tmp_path / "certificate"), "tls.key": str(tmp_path / "key")}))
    assert "worker-" in line
    assert json.loads(headwater("account", "list", "--json", "--data-dir", str(data)).stdout) == []


def test_the_data_are_for_the_owner_only(server: Server) -> None:
    for folder in ("run", "tls"):
        assert stat.S_IMODE((server.data_dir / folder).stat().st_mode) == 0o700
    for sock in (server.data_dir / "run").iterdir():
        assert stat.S_ISSOCK(sock.stat().st_mode)
        assert stat.S_IMODE(sock.stat().st_mode) & 0o077 == 0


def test_a_new_data_dir_is_private(tmp_path: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with taken:
        up(tmp_path / "data", **{"listen.rtmp": f"127.0.0.1:{taken.getsockname()[1]}"})
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_two_servers_never_share_data(server: Server) -> None:
    line = complaint(up(server.data_dir))
    assert "data_dir" in line
    assert "another running server" in line
    assert httpx.get(f"http://127.0.0.1:{server.ports['metrics']}/metrics").status_code == 200


@pytest.mark.parametrize("name", LISTENERS)
def test_a_taken_port_is_named_with_its_setting(tmp_path: Path, name: str) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # even one that would share it
        other.bind(("127.0.0.1", free_port()))
        other.listen()
        port = other.getsockname()[1]
        line = complaint(up(tmp_path, **{f"listen.{name}": f"127.0.0.1:{port}"}))
    assert f"listen.{name}" in line
    assert f"127.0.0.1:{port}" in line


def test_two_listeners_cannot_have_one_address(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert address in complaint(up(tmp_path, **{"listen.rtmp": address, "listen.http": address}))


def test_a_data_dir_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "data_dir" in complaint(up(tmp_path / "file"))


@pytest.mark.parametrize("spoil", ["headwater.db", "secret.key"])
def test_spoilt_data_are_named(tmp_path: Path, spoil: str) -> None:
    assert headwater("account", "create", "alice", "--data-dir", str(tmp_path)).returncode == 0
    (tmp_path / spoil).write_bytes(b"spoilt" * 1000)
    assert spoil in complaint(up(tmp_path))
    assert spoil in complaint(headwater("account", "list", "--data-dir", str(tmp_path)))


def test_data_of_a_newer_version_are_left_alone(tmp_path: Path) -> None:
    assert headwater("account", "create", "alice", "--data-dir", str(tmp_path)).returncode == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "headwater.db", isolation_level=None)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    for line in (complaint(up(tmp_path)), complaint(headwater("account", "list", "--data-dir", str(tmp_path)))):
        assert f"database {tmp_path}/headwater.db: a newer version of Headwater" in line


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "tls").write_text("")
    assert f"{tmp_path}/tls" in complaint(up(tmp_path))


def test_a_long_data_dir_leaves_room_for_sockets(tmp_path: Path) -> None:
    data_dir = tmp_path / ("d" * 120)
    with tempfile.TemporaryDirectory(prefix="hw-") as run_time, begun(data_dir, {"TMPDIR": run_time}) as server:
        server.wait_ready()
        (run,) = Path(run_time).iterdir()
        assert stat.S_IMODE(run.stat().st_mode) == 0o700
        server.stop()
        assert not run.exists()


def test_open_files_may_be_as_many_as_the_system_lets_us(server: Server) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for pid in (server.process.pid, *server.children()):
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] == hard
    assert server.events("open files allowed", files=hard)


@pytest.mark.parametrize(
    ("connections", "files", "hard", "wanted"),
    [(900, 0.9, 1100, None), (900, 0.9, 1099, 1100), (900, 0, 999, 1000), (0, 0.9, 256, None), (10_000, 0.9, 4096, 11_212)],
)
def test_too_few_open_files_are_told_with_the_number_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch, connections: int, files: float, hard: int, wanted: int | None
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (hard, hard))
    limits, overload = Limits(connections_per_address=connections), Overload(Bounds(files=files))
    structlog.reset_defaults()
    with capture_logs() as lines:
        platform.raise_file_limit(Settings(limits=limits, overload=overload))
    warned = [line for line in lines if line["log_level"] == "warning"]
    assert [line["wanted"] for line in warned] == ([] if wanted is None else [wanted])
    assert all("ulimit" in line["advice"] and "connections_per_address" in line["reason"] for line in warned)


def test_a_signal_during_the_start_ends_it_in_order() -> None:
    with tempfile.TemporaryDirectory(prefix="hw-") as directory, begun(Path(directory)) as server:
        server.wait_log("open files allowed")
        server.stop()
        assert "ready" not in server.output


def test_no_server_header_gives_us_away(server: Server) -> None:
    for name in ("api", "console", "metrics"):
        answer = httpx.get(f"http://127.0.0.1:{server.ports[name]}/")
        assert "uvicorn" not in str(answer.headers).lower()


def test_a_database_that_cannot_be_reached_is_named_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://headwater:s3cret@127.0.0.1:{free_port()}/headwater"
    done = up(tmp_path, database=url)
    assert "database postgresql+psycopg://headwater:***@127.0.0.1" in complaint(done)
    assert "refused" in complaint(done)
    assert "s3cret" not in done.stdout + done.stderr


def test_everything_works_on_postgresql_and_is_still_there_after_a_restart(tmp_path: Path, postgres: Postgres) -> None:
    environ = {"HEADWATER_DATABASE": postgres.new()}
    with running(environ=environ, data_dir=tmp_path) as server:
        api = Api(server, server.account())
        pair = make_pair(server, api)  # which waits until the worker knows the domains
        server.stop()
    with running(environ=environ, data_dir=tmp_path) as again:
        assert Api(again, api.account).call("DescribeLiveUserDomains")["TotalCount"] == 2
        pair.server = again
        pair.wait_known()
        assert not (tmp_path / "headwater.db").exists()
