"""Domains: added, bound, configured, listed and deleted; every change reaches the media nodes as a new policy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal, cast, get_args

import msgspec
import structlog
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access.names import cname_target, is_name
from headwater.access.policy import DomainType
from headwater.cluster.interface import Cluster
from headwater.domains import bindings, function_store, functions, quota, rules
from headwater.domains.certificates import forget_unused
from headwater.domains.claims import check_claims
from headwater.domains.errors import DomainError, error, invalid
from headwater.domains.filings import FilingCheck, FilingService
from headwater.domains.function_store import FunctionRecord
from headwater.domains.owned import owned_domain
from headwater.domains.ownership import OwnershipService
from headwater.domains.plans import PlanPublisher
from headwater.domains.publisher import READ_AT_ONCE, Publisher, policy_of
from headwater.domains.quota import QuotaService
from headwater.domains.rules import Protocol
from headwater.domains.shared_claims import SharedRegister
from headwater.domains.tags import Tag, checked, put, resource_group, tagged
from headwater.domains.urls import Endpoints, StreamUrls, stream_urls
from headwater.domains.usage import DAY_S, Side, UsageService
from headwater.settings import Domains
from headwater.store.database import Actor, Database
from headwater.store.models import Domain, DomainDelay, DomainFunction, DomainMapping, StreamBan, StreamBlock

DOMAINS_PER_CALL = 50
"""Domains that one call may configure (reference control-plane 4)."""

SETTLE_INTERVAL_S = 60.0
"""How often domains that are configuring are looked at: a source of filings that fails is back within minutes."""

LAST_CHARACTER = "\U0010ffff"
"""Sorts behind everything that a name can hold: a range of names, unlike LIKE, is read from the index in both databases."""

Status = Literal["online", "offline", "configuring"]

_log = structlog.get_logger(__name__)


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

    def __init__(
        self,
        database: Database,
        cluster: Cluster,
        settings: Domains,
        *,
        ownership: OwnershipService,
        quotas: QuotaService,
        filings: FilingService,
        usage: UsageService,
        plans: PlanPublisher,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._settings = settings
        self._plans = plans
        self._ownership = ownership
        self._quotas = quotas
        self._filings = filings
        self._usage = usage
        self._shared = SharedRegister(settings.shared_claims)
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
        tags: Sequence[Tag] = (),
        actor: Actor,
    ) -> DomainRecord:
        """A new domain with URL signing on and a key of its own (AddLiveDomain).

        It is online at once, or configuring while the source of ICP filings does not answer: see `settle`. Raises
        InvalidDomainName.Malformed, InvalidLiveDomainType, InvalidRegion, InvalidScope, InvalidResourceGroupId,
        DomainAlreadyExist (here, at a sister service or in the shared register), ServiceUnavailable (that does not answer),
        QuotaExceeded.Domain, DomainOwnerVerifyFail, DomainOwnerConflict,
        Domain.BeianInvalid, and what `tags.checked` raises.
        """
        name = self._name(name)
        known_type = rules.domain_type(type_)
        region = rules.region(region, self._settings.regions)
        known_scope = rules.scope(scope)
        await self._ownership.prove_by_cname(account_id, name, actor=actor)
        async with self._database.read() as session:  # what costs nothing is refused before a filing is looked up
            await self._check_new(session, account_id, name)
        await self._shared.check(name)
        filing = await self._filings.check(name, known_scope, region)
        if filing.state in ("missing", "expired"):
            raise error("Domain.BeianInvalid", filing.text)
        now_s = self._clock()
        domain = Domain(
            name=name,
            account=account_id,
            type=known_type,
            region=region,
            scope=known_scope,
            status="online" if filing.passed else "configuring",
            created_s=now_s,
            modified_s=now_s,
            cname=cname_target(name, self._settings.cname_zone),
            description="" if filing.passed else filing.text,
            resource_group_id=resource_group(resource_group_id) if resource_group_id else "",
            root=filing.root,
        )
        wanted = checked(tags)
        try:
            async with self._database.change(account_id, actor, "AddLiveDomain", name, now_s) as change:
                await self._check_new(change.session, account_id, name)
                change.session.add(domain)
                await change.session.flush()
                change.session.add(function_store.new_row(DomainFunction, name, functions.new_signing(), now_s))
                await put(change.session, name, wanted)
                await quota.count(change.session, account_id, 1)
                change.after = _record(domain)
        except IntegrityError:  # another process added it in the same instant
            raise error("DomainAlreadyExist") from None
        await self.publisher.policies([name])
        return _record(domain)

    async def check_new(self, account_id: str, name: str) -> str:
        """Whether `add` would take a name, for a form that is being filled in; the name as it would be stored.

        Raises what `add` raises for a name: InvalidDomainName.Malformed, DomainAlreadyExist, QuotaExceeded.Domain,
        DomainOwnerVerifyFail, DomainOwnerConflict.
        """
        name = self._name(name)
        async with self._database.read() as session:
            await self._check_new(session, account_id, name)
        return name

    async def delete(self, account_id: str, name: str, *, actor: Actor) -> None:
        """Forget a domain and all that belongs to it, history included (DeleteLiveDomain). Raises InvalidOperation."""
        async with self._database.change(account_id, actor, "DeleteLiveDomain", name.lower(), self._clock()) as change:
            domain = await owned_domain(change.session, account_id, name)
            if domain.status == "configuring":
                raise error("InvalidOperation")
            others = [other for other, _ in await bindings.related(change.session, domain)]
            bans = (await change.session.scalars(select(StreamBan).where(StreamBan.domain == domain.name))).all()
            blocks = (await change.session.scalars(select(StreamBlock).where(StreamBlock.domain == domain.name))).all()
            change.before = _record(domain)
            await change.session.execute(delete(Domain).where(Domain.name == domain.name))  # the rest follows by foreign keys
            await forget_unused(change.session, account_id)
            await quota.count(change.session, account_id, -1)
        await self.publisher.policies([domain.name, *others])
        await self.publisher.bans([(ban.domain, ban.app, ban.stream) for ban in bans])
        await self.publisher.blocks([(block.domain, block.app, block.stream) for block in blocks])
        await self.publisher.certificates([domain.name])
        await self._plans.publish([domain.name])

    async def start(self, account_id: str, name: str, *, actor: Actor) -> None:
        """Put a domain online (StartLiveDomain). Raises ServiceBusy, Domain.BeianInvalid, ServiceUnavailable."""
        async with self._database.read() as session:
            domain = await owned_domain(session, account_id, name)
        await self._check_filing(domain, cast(rules.Scope, domain.scope))
        await self._set_status(account_id, name, "online", "StartLiveDomain", actor)

    async def stop(self, account_id: str, name: str, *, actor: Actor) -> None:
        """Put a domain offline; its settings stay (StopLiveDomain). Raises ServiceBusy."""
        await self._set_status(account_id, name, "offline", "StopLiveDomain", actor)

    async def set_scope(self, account_id: str, name: str, scope: str, *, actor: Actor) -> None:
        """Change the edge group of a domain (ModifyLiveDomainSchdmByProperty).

        Raises Schedule.NotFound, ServiceBusy, DomainTraffic.ExceedThreshold, Domain.BeianInvalid, ServiceUnavailable.
        """
        if scope not in get_args(rules.Scope):
            raise error("Schedule.NotFound")
        async with self._database.read() as session:
            domain = await owned_domain(session, account_id, name)
        await self._check_traffic(domain)
        await self._check_filing(domain, cast(rules.Scope, scope))
        now_s = self._clock()
        async with self._database.change(account_id, actor, "ModifyLiveDomainSchdmByProperty", domain.name, now_s) as change:
            domain = await owned_domain(change.session, account_id, name)
            if domain.status == "configuring":
                raise error("ServiceBusy")
            change.before = {"scope": domain.scope}
            domain.scope, domain.modified_s = scope, now_s
            change.after = {"scope": scope}
        await self.publisher.policies([domain.name])
        await self.check_filings(domain.root)  # what was offline for want of a filing may need none there

    async def list_domains(
        self,
        account_id: str | None,
        *,
        search: str = "",
        search_type: str = "fuzzy_match",
        status: str = "",
        type_: str = "",
        region: str = "",
        resource_group_id: str = "",
        tags: Sequence[Tag] = (),
        page_number: int = 1,
        page_size: int = 20,
    ) -> DomainPage:
        """The account's domains by name (DescribeLiveUserDomains); empty filters match all. Raises InvalidDomainSearchType.

        account_id: None for an operator who looks across accounts.
        """
        where = [*tagged(tags), *([] if account_id is None else [Domain.account == account_id])]
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
        # the names alone first: the pages before this one are then skipped within the index, without a look at their rows
        names = select(Domain.name).where(*where).order_by(Domain.name).limit(page_size).offset((page_number - 1) * page_size)
        chosen = names.subquery()
        page = select(Domain).join(chosen, chosen.c.name == Domain.name).order_by(Domain.name)
        async with self._database.read() as session:
            if len(where) == (account_id is not None):  # no filter: these are counted already
                total = await quota.domains_of(session, account_id)
            else:
                total = await session.scalar(select(func.count()).select_from(Domain).where(*where)) or 0
            return DomainPage([_record(domain) for domain in await session.scalars(page)], total)

    async def detail(self, account_id: str, name: str) -> DomainRecord:
        """One domain (DescribeLiveDomainDetail)."""
        async with self._database.read() as session:
            return _record(await owned_domain(session, account_id, name))

    # Functions

    async def set_functions(
        self, account_id: str, names: Sequence[str], settings: str, *, dry_run: bool = False, actor: Actor
    ) -> None:
        """Set functions, given as the JSON of the parameter Functions, on several domains (BatchSetLiveDomainConfigs).

        All or nothing; dry_run only checks. Raises InvalidFunctions.Malformed, InvalidArgValue.Malformed, ConfigNotFound,
        ConfigConflict, IllegalOperation, DomainNameOverLimit.
        """
        wanted = functions.parse(settings)
        domains = _distinct(names)
        now_s = self._clock()
        if dry_run:
            async with self._database.read() as session:
                for name in domains:
                    domain = await owned_domain(session, account_id, name)
                    await bindings.check_main(session, name, [setting.name for setting in wanted])
                    await function_store.put(session, DomainFunction, domain, wanted, now_s, dry_run=True)
            return
        async with self._database.change(account_id, actor, "BatchSetLiveDomainConfigs", ",".join(domains), now_s) as change:
            before: list[FunctionRecord] = []
            for name in domains:
                domain = await owned_domain(change.session, account_id, name)
                await bindings.check_main(change.session, name, [setting.name for setting in wanted])
                before += await function_store.put(change.session, DomainFunction, domain, wanted, now_s)
                domain.modified_s = now_s
            change.before, change.after = before, wanted
        await self.publisher.policies(domains)

    async def functions(self, account_id: str, name: str, names: Sequence[str] = ()) -> list[FunctionRecord]:
        """The stored functions of a domain, oldest first; all of them or those named (DescribeLiveDomainConfigs)."""
        async with self._database.read() as session:
            domain = await owned_domain(session, account_id, name)
            return await function_store.read(session, DomainFunction, domain.name, names)

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
                before += await function_store.remove(change.session, DomainFunction, domain.name, function_names)
                domain.modified_s = now_s
            change.before = before
        await self.publisher.policies(domains)

    async def delete_function(self, account_id: str, name: str, config_id: int, *, actor: Actor) -> None:
        """Remove one record of a function from a domain. Raises ConfigNotFound."""
        object_, now_s = name.lower(), self._clock()
        async with self._database.change(account_id, actor, "DeleteLiveSpecificConfig", object_, now_s) as change:
            domain = await owned_domain(change.session, account_id, name)
            row = await change.session.get(DomainFunction, config_id)
            if row is None or row.domain != domain.name:
                raise error("ConfigNotFound")
            change.before = function_store.record(row)
            await change.session.delete(row)
            domain.modified_s = now_s
        await self.publisher.policies([domain.name])

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
            await bindings.check_main(change.session, domain.name)
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
        """The delays that were set; a sub-streaming domain has its main domain's (DescribeLiveStreamDelayConfig)."""
        async with self._database.read() as session:
            domain = await owned_domain(session, account_id, name)
            return await _delays(session, await bindings.main_domain(session, domain.name))

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
            own = await policy_of(session, domain)
            if own.streaming_domain is None:
                raise error("IllegalOperation")
            if own.type == "liveVideo":
                first = select(DomainMapping.push_domain).where(DomainMapping.pull_domain == own.streaming_domain)
                other = await session.scalar(first.order_by(DomainMapping.push_domain).limit(1))
                push, play = None if other is None else await policy_of(session, await session.get_one(Domain, other)), own
            else:
                push, play = own, await policy_of(session, await session.get_one(Domain, own.streaming_domain))
        return stream_urls(push, play, app, stream, endpoints, self._clock())

    # Policies

    async def publish_all(self) -> None:
        """Put every policy and ban into the cluster's store and remove stale ones; for the start of the platform."""
        await self.publisher.everything(self._clock())

    # What runs beside

    async def run_settling(self) -> None:
        """Go on with the domains that are configuring, now and then, until cancelled."""
        while True:
            await self.settle()
            await asyncio.sleep(SETTLE_INTERVAL_S)

    async def settle(self) -> None:
        """Put the domains online that are configuring and may be served, and offline those that may not.

        A domain is configuring while the source of ICP filings does not answer; it stays so until that does.
        """
        async for domain in self._all(Domain.status == "configuring"):
            filing = await self._filings.check(domain.name, cast(rules.Scope, domain.scope), domain.region)
            if filing.passed:
                await self._judge(domain, "online", "")
            elif filing.state != "unknown":
                await self._judge(domain, "offline", filing.text)

    async def check_filings(self, root: str | None = None) -> None:
        """Put the domains offline whose filing has ended or is gone, with the reason in their description.

        Those that were put offline so, and whose filing holds now, come back: an operator who corrects a slip has corrected
        what it did. Who stopped a domain gave no description, so that one stays offline. root: look at its domains only.
        """
        if not self._filings.required:
            return
        found: dict[tuple[str, bool], FilingCheck] = {}
        judged = (Domain.status == "online") | ((Domain.status == "offline") & (Domain.description != ""))
        async for domain in self._all(judged if root is None else judged & (Domain.root == root)):
            scope = cast(rules.Scope, domain.scope)
            key = domain.root, rules.needs_filing(scope, domain.region)
            if key not in found:
                found[key] = await self._filings.check(domain.name, scope, domain.region)
            filing = found[key]
            if filing.state == "unknown":
                _log.warning("filing_unknown", domain=domain.name, reason=filing.text)
            elif filing.passed and domain.status == "offline":
                await self._judge(domain, "online", "")
            elif not filing.passed and domain.status == "online":
                await self._judge(domain, "offline", filing.text)

    async def _all(self, where: ColumnElement[bool]) -> AsyncIterator[Domain]:
        """The domains of all accounts that are so, by name, read a part at a time."""
        last = ""
        while True:
            part = select(Domain).where(where, Domain.name > last).order_by(Domain.name).limit(READ_AT_ONCE)
            async with self._database.read() as session:
                domains = (await session.scalars(part)).all()
            for domain in domains:
                yield domain
            if len(domains) < READ_AT_ONCE:
                return
            last = domains[-1].name

    async def _judge(self, seen: Domain, status: Status, reason: str) -> None:
        """Change the status of a domain for its filing, unless somebody else has changed it meanwhile."""
        now_s = self._clock()
        actor = Actor("filing check")
        try:
            async with self._database.change(seen.account, actor, "CheckIcpFiling", seen.name, now_s) as change:
                domain = await owned_domain(change.session, seen.account, seen.name)
                if domain.status != seen.status:
                    raise error("ServiceBusy")
                change.before = {"status": domain.status}
                domain.status, domain.description, domain.modified_s = status, reason, now_s
                change.after = {"status": status, "description": reason}
        except DomainError:
            return
        _log.info("filing_judged", domain=seen.name, status=status, reason=reason)
        await self.publisher.policies([seen.name])

    def _name(self, text: str) -> str:
        """A name that can be added, as it is stored. Raises InvalidDomainName.Malformed."""
        name = rules.domain_name(text, leading_dot=self._settings.leading_dot)
        inside_zone = rules.is_under(name, [self._settings.cname_zone])  # would collide with the CNAME targets
        if inside_zone or len(cname_target(name, self._settings.cname_zone)) > rules.NAME_MAX:
            raise error("InvalidDomainName.Malformed")
        return name

    async def _check_new(self, session: AsyncSession, account_id: str, name: str) -> None:
        """Raises as `add` for a name that the account may not add now."""
        if await session.get(Domain, name) is not None:
            raise error("DomainAlreadyExist")
        await check_claims(session, name)
        await self._quotas.check(session, account_id)
        await self._ownership.check(session, account_id, name)

    async def _check_filing(self, domain: Domain, scope: rules.Scope) -> None:
        filing = await self._filings.check(domain.name, scope, domain.region)
        if filing.state == "unknown":
            raise error("ServiceUnavailable", filing.text)
        if not filing.passed:
            raise error("Domain.BeianInvalid", filing.text)

    async def _check_traffic(self, domain: Domain) -> None:
        bound_bytes = self._settings.edge_group_traffic_gb * 1e9
        if bound_bytes:
            now_s = self._clock()
            side: Side = "ingest" if domain.type == "liveEdge" else "streaming"
            points = await self._usage.series(domain.account, side, [domain.name], now_s - DAY_S, now_s)
            if sum(point.traffic.bytes_in + point.traffic.bytes_out for point in points) > bound_bytes:
                raise error("DomainTraffic.ExceedThreshold")

    async def _set_status(self, account_id: str, name: str, status: Status, action: str, actor: Actor) -> None:
        now_s = self._clock()
        async with self._database.change(account_id, actor, action, name.lower(), now_s) as change:
            domain = await owned_domain(change.session, account_id, name)
            if domain.status == "configuring":
                raise error("ServiceBusy")
            change.before = {"status": domain.status}
            domain.status, domain.description, domain.modified_s = status, "", now_s
            change.after = {"status": status}
        await self.publisher.policies([domain.name])


def _matches(text: str, search_type: str) -> ColumnElement[bool]:
    match search_type:
        case "fuzzy_match":
            return Domain.name.contains(text, autoescape=True)
        case "pre_match":
            return (Domain.name >= text) & (Domain.name < text + LAST_CHARACTER)
        case "suf_match":
            return Domain.name.endswith(text, autoescape=True)
        case "full_match":
            return Domain.name == text
        case _:
            raise invalid("DomainSearchType")


def _distinct(names: Sequence[str]) -> list[str]:
    domains = list(dict.fromkeys(rules.domain_name(name, leading_dot=True) for name in names))
    if len(domains) > DOMAINS_PER_CALL:
        raise error("DomainNameOverLimit")
    return domains


async def _delays(session: AsyncSession, domain: str) -> Delays:
    rows = await session.scalars(select(DomainDelay).where(DomainDelay.domain == domain))
    return Delays(**{row.protocol: Delay(row.delay_s, cast(rules.Level, row.level) if row.level else None) for row in rows})


def _record(domain: Domain) -> DomainRecord:
    return msgspec.convert(domain, DomainRecord, from_attributes=True)
