"""The plan of the comparison of formats (docs/formats_study.py): its trainings, and the rates that it chooses.

Sets, draws, formats and recipe are alike for all: `SETS` (docs/study_sets.py), `DRAWS` draws of each with a seed of its
own, the formats of `fdht baselines`, and the recipe that `fdht train` uses where nothing is said. A format has one
learning rate, for all sets: the one of `RATES` with the best mean accuracy on the validation splits of the `TUNED`
sets, in draws `TRIED`. What might help a tree is measured on validation splits, too (docs/tree_study.py). Then all
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
TUNED = tuple(name for name in SETS if name not in ("clip-segments", "playing-direction"))
"""Not the films, where a training takes minutes: they use the rate that all other sets have chosen."""

TREE_SETS, TREE_DRAWS = tuple(name for name in TUNED if name != "faces-hard"), range(5)
"""Where changes to the tree are tried; not the faces, which are nothing without augmentation."""

CURVES, FACTORS, CURVE_DRAWS = ("digits", "spoken-digits"), (500, 1_000, 2_000, 8_000, 20_000), (0, 1, 2)
"""Sets on which accuracy is measured against factors, and about how many; in the comparison itself it is some 3,000."""

ModelName = tuple[str, str, str]
"""Format, where W_h is, and variant."""

FORMATS: tuple[ModelName, ...] = (
    ("fdht", "whole", ""),
    *((format, "whole", "") for format in ("tt", "tr", "bt")),
    *((format, "dense", "") for format in ("tt", "tr", "bt", "ht-input")),
    ("tr", "dense", "a core for each mode"),
    ("dense", "whole", ""),
)
OURS, AT_EQUAL_FACTORS = FORMATS[0], FORMATS[1:4]

RIVALS = (*FORMATS[4:7], FORMATS[8])
"""TT, TR and BT beside a dense W_h, as the papers have them; TR both ways."""

DENSE, DENSE_DRAWS = FORMATS[-1], 3
"""The dense LSTM, and on how many draws it is trained where a step is a picture: there it takes ten minutes, and its
rate is the one that the other sets have chosen.
"""


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
        for name in (name for name in sets if name in TUNED):
            for model in FORMATS:
                if model != DENSE or SETS[name].preset is None:
                    for rate in RATES:
                        yield Training(name, *model, draw, rate, TUNING)


def tree(sets: Iterable[str], rates: dict[ModelName, float]) -> Iterator[Training]:
    """What might help a tree, each change beside the tree as it is."""
    for draw in TREE_DRAWS:
        for name in (name for name in sets if name in TREE_SETS):
            for change in CHANGES:
                yield Training(name, *OURS[:2], change, draw, CHANGES[change].rate or rates[OURS], TREE)


def final(sets: Iterable[str], rates: dict[ModelName, float]) -> Iterator[Training]:
    """What opens the test splits: draw by draw, so that whoever stops early has all sets."""
    for draw in range(DRAWS):
        for name in sets:
            for model in FORMATS:
                if model != DENSE or SETS[name].preset is None or draw < DENSE_DRAWS:
                    yield Training(name, *model, draw, rates[model], STUDY)


def curve(sets: Iterable[str], rates: dict[ModelName, float]) -> Iterator[Training]:
    """Accuracy against factors: everything in one network, of each format."""
    for name in (name for name in sets if name in CURVES):
        for factors in FACTORS:
            for draw in CURVE_DRAWS:
                for model in (OURS, *AT_EQUAL_FACTORS):
                    yield Training(name, *model[:2], f"about {factors} factors", draw, rates[model], CURVE)


def chosen(rows: Sequence[Row]) -> dict[ModelName, float]:
    """The rate of each model: the best mean over tuned sets of the mean accuracy on their validation splits."""
    found = defaultdict[tuple, list[float]](list)
    for row in (row for row in rows if row.study == TUNING and row.data in TUNED):
        found[(row.format, row.recurrent, row.recipe), row.rate].append(row.accuracy)
    return {model: max(RATES, key=lambda rate: np.mean(found[model, rate] or [0.0])) for model in FORMATS}


def parts(sets: Sequence[str], rows: Sequence[Row]) -> list[list[Training]]:
    """All of it, in the order in which it is done: rates, the tree, the comparison and the curve."""
    rates = chosen(rows)
    return [[*each] for each in (tuning(sets), tree(sets, rates), final(sets, rates), curve(sets, rates))]


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
