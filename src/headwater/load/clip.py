"""What publishers send: a built-in clip, or a file of the user's, as frames that are sent round and round."""

from __future__ import annotations

import io
import random
import statistics
from array import array

import msgspec

from headwater.load import clock
from headwater.media import flv
from headwater.media.codecs import CODED_FRAMES, SEQUENCE_END, parse_video_config, split_video
from headwater.media.errors import MediaError
from headwater.media.tag import AUDIO, VIDEO, Flags, Tag

SECONDS, GOP_S = 8, 2
FRAME_RATE, WIDTH, HEIGHT = 25, 640, 360
SAMPLE_RATE, SAMPLES_PER_FRAME = 44_100, 1024
AUDIO_KBPS = 64
BITRATE_KBPS_MIN, BITRATE_KBPS_MAX = 200, 50_000
"""Of the built-in clip: below this the audio leaves nothing for the picture, above it encoding the clip takes too long."""

FRAME_MS = 40
"""How long the last frame of a file lasts if nothing in the file tells."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One tag of a lap. split: where in the payload the clock goes; -1 for what carries none."""

    kind: int
    timestamp_ms: int
    payload: bytes
    split: int


class Clip(msgspec.Struct, frozen=True):
    """What is published, round and round.

    headers: metadata and codec configuration, sent once. frames: of a lap, in the order of their times, from 0.
    clock_length_bytes: of the length in front of the clock's NAL unit; 0 if the video cannot carry one.
    """

    headers: tuple[Tag, ...]
    frames: tuple[Frame, ...]
    duration_ms: int
    gop_ms: int
    clock_length_bytes: int

    def payload(self, frame: Frame, unix_us: int) -> bytes:
        """The frame's payload as it is sent at this time."""
        if frame.split < 0:
            return frame.payload
        unit = clock.pack(unix_us)
        size = len(unit).to_bytes(self.clock_length_bytes, "big")
        return b"".join((frame.payload[: frame.split], size, unit, frame.payload[frame.split :]))


def parse_clip(data: bytes) -> Clip:
    """An FLV file as a clip; it begins at its first key frame. Raises MediaError if nothing in it can be played."""
    tags = flv.Reader().feed(data)
    keys = [tag.timestamp_ms for tag in tags if tag.kind == VIDEO and tag.flags & Flags.KEY]
    first = next((n for n, tag in enumerate(tags) if _is_frame(tag) and (not keys or tag.flags & Flags.KEY)), None)
    if first is None:
        raise MediaError("the file holds no audio or video")
    headers = _newest(tags[:first])
    start_ms = tags[first].timestamp_ms
    length_bytes = _clock_length_bytes(headers)
    later = [tag for tag in tags[first:] if tag.flags & Flags.CONFIG]
    # where the configuration changes on the way, each lap has to begin with its own
    laps = [*(tag for tag in headers if later and tag.flags & Flags.CONFIG), *tags[first:]]
    frames = sorted(
        (
            Frame(tag.kind, max(tag.timestamp_ms - start_ms, 0), tag.payload, _split(tag, length_bytes))
            for tag in laps
            if tag.kind in (AUDIO, VIDEO) and tag.payload and not _ends_sequence(tag)
        ),
        key=lambda frame: frame.timestamp_ms,
    )
    steps = [keys[n] - keys[n - 1] for n in range(1, len(keys))]
    return Clip(headers, tuple(frames), _duration_ms(frames), round(statistics.median(steps)) if steps else 0, length_bytes)


def _is_frame(tag: Tag) -> bool:
    return tag.kind in (AUDIO, VIDEO) and not tag.flags & Flags.CONFIG and bool(tag.payload)


def _ends_sequence(tag: Tag) -> bool:
    """A tag that says that nothing follows, which a next lap would belie."""
    packet = split_video(tag.payload) if tag.kind == VIDEO else None
    return packet is not None and packet.packet_type == SEQUENCE_END


