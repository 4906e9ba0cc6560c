"""Certificates of domains: kept, bound, replaced, listed, published, and warned of before they end."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from structlog.testing import capture_logs

from headwater.access.certificate import CERTIFICATE_PREFIX, DomainCertificate, decode_certificate
from headwater.domains import certificate_rules
from headwater.domains.errors import DomainError
from headwater.settings import Acme, Settings
from headwater.store.database import Database
from headwater.store.models import AuditEntry, CertificateOrder
from support.certificates import Authority, Issued
from support.databases import prepared
from support.domain_world import ACTOR, PLAY, PUSH, REGION, SETTINGS, World

DAY_S = 86400.0
ACME = Settings(domains=SETTINGS.domains, acme=Acme(directory="https://acme.test/dir", agree_terms=True))


@pytest.fixture
async def acme_world(tmp_path: Path) -> Any:
    """A world whose operator has named an ACME authority."""
    folder = tmp_path / "acme"
    folder.mkdir()
    database = await Database.open(prepared(folder))
    world = World(database, ACME)
    world.account = (await world.accounts.create("owner", actor=ACTOR)).account_id
    await world.pair()
    yield world
    await world.cluster.close()
    await database.close()


@pytest.fixture
async def owner(world: World) -> World:
    await world.pair()
    return world


@pytest.fixture
def authority(world: World) -> Authority:
    return Authority(datetime.datetime.fromtimestamp(world.now_s, datetime.UTC))


async def upload(world: World, issued: Issued, domain: str = PLAY, **options: Any) -> None:
    chain, key = issued.chain_pem, issued.key_pem
    await world.certificates.upload(world.account, domain, chain, key, actor=ACTOR, **options)


async def published(world: World) -> dict[str, DomainCertificate]:
    entries = await world.cluster.list(CERTIFICATE_PREFIX)
    return {entry.key.removeprefix(CERTIFICATE_PREFIX): decode_certificate(entry.value) for entry in entries}


async def refused(work: Any) -> str:
    with pytest.raises(DomainError) as error:
        await work
    return error.value.code


async def test_a_new_domain_has_no_https_of_its_own(owner: World) -> None:
    https = await owner.certificates.https(owner.account, PLAY)
    assert (https.enabled, https.type, https.certificate, https.issuance) == (False, None, None, None)
    assert await published(owner) == {}


async def test_an_uploaded_certificate_reaches_the_nodes_and_the_lists(owner: World, authority: Authority) -> None:
    issued = authority.issue(PLAY)
    await upload(owner, issued, name="mine")
    assert await published(owner) == {PLAY: DomainCertificate(chain=issued.chain_pem, key=issued.key_pem)}
    https = await owner.certificates.https(owner.account, PLAY)
    assert (https.enabled, https.type, https.state) == (True, "upload", "ok")
    assert https.certificate is not None
    assert https.certificate == (await owner.certificates.certificates(owner.account))[0]
    assert https.certificate == await owner.certificates.certificate(owner.account, "mine")
    assert https.certificate.domains == (PLAY,)
    page = await owner.certificates.https_domains(owner.account)
    assert ([item.domain for item in page.items], page.total) == ([PLAY], 1)


async def test_without_a_name_the_same_certificate_is_kept_once(owner: World, authority: Authority) -> None:
    issued = authority.issue("*.example.com")
    for _ in range(2):
        await upload(owner, issued)
    kept = await owner.certificates.certificates(owner.account)
    assert [certificate.name for certificate in kept] == [f"{PLAY}-{kept[0].fingerprint[:8]}"]


async def test_another_certificate_of_that_name_needs_force(owner: World, authority: Authority) -> None:
    old, new = authority.issue("*.example.com"), authority.issue("*.example.com")
    await upload(owner, old, name="star")
    await owner.certificates.use(owner.account, PUSH, "star", actor=ACTOR)
    assert await refused(upload(owner, new, name="star")) == "Certificate.Duplicated"
    assert (await published(owner))[PLAY].chain == old.chain_pem
    (before,) = await owner.certificates.certificates(owner.account)
    await upload(owner, new, name="star", force=True)
    assert {entry.chain for entry in (await published(owner)).values()} == {new.chain_pem}
    (after,) = await owner.certificates.certificates(owner.account)
    assert (after.id, after.domains) == (before.id, (PLAY, PUSH))
    narrow = authority.issue(PLAY)
    assert await refused(upload(owner, narrow, name="star", force=True)) == "InvalidSSLPub.DomainMismatch"


async def test_a_dry_run_says_the_same_and_does_nothing(owner: World, authority: Authority) -> None:
    good, foreign = authority.issue(PLAY), authority.issue("other.example.com")
    await upload(owner, good, dry_run=True)
    assert await refused(upload(owner, foreign, dry_run=True)) == "InvalidSSLPub.DomainMismatch"
    await owner.certificates.switch_off(owner.account, PLAY, dry_run=True, actor=ACTOR)
    assert await refused(owner.certificates.use(owner.account, PLAY, "x", dry_run=True, actor=ACTOR)) == "Certificate.NotFound"
    assert await owner.certificates.certificates(owner.account) == []
    assert (await owner.certificates.https(owner.account, PLAY)).type is None


async def test_what_is_refused_leaves_nothing_behind(owner: World, authority: Authority) -> None:
    foreign = authority.issue("other.example.com")
    assert await refused(upload(owner, foreign)) == "InvalidSSLPub.DomainMismatch"
    assert await refused(upload(owner, foreign, "absent.example.com")) == "InvalidDomain.NotFound"
    assert await refused(upload(owner, foreign, name="a/b")) == "InvalidCertName.Malformed"
    assert await owner.certificates.certificates(owner.account) == []
    assert await published(owner) == {}


async def test_switched_off_tls_is_refused_and_the_certificate_kept(owner: World, authority: Authority) -> None:
    await upload(owner, authority.issue(PLAY), name="mine")
    await owner.certificates.switch_off(owner.account, PLAY, actor=ACTOR)
    assert await published(owner) == {PLAY: DomainCertificate(enabled=False)}
    https = await owner.certificates.https(owner.account, PLAY)
    assert (https.enabled, https.certificate is not None) == (False, True)
    assert (await owner.certificates.https_domains(owner.account)).total == 0
    await owner.certificates.use(owner.account, PLAY, "mine", actor=ACTOR)
    assert (await published(owner))[PLAY].enabled


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"protocol": "maybe"}, "InvalidSSLProtocol.ValueNotSupported"),
        ({"protocol": "ON"}, "InvalidSSLProtocol.ValueNotSupported"),
        ({"protocol": "on", "type_": "bought"}, "InvalidCertType.ValueNotSupported"),
        ({"protocol": "on"}, "SSLPub.MissingParameter"),
        ({"protocol": "on", "type_": "upload", "key": "x"}, "SSLPub.MissingParameter"),
        ({"protocol": "on", "chain": "x"}, "SSLPri.MissingParameter"),
        ({"protocol": "on", "chain": "x", "key": "y"}, "InvalidSSLPri.Malformed"),
        ({"protocol": "on", "type_": "cas"}, "InvalidCertName.Malformed"),
        ({"protocol": "on", "type_": "cas", "name": "absent"}, "Certificate.NotFound"),
        ({"protocol": "on", "type_": "free"}, "FreeCertificate.NotAvailable"),
    ],
)
async def test_what_the_operation_refuses(owner: World, options: dict[str, Any], code: str) -> None:
    assert await refused(owner.certificates.set(owner.account, PLAY, actor=ACTOR, **options)) == code
    assert (await owner.certificates.https(owner.account, PLAY)).type is None


async def test_nobody_sees_or_uses_what_is_anothers(owner: World, authority: Authority) -> None:
    await upload(owner, authority.issue("*.example.com"), name="mine")
    theirs = owner.stranger
    service = owner.certificates
    assert await service.certificates(theirs) == []
    assert (await service.https_domains(theirs)).total == 0
    assert await service.expiring(theirs, 1e9) == []
    assert await refused(service.certificate(theirs, "mine")) == "Certificate.NotFound"
    assert await refused(service.delete(theirs, "mine", actor=ACTOR)) == "Certificate.NotFound"
    for work in (
        service.https(theirs, PLAY),
        service.switch_off(theirs, PLAY, actor=ACTOR),
        service.certificates(theirs, PLAY),
    ):
        assert await refused(work) == "InvalidDomain.NotFound"
    await owner.domains.add(theirs, "play.example.org", "liveVideo", REGION, actor=ACTOR)
    assert await refused(service.use(theirs, "play.example.org", "mine", actor=ACTOR)) == "Certificate.NotFound"


async def test_an_ended_certificate_is_not_used_again(owner: World, authority: Authority) -> None:
    await upload(owner, authority.issue(PLAY, days=10), name="mine")
    owner.now_s += 11 * DAY_S
    assert (await owner.certificates.https(owner.account, PLAY)).state == "expired"
    assert await refused(owner.certificates.use(owner.account, PLAY, "mine", actor=ACTOR)) == "InvalidSSLPub.Expired"


async def test_a_certificate_in_use_cannot_be_deleted(owner: World, authority: Authority) -> None:
    await upload(owner, authority.issue(PLAY), name="old")
    assert await refused(owner.certificates.delete(owner.account, "old", actor=ACTOR)) == "Certificate.InUse"
    await upload(owner, authority.issue(PLAY), name="new")
    await owner.certificates.delete(owner.account, "old", actor=ACTOR)
    assert [kept.name for kept in await owner.certificates.certificates(owner.account)] == ["new"]


async def test_lists_are_filtered_by_what_a_certificate_is_good_for(owner: World, authority: Authority) -> None:
    for name, names in (("star", ("*.example.com",)), ("play", (PLAY,)), ("push", (PUSH,))):
        await upload(owner, authority.issue(*names), PUSH if name == "push" else PLAY, name=name)
    good = await owner.certificates.certificates(owner.account, PLAY)
    assert [kept.name for kept in good] == ["play", "star"]
    match = await owner.certificates.match(owner.account, authority.issue("*.example.com", "x_y.test").pem)
    assert match.domains == [PLAY, PUSH]
    await owner.certificates.switch_off(owner.account, PUSH, actor=ACTOR)
    star = authority.issue("*.example.com").pem
    assert (await owner.certificates.match(owner.account, star, enabled=True)).domains == [PLAY]
    assert (await owner.certificates.match(owner.account, star, enabled=False)).domains == [PUSH]
    assert (await owner.certificates.match(owner.account, authority.issue("a.test").pem)).domains == []
    assert [item.domain for item in (await owner.certificates.https_domains(owner.account, keyword="PLA")).items] == [PLAY]
    assert (await owner.certificates.https_domains(owner.account, keyword="%")).total == 0


async def test_a_deleted_domain_takes_its_certificate_from_the_nodes(owner: World, authority: Authority) -> None:
    await upload(owner, authority.issue(PLAY), name="mine")
    await owner.domains.delete(owner.account, PLAY, actor=ACTOR)
    assert await published(owner) == {}
    (kept,) = await owner.certificates.certificates(owner.account)
    assert kept.domains == ()


async def test_a_start_publishes_what_the_database_has(owner: World, authority: Authority) -> None:
    await upload(owner, authority.issue(PLAY))
    before = await published(owner)
    await owner.cluster.delete(CERTIFICATE_PREFIX + PLAY)
    await owner.cluster.put(CERTIFICATE_PREFIX + "stale.example.com", b"{}")
    await owner.domains.publish_all()
    assert await published(owner) == before


async def test_each_change_stands_in_the_audit_log_without_the_key(owner: World, authority: Authority) -> None:
    issued = authority.issue(PLAY)
    await upload(owner, issued, name="mine")
    await owner.certificates.switch_off(owner.account, PLAY, actor=ACTOR)
    async with owner.database.read() as session:
        rows = (await session.scalars(select(AuditEntry).where(AuditEntry.action == "SetLiveDomainCertificate"))).all()
    assert [row.object for row in rows] == [PLAY, PLAY]
    assert '"mine"' in rows[0].after
    assert '"enabled":false' in rows[1].after
    assert not any("PRIVATE KEY" in row.before + row.after for row in rows)


async def test_the_key_lies_encrypted_in_the_database(owner: World, authority: Authority) -> None:
    await upload(owner, authority.issue(PLAY))
    async with owner.database.read() as session:
        stored = (await session.execute(text("SELECT key FROM certificates"))).scalar_one()
    assert isinstance(stored, bytes)
    assert b"PRIVATE KEY" not in stored


async def test_each_threshold_warns_once_and_a_new_certificate_starts_over(owner: World, authority: Authority) -> None:
    await upload(owner, authority.issue(PLAY, days=40), name="mine")
    seen = []
    for day in (5, 11, 12, 34, 35, 39.5, 41):
        owner.now_s = authority.now.timestamp() + day * DAY_S
        with capture_logs() as logs:
            await owner.certificates.warn()
        seen += [(day, log["certificate"], log["domains"], log["days_left"]) for log in logs]
    assert seen == [(11, "mine", [PLAY], 29.0), (34, "mine", [PLAY], 6.0), (39.5, "mine", [PLAY], 0.5)]
    assert [item.domain for item in await owner.certificates.expiring()] == [PLAY]
    fresh = Authority(datetime.datetime.fromtimestamp(owner.now_s, datetime.UTC)).issue(PLAY, days=29)
    await upload(owner, fresh, name="mine", force=True)
    with capture_logs() as logs:
        await owner.certificates.warn()
    assert [log["event"] for log in logs] == ["certificate ends soon"]


async def test_a_certificate_that_no_domain_uses_warns_nobody(owner: World, authority: Authority) -> None:
    await upload(owner, authority.issue(PLAY, days=5))
    await owner.certificates.switch_off(owner.account, PLAY, actor=ACTOR)
    with capture_logs() as logs:
        await owner.certificates.warn()
    assert logs == []
    assert await owner.certificates.expiring() == []


async def test_metrics_count_certificates_by_state(owner: World, authority: Authority) -> None:
    await upload(owner, authority.issue(PLAY, days=90))
    await upload(owner, authority.issue(PUSH, days=5), PUSH)
    families = {family.name: family for family in await owner.certificates.families()}
    states = {sample.labels["state"]: sample.value for sample in families["headwater_certificates"].samples}
    assert states == {"ok": 1, "expire_soon": 1, "expired": 0}
    (end,) = families["headwater_certificate_next_end_seconds"].samples
    assert end.value == authority.now.timestamp() + 5 * DAY_S


# Free ones; the authority itself is in test_issuance.py


async def issued_pair(world: World, names: str = PLAY, days: float = 90) -> certificate_rules.KeyPair:
    made = Authority(datetime.datetime.fromtimestamp(world.now_s, datetime.UTC)).issue(names, days=days)
    return certificate_rules.read_pair(made.chain_pem, made.key_pem, world.now_s)


async def order_of(world: World) -> CertificateOrder | None:
    async with world.database.read() as session:
        return await session.get(CertificateOrder, PLAY)


async def begin(world: World, order_url: str = "https://acme.test/order/1") -> None:
    """What the issuer writes when it has made an order."""
    async with world.database.write() as session:
        order = await session.get_one(CertificateOrder, PLAY)
        order.order_url, order.begun_s = order_url, world.now_s


async def issue(world: World, **options: Any) -> None:
    await world.certificates.issue(world.account, PLAY, actor=ACTOR, **options)


async def test_a_free_certificate_is_ordered_and_the_old_one_goes_on_until_it_is_there(acme_world: World) -> None:
    world = acme_world
    old = Authority(datetime.datetime.fromtimestamp(world.now_s, datetime.UTC)).issue(PLAY)
    await upload(world, old)
    await issue(world)
    assert world.certificates.order_wanted.is_set()
    https = await world.certificates.https(world.account, PLAY)
    assert (https.enabled, https.type) == (True, "free")
    assert https.issuance is not None
    assert (https.issuance.status, https.issuance.challenge, https.issuance.delegation) == ("waiting", "http-01", None)
    assert (await published(world))[PLAY].chain == old.chain_pem
    await begin(world)
    pair = await issued_pair(world)
    assert await world.certificates.store_issued(PLAY, "https://acme.test/order/1", pair)
    https = await world.certificates.https(world.account, PLAY)
    assert https.issuance is not None
    assert https.certificate is not None
    assert (https.issuance.status, https.certificate.name, https.certificate.source) == ("issued", f"free:{PLAY}", "free")
    assert https.issuance.next_s == pair.not_before_s + (pair.not_after_s - pair.not_before_s) * 2 / 3
    assert (await published(world))[PLAY].chain == pair.chain


async def test_for_dns_the_owner_is_told_the_record(acme_world: World) -> None:
    await issue(acme_world, challenge="dns-01")
    https = await acme_world.certificates.https(acme_world.account, PLAY)
    assert https.issuance is not None
    assert https.issuance.delegation == (f"_acme-challenge.{PLAY}", f"_acme-challenge.{PLAY}.w.headwater.internal")
    assert await refused(issue(acme_world, challenge="tls-alpn-01")) == "FreeCertificate.NotAvailable"


@pytest.mark.parametrize("change", ["off", "upload", "delete the domain"])
async def test_who_changes_his_mind_gets_no_free_certificate(acme_world: World, change: str) -> None:
    world = acme_world
    await issue(world)
    await begin(world)
    match change:
        case "off":
            await world.certificates.switch_off(world.account, PLAY, actor=ACTOR)
        case "upload":
            await upload(world, Authority(datetime.datetime.fromtimestamp(world.now_s, datetime.UTC)).issue(PLAY))
        case _:
            await world.domains.delete(world.account, PLAY, actor=ACTOR)
    assert await order_of(world) is None
    assert not await world.certificates.store_issued(PLAY, "https://acme.test/order/1", await issued_pair(world))
    assert all(kept.source == "upload" for kept in await world.certificates.certificates(world.account))


async def test_a_free_certificate_that_is_still_good_is_used_again(acme_world: World) -> None:
    world = acme_world
    await issue(world)
    await begin(world)
    pair = await issued_pair(world)
    await world.certificates.store_issued(PLAY, "https://acme.test/order/1", pair)
    await world.certificates.switch_off(world.account, PLAY, actor=ACTOR)
    await issue(world)
    order = await order_of(world)
    assert order is not None
    assert order.next_s > world.now_s + 50 * DAY_S
    assert (await published(world))[PLAY].chain == pair.chain


@pytest.mark.parametrize("change", ["upload", "delete the domain"])
async def test_a_free_certificate_that_nobody_has_is_forgotten(acme_world: World, change: str) -> None:
    world = acme_world
    await issue(world)
    await begin(world)
    await world.certificates.store_issued(PLAY, "https://acme.test/order/1", await issued_pair(world))
    if change == "upload":
        await upload(world, Authority(datetime.datetime.fromtimestamp(world.now_s, datetime.UTC)).issue(PLAY))
    else:
        await world.domains.delete(world.account, PLAY, actor=ACTOR)
    assert [kept.source for kept in await world.certificates.certificates(world.account)] == ["upload"] * (change == "upload")


async def test_asking_again_hurries_a_failed_order_but_not_beyond_the_bound(acme_world: World) -> None:
    world = acme_world
    await issue(world)
    async with world.database.write() as session:
        order = await session.get_one(CertificateOrder, PLAY)
        order.failures, order.error, order.begun_s, order.next_s = 4, "no CNAME", world.now_s, world.now_s + DAY_S
    https = await world.certificates.https(world.account, PLAY)
    assert https.issuance is not None
    assert (https.issuance.status, https.issuance.error, https.issuance.failures) == ("failed", "no CNAME", 4)
    await issue(world)
    order_now = await order_of(world)
    assert order_now is not None
    assert order_now.next_s == world.now_s + ACME.acme.retry_by_hand_s


async def test_a_free_certificate_warns_only_when_its_renewal_must_have_failed(acme_world: World) -> None:
    world = acme_world
    await issue(world)
    await begin(world)
    pair = await issued_pair(world, days=89)
    await world.certificates.store_issued(PLAY, "https://acme.test/order/1", pair)
    seen = []
    for days_left in (30, 29, 8, 7, 6):
        world.now_s = pair.not_after_s - days_left * DAY_S
        with capture_logs() as logs:
            await world.certificates.warn()
        seen += [days_left for log in logs if log["event"] == "certificate ends soon"]
    assert seen == [7]
