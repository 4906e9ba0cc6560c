"""Signs URLs as the customer's own code would, type A, from the reference alone (media-plane 1.5)."""

from __future__ import annotations

import hashlib
import time


def auth_key(path: str, key: str, timestamp: int | None = None, rand: str = "0", uid: str = "0") -> str:
    """`timestamp-rand-uid-md5hash` for a path such as `/App/Stream.flv`; the time is now unless given."""
    when = int(time.time()) if timestamp is None else timestamp
    digest = hashlib.md5(f"{path}-{when}-{rand}-{uid}-{key}".encode()).hexdigest()
    return f"{when}-{rand}-{uid}-{digest}"
