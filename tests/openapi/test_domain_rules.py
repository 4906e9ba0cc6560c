"""The seed's rules through the official SDK: names, duplicates, ownership, filings, edge groups, sub-streaming domains."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from headwater.access import policy as policies
from headwater.access import presence
from headwater.access.presence import StreamPresence
from headwater.settings import Domains, Icp, Ownership, Settings
from headwater.store.database import Actor
from support.api_clients import CLIENTS, Caller, Refusal, close_connections, tea
from support.api_server import ApiServer
from support.name_server import NameServer
from support.web_server import Page, WebServer

OPERATOR = Actor("operator")
GERMANY, CHINA = "eu-central-1", "cn-shanghai"


@dataclass
class Place:
    """A server that asks for proof and for filings, and the servers that it asks."""

    api: ApiServer
    names: NameServer
    web: WebServer

    def account(self) -> tuple[str, Caller]:
        """A new account's id and its calls."""
        made = self.api.new_account(f"user-{secrets.token_hex(4)}")
        return made.account_id, tea(self.api.endpoint, made.access_key_id, made.access_key_secret)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with NameServer() as names, WebServer() as web:
        ownership = Ownership(
            resolvers=(f"127.0.0.1:{names.port}",), private_addresses=True, file_port=web.port, query_timeout_s=5
        )
        settings = Settings(domains=Domains(ownership=ownership, icp=Icp(required=True)))
        server = ApiServer(tmp_path_factory.mktemp("api"), settings=settings)
        try:
            yield Place(server, names, web)
        finally:
            close_connections()
            server.close()


@pytest.fixture
def call(place: Place) -> Caller:
    return place.account()[1]


@pytest.fixture
def root() -> str:
    """A registrable domain that nobody has."""
    return f"r{secrets.token_hex(5)}.com"


def add(call: Caller, name: str, kind: str = "liveVideo", region: str = GERMANY, scope: str = "overseas") -> None:
    call("AddLiveDomain", DomainName=name, LiveDomainType=kind, Region=region, Scope=scope)


def refusal(call: Caller, operation: str, **parameters: Any) -> tuple[str, int, str]:
    with pytest.raises(Refusal) as caught:
        call(operation, **parameters)
    message = re.sub(r"^code: \d+, | request id: .*$", "", caught.value.message)
    return caught.value.code, caught.value.status, message


def refused_add(call: Caller, name: str, **more: str) -> tuple[str, int, str]:
    parameters = {"LiveDomainType": "liveVideo", "Region": GERMANY, "Scope": "overseas", **more}
    return refusal(call, "AddLiveDomain", DomainName=name, **parameters)


def prove(call: Caller, place: Place, name: str, root: str) -> None:
    place.names.txt(f"verification.{root}", call("DescribeLiveVerifyContent", DomainName=name)["Content"])
    call("VerifyLiveDomainOwner", DomainName=name, VerifyType="dnsCheck")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_new_user_proves_ownership_by_dns_and_adds_both_domains(place: Place, root: str, client: str) -> None:
    made = place.api.new_account(f"user-{secrets.token_hex(4)}")
    call = CLIENTS[client](place.api.endpoint, made.access_key_id, made.access_key_secret)
    push, play = f"push.{root}", f"play.{root}"
    assert refused_add(call, push)[:2] == ("DomainOwnerVerifyFail", 400)
    content = call("DescribeLiveVerifyContent", DomainName=push)["Content"]
    assert re.fullmatch(r"verify_[0-9a-f]{32}", content)
    code, status, message = refusal(call, "VerifyLiveDomainOwner", DomainName=push, VerifyType="dnsCheck")
    assert (code, status) == ("DomainOwnerVerifyFail", 400)
    assert message.endswith(
        f"Owner verification of the root domain failed. resolver 127.0.0.1:{place.names.port}: "
        f"There is no TXT record verification.{root}."
    )
    place.names.txt(f"verification.{root}", content)
    assert call("VerifyLiveDomainOwner", DomainName=push, VerifyType="dnsCheck")["Content"] == content
    add(call, push, "liveEdge")
    add(call, play)
    call("AddLiveDomainMapping", PushDomain=push, PullDomain=play)
    detail = call("DescribeLiveDomainDetail", DomainName=play)["DomainDetail"]
    assert (detail["DomainStatus"], detail["LiveDomainType"], detail["Region"], detail["Scope"]) == (
        "online",
        "liveVideo",
        GERMANY,
        "overseas",
    )


