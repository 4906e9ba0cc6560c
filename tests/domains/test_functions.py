"""Promises about domain functions."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.access.policy import Session, Signing
from headwater.domains import functions
from headwater.domains.errors import DomainError
from headwater.domains.functions import Args, FunctionSetting

KEY = "aliyunliveexp1234"


def wire(*settings: tuple[str, dict[str, object]], **more: object) -> str:
    return json.dumps(
        [
            {"functionName": name, "functionArgs": [{"argName": n, "argValue": v} for n, v in args.items()], **more}
            for name, args in settings
        ]
    )


def code(text: str) -> str:
    with pytest.raises(DomainError) as refused:
        functions.parse(text)
    return refused.value.code


def test_reads_the_json_of_the_service() -> None:
    text = wire(("set_req_host_header", {"domain_name": "x", "n": 1, "f": 1.5, "b": True, "none": None}), configId=12)
    args = (("domain_name", "x"), ("n", "1"), ("f", "1.5"), ("b", "true"), ("none", ""))
    assert functions.parse(text) == [FunctionSetting("set_req_host_header", args, 12)]
    assert functions.parse(wire(("a", {}), configId="7")) == [FunctionSetting("a", (), 7)]
    assert functions.parse(wire(("a", {}), configId="")) == [FunctionSetting("a", ())]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "[1]",
        '[{"functionArgs":[]}]',
        '[{"functionName":"a b"}]',
        '[{"functionName":"a","functionArgs":[{"argName":"","argValue":"x"}]}]',
        '[{"functionName":"a","functionArgs":[{"argName":"x","argValue":{}}]}]',
        '[{"functionName":"a","configId":"x"}]',
        '[{"functionName":"a","configId":-1}]',
        '[{"functionName":"a","configId":' + "9" * 5000 + "}]",
        "[" * 5000,
        '"\ud800"',
        " " * functions.TEXT_MAX + "[]",
        json.dumps([{"functionName": "a"}] * (functions.FUNCTIONS_MAX + 1)),
    ],
)
def test_malformed_json_is_refused(text: str) -> None:
    assert code(text) == "InvalidFunctions.Malformed"


@given(st.text(max_size=50))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        functions.parse(text)
    except DomainError as refused:
        assert refused.code == "InvalidFunctions.Malformed"


@given(st.lists(st.tuples(st.text(), st.text())))
def test_arguments_are_stored_word_for_word(pairs: list[tuple[str, str]]) -> None:
    args: Args = tuple(pairs)
    assert functions.decode_args(functions.encode_args(args)) == args


def test_aliauth_becomes_signing() -> None:
    args = (("auth_type", "type_a"), ("auth_key1", KEY), ("auth_key2", KEY[::-1]), ("ali_auth_delta", "60"))
    assert functions.signing(args) == Signing(keys=(KEY, KEY[::-1]), validity_s=60)
    assert functions.signing((("auth_type", "req_auth"), ("auth_key1", KEY), ("auth_key2", ""))) == Signing(keys=(KEY,))
    assert functions.signing((("auth_type", "no_auth"),)).enabled is False


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"auth_type": "type_b", "auth_key1": KEY},
        {"auth_type": "type_a"},
        {"auth_type": "type_a", "auth_key2": KEY},
        {"auth_type": "type_a", "auth_key1": "x" * 15},
        {"auth_type": "type_a", "auth_key1": "x" * 33},
        {"auth_type": "type_a", "auth_key1": "x" * 15 + "\n"},
        {"auth_type": "type_a", "auth_key1": "x" * 15 + "é"},
        {"auth_type": "type_a", "auth_key1": KEY, "auth_key2": "short"},
        {"auth_type": "type_a", "auth_key1": KEY, "ali_auth_delta": "59"},
        {"auth_type": "type_a", "auth_key1": KEY, "ali_auth_delta": "1e9"},
        {"auth_type": "type_a", "auth_key1": KEY, "ali_auth_delta": "9" * 12},
    ],
)
def test_an_aliauth_that_cannot_be_enforced_is_refused(args: dict[str, str]) -> None:
    with pytest.raises(DomainError) as refused:
        functions.check(FunctionSetting("aliauth", tuple(args.items())), "liveEdge")
    assert refused.value.code == "InvalidArgValue.Malformed"


def test_headwater_live_becomes_the_session_rules() -> None:
    args = (("on_conflict", "takeover"), ("reconnect_window", "0"), ("flush", "realtime"), ("viewer_lag", "60"))
    assert functions.session((*args, ("viewer_lag_bytes", "65536"))) == Session("takeover", 0, "realtime", 60, 65536)
    assert functions.session(()) == Session()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("on_conflict", "maybe"),
        ("reconnect_window", "1801"),
        ("reconnect_window", "-1"),
        ("flush", ""),
        ("viewer_lag", "0"),
        ("viewer_lag", "61"),
        ("viewer_lag_bytes", "65535"),
        ("viewer_lag_bytes", str(1024**3 + 1)),
        ("viewer_lag_bytes", "16M"),
        ("colour", "blue"),
    ],
)
def test_a_headwater_live_that_cannot_be_enforced_is_refused(name: str, value: str) -> None:
    with pytest.raises(DomainError) as refused:
        functions.check(FunctionSetting("headwater_live", ((name, value),)), "liveVideo")
    assert refused.value.code == "InvalidArgValue.Malformed"
    assert name in refused.value.message


def test_headwater_live_belongs_on_streaming_domains() -> None:
    with pytest.raises(DomainError) as refused:
        functions.check(FunctionSetting("headwater_live", ()), "liveEdge")
    assert (refused.value.code, refused.value.status) == ("IllegalOperation", 403)


def test_every_new_domain_gets_another_key() -> None:
    one, other = (functions.signing(functions.new_signing().args) for _ in range(2))
    assert one.enabled
    assert one.validity_s == 1800
    assert len(one.keys[0]) == 32
    assert one.keys != other.keys
