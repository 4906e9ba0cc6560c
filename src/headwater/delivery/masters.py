"""The master playlist of a group: the renditions of a stream among which a player of HLS chooses, each with a ready address."""

from __future__ import annotations

from urllib.parse import quote

from headwater.access import signing
from headwater.access.plan import Rendition
from headwater.access.presence import StreamPresence
from headwater.access.verdict import Grant
from headwater.delivery.play import PlayRequest
from headwater.delivery.renditions import GroupOf, Renditions
from headwater.live.stream import StreamKey
from headwater.media.hls import Variant, master_playlist

GROUP_ARG = "headwater_group"
"""Argument of the children's addresses: the name of the master playlist by which the viewer came."""

OVERHEAD = 1.15
"""What MPEG-TS adds to a rate, and how far the rate of one segment may be above the average (RFC 8216, 4.3.4.2)."""

USUAL_KBPS = 1500
"""The rate of a stream of which nothing is known yet."""


def master(group: GroupOf, request: PlayRequest, query: str, grant: Grant, renditions: Renditions) -> bytes:
    """The playlist for one viewer: its children's addresses are signed as the viewer's own was, and so valid for as long."""
    source = renditions.announced(group.source)
    variants = []
    for key, rendition in group.children:
        presence = renditions.announced(key)
        variants.append(_variant(presence, rendition, source, address(key, request, query, grant)))
    return master_playlist(variants)


def address(key: StreamKey, request: PlayRequest, query: str, grant: Grant) -> str:
    """The address of a child's playlist, relative to the master's, with the viewer's own arguments."""
    name = f"{key.stream}.m3u8"
    fields = [field for field in query.split("&") if field.partition("=")[0] not in ("", signing.AUTH_KEY, GROUP_ARG)]
    fields.append(f"{GROUP_ARG}={quote(request.stream, safe='')}")
    if request.token and grant.policy.signing.enabled and grant.policy.signing.keys:
        timestamp, rand, uid, _ = request.token.split("-")  # it was found genuine
        path = f"{request.uri.rpartition('/')[0]}/{name}"
        fields.append(f"{signing.AUTH_KEY}={signing.sign(path, int(timestamp), grant.policy.signing.keys[0], rand, uid)}")
    return f"{name}?{'&'.join(fields)}"


def viewer_names(request: PlayRequest, renditions: Renditions, key: StreamKey | None) -> tuple[str, str] | None:
    """Path and token by which the viewer of a group is known, the same for the master and all of its children.

    So it counts as one viewer, and may go over to another child when its signature has expired meanwhile. None: no group.
    """
    if key is None:
        return None
    name = request.args.get(GROUP_ARG, key.stream)
    group = renditions.group(StreamKey(key.domain, key.app, name))
    if group is None or (name != key.stream and key not in dict(group.children)):
        return None
    return f"/{key.app}/{name}.m3u8", (request.token or "").rpartition("-")[0]


def _variant(presence: StreamPresence | None, rendition: Rendition | None, source: StreamPresence | None, uri: str) -> Variant:
    """A child as it is announced; as far as it is not, as its template and its source let expect."""
    kbps = (presence.video_kbps + presence.audio_kbps) if presence is not None else 0
    width, height = (presence.width, presence.height) if presence is not None else (0, 0)
    frame_rate = next((each.frame_rate for each in (presence, source) if each is not None and each.frame_rate), 0)
    if rendition is not None and rendition.video is not None:
        kbps = max(kbps, rendition.video.kbps + (rendition.audio.kbps if rendition.audio is not None else 0))
        if not height:
            width, height = rendition.video.width, rendition.video.height
            frame_rate = min(frame_rate, rendition.video.fps or frame_rate)
            if source is not None and source.height:
                height = min(height or source.height, source.height)  # nothing is ever enlarged
                width = min(width or round(source.width * height / source.height / 2) * 2, source.width)
    elif rendition is not None and rendition.audio is not None:
        kbps = kbps or rendition.audio.kbps or 128
        frame_rate = 0
    return Variant(
        uri=uri,
        bandwidth_bps=round((kbps or USUAL_KBPS) * 1000 * OVERHEAD),
        width=width if width and height else 0,
        height=height if width and height else 0,
        frame_rate=float(frame_rate),
        codecs=presence.codecs if presence is not None else "",
    )
