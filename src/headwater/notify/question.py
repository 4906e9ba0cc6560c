"""The on-demand question: a customer's server says whether a stream is recorded, and how (reference media-plane 3.3)."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

import msgspec

from headwater.notify.client import CallFailed, Client
from headwater.wording import sentence

Interval = Annotated[int, msgspec.Meta(ge=5, le=21600)]
FORMATS = ("mp4", "flv", "m3u8", "cmaf")


class OnDemandAnswer(msgspec.Struct, frozen=True):
    """What is to be recorded. intervals: seconds of a file by format, instead of the template's.

    formats: only these of the template's; None: all of them.
    """

    need_record: bool
    intervals: dict[str, int] = {}
    formats: tuple[str, ...] | None = None


class _Wire(msgspec.Struct, frozen=True, rename="pascal"):
    need_record: bool
    api_version: str = "1.0"
    interval: dict[str, Interval] | None = None
    format: list[str] | None = None


async def ask_on_demand(
    client: Client, url: str, *, app: str, domain: str, stream: str, video_kbps: int, codec: str
) -> OnDemandAnswer:
    """Ask once. codec: `h264` or `h265`. Raises CallFailed if there is no answer, or one that cannot be understood."""
    query = urlencode({"app": app, "domain": domain, "stream": stream, "vbitrate": video_kbps, "codec": codec})
    answer = await client.call("GET", url + ("&" if "?" in url else "?") + query)
    if answer.status != 200:
        raise CallFailed(f"status {answer.status}")
    return read_answer(answer.body)


def read_answer(body: bytes) -> OnDemandAnswer:
    """Understand an answer. Raises CallFailed."""
    try:
        wire = msgspec.json.decode(body, type=_Wire)
    except (msgspec.DecodeError, ValueError, RecursionError) as fault:
        raise CallFailed(f"the answer cannot be read: {sentence(fault)}") from None
    intervals = {name.lower(): seconds for name, seconds in (wire.interval or {}).items() if name.lower() in FORMATS}
    formats = None if wire.format is None else tuple(name.lower() for name in wire.format if name.lower() in FORMATS)
    return OnDemandAnswer(wire.need_record, intervals, formats)
