"""What waits for the transcoding thread: in order, and not for ever."""

from __future__ import annotations

from headwater.center.transcode.thread import JUMP_AFTER_S, Inbox
from headwater.media.tag import AUDIO, VIDEO, Flags, Tag

CONFIG, KEY, FRAME = Flags.CONFIG, Flags.KEY, Flags.NONE


def stream() -> list[Tag]:
    kinds = [
        (VIDEO, CONFIG),
        (VIDEO, KEY),
        (AUDIO, FRAME),
        (VIDEO, FRAME),
        (VIDEO, CONFIG),
        (VIDEO, KEY),
        (AUDIO, FRAME),
        (VIDEO, FRAME),
    ]
    return [Tag(kind, number, b"", flags) for number, (kind, flags) in enumerate(kinds)]


def left(inbox: Inbox) -> list[int]:
    inbox_left = []
    while item := inbox.take():
        assert isinstance(item, tuple)
        inbox_left.append(item[1].timestamp_ms)
        if item[1].timestamp_ms == 7:
            break
    return inbox_left


def test_calls_and_tags_keep_their_order() -> None:
    inbox, done = Inbox(), list[str]()
    inbox.put(stream()[:1], 0.0)
    inbox.call(lambda: done.append("called"))
    inbox.put(stream()[1:2], 1.0)
    assert inbox.take() == (0.0, stream()[0])
    call = inbox.take()
    assert callable(call)
    assert inbox.take() == (1.0, stream()[1])


def test_what_waited_too_long_is_left_out_up_to_the_newest_key_frame_but_for_sound_and_configuration() -> None:
    inbox = Inbox()
    inbox.put(stream(), 0.0)
    assert inbox.jump(JUMP_AFTER_S - 0.1) == 0
    assert inbox.jump(JUMP_AFTER_S) == 2
    assert left(inbox) == [0, 2, 4, 5, 6, 7]


def test_without_a_later_key_frame_all_is_kept() -> None:
    inbox = Inbox()
    inbox.put(stream()[6:], 0.0)
    assert inbox.jump(JUMP_AFTER_S) == 0
    assert left(inbox) == [6, 7]


def test_a_closed_inbox_gives_nothing() -> None:
    inbox = Inbox()
    inbox.put(stream(), 0.0)
    inbox.close()
    assert inbox.take() is None
    assert inbox.closed
