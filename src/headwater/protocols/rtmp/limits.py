"""What one RTMP peer may cost: every bound of the engine with its reason."""

from __future__ import annotations

import msgspec


class RtmpLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds on a peer. All are far above what encoders and players do, and far below what would hurt a neighbour.

    message_bytes: one message. The largest honest one is a key frame; intra frames of 4K at 100 Mbit/s stay below 4 MiB.
    buffered_bytes: all messages of a connection that have begun and are not complete. Twice a message, because audio may be
        chunked in between a key frame, while nobody interleaves two key frames.
    command_bytes: one AMF command. Signed stream names with user arguments come to a few KiB at most.
    chunk_streams: chunk stream ids in use. Encoders use two to eight; nginx-rtmp allows 32.
    message_streams: message streams created and not deleted. Encoders and players use one.
    amf_depth: nesting of AMF values. onMetaData with key frame lists nests three deep; must stay far below Python's own
        limit of recursion.
    amf_values: values in one AMF message, properties and array elements included. A connect command has about 30; Flash tools
        put lists of cue points into metadata.
    """

    message_bytes: int = 8 * 1024 * 1024
    buffered_bytes: int = 16 * 1024 * 1024
    command_bytes: int = 64 * 1024
    chunk_streams: int = 64
    message_streams: int = 16
    amf_depth: int = 32
    amf_values: int = 20_000


DEFAULT_LIMITS = RtmpLimits()
