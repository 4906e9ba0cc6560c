"""Which streams have a recording template: of the two kinds, for a bucket and for the media library, they can have one."""

from __future__ import annotations

from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.domains.errors import error
from headwater.store.models import RecordLibraryTemplate, RecordTemplate

TEMPLATES_MAX: Final = 100
"""Recording templates of a domain, of both kinds: they travel with its plan to every node. Ours."""


async def check_new(session: AsyncSession, domain: str, app: str, stream: str) -> None:
    """Raises ConfigAlreadyExists if exactly these streams have a template, and QuotaExceeded.RecordConfig."""
    count = 0
    kinds = ((RecordTemplate, "a recording template"), (RecordLibraryTemplate, "a template of the media library"))
    for model, kind in kinds:
        taken = select(model.id).where(model.domain == domain, model.app == app, model.stream == stream)
        if await session.scalar(taken) is not None:
            raise error("ConfigAlreadyExists", f"These streams have {kind}.")
        count += await session.scalar(select(func.count()).select_from(model).where(model.domain == domain)) or 0
    if count >= TEMPLATES_MAX:
        raise error("QuotaExceeded.RecordConfig")
