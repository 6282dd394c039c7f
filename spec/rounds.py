"""Streams: independent sequences that an engine serves at the same time, each with states h and c of its own.

The engine computes in rounds. A round takes a step of every stream that has a frame in it; the others sit it out, and
their states stay. In front of each frame is a word that says whose it is (`Frame`). A round takes frames in the order
in which they come, as long as the numbers of their streams rise, and ends with one that says so (`closes`), or with one
of the last stream. So what a round holds follows from the order of the frames alone, never from when they come.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from fdht.spec.errors import SpecError
from fdht.spec.record import Checked
from fdht.spec.target import FRAME_FLAGS, Target


@dataclass(frozen=True)
class Frame(Checked):
    """What the word in front of a frame says.

    Attributes:
        stream: whose frame it is.
        begins: with it a sequence of the stream begins: h and c are zero.
        ends: with it the stream's sequence ends: what is sent at the end of one is sent then.
        closes: the round ends with it. Without, the next frame belongs to it if that is of a stream with a higher
            number, and the engine waits for it to know.

    NOBODY stands where no frame follows: the round ends, or there is one in which nobody has a frame. So what the
    engine still knows of the round before leaves it, when no more frames come.
    """

    stream: int
    begins: bool = False
    ends: bool = False
    closes: bool = False

    @property
    def word(self) -> int:
        """The word: from bit 0 on `begins`, `ends` and `closes`, then the stream; all ones for NOBODY."""
        return self.begins | self.ends << 1 | self.closes << 2 | self.stream << FRAME_FLAGS

    @staticmethod
    def of(word: int) -> "Frame":
        """The opposite of `word`."""
        return (
            NOBODY
            if word == NOBODY.word
            else Frame(word >> FRAME_FLAGS, bool(word & 1), bool(word & 2), bool(word & 4))
        )


NOBODY = Frame(-1, True, True, True)
"""No frame of any stream."""

PACKET_FLAGS = (*(field.name for field in fields(Frame) if field.name != "stream"), "nobody")
"""What is said beside a packet that brings a frame over a bus, from bit 0 on: the flags of its word, and whether it is
NOBODY's and has no frame.
"""

Round = Mapping[int, Frame]
"""The frames of a round by their streams."""


def rounds(frames: Iterable[Frame], streams: int) -> list[dict[int, Frame]]:
    """How frames, in the order in which they come, are taken in rounds.

    Args:
        streams: of the image that takes them.

    Raises:
        SpecError: a frame of a stream that the image does not have.
    """
    result = list[dict[int, Frame]]()
    last, closed = -1, True
    for frame in frames:
        if frame == NOBODY:
            result += [{}] if closed else []
            last, closed = -1, True
            continue
        if not 0 <= frame.stream < streams:
            raise SpecError(f"a frame of stream {frame.stream}; the image serves streams 0 to {streams - 1}")
        if closed or frame.stream <= last:
            result.append({})
        result[-1][frame.stream] = frame
        last, closed = frame.stream, frame.closes or frame.stream == streams - 1
    return result


def closed(frames: Iterable[Frame], streams: int) -> list[Frame]:
    """The same frames, with the last of each round saying so: then the engine waits for none after it."""
    result = list[Frame]()
    for each in rounds(frames, streams):
        *before, last = each.values() or [NOBODY]
        result += [*before, replace(last, closes=True)]
    return result


def framed(x: np.ndarray, frames: Iterable[Frame], lanes: int) -> list[np.ndarray]:
    """The raw words of frames, each behind a beat whose first word says whose it is.

    Args:
        x: a row per frame that is of a stream, in the order in which they are sent, whole beats each.
        lanes: raw words of a beat.
    """
    rows, result = iter(x), list[np.ndarray]()
    for frame in frames:
        result.append(np.array([frame.word, *[0] * (lanes - 1)], dtype=x.dtype))
        result += [] if frame == NOBODY else [next(rows)]
    return result


def in_turn(lengths: Sequence[int]) -> list[Frame]:
    """Frames of a sequence of each stream, of so many steps, side by side: a step of every one that still has any, and
    then the next.
    """
    return [
        Frame(stream, begins=step == 0, ends=step + 1 == length)
        for step in range(max(lengths, default=0))
        for stream, length in enumerate(lengths)
        if step < length
    ]


def check_streams(streams: int, target: Target) -> None:
    """Refuses more streams than an engine has.

    Raises:
        SpecError: says how many it has.
    """
    if streams and target.streams == 1:
        raise SpecError(
            f"target {target.name} serves one sequence; for {streams} streams take one with a field streams"
        )
    if not 0 <= streams <= target.streams:
        raise SpecError(f"{streams} streams on target {target.name}, which has {target.streams}; see its field streams")
