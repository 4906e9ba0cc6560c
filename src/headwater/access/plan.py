"""The plan: what the live center does with the streams of one domain, compiled by the control plane from the database.

Plans travel through `cluster/` under `plan/<main streaming domain>`; only domains for which something is to be done have one.
The center and the media nodes watch them. Fields are named after the API's parameters (reference media-plane 2 to 6).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol, TypeVar

import msgspec

PLAN_PREFIX = "plan/"

ANY = "*"
"""Matches every app or stream; an exact name beats it."""

DELAYED = "-alidelay"
"""What the name of a stream's delayed copy ends in (reference media-plane 6.3)."""

DELAY_MIN_S, DELAY_MAX_S = 16, 3600
"""The delays on offer (reference media-plane 6.3)."""


class Video(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the picture of a rendition is encoded. Nothing is ever enlarged: not the picture, nor its rate.

    codec: `copy` keeps the source's bitstream (h264-origin without other changes).
    width, height: of the picture, 0: follows from the other one; both 0: as the source's. fit overrides them by the source's
    sides (ResWithSource): `short` and `long` give fit_width for that side, `screen` gives a box of fit_width x fit_height that
    turns with the source's orientation.
    kbps: 0 with kbps_factor: of the source's rate, within kbps_min and kbps_max (BitrateWithSource).
    fps: 0 is the source's; fps_min and fps_max bound the source's (FpsWithSource).
    gop_frames, gop_s: distance of key frames, if `align` is off; with `align` they stand exactly where the source has them.
    profile: H.264's: 1 baseline, 2 main, 3 high. copyts: timestamps are the source's.
    """

    codec: Literal["h264", "h265", "copy"] = "h264"
    width: int = 0
    height: int = 0
    fit: Literal["", "short", "long", "screen"] = ""
    fit_width: int = 0
    fit_height: int = 0
    kbps: int = 0
    kbps_factor: float = 0.0
    kbps_min: int = 0
    kbps_max: int = 0
    fps: int = 0
    fps_min: int = 0
    fps_max: int = 0
    gop_frames: int = 0
    gop_s: int = 0
    align: bool = True
    profile: Literal[1, 2, 3] = 3
    bframes: bool = True
    low_latency: bool = False
    narrowband: bool = False
    deinterlace: bool = False
    sei: bool = False
    copyts: bool = True


class Audio(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the sound of a rendition is encoded; 0 is the source's. `copy` keeps the source's."""

    codec: Literal["copy", "aac", "mp3", "opus"] = "copy"
    kbps: int = 0
    rate: int = 0
    channels: int = 0
    profile: Literal["", "aac_low", "aac_he", "aac_he_v2", "aac_ld"] = ""


class Rendition(msgspec.Struct, frozen=True, omit_defaults=True):
    """A transcoding template of an app, played as `<stream>_<template>`. video None: audio only. audio None: no sound.

    lazy: it runs while somebody watches it; otherwise while the source is published.
    """

    app: str
    template: str
    lazy: bool = True
    video: Video | None = None
    audio: Audio | None = Audio()


class Group(msgspec.Struct, frozen=True):
    """A multi-bitrate group: `<stream>_<name>.m3u8` is a master playlist of these templates of the app.

    A child "" is the source itself.
    """

    app: str
    name: str
    children: tuple[str, ...]


class Watermark(msgspec.Struct, frozen=True, omit_defaults=True):
    """A picture over the renditions of the streams that a rule's pattern matches.

    stream: a name, `*`, or one leading or trailing `*` with a group, such as `*(t1|t2)`. picture: its id in the database.
    height, x, y: in pixels of a picture of ref_width x ref_height; they grow and shrink with the real one.
    transparency: 0 is invisible, 255 opaque.
    """

    rule: str
    app: str
    stream: str
    picture: str
    ref_width: int
    ref_height: int
    height: int
    x: float
    y: float
    corner: Literal["TopLeft", "TopRight", "BottomLeft", "BottomRight"] = "TopRight"
    transparency: int = 255


class RecordFormat(msgspec.Struct, frozen=True, omit_defaults=True):
    """A kind of file that a recording makes. object_prefix, slice_object_prefix: names with variables (reference 3.1)."""

    format: Literal["m3u8", "flv", "mp4", "cmaf"]
    cycle_s: int
    object_prefix: str
    slice_object_prefix: str = ""
    slice_s: int = 0


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """A recording template (AddLiveAppRecordConfig).

    on_demand: 0 always, 1 asks the customer's server, 2 by an argument of the push, 7 by hand. delay_s: a publisher who is back
    so soon goes on with the same file. start_s, end_s: unix seconds, 0 for no bound. formats are of the source,
    rendition_formats of the templates in `renditions`. storage: `vod` if the bucket is the media library's.
    """

    app: str
    stream: str
    endpoint: str
    bucket: str
    on_demand: Literal[0, 1, 2, 7] = 0
    delay_s: int = 180
    start_s: int = 0
    end_s: int = 0
    formats: tuple[RecordFormat, ...] = ()
    rendition_formats: tuple[RecordFormat, ...] = ()
    renditions: tuple[str, ...] = ()
    storage: Literal["oss", "vod"] = "oss"


class Snapshots(msgspec.Struct, frozen=True, omit_defaults=True):
    """A snapshot template (AddLiveAppSnapshotConfig). overwrite, sequence: object names with variables, "" for none.

    callback: the URL that is told of each picture, "" for the domain's, if it has one.
    """

    app: str
    interval_s: int
    endpoint: str
    bucket: str
    overwrite: str = ""
    sequence: str = ""
    callback: str = ""


class Shift(msgspec.Struct, frozen=True, omit_defaults=True):
    """Time shift (OpenLiveShift): slices of slice_s seconds are kept for so many days. renditions: of these, too."""

    app: str
    stream: str
    days: int = 7
    slice_s: int = 5
    renditions: bool = False


class Delay(msgspec.Struct, frozen=True):
    """A delayed copy of a stream, played as `<stream>-alidelay` (CreateLiveDelayConfig)."""

    app: str
    stream: str
    delay_s: int
    trigger: Literal["PUBLISH_ONLY", "CONFIG_ONLY", "PUBLISH_CONFIG"]


class _OfStreams(Protocol):
    @property
    def app(self) -> str: ...
    @property
    def stream(self) -> str: ...


Rule = TypeVar("Rule", bound=_OfStreams)


def best_match(rules: Iterable[Rule], app: str, stream: str) -> Rule | None:
    """The rule for a stream: the app's own before that of all apps, among these the stream's own before that of all."""
    matching = [rule for rule in rules if rule.app in (app, ANY) and rule.stream in (stream, ANY)]
    return max(matching, key=lambda rule: (rule.app == app, rule.stream == stream), default=None)


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that the center does for one main streaming domain. renditions_max: how many may run at once, 0 for none."""

    domain: str
    account: str
    region: str
    renditions_max: int = 0
    renditions: tuple[Rendition, ...] = ()
    groups: tuple[Group, ...] = ()
    watermarks: tuple[Watermark, ...] = ()
    records: tuple[Record, ...] = ()
    snapshots: tuple[Snapshots, ...] = ()
    shifts: tuple[Shift, ...] = ()
    delays: tuple[Delay, ...] = ()


def encode(plan: Plan) -> bytes:
    """The bytes that travel through the cluster's store."""
    return msgspec.json.encode(plan)


def decode(data: bytes) -> Plan:
    """Raises msgspec.ValidationError or msgspec.DecodeError if the bytes are no plan."""
    return msgspec.json.decode(data, type=Plan)


def plan_key(domain: str) -> str:
    """Where a domain's plan stands in the cluster's store."""
    return PLAN_PREFIX + domain
