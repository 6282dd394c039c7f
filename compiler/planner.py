"""The planner: in which order the factors meet the data, and which are merged beforehand.

The data tensor depends only on *which* factors it has absorbed, not on their order. So the cheapest stage list
is a shortest path over sets of absorbed factors (and the lane index of the data), one stage per edge, with the
array cycles of the stage as its length. That is exact for the sum of the stages' cycles.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import combinations, count

from compiler.mapping import (
    FACTOR_PRICES,
    StepMap,
    first_lanes,
    last_lane_ok,
    map_step,
    next_lanes,
    stage_cycles,
    stage_factor_words,
    stage_words,
)
from compiler.program import head_contraction, stage_nests, unit_nests
from spec.errors import CapacityError
from spec.lstm import LSTMSpec
from spec.network import TensorNetwork
from spec.stages import Stage, StageList, absorb
from spec.target import Target

MERGE_LIMIT = 3
"""Factors merged into one weight at most; more has never paid in a tree, where each merge multiplies ranks."""

DETOURS = 32
"""Stages with too many loops that are avoided, one after the other, before a price is given up."""


def plan(spec: LSTMSpec, target: Target) -> StageList:
    """The stage list with the fewest array cycles that fits the target.

    Raises:
        CapacityError: none fits; says what the last one tried lacks.
    """
    failure: CapacityError | None = None
    edges = _Edges(spec, target)
    for price in FACTOR_PRICES:
        forbidden: set[tuple[frozenset[str], tuple[str, ...]]] = set()
        for _ in range(DETOURS):
            stage_list = _cheapest(spec, target, edges, price, forbidden)
            if stage_list is None:
                break
            try:
                step = map_step(spec, stage_list, target)
                unit_nests(spec, step, target)
                if spec.classes:
                    stage_nests(*head_contraction(spec, step), target)
            except CapacityError as error:
                failure = error
                break
            wrong = _stage_with_too_many_loops(spec, step, target)
            if wrong is None:
                return stage_list
            number, failure = wrong
            forbidden.add((frozenset(name for group in stage_list[:number] for name in group), stage_list[number]))
    if failure is None:
        raise CapacityError(
            "scratchpad words for any order of contraction",
            edges.smallest_refused,
            target.scratchpad_words,
            "choose a larger target, or smaller modes or ranks",
        )
    raise failure


def _stage_with_too_many_loops(spec: LSTMSpec, step: StepMap, target: Target) -> tuple[int, CapacityError] | None:
    for number, stage in enumerate(step.stages):
        try:
            stage_nests(spec.network, stage, step.tensors[number], step.tensors[number + 1], target)
        except CapacityError as error:
            return number, error
    return None


@dataclass(frozen=True)
class _Edge:
    """A stage after a set of factors: what it absorbs, the lane index of its result, cycles and factor words."""

    group: tuple[str, ...]
    lane: str | None
    cycles: int
    factor_words: int


class _Edges:
    """The stages that may follow a set of absorbed factors, worked out once."""

    def __init__(self, spec: LSTMSpec, target: Target):
        self._spec, self._target = spec, target
        self._groups = connected_groups(spec.network, MERGE_LIMIT)
        self._data = {frozenset[str](): spec.network.inputs}
        self._stages: dict[frozenset[str], list[Stage]] = {}
        self.smallest_refused = 1 << 62
        self._known: dict[tuple[frozenset[str], str | None], list[_Edge]] = {}

    def after(self, done: frozenset[str], lane: str | None) -> list[_Edge]:
        """The edges out of a set, with data of a lane index."""
        if (done, lane) not in self._known:
            self._known[done, lane] = list(self._work_out(done, lane))
        return self._known[done, lane]

    def _work_out(self, done: frozenset[str], lane: str | None) -> Iterator[_Edge]:
        network, target = self._spec.network, self._target
        for stage in self._stages_after(done):
            is_last = len(done) + len(stage.factors) == len(network.factors)
            for out in next_lanes(stage, lane, target):
                if is_last and not last_lane_ok(self._spec, out, target):
                    continue
                words = stage_words(network, stage, lane, out, is_last, target)
                if words > target.scratchpad_words:
                    self.smallest_refused = min(self.smallest_refused, words)
                else:
                    yield _Edge(
                        stage.factors,
                        out,
                        stage_cycles(network, stage, lane, out, target),
                        stage_factor_words(network, stage, lane, out, target),
                    )

    def _stages_after(self, done: frozenset[str]) -> list[Stage]:
        if done not in self._stages:
            network = self._spec.network
            found = [absorb(network, self._data[done], done, g) for g in self._groups if done.isdisjoint(g)]
            # What neither sums nor shares an index with the data only makes it larger.
            found = [stage for stage in found if stage.reduction or stage.batch or len(network.factors) == 1]
            for stage in found:
                self._data.setdefault(done | set(stage.factors), stage.result)
            self._stages[done] = found
        return self._stages[done]


_State = tuple[float, int, frozenset[str], str | None, StageList]
"""Cost, a number that makes states distinct, factors absorbed, lane index, the path."""


def _cheapest(
    spec: LSTMSpec, target: Target, edges: _Edges, price: float, forbidden: Container[tuple[frozenset[str], object]]
) -> StageList | None:
    """The shortest path (Dijkstra) with factor memory priced and without some stages; None if there is none."""
    everything = len(spec.network.factors)
    numbers = count()
    queue: list[_State] = [(0.0, next(numbers), frozenset(), lane, ()) for lane in first_lanes(spec, target)]
    settled: set[tuple[frozenset[str], str | None]] = set()
    while queue:
        cost, _, done, lane, path = heappop(queue)
        if len(done) == everything:
            return path
        if (done, lane) in settled:
            continue
        settled.add((done, lane))
        for edge in edges.after(done, lane):
            after = done | set(edge.group)
            if (after, edge.lane) not in settled and (done, edge.group) not in forbidden:
                total = cost + edge.cycles + price * edge.factor_words
                heappush(queue, (total, next(numbers), after, edge.lane, (*path, edge.group)))
    return None


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
