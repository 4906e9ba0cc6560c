"""One request of one visitor: who asks, in which language, for which account, and what is answered."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from headwater.console import language, security
from headwater.console.forms import Form, parse_form
from headwater.console.language import Language
from headwater.console.navigation import Group, navigation
from headwater.console.render import Pages
from headwater.domains.accounts import AccountRecord
from headwater.domains.errors import DomainError
from headwater.domains.limiter import SignInLimiter
from headwater.domains.services import Services
from headwater.domains.users import SessionRecord
from headwater.settings import Settings
from headwater.store.database import Actor

NOTICE_MAX = 1500
"""Characters of a notice's cookie; browsers keep 4 kB of each."""


@dataclass(frozen=True)
class Console:
    """What every page works with."""

    services: Services
    settings: Settings
    pages: Pages
    limiter: SignInLimiter
    clock: Callable[[], float]


class ActingAccountNeededError(Exception):
    """An operator asked for something that is done for one account, and has chosen none."""


@dataclass
class Visit:
    """One request. cookie: what its forms' token is made from. form: the fields of a POST.

    all_accounts: for an operator's choice in the top bar; some of them if there are many.
    """

    console: Console
    request: Request
    language: Language
    theme: str
    cookie: str = ""
    session: SessionRecord | None = None
    form: Form = field(default_factory=Form)
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()).upper())
    all_accounts: list[AccountRecord] = field(default_factory=list)
    _notices: list[tuple[str, str]] = field(default_factory=list)

    # Who asks

    @property
    def services(self) -> Services:
        """The services that do the work."""
        return self.console.services

    @property
    def user(self) -> str:
        """The name of the user who has signed in."""
        assert self.session is not None
        return self.session.user.name

    @property
    def operator(self) -> bool:
        """Whether an operator asks."""
        return self.session is not None and self.session.user.operator

    @property
    def account(self) -> str | None:
        """The account whose things are shown; None for an operator who looks at all of them."""
        assert self.session is not None
        return self.session.user.account or self.session.acting

    @property
    def actor(self) -> Actor:
        """Who stands in the audit log."""
        return Actor(f"console {self.user}", self.request_id)

    @property
    def address(self) -> str:
        """Where the request comes from."""
        return self.request.client.host if self.request.client else ""

    def one_account(self) -> str:
        """The account to act for. Raises ActingAccountNeededError."""
        account = self.account
        if account is None:
            raise ActingAccountNeededError
        return account

    async def account_of(self, domain: str) -> str:
        """The account for which a domain is looked at or changed: one's own, or for an operator the domain's.

        Raises InvalidDomain.NotFound, also if the domain is not the chosen account's.
        """
        return self.account or await self.services.domains.owner(domain)

    # What is asked

    @property
    def query(self) -> Form:
        """The fields of the query. Raises FormError."""
        return parse_form(self.request.scope["query_string"])

    def path(self, name: str) -> str:
        """A parameter of the path."""
        return str(self.request.path_params[name])

    @property
    def here(self) -> str:
        """The page that is shown, for forms that come back to it; after a form that was refused, the form's own page."""
        url = self.request.url
        if self.request.method == "POST":
            return security.local_path(self.form.get("back"), url.path)
        return url.path + (f"?{url.query}" if url.query else "")

    @property
    def navigation(self) -> list[Group]:
        """The left navigation."""
        return navigation(self.operator)

    @property
    def partial(self) -> bool:
        """Whether htmx asks, for a part of a page."""
        return self.request.headers.get("hx-request") == "true"

    # What is answered

    def say(self, text: str, **values: Any) -> str:
        """A text in the visitor's language."""
        return language.translate(self.language, text, **values)

    def explain(self, fault: DomainError) -> str:
        """An error in the visitor's language."""
        return language.explain(self.language, fault)

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page."""
        text = self.console.pages.render(template, self, values)
        response = HTMLResponse(text, status, {"Cache-Control": "no-store"})
        if self.request.cookies.get(security.cookie_name(self.request, security.NOTICE)) and not self.partial:
            security.clear_cookie(self.request, response, security.NOTICE)
        return response

    def go(self, path: str, **query: str) -> Response:
        """Send the browser on to a page of ours, with what there is to say."""
        where = quote(path, safe="/?=&%:") + (("&" if "?" in path else "?") + urlencode(query) if query else "")
        response = Response(status_code=204, headers={"HX-Redirect": where}) if self.partial else RedirectResponse(where, 303)
        if self._notices:
            packed = base64.urlsafe_b64encode(json.dumps(self._notices).encode()).decode()
            if len(packed) <= NOTICE_MAX:
                security.set_cookie(self.request, response, security.NOTICE, packed, max_age_s=security.NOTICE_S)
        return response

    def back(self, default: str) -> Response:
        """Send the browser on to the page that its form names."""
        return self.go(security.local_path(self.form.get("back"), default))

    def done(self, text: str, **values: Any) -> None:
        """Let the next page say that something was done."""
        self._notices.append(("good", self.say(text, **values)))

    def failed(self, text: str) -> None:
        """Let the next page say that something was refused."""
        self._notices.append(("bad", text))

    def notices(self) -> list[tuple[str, str]]:
        """What this page says once: (`good` or `bad`, text). What the cookie holds is not trusted: it may say anything."""
        found = list(self._notices)
        packed = security.get_cookie(self.request, security.NOTICE)
        if packed:
            try:
                for kind, text in json.loads(base64.urlsafe_b64decode(packed)):
                    found.append(("bad" if kind == "bad" else "good", str(text)[:500]))
            except (ValueError, TypeError, binascii.Error):
                pass  # not ours
        return found

    @property
    def csrf(self) -> str:
        """The token for this page's forms."""
        return security.csrf_token(self.cookie)
