"""How a training starts, how its learning rate changes, and how it is shared out between parameters."""

from collections.abc import Callable
from math import cos, pi
from typing import Any


def constant(done: float) -> float:
    """1, whatever is done."""
    return 1.0


def cosine(done: float) -> float:
    """Falls from 1 to 0 along half a cosine (Loshchilov & Hutter 2017, without restarts)."""
    return (1 + cos(pi * done)) / 2


def one_cycle(done: float) -> float:
    """Rises from 1/25 to 1 in the first 30 %, then falls to almost nothing (Smith & Topin 2018, cosine form)."""
    if done < 0.3:
        return 1 / 25 + (1 - 1 / 25) * (1 - cos(pi * done / 0.3)) / 2
    return (1 + cos(pi * (done - 0.3) / 0.7)) / 2


def trapezoid(done: float) -> float:
    """Rises from 1/25 to 1 in the first 10 %, stays there to 50 %, then falls to 0 (warm-up, stable, decay)."""
    if done < 0.1:
        return one_cycle(3 * done)
    return 1.0 if done < 0.5 else cosine((done - 0.5) / 0.5)


TRAPEZOID = "trapezoid"
"""The schedule where nobody says another. It takes a training as far as a one-cycle that is 1.4 times as long
(docs/decisions/model.md).
"""

SCHEDULES: dict[str, Callable[[float], float]] = {
    "one-cycle": one_cycle,
    TRAPEZOID: trapezoid,
    "cosine": cosine,
    "constant": constant,
}
"""Learning rate, relative to its peak, after a fraction (0 to 1) of the steps."""

BY_SIZE, ALIKE = "by-size", "alike"
"""The two ways to share out a rate: a factor's follows from its size (fdht.model.optimiser), or it is everybody's."""

RATES = (BY_SIZE, ALIKE)

LEARNING_RATE, WEIGHT_DECAY = 0.01, 0.3
"""Of a training by size where nobody says more: of networks the decay, see fdht.model.optimiser."""

RECURRENT_START = 1 / 3
"""Mean square of the entries of W_h at the start, times H: that of torch's nn.LSTM. With 1, as the presets have it,
long sequences and high rates run away sooner (docs/decisions/model.md).
"""

UNTUNED: dict[str, Any] = {
    "learning_rate": LEARNING_RATE,
    "weight_decay": WEIGHT_DECAY,
    "schedule": TRAPEZOID,
    "rates": BY_SIZE,
    "recurrent_start": RECURRENT_START,
}
"""The recipe that needs no tuning (docs/training.md), as settings of fdht.model.presets.Preset."""
