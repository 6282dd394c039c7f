"""What goes wrong in a training, in words: it is noticed from the losses of its epochs, and from the gates."""

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor
from torch.nn import functional

from fdht.model.layers import Classifier

RISING = 3
"""Epochs of a loss above the best one before it is said; a tenth of them all, if that is more."""

FACTOR, OFFSET = 1.2, 0.05
"""A loss is above the best one where it is beyond so many times it, and so much more."""

NOTHING = 0.95
"""A loss that stays above this part of guessing's has learnt nothing."""

LIMIT = 0.01
"""How near to a limit of its function a gate is flat: its derivative is then at most a twenty-fifth of the largest."""

SHUT = 0.25
"""Share of the hidden units' steps in which nothing flows back, above which it is said (measured: docs/decisions)."""


def shut(model: Classifier, raw: Tensor) -> float:
    """The share of the hidden units' steps in which input gate, candidate and output gate are all within `LIMIT` of a
    limit, in the layer where it is largest: whatever the loss, next to nothing flows back through them.

    The forget gate is not asked: near 1 it only keeps what the cell holds. One of the three alone is not, either: in a
    model that has learnt well every second candidate may be near -1 or 1.

    Args:
        raw: clips, B × T × N raw words.
    """
    x, found = model.widen(raw), 0.0
    with torch.no_grad():
        for layer in model.lstm_layers:
            output, _ = layer(x, batch_first=True)
            before = functional.pad(output[:, :-1], (0, 0, 1, 0))
            i, _, g, o = layer.preactivations(x, before).chunk(4, -1)
            flat = [torch.sigmoid(z.abs()) > 1 - LIMIT for z in (i, o)]
            every = flat[0] & flat[1] & (torch.tanh(g.abs()) > 1 - LIMIT)
            found, x = max(found, every.float().mean().item()), output
    return found


def troubles(
    losses: Sequence[float],
    epochs: int,
    classes: int,
    learning_rate: float,
    guessing: float | None = None,
    closed: float = 0.0,
) -> list[str]:
    """Sentences about a training that runs away, saturates or learns nothing, each with a way out; usually none.

    Args:
        losses: of the epochs so far: mean cross entropies, or squared errors.
        epochs: that there will be.
        classes: guessing one of so many has a cross entropy of ln(classes).
        learning_rate: at its peak.
        guessing: the loss of guessing, where it is another.
        closed: what `shut` says after the last epoch so far.
    """
    found = []
    patience = max(RISING, epochs // 10)
    best = min(losses, default=0.0)
    if len(losses) > patience and min(losses[-patience:]) > FACTOR * best + OFFSET:
        found.append(
            f"the loss has been above its best for {patience} epochs: {best:.3g} after epoch "
            f"{losses.index(best) + 1}, {losses[-1]:.3g} now; train anew with --learning-rate {learning_rate / 3:.2g}"
        )
    if closed > SHUT:
        found.append(
            f"gates are saturated: in {100 * closed:.0f} % of the hidden units' steps input gate, candidate and output "
            "gate are all at their limits, so that nothing flows back to learn from; train anew with --learning-rate "
            f"{learning_rate / 3:.2g}"
        )
    if guessing is None:
        guessing = log(classes) if classes > 1 else 0.0
    if len(losses) == epochs > 1 and losses[-1] > NOTHING * guessing > 0:
        found.append(
            f"after {epochs} epochs the loss is {losses[-1]:.3g}, that of guessing {guessing:.3g}: nothing was learnt; "
            f"try more epochs, --learning-rate {learning_rate / 3:.2g} or {learning_rate * 3:.2g}, or look at the data"
        )
    return found
