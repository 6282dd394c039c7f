"""Which index of each tensor lies in the lanes of a word, and what a stage takes then: cycles, factor words, room.

At most one index of a tensor is its *lane index*, Q of whose values share a word; the others are walked by addresses.
It may be a few output modes that are joined (fdht.compiler.joining).
A stage whose result keeps the lane index drains straight; one that makes a row index the new lane index drains
transposed. A stage cannot sum over the lane index, so the lanes must have been changed before.
"""

from collections.abc import Sequence
from math import prod

from fdht.compiler.joining import Joins, joined_layer, joined_stage, named, with_joins
from fdht.compiler.sharing import STREAM
from fdht.spec import timing
from fdht.spec.errors import CapacityError, Resource
from fdht.spec.lstm import Chain, LSTMSpec
from fdht.spec.network import TensorNetwork
from fdht.spec.stages import Stage
from fdht.spec.target import Target

Lanes = tuple[str | None, ...]
"""Lane index of each stage's data and of z."""

FACTOR_PRICES = (0.0, 0.25, 1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)
"""Cycles a word of factor memory is taken to cost, tried in turn until a plan fits."""


SMALLER = "choose a larger target, or smaller modes or ranks"
"""The way out where a memory is too small."""


def factor_words_named(target: Target) -> str:
    """Factor words as sentences call them: they differ from target to target."""
    return f"factor words of {target.rows} factors"


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


def stage_passes(
    network: TensorNetwork, stage: Stage, lane_in: str | None, lane_out: str | None, target: Target
) -> int:
    """Passes of the array in a stage, or in what a tile has of it."""
    columns = prod(lane_words(network, index, lane_in, target) for index in stage.columns)
    rows = kept_rows(network, stage, lane_in, lane_out, target)
    return prod(network.shape(stage.batch)) * columns * -(-rows // target.rows)


def stage_cycles(
    network: TensorNetwork, stage: Stage, lane_in: str | None, lane_out: str | None, target: Target
) -> int:
    """Cycles in which a stage occupies the array."""
    reduction = prod(network.shape(stage.reduction))
    return stage_passes(network, stage, lane_in, lane_out, target) * timing.period(target, reduction)


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


def first_lanes(chain: Chain, target: Target) -> list[str | None]:
    """Lane indices the data tensor of the first stage may have: whole modes where x and h start at whole words."""
    if target.columns == 1:
        return [None]
    if target.gates > 1 and STREAM in chain.network.inputs:  # h of several comes at once
        return [STREAM]
    regions = [region for region in (chain.x, chain.h) if region is not None]
    free = [
        index
        for k, index in enumerate(chain.network.inputs)
        if all(region.start[k] % target.columns == 0 and region.order.count(k) == 1 for region in regions)
    ]
    return [*free, None]


def last_lane_ok(spec: LSTMSpec, lane: str | None, joins: Joins, target: Target) -> bool:
    """Whether z may have this lane index: every gate must start at a whole word."""
    if target.gates > 1 and STREAM in spec.network.outputs:  # z of several is read at once
        return lane == STREAM
    if lane is None:
        return True
    spec = joined_layer(spec, named([lane], joins))
    k = spec.network.outputs.index(lane) if lane in spec.network.outputs else None
    return k is not None and all(
        gate.start[k] % target.columns == 0 and gate.order.count(k) == 1 for gate in spec.gates
    )


def next_lanes(stage: Stage, lane: str | None, joins: Joins, target: Target) -> list[tuple[str | None, Stage]]:
    """Lane indices a stage's result may have, given that of its data; empty if it cannot run. With each the stage as it
    is then: modes that are joined in the lanes are one.
    """
    if lane in joins:
        stage = joined_stage(stage, {lane: joins[lane]})
    if lane in stage.reduction or lane in stage.batch:
        return []
    if target.columns == 1:
        return [(lane, stage)]
    together = ((name, joined_stage(stage, {name: modes})) for name, modes in joins.items())
    return [*((index, stage) for index in (lane, *stage.rows)), *(pair for pair in together if pair[0] in pair[1].rows)]


def choose_lanes(
    layers: tuple[LSTMSpec, ...],
    every: Sequence[Chain],
    listed: Sequence[tuple[Stage, ...]],
    joins: Sequence[Joins],
    target: Target,
) -> tuple[Lanes, ...]:
    """The lanes of every chain, with the fewest array cycles for which the factors fit.

    Args:
        every: the chains of all layers. listed: the stages of each.
        joins: of each layer the modes that may be joined.

    Raises:
        CapacityError: they fit with none, or the stages can run with none.
    """
    fewest = None
    for price in FACTOR_PRICES:
        words, lanes = 0, list[Lanes]()
        for number, spec in enumerate(layers):
            parts = [
                _cheapest_lanes(spec, chain, own, joins[number], target, price)
                for chain, own in zip(every, listed, strict=True)
                if chain.layer == number
            ]
            # Earlier choices of lanes decide where z has padding. The second chain of a layer adds its z to that of the
            # first, word by word, so both must have the same padding.
            common = [form for form in parts[0] if all(form in part for part in parts)]
            if not common:
                raise CapacityError(
                    Resource.LANE_INDICES,
                    1,
                    0,
                    "choose another order of contraction",
                    f"lane indices for the stages of layer {number}",
                )
            best = min(common, key=lambda form: sum(part[form][0] for part in parts))
            words += sum(part[best][1] for part in parts)
            lanes += [part[best][2] for part in parts]
        if words <= target.factor_words:
            return tuple(lanes)
        fewest = min(fewest or words, words)
    assert fewest is not None
    raise CapacityError(Resource.FACTOR_WORDS, fewest, target.factor_words, SMALLER, factor_words_named(target))


_Form = tuple[str | None, frozenset[str], str | None]
"""What decides where z has padding: its lane index, and the output modes that have been the lane index before and kept
padding; and which of them is only left with the last stage, which therefore also writes the padding."""

_Way = tuple[float, int, Lanes]
"""Cost, factor words, lane indices so far."""


def _cheapest_lanes(
    spec: LSTMSpec, chain: Chain, stages: tuple[Stage, ...], joins: Joins, target: Target, price: float
) -> dict[_Form, _Way]:
    """The cheapest way to every form of z, with factor words priced."""
    network = with_joins(chain.network, joins)
    best: dict[_Form, _Way] = {(lane, frozenset(), None): (0, 0, (lane,)) for lane in first_lanes(chain, target)}
    for stage in stages:
        following: dict[_Form, _Way] = {}
        for (lane, padded, _), (cost, words, path) in best.items():
            for after, seen in next_lanes(stage, lane, joins, target):
                form = after, padded, None
                if lane in network.outputs and after != lane and keeps_padding(network, lane, target):
                    form = after, padded | {lane}, lane
                filled = stage_factor_words(network, seen, lane, after, target)
                total = cost + stage_cycles(network, seen, lane, after, target) + price * filled
                if form not in following or total < following[form][0]:
                    following[form] = (total, words + filled, (*path, after))
        best = following
    return {form: way for form, way in best.items() if last_lane_ok(spec, form[0], joins, target)}


def keeps_padding(network: TensorNetwork, index: str, target: Target) -> bool:
    """Whether an index that was the lane index keeps padding: it fills more than a word, and not whole ones."""
    return network.size[index] > target.columns and network.size[index] % target.columns > 0
