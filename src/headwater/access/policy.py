"""The policy: all that a media node must know of one domain, compiled by the control plane from the database.

Policies travel through `cluster/` under `policy/<domain>`, bans under `ban/<streaming domain>/<app>/<stream>`, and
blocked regions likewise under `block/`; media nodes watch them and never touch the database.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from headwater.live.output import LAG_BYTES

POLICY_PREFIX = "policy/"
BAN_PREFIX = "ban/"
BLOCK_PREFIX = "block/"
KICK_SUBJECT = "kick"
"""Event subject; its payload is a `Kick`: end the named publisher once, without a ban (ForbidLiveStream, Oneshot=yes)."""

DomainType = Literal["liveEdge", "liveVideo"]
"""`liveEdge` is an ingest domain, `liveVideo` a streaming domain (AddLiveDomain, LiveDomainType)."""

EdgeGroup = Literal["", "domestic", "overseas"]
"""Where a node stands: in mainland China or outside. "" is for installations that do not part the two: it serves all."""

Scope = Literal["domestic", "overseas", "global"]
"""The edge group of a domain: which nodes may serve it."""

FlushProfile = Literal["realtime", "low", "standard"]


class Signing(msgspec.Struct, frozen=True, omit_defaults=True):
    """URL signing of type A (function `aliauth`). `keys` holds the primary and, if set, the secondary key, both valid."""

    enabled: bool = True
    keys: tuple[str, ...] = ()
    validity_s: int = 1800


class Latency(msgspec.Struct, frozen=True, omit_defaults=True):
    """Delay settings (SetLiveStreamDelayConfig). None for RTMP and FLV: start with the newest whole GOP.

    hls_delay_s: a segment is max(1, floor(delay / 3)) seconds; a playlist lists 4 segments if a segment is at least
    3 s long, else 6 (reference media-plane 6.2). Default: 5 s segments, 15 s of delay.
    """

    rtmp_delay_s: int | None = None
    flv_delay_s: int | None = None
    hls_delay_s: int = 15

    @property
    def behind_s(self) -> int:
        """How far behind the newest tag a viewer of a stream may begin."""
        return max(self.rtmp_delay_s or 0, self.flv_delay_s or 0)


class Session(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a streaming domain treats its streams and viewers (our own function `headwater_live`).

    on_conflict: a second push of a live name is refused (unless the first has been silent for 3 s) or takes over.
    reconnect_window_s: how long viewers stay connected after the publisher has dropped.
    flush: the latency profile of the fan-out: each tag, every 100 ms, every 350 ms.
    viewer_lag_s, viewer_lag_bytes: how far a slow viewer may fall behind before it jumps to the newest key frame; the nearer
    bound counts.
    multi_stream: several publishers may push one name (SetLiveDomainMultiStreamConfig): one is the master, the others stand by.
    manual: `app/stream` of the streams whose master only the customer changes (SetLiveDomainMultiStreamOptimalMode, off).
    """

    on_conflict: Literal["reject", "takeover"] = "reject"
    reconnect_window_s: float = 10.0
    flush: FlushProfile = "standard"
    viewer_lag_s: float = 10.0
    viewer_lag_bytes: int = LAG_BYTES
    multi_stream: bool = False
    manual: tuple[str, ...] = ()


class IpRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """Addresses that are refused or, with `allow`, the only ones that are not (ip_black_list_set, ip_allow_list_set).

    networks: addresses and networks in CIDR notation. status: of the refusal. forwarded: which addresses count behind a
    trusted proxy: the client's (`on`), the proxy's (`off`), or all of them (`all`).
    """

    networks: tuple[str, ...]
    allow: bool = False
    status: int = 403
    forwarded: Literal["on", "off", "all"] = "on"


class RefererRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """Pages whose players are refused or, with `allow`, the only ones that are not (referer_black/white_list_set).

    hosts: of the pages, `*` for any characters, with a scheme in front if only that one is meant.
    allow_empty: players that name no page may play.
    """

    hosts: tuple[str, ...]
    allow: bool = False
    allow_empty: bool = True


class AgentRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """User agents that are refused or, with `allow`, the only ones that are not (ali_ua); `*` for any characters."""

    patterns: tuple[str, ...]
    allow: bool = False


class RegionRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """Regions whose clients are refused or, with `allow`, the only ones that are not.

    regions: codes as in `access.regions`.
    """

    regions: tuple[str, ...]
    allow: bool = False


class RemoteAuth(msgspec.Struct, frozen=True, omit_defaults=True):
    """The customer's own server that is asked about pushes and plays (cdn_remote_auth).

    types: extensions of the paths that are asked about, () for all. kept_args, kept_headers: what of the client's request goes
    along, None for all. added_args, added_headers: (name, value). success, fail: statuses of the answer; others_pass says what
    another one means, timeout_passes what none means. refused_status: what a refused client gets.
    """

    url: str
    method: Literal["GET", "POST", "HEAD"] = "GET"
    types: tuple[str, ...] = ()
    kept_args: tuple[str, ...] | None = None
    added_args: tuple[tuple[str, str], ...] = ()
    kept_headers: tuple[str, ...] | None = None
    added_headers: tuple[tuple[str, str], ...] = ()
    success: tuple[int, ...] = (200,)
    fail: tuple[int, ...] = (403,)
    others_pass: bool = True
    timeout_passes: bool = True
    refused_status: int = 403
    timeout_s: float = 3.0


