"""Promises of the verdict: one test for every reason to refuse."""

from __future__ import annotations

import msgspec
import pytest

from headwater.access import verdict
from headwater.access.client import Client
from headwater.access.policy import Ban, Policy, Signing, encode
from headwater.access.signing import sign
from headwater.access.verdict import Grant, Reason, Refusal, Rules, refuse

NOW = 1_700_000_000.0
VIEWER = Client("192.0.2.1", "flv")
ENCODER = Client("192.0.2.1", "rtmp")
PUSH_KEY = "push-key-of-16-ch"
PLAY_KEY = "play-key-of-16-ch"
PUSH = Policy(
    domain="push.example.com",
    account="1",
    type="liveEdge",
    status="online",
    region="eu-central-1",
    streaming_domain="play.example.com",
    signing=Signing(keys=(PUSH_KEY,)),
)
PLAY = Policy(
    domain="play.example.com",
    account="1",
    type="liveVideo",
    status="online",
    region="eu-central-1",
    streaming_domain="play.example.com",
    signing=Signing(keys=(PLAY_KEY,)),
)


@pytest.fixture
def rules() -> Rules:
    rules = Rules()
    rules.set_policy(PUSH)
    rules.set_policy(PLAY)
    return rules


def push(
    rules: Rules, domain: str = PUSH.domain, app: str = "live", stream: str = "a", token: str | None = "good"
) -> Grant | Refusal:
    uri = f"/{app}/{stream}"
    return rules.admit_publish(
        domain, app, stream, uri, sign(uri, int(NOW), PUSH_KEY) if token == "good" else token, ENCODER, NOW
    )


def play(rules: Rules, domain: str = PLAY.domain, app: str = "live", stream: str = "a", key: str = PLAY_KEY) -> Grant | Refusal:
    uri = f"/{app}/{stream}.flv"
    return rules.admit_play(domain, app, stream, uri, sign(uri, int(NOW), key), VIEWER, NOW)


def reason(verdict: Grant | Refusal) -> Reason:
    assert isinstance(verdict, Refusal)
    assert verdict == refuse(verdict.reason, verdict.text)
    return verdict.reason


def test_a_signed_push_is_admitted_to_the_bound_streaming_domain(rules: Rules) -> None:
    assert push(rules) == Grant(PUSH, PLAY, PLAY.domain, "live", "a")


def test_a_signed_play_is_admitted(rules: Rules) -> None:
    assert play(rules) == Grant(PLAY, PLAY, PLAY.domain, "live", "a")


def test_unknown_domain(rules: Rules) -> None:
    assert reason(push(rules, domain="other.example.com")) == "unknown_domain"
    assert reason(play(rules, domain="")) == "unknown_domain"
    rules.remove_policy(PUSH.domain)
    assert reason(push(rules)) == "unknown_domain"


def test_wrong_type(rules: Rules) -> None:
    assert reason(push(rules, domain=PLAY.domain)) == "wrong_type"
    assert reason(play(rules, domain=PUSH.domain)) == "wrong_type"


def test_a_stopped_domain_refuses(rules: Rules) -> None:
    rules.set_policy(msgspec.structs.replace(PUSH, status="offline"))
    assert reason(push(rules)) == "domain_offline"
    assert isinstance(play(rules), Grant)


def test_a_stopped_streaming_domain_refuses_pushes_through_its_ingest_domains(rules: Rules) -> None:
    rules.set_policy(msgspec.structs.replace(PLAY, status="offline"))
    assert reason(push(rules)) == "domain_offline"
    assert reason(play(rules)) == "domain_offline"


def test_an_unbound_ingest_domain_refuses(rules: Rules) -> None:
    rules.set_policy(msgspec.structs.replace(PUSH, streaming_domain=None))
    assert reason(push(rules)) == "not_bound"


def test_an_ingest_domain_whose_streaming_domain_is_gone_refuses(rules: Rules) -> None:
    rules.remove_policy(PLAY.domain)
    assert reason(push(rules)) == "not_bound"


@pytest.mark.parametrize(("app", "stream"), [("-live", "a"), ("live", ".."), ("", "a"), ("live", "x" * 256)])
def test_bad_name(rules: Rules, app: str, stream: str) -> None:
    assert reason(push(rules, app=app, stream=stream)) == "bad_name"
    assert reason(play(rules, app=app, stream=stream)) == "bad_name"


def test_signature_missing_malformed_invalid_and_expired(rules: Rules) -> None:
    assert reason(push(rules, token=None)) == "signature_missing"
    assert reason(push(rules, token="x")) == "signature_malformed"
    assert reason(push(rules, token=sign("/live/a", int(NOW), PLAY_KEY))) == "signature_invalid"
    old = sign("/live/a", int(NOW) - 1801, PUSH_KEY)
    assert reason(push(rules, token=old)) == "signature_expired"
    assert isinstance(rules.admit_publish(PUSH.domain, "live", "a", "/live/a", old, ENCODER, NOW, ignore_expiry=True), Grant)


