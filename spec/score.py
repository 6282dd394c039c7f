"""How good outputs are, task by task: accuracy, or root mean squared error and r2."""

from dataclasses import dataclass
from math import sqrt
from typing import Annotated

import numpy as np
from pydantic import Field

from fdht.spec.record import Checked, Share
from fdht.spec.task import OutputScaling, Task, Truth

RMSE = Annotated[float, Field(ge=0)]
R2 = Annotated[float, Field(le=1)]


@dataclass(frozen=True)
class Score(Checked):
    """How good outputs are.

    Attributes:
        accuracy: share of right classes, of clips or of steps; None of a regression.
        rmse: root of the mean squared error of the numbers that were asked for, all outputs together; None of classes.
        r2: 1 − squared errors ÷ squared distances to the mean, the mean over the outputs; None of classes.
    """

    accuracy: Share | None = None
    rmse: RMSE | None = None
    r2: R2 | None = None

    @property
    def figure(self) -> float:
        """What is larger for the better: accuracy or r2."""
        figure = self.accuracy if self.r2 is None else self.r2
        assert figure is not None
        return figure


def score(task: Task, outputs: np.ndarray, truth: Truth, scaling: OutputScaling | None) -> Score:
    """How good outputs of a head are, as real numbers.

    Args:
        outputs: B × classes or B × T × classes, as the task says; of a regression before they are scaled.
        truth: what is not known of it (-1, NaN) counts for nothing; an accuracy is 0 where nothing is known.
    """
    if task.real:
        return errors(outputs if scaling is None else scaling.values(outputs), truth)
    hits, of = task.classes_of(outputs) == truth, known(task, truth)
    return Score(accuracy=float(hits[of].mean()) if of.any() else 0.0)


def known(task: Task, truth: Truth) -> np.ndarray:
    """Of which clips, steps or numbers something is known: true or false, in the shape of the truth."""
    return np.isfinite(truth) if task.real else truth >= 0


def interval(hits: int, total: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share, by Wilson's score: between which accuracies so many hits are likely."""
    share, z = hits / total, 1.959964
    middle, wide = share + z * z / (2 * total), z * sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    whole = 1 + z * z / total
    return max(0.0, (middle - wide) / whole), min(1.0, (middle + wide) / whole)


def errors(values: np.ndarray, truth: Truth) -> Score:
    """How far numbers (… × K) are from those that were asked for.

    An output whose truth is always the same has an r2 of 0, or of 1 where it is met.
    """
    values, wanted = (np.asarray(each, dtype=np.float64).reshape(-1, truth.shape[-1]) for each in (values, truth))
    known = np.isfinite(wanted)
    count = known.sum(0)
    if not count.any():
        return Score(rmse=0.0, r2=0.0)
    mean = np.where(known, wanted, 0).sum(0) / np.maximum(count, 1)
    squares, spread = (np.square(np.where(known, wanted - other, 0)).sum(0) for other in (values, mean))
    of_each = np.where(spread > 0, 1 - squares / np.where(spread > 0, spread, 1), squares == 0)[count > 0]
    return Score(rmse=float(np.sqrt(squares.sum() / count.sum())), r2=float(of_each.mean()))
