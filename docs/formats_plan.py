"""The plan of the comparison of formats (docs/formats_study.py): its trainings, and the rates that it chooses.

Sets, draws, formats and recipe are alike for all: `SETS` (docs/study_sets.py), `DRAWS` draws of each with a seed of its
own, the formats of `fdht baselines`, and the recipe that `fdht train` uses where nothing is said. A format has a
learning rate for each kind of sets: of those of `rates_tried` the one with the best mean accuracy on their validation
splits, in draws `TRIED`. What might help a tree is measured on validation splits, too (docs/tree_study.py). Then all
formats train on every draw of every set, on its training and validation splits, and each opens the test split once.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from docs.study_sets import SETS
from docs.tree_study import CHANGES
from fdht.studies.accuracy import Row

STUDY, TUNING, TREE, CURVE = "formats", "formats, tuning", "formats, tree", "formats, curve"
"""What rows are called: of the comparison; of choosing rates and of what might help a tree, both on validation splits;
of accuracy against factors.
"""

ON_VALIDATION = (TUNING, TREE)

DRAWS = 10
RATES = (0.1, 0.03, 0.01, 0.003)
TRIED = (0, 1)

FEW, FACES, FILMS = "few values", "faces", "films"
"""Kinds of sets, by what a step is: 1 to 28 values, or a picture of thousands, photographed or filmed."""

KINDS = {name: FEW if set_.preset is None else FACES if name == "faces-hard" else FILMS for name, set_ in SETS.items()}

TREE_SETS, TREE_DRAWS = tuple(name for name in SETS if KINDS[name] == FEW), range(5)
"""Where changes to the tree are tried; not pictures, which are nothing without augmentation."""

CURVES = ("digits", "spoken-digits", "names", "Fashion-MNIST")
FACTORS, CURVE_DRAWS = (500, 1_000, 2_000, 8_000, 20_000), (0, 1, 2)
"""Sets on which accuracy is measured against factors, and about how many; in the comparison itself it is some 2,600."""

ModelName = tuple[str, str, str]
"""Format, where W_h is, and variant."""

FOUR = "four modes"
"""Of networks that hold everything: on the three modes that are proposed for few values every tree is a train, so trees
are held against trains, rings and blocks on four. Pictures have four anyway.
"""

OURS, OURS_OF_FOUR = ("fdht", "whole", ""), ("fdht", "whole", FOUR)
AT_EQUAL_FACTORS: tuple[ModelName, ...] = tuple((format, "whole", FOUR) for format in ("tt", "tr", "bt"))

RIVALS: tuple[ModelName, ...] = (
    *((format, "dense", "") for format in ("tt", "tr", "bt")),
    ("tr", "dense", "a core for each mode"),
)
"""TT, TR and BT beside a dense W_h, as the papers have them; TR both ways."""

DENSE, DENSE_DRAWS = ("dense", "whole", ""), 4
"""The dense LSTM, and on how many draws it is trained where a step is a picture: there it takes four minutes and more.
Its rates for pictures are chosen on one draw.
"""

FORMATS: tuple[ModelName, ...] = (OURS, OURS_OF_FOUR, *AT_EQUAL_FACTORS, *RIVALS, ("ht-input", "dense", ""), DENSE)

Rates = dict[tuple[str, ModelName], float]
"""By kind of set and model."""


def rates_tried(of: str, model: ModelName) -> tuple[float, ...]:
    """Those of a model on a kind of sets: on faces several formats liked the lowest best, so one more. On films there
    are as many as on few values; the dense LSTM, where a training takes minutes, has lower ones, as it liked on faces.
    """
    lower = (*RATES, 0.001)
    if of == FILMS:
        return lower[1:] if model == DENSE else RATES
    return lower if of == FACES else RATES


def on(name: str) -> tuple[ModelName, ...]:
    """The models that are trained on a set."""
    return tuple(model for model in FORMATS if model != OURS_OF_FOUR or KINDS[name] == FEW)


def ours_beside(model: ModelName, name: str) -> ModelName:
    """Which FDHT-LSTM a model is held against on a set: at equal factors the one on as many modes."""
    return OURS_OF_FOUR if model in AT_EQUAL_FACTORS and KINDS[name] == FEW else OURS


@dataclass(frozen=True)
class Training:
    """One training of the plan: a model on a draw of a set, with a rate; to choose rates, or for the test."""

    data: str
    format: str
    recurrent: str
    variant: str
    draw: int
    rate: float
    study: str

    @classmethod
    def of(cls, row: Row) -> "Training":
        return cls(row.data, row.format, row.recurrent, row.recipe, row.seed, row.rate, row.study)

    @property
    def model(self) -> ModelName:
        return self.format, self.recurrent, self.variant

    @property
    def validates(self) -> bool:
        """Whether it is measured on the validation split."""
        return self.study in ON_VALIDATION


def tuning(sets: Iterable[str]) -> Iterator[Training]:
    """What rates are chosen from."""
    for draw in TRIED:
        for name in sets:
            for model in on(name):
                if model != DENSE or KINDS[name] == FEW or draw == TRIED[0]:
                    for rate in rates_tried(KINDS[name], model):
                        yield Training(name, *model, draw, rate, TUNING)


def rate_of(change: str, rates: Rates) -> float:
    """The rate that a change to the tree is tried at: that of the tree as it is, if it has none of its own."""
    return CHANGES[change].rate or rates[FEW, OURS]


def tree(sets: Iterable[str], rates: Rates) -> Iterator[Training]:
    """What might help a tree, each change beside the tree as it is."""
    for draw in TREE_DRAWS:
        for name in (name for name in sets if name in TREE_SETS):
            for change in CHANGES:
                yield Training(name, *OURS[:2], change, draw, rate_of(change, rates), TREE)


def final(sets: Iterable[str], rates: Rates) -> Iterator[Training]:
    """What opens the test splits: draw by draw, so that whoever stops early has all sets."""
    for draw in range(DRAWS):
        for name in sets:
            for model in on(name):
                if model != DENSE or KINDS[name] == FEW or draw < DENSE_DRAWS:
                    yield Training(name, *model, draw, rates[KINDS[name], model], STUDY)


def curve(sets: Iterable[str], rates: Rates) -> Iterator[Training]:
    """Accuracy against factors: everything in one network of four modes, of each format."""
    for name in (name for name in sets if name in CURVES):
        for factors in FACTORS:
            for draw in CURVE_DRAWS:
                for model in (OURS_OF_FOUR, *AT_EQUAL_FACTORS):
                    rate = rates[KINDS[name], model]
                    yield Training(name, *model[:2], f"about {factors} factors", draw, rate, CURVE)


def planned(rows: Iterable[Row]) -> list[Row]:
    """Rows without those of earlier plans that rates are no longer chosen from."""
    every = {*tuning(SETS)}
    return [row for row in rows if row.study != TUNING or Training.of(row) in every]


def chosen(rows: Iterable[Row]) -> Rates:
    """The rates of each model: of a kind of sets the best mean accuracy on their validation splits."""
    found = defaultdict[tuple, list[float]](list)
    for row in (row for row in planned(rows) if row.study == TUNING):
        found[KINDS[row.data], Training.of(row).model, row.rate].append(row.accuracy)
    return {
        (of, model): max(rates_tried(of, model), key=lambda rate: np.mean(found[of, model, rate] or [0.0]))
        for of in (FEW, FACES, FILMS)
        for model in FORMATS
    }


def with_rates(sets: Iterable[str], rows: Iterable[Row]) -> list[str]:
    """Those of some sets whose rates can be chosen, as everything is there that they are chosen from: all of a kind."""
    done = {Training.of(row) for row in rows}
    without = {KINDS[training.data] for training in tuning(SETS) if training not in done}
    return [name for name in sets if KINDS[name] not in without]


def parts(sets: Sequence[str], rows: Sequence[Row]) -> list[list[Training]]:
    """All of it, in the order in which it is done: rates, the tree, the comparison and the curve."""
    rates = chosen(rows)
    return [[*tuning(sets)], [*tree(sets, rates)], [*final(sets, rates)], [*curve(sets, rates)]]


def left(rows: Iterable[Row], every: Iterable[Sequence[Training]]) -> list[str]:
    """What is done and what there is to do, a line each, with the CPU hours it has taken and will take."""
    rows = [row for row in rows if row.study in (TUNING, TREE, STUDY, CURVE)]
    took = defaultdict[tuple, list[float]](list)
    for row in rows:
        for what in ((row.data, row.format, row.recurrent, row.recipe), (row.data,), ()):
            took[what].append(row.seconds)
    done = {Training.of(row) for row in rows}
    lines = [f"done: {len(done)} trainings, {sum(row.seconds for row in rows) / 3600:.2f} CPU hours"]
    for part in every:
        missing = [training for training in part if training not in done]
        seconds = sum(
            float(np.mean(took[(each.data, *each.model)] or took[each.data,] or took[()] or [10.0])) for each in missing
        )
        if part:
            lines.append(f"{part[0].study}: {len(missing)} of {len(part)} to do, {seconds / 3600:.2f} CPU hours")
    return lines
