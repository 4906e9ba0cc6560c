"""Enhanced RTMP: what the connect command negotiates (Veovera, Enhanced RTMP v1 and v2, "Enhancing NetConnection connect").

Headwater takes tags as they come and forwards them, so it offers every codec that has a FourCC of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VIDEO_FOURCC = ("av01", "vp09", "vp08", "hvc1", "avc1")
AUDIO_FOURCC = ("Opus", "ac-3", "ec-3", "mp4a", "fLaC", ".mp3")

CAN_FORWARD = 4
"""FourCcInfoMask: the codec can be passed on; decoding (1) and encoding (2) are not promised."""

CAPS_EX = 0
"""capsExMask: no reconnect requests (1), and nothing is promised for multitrack (2), ModEx (4) and nanosecond offsets (8)."""

_ASKED_BY = ("fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx")


def connect_reply(request: Mapping[str, Any]) -> dict[str, Any]:
    """What to add to the reply to a connect command object; nothing for a peer that does not speak Enhanced RTMP."""
    if not any(name in request for name in _ASKED_BY):
        return {}
    return {
        "fourCcList": [*VIDEO_FOURCC, *AUDIO_FOURCC],
        "videoFourCcInfoMap": dict.fromkeys(VIDEO_FOURCC, float(CAN_FORWARD)),
        "audioFourCcInfoMap": dict.fromkeys(AUDIO_FOURCC, float(CAN_FORWARD)),
        "capsEx": float(CAPS_EX),
    }
