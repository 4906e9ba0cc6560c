"""HTTPS of domains: certificates that customers bring or that the ACME authority issues, kept, bound, listed and published."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Literal, cast, get_args

import msgspec
import structlog
from sqlalchemy import ColumnElement, delete, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.domains import certificate_rules as rules
from headwater.domains.certificate_rules import CertificateFacts, KeyPair
from headwater.domains.errors import error
from headwater.domains.owned import owned_domain
from headwater.domains.publisher import Publisher
from headwater.observe.families import Family, Sample
from headwater.settings import Acme, ChallengeType
from headwater.store.database import Actor, Database
from headwater.store.models import Certificate, CertificateOrder, Domain, DomainHttps

CertificateType = Literal["upload", "cas", "free"]
"""How a domain came to its certificate (SetLiveDomainCertificate, CertType): brought along; one that the account keeps
already; issued for it by the ACME authority."""

CERTIFICATES_MAX = 1_000
"""Certificates of one account: one for each of its domains and of those that a raised quota brings, old ones included."""

WARN_DAYS = (1, 7, 30)
"""How long before the end of a certificate its warnings come, shortest first."""

WARN_EVERY_S = 3600.0
"""How often the calendar is looked at: the warnings are days apart."""

RENEWAL_POINT = 2 / 3
"""A free certificate is renewed once so much of its life is over: with 90 days, a month is left to repair what is wrong."""

DAY_S = 86_400.0

log = structlog.get_logger()


class CertificateRecord(msgspec.Struct, frozen=True):
    """A certificate that an account keeps, without its key. Times are unix seconds.

    source: `upload` or `free`. chain: PEM. names: for which DNS names it is. domains: those that use it.
    """

    id: int
    name: str
    source: Literal["upload", "free"]
    chain: str
    key_type: str
    common_name: str
    issuer: str
    organization: str
    names: tuple[str, ...]
    fingerprint: str
    not_before_s: float
    not_after_s: float
    updated_s: float
    domains: tuple[str, ...] = ()


class Issuance(msgspec.Struct, frozen=True):
    """How far a free certificate is.

    status: `waiting` for its turn, `applying` at the authority, `failed` and to be tried again at next_s, or `issued` and to
    be renewed at next_s. error: why it failed last, in words for the domain's owner. delegation: for DNS-01, the CNAME record
    that the owner must have made: its name and its target.
    """

    status: Literal["waiting", "applying", "failed", "issued"]
    challenge: ChallengeType
    error: str
    failures: int
    next_s: float
    delegation: tuple[str, str] | None


class HttpsRecord(msgspec.Struct, frozen=True):
    """HTTPS of one domain. type is None if it was never set; then, and without certificate, the operator's one is used.

    state: `ok`, `mismatch`, `expired` or `expire_soon`; "" without certificate.
    """

    domain: str
    enabled: bool = False
    type: CertificateType | None = None
    certificate: CertificateRecord | None = None
    state: str = ""
    issuance: Issuance | None = None
    updated_s: float = 0.0


class HttpsPage(msgspec.Struct, frozen=True):
    """One page of domains with HTTPS, by name; `total` counts all pages."""

    items: list[HttpsRecord]
    total: int


class CertificateMatch(msgspec.Struct, frozen=True):
    """A certificate as it was given, and those domains of the account for which it is good."""

    certificate: CertificateFacts
    domains: list[str]


class CertificateService:
    """Certificates of all accounts. All methods raise DomainError for what they refuse; foreign domains are as good as absent.

    order_wanted is set when an order at the ACME authority may have become due; `domains.issuance` waits for it.
    """

    def __init__(
        self, database: Database, publisher: Publisher, settings: Acme, clock: Callable[[], float] = time.time
    ) -> None:
        self.order_wanted = asyncio.Event()
        self._database = database
        self._publisher = publisher
        self._settings = settings
        self._clock = clock

    # Changes

    async def set(
        self,
        account_id: str,
        domain: str,
        protocol: str,
        *,
        type_: str = "",
        name: str = "",
        chain: str = "",
        key: str = "",
        force: bool = False,
        dry_run: bool = False,
        actor: Actor,
    ) -> None:
        """Switch HTTPS of a domain on, with a certificate, or off (SetLiveDomainCertificate).

        protocol: `on` or `off`. type_: a CertificateType, by default `upload`. Raises as `upload`, `use`, `issue` and
        `switch_off` do, and InvalidSSLProtocol.ValueNotSupported, InvalidCertType.ValueNotSupported, SSLPub.MissingParameter,
        SSLPri.MissingParameter, InvalidCertName.Malformed.
        """
        if protocol not in ("on", "off"):
            raise error("InvalidSSLProtocol.ValueNotSupported")
        if type_ and type_ not in get_args(CertificateType):
            raise error("InvalidCertType.ValueNotSupported")
        if protocol == "off":
            await self.switch_off(account_id, domain, dry_run=dry_run, actor=actor)
        elif type_ == "free":
            await self.issue(account_id, domain, dry_run=dry_run, actor=actor)
        elif type_ == "cas":
            if not name:
                raise error("InvalidCertName.Malformed", "CertType cas needs the CertName of a certificate of this account.")
            await self.use(account_id, domain, name, dry_run=dry_run, actor=actor)
        else:
            if not chain:
                raise error("SSLPub.MissingParameter")
            if not key:
                raise error("SSLPri.MissingParameter")
            await self.upload(account_id, domain, chain, key, name=name, force=force, dry_run=dry_run, actor=actor)

    async def upload(
        self,
        account_id: str,
        domain: str,
        chain: str,
        key: str,
        *,
        name: str = "",
        force: bool = False,
        dry_run: bool = False,
        actor: Actor,
    ) -> None:
        """Keep a certificate and use it for a domain, with HTTPS on.

        name: under which it is kept; without one it is made of the domain and the fingerprint. force: replace another
        certificate of this name, for all domains that use it. Raises as `certificate_rules.read_pair` and `check_covers` do,
        and InvalidCertName.Malformed, Certificate.Duplicated, QuotaExceeded.Certificate.
        """
        now_s = self._clock()
        pair = await asyncio.to_thread(rules.read_pair, chain, key, now_s)  # checking an RSA key takes its time
        name = rules.certificate_name(name) if name else f"{domain.lower()}-{pair.fingerprint[:8]}"[-128:]

        async def checked(session: AsyncSession) -> tuple[Domain, Certificate | None]:
            owned = await owned_domain(session, account_id, domain)
            rules.check_covers(pair.names, owned.name)
            kept = await _by_name(session, account_id, name)
            if kept is None:
                count = select(func.count()).select_from(Certificate).where(Certificate.account == account_id)
                if (await session.scalar(count) or 0) >= CERTIFICATES_MAX:
                    raise error("QuotaExceeded.Certificate")
            elif kept.fingerprint != pair.fingerprint:
                if not force:
                    raise error("Certificate.Duplicated", "Choose another CertName, or replace that one with ForceSet=1.")
                for other in await _users(session, kept.id):
                    rules.check_covers(pair.names, other)
            return owned, kept

        if dry_run:
            async with self._database.read() as session:
                await checked(session)
            return
        try:
            async with self._database.change(account_id, actor, "SetLiveDomainCertificate", domain.lower(), now_s) as change:
                owned, kept = await checked(change.session)
                change.before = await _summary(change.session, owned.name)
                certificate = kept or _row(account_id, name, "upload", now_s)
                _fill(certificate, pair, now_s)
                change.session.add(certificate)
                await change.session.flush()
                await self._bind(change.session, owned, "upload", certificate.id, now_s)
                change.after = await _summary(change.session, owned.name)
                users = await _users(change.session, certificate.id)
        except IntegrityError:  # another call took the name in the same instant
            raise error("Certificate.Duplicated") from None
        await self._publisher.certificates(users)

    async def use(self, account_id: str, domain: str, name: str, *, dry_run: bool = False, actor: Actor) -> None:
        """Use a certificate that the account keeps, with HTTPS on.

        Raises Certificate.NotFound, InvalidSSLPub.DomainMismatch, InvalidSSLPub.Expired.
        """
        now_s = self._clock()

        async def checked(session: AsyncSession) -> tuple[Domain, Certificate]:
            owned = await owned_domain(session, account_id, domain)
            kept = await _by_name(session, account_id, name)
            if kept is None:
                raise error("Certificate.NotFound")
            rules.check_covers(_names(kept), owned.name)
            if kept.not_after_s <= now_s:
                raise error("InvalidSSLPub.Expired")
            return owned, kept

        if dry_run:
            async with self._database.read() as session:
                await checked(session)
            return
        async with self._database.change(account_id, actor, "SetLiveDomainCertificate", domain.lower(), now_s) as change:
            owned, kept = await checked(change.session)
            change.before = await _summary(change.session, owned.name)
            await self._bind(change.session, owned, "cas", kept.id, now_s)
            change.after = await _summary(change.session, owned.name)
        await self._publisher.certificates([owned.name])

    async def issue(self, account_id: str, domain: str, challenge: str = "", *, dry_run: bool = False, actor: Actor) -> None:
        """Have a certificate issued by the ACME authority, use it with HTTPS on once it is there, and keep it renewed.

        Returns at once; `https` tells how far it is. Until then the domain goes on with the certificate that it had. Asked
        again, it is tried again, though not sooner than the bounds on orders allow. challenge: a ChallengeType; by default
        the one of the settings. Raises FreeCertificate.NotAvailable, InvalidChallenge.
        """
        now_s = self._clock()
        chosen = challenge or self._settings.challenge
        if chosen not in get_args(ChallengeType):
            raise error("FreeCertificate.NotAvailable", f"There is no challenge `{chosen}`.")
        if not self.free_available:
            raise error(
                "FreeCertificate.NotAvailable",
                "The operator of this server has not set acme.directory, or not agreed to the terms of the authority.",
            )
        if dry_run:
            async with self._database.read() as session:
                await owned_domain(session, account_id, domain)
            return
        async with self._database.change(account_id, actor, "SetLiveDomainCertificate", domain.lower(), now_s) as change:
            session = change.session
            owned = await owned_domain(session, account_id, domain)
            change.before = await _summary(session, owned.name)
            https = await session.get(DomainHttps, owned.name)
            certificate = await session.get(Certificate, https.certificate) if https and https.certificate else None
            order = await session.get(CertificateOrder, owned.name)
            if order is None:
                order = CertificateOrder(
                    domain=owned.name, order_url="", key=None, failures=0, error="", next_s=now_s, begun_s=0.0
                )
                session.add(order)
                if certificate is not None and certificate.source == "free":
                    order.next_s = max(now_s, renewal_s(certificate.not_before_s, certificate.not_after_s))
            elif order.failures:
                order.next_s = min(order.next_s, max(now_s, order.begun_s + self._settings.retry_by_hand_s))
            order.challenge = chosen
            await self._bind(session, owned, "free", certificate.id if certificate else None, now_s)
            change.after = await _summary(session, owned.name)
        self.order_wanted.set()
        await self._publisher.certificates([owned.name])

    async def switch_off(self, account_id: str, domain: str, *, dry_run: bool = False, actor: Actor) -> None:
        """Switch HTTPS and RTMPS off: TLS handshakes for the domain are refused. Its certificate is kept, not renewed."""
        if dry_run:
            async with self._database.read() as session:
                await owned_domain(session, account_id, domain)
            return
        now_s = self._clock()
        async with self._database.change(account_id, actor, "SetLiveDomainCertificate", domain.lower(), now_s) as change:
            owned = await owned_domain(change.session, account_id, domain)
            change.before = await _summary(change.session, owned.name)
            https = await change.session.get(DomainHttps, owned.name)
            if https is None:
                https = DomainHttps(domain=owned.name, type="upload", certificate=None)
                change.session.add(https)
            https.enabled, https.updated_s = False, now_s
            owned.modified_s = now_s
            await _drop_order(change.session, owned.name)
            change.after = await _summary(change.session, owned.name)
        await self._publisher.certificates([owned.name])

    async def delete(self, account_id: str, name: str, *, actor: Actor) -> None:
        """Forget a certificate that no domain uses. Raises Certificate.NotFound, Certificate.InUse."""
        async with self._database.change(account_id, actor, "DeleteCertificate", name, self._clock()) as change:
            kept = await _by_name(change.session, account_id, name)
            if kept is None:
                raise error("Certificate.NotFound")
            users = await _users(change.session, kept.id)
            if users:
                raise error("Certificate.InUse", f"It is used by {', '.join(users[:10])}.")
            change.before = {"name": name, "fingerprint": kept.fingerprint}
            await change.session.delete(kept)

    async def store_issued(self, domain: str, order_url: str, pair: KeyPair) -> bool:
        """Keep a certificate that the authority has issued and use it; False if nobody wants it any more."""
        now_s = self._clock()
        async with self._database.read() as session:
            found = await session.get(Domain, domain)
        if found is None:
            return False
        name = free_name(domain)
        async with self._database.change(found.account, Actor("acme"), "IssueCertificate", domain, now_s) as change:
            session = change.session
            order, https = await session.get(CertificateOrder, domain), await session.get(DomainHttps, domain)
            if order is None or https is None or order.order_url != order_url:
                return False
            change.before = await _summary(session, domain)
            certificate = await _by_name(session, found.account, name) or _row(found.account, name, "free", now_s)
            _fill(certificate, pair, now_s)
            session.add(certificate)
            await session.flush()
            https.certificate, https.updated_s = certificate.id, now_s
            order.order_url, order.key, order.failures, order.error = "", None, 0, ""
            order.next_s = renewal_s(pair.not_before_s, pair.not_after_s)
            await session.flush()
            change.after = await _summary(session, domain)
        await self._publisher.certificates([domain])
        return True

    # Questions

    @property
    def free_available(self) -> bool:
        """Whether free certificates can be had: the operator has named an authority and agreed to its terms."""
        return bool(self._settings.directory) and self._settings.agree_terms

    async def https(self, account_id: str, domain: str) -> HttpsRecord:
        """HTTPS of one domain, with its certificate and how far a free one is (DescribeLiveDomainCertificateInfo)."""
        async with self._database.read() as session:
            return await self._https(session, await owned_domain(session, account_id, domain))

    async def enabled_among(self, domains: Sequence[str]) -> frozenset[str]:
        """Those of some domains that have HTTPS on, for a list of domains; whose they are is the caller's business."""
        wanted = select(DomainHttps.domain).where(DomainHttps.domain.in_(domains), DomainHttps.enabled.is_(True))
        async with self._database.read() as session:
            return frozenset(await session.scalars(wanted))

    async def certificates(self, account_id: str, covering: str = "") -> list[CertificateRecord]:
        """The certificates that the account keeps, newest first; only those good for one domain, if it is named."""
        async with self._database.read() as session:
            domain = (await owned_domain(session, account_id, covering)).name if covering else ""
            rows = await session.scalars(
                select(Certificate).where(Certificate.account == account_id).order_by(Certificate.id.desc())
            )
            return [await _record(session, row) for row in rows if not domain or rules.covers(_names(row), domain)]

    async def certificate(self, account_id: str, name: str) -> CertificateRecord:
        """One certificate. Raises Certificate.NotFound."""
        async with self._database.read() as session:
            row = await _by_name(session, account_id, name)
            if row is None:
                raise error("Certificate.NotFound")
            return await _record(session, row)

    async def https_domains(
        self, account_id: str, *, keyword: str = "", page_number: int = 1, page_size: int = 20
    ) -> HttpsPage:
        """The domains of the account with HTTPS on and a certificate, by name; keyword: a part of the name."""
        where: list[ColumnElement[bool]] = [
            Domain.account == account_id,
            DomainHttps.domain == Domain.name,
            DomainHttps.enabled.is_(True),
            DomainHttps.certificate.is_not(None),
        ]
        if keyword:
            where.append(Domain.name.contains(keyword.lower(), autoescape=True))
        page = select(Domain).where(*where).order_by(Domain.name).limit(page_size).offset((page_number - 1) * page_size)
        async with self._database.read() as session:
            total = await session.scalar(select(func.count()).select_from(Domain, DomainHttps).where(*where)) or 0
            return HttpsPage([await self._https(session, domain) for domain in await session.scalars(page)], total)

    async def match(self, account_id: str, chain: str, enabled: bool | None = None) -> CertificateMatch:
        """What a certificate says, and for which domains of the account it is good (DescribeLiveDomainByCertificate).

        enabled: only domains with HTTPS on, or only those without. Raises InvalidSSLPub.Malformed.
        """
        certificate = rules.describe(chain)
        exact = [Domain.name.in_([name for name in certificate.names if "*" not in name])]
        under = [Domain.name.endswith(name[1:], autoescape=True) for name in certificate.names if name.startswith("*.")]
        found = select(Domain.name, DomainHttps.enabled).outerjoin(DomainHttps, DomainHttps.domain == Domain.name)
        found = found.where(Domain.account == account_id, or_(*exact, *under)).order_by(Domain.name)
        async with self._database.read() as session:
            domains = [
                name
                for name, on in await session.execute(found)
                if rules.covers(certificate.names, name) and (enabled is None or bool(on) == enabled)
            ]
        return CertificateMatch(certificate, domains)

    async def expiring(self, account_id: str | None = None, within_s: float = rules.EXPIRES_SOON_S) -> list[HttpsRecord]:
        """The domains with HTTPS on whose certificate has ended or will within that time, the first to end first.

        account_id None asks for all accounts: that is for the operator.
        """
        rows = (
            select(Domain)
            .join(DomainHttps, DomainHttps.domain == Domain.name)
            .join(Certificate, Certificate.id == DomainHttps.certificate)
            .where(DomainHttps.enabled.is_(True), Certificate.not_after_s <= self._clock() + within_s)
            .order_by(Certificate.not_after_s)
        )
        if account_id is not None:
            rows = rows.where(Domain.account == account_id)
        async with self._database.read() as session:
            return [await self._https(session, domain) for domain in await session.scalars(rows)]

    # Watching the calendar

    async def run_warnings(self) -> None:
        """Warn for ever."""
        while True:
            await self.warn()
            await asyncio.sleep(WARN_EVERY_S)

    async def warn(self) -> None:
        """Log each certificate in use that will end soon: once at each of WARN_DAYS before its end.

        A free one is renewed long before, so it is mentioned only when its renewal must have failed.
        """
        now_s = self._clock()
        used = select(DomainHttps.certificate).where(DomainHttps.enabled.is_(True))
        soon = Certificate.not_after_s <= now_s + max(WARN_DAYS) * DAY_S
        async with self._database.write() as session:
            for row in await session.scalars(select(Certificate).where(Certificate.id.in_(used), soon)):
                reached = next(days for days in WARN_DAYS if row.not_after_s <= now_s + days * DAY_S)
                left_after_renewal_s = row.not_after_s - renewal_s(row.not_before_s, row.not_after_s)
                expected = row.source == "free" and reached * DAY_S >= left_after_renewal_s
                if expected or (row.warned_days is not None and row.warned_days <= reached):
                    continue
                row.warned_days = reached
                log.warning(
                    "certificate ends soon",
                    certificate=row.name,
                    account=row.account,
                    domains=await _users(session, row.id),
                    days_left=round((row.not_after_s - now_s) / DAY_S, 1),
                )

    async def families(self) -> list[Family]:
        """Metrics: certificates in use by their state, the next end, and free ones that could not be had."""
        now_s = self._clock()
        used = select(DomainHttps.certificate).where(DomainHttps.enabled.is_(True))
        async with self._database.read() as session:
            ends = list(await session.scalars(select(Certificate.not_after_s).where(Certificate.id.in_(used))))
            failing = await session.scalar(
                select(func.count()).select_from(CertificateOrder).where(CertificateOrder.failures > 0)
            )
        expired = sum(end <= now_s for end in ends)
        soon = sum(now_s < end <= now_s + rules.EXPIRES_SOON_S for end in ends)
        states = {"ok": len(ends) - expired - soon, "expire_soon": soon, "expired": expired}
        found = [
            Family(
                "headwater_certificates",
                "gauge",
                "Certificates of domains with HTTPS on, by state.",
                [Sample({"state": name}, count) for name, count in states.items()],
            ),
            Family(
                "headwater_certificate_orders_failing",
                "gauge",
                "Free certificates whose last order failed.",
                [Sample({}, failing or 0)],
            ),
        ]
        if ends:
            text = "When the next certificate in use ends, in unix seconds."
            found.append(Family("headwater_certificate_next_end_seconds", "gauge", text, [Sample({}, min(ends))]))
        return found

    async def _bind(
        self, session: AsyncSession, domain: Domain, type_: CertificateType, certificate: int | None, now_s: float
    ) -> None:
        await session.merge(DomainHttps(domain=domain.name, enabled=True, type=type_, certificate=certificate, updated_s=now_s))
        domain.modified_s = now_s
        if type_ != "free":
            await _drop_order(session, domain.name)
        await session.flush()
        await forget_unused(session, domain.account)

    async def _https(self, session: AsyncSession, domain: Domain) -> HttpsRecord:
        row = await session.get(DomainHttps, domain.name)
        if row is None:
            return HttpsRecord(domain.name)
        kept = await session.get(Certificate, row.certificate) if row.certificate is not None else None
        order = await session.get(CertificateOrder, domain.name)
        return HttpsRecord(
            domain=domain.name,
            enabled=row.enabled,
            type=cast(CertificateType, row.type),
            certificate=await _record(session, kept) if kept else None,
            state=rules.state(_names(kept), kept.not_after_s, domain.name, self._clock()) if kept else "",
            issuance=_issuance(domain, order, kept) if order else None,
            updated_s=row.updated_s,
        )


