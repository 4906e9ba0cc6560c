"""Typed requests: text becomes numbers, booleans, choices and lists, or an error that names the parameter."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.openapi.errors import ApiError
from headwater.openapi.schema import PageNumber, Request, Tag, read_request


class Sample(Request):
    domain_name: str
    page_number: PageNumber = 1
    dry_run: bool = False
    mode: Literal["a", "b"] | None = None
    tag: tuple[Tag, ...] = ()
    resource_id: tuple[str, ...] = ()


NEEDED = {"DomainName": "x.test"}


def code_of(parameters: dict[str, str]) -> str:
    with pytest.raises(ApiError) as caught:
        read_request(Sample, parameters)
    assert caught.value.status == 400
    return caught.value.code


def test_text_becomes_what_the_field_says() -> None:
    flat = {"PageNumber": "7", "DryRun": "True", "Mode": "b", "Tag.1.Key": "k", "Tag.2.Key": "l", "Tag.2.Value": "v"}
    request = read_request(Sample, {**NEEDED, **flat, "ResourceId.1": "r", "Unknown": "ignored"})
    assert (request.domain_name, request.page_number, request.dry_run, request.mode) == ("x.test", 7, True, "b")
    assert (request.tag, request.resource_id) == ((Tag("k"), Tag("l", "v")), ("r",))


@pytest.mark.parametrize(("text", "value"), [("true", True), ("TRUE", True), ("False", False), ("false", False)])
def test_booleans_come_in_any_case(text: str, value: bool) -> None:
    assert read_request(Sample, {**NEEDED, "DryRun": text}).dry_run is value


def test_an_empty_parameter_is_absent() -> None:
    request = read_request(Sample, {**NEEDED, "PageNumber": "", "DryRun": "", "Mode": ""})
    assert (request.page_number, request.dry_run, request.mode) == (1, False, None)
    assert code_of({}) == code_of({"DomainName": ""}) == "MissingDomainName"


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"PageNumber": "x"}, "InvalidPageNumber"),
        ({"PageNumber": "0"}, "InvalidPageNumber"),
        ({"PageNumber": "100001"}, "InvalidPageNumber"),
        ({"PageNumber": "9" * 5000}, "InvalidPageNumber"),
        ({"PageNumber": "1.5"}, "InvalidPageNumber"),
        ({"PageNumber": "nan"}, "InvalidPageNumber"),
        ({"PageNumber.1": "1"}, "InvalidPageNumber"),
        ({"DryRun": "maybe"}, "InvalidDryRun"),
        ({"Mode": "c"}, "InvalidMode"),
        ({"Tag": "x"}, "InvalidTag"),
        ({"Tag.1": "x"}, "InvalidTag"),
        ({"Tag.1.Value": "x"}, "InvalidTag"),
        ({"Tag.Key": "x"}, "InvalidTag"),
        ({"ResourceId.1.A": "x"}, "InvalidResourceId"),
    ],
    ids=range(14),
)
def test_what_does_not_fit_names_the_parameter(parameters: dict[str, str], code: str) -> None:
    assert code_of({**NEEDED, **parameters}) == code


FIELDS = st.sampled_from(["PageNumber", "DryRun", "Mode", "Tag", "Tag.1", "Tag.1.Key", "Tag.2", "ResourceId.1"])


@given(st.dictionaries(FIELDS, st.text() | st.sampled_from(["1", "1e5", "1e999", "-0", "null", "NaN", "true"])))
def test_anything_is_a_request_or_an_api_error(parameters: dict[str, str]) -> None:
    try:
        request = read_request(Sample, {**NEEDED, **parameters})
    except ApiError:
        return
    assert type(request.page_number) is int
    assert type(request.dry_run) is bool
    assert all(type(tag.key) is str for tag in request.tag)
