"""AdamW for tensor networks: the rate of a factor follows from its size, and decay acts on the product.

One rate for all parameters suits a matrix. A network of k factors moves its matrix by k steps at once, and the entries
of each factor have a size of their own: with one rate for all, deep networks run away or learn nothing. Here a learning
rate says by how much a *network* may change: a factor F of k moves by

    rate × REACH × rms(F) / sqrt(k)

per step, with rms(F) its root mean square at the start, so that the network's relative change is about rate × REACH
however many factors it has, and whatever size they are. Biases and heads move by the rate itself.

Decoupled weight decay multiplies each factor by 1 - rate × decay / k per step, so the product by about
1 - rate × decay, as AdamW does with a matrix.

A gradient through many steps of time now and then is thousands of times as large as usual. With Adam's usual memory of
1,000 steps for squares, such a one moves everything three times as far as usual, after which the training may be lost;
with `BETAS` no further than any other.
"""

from collections.abc import Iterable
from math import sqrt

import torch
from torch import nn

from fdht.model.layers import NetworkWeight
from fdht.model.recipe import BY_SIZE, WEIGHT_DECAY
from fdht.spec.errors import SpecError

REACH = 3.0
"""Relative change of a network per step, in learning rates (measured: docs/decisions/model.md)."""

BETAS = (0.9, 0.99)
"""Of Adam's running means of gradients and their squares."""

REST_DECAY = 0.01
"""Weight decay of what is no factor: AdamW's own."""


def parameter_groups(
    model: nn.Module, learning_rate: float, weight_decay: float = WEIGHT_DECAY, rates: str = BY_SIZE
) -> list[dict]:
    """Groups for `torch.optim.AdamW`, or any optimiser that scales its steps as Adam does.

    Call it once the model has its first parameters: sizes are taken then. A schedule multiplies every group's `lr`, as
    those of `torch.optim.lr_scheduler` do.

    Args:
        model: an FDHTLSTM, an HTLinear, or any module with some inside.
        learning_rate: of all that is no factor; how far a network may change per step.
        weight_decay: of products, per step and learning rate; of everything, with rates alike.
        rates: one of fdht.model.recipe.RATES.

    Example:
        optimiser = torch.optim.AdamW(fdht.parameter_groups(model, 0.01))
    """
    if not isinstance(model, nn.Module):
        raise SpecError(f"groups are made of a module and not of a {type(model).__name__}; pass the module itself")
    if not isinstance(learning_rate, int | float) or not 0 < learning_rate < float("inf"):
        raise SpecError(f"a learning rate of {learning_rate!r}; it is a number above 0, such as 0.01")
    if rates != BY_SIZE:
        return [{"params": list(model.parameters()), "lr": learning_rate, "weight_decay": weight_decay, "share": 1.0}]
    rest, groups = dict.fromkeys(model.parameters()), list[dict]()

    def add(parameters: Iterable[nn.Parameter], share: float, decay: float) -> None:
        group = {"lr": learning_rate * share, "weight_decay": decay, "share": share, "betas": BETAS}
        groups.append({"params": list(parameters)} | group)

    for weight in (module for module in model.modules() if isinstance(module, NetworkWeight)):
        factors = list(weight.factors.values())
        for factor in factors:
            size = factor.detach().square().mean().sqrt().item()
            share = REACH * max(size, torch.finfo(factor.dtype).tiny) / sqrt(len(factors))
            add([factor], share, weight_decay / (len(factors) * share))
            del rest[factor]
    if rest:
        add(rest, 1.0, REST_DECAY)
    return groups


def set_rate(groups: Iterable[dict], learning_rate: float) -> None:
    """Gives groups of `parameter_groups` another learning rate."""
    for group in groups:
        group["lr"] = learning_rate * group["share"]
