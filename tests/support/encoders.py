"""Encoders that push a small moving picture with a tone: FFmpeg, GStreamer, PyAV, and tags of the tests' own making."""

from __future__ import annotations

import contextlib
import fractions
import itertools
import math
import signal
import subprocess
import tempfile
import threading
import time
from array import array
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

import av
import av.audio
import av.video

from support.flv import FlvReader, FlvTag
from support.programs import gstreamer, new_ffmpeg, program
from support.rtmp import RtmpClient
from support.wait import until

SIZE = (160, 90)
RATE = 25
STOP_TIMEOUT_S = 5.0

VIDEO_CODECS = {
    "h264": ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p", "-sc_threshold", "0"],
    "hevc": [
        *("-c:v", "libx265", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p"),
        *("-x265-params", f"log-level=error:scenecut=0:min-keyint={RATE}"),
    ],
}
AUDIO_CODECS = {"aac": ["-c:a", "aac", "-b:a", "48k"], "mp3": ["-c:a", "libmp3lame", "-b:a", "48k"]}


class Encoder:
    """A pushing program: its process, its log, its end."""

    def __init__(self, command: list[str]):
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT)

    def __enter__(self) -> Encoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def said(self) -> str:
        """What the program has written."""
        if self._log.closed:
            return ""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def pause(self) -> None:
        """Let the program fall silent without closing its connection."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused program go on."""
        self.process.send_signal(signal.SIGCONT)

    def wait(self, timeout_s: float = 15.0) -> int:
        """The exit code, once the program ends by itself."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the encoder did not end within {timeout_s} s\n{self.said()}") from None

    def kill(self) -> None:
        """End the program without a word to the server."""
        self.process.kill()
        self.process.wait()
        self._log.close()

    def stop(self) -> None:
        """End the program as Ctrl-C does, which closes the stream in order."""
        if self.process.poll() is None:
            self.resume()
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()


def ffmpeg_push(
    url: str,
    *,
    video: str | None = "h264",
    audio: str | None = "aac",
    binary: str | None = None,
    gop: int = RATE,
    size: tuple[int, int] = SIZE,
) -> Encoder:
    """Push with FFmpeg, Debian's unless another `binary` is given (HEVC over RTMP needs the new one)."""
    if binary is None:
        binary = new_ffmpeg() if video == "hevc" else program("ffmpeg")
    command = [binary, "-hide_banner", "-nostats", "-nostdin"]
    if video:
        command += ["-re", "-f", "lavfi", "-i", f"testsrc2=size={size[0]}x{size[1]}:rate={RATE}"]
    if audio:
        command += ["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100"]
    if video:
        command += [*VIDEO_CODECS[video], "-threads", "1", "-g", str(gop)]
    if audio:
        command += AUDIO_CODECS[audio]
    return Encoder([*command, "-f", "flv", url])


def gstreamer_push(url: str) -> Encoder:
    """Push H.264 and AAC with GStreamer's rtmp2sink."""
    launch = gstreamer("rtmp2sink", "x264enc", "flvmux", "avenc_aac", "videotestsrc")
    width, height = SIZE
    pipeline = (
        f"videotestsrc is-live=true ! video/x-raw,width={width},height={height},framerate={RATE}/1 ! "
        f"x264enc tune=zerolatency speed-preset=ultrafast key-int-max={RATE} threads=1 ! video/x-h264,profile=baseline ! "
        "h264parse ! queue ! mux. "
        "audiotestsrc is-live=true ! audio/x-raw,rate=44100,channels=1 ! audioconvert ! avenc_aac ! aacparse ! queue ! mux. "
        "flvmux name=mux streamable=true ! rtmp2sink name=sink"
    )
    return Encoder([launch, "-e", *pipeline.split(), f"location={url}"])


