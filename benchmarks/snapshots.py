"""What a snapshot of each stream every five seconds costs: the whole server's CPU with it, beside the same streams without.

python -m benchmarks.snapshots [--streams 10] [--seconds 30] [--rounds 1] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import ClassVar

from benchmarks.load import Load
from benchmarks.measure import cpu_s, title, tree
from benchmarks.servers import Headwater

INTERVAL_S = 5
WANTED_MS = 4.0
"""CPU of the job in each second for a stream: reading, decoding, encoding. Storing and noting down are shown beside it."""

SETTLE_S = 10.0
"""Before a window begins: the job process has started, and every stream has had its first picture."""

BUCKET = "pictures"
STREAMS_MAX = 100


class Center(Headwater):
    """Headwater with its live center."""

    name = "Headwater with its center"
    settings: ClassVar[dict[str, str]] = {"center.enabled": "true"}

    def picture(self) -> None:
        """Take pictures of whatever is published from now on."""
        self.api.call(
            "AddLiveAppSnapshotConfig",
            DomainName=self.streaming,
            AppName="live",
            TimeInterval=str(INTERVAL_S),
            OssEndpoint="oss-cn-shanghai.aliyuncs.com",
            OssBucket=BUCKET,
            OverwriteOssObject="{AppName}/{StreamName}.jpg",
            SequenceOssObject="all/{AppName}/{StreamName}/{Sequence}.jpg",
        )

    def pictures(self) -> list[Path]:
        """The numbered pictures that are stored."""
        return list((self.folder / "data" / "objects" / BUCKET / "all").glob("*/*/*.jpg"))


def used_s(server: Center, words: str = "") -> float:
    """CPU time of the server's processes so far, of those whose command has these words."""
    return sum(cpu_s(pid)[0] for pid in tree(server.pid) if words in title(pid))


def window(server: Center, streams: int, seconds: float) -> dict[str, float]:
    """CPU in ms a second for each of so many streams, of the whole server and of its jobs; and how many pictures were taken."""
    load = Load("publishers", ["--url", server.push_url(), "--count", str(streams), "--hd", "--seconds", "600"], None, 300)
    try:
        time.sleep(SETTLE_S)
        before, before_jobs, had = used_s(server), used_s(server, "center.snapshot"), len(server.pictures())
        started = time.monotonic()
        time.sleep(seconds)
        each_ms = 1000 / streams / (time.monotonic() - started)
        load.report()
        return {
            "server_ms": (used_s(server) - before) * each_ms,
            "jobs_ms": (used_s(server, "center.snapshot") - before_jobs) * each_ms,
            "pictures": len(server.pictures()) - had,
        }
    finally:
        load.stop()


def one_round(streams: int, seconds: float) -> dict[str, float]:
    """One server: the streams without pictures, then with."""
    with Center("standard", None) as started:
        assert isinstance(started, Center)
        without = window(started, streams, seconds)
        started.picture()
        pictured = window(started, streams, seconds)
        sizes = [path.stat().st_size for path in started.pictures()]
    return {
        "without_ms": without["server_ms"],
        "with_ms": pictured["server_ms"],
        "snapshots_ms": pictured["server_ms"] - without["server_ms"],
        "jobs_ms": pictured["jobs_ms"],
        "pictures": pictured["pictures"],
        "expected": streams * seconds / INTERVAL_S,
        "picture_kb": statistics.mean(sizes) / 1000 if sizes else 0,
    }


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=10, help=f"1 to {STREAMS_MAX}")
    parser.add_argument("--seconds", type=float, default=30, help="of each window")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not 1 <= args.streams <= STREAMS_MAX:
        parser.error(f"--streams: 1 to {STREAMS_MAX}")
    rounds = [one_round(args.streams, args.seconds) for _ in range(args.rounds)]
    found = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    print(
        f"{args.streams} streams of 720p at 1 Mbit/s, a picture of each every {INTERVAL_S} s; CPU in ms a second for a stream\n"
    )
    print("| whole server without | with | difference | of that, the jobs | pictures of wanted | a picture |")
    print("|---|---|---|---|---|---|")
    pictures = f"{found['pictures']:.0f} of {found['expected']:.0f} | {found['picture_kb']:.0f} kB"
    server = f"{found['without_ms']:.2f} | {found['with_ms']:.2f} | {found['snapshots_ms']:.2f}"
    print(f"| {server} | **{found['jobs_ms']:.2f}** (at most {WANTED_MS:g}) | {pictures} |")
    if args.json:
        args.json.write_text(json.dumps({"rounds": rounds, "median": found}))


if __name__ == "__main__":
    main()
