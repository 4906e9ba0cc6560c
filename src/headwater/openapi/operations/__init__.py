"""The operations that work: one function each, one module for each family. Importing this package registers all of them."""

from headwater.openapi.operations import (
    blocks,
    callbacks,
    certificates,
    configs,
    domains,
    edge_transcoding,
    multi_stream,
    recording,
    snapshots,
    streams,
    tags,
    time_shift,
    transcoding,
    usage,
    watermarks,
)
from headwater.openapi.registry import OPERATIONS

__all__ = [
    "OPERATIONS",
    "blocks",
    "callbacks",
    "certificates",
    "configs",
    "domains",
    "edge_transcoding",
    "multi_stream",
    "recording",
    "snapshots",
    "streams",
    "tags",
    "time_shift",
    "transcoding",
    "usage",
    "watermarks",
]
