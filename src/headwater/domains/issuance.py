"""Free certificates: orders at the ACME authority, carried out and renewed by themselves, also across restarts."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

import httpx
import msgspec
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import delete, func, select

from headwater.access.certificate import dns_txt_key, http_challenge_key
from headwater.cluster.interface import Cluster, Lease
from headwater.domains import certificate_rules
from headwater.domains.acme import UNREACHABLE, AcmeClient, AcmeError, Authorization, Challenge, Order, Problem, dns_value
from headwater.domains.certificates import DAY_S, CertificateService
from headwater.domains.errors import DomainError
from headwater.domains.rules import format_time
from headwater.settings import Acme, SettingsError
from headwater.store.database import Database
from headwater.store.models import AcmeAccount, CertificateOrder, Domain

RUNNING_MAX = 10
"""Orders that run at once; most of their time they wait for the authority."""

ORDER_S = 900.0
"""How long one attempt may take: authorities look several times, some minutes apart, before they give up."""

LOOK_S = 30.0
"""How often the orders are looked at without being told of one: commands of the same machine write to the database, too."""

HOUR_S = 3600.0
LEASE_S = 30.0
"""Challenges vanish so soon after this process."""

PAUSE_S, PAUSE_MAX_S = 0.25, 10.0
"""Between two looks at the authority's progress: at first short, then twice as long each time."""

log = structlog.get_logger()


