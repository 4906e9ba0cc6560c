"""What the README says is true: links lead somewhere, its first call works, its numbers are right."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.openapi.registry import OPERATIONS
from headwater.settings import Listen
from support.server import Server

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md"])


@pytest.mark.parametrize("path", DOCUMENTS, ids=[path.name for path in DOCUMENTS])
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_guide_can_be_found_from_the_readme() -> None:
    guides = {path.name for path in ROOT.glob("docs/*.md")}
    assert {guide for guide in guides if f"docs/{guide}" not in README} == set()


def test_the_first_call_works_as_it_stands(server: Server) -> None:
    account = server.account()
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for placeholder, value in (
        ("the access_key_id", account.access_key_id),
        ("the access_key_secret", account.access_key_secret),
        ("127.0.0.1:9000", f"127.0.0.1:{server.ports['api']}"),
    ):
        assert placeholder in code
        code = code.replace(placeholder, value)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert {"push.example.test", "play.example.test"} <= set(re.findall(r"'([^']+)'", done.stdout))
    shown = server.run("url", "show", "play.example.test", "live", "mystream")
    assert "OBS server" in shown
    assert "vhost=push.example.test" in shown


def test_the_number_of_operations_is_right() -> None:
    import headwater.openapi.app  # noqa: F401 (it fills the register)

    assert f"{len(OPERATIONS)} of the API's 436 operations" in README


def test_the_ports_are_right() -> None:
    ports = [str(getattr(Listen(), name)).rpartition(":")[2] for name in Listen.__struct_fields__]
    assert f"| {' | '.join(Listen.__struct_fields__)} |" in README
    assert f"| port | {' | '.join(ports)} |" in README
