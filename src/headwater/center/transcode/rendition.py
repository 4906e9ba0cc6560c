"""One rendition of a stream: takes the source's pictures and sound, and gives the tags of a stream of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import structlog

from headwater.access.plan import Rendition, Video
from headwater.center.transcode import tags
from headwater.center.transcode.decoding import BROKEN
from headwater.center.transcode.encoding import Colours, Encoded, EncoderError, VideoEncoder
from headwater.center.transcode.pictures import Studio, pixel_aspect
from headwater.center.transcode.sei import Insertions
from headwater.center.transcode.spec import InsertSei
from headwater.center.transcode.targets import Pace, SourcePicture, Target, target
from headwater.media import nal
from headwater.media.codecs import CODED_FRAMES, VideoConfig, VideoPacket
from headwater.media.errors import MediaError
from headwater.media.nal import SeiMessage
from headwater.media.tag import AUDIO, VIDEO, Flags, Tag

HOLD_MAX_MS = 5000
"""Sound waits at most so long for the picture that goes with it: an encoder that looks ahead 40 frames takes 3 s."""

RATE_WINDOW_MS = 4000
"""Over which a rendition's own rate is measured."""

SEI_WAITING_MAX = 512
"""Messages of the source that wait for their encoded frames: some seconds of every frame's."""

log = structlog.get_logger()


class Output:
    """Puts a rendition's picture and sound in order of time; within each, time never goes back."""

    def __init__(self) -> None:
        self._sound: deque[Tag] = deque()
        self._ready: list[Tag] = []
        self._last_ms = {AUDIO: -1, VIDEO: -1}
        self.kbps = 0
        self._bytes, self._since_ms = 0, -1

    def video(self, tag: Tag) -> None:
        """A tag of the picture; the sound of its time goes in front of it."""
        self._release(tag.timestamp_ms)
        self._put(tag)

    def audio(self, tag: Tag, *, hold: bool) -> None:
        """A tag of sound. hold: the picture of its time is still to come."""
        self._sound.append(tag)
        newest_ms = tag.timestamp_ms
        self._release(self._last_ms[VIDEO] if hold and newest_ms - self._sound[0].timestamp_ms < HOLD_MAX_MS else newest_ms)

    def put_header(self, tag: Tag, at_ms: int) -> None:
        """Codec configuration, for what comes from this time on."""
        self._release(at_ms)
        self._ready.append(Tag(tag.kind, at_ms, tag.payload, tag.flags))

    def take(self) -> list[Tag]:
        """What is ready since the last call."""
        ready, self._ready = self._ready, []
        return ready

    def flush(self) -> None:
        """Nothing else comes."""
        if self._sound:
            self._release(self._sound[-1].timestamp_ms)

    def restart(self) -> None:
        """The source's clock has begun anew."""
        self.flush()
        self._last_ms = {AUDIO: -1, VIDEO: -1}
        self._since_ms = -1

    def _release(self, until_ms: int) -> None:
        while self._sound and self._sound[0].timestamp_ms <= until_ms:
            self._put(self._sound.popleft())

    def _put(self, tag: Tag) -> None:
        now_ms = tag.timestamp_ms
        if now_ms < self._last_ms[tag.kind]:
            tag = Tag(tag.kind, self._last_ms[tag.kind], tag.payload, tag.flags)
        self._last_ms[tag.kind] = tag.timestamp_ms
        self._bytes += len(tag.payload)
        if self._since_ms < 0:
            self._since_ms = now_ms
        elif now_ms - self._since_ms >= RATE_WINDOW_MS:
            self.kbps = self._bytes * 8 // (now_ms - self._since_ms)
            self._bytes, self._since_ms = 0, now_ms
        self._ready.append(tag)


