"""Domain names as they stand in messages: labels after their lengths, ended by an empty one (RFC 1035 section 3.1)."""

from __future__ import annotations

import re

NAME_MAX_BYTES = 255
"""RFC 1035 section 2.3.4."""

LABEL_MAX_BYTES = 63

_LABEL = rf"[a-z0-9_-]{{1,{LABEL_MAX_BYTES}}}"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)


def pack(name: str) -> bytes:
    """A name in text, a dot at its end or not, as lower-case bytes. Raises ValueError for what is no name."""
    plain = name.removesuffix(".").lower()
    if plain and not _NAME.fullmatch(plain):
        raise ValueError(f"`{name}`: every label has 1 to {LABEL_MAX_BYTES} letters, digits, `-` and `_`")
    labels = plain.split(".") if plain else []
    packed = b"".join(bytes((len(label),)) + label.encode() for label in labels) + b"\0"
    if len(packed) > NAME_MAX_BYTES:
        raise ValueError(f"`{name}` is longer than {NAME_MAX_BYTES} bytes")
    return packed


def end_of(message: bytes, start: int) -> int:
    """Where the uncompressed name that begins at `start` ends. Raises ValueError for anything else, pointers included."""
    at = start
    length = len(message)
    while at < length:
        label = message[at]
        if label == 0:
            if at + 1 - start > NAME_MAX_BYTES:
                raise ValueError("the name is too long")
            return at + 1
        if label > LABEL_MAX_BYTES:
            raise ValueError("a label is too long, or a pointer")
        at += label + 1
    raise ValueError("the name has no end")


def parent(name: bytes) -> bytes:
    """A packed name without its first label."""
    return name[name[0] + 1 :]
