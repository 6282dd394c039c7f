"""The gate unit against fdht.spec.activation, fdht.spec.formats and fdht.spec.timing: exact values in exact cycles."""

import random
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from fdht.hw.engine.gate_unit import GateUnit
from fdht.hw.technology import LutMultiplier
from fdht.spec import timing
from fdht.spec.activation import SEGMENTS, PiecewiseLinear, sigmoid_table, table_width, table_words, tanh_table
from fdht.spec.fixed import Fixed
from fdht.spec.formats import GateFormats
from fdht.spec.instructions import WORD, GateOp, Widths, gate_instruction, words_for
from fdht.spec.protocol import OutputKind
from fdht.spec.target import Levels, Target, Technology

QUIET = 40
"""Cycles watched after the last instruction."""


class OddFormats(Target):
    """Formats in which every shift is there and differs."""

    @property
    def gate_formats(self) -> GateFormats:
        w = self.data_width
        return GateFormats(Fixed(w, w - 5), Fixed(w, w - 3), Fixed(w, w - 2), Fixed(w, w - 4))


SMALL = Target("small", rows=2, columns=1, bank_words=32, result_words=64, hidden=16, levels=Levels.each(3))
TARGETS = {
    "1x16": SMALL,
    "3x16": replace(SMALL, columns=3, hidden=13),
    "4x8": replace(SMALL, columns=4, data_width=8, levels=Levels.each(2), hidden=32),
    "8x18": replace(SMALL, columns=8, data_width=18),
    "1x16 in luts": replace(SMALL, technology=Technology.ICE40, compact=True, accumulator_width=32),
    "odd": OddFormats(
        "odd", rows=2, columns=2, data_width=13, bank_words=32, result_words=64, hidden=16, levels=Levels.each(3)
    ),
}


@dataclass(frozen=True)
class Call:
    """An instruction and the run's options while it is executed."""

    op: GateOp
    count: int
    first: int = 0
    top: bool = True
    final: bool = False
    every_h: bool = False
    initial: bool = False
    gap: int = 1


@dataclass
class Seen:
    """What a run was seen to do, in cycles after `start` without those `stalled`."""

    done: int = 0
    lost: int = 0
    hidden: list = field(default_factory=list)
    cell: list = field(default_factory=list)


def random_tables(target: Target, rng: random.Random) -> tuple[PiecewiseLinear, PiecewiseLinear]:
    """Jumps all over the range, so that c and h saturate."""
    formats = target.gate_formats
    tables = []
    for _ in range(2):
        knots = [rng.choice([target.data.min, target.data.max, rng.randint(target.data.min, target.data.max)])]
        while len(knots) <= SEGMENTS:
            low, high = (
                max(target.data.min, knots[-1] + target.data.min),
                min(target.data.max, knots[-1] + target.data.max),
            )
            knots.append(rng.choice([low, high, rng.randint(low, high)]))
        slopes = tuple(right - left for left, right in pairwise(knots))
        tables.append(PiecewiseLinear(formats.z, formats.activation, tuple(knots[:-1]), slopes))
    return tables[0], tables[1]


def random_nest(target: Target, depth: int, address: int, rng: random.Random) -> dict:
    """Lanes innermost; words jump anywhere."""
    lanes = target.columns
    levels = []
    for level in range(depth):
        jump = rng.randint(-(1 << address), (1 << address) - 1)
        lane = 0 if lanes == 1 else 1 if level == 0 else -(lanes - 1)
        count = lanes - 1 if level == 0 else target.hidden if level == depth - 1 else rng.randint(0, 3)
        levels.append({"count": count, "word": jump, "lane": lane})
    return {"word": rng.getrandbits(address), "lane": 0, "levels": levels, "tail": 0, "tail_level": 0}


def walk(nest: dict, count: int, address: int) -> list[tuple[int, int]]:
    word, lane, turns, result = nest["word"], nest["lane"], [0] * len(nest["levels"]), []
    for _ in range(count):
        result.append((word, lane))
        for level, here in enumerate(nest["levels"]):
            if turns[level] < here["count"]:
                turns[level] += 1
                word, lane = (word + here["word"]) % (1 << address), lane + here["lane"]
                break
            turns[level] = 0
    return result


def encode(target: Target, call: Call, rng: random.Random) -> dict:
    w = Widths(target)
    zeros = {name: 0 for name in ("wait", "give", "loop_end", "back", "halt", "chained")}
    return {
        **zeros,
        "op": call.op,
        "first": call.first,
        "last": call.first + call.count - 1,
        "delay": 0,
        "top": int(call.top),
        "z": random_nest(target, target.levels.z, w.result, rng),
        **{gate: rng.getrandbits(w.result) for gate in ("f", "g", "o")},
    }


