"""Compiles what the database says of one domain into the policy that media nodes follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from headwater.access.policy import DomainType, Latency, Policy, Session, Signing, Staged
from headwater.domains import access_functions, functions
from headwater.domains.function_table import KNOWN, bad_argument
from headwater.domains.functions import ALIAUTH, HEADWATER_LIVE, FunctionSetting
from headwater.domains.rules import Protocol, Scope
from headwater.store.models import Domain


def compile_policy(
    domain: Domain,
    settings: Sequence[FunctionSetting],
    staged: Sequence[FunctionSetting],
    streaming_domain: str | None,
    delays_s: Mapping[Protocol, int],
    multi_stream: bool,
    manual: tuple[str, ...],
) -> Policy:
    """The policy of a domain.

    settings: its functions, checked when they were stored. staged: those that hold for staging. streaming_domain: the main one
    to which an ingest domain or a sub-streaming domain is bound; another streaming domain stands for itself. multi_stream,
    manual: as in `Session`. A domain without `aliauth` asks for no signature.
    """
    args = {setting.name: setting.args for setting in settings}
    default = Latency()
    production = _effects(settings)
    return Policy(
        domain=domain.name,
        account=domain.account,
        type=cast(DomainType, domain.type),
        status="online" if domain.status == "online" else "offline" if domain.status == "offline" else "configuring",
        region=domain.region,
        scope=cast(Scope, domain.scope),
        streaming_domain=streaming_domain or (domain.name if domain.type == "liveVideo" else None),
        signing=production.signing,
        latency=Latency(
            rtmp_delay_s=delays_s.get("rtmp"),
            flv_delay_s=delays_s.get("flv"),
            hls_delay_s=delays_s.get("hls", default.hls_delay_s),
        ),
        session=msgspec.structs.replace(
            functions.session(args[HEADWATER_LIVE]) if HEADWATER_LIVE in args else Session(),
            multi_stream=multi_stream,
            manual=manual,
        ),
        access=production.access,
        answers=production.answers,
        staged=_effects(staging(settings, staged)) if staged else None,
    )


def staging(settings: Sequence[FunctionSetting], staged: Sequence[FunctionSetting]) -> list[FunctionSetting]:
    """The functions that hold for staging: what is staged replaces every record of the same function, and what it excludes."""
    replaced = {setting.name for setting in staged}
    replaced |= {KNOWN[name].excludes for name in replaced if name in KNOWN}
    return [*(setting for setting in settings if setting.name not in replaced), *staged]


def _effects(settings: Sequence[FunctionSetting]) -> Staged:
    """What functions mean for each client. Those that an earlier version stored without checking them mean nothing."""
    settings = [setting for setting in settings if bad_argument(setting.name, dict(setting.args)) is None]
    args = {setting.name: setting.args for setting in settings}
    return Staged(
        signing=functions.signing(args[ALIAUTH]) if ALIAUTH in args else Signing(enabled=False),
        access=access_functions.access(args),
        answers=access_functions.answers(settings),
    )