def test_ownership_is_proved_by_a_file_too(place: Place, call: Caller, root: str) -> None:
    content = call("DescribeLiveVerifyContent", DomainName=f"play.{root}")["Content"]
    place.names.records[root, "A"] = ["127.0.0.1"]
    place.web.pages[root, "/verification.html"] = Page(b"Welcome")
    code, _, message = refusal(call, "VerifyLiveDomainOwner", DomainName=f"play.{root}", VerifyType="fileCheck")
    assert code == "DomainOwnerVerifyFail"
    assert 'It holds "Welcome".' in message
    place.web.pages[root, "/verification.html"] = Page(content.encode())
    call("VerifyLiveDomainOwner", DomainName=f"play.{root}", VerifyType="fileCheck")
    add(call, f"play.{root}")


def test_other_ways_to_verify_do_not_exist(call: Caller, root: str) -> None:
    assert refusal(call, "VerifyLiveDomainOwner", DomainName=root, VerifyType="mailCheck")[:2] == ("InvalidVerifyType", 400)


def test_subdomains_of_one_root_belong_to_one_account(place: Place, call: Caller, root: str) -> None:
    prove(call, place, f"push.{root}", root)
    _, stranger = place.account()
    assert refused_add(stranger, f"play.{root}") == ("DomainOwnerConflict", 400, "The root domain belongs to another account.")
    assert refusal(stranger, "VerifyLiveDomainOwner", DomainName=f"play.{root}", VerifyType="dnsCheck")[0] == (
        "DomainOwnerConflict"
    )


@pytest.mark.parametrize("name", ["*.{}", ".{}", "a..{}", "a_b.{}", "http://{}", "{}:80", "{}/", "-a.{}", " a.{}", "localhost"])
def test_a_wildcard_and_what_is_no_host_name_are_refused(call: Caller, root: str, name: str) -> None:
    assert refused_add(call, name.format(root)) == (
        "InvalidDomainName.Malformed",
        400,
        "The specific value of parameter DomainName is malformed.",
    )


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("LiveDomainType", "live"), ("LiveDomainType", "LIVEVIDEO"), ("Region", "mars"), ("Scope", "local"), ("Scope", "china")],
)
def test_types_regions_and_scopes_are_the_documented_ones(call: Caller, parameter: str, value: str) -> None:
    assert refused_add(call, f"a{secrets.token_hex(4)}.test", **{parameter: value})[:2] == (f"Invalid{parameter}", 400)


def test_one_name_is_not_both_and_its_type_and_center_stay(call: Caller) -> None:
    name = f"a{secrets.token_hex(4)}.test"
    add(call, name, "liveEdge")
    for more in ({}, {"LiveDomainType": "liveEdge"}, {"LiveDomainType": "liveEdge", "Region": CHINA}):
        assert refused_add(call, name.upper(), **more) == ("DomainAlreadyExist", 400, "The specified domain already exists.")
    detail = call("DescribeLiveDomainDetail", DomainName=name)["DomainDetail"]
    assert (detail["LiveDomainType"], detail["Region"]) == ("liveEdge", GERMANY)


def test_a_name_that_a_sister_service_holds_exists_already(place: Place, call: Caller) -> None:
    name = f"a{secrets.token_hex(4)}.test"
    place.api.do(place.api.services.claims.add(name, "vod", actor=OPERATOR))
    assert refused_add(call, name) == ("DomainAlreadyExist", 400, "The specified domain already exists.")


def test_mainland_china_and_global_need_a_filing(place: Place, call: Caller) -> None:
    root = f"a{secrets.token_hex(4)}.test"
    for more in ({"Scope": "domestic"}, {"Scope": "global"}, {"Region": CHINA}):
        code, status, message = refused_add(call, f"x.{root}", **more)
        assert (code, status) == ("Domain.BeianInvalid", 400)
        assert message.endswith(f"There is no ICP filing of {root}.")
    add(call, f"abroad.{root}")
    place.api.do(place.api.services.filings.put(root, "ICP-1", actor=OPERATOR))
    add(call, f"x.{root}", region=CHINA, scope="global")


