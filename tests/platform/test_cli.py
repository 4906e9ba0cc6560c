"""The commands: what they print, in words and as JSON, and their one line when they cannot."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from headwater.access.signing import sign_url
from support.api import Pair
from support.commands import headwater
from support.players import get
from support.server import PROGRAM, Server
from support.signing import auth_key

KEY = "aliyunliveexp1234"


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Start the program by itself, as a user does."""
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=30, check=False)


def refused(*arguments: str, code: int = 1) -> str:
    """What a command that cannot do its work says: one line on standard error."""
    done = headwater(*arguments)
    assert done.returncode == code, done
    assert done.stdout == ""
    assert done.stderr.startswith("headwater: ")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def test_version_says_which() -> None:
    assert program("version").stdout.strip() == version("headwater")


def test_help_loads_nothing_that_it_does_not_need() -> None:
    code = "import sys, headwater.cli; print(*({'av', 'sqlalchemy', 'starlette', 'uvicorn', 'uvloop'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == ""


def test_every_command_explains_itself() -> None:
    for command in ([], ["up"], ["demo"], ["account"], ["account", "create"], ["account", "list"], ["url"], ["url", "sign"]):
        done = headwater(*command, "--help")
        assert done.returncode == 0
        assert "Usage:" in done.stdout


def test_signing_gives_the_worked_value() -> None:
    # reference media-plane 1.5
    done = headwater("url", "sign", "rtmp://demo.aliyundoc.com/video/standard", "--key", KEY, "--timestamp", "1622194197")
    assert done.stdout.strip() == (
        "rtmp://demo.aliyundoc.com/video/standard?auth_key=1622194197-0-0-5552ff52b5e4e20387c6dc18afce206b"
    )


def test_signing_counts_from_now_and_speaks_json() -> None:
    done = headwater("url", "sign", "http://play.test/live/cam.flv?vhost=a", "--key", KEY, "--json")
    url = json.loads(done.stdout)["url"]
    timestamp = int(url.partition("auth_key=")[2].split("-")[0])
    assert abs(timestamp - time.time()) < 30
    assert url == f"http://play.test/live/cam.flv?vhost=a&auth_key={auth_key('/live/cam.flv', KEY, timestamp)}"


@pytest.mark.parametrize("url", ["nonsense", "http://host", "ftp://host/a/b"])
def test_what_cannot_be_signed_is_said(url: str) -> None:
    assert url in refused("url", "sign", url, "--key", KEY)


def test_accounts_are_made_and_listed(tmp_path: Path) -> None:
    made = json.loads(headwater("account", "create", "alice", "--json", "--data-dir", str(tmp_path / "new")).stdout)
    assert set(made) == {"account_id", "name", "access_key_id", "access_key_secret"}
    words = headwater("account", "create", "bob", "--data-dir", str(tmp_path / "new")).stdout
    assert "access_key_secret" in words
    listed = json.loads(program("account", "list", "--json", "--data-dir", str(tmp_path / "new")).stdout)
    assert [account["name"] for account in listed] == ["alice", "bob"]
    assert made["access_key_secret"] not in headwater("account", "list", "--data-dir", str(tmp_path / "new")).stdout


def test_a_folder_without_data_is_not_taken_for_one_with_data(tmp_path: Path) -> None:
    first, again = (headwater("account", "list", "--data-dir", str(tmp_path / "data")) for _ in range(2))
    assert first.stderr == f"headwater: a new database was made in {tmp_path}/data\n"
    assert again.stderr == ""


def test_an_account_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    assert headwater("account", "create", "alice", "--data-dir", str(tmp_path)).returncode == 0
    assert "EntityAlreadyExists" in refused("account", "create", "alice", "--data-dir", str(tmp_path))
    assert "InvalidAccountName" in refused("account", "create", "no spaces", "--data-dir", str(tmp_path))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused("account", "list", "--data-dir", str(tmp_path / "file" / "data"))


@pytest.mark.parametrize("flag", ["nonsense", "no.such=1", "listen.rtmp=nowhere", "log.level=loud"])
def test_a_wrong_setting_ends_with_2(tmp_path: Path, flag: str) -> None:
    refused("up", "--data-dir", str(tmp_path), "--set", flag, code=2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[listen]\nrmtp = "127.0.0.1:1935"', "There is no setting listen.rmtp. Do you mean listen.rtmp?"),
        ("worker = 2", "There is no setting worker. Do you mean workers?"),
        ("[nonsense]\nx = 1", "There is no setting nonsense."),
        ('[[objects.endpoints]]\nnames = "x"', "There is no setting objects.endpoints[0].names."),
        ('workers = "two"', "workers must be a whole number"),
        ("[listen", "is not TOML"),
    ],
)
def test_a_mistake_in_the_file_of_settings_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "settings.toml").write_text(text)
    assert said in refused("up", "--config", str(tmp_path / "settings.toml"), code=2)


def test_a_file_of_settings_in_another_encoding_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_bytes('public_host = "café"'.encode("latin-1"))
    assert "is not TOML" in refused("up", "--config", str(tmp_path / "settings.toml"), code=2)


def test_the_urls_shown_are_the_urls_that_work(live: Pair) -> None:
    server: Server = live.server
    listen = [f"--set=listen.{name}=127.0.0.1:{port}" for name, port in server.ports.items()]
    urls = json.loads(server.run("url", "show", live.streaming, "live", "cam", "--json", *listen))
    assert urls["push"].startswith("rtmp://")
    assert urls["push"].partition("?")[0] == f"{urls['obs_server']}/{urls['obs_key'].partition('?')[0]}"
    answer = get(urls["play"]["hls"])
    assert answer.status_code == 200
    assert answer.text.startswith("#EXTM3U")
    words = server.run("url", "show", live.ingest, "live", "cam", *listen)
    assert "OBS server" in words
    assert "wss-flv" in words


def test_urls_of_an_unknown_domain_are_one_line(server: Server) -> None:
    assert "InvalidDomain.NotFound" in refused(
        "url", "show", "nobody.example.com", "live", "cam", "--data-dir", str(server.data_dir)
    )


def test_the_command_and_the_library_sign_alike() -> None:
    url = "https://play.test/live/cam.m3u8"
    assert headwater("url", "sign", url, "--key", KEY, "--timestamp", "5").stdout.strip() == sign_url(url, KEY, 5)


def test_users_of_the_console_are_kept_by_command(server: Server) -> None:
    account = json.loads(server.run("account", "create", "of-users", "--json"))
    made = json.loads(server.run("console", "user", "create", "erin", "--account", "of-users", "--json"))
    assert made["account_id"] == account["account_id"]
    assert len(made["password"]) == 20
    again = json.loads(server.run("console", "user", "reset", "erin", "--json"))
    assert again["password"] != made["password"]
    server.run("console", "user", "disable", "erin")
    (erin,) = [user for user in json.loads(server.run("console", "user", "list", "--json")) if user["name"] == "erin"]
    assert (erin["account"], erin["disabled"], erin["must_change"]) == (account["account_id"], True, True)
    server.run("console", "user", "enable", "erin")
    server.run("console", "user", "delete", "erin")
    assert "erin" not in server.run("console", "user", "list")
