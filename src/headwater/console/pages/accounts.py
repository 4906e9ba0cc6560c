"""Accounts, their access keys, and the console's users."""

from __future__ import annotations

from starlette.responses import Response

from headwater.console.visit import Visit
from headwater.domains.errors import DomainError, error


async def show(visit: Visit) -> Response:
    """All accounts."""
    return await _accounts(visit)


async def create(visit: Visit) -> Response:
    """A new account; its first key is shown once."""
    name = visit.form.get("name")
    try:
        made = await visit.services.accounts.create(name, actor=visit.actor)
    except DomainError as fault:
        return await _accounts(visit, fault.status, name=name, problem=visit.explain(fault))
    return visit.render(
        "secret.html",
        title=visit.say("Account {name} was made", name=made.name),
        back=f"/accounts/{made.account_id}",
        rows=[
            (visit.say("Account id"), made.account_id),
            ("AccessKey ID", made.access_key_id),
            ("AccessKey secret", made.access_key_secret),
        ],
    )


async def account(visit: Visit) -> Response:
    """One account with its keys and users. Users of an account see their own."""
    return await _account(visit)


async def change_key(visit: Visit) -> Response:
    """Make, enable, disable or delete an access key."""
    account_id, accounts = _own(visit), visit.services.accounts
    key, what = visit.form.get("key"), visit.form.get("what")
    match what:
        case "create":
            made = await accounts.create_access_key(account_id, actor=visit.actor)
            return visit.render(
                "secret.html",
                title=visit.say("A new access key"),
                back=f"/accounts/{account_id}",
                rows=[("AccessKey ID", made.access_key_id), ("AccessKey secret", made.access_key_secret)],
            )
        case "enable" | "disable":
            await accounts.set_access_key_active(account_id, key, what == "enable", actor=visit.actor)
            visit.done("{key} was enabled." if what == "enable" else "{key} was disabled.", key=key)
        case "delete":
            await accounts.delete_access_key(account_id, key, actor=visit.actor)
            visit.done("{key} was deleted.", key=key)
        case _:
            visit.failed(visit.say("Nothing was changed."))
    return visit.go(f"/accounts/{account_id}")


async def create_user(visit: Visit) -> Response:
    """A user of an account; the password is shown once."""
    account_id, name = visit.path("id"), visit.form.get("name")
    try:
        made = await visit.services.users.create(name, account_id, actor=visit.actor)
    except DomainError as fault:
        return await _account(visit, fault.status, name=name, problem=visit.explain(fault))
    return _password(visit, made.name, made.password, f"/accounts/{account_id}")


async def users(visit: Visit) -> Response:
    """All users of the console."""
    return await _users(visit)


async def create_operator(visit: Visit) -> Response:
    """A further operator; the password is shown once."""
    name = visit.form.get("name")
    try:
        made = await visit.services.users.create(name, None, actor=visit.actor)
    except DomainError as fault:
        return await _users(visit, fault.status, name=name, problem=visit.explain(fault))
    return _password(visit, made.name, made.password, "/users")


async def change_user(visit: Visit) -> Response:
    """Reset a password, disable, enable or delete a user."""
    name, what, users = visit.path("user"), visit.form.get("what"), visit.services.users
    match what:
        case "reset":
            made = await users.reset_password(name, actor=visit.actor)
            return _password(visit, made.name, made.password, "/users")
        case "enable" | "disable":
            await users.set_disabled(name, what == "disable", actor=visit.actor)
            visit.done("{name} may sign in again." if what == "enable" else "{name} can no longer sign in.", name=name)
        case "delete":
            await users.delete(name, actor=visit.actor)
            visit.done("{name} was deleted.", name=name)
        case _:
            visit.failed(visit.say("Nothing was changed."))
    return visit.back("/users")


def _own(visit: Visit) -> str:
    """The account of the page. Raises EntityNotExist.Account for a foreign one."""
    account_id = visit.path("id")
    if visit.account not in (None, account_id):
        raise error("EntityNotExist.Account")
    return account_id


async def _accounts(visit: Visit, status: int = 200, *, name: str = "", problem: str = "") -> Response:
    return visit.render("accounts.html", status, accounts=await visit.services.accounts.accounts(), name=name, problem=problem)


async def _account(visit: Visit, status: int = 200, *, name: str = "", problem: str = "") -> Response:
    account_id, services = _own(visit), visit.services
    return visit.render(
        "account.html",
        status,
        account=await services.accounts.account(account_id),
        keys=await services.accounts.access_key_states(account_id),
        users=await services.users.users(account_id),
        name=name,
        problem=problem,
    )


async def _users(visit: Visit, status: int = 200, *, name: str = "", problem: str = "") -> Response:
    accounts = {account.id: account.name for account in await visit.services.accounts.accounts()}
    return visit.render(
        "users.html", status, users=await visit.services.users.users(), accounts=accounts, name=name, problem=problem
    )


def _password(visit: Visit, name: str, password: str, back: str) -> Response:
    return visit.render(
        "secret.html",
        title=visit.say("The password of {name}", name=name),
        back=back,
        rows=[(visit.say("User name"), name), (visit.say("Password"), password)],
    )
