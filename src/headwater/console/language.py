"""The console's two languages: English stands in the pages themselves, Chinese in one catalogue.

A text is its own key. `{name}` in it is filled in afterwards. Errors are told in both languages by their code.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from headwater.domains.errors import DomainError

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
NAMES: dict[Language, str] = {"en": "English", "zh": "中文"}

HEADER_MAX = 1000
"""Characters of Accept-Language that are looked at; browsers send a tenth of it."""

_FOLDER = Path(__file__).parent / "locales"


class Catalogue(msgspec.Struct, frozen=True):
    """texts: translation by English text. errors: what an error code means for a person and what to do."""

    errors: dict[str, str]
    texts: dict[str, str] = {}


@cache
def catalogue(language: Language) -> Catalogue:
    """The catalogue of a language; the English one has only the errors whose own messages are not for people."""
    return msgspec.json.decode((_FOLDER / f"{language}.json").read_bytes(), type=Catalogue)


def translate(language: Language, text: str, **values: Any) -> str:
    """The text in that language with its values filled in; in English if the catalogue does not have it."""
    found = catalogue(language).texts.get(text, text)
    return found.format_map(values) if values else found


def explain(language: Language, error: DomainError) -> str:
    """What an error means, for a person; the service's own message where the catalogue does not know its code."""
    known = catalogue(language).errors.get(error.code)
    return f"{known} {error.detail}".strip() if known else error.message


def negotiate(cookie: str | None, accept_language: str) -> Language:
    """What was chosen, or else what the browser prefers, or else English (RFC 9110 section 12.5.4)."""
    if cookie in LANGUAGES:
        return cookie
    best: tuple[float, Language] = (0.0, "en")
    for item in accept_language[:HEADER_MAX].split(","):
        tag, _, rest = item.strip().partition(";")
        language = tag.split("-")[0].lower()
        quality = _quality(rest)
        if language in LANGUAGES and quality > best[0]:
            best = (quality, language)
    return best[1]


def _quality(text: str) -> float:
    name, _, value = text.strip().partition("=")
    if name != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