class Golden:
    """Executes instructions in plain integers."""

    def __init__(self, target: Target, tables, results: np.ndarray):
        self.target, (self.sigmoid, self.tanh), self.results = target, tables, results
        self.hidden, self.cells = np.zeros((2, target.hidden), dtype=np.int64)

    def update(self, z: list[int], c: int) -> tuple[int, int]:
        formats = self.target.gate_formats
        i, f, g, o = (np.int64(value) for value in z)
        total = (self.sigmoid(f) * c << formats.forget_shift) + self.sigmoid(i) * self.tanh(g)
        c = formats.cell.requantise(total, formats.cell_shift)
        t = self.tanh(formats.z.requantise(c, formats.tanh_shift))
        return int(formats.hidden.requantise(self.sigmoid(o) * t, formats.hidden_shift)), int(c)

    def execute(self, call: Call, instruction: dict, state: deque):
        """h writes, c writes and words sent."""
        w = Widths(self.target)
        hidden, cells, sent = [], [], []
        for k, (at, of) in enumerate(walk(instruction["z"], call.count, w.result)):
            u, last = call.first + k, int(k == call.count - 1)
            if call.op is GateOp.EMIT:
                sent.append((OutputKind.LOGIT, last, int(self.results[at, of])))
                continue
            if call.op is GateOp.STEP:
                offsets = (0, instruction["f"], instruction["g"], instruction["o"])
                words = [int(self.results[(at + offset) % (1 << w.result), of]) for offset in offsets]
                h, self.cells[u] = self.update(words, self.cells[u])
                if (call.every_h and call.top) or call.final:
                    sent.append((OutputKind.HIDDEN, last, h))
                if call.final:
                    sent.append((OutputKind.CELL, last, int(self.cells[u])))
            else:
                h, self.cells[u] = (state.popleft(), state.popleft()) if call.initial else (0, 0)
            self.hidden[u] = h
            hidden.append((u, h))
            cells.append((u, int(self.cells[u])))
        return hidden, cells, sent


def check(target: Target, calls: list[Call], seed: int, pauses: float, real: bool = False) -> list[Seen]:
    """Runs instructions back to back and compares everything; returns what was seen."""
    rng = random.Random(seed)
    gate = GateUnit(target)
    formats, data = target.gate_formats, target.data
    if real:
        tables = sigmoid_table(formats.z, formats.activation), tanh_table(formats.z, formats.activation)
    else:
        tables = random_tables(target, rng)

    def value() -> int:
        return rng.choice([data.min, data.max, rng.randint(data.min, data.max), rng.randint(data.min, data.max)])

    results = np.array([[value() for _ in range(target.columns)] for _ in range(1 << Widths(target).result)])
    record = gate_instruction(target)
    program = [encode(target, call, rng) for call in calls]
    supply = [value() for call in calls if call.initial and call.op is GateOp.STATE for _ in range(2 * call.count)]
    waiting = deque([*supply, value()])  # the last word must stay where it is
    sent: list[tuple[int, tuple]] = []
    seen: list[Seen] = []
    starts: list[int] = []
    kept: list[int] = []

    async def bench(ctx):
        cycle, offered, shown = 0, False, None

        async def tick() -> None:
            nonlocal cycle, offered, shown
            if seen:
                # Also between instructions: what comes then belongs to the one before.
                now = cycle - starts[-1] - seen[-1].lost
                if ctx.get(gate.hidden_valid):
                    write = ctx.get(gate.hidden_address), ctx.get(gate.hidden_data)
                    seen[-1].hidden.append((now, write))
                if ctx.get(gate.cell_valid):
                    seen[-1].cell.append((now, (ctx.get(gate.cell_address), ctx.get(gate.cell_data))))
                seen[-1].lost += ctx.get(gate.stalled)
            else:
                assert not ctx.get(gate.hidden_valid) and not ctx.get(gate.cell_valid)
            word = ctx.get(gate.out.payload)
            word = (OutputKind(word.kind), word.last, word.value)
            if ctx.get(gate.out.valid):
                assert shown in (None, word), "a word changed while it waited"
                shown = word
                if ctx.get(gate.out.ready):
                    sent.append((cycle, word))
                    shown = None
            else:
                assert shown is None, "a word was withdrawn"
            if offered and ctx.get(gate.state.ready):
                waiting.popleft()
                offered = False
            address = ctx.get(gate.result_address)
            await ctx.tick()
            cycle += 1
            for lane in range(target.columns):
                ctx.set(gate.result_data[lane], int(results[address, lane]))
            offered = bool(waiting) and (offered or rng.random() >= pauses)
            ctx.set(gate.state.valid, offered)
            ctx.set(gate.state.payload, waiting[0] if offered else value())
            ctx.set(gate.out.ready, rng.random() >= pauses)

        words = table_words(*tables, target.data_width)
        ctx.set(gate.table_fill.enable, 1)
        for address, word in enumerate(words):
            ctx.set(gate.table_fill.address, address)
            for part in range(words_for(table_width(target.data_width))):
                ctx.set(gate.table_fill.part, part)
                ctx.set(gate.table_fill.data, word >> WORD * part & (1 << WORD) - 1)
                await ctx.tick()
        ctx.set(gate.table_fill.enable, 0)
        for call, instruction in zip(calls, program, strict=True):
            for _ in range(call.gap):
                await tick()
            ctx.set(gate.instruction.as_value(), record.pack(instruction))
            ctx.set(gate.final_step, call.final)
            ctx.set(gate.every_h, call.every_h)
            ctx.set(gate.initial, call.initial)
            ctx.set(gate.start, 1)
            starts.append(cycle)
            seen.append(Seen())
            while not ctx.get(gate.done):
                await tick()
                ctx.set(gate.start, 0)
                assert cycle - starts[-1] < 5000, "never done"
            seen[-1].done = cycle - starts[-1] - seen[-1].lost
            await tick()
        before = seen[-1].lost
        for _ in range(QUIET + int(QUIET * 10 * pauses)):
            assert not ctx.get(gate.done)
            await tick()
        assert seen[-1].lost == before, "lost cycles are counted while nothing is executed"
        for unit in range(target.hidden):
            ctx.set(gate.h_address, unit)
            for _ in range(timing.hidden(target)):
                await ctx.tick()
            kept.append(ctx.get(gate.h_data))

    simulator = Simulator(gate)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()

    golden, state, words = Golden(target, tables, results), deque(supply), []
    for call, instruction, got, start in zip(calls, program, seen, starts, strict=True):
        hidden, cells, out = golden.execute(call, instruction, state)
        times = timing.gate(target, call.op, call.count)
        assert got.hidden == list(zip(times.hidden.tolist(), hidden, strict=True))
        assert got.cell == list(zip(times.cell.tolist(), cells, strict=True))
        assert got.done == times.done
        if not pauses and call.op is not GateOp.STATE and got.lost == 0 and out:
            kinds = len(out) // call.count
            exact = [start + int(time) + 3 * kind for time in times.sent for kind in range(kinds)]
            assert [cycle for cycle, _ in sent[len(words) : len(words) + len(out)]] == exact
        words += out
    assert [word for _, word in sent] == words
    assert kept == golden.hidden.tolist()
    assert len(waiting) == 1, f"{len(waiting) - 1} words of state too few were taken"
    return seen


