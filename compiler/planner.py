"""The planner: in which order the factors meet the data, and which are merged beforehand.

The data tensor depends only on *which* factors it has absorbed, not on their order. So the cheapest stage list
is a shortest path over sets of absorbed factors (and the lane index of the data), one stage per edge, with the
array cycles of the stage as its length. That is exact for the sum of the stages' cycles.
"""

from collections import Counter
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
from compiler.overlap import overlapped
from compiler.program import Instructions, check_room, instructions, stage_nests
from compiler.tiling import Tiling, cut_index, tilings
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

DEARER, FEW = 24, 9
"""Stage lists without room that are passed over before a price is given up, and how many factors at most the first
chain may have for that: with 15, every further one takes seconds.
"""

UNKNOWN = 1 << 62


def plan(layers: LSTMSpec | Sequence[LSTMSpec], target: Target) -> StageLists:
    """Per chain (see spec.lstm.chains) the stage list with the fewest array cycles, all together fitting the target.

    Raises:
        CapacityError: none fits; says what the one lacks that comes nearest.
    """
    layers = stack(layers)
    failures = list[CapacityError]()
    edges = [_Edges(layers[chain.layer], chain, target) for chain in chains(layers)]
    tried = set[StageLists]()
    for price in FACTOR_PRICES:
        forbidden: list[set[tuple[frozenset[str], tuple[str, ...]]]] = [set() for _ in edges]
        cheaper = 0  # stage lists of the first chain, the largest, that cost less and do not fit
        for _ in range(DETOURS):
            if cheaper > (DEARER if edges[0].everything <= FEW else 0):
                break
            skipped = (cheaper, *(0 for _ in edges[1:]))
            found = [_cheapest(*each, price) for each in zip(edges, forbidden, skipped, strict=True)]
            stage_lists = tuple(each for each in found if each is not None)
            if len(stage_lists) < len(edges):
                break
            if stage_lists in tried:
                cheaper += 1
                continue
            try:
                choose_lanes(layers, stages_of(chains(layers), stage_lists), target)
            except CapacityError as error:
                failures.append(error)
                break
            try:
                step = map_step(layers, stage_lists, target)
                wrong = _stage_with_too_many_loops(step, target)
                if wrong is None:
                    instructions(layers, step, target)
                    return stage_lists
            except CapacityError as error:
                if any(_cut_maps(layers, stage_lists, target, failures)):
                    return stage_lists
                failures.append(error)
                tried.add(stage_lists)
                cheaper += 1
                continue
            chain, number, error = wrong
            failures.append(error)
            stage_list = stage_lists[chain]
            before = frozenset(name for group in stage_list[:number] for name in group)
            forbidden[chain].add((before, stage_list[number]))
    if not failures:
        raise CapacityError(
            "scratchpad words for any order of contraction",
            max(each.smallest_refused for each in edges if each.smallest_refused < UNKNOWN),
            target.scratchpad_words,
            "choose a larger target, or smaller modes or ranks",
        )
    raise min(failures, key=_farther)


def _farther(error: CapacityError) -> tuple[bool, bool, float]:
    """Orders failures: whose factors fit came nearer than others, and who lacks little than who lacks much."""
    return error.need <= error.limit, error.resource.startswith("factor words"), error.need / error.limit


def map_model(layers: LSTMSpec | Sequence[LSTMSpec], stage_lists: StageLists, target: Target) -> StepMap:
    """The memory map, tiled or not, with the fewest cycles per step in steady state, from the schedule of its programs.

    Raises:
        CapacityError: nothing fits; says what lacks without tiles.
    """
    layers = stack(layers)
    failure: CapacityError | None = None
    maps = list[tuple[StepMap, Instructions]]()
    try:
        maps.append(_map(layers, stage_lists, target))
    except CapacityError as error:
        failure = error
    maps += _cut_maps(layers, stage_lists, target, [])
    if not maps:
        assert failure is not None
        raise failure

    def cost(mapped: tuple[StepMap, Instructions]) -> tuple[int, int]:
        return _cycles_per_step(mapped[1], target), len(mapped[1][Segment.ARRAY_PROGRAM])

    return min(maps, key=cost)[0]


def _map(
    layers: tuple[LSTMSpec, ...], stage_lists: StageLists, target: Target, tiling: Tiling | None = None
) -> tuple[StepMap, Instructions]:
    """A memory map and its programs.

    Raises:
        CapacityError: they do not fit.
    """
    step = map_step(layers, stage_lists, target, tiling)
    programs = overlapped(instructions(layers, step, target), target)
    for segment, program in programs.items():
        words = len(program) * UNITS[segment](target).words
        check_room(f"{segment.name.split('_')[0].lower()} program words", words, target.program_words)
    return step, programs


def _cut_maps(
    layers: tuple[LSTMSpec, ...], stage_lists: StageLists, target: Target, failures: list[CapacityError]
) -> Iterator[tuple[StepMap, Instructions]]:
    """The tiled memory maps that fit; what the others lack is appended to `failures`."""
    every = chains(layers)
    listed = stages_of(every, stage_lists)
    try:
        lanes = choose_lanes(layers, listed, target)
    except CapacityError:
        return
    for way in tilings(every[0], listed[0], lanes[0]):
        try:
            mapped = _map(layers, stage_lists, target, way)
        except CapacityError as error:
            failures.append(error)
        else:
            yield mapped


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
        self._cut = cut_index(chain) if chain.layer == 0 else None  # only the first chain is
        self._part = self._network if self._cut is None else Tiling(self._cut, 1, 0, 0).network(self._network)
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
                part = self._part if self._cut not in stage.weight else network
                words = stage_words(part, stage, lane, out, is_last, target)
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


def _cheapest(
    edges: _Edges, forbidden: Container[tuple[frozenset[str], object]], skipped: int, price: float
) -> StageList | None:
    """The shortest path (Dijkstra) with factor memory priced, without some stages, after so many shorter ones; None if
    there is none.
    """
    numbers = count()
    queue: list[_State] = [(0.0, next(numbers), frozenset(), lane, ()) for lane in edges.first_lanes]
    settled = Counter[tuple[frozenset[str], str | None]]()
    found = dict[StageList, None]()
    while queue:
        cost, _, done, lane, path = heappop(queue)
        if len(done) == edges.everything:
            found[path] = None
            if len(found) > skipped:
                return path
            continue
        settled[done, lane] += 1
        if settled[done, lane] > skipped + 1:
            continue
        for edge in edges.after(done, lane):
            after = done | set(edge.group)
            if settled[after, edge.lane] <= skipped and (done, edge.group) not in forbidden:
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
