"""The transcoding department: which job a stream needs, with which renditions and watermark."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from headwater.access.plan import Plan, Rendition, Video, Watermark
from headwater.access.presence import StreamPresence
from headwater.center.transcode.spec import Spec
from headwater.center.transcoding import mark_of, matches, spec_of

CAM = StreamPresence("play.test", "live", "cam", "s", "", "", 0.0, "", "", "node", 0)
SPOOL = Path("/spool")
RENDITIONS = (
    Rendition("*", "lld", video=Video(height=360)),
    Rendition("*", "lsd", video=Video(height=432)),
    Rendition("live", "lld", video=Video(height=300)),
    Rendition("other", "lhd", video=Video(height=648)),
)


def spec(plan: Plan, granted: list[str], stream: StreamPresence = CAM) -> Spec | None:
    return spec_of(stream, plan, dict.fromkeys(granted, 0.0), SPOOL, threads=2, nvenc=True)


def test_one_job_makes_all_renditions_that_may_run_and_the_exact_app_beats_any() -> None:
    made = spec(Plan("play.test", "1", "cn", renditions=RENDITIONS), ["lsd", "lld", "lhd"])
    assert made is not None
    assert [(one.template, one.video.height) for one in made.renditions if one.video] == [("lld", 300), ("lsd", 432)]
    assert (made.threads, made.nvenc) == (2, True)


def test_the_spec_does_not_change_with_what_is_measured_of_the_stream() -> None:
    plan = Plan("play.test", "1", "cn", renditions=RENDITIONS)
    busy = msgspec.structs.replace(CAM, video_kbps=4000, frame_rate=24, width=1920, height=1080)
    assert spec(plan, ["lld"]) == spec(plan, ["lld"], busy)


def test_nothing_is_made_without_demand_and_of_products() -> None:
    plan = Plan("play.test", "1", "cn", renditions=RENDITIONS)
    assert spec(plan, []) is None
    assert spec(plan, ["lhd"]) is None
    assert spec(plan, ["lld"], msgspec.structs.replace(CAM, stream="cam_lsd", source="cam", template="lsd")) is None


@pytest.mark.parametrize(
    ("pattern", "name", "wanted"),
    [
        ("*", "anything", True),
        ("cam", "cam", True),
        ("cam", "Cam", False),
        ("cam", "cam2", False),
        ("*(t1|t2)", "streamt1", True),
        ("*(t1|t2)", "t2", True),
        ("*(t1|t2)", "t1x", False),
        ("(abc|123)*", "abcdef", True),
        ("(abc|123)*", "123", True),
        ("(abc|123)*", "xabc", False),
        ("cam*", "camera", True),
        ("*era", "camera", True),
        ("*era", "erasmus", False),
    ],
)
def test_patterns_of_watermark_rules(pattern: str, name: str, wanted: bool) -> None:
    assert matches(pattern, name) == wanted


def test_the_rule_that_says_most_gives_the_watermark() -> None:
    def mark(rule: str, app: str, stream: str) -> Watermark:
        return Watermark(rule, app, stream, f"picture/{rule}", 1920, 1080, 100, 10, 10)

    patterns = {"1": ("*", "*"), "2": ("live", "*"), "3": ("live", "(cam|x)*"), "4": ("live", "cam"), "5": ("*", "cam")}
    rules = tuple(mark(rule, *where) for rule, where in patterns.items())
    for expected in ("4", "3", "2", "5", "1"):
        found = mark_of(Plan("play.test", "1", "cn", watermarks=rules), "live", "cam")
        assert found is not None
        assert found.rule == expected
        rules = tuple(one for one in rules if one.rule != expected)
    assert mark_of(Plan("play.test", "1", "cn"), "live", "cam") is None
    plan = Plan("play.test", "1", "cn", renditions=RENDITIONS, watermarks=(mark("9", "live", "cam"),))
    made = spec(plan, ["lld"])
    assert made is not None
    assert made.marks[0].path == "/spool/picture_9"
