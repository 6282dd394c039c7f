"""The data sets of the comparison of formats (docs/formats_study.py), each in as many draws as are asked for.

A draw deals all samples of a set anew: a fifth tests, a fifth validates, the rest trains, class by class, whatever
splits the set comes with. Of faces a draw deals each person's photos, and of films it chooses other windows and, by
where segments and blocks begin, other frames. So the draws of a set stand for how the set might have been divided.

Clips of one unit are not independent: the same sample in several draws, a person, a segment of a film. Intervals draw
whole units anew (fdht.studies.pooling).
"""

import gzip
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from fdht.boards import find_board
from fdht.model.data import DataSet, Split, from_arrays
from fdht.model.data import load as load_packaged
from fdht.model.data.files import read_arrays
from fdht.model.data.films import clip_segments, playing_direction
from fdht.model.data.orl import faces_hard
from fdht.model.presets import PRESETS, Preset
from fdht.model.recipe import UNTUNED
from fdht.spec.defaults import DEFAULT_TARGET
from fdht.workflow.proposal import propose, trained

FASHION_TRAINS, FASHION_TESTS = 1_000, 2_000
"""Pictures of a draw of Fashion-MNIST that train (half as many validate), and that test."""


@dataclass(frozen=True)
class Places:
    """Where data lies that does not come with this package.

    Attributes:
        series: the folder of data in the package aeon. fashion: where Debian's package of Fashion-MNIST was unpacked.
    """

    series: Path | None = None
    fashion: Path | None = None


@dataclass(frozen=True)
class Drawn:
    """A draw of a set: the data, and the unit of each clip that tests, a number that is the same in all draws."""

    data: DataSet
    units: np.ndarray


@dataclass(frozen=True)
class StudySet:
    """A set of the study.

    Attributes:
        name: of the set, as rows have it.
        draw: gives a draw.
        needs: which of the `Places` it lies in, None if it comes in packages that are installed.
        preset: whose model, augmentation, dropout and batches are used, with the recipe that is alike for all; None
            where a model is proposed, as for any data of one's own.
        clips: of a training, all epochs together, where that is fewer than the preset has.
    """

    name: str
    draw: Callable[[Places, int], Drawn]
    needs: str | None = None
    preset: str | None = None
    clips: int | None = None

    def training(self, data: DataSet) -> Preset:
        """FDHT-LSTM for it and how all formats are trained: `fdht train --data FILE` where nothing else is said."""
        if self.preset is None:
            spec = next(propose(data, find_board(DEFAULT_TARGET).engine)).spec
            return trained(data, spec, self.name.lower(), self.name)
        preset = PRESETS[self.preset]
        each = min(preset.clips_per_epoch, len(data.train))
        return replace(
            preset,
            clips_per_epoch=each,
            epochs=preset.epochs if self.clips is None else round(self.clips / each),
            **UNTUNED,
        )


