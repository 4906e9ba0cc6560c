"""Compiles what the database says of one domain into the policy that media nodes follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from headwater.access.policy import DomainType, Latency, Policy, Session, Signing
from headwater.domains import functions
from headwater.domains.functions import ALIAUTH, HEADWATER_LIVE, FunctionSetting
from headwater.domains.rules import Protocol, Scope
from headwater.store.models import Domain


def compile_policy(
    domain: Domain,
    settings: Sequence[FunctionSetting],
    streaming_domain: str | None,
    delays_s: Mapping[Protocol, int],
) -> Policy:
    """The policy of a domain.

    settings: its functions, checked when they were stored. streaming_domain: the main one to which an ingest domain or a
    sub-streaming domain is bound; another streaming domain stands for itself. A domain without `aliauth` asks for no
    signature.
    """
    args = {setting.name: setting.args for setting in settings}
    default = Latency()
    return Policy(
        domain=domain.name,
        account=domain.account,
        type=cast(DomainType, domain.type),
        status="online" if domain.status == "online" else "offline" if domain.status == "offline" else "configuring",
        region=domain.region,
        scope=cast(Scope, domain.scope),
        streaming_domain=streaming_domain or (domain.name if domain.type == "liveVideo" else None),
        signing=functions.signing(args[ALIAUTH]) if ALIAUTH in args else Signing(enabled=False),
        latency=Latency(
            rtmp_delay_s=delays_s.get("rtmp"),
            flv_delay_s=delays_s.get("flv"),
            hls_delay_s=delays_s.get("hls", default.hls_delay_s),
        ),
        session=functions.session(args[HEADWATER_LIVE]) if HEADWATER_LIVE in args else Session(),
    )
