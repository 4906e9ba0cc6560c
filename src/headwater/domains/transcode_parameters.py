"""What a custom transcoding template may say, parameter by parameter, and the rendition that it means.

Reference media-plane 2.4 and 2.5 (AddCustomLiveStreamTranscode, AddRtsLiveStreamTranscode). Pure functions.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeVar, get_args

import msgspec

from headwater.access.plan import Audio, Rendition, Video
from headwater.domains.errors import DomainError, error
from headwater.domains.presets import is_preset
from headwater.wording import sentence

Kind = Literal["custom", "rts"]
AudioProfile = Literal["", "aac_low", "aac_he", "aac_he_v2", "aac_ld"]
CustomType = Literal["h264", "h264-nbhd", "h265", "h265-nbhd", "audio"]
RtsType = Literal["h264", "h264-nbhd", "h264-origin", "audio"]

EDGE_MIN: Final = 100
LONG_EDGE_MAX, SHORT_EDGE_MAX = 2560, 1440
ORIGIN_LONG_EDGE_MAX, ORIGIN_SHORT_EDGE_MAX = 4096, 2304
"""h264-origin goes up to 4K; the larger one of the two that bear the name."""
NBHD265_WIDTH_MAX, NBHD265_HEIGHT_MAX = 1280, 720
FPS_MAX: Final = 60
VIDEO_KBPS_MAX: Final = 6000
AUDIO_KBPS_MAX: Final = 1000
OPUS_KBPS_MAX: Final = 256
"""Opus takes no more for a mono source (libopus, per channel), and sounds like the original far below."""
AUDIO_RATES: Final = range(22_050, 96_001)
AAC_LD_RATE_MAX: Final = 44_100
GOP_FRAMES_MAX, GOP_S_MAX, RTS_GOP_S_MAX = 3000, 20, 3
SOURCE_KBPS: Final = range(128, 10_001)
FACTOR_MIN, FACTOR_MAX = 0.1, 1.0
EDGES: Final[dict[str, tuple[str, ...]]] = {
    "short": ("360", "480", "540", "720", "1080"),
    "long": ("640", "848", "960", "1280", "1920"),
    "screen": ("640x360", "848x480", "960x540", "1280x720", "1920x1080"),
}
NAME_MAX: Final = 64
"""Characters of a template's name. Ours: it becomes a part of stream names, which have 255."""

_NAMES: Final = {
    "custom": re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*", re.ASCII),
    "rts": re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII),
}
_GOP = re.compile(r"([1-9][0-9]{0,3})(s?)", re.ASCII)


