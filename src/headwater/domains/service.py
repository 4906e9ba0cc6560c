"""Domains: added, bound, configured, listed and deleted; every change reaches the media nodes as a new policy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal, cast

import msgspec
from sqlalchemy import ColumnElement, delete, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.names import is_name
from headwater.access.policy import DomainType
from headwater.cluster.interface import Cluster
from headwater.domains import functions, rules
from headwater.domains.errors import error, invalid
from headwater.domains.functions import FunctionSetting
from headwater.domains.owned import owned_domain
from headwater.domains.publisher import Publisher, policy_of
from headwater.domains.rules import Protocol
from headwater.domains.urls import Endpoints, StreamUrls, stream_urls
from headwater.settings import Domains
from headwater.store.database import Actor, Database
from headwater.store.models import Domain, DomainDelay, DomainFunction, DomainMapping, StreamBan

DOMAINS_PER_CALL = 50
"""Domains that one call may configure (reference control-plane 4)."""

Status = Literal["online", "offline", "configuring"]
Relation = Literal["vhost", "publish"]
"""How a domain is related to another: it is its main streaming domain, or one of its ingest domains."""


class DomainRecord(msgspec.Struct, frozen=True):
    """A domain as its owner sees it. Times are unix seconds."""

    name: str
    account: str
    type: DomainType
    region: str
    scope: rules.Scope
    status: Status
    created_s: float
    modified_s: float
    cname: str
    description: str
    resource_group_id: str


class DomainPage(msgspec.Struct, frozen=True):
    """One page of domains, by name; `total` counts all pages."""

    items: list[DomainRecord]
    total: int


class FunctionRecord(msgspec.Struct, frozen=True):
    """One stored configuration of a function. args: (name, value) in the order in which they came."""

    config_id: int
    name: str
    args: functions.Args
    status: str


class Delay(msgspec.Struct, frozen=True):
    """The delay of one protocol. level: the one that was set, None if seconds were given."""

    delay_s: int
    level: rules.Level | None


class Delays(msgspec.Struct, frozen=True):
    """What SetLiveStreamDelayConfig has set; None where it was never called: then the policy's default holds."""

    rtmp: Delay | None = None
    flv: Delay | None = None
    hls: Delay | None = None


class DelayChoice(msgspec.Struct, frozen=True):
    """What a caller of `set_delay` wants for one protocol: seconds, or else a level; neither leaves it as it is."""

    delay_s: int | None = None
    level: str | None = None


