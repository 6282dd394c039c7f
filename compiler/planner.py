"""The planner: in which order the factors meet the data, which are merged beforehand, and how a step is cut in tiles.

The data tensor depends only on *which* factors it has absorbed, not on their order. So stage lists are paths over sets
of absorbed factors (and the lane index of the data), one stage per edge, with the array cycles of the stage as its
length. A step takes at least as many cycles as its path is long. So lists are looked at from the shortest path on: each
is mapped in every way it can be cut, and gets its cycles from the exact schedule. The search ends when the next path is
longer than the best step so far.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count, islice, pairwise
from typing import NamedTuple

from fdht.compiler.allocation import least
from fdht.compiler.arithmetic import Absorptions, check_states, connected_groups, fewest_macs
from fdht.compiler.assembler import check_programs, check_tokens, instructions, stage_nests
from fdht.compiler.joining import possible_joins, with_joins
from fdht.compiler.lanes import (
    FACTOR_PRICES,
    SMALLER,
    first_lanes,
    last_lane_ok,
    next_lanes,
    stage_cycles,
    stage_factor_words,
    stage_words,
)
from fdht.compiler.mapping import StepMap, map_step
from fdht.compiler.overlap import overlapped
from fdht.compiler.pace import cycles_per_step, step_ends
from fdht.compiler.program import StepPrograms
from fdht.compiler.resolved import Resolved, resolve
from fdht.compiler.sharing import sharings
from fdht.compiler.tiling import Tiling, cut_index, tilings
from fdht.spec.errors import CapacityError, Resource
from fdht.spec.instructions import Segment
from fdht.spec.lstm import Chain, LSTMSpec, chains, stack
from fdht.spec.rounds import check_streams
from fdht.spec.stages import StageList, StageLists
from fdht.spec.target import Target

MERGE_LIMIT = 3
"""Factors merged into one weight at most; more has never paid in a tree, where each merge multiplies ranks."""

LOOKED_AT = 64
"""Stage lists that are looked at for one price of factor memory, at most. Few have their schedules worked out: most
need too many factor words."""


REFUSED = 4
"""As many, if each has a stage that alone is larger than the scratchpad: to say what the nearest lacks."""


class Search(NamedTuple):
    """How thoroughly the orders of contraction of a network are searched.

    Attributes:
        factors: for networks of at most so many.
        paths: that go on from a set of absorbed factors and a lane index.
        schedules: stage lists whose schedules are worked out for each price of factor memory.
    """

    factors: int
    paths: int
    schedules: int


SEARCHES = (Search(factors=9, paths=16, schedules=12), Search(factors=1 << 10, paths=1, schedules=4))
"""The first whose `factors` suffice is made. With 16 paths, 15 factors (d = 8) would take half a minute."""

UNKNOWN = 1 << 62


@dataclass(frozen=True)
class Way:
    """Stage lists in memory, cut in tiles or not.

    Attributes:
        tiling: how the first chain is cut.
        step: the memory map.
        programs: without shifts and offsets.
        cycles: per step in steady state.
    """

    tiling: Tiling | None
    step: StepMap
    programs: StepPrograms
    cycles: float


@dataclass(frozen=True)
class Candidate:
    """Stage lists the planner has looked at.

    Attributes:
        stage_lists: one per chain.
        array_cycles: cycles the array is fed in a step; None if its stages can run with no lanes, or its factors do
            not fit.
        resolved: what they mean on the target, if that is so.
        ways: every way to cut that fits, the best first; empty if none does, or if there was no need to look.
        refusal: of the ways that do not fit, what the nearest lacks.
    """

    stage_lists: StageLists
    array_cycles: int | None
    resolved: Resolved | None = None
    ways: tuple[Way, ...] = ()
    refusal: CapacityError | None = None

    @property
    def cycles(self) -> float | None:
        """Per step in steady state; None if nothing fits or it was not worked out."""
        return self.ways[0].cycles if self.ways else None


def plan(layers: LSTMSpec | Sequence[LSTMSpec], target: Target) -> StageLists:
    """Per chain (see fdht.spec.lstm.chains) the stage list; all fit the target, and a step takes the fewest cycles.

    Raises:
        CapacityError: none fits; says what the nearest lacks.
    """
    return candidates(layers, target)[0].stage_lists


def candidates(layers: LSTMSpec | Sequence[LSTMSpec], target: Target) -> list[Candidate]:
    """What the planner has looked at, the cheapest steps first, then what does not fit.

    Raises:
        CapacityError: nothing fits.
        SpecError: a network with more orders of contraction than can be compared.
    """
    layers = stack(layers)
    every = chains(layers)
    for chain in every:
        connected_groups(chain.network, len(chain.network.factors))  # says if there are too many
    looked_at: dict[StageLists, Candidate] = {}
    best: float = UNKNOWN

    def look(stage_lists: StageLists) -> Candidate:
        nonlocal best
        candidate = looked_at[stage_lists] = _look(layers, stage_lists, target, best)
        best = min(best, candidate.cycles or best)
        return candidate

    largest = max(len(chain.network.factors) for chain in every)
    search = next(search for search in SEARCHES if largest <= search.factors)

    def go_through(edges: Sequence[_Edges], most: int) -> None:
        """Looks at `most` stage lists for every price of factor memory, until some fit."""
        for price in FACTOR_PRICES:
            forbidden: list[_Forbidden] = [set() for _ in edges]
            scheduled = 0
            for bound, stage_lists in islice(_together(edges, price, forbidden, search.paths), most):
                if scheduled == search.schedules or (price == 0 and bound >= best):
                    break
                if stage_lists in looked_at:
                    continue
                candidate = look(stage_lists)
                scheduled += bool(candidate.ways)
                if candidate.refusal and not candidate.ways:
                    _forbid(candidate, forbidden)
            if best < UNKNOWN:
                break

    def edges(room: int) -> list[_Edges]:
        return [_Edges(layers[chain.layer], chain, target, room) for chain in every]

    room = target.scratchpad_words
    go_through(edges(room), LOOKED_AT)
    while not looked_at:
        room *= 2
        go_through(edges(room), REFUSED)
    failures = [each.refusal for each in looked_at.values() if each.refusal]
    # The one with the fewest multiplications may merge more than MERGE_LIMIT factors.
    _, stage_lists = fewest_macs(layers)
    if stage_lists not in looked_at:
        look(stage_lists)
    if best == UNKNOWN:
        nearest = min(failures, key=_farther)
        if nearest.resource is Resource.FACTOR_WORDS and room > target.scratchpad_words:  # none was mapped
            raise CapacityError(
                Resource.SCRATCHPAD_WORDS,
                least(lambda words: all(any(_paths(each, 0, set(), 1)) for each in edges(words)), room // 2),
                target.scratchpad_words,
                SMALLER,
                "scratchpad words for any order of contraction",
            )
        raise nearest
    return sorted(looked_at.values(), key=lambda each: (each.cycles is None, each.cycles or each.array_cycles or 0))


def _farther(error: CapacityError) -> tuple[bool, float]:
    """Sort key of failures, the nearest miss first: any shortage before one of factor memory, then the least of what is
    needed ÷ what there is.
    """
    return error.resource is Resource.FACTOR_WORDS, error.needed / max(error.available, 1)


def _look(layers: tuple[LSTMSpec, ...], stage_lists: StageLists, target: Target, limit: float) -> Candidate:
    """Works out what stage lists take, unless their array cycles alone are as many as the limit."""
    try:
        resolved = resolve(layers, stage_lists, target)
    except CapacityError as error:
        return Candidate(stage_lists, None, refusal=error)
    cycles = array_cycles(resolved)
    if cycles >= limit:
        return Candidate(stage_lists, cycles, resolved)
    found, refusal = ways(resolved)
    return Candidate(stage_lists, cycles, resolved, tuple(found), refusal)


def array_cycles(resolved: Resolved) -> int:
    """Cycles in which the array is fed in a step."""
    return sum(
        stage_cycles(chain.network, stage, *pair, resolved.target)
        for chain, own, lanes in zip(resolved.chains, resolved.stages, resolved.lanes, strict=True)
        for stage, pair in zip(own, pairwise(lanes), strict=True)
    )


def map_model(resolved: Resolved) -> StepMap:
    """The memory map, tiled or not, with the fewest cycles per step in steady state, from the schedule of its programs.

    Raises:
        CapacityError: nothing fits; says what the nearest way lacks.
    """
    return fitting_ways(resolved)[0].step


def fitting_ways(resolved: Resolved) -> list[Way]:
    """Every way to cut a step that fits, the cheapest first.

    Raises:
        CapacityError: none does; says what the nearest lacks.
    """
    found, refusal = ways(resolved)
    if not found:
        assert refusal is not None
        raise refusal
    return found


def ways(resolved: Resolved) -> tuple[list[Way], CapacityError | None]:
    """Every way to cut a step that fits, the cheapest first; and of those that do not fit, what the nearest lacks."""
    found, refusal, target = list[Way](), None, resolved.target
    for each, tiling in _cuts(resolved):
        try:
            step = map_step(each, tiling)
            programs = overlapped(instructions(step), target)
            check_programs(programs, target)
            check_tokens(step)
        except CapacityError as error:
            refusal = min(refusal or error, error, key=_farther)
        else:
            found.append(Way(tiling, step, programs, cycles_per_step(step_ends(programs, target))))
    return sorted(found, key=lambda way: (way.cycles, len(way.programs[Segment.ARRAY_PROGRAM]))), refusal


def _cuts(resolved: Resolved) -> Iterator[tuple[Resolved, Tiling | None]]:
    """Every way to cut a step, with joined modes and without."""
    for each in filter(None, (resolved, resolved.apart)):
        yield each, None
        if each.sharing.together == 1:  # else frames come one after the other, each as a whole
            yield from ((each, tiling) for tiling in tilings(each.chains[0], each.stages[0], each.lanes[0]))


def share(
    layers: LSTMSpec | Sequence[LSTMSpec], stage_lists: StageLists, target: Target, streams: int
) -> tuple[list[Way], CapacityError | None]:
    """Every way in which streams can share an engine, the one with the fewest cycles first; `cycles` of a way are those
    of a round. And of those that do not fit, what the nearest lacks.
    """
    layers = stack(layers)
    found, refusal = list[Way](), None
    for sharing in sharings(layers, streams, target):
        try:
            fitting, refused = ways(resolve(layers, stage_lists, target, sharing))
        except CapacityError as error:
            fitting, refused = [], error
        found += fitting
        refusal = min(filter(None, (refusal, refused)), key=_farther, default=None)
    return sorted(found, key=lambda way: way.cycles), refusal


def fitting_shares(
    layers: LSTMSpec | Sequence[LSTMSpec], stage_lists: StageLists, target: Target, streams: int
) -> list[Way]:
    """Every way in which streams can share an engine, as `share` finds them.

    Raises:
        SpecError: the engine has not so many streams.
        CapacityError: there is none; says what the nearest lacks.
    """
    check_streams(streams, target)
    found, refusal = share(layers, stage_lists, target, streams)
    if not found:
        assert refusal is not None
        raise refusal
    return found


_Forbidden = set[tuple[frozenset[str], tuple[str, ...]]]
"""Stages, by the set of factors before them, that are avoided."""


def _forbid(candidate: Candidate, forbidden: list[_Forbidden]) -> None:
    """Avoids a stage that has too many loops, if that is why stage lists do not fit."""
    stage_lists = candidate.stage_lists
    if candidate.resolved is None:
        return
    try:
        step = map_step(candidate.resolved)
    except CapacityError:
        return
    wrong = _stage_with_too_many_loops(step)
    if wrong is not None:
        chain, number = wrong
        before = frozenset(name for group in stage_lists[chain][:number] for name in group)
        forbidden[chain].add((before, stage_lists[chain][number]))


def _stage_with_too_many_loops(step: StepMap) -> tuple[int, int] | None:
    """Chain and stage."""
    for chain, of_chain in enumerate(step.chains):
        for number, (stage, (source, result)) in enumerate(
            zip(of_chain.stages, pairwise(of_chain.tensors), strict=True)
        ):
            try:
                stage_nests(of_chain.chain.network, stage, source, result, step.resolved.target)
            except CapacityError:
                return chain, number
    return None


@dataclass(frozen=True)
class _Edge:
    """A stage after a set of factors: what it absorbs, the lane index of its result, cycles and factor words."""

    group: tuple[str, ...]
    lane: str | None
    cycles: int
    factor_words: int


class _Edges:
    """The stages of a chain that may follow a set of absorbed factors, worked out once.

    Args:
        room: words of scratchpad that the data and the result of a stage may take.
    """

    def __init__(self, spec: LSTMSpec, chain: Chain, target: Target, room: int):
        self._spec, self.target, self._room, self._joins = spec, target, room, possible_joins(spec, target)
        self._network = with_joins(chain.network, self._joins)
        self._absorptions = Absorptions(chain.network, MERGE_LIMIT)
        self._cut = cut_index(chain) if chain.layer == 0 else None  # only the first chain is
        self._part = self._network if self._cut is None else Tiling(self._cut, 1, 0, 0).network(self._network)
        self.everything = len(chain.network.factors)
        self.first_lanes = first_lanes(chain, target)
        self._known: dict[tuple[frozenset[str], str | None], list[_Edge]] = {}

    def after(self, done: frozenset[str], lane: str | None) -> list[_Edge]:
        """The edges out of a set, with data of a lane index."""
        if (done, lane) not in self._known:
            self._known[done, lane] = list(self._work_out(done, lane))
        return self._known[done, lane]

    def _work_out(self, done: frozenset[str], lane: str | None) -> Iterator[_Edge]:
        network, target = self._network, self.target
        for stage in self._absorptions.after(done):
            is_last = len(done) + len(stage.factors) == len(network.factors)
            part = self._part if self._cut not in stage.weight else network
            for out, seen in next_lanes(stage, lane, self._joins, target):
                if is_last and not last_lane_ok(self._spec, out, self._joins, target):
                    continue
                if stage_words(part, seen, lane, out, is_last, target) <= self._room:
                    yield _Edge(
                        stage.factors,
                        out,
                        stage_cycles(network, seen, lane, out, target),
                        stage_factor_words(network, seen, lane, out, target),
                    )


_State = tuple[float, int, frozenset[str], str | None, StageList, int]
"""Cost, a number that makes states distinct, factors absorbed, lane index, the path, its factor words."""


def _paths(edges: _Edges, price: float, forbidden: _Forbidden, limit: int) -> Iterator[tuple[float, StageList]]:
    """Stage lists with their cost, the shortest path first (Dijkstra).

    Args:
        price: cycles that a word of factor memory is taken to cost.
        limit: paths that go on from a state. One that by itself needs more factor words than there are goes on only if
            it is the first.
    """
    numbers = count()
    queue: list[_State] = [(0.0, next(numbers), frozenset(), lane, (), 0) for lane in edges.first_lanes]
    settled = Counter[tuple[frozenset[str], str | None]]()
    found = set[StageList]()
    while queue:
        cost, _, done, lane, path, words = heappop(queue)
        if forbidden and _takes(path, forbidden):
            continue
        if len(done) == edges.everything:
            if path not in found:
                found.add(path)
                yield cost, path
            continue
        if settled[done, lane] >= (limit if words <= edges.target.factor_words else 1):
            continue
        settled[done, lane] += 1
        check_states(len(settled), edges.everything)
        for edge in edges.after(done, lane):
            after = done | set(edge.group)
            if settled[after, edge.lane] < limit:
                total = cost + edge.cycles + price * edge.factor_words
                filled = words + edge.factor_words
                heappush(queue, (total, next(numbers), after, edge.lane, (*path, edge.group), filled))


def _takes(path: StageList, forbidden: _Forbidden) -> bool:
    done = frozenset[str]()
    for group in path:
        if (done, group) in forbidden:
            return True
        done |= set(group)
    return False


def _together(
    edges: Sequence[_Edges], price: float, forbidden: Sequence[_Forbidden], limit: int
) -> Iterator[tuple[float, StageLists]]:
    """Stage lists of all chains with their cost, the cheapest together first."""
    sources = [_paths(each, price, avoided, limit) for each, avoided in zip(edges, forbidden, strict=True)]
    known: list[list[tuple[float, StageList]]] = [list(islice(source, 1)) for source in sources]
    if not all(known):
        return
    queue = [(sum(paths[0][0] for paths in known), (0,) * len(known))]
    queued = {queue[0][1]}
    while queue:
        cost, choice = heappop(queue)
        yield cost, tuple(paths[k][1] for paths, k in zip(known, choice, strict=True))
        for chain, k in enumerate(choice):
            following = (*choice[:chain], k + 1, *choice[chain + 1 :])
            if k + 1 == len(known[chain]):
                known[chain] += islice(sources[chain], 1)
            if k + 1 < len(known[chain]) and following not in queued:
                queued.add(following)
                heappush(queue, (cost + known[chain][k + 1][0] - known[chain][k][0], following))
