"""Reads a watch of the cluster's store as a consumer does."""

from __future__ import annotations

from collections.abc import AsyncIterator

from headwater.cluster.interface import SYNCED, Change


async def until_synced(watch: AsyncIterator[Change]) -> list[tuple[str, bytes | None]]:
    """The keys and values of all changes up to the next SYNCED."""
    seen = []
    async for change in watch:
        if change.key == SYNCED:
            break
        seen.append((change.key, change.value))
    return seen


async def take_change(watch: AsyncIterator[Change]) -> tuple[str, bytes | None]:
    """The key and value of the next change."""
    change = await anext(watch)
    return change.key, change.value
