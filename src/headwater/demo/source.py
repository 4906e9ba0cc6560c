"""The demo's publisher, `python -m headwater.demo.source`: pushes a moving test picture with a clock and a tone over RTMP.

The URL is the first line of its standard input, since other users can read a command line. When the input ends it ends too, so
that it never outlives the demo that has started it.
"""

from __future__ import annotations

import datetime
import math
import os
import signal
import sys
import threading
import time
from array import array
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 640, 360
FRAME_RATE = 25
GOP_S = 2
VIDEO_BPS = 800_000

SAMPLE_RATE = 44_100
AUDIO_BPS = 96_000
SAMPLES_PER_FRAME = 1024
TONE_HZ = 440
TONE_FRACTION = 0.2
"""The tone sounds for the first fifth of each second, so that one hears where the clock changes."""
TONE_AMPLITUDE = 8_000
HUM_AMPLITUDE = 500
"""Between two beeps the tone goes on softly: a player never shows an empty level meter."""

RETRY_S = 1.0
"""Pause before a push that failed is tried again."""

END_S = 2.0
"""How long the push may take to end once the demo is gone."""

BARS = ("#c0c0c0", "#c0c000", "#00c0c0", "#00c000", "#c000c0", "#c00000", "#0000c0")
"""Colour bars of 75 %, as SMPTE EG 1 orders them."""

VIDEO_TIME_BASE = Fraction(1, FRAME_RATE)


class Picture:
    """Draws the test picture: colour bars, a clock with tenths, and a ball on a track that shows every dropped frame."""

    TRACK_TOP, TRACK_HEIGHT = 290, 40

    def __init__(self) -> None:
        self._clock_font = ImageFont.load_default(size=72)
        self._small_font = ImageFont.load_default(size=18)
        self._background = self._draw_background()

    def _draw_background(self) -> Image.Image:
        image = Image.new("RGB", (WIDTH, HEIGHT), "#101418")
        draw = ImageDraw.Draw(image)
        for index, colour in enumerate(BARS):
            draw.rectangle((WIDTH * index // len(BARS), 0, WIDTH * (index + 1) // len(BARS) - 1, 150), fill=colour)
        draw.text((WIDTH // 2, 268), "Headwater demo, UTC", font=self._small_font, fill="#8fa3b5", anchor="mm")
        draw.rectangle((0, self.TRACK_TOP, WIDTH, self.TRACK_TOP + self.TRACK_HEIGHT), fill="#1c242c")
        return image

    def draw(self, index: int, now: datetime.datetime) -> Image.Image:
        """Frame number `index`, with the clock at `now`."""
        image = self._background.copy()
        draw = ImageDraw.Draw(image)
        clock = f"{now:%H:%M:%S}.{now.microsecond // 100_000}"
        draw.text((WIDTH // 2, 208), clock, font=self._clock_font, fill="white", anchor="mm")
        phase = index % (4 * FRAME_RATE) / (4 * FRAME_RATE)
        x = round(abs(1 - 2 * phase) * (WIDTH - self.TRACK_HEIGHT))
        draw.ellipse((x, self.TRACK_TOP, x + self.TRACK_HEIGHT, self.TRACK_TOP + self.TRACK_HEIGHT), fill="#4fc3f7")
        draw.text((8, HEIGHT - 13), f"frame {index}", font=self._small_font, fill="#8fa3b5", anchor="lm")
        return image


def tone(first_sample: int, count: int) -> array[int]:
    """`count` samples of the beep, 16 bits, mono, from sample number `first_sample` on."""
    samples = array("h", bytes(2 * count))
    for offset in range(count):
        position = (first_sample + offset) % SAMPLE_RATE
        amplitude = TONE_AMPLITUDE if position < SAMPLE_RATE * TONE_FRACTION else HUM_AMPLITUDE
        samples[offset] = round(amplitude * math.sin(2 * math.pi * TONE_HZ * position / SAMPLE_RATE))
    return samples


class Publisher:
    """Encodes picture and tone and writes them to one output, in real time."""

    def __init__(self, output: OutputContainer) -> None:
        self._output = output
        self._picture = Picture()
        self._second = tone(0, SAMPLE_RATE)  # the tone repeats each second: computed once
        self._video = self._add_video()
        self._audio = self._add_audio()

    def _add_video(self) -> VideoStream:
        options = {"preset": "ultrafast", "tune": "zerolatency", "sc_threshold": "0"}
        stream = self._output.add_stream("libx264", rate=FRAME_RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = GOP_S * FRAME_RATE
        stream.codec_context.bit_rate = VIDEO_BPS
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = VIDEO_TIME_BASE
        return stream

    def _add_audio(self) -> AudioStream:
        stream = self._output.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        stream.codec_context.bit_rate = AUDIO_BPS
        return stream

    def run(self, stop: threading.Event) -> None:
        """Push until told to stop. Raises av.error.FFmpegError or OSError when the connection is lost."""
        started = time.monotonic()
        frame = sample = 0
        while not stop.is_set():
            self._write_video(frame)
            frame += 1
            while sample * FRAME_RATE < frame * SAMPLE_RATE:
                self._write_audio(sample)
                sample += SAMPLES_PER_FRAME
            stop.wait(max(0.0, started + frame / FRAME_RATE - time.monotonic()))
        for stream in (self._video, self._audio):
            self._output.mux(stream.encode(None))

    def _write_video(self, index: int) -> None:
        image = self._picture.draw(index, datetime.datetime.now(datetime.UTC))
        frame = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call]
        frame.pts, frame.time_base = index, VIDEO_TIME_BASE
        self._output.mux(self._video.encode(frame))

    def _write_audio(self, first_sample: int) -> None:
        start = first_sample % SAMPLE_RATE
        samples = (self._second[start:] + self._second[:start])[:SAMPLES_PER_FRAME]
        frame = av.AudioFrame(format="s16", layout="mono", samples=SAMPLES_PER_FRAME)
        frame.planes[0].update(samples.tobytes().ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, first_sample, Fraction(1, SAMPLE_RATE)
        self._output.mux(self._audio.encode(frame))


def publish(url: str, stop: threading.Event) -> None:
    """Push to `url` until told to stop, and connect again whenever the push ends."""
    while not stop.is_set():
        try:
            with av.open(url, "w", format="flv", options={"flvflags": "no_duration_filesize"}) as output:
                Publisher(output).run(stop)
        except (OSError, av.error.FFmpegError) as error:
            print(f"the demo's push ended: {error}", file=sys.stderr, flush=True)
            stop.wait(RETRY_S)


def main() -> None:
    """Push to the URL that the first line of standard input gives, until SIGTERM or the end of the input."""
    url = sys.stdin.readline().strip()
    stop = threading.Event()

    def wait_for_parent() -> None:
        sys.stdin.read()
        stop.set()
        # A write that hangs in FFmpeg does not see the event; the process must be gone all the same.
        time.sleep(END_S)
        os._exit(0)

    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=wait_for_parent, daemon=True).start()
    publish(url, stop)


if __name__ == "__main__":
    main()
