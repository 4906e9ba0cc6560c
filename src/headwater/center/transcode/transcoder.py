"""Makes all renditions of one stream: tags in, tags out. No network, no clock, no threads of its own.

Whatever the source does is followed: another resolution, codec or sample rate, a track that comes or goes, broken packets.
Nothing of it is fatal; what could not be used is counted.
"""

from __future__ import annotations

from collections import deque

import av
import structlog

from headwater.access.plan import Audio
from headwater.center.transcode.decoding import BROKEN, AudioDecoder, Undecodable, VideoDecoder
from headwater.center.transcode.encoding import Colours
from headwater.center.transcode.pictures import Deinterlacer, Studio
from headwater.center.transcode.rendition import RenditionJob
from headwater.center.transcode.soundtrack import SoundTrack, encodes
from headwater.center.transcode.spec import InsertSei, SeiTaken, Spec
from headwater.center.transcode.targets import SourcePicture
from headwater.media import nal
from headwater.media.codecs import (
    CODED_FRAMES,
    SEQUENCE_START,
    AudioPacket,
    VideoConfig,
    VideoPacket,
    parse_video_config,
    split_audio,
    split_video,
)
from headwater.media.errors import MediaError
from headwater.media.nal import SEI_REGISTERED, SEI_UNREGISTERED
from headwater.media.tag import AUDIO, VIDEO, Flags, Tag

THIN_AFTER_S = 1.0
"""A frame that has waited so long shows that the encoders fall behind: every other picture is left out, then three of four."""

SILENT_VIDEO_MS = 2000
"""Without video for so long, a stream goes on as sound alone."""

RESTART_MS = 10_000
"""Time that falls back so far is a new clock, and no disorder."""

METER_MS = 3000
"""Over which the source's rates are measured."""

UNDECODED_MAX = 250
"""Packets without a single frame, ten seconds: the decoder is made anew."""

KEYS_KEPT = 64

COMMON_RATES = (10.0, 12.0, 15.0, 20.0, 23.976, 24.0, 25.0, 29.97, 30.0, 48.0, 50.0, 59.94, 60.0)

RATE_SNAP = 0.004

log = structlog.get_logger()


class Meter:
    """Measures the source's picture: frames and bits in a second, and the distance of key frames."""

    def __init__(self) -> None:
        self.gop_ms = 0
        self._frames: deque[tuple[int, int]] = deque()
        self._bytes = 0
        self._last_key_ms = -1

    def add(self, timestamp_ms: int, size: int, key: bool) -> None:
        """A frame of so many bytes."""
        if self._frames and timestamp_ms < self._frames[-1][0]:
            self._frames.clear()
            self._bytes, self._last_key_ms = 0, -1
        self._frames.append((timestamp_ms, size))
        self._bytes += size
        while timestamp_ms - self._frames[0][0] > METER_MS:
            self._bytes -= self._frames.popleft()[1]
        if key:
            if self._last_key_ms >= 0:
                self.gop_ms = timestamp_ms - self._last_key_ms
            self._last_key_ms = timestamp_ms

    @property
    def fps(self) -> float:
        """Frames in a second, 0 while that cannot be told."""
        span_ms = self._frames[-1][0] - self._frames[0][0] if self._frames else 0
        if span_ms < 400:
            return 0.0
        measured = (len(self._frames) - 1) * 1000 / span_ms
        nearest = min(COMMON_RATES, key=lambda rate: abs(rate - measured))
        return nearest if abs(nearest - measured) < RATE_SNAP * nearest else round(measured, 2)

    @property
    def kbps(self) -> int:
        """Kilobits in a second, 0 while that cannot be told."""
        span_ms = self._frames[-1][0] - self._frames[0][0] if self._frames else 0
        return self._bytes * 8 // span_ms if span_ms >= 400 else 0


