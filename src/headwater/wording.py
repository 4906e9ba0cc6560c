"""Says in plain words what msgspec found wrong with a value that somebody has sent."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

NAMES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "array": "a list",
    "object": "an object with named fields",
    "null": "null",
    "datetime": "a time",
    "date": "a date",
    "bytes": "Base64 text",
}
"""What people call the types that msgspec's messages name."""

UNITS = {"str": "character", "array": "item", "object": "field", "bytes": "byte"}

BOUNDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}

_PLACE = re.compile(r"(?P<fault>.*?) - at `(?P<key>key in )?\$(?P<path>.*)`", re.DOTALL)
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+|\.\.\.)\]")
_TYPE = re.compile(r"Expected `(?P<wanted>[^`]+)`(?:, got `(?P<got>[^`]+)`)?")
_LENGTH = re.compile(r"Expected `(?P<of>\w+)` of length (?P<bound>[<>]=) (?P<most>\d+)")
_RANGE = re.compile(r"Expected `(?:int|float)` (?P<bound>[<>]=?) (?P<value>\S+)")
_REGEX = re.compile(r"Expected `str` matching regex '?(?P<regex>.*?)'?", re.DOTALL)
_CHOICE = re.compile(r"Invalid (?:enum )?value (?P<value>.*)", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`")
_NO_JSON = re.compile(r"JSON is malformed: (?P<why>.*)")


def sentence(fault: Exception, wanted: Any = None, *, always_text: bool = False) -> str:
    """What is wrong, as a sentence. fault: what a decoder of msgspec has raised. wanted: the type that was to be decoded.

    always_text: the value came as text whatever it means, as parameters in a URL do, so that this is not what is wrong with it.
    """
    if isinstance(fault, UnicodeError):
        return "It is not valid UTF-8."
    if isinstance(fault, RecursionError):
        return "It is nested too deeply."
    text, subject = str(fault), "It"
    if _CHOICE.fullmatch(text) and (allowed := _allowed(wanted)) and " - at `" not in text:
        return f"It must be {' or '.join(filter(None, (', '.join(allowed[:-1]), allowed[-1])))}."
    if found := _PLACE.fullmatch(text):
        text = found["fault"]
        place = _place(found["path"])
        subject = f"A name in {place or 'it'}" if found["key"] else place or subject
    said = _said(text, subject, always_text)
    return f"{said[0].upper() if said.startswith(('item ', 'one item ')) else said[0]}{said[1:]}."


def _said(text: str, subject: str, always_text: bool) -> str:
    if found := _RANGE.fullmatch(text):
        return f"{subject} must be {BOUNDS[found['bound']]} {found['value']}"
    if found := _LENGTH.fullmatch(text):
        plural = "" if found["most"] == "1" else "s"
        return f"{subject} must have {BOUNDS[found['bound']]} {found['most']} {UNITS[found['of']]}{plural}"
    if found := _REGEX.fullmatch(text):
        return f"{subject} must be text of the form {found['regex']}"
    if found := _TYPE.fullmatch(text):
        wanted = [name for name in found["wanted"].split(" | ") if name != "null"] or ["null"]
        said = f"{subject} must be {' or '.join(NAMES.get(name, name) for name in wanted)}"
        got = found["got"]
        if got is None or (always_text and got == "str" and not {"array", "object"} & set(wanted)):
            return said
        return f"{said}, not {NAMES.get(got, got)}"
    if found := _CHOICE.fullmatch(text):
        return f"{subject} is {found['value']}, which is none of the values that are allowed"
    if found := _MISSING.fullmatch(text):
        return f"{_inside(subject)} the field {found['name']} is missing"
    if found := _UNKNOWN.fullmatch(text):
        return f"{_inside(subject)} there is no field {found['name']}"
    if found := _NO_JSON.fullmatch(text):
        return f"It is not valid JSON: {found['why']}"
    if text == "Input data was truncated":
        return "It is not valid JSON: it ends too early"
    return text if subject == "It" else f"{subject}: {text}"


def _allowed(wanted: Any) -> list[str]:
    """The values that a type has, if it can be only some."""
    if get_origin(wanted) is Literal:
        return [str(value) for value in get_args(wanted) if value != ""]
    return [value for part in get_args(wanted) for value in _allowed(part)]


def _inside(subject: str) -> str:
    return "In it," if subject == "It" else f"In {subject},"


def _place(path: str) -> str:
    """`[0].args[1].name` is the `name of item 2 of args of item 1`."""
    parts: list[str] = []
    for step in _STEP.finditer(path):
        if step["index"] is None:
            named = bool(parts) and not parts[-1].startswith(("item ", "one item"))
            parts[-1:] = [f"{parts[-1]}.{step['name']}"] if named else [*parts[-1:], step["name"]]
        else:
            parts.append("one item" if step["index"] == "..." else f"item {int(step['index']) + 1}")
    return " of ".join(reversed(parts))
