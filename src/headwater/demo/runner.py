"""Starts a platform, adds two domains through the API, pushes the test picture, prints the URLs, and plays them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from urllib.parse import quote

import msgspec
from rich.console import Console
from rich.table import Table

from headwater.demo.api import ApiClient, DemoError
from headwater.demo.check import Outcome, check
from headwater.domains.errors import DomainError
from headwater.domains.services import Services
from headwater.domains.urls import StreamUrls, endpoints, resolves
from headwater.observe import log
from headwater.platform import FIRST_OPERATOR, Platform
from headwater.platform import run as run_platform
from headwater.settings import ENV_PREFIX, Listen, Settings, listen_address, load
from headwater.supervisor import Supervisor

PUSH_DOMAIN, PLAY_DOMAIN = "push.demo.localhost", "play.demo.localhost"
REGION = "ap-southeast-1"
APP, STREAM, OWN_STREAM = "live", "demo", "obs"
TEMPLATE = "180p"
"""A transcoding template of the demo's own: half as wide and as high as the test picture."""
BUCKET = {"OssEndpoint": "local", "OssBucket": "demo"}
"""Where recordings and snapshots go: a folder in the demo's own."""

VALIDITY_S = 86_400
"""The demo's URLs hold for a day: long enough to be tried at leisure."""

ONLINE_S = 20.0
"""How long the test picture may take until it is on air."""

ONLINE_POLL_S = 0.2

SOURCE_DRAIN_S = 1.0
"""How long the test picture's process may take to end: it has nothing to bring to an end but its push."""

PORTS_TRIED = 100

_THERE_ALREADY = ("DomainAlreadyExist", "PushDomainAlreadyMapped", "ConfigAlreadyExists")
"""Codes of the service that tell, on an earlier demo's data, that a step was done then."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo prints, and what `--json` gives. check: the outcomes of `--check`.

    console_password is "" if the data are those of an earlier demo, which has shown it.
    """

    play: dict[str, str]
    player: str
    push: str
    obs_server: str
    obs_key: str
    api: str
    access_key_id: str
    access_key_secret: str
    console: str
    console_user: str
    console_password: str
    check: list[Outcome] | None = None


async def run(overrides: list[tuple[str, str]], data_dir: str | None, *, check: bool, json: bool) -> int:
    """Run the demo until Ctrl-C, or until every URL was checked. Returns the exit code. Raises DemoError."""
    console = Console(stderr=json, highlight=False, soft_wrap=True)
    with contextlib.ExitStack() as exits:
        folder = data_dir or exits.enter_context(tempfile.TemporaryDirectory(prefix="headwater-demo-"))
        settings = _settings(overrides, folder, console)
        log.configure(settings.log.format, settings.log.level, process="main")
        code = await run_platform(settings, lambda platform: _on_air(platform, console, check=check, json=json))
    # stopped by a signal: the way to end the demo, but not the way to end a check
    return int(check) if code is None else code


async def _on_air(platform: Platform, console: Console, *, check: bool, json: bool) -> int:
    """Everything that is done while the platform runs."""
    settings, services = platform.settings, platform.services
    if not (settings.listen.api and settings.listen.rtmp):
        raise DemoError("the demo needs listen.api and listen.rtmp, for its domains and its test picture")
    account_id, key_id, secret = await _account(platform)
    async with ApiClient(_address(settings.listen.api), key_id, secret) as client:
        await _add_domains(client)
        names = (STREAM, OWN_STREAM, f"{STREAM}_{TEMPLATE}")
        picture, own, small = [await _urls(services, account_id, settings, stream) for stream in names]
        play = picture.play
        if settings.center.enabled:
            await _add_templates(client)
            play = play | {f"{name} {TEMPLATE}": small.play[name] for name in ("http-flv", "hls") if name in small.play}
        shown = Shown(
            play=play,
            player=_player(picture, settings),
            push=own.push,
            obs_server=own.obs_server,
            obs_key=own.obs_key,
            api=f"http://{_address(settings.listen.api)}",
            access_key_id=key_id,
            access_key_secret=secret,
            console=f"http://{_address(settings.listen.console)}/" if settings.listen.console else "",
            console_user=FIRST_OPERATOR,
            console_password=platform.first_operator.password if platform.first_operator else "",
        )
        async with _test_picture(picture.push):
            await _until_online(client)
            if not json:
                _print(shown, console)
            if check:
                console.print(f"\nPlaying {len(play)} URLs …")
                shown = msgspec.structs.replace(shown, check=await _check(play))
                _print_outcomes(shown.check or [], console)
            if json:
                print(msgspec.json.encode(shown).decode(), flush=True)
            if shown.check is not None:
                return int(any(outcome.fault for outcome in shown.check))
            if not json:
                console.print("\nThe URLs are signed for a day. Stop everything with Ctrl-C.")
            await asyncio.Event().wait()  # until a signal cancels us
            return 0