class PyavPush:
    """Pushes H.264 and AAC with PyAV from a thread, in real time."""

    def __init__(self, url: str):
        self._url = url
        self._stop = threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> PyavPush:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the stream in order."""
        self._stop.set()
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            with av.open(self._url, "w", format="flv", timeout=10) as container:
                self._push(container)
        except (av.error.FFmpegError, OSError) as error:
            self.error = error

    def _push(self, container: av.container.OutputContainer) -> None:
        started = time.monotonic()
        for number, packet in _encode(container):
            container.mux(packet)
            if self._stop.wait(max(0.0, started + number / RATE - time.monotonic())):
                return


def _encode(container: av.container.OutputContainer) -> Iterator[tuple[int, list[Any]]]:
    """The packets of picture 0, 1, 2 … with the sound that belongs to each."""
    video = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "tune": "zerolatency"})
    video.width, video.height, video.pix_fmt, video.gop_size = *SIZE, "yuv420p", RATE
    video.thread_count = 1
    audio = container.add_stream("aac", rate=44100, layout="mono")
    sent = 0
    number = 0
    while True:
        packets = list(video.encode(_picture(number)))
        while sent < (number + 1) * 44100 // RATE:
            packets += audio.encode(_tone(sent))
            sent += 1024
        yield number, packets
        number += 1


def _picture(number: int) -> av.VideoFrame:
    width, height = SIZE
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, base in zip(frame.planes, (number * 5, 90, 160), strict=True):
        row = bytes((base + x) % 256 for x in range(plane.line_size))
        plane.update(row * (plane.buffer_size // plane.line_size))
    frame.pts = number
    frame.time_base = fractions.Fraction(1, RATE)
    return frame


def _tone(first: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
    wave = array("f", (0.2 * math.sin(2 * math.pi * 440 * (first + n) / 44100) for n in range(1024)))
    frame.planes[0].update(wave.tobytes())
    frame.sample_rate = 44100
    frame.pts = first
    frame.time_base = fractions.Fraction(1, 44100)
    return frame


def clip(seconds: int = 4) -> list[FlvTag]:
    """The tags of a short clip of H.264 and AAC: metadata, sequence headers, frames; a key frame each second."""
    file = BytesIO()
    with av.open(file, "w", format="flv", options={"flvflags": "no_duration_filesize"}) as container:
        for number, packets in _encode(container):
            container.mux(packets)
            if number + 1 == seconds * RATE:
                break
    return [tag for tag in FlvReader().feed(file.getvalue()) if not (tag.kind == 9 and tag.body[1:2] == b"\x02")]


class TagPush:
    """Publishes tags over the tests' own RTMP client: at once, in the order and with the times that the test wants."""

    def __init__(self, url: str):
        self.client = RtmpClient(url)
        try:
            self.client.connect()
            self.client.publish()
        except BaseException:
            self.client.close()
            raise

    def __enter__(self) -> TagPush:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def send(self, tags: list[FlvTag], shift_ms: int = 0) -> None:
        """Send the tags now, with their times shifted."""
        for tag in tags:
            self.client.send_tag(FlvTag(tag.kind, tag.timestamp_ms + shift_ms, tag.body))

    def stop(self) -> None:
        """Unpublish in order."""
        self.client.command("FCUnpublish", None, self.client.name, stream_id=0)
        self.client.command("deleteStream", None, 1.0, stream_id=0)
        self.client.close()


LAST_GOP_MS = 900
"""A whole clip sent at once may be over before another worker pulls it: viewers there surely get its last second."""


def endless(tags: list[FlvTag]) -> Iterator[FlvTag]:
    """The tags again and again, on one clock: an encoder that does not end, however long a test takes."""
    frame_ms = 1000 // RATE
    period_ms = tags[-1].timestamp_ms + frame_ms
    for turn in itertools.count():
        for tag in tags:
            yield FlvTag(tag.kind, tag.timestamp_ms + turn * period_ms, tag.body)


@contextlib.contextmanager
def trickle(push: TagPush, tags: Iterable[FlvTag], shift_ms: int = 0) -> Iterator[threading.Thread]:
    """Send the tags from a thread in real time, by their timestamps, until the block ends."""
    stop = threading.Event()

    def run() -> None:
        started, first = time.monotonic(), None
        for tag in tags:
            first = tag.timestamp_ms if first is None else first
            if stop.wait(max(0.0, started + (tag.timestamp_ms - first) / 1000 - time.monotonic())):
                return
            try:
                push.send([tag], shift_ms)
            except OSError:
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(STOP_TIMEOUT_S)


def wait_refused(encoder: Encoder, timeout_s: float = 15.0) -> str:
    """What the encoder said, once it has ended with a failure."""
    code = until(lambda: encoder.process.poll() is not None and str(encoder.process.returncode), "the encoder ends", timeout_s)
    assert code != "0", f"the push was accepted\n{encoder.said()}"
    return encoder.said()
