"""Transcoding: the templates of domains, multi-bitrate groups, and what the center does with them now.

Reference media-plane 2. Templates belong to main streaming domains; a change reaches streams that are live at once.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from headwater.access import presence
from headwater.access.names import is_name
from headwater.access.plan import ANY, Group, Rendition
from headwater.access.presence import STREAM_PREFIX, StreamPresence
from headwater.cluster.centers import CenterError, CenterRefusal, Centers
from headwater.cluster.interface import Cluster
from headwater.domains import bindings, transcode_parameters
from headwater.domains.errors import error, invalid
from headwater.domains.owned import owned_domain
from headwater.domains.presets import PRESETS, preset
from headwater.domains.rules import domain_name
from headwater.domains.transcode_parameters import Parameters, check_name, checked, wrong
from headwater.store.database import Actor, Database
from headwater.store.models import BitrateGroup, Domain, DomainMapping, MixTemplate, TranscodeTemplate
from headwater.wording import sentence

if TYPE_CHECKING:  # it imports `plan_part`
    from headwater.domains.plans import PlanPublisher

Kind = Literal["preset", "custom", "rts"]

TEMPLATES_MAX: Final = 100
"""Templates of a domain: they travel with its plan to every node. Ours."""
GROUPS_MAX: Final = 20
"""Multi-bitrate groups of a domain. Ours."""
CHILDREN_MAX: Final = 10
"""Children of a group: a player tries few of them, and each is encoded as long as the stream lives. Ours."""
MIX_TEMPLATES_MAX: Final = 100
MIX_CONTENT_MAX: Final = 4096
"""Characters of a template for mixing. Ours: it has five fields."""
MIX_FIELDS: Final = ("height", "scale", "gop", "bframes", "cdesc")
"""All of them are mandatory (CreateCustomTemplate)."""
SEI_TEXT_BYTES_MAX: Final = 4000
"""Reference media-plane 2.10."""
SEI_DELAY_MAX_MS: Final = 86_400_000
SEI_REPEAT_MAX: Final = 1_000_000

QUOTA_LARGE, QUOTA_SMALL = 300, 50
LARGE_REGIONS: Final = frozenset({"cn-beijing", "cn-shanghai", "cn-shenzhen"})
"""Renditions that a domain may have at once, and where it is the larger number (reference media-plane 2.8)."""

NOT_CHILDREN: Final = frozenset({"lld", "lsd", "lhd", "lud", "ld", "sd", "hd", "ud"})
"""Standard templates that are no child of a group (reference media-plane 2.6)."""

_GROUP_NAME = re.compile(r"[A-Za-z0-9-]{1,10}", re.ASCII)
_APP = re.compile(r"[A-Za-z0-9_-]{1,256}", re.ASCII)
_MIX_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)


class Template(msgspec.Struct, frozen=True):
    """A transcoding template. parameters: None for a preset."""

    domain: str
    app: str
    template: str
    kind: Kind
    lazy: bool
    parameters: Parameters | None


class BitrateGroupRecord(msgspec.Struct, frozen=True):
    """A multi-bitrate group, as its row (`store.models.BitrateGroup`). children: "" is the source itself."""

    domain: str
    app: str
    name: str
    children: tuple[str, ...]
    align: bool


class StreamCount(msgspec.Struct, frozen=True):
    """How many streams of a domain are transcoded now. templates: renditions by template. lazy: those of lazy templates."""

    streams: int
    transcoded: int
    renditions: int
    lazy: int
    templates: Mapping[str, int]


class RenditionState(msgspec.Struct, frozen=True):
    """A rendition that is wanted now, for people. state: as of its job (`cluster.centers.JobPresence`)."""

    stream: str
    template: str
    state: str
    speed: float
    detail: str
    error: str


class TranscodingService:
    """Templates, groups, and questions to the live center. Methods raise DomainError for what they refuse: IllegalOperation for
    what is no main streaming domain.

    renditions_max: what each domain may have at once, 0 for what the service documents.
    """

    def __init__(
        self,
        database: Database,
        cluster: Cluster,
        plans: PlanPublisher,
        centers: Centers,
        renditions_max: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._cluster = cluster
        self._plans = plans
        self._centers = centers
        self._renditions_max = renditions_max
        self._clock = clock

    # Templates

    async def add(
        self,
        account_id: str,
        name: str,
        app: str,
        template: str,
        *,
        kind: Kind,
        lazy: bool = True,
        parameters: Parameters | None = None,
        actor: Actor,
    ) -> None:
        """Transcode the streams of an app, of all apps for `*` (AddLiveStreamTranscode and its custom and RTS siblings).

        A name means one template of an app: it is standard or narrowband, not both (reference media-plane 2.8). Raises
        InvalidParam, MissingParam, ConfigAlreadyExists, QuotaExceeded.TranscodeConfig.
        """
        _check_app(app)
        kept = _checked(kind, template, parameters)
        now_s = self._clock()
        action = _ACTIONS["Add", kind]
        async with self._database.change(account_id, actor, action, f"{name.lower()}/{app}/{template}", now_s) as change:
            session = change.session
            domain = await main_domain(session, account_id, name)
            if await session.get(TranscodeTemplate, (domain, app, template)) is not None:
                raise error("ConfigAlreadyExists")
            if await session.get(BitrateGroup, (domain, app, template)) is not None:
                raise wrong(f"Template {template} is the name of a multi-bitrate group of the app.")
            where = TranscodeTemplate.domain == domain
            await _bound(session, TranscodeTemplate, where, TEMPLATES_MAX, "QuotaExceeded.TranscodeConfig")
            row = TranscodeTemplate(
                domain=domain, app=app, template=template, kind=kind, lazy=lazy, parameters=_encoded(kept), created_s=now_s
            )
            session.add(row)
            change.after = template_of(row)
        await self._plans.publish([domain])

    async def update(
        self,
        account_id: str,
        name: str,
        app: str,
        template: str,
        *,
        kind: Kind,
        lazy: bool | None = None,
        parameters: Parameters | None = None,
        actor: Actor,
    ) -> None:
        """Change a template (UpdateLiveStreamTranscode and its siblings); parameters are replaced as a whole.

        lazy None leaves it as it is. Raises InvalidParam, MissingParam, ConfigNotFound (also if it is of another kind),
        ConfigConflict if it were lazy in a multi-bitrate group.
        """
        _check_app(app)
        kept = _checked(kind, template, parameters)
        action = _ACTIONS["Update", kind]
        async with self._database.change(
            account_id, actor, action, f"{name.lower()}/{app}/{template}", self._clock()
        ) as change:
            session = change.session
            domain = await main_domain(session, account_id, name)
            row = await session.get(TranscodeTemplate, (domain, app, template))
            if row is None or row.kind != kind:
                raise error("ConfigNotFound", "The app has no such template of this kind.")
            change.before = template_of(row)
            if lazy:
                await _check_unused(session, row, "it must run as long as the stream is published")
            if lazy is not None:
                row.lazy = lazy
            row.parameters = _encoded(kept)
            change.after = template_of(row)
        await self._plans.publish([domain])

    async def remove(self, account_id: str, name: str, app: str, template: str, *, actor: Actor) -> None:
        """Make these renditions no more, at once (DeleteLiveStreamTranscode).

        Raises ConfigNotFound, ConfigConflict if it is in a multi-bitrate group.
        """
        object_ = f"{name.lower()}/{app}/{template}"
        async with self._database.change(account_id, actor, "DeleteLiveStreamTranscode", object_, self._clock()) as change:
            session = change.session
            domain = await main_domain(session, account_id, name)
            row = await session.get(TranscodeTemplate, (domain, app, template))
            if row is None:
                raise error("ConfigNotFound", "The app has no such template.")
            await _check_unused(session, row, "take it out of the group first")
            change.before = template_of(row)
            await session.delete(row)
        await self._plans.publish([domain])

    async def templates(self, account_id: str, name: str, *, app: str = "") -> list[Template]:
        """The templates of a domain by app and name, only those of one app if it is named (DescribeLiveStreamTranscodeInfo)."""
        async with self._database.read() as session:
            domain = await main_domain(session, account_id, name)
            where = [TranscodeTemplate.domain == domain, *([TranscodeTemplate.app == app] if app else [])]
            rows = select(TranscodeTemplate).where(*where).order_by(TranscodeTemplate.app, TranscodeTemplate.template)
            return [template_of(row) for row in await session.scalars(rows)]

    # Multi-bitrate groups

    async def set_group(
        self, account_id: str, name: str, app: str, group: str, children: Sequence[str], *, align: bool = True, actor: Actor
    ) -> BitrateGroupRecord:
        """Offer `<stream>_<group>.m3u8`, among whose children players choose; an existing group is replaced.

        children: templates of this very app, all triggered by publishing, and "" for the source. Raises InvalidApp,
        InvalidName, InvalidChildren, QuotaExceeded.BitrateGroup.
        """
        if app != ANY and _APP.fullmatch(app) is None:
            raise invalid("App")
        if _GROUP_NAME.fullmatch(group) is None:
            raise invalid("Name", "The name of a group has 1 to 10 letters, digits and hyphens.")
        if group in PRESETS:
            raise invalid("Name", "It is the name of a standard template.")
        if not 1 <= len(children) <= CHILDREN_MAX or len(set(children)) != len(children):
            raise invalid("Children", f"A group has 1 to {CHILDREN_MAX} different children.")
        if not any(children):
            raise invalid("Children", "A group has at least one template.")
        if taken := sorted(NOT_CHILDREN.intersection(children)):
            raise invalid("Children", f"A child cannot be the standard template {taken[0]}.")
        now_s, object_ = self._clock(), f"{name.lower()}/{app}/{group}"
        async with self._database.change(account_id, actor, "SetBitrateGroup", object_, now_s) as change:
            session = change.session
            domain = await main_domain(session, account_id, name)
            if await session.get(TranscodeTemplate, (domain, app, group)) is not None:
                raise invalid("Name", "A template of the app has this name.")
            for child in filter(None, children):
                row = await session.get(TranscodeTemplate, (domain, app, child))
                if row is None:
                    raise invalid("Children", f"The app has no template {child}.")
                if row.lazy:
                    raise invalid("Children", f"The template {child} runs only on demand; a child runs all the time.")
            found = await session.get(BitrateGroup, (domain, app, group))
            if found is None:
                await _bound(session, BitrateGroup, BitrateGroup.domain == domain, GROUPS_MAX, "QuotaExceeded.BitrateGroup")
                found = BitrateGroup(domain=domain, app=app, name=group, created_s=now_s)
                session.add(found)
            else:
                change.before = _group(found)
            found.children, found.align = json.dumps(list(children)), align
            change.after = _group(found)
            record = _group(found)
        await self._plans.publish([domain])
        return record

    async def remove_group(self, account_id: str, name: str, app: str, group: str, *, actor: Actor) -> None:
        """Undo `set_group`; the templates stay. Raises ConfigNotFound."""
        object_ = f"{name.lower()}/{app}/{group}"
        async with self._database.change(account_id, actor, "DeleteBitrateGroup", object_, self._clock()) as change:
            domain = await main_domain(change.session, account_id, name)
            row = await change.session.get(BitrateGroup, (domain, app, group))
            if row is None:
                raise error("ConfigNotFound", "The app has no such multi-bitrate group.")
            change.before = _group(row)
            await change.session.delete(row)
        await self._plans.publish([domain])

    async def groups(self, account_id: str, name: str) -> list[BitrateGroupRecord]:
        """The groups of a domain by app and name."""
        async with self._database.read() as session:
            domain = await main_domain(session, account_id, name)
            rows = select(BitrateGroup).where(BitrateGroup.domain == domain).order_by(BitrateGroup.app, BitrateGroup.name)
            return [_group(row) for row in await session.scalars(rows)]

    async def owner(self, name: str) -> str:
        """The account that has a domain, for operators. Raises InvalidDomainName.Malformed, InvalidDomain.NotFound."""
        async with self._database.read() as session:
            domain = await session.get(Domain, domain_name(name, leading_dot=True))
        if domain is None:
            raise error("InvalidDomain.NotFound")
        return domain.account

    # What runs now

    async def limit(self, account_id: str, name: str) -> tuple[int, int]:
        """How many renditions a domain has now, and how many it may have (DescribeLiveDomainLimit)."""
        async with self._database.read() as session:
            row = await owned_domain(session, account_id, name)
            await main_domain(session, account_id, name)
        live = [item for item in await self._live(row.name) if item.template]
        return len(live), renditions_max(row.region, self._renditions_max)

    async def counts(self, account_id: str, name: str) -> StreamCount:
        """How many streams of a domain are transcoded now (DescribeLiveStreamTranscodeStreamNum)."""
        async with self._database.read() as session:
            domain = await main_domain(session, account_id, name)
            rows = await session.scalars(select(TranscodeTemplate).where(TranscodeTemplate.domain == domain))
            lazy = {(row.app, row.template): row.lazy for row in rows}
        live = await self._live(domain)
        sources = {(item.app, item.stream) for item in live if not item.source}
        made = [item for item in live if item.template and (item.app, item.source) in sources]
        return StreamCount(
            streams=len(sources),
            transcoded=len({(item.app, item.source) for item in made}),
            renditions=len(made),
            lazy=sum(lazy.get((item.app, item.template), lazy.get((ANY, item.template), False)) for item in made),
            templates=Counter(item.template for item in made),
        )

    async def states(self, account_id: str, name: str, app: str, stream: str) -> list[RenditionState]:
        """The renditions of a source stream that are wanted now. Raises InvalidAppName, InvalidStreamName."""
        _check_stream(app, stream)
        async with self._database.read() as session:
            domain = await main_domain(session, account_id, name)
        return await self._states(domain, app, stream)

    async def task(self, account_id: str, push_domain: str, app: str, stream: str, template: str) -> RenditionState:
        """The rendition of a stream by the domain that it is pushed to (GetTranscodeTaskStatus).

        Raises InvalidStream.NotFound if it is not being made.
        """
        domain = await self._fed_by(account_id, push_domain, app, stream, template)
        for state in await self._states(domain, app, stream):
            if state.template == template:
                return state
        raise error("InvalidStream.NotFound", f"No rendition {template} of {app}/{stream} is being made.")

    async def restart(self, account_id: str, push_domain: str, app: str, stream: str, template: str, *, actor: Actor) -> None:
        """Let the job of a rendition begin anew, with all renditions of its stream (RestartTranscodeTask).

        Raises InvalidStream.NotFound, ServiceUnavailable.
        """
        await self.task(account_id, push_domain, app, stream, template)
        domain = await self._fed_by(account_id, push_domain, app, stream, template)
        await self._ask("/transcode/restart", {"domain": domain, "app": app, "stream": stream})
        object_ = f"{domain}/{app}/{stream}_{template}"
        async with self._database.change(account_id, actor, "RestartTranscodeTask", object_, self._clock()):
            pass

    async def templates_of_push(self, account_id: str, push_domain: str, app: str, template: str = "") -> list[Template]:
        """The templates of an app by the domain that its streams are pushed to (DescribeLiveDomainTranscodeParams).

        Raises ConfigNotFound if there is none, or not the one that is named.
        """
        async with self._database.read() as session:
            domain = await _main_of_push(session, account_id, push_domain)
        found = [
            item
            for item in await self.templates(account_id, domain)
            if item.app in (app, ANY) and template in ("", item.template)
        ]
        if not found:
            raise error("ConfigNotFound", "The app has no such template.")
        return found

    async def insert_sei(
        self,
        account_id: str,
        name: str,
        app: str,
        stream: str,
        text: str,
        *,
        pattern: Literal["keyframe", "frame"],
        repeat: int,
        delay_ms: int,
    ) -> None:
        """Write a text into all renditions of a source stream (AddTrancodeSEI). repeat: -1 goes on until another text comes.

        Raises InvalidText, InvalidRepeat, InvalidDelay, InvalidStream.NotFound, ServiceUnavailable.
        """
        _check_stream(app, stream)
        if not 1 <= len(text.encode()) <= SEI_TEXT_BYTES_MAX:
            raise invalid("Text", f"It has 1 to {SEI_TEXT_BYTES_MAX} bytes.")
        if not -1 <= repeat <= SEI_REPEAT_MAX:
            raise invalid("Repeat")
        if not 0 <= delay_ms <= SEI_DELAY_MAX_MS:
            raise invalid("Delay")
        async with self._database.read() as session:
            domain = await main_domain(session, account_id, name)
        sei = {"type": "sei", "text": text, "pattern": pattern, "repeat": repeat, "delay_ms": delay_ms}
        await self._ask("/transcode/sei", {"domain": domain, "app": app, "stream": stream, "sei": sei})

    # Templates for mixing

    async def add_mix_template(self, account_id: str, name: str, content: str, *, actor: Actor) -> None:
        """Keep a template of the account for mixing (CreateCustomTemplate).

        Raises InvalidTemplate, InvalidCustomTemplate, ConfigAlreadyExists, QuotaExceeded.MixTemplate.
        """
        if _MIX_NAME.fullmatch(name) is None:
            raise invalid("Template", "It has 1 to 64 letters, digits, hyphens and underscores.")
        _check_mix(content)
        now_s = self._clock()
        async with self._database.change(account_id, actor, "CreateCustomTemplate", name, now_s) as change:
            if await change.session.get(MixTemplate, (account_id, name)) is not None:
                raise error("ConfigAlreadyExists")
            where = MixTemplate.account == account_id
            await _bound(change.session, MixTemplate, where, MIX_TEMPLATES_MAX, "QuotaExceeded.MixTemplate")
            change.session.add(MixTemplate(account=account_id, name=name, content=content, created_s=now_s))
            change.after = {"content": content}

    async def remove_mix_template(self, account_id: str, name: str, *, actor: Actor) -> None:
        """Raises ConfigNotFound."""
        async with self._database.change(account_id, actor, "DeleteCustomTemplate", name, self._clock()) as change:
            row = await change.session.get(MixTemplate, (account_id, name))
            if row is None:
                raise error("ConfigNotFound", "The account has no such template.")
            change.before = {"content": row.content}
            await change.session.execute(delete(MixTemplate).where(MixTemplate.account == account_id, MixTemplate.name == name))

    async def mix_template(self, account_id: str, name: str) -> str:
        """The content of one. Raises ConfigNotFound."""
        found = await self.mix_templates(account_id)
        if name not in found:
            raise error("ConfigNotFound", "The account has no such template.")
        return found[name]

    async def mix_templates(self, account_id: str) -> dict[str, str]:
        """The account's templates for mixing, by name."""
        async with self._database.read() as session:
            rows = select(MixTemplate).where(MixTemplate.account == account_id).order_by(MixTemplate.name)
            return {row.name: row.content for row in await session.scalars(rows)}

    # Helpers

    async def _live(self, domain: str) -> list[StreamPresence]:
        return [presence.decode(entry.value) for entry in await self._cluster.list(f"{STREAM_PREFIX}{domain}/")]

    async def _states(self, domain: str, app: str, stream: str) -> list[RenditionState]:
        jobs = [
            job
            for job in await self._centers.jobs()
            if (job.kind, job.domain, job.app, job.stream) == ("transcode", domain, app, stream)
        ]
        live = {item.template for item in await self._live(domain) if (item.app, item.source) == (app, stream)}
        return [
            RenditionState(stream, template, job.state, job.speed, detail, job.error)
            for job in jobs
            for template, detail in (job.parts or dict.fromkeys(sorted(live - {""}), "")).items()
        ]

    async def _fed_by(self, account_id: str, push_domain: str, app: str, stream: str, template: str) -> str:
        _check_stream(app, stream)
        if not template:
            raise error("MissingParam", "TranscodingTemplate is mandatory for this action.")
        async with self._database.read() as session:
            return await _main_of_push(session, account_id, push_domain)

    async def _ask(self, path: str, question: Mapping[str, Any]) -> None:
        try:
            await self._centers.ask("POST", path, question)
        except CenterRefusal as fault:
            if fault.status == 404:
                raise error("InvalidStream.NotFound", f"{fault}.") from None
            raise wrong(f"{fault}.") from None
        except CenterError as fault:
            raise error("ServiceUnavailable", f"{fault}.") from None


