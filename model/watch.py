"""What goes wrong in a training, in words: it is noticed from the losses of its epochs."""

from collections.abc import Sequence
from math import log

RISING = 3
"""Epochs of a loss above the best one before it is said; a tenth of them all, if that is more."""

FACTOR, OFFSET = 1.2, 0.05
"""A loss is above the best one where it is beyond so many times it, and so much more."""

NOTHING = 0.95
"""A loss that stays above this part of guessing's has learnt nothing."""


def troubles(losses: Sequence[float], epochs: int, classes: int, learning_rate: float) -> list[str]:
    """Sentences about a training that runs away or learns nothing, each with a way out; usually none.

    Args:
        losses: of the epochs so far: mean cross entropies.
        epochs: that there will be.
        classes: guessing one of so many has a cross entropy of ln(classes).
        learning_rate: at its peak.
    """
    found = []
    patience = max(RISING, epochs // 10)
    best = min(losses, default=0.0)
    if len(losses) > patience and min(losses[-patience:]) > FACTOR * best + OFFSET:
        found.append(
            f"the loss has been above its best for {patience} epochs: {best:.3g} after epoch "
            f"{losses.index(best) + 1}, {losses[-1]:.3g} now; train anew with --learning-rate {learning_rate / 3:.2g}"
        )
    guessing = log(classes) if classes > 1 else 0.0
    if len(losses) == epochs > 1 and losses[-1] > NOTHING * guessing > 0:
        found.append(
            f"after {epochs} epochs the loss is {losses[-1]:.3g}, that of guessing {guessing:.3g}: nothing was learnt; "
            f"try more epochs, --learning-rate {learning_rate / 3:.2g} or {learning_rate * 3:.2g}, or look at the data"
        )
    return found
