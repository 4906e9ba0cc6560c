"""What is wrong with a value is said in words that need no knowledge of Python."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from headwater.wording import sentence


class Format(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    """An item of a list that somebody sends."""

    name: str
    cycle: int | None = None
    tags: list[str] = []


class Outer(msgspec.Struct):
    """Something with a list inside."""

    formats: list[Format] = []
    inner: dict[str, int] = {}


Small = Annotated[int, msgspec.Meta(ge=1, le=5)]
Few = Annotated[list[int], msgspec.Meta(min_length=1, max_length=2)]
Short = Annotated[str, msgspec.Meta(max_length=3)]
Letters = Annotated[str, msgspec.Meta(pattern="^[a-z]+$")]
Share = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]

SAID: list[tuple[Any, str | bytes, str]] = [
    (int, '"x"', "It must be a whole number, not text."),
    (int | None, "true", "It must be a whole number, not true or false."),
    (bool, "1", "It must be true or false, not a whole number."),
    (str | int, "null", "It must be a whole number or text, not null."),
    (Small, "0", "It must be at least 1."),
    (Small, "6", "It must be at most 5."),
    (Share, "0", "It must be more than 0.0."),
    (Few, "[]", "It must have at least 1 item."),
    (Few, "[1,2,3]", "It must have at most 2 items."),
    (Short, '"long"', "It must have at most 3 characters."),
    (Letters, '"A"', "It must be text of the form ^[a-z]+$."),
    (Literal["a", "b"], '"c"', "It is 'c', which is none of the values that are allowed."),
    (list[Format], "{}", "It must be a list, not an object with named fields."),
    (Format, '{"Name": 1}', "Name must be text, not a whole number."),
    (Format, '{"Cycle": 1}', "In it, the field Name is missing."),
    (Format, '{"Name": "a", "Colour": 1}', "In it, there is no field Colour."),
    (list[Format], '[{"Name": "a"}, {"Name": "b", "Cycle": "x"}]', "Cycle of item 2 must be a whole number, not text."),
    (list[Format], "[{}]", "In item 1, the field Name is missing."),
    (
        Outer,
        '{"formats": [{"Name": "", "Tags": ["", 1]}]}',
        "Item 2 of Tags of item 1 of formats must be text, not a whole number.",
    ),
    (Outer, '{"inner": {"a": "b"}}', "One item of inner must be a whole number, not text."),
    (int, "{", "It must be a whole number, not an object with named fields."),
    (Outer, "{", "It is not valid JSON: it ends too early."),
    (Outer, "{}}", "It is not valid JSON: trailing characters (byte 3)."),
    (Outer, "[" * 100_000, "It must be an object with named fields, not a list."),
    (Any, "[" * 100_000, "It is nested too deeply."),
    (Any, b'"\xff"', "It is not valid UTF-8."),
]


@pytest.mark.parametrize(("type_", "sent", "said"), SAID, ids=[said[:40] for _, _, said in SAID])
def test_a_fault_is_told_in_a_sentence(type_: Any, sent: str | bytes, said: str) -> None:
    with pytest.raises((msgspec.MsgspecError, RecursionError, UnicodeError)) as fault:
        msgspec.json.decode(sent, type=type_)
    assert sentence(fault.value) == said


def test_of_values_that_are_always_text_it_is_not_said_that_they_are() -> None:
    with pytest.raises(msgspec.ValidationError) as fault:
        msgspec.convert("1.5", int | None, strict=False)
    assert sentence(fault.value, always_text=True) == "It must be a whole number."
    with pytest.raises(msgspec.ValidationError) as fault:
        msgspec.convert("x", list[int], strict=False)
    assert sentence(fault.value, always_text=True) == "It must be a list, not text."


@pytest.mark.parametrize(
    ("type_", "said"),
    [
        (Literal[0], "It must be 0."),
        (Literal["yes", "no"], "It must be yes or no."),
        (Annotated[Literal["a", "b", "c"], msgspec.Meta(description="")] | None, "It must be a, b or c."),
    ],
)
def test_of_a_few_values_all_are_named(type_: Any, said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as fault:
        msgspec.convert("7", type_, strict=False)
    assert sentence(fault.value, type_) == said
