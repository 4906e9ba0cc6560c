"""The operator's commands work on a running server, whose API follows them at once."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path

import pytest

from headwater.cluster.embedded import EmbeddedCluster
from headwater.domains import services
from headwater.settings import Settings
from headwater.store.database import DATABASE_FILE, Actor, Database
from support.api import REGION, Api, Refused
from support.commands import headwater
from support.server import Account, Server


@pytest.fixture(scope="module")
def account(server: Server) -> Account:
    return server.account()


@pytest.fixture(scope="module")
def owner(server: Server, account: Account) -> Api:
    return Api(server, account)


@pytest.fixture
def name() -> str:
    """A name that nobody has, and that needs no proof."""
    return f"a{secrets.token_hex(5)}.test"


def add(api: Api, name: str) -> str:
    """ "" or the code of the refusal."""
    try:
        api.call("AddLiveDomain", domain_name=name, live_domain_type="liveVideo", region=REGION)
    except Refused as fault:
        return fault.code
    return ""


def refused(server: Server, *arguments: str, code: int = 1) -> str:
    """What a command says that cannot do its work: one line."""
    done = headwater(*arguments, "--data-dir", str(server.data_dir))
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("headwater: ")
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_claims_hold_names_of_sister_services(server: Server, owner: Api, name: str, tmp_path: Path) -> None:
    made = json.loads(server.run("claim", "add", name, "vod", "--account", owner.account.account_id, "--json"))
    assert made == {"name": name, "service": "vod", "account": owner.account.account_id}
    assert add(owner, name) == "DomainAlreadyExist"
    assert json.loads(server.run("claim", "list", "--search", name, "--json")) == [made]
    exported = server.run("claim", "export")
    assert exported.splitlines()[0] == "name,service,account"
    assert f"{name},vod,{owner.account.account_id}" in exported.splitlines()
    server.run("claim", "remove", name)
    assert add(owner, name) == ""
    assert "DomainAlreadyExist" in refused(server, "claim", "add", name, "vod")
    assert "EntityNotExist.Claim" in refused(server, "claim", "remove", name)
    assert "EntityNotExist.Account" in refused(server, "claim", "add", f"b.{name}", "vod", "--account", "nobody")
    file = tmp_path / "claims.csv"
    file.write_text(f"name,service,account\nb.{name},dcdn,\nc.{name},vs,\n")
    assert json.loads(server.run("claim", "import", str(file), "--json")) == {"added": 2, "changed": 0, "unchanged": 0}
    assert server.run("claim", "import", str(file)) == "0 added, 0 changed, 2 as before\n"
    assert add(owner, f"c.{name}") == "DomainAlreadyExist"
    file.write_bytes(b"\xff\xfe")
    assert "UTF-8" in refused(server, "claim", "import", str(file))
    assert "cannot read" in refused(server, "claim", "import", str(tmp_path / "none.csv"))


def test_filings_are_kept(server: Server, name: str, tmp_path: Path) -> None:
    made = json.loads(server.run("filing", "set", f"www.{name}", "ICP-7", "--holder", "A", "--expires", "2027-12-31", "--json"))
    assert made == {"root": name, "number": "ICP-7", "holder": "A", "expires_s": 1830297600.0}
    assert server.run("filing", "list", "--search", name) == f"{name}  ICP-7  A  until 2027-12-31\n"
    file = tmp_path / "filings.csv"
    file.write_text(f"domain,number,holder,expires\n{name},ICP-8,B,\n")
    assert server.run("filing", "import", str(file)) == "0 added, 1 changed, 0 as before\n"
    server.run("filing", "remove", name)
    assert json.loads(server.run("filing", "list", "--search", name, "--json")) == []
    assert server.run("filing", "check") == ""
    assert "InvalidExpires" in refused(server, "filing", "set", name, "1", "--expires", "tomorrow")


def test_quotas_are_shown_and_set(server: Server, name: str) -> None:
    account = server.account()
    api = Api(server, account)
    server.run("quota", "set", account.account_id, "1")
    assert [add(api, f"a.{name}"), add(api, f"b.{name}")] == ["", "QuotaExceeded.Domain"]
    state = json.loads(server.run("quota", "show", account.account_id, "--json"))
    assert (state["quota"], state["used"], state["threshold_mbps"]) == (1, 1, 50.0)
    assert server.run("quota", "show", account.account_id).startswith("1 of 1 domains\n")
    server.run("quota", "set", account.account_id, "default")
    assert add(api, f"b.{name}") == ""
    assert "a quota is a number" in refused(server, "quota", "set", account.account_id, "many", code=2)
    assert "InvalidQuota" in refused(server, "quota", "set", account.account_id, "1000001")
    assert "EntityNotExist.Account" in refused(server, "quota", "show", "nobody")


def test_roots_are_granted_and_released(server: Server, owner: Api) -> None:
    root = f"r{secrets.token_hex(5)}.com"
    assert add(owner, f"play.{root}") == "DomainOwnerVerifyFail"
    server.run("root", "grant", owner.account.account_id, f"play.{root}")
    assert add(owner, f"play.{root}") == ""
    listed = {item["root"]: item["account"] for item in json.loads(server.run("root", "list", "--json"))}
    assert listed[root] == owner.account.account_id
    assert root in server.run("root", "list")
    server.run("root", "release", root)
    assert add(owner, f"other.{root}") == "DomainOwnerVerifyFail"
    assert "EntityNotExist.RootDomain" in refused(server, "root", "release", root)


async def ask(server: Server, account: str, name: str) -> int:
    """Open a ticket as the console does."""
    database = await Database.open(server.data_dir / DATABASE_FILE)
    try:
        asked = services.build(database, EmbeddedCluster(), Settings()).tickets
        thread = await asked.ask_about_domain(account, "duplicate", name, "It is ours.", actor=Actor("alice"))
        return thread.ticket.id
    finally:
        await database.close()


def test_tickets_are_answered(server: Server, owner: Api, name: str) -> None:
    server.run("claim", "add", name, "vod")
    first = str(asyncio.run(ask(server, owner.account.account_id, name)))
    listed = {ticket["id"]: ticket for ticket in json.loads(server.run("ticket", "list", "--json"))}
    assert (listed[int(first)]["kind"], listed[int(first)]["subject"]) == ("duplicate", name)
    assert f"duplicate: {name}" in server.run("ticket", "list")
    assert "operator (command line)\nSince when?" in server.run("ticket", "reply", first, "Since when?")
    assert "It is ours." in server.run("ticket", "show", first)
    thread = json.loads(server.run("ticket", "approve", first, "--text", "Take it.", "--json"))
    assert (thread["ticket"]["status"], thread["messages"][-1]["text"]) == ("approved", "Take it.")
    assert add(owner, name) == ""
    second = str(asyncio.run(ask(server, owner.account.account_id, name)))
    assert "rejected" in server.run("ticket", "reject", second, "It is a live domain.")
    assert "InvalidTicket.Closed" in refused(server, "ticket", "approve", second)
    for arguments in (("show", "9999"), ("reply", "9999", "x"), ("approve", "9999"), ("reject", "9999", "x")):
        assert "EntityNotExist.Ticket" in refused(server, "ticket", *arguments)
    assert "InvalidStatus" in refused(server, "ticket", "list", "--status", "lost")


def test_a_domain_goes_its_whole_way_by_commands(server: Server, owner: Api, name: str) -> None:
    account, push, play, sub = owner.account.account_id, f"push.{name}", f"play.{name}", f"sub.{name}"
    assert f"push.{name} CNAME push.{name}." in server.run("domain", "add", account, push, "ingest")
    made = json.loads(server.run("domain", "add", account, play, "streaming", "--edge-group", "overseas", "--json"))
    assert (made["name"], made["type"], made["scope"], made["status"]) == (play, "liveVideo", "overseas", "online")
    assert "DomainAlreadyExist" in refused(server, "domain", "add", account, play, "ingest")
    assert "InvalidDomainName.Malformed" in refused(server, "domain", "add", account, f"*.{name}", "ingest")
    assert "InvalidRegion" in refused(server, "domain", "add", account, sub, "streaming", "--center", "moon")
    server.run("domain", "add", account, sub, "streaming")
    server.run("domain", "bind", push, play)
    server.run("domain", "bind", sub, play)
    bound = owner.call("DescribeLiveDomainMapping", domain_name=play)["LiveDomainModels"]["LiveDomainModel"]
    assert [(one["DomainName"], one["Type"]) for one in bound] == [(push, "publish"), (sub, "play")]
    shown = server.run("domain", "show", play)
    assert f"ingest domain {push}\nsub-streaming domain {sub}\n" in shown
    assert f"CNAME {play}." in shown
    assert json.loads(server.run("domain", "show", push, "--json"))["bound"] == [{"domain": play, "type": "vhost"}]
    server.run("domain", "edge-group", play, "global")
    server.run("domain", "stop", play)
    detail = owner.call("DescribeLiveDomainDetail", domain_name=play)["DomainDetail"]
    assert (detail["DomainStatus"], detail["Scope"]) == ("offline", "global")
    server.run("domain", "start", play)
    listed = json.loads(server.run("domain", "list", "--account", account, "--search", name, "--json"))
    assert [(one["name"], one["status"]) for one in listed] == [(play, "online"), (push, "online"), (sub, "online")]
    assert f"{play}  streaming  online  " in server.run("domain", "list", "--search", name)
    server.run("domain", "unbind", push)
    server.run("domain", "unbind", sub)
    assert "not bound" in refused(server, "domain", "unbind", push)
    for domain in (push, play, sub):
        server.run("domain", "delete", domain)
        assert "InvalidDomain.NotFound" in refused(server, "domain", "show", domain)


def test_a_root_is_proved_by_commands(server: Server, owner: Api) -> None:
    account, root = owner.account.account_id, f"a{secrets.token_hex(5)}.example.org"
    said = refused(server, "domain", "add", account, f"play.{root}", "streaming")
    content = owner.call("DescribeLiveVerifyContent", domain_name=root)["Content"]
    assert "TXT record verification.example.org" in said
    assert f"value {content}" in said
    assert "http://example.org/verification.html" in said
    nowhere = ("--set", "domains.ownership.resolvers=127.0.0.1:1", "--set", "domains.ownership.query_timeout_s=0.1")
    assert f"value {content}" in refused(server, "domain", "verify", account, f"play.{root}", *nowhere)
    server.run("root", "grant", account, root)
    assert server.run("domain", "verify", account, f"play.{root}") == "example.org is proved\n"
    server.run("root", "release", root)
