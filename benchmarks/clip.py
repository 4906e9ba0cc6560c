"""The test material: an FLV of 1 Mbit/s, made once with PyAV and read as a list of tags with a clock in each video frame."""

from __future__ import annotations

import argparse
import functools
import os
import random
import struct
from array import array
from dataclasses import dataclass
from pathlib import Path

from headwater.load import clock

CACHE = Path(__file__).parent / ".cache"

SECONDS = 60
FPS, GOP_FRAMES = 25, 50
WIDTH, HEIGHT = 640, 360
STILL = False  # the noise stays for a GOP, so that key frames take a large part of the rate, as a camera's do
SAMPLE_RATE, AAC_FRAME = 44_100, 1_024  # 43 audio frames a second
AUDIO_BPS = 128_000
VIDEO_BPS = 847_500  # with the audio, the clocks and the tag headers: 1 Mbit/s of FLV
AVC_HEADER_BYTES, NAL_LENGTH_BYTES = 5, 4  # what stands before a frame's NAL units, and before each of them

AUDIO, VIDEO, SCRIPT = 8, 9, 18
FILE_HEADER_BYTES = 13  # the FLV header and the first PreviousTagSize (FLV 10.1, E.2 and E.3)
TAG_HEADER_BYTES = 11


@dataclass(frozen=True)
class Tag:
    """One FLV tag. key: a video frame that starts a GOP; config: codec configuration.

    In each video frame is a clock that stands at zero (headwater.load.clock): publishers set it as they send the frame.
    """

    kind: int
    timestamp_ms: int
    payload: bytes
    key: bool
    config: bool


@dataclass(frozen=True)
class Clip:
    """The clip as a live source sends it: `headers` once, then `frames` round and round, `duration_ms` a lap."""

    headers: tuple[Tag, ...]
    frames: tuple[Tag, ...]
    duration_ms: int

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second that a viewer of this clip as FLV gets, without the connection's own overhead."""
        return sum(len(tag.payload) + TAG_HEADER_BYTES + 4 for tag in self.frames) * 1000 / self.duration_ms

    @property
    def tags_per_s(self) -> float:
        """Audio and video tags a second."""
        return len(self.frames) * 1000 / self.duration_ms


def is_config(kind: int, payload: bytes) -> bool:
    """Whether this is an AVC or AAC sequence header (FLV 10.1, E.4.2.1 and E.4.3.1)."""
    return len(payload) > 1 and payload[1] == 0 and (payload[0] & 15 == 7 if kind == VIDEO else payload[0] >> 4 == 10)


