"""What the department tells a transcoding job to make, and what it may ask of it."""

from __future__ import annotations

from typing import Literal

import msgspec

from headwater.access.plan import Rendition, Watermark

NICENESS = 5
"""Encoders take whatever they get; a machine that is short of cores must serve its viewers and publishers first (nice(2))."""

SEI_TEXT_BYTES_MAX = 4000
"""The service's bound (AddTrancodeSEI, reference media-plane 2.10)."""

SEI_AT_ONCE_MAX = 16
"""Insertions that run side by side; each adds its text to every frame."""


class Mark(msgspec.Struct, frozen=True):
    """A watermark, and the file with its picture. The file may come a moment later than the spec."""

    mark: Watermark
    path: str


class Spec(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that is made of one source stream.

    renditions: each is published as `<stream>_<template>`. threads: of the decoder and of each encoder.
    nvenc: encode on the graphics card where opening its encoder works.
    """

    renditions: tuple[Rendition, ...] = ()
    marks: tuple[Mark, ...] = ()
    threads: int = 1
    nvenc: bool = False


class InsertSei(msgspec.Struct, frozen=True, tag="sei"):
    """Write a text into all renditions as user data (AddTrancodeSEI, reference media-plane 2.10).

    pattern: into key frames only, or into every frame. repeat: how often again after the first time, -1 until another text is
    asked for. delay_ms: of media time, from now on.
    """

    text: str
    pattern: Literal["keyframe", "frame"] = "keyframe"
    repeat: int = 0
    delay_ms: int = 0


class SeiTaken(msgspec.Struct, frozen=True):
    """The answer: the renditions that run, into which the text will be written."""

    renditions: tuple[str, ...]


def decode_question(data: bytes) -> InsertSei:
    """Raises msgspec.ValidationError, with a text for people, if a job cannot do that."""
    question = msgspec.json.decode(data, type=InsertSei)
    if len(question.text.encode()) > SEI_TEXT_BYTES_MAX:
        raise msgspec.ValidationError(f"the text is longer than {SEI_TEXT_BYTES_MAX} bytes")
    return question
