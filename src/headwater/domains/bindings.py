"""Bindings: which streaming domain an ingest domain feeds, and which sub-streaming domains play the streams of a main one.

Reference control-plane 3.5. An ingest domain is bound to one main streaming domain, which may have many of them; a main
streaming domain may have many sub-streaming domains, which have none of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Literal

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.domains.errors import error
from headwater.domains.functions import HEADWATER_LIVE
from headwater.domains.owned import owned_domain
from headwater.domains.publisher import Publisher
from headwater.store.database import Actor, Database
from headwater.store.models import (
    BitrateGroup,
    DelayConfig,
    Domain,
    DomainDelay,
    DomainFunction,
    DomainMapping,
    ManualStream,
    MasterChange,
    MultiStreamDomain,
    PlayMapping,
    RecordLibraryTemplate,
    RecordNotify,
    RecordTemplate,
    Snapshot,
    SnapshotAuth,
    SnapshotNotify,
    SnapshotTemplate,
    StreamBan,
    TranscodeTemplate,
    WatermarkRule,
)

if TYPE_CHECKING:  # its parts ask which domain is the main one
    from headwater.domains.plans import PlanPublisher

Relation = Literal["vhost", "publish", "play"]
"""What a domain is to another one: its main streaming domain, one of its ingest domains, one of its sub-streaming domains."""

MAIN_ONLY = frozenset({HEADWATER_LIVE})
"""Functions that say how streams are treated, which is the main streaming domain's business."""


