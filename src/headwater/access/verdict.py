"""The one verdict on every push and play: who may do what, from policies and bans in memory, without I/O."""

from __future__ import annotations

import msgspec

from headwater.access import signing
from headwater.access.checks import Check, Checks, Locate, region_check
from headwater.access.client import Client
from headwater.access.names import is_name
from headwater.access.places import NOWHERE
from headwater.access.policy import Ban, Block, EdgeGroup, Policy, decode_policy, encode, serves
from headwater.access.refusal import Reason, Refusal, refuse

__all__ = ["Grant", "Reason", "Refusal", "Rules", "refuse"]


class Grant(msgspec.Struct, frozen=True):
    """Yes: the stream is `domain`/`app`/`stream`, where `domain` is the main streaming domain.

    policy: of the domain in the request, with what is staged if the client came by a staging address. stream_policy: of the
    main streaming domain.
    """

    policy: Policy
    stream_policy: Policy
    domain: str
    app: str
    stream: str


class _Judged(msgspec.Struct, frozen=True):
    """A policy with its checks compiled."""

    policy: Policy
    checks: Checks


DECODED_MAX = 50_000
"""Policies that are kept ready for use, some 100 MB: more domains than one worker has clients for. Beyond it the oldest go."""

NAME_MAX = 253
"""Characters of a domain name (RFC 1035 section 2.3.4); nothing longer can be under a name with a leading dot."""


_NOT_BLOCKED: tuple[float, Check] = (0.0, lambda client: None)


