"""How the API, the start of a node and its memory behave with very many domains, beside a hundred.

python -m benchmarks.domains --domains 100000
python -m benchmarks.domains --domains 1000000 --database postgresql://user:password@host/empty
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import http.client
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import quote

import httpx
from sqlalchemy import insert

from benchmarks.measure import MIB, memory_bytes, title, tree
from headwater.domains import functions
from headwater.domains.accounts import AccountService
from headwater.settings import Listen, Settings
from headwater.store.database import Actor, Database
from headwater.store.models import Domain, DomainCount, DomainFunction, DomainMapping

REGION = "eu-central-1"
ROWS_AT_ONCE = 5000
SMALL = 100


def name(number: int) -> str:
    """Every second domain is an ingest domain, bound to the streaming domain before it."""
    return f"d{number:07}.bench.test"


async def fill(settings: Settings, count: int) -> tuple[str, str]:
    """Bring a new database to so many domains, all of one account; its access key and secret."""
    database = await Database.of(settings)
    started = time.monotonic()
    accounts = AccountService(database)
    made = await accounts.create(f"bench-{secrets.token_hex(4)}", actor=Actor("bench"))
    now_s = time.time()
    for first in range(0, count, ROWS_AT_ONCE):
        numbers = range(first, min(first + ROWS_AT_ONCE, count))
        domains = [
            {
                "name": name(number),
                "account": made.account_id,
                "type": "liveEdge" if number % 2 else "liveVideo",
                "region": REGION,
                "scope": "overseas",
                "status": "online",
                "created_s": now_s,
                "modified_s": now_s,
                "cname": f"{name(number)}.w.headwater.internal",
                "description": "",
                "resource_group_id": "",
                "root": "bench.test",
            }
            for number in numbers
        ]
        keys = []
        for number in numbers:
            signing = functions.new_signing()
            row = {"function": signing.name, "args": functions.encode_args(signing.args), "status": "success"}
            keys.append({"domain": name(number), "created_s": now_s, **row})
        bound = [{"push_domain": name(number), "pull_domain": name(number - 1)} for number in numbers if number % 2]
        async with database.write() as session:
            await session.execute(insert(Domain), domains)
            await session.execute(insert(DomainFunction), keys)
            await session.execute(insert(DomainMapping), bound)
    async with database.write() as session:
        await session.merge(DomainCount(account=made.account_id, domains=count, quota=None))
    await database.close()
    print(f"filled with {count} domains in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return made.access_key_id, made.access_key_secret


class Api:
    """Signed calls (ACS3-HMAC-SHA256) on one connection that is kept."""

    def __init__(self, port: int, key_id: str, secret: str) -> None:
        self._host, self._key_id, self._secret = f"127.0.0.1:{port}", key_id, secret
        self._http = httpx.Client(base_url=f"http://{self._host}", trust_env=False, timeout=60)

    def call(self, action: str, **parameters: str) -> dict[str, object]:
        """The answer. Raises RuntimeError with what the API says."""
        query = "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in sorted(parameters.items()))
        headers = {
            "host": self._host,
            "x-acs-action": action,
            "x-acs-content-sha256": hashlib.sha256(b"").hexdigest(),
            "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "x-acs-signature-nonce": uuid.uuid4().hex,
            "x-acs-version": "2016-11-01",
        }
        signed = "".join(f"{key}:{value}\n" for key, value in headers.items())
        canonical = "\n".join(("POST", "/", query, signed, ";".join(headers), headers["x-acs-content-sha256"]))
        text = "ACS3-HMAC-SHA256\n" + hashlib.sha256(canonical.encode()).hexdigest()
        signature = hmac.new(self._secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        headers["authorization"] = (
            f"ACS3-HMAC-SHA256 Credential={self._key_id},SignedHeaders={';'.join(headers)},Signature={signature}"
        )
        response = self._http.post(f"/?{query}", headers=headers)
        if response.status_code != 200:
            raise RuntimeError(response.text)
        answer: dict[str, object] = response.json()
        return answer


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextlib.contextmanager
def serving(settings: list[str], workers: int) -> Iterator[tuple[int, int, int, float]]:
    """A node; the ports of its API and of HTTP, its process id, and the seconds from its start to `ready`."""
    api, http = free_ports(2)
    ours = {"api": f"127.0.0.1:{api}", "http": f"127.0.0.1:{http}"}
    listen = [f"listen.{other}={ours.get(other, '')}" for other in Listen.__struct_fields__]
    flags = [*settings, *listen, f"workers={workers}", "api.limits_scale=0", "domains.quota=2000000", "log.level=error"]
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "headwater", "up", *(part for flag in flags for part in ("--set", flag))],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "ready":
                break
        else:
            raise RuntimeError("the server did not become ready")
        yield api, http, process.pid, time.monotonic() - started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


class Node:
    """A running node with its domains."""

    def __init__(self, count: int, port: int, http: int, pid: int, ready_s: float, key: tuple[str, str]) -> None:
        self.count, self.pid, self.ready_s = count, pid, ready_s
        self.api = Api(port, *key)
        self._http = http
        self._new = secrets.token_hex(4)

    def add(self, number: int) -> None:
        """Add a domain that nobody has."""
        new = f"n{number}-{self._new}.bench.test"
        self.api.call("AddLiveDomain", DomainName=new, LiveDomainType="liveVideo", Region=REGION, Scope="overseas")

    def detail(self, number: int) -> None:
        """Look at one of the domains."""
        self.api.call("DescribeLiveDomainDetail", DomainName=name(number * 7919 % self.count))

    def page(self, number: int) -> None:
        """Read one of the first pages."""
        self.api.call("DescribeLiveUserDomains", PageNumber=str(number % 5 + 1))

    def middle(self, number: int) -> None:
        """Read a page in the middle of the list."""
        self.api.call("DescribeLiveUserDomains", PageNumber=str(max(1, min(100_000, self.count // 40) - number)))

    def everywhere_ms(self, domain: str, workers: int) -> float:
        """How long it takes from the call that stops a domain until every worker refuses to play from it.

        The kernel gives new connections to workers at random: so many in a row that all refuse leave out no worker.
        """
        started = last_served = time.perf_counter()
        self.api.call("StopLiveDomain", DomainName=domain)
        answered = time.perf_counter()
        in_a_row = 0
        while in_a_row < 16 * workers:
            asked = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", self._http, timeout=10)
            connection.request("GET", f"/live/x.flv?vhost={domain}")
            reason = connection.getresponse().headers.get("X-Tengine-Error", "")
            connection.close()
            if "offline" in reason:
                in_a_row += 1
            else:
                in_a_row, last_served = 0, asked
        return (max(answered, last_served) - started) * 1000

    def memory_mib(self) -> tuple[float, float]:
        """What the main process and the largest worker have resident."""
        workers = [each for each in tree(self.pid) if "headwater.node" in title(each)]
        return memory_bytes(self.pid)[0] / MIB, max(memory_bytes(each)[0] for each in workers) / MIB


@contextlib.contextmanager
def node(count: int, database: str, workers: int) -> Iterator[Node]:
    """A node on a new database with so many domains."""
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as folder:
        key = asyncio.run(fill(Settings(data_dir=folder, database=database), count))
        with serving([f"data_dir={folder}", f"database={database}"], workers) as (port, http_port, pid, ready_s):
            yield Node(count, port, http_port, pid, ready_s, key)


def medians_ms(nodes: Sequence[Node], repeat: int, work: Callable[[Node, int], object]) -> list[float]:
    """The median time of some calls on each node, after a few that do not count.

    The nodes take turns, so that whatever else the machine does hits them alike.
    """
    times: list[list[float]] = [[] for _ in nodes]
    for number in range(repeat + 10):
        for each, taken in zip(nodes, times, strict=True):
            started = time.perf_counter()
            work(each, number)
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken[10:]) * 1000 for taken in times]


def main() -> None:
    """Run a node with a hundred domains and one with many, and call them in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", type=int, default=100_000)
    parser.add_argument("--database", default="", help="URL of an empty PostgreSQL database (default: SQLite)")
    parser.add_argument("--small-database", default="", help="URL of another, for the hundred")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=200)
    args = parser.parse_args()
    with node(SMALL, args.small_database, args.workers) as small, node(args.domains, args.database, args.workers) as large:
        both = (small, large)
        rows: dict[str, list[float]] = {
            "domains": [each.count for each in both],
            "start, s": [each.ready_s for each in both],
            "AddLiveDomain, ms": medians_ms(both, args.repeat, Node.add),
            "DescribeLiveDomainDetail, ms": medians_ms(both, args.repeat, Node.detail),
            "DescribeLiveUserDomains, ms": medians_ms(both, args.repeat, Node.page),
            "a page in the middle, ms": medians_ms(both, 10, Node.middle),
            "stopped everywhere (worst of 10), ms": [
                max(each.everywhere_ms(name(2 * number), args.workers) for number in range(10)) for each in both
            ],
            "main process, MiB": [each.memory_mib()[0] for each in both],
            "worker, MiB": [each.memory_mib()[1] for each in both],
        }
    for title_, (before, after) in rows.items():
        print(f"{title_:<38}{before:>12.2f}{after:>12.2f}{after / before:>9.2f}")


if __name__ == "__main__":
    main()
