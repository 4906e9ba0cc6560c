"""Checks the tags of one viewer: how the stream begins, whether frames are whole, and how old they are when they arrive."""

from __future__ import annotations

from headwater.load import clock
from headwater.load.walk import Report
from headwater.media.codecs import CODED_FRAMES, parse_video_config, split_audio, split_video
from headwater.media.errors import MediaError
from headwater.media.tag import AUDIO, SCRIPT, VIDEO, Flags

AUDIO_ONLY_MS = 3000
"""A stream whose audio has run so long without a tag of video has none."""


class TagCheck:
    """Takes the tags of one viewer in order.

    first_us: the unix time in microseconds at which the first whole key frame came, or the first audio of a stream without
    video; None before. delays_ms: of the frames since they were last taken away; frames that were sent before the viewer asked,
    which servers hand out so that players can start, do not count.
    """

    __slots__ = (
        "_audio_config",
        "_begun_us",
        "_first_audio",
        "_judged",
        "_nal_length_bytes",
        "_report",
        "_video",
        "_video_config",
        "delays_ms",
        "first_us",
    )

    def __init__(self, report: Report, begun_us: int) -> None:
        self.first_us: int | None = None
        self.delays_ms: list[float] = []
        self._report = report
        self._begun_us = begun_us
        self._judged = self._video = self._video_config = self._audio_config = False
        self._first_audio: tuple[int, int] | None = None  # its timestamp, and when it came
        self._nal_length_bytes = 0

    def tag(self, kind: int, timestamp_ms: int, payload: bytes, flags: int, now_us: int) -> None:
        """One tag, which arrived at a unix time in microseconds."""
        if kind == SCRIPT or not payload:
            return
        try:
            if kind == VIDEO:
                self._take_video(payload, flags, now_us)
            elif kind == AUDIO:
                self._take_audio(timestamp_ms, payload, flags, now_us)
        except MediaError as error:
            self._report("frame", str(error))

    def _take_video(self, payload: bytes, flags: int, now_us: int) -> None:
        self._video = True
        if flags & Flags.CONFIG:
            config = parse_video_config(payload)
            self._video_config = True
            self._nal_length_bytes = config.nal_length_bytes if config is not None else 0
            return
        packet = split_video(payload)
        if packet is None or packet.packet_type != CODED_FRAMES:
            return
        if not self._judged:
            self._judged = True
            if not packet.key:
                self._report("start", "the first video frame is no key frame")
            elif packet.codec is not None and not self._video_config:
                self._report("start", f"a key frame came before the configuration of {packet.codec}")
        if self.first_us is None and packet.key:
            self.first_us = now_us
        if self._nal_length_bytes:
            self._check_units(packet.data, self._nal_length_bytes)
        sent_us = clock.find(payload)
        if sent_us is not None and sent_us >= self._begun_us:
            self.delays_ms.append((now_us - sent_us) / 1000)

    def _take_audio(self, timestamp_ms: int, payload: bytes, flags: int, now_us: int) -> None:
        if flags & Flags.CONFIG:
            self._audio_config = True
            return
        if self._first_audio is None:
            self._first_audio = timestamp_ms, now_us
            packet = split_audio(payload)
            if packet is not None and packet.codec == "aac" and not self._audio_config:
                self._report("start", "an audio frame came before the configuration of aac")
        since_ms = (timestamp_ms - self._first_audio[0]) & 0xFFFF_FFFF
        if not self._video and self.first_us is None and since_ms >= AUDIO_ONLY_MS:
            self.first_us = self._first_audio[1]

    def _check_units(self, data: bytes, length_bytes: int) -> None:
        at, end = 0, len(data)
        while at + length_bytes <= end:
            at += length_bytes + int.from_bytes(data[at : at + length_bytes], "big")
        if at != end:
            self._report("frame", f"the NAL units of a frame of {end} bytes end at {at}")
