"""Why a push or play is refused: the reasons, and what the client is told."""

from __future__ import annotations

from typing import Final, Literal, Protocol

import msgspec
import structlog

from headwater.access.client import Client
from headwater.observe.counters import Counters

log = structlog.get_logger()

Reason = Literal[
    "unknown_domain",
    "wrong_type",
    "domain_offline",
    "edge_group",
    "not_bound",
    "bad_name",
    "ip_denied",
    "region_denied",
    "referer_denied",
    "agent_denied",
    "protocol_denied",
    "https_required",
    "http_required",
    "tls_version_denied",
    "signature_missing",
    "signature_malformed",
    "signature_invalid",
    "signature_expired",
    "remote_denied",
    "forbidden",
    "not_found",
    "busy",
    "overload",
    "unsupported",
]
"""Every reason for which a push or play is refused; they label metrics and log lines.

unknown_domain: nobody added this domain here.
wrong_type: a push to a streaming domain or a play from an ingest domain.
domain_offline: the domain, or the streaming domain behind it, is stopped.
edge_group: this node is outside the domain's edge group; DNS does not send anybody here for it.
not_bound: the ingest domain is bound to no streaming domain (for a sub-streaming domain: its main domain is gone).
bad_name: app or stream are no valid names.
ip_denied .. tls_version_denied: the domain's access functions (`access.checks`); region_denied may be a blocked stream's, too.
signature_*: URL signing, reference media-plane 1.5.
remote_denied: the customer's own server said no, or did not answer in time (`access.remote`).
forbidden: the stream is banned (ForbidLiveStream).
not_found: no such stream is live. busy: somebody else pushes this name. overload: this node takes no more.
unsupported: the asked protocol cannot carry the stream's codecs. These four are found by media nodes, not here.
"""

_REFUSALS: Final[dict[Reason, tuple[int, str]]] = {
    "unknown_domain": (404, "denied by domain: unknown domain"),
    "wrong_type": (403, "denied by domain: wrong domain type"),
    "domain_offline": (403, "denied by domain: domain is offline"),
    "edge_group": (403, "denied by domain: this node is outside its edge group"),
    "not_bound": (403, "denied by domain: not bound to a streaming domain"),
    "bad_name": (404, "denied by name: an app or stream has 1 to 255 of `A-Za-z0-9_.-`, none of `.-` in front"),
    "ip_denied": (403, "denied by ip acl: this address may not"),
    "region_denied": (403, "denied by region: not from here"),
    "referer_denied": (403, "denied by referer acl: not from this page"),
    "agent_denied": (403, "denied by user agent acl: not with this user agent"),
    "protocol_denied": (403, "denied by protocol: this protocol is switched off"),
    "https_required": (403, "denied by protocol: HTTPS only"),
    "http_required": (403, "denied by protocol: HTTP only"),
    "tls_version_denied": (403, "denied by protocol: this version of TLS is switched off"),
    "signature_missing": (403, "denied by req auth: missing auth_key"),
    "signature_malformed": (403, "denied by req auth: malformed auth_key"),
    "signature_invalid": (403, "denied by req auth: invalid md5hash"),
    "signature_expired": (403, "denied by req auth: expired timestamp"),
    "remote_denied": (403, "denied by remote auth"),
    "forbidden": (403, "denied by block list: stream is forbidden"),
    "not_found": (404, "no such stream"),
    "busy": (409, "stream is already being published"),
    "overload": (503, "server is overloaded"),
    "unsupported": (415, "the protocol cannot carry the stream's codecs"),
}


class Refusal(msgspec.Struct, frozen=True):
    """Why not. `text` goes into the header X-Tengine-Error and into the description of the RTMP status."""

    reason: Reason
    http_status: int
    text: str


class Asked(Protocol):
    """What a push and a play ask for alike."""

    @property
    def domain(self) -> str: ...
    @property
    def app(self) -> str: ...
    @property
    def stream(self) -> str: ...
    @property
    def client(self) -> Client: ...


def refuse(reason: Reason, text: str | None = None, status: int | None = None) -> Refusal:
    """The refusal for a reason, with its usual status and text where none are given."""
    usual_status, usual = _REFUSALS[reason]
    return Refusal(reason, usual_status if status is None else status, usual if text is None else text)


def record(counters: Counters, kind: Literal["publish", "play"], session_id: str, asked: Asked, refusal: Refusal) -> Refusal:
    """Count and log a refusal, which leaves nothing else behind, and return it."""
    counters.refused[kind, refusal.reason] += 1
    log.warning(
        f"{kind} refused",
        session=session_id,
        reason=refusal.reason,
        detail=refusal.text,
        domain=asked.domain,
        app=asked.app,
        stream=asked.stream,
        protocol=asked.client.spoken,
        client=asked.client.origin,
    )
    return refusal
