"""How long something still takes: by the steps that are done, or by how long the same took here last time."""

import json
import time

from fdht.spec.cache import cache_folder
from fdht.spec.container import write_whole
from fdht.spec.errors import FdhtError

FILE = "durations.json"
"""In the cache folder: seconds, by what is shown of the work."""

WORTH_KNOWING = 2.0
"""Seconds from which on it is noted how long something took. What was found in a cache takes less, and is none."""

MOST_NOTED = 500
"""Works that are noted; the oldest is forgotten."""


class Remaining:
    """Of one piece of work, from now on.

    Args:
        what: the work, as it is shown: the same words mean the same work.
        total: its steps, where they are known.
    """

    def __init__(self, what: str, total: int | None = None):
        self.what, self.total = what, total
        self._began = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int] | None = None
        self.usual = _noted().get(what)

    def step(self, done: int | None, total: int | None = None) -> None:
        """So many steps are done now; of so many, if that has become known."""
        self.total = self.total if total is None else total
        if done is not None:
            self._last = time.monotonic(), done
            self._first = self._first or self._last

    def seconds(self) -> float | None:
        """That are left; None where nothing is known of them.

        By the pace since the first step that was told: work that goes on where it was does not begin with none, and the
        first step takes what is done once, too. So a second has to be told before anything is known.
        """
        now = time.monotonic()
        if self.total and self._first is not None and self._last is not None:
            since, before = self._first
            at, done = self._last
            if done > before:
                return max(0.0, (at - since) / (done - before) * (self.total - done) - (now - at))
            return None
        left = None if self.usual is None else self.usual - (now - self._began)
        return left if left is not None and left > 0 else None

    def ended(self) -> None:
        """It is done: notes how long it took."""
        took = time.monotonic() - self._began
        if took < WORTH_KNOWING:
            return
        noted = _noted()
        noted.pop(self.what, None)
        noted[self.what] = round(took, 1)
        try:
            write_whole(cache_folder() / FILE, json.dumps(dict(list(noted.items())[-MOST_NOTED:])).encode())
        except (OSError, FdhtError):  # a cache that cannot be written is no reason to fail
            return


def in_words(seconds: float) -> str:
    """`40 s left`, `3 min left`, `1 h 20 min left`."""
    if seconds < 60:
        return f"{round(seconds)} s left"
    minutes = round(seconds / 60)
    return f"{minutes} min left" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min left"


def _noted() -> dict[str, float]:
    """What took how long, the oldest first."""
    try:
        read = json.loads((cache_folder() / FILE).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(read, dict):
        return {}
    return {what: took for what, took in read.items() if isinstance(took, int | float) and 0 < took < 1e7}
