"""The planner: in which order the factors meet the data, and which are merged beforehand.

The data tensor depends only on *which* factors it has absorbed, not on their order. So the cheapest stage list
is a shortest path over sets of absorbed factors (and the lane index of the data), one stage per edge, with the
array cycles of the stage as its length. That is exact for the sum of the stages' cycles.
"""

from itertools import combinations

from compiler.mapping import (
    first_lanes,
    last_lane_ok,
    map_step,
    next_lanes,
    stage_cycles,
    stage_factor_words,
    stage_words,
)
from spec.errors import CapacityError
from spec.lstm import LSTMSpec
from spec.network import TensorNetwork
from spec.stages import StageList, absorb
from spec.target import Target

MERGE_LIMIT = 3
"""Factors merged into one weight at most; more has never paid in a tree, where each merge multiplies ranks."""

FACTOR_PRICES = (0.0, 0.25, 1.0, 4.0, 16.0, 64.0, 256.0)
"""Cycles a word of factor memory is taken to cost, tried in turn until the plan fits."""


def plan(spec: LSTMSpec, target: Target) -> StageList:
    """The stage list with the fewest array cycles that fits the target.

    Raises:
        CapacityError: none fits; says what the smallest one found lacks.
    """
    failure: CapacityError | None = None
    for price in FACTOR_PRICES:
        stage_list, factor_words = _cheapest(spec, target, price)
        try:
            if factor_words > target.factor_words:
                raise CapacityError(
                    f"factor words of {target.rows} factors",
                    factor_words,
                    target.factor_words,
                    "choose a larger target, or smaller modes or ranks",
                )
            map_step(spec, stage_list, target)
            return stage_list
        except CapacityError as error:
            failure = error
    assert failure is not None
    raise failure


def _cheapest(spec: LSTMSpec, target: Target, price: float) -> tuple[StageList, int]:
    """The shortest path with factor memory priced, and the factor words it fills (head included)."""
    network = spec.network
    everything = frozenset(network.factor)
    groups = connected_groups(network, MERGE_LIMIT)
    head = spec.hidden * -(-spec.classes // target.rows)
    start = {lane: (0.0, head, ()) for lane in first_lanes(spec, target)}
    best: dict[frozenset[str], dict[str | None, tuple[float, int, StageList]]] = {frozenset(): start}
    data = {frozenset(): network.inputs}
    for done in sorted(_subsets(network), key=len):
        if done not in best:
            continue
        for group in groups:
            if not done.isdisjoint(group):
                continue
            stage = absorb(network, data[done], done, group)
            if not stage.reduction and not stage.batch and len(everything) > 1:
                continue
            after = done | set(group)
            data.setdefault(after, stage.result)
            for lane, (cost, words, path) in best[done].items():
                for out in next_lanes(stage, lane, target):
                    if after == everything and not last_lane_ok(spec, out, target):
                        continue
                    if stage_words(network, stage, lane, out, target) > target.scratchpad_words:
                        continue
                    filled = stage_factor_words(network, stage, lane, out, target)
                    total = cost + stage_cycles(network, stage, lane, out, target) + price * filled
                    known = best.setdefault(after, {})
                    if out not in known or total < known[out][0]:
                        known[out] = (total, words + filled, (*path, group))
    if everything not in best or not best[everything]:
        raise CapacityError(
            "scratchpad words for any order of contraction",
            target.scratchpad_words + 1,
            target.scratchpad_words,
            "choose a larger target, or smaller modes or ranks",
        )
    _, words, stage_list = min(best[everything].values(), key=lambda entry: entry[0])
    return stage_list, words


def connected_groups(network: TensorNetwork, limit: int) -> list[tuple[str, ...]]:
    """Sets of at most `limit` factors that hang together by shared bonds."""
    indices = {name: set(factor.indices) for name, factor in network.factor.items()}
    groups = []
    for size in range(1, limit + 1):
        for group in combinations(network.factor, size):
            reached, frontier = {group[0]}, [group[0]]
            while frontier:
                here = frontier.pop()
                for name in group:
                    if name not in reached and indices[name] & indices[here]:
                        reached.add(name)
                        frontier.append(name)
            if len(reached) == size:
                groups.append(group)
    return groups


def _subsets(network: TensorNetwork):
    names = tuple(network.factor)
    for size in range(len(names) + 1):
        for subset in combinations(names, size):
            yield frozenset(subset)
