"""Signing in: sessions that hold and end, forms that nobody can forge, and guesses that are slow."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from headwater.domains import limiter, passwords, users
from headwater.settings import Console, Settings
from headwater.store.database import Database
from headwater.store.models import ConsoleSession, ConsoleUser
from support.console_site import PASSWORD, Site, Visitor
from support.databases import prepared


def path_of(page: object) -> str:
    return str(page.response.url.path)  # type: ignore[attr-defined]


async def test_a_visitor_is_led_to_the_form_and_then_on_to_where_they_wanted(site: Site) -> None:
    visitor = Visitor(site)
    page = await visitor.get("/audit?actor=x")
    assert path_of(page) == "/sign-in"
    page = await visitor.post(
        "/sign-in",
        {"user": "op", "password": PASSWORD, "next": "/audit?actor=x"},
        page=str(page.response.url.raw_path.decode()),
    )
    assert (path_of(page), page.response.url.query) == ("/audit", b"actor=x")


@pytest.mark.parametrize(
    "where", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a b", ""]
)
async def test_sign_in_leads_nowhere_else(site: Site, where: str) -> None:
    page = await Visitor(site).post("/sign-in", {"user": "op", "password": PASSWORD, "next": where})
    assert (page.response.url.host, path_of(page)) == ("console", "/domains")


async def test_the_cookie_is_opaque_and_the_database_does_not_hold_it(site: Site, tmp_path: Path) -> None:
    visitor = Visitor(site)
    csrf = (await visitor.get("/sign-in")).csrf
    answer = await visitor.http.post(
        "/sign-in", data={"csrf": csrf, "user": "op", "password": PASSWORD}, follow_redirects=False
    )
    (header,) = [value for value in answer.headers.get_list("set-cookie") if value.startswith("headwater_session=")]
    assert "HttpOnly" in header
    assert "SameSite=lax" in header
    assert "Secure" not in header
    cookie = visitor.http.cookies["headwater_session"]
    database = await Database.open(tmp_path / "headwater.db")
    async with database.read() as session:
        ids = list(await session.scalars(select(ConsoleSession.id)))
        hashes = list(await session.scalars(select(ConsoleUser.password)))
    await database.close()
    assert ids == [hashlib.sha256(cookie.encode()).hexdigest()]
    assert all(text.startswith("scrypt$") and PASSWORD not in text for text in hashes)


async def test_over_https_cookies_stay_on_it(tmp_path: Path) -> None:
    database = await Database.open(prepared(tmp_path))
    site = Site(database, Settings(console=Console(proxies=("10.0.0.1",))))
    await site.user("op", None)
    visitor = Visitor(site, address="10.0.0.1")
    visitor.http.headers["x-forwarded-proto"] = "https"
    visitor.http.base_url = "https://console"
    csrf = (await visitor.get("/sign-in")).csrf
    answer = await visitor.http.post(
        "/sign-in", data={"csrf": csrf, "user": "op", "password": PASSWORD}, follow_redirects=False
    )
    (header,) = [
        value for value in answer.headers.get_list("set-cookie") if "headwater_session=" in value and "Max-Age=0" not in value
    ]
    assert header.startswith("__Host-headwater_session=")
    assert "Secure" in header
    assert "strict-transport-security" in answer.headers
    await site.cluster.close()
    await database.close()


async def test_signing_out_ends_the_session_on_the_server(site: Site) -> None:
    visitor = await site.visitor("op")
    stolen = dict(visitor.http.cookies)
    await visitor.post("/sign-out", page="/domains")
    thief = Visitor(site)
    thief.http.cookies.update(stolen)
    assert path_of(await thief.get("/domains")) == "/sign-in"


async def test_a_session_ends_when_it_is_not_used_and_in_any_case(site: Site) -> None:
    visitor = await site.visitor("op")
    for _ in range(int(users.SESSION_MAX_S / (users.SESSION_IDLE_S - 1))):
        site.now_s += users.SESSION_IDLE_S - 1
        assert path_of(await visitor.get("/domains")) == "/domains"
    site.now_s += users.SESSION_IDLE_S - 1
    assert path_of(await visitor.get("/domains")) == "/sign-in"
    visitor = await site.visitor("op")
    site.now_s += users.SESSION_IDLE_S + 1
    assert path_of(await visitor.get("/domains")) == "/sign-in"


async def test_who_is_locked_out_is_out_at_once(site: Site) -> None:
    await site.account("ada")
    operator, visitor = await site.visitor("op"), await site.visitor("ada")
    await operator.post("/users/ada", {"what": "disable"}, page="/users")
    assert path_of(await visitor.get("/domains")) == "/sign-in"
    assert "not right" in (await visitor.sign_in("ada")).text
    await operator.post("/users/ada", {"what": "enable"}, page="/users")
    assert path_of(await visitor.sign_in("ada")) == "/domains"


async def test_the_last_operator_stays(site: Site) -> None:
    operator = await site.visitor("op")
    page = await operator.post("/users/op", {"what": "disable"}, page="/users")
    assert "last operator" in page.text
    assert path_of(await operator.get("/users")) == "/users"


async def test_a_password_that_somebody_else_chose_must_be_changed_first(site: Site) -> None:
    operator = await site.visitor("op")
    page = await operator.post("/users", {"name": "second"})
    password = next(attrs["data-copy"] for _, attrs in page.tags if attrs.get("data-copy") not in (None, "second"))
    assert password is not None
    visitor = Visitor(site)
    assert path_of(await visitor.sign_in("second", password)) == "/password"
    assert path_of(await visitor.get("/domains")) == "/password"
    for current, new, again, why in (
        ("wrong", PASSWORD, PASSWORD, "not right"),
        (password, "short", "short", "10 to 256"),
        (password, PASSWORD, PASSWORD + "x", "repeated"),
        (password, password, password, "differ"),
    ):
        page = await visitor.post("/password", {"current": current, "new": new, "again": again})
        assert why in page.text
    page = await visitor.post("/password", {"current": password, "new": PASSWORD, "again": PASSWORD})
    assert path_of(page) == "/domains"


async def test_a_changed_password_ends_the_other_sessions(site: Site) -> None:
    here, there = await site.visitor("op"), await site.visitor("op")
    new = PASSWORD + " staple"
    await here.post("/password", {"current": PASSWORD, "new": new, "again": new})
    assert path_of(await here.get("/domains")) == "/domains"
    assert path_of(await there.get("/domains")) == "/sign-in"


async def test_the_form_does_not_say_whether_a_name_exists(site: Site) -> None:
    wrong = await Visitor(site).sign_in("op", "wrong password")
    absent = await Visitor(site).sign_in("nobody", "wrong password")
    assert wrong.status == absent.status == 403
    assert wrong.text.replace("op", "") == absent.text.replace("op", "")


async def test_guesses_for_a_name_run_out_wherever_they_come_from(site: Site) -> None:
    for number in range(limiter.USER_TRIES):
        assert (await Visitor(site, f"10.0.{number}.1").sign_in("op", "guess")).status == 403
    page = await Visitor(site, "10.9.9.9").sign_in("op")
    assert page.status == 429
    assert int(page.response.headers["retry-after"]) > 0
    site.now_s += limiter.WINDOW_S / limiter.USER_TRIES + 1
    assert path_of(await Visitor(site, "10.9.9.9").sign_in("op")) == "/domains"


async def test_guesses_from_an_address_run_out_whatever_the_name(site: Site) -> None:
    for number in range(limiter.ADDRESS_TRIES):
        assert (await Visitor(site, f"2001:db8::{number:x}").sign_in(f"user{number}", "guess")).status == 403
    assert (await Visitor(site, "2001:db8::ffff").sign_in("op")).status == 429
    assert path_of(await Visitor(site, "2001:db8:1::1").sign_in("op")) == "/domains"


def test_the_limiter_forgets_and_stays_small() -> None:
    now_s = 0.0
    tries = limiter.SignInLimiter(lambda: now_s)
    for number in range(limiter.KEYS_MAX + 10):
        tries.begin(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", f"user{number}")
    assert len(tries._levels) == limiter.KEYS_MAX


async def test_a_guess_is_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    started = time.process_time()
    stored = await passwords.hash_password(PASSWORD)
    assert stored.split("$")[1:4] == ["32768", "8", "1"]
    assert time.process_time() - started > 0.01
    assert await passwords.verify_password(PASSWORD, stored)
    assert not await passwords.verify_password(PASSWORD + "x", stored)
    assert stored != await passwords.hash_password(PASSWORD)


def posts(site: Site) -> list[str]:
    """Every path that takes a form, with something in place of its parameters."""
    application = site.app._app  # type: ignore[attr-defined]
    return [
        route.path.replace("{name}", "play.example.test").replace("{id}", "1").replace("{user}", "op")
        for route in application.routes
        if "POST" in (getattr(route, "methods", None) or ())
    ]


async def test_no_form_is_taken_without_its_token(site: Site) -> None:
    await site.account("ada")
    visitor, other = await site.visitor("op"), await site.visitor("ada")
    foreign = (await other.get("/domains")).csrf
    paths = posts(site)
    assert len(paths) > 10
    for path in paths:
        for data in ({}, {"csrf": ""}, {"csrf": "é"}, {"csrf": foreign}):
            answer = await visitor.http.post(path, data=data, follow_redirects=False)
            assert answer.status_code == 403, path
    guest = Visitor(site)
    assert (await guest.http.post("/sign-in", data={"user": "op", "password": PASSWORD})).status_code == 403


async def test_a_form_of_another_kind_or_size_is_refused(site: Site) -> None:
    visitor = await site.visitor("op")
    csrf = (await visitor.get("/domains")).csrf
    for content, kind, status in (
        (b"{}", "application/json", 415),
        (b"csrf=%ff", "application/x-www-form-urlencoded", 400),
        (b"\xff", "application/x-www-form-urlencoded", 400),
        (b"a=1&" * 600, "application/x-www-form-urlencoded", 400),
        (b"a" * (4 * 1024 * 1024 + 1), "application/x-www-form-urlencoded", 413),
    ):
        answer = await visitor.http.post("/password", content=content, headers={"content-type": kind, "x-csrf-token": csrf})
        assert answer.status_code == status, content[:20]
