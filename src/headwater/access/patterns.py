"""Patterns with `*` for any characters, matched in time that grows with the text alone, whoever wrote the pattern."""

from __future__ import annotations

from collections.abc import Iterable


class Patterns:
    """A set of patterns; letters of either case are alike. Patterns without `*` cost nothing but one look-up together."""

    def __init__(self, patterns: Iterable[str]) -> None:
        lowered = [pattern.strip().lower() for pattern in patterns]
        self._plain = frozenset(pattern for pattern in lowered if "*" not in pattern)
        self._wild = tuple(tuple(pattern.split("*")) for pattern in lowered if "*" in pattern)

    def match(self, text: str) -> bool:
        """Whether any pattern matches the whole text."""
        text = text.lower()
        return text in self._plain or any(_matches(pieces, text) for pieces in self._wild)


def _matches(pieces: tuple[str, ...], text: str) -> bool:
    """The pieces between the stars, in their order; taking each at its first place is right when `*` is all there is."""
    first, *middle, last = pieces
    if not (text.startswith(first) and text.endswith(last) and len(text) >= len(first) + len(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in middle:
        at = text.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True
