"""What the center and its job processes say to one another: JSON, a line for each message, over standard input and output.

A job process has one kind of job and may hold several. It ends when its standard input does: no job outlives the center.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from headwater.settings import Settings

ALIVE_S = 1.0
"""How often a process says what its jobs do."""

HUNG_S = 15.0
"""A process that has said nothing for so long is killed: an encoder on a busy machine may hold its breath for some seconds."""


LINE_MAX_BYTES = 16 * 1024 * 1024
"""A message may carry a watermark's picture; more is a fault."""


class Setup(msgspec.Struct, frozen=True):
    """The first line that a process reads. number: of the process among those of its kind. spool: where its files stand."""

    settings: Settings
    spool: str
    number: int = 0


class Source(msgspec.Struct, frozen=True):
    """The stream of a job, and the internal socket (node.internal) of the worker that has its publisher.

    session: id of the publisher's session: with another one, the stream has been published anew.
    """

    domain: str
    app: str
    stream: str
    session: str
    socket: str


NO_SOURCE = Source("", "", "", "", "")
"""Of a job that works on no live stream of this node."""


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Begin a job. spec: JSON, by the kind of job. attempt: 1 at first, then one more after each failure."""

    job: str
    source: Source
    spec: msgspec.Raw
    attempt: int = 1


class Change(msgspec.Struct, frozen=True, tag="change"):
    """The job goes on with another source or spec."""

    job: str
    source: Source
    spec: msgspec.Raw


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Finish the job in order; its process answers with `Ended`."""

    job: str
    reason: str


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """A question to a job, JSON by its kind; answered by an `Answer` with the same id."""

    job: str
    id: str
    question: msgspec.Raw


Order = Start | Change | Stop | Ask
"""What the center says."""


class JobState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a job does now.

    speed: media seconds made in a second, over the last ones; below 1 it falls behind. frames, dropped: sums since its start.
    parts: of what it makes, by name (renditions, files), each with what is to be known of it.
    stuck_s: how long its own thread has shown no life, for a job that has one: its process is killed after HUNG_S.
    """

    state: Literal["starting", "running", "waiting"] = "starting"
    speed: float = 0.0
    frames: int = 0
    dropped: int = 0
    detail: str = ""
    parts: dict[str, str] = {}
    stuck_s: float = 0.0


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """Said each ALIVE_S: every job of the process."""

    jobs: dict[str, JobState]


class Told(msgspec.Struct, frozen=True, tag="told"):
    """Something has happened in a job, JSON by its kind: a file is complete, say."""

    job: str
    event: msgspec.Raw


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """The answer to an `Ask`. error: why there is none, for a person."""

    id: str
    body: msgspec.Raw
    error: str = ""


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """A job is over: asked to stop (error "") or failed."""

    job: str
    error: str = ""


Report = Alive | Told | Answer | Ended
"""What a job process says."""