def test_the_edge_group_is_changed_by_its_own_operation_only(place: Place, call: Caller) -> None:
    name = f"a{secrets.token_hex(4)}.test"
    add(call, name)

    def refused(value: str) -> tuple[str, int]:
        return refusal(call, "ModifyLiveDomainSchdmByProperty", DomainName=name, Property=value)[:2]

    assert refused('{"coverage":"mars"}') == ("Schedule.NotFound", 400)
    assert refused('{"coverage":"global"}') == ("Domain.BeianInvalid", 400)
    for value in ("global", "{}", "[]", '{"coverage":1}', '{"coverage":'):
        assert refused(value) == ("InvalidProperty", 400)
    place.api.do(place.api.services.filings.put(name, "ICP-1", actor=OPERATOR))
    call("ModifyLiveDomainSchdmByProperty", DomainName=name, Property='{"coverage":"global"}')
    assert call("DescribeLiveDomainDetail", DomainName=name)["DomainDetail"]["Scope"] == "global"


def test_the_reason_for_being_offline_stands_in_the_list(place: Place, call: Caller) -> None:
    name = f"a{secrets.token_hex(4)}.test"
    place.api.do(place.api.services.filings.put(name, "ICP-1", actor=OPERATOR))
    add(call, name, scope="domestic")
    place.api.do(place.api.services.filings.remove(name, actor=OPERATOR))
    place.api.do(place.api.services.domains.check_filings())
    [listed] = call("DescribeLiveUserDomains", DomainName=name)["Domains"]["PageData"]
    assert (listed["LiveDomainStatus"], listed["Description"]) == ("offline", f"There is no ICP filing of {name}.")
    assert refusal(call, "StartLiveDomain", DomainName=name)[:2] == ("Domain.BeianInvalid", 400)


def test_sub_streaming_domains(place: Place, call: Caller) -> None:
    token = secrets.token_hex(4)
    push, main, sub, other = (f"{kind}.a{token}.test" for kind in ("push", "main", "sub", "other"))
    for name in (main, sub, other):
        add(call, name)
    add(call, push, "liveEdge")
    call("AddLiveDomainMapping", PushDomain=push, PullDomain=main)
    call("AddLiveDomainPlayMapping", PlayDomain=sub, PullDomain=main)
    models = call("DescribeLiveDomainMapping", DomainName=main)["LiveDomainModels"]["LiveDomainModel"]
    assert [(model["DomainName"], model["Type"]) for model in models] == [(push, "publish"), (sub, "play")]
    models = call("DescribeLiveDomainMapping", DomainName=sub)["LiveDomainModels"]["LiveDomainModel"]
    assert [(model["DomainName"], model["Type"]) for model in models] == [(main, "vhost")]
    assert refusal(call, "AddLiveDomainPlayMapping", PlayDomain=other, PullDomain=sub)[:2] == ("InvalidParam", 400)
    assert refusal(call, "AddLiveDomainPlayMapping", PlayDomain=sub, PullDomain=other) == (
        "ConfigAlreadyExists",
        400,
        "Config has already exist.",
    )
    entry = place.api.do(place.api.cluster.get(policies.policy_key(sub)))
    assert entry is not None
    assert policies.decode_policy(entry.value).streaming_domain == main
    call("DeleteLiveDomainPlayMapping", PlayDomain=sub, PullDomain=main)
    assert refusal(call, "DeleteLiveDomainPlayMapping", PlayDomain=sub, PullDomain=main)[:2] == ("DomainMapping.NotFound", 404)


def test_limits_are_those_of_main_streaming_domains(place: Place, call: Caller) -> None:
    token = secrets.token_hex(4)
    push, play = f"push.a{token}.test", f"play.a{token}.test"
    add(call, push, "liveEdge")
    add(call, play)
    item = StreamPresence(play, "live", "cam", "s", push, "rtmp://x/live/cam", 1.0, "192.0.2.1", "192.0.2.2", "node", 0)
    place.api.do(place.api.cluster.put(presence.stream_key(play, "live", "cam"), presence.encode(item)))
    [limit] = call("DescribeLiveDomainLimit", DomainName=play)["LiveDomainLimitList"]["LiveDomainLimit"]
    assert limit == {
        "DomainName": play,
        "LimitNum": 1000,
        "CurrentNum": 1,
        "LimitTranscodeNum": 50,
        "CurrentTranscodeNum": 0,
        "LimitTransferNum": 0,
        "CurrentTransferNum": 0,
    }
    assert refusal(call, "DescribeLiveDomainLimit", DomainName=push)[:2] == ("IllegalOperation", 403)
