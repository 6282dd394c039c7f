"""The golden model on all clips of a bundle, some at a time."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fdht.model.golden import GoldenLSTM
from fdht.spec.bundle import Bundle

CLIPS_AT_ONCE = 25


@dataclass(frozen=True, eq=False)
class GoldenRun:
    """Attributes:
    logits, hidden: clips × classes and clips × H, after the last step.
    saturation: fraction of values that were clipped, by place.
    """

    logits: np.ndarray
    hidden: np.ndarray
    saturation: dict[str, float]


def run(bundle: Bundle, progress: Callable[[int], None]) -> GoldenRun:
    """Runs the golden model; `progress` is called with the clips done."""
    model, logits, hidden = GoldenLSTM(bundle), [], []
    clipped, values = Counter(), Counter()
    for start in range(0, len(bundle.clips), CLIPS_AT_ONCE):
        trace = model.run(bundle.clips[start : start + CLIPS_AT_ONCE])
        logits.append(trace.logits.numpy())
        hidden.append(trace.h[:, -1].numpy())
        clipped.update(trace.saturations)
        values.update(trace.values)
        progress(min(start + CLIPS_AT_ONCE, len(bundle.clips)))
    rates = {place: clipped[place] / count for place, count in values.items()}
    return GoldenRun(np.concatenate(logits), np.concatenate(hidden), rates)
