"""What a watcher has been told, so that a watch that starts over can also say what has gone in between."""

from __future__ import annotations

from collections import deque

from headwater.cluster.interface import SYNCED, Change


class Told:
    """The keys that a watcher believes to exist.

    A watch that starts over delivers what exists and SYNCED. The watcher cannot know where the new beginning was, so the
    keys that have gone meanwhile are delivered as deletions just before SYNCED: applying every change is enough.
    """

    def __init__(self) -> None:
        self._present: set[str] = set()
        self._doubtful: set[str] = set()

    def start_over(self) -> None:
        """What is delivered next is what exists; all that was told before is in doubt until SYNCED."""
        self._doubtful = self._present.copy()

    def next_of(self, queue: deque[Change]) -> Change | None:
        """Take the next change to deliver from a queue, putting the missed deletions before SYNCED."""
        if not queue:
            return None
        change = queue.popleft()
        if change.key == SYNCED:
            if self._doubtful:
                queue.appendleft(change)
                queue.extendleft(Change(key, None, change.revision) for key in sorted(self._doubtful, reverse=True))
                self._doubtful = set()
                change = queue.popleft()
            else:
                return change
        self._doubtful.discard(change.key)
        if change.value is None:
            self._present.discard(change.key)
        else:
            self._present.add(change.key)
        return change
