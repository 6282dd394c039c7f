"""The data sets of the comparison of formats (docs/formats_study.py), each in as many draws as are asked for.

A draw deals all samples of a set anew: a fifth tests, a fifth validates, the rest trains, class by class, whatever
splits the set comes with. Of faces a draw deals each person's photos, and of films it chooses other windows and, by
where segments and blocks begin, other frames. So the draws of a set stand for how the set might have been divided.

Clips of one unit are not independent: the same sample in several draws, a person, a segment of a film. Intervals draw
whole units anew (fdht.studies.pooling).
"""

import gzip
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from fdht.boards import find_board
from fdht.model.data import DataSet, Split, from_arrays
from fdht.model.data import load as load_packaged
from fdht.model.data.files import read_arrays
from fdht.model.data.films import (
    BLOCK,
    FILMS,
    SEGMENT,
    STEPS,
    clip_segments,
    frames_of_films,
    lapses,
    playing_direction,
    segments,
)
from fdht.model.data.orl import faces_hard
from fdht.model.presets import PRESETS, Preset
from fdht.model.recipe import UNTUNED
from fdht.spec.defaults import DEFAULT_TARGET
from fdht.workflow.proposal import propose, trained

SAMPLED = 1_000, 500, 2_000
"""Of sets with many samples, how many of them train, validate and test in a draw."""


MEASURED = ("validation", "test")
"""Splits on which models are measured."""


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
    """A draw of a set: the data, and the unit of each clip of `validation` and `test`, a number that is the same in all
    draws.
    """

    data: DataSet
    units: dict[str, np.ndarray]


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


Parts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Numbers of the samples that train, validate and test."""


def dealt(labels: np.ndarray, draw: int) -> Parts:
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


def divided(name: str, x: Sequence[np.ndarray], y: np.ndarray, parts: Parts, units: np.ndarray | None = None) -> Drawn:
    """A draw out of samples, and the unit of each; a sample is its own where that is left out."""
    (x_train, x_validation, x_test), (y_train, y_validation, y_test) = (
        [[x[k] for k in part] for part in parts],
        [y[part] for part in parts],
    )
    data = from_arrays(
        x_train, y_train, x_validation=x_validation, y_validation=y_validation, x_test=x_test, y_test=y_test, name=name
    )
    return Drawn(
        data, {part: own if units is None else units[own] for part, own in zip(MEASURED, parts[1:], strict=True)}
    )


def sampled(
    name: str, x: Sequence[np.ndarray], y: np.ndarray, own: np.ndarray, units: np.ndarray | None = None
) -> Drawn:
    """A draw out of many samples: of the numbers `own` the first train, the next validate, the rest tests."""
    train, validation, test = np.split(own, np.cumsum(SAMPLED[:2]))
    return divided(name, x, y, (train, validation, test), units)


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
        return divided(name, x, y, dealt(y, number))

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
        units = {"validation": validation, "test": test}
        parts = {"train": (train,), "validation": (validation,), "final": (train, validation), "test": (test,)}
        return Drawn(replace(data, **{part: split(*of) for part, of in parts.items()}), units)

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
    own = np.random.default_rng(0).permutation(len(x))[number * sum(SAMPLED) : (number + 1) * sum(SAMPLED)]
    return sampled("Fashion-MNIST", [*x], y, own)


LANGUAGES = ("cs", "de", "en", "es", "fi", "fr", "hu", "it", "nl", "pl", "sv", "tr")
LONGEST_NAME = 16
LETTERS = "abcdefghijklmnopqrstuvwxyz "


@cache
def _names_of_babel() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Names of territories, languages, scripts and currencies as letters, a step each; in which language each is, out
    of those that only one language has; and the number of what it names.
    """
    from babel import Locale

    def spelt(name: str) -> str:
        plain = unicodedata.normalize("NFKD", name.lower())
        return "".join(c if c in LETTERS else " " for c in plain if not unicodedata.combining(c))

    found, things = dict[str, set[tuple[int, str]]](), dict[str, int]()
    for label, language in enumerate(LANGUAGES):
        locale = Locale(language)
        for kind in ("territories", "languages", "scripts", "currencies"):
            for code, name in sorted(getattr(locale, kind).items()):
                if 3 <= len(name) <= LONGEST_NAME:
                    found.setdefault(spelt(name), set()).add((label, f"{kind} {code}"))
    own = {name: min(of) for name, of in found.items() if len({label for label, _ in of}) == 1}
    for _, thing in own.values():
        things.setdefault(thing, len(things))
    one_hot = np.eye(len(LETTERS))
    x = [one_hot[[LETTERS.index(letter) for letter in name]] for name in own]
    return x, np.array([label for label, _ in own.values()]), np.array([things[thing] for _, thing in own.values()])


def _names(_: Places, number: int) -> Drawn:
    """A unit is what is named, in all languages."""
    x, y, things = _names_of_babel()
    return sampled("names", x, y, np.random.default_rng(number).permutation(len(x))[: sum(SAMPLED)], things)


def _faces(_: Places, number: int) -> Drawn:
    """A unit is a person."""
    data = faces_hard(number)
    return Drawn(data, {part: getattr(data, part).labels for part in MEASURED})


def stretches(places: Sequence[tuple[str, int]], frames: int) -> np.ndarray:
    """Numbers of the stretches of so many frames in which frames of films lie, the same in all draws."""
    return np.array([[*FILMS].index(film) * 1_000 + frame // frames for film, frame in places])


def _segments(_: Places, number: int) -> Drawn:
    """A unit is the stretch of a film, as long as a segment, in which the middle of a segment lies."""
    data = clip_segments(number)
    own = stretches([(film, first + SEGMENT // 2) for film, first in segments(frames_of_films(), number)], SEGMENT)
    return Drawn(data, {part: own[getattr(data, part).labels] for part in MEASURED})


def _lapses(_: Places, number: int) -> Drawn:
    """A unit is the stretch of a film, as long as a time lapse, in which it begins. Both directions of a lapse, and all
    lapses that begin there, are of one.
    """
    data = playing_direction(number)
    own = stretches(lapses(frames_of_films(), number), BLOCK * STEPS)
    return Drawn(data, {part: own[np.arange(len(getattr(data, part))) // 2 % len(own)] for part in MEASURED})


SETS: dict[str, StudySet] = {
    each.name: each
    for each in (
        redealt("digits"),
        redealt("spoken-digits"),
        archive("JapaneseVowels"),
        archive("ItalyPowerDemand"),
        archive("OSULeaf", 7),
        archive("GunPoint", 5),
        StudySet("names", _names),
        StudySet("Fashion-MNIST", _pictures, needs="fashion"),
        StudySet("faces-hard", _faces, preset="faces-hard"),
        StudySet("clip-segments", _segments, preset="clip-segments", clips=6_000),
        StudySet("playing-direction", _lapses, preset="playing-direction", clips=6_000),
    )
}
"""In the order in which they are trained: those that take least first."""
