"""Differences of two models over several draws of several data sets, and their mean over the sets, with intervals.

On a set, draw r trains both models, with a seed of its own, and tests them on the same clips: d_ir is +1 where only
ours is right on clip i, -1 where only theirs is. The difference of the set is the mean over draws of the mean over
clips. Two things are drawn at random and crossed: the *draws*, which stand for splits and seeds, and the *units* that
clips belong to (a sample that is tested in several draws, a person, a segment of a film), since clips of one unit are
not independent. Its variance is the one that is robust to both (Cameron, Gelbach & Miller 2011): that of sums over
draws, plus that of sums over units, less that of sums over the clips that have both in common.

Sets are not drawn: the mean over sets is a statement about these sets, each of which counts the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from fdht.spec.errors import SpecError
from fdht.studies.accuracy import COVERAGE

MARGIN = 0.01
"""Models whose difference certainly is smaller are equal: one point."""


@dataclass(frozen=True)
class Gap:
    """A difference of accuracies, of one set or pooled.

    Attributes:
        mean: ours minus theirs.
        variance: of that.
        freedom: degrees of freedom of the variance.
    """

    mean: float
    variance: float
    freedom: float

    def interval_of(self, coverage: float) -> tuple[float, float]:
        """The interval that covers so much (0 to 1), by Student's t."""
        from scipy.stats import t

        half = float(t.ppf((1 + coverage) / 2, self.freedom)) * sqrt(self.variance)
        return self.mean - half, self.mean + half

    @property
    def interval(self) -> tuple[float, float]:
        """That of 95 %."""
        return self.interval_of(COVERAGE)

    @property
    def half_width(self) -> float:
        """Of the interval of 95 %."""
        return self.interval[1] - self.mean

    @property
    def verdict(self) -> str:
        """`better` or `worse` if the interval excludes 0, else `equal within 1 point` if it lies within ± `MARGIN`,
        else `undecided`.
        """
        low, high = self.interval
        if low > 0:
            return "better"
        if high < 0:
            return "worse"
        return "equal within 1 point" if low > -MARGIN and high < MARGIN else "undecided"


def gap(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], units: Sequence[np.ndarray]) -> Gap:
    """The difference of two models on one set.

    Args:
        ours, theirs: per draw, whether each clip was right: booleans. The same clips for both.
        units: per draw, the unit of each clip, a number that means the same unit in every draw.

    Raises:
        SpecError: fewer than two draws or units, or draws of different clips.
    """
    sizes = [[len(part) for part in of] for of in (ours, theirs, units)]
    if sizes[0] != sizes[1] or sizes[0] != sizes[2] or 0 in sizes[0]:
        raise SpecError(f"only draws of the same clips can be paired, not of {sizes[0]}, {sizes[1]} and {sizes[2]}")
    names = np.unique(np.concatenate(units)) if units else []
    if min(len(ours), len(names)) < 2:
        raise SpecError(f"{len(ours)} draws of {len(names)} units; a spread needs two of each at least")
    sums = np.zeros((len(names), len(ours)))
    means = [float(np.mean(a.astype(float) - b)) for a, b in zip(ours, theirs, strict=True)]
    mean = float(np.mean(means))
    for draw, (a, b, of) in enumerate(zip(ours, theirs, units, strict=True)):
        off = (a.astype(float) - b - mean) / (len(a) * len(ours))
        np.add.at(sums[:, draw], np.searchsorted(names, of), off)

    def spread(parts: np.ndarray) -> float:
        """Variance of a sum of independent parts whose mean is zero."""
        return float(np.square(parts).sum()) * parts.size / (parts.size - 1)

    of_draws, of_units, of_both = spread(sums.sum(0)), spread(sums.sum(1)), spread(sums[sums != 0]) if sums.any() else 0
    variance = max(of_draws + of_units - of_both, of_draws, of_units)
    return Gap(mean, variance, min(len(ours), len(names)) - 1)


def pooled(gaps: Sequence[Gap]) -> Gap:
    """The mean of differences over sets, each of which counts the same; degrees of freedom by Satterthwaite (1946).

    Raises:
        SpecError: no sets.
    """
    if not gaps:
        raise SpecError("there is no set to take the mean of")
    total = sum(each.variance for each in gaps)
    freedom = (
        total**2 / sum(each.variance**2 / each.freedom for each in gaps) if total else min(g.freedom for g in gaps)
    )
    return Gap(float(np.mean([each.mean for each in gaps])), total / len(gaps) ** 2, freedom)
