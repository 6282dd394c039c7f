"""Contracting tensor networks with torch: merging factors, and absorbing them into data stage by stage.

Works in any dtype, and differentiates in floating ones. Index names and orders are those of `fdht.spec.stages`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, pairwise
from math import prod
from string import ascii_letters

import torch
from torch.nn import functional

from fdht.spec.errors import SpecError
from fdht.spec.lstm import MOST_PARAMETERS, Region
from fdht.spec.network import TensorNetwork
from fdht.spec.stages import Stage, StageList, stages
from fdht.spec.stages import absorb as absorbed

Labelled = tuple[torch.Tensor, tuple[str, ...]]
"""A tensor and the names of its dimensions."""

START = 10_000
"""What it costs to start a stage, in multiplications per sample: measured, and shared by a batch of eight."""

COPY = 20
"""What it costs to copy an entry of the data, in multiplications: measured, see docs/decisions/model.md."""

MOST_JOINED = 10
"""Most stages of which every way to join neighbours is looked at."""

Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Multiplies two matrices, or two batches of matrices."""

Order = tuple[int, ...] | None
"""An order of dimensions as `Tensor.permute` takes it; None for that in which they are."""


def contract(operands: Iterable[Labelled], indices: tuple[str, ...], most: int = MOST_PARAMETERS) -> torch.Tensor:
    """Contracts tensors with each other: equal names are one index, names missing in `indices` are summed over.

    Joined pair by pair, smallest result first, because einsum over many operands goes left to right and may form an
    outer product larger than the dense weight.

    Args:
        most: entries that a tensor on the way may have.

    Returns:
        One tensor with the dimensions `indices`; a view, where the last product has them in another order.

    Raises:
        SpecError: whatever the order, one would have more.
    """
    tensors, names = zip(*operands, strict=True)
    if torch.compiler.is_compiling():  # which finds an order of its own, and cannot look into `joining`
        letters: dict[str, str] = {}
        for name in [name for of in names for name in of]:
            letters.setdefault(name, ascii_letters[len(letters)])
        terms = ["".join([letters[name] for name in of]) for of in (*names, indices)]
        return torch.einsum(f"{','.join(terms[:-1])}->{terms[-1]}", *tensors)
    return joining(tuple(names), tuple(tuple(tensor.shape) for tensor in tensors), indices, most)(tensors)


@dataclass(frozen=True)
class _Pair:
    """The product of two operands: which, and how each becomes a matrix (or a batch of them)."""

    operands: tuple[int, int]
    summed: tuple[tuple[int, ...], tuple[int, ...]]
    orders: tuple[Order, Order]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    result: tuple[int, ...]

    def __call__(self, parts: list[torch.Tensor]) -> torch.Tensor:
        left, right = (
            _ordered(parts[k].sum(summed) if summed else parts[k], order).reshape(shape)
            for k, summed, order, shape in zip(self.operands, self.summed, self.orders, self.shapes, strict=True)
        )
        return torch.matmul(left, right).view(self.result)


@dataclass(frozen=True)
class Joining:
    """A contraction of several tensors with each other, every order and size worked out.

    Attributes:
        pairs: the products, one after the other; each takes two operands and becomes the last one.
        largest: entries of the largest result of one.
        summed, order: what is left to do with the last result.
    """

    pairs: tuple[_Pair, ...]
    largest: int
    summed: tuple[int, ...]
    order: Order

    def __call__(self, tensors: Iterable[torch.Tensor]) -> torch.Tensor:
        parts = [*tensors]
        for pair in self.pairs:
            product = pair(parts)
            parts = [part for k, part in enumerate(parts) if k not in pair.operands] + [product]
        return _ordered(parts[0].sum(self.summed) if self.summed else parts[0], self.order)


