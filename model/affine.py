"""Parts in front of the first layer that are a mean and a deviation per value: they go into the inputs' scaling."""

import numpy as np
import torch
from torch import Tensor

from fdht.model.placed import Placed
from fdht.spec.errors import SpecError
from fdht.spec.scaling import Scaling

BEYOND = 4
"""How many times the range of the calibration's values is tried at least; where one step is for all values, and one of
them is small beside others, words reach further, and what is tried does, too. What bends beyond gives the same words.
"""

CLOSE = 0.05
"""Of a word's step: so far from a straight line may a part be."""

PROBES = 8
"""Samples of random values that a part is tried with."""

WIDE = (torch.float32, torch.float64)
"""Types of samples that tell a straight line from one that bends."""


def folded(placed: Placed, x: Tensor, values: np.ndarray, scaling: Scaling) -> Scaling | None:
    """The scaling of what the module itself is given, if its parts on the host only scale and shift each value of a
    step: then that scaling's words are those of `scaling` behind these parts, and a driver needs none of them.

    They are run on random values over more than the range of the calibration and of the words: a part that mixes values
    or steps (LayerNorm, a convolution, differences), looks at where a step is, bends (tanh, a logarithm) or turns a
    value's sign does not pass.

    Args:
        x: samples of the module's, finite. values: what the first layer is given for them, B × T × N. scaling: of
            these values.

    Returns:
        The scaling; None where the parts must stay on the host.
    """
    if x.numel() != values.size or x.dtype not in WIDE or len(scaling.centre) != values.shape[2]:
        return None
    own = _rows(x, values)
    low, high, step = own.min(0), own.max(0), np.asarray(scaling.step)
    reach = BEYOND * np.where(high > low, (high - low) / 2, np.maximum(abs(high), 1))
    for _ in range(2):
        random = np.random.default_rng(0).uniform(-1, 1, (PROBES, *values.shape[1:]))
        probes = torch.from_numpy((low + high) / 2 + reach * random).to(x).reshape(PROBES, *x.shape[1:])
        try:
            given = placed.inputs(probes)
        except SpecError:  # a part that does not take any value
            return None
        if tuple(given.shape) != random.shape:
            return None
        tried, found = _rows(probes, random), given.double().cpu().numpy().reshape(-1, values.shape[2])
        if not np.isfinite(found).all():
            return None
        away = tried - tried.mean(0)
        factor = (away * found).sum(0) / np.square(away).sum(0)
        if not factor.all():  # a value that is left out
            return None
        reach = np.maximum(reach, step * 2.0 ** (scaling.bits - 1) / abs(factor))
    shift = found.mean(0) - factor * tried.mean(0)
    for at, gave in ((tried, found), (own, values.reshape(own.shape))):
        rounding = 4 * np.finfo(np.float32).eps * (abs(factor * at) + abs(shift))
        far = abs(gave - factor * at - shift) > CLOSE * step + rounding
        if far.any():
            return None
    try:
        centre = (np.asarray(scaling.centre) - shift) / factor
        return Scaling(tuple(centre.tolist()), tuple((step / factor).tolist()), scaling.bits, scaling.signed)
    except SpecError:  # a sign that turns, or steps too fine for their centre
        return None


def _rows(x: Tensor, like: np.ndarray) -> np.ndarray:
    """A module's samples as rows of values, in the order in which the first layer is given them."""
    return x.detach().double().cpu().numpy().reshape(-1, like.shape[-1])
