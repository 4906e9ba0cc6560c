"""`headwater load`: the command line of the load generator. What it does is imported late, as for every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def load(
    url: Annotated[
        str | None,
        typer.Argument(metavar="URL", help="What to play or publish; {n} in it is the number of the client, from 0."),
    ] = None,
    url_option: Annotated[str | None, typer.Option("-r", "--url", metavar="URL", help="The same, as an option.")] = None,
    clients: Annotated[int, typer.Option("-c", "--clients", min=1, help="How many viewers or publishers.")] = 1,
    seconds: Annotated[float, typer.Option("-t", "--seconds", min=0, help="How long; 0: until Ctrl-C.")] = 30,
    delay: Annotated[float, typer.Option("-s", "--delay", min=0, help="Seconds between two connections.")] = 0.001,
    publish: Annotated[bool, typer.Option("--publish", help="Publish instead of playing (rtmp and rtmps).")] = False,
    file: Annotated[Path | None, typer.Option(help="The FLV to publish, round and round.")] = None,
    bitrate: Annotated[int, typer.Option(help="Of the built-in clip, in kbit/s.")] = 1000,
    streams: Annotated[int | None, typer.Option(min=1, help="{n} counts modulo this: so many streams.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="HEADWATER_LOAD_KEY", help="Sign each URL with this key of the domain.")
    ] = None,
    check: Annotated[
        str | None, typer.Option(metavar="N|all", help="How many viewers look into every frame; a few per stream by default.")
    ] = None,
    stall: Annotated[float, typer.Option(min=0.1, help="A longer pause of media, in seconds, is a stall.")] = 2.0,
    stay: Annotated[
        float | None, typer.Option(min=0, help="Viewers leave so many seconds after their first media, as people who zap do.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="How many processes share the clients; one loads one core.")] = 1,
    insecure: Annotated[bool, typer.Option("-k", "--insecure", help="Accept any certificate.")] = False,
    json_to: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON; - for standard output.")
    ] = None,
) -> None:
    """Open many viewers or publishers, check what they receive, and measure how long it takes.

    Plays rtmp, rtmps, http(s) with .flv or .m3u8, and ws(s). Ends with 0 only if nothing was wrong, with 1 otherwise, and with
    2 if it could not begin.
    """
    from headwater.load.job import Options, execute

    raise typer.Exit(
        execute(
            Options(
                urls=[given for given in (url, url_option) if given is not None],
                clients=clients,
                seconds=seconds,
                delay_s=delay,
                publish=publish,
                file=file,
                bitrate_kbps=bitrate,
                streams=streams,
                key=key,
                check=check,
                stall_s=stall,
                stay_s=stay,
                processes=processes,
                insecure=insecure,
                json_to=json_to,
            )
        )
    )
