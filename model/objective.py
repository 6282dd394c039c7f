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


def right(task: Task, outputs: Tensor, truth: Tensor) -> float:
    """The sum over clips of the share of right classes; 0 of a regression."""
    if task.real:
        return 0.0
    hits = outputs.argmax(-1) == truth
    if task is Task.CLASSIFY:
        return hits.sum().item()
    return (hits.sum(1) / (truth >= 0).sum(1).clamp(min=1)).sum().item()