def _settings(overrides: list[tuple[str, str]], folder: str, console: Console) -> Settings:
    chosen = {name.removeprefix("listen.") for name, _ in overrides}
    chosen |= {name.removeprefix(f"{ENV_PREFIX}LISTEN__").lower() for name in os.environ}
    listen: list[tuple[str, str]] = []
    with contextlib.ExitStack() as held:  # a port stays taken until all are chosen, so that no two get the same
        for field in msgspec.structs.fields(Listen):
            usual = listen_address(str(field.default))
            if usual is None or field.name in chosen:
                continue
            port = _free_port(field.name, usual[1], held)
            if port != usual[1]:
                console.print(f"Port {usual[1]} ({field.name}) is taken, using {port}.", style="yellow")
            listen.append((f"listen.{field.name}", f"127.0.0.1:{port}"))
    quiet = [] if f"{ENV_PREFIX}LOG__LEVEL" in os.environ else [("log.level", "warning")]
    cores = ("center.transcode_cores", "1")  # the small rendition may begin however busy the machine is
    return load(None, overrides=[*quiet, cores, *listen, *overrides, ("data_dir", folder)])


def _free_port(name: str, usual: int, held: contextlib.ExitStack) -> int:
    """The usual port of a listener, or the next one that is free on loopback; it stays bound until `held` is closed."""
    for port in range(usual, usual + PORTS_TRIED):
        probe = socket.socket()
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            probe.close()
        else:
            held.enter_context(probe)
            return port
    raise DemoError(f"listen.{name}: no port from {usual} to {usual + PORTS_TRIED - 1} is free")


def _address(text: str) -> str:
    """Where a client on this machine finds a listener that may listen at every address."""
    return text.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")


async def _account(platform: Platform) -> tuple[str, str, str]:
    """Id, access key id and secret: of the new account, or of the one that an earlier demo on these data used."""
    first = platform.first_account
    if first is not None:
        return first.account_id, first.access_key_id, first.access_key_secret
    accounts = platform.services.accounts
    try:
        account_id = await platform.services.domains.owner(PLAY_DOMAIN)
    except DomainError:
        account_id = (await accounts.accounts())[0].id  # without one, the platform would have made the first
    keys = await accounts.access_keys(account_id)
    if not keys:
        raise DemoError(f"account {account_id} has no active access key")
    return account_id, keys[0].id, keys[0].secret


async def _add_domains(client: ApiClient) -> None:
    """Add, sign and bind the two domains, as any user would."""
    for name, kind in ((PUSH_DOMAIN, "liveEdge"), (PLAY_DOMAIN, "liveVideo")):
        await client.call(
            "AddLiveDomain", DomainName=name, LiveDomainType=kind, Region=REGION, Scope="overseas", accept=_THERE_ALREADY
        )
        found = await client.call("DescribeLiveDomainConfigs", DomainName=name, FunctionNames="aliauth")
        [config] = found["DomainConfigs"]["DomainConfig"]
        arguments = {item["ArgName"]: item["ArgValue"] for item in config["FunctionArgs"]["FunctionArg"]}
        arguments["ali_auth_delta"] = str(VALIDITY_S)
        function = {
            "functionName": "aliauth",
            "functionArgs": [{"argName": key, "argValue": value} for key, value in arguments.items()],
        }
        functions = msgspec.json.encode([function]).decode()
        await client.call("BatchSetLiveDomainConfigs", DomainNames=name, Functions=functions)
    await client.call("AddLiveDomainMapping", PushDomain=PUSH_DOMAIN, PullDomain=PLAY_DOMAIN, accept=_THERE_ALREADY)


