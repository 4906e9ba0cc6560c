"""A strict FLV reader of the tests' own: it takes bytes as they come and raises on anything that is not whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

AUDIO, VIDEO, SCRIPT = 8, 9, 18


@dataclass(frozen=True)
class FlvTag:
    """One tag. kind: AUDIO, VIDEO or SCRIPT."""

    kind: int
    timestamp_ms: int
    body: bytes

    @property
    def is_metadata(self) -> bool:
        """An onMetaData script tag."""
        return self.kind == SCRIPT and b"onMetaData" in self.body[:20]

    @property
    def is_config(self) -> bool:
        """A sequence header of audio or video, in the old form or the FourCC form of enhanced RTMP."""
        if self.kind == VIDEO:
            if self.body[0] & 0x80:
                return self.body[0] & 0x0F == 0
            return self.body[0] & 0x0F in (7, 12) and self.body[1] == 0
        if self.kind == AUDIO:
            if self.body[0] >> 4 == 9:
                return self.body[0] & 0x0F == 0
            return self.body[0] >> 4 == 10 and self.body[1] == 0
        return False

    @property
    def is_key_frame(self) -> bool:
        """A video frame, not a sequence header, that needs no other frame."""
        return self.kind == VIDEO and not self.is_config and (self.body[0] >> 4) & 0x07 == 1

    @property
    def is_frame(self) -> bool:
        """Audio or video that is heard or seen: neither a sequence header nor the end of a sequence."""
        if self.kind == SCRIPT or self.is_config:
            return False
        if self.kind == VIDEO and not self.body[0] & 0x80:
            return self.body[0] & 0x0F not in (7, 12) or self.body[1] == 1
        return True


class FlvReader:
    """Takes bytes in any pieces and yields whole tags. Raises AssertionError on bytes that are no FLV."""

    def __init__(self) -> None:
        self.header: bytes | None = None
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[FlvTag]:
        """The tags that are complete with these bytes."""
        self._data += data
        if self.header is None:
            if len(self._data) < 13:
                return
            self.header = bytes(self._data[:9])
            assert self.header[:4] == b"FLV\x01", f"not an FLV header: {self.header!r}"
            assert self.header[4] & ~0x05 == 0, "reserved flags are set"
            assert self.header[5:9] == b"\0\0\0\x09", "the header says another length than 9"
            assert self._data[9:13] == b"\0\0\0\0", "the first PreviousTagSize is not 0"
            del self._data[:13]
        while len(self._data) >= 11:
            kind, size = self._data[0], int.from_bytes(self._data[1:4], "big")
            assert kind in (AUDIO, VIDEO, SCRIPT), f"a tag of kind {kind}: the stream is torn"
            assert self._data[8:11] == b"\0\0\0", "the stream id of a tag is not 0"
            if len(self._data) < 11 + size + 4:
                return
            previous = int.from_bytes(self._data[11 + size : 15 + size], "big")
            assert previous == 11 + size, f"PreviousTagSize {previous} after a tag of {11 + size}: the stream is torn"
            assert size > 0, "an empty tag"
            timestamp = int.from_bytes(bytes([self._data[7], *self._data[4:7]]), "big")
            tag = FlvTag(kind, timestamp, bytes(self._data[11 : 11 + size]))
            del self._data[: 15 + size]
            yield tag

    def finish(self) -> None:
        """Say that no more bytes come. Raises AssertionError if they ended within a tag."""
        assert not self._data, f"the stream ended within a tag, {len(self._data)} bytes of it were sent"


def check_start(tags: list[FlvTag]) -> None:
    """What a late joiner must get: metadata, then sequence headers, then a key frame before any other frame of video."""
    # RTMP servers say this before the stream's own metadata.
    tags = [tag for tag in tags if tag.kind != SCRIPT or tag.is_metadata]
    assert tags, "no tags"
    assert tags[0].is_metadata, f"the first tag is no metadata: {tags[0]}"
    videos = [tag for tag in tags if tag.kind == VIDEO]
    audios = [tag for tag in tags if tag.kind == AUDIO]
    if videos:
        assert videos[0].is_config, "the first video tag is no sequence header"
        frames = [tag for tag in videos if tag.is_frame]
        assert not frames or frames[0].is_key_frame, "the first video frame is no key frame"
    if audios and audios[0].body[0] >> 4 in (9, 10):
        assert audios[0].is_config, "the first audio tag is no sequence header"
    first_frame = next((n for n, tag in enumerate(tags) if tag.is_frame), len(tags))
    configs = [n for n, tag in enumerate(tags) if tag.is_config]
    kinds = {tags[n].kind for n in configs if n < first_frame}
    assert kinds == {tag.kind for tag in tags if tag.kind != SCRIPT}, "a frame comes before the sequence headers"


def check_times(tags: list[FlvTag], jump_ms: int = 500) -> None:
    """Raises AssertionError if the time of audio or of video runs back, or leaps by more than `jump_ms`."""
    for kind in (AUDIO, VIDEO):
        times = [tag.timestamp_ms for tag in tags if tag.kind == kind and tag.is_frame]
        for before, after in itertools.pairwise(times):
            assert before <= after <= before + jump_ms, f"kind {kind}: from {before} to {after} ms"
