"""The Action Message Format: AMF0 both ways, AMF3 for reading.

Sources: AMF 0 specification (Adobe, 2007), AMF 3 specification (Adobe, January 2013); section numbers in the code.

ActionScript values in Python: Number is float (AMF3 integer is int), Boolean bool, String str, Object dict, ECMA array
`EcmaArray`, strict array list, ByteArray bytes, null None, undefined and unsupported `UNDEFINED`, Date `Date`, XML `Xml`,
an object of a class `TypedObject`. Text that is not UTF-8 (encoders do send GBK) is read with replacement characters.
"""

from __future__ import annotations

import enum
import struct
from typing import Any, Final

import msgspec

DEPTH_MAX = 32
"""Default bound of nesting: metadata nests three deep, Python's own recursion limit is far away."""
VALUES_MAX = 20_000
"""Default bound of values in one message, so that a small message cannot become a large structure."""

_DOUBLE = struct.Struct(">d")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_DATE = struct.Struct(">dh")


class AmfError(ValueError):
    """Bytes that are not AMF or exceed a limit; or a value that AMF cannot express."""


class Undefined(enum.Enum):
    """The type of `UNDEFINED`."""

    UNDEFINED = "undefined"


UNDEFINED: Final = Undefined.UNDEFINED


class EcmaArray(dict[str, Any]):
    """An associative array: a dict that is written as ECMA array."""


class TypedObject(dict[str, Any]):
    """An object of the registered class `class_name`."""

    def __init__(self, class_name: str, *args: Any) -> None:
        super().__init__(*args)
        self.class_name = class_name


class Xml(str):
    """An XML document as text; it is never parsed."""

    __slots__ = ()


class Date(msgspec.Struct, frozen=True):
    """ms: since the Unix epoch, UTC. zone_minutes: reserved by the specification, usually 0."""

    ms: float
    zone_minutes: int = 0


class Marker(enum.IntEnum):
    """AMF0 type markers (AMF0 2.1)."""

    NUMBER = 0x00
    BOOLEAN = 0x01
    STRING = 0x02
    OBJECT = 0x03
    NULL = 0x05
    UNDEFINED = 0x06
    REFERENCE = 0x07
    ECMA_ARRAY = 0x08
    OBJECT_END = 0x09
    STRICT_ARRAY = 0x0A
    DATE = 0x0B
    LONG_STRING = 0x0C
    UNSUPPORTED = 0x0D
    XML_DOCUMENT = 0x0F
    TYPED_OBJECT = 0x10
    AVMPLUS = 0x11


class Marker3(enum.IntEnum):
    """AMF3 type markers (AMF3 3.1)."""

    UNDEFINED = 0x00
    NULL = 0x01
    FALSE = 0x02
    TRUE = 0x03
    INTEGER = 0x04
    DOUBLE = 0x05
    STRING = 0x06
    XML_DOCUMENT = 0x07
    DATE = 0x08
    ARRAY = 0x09
    OBJECT = 0x0A
    XML = 0x0B
    BYTE_ARRAY = 0x0C
    VECTOR_INT = 0x0D
    VECTOR_UINT = 0x0E
    VECTOR_DOUBLE = 0x0F
    VECTOR_OBJECT = 0x10
    DICTIONARY = 0x11


def decode(data: bytes, *, depth_max: int = DEPTH_MAX, values_max: int = VALUES_MAX) -> list[Any]:
    """All AMF0 values in `data`. Raises AmfError."""
    reader = _Reader(data, values_max)
    decoder = _Amf0(reader, depth_max)
    values = []
    while reader.left:
        values.append(decoder.value(0))
    return values


def decode3(data: bytes, *, depth_max: int = DEPTH_MAX, values_max: int = VALUES_MAX) -> list[Any]:
    """All AMF3 values in `data`, which share their reference tables. Raises AmfError."""
    reader = _Reader(data, values_max)
    decoder = _Amf3(reader, depth_max)
    values = []
    while reader.left:
        values.append(decoder.value(0))
    return values


def encode(*values: Any, depth_max: int = DEPTH_MAX, values_max: int = VALUES_MAX) -> bytes:
    """The values as AMF0, one after the other. Raises AmfError for what AMF0 cannot express."""
    writer = _Writer(depth_max, values_max)
    for value in values:
        writer.value(value, 0)
    return bytes(writer.out)


