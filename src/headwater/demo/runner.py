"""Starts a platform, adds two domains through the API, pushes the test picture, prints the URLs, and plays them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from urllib.parse import quote

import msgspec
from rich.console import Console
from rich.table import Table

from headwater.demo.api import ApiClient, DemoError
from headwater.demo.check import Outcome, check
from headwater.domains.accounts import NewAccount
from headwater.domains.urls import StreamUrls, endpoints, resolves
from headwater.observe import log
from headwater.platform import Platform, raise_file_limit
from headwater.settings import Listen, Settings, listen_address, load

PUSH_DOMAIN, PLAY_DOMAIN = "push.demo.localhost", "play.demo.localhost"
REGION = "ap-southeast-1"
APP, STREAM, OWN_STREAM = "live", "demo", "obs"

VALIDITY_S = 86_400
"""The demo's URLs hold for a day: long enough to be tried at leisure."""

ONLINE_S = 20.0
"""How long the test picture may take until it is on air."""

PORTS_TRIED = 100


async def run(overrides: list[tuple[str, str]], data_dir: str | None, *, check: bool, json: bool) -> int:
    """Run the demo until Ctrl-C, or until every URL was checked. Returns the exit code."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    with contextlib.ExitStack() as exits:
        folder = data_dir or exits.enter_context(tempfile.TemporaryDirectory(prefix="headwater-demo-"))
        listen, moved = _free_ports({name.removeprefix("listen.") for name, _ in overrides})
        settings = load(None, overrides=[("log.level", "warning"), *listen, *overrides, ("data_dir", folder)])
        log.configure(settings.log.format, settings.log.level, process="main")
        raise_file_limit()
        console = Console(stderr=json, highlight=False, soft_wrap=True)
        for line in moved:
            console.print(line, style="yellow")
        platform = Platform(settings)
        await platform.start()
        try:
            account = platform.first_account
            if account is None:
                raise DemoError(
                    f"{folder} holds the data of an earlier server: start that with `headwater up --data-dir {folder}`"
                )
            urls = await _set_up(platform, settings, account)
            async with _test_picture(urls.picture.push), _client(settings, account) as client:
                await _until_online(client, stopping)
                if json:
                    print(msgspec.json.encode(_described(urls, settings, account)).decode(), flush=True)
                if check and not stopping.is_set():
                    return await _check_all(urls, console)
                if not json:
                    _print(urls, settings, account, console)
                await stopping.wait()
                return 0
        finally:
            await platform.stop()


def _free_ports(taken_care_of: set[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Settings that put every listener on loopback, on its usual port or the next free one; and what to say about it."""
    settings, moved = [], []
    with contextlib.ExitStack() as held:  # a port stays taken until all are chosen, so that no two get the same
        for field in msgspec.structs.fields(Listen):
            usual = listen_address(str(field.default))
            if usual is None or field.name in taken_care_of:
                continue
            port = next((port for port in range(usual[1], usual[1] + PORTS_TRIED) if _take(port, held)), None)
            if port is None:
                raise DemoError(f"listen.{field.name}: no port from {usual[1]} to {usual[1] + PORTS_TRIED - 1} is free")
            if port != usual[1]:
                moved.append(f"Port {usual[1]} ({field.name}) is taken, using {port}.")
            settings.append((f"listen.{field.name}", f"127.0.0.1:{port}"))
    return settings, moved


def _take(port: int, held: contextlib.ExitStack) -> bool:
    probe = socket.socket()
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        probe.listen()
    except OSError:
        probe.close()
        return False
    held.enter_context(probe)
    return True


class DemoUrls(msgspec.Struct, frozen=True):
    """The test picture's URLs, and those of a second stream that a person can push."""

    picture: StreamUrls
    own: StreamUrls


