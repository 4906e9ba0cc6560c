"""The demo's parts: the test picture moves and sounds, and the check finds whatever is wrong with a stream."""

from __future__ import annotations

import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from headwater.demo import source
from headwater.demo.check import check


class Frames(threading.Event):
    """Ends a push after some frames, without waiting for the clock."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._left = count

    def wait(self, timeout: float | None = None) -> bool:
        self._left -= 1
        if self._left <= 0:
            self.set()
        return self.is_set()


def test_the_tone_repeats_each_second_without_a_click() -> None:
    second = source.tone(0, source.SAMPLE_RATE)
    assert source.tone(source.SAMPLE_RATE - 10, 20) == second[-10:] + second[:10]
    assert max(second) > source.TONE_AMPLITUDE * 0.99
    assert max(second[source.SAMPLE_RATE // 2 :]) <= source.HUM_AMPLITUDE


def test_a_viewer_of_the_test_picture_waits_two_seconds_at_most(tmp_path: Path) -> None:
    file = tmp_path / "picture.flv"
    with av.open(str(file), "w", format="flv") as output:
        source.Publisher(output).run(Frames(110))
    with av.open(str(file)) as written:
        keys = [packet.pts or 0 for packet in written.demux(video=0) if packet.is_keyframe and packet.size]
    assert [key - keys[0] for key in keys] == [0, 2000, 4000]


async def test_the_check_accepts_the_test_picture(tmp_path: Path) -> None:
    file = tmp_path / "picture.flv"
    with av.open(str(file), "w", format="flv") as output:
        source.Publisher(output).run(Frames(110))
    outcome = await check("file", str(file))
    assert outcome.fault is None
    assert outcome.picture == "640x360"
    assert outcome.sound == "44100 Hz"


def write(file: Path, picture: Callable[[int], str] | None, loudness: int | None, seconds: float = 5.0) -> None:
    """A clip of plain colours and of a square wave."""
    with av.open(str(file), "w", format="flv") as output:
        video = output.add_stream("libx264", rate=25, options={"preset": "ultrafast"}) if picture else None
        audio = output.add_stream("aac", rate=44100, layout="mono") if loudness is not None else None
        if video is not None and picture is not None:
            video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
            for index in range(int(25 * seconds)):
                image = av.VideoFrame.from_image(Image.new("RGB", (64, 64), picture(index)))  # type: ignore[no-untyped-call]
                image.pts, image.time_base = index, Fraction(1, 25)
                output.mux(video.encode(image))
            output.mux(video.encode(None))
        if audio is not None and loudness is not None:
            for start in range(0, int(44100 * seconds), 1024):
                sound = av.AudioFrame(format="s16", layout="mono", samples=1024)
                wave = (
                    loudness.to_bytes(2, "little", signed=True) * 32 + (-loudness).to_bytes(2, "little", signed=True) * 32
                ) * 16
                sound.planes[0].update(wave)
                sound.sample_rate, sound.pts, sound.time_base = 44100, start, Fraction(1, 44100)
                output.mux(audio.encode(sound))
            output.mux(audio.encode(None))


def moving(index: int) -> str:
    return f"#{index % 256:02x}8080"


@pytest.mark.parametrize(
    ("picture", "loudness", "seconds", "fault"),
    [
        (lambda _: "#206040", 9000, 5.0, "does not move"),
        (moving, 0, 5.0, "silence"),
        (moving, None, 5.0, "no sound"),
        (None, 9000, 5.0, "no picture"),
        (moving, 9000, 1.0, "only"),
    ],
)
async def test_the_check_finds_the_fault(
    tmp_path: Path, picture: Callable[[int], str] | None, loudness: int | None, seconds: float, fault: str
) -> None:
    file = tmp_path / "clip.flv"
    write(file, picture, loudness, seconds)
    outcome = await check("file", str(file))
    assert outcome.fault is not None
    assert fault in outcome.fault


async def test_the_check_reports_what_cannot_be_opened(tmp_path: Path) -> None:
    for url in (str(tmp_path / "absent"), "ws://127.0.0.1:1/live/x.flv", "http://127.0.0.1:1/live/x.flv"):
        assert (await check("nothing", url)).fault
