"""Why a plan is as it is: what each stage costs, what lies where, how full the memories are, and what came second."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np

from fdht.compiler.arithmetic import fewest_macs, macs_of
from fdht.compiler.assembler import HEAD, contractions, head_contraction
from fdht.compiler.mapping import Layout, head_words
from fdht.compiler.nest import walk
from fdht.compiler.planner import Candidate, Way, candidates, fitting_ways, ways
from fdht.compiler.resolved import resolve
from fdht.compiler.schedule import Contraction, Instructions
from fdht.compiler.tiling import Tiling
from fdht.spec.cards import card, fill_bars, table
from fdht.spec.errors import CapacityError
from fdht.spec.instructions import UNITS, GateOp, Segment
from fdht.spec.lstm import LSTMSpec, stack
from fdht.spec.stages import StageList, StageLists
from fdht.spec.target import Target

TOLERANCE = 1.03
"""A plan with this many times the fewest multiplications needs no reason."""


@dataclass(frozen=True)
class StageCost:
    """One stage of a step.

    Attributes:
        layer, stage: numbers.
        factors: merged into its weight.
        batch, rows, k, columns: sizes, without padding: rows × K × columns, batch times.
        lanes: lane index of its data and of its result; they differ where the result drains transposed.
        tiles: pieces in which it is carried out.
        macs: useful multiplications per step.
        cycles: in which it occupies the array, per step.
        utilisation: macs ÷ (multipliers × cycles).
    """

    layer: int
    stage: int
    factors: tuple[str, ...]
    batch: int
    rows: int
    k: int
    columns: int
    lanes: tuple[str | None, str | None]
    tiles: int
    macs: int
    cycles: int
    utilisation: float


@dataclass(frozen=True)
class Block:
    """Words of a memory and what lies in them.

    Attributes:
        memory: scratchpad, factors or results.
        first, words: where.
        banks: of the scratchpad, the first and the last it touches.
        content: what.
    """

    memory: str
    first: int
    words: int
    banks: tuple[int, int] | None
    content: str


@dataclass(frozen=True)
class RunnerUp:
    """The next best that was not taken.

    Attributes:
        stage_lists: its order of contraction.
        tiling: how it would have been cut.
        cycles: per step, None if it does not fit.
        reason: why it lost.
    """

    stage_lists: StageLists
    tiling: str
    cycles: float | None
    reason: str


@dataclass(frozen=True)
class Explanation:
    """A plan for a target.

    Attributes:
        stage_lists: what was planned.
        tiling: how the first chain is cut.
        stages: what each costs.
        cycles: per step in steady state.
        array_cycles: of these, cycles in which the array is fed.
        macs: useful multiplications per step. fewest: those that any stage list needs at least.
        utilisation: macs ÷ (multipliers × cycles). efficiency: fewest ÷ (multipliers × cycles).
        excess: why there are more than the fewest (by more than TOLERANCE); "" if there are not.
        memory: what lies where.
        fill: words used and available of each memory.
        runners_up: the next best way to cut the same stages, and the next best stages, as far as there are any.
        considered: stage lists looked at.
    """

    stage_lists: StageLists
    tiling: str
    stages: tuple[StageCost, ...]
    cycles: float
    array_cycles: int
    macs: int
    fewest: int
    utilisation: float
    efficiency: float
    excess: str
    memory: tuple[Block, ...]
    fill: dict[str, tuple[int, int]]
    runners_up: tuple[RunnerUp, ...]
    considered: int

    def _repr_html_(self) -> str:
        facts = {
            "cycles per step": f"{self.cycles:,g}, the array fed in {self.array_cycles:,}",
            "multiplications per step": f"{self.macs:,}; any order needs {self.fewest:,}",
            "utilisation": f"{self.utilisation:.1%}",
            "cut": self.tiling,
            "stage lists looked at": self.considered,
        }
        stages = [
            (
                each.stage,
                " ∘ ".join(each.factors),
                each.rows,
                each.k,
                each.columns,
                " → ".join(dict.fromkeys(lane or "-" for lane in each.lanes)),
                each.cycles,
                f"{each.utilisation:.1%}",
            )
            for each in self.stages
        ]
        heads = ("stage", "weight", "rows", "K", "columns", "lanes", "cycles", "utilisation")
        others = [("; ".join(map(order_text, each.stage_lists)), each.tiling, each.reason) for each in self.runners_up]
        second = table(("what came next", "cut", "why not"), others) if others else ""
        return card("Plan", facts, table(heads, stages), second, fill_bars(self.fill))


def explain(
    layers: LSTMSpec | Sequence[LSTMSpec], target: Target, stage_lists: StageLists | None = None
) -> Explanation:
    """Explains a plan, or how given stage lists (of a bundle) would run.

    Raises:
        CapacityError: nothing fits.
    """
    layers = stack(layers)
    looked_at = candidates(layers, target)
    chosen = looked_at[0]
    if stage_lists is not None and stage_lists != chosen.stage_lists:
        resolved = resolve(layers, stage_lists, target)
        chosen = Candidate(stage_lists, None, resolved, tuple(fitting_ways(resolved)))
    way = chosen.ways[0]
    stages = tuple(stage_costs(way))
    macs, (fewest, leanest) = sum(stage.macs for stage in stages), fewest_macs(layers)
    array = sum(stage.cycles for stage in stages)
    return Explanation(
        chosen.stage_lists,
        tiling_text(way.tiling, layers[0].network.size),
        stages,
        way.cycles,
        array,
        macs,
        fewest,
        macs / (target.multipliers * way.cycles),
        fewest / (target.multipliers * way.cycles),
        _excess(layers, macs, fewest, leanest, way, target),
        tuple(memory_map(way)),
        fill(way.programs, target),
        tuple(_runners_up(layers, chosen, looked_at)),
        len(looked_at),
    )


def stage_costs(way: Way) -> Iterator[StageCost]:
    """The stages of a step in the order they are carried out, all tiles of one together."""
    resolved = way.step.resolved
    useful, target = macs_of(resolved.chains, resolved.stages), resolved.target
    busy: dict[tuple[int, int], list[int]] = {}
    works = contractions(way.step)
    for work, instruction in zip(works, way.programs[Segment.ARRAY_PROGRAM], strict=True):
        busy.setdefault(work.of, []).append(Contraction(instruction, target).busy)
    for c, of_chain in enumerate(way.step.chains):
        network = of_chain.chain.network
        tensors = (*of_chain.tiles[0].tensors[: of_chain.tiled], *of_chain.tensors)
        for s, (stage, (source, result)) in enumerate(zip(of_chain.stages, pairwise(tensors), strict=True)):
            cycles, macs = sum(busy[c, s]), useful[c][s]
            batch, rows, k, columns = (
                prod(network.shape(part)) for part in (stage.batch, stage.rows, stage.reduction, stage.columns)
            )
            yield StageCost(
                of_chain.chain.layer,
                s,
                stage.factors,
                batch,
                rows,
                k,
                columns,
                (source.lane, result.lane),
                len(busy[c, s]),
                macs,
                cycles,
                macs / (target.multipliers * cycles),
            )


def tiling_text(tiling: Tiling | None, size: Mapping[str, int]) -> str:
    """How a step is cut, in words."""
    if tiling is None:
        return "not cut"
    stages = f"the first {tiling.stages} stages" if tiling.stages > 1 else "the first stage"
    count = size[tiling.index] // tiling.group
    return (
        f"{stages} in {count} tiles of {tiling.group} of {tiling.index}'s {size[tiling.index]}, "
        f"{tiling.slots} of them in memory"
    )


def memory_map(way: Way) -> Iterator[Block]:
    """What lies where: first what lasts from step to step, then results of stages, which share what is left."""
    step = way.step
    top, target = step.resolved.layers[-1], step.resolved.target

    def block(memory: str, first: int, words: int, content: str) -> Block:
        banks = (first // target.bank_words, (first + words - 1) // target.bank_words)
        return Block(memory, first, words, banks if memory == "scratchpad" else None, content)

    def of(layout: Layout, content: str) -> Block:
        shape = ", ".join(layout.order)
        return block("scratchpad", layout.base, layout.words, f"{content} ({shape}; lanes {layout.lane or 'unused'})")

    for number, (first, words) in enumerate(step.slots):
        which = f", place {number}" if len(step.slots) > 1 else ""
        yield block("scratchpad", first, words, f"x and h of layer 0{which}")
    for of_chain in step.chains[1:]:
        what = "x" if of_chain.chain.h is None else "h" if of_chain.chain.x is None else "x and h"
        yield of(of_chain.tiles[0].tensors[0], f"{what} of layer {of_chain.chain.layer}")
    if head := head_words(top, target):
        yield block("scratchpad", target.scratchpad_words - head, head, "weights of the head")
    for of_chain in step.chains:
        inner, tiled = of_chain.tiles[0].tensors, of_chain.tiled
        prefix = f"layer {of_chain.chain.layer}: " if len(step.chains) > 1 else ""
        for s, layout in enumerate(inner[1:tiled], 1):
            yield of(layout, f"{prefix}result of stage {s - 1}, a tile")
        start = 1 if tiled == 0 else 0
        for s, layout in enumerate(of_chain.tensors[start:-1], tiled + start):
            yield of(layout, f"{prefix}result of stage {s - 1}")
    for number, of_chain in enumerate(step.chains):
        z = of_chain.tensors[-1]
        if number == 0 or z != step.chains[number - 1].tensors[-1]:
            yield block("results", z.base, z.words, f"z of layer {of_chain.chain.layer} (lanes {z.lane or 'unused'})")
    if top.classes:
        *_, logits = head_contraction(top, target, step.logits)
        yield block("results", logits.base, logits.words, "logits" + ("" if step.logits else ", when z has been read"))
    seen = set[tuple[int, int]]()
    for work, instruction in zip(contractions(step), way.programs[Segment.ARRAY_PROGRAM], strict=True):
        if work.of not in seen and work.of != HEAD:
            seen.add(work.of)
            addresses = Contraction(instruction, target).factor_addresses
            first = int(addresses.min())
            yield block(
                "factors", first, int(addresses.max()) + 1 - first, f"weight of {' ∘ '.join(work.stage.factors)}"
            )


def fill(programs: Instructions, target: Target) -> dict[str, tuple[int, int]]:
    """Words used and available of each memory, from the addresses that the programs visit."""
    scratchpad = np.zeros(target.scratchpad_words, dtype=bool)
    factors = results = biases = 0
    for instruction in programs[Segment.ARRAY_PROGRAM]:
        contraction = Contraction(instruction, target)
        scratchpad[contraction.data_addresses] = True
        if not instruction["hidden"]:
            factors = max(factors, int(contraction.factor_addresses.max()) + 1)
        if instruction["to_results"]:
            results = max(results, int(contraction.write_addresses.max()) + 1)
        else:
            scratchpad[contraction.write_addresses] = True
        if instruction["bias_step"]:
            rows = instruction["rows"] + 1
            columns = len(contraction.data_addresses) // -(-rows // target.rows)
            biases = max(biases, instruction["bias"] + rows * columns)
    for instruction in programs[Segment.LOADER_PROGRAM]:
        scratchpad[walk(instruction["nest"], instruction["count"] + 1)["word"]] = True
    units = [i["last"] + 1 for i in programs[Segment.GATE_PROGRAM] if i["op"] != GateOp.EMIT]
    return {
        "scratchpad": (int(scratchpad.sum()), target.scratchpad_words),
        "factors": (factors, target.factor_words),
        "results": (results, target.result_words),
        "biases": (biases, target.bias_words),
        "hidden units": (max(units), target.hidden),
        **{
            f"{unit.name.split('_')[0].lower()} program": (
                len(program) * UNITS[unit](target).words,
                target.program_words,
            )
            for unit, program in programs.items()
        },
    }


def _excess(layers: tuple[LSTMSpec, ...], macs: int, fewest: int, leanest: StageLists, way: Way, target: Target) -> str:
    """Why a plan has more multiplications than the fewest."""
    if macs <= TOLERANCE * fewest:
        return ""
    order = "; ".join(order_text(each) for each in leanest)
    try:
        found, refusal = ways(resolve(layers, leanest, target))
    except CapacityError as error:
        found, refusal = [], error
    if not found:
        return f"memory: {order} needs {fewest:,}, but {_lack(refusal)}"
    return f"cycles: {order} needs {fewest:,}, but {found[0].cycles:,g} cycles per step, this plan {way.cycles:,g}"


def order_text(stage_list: StageList) -> str:
    """A stage list in a line: stages with bars between, merged factors with rings."""
    return " | ".join(" ∘ ".join(group) for group in stage_list)


def _lack(refusal: CapacityError | None) -> str:
    assert refusal is not None
    return f"{refusal.needed:,} {refusal.named}, {refusal.available:,} available"


def _runners_up(layers: tuple[LSTMSpec, ...], chosen: Candidate, looked_at: Sequence[Candidate]) -> Iterator[RunnerUp]:
    size = layers[0].network.size
    best = chosen.ways[0].cycles

    def slower(cycles: float) -> str:
        return f"{cycles - best:,g} cycles more per step" if cycles > best else "no faster"

    for way in chosen.ways[1:2]:
        yield RunnerUp(chosen.stage_lists, tiling_text(way.tiling, size), way.cycles, slower(way.cycles))
    others = [each for each in looked_at if each.stage_lists != chosen.stage_lists]
    for each in [each for each in others if each.ways][:1]:
        way = each.ways[0]
        yield RunnerUp(each.stage_lists, tiling_text(way.tiling, size), way.cycles, slower(way.cycles))
    # What would have been shorter for the array, had it fitted.
    for each in [each for each in others if each.refusal and not each.ways][:1]:
        yield RunnerUp(each.stage_lists, "", None, f"does not fit: {_lack(each.refusal)}")
    beyond = [each for each in others if not each.ways and not each.refusal and each.array_cycles is not None]
    for each in beyond[:1]:
        yield RunnerUp(each.stage_lists, "", None, f"the array alone needs {each.array_cycles:,} cycles")
