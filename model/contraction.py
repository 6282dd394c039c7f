"""Contracting tensor networks with torch: merging factors, and absorbing them into data stage by stage.

Works in any dtype, and differentiates in floating ones. Index names and orders are those of `fdht.spec.stages`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from math import prod

import torch

from fdht.spec.errors import SpecError
from fdht.spec.lstm import MOST_PARAMETERS
from fdht.spec.network import TensorNetwork
from fdht.spec.stages import Stage, StageList, stages
from fdht.spec.stages import absorb as absorbed

Labelled = tuple[torch.Tensor, tuple[str, ...]]
"""A tensor and the names of its dimensions."""

START = 10_000
"""What it costs to start a stage, in multiplications per sample: measured, and shared by a batch of eight."""

Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Multiplies two matrices, or two batches of matrices."""


def contract(operands: Iterable[Labelled], indices: tuple[str, ...], most: int = MOST_PARAMETERS) -> torch.Tensor:
    """Contracts tensors with each other: equal names are one index, names missing in `indices` are summed over.

    Joined pair by pair, smallest result first, because einsum over many operands goes left to right and may form an
    outer product larger than the dense weight.

    Args:
        most: entries that a tensor on the way may have.

    Returns:
        One tensor with the dimensions `indices`.

    Raises:
        SpecError: whatever the order, one would have more.
    """
    tensors, names = zip(*operands, strict=True)
    parts, left = list(tensors), list(names)
    for a, b, kept in _pairs(names, tuple(tuple(tensor.shape) for tensor in tensors), indices, most):
        product = _einsum([(parts[a], left[a]), (parts[b], left[b])], kept)
        parts = [part for k, part in enumerate(parts) if k not in (a, b)] + [product]
        left = [part for k, part in enumerate(left) if k not in (a, b)] + [kept]
    if set(left[0]) == set(indices) and len(left[0]) == len(indices):
        return parts[0].permute(tuple(left[0].index(name) for name in indices))
    return _einsum([(parts[0], left[0])], indices)


@lru_cache(maxsize=1024)
def _pairs(
    names: tuple[tuple[str, ...], ...], shapes: tuple[tuple[int, ...], ...], indices: tuple[str, ...], most: int
) -> list[tuple[int, int, tuple[str, ...]]]:
    """Which two operands are joined, step by step, and the indices kept; the product becomes the last operand."""
    size = {
        name: length for of, shape in zip(names, shapes, strict=True) for name, length in zip(of, shape, strict=True)
    }
    left, result = list(names), []
    while len(left) > 1:
        joined: list[tuple[int, int, int, tuple[str, ...]]] = []
        for a, b in combinations(range(len(left)), 2):
            needed = set(indices).union(*(other for k, other in enumerate(left) if k not in (a, b)))
            kept = tuple(name for name in dict.fromkeys(left[a] + left[b]) if name in needed)
            joined.append((prod(size[name] for name in kept), a, b, kept))
        entries, a, b, kept = min(joined)
        if entries > most:
            raise SpecError(
                f"contracting these factors takes a tensor of {entries:,} entries, more than {most:,}; choose smaller "
                "ranks"
            )
        result.append((a, b, kept))
        left = [other for k, other in enumerate(left) if k not in (a, b)] + [kept]
    return result


def merge(network: TensorNetwork, group: Iterable[str], tensors: Mapping[str, torch.Tensor], indices: tuple[str, ...]):
    """The factors of a group (names; `tensors` may hold others) contracted to one tensor of dimensions `indices`."""
    return contract([(tensors[name], network.factor[name].indices) for name in group], indices)


MOST_SQUARE = 1 << 24
"""Most entries of a tensor on the way to a mean square: ranks meet themselves there, so real ones are far smaller."""


