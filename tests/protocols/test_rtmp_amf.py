"""AMF: every type of AMF0 both ways, every type of AMF3 as the specification writes it, and bounds for the hostile."""

from __future__ import annotations

import contextlib
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.protocols.rtmp import amf
from headwater.protocols.rtmp.amf import UNDEFINED, AmfError, Date, EcmaArray, TypedObject, Xml, decode, decode3, encode

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SCALARS = (
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | TEXT
    | TEXT.map(Xml)
    | st.just(UNDEFINED)
    | st.builds(Date, st.floats(allow_nan=False), st.integers(-720, 720))
    | st.binary(max_size=20)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXT, inner, max_size=4)
        | st.dictionaries(TEXT, inner, max_size=4).map(EcmaArray)
        | st.builds(TypedObject, TEXT, st.dictionaries(TEXT, inner, max_size=4))
    ),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Equal in type too: an ECMA array is not an object, and XML no string."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        if isinstance(one, TypedObject) and one.class_name != other.class_name:
            return False
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@given(st.lists(VALUES, max_size=4))
def test_amf0_gives_back_what_was_written(values: list[Any]) -> None:
    assert same(decode(encode(*values)), values)


@given(st.lists(VALUES, max_size=3), st.data())
def test_cut_or_changed_amf0_raises_amf_errors_and_nothing_else(values: list[Any], data: st.DataObject) -> None:
    raw = bytearray(encode(*values))
    for _ in range(data.draw(st.integers(0, 3))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(AmfError):
        decode(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


@given(st.binary(max_size=100))
def test_noise_raises_amf_errors_and_nothing_else(noise: bytes) -> None:
    for read in (decode, decode3):
        with contextlib.suppress(AmfError):
            read(noise)


AMF0: dict[str, tuple[str, Any]] = {
    "number": ("00 4059000000000000", 100.0),
    "boolean": ("01 01", True),
    "a boolean of 7": ("01 07", True),
    "string": ("02 0003 e4bda0", "你"),
    "a string that is GBK": ("02 0002 c4e3", "\ufffd\ufffd"),
    "object": ("03 0001 61 05 000009", {"a": None}),
    "undefined": ("06", UNDEFINED),
    "unsupported": ("0d", UNDEFINED),
    "ECMA array with a wrong count": ("08 ffffffff 0001 61 0101 000009", EcmaArray(a=True)),
    "an empty property name": ("03 0000 0101 000009", {"": True}),
    "strict array": ("0a 00000002 05 06", [None, UNDEFINED]),
    "date": ("0b 0000000000000000 ffc4", Date(0.0, -60)),
    "long string": ("0c 00000001 78", "x"),
    "XML document": ("0f 00000004 3c612f3e", Xml("<a/>")),
    "typed object": ("10 0001 43 0001 61 05 000009", TypedObject("C", {"a": None})),
    "AMF3 inside": ("11 04 07", 7),
    "a reference to an earlier object": ("0a 00000002 03 000009 07 0001", [{}, {}]),
}


@pytest.mark.parametrize("name", AMF0)
def test_amf0_types_are_read_as_specified(name: str) -> None:
    data, expected = AMF0[name]
    [value] = decode(bytes.fromhex(data))
    assert same(value, expected)


AMF3: dict[str, tuple[str, Any]] = {
    "undefined": ("00", UNDEFINED),
    "null": ("01", None),
    "false": ("02", False),
    "true": ("03", True),
    "integer of one byte": ("04 7f", 127),
    "integer of two bytes": ("04 8100", 128),
    "integer of three bytes": ("04 818000", 1 << 14),
    "integer of four bytes": ("04 80c08000", 1 << 21),
    "the largest integer": ("04 bfffffff", (1 << 28) - 1),
    "a negative integer": ("04 ffffffff", -1),
    "the smallest integer": ("04 c0808000", -(1 << 28)),
    "double": ("05 3ff8000000000000", 1.5),
    "string": ("06 07 616263", "abc"),
    "empty string": ("06 01", ""),
    "XML document": ("07 09 3c612f3e", Xml("<a/>")),
    "XML": ("0b 09 3c612f3e", Xml("<a/>")),
    "date": ("08 01 0000000000000000", Date(0.0)),
    "dense array": ("09 05 01 01 03", [None, True]),
    "mixed array": ("09 03 03 61 02 01 03", EcmaArray({"a": False, "0": True})),
    "strings by reference": ("09 07 01 06 03 78 06 00 06 01", ["x", "x", ""]),
    "dynamic object": ("0a 0b 01 03 61 04 01 01", {"a": 1}),
    "sealed object with a class": ("0a 13 03 43 03 61 04 02", TypedObject("C", {"a": 2})),
    "traits by reference": ("09 05 01 0a 03 03 43 0a 01", [TypedObject("C"), TypedObject("C")]),
    "objects by reference": ("09 05 01 0a 0b 01 01 0a 02", [{}, {}]),
    "byte array": ("0c 07 010203", b"\1\2\3"),
    "vector of int": ("0d 05 00 ffffffff 00000002", [-1, 2]),
    "vector of uint": ("0e 03 00 ffffffff", [0xFFFFFFFF]),
    "vector of double": ("0f 03 01 3ff8000000000000", [1.5]),
    "vector of objects": ("10 03 00 01 06 03 78", ["x"]),
    "dictionary": ("11 03 00 06 03 6b 04 05", [["k", 5]]),
}  # fmt: skip


@pytest.mark.parametrize("name", AMF3)
def test_amf3_types_are_read_as_specified(name: str) -> None:
    data, expected = AMF3[name]
    [value] = decode3(bytes.fromhex(data))
    assert same(value, expected)


UGLY = {
    "cut number": ("00 00", "ends early"),
    "cut string": ("02 0005 61", "ends early"),
    "object without an end": ("03 0001 61 05", "ends early"),
    "unknown marker": ("ff", "unknown AMF0 type marker 0xff"),
    "movie clip": ("04", "unknown AMF0 type marker 0x04"),
    "object end alone": ("09", "unknown AMF0 type marker 0x09"),
    "array of four thousand millions": ("0a ffffffff 05", "announces 4294967295 elements"),
    "reference to nothing": ("07 0000", "does not exist"),
    "reference to itself": ("03 0001 61 07 0000 000009", "endless"),
    "AMF3 unknown marker": ("11 12", "unknown AMF3 type marker 0x12"),
    "AMF3 array of many": ("11 09 bfffffff 01", "announces"),
    "AMF3 vector of many": ("11 0f bfffffff 00", "announces"),
    "AMF3 dictionary of many": ("11 11 bfffffff 00", "announces"),
    "AMF3 object of many properties": ("11 0a bffffff3 01", "announces"),
    "AMF3 externalizable": ("11 0a 07 03 43", "format of its own"),
    "AMF3 string reference to nothing": ("11 06 00", "does not exist"),
    "AMF3 reference to nothing": ("11 09 00", "does not exist"),
    "AMF3 traits of nothing": ("11 0a 01", "do not exist"),
    "AMF3 reference to itself": ("11 09 03 01 09 00", "endless"),
}


@pytest.mark.parametrize("name", UGLY)
def test_broken_amf_is_refused_and_says_why(name: str) -> None:
    data, reason = UGLY[name]
    with pytest.raises(AmfError, match=reason):
        decode(bytes.fromhex(data))


@pytest.mark.parametrize("level", ["03 0001 61", "08 00000000 0001 61", "0a 00000001", "10 0000 0001 61"])
def test_nesting_is_bounded(level: str) -> None:
    with pytest.raises(AmfError, match="nested too deeply"):
        decode(bytes.fromhex(level) * 10_000)


def test_nesting_of_amf3_is_bounded() -> None:
    with pytest.raises(AmfError, match="nested too deeply"):
        decode(b"\x11" + bytes.fromhex("090301") * 10_000)


def test_the_count_of_values_is_bounded() -> None:
    with pytest.raises(AmfError, match="too many values"):
        decode(b"\x05" * 101, values_max=100)
    with pytest.raises(AmfError, match="too many values"):
        decode(b"\x11\x0d" + bytes.fromhex("83ff7f00") + bytes(1 << 18), values_max=100)


def test_structures_that_share_their_parts_cannot_explode_when_written() -> None:
    value: Any = [1.0]
    for _ in range(25):
        value = [value, value]
    with pytest.raises(AmfError, match="too many values"):
        encode(value)


def test_what_amf_cannot_express_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for value in (object(), {"x" * 70_000: 1}, 10**400, endless):
        with pytest.raises(AmfError):
            encode(value)


def test_strings_choose_their_length_field() -> None:
    assert encode("x" * 0xFFFF)[0] == amf.Marker.STRING
    assert encode("x" * 0x10000)[0] == amf.Marker.LONG_STRING
    assert decode(encode("x" * 0x10000)) == ["x" * 0x10000]


@pytest.mark.parametrize("size", [0, 63, 64, 8191, 8192, 1 << 20, (1 << 20) + 1])
def test_byte_arrays_of_any_size_survive(size: int) -> None:
    assert decode(encode(bytes(size), 1.0)) == [bytes(size), 1.0]


def test_numbers_keep_every_bit() -> None:
    [value] = decode(b"\x00" + struct.pack(">d", math.nan))
    assert math.isnan(value)
    assert decode(encode(math.inf, -0.0, 1e-320)) == [math.inf, -0.0, 1e-320]
