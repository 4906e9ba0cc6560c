"""Broken input: mutations of real streams are counted and survived, and a whole stream behind them is transcoded as ever."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest

from headwater.access.plan import Audio, Rendition, Video
from headwater.center.transcode.spec import Spec
from headwater.center.transcode.transcoder import Transcoder
from headwater.media.tag import AUDIO, VIDEO, Flags, Tag
from support.footage import footage, frames, keys, shown_ms

AFTER_MS = 3000
SPEC = Spec(
    (
        Rendition("live", "a", video=Video(kbps=100, height=64, low_latency=True, sei=True), audio=Audio("opus")),
        Rendition("live", "copy", video=Video(codec="copy")),
    )
)

Damage = Callable[[Tag, random.Random], list[Tag]]


def flip(tag: Tag, chance: random.Random) -> list[Tag]:
    """Some bytes are others."""
    data = bytearray(tag.payload)
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return [msgspec.structs.replace(tag, payload=bytes(data))]


def cut(tag: Tag, chance: random.Random) -> list[Tag]:
    """The end is missing."""
    return [msgspec.structs.replace(tag, payload=tag.payload[: chance.randrange(len(tag.payload) + 1)])]


def noise(tag: Tag, chance: random.Random) -> list[Tag]:
    """Nothing but the head is right."""
    return [msgspec.structs.replace(tag, payload=tag.payload[:5] + chance.randbytes(len(tag.payload)))]


def lose(tag: Tag, chance: random.Random) -> list[Tag]:
    """It never came."""
    return []


def repeat(tag: Tag, chance: random.Random) -> list[Tag]:
    """It came twice."""
    return [tag, tag]


def shift(tag: Tag, chance: random.Random) -> list[Tag]:
    """Its time is wrong."""
    return [msgspec.structs.replace(tag, timestamp_ms=max(0, tag.timestamp_ms + chance.randint(-500, 500)))]


DAMAGES: list[Damage] = [flip, cut, noise, lose, repeat, shift]


@pytest.fixture(scope="module", params=["libx264", "libx265"])
def source(request: pytest.FixtureRequest) -> list[Tag]:
    return footage(1.6, size=(160, 96), gop=10, video=request.param, bframes=2)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("seed", range(3))
def test_damage_is_survived_and_what_comes_later_is_whole(source: list[Tag], damage: Damage, seed: int) -> None:
    chance = random.Random(seed)
    broken = [one for tag in source for one in (damage(tag, chance) if chance.random() < 0.3 else [tag])]
    whole = [msgspec.structs.replace(tag, timestamp_ms=tag.timestamp_ms + AFTER_MS) for tag in source]
    transcoder, made = Transcoder(SPEC), list[Tag]()
    for tag in [*broken, *whole]:
        transcoder.feed(tag)
        made += transcoder.take().get("a", [])
    transcoder.flush()
    made += transcoder.take().get("a", [])
    later = [tag for tag in frames(made) if shown_ms(tag) >= AFTER_MS]
    assert set(map(shown_ms, later)) >= {now for now in map(shown_ms, frames(whole)) if now >= keys(whole)[0]}
    assert set(keys(later)) >= set(keys(whole))
    for kind in (AUDIO, VIDEO):
        times = [tag.timestamp_ms for tag in made if tag.kind == kind]
        assert times == sorted(times)


def test_broken_packets_are_counted_and_told(source: list[Tag]) -> None:
    transcoder = Transcoder(SPEC)
    for tag in source:
        transcoder.feed(tag if tag.flags & (Flags.CONFIG | Flags.KEY) else noise(tag, random.Random(1))[0])
    assert transcoder.damaged > 0
    assert f"{transcoder.damaged} broken packets" in transcoder.notes()


@pytest.mark.parametrize("seed", range(40))
def test_any_bytes_are_survived(seed: int) -> None:
    """Tags of nothing but chance, with heads that look like something."""
    chance = random.Random(seed)
    transcoder = Transcoder(SPEC)
    heads = [
        b"\x17\x00\0\0\0",
        b"\x17\x01\0\0\0",
        b"\x27\x01\0\0\0",
        b"\x90hvc1",
        b"\x91hvc1\0\0\0",
        b"\xaf\x00",
        b"\xaf\x01",
        b"\x2f",
        b"",
    ]
    for number in range(60):
        payload = chance.choice(heads) + chance.randbytes(chance.randrange(60))
        transcoder.feed(Tag(chance.choice((AUDIO, VIDEO)), number * 40, payload))
    transcoder.flush()


def test_a_picture_that_is_too_large_is_refused_before_it_costs_memory() -> None:
    transcoder = Transcoder(SPEC)
    for tag in footage(0.04, size=(4112, 4112), audio=None):
        transcoder.feed(tag)
    transcoder.flush()
    assert transcoder.frames == 0
    assert transcoder.damaged == 1