def mean_square(network: TensorNetwork, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Mean square entry of the dense weight, without forming it: the network contracted with itself."""
    modes = {*network.inputs, *network.outputs}
    twin = [
        (tensors[factor.name], tuple(index if index in modes else f"{index}'" for index in factor.indices))
        for factor in network.factors
    ]
    total = contract([*((tensors[factor.name], factor.indices) for factor in network.factors), *twin], (), MOST_SQUARE)
    return total / prod(network.shape((*network.inputs, *network.outputs)))


def stage_weights(
    network: TensorNetwork, stages: Iterable[Stage], tensors: Mapping[str, torch.Tensor]
) -> list[torch.Tensor]:
    """The merged weight of every stage, dimensions in the order of `Stage.weight`."""
    return [merge(network, stage.factors, tensors, stage.weight) for stage in stages]


def absorb(
    stage: Stage,
    weight: torch.Tensor,
    data: torch.Tensor,
    indices: tuple[str, ...],
    product: Product = torch.matmul,
) -> torch.Tensor:
    """Carries out one stage for many samples.

    Args:
        stage: what is contracted.
        weight: dimensions `stage.weight`.
        data: samples × `indices`. Sizes are taken from the tensors, so that weight and data may be cut to a box.
        indices: names of the data's dimensions, in any order.
        product: the product of two matrices, or of two batches of them.

    Returns:
        samples × `stage.result`, in the dtype of the product.
    """
    dims, outer, order, back = _walk(stage, indices, data.stride())
    data = data.permute(dims)
    matrix = weight if order is None else weight.permute(order)
    batch, rows = len(stage.batch), len(stage.batch) + len(stage.rows)
    sizes, depth = (*data.shape[:outer], *matrix.shape[batch:rows]), prod(matrix.shape[rows:])
    if batch:
        batches = prod(matrix.shape[:batch])
        result = product(data.reshape(batches, -1, depth), matrix.reshape(batches, -1, depth).transpose(1, 2))
    else:
        result = product(data.reshape(-1, depth), matrix.reshape(-1, depth).t())
    return result.view(sizes).permute(back)


@lru_cache(maxsize=4096)
def _walk(
    stage: Stage, indices: tuple[str, ...], strides: tuple[int, ...]
) -> tuple[tuple[int, ...], int, tuple[int, ...] | None, tuple[int, ...]]:
    """How a stage walks its data: columns and reduction as they lie in memory, so that contiguous data is not copied.

    Returns:
        The order of the data's dimensions (batch, columns with the samples among them, reduction), how many come before
        the reduction, the order of the weight's (None for its own), that of the result's to samples × stage.result.
    """
    dim = {name: 1 + k for k, name in enumerate(indices)}
    batch = len(stage.batch)
    columns = sorted((0, *(dim[name] for name in stage.columns)), key=lambda d: strides[d], reverse=True)
    reduced = sorted(stage.reduction, key=lambda name: strides[dim[name]], reverse=True)
    dims = (*(dim[name] for name in stage.batch), *columns, *(dim[name] for name in reduced))
    order = tuple(stage.weight.index(name) for name in (*stage.batch, *stage.rows, *reduced))
    place = {column: batch + k for k, column in enumerate(columns)}
    outer = batch + len(columns)
    rows = range(outer, outer + len(stage.rows))
    back = (place[0], *range(batch), *(place[dim[name]] for name in stage.columns), *rows)
    return dims, outer, None if order == tuple(range(len(order))) else order, back


def left_to_right(network: TensorNetwork) -> StageList:
    """A sensible stage list without a planner: the factor of the first input mode, then from neighbour to neighbour.

    Next comes the factor with modes that leaves the fewest bonds open, of equals the one whose mode is the first. It
    joins the factors without modes (transfer tensors) on the way between it and what is done already, so a balanced
    tree of four modes gives U1 | B12 U2 | B1234 B34 U3 | U4, and block terms A1 | C A2 | A3 | A4.
    """
    factors = network.factor
    position = {name: k for k, name in enumerate((*network.inputs, *network.outputs))}
    carriers = [name for name in factors if position.keys() & set(factors[name].indices)]
    carriers.sort(key=lambda name: min(position[i] for i in factors[name].indices if i in position))
    groups, data, done = list[tuple[str, ...]](), network.inputs, frozenset[str]()
    while carriers:
        ways = [(*_between(network, done, name), name) for name in (carriers if done else carriers[:1])]
        every = [absorbed(network, data, done, way) for way in ways]
        stage = min(every, key=lambda stage: sum(index not in position for index in stage.result))
        groups.append(stage.factors)
        data, done = stage.result, done.union(stage.factors)
        carriers.remove(stage.factors[-1])
    return (*groups, *((name,) for name in factors if name not in done))


def join_stages(network: TensorNetwork, stage_list: StageList) -> StageList:
    """The stage list with neighbouring stages joined where one sample takes less time so.

    Time is counted in multiplications: those of the stage, START of them, and the entries of the joined weight.
    """
    before = [network.inputs, *(stage.result for stage in stages(network, stage_list))]  # indices in front of each
    best: list[tuple[int, StageList]] = [(0, ())]
    for end in range(1, len(before)):
        ways = []
        for begin, (cost, joined) in enumerate(best):
            group = sum(stage_list[begin:end], ())
            done = frozenset(name for earlier in joined for name in earlier)
            stage = absorbed(network, before[begin], done, group)
            here = stage.macs(network) + START + prod(network.shape(stage.weight))
            ways.append((cost + here, (*joined, group)))
        best.append(min(ways))
    return best[-1][1]


def _between(network: TensorNetwork, done: frozenset[str], name: str) -> list[str]:
    """Factors without modes on the shortest way of bonds from `done` to `name`.

    The block index of block terms is no bond: more than two factors share it.
    """
    uses = Counter(index for factor in network.factors for index in factor.indices)
    modes = {*network.inputs, *network.outputs}
    bonds = {index for index, count in uses.items() if count == 2} - modes
    ways, seen = [[name]], {name}
    for way in ways:
        here = bonds & set(network.factor[way[-1]].indices)
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