class Transcoder:
    """All renditions of one stream. frames: decoded; dropped: not encoded for lack of time or for being broken."""

    def __init__(self, spec: Spec) -> None:
        self.frames = 0
        self.dropped = 0
        self.damaged = 0
        self.faults: dict[str, str] = {}
        self._spec = Spec()
        self._renditions: dict[str, RenditionJob] = {}
        self._tracks: dict[Audio, SoundTrack] = {}
        self._studios: dict[bool, Studio] = {}
        self._deinterlacer: Deinterlacer | None = None
        self._deinterlaced: tuple[object, ...] = ()
        self._meter = Meter()
        # the picture's source
        self._video_codec = ""
        self._video_record: bytes | None = None
        self._video_config: VideoConfig | None = None
        self._video_config_tag: Tag | None = None
        self._decoder: VideoDecoder | None = None
        self._needs_key = True
        self._renew = False
        self._undecoded = 0
        self._keys: deque[int] = deque(maxlen=KEYS_KEPT)
        self._last_pts_ms = -1
        self._video_ms = -1
        self._now_ms = 0
        self._thinned = 0
        # the sound's source
        self._audio_codec = ""
        self._audio_record = b""
        self._audio_config_tag: Tag | None = None
        self._audio_decoder: AudioDecoder | None = None
        self.apply(spec)

    def apply(self, spec: Spec) -> None:
        """Make this from now on; renditions that stay as they were are not disturbed."""
        before, self._spec = self._spec, spec
        wanted = {rendition.template: rendition for rendition in spec.renditions}
        same = (before.threads, before.nvenc) == (spec.threads, spec.nvenc)
        for template, job in tuple(self._renditions.items()):
            if not same or wanted.get(template) != job.rendition:
                del self._renditions[template]
        for template, rendition in wanted.items():
            if template not in self._renditions:
                self._renditions[template] = job = RenditionJob(rendition, threads=spec.threads, nvenc=spec.nvenc)
                self._begin(job)
        self._tracks = {
            audio: self._tracks.get(audio, SoundTrack(audio))
            for audio in {rendition.audio for rendition in spec.renditions if rendition.audio is not None}
            if self._audio_codec == "" or encodes(audio, self._audio_codec)
        }
        for studio in self._studios.values():
            studio.mark(spec.marks)
        if before.threads != spec.threads or (spec.threads > 1 and self._low_delay(before) != self._low_delay(spec)):
            self._renew = True

    def feed(self, tag: Tag, waited_s: float = 0.0) -> None:
        """The source's next tag. waited_s: how long it had to wait since it came."""
        if tag.timestamp_ms < self._now_ms - RESTART_MS:
            self._restart()
        self._now_ms = tag.timestamp_ms
        try:
            if tag.kind == VIDEO:
                self._feed_video(tag, waited_s)
            elif tag.kind == AUDIO:
                self._feed_audio(tag)
        except MediaError as error:
            self.damaged += 1
            log.debug("broken tag", error=str(error))

    def take(self) -> dict[str, list[Tag]]:
        """The tags of each rendition, by its template, that are ready since the last call."""
        return {template: ready for template, job in self._renditions.items() if (ready := job.output.take())}

    def flush(self) -> None:
        """Nothing else comes: encode what is still held."""
        self._drain()
        for job in self._renditions.values():
            job.flush()

    def missed(self, frames: int) -> None:
        """So many frames of the source were left out before they came here, up to a key frame."""
        self.dropped += frames

    def insert_sei(self, asked: InsertSei) -> SeiTaken:
        """Write a text into all renditions that have a picture."""
        chosen = [job for job in self._renditions.values() if job.rendition.video is not None]
        for job in chosen:
            job.insert_sei(asked, max(self._last_pts_ms, self._now_ms))
        return SeiTaken(tuple(job.rendition.template for job in chosen))

    def look_again(self) -> None:
        """Read watermarks that were not there yet."""
        for studio in self._studios.values():
            studio.look_again()

    def describe(self) -> dict[str, str]:
        """What each rendition does, for people."""
        return {template: job.describe() for template, job in self._renditions.items()}

    def notes(self) -> list[str]:
        """What is not as it should be."""
        found = [f"{what}: {why}" for what, why in self.faults.items()]
        found += [f"sound: {track.fault}" for track in self._tracks.values() if track.fault]
        for studio in self._studios.values():
            found += [f"watermark {rule}: {why}" for rule, why in studio.notes.items()]
        if self.damaged:
            found.append(f"{self.damaged} broken packets")
        return found

    # the picture

    def _feed_video(self, tag: Tag, waited_s: float) -> None:
        packet = split_video(tag.payload)
        if packet is None:
            return
        if packet.codec is None:
            self.faults["video"] = "the source's video codec is unknown"
            return
        if packet.packet_type == SEQUENCE_START:
            self._configure_video(tag, packet)
            return
        if packet.packet_type != CODED_FRAMES or not packet.data:
            return
        if packet.codec != self._video_codec:
            if packet.codec not in ("vp8", "vp9", "av1"):
                return  # its configuration is still to come
            self._begin_video(packet.codec, b"")
        now_ms = tag.timestamp_ms
        self._video_ms = now_ms
        self._meter.add(now_ms, len(packet.data), packet.key)
        encoding = False
        for job in self._renditions.values():
            if job.copies(packet.codec):
                job.copy(tag, packet, self._video_config)
            else:
                encoding = encoding or job.encodes(packet.codec)
        if encoding:
            self._decode(packet, now_ms, waited_s)
        else:
            self._decoder, self._needs_key = None, True

    def _configure_video(self, tag: Tag, packet: VideoPacket) -> None:
        assert packet.codec is not None
        if packet.codec == self._video_codec and packet.data == self._video_record:
            return
        self._begin_video(packet.codec, packet.data)
        self._video_config = parse_video_config(tag.payload)
        self._video_config_tag = tag
        for job in self._renditions.values():
            if job.copies(packet.codec):
                job.copy(tag, packet, self._video_config)

    def _begin_video(self, codec: str, record: bytes) -> None:
        """Another codec or configuration: what the decoder holds is encoded, then a new one waits for its key frame."""
        self._drain()
        self._video_codec, self._video_record = codec, record
        self._video_config = self._video_config_tag = None
        self._needs_key = True
        self.faults.pop("video", None)

    def _drain(self) -> None:
        """Encode what the decoder still holds, and give it up."""
        if self._decoder is not None:
            for frame in self._decoder.flush():
                self._picture(frame, 0.0)
            self._decoder = None

    def _restart(self) -> None:
        log.info("the source's clock has begun anew")
        self._drain()
        for job in self._renditions.values():
            job.restart()
        self._needs_key = True
        self._last_pts_ms = self._video_ms = -1
        self._keys.clear()

    def _decode(self, packet: VideoPacket, dts_ms: int, waited_s: float) -> None:
        if self._needs_key and not packet.key:
            return
        if self._needs_key or (self._renew and packet.key):
            if self._decoder is None or self._renew:
                self._drain()
                try:
                    self._decoder = VideoDecoder(
                        self._video_codec,
                        self._video_record or b"",
                        threads=self._spec.threads,
                        low_delay=self._low_delay(self._spec),
                    )
                except Undecodable as error:
                    self.faults["video"] = str(error)
                    return
                self._undecoded, self._renew = 0, False
            self._needs_key = False
        assert self._decoder is not None
        pts_ms = dts_ms + packet.composition_ms
        if packet.key:
            self._keys.append(pts_ms)
        self._read_sei(packet, pts_ms)
        try:
            frames = self._decoder.decode(packet.data, pts_ms, dts_ms)
        except BROKEN as error:
            self.damaged += 1
            self.dropped += 1
            log.debug("broken packet", error=str(error))
            frames = []
        self._undecoded = 0 if frames else self._undecoded + 1
        if self._undecoded >= UNDECODED_MAX:
            self.faults["video"] = "the source's video cannot be decoded"
            self._needs_key = self._renew = True
        for frame in frames:
            self.faults.pop("video", None)
            self._picture(frame, waited_s)

    def _read_sei(self, packet: VideoPacket, pts_ms: int) -> None:
        if self._video_config is None or packet.codec not in ("h264", "hevc"):
            return
        wanting = [job for job in self._renditions.values() if job.wants_sei and job.encodes(packet.codec)]
        if not wanting:
            return
        kind = nal.AVC_SEI if packet.codec == "h264" else nal.HEVC_SEI
        found = [
            message
            for unit in nal.units(packet.data, self._video_config.nal_length_bytes)
            if nal.unit_type(packet.codec, unit) == kind
            for message in nal.sei_messages(packet.codec, unit)
            if message.type in (SEI_REGISTERED, SEI_UNREGISTERED)
        ]
        if found:
            for job in wanting:
                job.source_sei(pts_ms, found)

    def _picture(self, frame: av.VideoFrame, waited_s: float) -> None:
        pts_ms = frame.pts
        if pts_ms is None or pts_ms <= self._last_pts_ms:
            self.dropped += 1
            return
        self._last_pts_ms = pts_ms
        self.frames += 1
        key = pts_ms in self._keys
        if not key and self._thin(waited_s):
            self.dropped += 1
            return
        jobs = [job for job in self._renditions.values() if job.encodes(self._video_codec)]
        plain = [job for job in jobs if not job.deinterlaces]
        if plain:
            self._offer(frame, pts_ms, key, plain)
        whole = [job for job in jobs if job.deinterlaces]
        if whole:
            look = frame.width, frame.height, frame.format.name
            if self._deinterlacer is None or look != self._deinterlaced:
                self._deinterlacer, self._deinterlaced = Deinterlacer(frame), look
            for later_ms, ready in self._deinterlacer.feed(frame):
                self._offer(ready, later_ms, later_ms in self._keys, whole)

    def _thin(self, waited_s: float) -> bool:
        """Whether this frame is left out because the encoders fall behind."""
        if waited_s < THIN_AFTER_S:
            self._thinned = 0
            return False
        self._thinned += 1
        return self._thinned % (2 if waited_s < 2 * THIN_AFTER_S else 4) != 0

    def _offer(self, frame: av.VideoFrame, pts_ms: int, key: bool, jobs: list[RenditionJob]) -> None:
        assert self._decoder is not None
        meter = self._meter
        source = SourcePicture(frame.width, frame.height, meter.fps or self._decoder.fps, meter.kbps, meter.gop_ms)
        colours = Colours(
            frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries, self._decoder.sample_aspect_ratio
        )
        whole = jobs[0].deinterlaces
        if whole not in self._studios:
            self._studios[whole] = Studio(self._spec.threads)
            self._studios[whole].mark(self._spec.marks)
        studio = self._studios[whole]
        studio.show(frame)
        for job in jobs:
            job.offer(studio, source, colours, pts_ms, key)

    # the sound

    def _feed_audio(self, tag: Tag) -> None:
        packet = split_audio(tag.payload)
        if packet is None:
            return
        codec = packet.codec or "unknown"
        if codec != self._audio_codec or (packet.packet_type == SEQUENCE_START and packet.data != self._audio_record):
            self._begin_audio(codec, packet)
        if packet.packet_type == SEQUENCE_START:
            self._audio_config_tag = tag
        hold = self._video_ms >= 0 and tag.timestamp_ms - self._video_ms < SILENT_VIDEO_MS
        for job in self._renditions.values():
            audio = job.rendition.audio
            if audio is not None and not encodes(audio, codec):
                job.output.audio(tag, hold=hold and job.rendition.video is not None)
        if packet.packet_type == CODED_FRAMES and self._tracks:
            self._encode_sound(packet, tag.timestamp_ms, hold)

    def _begin_audio(self, codec: str, packet: AudioPacket) -> None:
        """Another codec or configuration of the source's sound."""
        self._audio_codec = codec
        self._audio_record = packet.data if packet.packet_type == SEQUENCE_START else b""
        self._audio_config_tag = None
        self._audio_decoder = None
        self.faults.pop("sound", None)
        wanted = {job.rendition.audio for job in self._renditions.values() if job.rendition.audio is not None}
        self._tracks = {audio: self._tracks.get(audio, SoundTrack(audio)) for audio in wanted if encodes(audio, codec)}

    def _encode_sound(self, packet: AudioPacket, timestamp_ms: int, hold: bool) -> None:
        if self._audio_decoder is None:
            if packet.codec in ("aac", "opus") and not self._audio_record:
                return  # its configuration is still to come
            try:
                self._audio_decoder = AudioDecoder(self._audio_codec, self._audio_record)
            except Undecodable as error:
                self.faults["sound"] = str(error)
                return
        try:
            frames = self._audio_decoder.decode(packet.data)
        except BROKEN as error:
            self.damaged += 1
            log.debug("broken sound", error=str(error))
            return
        for frame in frames:
            for audio, track in self._tracks.items():
                ready = track.feed(frame, timestamp_ms)
                for job in self._renditions.values():
                    if job.rendition.audio == audio:
                        for tag in ready:
                            job.output.audio(tag, hold=hold and job.rendition.video is not None)

    # the renditions

    def _begin(self, job: RenditionJob) -> None:
        """A rendition that joins gets the configurations that were before it."""
        audio = job.rendition.audio
        if audio is not None and self._audio_codec:
            config = self._audio_config_tag
            if encodes(audio, self._audio_codec):
                config = self._tracks[audio].config if audio in self._tracks else None
            if config is not None:
                job.output.put_header(config, self._now_ms)
        if self._video_config_tag is not None and job.copies(self._video_codec):
            packet = split_video(self._video_config_tag.payload)
            assert packet is not None
            at_now = Tag(VIDEO, self._now_ms, self._video_config_tag.payload, Flags.CONFIG)
            job.copy(at_now, packet, self._video_config)

    def _low_delay(self, spec: Spec) -> bool:
        return any(rendition.video is not None and rendition.video.low_latency for rendition in spec.renditions)
