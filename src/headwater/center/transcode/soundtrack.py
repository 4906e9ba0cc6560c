"""The sound of renditions: one encoder for all that want the same, which follows the source's gaps and changes."""

from __future__ import annotations

import av
import structlog

from headwater.access.plan import Audio
from headwater.center.transcode import tags
from headwater.center.transcode.encoding import AudioEncoder, EncoderError
from headwater.center.transcode.targets import sound
from headwater.media.tag import Tag

GAP_MS = 100
"""Sound that comes so much too late or too early is no jitter: the track's clock is set anew."""

log = structlog.get_logger()


def encodes(audio: Audio, source_codec: str) -> bool:
    """Whether the source's sound is encoded anew: not if it is what is wanted already."""
    if audio.codec == "copy":
        return False
    return audio.codec != source_codec or audio != Audio(codec=audio.codec)


ENCODED_PROFILES = ("", "aac_low")
"""The profiles of AAC that FFmpeg's own encoder makes. libfdk_aac, which makes the others, may not be shipped with it."""


class SoundTrack:
    """Encodes the source's sound in one way. fault: why there is none now, or not as wanted; "" if all is well."""

    def __init__(self, audio: Audio) -> None:
        self.audio = audio
        self.config: Tag | None = None
        self.fault = self._shortcoming = (
            "" if audio.profile in ENCODED_PROFILES else f"AAC-LC instead of {audio.profile}, for which there is no encoder"
        )
        self._encoder: AudioEncoder | None = None
        self._made_for: tuple[object, ...] = ()
        self._begins = True
        self._anchor_ms = 0.0
        self._given = 0

    def feed(self, frame: av.AudioFrame, timestamp_ms: int) -> list[Tag]:
        """The tags that are ready with these samples of the source."""
        source = frame.sample_rate, frame.layout.name, frame.format.name
        made = sound(self.audio, frame.sample_rate, frame.layout.nb_channels)
        ready: list[Tag] = []
        try:
            if self._encoder is None or source != self._made_for:
                self._encoder, self._made_for = AudioEncoder(made), source
                self._anchor_ms, self._given = timestamp_ms, 0
                log.info("sound begins", sound=str(made), source=str(source))
                self.config, self._begins = None, True
            late_ms = timestamp_ms - (self._anchor_ms + self._given * 1000 / frame.sample_rate)
            if abs(late_ms) > GAP_MS:
                self._anchor_ms += late_ms
            self._given += frame.samples
            frame.pts = None
            for first, data in self._encoder.encode(frame):
                at_ms = round(self._anchor_ms + first * 1000 / made.rate)
                if at_ms < 0:
                    continue  # what leads in to a stream that begins at 0
                if self._begins:
                    self.config, self._begins = tags.audio_config(made.codec, self._encoder.record, at_ms), False
                    ready += [self.config] if self.config is not None else []
                ready.append(tags.audio_frame(made.codec, data, at_ms, rate=made.rate, channels=made.channels))
        except EncoderError as error:
            if self.fault != str(error):
                log.error("sound has failed", error=str(error))
            self.fault, self._encoder = str(error), None
            return ready
        self.fault = self._shortcoming
        return ready
