"""What a model is trained on, task by task."""

import torch
from torch import Tensor
from torch.nn import functional

from fdht.spec.task import OutputScaling, Task, Truth


def scaling_of(task: Task, truth: Truth) -> OutputScaling | None:
    """How outputs become the numbers that were asked for, from those of the training split; None of classes."""
    return OutputScaling.fitted(truth) if task.real else None


def learnt(task: Task, truth: Truth, scaling: OutputScaling | None) -> Tensor:
    """What is true of clips, as `loss` takes it: classes, or scaled numbers in single precision."""
    if not task.real:
        return torch.from_numpy(truth).long()
    return torch.from_numpy(truth if scaling is None else scaling.scaled(truth)).float()


def loss(task: Task, outputs: Tensor, truth: Tensor) -> Tensor:
    """The sum over clips of what each adds: its cross entropy, or squared error, the mean over what is known of it."""
    if task is Task.CLASSIFY:
        return functional.cross_entropy(outputs, truth, reduction="sum")
    if task.real:
        known = torch.isfinite(truth)
        parts = torch.where(known, outputs - torch.where(known, truth, 0), 0).square()
    else:
        known = truth >= 0
        flat = functional.cross_entropy(outputs.flatten(0, 1), truth.flatten(), ignore_index=-1, reduction="none")
        parts = flat.view_as(truth)
    return (parts.flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)).sum()


SOFTNESS = 2.0
"""Temperature at which a teacher's classes are learnt (Hinton, Vinyals & Dean 2015)."""


def distilled(task: Task, outputs: Tensor, taught: Tensor, lengths: Tensor | None) -> Tensor:
    """The sum over clips of how far a model's outputs are from its teacher's, whatever the labels say.

    Of classes it is the divergence of their distributions at temperature `SOFTNESS`, times its square; of numbers the
    squared error.

    Args:
        outputs, taught: B × classes, or B × T × classes of a task after every step.
        lengths: steps of each clip that are its own, B; all when left out.
    """
    if task.real:
        apart = (outputs - taught).square()
    else:
        ours, theirs = (functional.log_softmax(each / SOFTNESS, -1) for each in (outputs, taught))
        apart = SOFTNESS**2 * functional.kl_div(ours, theirs, reduction="none", log_target=True)
    if task.every_step:
        own = torch.ones_like(apart[..., 0])
        if lengths is not None:
            own = (torch.arange(apart.shape[1], device=apart.device) < lengths.to(apart.device)[:, None]).float()
        apart = (apart.sum(2) * own).sum(1) / own.sum(1)
    return apart.sum().clamp(min=0)  # below it by rounding alone


def right(task: Task, outputs: Tensor, truth: Tensor) -> float:
    """The sum over clips of the share of right classes; 0 of a regression."""
    if task.real:
        return 0.0
    hits = outputs.argmax(-1) == truth
    if task is Task.CLASSIFY:
        return hits.sum().item()
    return (hits.sum(1) / (truth >= 0).sum(1).clamp(min=1)).sum().item()
