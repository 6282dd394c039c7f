"""Frames of several streams: as they arrive, and clips served side by side."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fdht.spec.errors import SpecError
from fdht.spec.rounds import Frame


@dataclass(frozen=True, eq=False)
class Arrival:
    """A frame of one of several streams.

    Attributes:
        stream: whose it is, from 0 on.
        x: N raw input words, or real values as for `Device.run`.
        begins: a sequence of the stream begins with it: h and c are zero. ends: the sequence ends with it.
        closes: it is computed with what came just before, without waiting for frames of other streams.

    Raises:
        SpecError: a stream below 0.
    """

    stream: int
    x: np.ndarray
    begins: bool = False
    ends: bool = False
    closes: bool = False

    def __post_init__(self):
        if self.stream < 0:
            raise SpecError(f"a frame of stream {self.stream}; streams are counted from 0")

    @property
    def frame(self) -> Frame:
        return Frame(self.stream, self.begins, self.ends, self.closes)


def side_by_side(clips: np.ndarray | Sequence[np.ndarray], streams: int) -> Iterator[tuple[int, Arrival]]:
    """Clips as streams that run beside each other: a step of each in turn, and where one ends the next clip begins.

    Args:
        clips: steps × N each, which may differ in length.

    Yields:
        The number of the clip, and a frame of it.
    """
    running: list[tuple[int, int] | None] = [None] * streams  # clip and step of each
    following = 0
    while following < len(clips) or any(running):
        for stream in range(streams):
            if running[stream] is None and following < len(clips):
                running[stream] = following, 0
                following += 1
            if (at := running[stream]) is not None:
                number, step = at
                ends = step + 1 == len(clips[number])
                yield number, Arrival(stream, clips[number][step], step == 0, ends)
                running[stream] = None if ends else (number, step + 1)


def in_rounds(arrivals: Iterable[Arrival]) -> Iterator[list[Arrival]]:
    """Frames as the engine takes them, each round as soon as it is known to be over; see fdht.spec.rounds."""
    taken = list[Arrival]()
    for arrival in arrivals:
        if taken and arrival.stream <= taken[-1].stream:
            yield taken
            taken = []
        taken.append(arrival)
        if arrival.closes:
            yield taken
            taken = []
    if taken:
        yield taken