class RenditionJob:
    """Makes one rendition. fault: why it has no picture now, "" if all is well."""

    def __init__(self, rendition: Rendition, *, threads: int, nvenc: bool) -> None:
        self.rendition = rendition
        self.output = Output()
        self.fault = ""
        self.insertions = Insertions()
        self._threads = threads
        self._nvenc = nvenc
        self._encoder: VideoEncoder | None = None
        self._look: tuple[object, ...] = ()
        self._pace = Pace()
        self._last_dts_ms = -1
        self._source_sei: dict[int, list[SeiMessage]] = {}
        self._carried_sei: list[SeiMessage] = []
        self._config: Tag | None = None
        self._copied_config: Tag | None = None
        self._copying = False

    # its rendition's kind

    def encodes(self, source_codec: str) -> bool:
        """Whether it encodes the picture of a source in this codec; otherwise it copies it, or has none."""
        video = self.rendition.video
        return video is not None and not self.copies(source_codec)

    def copies(self, source_codec: str) -> bool:
        """Whether it passes the source's picture on as it is. `copy` is a promise of H.264 (AddRtsLiveStreamTranscode)."""
        video = self.rendition.video
        return video is not None and video.codec == "copy" and video.bframes and source_codec == "h264"

    @property
    def wants_sei(self) -> bool:
        """Whether the source's user data is passed on."""
        return self.rendition.video is not None and self.rendition.video.sei

    @property
    def deinterlaces(self) -> bool:
        """Whether it wants whole pictures of interlaced ones."""
        return self.rendition.video is not None and self.rendition.video.deinterlace

    def describe(self) -> str:
        """What it does, for people."""
        if self.fault:
            return self.fault
        parts = []
        if self._encoder is not None:
            made = self._encoder.target
            parts.append(f"{made.width}x{made.height}, {made.fps:g} frames/s, {self._encoder.name}")
        elif self._copying:
            parts.append("picture copied")
        if self.output.kbps:
            parts.append(f"{self.output.kbps} kbit/s")
        return ", ".join(parts)

    # the picture

    def offer(self, studio: Studio, source: SourcePicture, colours: Colours, pts_ms: int, source_key: bool) -> bool:
        """A picture of the source, shown by `studio`. Returns whether it was encoded."""
        video = self.rendition.video
        assert video is not None
        if self.fault and not source_key:
            return False  # an encoder that fails is not tried with every frame
        look = (source.width, source.height, colours)
        anew = self._encoder is None or look != self._look
        wanted = self._encoder.target if self._encoder is not None else None
        if anew or source_key or wanted is None:
            wanted = target(video, source)
        taken, key = self._pace.take(wanted, pts_ms, source_key)
        try:
            if anew or (key and self._encoder is not None and wanted.unlike(self._encoder.target)):
                self._rebuild(video, wanted, colours, source)
                self._look = look
                taken = key = True
            if not taken:
                self._carried_sei += self._source_sei.pop(pts_ms, ())
                return False
            if self._carried_sei:
                self._source_sei[pts_ms] = self._carried_sei + self._source_sei.get(pts_ms, [])
                self._carried_sei = []
            assert self._encoder is not None
            picture = studio.picture(self._encoder.target.width, self._encoder.target.height)
            self._write(self._encoder, self._encoder.encode(picture, pts_ms, key))
        except (EncoderError, *BROKEN) as error:
            if not self.fault:
                log.error("rendition has failed", template=self.rendition.template, error=str(error))
            self.fault = str(error)
            self._encoder = None
            return False
        self.fault = ""
        return True

    def source_sei(self, pts_ms: int, messages: Iterable[SeiMessage]) -> None:
        """User data of a source's frame, to be written into the same one."""
        if len(self._source_sei) >= SEI_WAITING_MAX:  # of frames that the decoder never gave
            self._source_sei.clear()
        self._source_sei[pts_ms] = list(messages)

    def copy(self, tag: Tag, packet: VideoPacket, config: VideoConfig | None) -> None:
        """A tag of the source's picture, as it is."""
        if self._encoder is not None:
            self.end_encoding()
        if tag.flags & Flags.CONFIG:
            if self._copied_config is None or self._copied_config.payload != tag.payload:
                self._copied_config = tag
                self.output.video(tag)
            return
        self._copying = self._copying or packet.key
        if not self._copying or packet.packet_type != CODED_FRAMES:
            return
        if config is not None and tag.payload.endswith(packet.data):
            messages = self.insertions.take(tag.timestamp_ms + packet.composition_ms, packet.key)
            tag = _with_sei(tag, packet.data, config, messages) if messages else tag
        self.output.video(tag)

    def insert_sei(self, asked: InsertSei, now_ms: int) -> None:
        """Write a text, from this time on."""
        self.insertions.add(asked, now_ms)

    def end_encoding(self) -> None:
        """Give what the encoder still holds; the next picture makes a new one."""
        encoder, self._encoder = self._encoder, None
        self._copied_config, self._copying = None, False
        if encoder is not None:
            self._write(encoder, encoder.flush())

    def flush(self) -> None:
        """Nothing else comes."""
        self.end_encoding()
        self.output.flush()

    def restart(self) -> None:
        """The source's clock has begun anew."""
        self.end_encoding()
        self.output.restart()
        self._source_sei.clear()
        self._carried_sei = []
        self._pace, self._last_dts_ms = Pace(), -1

    def _rebuild(self, video: Video, wanted: Target, colours: Colours, source: SourcePicture) -> None:
        """Raises EncoderError."""
        self.end_encoding()
        aspect = pixel_aspect(colours.pixel_aspect, (source.width, source.height), (wanted.width, wanted.height))
        shown = colours._replace(pixel_aspect=aspect, range=1)
        self._encoder = encoder = VideoEncoder(video, wanted, shown, threads=self._threads, nvenc=self._nvenc)
        log.info("rendition begins", template=self.rendition.template, encoder=encoder.name, target=str(wanted))
        self._config = tags.video_config(encoder.codec, encoder.record, 0)

    def _write(self, encoder: VideoEncoder, frames: Sequence[Encoded]) -> None:
        for frame in frames:
            dts_ms = min(max(frame.dts_ms, self._last_dts_ms + 1), max(frame.pts_ms, self._last_dts_ms))
            self._last_dts_ms = dts_ms
            if self._config is not None:
                self.output.put_header(self._config, dts_ms)
                self._config = None
            messages = [*self._source_sei.pop(frame.pts_ms, ()), *self.insertions.take(frame.pts_ms, frame.key)]
            units = frame.units
            if messages:
                units = [nal.sei_unit(encoder.codec, messages), *units]
            self.output.video(
                tags.video_frame(encoder.codec, nal.join(units), dts_ms=dts_ms, pts_ms=frame.pts_ms, key=frame.key)
            )


def _with_sei(tag: Tag, frame: bytes, config: VideoConfig, messages: Sequence[SeiMessage]) -> Tag:
    """A tag whose payload ends with the frame, with messages written into it; as it came if it is broken."""
    try:
        written = nal.with_sei(config.codec, frame, config.nal_length_bytes, messages)
    except MediaError:
        return tag
    return Tag(tag.kind, tag.timestamp_ms, tag.payload[: -len(frame)] + written, tag.flags)