def renditions_max(region: str, configured: int = 0) -> int:
    """How many renditions a domain of a live center may have at once (reference media-plane 2.8)."""
    return configured or (QUOTA_LARGE if region in LARGE_REGIONS else QUOTA_SMALL)


def rendition_of(template: Template) -> Rendition:
    """What a template makes of the streams of its app."""
    if template.kind == "preset" or template.parameters is None:
        return preset(template.app, template.template, lazy=template.lazy)
    return transcode_parameters.rendition(
        template.kind, template.app, template.template, template.parameters, lazy=template.lazy
    )


async def plan_part(session: AsyncSession, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`renditions` and `groups` of the plans of these domains."""
    found: dict[str, dict[str, Any]] = {}
    aligned: set[tuple[str, str, str]] = set()
    groups = select(BitrateGroup).where(BitrateGroup.domain.in_(names))
    for row in await session.scalars(groups.order_by(BitrateGroup.domain, BitrateGroup.app, BitrateGroup.name)):
        group = _group(row)
        fields = found.setdefault(row.domain, {"renditions": (), "groups": ()})
        fields["groups"] += (Group(group.app, group.name, group.children),)
        if group.align:
            aligned.update((row.domain, row.app, child) for child in group.children)
    rows = select(TranscodeTemplate).where(TranscodeTemplate.domain.in_(names))
    order = (TranscodeTemplate.domain, TranscodeTemplate.app, TranscodeTemplate.template)
    for template in await session.scalars(rows.order_by(*order)):
        rendition = rendition_of(template_of(template))
        if rendition.video is not None and (template.domain, template.app, template.template) in aligned:
            rendition = msgspec.structs.replace(rendition, video=msgspec.structs.replace(rendition.video, align=True))
        found.setdefault(template.domain, {"renditions": (), "groups": ()})["renditions"] += (rendition,)
    return found


async def main_domain(session: AsyncSession, account_id: str, name: str) -> str:
    """The name of a main streaming domain of the account. Raises InvalidDomain.NotFound, IllegalOperation."""
    domain = await owned_domain(session, account_id, name)
    if domain.type != "liveVideo":
        raise error("IllegalOperation")
    await bindings.check_main(session, domain.name)
    return domain.name


async def _main_of_push(session: AsyncSession, account_id: str, push_domain: str) -> str:
    domain = await owned_domain(session, account_id, push_domain)
    mapping = await session.get(DomainMapping, domain.name) if domain.type == "liveEdge" else None
    if mapping is None:
        raise error("InvalidPushDomain", "It must be bound to a streaming domain.")
    return mapping.pull_domain


_ACTIONS: Final[dict[tuple[Literal["Add", "Update"], Kind], str]] = {
    ("Add", "preset"): "AddLiveStreamTranscode",
    ("Add", "custom"): "AddCustomLiveStreamTranscode",
    ("Add", "rts"): "AddRtsLiveStreamTranscode",
    ("Update", "preset"): "UpdateLiveStreamTranscode",
    ("Update", "custom"): "UpdateCustomLiveStreamTranscode",
    ("Update", "rts"): "UpdateRtsLiveStreamTranscode",
}


def _checked(kind: Kind, template: str, parameters: Parameters | None) -> Parameters | None:
    if kind == "preset":
        if template not in PRESETS:
            raise wrong(f"Template is one of {', '.join(PRESETS)}.")
        return None
    assert parameters is not None
    check_name(kind, template)
    return checked(kind, parameters)


def _check_app(app: str) -> None:
    if app != ANY and _APP.fullmatch(app) is None:
        raise wrong("App has 1 to 256 letters, digits, hyphens and underscores, or is `*`.")


def _check_stream(app: str, stream: str) -> None:
    if not is_name(app):
        raise invalid("AppName")
    if not is_name(stream):
        raise invalid("StreamName")


def _check_mix(content: str) -> None:
    """A template for mixing is a JSON object with exactly these fields (CreateCustomTemplate)."""
    if len(content) > MIX_CONTENT_MAX:
        raise invalid("CustomTemplate", f"It has at most {MIX_CONTENT_MAX} characters.")
    try:
        fields = msgspec.json.decode(content, type=dict[str, str | int | float | bool])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        raise invalid("CustomTemplate", sentence(fault)) from None
    if sorted(fields) != sorted(MIX_FIELDS):
        raise invalid("CustomTemplate", f"It has the fields {', '.join(MIX_FIELDS)}, and no others.")


async def _check_unused(session: AsyncSession, row: TranscodeTemplate, advice: str) -> None:
    """Raises ConfigConflict if a multi-bitrate group has this template."""
    groups = select(BitrateGroup).where(BitrateGroup.domain == row.domain, BitrateGroup.app == row.app)
    for group in await session.scalars(groups):
        if row.template in _group(group).children:
            raise error("ConfigConflict", f"The multi-bitrate group {group.name} has this template: {advice}.")


async def _bound(session: AsyncSession, table: type[Any], where: ColumnElement[bool], most: int, code: Any) -> None:
    if (await session.scalar(select(func.count()).select_from(table).where(where)) or 0) >= most:
        raise error(code)


def _encoded(parameters: Parameters | None) -> str:
    return "" if parameters is None else msgspec.json.encode(parameters).decode()


def template_of(row: TranscodeTemplate) -> Template:
    """A template as its row has it."""
    parameters = msgspec.json.decode(row.parameters, type=Parameters) if row.parameters else None
    kind: Kind = "custom" if row.kind == "custom" else "rts" if row.kind == "rts" else "preset"
    return Template(row.domain, row.app, row.template, kind, row.lazy, parameters)


def _group(row: BitrateGroup) -> BitrateGroupRecord:
    return BitrateGroupRecord(row.domain, row.app, row.name, tuple(json.loads(row.children)), row.align)