async def _set_up(platform: Platform, settings: Settings, account: NewAccount) -> DemoUrls:
    """Add, sign and bind the two domains, and return the streams' URLs."""
    async with _client(settings, account) as client:
        for name, kind in ((PUSH_DOMAIN, "liveEdge"), (PLAY_DOMAIN, "liveVideo")):
            await client.call("AddLiveDomain", DomainName=name, LiveDomainType=kind, Region=REGION, Scope="overseas")
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
        await client.call("AddLiveDomainMapping", PushDomain=PUSH_DOMAIN, PullDomain=PLAY_DOMAIN)
    named = await asyncio.to_thread(lambda: resolves(PUSH_DOMAIN) and resolves(PLAY_DOMAIN))
    where = endpoints(settings.listen, None if named else settings.public_host)
    domains = platform.services.domains
    picture, own = [await domains.urls(account.account_id, PLAY_DOMAIN, APP, name, where) for name in (STREAM, OWN_STREAM)]
    return DemoUrls(picture, own)


def _client(settings: Settings, account: NewAccount) -> ApiClient:
    return ApiClient(settings.listen.api, account.access_key_id, account.access_key_secret)


@contextlib.asynccontextmanager
async def _test_picture(url: str) -> AsyncIterator[None]:
    """Push the test picture from a process of its own, which ends with its standard input."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headwater.demo.source", url, stdin=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None  # stdin=PIPE
    try:
        yield
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _until_online(client: ApiClient, stopping: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(ONLINE_S):
            while not stopping.is_set():
                found = await client.call("DescribeLiveStreamsOnlineList", DomainName=PLAY_DOMAIN)
                if found["TotalNum"]:
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), 0.1)
    except TimeoutError:
        raise DemoError(f"the test picture was not on air within {ONLINE_S:g} s") from None


async def _check_all(urls: DemoUrls, console: Console) -> int:
    console.print(f"Playing {len(urls.picture.play)} URLs …")
    outcomes: list[Outcome] = await asyncio.gather(*(check(name, url) for name, url in urls.picture.play.items()))
    table = Table("protocol", "picture", "frames", "sound", "seconds", "result")
    for outcome in outcomes:
        result = f"[red]{outcome.fault}[/red]" if outcome.fault else "[green]ok[/green]"
        table.add_row(outcome.name, outcome.picture, str(outcome.frames), outcome.sound, f"{outcome.seconds:.1f}", result)
    console.print(table)
    return 1 if any(outcome.fault for outcome in outcomes) else 0


def _described(urls: DemoUrls, settings: Settings, account: NewAccount) -> dict[str, object]:
    return {
        "play": urls.picture.play,
        "player": _player(urls, settings),
        "push": urls.own.push,
        "obs_server": urls.own.obs_server,
        "obs_key": urls.own.obs_key,
        "api": f"http://{settings.listen.api}",
        "access_key_id": account.access_key_id,
        "access_key_secret": account.access_key_secret,
    }


def _player(urls: DemoUrls, settings: Settings) -> str | None:
    if not settings.listen.console or "http-flv" not in urls.picture.play:
        return None
    return f"http://{settings.listen.console}/player?url={quote(urls.picture.play['http-flv'], safe='')}"


def _print(urls: DemoUrls, settings: Settings, account: NewAccount, console: Console) -> None:
    def title(text: str) -> None:
        console.print(f"\n[bold]{text}[/bold]")

    def row(name: str, value: str) -> None:
        console.print(f"  {name:<18}[cyan]{value}[/cyan]")

    title("Headwater is on air with a test picture.")
    player = _player(urls, settings)
    if player is not None:
        row("Watch in a browser", player)
    title("Play URLs")
    for name, url in urls.picture.play.items():
        row(name, url)
    title("Push your own stream with OBS (the name `demo` is taken, so this one is for the name `obs`)")
    row("Server", urls.own.obs_server)
    row("Stream key", urls.own.obs_key)
    title("API (ApsaraVideo Live 2016-11-01; the official SDKs work with this endpoint)")
    row("Endpoint", f"http://{settings.listen.api}")
    row("AccessKey ID", account.access_key_id)
    row("AccessKey secret", account.access_key_secret)
    console.print("\nEverything is temporary and signed for a day. Stop with Ctrl-C.")
