"""Whether a stream is recorded: by its template's trigger, its push's arguments and the customer's server; and who is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol
from urllib.parse import parse_qsl, urlsplit

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.plan import Record, RecordFormat
from headwater.access.presence import StreamPresence
from headwater.center.record.spec import RecordSpec
from headwater.notify.events import RecordEvent
from headwater.store.models import RecordedFile, Recording

ALWAYS: Final = 0
BY_QUESTION: Final = 1
BY_ARGUMENT: Final = 2
BY_HAND: Final = 7
"""OnDemand (reference media-plane 3.1)."""

CYCLE_MIN_S, CYCLE_MAX_S = 5, 21_600
"""Bounds of an Interval in the answer to the on-demand question (reference media-plane 3.3)."""

PUSH_ARGUMENT_PREFIX = "callback_"
"""Arguments of a push that begin so come back in the callbacks of its files (reference media-plane 3.3)."""


class Answer(msgspec.Struct, frozen=True):
    """What a customer's server says to the on-demand question.

    formats: those that it wants, None for all; of these only the template's are recorded. cycles_s: by format, lengths of files
    that replace the template's.
    """

    need: bool
    formats: tuple[str, ...] | None = None
    cycles_s: Mapping[str, int] = {}


NO = Answer(False)


class Notices(Protocol):
    """Customers' callbacks about recordings (reference media-plane 3.3)."""

    async def ask(self, stream: StreamPresence) -> Answer:
        """Whether a stream is to be recorded; NO if no server says that it is."""

    async def status(self, session: AsyncSession, spec: RecordSpec, event: RecordEvent) -> None:
        """Tell how a recording is, within the transaction that notes it."""

    async def file(self, session: AsyncSession, recording: Recording, file: RecordedFile) -> None:
        """Tell of a file that can be fetched, within the transaction that notes it."""

    async def close(self) -> None:
        """Nothing is asked any more."""


class _RecordConfig(msgspec.Struct):
    need: bool = msgspec.field(default=False, name="NeedRecord")


def in_time(record: Record, now_s: float) -> bool:
    """Whether a template's time has come and is not over."""
    return (not record.start_s or now_s >= record.start_s) and (not record.end_s or now_s < record.end_s)


def argument(publish_url: str) -> bool:
    """Whether a push wants to be recorded: `record_config={"NeedRecord":true}`, URL-encoded (reference media-plane 3.3)."""
    for name, value in parse_qsl(urlsplit(publish_url).query):
        if name == "record_config":
            try:
                return msgspec.json.decode(value, type=_RecordConfig).need
            except msgspec.MsgspecError:
                return False
    return False


def push_args(publish_url: str) -> dict[str, str]:
    """The arguments of a push that its callbacks bring back; of one that comes twice the first counts."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(urlsplit(publish_url).query, keep_blank_values=True):
        if name.startswith(PUSH_ARGUMENT_PREFIX):
            found.setdefault(name, value)
    return found


def answered(formats: Sequence[RecordFormat], answer: Answer | None) -> list[RecordFormat]:
    """The formats of a template as the answer leaves them (reference media-plane 3.3)."""
    if answer is None:
        return list(formats)
    return [
        msgspec.structs.replace(format_, cycle_s=_bounded(answer.cycles_s.get(format_.format), format_.cycle_s))
        for format_ in formats
        if answer.formats is None or format_.format in answer.formats
    ]


def _bounded(wanted_s: int | None, otherwise_s: int) -> int:
    return wanted_s if wanted_s is not None and CYCLE_MIN_S <= wanted_s <= CYCLE_MAX_S else otherwise_s