@lru_cache(maxsize=1024)
def joining(
    names: tuple[tuple[str, ...], ...], shapes: tuple[tuple[int, ...], ...], indices: tuple[str, ...], most: int
) -> Joining:
    """How tensors of some names and shapes are contracted; arguments and errors are those of `contract`."""
    size = {
        name: length for of, shape in zip(names, shapes, strict=True) for name, length in zip(of, shape, strict=True)
    }
    left = list(names)
    pairs: list[_Pair] = []  # torch.compile cannot trace list[_Pair]()
    while len(left) > 1:
        joined: list[tuple[int, int, int, set[str]]] = []
        for a, b in combinations(range(len(left)), 2):
            needed = set(indices).union(*(other for k, other in enumerate(left) if k not in (a, b)))
            kept = needed & {*left[a], *left[b]}
            joined.append((prod(size[name] for name in kept), a, b, kept))
        entries, a, b, kept = min(joined, key=lambda way: way[:3])
        if entries > most:
            raise SpecError(
                f"contracting these factors takes a tensor of {entries:,} entries, more than {most:,}; choose smaller "
                "ranks"
            )
        pair, result = _pair((a, b), left[a], left[b], kept, size)
        pairs.append(pair)
        left = [other for k, other in enumerate(left) if k not in (a, b)] + [result]
    summed = tuple(k for k, name in enumerate(left[0]) if name not in indices)
    rest = [name for name in left[0] if name in indices]
    largest = max((prod(pair.result) for pair in pairs), default=0)
    return Joining(tuple(pairs), largest, summed, _order(rest.index(name) for name in indices))


def _pair(
    operands: tuple[int, int], a: tuple[str, ...], b: tuple[str, ...], kept: set[str], size: Mapping[str, int]
) -> tuple[_Pair, tuple[str, ...]]:
    """The product of two operands, and the names of its dimensions."""
    shared = [name for name in a if name in b]
    batch, depth = [name for name in shared if name in kept], [name for name in shared if name not in kept]
    rows, columns = ([name for name in of if name not in shared and name in kept] for of in (a, b))
    summed = [tuple(k for k, name in enumerate(of) if name not in shared and name not in kept) for of in (a, b)]
    orders = []
    for of, wanted in ((a, (*batch, *rows, *depth)), (b, (*batch, *depth, *columns))):
        there = [name for name in of if name in wanted]
        orders.append(_order(there.index(name) for name in wanted))

    def shape(*groups: list[str]) -> tuple[int, ...]:
        return tuple(prod(size[name] for name in group) for group in groups if group is not batch or batch)

    result = (*batch, *rows, *columns)
    shapes = shape(batch, rows, depth), shape(batch, depth, columns)
    return (
        _Pair(operands, (summed[0], summed[1]), (orders[0], orders[1]), shapes, tuple(size[name] for name in result)),
        result,
    )


def _order(dims: Iterable[int]) -> Order:
    order = tuple(dims)
    return None if order == tuple(range(len(order))) else order


def _ordered(tensor: torch.Tensor, order: Order) -> torch.Tensor:
    return tensor if order is None else tensor.permute(order)


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


def cut_network(network: TensorNetwork, box: Region) -> TensorNetwork:
    """The network with input modes as large as a box."""
    return replace(network, sizes=tuple({**network.size, **dict(zip(network.inputs, box.shape, strict=True))}.items()))


def cut(network: TensorNetwork, box: Region, tensor: torch.Tensor, indices: tuple[str, ...]) -> torch.Tensor:
    """A tensor of a network with its input modes cut to a box (if they are not yet): a view."""
    for name, start, size in zip(network.inputs, box.start, box.shape, strict=True):
        if name in indices and size < tensor.shape[indices.index(name)]:
            tensor = tensor.narrow(indices.index(name), start, size)
    return tensor


_SAMPLES = ("", 0)
_Label = tuple[str, int]
"""A dimension of data on its way through stages: an index and, where its mode is split, the number of the part."""


