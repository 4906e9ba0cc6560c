"""The envelope: parameters in, JSON or XML out."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.openapi.envelope import (
    BODY_MAX_BYTES,
    LIST_ITEMS_MAX,
    PARAMETERS_MAX,
    QUERY_MAX_BYTES,
    action_of,
    parameters_of,
    parse,
    render_error,
    render_success,
    response_format,
    unflatten,
)
from headwater.openapi.errors import ApiError, invalid, missing
from headwater.openapi.signature import SignedRequest

FORM = [(b"content-type", b"application/x-www-form-urlencoded")]


def get(query: str, *headers: tuple[bytes, bytes]) -> SignedRequest:
    return parse("GET", "/", query.encode(), headers, b"")


def code_of(call: Any, *arguments: Any) -> tuple[str, int]:
    with pytest.raises(ApiError) as caught:
        call(*arguments)
    return caught.value.code, caught.value.status


def test_query_and_form_are_merged() -> None:
    request = parse("POST", "/", b"A=1&B=&C=x+y", FORM, b"D=%E4%B8%AD&E=%2B")
    assert parameters_of(request) == {"A": "1", "B": "", "C": "x y", "D": "中", "E": "+"}


def test_a_body_of_another_type_is_no_form() -> None:
    request = parse("POST", "/", b"A=1", [(b"Content-Type", b"application/json")], b'{"A": 2}')
    assert parameters_of(request) == {"A": "1"}


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "code"),
    [
        ("PUT", "/", b"", b"", ("UnsupportedHTTPMethod", 400)),
        ("GET", "/x", b"", b"", ("InvalidApi.NotFound", 404)),
        ("GET", "/", b"A=1&A=2", b"", ("InvalidParameter", 400)),
        ("POST", "/", b"A=1", b"A=1", ("InvalidParameter", 400)),
        ("GET", "/", b"A=%ff", b"", ("InvalidParameter", 400)),
        ("GET", "/", b"A=\xff", b"", ("InvalidParameter", 400)),
        ("GET", "/", b"&".join(b"a%d=" % n for n in range(PARAMETERS_MAX + 1)), b"", ("InvalidParameter", 400)),
        ("GET", "/", b"a" * (QUERY_MAX_BYTES + 1), b"", ("RequestTooLarge", 413)),
        ("POST", "/", b"", b"a" * (BODY_MAX_BYTES + 1), ("RequestTooLarge", 413)),
    ],
    ids=range(9),
)
def test_what_cannot_be_a_request_is_refused(method: str, path: str, query: bytes, body: bytes, code: tuple[str, int]) -> None:
    assert code_of(parse, method, path, query, FORM, body) == code


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_are_parameters_or_an_api_error(query: bytes, body: bytes) -> None:
    with suppress(ApiError):
        parse("POST", "/", query, FORM, body)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Format=json", "JSON"),
        ("Format=XML&Signature=x", "XML"),
        ("Format=xml", "XML"),
        ("Signature=x", "XML"),
        ("", "JSON"),
    ],
)
def test_format_is_xml_by_default_for_v1_and_json_for_everybody_else(query: str, expected: str) -> None:
    assert response_format(get(query)) == expected


def test_format_is_json_by_default_for_v3() -> None:
    assert response_format(get("Signature=x", (b"authorization", b"ACS3-HMAC-SHA256 x"))) == "JSON"


def test_no_other_format_is_known() -> None:
    assert code_of(response_format, get("Format=YAML")) == ("InvalidParameter.Format", 400)


def test_the_action_is_the_parameter_with_v1_and_the_signed_header_with_v3() -> None:
    headers = [(b"x-acs-action", b"FromHeader"), (b"x-acs-version", b"2016-11-01")]
    query = "Action=FromQuery&Version=2016-11-01"
    assert action_of(get(query, *headers)) == "FromQuery"
    assert action_of(get(query, *headers, (b"authorization", b"ACS3-HMAC-SHA256 x"))) == "FromHeader"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "MissingAction"),
        ("Action=A", "MissingVersion"),
        ("Action=A&Version=2014-01-01", "NoSuchVersion"),
    ],
)
def test_action_and_version_are_mandatory(query: str, code: str) -> None:
    assert code_of(action_of, get(query)) == (code, 400)


def test_lists_and_maps_are_put_together_again() -> None:
    flat = {"Tag.2.Key": "b", "Tag.1.Key": "a", "Tag.1.Value": "1", "Tag.10.Key": "c", "Id.1": "x", "M.A.B": "y", "S": "z"}
    assert unflatten(flat, "Tag") == [{"Key": "a", "Value": "1"}, {"Key": "b"}, {"Key": "c"}]
    assert unflatten(flat, "Id") == ["x"]
    assert unflatten(flat, "M") == {"A": {"B": "y"}}
    assert unflatten(flat, "S") == "z"
    assert unflatten(flat, "Absent") is None


@pytest.mark.parametrize(
    "flat",
    [
        {"Tag": "x", "Tag.1.Key": "y"},
        {"Tag.1": "x", "Tag.1.Key": "y"},
        {"Tag.1.Key": "y", "Tag.1": "x"},
        {"Tag.0.Key": "y"},
        {"Tag.99999999999999999999.Key": "y"},
        {"Tag" + ".a" * 9: "y"},
        {f"Tag.{n}": "y" for n in range(1, LIST_ITEMS_MAX + 2)},
    ],
    ids=range(7),
)
def test_pieces_that_contradict_each_other_or_are_too_many_are_refused(flat: dict[str, str]) -> None:
    assert code_of(unflatten, flat, "Tag") == ("InvalidTag", 400)


@given(st.dictionaries(st.from_regex(r"T(\.[01a٣-]{0,3}){0,10}", fullmatch=True), st.text(max_size=3), max_size=8))
def test_any_names_make_a_value_or_an_api_error(flat: dict[str, str]) -> None:
    with suppress(ApiError):
        unflatten(flat, "T")


def test_success_in_json_and_xml() -> None:
    fields = {"Domains": {"PageData": [{"DomainName": "a<b"}, {"DomainName": "c"}]}, "Count": 2, "On": True, "Gone": None}
    answer = render_success("DescribeIt", "ID", fields, "JSON")
    assert (answer.status, answer.content_type) == (200, "application/json;charset=utf-8")
    assert json.loads(answer.body) == {"RequestId": "ID", **fields}
    answer = render_success("DescribeIt", "ID", fields, "XML")
    assert answer.content_type == "text/xml;charset=utf-8"
    root = ElementTree.fromstring(answer.body)
    assert root.tag == "DescribeItResponse"
    assert [item.findtext("DomainName") for item in root.findall("Domains/PageData")] == ["a<b", "c"]
    assert (root.findtext("Count"), root.findtext("On"), root.find("Gone")) == ("2", "true", None)


def test_an_error_has_all_five_fields_in_both_formats() -> None:
    names = ["RequestId", "HostId", "Code", "Message", "Recommend"]
    answer = render_error(invalid("Tag"), "ID", "host:1", "JSON")
    assert (answer.status, list(json.loads(answer.body))) == (400, names)
    answer = render_error(invalid("Tag"), "ID", "host:1", "XML")
    root = ElementTree.fromstring(answer.body)
    assert (answer.content_type, root.tag, [child.tag for child in root]) == ("text/xml;charset=utf-8", "Error", names)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_makes_well_formed_xml(text: str) -> None:
    answer = render_error(ApiError("Code", 400, text), "ID", text, "XML")
    assert ElementTree.fromstring(answer.body).tag == "Error"


def test_codes_name_the_parameter() -> None:
    assert missing("DomainName").code == "MissingDomainName"
    assert missing("DomainName").message == "DomainName is mandatory for this action."
    assert invalid("Region").message == "Specified parameter Region is not valid."
