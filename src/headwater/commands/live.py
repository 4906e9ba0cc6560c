"""The commands that look at what a running server does: jobs of the live center, pictures of live streams."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.commands.common import Config, DataDir, Json, Sets, fail, print_json, settings_of, with_database

if TYPE_CHECKING:
    from headwater.store.database import Database


def snapshot(
    domain: Annotated[str, typer.Argument(help="A streaming domain.")],
    app_name: Annotated[str, typer.Argument(metavar="APP")],
    stream: Annotated[str, typer.Argument(help="A live stream, or a rendition that runs.")],
    output: Annotated[Path | None, typer.Option(help="The file to write (default: STREAM.jpg).", dir_okay=False)] = None,
    config: Config = None,
    data_dir: DataDir = None,
    sets: Sets = None,
) -> None:
    """Take a picture of a live stream now, with the help of the server that runs."""
    from headwater.cluster.interface import ClusterError
    from headwater.cluster.running import running
    from headwater.domains import services

    settings = settings_of(config, data_dir, sets, process="cli")

    async def take(database: Database) -> bytes:
        cluster = await running(Path(settings.data_dir))
        try:
            return await services.build(database, cluster, settings).snapshots.take(domain, app_name, stream)
        finally:
            await cluster.close()

    file = output or Path(f"{stream}.jpg")
    try:
        file.write_bytes(with_database(settings, take))
    except ClusterError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    print(file)


def jobs(config: Config = None, data_dir: DataDir = None, sets: Sets = None, json: Json = False) -> None:
    """List what the live center of the running server does: transcoding, recording, snapshots."""
    from headwater.cluster.centers import Centers
    from headwater.cluster.interface import ClusterError
    from headwater.cluster.running import running

    settings = settings_of(config, data_dir, sets, process="cli")

    async def look() -> list[Any]:
        cluster = await running(Path(settings.data_dir))
        try:
            return await Centers(cluster).jobs()
        finally:
            await cluster.close()

    try:
        found = asyncio.run(look())
    except ClusterError as error:
        fail(str(error))
    if json:
        print_json(found)
        return
    for job in found:
        cost = f"{job.cpu:5.2f} cores {job.memory_bytes / 1e6:6.0f} MB"
        said = "; ".join(filter(None, (job.error, job.detail)))
        print(f"{job.kind:<10}{job.state:<10}{job.speed:5.2f}x {job.dropped:>6} dropped {cost}  {job.name}  {said}".rstrip())
    if not found:
        print("no jobs: nothing is live that a template is for")
