"""Finds the live centers, and asks them: each announces itself as `center/<node>` and answers on a Unix socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from headwater.cluster.interface import Cluster

if TYPE_CHECKING:
    import httpx

CENTER_PREFIX = "center/"
JOB_PREFIX = "job/"
"""Keys `job/<node>/<kind>/<id>`: what a job does now, leased."""

ANSWER_S = 20.0
"""How long a center may take to answer; a snapshot waits for the stream's next key frame, ten seconds away at most."""


class CenterPresence(msgspec.Struct, frozen=True):
    """The value of a center's key: it is there once it answers. socket: path of its Unix socket."""

    pid: int
    socket: str


class JobPresence(msgspec.Struct, frozen=True):
    """A job as API, console and metrics see it.

    template: of the rendition on which it works, "" for the source stream (`stream`).
    state: `waiting` (for cores, or for its next try), `starting`, `running`. since: unix seconds at which it was wanted first.
    cpu: cores that it uses, memory_bytes: its resident memory; shared alike by the jobs of one process. restarts: how often it
    failed. error: why it failed the last time, until it has run well for a minute, or why it waits.
    speed, frames, dropped, detail, parts: see center.jobs.JobState.
    """

    kind: str
    id: str
    domain: str
    app: str
    stream: str
    session: str
    state: str
    since: float
    speed: float = 0.0
    frames: int = 0
    dropped: int = 0
    cpu: float = 0.0
    memory_bytes: int = 0
    restarts: int = 0
    error: str = ""
    detail: str = ""
    parts: dict[str, str] = {}
    template: str = ""

    @property
    def name(self) -> str:
        """What it works on, for people."""
        if not self.domain:
            return self.id
        return f"{self.domain}/{self.app}/{self.stream}{'_' if self.template else ''}{self.template}"


class CenterError(Exception):
    """No center could answer; the message says why."""


class CenterRefusal(CenterError):
    """A center's answer is an error. status: of HTTP. code: for programs, "" if it gave none."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


class Centers:
    """All centers of the cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def present(self) -> dict[str, CenterPresence]:
        """The centers that are there, by node."""
        entries = await self._cluster.list(CENTER_PREFIX)
        return {
            entry.key.removeprefix(CENTER_PREFIX): msgspec.json.decode(entry.value, type=CenterPresence) for entry in entries
        }

    async def jobs(self) -> list[JobPresence]:
        """All jobs, as they were a moment ago."""
        return [msgspec.json.decode(entry.value, type=JobPresence) for entry in await self._cluster.list(JOB_PREFIX)]

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask a center; the answer is decoded JSON, None if it is empty. Raises CenterError, CenterRefusal among them."""
        return msgspec.json.decode(await self.fetch(method, path, body) or b"null")

    async def fetch(self, method: str, path: str, body: Any = None) -> bytes:
        """As `ask`, for an answer that is no JSON."""
        import httpx  # media workers, which need the presences alone, keep it out of their memory

        centers = await self.present()
        if not centers:
            raise CenterError("no live center is running")
        center = centers[min(centers)]
        transport = httpx.AsyncHTTPTransport(uds=center.socket, verify=False)
        content = None if body is None else msgspec.json.encode(body)
        try:
            async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=ANSWER_S) as client:
                answer = await client.request(
                    method, f"http://center{path}", content=content, headers={"Content-Type": "application/json"}
                )
        except httpx.HTTPError as error:
            raise CenterError(f"the live center does not answer: {type(error).__name__} {error}") from error
        if answer.is_error:
            raise _refusal(answer)
        return answer.content


def _refusal(answer: httpx.Response) -> CenterRefusal:
    """The error of an answer: a JSON object with `code` and `message`, or plain text."""
    try:
        said = msgspec.json.decode(answer.content, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = {}
    return CenterRefusal(answer.status_code, said.get("code", ""), said.get("message") or answer.text[:500])