async def _add_templates(client: ApiClient) -> None:
    """Let the live center work: a rendition for whoever asks for it, a recording, and pictures."""
    app = {"DomainName": PLAY_DOMAIN, "AppName": APP}
    small = {"TemplateType": "h264", "Width": "320", "Height": "180", "FPS": "25", "VideoBitrate": "200", "Lazy": "yes"}
    await client.call(
        "AddCustomLiveStreamTranscode", Domain=PLAY_DOMAIN, App=APP, Template=TEMPLATE, **small, accept=_THERE_ALREADY
    )
    recording = {
        "RecordFormat.1.Format": "m3u8",
        "RecordFormat.1.CycleDuration": "300",
        "RecordFormat.1.SliceDuration": "5",
        "RecordFormat.1.OssObjectPrefix": "record/{AppName}/{StreamName}/{Sequence}_{StartTime}_{EndTime}",
        "RecordFormat.1.SliceOssObjectPrefix": "record/{AppName}/{StreamName}/{UnixTimestamp}_{Sequence}",
    }
    await client.call("AddLiveAppRecordConfig", **app, **BUCKET, **recording, accept=_THERE_ALREADY)
    pictures = {"TimeInterval": "5", "SequenceOssObject": "snapshot/{AppName}/{StreamName}/{UnixTimestamp}.jpg"}
    await client.call("AddLiveAppSnapshotConfig", **app, **BUCKET, **pictures, accept=_THERE_ALREADY)


async def _urls(services: Services, account_id: str, settings: Settings, stream: str) -> StreamUrls:
    named = await asyncio.to_thread(lambda: resolves(PUSH_DOMAIN) and resolves(PLAY_DOMAIN))
    where = endpoints(settings.listen, None if named else settings.public_host)
    return await services.domains.urls(account_id, PLAY_DOMAIN, APP, stream, where)


@contextlib.asynccontextmanager
async def _test_picture(url: str) -> AsyncIterator[None]:
    """Push the test picture from a process of its own, which learns the URL as one line of its standard input."""
    command = (sys.executable, "-m", "headwater.demo.source")
    source = Supervisor("test picture", command, f"{url}\n".encode(), SOURCE_DRAIN_S)
    try:
        yield
    finally:
        await source.stop()


async def _until_online(client: ApiClient) -> None:
    try:
        async with asyncio.timeout(ONLINE_S):
            while not (await client.call("DescribeLiveStreamsOnlineList", DomainName=PLAY_DOMAIN, StreamName=STREAM))[
                "TotalNum"
            ]:
                await asyncio.sleep(ONLINE_POLL_S)
    except TimeoutError:
        raise DemoError(f"the test picture was not on air within {ONLINE_S:g} s") from None


async def _check(play: dict[str, str]) -> list[Outcome]:
    return await asyncio.gather(*(check(name, url) for name, url in play.items()))


def _player(urls: StreamUrls, settings: Settings) -> str:
    """The address of the page that plays the test picture, "" without a console or an HTTP listener."""
    if not settings.listen.console or "http-flv" not in urls.play:
        return ""
    return f"http://{_address(settings.listen.console)}/player?url={quote(urls.play['http-flv'], safe='')}"


def _print(shown: Shown, console: Console) -> None:
    def title(text: str) -> None:
        console.print(f"\n[bold]{text}[/bold]")

    def row(name: str, value: str) -> None:
        console.print(f"  {name:<20}", end="")
        console.print(value, style="cyan", markup=False)

    title("Headwater is on air with a test picture.")
    if shown.player:
        row("Watch in a browser", shown.player)
    title("Play URLs")
    for name, url in shown.play.items():
        row(name, url)
    title(f"Push your own stream with OBS (the name `{STREAM}` is on air, so this is for the name `{OWN_STREAM}`)")
    row("Server", shown.obs_server)
    row("Stream key", shown.obs_key)
    row("or in one piece", shown.push)
    title("API (ApsaraVideo Live 2016-11-01; the official SDKs work with this endpoint)")
    row("Endpoint", shown.api)
    row("AccessKey ID", shown.access_key_id)
    row("AccessKey secret", shown.access_key_secret)
    if shown.console:
        title("Web console")
        row("Address", shown.console)
        row("User", shown.console_user)
        row("Password", shown.console_password or "(as an earlier demo has shown it)")


def _print_outcomes(outcomes: Iterable[Outcome], console: Console) -> None:
    table = Table("protocol", "picture", "frames", "sound", "seconds", "result")
    for outcome in outcomes:
        result = f"[red]{outcome.fault}[/red]" if outcome.fault else "[green]ok[/green]"
        table.add_row(outcome.name, outcome.picture, str(outcome.frames), outcome.sound, f"{outcome.seconds:.1f}", result)
    console.print(table)
