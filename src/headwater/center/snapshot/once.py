"""Makes one picture in a process of its own, `python -m headwater.center.snapshot.once`, for somebody who waits for it.

A key frame comes on standard input and a picture goes out on standard output, so a decoder that crashes takes nothing along.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from headwater.center.snapshot import picture
from headwater.center.snapshot.keyframe import KeyFrame
from headwater.center.snapshot.picture import Picture, PictureError

DECODE_S = 10.0
"""A picture takes a tenth of a second; the rest is for a busy machine."""


class _Failure(msgspec.Struct, frozen=True, tag="failure"):
    reason: str


class _Success(msgspec.Struct, frozen=True, tag="success"):
    picture: Picture


async def take(frame: KeyFrame) -> Picture:
    """The picture of a key frame. Raises PictureError."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(DECODE_S):
            output, _ = await child.communicate(msgspec.msgpack.encode(frame))
    except TimeoutError:
        raise PictureError("The key frame could not be decoded in time.") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise PictureError(f"The decoder has crashed ({child.returncode}).")
    made = msgspec.msgpack.decode(output, type=_Success | _Failure)
    if isinstance(made, _Failure):
        raise PictureError(made.reason)
    return made.picture


def main() -> None:
    """Read a key frame, write what became of it."""
    frame = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=KeyFrame)
    made: _Success | _Failure
    try:
        made = _Success(picture.take(frame.config, frame.payload))
    except PictureError as error:
        made = _Failure(str(error))
    sys.stdout.buffer.write(msgspec.msgpack.encode(made))


if __name__ == "__main__":
    main()
