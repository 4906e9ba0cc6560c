"""Renders the console's templates: everything that is put into them is escaped."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from headwater.console.language import LANGUAGES, NAMES
from headwater.domains.rules import format_time

if TYPE_CHECKING:
    from headwater.console.visit import Visit

STATIC = Path(__file__).parent / "static"
TEMPLATES = Path(__file__).parent / "templates"


class Pages:
    """The templates, and the addresses of the static files with a mark of their contents, so that browsers may keep them."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}
        self.environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.globals.update(asset=self.asset, LANGUAGES=LANGUAGES, LANGUAGE_NAMES=NAMES)
        self.environment.filters.update(
            time=when,
            day=day,
            bits=bits,
            count=count,
            breakable=breakable,
            size=size,
            clock=clock,
            short_day=short_day,
            length_of=length_of,
        )
        self.environment.tests["contains_type"] = lambda types, wanted: wanted in types

    def asset(self, path: str) -> str:
        """The address of a static file."""
        if path not in self._marks:
            self._marks[path] = hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:12]
        return f"/static/{path}?v={self._marks[path]}"

    def render(self, template: str, visit: Visit, values: dict[str, Any]) -> str:
        """A page for a visit."""
        # as a context and not as globals: each request has its own language
        return self.environment.get_template(template).render({"visit": visit, "_": visit.say, **values})


def when(time_s: float) -> Markup:
    """A time as an element that shows UTC, and that the page's script turns into the reader's own time."""
    text = format_time(time_s)
    return Markup('<time datetime="{}">{} UTC</time>').format(text, text[:16].replace("T", " "))


def breakable(text: str) -> Markup:
    """A long name or URL that may go on in the next line after its separators, and not in the middle of a word."""
    return Markup("<wbr>").join(re.split(r"(?<=[./?&=])(?=.)", text))


def day(time_s: float) -> str:
    """The day of a time, in UTC."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d")


def bits(value: float) -> str:
    """A bit rate for people."""
    for unit in ("bit/s", "kbit/s", "Mbit/s", "Gbit/s"):
        if value < 1000 or unit == "Gbit/s":
            return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"
        value /= 1000
    raise AssertionError


def size(value: float) -> str:
    """An amount of data for people."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"
        value /= 1000
    raise AssertionError


def length_of(seconds: float) -> str:
    """A span of media as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def clock(time_s: float) -> str:
    """The hour and minute of a time, in UTC."""
    return format_time(time_s)[11:16]


def short_day(time_s: float) -> str:
    """The month and day of a time, in UTC."""
    return format_time(time_s)[5:10]


def count(value: float) -> str:
    """A number with its thousands apart."""
    return f"{value:,.0f}"
