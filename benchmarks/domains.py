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
import json
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from urllib.parse import quote

import httpx
from sqlalchemy import insert

from benchmarks.measure import MIB, memory_bytes, title, tree
from headwater.domains import functions
from headwater.domains.accounts import AccountService
from headwater.settings import Settings
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


def median_ms(repeat: int, work: Callable[[int], object]) -> float:
    """The median time of some calls, after a few that do not count."""
    times = []
    for number in range(repeat + 10):
        started = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - started)
    return statistics.median(times[10:]) * 1000


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
    others = ("rtmp", "rtmps", "https", "console", "metrics")
    listen = [f"listen.api=127.0.0.1:{api}", f"listen.http=127.0.0.1:{http}", *(f"listen.{other}=" for other in others)]
    flags = [*settings, *listen, f"workers={workers}", "api.limits_scale=0", "domains.quota=2000000", "log.level=warning"]
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


def everywhere_s(api: Api, http: int, domain: str, workers: int) -> float:
    """How long it takes from the call that stops a domain until every worker refuses to play from it.

    The kernel gives new connections to workers at random: so many in a row, none of them served, leave out no worker.
    """
    url = f"http://127.0.0.1:{http}/live/x.flv?vhost={domain}"
    started = time.monotonic()
    api.call("StopLiveDomain", DomainName=domain)
    in_a_row, since = 0, time.monotonic()
    while in_a_row < 16 * workers:
        reason = httpx.get(url, trust_env=False).headers.get("X-Tengine-Error", "")
        if "offline" in reason:
            since = time.monotonic() if in_a_row == 0 else since
            in_a_row += 1
        else:
            in_a_row = 0
    return since - started


def measure(settings: list[str], data: Settings, count: int, workers: int, repeat: int) -> dict[str, float]:
    """All figures with so many domains."""
    key_id, secret = asyncio.run(fill(data, count))
    with serving(settings, workers) as (port, http, pid, ready_s):
        api = Api(port, key_id, secret)
        new = secrets.token_hex(4)
        found = {
            "domains": count,
            "start_s": ready_s,
            "AddLiveDomain_ms": median_ms(
                repeat,
                lambda n: api.call(
                    "AddLiveDomain",
                    DomainName=f"n{n}-{new}.bench.test",
                    LiveDomainType="liveVideo",
                    Region=REGION,
                    Scope="overseas",
                ),
            ),
            "DescribeLiveDomainDetail_ms": median_ms(
                repeat, lambda n: api.call("DescribeLiveDomainDetail", DomainName=name(n * 7919 % count))
            ),
            "DescribeLiveUserDomains_ms": median_ms(repeat, lambda n: api.call("DescribeLiveUserDomains", PageSize="20")),
        }
        total = api.call("DescribeLiveUserDomains")["TotalCount"]
        assert total == count + repeat + 10, total
        found["page_in_the_middle_ms"] = median_ms(
            10, lambda n: api.call("DescribeLiveUserDomains", PageNumber=str(max(1, min(100_000, count // 100))), PageSize="50")
        )
        found["change_everywhere_s"] = max(everywhere_s(api, http, name(2 * n), workers) for n in range(10))
        main, rest = pid, [each for each in tree(pid) if "headwater.node" in title(each)]
        found["main_rss_mib"] = memory_bytes(main)[0] / MIB
        found["worker_rss_mib"] = max(memory_bytes(each)[0] for each in rest) / MIB
    return found


def main() -> None:
    """Measure a hundred domains and many, one after the other, on databases of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", type=int, default=100_000)
    parser.add_argument("--database", default="", help="URL of an empty PostgreSQL database (default: SQLite)")
    parser.add_argument("--small-database", default="", help="URL of another, for the hundred")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=200)
    args = parser.parse_args()
    results = []
    for count, database in ((SMALL, args.small_database), (args.domains, args.database)):
        with tempfile.TemporaryDirectory(prefix="headwater-bench-") as folder:
            settings = [f"data_dir={folder}", f"database={database}"]
            data = Settings(data_dir=folder, database=database)
            results.append(measure(settings, data, count, args.workers, args.repeat))
            print(json.dumps(results[-1]))
    small, large = results
    for figure in small:
        print(f"{figure:<30}{small[figure]:>12.2f}{large[figure]:>12.2f}{large[figure] / max(small[figure], 1e-9):>9.2f}")


if __name__ == "__main__":
    main()
