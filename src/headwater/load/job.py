"""One load run from the options of its user to its exit code."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from headwater.load import summary
from headwater.load.clip import make_clip, parse_clip
from headwater.load.plan import Plan, checked_by_default
from headwater.load.runner import RunError, raise_file_limit, run
from headwater.load.tally import Tally
from headwater.load.target import NUMBER
from headwater.media.errors import MediaError

STDOUT = "-"

OK, WRONG, UNUSABLE = 0, 1, 2
"""Exit codes: nothing was wrong, something was, the run could not begin or did not come to its end."""


class Options(msgspec.Struct, frozen=True):
    """What the user asked for, as `headwater load --help` explains it. urls: all that were given; exactly one is wanted.

    seconds: 0 until Ctrl-C. json_to: a path, `-`, or None.
    """

    urls: list[str]
    clients: int
    seconds: float
    delay_s: float
    publish: bool
    file: Path | None
    bitrate_kbps: int
    streams: int | None
    key: str | None
    check: str | None
    stall_s: float
    stay_s: float | None
    processes: int
    insecure: bool
    json_to: str | None


def execute(options: Options) -> int:
    """Do it, and say what happened; the exit code."""
    notes = Console(stderr=True)
    try:
        plan = make_plan(options)
        raise_file_limit(plan.clients, plan.processes, hls=plan.target(0).protocol == "hls")
        with _clip(options) as clip:
            plan = msgspec.structs.replace(plan, clip=clip)
            tally = _run(plan, notes)
        if options.json_to is not None:
            _write_json(json.dumps(summary.as_object(plan, tally), indent=2), options.json_to)
    except (ValueError, MediaError, OSError, RunError) as error:
        notes.print(f"[red]error[/red] {escape(str(error))}", highlight=False)
        return UNUSABLE
    summary.print_summary(notes if options.json_to == STDOUT else Console(), plan, tally)
    return OK if summary.is_ok(tally) else WRONG


def make_plan(options: Options) -> Plan:
    """The run as a whole, still without its clip. Raises ValueError, with a message for the user."""
    if len(options.urls) != 1:
        raise ValueError("say which URL, once: as an argument or with -r")
    url, clients = options.urls[0], options.clients
    if options.seconds and (clients - 1) * options.delay_s >= options.seconds:
        raise ValueError(
            f"{clients} clients {options.delay_s} s apart do not fit into {options.seconds} s: raise -t or lower -s"
        )
    if options.publish and clients > 1 and NUMBER not in url:
        raise ValueError(f"several publishers need several names: put {NUMBER} into the URL")
    if options.streams is not None and (NUMBER not in url or options.publish):
        raise ValueError(f"--streams is for viewers, with {NUMBER} in the URL")
    if options.stay_s is not None and options.publish:
        raise ValueError("--stay is for viewers")
    if options.file is not None and not options.publish:
        raise ValueError("--file needs --publish")
    streams = min(options.streams or clients, clients) if NUMBER in url else 1
    plan = Plan(
        url=url,
        clients=clients,
        processes=min(options.processes, clients),
        index=0,
        seconds=options.seconds or None,
        delay_s=options.delay_s,
        streams=streams,
        check=_check_count(options.check, clients, streams),
        stall_s=options.stall_s,
        stay_s=options.stay_s,
        key=options.key,
        insecure=options.insecure,
        clip=None,
    )
    for number in (0, clients - 1):
        target = plan.target(number)
        if options.publish and target.protocol != "rtmp":
            raise ValueError(f"`{url}`: publishing works over rtmp and rtmps")
    return plan


def _check_count(check: str | None, clients: int, streams: int) -> int:
    if check is None:
        return checked_by_default(clients, streams)
    if check == "all":
        return clients
    if not (check.isascii() and check.isdigit()):
        raise ValueError(f"--check {check}: a number, or all")
    return min(int(check), clients)


@contextlib.contextmanager
def _clip(options: Options) -> Iterator[str | None]:
    """The path of the FLV that is to be published, None for viewers. Raises MediaError, ValueError or OSError."""
    if not options.publish:
        yield None
    elif options.file is not None:
        parse_clip(options.file.read_bytes())
        yield str(options.file)
    else:
        with tempfile.NamedTemporaryFile(suffix=".flv") as made:
            made.write(make_clip(options.bitrate_kbps))
            made.flush()
            yield made.name


def _run(plan: Plan, console: Console) -> Tally:
    """Run it with a progress bar, which is shown on terminals only."""
    plans = [msgspec.structs.replace(plan, index=index) for index in range(plan.processes)]
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("connecting", total=plan.seconds)

        def show(tally: Tally) -> None:
            bar.update(task, completed=summary.seconds_of(tally), description=summary.progress(plan, tally))

        return run(plans, show)


def _write_json(text: str, json_to: str) -> None:
    if json_to == STDOUT:
        print(text)
    else:
        Path(json_to).write_text(text + "\n")