class ResWithSource(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """The picture's size by the source's sides. value: pixels, or for `screen` `WIDTHxHEIGHT`."""

    type: Literal["short", "long", "screen"]
    value: str


class BitrateWithSource(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """The rate as a share of the source's, within limits in kbit/s."""

    up_limit: int
    lower_limit: int
    factor: float


class FpsWithSource(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """Pictures a second as the source has them, within limits."""

    up_limit: int
    lower_limit: int


class ExtWithSource(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    """What else follows the source: key frames, timestamps, SEI."""

    key_frame_open: Literal["yes", "no"] = "no"
    copyts: Literal["yes", "no"] = "no"
    sei_mode: Literal[0, 1] = 0


class Parameters(msgspec.Struct, frozen=True, omit_defaults=True):
    """The parameters of a custom template; 0, "" and None are those that were not given."""

    type: str
    width: int = 0
    height: int = 0
    fps: int = 0
    video_kbps: int = 0
    gop: str = ""
    profile: int = 0
    audio_codec: str = ""
    audio_profile: AudioProfile = ""
    audio_kbps: int = 0
    audio_rate: int = 0
    audio_channels: int = 0
    res_with_source: ResWithSource | None = None
    bitrate_with_source: BitrateWithSource | None = None
    fps_with_source: FpsWithSource | None = None
    ext_with_source: ExtWithSource | None = None
    deinterlace: bool = False
    delete_bframes: bool = False
    opus: bool = False


WithSource = TypeVar("WithSource", ResWithSource, BitrateWithSource, FpsWithSource, ExtWithSource)


def read_with_source(name: str, text: str, type_: type[WithSource]) -> WithSource | None:
    """One of the four parameters whose value is JSON; None for "". Numbers may be texts. Raises InvalidParam."""
    if not text:
        return None
    try:
        return msgspec.convert(msgspec.json.decode(text), type=type_, strict=False)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as fault:
        raise wrong(f"{name} is not as expected. {sentence(fault)}") from None


def wrong(detail: str) -> DomainError:
    """The service's error for a value that it does not take (reference media-plane 2.8), with a sentence that says why."""
    return error("InvalidParam", detail)


def check_name(kind: Kind, name: str) -> None:
    """Raises InvalidParam for what cannot be the name of a custom template."""
    if is_preset(name):
        raise wrong(f"Template {name} is the name of a standard template.")
    if _NAMES[kind].fullmatch(name) is None or len(name) > NAME_MAX:
        allowed = "letters, digits and hyphens" if kind == "custom" else "letters, digits, hyphens and underscores"
        raise wrong(f"Template has 1 to {NAME_MAX} {allowed}, and begins with a letter or digit.")


def checked(kind: Kind, given: Parameters) -> Parameters:
    """The parameters as they are kept: those of the video are left out for sound alone. Raises InvalidParam, MissingParam."""
    types = get_args(CustomType if kind == "custom" else RtsType)
    if given.type not in types:
        raise wrong(f"TemplateType is {', '.join(types[:-1])} or {types[-1]}.")
    _check_audio(given)
    if given.type == "audio":
        if kind == "rts" and not given.audio_kbps and not given.opus:
            raise error("MissingParam", "AudioBitrate is mandatory for TemplateType audio.")
        return Parameters(
            type="audio",
            audio_codec=given.audio_codec,
            audio_profile=given.audio_profile,
            audio_kbps=given.audio_kbps,
            audio_rate=given.audio_rate,
            audio_channels=given.audio_channels,
            opus=given.opus,
        )
    _check_size(given)
    _check_rates(kind, given)
    return given


def _check_size(given: Parameters) -> None:
    res = given.res_with_source
    if res is not None and "x".join(_edges(res)) not in EDGES[res.type]:
        raise wrong(f"Value of ResWithSource is one of {', '.join(EDGES[res.type])} for {res.type}.")
    if given.type == "h265-nbhd" and res is not None:
        bound = NBHD265_WIDTH_MAX if res.type == "long" else NBHD265_HEIGHT_MAX
        if min(map(int, _edges(res))) > bound:
            raise wrong(f"For h265-nbhd the picture is at most {NBHD265_WIDTH_MAX}x{NBHD265_HEIGHT_MAX}.")
    if res is None:
        for name, edge in (("Height", given.height), ("Width", given.width)):
            if not edge:
                raise error("MissingParam", f"{name} is mandatory for TemplateType {given.type}.")
    if not given.width and not given.height:
        return
    long_max, short_max = LONG_EDGE_MAX, SHORT_EDGE_MAX
    if given.type == "h264-origin":
        long_max, short_max = ORIGIN_LONG_EDGE_MAX, ORIGIN_SHORT_EDGE_MAX
    for name, edge in (("Height", given.height), ("Width", given.width)):
        if edge and edge < EDGE_MIN:
            raise wrong(f"{name} is at least {EDGE_MIN}.")
    if max(given.width, given.height) > long_max or min(given.width, given.height) > short_max:
        raise wrong(f"The longer one of Width and Height is at most {long_max}, the shorter one {short_max}.")
    if given.type == "h265-nbhd" and (given.width > NBHD265_WIDTH_MAX or given.height > NBHD265_HEIGHT_MAX):
        raise wrong(f"For h265-nbhd Width is at most {NBHD265_WIDTH_MAX} and Height {NBHD265_HEIGHT_MAX}.")


def _edges(res: ResWithSource) -> list[str]:
    """One number or two, whatever sign stands between them: people write 1280x720 in many ways."""
    return re.split(r"[xX*\u00d7]", res.value)


def _check_rates(kind: Kind, given: Parameters) -> None:
    bitrate, fps = given.bitrate_with_source, given.fps_with_source
    if bitrate is not None:
        if bitrate.up_limit not in SOURCE_KBPS or bitrate.lower_limit not in SOURCE_KBPS:
            raise wrong(f"The limits of BitrateWithSource are {SOURCE_KBPS[0]} to {SOURCE_KBPS[-1]}.")
        if bitrate.up_limit <= bitrate.lower_limit:
            raise wrong("UpLimit of BitrateWithSource is above LowerLimit.")
        if not FACTOR_MIN <= bitrate.factor <= FACTOR_MAX:
            raise wrong(f"Factor of BitrateWithSource is {FACTOR_MIN:g} to {FACTOR_MAX:g}.")
    elif not given.video_kbps:
        raise error("MissingParam", f"VideoBitrate is mandatory for TemplateType {given.type}.")
    if fps is not None:
        if not 1 <= fps.lower_limit < fps.up_limit <= FPS_MAX:
            raise wrong(f"The limits of FpsWithSource are 1 to {FPS_MAX}, and UpLimit is above LowerLimit.")
    elif not given.fps:
        raise error("MissingParam", f"FPS is mandatory for TemplateType {given.type}.")
    if not 0 <= given.video_kbps <= VIDEO_KBPS_MAX:
        raise wrong(f"VideoBitrate is 1 to {VIDEO_KBPS_MAX}.")
    if not 0 <= given.fps <= FPS_MAX:
        raise wrong(f"FPS is 1 to {FPS_MAX}.")
    if given.profile not in (0, 1, 2, 3):
        raise wrong("Profile is 1 (baseline), 2 (main) or 3 (high).")
    _read_gop(kind, given.gop)


def _read_gop(kind: Kind, text: str) -> tuple[int, int]:
    """Pictures and seconds from one key frame to the next; one of them is 0, both are for "". Raises InvalidParam.

    A number is of pictures; for RTS it is of seconds.
    """
    if not text:
        return 0, 0
    match = _GOP.fullmatch(text)
    number = int(match[1]) if match is not None else 0
    if kind == "rts":
        if not 1 <= number <= RTS_GOP_S_MAX:
            raise wrong(f"Gop is 1 to {RTS_GOP_S_MAX}, in seconds.")
        return 0, number
    assert match is None or match[2] in ("", "s")
    in_seconds = match is not None and match[2] == "s"
    if not 1 <= number <= (GOP_S_MAX if in_seconds else GOP_FRAMES_MAX):
        raise wrong(f"Gop is 1 to {GOP_FRAMES_MAX} pictures, or 1s to {GOP_S_MAX}s.")
    return (0, number) if in_seconds else (number, 0)


def _check_audio(given: Parameters) -> None:
    if given.audio_codec.upper() not in ("", "AAC", "MP3"):
        raise wrong("AudioCodec is AAC or MP3.")
    profiles = get_args(AudioProfile)
    if given.audio_profile not in profiles:
        raise wrong(f"AudioProfile is one of {', '.join(profiles[1:])}.")
    if given.audio_profile and given.audio_codec.upper() == "MP3":
        raise wrong("AudioProfile is one of AAC, and AudioCodec is MP3.")
    if not 0 <= given.audio_kbps <= AUDIO_KBPS_MAX:
        raise wrong(f"AudioBitrate is 1 to {AUDIO_KBPS_MAX}.")
    if given.audio_rate and given.audio_rate not in AUDIO_RATES:
        raise wrong(f"AudioRate is {AUDIO_RATES[0]} to {AUDIO_RATES[-1]}.")
    if given.audio_profile == "aac_ld" and given.audio_rate > AAC_LD_RATE_MAX:
        raise wrong(f"AudioRate is at most {AAC_LD_RATE_MAX} for aac_ld.")
    if given.audio_channels not in (0, 1, 2):
        raise wrong("AudioChannelNum is 1 or 2.")
    if given.audio_profile == "aac_he_v2" and given.audio_channels == 1:
        raise wrong("aac_he_v2 is stereo, so AudioChannelNum is 2.")


def rendition(kind: Kind, app: str, template: str, given: Parameters, *, lazy: bool) -> Rendition:
    """What checked parameters make of the streams of an app."""
    video = None if given.type == "audio" else _video(kind, given)
    return Rendition(app=app, template=template, lazy=lazy, video=video, audio=_audio(given))


def _video(kind: Kind, given: Parameters) -> Video:
    res, bitrate, fps, ext = given.res_with_source, given.bitrate_with_source, given.fps_with_source, given.ext_with_source
    profile: Literal[1, 2, 3] = 1 if given.profile == 1 else 2 if given.profile == 2 else 3
    if given.type == "h264-origin":
        # the source's own parameters: only B-frames, if they are in the way, are a reason to encode
        without = given.delete_bframes
        return Video(codec="copy", profile=profile, bframes=not without, low_latency=without, sei=True)
    gop_frames, gop_s = _read_gop(kind, given.gop)
    fit_width, fit_height = 0, 0
    if res is not None:
        fit_width, fit_height = (*map(int, _edges(res)), 0)[:2]
    return Video(
        codec="h265" if given.type.startswith("h265") else "h264",
        width=given.width if res is None else 0,
        height=given.height if res is None else 0,
        fit="" if res is None else res.type,
        fit_width=fit_width,
        fit_height=fit_height,
        kbps=given.video_kbps if bitrate is None else 0,
        kbps_factor=0.0 if bitrate is None else bitrate.factor,
        kbps_min=0 if bitrate is None else bitrate.lower_limit,
        kbps_max=0 if bitrate is None else bitrate.up_limit,
        fps=given.fps if fps is None else 0,
        fps_min=0 if fps is None else fps.lower_limit,
        fps_max=0 if fps is None else fps.up_limit,
        gop_frames=gop_frames,
        gop_s=gop_s,
        align=not given.gop or (ext is not None and ext.key_frame_open == "yes"),
        profile=profile,
        bframes=not (given.delete_bframes or profile == 1),
        low_latency=given.delete_bframes,
        narrowband=given.type.endswith("-nbhd"),
        deinterlace=given.deinterlace,
        sei=ext is not None and ext.sei_mode == 1,
        copyts=ext is None or ext.copyts == "yes",
    )


def _audio(given: Parameters) -> Audio:
    if given.opus:
        kbps = min(given.audio_kbps, OPUS_KBPS_MAX)
        return Audio(codec="opus", kbps=kbps, rate=given.audio_rate, channels=given.audio_channels)
    chosen = given.audio_codec or given.audio_profile or given.audio_kbps or given.audio_rate or given.audio_channels
    if not chosen:
        return Audio()
    codec: Literal["aac", "mp3"] = "mp3" if given.audio_codec.upper() == "MP3" else "aac"
    return Audio(
        codec=codec,
        kbps=given.audio_kbps,
        rate=given.audio_rate,
        channels=given.audio_channels,
        profile=given.audio_profile,
    )