class BindingService:
    """Binds domains of one account. Methods raise DomainError for what they refuse.

    publisher: the DomainService's, so that policies are put one after the other.
    """

    def __init__(
        self, database: Database, publisher: Publisher, plans: PlanPublisher, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._plans = plans
        self._clock = clock

    async def map(self, account_id: str, push_domain: str, pull_domain: str, *, actor: Actor) -> None:
        """Bind an ingest domain to a main streaming domain of the same live center (AddLiveDomainMapping).

        Raises InvalidPushDomain, InvalidPullDomain, DomainRegionMismatch, PushDomainAlreadyMapped.
        """
        async with self._database.change(
            account_id, actor, "AddLiveDomainMapping", push_domain.lower(), self._clock()
        ) as change:
            push = await owned_domain(change.session, account_id, push_domain)
            pull = await owned_domain(change.session, account_id, pull_domain)
            if push.type != "liveEdge":
                raise error("InvalidPushDomain")
            if pull.type != "liveVideo":
                raise error("InvalidPullDomain")
            if await is_sub(change.session, pull.name):
                raise error("InvalidPullDomain", "It is a sub-streaming domain.")
            if push.region != pull.region:
                raise error("DomainRegionMismatch")
            if await change.session.get(DomainMapping, push.name) is not None:
                raise error("PushDomainAlreadyMapped")
            change.session.add(DomainMapping(push_domain=push.name, pull_domain=pull.name))
            change.after = {"push_domain": push.name, "pull_domain": pull.name}
        await self._publisher.policies([push.name])

    async def unmap(self, account_id: str, push_domain: str, pull_domain: str, *, actor: Actor) -> None:
        """Undo `map`, which ends the pushes to the ingest domain (DeleteLiveDomainMapping). Raises DomainMapping.NotFound."""
        async with self._database.change(
            account_id, actor, "DeleteLiveDomainMapping", push_domain.lower(), self._clock()
        ) as change:
            push = await owned_domain(change.session, account_id, push_domain)
            pull = await owned_domain(change.session, account_id, pull_domain)
            mapping = await change.session.get(DomainMapping, push.name)
            if mapping is None or mapping.pull_domain != pull.name:
                raise error("DomainMapping.NotFound")
            await change.session.delete(mapping)
            change.before = {"push_domain": push.name, "pull_domain": pull.name}
        await self._publisher.policies([push.name])

    async def map_play(self, account_id: str, play_domain: str, pull_domain: str, *, actor: Actor) -> None:
        """Make a streaming domain a sub-streaming domain of another one (AddLiveDomainPlayMapping).

        From then on it plays the streams of its main domain. Who may view them is still its own business; what it had of
        its own about streams is deleted: ingest domains' bindings, delays, delayed streams, snapshots, recording templates,
        where these are told, `headwater_live`, dual streams, forbidden streams.
        Both are in one live center (ours: media of the main domain is processed there, whichever domain plays it). Raises
        InvalidParam (no two streaming domains, or one that has sub-streaming domains or is one), DomainRegionMismatch,
        ConfigAlreadyExists.
        """
        async with self._database.change(
            account_id, actor, "AddLiveDomainPlayMapping", play_domain.lower(), self._clock()
        ) as change:
            session = change.session
            sub = await owned_domain(session, account_id, play_domain)
            main = await owned_domain(session, account_id, pull_domain)
            if sub.name == main.name or {sub.type, main.type} != {"liveVideo"}:
                raise error("InvalidParam")
            if await is_sub(session, sub.name):
                raise error("ConfigAlreadyExists")
            if await is_sub(session, main.name) or await _first_sub(session, sub.name) is not None:
                raise error("InvalidParam", "A sub-streaming domain cannot have sub-streaming domains.")
            if sub.region != main.region:
                raise error("DomainRegionMismatch")
            ingest = list(await session.scalars(select(DomainMapping.push_domain).where(DomainMapping.pull_domain == sub.name)))
            bans = list(await session.scalars(select(StreamBan).where(StreamBan.domain == sub.name)))
            for void in (
                delete(DomainMapping).where(DomainMapping.pull_domain == sub.name),
                delete(DomainDelay).where(DomainDelay.domain == sub.name),
                delete(TranscodeTemplate).where(TranscodeTemplate.domain == sub.name),
                delete(BitrateGroup).where(BitrateGroup.domain == sub.name),
                delete(WatermarkRule).where(WatermarkRule.domain == sub.name),
                delete(SnapshotTemplate).where(SnapshotTemplate.domain == sub.name),
                delete(Snapshot).where(Snapshot.domain == sub.name),
                delete(DelayConfig).where(DelayConfig.domain == sub.name),
                delete(DomainFunction).where(DomainFunction.domain == sub.name, DomainFunction.function.in_(MAIN_ONLY)),
                delete(StreamBan).where(StreamBan.domain == sub.name),
                delete(RecordTemplate).where(RecordTemplate.domain == sub.name),
                delete(RecordNotify).where(RecordNotify.domain == sub.name),
                delete(SnapshotNotify).where(SnapshotNotify.domain == sub.name),
                delete(SnapshotAuth).where(SnapshotAuth.domain == sub.name),
                delete(RecordLibraryTemplate).where(RecordLibraryTemplate.domain == sub.name),
                delete(MultiStreamDomain).where(MultiStreamDomain.domain == sub.name),
                delete(ManualStream).where(ManualStream.domain == sub.name),
                delete(MasterChange).where(MasterChange.domain == sub.name),
            ):
                await session.execute(void)
            session.add(PlayMapping(play_domain=sub.name, pull_domain=main.name))
            change.before = {"push_domains": ingest}
            change.after = {"play_domain": sub.name, "pull_domain": main.name}
        await self._publisher.policies([sub.name, *ingest])
        await self._publisher.bans([(ban.domain, ban.app, ban.stream) for ban in bans])
        await self._plans.publish([sub.name])

    async def unmap_play(self, account_id: str, play_domain: str, pull_domain: str, *, actor: Actor) -> None:
        """Undo `map_play`, which ends the plays of the sub-streaming domain (DeleteLiveDomainPlayMapping).

        Raises DomainMapping.NotFound.
        """
        async with self._database.change(
            account_id, actor, "DeleteLiveDomainPlayMapping", play_domain.lower(), self._clock()
        ) as change:
            sub = await owned_domain(change.session, account_id, play_domain)
            main = await owned_domain(change.session, account_id, pull_domain)
            mapping = await change.session.get(PlayMapping, sub.name)
            if mapping is None or mapping.pull_domain != main.name:
                raise error("DomainMapping.NotFound")
            await change.session.delete(mapping)
            change.before = {"play_domain": sub.name, "pull_domain": main.name}
        await self._publisher.policies([sub.name])

    async def mappings(self, account_id: str, name: str) -> list[tuple[str, Relation]]:
        """The domains bound to this one, and what each of them is to it (DescribeLiveDomainMapping)."""
        async with self._database.read() as session:
            return await related(session, await owned_domain(session, account_id, name))


async def related(session: AsyncSession, domain: Domain) -> list[tuple[str, Relation]]:
    """The domains bound to one: its main streaming domain, or its ingest domains and then its sub-streaming domains."""
    if domain.type == "liveEdge":
        mapping = await session.get(DomainMapping, domain.name)
        return [] if mapping is None else [(mapping.pull_domain, "vhost")]
    main = await main_domain(session, domain.name)
    if main != domain.name:
        return [(main, "vhost")]
    ingest = select(DomainMapping.push_domain).where(DomainMapping.pull_domain == domain.name)
    subs = select(PlayMapping.play_domain).where(PlayMapping.pull_domain == domain.name)
    return [
        *((name, "publish") for name in await session.scalars(ingest.order_by(DomainMapping.push_domain))),
        *((name, "play") for name in await session.scalars(subs.order_by(PlayMapping.play_domain))),
    ]


async def main_domain(session: AsyncSession, streaming_domain: str) -> str:
    """The main streaming domain of a streaming domain, which is itself unless it is a sub-streaming domain."""
    mapping = await session.get(PlayMapping, streaming_domain)
    return streaming_domain if mapping is None else mapping.pull_domain


async def is_sub(session: AsyncSession, name: str) -> bool:
    """Whether a domain is a sub-streaming domain."""
    return await session.get(PlayMapping, name) is not None


async def check_main(session: AsyncSession, name: str, functions: Collection[str] = MAIN_ONLY) -> None:
    """Raises IllegalOperation if some of these functions are only for main streaming domains and this is none."""
    if not MAIN_ONLY.isdisjoint(functions) and await is_sub(session, name):
        raise error("IllegalOperation", "A sub-streaming domain takes this from its main streaming domain.")


async def owned_main_domain(session: AsyncSession, account_id: str, name: str) -> str:
    """The name of an account's main streaming domain. Raises as `owned_domain` does, and IllegalOperation for other domains."""
    domain = await owned_domain(session, account_id, name)
    if domain.type != "liveVideo":
        raise error("IllegalOperation")
    await check_main(session, domain.name)
    return domain.name


async def _first_sub(session: AsyncSession, name: str) -> str | None:
    return await session.scalar(select(PlayMapping.play_domain).where(PlayMapping.pull_domain == name).limit(1))