def calls(hidden: int) -> st.SearchStrategy[Call]:
    count = st.one_of(st.integers(1, 4), st.integers(1, hidden), st.just(hidden))
    flag = st.booleans()

    def call(op: GateOp, count: int, first: int, *options) -> Call:
        return Call(op, count, first % (hidden - count + 1), *options)

    return st.builds(
        call, st.sampled_from(GateOp), count, st.integers(0, hidden), flag, flag, flag, flag, st.integers(0, 9)
    )


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=4)
@given(data=st.data(), seed=st.integers(0, 1 << 32), pauses=st.sampled_from([0.0, 0.3, 0.9]))
def test_any_instructions_back_to_back(name, data, seed, pauses):
    target = TARGETS[name]
    check(target, data.draw(st.lists(calls(target.hidden), min_size=1, max_size=6)), seed, pauses)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("pauses", [0.0, 0.85])
def test_a_run(name, pauses):
    """Initial state, three steps, logits, then zero state and again: with pauses on both streams and without."""
    target = TARGETS[name]
    n = target.hidden
    run = [
        Call(GateOp.STATE, n, initial=True),
        Call(GateOp.STEP, n, every_h=True),
        Call(GateOp.STEP, n),
        Call(GateOp.STEP, n, final=True),
        Call(GateOp.EMIT, 5, gap=0),
        Call(GateOp.STATE, n, gap=0),
        Call(GateOp.STEP, n - 1, final=True, every_h=True, gap=0),
    ]
    check(target, run, 1, pauses)


@pytest.mark.parametrize("name", TARGETS)
def test_the_functions_themselves(name):
    """Real tables: sigmoid and tanh."""
    n = TARGETS[name].hidden
    run = [Call(GateOp.STATE, n, initial=True), *[Call(GateOp.STEP, n, every_h=True)] * 3]
    check(TARGETS[name], run, 2, 0.0, real=True)


def test_nothing_is_lost_while_nothing_is_sent():
    """`out` never ready: steps that send nothing take no notice."""
    seen = check(SMALL, [Call(GateOp.STATE, 16), *[Call(GateOp.STEP, 16)] * 2], 3, 1.0)
    assert [instruction.lost for instruction in seen] == [0, 0, 0]


@pytest.mark.parametrize("width", [8, 9, 16, 17])
def test_the_multiplier_in_luts(width):
    rng = random.Random(width)
    low, high = -(1 << width - 1), (1 << width - 1) - 1
    edges = [low, low + 1, -1, 0, 1, high]
    pairs = [(a, b) for a in edges for b in edges]
    pairs += [(rng.randint(low, high), rng.randint(low, high)) for _ in range(500)]
    multiplier = LutMultiplier(width)

    async def bench(ctx):
        for n in range(len(pairs) + timing.MULTIPLY - 1):
            a, b = pairs[min(n, len(pairs) - 1)]
            ctx.set(multiplier.a, a)
            ctx.set(multiplier.b, b)
            await ctx.tick()
            if n >= timing.MULTIPLY - 1:
                a, b = pairs[n - timing.MULTIPLY + 1]
                assert ctx.get(multiplier.o) == a * b

    simulator = Simulator(multiplier)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
