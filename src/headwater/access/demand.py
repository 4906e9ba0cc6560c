"""Which renditions viewers want, as media workers say, and which the center refuses to make; keys of the cluster's store."""

from __future__ import annotations

from typing import Literal

import msgspec

WANT_PREFIX = "want/"
"""Keys `want/<domain>/<app>/<stream>/<template>/<node>/<worker>`, leased, without a value that matters: a worker has viewers
of the rendition, or some who wait. Each worker has a key of its own, so that one cannot take back what another one wants."""

REFUSED_PREFIX = "refused/"
"""Keys `refused/<domain>/<app>/<stream>_<template>`, leased, with a `Refused`: viewers get the source stream instead
(reference media-plane 1.4)."""


class Refused(msgspec.Struct, frozen=True):
    """Why a rendition is not made: the domain has as many as it may have, or the machine has no cores left for it."""

    reason: Literal["quota", "cores"]
    text: str


def want_key(domain: str, app: str, stream: str, template: str, node: str, worker: int) -> str:
    """Where one worker says that it wants a rendition of a stream."""
    return f"{WANT_PREFIX}{domain}/{app}/{stream}/{template}/{node}/{worker}"


def refused_key(domain: str, app: str, stream: str, template: str) -> str:
    """Where the center says that it does not make a rendition."""
    return f"{REFUSED_PREFIX}{domain}/{app}/{stream}_{template}"
