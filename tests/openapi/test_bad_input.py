"""Every line of `bad_input.tsv` is refused with exactly its error, in both databases, and changes nothing at all."""

from __future__ import annotations

import csv
import datetime
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update
from structlog.testing import capture_logs

from headwater.cluster.nodes import NodePresence
from headwater.domains.accounts import NewAccount
from headwater.domains.record_rules import GivenFormat
from headwater.domains.transcode_parameters import Parameters
from headwater.settings import Domains, Icp, Settings
from headwater.store.database import Actor
from headwater.store.models import ApiNonce, AuditEntry, Base, Domain, DomainRoot, NameClaim
from support.api_server import ApiServer
from support.api_signer import v1_parameters, v3_headers
from support.certificates import Authority, key_pem, rsa_key
from support.postgres import Postgres

ACTOR = Actor("test")
REGION = "eu-central-1"
TABLE = Path(__file__).with_name("bad_input.tsv")
LEAST = 150
OWN = Parameters("audio")


@dataclass(frozen=True)
class Case:
    """One line: what it is, who calls, the operation, its parameters, and the error.

    In a value, `{300 times a}` stands for a repeated text and `{pem:NAME}` for a certificate or key of the test's own.
    """

    what: str
    who: str
    action: str
    parameters: str
    status: str
    code: str
    message: str


CASES = [Case(**row) for row in csv.DictReader(TABLE.read_text().splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)]


