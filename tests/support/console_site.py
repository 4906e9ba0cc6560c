"""The console over a real database, without a server: visitors who sign in, follow forms and read pages."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import httpx

from headwater.cluster.embedded import EmbeddedCluster
from headwater.console.app import create_app
from headwater.domains import services
from headwater.settings import Settings
from headwater.store.database import Actor, Database

ACTOR = Actor("tester")
PASSWORD = "correct horse battery"
REGION = "eu-central-1"


class Page(HTMLParser):
    """What a page holds: its text, links, and the fields of its forms."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        self.response = response
        self.status = response.status_code
        self.html = response.text
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._texts: list[str] = []
        self.feed(response.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)

    def handle_data(self, data: str) -> None:
        self._texts.append(data)

    @property
    def text(self) -> str:
        """All text, with white space made single."""
        return re.sub(r"\s+", " ", " ".join(self._texts))

    @property
    def csrf(self) -> str:
        """The token of the page's forms."""
        return next(str(attrs["value"]) for tag, attrs in self.tags if tag == "input" and attrs.get("name") == "csrf")


class Visitor:
    """One browser: it keeps cookies, and sends each form with the token of the page from which it comes."""

    def __init__(self, site: Site, address: str = "127.0.0.1") -> None:
        transport = httpx.ASGITransport(site.app, client=(address, 50000))
        self.http = httpx.AsyncClient(transport=transport, base_url=site.base, follow_redirects=True)

    async def get(self, path: str, **headers: str) -> Page:
        return Page(await self.http.get(path, headers=headers))

    async def post(self, path: str, data: dict[str, Any] | None = None, *, page: str | None = None) -> Page:
        """Send a form to `path` that stands on `page` (by default at the same path)."""
        csrf = (await self.get(page or path)).csrf
        return Page(await self.http.post(path, data={"csrf": csrf, **(data or {})}))

    async def sign_in(self, user: str, password: str = PASSWORD) -> Page:
        return await self.post("/sign-in", {"user": user, "password": password})


class Site:
    """The console and its services; `now_s` is what the clock says."""

    def __init__(self, database: Database, settings: Settings | None = None, base: str = "http://console") -> None:
        self.now_s = 1_700_000_000.0
        self.base = base
        self.database = database
        self.cluster = EmbeddedCluster()
        self.settings = settings or Settings()
        self.services = services.build(database, self.cluster, self.settings, lambda: self.now_s)
        self.app = create_app(self.services, self.settings, lambda: self.now_s)

    async def account(self, name: str) -> str:
        """A new account, with a user of the same name."""
        account_id = (await self.services.accounts.create(name, actor=ACTOR)).account_id
        await self.user(name, account_id)
        return account_id

    async def user(self, name: str, account_id: str | None) -> None:
        """A user whose password is PASSWORD, already changed to it."""
        made = await self.services.users.create(name, account_id, actor=ACTOR)
        await self.services.users.change_password(name, made.password, PASSWORD, actor=ACTOR)

    async def visitor(self, user: str) -> Visitor:
        """A browser in which a user has signed in."""
        visitor = Visitor(self)
        page = await visitor.sign_in(user)
        assert urlsplit(str(page.response.url)).path == "/domains", page.text
        return visitor

    async def domain(self, account: str, name: str, type_: str = "liveVideo") -> None:
        """A domain of an account."""
        await self.services.domains.add(account, name, type_, REGION, "overseas", actor=ACTOR)