class _Reader:
    """Bytes with a position, and the budget of values that may still be made from them."""

    __slots__ = ("_budget", "_data", "_pos", "left")

    def __init__(self, data: bytes, values_max: int) -> None:
        self._data = data
        self._pos = 0
        self._budget = values_max
        self.left = len(data)

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise AmfError(f"AMF data ends early: {count} bytes expected, {self.left} left")
        start = self._pos
        self._pos += count
        self.left -= count
        return self._data[start : self._pos]

    def byte(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2))

    def u32(self) -> int:
        return int.from_bytes(self.take(4))

    def double(self) -> float:
        return float(_DOUBLE.unpack(self.take(8))[0])

    def text(self, count: int) -> str:
        return self.take(count).decode("utf-8", "replace")

    def at_object_end(self) -> bool:
        """Skip the empty name and object-end marker if they are next (AMF0 2.11)."""
        if self._data.startswith(b"\x00\x00\x09", self._pos):
            self.take(3)
            return True
        return False

    def spend(self) -> None:
        self._budget -= 1
        if self._budget < 0:
            raise AmfError("AMF data holds too many values")


class _Amf0:
    """Reads AMF0 values, with the table of complex values that references point into (AMF0 2.9)."""

    def __init__(self, reader: _Reader, depth_max: int) -> None:
        self._reader = reader
        self._depth_max = depth_max
        self._complex: list[Any] = []
        self._open: set[int] = set()

    def value(self, depth: int) -> Any:
        reader = self._reader
        reader.spend()
        if depth > self._depth_max:
            raise AmfError("AMF data is nested too deeply")
        marker = reader.byte()
        match marker:
            case Marker.NUMBER:
                return reader.double()
            case Marker.BOOLEAN:
                return reader.byte() != 0
            case Marker.STRING:
                return reader.text(reader.u16())
            case Marker.OBJECT:
                return self._properties({}, depth)
            case Marker.NULL:
                return None
            case Marker.UNDEFINED | Marker.UNSUPPORTED:
                return UNDEFINED
            case Marker.REFERENCE:
                return self._reference()
            case Marker.ECMA_ARRAY:
                reader.u32()  # the announced count is often wrong, so that only the end marker counts
                return self._properties(EcmaArray(), depth)
            case Marker.STRICT_ARRAY:
                return self._strict_array(depth)
            case Marker.DATE:
                return Date(*_DATE.unpack(reader.take(10)))
            case Marker.LONG_STRING:
                return reader.text(reader.u32())
            case Marker.XML_DOCUMENT:
                return Xml(reader.text(reader.u32()))
            case Marker.TYPED_OBJECT:
                return self._properties(TypedObject(reader.text(reader.u16())), depth)
            case Marker.AVMPLUS:
                return _Amf3(reader, self._depth_max).value(depth + 1)
        raise AmfError(f"unknown AMF0 type marker 0x{marker:02x}")

    def _properties(self, into: dict[str, Any], depth: int) -> dict[str, Any]:
        index = self._begin(into)
        reader = self._reader
        while not reader.at_object_end():
            name = reader.text(reader.u16())
            into[name] = self.value(depth + 1)
        self._open.discard(index)
        return into

    def _strict_array(self, depth: int) -> list[Any]:
        count = self._reader.u32()
        if count > self._reader.left:
            raise AmfError(f"AMF array announces {count} elements in {self._reader.left} bytes")
        array: list[Any] = []
        index = self._begin(array)
        for _ in range(count):
            array.append(self.value(depth + 1))
        self._open.discard(index)
        return array

    def _begin(self, value: Any) -> int:
        self._complex.append(value)
        index = len(self._complex) - 1
        self._open.add(index)
        return index

    def _reference(self) -> Any:
        index = self._reader.u16()
        if index >= len(self._complex):
            raise AmfError(f"AMF0 reference to value {index}, which does not exist")
        if index in self._open:
            raise AmfError("AMF0 reference to a value from inside it: endless structures are refused")
        return self._complex[index]


class _Traits(msgspec.Struct, frozen=True):
    """The shape of an AMF3 object (AMF3 3.12)."""

    class_name: str
    names: tuple[str, ...]
    dynamic: bool


