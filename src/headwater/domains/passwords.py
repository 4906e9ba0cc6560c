"""Hashes the passwords of the console's users with scrypt (RFC 7914)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from concurrent.futures import ThreadPoolExecutor

COST, BLOCK, LANES = 2**15, 8, 1
"""32 MiB and some 80 ms for each guess: what a guesser can hardly afford, and who signs in does not notice."""
MEMORY_BYTES = 64 * 1024 * 1024
"""Bound that we give OpenSSL; a hash with these numbers needs half of it."""
SALT_BYTES = 16
AT_ONCE = 2
"""Hashes worked on at the same time, so that a flood of sign-ins takes 64 MiB and no more."""

_pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="password")


async def hash_password(password: str) -> str:
    """`scrypt$cost$block$lanes$salt$hash`, with a new salt."""
    salt = secrets.token_bytes(SALT_BYTES)
    digest = await _scrypt(password, salt, COST, BLOCK, LANES)
    return "$".join(("scrypt", str(COST), str(BLOCK), str(LANES), _text(salt), _text(digest)))


async def verify_password(password: str, stored: str | None) -> bool:
    """Whether this is the password. With nothing stored the answer is no, after as long a time: names cannot be probed."""
    if stored is None:
        await _scrypt(password, bytes(SALT_BYTES), COST, BLOCK, LANES)
        return False
    _, cost, block, lanes, salt, digest = stored.split("$")
    made = await _scrypt(password, base64.b64decode(salt), int(cost), int(block), int(lanes))
    return hmac.compare_digest(made, base64.b64decode(digest))


async def _scrypt(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    def work() -> bytes:
        return hashlib.scrypt(
            password.encode(errors="surrogatepass"), salt=salt, n=cost, r=block, p=lanes, maxmem=MEMORY_BYTES, dklen=32
        )

    return await asyncio.get_running_loop().run_in_executor(_pool, work)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
