"""Finds a domain for the account that owns it."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from headwater.domains.errors import error
from headwater.domains.rules import domain_name
from headwater.store.models import Domain


async def owned_domain(session: AsyncSession, account_id: str, name: str) -> Domain:
    """The domain, its name written in any valid way.

    Raises InvalidDomainName.Malformed; InvalidDomain.NotFound if there is none, or if it is somebody else's, which nobody
    may learn.
    """
    domain = await session.get(Domain, domain_name(name, leading_dot=True))
    if domain is None or domain.account != account_id:
        raise error("InvalidDomain.NotFound")
    return domain