def test_the_header_text_is_the_services_own(rules: Rules) -> None:
    verdict = push(rules, token=f"{int(NOW)}-0-0-{'0' * 32}")
    assert verdict == Refusal("signature_invalid", 403, f"denied by req auth: invalid md5hash={'0' * 32}")


def test_without_signing_no_token_is_asked_for(rules: Rules) -> None:
    rules.set_policy(msgspec.structs.replace(PUSH, signing=Signing(enabled=False)))
    assert isinstance(push(rules, token=None), Grant)


def test_a_forbidden_stream_is_refused_until_its_ban_ends(rules: Rules) -> None:
    rules.set_ban(Ban(PLAY.domain, "live", "a", NOW + 1))
    assert reason(push(rules)) == "forbidden"
    assert reason(play(rules)) == "forbidden"
    assert isinstance(push(rules, stream="b"), Grant)
    rules.set_ban(Ban(PLAY.domain, "live", "a", NOW - 1))
    assert isinstance(push(rules), Grant)


def test_a_resumed_stream_is_admitted(rules: Rules) -> None:
    rules.set_ban(Ban(PLAY.domain, "live", "a", NOW + 1))
    rules.remove_ban(PLAY.domain, "live", "a")
    assert isinstance(push(rules), Grant)


def test_a_ban_is_not_told_to_whoever_has_no_key(rules: Rules) -> None:
    rules.set_ban(Ban(PLAY.domain, "live", "a", NOW + 1))
    assert reason(push(rules, token=None)) == "signature_missing"


def test_a_sub_streaming_domain_plays_the_streams_of_its_main_domain(rules: Rules) -> None:
    sub = msgspec.structs.replace(PLAY, domain="sub.example.com", signing=Signing(keys=("sub-key-of-16-chr",)))
    rules.set_policy(sub)
    assert play(rules, domain=sub.domain, key="sub-key-of-16-chr") == Grant(sub, PLAY, PLAY.domain, "live", "a")
    rules.set_ban(Ban(PLAY.domain, "live", "a", NOW + 1))
    assert reason(play(rules, domain=sub.domain, key="sub-key-of-16-chr")) == "forbidden"


@pytest.mark.parametrize(("reason", "status"), [("not_found", 404), ("busy", 409), ("overload", 503)])
def test_what_media_nodes_find_themselves_has_a_refusal_too(reason: Reason, status: int) -> None:
    assert refuse(reason).http_status == status


def test_a_name_with_a_leading_dot_stands_for_every_subdomain(rules: Rules) -> None:
    dotted = msgspec.structs.replace(PLAY, domain=".example.com", streaming_domain=".example.com")
    rules.set_policy(dotted)
    for name in ("a.example.com", "b.a.example.com"):
        assert play(rules, domain=name) == Grant(dotted, dotted, ".example.com", "live", "a")
    assert play(rules) == Grant(PLAY, PLAY, PLAY.domain, "live", "a"), "a name of its own comes first"
    nearer = msgspec.structs.replace(PLAY, domain=".a.example.com", streaming_domain=".a.example.com")
    rules.set_policy(nearer)
    assert play(rules, domain="b.a.example.com") == Grant(nearer, nearer, ".a.example.com", "live", "a")
    for name in ("example.com", "notexample.com", "a." * 200 + "example.com", ""):
        assert reason(play(rules, domain=name)) == "unknown_domain"
    rules.remove_policy(".example.com")
    assert reason(play(rules, domain="c.example.com")) == "unknown_domain"


def test_only_so_many_policies_are_kept_ready_and_all_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "DECODED_MAX", 2)
    rules = Rules()
    policies = [Policy(f"{n}.test", "1", "liveVideo", "online", "r", streaming_domain=f"{n}.test") for n in range(5)]
    for policy in policies:
        rules.set_policy(policy)
    for _ in range(2):
        assert [rules.policy(policy.domain) for policy in policies] == policies
    assert not rules.set_encoded("1.test", encode(policies[1]))
    assert rules.set_encoded("1.test", encode(policies[1]).replace(b"online", b"offline"))
    changed = rules.policy("1.test")
    assert changed is not None
    assert changed.status == "offline"


def test_a_node_serves_no_domain_of_another_edge_group() -> None:
    abroad = Rules(edge_group="overseas")
    for policy in (PUSH, PLAY):  # of the scope `domestic`
        abroad.set_policy(policy)
    assert reason(push(abroad)) == "edge_group"
    assert reason(play(abroad)) == "edge_group"
    abroad.set_policy(msgspec.structs.replace(PLAY, scope="global"))
    assert isinstance(play(abroad), Grant)
