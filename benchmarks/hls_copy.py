"""Copies a live playlist and its segments into a folder as they come, so that a server of files has the very same bytes.

python -m benchmarks.hls_copy URL FOLDER      until the end of standard input
"""

from __future__ import annotations

import argparse
import select
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urljoin, urlsplit

LOOK_EVERY_S = 0.5
KEPT = 12
"""Segments that stay: those of the playlist, and as many for players that are late."""


def main() -> None:
    """Copy until nobody holds the other end of standard input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    copied: list[str] = []
    while not select.select([sys.stdin], [], [], LOOK_EVERY_S)[0]:
        try:
            playlist = _get(args.url).decode()
            for line in playlist.splitlines():
                if line and not line.startswith("#") and line not in copied:
                    _put(args.folder, line, _get(urljoin(args.url, line)))
                    copied.append(line)
        except urllib.error.URLError:
            continue  # the stream has only begun
        _put(args.folder, args.url, "\n".join(urlsplit(line).path or line for line in playlist.splitlines()).encode() + b"\n")
        while len(copied) > KEPT:
            (args.folder / _name(copied.pop(0))).unlink()


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as response:
        data: bytes = response.read()
    return data


def _put(folder: Path, url: str, data: bytes) -> None:
    """Nobody sees a file before it is whole."""
    part = folder / "part"
    part.write_bytes(data)
    part.replace(folder / _name(url))


def _name(url: str) -> str:
    return Path(urlsplit(url).path).name


if __name__ == "__main__":
    main()