def _newest(tags: list[Tag]) -> tuple[Tag, ...]:
    """Metadata and the configuration of each track that are in force after these tags."""
    found = {}
    for tag in tags:
        if tag.flags & (Flags.CONFIG | Flags.METADATA):
            found[tag.kind] = Tag(tag.kind, 0, tag.payload, tag.flags)
    return tuple(found.values())


def _clock_length_bytes(headers: tuple[Tag, ...]) -> int:
    for tag in headers:
        if tag.kind == VIDEO:
            config = parse_video_config(tag.payload)
            return config.nal_length_bytes if config is not None and config.codec == "h264" else 0
    return 0


def _split(tag: Tag, length_bytes: int) -> int:
    """Where the clock goes, -1 for none."""
    if tag.kind != VIDEO or tag.flags & Flags.CONFIG or not length_bytes:
        return -1
    packet = split_video(tag.payload)
    if packet is None or packet.codec != "h264" or packet.packet_type != CODED_FRAMES or not packet.data:
        return -1
    return len(tag.payload) - len(packet.data) + clock.place(packet.data, length_bytes)


def _duration_ms(frames: list[Frame]) -> int:
    """Until the next lap begins: one frame after the last one of the track that ends last."""
    last = frames[-1]
    times = [frame.timestamp_ms for frame in frames if frame.kind == last.kind]
    steps = [times[n] - times[n - 1] for n in range(1, len(times)) if times[n] > times[n - 1]]
    return last.timestamp_ms + (round(statistics.median(steps)) if steps else FRAME_MS)


def make_clip(bitrate_kbps: int) -> bytes:
    """The built-in clip as an FLV file: a drifting picture with noise, and a noisy tone, of so many kbit/s in all.

    Raises ValueError if the bit rate is out of bounds.
    """
    if not BITRATE_KBPS_MIN <= bitrate_kbps <= BITRATE_KBPS_MAX:
        raise ValueError(f"the bit rate must be from {BITRATE_KBPS_MIN} to {BITRATE_KBPS_MAX} kbit/s")
    import av  # only publishers with the built-in clip need it

    video_kbps = bitrate_kbps - AUDIO_KBPS
    gop = GOP_S * FRAME_RATE
    noise = random.Random(1)
    grain = noise.randbytes(2 * WIDTH * HEIGHT)
    hiss = array("f", (noise.uniform(-0.5, 0.5) for _ in range(SAMPLE_RATE)))
    file = io.BytesIO()
    with av.open(file, "w", format="flv", options={"flvflags": "no_duration_filesize"}) as output:
        rate = f"nal-hrd=cbr:force-cfr=1:vbv-maxrate={video_kbps}:vbv-bufsize={video_kbps}"
        options = {"preset": "ultrafast", "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes=0:{rate}"}
        video = output.add_stream("libx264", rate=FRAME_RATE, options=options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.bit_rate = video_kbps * 1000
        audio = output.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.bit_rate = AUDIO_KBPS * 1000
        sample = 0
        for number in range(SECONDS * FRAME_RATE):
            picture = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            for plane in picture.planes:
                at = noise.randrange(len(grain) - plane.line_size * plane.height)
                rows = [
                    grain[at + y * plane.line_size :][: plane.line_size]
                    if y % 4 == number % 4
                    else bytes([(2 * y + 3 * number) % 256]) * plane.line_size
                    for y in range(plane.height)
                ]
                plane.update(b"".join(rows))
            picture.pts = number
            output.mux(video.encode(picture))
            while sample * FRAME_RATE < (number + 1) * SAMPLE_RATE:
                sound = av.AudioFrame(format="fltp", layout="mono", samples=SAMPLES_PER_FRAME)
                at = noise.randrange(len(hiss) - SAMPLES_PER_FRAME)
                sound.planes[0].update(hiss[at : at + SAMPLES_PER_FRAME].tobytes())
                sound.sample_rate, sound.pts = SAMPLE_RATE, sample
                output.mux(audio.encode(sound))
                sample += SAMPLES_PER_FRAME
        output.mux(video.encode(None))
        output.mux(audio.encode(None))
    return file.getvalue()
