"""Ready-to-paste URLs of one stream: where to push it and where to play it, signed with the domains' keys."""

from __future__ import annotations

import math
import socket

import msgspec

from headwater.access.policy import Policy
from headwater.access.signing import sign_url
from headwater.settings import Listen, listen_address

_USUAL_PORTS = {"rtmp": 1935, "rtmps": 443, "http": 80, "https": 443, "ws": 80, "wss": 443}


class Endpoints(msgspec.Struct, frozen=True):
    """Where this platform listens, as others reach it; a port of None means that there is no such listener.

    host: an address or name to write instead of the domain, which then goes into `vhost=`; None: the domain resolves to us.
    """

    host: str | None = None
    rtmp: int | None = 1935
    rtmps: int | None = None
    http: int | None = 80
    https: int | None = None


def endpoints(listen: Listen, host: str | None) -> Endpoints:
    """Where a node with these listeners is reached. host: as in Endpoints."""
    return Endpoints(
        host,
        *(
            address[1] if (address := listen_address(text)) else None
            for text in (listen.rtmp, listen.rtmps, listen.http, listen.https)
        ),
    )


def resolves(domain: str) -> bool:
    """Whether this machine finds an address for a domain; names under `localhost` resolve on some systems only."""
    try:
        return bool(socket.getaddrinfo(domain, None))
    except OSError:
        return False


class StreamUrls(msgspec.Struct, frozen=True):
    """push: complete, "" without an ingest domain or listener. obs_server, obs_key: the same in two parts, as OBS asks for it.

    play: URL by protocol: `rtmp`, `http-flv`, `ws-flv`, `hls` and, with TLS, `rtmps`, `https-flv`, `wss-flv`, `hls-tls`.
    push_expires_s, play_expires_s: unix seconds until which a session may start; None if the domain asks for no signature.
    """

    push: str
    obs_server: str
    obs_key: str
    play: dict[str, str]
    push_expires_s: float | None
    play_expires_s: float | None


def stream_urls(push: Policy | None, play: Policy, app: str, stream: str, endpoints: Endpoints, now_s: float) -> StreamUrls:
    """The URLs of a stream; they hold from now for the validity of each domain's signatures."""
    timestamp = math.ceil(now_s)
    push_url = ""
    if push is not None and (port := endpoints.rtmp) is not None:
        push_url = _url("rtmp", port, push, f"/{app}/{stream}", endpoints, timestamp)
    path, mark, query = push_url.partition("?")
    obs_server, _, name = path.rpartition("/")
    players = (
        ("rtmp", "rtmp", endpoints.rtmp, ""),
        ("http-flv", "http", endpoints.http, ".flv"),
        ("ws-flv", "ws", endpoints.http, ".flv"),
        ("hls", "http", endpoints.http, ".m3u8"),
        ("rtmps", "rtmps", endpoints.rtmps, ""),
        ("https-flv", "https", endpoints.https, ".flv"),
        ("wss-flv", "wss", endpoints.https, ".flv"),
        ("hls-tls", "https", endpoints.https, ".m3u8"),
    )
    return StreamUrls(
        push=push_url,
        obs_server=obs_server,
        obs_key=name + mark + query,
        play={
            name: _url(scheme, port, play, f"/{app}/{stream}{extension}", endpoints, timestamp)
            for name, scheme, port, extension in players
            if port is not None
        },
        push_expires_s=None if push is None else _expires_s(push, timestamp),
        play_expires_s=_expires_s(play, timestamp),
    )


def _url(scheme: str, port: int, policy: Policy, path: str, endpoints: Endpoints, timestamp: int) -> str:
    host = endpoints.host or policy.domain
    if ":" in host:
        host = f"[{host}]"
    authority = host if port == _USUAL_PORTS[scheme] else f"{host}:{port}"
    url = f"{scheme}://{authority}{path}" + (f"?vhost={policy.domain}" if endpoints.host else "")
    return sign_url(url, policy.signing.keys[0], timestamp) if policy.signing.enabled else url


def _expires_s(policy: Policy, timestamp: int) -> float | None:
    return float(timestamp + policy.signing.validity_s) if policy.signing.enabled else None