def make(path: Path) -> None:
    """Encode the clip: a drifting picture with noise, so that the codec spends its bits, and a noisy tone."""
    import av  # only making the clip needs it

    part = path.with_suffix(f".{os.getpid()}.part")
    noise = random.Random(1)
    with av.open(str(part), "w", format="flv", options={"flvflags": "no_sequence_end+no_duration_filesize"}) as out:
        video = out.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt, video.bit_rate = WIDTH, HEIGHT, "yuv420p", VIDEO_BPS
        video.options = {
            "preset": "veryfast",
            "x264-params": f"keyint={GOP_FRAMES}:min-keyint={GOP_FRAMES}:scenecut=0:bframes=0:nal-hrd=cbr:force-cfr=1"
            f":vbv-maxrate={VIDEO_BPS // 1000}:vbv-bufsize={VIDEO_BPS // 1000}",
        }
        audio = out.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        audio.bit_rate = AUDIO_BPS
        grain = noise.randbytes(WIDTH * HEIGHT * 2)
        hiss = array("f", (noise.uniform(-0.5, 0.5) for _ in range(SAMPLE_RATE)))
        sounded = 0
        for number in range(SECONDS * FPS):
            picture = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            if not STILL or not number % GOP_FRAMES:
                at = noise.randrange(WIDTH * HEIGHT // 2)
            for plane in picture.planes:
                plane.update(
                    b"".join(
                        grain[at + y * plane.line_size : at + (y + 1) * plane.line_size]
                        if y % 3 == number % 3
                        else bytes([(y + number * 2) % 256]) * plane.line_size
                        for y in range(plane.height)
                    )
                )
            picture.pts = number
            out.mux(video.encode(picture))
            while sounded * FPS < (number + 1) * SAMPLE_RATE:
                sound = av.AudioFrame("fltp", "stereo", AAC_FRAME)
                sound.sample_rate, sound.pts = SAMPLE_RATE, sounded
                for channel in sound.planes:
                    at = noise.randrange(len(hiss) - AAC_FRAME)
                    channel.update(hiss[at : at + AAC_FRAME].tobytes())
                out.mux(audio.encode(sound))
                sounded += AAC_FRAME
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    part.replace(path)


def path() -> Path:
    """Where the clip is; makes it if it is not there yet."""
    CACHE.mkdir(exist_ok=True)
    file = CACHE / f"clip-{WIDTH}x{HEIGHT}{'-still' if STILL else ''}-{VIDEO_BPS}bps-{SECONDS}s.flv"
    if not file.exists():
        make(file)
    return file


@functools.cache
def load() -> Clip:
    """The clip's tags in the order of their times. Raises ValueError if two frames have the same bytes."""
    data = path().read_bytes()
    tags: list[Tag] = []
    at = FILE_HEADER_BYTES
    while at + TAG_HEADER_BYTES <= len(data):
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 4], "big")
        timestamp_ms = int.from_bytes(data[at + 7 : at + 8] + data[at + 4 : at + 7], "big")
        payload = data[at + TAG_HEADER_BYTES : at + TAG_HEADER_BYTES + size]
        config = is_config(kind, payload)
        if kind == VIDEO and not config:
            payload = _with_clock(payload)
        tags.append(Tag(kind, timestamp_ms, payload, kind == VIDEO and payload[0] >> 4 == 1, config))
        at += TAG_HEADER_BYTES + size + 4
    headers = tuple(tag for tag in tags if tag.kind == SCRIPT or tag.config)
    frames = tuple(
        sorted(
            (tag for tag in tags if tag.kind != SCRIPT and not tag.config and tag.timestamp_ms < SECONDS * 1000),
            key=lambda tag: tag.timestamp_ms,
        )
    )
    if len({tag.payload for tag in frames}) != len(frames):
        raise ValueError(f"{path()}: two frames are alike, so a lost one could not be told")
    return Clip(headers, frames, SECONDS * 1000)


def _with_clock(payload: bytes) -> bytes:
    """The frame with a clock at zero, as a NAL unit of its own before the picture."""
    at = AVC_HEADER_BYTES + clock.place(payload[AVC_HEADER_BYTES:], NAL_LENGTH_BYTES)
    unit = clock.pack(0)
    return payload[:at] + len(unit).to_bytes(NAL_LENGTH_BYTES, "big") + unit + payload[at:]


def clock_at(data: bytes | bytearray) -> int:
    """Where the clock's digits begin in packed bytes; 0 if there is none."""
    found = data.find(clock.UUID, 0, clock.SEARCHED_BYTES)
    return found + len(clock.UUID) if found >= 0 else 0


def flv_tag(tag: Tag, timestamp_ms: int | None = None) -> bytes:
    """The tag as FLV bytes with its PreviousTagSize."""
    stamp = tag.timestamp_ms if timestamp_ms is None else timestamp_ms
    size = len(tag.payload)
    header = struct.pack(">I", tag.kind << 24 | size) + struct.pack(">I", stamp & 0xFFFFFF)[1:]
    header += bytes([stamp >> 24 & 0xFF, 0, 0, 0])
    return header + tag.payload + struct.pack(">I", size + TAG_HEADER_BYTES)


def main() -> None:
    """Make the clip and say what is in it."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    clip = load()
    kinds = [tag.kind for tag in clip.frames]
    print(
        f"{path()}: {clip.bytes_per_s * 8 / 1e6:.3f} Mbit/s, {kinds.count(VIDEO) / SECONDS:.1f} video and "
        f"{kinds.count(AUDIO) / SECONDS:.1f} audio tags/s, {sum(tag.key for tag in clip.frames)} GOPs, {SECONDS} s"
    )


if __name__ == "__main__":
    main()
