"""Texts that are written into a rendition's frames as SEI user data: which frames get them, and how they look there."""

from __future__ import annotations

import uuid

from headwater.center.transcode.spec import SEI_AT_ONCE_MAX, InsertSei
from headwater.media.nal import SEI_UNREGISTERED, SeiMessage

TEXT_UUID = uuid.UUID("0f6f5d63-2a3b-4f7e-9b61-6b65616477a7").bytes
"""Says to readers of the stream that what follows is such a text (uuid_iso_iec_11578; ITU-T H.264, D.2.7)."""

ENDLESS = -1


def message(text: str) -> SeiMessage:
    """The message that carries a text."""
    return SeiMessage(SEI_UNREGISTERED, TEXT_UUID + text.encode())


class _Insertion:
    __slots__ = ("due_ms", "keys_only", "left", "message")

    def __init__(self, asked: InsertSei, now_ms: int) -> None:
        self.message = message(asked.text)
        self.due_ms = now_ms + asked.delay_ms
        self.keys_only = asked.pattern == "keyframe"
        self.left = ENDLESS if asked.repeat < 0 else asked.repeat + 1


class Insertions:
    """What one rendition still has to write."""

    def __init__(self) -> None:
        self._waiting: list[_Insertion] = []

    def add(self, asked: InsertSei, now_ms: int) -> None:
        """From now_ms on, media time, and after the wanted delay. It ends texts that were to be repeated without end."""
        going_on = [one for one in self._waiting if one.left != ENDLESS]
        self._waiting = [*going_on, _Insertion(asked, now_ms)][-SEI_AT_ONCE_MAX:]

    def take(self, pts_ms: int, key: bool) -> list[SeiMessage]:
        """What belongs into this frame."""
        if not self._waiting:
            return []
        chosen = [one for one in self._waiting if pts_ms >= one.due_ms and (key or not one.keys_only)]
        for one in chosen:
            if one.left != ENDLESS:
                one.left -= 1
        self._waiting = [one for one in self._waiting if one.left]
        return [one.message for one in chosen]
