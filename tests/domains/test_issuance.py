"""Free certificates against a real ACME server: ordered, proved by DNS, gone on with after a restart, tried again, bounded.

HTTP-01 and renewals are in tests/system/test_free_certificates.py, with the whole program.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from structlog.testing import capture_logs

from headwater.access.certificate import DNS_TXT_PREFIX, dns_txt_key
from headwater.cluster.embedded import EmbeddedCluster
from headwater.domains import issuance
from headwater.domains.acme import AcmeError
from headwater.domains.certificates import HttpsRecord
from headwater.domains.issuance import Issuer
from headwater.settings import Acme, Settings, SettingsError
from headwater.store.database import Database
from headwater.store.models import AcmeAccount, CertificateOrder
from support.databases import prepared
from support.domain_world import ACTOR, PLAY, REGION, SETTINGS, World
from support.pebble import EAB_KEY, EAB_KEY_ID, Pebble, Resolver
from support.ports import free_port

pytestmark = pytest.mark.xdist_group("pebble")


class AcmeWorld(World):
    """A world with an ACME authority, and an issuer that runs between `start` and `stop`. Time is real."""

    def __init__(self, database: Database, acme: Acme) -> None:
        super().__init__(database, Settings(domains=SETTINGS.domains, acme=acme))
        self.acme = acme
        self._task: asyncio.Task[None] | None = None

    def _clock(self) -> float:
        return time.time()

    def start(self, **changes: Any) -> None:
        settings = msgspec.structs.replace(self.acme, **changes)
        trust = issuance.trust(settings)
        issuer = Issuer(self.database, self.cluster, self.certificates, settings, trust, self._clock)
        self._task = asyncio.create_task(issuer.run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def https(self, domain: str = PLAY) -> HttpsRecord:
        return await self.certificates.https(self.account, domain)

    async def until(self, condition: Callable[[HttpsRecord], object], domain: str = PLAY, timeout_s: float = 20) -> HttpsRecord:
        """HTTPS of a domain as soon as it fulfils the condition."""
        async with asyncio.timeout(timeout_s):
            while not condition(record := await self.https(domain)):
                assert self._task is None or not self._task.done()
                await asyncio.sleep(0.02)
        return record

    async def issue(self, domain: str = PLAY, challenge: str = "dns-01") -> None:
        await self.certificates.issue(self.account, domain, challenge, actor=ACTOR)


def issued(record: HttpsRecord) -> bool:
    return record.certificate is not None


def failed(record: HttpsRecord) -> bool:
    return record.issuance is not None and record.issuance.status == "failed"


@pytest.fixture(scope="module")
def resolver() -> Iterator[Resolver]:
    with Resolver() as resolver:
        yield resolver


@pytest.fixture(scope="module")
def pebble(resolver: Resolver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with Pebble(tmp_path_factory.mktemp("pebble"), resolver) as pebble:
        yield pebble


async def make_world(folder: Path, resolver: Resolver, acme: Acme) -> AcmeWorld:
    world = AcmeWorld(await Database.open(prepared(folder)), acme)
    world.account = (await world.accounts.create("owner", actor=ACTOR)).account_id
    await world.domains.add(world.account, PLAY, "liveVideo", REGION, actor=ACTOR)
    resolver.cnames = {f"_acme-challenge.{PLAY}": f"_acme-challenge.{PLAY}.w.headwater.internal"}
    resolver.absent = set()
    resolver.texts = lambda name: texts(world.cluster, name)
    return world


def texts(cluster: EmbeddedCluster, name: str) -> list[str]:
    """What the DNS of the operator's zone answers; it runs in a thread of its own."""
    entry = cluster._entries.get(dns_txt_key(name))
    return [] if entry is None else msgspec.json.decode(entry.value, type=list[str])


def settings(pebble: Pebble, **changes: Any) -> Acme:
    usual = {"directory": pebble.directory, "agree_terms": True, "ca_file": str(pebble.ca_file)}
    return Acme(**{**usual, "settle_s": 0.0, "retry_s": 0.2, "email": "operator@example.com", **changes})


@pytest.fixture
async def world(tmp_path: Path, pebble: Pebble, resolver: Resolver) -> AsyncIterator[AcmeWorld]:
    world = await make_world(tmp_path, resolver, settings(pebble))
    yield world
    await world.stop()
    await world.cluster.close()
    await world.database.close()


async def test_a_certificate_is_proved_by_dns_and_leaves_no_challenge_behind(world: AcmeWorld, pebble: Pebble) -> None:
    world.start()
    await world.issue()
    record = await world.until(issued)
    assert record.certificate is not None
    assert record.issuance is not None
    assert (record.certificate.names, record.certificate.source, record.issuance.status) == ((PLAY,), "free", "issued")
    own, above = x509.load_pem_x509_certificates(record.certificate.chain.encode())
    own.verify_directly_issued_by(above)
    above.verify_directly_issued_by(pebble.root)
    assert await world.cluster.list(DNS_TXT_PREFIX) == []
    assert record.issuance.next_s > time.time() + 59 * 86400


