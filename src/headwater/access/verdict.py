"""The one verdict on every push and play: who may do what, from policies and bans in memory, without I/O."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from headwater.access import signing
from headwater.access.names import is_name
from headwater.access.policy import Ban, Policy

Reason = Literal[
    "unknown_domain",
    "wrong_type",
    "domain_offline",
    "not_bound",
    "bad_name",
    "signature_missing",
    "signature_malformed",
    "signature_invalid",
    "signature_expired",
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
not_bound: the ingest domain is bound to no streaming domain (for a sub-streaming domain: its main domain is gone).
bad_name: app or stream are no valid names.
signature_*: URL signing, reference media-plane 1.5.
forbidden: the stream is banned (ForbidLiveStream).
not_found: no such stream is live. busy: somebody else pushes this name. overload: this node takes no more.
unsupported: the asked protocol cannot carry the stream's codecs. These four are found by media nodes, not here.
"""

_REFUSALS: Final[dict[Reason, tuple[int, str]]] = {
    "unknown_domain": (404, "denied by domain: unknown domain"),
    "wrong_type": (403, "denied by domain: wrong domain type"),
    "domain_offline": (403, "denied by domain: domain is offline"),
    "not_bound": (403, "denied by domain: not bound to a streaming domain"),
    "bad_name": (404, "denied by name: invalid app or stream name"),
    "signature_missing": (403, "denied by req auth: missing auth_key"),
    "signature_malformed": (403, "denied by req auth: malformed auth_key"),
    "signature_invalid": (403, "denied by req auth: invalid md5hash"),
    "signature_expired": (403, "denied by req auth: expired timestamp"),
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


class Grant(msgspec.Struct, frozen=True):
    """Yes: the stream is `domain`/`app`/`stream`, where `domain` is the main streaming domain.

    policy: of the domain in the request. stream_policy: of the main streaming domain.
    """

    policy: Policy
    stream_policy: Policy
    domain: str
    app: str
    stream: str


def refuse(reason: Reason, text: str | None = None) -> Refusal:
    """The refusal for a reason, with its usual status and text."""
    status, usual = _REFUSALS[reason]
    return Refusal(reason, status, usual if text is None else text)


class Rules:
    """All policies and bans, as told by the cluster's store. `domain` arguments are lower-case, without a port."""

    def __init__(self) -> None:
        self._policies: dict[str, Policy] = {}
        self._bans: dict[tuple[str, str, str], float] = {}

    def set_policy(self, policy: Policy) -> None:
        """Add a domain or replace what is known of it."""
        self._policies[policy.domain] = policy

    def remove_policy(self, domain: str) -> None:
        """Forget a domain; unknown ones are ignored."""
        self._policies.pop(domain, None)

    def policy(self, domain: str) -> Policy | None:
        """What is known of a domain."""
        return self._policies.get(domain)

    def set_ban(self, ban: Ban) -> None:
        """Forbid a stream until `ban.until_s`."""
        self._bans[ban.domain, ban.app, ban.stream] = ban.until_s

    def remove_ban(self, domain: str, app: str, stream: str) -> None:
        """Allow a stream again; unknown ones are ignored."""
        self._bans.pop((domain, app, stream), None)

    def admit_publish(
        self, domain: str, app: str, stream: str, uri: str, token: str | None, now_s: float, *, ignore_expiry: bool = False
    ) -> Grant | Refusal:
        """May this client push? uri: the signed path, `/app/stream`. token: the value of `auth_key`.

        ignore_expiry: for asking again about a session that was admitted before, after a policy or ban has changed.
        """
        policy = self._policies.get(domain)
        if policy is None:
            return refuse("unknown_domain")
        if policy.type != "liveEdge":
            return refuse("wrong_type")
        return self._admit(policy, app, stream, uri, token, now_s, ignore_expiry)

    def admit_play(
        self, domain: str, app: str, stream: str, uri: str, token: str | None, now_s: float, *, ignore_expiry: bool = False
    ) -> Grant | Refusal:
        """May this client play? uri: the signed path with its extension, such as `/app/stream.flv`. As admit_publish."""
        policy = self._policies.get(domain)
        if policy is None:
            return refuse("unknown_domain")
        if policy.type != "liveVideo":
            return refuse("wrong_type")
        return self._admit(policy, app, stream, uri, token, now_s, ignore_expiry)

    def _admit(
        self, policy: Policy, app: str, stream: str, uri: str, token: str | None, now_s: float, ignore_expiry: bool
    ) -> Grant | Refusal:
        if policy.status != "online":
            return refuse("domain_offline")
        main = self._policies.get(policy.streaming_domain) if policy.streaming_domain else None
        if main is None:
            return refuse("not_bound")
        if main.status != "online":
            return refuse("domain_offline")
        if not (is_name(app) and is_name(stream)):
            return refuse("bad_name")
        if policy.signing.enabled:
            fault = signing.check(
                uri, token, policy.signing.keys, policy.signing.validity_s, now_s, ignore_expiry=ignore_expiry
            )
            if fault is not None:
                return refuse(fault.reason, fault.text)
        # last, so that only the holder of a key learns what is forbidden
        if self._bans.get((main.domain, app, stream), now_s) > now_s:
            return refuse("forbidden")
        return Grant(policy, main, main.domain, app, stream)
