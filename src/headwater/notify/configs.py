"""Where customers want to be told of what: settings of ingest and of streaming domains (reference media-plane 5.1).

What is set holds for events from then on; what stands in the queue already goes where it was to go.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.domains.bindings import owned_main_domain
from headwater.domains.errors import error, invalid, missing
from headwater.domains.owned import owned_domain
from headwater.store.database import Actor, Database
from headwater.store.models import RecordNotify, SnapshotAuth, SnapshotNotify, StreamNotify

URL_MAX = 500
"""Characters of a callback's URL (AddLiveSnapshotNotifyConfig; alike for all)."""

_STREAM_KEY = re.compile(r"[A-Za-z0-9]{16,64}", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9]{16,32}", re.ASCII)
_URL = re.compile(r"[!-~]+", re.ASCII)

Row = TypeVar("Row", RecordNotify, SnapshotNotify, SnapshotAuth)


class StreamTargets(msgspec.Struct, frozen=True):
    """What an ingest domain tells of its pushes; "" is not told. key: signs the callbacks if `signed`."""

    domain: str
    notify_url: str = ""
    exception_url: str = ""
    switch_url: str = ""
    signed: bool = False
    key: str = ""


class RecordTarget(msgspec.Struct, frozen=True):
    """Where a streaming domain tells of its recordings. status: of their states, too. on_demand_url: asked what to record."""

    domain: str
    notify_url: str
    on_demand_url: str = ""
    status: bool = False
    signed: bool = False
    key: str = ""


class SnapshotTarget(msgspec.Struct, frozen=True):
    """Where a streaming domain tells of its snapshots."""

    domain: str
    notify_url: str
    signed: bool = False
    key: str = ""


class SnapshotSigning(msgspec.Struct, frozen=True):
    """Whether the callbacks that snapshot templates name are signed, and with what."""

    domain: str
    signed: bool = False
    key: str = ""


