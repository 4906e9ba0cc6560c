"""Sign-in, sign-out, one's password, and a visitor's preferences."""

from __future__ import annotations

from starlette.responses import Response

from headwater.console import security
from headwater.console.language import LANGUAGES
from headwater.console.visit import Visit
from headwater.domains.errors import DomainError


async def show(visit: Visit) -> Response:
    """The form."""
    if visit.session is not None:
        return visit.go("/")
    return _form(visit)


async def sign_in(visit: Visit) -> Response:
    """Check name and password, within the limits, and open a session."""
    if visit.session is not None:
        return visit.go("/")
    name, users = visit.form.get("user"), visit.services.users
    wait_s = visit.console.limiter.begin(visit.address, name)
    if wait_s:
        text = visit.say("Too many failed attempts. Try again in {minutes} min.", minutes=-(-wait_s // 60))
        response = _form(visit, 429, text)
        response.headers["Retry-After"] = str(wait_s)
        return response
    try:
        cookie = await users.sign_in(name, visit.form.secret("password"), visit.address)
    except DomainError as fault:
        return _form(visit, fault.status, visit.explain(fault))
    visit.console.limiter.succeeded(visit.address, name)
    response = visit.go(security.local_path(visit.form.get("next")))
    security.set_cookie(visit.request, response, security.SESSION, cookie)
    security.clear_cookie(visit.request, response, security.GUEST)
    return response


async def sign_out(visit: Visit) -> Response:
    """End the session."""
    await visit.services.users.sign_out(visit.cookie)
    response = visit.go("/sign-in")
    security.clear_cookie(visit.request, response, security.SESSION)
    return response


async def password(visit: Visit) -> Response:
    """The form for one's own password."""
    return visit.render("password.html", problem="")


async def change_password(visit: Visit) -> Response:
    """Change one's own password; all other sessions end, this one goes on under a new cookie."""
    form, users = visit.form, visit.services.users
    new = form.secret("new")
    if new != form.secret("again"):
        return visit.render("password.html", 400, problem=visit.say("The new password was not repeated the same way."))
    wait_s = visit.console.limiter.begin(visit.address, visit.user)
    if wait_s:
        text = visit.say("Too many failed attempts. Try again in {minutes} min.", minutes=-(-wait_s // 60))
        return visit.render("password.html", 429, problem=text)
    try:
        await users.change_password(visit.user, form.secret("current"), new, actor=visit.actor)
    except DomainError as fault:
        return visit.render("password.html", fault.status, problem=visit.explain(fault))
    visit.console.limiter.succeeded(visit.address, visit.user)
    cookie = await users.sign_in(visit.user, new, visit.address)
    visit.done("Your password was changed. Other sessions of yours have ended.")
    response = visit.go("/")
    security.set_cookie(visit.request, response, security.SESSION, cookie)
    return response


async def preferences(visit: Visit) -> Response:
    """Choose a language or light and dark."""
    response = visit.back("/")
    if visit.form.get("language") in LANGUAGES:
        chosen = visit.form.get("language")
        security.set_cookie(visit.request, response, security.LANGUAGE, chosen, max_age_s=security.PREFERENCE_S)
    if visit.form.get("theme") in ("light", "dark", "system"):
        chosen = visit.form.get("theme")
        security.set_cookie(visit.request, response, security.THEME, chosen, max_age_s=security.PREFERENCE_S)
    return response


async def act_for(visit: Visit) -> Response:
    """Let an operator act for one account, or look at all of them again."""
    await visit.services.users.act_for(visit.cookie, visit.form.get("account") or None)
    return visit.back("/")


def _form(visit: Visit, status: int = 200, problem: str = "") -> Response:
    fresh = "" if visit.cookie else security.new_guest()
    visit.cookie = visit.cookie or fresh
    after = security.local_path(visit.query.get("next") or visit.form.get("next"))
    response = visit.render("sign_in.html", status, problem=problem, after=after, name=visit.form.get("user"))
    if fresh:
        security.set_cookie(visit.request, response, security.GUEST, fresh, samesite="strict")
    return response
