"""The planner: in which order the factors meet the data, and which are merged beforehand.

The data tensor depends only on *which* factors it has absorbed, not on their order. So the cheapest stage list
is a shortest path over sets of absorbed factors (and the lane index of the data), one stage per edge, with the
array cycles of the stage as its length. That is exact for the sum of the stages' cycles.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import combinations, count, pairwise

from compiler.machine import UNITS, schedule
from compiler.mapping import (
    FACTOR_PRICES,
    StepMap,
    choose_lanes,
    first_lanes,
    last_lane_ok,
    map_step,
    next_lanes,
    stage_cycles,
    stage_factor_words,
    stage_words,
)
from compiler.program import Instructions, check_room, instructions, stage_nests
from compiler.tiling import Tiling, tilings
from spec.errors import CapacityError
from spec.lstm import Chain, LSTMSpec, chains, stack
from spec.network import TensorNetwork
from spec.program import GateOp, Segment
from spec.stages import Stage, StageList, StageLists, absorb, stages_of
from spec.target import Target

MERGE_LIMIT = 3
"""Factors merged into one weight at most; more has never paid in a tree, where each merge multiplies ranks."""

DETOURS = 32
"""Stages with too many loops that are avoided, one after the other, before a price is given up."""

UNKNOWN = 1 << 62


def plan(layers: LSTMSpec | Sequence[LSTMSpec], target: Target) -> StageLists:
    """Per chain (see spec.lstm.chains) the stage list with the fewest array cycles, all together fitting the target.

    Raises:
        CapacityError: none fits; says what the last one tried lacks.
    """
    layers = stack(layers)
    failure: CapacityError | None = None
    edges = [_Edges(layers[chain.layer], chain, target) for chain in chains(layers)]
    for price in FACTOR_PRICES:
        forbidden: list[set[tuple[frozenset[str], tuple[str, ...]]]] = [set() for _ in edges]
        for _ in range(DETOURS):
            stage_lists = list[StageList]()
            for each, avoided in zip(edges, forbidden, strict=True):
                stage_list = _cheapest(each, price, avoided)
                if stage_list is None:
                    break
                stage_lists.append(stage_list)
            if len(stage_lists) < len(edges):
                break
            try:
                step = map_step(layers, tuple(stage_lists), target)
            except CapacityError as error:
                failure = error
                break
            wrong = _stage_with_too_many_loops(step, target)
            if wrong is None:
                try:
                    instructions(layers, step, target)
                except CapacityError as error:
                    failure = error
                    break
                return tuple(stage_lists)
            chain, number, failure = wrong
            stage_list = stage_lists[chain]
            before = frozenset(name for group in stage_list[:number] for name in group)
            forbidden[chain].add((before, stage_list[number]))
    if failure is None:
        raise CapacityError(
            "scratchpad words for any order of contraction",
            max(each.smallest_refused for each in edges if each.smallest_refused < UNKNOWN),
            target.scratchpad_words,
            "choose a larger target, or smaller modes or ranks",
        )
    raise failure


def map_model(layers: LSTMSpec | Sequence[LSTMSpec], stage_lists: StageLists, target: Target) -> StepMap:
    """The memory map, tiled or not, with the fewest cycles per step in steady state, from the schedule of its programs.

    Raises:
        CapacityError: nothing fits; says what lacks without tiles.
    """
    layers = stack(layers)
    failure: CapacityError | None = None
    best: tuple[int, int, StepMap] | None = None
    chain = chains(layers)[0]
    listed = stages_of(chains(layers), stage_lists)
    ways: list[Tiling | None] = [None, *tilings(chain, listed[0], choose_lanes(layers, listed, target)[0])]
    for way in ways:
        try:
            step = map_step(layers, stage_lists, target, way)
            programs = instructions(layers, step, target)
            _check_programs(programs, target)
        except CapacityError as error:
            failure = failure or error
            continue
        cost = (_cycles_per_step(programs, target), len(programs[Segment.ARRAY_PROGRAM]), step)
        if best is None or cost[:2] < best[:2]:
            best = cost
    if best is None:
        assert failure is not None
        raise failure
    return best[2]


def _check_programs(programs: Instructions, target: Target) -> None:
    for segment, program in programs.items():
        words = len(program) * UNITS[segment](target).words
        check_room(f"{segment.name.split('_')[0].lower()} program words", words, target.program_words)


def _cycles_per_step(programs: Instructions, target: Target) -> int:
    """From the end of one step's last cell update to that of the next, after two to warm up."""
    ends = {
        step: done
        for unit, step, instruction, _, done in schedule(programs, target, 4)
        if unit is Segment.GATE_PROGRAM and instruction["op"] == GateOp.STEP
    }
    return ends[3] - ends[2]


def _stage_with_too_many_loops(step: StepMap, target: Target) -> tuple[int, int, CapacityError] | None:
    """Chain and stage, and what it lacks."""
    for chain, of_chain in enumerate(step.chains):
        for number, (stage, (source, result)) in enumerate(
            zip(of_chain.stages, pairwise(of_chain.tensors), strict=True)
        ):
            try:
                stage_nests(of_chain.chain.network, stage, source, result, target)
            except CapacityError as error:
                return chain, number, error
    return None


@dataclass(frozen=True)
class _Edge:
    """A stage after a set of factors: what it absorbs, the lane index of its result, cycles and factor words."""

    group: tuple[str, ...]
    lane: str | None
    cycles: int
    factor_words: int


class _Edges:
    """The stages of a chain that may follow a set of absorbed factors, worked out once."""

    def __init__(self, spec: LSTMSpec, chain: Chain, target: Target):
        self._spec, self._target, self._network = spec, target, chain.network
        self._groups = connected_groups(chain.network, MERGE_LIMIT)
        self._data = {frozenset[str](): chain.network.inputs}
        self._stages: dict[frozenset[str], list[Stage]] = {}
        self.everything = len(chain.network.factors)
        self.first_lanes = first_lanes(chain, target)
        self.smallest_refused = UNKNOWN
        self._known: dict[tuple[frozenset[str], str | None], list[_Edge]] = {}

    def after(self, done: frozenset[str], lane: str | None) -> list[_Edge]:
        """The edges out of a set, with data of a lane index."""
        if (done, lane) not in self._known:
            self._known[done, lane] = list(self._work_out(done, lane))
        return self._known[done, lane]

    def _work_out(self, done: frozenset[str], lane: str | None) -> Iterator[_Edge]:
        network, target = self._network, self._target
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
            network = self._network
            found = [absorb(network, self._data[done], done, g) for g in self._groups if done.isdisjoint(g)]
            # What neither sums nor shares an index with the data only makes it larger.
            found = [stage for stage in found if stage.reduction or stage.batch or len(network.factors) == 1]
            for stage in found:
                self._data.setdefault(done | set(stage.factors), stage.result)
            self._stages[done] = found
        return self._stages[done]


_State = tuple[float, int, frozenset[str], str | None, StageList]
"""Cost, a number that makes states distinct, factors absorbed, lane index, the path."""


def _cheapest(edges: _Edges, price: float, forbidden: Container[tuple[frozenset[str], object]]) -> StageList | None:
    """The shortest path (Dijkstra) with factor memory priced and without some stages; None if there is none."""
    numbers = count()
    queue: list[_State] = [(0.0, next(numbers), frozenset(), lane, ()) for lane in edges.first_lanes]
    settled: set[tuple[frozenset[str], str | None]] = set()
    while queue:
        cost, _, done, lane, path = heappop(queue)
        if len(done) == edges.everything:
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