class NotifyService:
    """Sets and shows them. Methods raise DomainError for what they refuse."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    # An ingest domain's

    async def stream(self, account_id: str, domain: str) -> StreamTargets:
        """What is set, all "" if nothing is (DescribeLiveStreamsNotifyUrlConfig). Raises IllegalOperation for another type."""
        async with self._database.read() as session:
            name = await _ingest(session, account_id, domain)
            row = await session.get(StreamNotify, name)
            return StreamTargets(name) if row is None else msgspec.convert(row, StreamTargets, from_attributes=True)

    async def set_stream(
        self,
        account_id: str,
        domain: str,
        *,
        notify_url: str | None = None,
        exception_url: str | None = None,
        switch_url: str | None = None,
        signed: bool | None = None,
        key: str | None = None,
        actor: Actor,
    ) -> None:
        """Set what is given and keep the rest (SetLiveStreamsNotifyUrlConfig).

        Raises InvalidNotifyUrl, InvalidExceptionNotifyUrl, InvalidSwitchNotifyUrl, InvalidNotifyAuthKey,
        MissingNotifyAuthKey, MissingNotifyUrl if there would be none at all, IllegalOperation for no ingest domain.
        """
        urls = {"NotifyUrl": notify_url, "ExceptionNotifyUrl": exception_url, "SwitchNotifyUrl": switch_url}
        for parameter, url in urls.items():
            if url:
                _check_url(parameter, url)
        async with self._database.change(
            account_id, actor, "SetLiveStreamsNotifyUrlConfig", domain.lower(), self._clock()
        ) as change:
            name = await _ingest(change.session, account_id, domain)
            row = await change.session.get(StreamNotify, name)
            before = StreamTargets(name) if row is None else msgspec.convert(row, StreamTargets, from_attributes=True)
            given = {
                "notify_url": notify_url,
                "exception_url": exception_url,
                "switch_url": switch_url,
                "signed": signed,
                "key": key,
            }
            after = msgspec.structs.replace(before, **{field: value for field, value in given.items() if value is not None})
            if not (after.notify_url or after.exception_url or after.switch_url):
                raise missing("NotifyUrl")
            _check_key("NotifyAuthKey", after.key, _STREAM_KEY, signed=after.signed)
            change.before, change.after = (None if row is None else before), after
            if row is None:
                change.session.add(StreamNotify(**msgspec.structs.asdict(after)))
            else:
                _assign(row, after)

    async def delete_stream(self, account_id: str, domain: str, *, actor: Actor) -> None:
        """Tell nothing of this domain's pushes any more (DeleteLiveStreamsNotifyUrlConfig). Raises IllegalOperation."""
        async with self._database.change(
            account_id, actor, "DeleteLiveStreamsNotifyUrlConfig", domain.lower(), self._clock()
        ) as change:
            row = await change.session.get(StreamNotify, await _ingest(change.session, account_id, domain))
            if row is not None:
                change.before = msgspec.convert(row, StreamTargets, from_attributes=True)
                await change.session.delete(row)

    # A streaming domain's

    async def record(self, account_id: str, domain: str) -> RecordTarget | None:
        """What is set, None if nothing is (DescribeLiveRecordNotifyConfig)."""
        found: RecordTarget | None = await self._shown(RecordNotify, RecordTarget, account_id, domain)
        return found

    async def set_record(
        self,
        account_id: str,
        domain: str,
        notify_url: str,
        *,
        on_demand_url: str = "",
        status: bool = False,
        signed: bool = False,
        key: str = "",
        new: bool,
        actor: Actor,
    ) -> None:
        """Add (new) or change it (Add-, UpdateLiveRecordNotifyConfig).

        Raises InvalidNotifyUrl, InvalidOnDemandUrl, InvalidNotifyAuthKey, MissingNotifyAuthKey, ConfigAlreadyExists,
        ConfigNotFound.
        """
        _check_url("NotifyUrl", notify_url)
        if on_demand_url:
            _check_url("OnDemandUrl", on_demand_url)
        _check_key("NotifyAuthKey", key, _KEY, signed=signed)
        target = RecordTarget("", notify_url, on_demand_url, status, signed, key)
        await self._set(RecordNotify, target, "RecordNotifyConfig", account_id, domain, new=new, actor=actor)

    async def delete_record(self, account_id: str, domain: str, *, actor: Actor) -> None:
        """Tell nothing of recordings any more (DeleteLiveRecordNotifyConfig). Raises ConfigNotFound."""
        await self._delete(RecordNotify, RecordTarget, "DeleteLiveRecordNotifyConfig", account_id, domain, actor)

    async def snapshot(self, account_id: str, domain: str) -> SnapshotTarget | None:
        """What is set, None if nothing is (DescribeLiveSnapshotNotifyConfig)."""
        found: SnapshotTarget | None = await self._shown(SnapshotNotify, SnapshotTarget, account_id, domain)
        return found

    async def set_snapshot(
        self, account_id: str, domain: str, notify_url: str, *, signed: bool = False, key: str = "", new: bool, actor: Actor
    ) -> None:
        """Add (new) or change it (Add-, UpdateLiveSnapshotNotifyConfig).

        Raises InvalidNotifyUrl, InvalidNotifyAuthKey, MissingNotifyAuthKey, ConfigAlreadyExists, ConfigNotFound.
        """
        _check_url("NotifyUrl", notify_url)
        _check_key("NotifyAuthKey", key, _KEY, signed=signed)
        target = SnapshotTarget("", notify_url, signed, key)
        await self._set(SnapshotNotify, target, "SnapshotNotifyConfig", account_id, domain, new=new, actor=actor)

    async def delete_snapshot(self, account_id: str, domain: str, *, actor: Actor) -> None:
        """Tell nothing of snapshots any more (DeleteLiveSnapshotNotifyConfig). Raises ConfigNotFound."""
        await self._delete(SnapshotNotify, SnapshotTarget, "DeleteLiveSnapshotNotifyConfig", account_id, domain, actor)

    async def snapshot_signing(self, account_id: str, domain: str) -> SnapshotSigning:
        """How callbacks of snapshot templates are signed (QuerySnapshotCallbackAuth)."""
        async with self._database.read() as session:
            name = await owned_main_domain(session, account_id, domain)
            row = await session.get(SnapshotAuth, name)
            return SnapshotSigning(name) if row is None else msgspec.convert(row, SnapshotSigning, from_attributes=True)

    async def set_snapshot_signing(self, account_id: str, domain: str, *, signed: bool, key: str, actor: Actor) -> None:
        """Set it (SetSnapshotCallbackAuth). Raises InvalidCallbackAuthKey, MissingCallbackAuthKey."""
        _check_key("CallbackAuthKey", key, _KEY, signed=signed)
        async with self._database.change(account_id, actor, "SetSnapshotCallbackAuth", domain.lower(), self._clock()) as change:
            name = await owned_main_domain(change.session, account_id, domain)
            row = await change.session.get(SnapshotAuth, name)
            change.after = SnapshotSigning(name, signed, key)
            if row is None:
                change.session.add(SnapshotAuth(domain=name, signed=signed, key=key))
            else:
                change.before = msgspec.convert(row, SnapshotSigning, from_attributes=True)
                _assign(row, change.after)

    async def delete_snapshot_signing(self, account_id: str, domain: str, *, actor: Actor) -> None:
        """Sign callbacks of snapshot templates no longer (DeleteSnapshotCallbackAuth)."""
        async with self._database.change(
            account_id, actor, "DeleteSnapshotCallbackAuth", domain.lower(), self._clock()
        ) as change:
            row = await change.session.get(SnapshotAuth, await owned_main_domain(change.session, account_id, domain))
            if row is not None:
                change.before = msgspec.convert(row, SnapshotSigning, from_attributes=True)
                await change.session.delete(row)

    async def _shown(self, table: type[Row], kind: type[Any], account_id: str, domain: str) -> Any:
        async with self._database.read() as session:
            row = await session.get(table, await owned_main_domain(session, account_id, domain))
            return None if row is None else msgspec.convert(row, kind, from_attributes=True)

    async def _set(
        self, table: type[Row], target: Any, what: str, account_id: str, domain: str, *, new: bool, actor: Actor
    ) -> None:
        action = f"{'Add' if new else 'Update'}Live{what}"
        async with self._database.change(account_id, actor, action, domain.lower(), self._clock()) as change:
            name = await owned_main_domain(change.session, account_id, domain)
            row = await change.session.get(table, name)
            if new and row is not None:
                raise error("ConfigAlreadyExists")
            if not new and row is None:
                raise error("ConfigNotFound")
            change.after = after = msgspec.structs.replace(target, domain=name)
            if row is None:
                change.session.add(table(**msgspec.structs.asdict(after)))
            else:
                change.before = msgspec.convert(row, type(target), from_attributes=True)
                _assign(row, after)

    async def _delete(self, table: type[Row], kind: type[Any], action: str, account_id: str, domain: str, actor: Actor) -> None:
        async with self._database.change(account_id, actor, action, domain.lower(), self._clock()) as change:
            row = await change.session.get(table, await owned_main_domain(change.session, account_id, domain))
            if row is None:
                raise error("ConfigNotFound")
            change.before = msgspec.convert(row, kind, from_attributes=True)
            await change.session.delete(row)


def is_url(text: str) -> bool:
    """Whether this can be a callback's URL. That its host is no private network's is seen when it is called."""
    if len(text) > URL_MAX or not _URL.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and parts.username is None
        and not parts.fragment
        and port != 0
    )


def _check_url(parameter: str, url: str) -> None:
    if not is_url(url):
        raise invalid(parameter, f"It is an http or https URL of at most {URL_MAX} characters.")


def _check_key(parameter: str, key: str, pattern: re.Pattern[str], *, signed: bool) -> None:
    if signed and not key:
        raise missing(parameter)
    if key and not pattern.fullmatch(key):
        longest = 64 if pattern is _STREAM_KEY else 32
        raise invalid(parameter, f"It has 16 to {longest} letters and digits.")


def _assign(row: object, target: msgspec.Struct) -> None:
    for field, value in msgspec.structs.asdict(target).items():
        setattr(row, field, value)


async def _ingest(session: AsyncSession, account_id: str, name: str) -> str:
    domain = await owned_domain(session, account_id, name)
    if domain.type != "liveEdge":
        raise error("IllegalOperation")
    return domain.name