@dataclass(frozen=True)
class _Step:
    """A stage on data as it lies in memory.

    Attributes:
        order: of the data's dimensions: batch, columns (the samples among them), reduction.
        batch, depth: sizes of the first and the last of these.
        result: of the result's dimensions, -1 for the samples.
        copied: entries per sample of the data, if they are not walked as they lie.
        split: of the weight's dimensions, modes in the parts that the data has.
        weight: order of those: batch, rows, reduction.
    """

    order: Order
    batch: int | None
    depth: int
    result: tuple[int, ...]
    copied: int
    split: tuple[int, ...]
    weight: Order


class BoxContraction:
    """Contracts vectors that fill a box of a network's input modes: only the box, with the factors cut to it.

    Every order and size is worked out when it is made, so that to contract is to call torch. A stage walks its columns
    and its reduction as they lie in memory, so that where each of them is in one piece, nothing is copied.

    Args:
        network: the weight.
        box: where the data lies in the input modes, and how a vector fills it.
        stage_list: order of contraction.

    Attributes:
        stages: resolved, on the network cut to the box.

    Raises:
        SpecError: a stage list that does not name every factor once.
    """

    def __init__(self, network: TensorNetwork, box: Region, stage_list: StageList):
        self._whole, self._box = network, box
        self._network = cut_network(network, box)
        self.stages = stages(self._network, stage_list)
        numbers, parts, sizes = Counter[str](), defaultdict[str, list[_Label]](list), {_SAMPLES: -1}
        memory = [_SAMPLES]
        for mode, size in box.parts:
            name = network.inputs[mode]
            label = (name, numbers[name])
            numbers[name] += 1
            parts[name].append(label)
            sizes[label] = size
            memory.append(label)
        for name, size in network.sizes:
            if name not in parts:
                parts[name] = [(name, 0)]
                sizes[name, 0] = size
        self._missing, self._filled = prod(box.shape) - box.count, tuple(sizes[label] for label in memory)
        self._steps = list[_Step]()
        for stage in self.stages:
            step, memory = _step(stage, memory, parts, sizes)
            self._steps.append(step)
        outputs = [label for name in network.outputs for label in parts[name]]
        self._to_outputs = _order(memory.index(label) for label in (_SAMPLES, *outputs))

    def cost(self, start: int) -> int:
        """Time that a sample takes, see `join_stages`."""
        every = zip(self.stages, self._steps, strict=True)
        return sum(
            stage.macs(self._network) + start + prod(self._network.shape(stage.weight)) + COPY * step.copied
            for stage, step in every
        )

    def matrices(self, weights: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """Merged weights of the stages, of the whole network or of the box, as `__call__` takes them.

        Args:
            weights: dimensions as `Stage.weight`.
        """
        result = []
        for stage, step, weight in zip(self.stages, self._steps, weights, strict=True):
            own = _ordered(cut(self._whole, self._box, weight, stage.weight).reshape(step.split), step.weight)
            shape = (-1, step.depth) if step.batch is None else (step.batch, -1, step.depth)
            result.append(own.reshape(shape).transpose(-1, -2))
        return result

    def __call__(self, vectors: torch.Tensor, matrices: Iterable[torch.Tensor]) -> torch.Tensor:
        """Contracts vectors (samples × count) to samples × output modes."""
        data = functional.pad(vectors, (0, self._missing)) if self._missing else vectors
        data = data.reshape(self._filled)
        for step, matrix in zip(self._steps, matrices, strict=True):
            shape = (-1, step.depth) if step.batch is None else (step.batch, -1, step.depth)
            data = torch.matmul(_ordered(data, step.order).reshape(shape), matrix).view(step.result)
        return _ordered(data, self._to_outputs)


def _step(
    stage: Stage, memory: list[_Label], parts: Mapping[str, list[_Label]], sizes: Mapping[_Label, int]
) -> tuple[_Step, list[_Label]]:
    """A stage on data whose dimensions lie in memory in some order, and the order of the result's."""
    batch, rows = ([label for name in of for label in parts[name]] for of in (stage.batch, stage.rows))
    weight = [label for name in stage.weight for label in parts[name]]
    depth = [label for label in memory if label[0] in stage.reduction]
    columns = [label for label in memory if label not in batch and label not in depth]
    wide = [label for label in memory if sizes[label] != 1]
    pieces = [[wide.index(label) for label in group if label in wide] for group in (batch, columns, depth)]
    in_place = all(piece == list(range(piece[0], piece[0] + len(piece))) for piece in pieces if piece)
    result = [*batch, *columns, *rows]
    step = _Step(
        order=_order(memory.index(label) for label in (*batch, *columns, *depth)),
        batch=prod(sizes[label] for label in batch) if batch else None,
        depth=prod(sizes[label] for label in depth),
        result=tuple(sizes[label] for label in result),
        copied=0 if in_place else prod(sizes[label] for label in memory if label != _SAMPLES),
        split=tuple(sizes[label] for label in weight),
        weight=_order(weight.index(label) for label in (*batch, *rows, *depth)),
    )
    return step, result


def in_order(tensor: torch.Tensor, region: Region, first: int) -> torch.Tensor:
    """A region's box, its modes the dimensions from `first` on, with its parts in the vector's order: a view."""
    _, sizes, by_mode = _filling(region)
    if len(sizes) == len(region.shape) and by_mode is None:
        return tensor
    end, split = first + len(region.shape), sizes if by_mode is None else tuple(sizes[k] for k in by_mode)
    tensor = tensor.view(*tensor.shape[:first], *split, *tensor.shape[end:])
    if by_mode is None:
        return tensor
    back = sorted(range(len(by_mode)), key=by_mode.__getitem__)
    dims = range(tensor.dim())
    return tensor.permute(*dims[:first], *(first + k for k in back), *dims[first + len(back) :])


def take(tensor: torch.Tensor, region: Region, first: int) -> torch.Tensor:
    """What a region holds, as one dimension: the modes are the tensor's dimensions from `first` on."""
    for mode, (start, size) in enumerate(zip(region.start, region.shape, strict=True)):
        if tensor.shape[first + mode] != size:
            tensor = tensor.narrow(first + mode, start, size)
    parts = in_order(tensor, region, first).flatten(first, first + len(region.order) - 1)
    return parts.narrow(first, 0, region.count) if prod(region.shape) > region.count else parts


def place(vectors: torch.Tensor, region: Region) -> torch.Tensor:
    """Vectors (samples × count) as samples × the region's box, modes in their order, zero where a vector ends early."""
    missing, sizes, by_mode = _filling(region)
    padded = functional.pad(vectors, (0, missing)) if missing else vectors
    data = padded.view(-1, *sizes)
    if by_mode is not None:
        data = data.permute(0, *(1 + position for position in by_mode))
    return data.reshape(-1, *region.shape)


@lru_cache(maxsize=256)
def _filling(region: Region) -> tuple[int, tuple[int, ...], Order]:
    """Entries a vector lacks to fill a region's box, its parts in the vector's order, and their order by mode."""
    by_mode = sorted(range(len(region.order)), key=lambda position: region.order[position])
    sizes = tuple(size for _, size in region.parts)
    return prod(region.shape) - region.count, sizes, _order(by_mode)


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


def join_stages(network: TensorNetwork, box: Region, stage_list: StageList, start: int) -> StageList:
    """The stage list with neighbouring stages joined where one sample of data in a box takes less time so.

    Time is counted in multiplications: those of the stages, COPY of them for every entry of data that a stage cannot
    walk as it lies in memory, `start` for each stage, and the entries of the joined weights.
    """
    if len(stage_list) > MOST_JOINED:
        return stage_list
    gaps = range(1, len(stage_list))
    cuts = [(0, *chosen, len(stage_list)) for count in range(len(stage_list)) for chosen in combinations(gaps, count)]
    ways = [tuple(sum(stage_list[a:b], ()) for a, b in pairwise(cut)) for cut in cuts]
    return min(ways, key=lambda way: (BoxContraction(network, box, way).cost(start), way))


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
