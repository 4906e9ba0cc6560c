"""Promises about transcoding templates, multi-bitrate groups, and what is known of renditions."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest

from headwater.access import plan as plans
from headwater.access import presence
from headwater.access.cost import cost_cores
from headwater.access.plan import Audio, Plan, Rendition, Video
from headwater.access.presence import StreamPresence
from headwater.domains import transcode_parameters
from headwater.domains.errors import DomainError
from headwater.domains.presets import PRESETS, preset
from headwater.domains.transcode_parameters import (
    BitrateWithSource,
    ExtWithSource,
    FpsWithSource,
    Kind,
    Parameters,
    ResWithSource,
    check_name,
    checked,
    read_with_source,
)
from headwater.domains.transcoding import TEMPLATES_MAX, TranscodingService, renditions_max
from headwater.store.models import TranscodeTemplate
from support.domain_world import ACTOR, PLAY, PUSH, World, code, refused
from support.transcoding import JobCenter, job

VIDEO = Parameters(type="h264", width=1280, height=720, fps=30, video_kbps=2000)


def service(world: World) -> TranscodingService:
    return world.services.transcoding


async def add(world: World, template: str = "own", app: str = "live", lazy: bool = True, **changes: Any) -> None:
    given = msgspec.structs.replace(VIDEO, **changes)
    await service(world).add(world.account, PLAY, app, template, kind="custom", lazy=lazy, parameters=given, actor=ACTOR)


async def plan_of(world: World) -> Plan | None:
    entry = await world.cluster.get(plans.plan_key(PLAY))
    return None if entry is None else plans.decode(entry.value)


def made(kind: Kind = "custom", **changes: Any) -> Rendition:
    given = checked(kind, msgspec.structs.replace(VIDEO, **changes))
    return transcode_parameters.rendition(kind, "live", "own", given, lazy=True)


def video(kind: Kind = "custom", **changes: Any) -> Video:
    found = made(kind, **changes).video
    assert found is not None
    return found


async def test_templates_reach_the_plan_at_once_are_changed_and_go(world: World) -> None:
    await world.pair()
    await service(world).add(world.account, PLAY, "live", "lhd", kind="preset", lazy=False, actor=ACTOR)
    await add(world, app="*")
    plan = await plan_of(world)
    assert plan is not None
    assert plan.renditions_max == 50
    assert {(item.app, item.template, item.lazy) for item in plan.renditions} == {("*", "own", True), ("live", "lhd", False)}
    assert preset("live", "lhd", lazy=False) in plan.renditions
    await service(world).update(world.account, PLAY, "live", "lhd", kind="preset", actor=ACTOR)
    changed = msgspec.structs.replace(VIDEO, video_kbps=900)
    update = service(world).update(world.account, PLAY, "*", "own", kind="custom", lazy=False, parameters=changed, actor=ACTOR)
    await update
    by_app = {item.app: item for item in await service(world).templates(world.account, PLAY)}
    assert (by_app["live"].lazy, by_app["*"].lazy, by_app["*"].parameters) == (False, False, changed)
    assert [item.app for item in await service(world).templates(world.account, PLAY, app="live")] == ["live"]
    assert await code(add(world, app="*")) == "ConfigAlreadyExists"
    for app, template in (("live", "lhd"), ("*", "own")):
        await service(world).remove(world.account, PLAY, app, template, actor=ACTOR)
    assert await plan_of(world) is None
    assert await code(service(world).remove(world.account, PLAY, "live", "lhd", actor=ACTOR)) == "ConfigNotFound"


async def test_a_template_of_another_kind_is_not_found_and_foreign_domains_are_not_there(world: World) -> None:
    await world.pair()
    await add(world)
    others: list[tuple[Literal["preset", "rts"], str]] = [("preset", "lhd"), ("rts", "own")]
    for kind, template in others:
        update = service(world).update(world.account, PLAY, "live", template, kind=kind, parameters=VIDEO, actor=ACTOR)
        assert await code(update) == "ConfigNotFound"
    assert await code(service(world).templates(world.stranger, PLAY)) == "InvalidDomain.NotFound"
    assert await code(service(world).templates(world.account, PUSH)) == "IllegalOperation"
    add_preset = service(world).add(world.account, PLAY, "live", "own2", kind="preset", actor=ACTOR)
    assert "lld" in (await refused(add_preset)).message
    async with world.database.write() as session:
        for number in range(TEMPLATES_MAX - 1):
            fields = {"domain": PLAY, "app": "live", "template": f"t{number}", "parameters": "", "created_s": 1}
            session.add(TranscodeTemplate(kind="preset", lazy=True, **fields))
    assert await code(add(world, "more")) == "QuotaExceeded.TranscodeConfig"


async def test_a_deleted_domain_takes_its_templates_and_its_plan_along(world: World) -> None:
    await world.pair()
    await add(world)
    await world.domains.delete(world.account, PLAY, actor=ACTOR)
    assert await plan_of(world) is None
    await world.domains.add(world.account, PLAY, "liveVideo", "cn-shanghai", actor=ACTOR)
    assert await service(world).templates(world.account, PLAY) == []


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_no_custom_template_has_the_name_of_a_standard_one(name: str) -> None:
    with pytest.raises(DomainError, match="standard template"):
        check_name("custom", name)


@pytest.mark.parametrize(
    ("kind", "name", "good"),
    [
        ("custom", "a-1", True),
        ("custom", "a_1", False),
        ("rts", "a_1", True),
        ("custom", "-a", False),
        ("rts", "_a", False),
        ("custom", "", False),
        ("custom", "a b", False),
        ("custom", "ü", False),
        ("custom", "a" * 64, True),
        ("custom", "a" * 65, False),
        ("custom", "a\n", False),
    ],
)
def test_names_of_templates_are_what_the_reference_says(kind: Kind, name: str, good: bool) -> None:
    if good:
        check_name(kind, name)
    else:
        with pytest.raises(DomainError, match="InvalidParam"):
            check_name(kind, name)


RES, BITRATE, FPS = ResWithSource("short", "720"), BitrateWithSource(2000, 500, 0.8), FpsWithSource(30, 15)


@pytest.mark.parametrize(
    ("kind", "changes", "good"),
    [
        ("custom", {"type": "vp9"}, False),
        ("custom", {"type": "h264-origin"}, False),
        ("rts", {"type": "h265"}, False),
        ("custom", {"height": 99}, False),
        ("custom", {"height": 100, "width": 100}, True),
        ("custom", {"height": 1440, "width": 2560}, True),
        ("custom", {"height": 2560, "width": 1440}, True),
        ("custom", {"height": 1441, "width": 2560}, False),
        ("custom", {"height": 720, "width": 2561}, False),
        ("custom", {"height": 1560, "width": 1560}, False),
        ("custom", {"type": "h265-nbhd"}, True),
        ("custom", {"type": "h265-nbhd", "width": 1281}, False),
        ("custom", {"type": "h265-nbhd", "height": 721}, False),
        ("custom", {"type": "h265-nbhd", "res_with_source": ResWithSource("short", "1080")}, False),
        ("rts", {"type": "h264-origin", "width": 3840, "height": 2160}, True),
        ("rts", {"type": "h264-origin", "width": 5000, "height": 2160}, False),
        ("custom", {"fps": 60}, True),
        ("custom", {"fps": 61}, False),
        ("custom", {"fps": -1}, False),
        ("custom", {"video_kbps": 6000}, True),
        ("custom", {"video_kbps": 6001}, False),
        ("custom", {"video_kbps": -5}, False),
        *[("custom", {"gop": gop}, True) for gop in ("1", "3000", "1s", "20s")],
        *[("custom", {"gop": gop}, False) for gop in ("0", "3001", "0s", "21s", "2 s", "s", "-1", "1.5", "01", "٣")],
        *[("rts", {"gop": gop}, good) for gop, good in (("1", True), ("3", True), ("4", False), ("0", False), ("50", False))],
        ("custom", {"profile": 4}, False),
        ("custom", {"audio_kbps": 1000}, True),
        ("custom", {"audio_kbps": 1001}, False),
        ("custom", {"audio_rate": 22_049}, False),
        ("custom", {"audio_rate": 96_000}, True),
        ("custom", {"audio_rate": 96_001}, False),
        ("custom", {"audio_rate": 48_000, "audio_profile": "aac_ld"}, False),
        ("custom", {"audio_rate": 44_100, "audio_profile": "aac_ld"}, True),
        ("custom", {"audio_codec": "opus"}, False),
        ("custom", {"audio_codec": "mp3"}, True),
        ("custom", {"audio_codec": "MP3", "audio_profile": "aac_low"}, False),
        ("custom", {"audio_profile": "aac_xx"}, False),
        ("custom", {"audio_profile": "aac_he_v2", "audio_channels": 1}, False),
        ("custom", {"audio_channels": 3}, False),
        *[("custom", {"res_with_source": ResWithSource("short", value)}, value == "540") for value in ("540", "541", "x", "")],
        *[
            ("custom", {"res_with_source": ResWithSource("screen", value)}, True)
            for value in ("1280x720", "1280X720", "1280*720")
        ],
        ("custom", {"res_with_source": ResWithSource("screen", "720x1280")}, False),
        ("custom", {"res_with_source": ResWithSource("long", "848")}, True),
        ("custom", {"bitrate_with_source": BitrateWithSource(10_000, 128, 0.1)}, True),
        ("custom", {"bitrate_with_source": BitrateWithSource(10_001, 128, 0.1)}, False),
        ("custom", {"bitrate_with_source": BitrateWithSource(500, 127, 0.1)}, False),
        ("custom", {"bitrate_with_source": BitrateWithSource(500, 500, 0.1)}, False),
        ("custom", {"bitrate_with_source": BitrateWithSource(500, 200, 1.1)}, False),
        ("custom", {"fps_with_source": FpsWithSource(60, 1)}, True),
        ("custom", {"fps_with_source": FpsWithSource(61, 1)}, False),
        ("custom", {"fps_with_source": FpsWithSource(25, 25)}, False),
    ],
)
def test_every_parameter_has_its_range(kind: Kind, changes: dict[str, Any], good: bool) -> None:
    given = msgspec.structs.replace(VIDEO, **changes)
    if good:
        assert checked(kind, given) == given
    else:
        with pytest.raises(DomainError, match="InvalidParam"):
            checked(kind, given)


@pytest.mark.parametrize("name", ["width", "height", "fps", "video_kbps"])
def test_what_is_mandatory_for_video_may_be_left_out_only_if_the_source_decides(name: str) -> None:
    lacking = msgspec.structs.replace(VIDEO, **{name: 0})
    with pytest.raises(DomainError, match="MissingParam"):
        checked("custom", lacking)
    by_source = {"res_with_source": RES, "bitrate_with_source": BITRATE, "fps_with_source": FPS}
    checked("custom", msgspec.structs.replace(lacking, **by_source))


def test_sound_alone_needs_no_picture_and_for_rts_a_rate() -> None:
    kept = checked("custom", Parameters(type="audio", width=5, audio_kbps=64))
    assert kept == Parameters(type="audio", audio_kbps=64)
    rendition = transcode_parameters.rendition("custom", "live", "sound", kept, lazy=False)
    assert rendition == Rendition("live", "sound", False, None, Audio("aac", 64))
    with pytest.raises(DomainError, match="AudioBitrate"):
        checked("rts", Parameters(type="audio"))


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '"x"', "{}", '{"Type": "tall", "Value": "720"}', '{"Type": "short", "Value": "720", "x": 1}', "[" * 100_000],
)
def test_json_that_is_none_of_the_parameter_is_refused(text: str) -> None:
    with pytest.raises(DomainError, match="InvalidParam"):
        read_with_source("ResWithSource", text, ResWithSource)


def test_numbers_in_json_may_be_texts() -> None:
    text = '{"UpLimit": "2000", "LowerLimit": 500, "Factor": "0.8"}'
    assert read_with_source("BitrateWithSource", text, BitrateWithSource) == BITRATE
    assert read_with_source("ExtWithSource", '{"SeiMode": 1}', ExtWithSource) == ExtWithSource(sei_mode=1)


def test_parameters_mean_the_rendition_that_they_say() -> None:
    assert video() == Video(width=1280, height=720, kbps=2000, fps=30)
    assert video(type="h265-nbhd", gop="2s", profile=2) == Video(
        "h265", 1280, 720, kbps=2000, fps=30, gop_s=2, align=False, profile=2, narrowband=True
    )
    by_source = video(res_with_source=ResWithSource("screen", "1280x720"), bitrate_with_source=BITRATE, fps_with_source=FPS)
    assert by_source == Video(
        fit="screen", fit_width=1280, fit_height=720, kbps_factor=0.8, kbps_min=500, kbps_max=2000, fps_min=15, fps_max=30
    )
    assert video(gop="50", ext_with_source=ExtWithSource("yes", "yes", 1)).align
    assert video(gop="50", ext_with_source=ExtWithSource("no", "no", 1)) == Video(
        width=1280, height=720, kbps=2000, fps=30, gop_frames=50, align=False, sei=True, copyts=False
    )
    assert video("rts", gop="2", delete_bframes=True) == Video(
        width=1280, height=720, kbps=2000, fps=30, gop_s=2, align=False, bframes=False, low_latency=True
    )
    assert video("rts", type="h264-origin").codec == "copy"
    assert made("rts", opus=True, audio_kbps=1000).audio == Audio("opus", 256)
    assert made().audio == Audio()
    assert made(audio_codec="MP3", audio_kbps=128, audio_rate=44_100, audio_channels=2).audio == Audio("mp3", 128, 44_100, 2)


async def test_a_group_offers_templates_that_run_all_the_time(world: World) -> None:
    await world.pair()
    groups = service(world)
    await add(world, "high", lazy=False, gop="2s")
    await add(world, "low", lazy=False)
    await add(world, "late")
    await groups.add(world.account, PLAY, "live", "lld-ll", kind="preset", lazy=False, actor=ACTOR)
    for name, children, expected in (
        ("a_b", ["high"], "InvalidName"),
        ("elevenchars", ["high"], "InvalidName"),
        ("lhd", ["high"], "InvalidName"),
        ("high", ["low"], "InvalidName"),
        ("g", [], "InvalidChildren"),
        ("g", [""], "InvalidChildren"),
        ("g", ["high", "high"], "InvalidChildren"),
        ("g", ["none"], "InvalidChildren"),
        ("g", ["late"], "InvalidChildren"),
        ("g", ["lld"], "InvalidChildren"),
    ):
        assert await code(groups.set_group(world.account, PLAY, "live", name, children, actor=ACTOR)) == expected, children
    await groups.set_group(world.account, PLAY, "live", "multi-1", ["high", "low", "lld-ll", ""], actor=ACTOR)
    plan = await plan_of(world)
    assert plan is not None
    assert [(group.name, group.children) for group in plan.groups] == [("multi-1", ("high", "low", "lld-ll", ""))]
    (high,) = [item for item in plan.renditions if item.template == "high"]
    assert high.video is not None
    assert high.video.align
    remove = groups.remove(world.account, PLAY, "live", "high", actor=ACTOR)
    assert await code(remove) == "ConfigConflict"
    lazy = groups.update(world.account, PLAY, "live", "low", kind="custom", lazy=True, parameters=VIDEO, actor=ACTOR)
    assert await code(lazy) == "ConfigConflict"
    assert await code(add(world, "multi-1")) == "InvalidParam"
    changed = await groups.set_group(world.account, PLAY, "live", "multi-1", ["low"], align=False, actor=ACTOR)
    assert await groups.groups(world.account, PLAY) == [changed]
    await groups.remove_group(world.account, PLAY, "live", "multi-1", actor=ACTOR)
    assert await code(groups.remove_group(world.account, PLAY, "live", "multi-1", actor=ACTOR)) == "ConfigNotFound"
    await groups.remove(world.account, PLAY, "live", "high", actor=ACTOR)


async def test_what_runs_is_counted_and_asked_of_the_center(world: World) -> None:
    await world.pair()
    await add(world)
    source = StreamPresence(PLAY, "live", "cam", "s", PUSH, "", 1.0, "", "", "node", 0)
    other = msgspec.structs.replace(source, stream="other")
    rendition = msgspec.structs.replace(source, stream="cam_own", source="cam", template="own")
    for item in (source, other, rendition):
        await world.cluster.put(presence.stream_key(PLAY, "live", item.stream), presence.encode(item))
    counts = await service(world).counts(world.account, PLAY)
    assert (counts.streams, counts.transcoded, counts.renditions, counts.lazy, dict(counts.templates)) == (
        2,
        1,
        1,
        1,
        {"own": 1},
    )
    assert await service(world).limit(world.account, PLAY) == (1, 50)
    center = JobCenter(job(PLAY, "live", "cam", "own"))
    service(world)._centers = center  # type: ignore[assignment]
    state = await service(world).task(world.account, PUSH, "live", "cam", "own")
    assert (state.state, state.detail) == ("running", "fine")
    assert await code(service(world).task(world.account, PUSH, "live", "cam", "lld")) == "InvalidStream.NotFound"
    assert await code(service(world).task(world.account, PUSH, "live", "cam", "")) == "MissingParam"
    assert await code(service(world).task(world.account, PLAY, "live", "cam", "own")) == "InvalidPushDomain"
    await service(world).restart(world.account, PUSH, "live", "cam", "own", actor=ACTOR)
    sei = {"pattern": "frame", "repeat": -1, "delay_ms": 0}
    await service(world).insert_sei(world.account, PLAY, "live", "cam", "goal", **sei)  # type: ignore[arg-type]
    assert [(path, body["stream"]) for _, path, body in center.asked] == [
        ("/transcode/restart", "cam"),
        ("/transcode/sei", "cam"),
    ]
    for stream, text, changes, expected in (
        ("other", "goal", {}, "InvalidStream.NotFound"),
        ("cam", "ä" * 2001, {}, "InvalidText"),
        ("cam", "x", {"repeat": -2}, "InvalidRepeat"),
        ("cam", "x", {"delay_ms": -1}, "InvalidDelay"),
    ):
        call = service(world).insert_sei(world.account, PLAY, "live", stream, text, **{**sei, **changes})  # type: ignore[arg-type]
        assert await code(call) == expected


async def test_without_a_center_the_answer_says_so(world: World) -> None:
    await world.pair()
    call = service(world).insert_sei(world.account, PLAY, "live", "cam", "x", pattern="frame", repeat=0, delay_ms=0)
    assert await code(call) == "ServiceUnavailable"


async def test_templates_for_mixing_have_all_their_fields(world: World) -> None:
    good = '{"height": 720, "scale": "1", "gop": 2, "bframes": 0, "cdesc": "x"}'
    await service(world).add_mix_template(world.account, "mix", good, actor=ACTOR)
    assert await code(service(world).add_mix_template(world.account, "mix", good, actor=ACTOR)) == "ConfigAlreadyExists"
    for name, content, expected in (
        ("-x", good, "InvalidTemplate"),
        ("y", "{}", "InvalidCustomTemplate"),
        ("y", "no", "InvalidCustomTemplate"),
        ("y", good.replace("}", ', "more": 1}'), "InvalidCustomTemplate"),
        ("y", good.replace("x", "x" * 5000), "InvalidCustomTemplate"),
    ):
        assert await code(service(world).add_mix_template(world.account, name, content, actor=ACTOR)) == expected
    assert await service(world).mix_templates(world.account) == {"mix": good}
    assert await service(world).mix_templates(world.stranger) == {}
    await service(world).remove_mix_template(world.account, "mix", actor=ACTOR)
    assert await code(service(world).mix_template(world.account, "mix")) == "ConfigNotFound"


def test_centers_have_the_documented_numbers_of_renditions_unless_the_operator_says_otherwise() -> None:
    assert [renditions_max(region) for region in ("cn-shanghai", "cn-beijing", "cn-shenzhen", "eu-central-1")] == [
        300,
        300,
        300,
        50,
    ]
    assert renditions_max("cn-shanghai", 7) == 7


def test_the_estimate_grows_with_the_picture_its_rate_and_the_codec() -> None:
    def cost(template: str, width: int = 1920, height: int = 1080, fps: float = 30) -> float:
        return cost_cores(preset("live", template, lazy=True), width, height, fps)

    assert cost("lld") < cost("lsd") < cost("lhd") < cost("lud") < cost("lud265")
    assert cost("lud") < cost("ud")
    assert cost("lud", fps=15) < cost("lud", fps=30)
    assert cost("lld") == cost("lld", 1080, 1920)
    assert cost("lud", 640, 360) < cost("lud")
    assert cost_cores(made("rts", type="h264-origin"), 1920, 1080, 30) == cost_cores(Rendition("a", "b"), 0, 0, 0)
