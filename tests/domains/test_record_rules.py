"""Recording templates are checked as the service documents it."""

from __future__ import annotations

import pytest

from headwater.access.plan import RecordFormat
from headwater.domains import record_rules
from headwater.domains.errors import DomainError
from headwater.domains.record_rules import GivenFormat
from headwater.domains.rules import format_time

FILE, SLICE = "record/{AppName}/{StreamName}/{Sequence}_{EscapedStartTime}_{EndTime}", "{UnixTimestamp}_{Sequence}"
NOW_S = 1_700_000_000.0
DAY_S = 86_400


def fault(given: GivenFormat) -> str:
    with pytest.raises(DomainError) as error:
        record_rules.formats([given])
    return error.value.code


def test_what_is_not_said_of_a_format_is_the_default() -> None:
    given = [GivenFormat(kind, object_prefix=FILE, slice_object_prefix=SLICE) for kind in ("m3u8", "flv", "mp4")]
    assert record_rules.formats(given) == (
        RecordFormat("m3u8", 21_600, FILE, SLICE, 30),
        RecordFormat("flv", 3600, FILE),
        RecordFormat("mp4", 3600, FILE),
    )


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (GivenFormat("avi", object_prefix=FILE), "InvalidFormat.Malformed"),
        (GivenFormat("", object_prefix=FILE), "InvalidFormat.Malformed"),
        (GivenFormat("mp4"), "MissingOssObjectPrefix"),
        (GivenFormat("mp4", object_prefix="{StartTime}"), "InvalidOssObjectPrefix.Malformed"),
        (GivenFormat("mp4", object_prefix="{EscapedEndTime}"), "InvalidOssObjectPrefix.Malformed"),
        (GivenFormat("mp4", object_prefix="{StartTime}_{EndTime}_{Time}"), "InvalidOssObjectPrefix.Malformed"),
        (GivenFormat("mp4", object_prefix="{StartTime}_{EndTime}_{"), "InvalidOssObjectPrefix.Malformed"),
        (GivenFormat("mp4", object_prefix="../{StartTime}_{EndTime}"), "InvalidOssObjectPrefix.Malformed"),
        (GivenFormat("mp4", object_prefix="{StartTime}_{EndTime}" + "x" * 235), "InvalidOssObjectPrefix.Malformed"),
        (GivenFormat("mp4", 4, FILE), "InvalidCycleDuration.Malformed"),
        (GivenFormat("mp4", 21_601, FILE), "InvalidCycleDuration.Malformed"),
        (GivenFormat("m3u8", 20, FILE, SLICE), "InvalidCycleDuration.Malformed"),
        (GivenFormat("m3u8", None, FILE), "MissingSliceOssObjectPrefix"),
        (GivenFormat("m3u8", None, FILE, "{Sequence}"), "InvalidSliceOssObjectPrefix.Malformed"),
        (GivenFormat("cmaf", None, FILE, "{UnixTimestamp}"), "InvalidSliceOssObjectPrefix.Malformed"),
        (GivenFormat("m3u8", None, FILE, SLICE, 4), "InvalidSliceDuration"),
        (GivenFormat("m3u8", None, FILE, SLICE, 31), "InvalidSliceDuration"),
    ],
)
def test_a_format_that_cannot_be_is_refused(given: GivenFormat, code: str) -> None:
    assert fault(given) == code


def test_names_of_254_bytes_will_do() -> None:
    prefix = "{StartTime}_{EndTime}"
    longest = prefix + "x" * (255 - len(prefix))
    assert record_rules.formats([GivenFormat("mp4", object_prefix=longest)])[0].object_prefix == longest


def test_files_of_two_formats_do_not_have_one_name() -> None:
    sliced = [GivenFormat(kind, None, FILE, SLICE) for kind in ("m3u8", "cmaf")]
    with pytest.raises(DomainError, match="need other names"):
        record_rules.formats(sliced)
    with pytest.raises(DomainError, match="once"):
        record_rules.formats([sliced[0], sliced[0]])


def test_a_changed_format_keeps_its_names_and_a_new_one_takes_those_of_the_others() -> None:
    before = record_rules.formats([GivenFormat("m3u8", 600, FILE, SLICE, 5)])
    assert record_rules.formats([GivenFormat("m3u8", 900), GivenFormat("mp4")], before) == (
        RecordFormat("m3u8", 900, FILE, SLICE, 30),
        RecordFormat("mp4", 3600, FILE),
    )


def test_renditions_are_recorded_by_name_in_files_of_their_own() -> None:
    source = record_rules.formats([GivenFormat("mp4", None, FILE)])
    plain = record_rules.formats([GivenFormat("mp4", None, "all/{StartTime}_{EndTime}")])
    assert record_rules.renditions(["ld", "sd", "ld"], source, source) == ("ld", "sd")
    assert record_rules.renditions(["ld"], source, plain) == ("ld",)
    for templates, of_source, of_renditions, code in (
        ([], (), (), "MissingRecordFormat"),
        ([], source, plain, "MissingTranscodeTemplates"),
        (["ld"], source, (), "MissingTranscodeRecordFormat"),
        (["l/d"], source, plain, "InvalidTranscodeTemplates"),
        (["ld", "sd"], source, plain, "InvalidOssObjectPrefix.Malformed"),
        (["ld"], plain, plain, "InvalidOssObjectPrefix.Malformed"),
    ):
        with pytest.raises(DomainError) as error:
            record_rules.renditions(templates, of_source, of_renditions)
        assert error.value.code == code


def test_a_time_is_for_one_stream_and_a_week_at_most() -> None:
    def period(start: float, end: float, stream: str = "cam") -> tuple[float, float]:
        texts = [format_time(text) if text else "" for text in (start, end)]
        return record_rules.period(texts[0], texts[1], stream, NOW_S)

    assert period(0, 0, "*") == (0, 0)
    assert period(NOW_S + 60, NOW_S + 120) == (NOW_S + 60, NOW_S + 120)
    assert period(NOW_S - 60, 0) == (NOW_S - 60, 0)
    assert period(NOW_S, NOW_S + 30 * DAY_S) == (NOW_S, NOW_S + 7 * DAY_S)
    assert period(0, NOW_S + 30 * DAY_S) == (0, NOW_S + 7 * DAY_S)
    for start, end, stream, code in (
        (NOW_S, 0, "*", "InvalidStartTime.Malformed"),
        (0, NOW_S + 60, "*", "InvalidEndTime.Malformed"),
        (NOW_S + 8 * DAY_S, 0, "cam", "InvalidStartTime.Malformed"),
        (NOW_S + 60, NOW_S + 60, "cam", "InvalidEndTime.Mismatch"),
        (0, NOW_S, "cam", "InvalidEndTime.Malformed"),
    ):
        with pytest.raises(DomainError) as error:
            period(start, end, stream)
        assert error.value.code == code
    with pytest.raises(DomainError, match="there is no time"):
        record_rules.period("2026-13-01T00:00:00Z", "", "cam", NOW_S)