def free_name(domain: str) -> str:
    """The name under which the free certificate of a domain is kept; no upload can have one with a colon."""
    return f"free:{domain}"


def renewal_s(not_before_s: float, not_after_s: float) -> float:
    """When a free certificate is renewed, in unix seconds."""
    return not_before_s + (not_after_s - not_before_s) * RENEWAL_POINT


async def forget_unused(session: AsyncSession, account_id: str) -> None:
    """Remove the free certificates of an account that no domain has any more."""
    used = select(DomainHttps.certificate).where(DomainHttps.certificate.is_not(None))
    await session.execute(
        delete(Certificate).where(Certificate.account == account_id, Certificate.source == "free", Certificate.id.not_in(used))
    )


async def _drop_order(session: AsyncSession, domain: str) -> None:
    await session.execute(delete(CertificateOrder).where(CertificateOrder.domain == domain))


async def _by_name(session: AsyncSession, account_id: str, name: str) -> Certificate | None:
    return await session.scalar(select(Certificate).where(Certificate.account == account_id, Certificate.name == name))


async def _users(session: AsyncSession, certificate_id: int) -> list[str]:
    rows = select(DomainHttps.domain).where(DomainHttps.certificate == certificate_id).order_by(DomainHttps.domain)
    return list(await session.scalars(rows))