class Access(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who may come to a domain, beside URL signing (reference control-plane 4, media-plane 1.6).

    scheme: the only one that is served over HTTP, None for both. denied_protocols: `rtmp`, `rtmps`, `flv`, `ws-flv`, `hls`.
    tls_versions: the versions of TLS that may be used, as OpenSSL names them; empty for all that we have.
    """

    ip: IpRule | None = None
    referer: RefererRule | None = None
    agent: AgentRule | None = None
    region: RegionRule | None = None
    remote: RemoteAuth | None = None
    scheme: Literal["http", "https"] | None = None
    denied_protocols: tuple[str, ...] = ()
    tls_versions: tuple[str, ...] = ()
    ipv6: bool = True

    @property
    def by_connection(self) -> bool:
        """Whether two clients who send the same bytes may be judged differently: for an address or a version of TLS."""
        return self.ip is not None or self.region is not None or bool(self.tls_versions) or not self.ipv6


class Answers(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a streaming domain answers over HTTP.

    headers: set_resp_header, (name, value) in order; None takes a header away. hsts: the value of
    Strict-Transport-Security over HTTPS, "" for none. gzip: playlists may be compressed. error_pages: (status, URL) to which
    a refused player is sent instead.
    """

    headers: tuple[tuple[str, str | None], ...] = ()
    hsts: str = ""
    gzip: bool = True
    error_pages: tuple[tuple[int, str], ...] = ()


class Staged(msgspec.Struct, frozen=True, omit_defaults=True):
    """What holds, instead of the policy's own, for clients that come by a staging address (SetLiveDomainStagingConfig)."""

    signing: Signing
    access: Access = Access()
    answers: Answers = Answers()


class Policy(msgspec.Struct, frozen=True, omit_defaults=True):
    """One domain as a media node sees it.

    streaming_domain: for an ingest domain, the main streaming domain to which it is bound (None: not bound, no push);
    for a streaming domain, itself. staged: None if nothing is staged.
    """

    domain: str
    account: str
    type: DomainType
    status: Literal["online", "offline", "configuring"]
    region: str
    scope: Scope = "domestic"
    streaming_domain: str | None = None
    signing: Signing = Signing()
    latency: Latency = Latency()
    session: Session = Session()
    access: Access = Access()
    answers: Answers = Answers()
    staged: Staged | None = None


class Ban(msgspec.Struct, frozen=True):
    """A forbidden stream. until_s: unix seconds at which it is lifted by itself."""

    domain: str
    app: str
    stream: str
    until_s: float


class Block(msgspec.Struct, frozen=True):
    """A stream that may not be played in some regions, or only there, until `until_s` (unix seconds)."""

    domain: str
    app: str
    stream: str
    rule: RegionRule
    until_s: float


class Kick(msgspec.Struct, frozen=True):
    """End the publisher of this stream once. `domain` is the streaming domain."""

    domain: str
    app: str
    stream: str


def serves(edge_group: EdgeGroup, scope: Scope) -> bool:
    """Whether a node of this edge group may serve a domain of this scope (seed page, Edge Group)."""
    return not edge_group or scope in ("global", edge_group)


def encode(value: Policy | Ban | Block | Kick) -> bytes:
    """The bytes that travel through the cluster's store."""
    return msgspec.json.encode(value)


def decode_policy(data: bytes) -> Policy:
    """Raises msgspec.ValidationError or msgspec.DecodeError if the bytes are no policy."""
    return msgspec.json.decode(data, type=Policy)


def decode_ban(data: bytes) -> Ban:
    """Raises msgspec.ValidationError or msgspec.DecodeError if the bytes are no ban."""
    return msgspec.json.decode(data, type=Ban)


def decode_block(data: bytes) -> Block:
    """Raises msgspec.ValidationError or msgspec.DecodeError if the bytes are no block."""
    return msgspec.json.decode(data, type=Block)


def decode_kick(data: bytes) -> Kick:
    """Raises msgspec.ValidationError or msgspec.DecodeError if the bytes are no kick."""
    return msgspec.json.decode(data, type=Kick)


def policy_key(domain: str) -> str:
    """Where a domain's policy stands in the cluster's store."""
    return POLICY_PREFIX + domain


def ban_key(domain: str, app: str, stream: str) -> str:
    """Where a ban stands in the cluster's store."""
    return f"{BAN_PREFIX}{domain}/{app}/{stream}"


def block_key(domain: str, app: str, stream: str) -> str:
    """Where the blocked regions of a stream stand in the cluster's store."""
    return f"{BLOCK_PREFIX}{domain}/{app}/{stream}"