class _Amf3:
    """Reads AMF3 values, with their three tables of references (AMF3 2.2)."""

    def __init__(self, reader: _Reader, depth_max: int) -> None:
        self._reader = reader
        self._depth_max = depth_max
        self._strings: list[str] = []
        self._traits: list[_Traits] = []
        self._complex: list[Any] = []
        self._open: set[int] = set()

    def value(self, depth: int) -> Any:
        reader = self._reader
        reader.spend()
        if depth > self._depth_max:
            raise AmfError("AMF data is nested too deeply")
        marker = reader.byte()
        match marker:
            case Marker3.UNDEFINED:
                return UNDEFINED
            case Marker3.NULL:
                return None
            case Marker3.FALSE:
                return False
            case Marker3.TRUE:
                return True
            case Marker3.INTEGER:
                number = self._u29()
                return number - (1 << 29) if number & (1 << 28) else number
            case Marker3.DOUBLE:
                return reader.double()
            case Marker3.STRING:
                return self._string()
            case _ if marker > Marker3.DICTIONARY:
                raise AmfError(f"unknown AMF3 type marker 0x{marker:02x}")
        header = self._u29()
        if not header & 1:
            return self._reference(header >> 1)
        count = header >> 1
        match marker:
            case Marker3.XML | Marker3.XML_DOCUMENT:
                return self._keep(Xml(reader.text(count)))
            case Marker3.DATE:
                return self._keep(Date(reader.double()))
            case Marker3.BYTE_ARRAY:
                return self._keep(reader.take(count))
            case Marker3.OBJECT:
                return self._object(count, depth)
            case Marker3.ARRAY:
                return self._array(count, depth)
            case Marker3.DICTIONARY:
                return self._dictionary(count, depth)
            case _:
                return self._vector(Marker3(marker), count, depth)

    def _u29(self) -> int:
        """A variable-length unsigned integer (AMF3 1.3.1)."""
        number = 0
        for _ in range(3):
            byte = self._reader.byte()
            number = number << 7 | byte & 0x7F
            if byte < 0x80:
                return number
        return number << 8 | self._reader.byte()

    def _string(self) -> str:
        header = self._u29()
        if header & 1:
            text = self._reader.text(header >> 1)
            if text:  # the empty string is never sent by reference (AMF3 1.3.2)
                self._strings.append(text)
            return text
        if header >> 1 >= len(self._strings):
            raise AmfError(f"AMF3 reference to string {header >> 1}, which does not exist")
        return self._strings[header >> 1]

    def _keep(self, value: Any) -> Any:
        self._complex.append(value)
        return value

    def _begin(self, value: Any) -> int:
        self._complex.append(value)
        index = len(self._complex) - 1
        self._open.add(index)
        return index

    def _reference(self, index: int) -> Any:
        if index >= len(self._complex):
            raise AmfError(f"AMF3 reference to value {index}, which does not exist")
        if index in self._open:
            raise AmfError("AMF3 reference to a value from inside it: endless structures are refused")
        return self._complex[index]

    def _dynamic(self, into: dict[str, Any], depth: int) -> None:
        while name := self._string():
            into[name] = self.value(depth + 1)

    def _array(self, count: int, depth: int) -> Any:
        """A list; an `EcmaArray` with the dense part under "0", "1" and so on if there are named elements (AMF3 3.11)."""
        if count > self._reader.left:
            raise AmfError(f"AMF array announces {count} elements in {self._reader.left} bytes")
        named = EcmaArray()
        dense: list[Any] = []
        name = self._string()
        index = self._begin(named if name else dense)
        while name:
            named[name] = self.value(depth + 1)
            name = self._string()
        for _ in range(count):
            dense.append(self.value(depth + 1))
        self._open.discard(index)
        if not named:
            return dense
        named.update((str(number), value) for number, value in enumerate(dense))
        return named

    def _object(self, header: int, depth: int) -> dict[str, Any]:
        """`header` is U29O-traits without its lowest bit (AMF3 3.12)."""
        if not header & 1:
            if header >> 1 >= len(self._traits):
                raise AmfError(f"AMF3 reference to traits {header >> 1}, which do not exist")
            traits = self._traits[header >> 1]
        else:
            if header & 2:
                raise AmfError(f"AMF3 object of class {self._string()[:64]!r} has a format of its own, which is not known here")
            count = header >> 3
            if count > self._reader.left:
                raise AmfError(f"AMF3 object announces {count} properties in {self._reader.left} bytes")
            class_name = self._string()
            names = []
            for _ in range(count):
                self._reader.spend()
                names.append(self._string())
            traits = _Traits(class_name, tuple(names), bool(header & 4))
            self._traits.append(traits)
        into: dict[str, Any] = TypedObject(traits.class_name) if traits.class_name else {}
        index = self._begin(into)
        for name in traits.names:
            into[name] = self.value(depth + 1)
        if traits.dynamic:
            self._dynamic(into, depth)
        self._open.discard(index)
        return into

    def _vector(self, marker: Marker3, count: int, depth: int) -> list[Any]:
        """AMF3 3.15. The numbers are fixed-size; vectors of objects carry a type name and markers."""
        reader = self._reader
        reader.byte()  # fixed-length flag: of no meaning for reading
        if count > reader.left:
            raise AmfError(f"AMF3 vector announces {count} elements in {reader.left} bytes")
        vector: list[Any] = []
        index = self._begin(vector)
        if marker is Marker3.VECTOR_OBJECT:
            self._string()
        for _ in range(count):
            if marker is Marker3.VECTOR_OBJECT:
                vector.append(self.value(depth + 1))
                continue
            reader.spend()
            if marker is Marker3.VECTOR_INT:
                vector.append(int.from_bytes(reader.take(4), signed=True))
            elif marker is Marker3.VECTOR_UINT:
                vector.append(reader.u32())
            else:
                vector.append(reader.double())
        self._open.discard(index)
        return vector

    def _dictionary(self, count: int, depth: int) -> list[Any]:
        """A list of [key, value], because a key may be any value (AMF3 3.16)."""
        reader = self._reader
        reader.byte()  # weak-keys flag
        if count > reader.left:
            raise AmfError(f"AMF3 dictionary announces {count} entries in {reader.left} bytes")
        entries: list[Any] = []
        index = self._begin(entries)
        for _ in range(count):
            entries.append([self.value(depth + 1), self.value(depth + 1)])
        self._open.discard(index)
        return entries


