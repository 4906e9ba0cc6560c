"""Promises of URL signing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.access.signing import check, sign, sign_url

KEY = "aliyunliveexp1234"
TIMESTAMP = 1622194197
WORKED = {  # reference media-plane 1.5
    "/video/standard": "5552ff52b5e4e20387c6dc18afce206b",
    "/video/standard.flv": "9fad133cb7fd0072f7b7b508e64c1883",
    "/video/standard.m3u8": "c427d71de1a49a41b3699a11162020aa",
    "/video/standard_lld": "164d00ae32768c17c2a8a23d2d9028be",
    "/video/standard_lld.flv": "b23cb4aa7c1953bb7fc1c5535c9c39a1",
    "/video/standard_lld.m3u8": "a76484e890f047cbd1f568046c130361",
    "/video/standard-alidelay.flv": "505d8623957e1c7ab8ef21f16c17def4",
    "/video/standard-llhls.m3u8": "693a0e3f342f034c8e443358267c92c2",
    "/openapi/timeline/query": "0d99a8ce578cf8899be31535fb9c797c",
}


@pytest.mark.parametrize(("uri", "digest"), WORKED.items())
def test_signs_as_the_service_does(uri: str, digest: str) -> None:
    token = f"{TIMESTAMP}-0-0-{digest}"
    assert sign(uri, TIMESTAMP, KEY) == token
    assert check(uri, token, [KEY], 1800, TIMESTAMP) is None


def test_a_token_lives_until_its_timestamp_plus_the_validity() -> None:
    token = sign("/a/b", TIMESTAMP, KEY)
    assert check("/a/b", token, [KEY], 60, TIMESTAMP + 60) is None
    fault = check("/a/b", token, [KEY], 60, TIMESTAMP + 60.5)
    assert fault is not None
    assert fault.reason == "signature_expired"
    assert fault.text == f"denied by req auth: expired timestamp={TIMESTAMP}"
    assert check("/a/b", token, [KEY], 60, TIMESTAMP + 1e6, ignore_expiry=True) is None


def test_primary_and_secondary_key_are_equally_good() -> None:
    assert check("/a/b", sign("/a/b", TIMESTAMP, "second-key-of-16"), [KEY, "second-key-of-16"], 60, TIMESTAMP) is None


def test_a_wrong_key_is_named_with_its_hash() -> None:
    token = sign("/a/b", TIMESTAMP, "some-other-key-16")
    fault = check("/a/b", token, [KEY], 60, TIMESTAMP)
    assert fault is not None
    assert fault.reason == "signature_invalid"
    assert fault.text == f"denied by req auth: invalid md5hash={token[-32:]}"


def test_a_signature_for_one_path_opens_no_other() -> None:
    fault = check("/a/c", sign("/a/b", TIMESTAMP, KEY), [KEY], 60, TIMESTAMP)
    assert fault is not None
    assert fault.reason == "signature_invalid"


def test_without_any_key_nothing_is_valid() -> None:
    fault = check("/a/b", sign("/a/b", TIMESTAMP, ""), [], 60, TIMESTAMP)
    assert fault is not None
    assert fault.reason == "signature_invalid"


@pytest.mark.parametrize("token", [None, ""])
def test_a_missing_token_is_called_missing(token: str | None) -> None:
    fault = check("/a/b", token, [KEY], 60, TIMESTAMP)
    assert fault is not None
    assert fault.reason == "signature_missing"


@given(st.text(max_size=200))
def test_any_text_is_refused_without_an_error_and_never_echoed_raw(token: str) -> None:
    fault = check("/a/b", token, [KEY], 60, TIMESTAMP)
    assert fault is not None
    assert fault.text.isascii()
    assert fault.text.isprintable()


@given(st.data())
def test_no_changed_character_goes_unnoticed(data: st.DataObject) -> None:
    token = sign("/a/b", TIMESTAMP, KEY, rand="f00d", uid="7")
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(exclude_characters=token[at]))
    assert check("/a/b", token[:at] + other + token[at + 1 :], [KEY], 10**9, TIMESTAMP) is not None


@pytest.mark.parametrize("scheme", ["rtmp", "rtmps", "http", "https", "ws", "wss"])
def test_a_signed_url_keeps_its_other_parameters(scheme: str) -> None:
    url = f"{scheme}://play.example.com:8080/video/standard.flv?vhost=a%20b&auth_key=old&x"
    signed = sign_url(url, KEY, TIMESTAMP)
    token = f"{TIMESTAMP}-0-0-{WORKED['/video/standard.flv']}"
    assert signed == f"{scheme}://play.example.com:8080/video/standard.flv?vhost=a%20b&x&auth_key={token}"
    assert sign_url(signed, KEY, TIMESTAMP) == signed


@pytest.mark.parametrize("url", ["", "/video/standard", "rtmp:///a/b", "http://host", "http://host/", "ftp://host/a"])
def test_what_is_no_stream_url_is_not_signed(url: str) -> None:
    with pytest.raises(ValueError, match="expected a complete"):
        sign_url(url, KEY, TIMESTAMP)
