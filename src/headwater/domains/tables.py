"""Reads the CSV files with which an operator fills a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import msgspec

from headwater.domains.errors import DomainError, error

ROWS_MAX = 100_000
"""Rows of one import: it is one transaction, and other writers wait for it. Longer lists are imported in several files."""
TEXT_MAX = 32 * 1024 * 1024
"""Characters of one file: 300 for each row."""
FAULTS_MAX = 10
"""Bad rows that are told at once: enough to see the pattern."""
ROWS_AT_ONCE = 500
"""Rows that are looked up in one statement."""

T = TypeVar("T")


class Imported(msgspec.Struct, frozen=True):
    """What an import did: rows that are new, that say something else than before, and that changed nothing."""

    added: int
    changed: int
    unchanged: int


def read_csv(text: str, columns: Sequence[str], read_row: Callable[[dict[str, str]], T]) -> list[T]:
    """Every row of a file as `read_row` reads it, which raises ValueError or DomainError for what it cannot.

    The first line names the columns, in any order; those that are not asked for are ignored. Raises InvalidCsv.Malformed,
    which tells the bad lines: a file is imported as a whole or not at all.
    """
    if len(text) > TEXT_MAX:
        raise error("InvalidCsv.Malformed", f"It has more than {TEXT_MAX} characters.")
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True, restval="")
    rows: list[T] = []
    faults: list[str] = []
    try:
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise error("InvalidCsv.Malformed", f"Its first line must name the columns {', '.join(columns)}.")
        for fields in reader:
            if len(rows) >= ROWS_MAX:
                raise error("InvalidCsv.Malformed", f"It has more than {ROWS_MAX} rows.")
            try:
                rows.append(read_row({column: fields[column].strip() for column in columns}))
            except DomainError as fault:
                faults.append(f"Line {reader.line_num}: {fault.message}")
            except ValueError as fault:
                faults.append(f"Line {reader.line_num}: {fault}")
            if len(faults) == FAULTS_MAX:
                break
    except csv.Error as fault:
        faults.append(f"Line {reader.line_num}: {fault}.")
    if faults:
        raise error("InvalidCsv.Malformed", " ".join(faults))
    return rows


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of this size, the last one shorter."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
