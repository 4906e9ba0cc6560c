"""Fetches the picture of a watermark from the address that a customer names, and looks whether it is one."""

from __future__ import annotations

import asyncio
import io
import ssl
import warnings
from typing import Final
from urllib.parse import urlsplit

import httpcore
from PIL import Image, UnidentifiedImageError

from headwater.access.outgoing import PublicOnly

PICTURE_MAX_BYTES: Final = 2 * 1024 * 1024
"""A watermark of a few hundred pixels has some 50 kB. It is kept in the database. Ours."""
EDGE_MAX: Final = 4096
"""Nothing that is encoded is wider or higher."""
FORMATS: Final = ("PNG", "JPEG")
FETCH_S: Final = 10.0
"""A call of the API waits for it."""
URL_MAX: Final = 2048


class PictureError(Exception):
    """There is no usable picture; the message is a sentence for the customer."""


async def fetch_picture(url: str, *, allow_private: bool) -> bytes:
    """The bytes of a PNG or JPEG. allow_private: servers may have addresses that are not public. Raises PictureError."""
    host = _host(url)
    try:
        async with (
            asyncio.timeout(FETCH_S),
            httpcore.AsyncConnectionPool(
                ssl_context=ssl.create_default_context(), network_backend=PublicOnly(allow_private=allow_private)
            ) as pool,
            pool.stream("GET", url, headers=[("Host", host), ("Accept", "image/png, image/jpeg")]) as response,
        ):
            if response.status != 200:
                raise PictureError(f"The server answers with status {response.status}; redirects are not followed.")
            data = bytearray()
            async for part in response.aiter_stream():
                data += part
                if len(data) > PICTURE_MAX_BYTES:
                    raise PictureError(f"The picture has more than {PICTURE_MAX_BYTES // 1024} KiB.")
    except TimeoutError:
        raise PictureError(f"The picture did not come within {FETCH_S:g} s.") from None
    except (OSError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as fault:
        raise PictureError(f"The picture cannot be fetched: {str(fault) or type(fault).__name__}.") from None
    picture = bytes(data)
    await asyncio.to_thread(check_picture, picture)
    return picture


def check_picture(data: bytes) -> None:
    """Decode the whole picture, so that no job has to find out that it is broken. Raises PictureError."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            if max(picture.size) > EDGE_MAX:
                raise PictureError(f"The picture is wider or higher than {EDGE_MAX} pixels.")
            picture.load()
    except (UnidentifiedImageError, Image.DecompressionBombError):
        raise PictureError("It is neither a PNG nor a JPEG picture.") from None
    except (OSError, SyntaxError, ValueError) as fault:
        raise PictureError(f"The picture is broken: {fault}.") from None


def _host(url: str) -> str:
    """The value of the Host header. Raises PictureError for what is no HTTP URL."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not parts.username
    except ValueError:
        valid = False
    if not valid or len(url) > URL_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise PictureError(f"It must be an HTTP or HTTPS URL of at most {URL_MAX} characters.")
    return parts.netloc
