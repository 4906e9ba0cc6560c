"""Signatures: what both versions accept, and what they refuse with which code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.openapi.envelope import parse
from headwater.openapi.errors import ApiError
from headwater.openapi.signature import (
    TIMESTAMP_WINDOW_S,
    SignedRequest,
    percent_encode,
    read_claim,
    sign_v1,
    sign_v3,
    string_to_sign_v1,
    string_to_sign_v3,
)
from support.api_signer import percent, timestamp, v1_parameters, v3_headers

KEY, SECRET, HOST = "testid", "testsecret", "127.0.0.1:9000"
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
COMMON = {
    "Action",
    "Version",
    "AccessKeyId",
    "Signature",
    "SignatureMethod",
    "SignatureVersion",
    "SignatureNonce",
    "SignatureType",
    "Timestamp",
    "SecurityToken",
    "Format",
}
PARAMETERS = st.dictionaries(NAMES.filter(lambda name: name not in COMMON), VALUES, max_size=6)


def v1_request(parameters: dict[str, str], method: str = "GET") -> SignedRequest:
    return SignedRequest(method, "/", parameters, {}, (("host", HOST),), b"")


def v3_request(
    parameters: dict[str, str] | None = None, body: bytes = b"", extra: dict[str, str] | None = None
) -> SignedRequest:
    headers = v3_headers("StopLiveDomain", parameters or {}, KEY, SECRET, HOST, body=body, extra=extra)
    return SignedRequest("POST", "/", parameters or {}, {}, tuple(headers.items()), body)


def with_header(request: SignedRequest, name: str, value: str | None) -> SignedRequest:
    """The same request with a header replaced after signing, or left out."""
    kept = tuple(item for item in request.headers if item[0] != name)
    return replace(request, headers=kept if value is None else (*kept, (name, value)))


def code_of(request: SignedRequest, secret: str = SECRET) -> str:
    with pytest.raises(ApiError) as caught:
        read_claim(request).verify(secret)
    assert caught.value.status == 400
    return caught.value.code


def test_v1_gives_the_signature_that_the_vendors_documentation_works_out() -> None:
    parameters = {
        "AccessKeyId": "testid",
        "Timestamp": "2016-02-23T12:46:24Z",
        "Format": "XML",
        "Action": "DescribeRegions",
        "SignatureMethod": "HMAC-SHA1",
        "SignatureNonce": "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf",
        "Version": "2014-05-26",
        "SignatureVersion": "1.0",
    }
    assert sign_v1("testsecret", string_to_sign_v1("GET", parameters)) == "OLeaidS1JvxuMvnyHOwuJ+uX5qY="


def test_v3_gives_the_signature_that_the_vendors_documentation_works_out() -> None:
    empty_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    headers = {
        "host": "ecs.cn-shanghai.aliyuncs.com",
        "x-acs-action": "RunInstances",
        "x-acs-content-sha256": empty_sha256,
        "x-acs-date": "2023-10-26T10:22:32Z",
        "x-acs-signature-nonce": "3156853299f313e23d1673dc12e1703d",
        "x-acs-version": "2014-05-26",
    }
    query = {"ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd", "RegionId": "cn-shanghai"}
    request = SignedRequest("POST", "/", query, {}, tuple(headers.items()), b"")
    text = string_to_sign_v3(request, list(headers), empty_sha256)
    assert sign_v3("YourAccessKeySecret", text) == "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"


@given(VALUES)
def test_percent_encoding_is_rfc_3986(text: str) -> None:
    assert percent_encode(text) == percent(text)


def test_the_traps_of_percent_encoding() -> None:
    assert percent_encode("a b*~/+é") == "a%20b%2A~%2F%2B%C3%A9"


@given(PARAMETERS, st.sampled_from(["GET", "POST"]))
def test_v1_takes_what_an_independent_signer_signed(parameters: dict[str, str], method: str) -> None:
    signed = v1_parameters("AddLiveDomain", parameters, KEY, SECRET, method)
    claim = read_claim(v1_request(signed, method))
    claim.verify(SECRET)
    assert (claim.version, claim.access_key_id, claim.nonce) == ("1.0", KEY, signed["SignatureNonce"])


@given(PARAMETERS)
def test_v3_takes_what_an_independent_signer_signed(parameters: dict[str, str]) -> None:
    claim = read_claim(v3_request(parameters))
    claim.verify(SECRET)
    assert (claim.version, claim.access_key_id) == ("3", KEY)


@given(PARAMETERS, st.booleans(), st.booleans())
def test_a_space_may_travel_as_plus_or_as_percent_20(parameters: dict[str, str], plus: bool, in_form: bool) -> None:
    signed = v1_parameters("AddLiveDomain", parameters, KEY, SECRET, "POST")
    wire = "&".join(f"{percent(name)}={percent(value)}" for name, value in signed.items()).encode()
    if plus:
        wire = wire.replace(b"%20", b"+")
    headers = [(b"Host", HOST.encode()), (b"Content-Type", b"application/x-www-form-urlencoded; charset=utf-8")]
    request = parse("POST", "/", b"" if in_form else wire, headers, wire if in_form else b"")
    read_claim(request).verify(SECRET)


@given(PARAMETERS, NAMES, VALUES)
def test_no_parameter_can_be_changed_after_signing(parameters: dict[str, str], name: str, value: str) -> None:
    signed = v1_parameters("AddLiveDomain", parameters, KEY, SECRET)
    if name in COMMON or signed.get(name) == value:
        return
    assert code_of(v1_request({**signed, name: value})) == "SignatureDoesNotMatch"
    v3 = v3_request(parameters)
    assert code_of(replace(v3, query={**v3.query, name: value})) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    "name", ["AccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "SignatureNonce", "Timestamp"]
)
def test_v1_names_the_part_that_is_missing(name: str) -> None:
    signed = v1_parameters("AddLiveDomain", {}, KEY, SECRET)
    del signed[name]
    assert code_of(v1_request(signed)) == f"Missing{name}"


@pytest.mark.parametrize(
    ("common", "code"),
    [
        ({"SignatureMethod": "HMAC-SHA256"}, "InvalidSignatureMethod"),
        ({"SignatureVersion": "2.0"}, "InvalidSignatureVersion"),
        ({"SignatureType": "BEARERTOKEN"}, "InvalidSignatureType"),
        ({"Timestamp": "2024-01-01 00:00:00"}, "InvalidTimeStamp.Format"),
        ({"Timestamp": "2024-02-30T00:00:00Z"}, "InvalidTimeStamp.Format"),
    ],
)
def test_v1_refuses_what_it_does_not_know(common: dict[str, str], code: str) -> None:
    assert code_of(v1_request(v1_parameters("AddLiveDomain", {}, KEY, SECRET, "GET", **common))) == code


def test_the_empty_signature_type_of_the_classic_client_is_signed_and_taken() -> None:
    read_claim(v1_request(v1_parameters("AddLiveDomain", {"SignatureType": ""}, KEY, SECRET))).verify(SECRET)


def test_another_method_than_the_signed_one_does_not_match() -> None:
    signed = v1_parameters("AddLiveDomain", {}, KEY, SECRET, "GET")
    assert code_of(v1_request(signed, "POST")) == "SignatureDoesNotMatch"
    assert code_of(replace(v3_request(), method="GET")) == "SignatureDoesNotMatch"


@pytest.mark.parametrize("request_", [v1_request(v1_parameters("A", {}, KEY, SECRET)), v3_request()], ids=["v1", "v3"])
def test_another_secret_does_not_match(request_: SignedRequest) -> None:
    assert code_of(request_, "other") == "SignatureDoesNotMatch"


@pytest.mark.parametrize("extra", [{}, {"user-agent": "x", "accept": "application/json"}, {"x-acs-meta": "  spaced  "}])
def test_v3_verifies_whatever_list_of_headers_the_client_signed(extra: dict[str, str]) -> None:
    read_claim(v3_request({"DomainName": "a.test"}, extra=extra)).verify(SECRET)


def test_v3_joins_the_sorted_values_of_a_repeated_header() -> None:
    request = v3_request(extra={"x-acs-meta": "a,b"})
    split = with_header(request, "x-acs-meta", "b")
    read_claim(replace(split, headers=(*split.headers, ("x-acs-meta", "a")))).verify(SECRET)


@pytest.mark.parametrize("name", ["host", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce"])
def test_v3_headers_cannot_be_changed_after_signing(name: str) -> None:
    value = timestamp(0) if name == "x-acs-date" else "other"
    assert code_of(with_header(v3_request(), name, value)) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("x-acs-action", "MissingXAcsAction"),
        ("x-acs-date", "MissingXAcsDate"),
        ("x-acs-signature-nonce", "MissingXAcsSignatureNonce"),
        ("x-acs-content-sha256", "MissingXAcsContentSha256"),
        ("host", "MissingHost"),
    ],
)
def test_v3_names_the_header_that_is_missing(name: str, code: str) -> None:
    assert code_of(with_header(v3_request(), name, None)) == code


def test_v3_wants_every_header_that_matters_to_be_signed() -> None:
    request = v3_request()
    authorization = request.header("authorization").replace("x-acs-action;", "")
    assert code_of(with_header(request, "authorization", authorization)) == "IncompleteSignature"


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("ACS3-HMAC-SM3 Credential=a,SignedHeaders=host,Signature=b", "InvalidSignatureMethod"),
        ("ACS3-RSA-SHA256 Credential=a,SignedHeaders=host,Signature=b", "InvalidSignatureMethod"),
        ("ACS3-HMAC-SHA256", "IncompleteSignature"),
        ("ACS3-HMAC-SHA256 Credential=a", "IncompleteSignature"),
        ("ACS3-HMAC-SHA256 Credential=a,Credential=b,SignedHeaders=host,Signature=c", "IncompleteSignature"),
        ("ACS3-HMAC-SHA256 Credential=,SignedHeaders=host,Signature=c", "IncompleteSignature"),
        ("ACS3-HMAC-SHA256 Credential=a,SignedHeaders=HOST;;,Signature=c", "IncompleteSignature"),
        (f"ACS3-HMAC-SHA256 Credential=a,SignedHeaders={';'.join('abc')},Signature=c", "IncompleteSignature"),
    ],
)
def test_v3_refuses_an_authorization_that_it_cannot_read(authorization: str, code: str) -> None:
    assert code_of(with_header(v3_request(), "authorization", authorization)) == code


def test_v3_wants_the_body_that_was_signed() -> None:
    request = v3_request(body=b"DomainName=a.test")
    read_claim(request).verify(SECRET)
    assert code_of(replace(request, body=b"DomainName=b.test")) == "SignatureDoesNotMatch"


def test_v3_signs_the_bytes_of_a_header_whatever_they_are() -> None:
    signed = v3_request(extra={"x-acs-meta": "é"})
    received = with_header(signed, "x-acs-meta", "é".encode().decode("latin-1"))
    read_claim(received).verify(SECRET)


@given(st.text(max_size=30), st.text(max_size=200))
def test_garbage_in_the_authorization_is_an_api_error(algorithm: str, rest: str) -> None:
    request = with_header(v3_request(), "authorization", f"ACS3-{algorithm} {rest}")
    with pytest.raises(ApiError):
        read_claim(request).verify(SECRET)


@pytest.mark.parametrize("offset_s", [0, -TIMESTAMP_WINDOW_S, TIMESTAMP_WINDOW_S])
def test_a_time_stamp_within_the_window_is_taken(offset_s: int) -> None:
    claim = read_claim(v3_request(extra={"x-acs-date": "2026-01-01T00:00:00Z"}))
    claim.check_time(claim.signed_at + offset_s)


@pytest.mark.parametrize("offset_s", [-TIMESTAMP_WINDOW_S - 1, TIMESTAMP_WINDOW_S + 1])
def test_a_time_stamp_outside_the_window_has_expired(offset_s: int) -> None:
    claim = read_claim(v3_request(extra={"x-acs-date": "2026-01-01T00:00:00Z"}))
    with pytest.raises(ApiError, match=r"InvalidTimeStamp\.Expired"):
        claim.check_time(claim.signed_at + offset_s)


def test_neither_secret_nor_signature_shows_in_a_claims_text() -> None:
    claim: Any = read_claim(v3_request())
    assert claim.signature not in repr(claim)
