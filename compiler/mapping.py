"""Where every tensor of a step lies: lanes, order of dimensions, addresses.

A tensor is stored as words of Q lanes. At most one of its indices is its *lane index*, Q of whose values
share a word; the others are walked by addresses. A stage whose result keeps the lane index drains straight;
one that makes a row index the new lane index drains transposed. A stage cannot sum over the lane index, so
the lanes must have been changed before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from compiler.nest import Loop, encode_nest, merge
from spec import timing
from spec.errors import CapacityError
from spec.lstm import LSTMSpec, Region
from spec.network import TensorNetwork
from spec.program import Widths
from spec.stages import Stage, StageList, stages
from spec.target import Target


@dataclass(frozen=True)
class Layout:
    """A tensor in memory.

    Attributes:
        lane: the lane index, or None: then only lane 0 is used.
        order: indices, the slowest first; the stage that reads the tensor walks its reduction contiguously.
        stride: words between neighbours of each index; for the lane index between words.
        words: size.
        base: first word address.
    """

    lane: str | None
    order: tuple[str, ...]
    stride: Mapping[str, int]
    words: int
    base: int

    @property
    def end(self) -> int:
        return self.base + self.words


@dataclass(frozen=True)
class StepMap:
    """The memory map of one step.

    Attributes:
        stages: the stages.
        tensors: layout of each stage's data, then of z (in the result memory).
        copy: scratchpad words that hold h once more, one unit per word, for the head.
        logits: first result word of the logits.
        x_free_after: the stage after which the next step's inputs may overwrite x.
    """

    stages: tuple[Stage, ...]
    tensors: tuple[Layout, ...]
    copy: int
    logits: int
    x_free_after: int


def lane_words(network: TensorNetwork, index: str, lane: str | None, target: Target) -> int:
    """Iterations of an index as an address: words for the lane index, its size else."""
    size = network.size[index]
    return -(-size // target.columns) if index == lane else size


def kept_rows(network: TensorNetwork, stage: Stage, lane_in: str | None, lane_out: str | None, target: Target) -> int:
    """Rows of a stage; a row index that becomes the lane index is padded to whole words."""
    rows = prod(network.shape(stage.rows))
    if lane_out != lane_in and lane_out is not None:
        rows = rows // network.size[lane_out] * lane_words(network, lane_out, lane_out, target) * target.columns
    return rows


def stage_tiles(network: TensorNetwork, stage: Stage, lane_in: str | None, lane_out: str | None, target: Target) -> int:
    """Output tiles of a stage."""
    columns = prod(lane_words(network, index, lane_in, target) for index in stage.columns)
    rows = kept_rows(network, stage, lane_in, lane_out, target)
    return prod(network.shape(stage.batch)) * columns * -(-rows // target.rows)


def stage_cycles(
    network: TensorNetwork, stage: Stage, lane_in: str | None, lane_out: str | None, target: Target
) -> int:
    """Cycles in which a stage occupies the array."""
    reduction = prod(network.shape(stage.reduction))
    return stage_tiles(network, stage, lane_in, lane_out, target) * timing.period(target, reduction)


def stage_factor_words(
    network: TensorNetwork, stage: Stage, lane_in: str | None, lane_out: str | None, target: Target
) -> int:
    """Words of P factors that a stage's weight fills."""
    rows = kept_rows(network, stage, lane_in, lane_out, target)
    return prod(network.shape((*stage.batch, *stage.reduction))) * -(-rows // target.rows)


def stage_words(
    network: TensorNetwork, stage: Stage, lane_in: str | None, lane_out: str | None, is_last: bool, target: Target
) -> int:
    """Scratchpad words a stage's data and result need together, at least; the last result is elsewhere."""
    data = prod(lane_words(network, index, lane_in, target) for index in stage.data)
    return data if is_last else data + prod(lane_words(network, index, lane_out, target) for index in stage.result)


def first_lanes(spec: LSTMSpec, target: Target) -> list[str | None]:
    """Lane indices the data tensor of the first stage may have: x and h must start at whole words."""
    if target.columns == 1:
        return [None]
    free = [
        index
        for k, index in enumerate(spec.network.inputs)
        if spec.x.start[k] % target.columns == 0 and spec.h.start[k] % target.columns == 0
    ]
    return [*free, None]


def last_lane_ok(spec: LSTMSpec, lane: str | None, target: Target) -> bool:
    """Whether z may have this lane index: every gate must start at a whole word."""
    if lane is None:
        return True
    k = spec.network.outputs.index(lane) if lane in spec.network.outputs else None
    return k is not None and all(gate.start[k] % target.columns == 0 for gate in spec.gates)


def next_lanes(stage: Stage, lane: str | None, target: Target) -> list[str | None]:
    """Lane indices a stage's result may have, given that of its data; empty if it cannot run."""
    if lane in stage.reduction or lane in stage.batch:
        return []
    return [lane] if target.columns == 1 else [lane, *stage.rows]


FACTOR_PRICES = (0.0, 0.25, 1.0, 4.0, 16.0, 64.0, 256.0)
"""Cycles a word of factor memory is taken to cost, tried in turn until a plan fits."""


def head_words(spec: LSTMSpec, target: Target) -> int:
    """Factor words of the head."""
    return spec.hidden * -(-spec.classes // target.rows)


def choose_lanes(spec: LSTMSpec, chain: tuple[Stage, ...], target: Target) -> tuple[str | None, ...]:
    """Lane index of each stage's data and of z, with the fewest array cycles for which the factors fit.

    Raises:
        CapacityError: they fit with none.
    """
    words = 0
    for price in FACTOR_PRICES:
        words, lanes = _cheapest_lanes(spec, chain, target, price)
        if words <= target.factor_words:
            return lanes
    raise CapacityError(
        f"factor words of {target.rows} factors",
        words,
        target.factor_words,
        "choose a larger target, or smaller modes or ranks",
    )


_Way = tuple[float, int, tuple[str | None, ...]]
"""Cost, factor words, lane indices so far."""


def _cheapest_lanes(
    spec: LSTMSpec, chain: tuple[Stage, ...], target: Target, price: float
) -> tuple[int, tuple[str | None, ...]]:
    """Factor words and lane indices of the cheapest way, with factor words priced."""
    best: dict[str | None, _Way] = {lane: (0, head_words(spec, target), (lane,)) for lane in first_lanes(spec, target)}
    for stage in chain:
        following: dict[str | None, _Way] = {}
        for lane, (cost, words, path) in best.items():
            for after in next_lanes(stage, lane, target):
                filled = stage_factor_words(spec.network, stage, lane, after, target)
                total = cost + stage_cycles(spec.network, stage, lane, after, target) + price * filled
                if after not in following or total < following[after][0]:
                    following[after] = (total, words + filled, (*path, after))
        best = following
    _, words, lanes = min((way for lane, way in best.items() if last_lane_ok(spec, lane, target)), key=lambda w: w[0])
    return words, lanes


def map_step(spec: LSTMSpec, stage_list: StageList, target: Target) -> StepMap:
    """Lays out every tensor of a step.

    Raises:
        CapacityError: the scratchpad, the factor or result memory or the gate unit is too small.
    """
    network, chain = spec.network, stages(spec.network, stage_list)
    lanes = choose_lanes(spec, chain, target)
    if spec.hidden > target.hidden:
        raise CapacityError("hidden units", spec.hidden, target.hidden, "choose a larger target or a smaller model")

    shapes = []
    for s, stage in enumerate(chain):
        shapes.append(_shape(network, chain, s, stage.data, lanes, target))
    z_order = tuple(sorted(network.outputs, key=lambda index: index == lanes[-1]))
    z = _contiguous(network, z_order, lanes, len(chain), target)

    copy = shapes[0](0).end
    allocated = _allocate_all(shapes, copy + spec.hidden, target)
    logits = z.words
    if logits + spec.classes > target.result_words:
        raise CapacityError(
            "result memory words", logits + spec.classes, target.result_words, "choose a larger target or fewer outputs"
        )

    x_banks = _banks(allocated[0], target)
    x_free_after = 0
    for s in range(len(chain)):
        touched = set() if s + 1 == len(chain) else _banks(allocated[s + 1], target)
        if target.single_port:
            touched |= _banks(allocated[s], target)
        if touched & x_banks:
            x_free_after = s
    return StepMap(chain, (*allocated, z), copy, logits, x_free_after)


def _extent(network: TensorNetwork, index: str, s: int, lanes: tuple[str | None, ...], target: Target) -> int:
    """Room for an index in tensor s: words of the lane index, whole old words of one that was it before."""
    if index in lanes[:s] and index != lanes[s] and network.size[index] > target.columns:
        return -(-network.size[index] // target.columns) * target.columns
    return lane_words(network, index, lanes[s], target)


def _contiguous(
    network: TensorNetwork, order: tuple[str, ...], lanes: tuple[str | None, ...], s: int, target: Target, base: int = 0
) -> Layout:
    stride, words = {}, 1
    for index in reversed(order):
        stride[index] = words
        words *= _extent(network, index, s, lanes, target)
    return Layout(lanes[s], order, stride, words, base)


def _shape(network, chain, s: int, indices, lanes, target: Target):
    """Tensor s as a function of its base: batch, then columns, those contracted last first, then reduction.

    Of the reduction an index with padding comes first, so that the true entries stay contiguous.
    """
    stage = chain[s]
    contracted = {index: k for k, other in enumerate(chain) for index in other.reduction}

    def lateness(index: str) -> int:
        return -contracted.get(index, len(chain))

    def padding(index: str) -> bool:
        return _extent(network, index, s, lanes, target) == network.size[index]

    order = (
        *stage.batch,
        *sorted(stage.columns, key=lateness),
        *sorted(stage.reduction, key=padding),
    )
    return lambda base: _contiguous(network, order, lanes, s, target, base)


def _banks(layout: Layout, target: Target) -> set[int]:
    return set(range(layout.base // target.bank_words, (layout.end - 1) // target.bank_words + 1))


def _allocate_all(shapes, persistent: int, target: Target) -> list[Layout]:
    """Bases for x and the results of all stages but the last.

    First each result in the first free place outside the banks of x, so that the next inputs can come early; if
    that leaves too little, results alternate between the bottom and the top of what is free.

    Args:
        shapes: each tensor as a function of its base.
        persistent: words from address 0 that hold x and h's copy all the time.
    """

    def spread(s: int, source: Layout) -> list[Layout]:
        starts = {source.end, persistent, *(bank * target.bank_words for bank in range(target.banks))}
        places = [shapes[s](base) for base in sorted(starts)]
        return sorted(places, key=lambda place: bool(_banks(place, target) & _banks(x, target)))

    def compact(s: int, source: Layout) -> list[Layout]:
        return [shapes[s](persistent if s % 2 == 0 else target.scratchpad_words - shapes[s](0).words)]

    def free(place: Layout, source: Layout) -> bool:
        apart = place.base >= source.end or place.end <= source.base
        if target.single_port:
            apart = apart and _banks(place, target).isdisjoint(_banks(source, target))
        return apart and persistent <= place.base and place.end <= target.scratchpad_words

    x = shapes[0](0)
    for places in (spread, compact):
        result = [x]
        for s in range(1, len(shapes)):
            fitting = [place for place in places(s, result[-1]) if free(place, result[-1])]
            if not fitting:
                break
            result.append(fitting[0])
        else:
            if persistent <= target.scratchpad_words:
                return result
    pairs = [(source(0).words, result(0).words) for source, result in pairwise(shapes)]
    worst = max((sum(pair) - (s == 0) * pair[0] for s, pair in enumerate(pairs)), default=0)
    apart = " (a stage's data and its result in separate banks)" if target.single_port else ""
    raise CapacityError(
        f"scratchpad words{apart}",
        persistent + worst,
        target.scratchpad_words,
        "choose a larger target, or smaller modes or ranks",
    )


def longest(target: Target) -> int:
    """Iterations of a loop at most."""
    return 1 << Widths(target).count


def region_nest(region: Region, names: tuple[str, ...], layout: Layout, target: Target, levels: int) -> dict:
    """The nest that visits the lanes of a region's entries in order.

    Raises:
        CapacityError: more loops than levels.
    """
    loops: list[Loop] = []
    tail = None
    word = layout.base
    for k in reversed(region.order):
        name, count = names[k], region.shape[k]
        if name != layout.lane:
            word += region.start[k] * layout.stride[name]
            loops.append(Loop(count, {"word": layout.stride[name], "lane": 0}))
            continue
        word += region.start[k] // target.columns * layout.stride[name]
        turns = -(-count // target.columns)
        loops.append(Loop(min(count, target.columns), {"word": 0, "lane": 1}, fixed=True))
        if turns > 1:
            loops.append(Loop(turns, {"word": layout.stride[name], "lane": 0}, fixed=True))
            tail = count - (turns - 1) * target.columns
    return encode_nest(merge(loops, longest(target)), {"word": word, "lane": 0}, levels, tail)