class World:
    """A server with a little of everything, which nothing of the table may change."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.owner = server.account
        self.http = httpx.Client(base_url=f"http://{server.endpoint}")
        self.accounts: dict[str, NewAccount] = {"owner": self.owner}
        for name in ("stranger", "full"):
            self.accounts[name] = server.new_account(name)
        self.pem = _pems()
        server.do(self._fill())
        self.before = self.state()
        self.marks_before = self.marks()

    async def _fill(self) -> None:
        services, account, stranger = self.server.services, self.owner.account_id, self.accounts["stranger"].account_id
        for owner, name, kind, region in (
            (account, "push.bad.test", "liveEdge", REGION),
            (account, "free.bad.test", "liveEdge", REGION),
            (account, "far.bad.test", "liveEdge", "ap-southeast-1"),
            (account, "play.bad.test", "liveVideo", REGION),
            (account, "sub.bad.test", "liveVideo", REGION),
            (account, "busy.bad.test", "liveVideo", REGION),
            (stranger, "theirs.bad2.test", "liveVideo", REGION),
        ):
            await services.domains.add(owner, name, kind, region, "overseas", actor=ACTOR)
        await services.bindings.map(account, "push.bad.test", "play.bad.test", actor=ACTOR)
        await services.bindings.map_play(account, "sub.bad.test", "play.bad.test", actor=ACTOR)
        await services.tags.tag(account, ["play.bad.test"], [(f"k{n}", "v") for n in range(20)], actor=ACTOR)
        await services.streams.forbid_stream(account, "push.bad.test", "live", "banned", actor=ACTOR)
        await services.certificates.set(
            account,
            "play.bad.test",
            "on",
            type_="upload",
            name="mine",
            chain=self.pem["chain"],
            key=self.pem["key"],
            actor=ACTOR,
        )
        place: dict[str, Any] = {
            "endpoint": "oss-cn-shanghai.aliyuncs.com",
            "formats": [GivenFormat("mp4", None, "{StartTime}_{EndTime}")],
        }
        await services.recording.add(account, "play.bad.test", "live", "taken", bucket="mine", actor=ACTOR, **place)
        await services.recording.add(stranger, "theirs.bad2.test", "live", bucket="theirs", actor=ACTOR, **place)
        await services.library.add(account, "play.bad.test", "live", "library", actor=ACTOR)
        await services.transcoding.add(stranger, "theirs.bad2.test", "live", "own", kind="custom", parameters=OWN, actor=ACTOR)
        for node, role in (("node.bad", "center"), ("edge.bad", "edge")):
            services.nodes.nodes[node] = NodePresence(node, (role,))  # type: ignore[arg-type]
        await services.quota.set(self.accounts["full"].account_id, 0, actor=ACTOR)
        async with self.server.database.write() as session:
            session.add(DomainRoot(root="proved.com", account=stranger, method="dnsCheck", proved_s=1.0))
            session.add(NameClaim(name="claimed.bad.test", service="vod", account="", created_s=1.0))
            await session.execute(update(Domain).where(Domain.name == "busy.bad.test").values(status="configuring"))

    def call(self, case: Case) -> httpx.Response:
        """What a case gets, signed with V3."""
        parameters = self.parameters(case)
        account = self.accounts[case.who]
        key = (account.access_key_id, account.access_key_secret)
        headers = v3_headers(case.action, parameters, *key, host=self.server.endpoint)
        return self.http.post("/", params=parameters, headers=headers)

    def parameters(self, case: Case) -> dict[str, str]:
        """The parameters of a case as they are sent."""
        found: dict[str, str] = json.loads(case.parameters)
        return {name: self._expand(value) for name, value in found.items()}

    def _expand(self, text: str) -> str:
        text = re.sub(r"\{pem:([^}]*)\}", lambda match: self.pem[match[1]], text)
        return re.sub(r"\{(\d+) times ([^}]*)\}", lambda match: match[2] * int(match[1]), text)

    def marks(self) -> tuple[object, object]:
        """What every change leaves behind, soon read: the newest audit row, and the keys of the cluster's store."""
        return self.server.do(self._marks())

    async def _marks(self) -> tuple[object, object]:
        async with self.server.database.read() as session:
            newest = await session.scalar(select(func.max(AuditEntry.id)))
        return newest, [(entry.key, entry.revision) for entry in await self.server.cluster.list("")]

    def state(self) -> dict[str, Any]:
        """Every row of the database but the used nonces, and every key of the cluster's store."""
        return self.server.do(self._state())

    async def _state(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        async with self.server.database.read() as session:
            for table in Base.metadata.sorted_tables:
                if table is not ApiNonce.__table__:
                    rows = (await session.execute(select(table).order_by(*table.primary_key.columns))).all()
                    found[table.name] = [tuple(row) for row in rows]
        found["store"] = {entry.key: (entry.value, entry.revision) for entry in await self.server.cluster.list("")}
        return found


def _pems() -> dict[str, str]:
    authority = Authority()
    mine, second, other = (authority.issue(name) for name in ("play.bad.test", "play.bad.test", "other.test"))
    long_ago = Authority(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    return {
        "chain": mine.chain_pem,
        "key": mine.key_pem,
        "other chain": other.chain_pem,
        "other key": other.key_pem,
        "second chain": second.chain_pem,
        "second key": second.key_pem,
        "expired": long_ago.issue("play.bad.test", key=mine.key, days=1).chain_pem,
        "weak": authority.issue("play.bad.test", key=rsa_key(1024)).chain_pem,
        "weak key": key_pem(rsa_key(1024)),
        "locked key": key_pem(mine.key, b"secret"),
        "authority": authority.intermediate.pem,
    }


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[World]:
    database = ""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        database = server.new()
    settings = Settings(database=database, domains=Domains(icp=Icp(required=True)))
    api = ApiServer(tmp_path_factory.mktemp("bad"), settings=settings)
    try:
        found = World(api)
        yield found
        assert found.state() == found.before, "a change without an audit row"
        found.http.close()
    finally:
        api.close()


def test_the_table_is_long_enough_and_says_nothing_twice() -> None:
    assert len({(case.who, case.action, case.parameters) for case in CASES}) == len(CASES) >= LEAST
    assert len({case.what for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=[case.what for case in CASES])
def test_bad_input_gets_its_error_and_changes_nothing(world: World, case: Case) -> None:
    response = world.call(case)
    found = response.json()
    assert (str(response.status_code), found.get("Code"), found.get("Message")) == (case.status, case.code, case.message)
    assert set(response.headers) == {"content-length", "content-type", "date"}
    assert world.marks() == world.marks_before


def test_nothing_bad_comes_back_as_markup_or_stands_in_the_log(world: World) -> None:
    key = (world.owner.access_key_id, world.owner.access_key_secret)
    for case in CASES:
        parameters = world.parameters(case)
        if re.search(r"[<\x00-\x1f\x7f\u202e]", case.action + "".join(parameters.values())):
            with capture_logs() as logs:
                response = world.http.get("/", params=v1_parameters(case.action, parameters, *key))
            services_own = case.message.startswith("The specified parameter is not valid.")
            early = case.code == "InvalidParameter" and not services_own  # refused before the format is read
            kind = "application/json" if early else "text/xml"
            assert response.headers["content-type"] == f"{kind};charset=utf-8", case.what
            assert not re.search(r"<(script|img|svg)", response.text), case.what
            (line,) = logs
            assert all(value.isprintable() and "<" not in value for value in map(str, line.values())), case.what
    assert world.marks() == world.marks_before