class DomainService:
    """The domain product. All methods raise DomainError for what they refuse; foreign domains are as good as absent.

    The database holds the truth. After each committed change the policies that it concerns are put into the cluster's store.
    """

    def __init__(self, database: Database, cluster: Cluster, settings: Domains, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self.publisher = Publisher(database, cluster)

    # Domains

    async def add(
        self,
        account_id: str,
        name: str,
        type_: str,
        region: str,
        scope: str = "domestic",
        *,
        resource_group_id: str = "",
        actor: Actor,
    ) -> DomainRecord:
        """A new domain, online at once, with URL signing on and a key of its own (AddLiveDomain).

        Raises InvalidDomainName.Malformed, InvalidLiveDomainType, InvalidRegion, InvalidScope, DomainAlreadyExist,
        QuotaExceeded.Domain.
        """
        name = rules.domain_name(name)
        cname = f"{name}.{self._settings.cname_zone}"
        inside_zone = f".{name}".endswith(f".{self._settings.cname_zone}")  # would collide with the CNAME targets
        if inside_zone or len(cname) > rules.NAME_MAX:
            raise error("InvalidDomainName.Malformed")
        now_s = self._clock()
        domain = Domain(
            name=name,
            account=account_id,
            type=rules.domain_type(type_),
            region=rules.region(region, self._settings.regions),
            scope=rules.scope(scope),
            status="online",
            created_s=now_s,
            modified_s=now_s,
            cname=cname,
            description="",
            resource_group_id=resource_group_id,
        )
        try:
            async with self._database.change(account_id, actor, "AddLiveDomain", name, now_s) as change:
                if await change.session.get(Domain, name) is not None:
                    raise error("DomainAlreadyExist")
                owned = select(func.count()).select_from(Domain).where(Domain.account == account_id)
                if (await change.session.scalar(owned) or 0) >= self._settings.quota:
                    raise error("QuotaExceeded.Domain")
                change.session.add(domain)
                await change.session.flush()
                change.session.add(_row(name, functions.new_signing(), now_s))
                change.after = _record(domain)
        except IntegrityError:  # another process added it in the same instant
            raise error("DomainAlreadyExist") from None
        await self.publisher.policies([name])
        return _record(domain)

    async def delete(self, account_id: str, name: str, *, actor: Actor) -> None:
        """Forget a domain and all that belongs to it, history included (DeleteLiveDomain). Raises InvalidOperation."""
        name = rules.domain_name(name)
        async with self._database.change(account_id, actor, "DeleteLiveDomain", name, self._clock()) as change:
            domain = await owned_domain(change.session, account_id, name)
            if domain.status == "configuring":
                raise error("InvalidOperation")
            related = await _related(change.session, name)
            bans = (await change.session.scalars(select(StreamBan).where(StreamBan.domain == name))).all()
            change.before = _record(domain)
            await change.session.execute(delete(Domain).where(Domain.name == name))  # the rest follows by its foreign keys
        await self.publisher.policies([name, *related])
        await self.publisher.bans([(ban.domain, ban.app, ban.stream) for ban in bans])

    async def start(self, account_id: str, name: str, *, actor: Actor) -> None:
        """Put a domain online (StartLiveDomain)."""
        await self._set_status(account_id, name, "online", "StartLiveDomain", actor)

    async def stop(self, account_id: str, name: str, *, actor: Actor) -> None:
        """Put a domain offline; its settings stay (StopLiveDomain)."""
        await self._set_status(account_id, name, "offline", "StopLiveDomain", actor)

    async def list_domains(
        self,
        account_id: str,
        *,
        search: str = "",
        search_type: str = "fuzzy_match",
        status: str = "",
        type_: str = "",
        region: str = "",
        resource_group_id: str = "",
        page_number: int = 1,
        page_size: int = 20,
    ) -> DomainPage:
        """The account's domains by name (DescribeLiveUserDomains); empty filters match all. Raises InvalidDomainSearchType."""
        where: list[ColumnElement[bool]] = [Domain.account == account_id]
        if search:
            where.append(_matches(search.lower(), search_type or "fuzzy_match"))
        for column, wanted in (
            (Domain.status, status),
            (Domain.type, type_),
            (Domain.region, region),
            (Domain.resource_group_id, resource_group_id),
        ):
            if wanted:
                where.append(column == wanted)
        page = select(Domain).where(*where).order_by(Domain.name).limit(page_size).offset((page_number - 1) * page_size)
        async with self._database.read() as session:
            total = await session.scalar(select(func.count()).select_from(Domain).where(*where)) or 0
            return DomainPage([_record(domain) for domain in await session.scalars(page)], total)

    async def detail(self, account_id: str, name: str) -> DomainRecord:
        """One domain (DescribeLiveDomainDetail)."""
        async with self._database.read() as session:
            return _record(await owned_domain(session, account_id, name))

    # Mappings

    async def map(self, account_id: str, push_domain: str, pull_domain: str, *, actor: Actor) -> None:
        """Bind an ingest domain to a streaming domain of the same live center (AddLiveDomainMapping).

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
            if push.region != pull.region:
                raise error("DomainRegionMismatch")
            if await change.session.get(DomainMapping, push.name) is not None:
                raise error("PushDomainAlreadyMapped")
            change.session.add(DomainMapping(push_domain=push.name, pull_domain=pull.name))
            change.after = {"push_domain": push.name, "pull_domain": pull.name}
        await self.publisher.policies([push.name])

    async def unmap(self, account_id: str, push_domain: str, pull_domain: str, *, actor: Actor) -> None:
        """Undo `map` (DeleteLiveDomainMapping). Raises DomainMapping.NotFound."""
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
        await self.publisher.policies([push.name])

    async def mappings(self, account_id: str, name: str) -> list[tuple[str, Relation]]:
        """The domains bound to this one, and what each of them is to it (DescribeLiveDomainMapping)."""
        async with self._database.read() as session:
            domain = await owned_domain(session, account_id, name)
            relation: Relation = "vhost" if domain.type == "liveEdge" else "publish"
            return [(other, relation) for other in await _related(session, domain.name)]

    # Functions

    async def set_functions(
        self, account_id: str, names: Sequence[str], settings: str, *, dry_run: bool = False, actor: Actor
    ) -> None:
        """Set functions, given as the JSON of the parameter Functions, on several domains (BatchSetLiveDomainConfigs).

        All or nothing; dry_run only checks. Raises InvalidFunctions.Malformed, InvalidArgValue.Malformed, ConfigNotFound,
        IllegalOperation, DomainNameOverLimit.
        """
        wanted = functions.parse(settings)
        domains = _distinct(names)
        if dry_run:
            async with self._database.read() as session:
                for name in domains:
                    domain = await owned_domain(session, account_id, name)
                    for setting in wanted:
                        functions.check(setting, cast(DomainType, domain.type))
                        await _existing(session, name, setting)
            return
        now_s = self._clock()
        async with self._database.change(account_id, actor, "BatchSetLiveDomainConfigs", ",".join(domains), now_s) as change:
            before: list[FunctionRecord] = []
            for name in domains:
                domain = await owned_domain(change.session, account_id, name)
                for setting in wanted:
                    functions.check(setting, cast(DomainType, domain.type))
                    row = await _existing(change.session, name, setting)
                    if row is None:
                        change.session.add(_row(name, setting, now_s))
                    else:
                        before.append(_function(row))
                        row.args = functions.encode_args(setting.args)
                    await change.session.flush()  # so that the next setting of this call finds it
                domain.modified_s = now_s
            change.before, change.after = before, wanted
        await self.publisher.policies(domains)

    async def functions(self, account_id: str, name: str, names: Sequence[str] = ()) -> list[FunctionRecord]:
        """The stored functions of a domain, oldest first; all of them or those named (DescribeLiveDomainConfigs)."""
        async with self._database.read() as session:
            domain = await owned_domain(session, account_id, name)
            rows = select(DomainFunction).where(DomainFunction.domain == domain.name).order_by(DomainFunction.id)
            if names:
                rows = rows.where(DomainFunction.function.in_(names))
            return [_function(row) for row in await session.scalars(rows)]

    async def delete_functions(
        self, account_id: str, names: Sequence[str], function_names: Sequence[str], *, actor: Actor
    ) -> None:
        """Remove functions by name from several domains (BatchDeleteLiveDomainConfigs); absent ones are ignored.

        Without `aliauth` a domain asks for no signature. Raises DomainNameOverLimit.
        """
        domains = _distinct(names)
        now_s = self._clock()
        async with self._database.change(account_id, actor, "BatchDeleteLiveDomainConfigs", ",".join(domains), now_s) as change:
            before: list[FunctionRecord] = []
            for name in domains:
                domain = await owned_domain(change.session, account_id, name)
                chosen = (DomainFunction.domain == name) & DomainFunction.function.in_(function_names)
                before += [_function(row) for row in await change.session.scalars(select(DomainFunction).where(chosen))]
                await change.session.execute(delete(DomainFunction).where(chosen))
                domain.modified_s = now_s
            change.before = before
        await self.publisher.policies(domains)

    # Delays

    async def set_delay(
        self,
        account_id: str,
        name: str,
        *,
        rtmp: DelayChoice = DelayChoice(),  # noqa: B008 (frozen)
        flv: DelayChoice = DelayChoice(),  # noqa: B008
        hls: DelayChoice = DelayChoice(),  # noqa: B008
        actor: Actor,
    ) -> None:
        """Set the delay of some protocols of a streaming domain (SetLiveStreamDelayConfig); the others stay as they are.

        Raises IllegalOperation for an ingest domain, InvalidRtmpDelay, InvalidRtmpLevel and the like.
        """
        choices: dict[Protocol, DelayChoice] = {"rtmp": rtmp, "flv": flv, "hls": hls}
        now_s = self._clock()
        async with self._database.change(account_id, actor, "SetLiveStreamDelayConfig", name.lower(), now_s) as change:
            domain = await owned_domain(change.session, account_id, name)
            if domain.type != "liveVideo":
                raise error("IllegalOperation")
            change.before = await _delays(change.session, domain.name)
            for protocol, choice in choices.items():
                meant = rules.delay(protocol, choice.delay_s, choice.level)
                if meant is not None:
                    delay_s, level = meant
                    await change.session.merge(
                        DomainDelay(domain=domain.name, protocol=protocol, delay_s=delay_s, level=level or "")
                    )
            await change.session.flush()
            domain.modified_s = now_s
            change.after = await _delays(change.session, domain.name)
        await self.publisher.policies([domain.name])

    async def delays(self, account_id: str, name: str) -> Delays:
        """The delays that were set (DescribeLiveStreamDelayConfig)."""
        async with self._database.read() as session:
            return await _delays(session, (await owned_domain(session, account_id, name)).name)

    # URLs

    async def owner(self, name: str) -> str:
        """The account that holds a domain, for an operator who looks across accounts. Raises InvalidDomain.NotFound."""
        async with self._database.read() as session:
            account = await session.scalar(select(Domain.account).where(Domain.name == name.lower()))
        if account is None:
            raise error("InvalidDomain.NotFound")
        return account

    async def urls(self, account_id: str, name: str, app: str, stream: str, endpoints: Endpoints) -> StreamUrls:
        """Ready-to-paste URLs of one stream of a streaming domain, or of the one to which an ingest domain is bound.

        The push URL is for that ingest domain, or for the first one of the streaming domain. Raises InvalidAppName,
        InvalidStreamName, IllegalOperation (an ingest domain that is not bound).
        """
        if not is_name(app):
            raise invalid("AppName")
        if not is_name(stream):
            raise invalid("StreamName")
        async with self._database.read() as session:
            domain = await owned_domain(session, account_id, name)
            related = await _related(session, domain.name)
            policies = [await policy_of(session, await session.get_one(Domain, other)) for other in [domain.name, *related[:1]]]
        own, other = policies[0], policies[1] if related else None
        if own.type == "liveVideo":
            return stream_urls(other, own, app, stream, endpoints, self._clock())
        if other is None:
            raise error("IllegalOperation")
        return stream_urls(own, other, app, stream, endpoints, self._clock())

    # Policies

    async def publish_all(self) -> None:
        """Put every policy and ban into the cluster's store and remove stale ones; for the start of the platform."""
        await self.publisher.everything(self._clock())

    async def _set_status(self, account_id: str, name: str, status: Status, action: str, actor: Actor) -> None:
        now_s = self._clock()
        async with self._database.change(account_id, actor, action, name.lower(), now_s) as change:
            domain = await owned_domain(change.session, account_id, name)
            change.before = {"status": domain.status}
            domain.status = status
            domain.modified_s = now_s
            change.after = {"status": status}
        await self.publisher.policies([domain.name])


def _matches(text: str, search_type: str) -> ColumnElement[bool]:
    match search_type:
        case "fuzzy_match":
            return Domain.name.contains(text, autoescape=True)
        case "pre_match":
            return Domain.name.startswith(text, autoescape=True)
        case "suf_match":
            return Domain.name.endswith(text, autoescape=True)
        case "full_match":
            return Domain.name == text
        case _:
            raise invalid("DomainSearchType")


def _distinct(names: Sequence[str]) -> list[str]:
    domains = list(dict.fromkeys(rules.domain_name(name) for name in names))
    if len(domains) > DOMAINS_PER_CALL:
        raise error("DomainNameOverLimit")
    return domains


async def _related(session: AsyncSession, name: str) -> list[str]:
    rows = await session.scalars(
        select(DomainMapping)
        .where(or_(DomainMapping.push_domain == name, DomainMapping.pull_domain == name))
        .order_by(DomainMapping.push_domain)
    )
    return [row.pull_domain if row.push_domain == name else row.push_domain for row in rows]


async def _existing(session: AsyncSession, domain: str, setting: FunctionSetting) -> DomainFunction | None:
    """The stored function that a setting replaces; None if it makes a new one. Raises ConfigNotFound."""
    if setting.config_id is not None:
        row = await session.get(DomainFunction, setting.config_id)
        if row is None or row.domain != domain or row.function != setting.name:
            raise error("ConfigNotFound")
        return row
    if setting.name in functions.MULTIPLE:
        return None
    same = select(DomainFunction).where(DomainFunction.domain == domain, DomainFunction.function == setting.name)
    return await session.scalar(same.order_by(DomainFunction.id).limit(1))


async def _delays(session: AsyncSession, domain: str) -> Delays:
    rows = await session.scalars(select(DomainDelay).where(DomainDelay.domain == domain))
    return Delays(**{row.protocol: Delay(row.delay_s, cast(rules.Level, row.level) if row.level else None) for row in rows})


def _row(domain: str, setting: FunctionSetting, now_s: float) -> DomainFunction:
    return DomainFunction(
        domain=domain, function=setting.name, args=functions.encode_args(setting.args), status="success", created_s=now_s
    )


def _function(row: DomainFunction) -> FunctionRecord:
    return FunctionRecord(row.id, row.function, functions.decode_args(row.args), row.status)


def _record(domain: Domain) -> DomainRecord:
    return msgspec.convert(domain, DomainRecord, from_attributes=True)