def dealt(labels: np.ndarray, draw: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of the samples that train, validate and test: of each class a fifth tests and a fifth validates."""
    generator = np.random.default_rng(draw)
    parts = list[list[np.ndarray]]([[], [], []])
    for label in np.unique(labels):
        own = generator.permutation(np.flatnonzero(labels == label))
        fifth = max(1, round(len(own) / 5))
        for part, chosen in zip(parts, (own[2 * fifth :], own[fifth : 2 * fifth], own[:fifth]), strict=True):
            part.append(chosen)
    train, validation, test = (np.sort(np.concatenate(part)) for part in parts)
    return train, validation, test


@cache
def _archive(file: Path, values: int) -> tuple[list[np.ndarray], np.ndarray]:
    found = read_arrays(file)
    x = [np.asarray(each, float) for part in ("x", "x_test") for each in found[part]]
    if values > 1:
        x = [each[: len(each) // values * values].reshape(-1, values * each.shape[1]) for each in x]
    return x, np.concatenate([found["y"], found["y_test"]])


def archive(name: str, values: int = 1, ending: str = "") -> StudySet:
    """A set of the time series archive; of a series of one value, `values` in a row make a step."""

    def draw(places: Places, number: int) -> Drawn:
        assert places.series is not None
        x, y = _archive(places.series / name / f"{name}{ending}_TRAIN.ts", values)
        train, validation, test = dealt(y, number)

        def of(part: np.ndarray) -> list[np.ndarray]:
            return [x[k] for k in part]

        rest = {"x_validation": of(validation), "y_validation": y[validation], "x_test": of(test), "y_test": y[test]}
        return Drawn(from_arrays(of(train), y[train], **rest, name=name), test)

    return StudySet(name, draw, needs="series")


def redealt(name: str) -> StudySet:
    """A set of this package whose clips share no frames."""

    def draw(_: Places, number: int) -> Drawn:
        data = _packaged(name)
        order = np.concatenate([data.final.order, data.test.order])
        labels = np.concatenate([data.final.labels, data.test.labels])

        def split(*parts: np.ndarray) -> Split:
            chosen = np.concatenate(parts)
            return Split(data.test.frames, order[chosen], labels[chosen])

        train, validation, test = dealt(labels, number)
        parts = {"train": (train,), "validation": (validation,), "final": (train, validation), "test": (test,)}
        return Drawn(replace(data, **{part: split(*of) for part, of in parts.items()}), test)

    return StudySet(name, draw)


@cache
def _packaged(name: str) -> DataSet:
    return load_packaged(name)


@cache
def fashion_mnist(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and what they show, of Debian's package unpacked here: 60,000 that train, then 10,000 that test."""
    folder = folder / "usr/share/datasets/fashion-mnist"

    def of(name: str, header: int) -> np.ndarray:
        with gzip.open(folder / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=header)

    x = np.concatenate([of(f"{part}-images-idx3-ubyte.gz", 16) for part in ("train", "t10k")]).reshape(-1, 28, 28)
    return x, np.concatenate([of(f"{part}-labels-idx1-ubyte.gz", 8) for part in ("train", "t10k")]).astype(int)


def _pictures(places: Places, number: int) -> Drawn:
    """Pictures as 28 steps of a row each; draws share none."""
    assert places.fashion is not None
    x, y = fashion_mnist(places.fashion)
    counts = (FASHION_TRAINS, FASHION_TRAINS // 2, FASHION_TESTS)
    own = np.random.default_rng(0).permutation(len(x))[number * sum(counts) : (number + 1) * sum(counts)]
    train, validation, test = np.split(own, np.cumsum(counts)[:-1])
    rest = {"x_validation": x[validation], "y_validation": y[validation], "x_test": x[test], "y_test": y[test]}
    return Drawn(from_arrays(x[train], y[train], **rest, name="Fashion-MNIST"), test)


def _faces(_: Places, number: int) -> Drawn:
    """A unit is a person."""
    data = faces_hard(number)
    return Drawn(data, data.test.labels)


def _segments(_: Places, number: int) -> Drawn:
    """A unit is a segment of a film."""
    data = clip_segments(number)
    return Drawn(data, data.test.labels)


def _lapses(_: Places, number: int) -> Drawn:
    """A unit is a place in a film, whose time lapse is played in both directions."""
    data = playing_direction(number)
    return Drawn(data, np.arange(len(data.test)) // 2)


SETS: dict[str, StudySet] = {
    each.name: each
    for each in (
        redealt("digits"),
        redealt("spoken-digits"),
        archive("JapaneseVowels"),
        archive("ItalyPowerDemand"),
        archive("OSULeaf", 7),
        archive("ArrowHead", 5),
        archive("GunPoint", 5),
        archive("ACSF1", 20),
        StudySet("Fashion-MNIST", _pictures, needs="fashion"),
        StudySet("faces-hard", _faces, preset="faces-hard"),
        StudySet("clip-segments", _segments, preset="clip-segments", clips=6_000),
        StudySet("playing-direction", _lapses, preset="playing-direction", clips=6_000),
    )
}
"""In the order in which they are trained: those that take least first."""
