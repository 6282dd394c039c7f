"""Small data sets of every task: what can be said of the sums of a sequence so far."""

import numpy as np

from fdht.model.data.sets import DataSet, Split
from fdht.spec.formats import PIXELS
from fdht.spec.task import Task, Truth

STEPS, INPUTS = 6, 3


def sequences(task: Task, clips: int = 60, seed: int = 1) -> DataSet:
    """Clips of STEPS steps of INPUTS values.

    Their classes: whether the sum of the first values so far is above 0; their numbers: that sum in units of its own,
    and how far the second value is from 1.
    """
    rng = np.random.default_rng(seed)

    def split(count: int) -> Split:
        frames = rng.integers(0, 256, (count * STEPS, INPUTS), dtype=np.uint8)
        order = np.arange(len(frames)).reshape(count, STEPS)
        return Split(frames, order, truth(task, frames[order]))

    train, validation, test = split(clips), split(clips // 3), split(clips // 3)
    names = () if task.real else ("below", "above")
    return DataSet("sums", PIXELS, names, train, validation, train, test, (INPUTS,), task=task)


def truth(task: Task, raw: np.ndarray) -> Truth:
    """What is true of raw clips."""
    x = (raw.astype(np.float64) - 128) / 128
    sums = np.cumsum(x[..., 0], 1)
    every = np.stack([1000 + 50 * sums, 1 - x[..., 1]], -1) if task.real else (sums > 0).astype(np.int64)
    return every if task.every_step else every[:, -1]
