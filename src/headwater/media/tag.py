"""The tag: one audio, video or script message with its timestamp, the unit in which media travels through Headwater.

A tag's payload is an RTMP message body, which is also an FLV tag body, byte for byte (Adobe Flash Video File Format
Specification 10.1, annex E; Enhanced RTMP v2). RTMP and FLV therefore need no conversion at all.
"""

from __future__ import annotations

from typing import Final

import msgspec

AUDIO, VIDEO, SCRIPT = 8, 9, 18
"""Tag kinds: the FLV tag types, which are the RTMP message type ids too."""


class Flags:
    """Bits that say what the fan-out must know of a tag without parsing its payload again.

    Plain integers: an enum's operators cost more than all else that is done for a tag.
    """

    NONE: Final = 0
    KEY: Final = 1
    """A video frame that can be decoded without any other."""
    CONFIG: Final = 2
    """Codec configuration: a decoder needs it before the first frame (AVCDecoderConfigurationRecord and the like)."""
    METADATA: Final = 4
    """The `onMetaData` script tag."""


class Tag(msgspec.Struct, frozen=True, gc=False):
    """One message of audio, video or script data.

    kind: AUDIO, VIDEO or SCRIPT.
    timestamp_ms: decode time on the stream's own timeline; starts near zero, never wraps in here (the wire wraps at 32 bits).
    payload: the message body.
    flags: `Flags`, joined with `|`.
    """

    kind: int
    timestamp_ms: int
    payload: bytes
    flags: int = 0