class Rules:
    """All policies and bans, as told by the cluster's store. `domain` arguments are lower-case, without a port.

    locate: where an address is, for region blocking. edge_group: of this node.
    revision: grows with everything that is told. As long as it is the same, who was granted something is granted it again, but
    for the expiry of a signature: a ban or a block that ends by itself only lets more people in.
    """

    def __init__(self, locate: Locate = lambda address: NOWHERE, edge_group: EdgeGroup = "") -> None:
        self.revision = 0
        self._edge_group = edge_group
        self._locate = locate
        self._encoded: dict[str, bytes] = {}
        self._policies: dict[str, Policy] = {}
        self._dotted: set[str] = set()
        self._judged: dict[tuple[str, bool], _Judged] = {}
        self._bans: dict[tuple[str, str, str], float] = {}
        self._blocks: dict[tuple[str, str, str], tuple[float, Check]] = {}

    def set_policy(self, policy: Policy) -> None:
        """Add a domain or replace what is known of it."""
        self.set_encoded(policy.domain, encode(policy))

    def set_encoded(self, domain: str, policy: bytes) -> bool:
        """As `set_policy`, with the policy as it travels; False if that is known already.

        It is kept like this until somebody comes: most domains of a large platform rest, and a decoded policy takes five times
        the memory.
        """
        if self._encoded.get(domain) == policy:
            return False
        self.revision += 1
        self._forget(domain)
        self._encoded[domain] = policy
        if domain.startswith("."):
            self._dotted.add(domain)
        return True

    def remove_policy(self, domain: str) -> None:
        """Forget a domain; unknown ones are ignored."""
        self.revision += 1
        self._forget(domain)
        self._encoded.pop(domain, None)
        self._dotted.discard(domain)

    def policy(self, domain: str, *, staging: bool = False) -> Policy | None:
        """What is known of a domain. staging: for a client that comes by a staging address."""
        policy = self._find(domain)
        if policy is None or policy.staged is None or not staging:
            return policy
        return self._compiled(policy, staging=True).policy

    def set_ban(self, ban: Ban) -> None:
        """Forbid a stream until `ban.until_s`."""
        self.revision += 1
        self._bans[ban.domain, ban.app, ban.stream] = ban.until_s

    def remove_ban(self, domain: str, app: str, stream: str) -> None:
        """Allow a stream again; unknown ones are ignored."""
        self.revision += 1
        self._bans.pop((domain, app, stream), None)

    def set_block(self, block: Block) -> None:
        """Keep the viewers of some regions from a stream until `block.until_s`."""
        self.revision += 1
        self._blocks[block.domain, block.app, block.stream] = block.until_s, region_check(block.rule, self._locate)

    def remove_block(self, domain: str, app: str, stream: str) -> None:
        """Let a stream be played everywhere again; unknown ones are ignored."""
        self.revision += 1
        self._blocks.pop((domain, app, stream), None)

    def admit_publish(
        self,
        domain: str,
        app: str,
        stream: str,
        uri: str,
        token: str | None,
        client: Client,
        now_s: float,
        *,
        ignore_expiry: bool = False,
    ) -> Grant | Refusal:
        """May this client push? uri: the signed path, `/app/stream`. token: the value of `auth_key`.

        ignore_expiry: for asking again about a session that was admitted before, after a policy or ban has changed.
        """
        policy = self._find(domain)
        if policy is None:
            return refuse("unknown_domain")
        if policy.type != "liveEdge":
            return refuse("wrong_type")
        return self._admit(policy, app, stream, uri, token, client, now_s, ignore_expiry)

    def admit_product(self, domain: str, app: str, stream: str, now_s: float) -> Grant | Refusal:
        """May the center make this stream? domain: a main streaming domain. Its keys and lists are for people's clients."""
        policy = self._decoded(domain)
        if policy is None:
            return refuse("unknown_domain")
        if policy.status != "online":
            return refuse("domain_offline")
        if policy.streaming_domain != domain:
            return refuse("not_bound")
        if self._bans.get((domain, app, stream), now_s) > now_s:
            return refuse("forbidden")
        return Grant(policy, policy, domain, app, stream)

    def admit_play(
        self,
        domain: str,
        app: str,
        stream: str,
        uri: str,
        token: str | None,
        client: Client,
        now_s: float,
        *,
        ignore_expiry: bool = False,
    ) -> Grant | Refusal:
        """May this client play? uri: the signed path with its extension, such as `/app/stream.flv`. As admit_publish."""
        policy = self._find(domain)
        if policy is None:
            return refuse("unknown_domain")
        if policy.type != "liveVideo":
            return refuse("wrong_type")
        return self._admit(policy, app, stream, uri, token, client, now_s, ignore_expiry)

    def admit_part(self, domain: str, app: str, stream: str, client: Client, now_s: float) -> Grant | Refusal:
        """May this client have a part of a play (an HLS segment), whose address it can only know from a playlist?

        As admit_play, but that address stands for the signature.
        """
        policy = self._find(domain)
        if policy is None:
            return refuse("unknown_domain")
        if policy.type != "liveVideo":
            return refuse("wrong_type")
        return self._admit(policy, app, stream, "", None, client, now_s, ignore_expiry=True, signed=False)

    @property
    def any_blocks(self) -> bool:
        """Whether `blocked` could say anything at all."""
        return bool(self._blocks)

    def blocked(self, domain: str, app: str, stream: str, client: Client, now_s: float) -> Refusal | None:
        """Why a viewer may not have this stream of a main streaming domain where it is; None if it may."""
        until_s, check = self._blocks.get((domain, app, stream), _NOT_BLOCKED)
        return check(client) if until_s > now_s else None

    def _find(self, domain: str) -> Policy | None:
        """The policy of a name, or of the nearest name with a leading dot, which stands for every subdomain of it."""
        policy = self._decoded(domain)
        if policy is None and self._dotted and len(domain) <= NAME_MAX:
            parts = domain.split(".")[1:]
            dotted = (f".{'.'.join(parts[first:])}" for first in range(len(parts)))
            found = next((name for name in dotted if name in self._dotted), None)
            return None if found is None else self._decoded(found)
        return policy

    def _decoded(self, domain: str) -> Policy | None:
        policy = self._policies.get(domain)
        if policy is None and (encoded := self._encoded.get(domain)) is not None:
            policy = decode_policy(encoded)
            if len(self._policies) >= DECODED_MAX:
                self._forget(next(iter(self._policies)))
            self._policies[domain] = policy
        return policy

    def _admit(
        self,
        policy: Policy,
        app: str,
        stream: str,
        uri: str,
        token: str | None,
        client: Client,
        now_s: float,
        ignore_expiry: bool,
        signed: bool = True,
    ) -> Grant | Refusal:
        if policy.status != "online":
            return refuse("domain_offline")
        if not serves(self._edge_group, policy.scope):
            return refuse("edge_group")
        main = self._decoded(policy.streaming_domain) if policy.streaming_domain else None
        if main is None:
            return refuse("not_bound")
        if main.status != "online":
            return refuse("domain_offline")
        if not (is_name(app) and is_name(stream)):
            return refuse("bad_name")
        judged = self._compiled(policy, staging=client.staging)
        refusal = judged.checks.judge(client)
        if refusal is not None:
            return refusal
        policy = judged.policy
        if signed and policy.signing.enabled:
            fault = signing.check(
                uri, token, policy.signing.keys, policy.signing.validity_s, now_s, ignore_expiry=ignore_expiry
            )
            if fault is not None:
                return refuse(fault.reason, fault.text)
        # last, so that only the holder of a key learns what is forbidden
        if self._bans.get((main.domain, app, stream), now_s) > now_s:
            return refuse("forbidden")
        if self._blocks and policy.type == "liveVideo":
            refusal = self.blocked(main.domain, app, stream, client, now_s)
            if refusal is not None:
                return refusal
        return Grant(policy, main, main.domain, app, stream)

    def _compiled(self, policy: Policy, *, staging: bool) -> _Judged:
        """A policy with its checks, compiled when its first client comes: most domains of a large platform rest."""
        staged = policy.staged if staging else None
        key = policy.domain, staged is not None
        judged = self._judged.get(key)
        if judged is None:
            if staged is not None:
                policy = msgspec.structs.replace(
                    policy, signing=staged.signing, access=staged.access, answers=staged.answers, staged=None
                )
            judged = self._judged[key] = _Judged(policy, Checks(policy.access, self._locate))
        return judged

    def _forget(self, domain: str) -> None:
        self._policies.pop(domain, None)
        self._judged.pop((domain, False), None)
        self._judged.pop((domain, True), None)