async def test_an_order_in_the_middle_goes_on_after_a_restart(world: AcmeWorld) -> None:
    await world.issue()
    with capture_logs() as logs:
        world.start(settle_s=1000.0)
        await world.until(lambda record: record.issuance and record.issuance.status == "applying")
        async with asyncio.timeout(10):
            while not await world.cluster.list(DNS_TXT_PREFIX):
                await asyncio.sleep(0.02)
        await world.stop()
        assert await world.cluster.list(DNS_TXT_PREFIX) == []
        world.start()
        await world.until(issued)
    orders = [(log["event"], log["order"]) for log in logs if "order" in log]
    assert [event for event, _ in orders] == ["certificate ordered", "certificate issued"]
    assert len({order for _, order in orders}) == 1


async def test_what_failed_is_told_in_words_and_tried_again_until_it_is_repaired(world: AcmeWorld, resolver: Resolver) -> None:
    aliases, resolver.cnames = resolver.cnames, {}
    world.start()
    await world.issue()
    record = await world.until(lambda record: record.issuance and record.issuance.failures == 2)
    assert record.issuance is not None
    assert record.certificate is None
    assert "_acme-challenge.play.example.com is a CNAME record to _acme-challenge.play.example.com.w." in record.issuance.error
    resolver.cnames = aliases
    record = await world.until(issued)
    assert record.issuance is not None
    assert (record.issuance.failures, record.issuance.error) == (0, "")


async def test_waits_grow_after_each_failure(world: AcmeWorld, resolver: Resolver) -> None:
    resolver.absent = {f"_acme-challenge.{PLAY}"}
    world.start(retry_s=50.0)
    await world.issue()
    record = await world.until(failed)
    assert record.issuance is not None
    assert 45 < record.issuance.next_s - time.time() <= 50
    async with world.database.write() as session:
        order = await session.get_one(CertificateOrder, PLAY)
        order.failures, order.next_s = 4, 0.0
    world.certificates.order_wanted.set()
    record = await world.until(lambda record: record.issuance and record.issuance.failures == 5)
    assert record.issuance is not None
    assert record.issuance.next_s - time.time() > 12_000


async def test_orders_of_an_hour_are_bounded(world: AcmeWorld) -> None:
    world.start(orders_per_hour=2, retry_s=100.0)
    await world.issue()
    await world.until(issued)
    second = f"second.{PLAY}"
    await world.domains.add(world.account, second, "liveVideo", REGION, actor=ACTOR)
    with capture_logs() as logs:
        await world.issue(second)
        record = await world.until(lambda record: record.issuance and record.issuance.next_s > time.time() + 50, second)
    assert record.issuance is not None
    assert (record.issuance.status, record.issuance.failures) == ("waiting", 0)
    assert [log["event"] for log in logs] == ["certificate order put off"]


async def test_an_authority_that_is_away_is_waited_for(world: AcmeWorld) -> None:
    world.start(directory=f"https://localhost:{free_port()}/dir")
    await world.issue()
    record = await world.until(failed)
    assert record.issuance is not None
    assert record.issuance.error == "The authority cannot be reached now. The order goes on by itself."
    await world.stop()
    world.start()
    await world.until(issued)


async def test_an_authority_that_forgot_us_gets_a_new_account(world: AcmeWorld, pebble: Pebble) -> None:
    world.start()
    await world.issue()
    await world.until(issued)
    await world.stop()
    async with world.database.write() as session:
        (await session.get_one(AcmeAccount, (pebble.directory, "operator@example.com"))).url += "-gone"
        (await session.get_one(CertificateOrder, PLAY)).next_s = 0.0
    before = (await world.https()).updated_s
    with capture_logs() as logs:
        world.start()
        await world.until(lambda record: record.updated_s > before)
    assert [log["type"] for log in logs if log["event"] == "certificate not issued"] == ["accountDoesNotExist"]


async def test_an_authority_that_knows_its_customers(resolver: Resolver, tmp_path: Path) -> None:
    with Pebble(tmp_path, resolver, eab=True) as pebble:
        world = await make_world(tmp_path, resolver, settings(pebble))
        try:
            world.start()
            await world.issue()
            record = await world.until(failed)
            assert record.issuance is not None
            assert "operator" in record.issuance.error
            assert "acme.eab_key_id" in record.issuance.error
            await world.stop()
            world.start(eab_key_id=EAB_KEY_ID, eab_hmac_key=EAB_KEY)
            await world.until(issued)
        finally:
            await world.stop()
            await world.cluster.close()
            await world.database.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"directory": "http://authority.test/dir"}, "acme.directory"),
        ({"ca_file": "/absent/roots.pem"}, "acme.ca_file"),
        ({"eab_key_id": "x"}, "acme.eab_key_id"),
    ],
)
def test_settings_that_cannot_work_are_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        issuance.trust(Acme(**changes))


@pytest.mark.parametrize(
    ("type_", "words"),
    [
        ("connection", "port 80"),
        ("dns", "could not look up"),
        ("unauthorized", "did not find our answer"),
        ("caa", "CAA record"),
        ("rateLimited", "asks to wait"),
        ("rejectedIdentifier", "gives no certificates"),
        ("userActionRequired", "operator"),
        ("strange", "The authority answered: because."),
    ],
)
def test_each_problem_has_words_for_the_owner(type_: str, words: str) -> None:
    told = issuance.explain(AcmeError(f"urn:ietf:params:acme:error:{type_}", "because"), PLAY, "cname.test", "http-01")
    assert words in told
    assert "because" in told


def test_what_the_authority_says_is_cleaned() -> None:
    assert AcmeError("dns", "a\x1b[31m\nb" + "c" * 1000).detail == "a [31m b" + "c" * 492
