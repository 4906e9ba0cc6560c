"""A key frame becomes a JPEG or an error, whatever the codec and whatever is broken."""

from __future__ import annotations

import random
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from headwater.center.snapshot import once, picture
from headwater.center.snapshot.keyframe import KeyFrame
from headwater.center.snapshot.picture import PictureError
from headwater.center.snapshot.suspects import FORGIVEN_AFTER, HELD_FIRST_S, HELD_MAX_S, Guard
from headwater.media import flv
from headwater.media.tag import Flags
from support.media_clips import flv_clip

CODECS = ("h264", "hevc", "av1", "vp9")


def frames(codec: str) -> tuple[bytes, bytes]:
    """The configuration and the first key frame of a clip."""
    tags = flv.Reader().feed(flv_clip(codec, None, seconds=1))
    return tuple(next(tag.payload for tag in tags if tag.flags & flag) for flag in (Flags.CONFIG, Flags.KEY))  # type: ignore[return-value]


def decoded(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("codec", CODECS)
def test_a_key_frame_of_any_codec_becomes_a_jpeg_of_what_it_shows(codec: str) -> None:
    made = picture.take(*frames(codec))
    image = decoded(made.data)
    assert (image.format, image.size, (made.width, made.height)) == ("JPEG", (128, 72), (128, 72))
    luma = image.convert("L").tobytes()
    assert (
        luma[10 * 128 + 64] < 20 < 220 < luma[60 * 128 + 64]
    )  # the clip's first picture: black above, white below, in full range


@pytest.mark.parametrize("codec", CODECS)
def test_broken_key_frames_give_a_picture_or_a_reason_and_never_anything_else(codec: str) -> None:
    config, key = frames(codec)
    chance = random.Random(codec)
    reasons = 0
    for _ in range(60):
        broken = [bytearray(config), bytearray(key)]
        for _ in range(chance.randint(1, 8)):
            part = broken[chance.random() < 0.7]
            part[chance.randrange(len(part))] = chance.randrange(256)
        if chance.random() < 0.3:
            del broken[1][chance.randrange(len(key)) :]
        try:
            made = picture.take(bytes(broken[0]), bytes(broken[1]))
        except PictureError as error:
            assert str(error).endswith(".")
            reasons += 1
        else:
            assert decoded(made.data).size == (made.width, made.height)
    assert reasons


def test_what_is_no_picture_is_said_to_be_none() -> None:
    config, key = frames("h264")
    for frame, reason in (
        (b"", "holds no picture"),
        (b"\x17", "cannot be read"),
        (config, "holds no picture"),
        (b"\x12\x00\x00\x00\x00x", "codec is not known"),
        (b"\x57\x01\x00\x00\x00x", "holds no picture"),
        (key[:5], "holds no picture"),
    ):
        with pytest.raises(PictureError, match=reason):
            picture.take(config, frame)


def test_a_picture_larger_than_8k_is_refused_before_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "PIXELS_MAX", 128 * 72 - 1)
    for codec in CODECS:
        with pytest.raises(PictureError):
            picture.take(*frames(codec))


async def test_a_process_of_its_own_makes_the_same_picture_and_says_what_is_wrong() -> None:
    config, key = frames("h264")
    assert await once.take(KeyFrame(config, key, 0, 0)) == picture.take(config, key)
    with pytest.raises(PictureError, match="cannot be decoded"):
        await once.take(KeyFrame(config, key[:100], 0, 0))


def test_a_stream_whose_process_died_while_decoding_is_set_aside_for_longer_each_time(tmp_path: Path) -> None:
    def die() -> float:
        """A process begins, and ends within the decoding. Returns when."""
        dead.append(Guard(tmp_path, "bad").decoding())
        dead[-1].__enter__()
        return next(path for path in tmp_path.iterdir() if "?" in path.read_text()).stat().st_mtime

    dead: list[AbstractContextManager[None]] = []
    assert Guard(tmp_path, "bad").held_s(0) == 0
    for held_s in (HELD_FIRST_S, HELD_FIRST_S * 2, HELD_FIRST_S * 4):
        crashed_s = die()
        guard = Guard(tmp_path, "bad")
        assert guard.held_s(crashed_s + 1) == pytest.approx(held_s - 1)
        assert guard.held_s(crashed_s + held_s) == 0
    assert Guard(tmp_path, "good").held_s(crashed_s) == 0
    for _ in range(20):
        crashed_s = die()
    assert Guard(tmp_path, "bad").held_s(crashed_s) == pytest.approx(HELD_MAX_S)


def test_a_stream_is_forgiven_after_enough_pictures(tmp_path: Path) -> None:
    dead = Guard(tmp_path, "cam").decoding()
    dead.__enter__()
    guard = Guard(tmp_path, "cam")
    for _ in range(FORGIVEN_AFTER - 1):
        with guard.decoding():
            pass
    assert Guard(tmp_path, "cam").crashes == 1
    with pytest.raises(ValueError, match="broken"), guard.decoding():
        raise ValueError("broken")
    assert Guard(tmp_path, "cam").crashes == 0
    assert list(tmp_path.iterdir()) == []