async def _summary(session: AsyncSession, domain: str) -> dict[str, object] | None:
    """HTTPS of a domain for the audit log."""
    row = await session.get(DomainHttps, domain)
    if row is None:
        return None
    kept = await session.get(Certificate, row.certificate) if row.certificate is not None else None
    return {
        "enabled": row.enabled,
        "type": row.type,
        "certificate": kept.name if kept else "",
        "fingerprint": kept.fingerprint if kept else "",
    }


async def _record(session: AsyncSession, row: Certificate) -> CertificateRecord:
    fields = {name: getattr(row, name) for name in CertificateRecord.__struct_fields__ if name not in ("names", "domains")}
    return CertificateRecord(**fields, names=_names(row), domains=tuple(await _users(session, row.id)))


def _issuance(domain: Domain, order: CertificateOrder, kept: Certificate | None) -> Issuance:
    free = kept is not None and kept.source == "free"
    prefix = "_acme-challenge."
    return Issuance(
        status="applying" if order.order_url else "failed" if order.failures else "issued" if free else "waiting",
        challenge=cast(ChallengeType, order.challenge),
        error=order.error,
        failures=order.failures,
        next_s=order.next_s,
        delegation=(prefix + domain.name, prefix + domain.cname) if order.challenge == "dns-01" else None,
    )


def _row(account_id: str, name: str, source: str, now_s: float) -> Certificate:
    return Certificate(account=account_id, name=name, source=source, created_s=now_s)


def _fill(row: Certificate, pair: KeyPair, now_s: float) -> None:
    if row.fingerprint == pair.fingerprint:
        return
    for name in ("chain", "key", "key_type", "common_name", "issuer", "organization", "fingerprint"):
        setattr(row, name, getattr(pair, name))
    row.names = ",".join(pair.names)
    row.not_before_s, row.not_after_s = pair.not_before_s, pair.not_after_s
    row.updated_s = now_s
    row.warned_days = None


def _names(row: Certificate) -> tuple[str, ...]:
    return tuple(row.names.split(","))