class Issuer:
    """Carries out what CertificateService.issue has noted down. One for all processes that share a database."""

    def __init__(
        self,
        database: Database,
        cluster: Cluster,
        certificates: CertificateService,
        settings: Acme,
        trust: ssl.SSLContext,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """trust: how the authority's own HTTPS is checked; see `trust`."""
        self._database = database
        self._cluster = cluster
        self._certificates = certificates
        self._settings = settings
        self._trust = trust
        self._clock = clock
        self._running: dict[str, asyncio.Task[None]] = {}
        self._begun: deque[tuple[float, str]] = deque()
        self._registering = asyncio.Lock()
        self._client: AcmeClient | None = None
        self._http: httpx.AsyncClient
        self._lease: Lease

    async def run(self) -> None:
        """Carry out orders as they become due, until cancelled; those that run then go on at the next start."""
        self._lease = await self._cluster.lease(LEASE_S)
        async with httpx.AsyncClient(verify=self._trust) as self._http:
            try:
                while True:
                    self._certificates.order_wanted.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(await self._begin_due()):
                            await self._certificates.order_wanted.wait()
            finally:
                for task in self._running.values():
                    task.cancel()
                await asyncio.gather(*self._running.values(), return_exceptions=True)
                self._client = None
                await self._lease.revoke()

    async def _begin_due(self) -> float:
        """Begin every order that is due; returns after how many seconds to look again."""
        now_s = self._clock()
        waiting = select(CertificateOrder.domain, CertificateOrder.next_s).order_by(CertificateOrder.next_s)
        waiting = waiting.where(CertificateOrder.domain.not_in(list(self._running))).limit(RUNNING_MAX + 1)
        async with self._database.read() as session:
            rows = (await session.execute(waiting)).all()
        for domain, next_s in rows:
            if len(self._running) >= RUNNING_MAX:
                break
            if next_s > now_s:
                return min(next_s - now_s, LOOK_S)
            self._running[domain] = asyncio.create_task(self._carry_out(domain), name=f"certificate order {domain}")
        return LOOK_S

    async def _carry_out(self, domain: str) -> None:
        try:
            async with asyncio.timeout(ORDER_S):
                await self._order(domain)
        except AcmeError as error:
            await self._failed(domain, error)
        except DomainError as error:
            await self._failed(domain, AcmeError("malformed", f"the issued certificate is refused: {error.message}"))
        except TimeoutError:
            await self._failed(domain, AcmeError(UNREACHABLE, "the authority takes too long"))
        except Exception:
            log.exception("certificate order failed", domain=domain)
            await self._failed(domain, AcmeError("serverInternal", "an error of this server, which stands in its log"))
        finally:
            del self._running[domain]
            self._certificates.order_wanted.set()

    async def _order(self, domain: str) -> None:
        async with self._database.read() as session:
            row, owner = await session.get(CertificateOrder, domain), await session.get(Domain, domain)
        if row is None or owner is None:
            return
        client = await self._account()
        if row.order_url and row.key is not None:
            url, key = row.order_url, row.key
            order = await client.order(url)
        else:
            if not await self._may_begin(owner):
                return
            key = _new_key()
            url, order = await client.new_order(domain)
            if not await self._note_begun(domain, url, key):
                return
        seen, pause = "", _Pause()
        while order.status != "valid":
            match order.status:
                case "pending":
                    await self._prove(client, owner, row.challenge, order)
                case "ready":
                    await client.finalize(order, _signing_request(domain, key))
                case "processing":
                    pass
                case _:
                    raise (order.error or Problem("malformed", "the authority gave the order up")).error()
            if order.status == seen:
                await pause.wait(order.retry_after_s)
            seen, order = order.status, await client.order(url)
        chain = await client.certificate(order)
        pair = await asyncio.to_thread(certificate_rules.read_pair, chain, key, self._clock())
        certificate_rules.check_covers(pair.names, domain)
        if await self._certificates.store_issued(domain, url, pair):
            ends = format_time(pair.not_after_s)
            log.info("certificate issued", domain=domain, account=owner.account, order=url, ends=ends)

    async def _prove(self, client: AcmeClient, domain: Domain, kind: str, order: Order) -> None:
        """Answer the challenges of a pending order. Raises AcmeError with the authority's reason if that fails."""
        for url in order.authorizations:
            authorization = await client.authorization(url)
            if authorization.status == "valid":
                continue
            challenge = next((one for one in authorization.challenges if one.type == kind), None)
            if challenge is None:
                raise AcmeError("unsupported", f"the authority does not offer {kind} for {domain.name}")
            async with self._shown(client, domain, challenge):
                if authorization.status == "pending" and challenge.status == "pending":
                    await asyncio.sleep(self._settings.settle_s)
                    await client.answer(challenge)
                pause = _Pause()
                while authorization.status == "pending":
                    await pause.wait(authorization.retry_after_s)
                    authorization = await client.authorization(url)
            if authorization.status != "valid":
                raise _reason(authorization)

    @contextlib.asynccontextmanager
    async def _shown(self, client: AcmeClient, domain: Domain, challenge: Challenge) -> AsyncIterator[None]:
        """The answer to a challenge, where web and DNS find it."""
        answer = client.key_authorization(challenge)
        if challenge.type == "dns-01":
            key, value = dns_txt_key(f"_acme-challenge.{domain.cname}"), msgspec.json.encode([dns_value(answer)])
        else:
            key, value = http_challenge_key(domain.name, challenge.token), answer.encode()
        await self._cluster.put(key, value, lease=self._lease)
        try:
            yield
        finally:
            await self._cluster.delete(key)

    async def _account(self) -> AcmeClient:
        """Our account at the authority; made at first use."""
        settings = self._settings
        async with self._registering:
            if self._client is not None:
                return self._client
            async with self._database.read() as session:
                row = await session.get(AcmeAccount, (settings.directory, settings.email))
            pem = row.key if row is not None else _new_key()
            key = serialization.load_pem_private_key(pem.encode(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            client = AcmeClient(settings.directory, key, self._http, row.url if row is not None else "")
            if row is None:
                url = await client.register(settings.email, settings.eab_key_id, settings.eab_hmac_key)
                async with self._database.write() as session:
                    session.add(AcmeAccount(directory=settings.directory, email=settings.email, key=pem, url=url))
                log.info("account at the certificate authority made", directory=settings.directory, account_url=url)
            self._client = client
            return client

    async def _forget_account(self) -> None:
        """The authority does not know us any more; the next order makes a new account."""
        self._client = None
        async with self._database.write() as session:
            await session.execute(delete(AcmeAccount).where(AcmeAccount.directory == self._settings.directory))

    async def _may_begin(self, domain: Domain) -> bool:
        """Whether the bounds allow one more order now; if not, it is put off. One account gets at most half of them."""
        now_s = self._clock()
        while self._begun and self._begun[0][0] <= now_s - HOUR_S:
            self._begun.popleft()
        noted = select(func.count()).select_from(CertificateOrder).where(CertificateOrder.begun_s > now_s - HOUR_S)
        async with self._database.read() as session:  # what a process before this one has begun counts, too
            before = await session.scalar(noted) or 0
        own = sum(account == domain.account for _, account in self._begun)
        most = self._settings.orders_per_hour
        if max(before, len(self._begun)) < most and own < max(1, most // 2):
            self._begun.append((now_s, domain.account))
            return True
        async with self._database.write() as session:
            order = await session.get(CertificateOrder, domain.name)
            if order is not None:
                order.next_s = now_s + self._settings.retry_s
        log.warning("certificate order put off", domain=domain.name, account=domain.account, reason="acme.orders_per_hour")
        return False

    async def _note_begun(self, domain: str, url: str, key: str) -> bool:
        """Note the order down before anything else happens to it; False if nobody wants it any more."""
        async with self._database.write() as session:
            order = await session.get(CertificateOrder, domain)
            if order is None:
                return False
            order.order_url, order.key, order.begun_s = url, key, self._clock()
        log.info("certificate ordered", domain=domain, challenge=order.challenge, order=url)
        return True

    async def _failed(self, domain: str, error: AcmeError) -> None:
        """Note a failure down, and when to try again. An order that the authority may still know is gone on with."""
        if error.type == "accountDoesNotExist":
            await self._forget_account()
        now_s = self._clock()
        async with self._database.write() as session:
            order, owner = await session.get(CertificateOrder, domain), await session.get(Domain, domain)
            if order is None or owner is None:
                return
            wait_s = min(self._settings.retry_s * 4.0 ** min(order.failures, 20), DAY_S)
            order.failures += 1
            order.error = explain(error, domain, owner.cname, order.challenge)
            order.next_s = now_s + max(wait_s, error.retry_after_s)
            if error.type != UNREACHABLE:
                order.order_url, order.key = "", None
            failures, next_s = order.failures, order.next_s
        log.warning(
            "certificate not issued",
            domain=domain,
            type=error.type,
            detail=error.detail,
            failures=failures,
            again_in_s=round(next_s - now_s),
        )


def trust(settings: Acme) -> ssl.SSLContext:
    """How the authority's own HTTPS is checked: by the system's roots, or by those of acme.ca_file. Raises SettingsError."""
    if settings.directory and not settings.directory.startswith("https://"):
        raise SettingsError(f"acme.directory: expected a URL that begins with https://, got `{settings.directory}`")
    if bool(settings.eab_key_id) != bool(settings.eab_hmac_key):
        raise SettingsError("acme.eab_key_id and acme.eab_hmac_key must be set both or neither")
    try:
        return ssl.create_default_context(cafile=settings.ca_file or None)
    except OSError as error:
        raise SettingsError(f"acme.ca_file: cannot read roots from {settings.ca_file}: {error}") from error


def explain(error: AcmeError, domain: str, cname: str, challenge: str) -> str:
    """What went wrong and what to do, for the domain's owner."""
    if challenge == "dns-01":
        check = f"Check that _acme-challenge.{domain} is a CNAME record to _acme-challenge.{cname}."
    else:
        check = f"Check that {domain} is a CNAME record to {cname}, and that port 80 of it leads to this server."
    match error.type:
        case "connection" | "tls":
            return f"The authority could not connect to {domain}: {error.detail}. {check}"
        case "dns":
            return f"The authority could not look up {domain}: {error.detail}. {check}"
        case "unauthorized" | "incorrectResponse":
            return f"The authority did not find our answer to its challenge: {error.detail}. {check}"
        case "caa":
            return f"A CAA record of {domain} or above it does not allow this authority: {error.detail}. Add it there."
        case "rateLimited":
            return f"The authority asks to wait: {error.detail}."
        case "rejectedIdentifier":
            return f"The authority gives no certificates for {domain}: {error.detail}."
        case "externalAccountRequired" | "userActionRequired" | "accountDoesNotExist":
            return f"The operator of this server must look after its account at the authority: {error.detail}."
        case "unreachable":
            return "The authority cannot be reached now. The order goes on by itself."
        case _:
            return f"The authority answered: {error.detail}."


class _Pause:
    """Waits between two looks: longer each time, and as long as the authority asks."""

    def __init__(self) -> None:
        self._next_s = PAUSE_S

    async def wait(self, retry_after_s: float) -> None:
        await asyncio.sleep(max(self._next_s, retry_after_s))
        self._next_s = min(self._next_s * 2, PAUSE_MAX_S)


def _reason(authorization: Authorization) -> AcmeError:
    for challenge in authorization.challenges:
        if challenge.error is not None:
            return challenge.error.error()
    return AcmeError("unauthorized", f"the authorization is {authorization.status}")


def _new_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _signing_request(domain: str, key_pem: str) -> bytes:
    key = serialization.load_pem_private_key(key_pem.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    # RFC 5280 ends a common name at 64 characters; clients look at the alternative names
    name = [x509.NameAttribute(NameOID.COMMON_NAME, domain)] if len(domain) <= 64 else []
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(name))
    request = request.add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
    return request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
