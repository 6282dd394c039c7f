"""Contracting tensor networks with torch: merging factors, and absorbing them into data stage by stage.

Works in any dtype, and differentiates in floating ones. Index names and orders are those of `spec.stages`.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import prod

import torch

from spec.network import TensorNetwork
from spec.stages import Stage, StageList

Labelled = tuple[torch.Tensor, tuple[str, ...]]
"""A tensor and the names of its dimensions."""


def contract(operands: Iterable[Labelled], indices: tuple[str, ...]) -> torch.Tensor:
    """Contracts tensors with each other: equal names are one index, names missing in `indices` are summed over.

    Joined pair by pair, smallest result first, because einsum over many operands goes left to right and may form an
    outer product larger than the dense weight.

    Returns:
        One tensor with the dimensions `indices`.
    """
    parts = list(operands)
    size = {name: length for tensor, names in parts for name, length in zip(names, tensor.shape, strict=True)}
    while len(parts) > 1:
        joined: list[tuple[int, int, int, tuple[str, ...]]] = []
        for a, b in combinations(range(len(parts)), 2):
            needed = set(indices).union(*(names for k, (_, names) in enumerate(parts) if k not in (a, b)))
            kept = tuple(name for name in dict.fromkeys(parts[a][1] + parts[b][1]) if name in needed)
            joined.append((prod(size[name] for name in kept), a, b, kept))
        _, a, b, kept = min(joined)
        product = _einsum([parts[a], parts[b]], kept)
        parts = [part for k, part in enumerate(parts) if k not in (a, b)] + [(product, kept)]
    return _einsum(parts, indices)


def merge(network: TensorNetwork, group: Iterable[str], tensors: Mapping[str, torch.Tensor], indices: tuple[str, ...]):
    """The factors of a group (names; `tensors` may hold others) contracted to one tensor of dimensions `indices`."""
    return contract([(tensors[name], network.factor[name].indices) for name in group], indices)


def mean_square(network: TensorNetwork, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Mean square entry of the dense weight, without forming it: the network contracted with itself."""
    modes = {*network.inputs, *network.outputs}
    twin = [
        (tensors[factor.name], tuple(index if index in modes else f"{index}'" for index in factor.indices))
        for factor in network.factors
    ]
    total = contract([*((tensors[factor.name], factor.indices) for factor in network.factors), *twin], ())
    return total / prod(network.shape((*network.inputs, *network.outputs)))


def stage_weights(
    network: TensorNetwork, stages: Iterable[Stage], tensors: Mapping[str, torch.Tensor]
) -> list[torch.Tensor]:
    """The merged weight of every stage, dimensions in the order of `Stage.weight`."""
    return [merge(network, stage.factors, tensors, stage.weight) for stage in stages]


def absorb(stage: Stage, weight: torch.Tensor, data: torch.Tensor, indices: tuple[str, ...]) -> torch.Tensor:
    """Carries out one stage for many samples.

    Args:
        stage: what is contracted.
        weight: dimensions `stage.weight`.
        data: samples × `indices`. Sizes are taken from the tensors, so that weight and data may be cut to a box.
        indices: names of the data's dimensions, in any order.

    Returns:
        samples × `stage.result`, in the dtype of the arguments.
    """
    batch, rows = len(stage.batch), len(stage.rows)
    dims = [1 + indices.index(name) for name in stage.data]
    data = data.permute(*dims[:batch], 0, *dims[batch:])
    outer = data.shape[: 1 + batch + len(stage.columns)]
    batches = prod(weight.shape[:batch])
    reduction = prod(weight.shape[batch + rows :])
    matrix = weight.reshape(batches, -1, reduction)
    result = torch.matmul(data.reshape(batches, -1, reduction), matrix.transpose(1, 2))
    return result.reshape(*outer, *weight.shape[batch : batch + rows]).movedim(batch, 0)


def left_to_right(network: TensorNetwork) -> StageList:
    """A sensible stage list without a planner: factors with modes in the order of the inputs.

    Each joins the factors without modes (transfer tensors) on the way between it and what is done already, so a
    balanced tree of four modes gives U1 | B12 U2 | B1234 B34 U3 | U4.
    """
    factors = network.factor
    position = {name: k for k, name in enumerate((*network.inputs, *network.outputs))}
    carriers = [name for name in factors if position.keys() & set(factors[name].indices)]
    carriers.sort(key=lambda name: min(position[i] for i in factors[name].indices if i in position))
    groups: list[tuple[str, ...]] = []
    for name in carriers:
        done = {factor for group in groups for factor in group}
        groups.append((*_between(network, done, name), name))
    left = [name for name in factors if not any(name in group for group in groups)]
    return (*groups, *((name,) for name in left))


def _between(network: TensorNetwork, done: set[str], name: str) -> list[str]:
    """Factors without modes on the shortest way of bonds from `done` to `name`."""
    modes = {*network.inputs, *network.outputs}
    ways, seen = [[name]], {name}
    for way in ways:
        here = set(network.factor[way[-1]].indices) - modes
        near = [other for other in network.factor if here & set(network.factor[other].indices) and other not in seen]
        if done & set(near):
            return way[:0:-1]
        seen.update(near)
        ways.extend([*way, other] for other in near if not modes & set(network.factor[other].indices))
    return []


def _einsum(operands: Sequence[Labelled], result: tuple[str, ...]) -> torch.Tensor:
    number: dict[str, int] = {}
    arguments: list[torch.Tensor | list[int]] = []
    for tensor, names in operands:
        arguments += [tensor, [number.setdefault(name, len(number)) for name in names]]
    return torch.einsum(*arguments, [number[name] for name in result])