class _Writer:
    """Writes AMF0. References are never written: real peers get them wrong."""

    def __init__(self, depth_max: int, values_max: int) -> None:
        self.out = bytearray()
        self._depth_max = depth_max
        self._budget = values_max

    def value(self, value: Any, depth: int) -> None:
        self._budget -= 1
        if self._budget < 0:
            raise AmfError("too many values for one AMF message")
        if depth > self._depth_max:
            raise AmfError("nested too deeply for AMF")
        out = self.out
        if isinstance(value, Xml):
            self._long(Marker.XML_DOCUMENT, value)
        elif isinstance(value, str):
            self._string(value)
        elif value is None:
            out.append(Marker.NULL)
        elif value is UNDEFINED:
            out.append(Marker.UNDEFINED)
        elif isinstance(value, bool):
            out += bytes((Marker.BOOLEAN, value))
        elif isinstance(value, int | float):
            out.append(Marker.NUMBER)
            out += _DOUBLE.pack(_as_double(value))
        elif isinstance(value, dict):
            if isinstance(value, EcmaArray):
                out.append(Marker.ECMA_ARRAY)
                out += _U32.pack(len(value))
            elif isinstance(value, TypedObject):
                out.append(Marker.TYPED_OBJECT)
                self._name(value.class_name)
            else:
                out.append(Marker.OBJECT)
            for name, member in value.items():
                self._name(name)
                self.value(member, depth + 1)
            out += b"\x00\x00\x09"
        elif isinstance(value, list | tuple):
            out.append(Marker.STRICT_ARRAY)
            out += _U32.pack(len(value))
            for member in value:
                self.value(member, depth + 1)
        elif isinstance(value, Date):
            out.append(Marker.DATE)
            out += _DATE.pack(value.ms, value.zone_minutes)
        elif isinstance(value, bytes):
            self._byte_array(value)
        else:
            raise AmfError(f"AMF0 has no type for {type(value).__name__}")

    def _string(self, text: str) -> None:
        raw = text.encode("utf-8", "replace")
        if len(raw) > 0xFFFF:
            self._long(Marker.LONG_STRING, text)
            return
        self.out.append(Marker.STRING)
        self.out += _U16.pack(len(raw)) + raw

    def _long(self, marker: Marker, text: str) -> None:
        raw = text.encode("utf-8", "replace")
        self.out.append(marker)
        self.out += _U32.pack(len(raw)) + raw

    def _name(self, name: str) -> None:
        raw = name.encode("utf-8", "replace")
        if len(raw) > 0xFFFF:
            raise AmfError("a property name of more than 65535 bytes does not fit AMF0")
        self.out += _U16.pack(len(raw)) + raw

    def _byte_array(self, value: bytes) -> None:
        """AMF0 has no bytes, so it switches to AMF3 for one value (AMF0 3.1)."""
        header = len(value) << 1 | 1
        if header >= 1 << 29:
            raise AmfError("more bytes than an AMF3 ByteArray holds")
        self.out += bytes((Marker.AVMPLUS, Marker3.BYTE_ARRAY))
        if header < 1 << 21:
            groups = [header >> shift & 0x7F for shift in (14, 7, 0) if header >> shift or not shift]
            self.out += bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])
        else:
            self.out += bytes((header >> 22 | 0x80, header >> 15 & 0x7F | 0x80, header >> 8 & 0x7F | 0x80, header & 0xFF))
        self.out += value


def _as_double(value: float) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise AmfError("a number beyond the range of a double") from error
