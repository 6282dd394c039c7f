"""The gate unit against fdht.spec.activation, fdht.spec.formats and fdht.spec.timing: exact values in exact cycles."""

import random
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise, product

import numpy as np
import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st
from pipelines import BETWEEN

from fdht.hw.engine.gate_unit import GateUnit
from fdht.hw.technology import LutMultiplier
from fdht.spec import timing
from fdht.spec.activation import SEGMENTS, PiecewiseLinear, sigmoid_table, table_width, table_words, tanh_table
from fdht.spec.errors import SpecError
from fdht.spec.fixed import Fixed
from fdht.spec.formats import GateFormats
from fdht.spec.gate_schedule import BEAT, DIRECT, MULTIPLY, REGISTERED, GateSchedule
from fdht.spec.instructions import WORD, Condition, GateOp, Widths, gate_instruction, words_for
from fdht.spec.pipeline import COMPACT
from fdht.spec.protocol import OutputKind
from fdht.spec.target import Build, Levels, Target, Technology

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
    "1x16 in luts": replace(SMALL, build=Build(Technology.ICE40), pipeline=COMPACT, accumulator_width=32),
    **{f"2x16, {name}": replace(SMALL, columns=2, pipeline=pipeline) for name, pipeline in BETWEEN.items()},
    "odd": OddFormats(
        "odd", rows=2, columns=2, data_width=13, bank_words=32, result_words=64, hidden=16, levels=Levels.each(3)
    ),
    "streams": replace(SMALL, columns=2, streams=5, pipeline=COMPACT),
    "2 gates": replace(SMALL, columns=6, streams=6, gates=2),
    "4 gates": replace(SMALL, columns=4, streams=4, gates=4, hidden=32, pipeline=COMPACT),
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
    frames: tuple[tuple[bool, bool, bool], ...] = ()
    """On the condition that streams are present: of each of a group, if it is, and if a sequence begins and ends."""


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


def random_nest(target: Target, lanes: int, depth: int, address: int, rng: random.Random) -> dict:
    """Lanes innermost; words jump anywhere."""
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
    conditional = bool(call.frames)
    return {
        **zeros,
        "stream": 0,
        "condition": Condition.PRESENT if conditional else Condition.ALWAYS,
        "op": call.op,
        "first": call.first,
        "last": call.first + call.count - 1,
        "delay": 0,
        "top": int(call.top),
        "z": random_nest(target, target.columns - conditional * (target.gates - 1), target.levels.z, w.result, rng),
        **{gate: rng.getrandbits(w.result) for gate in ("f", "g", "o")},
    }


class Golden:
    """Executes instructions in plain integers."""

    def __init__(self, target: Target, tables, results: np.ndarray):
        self.target, (self.sigmoid, self.tanh), self.results = target, tables, results
        self.hidden, self.cells = np.zeros((2, target.gates, target.hidden // target.gates), dtype=np.int64)

    def update(self, z: list[int], c: int) -> tuple[int, int]:
        formats = self.target.gate_formats
        i, f, g, o = (np.int64(value) for value in z)
        total = (self.sigmoid(f) * c << formats.forget_shift) + self.sigmoid(i) * self.tanh(g)
        c = formats.cell.requantise(total, formats.cell_shift)
        t = self.tanh(formats.z.requantise(c, formats.tanh_shift))
        return int(formats.hidden.requantise(self.sigmoid(o) * t, formats.hidden_shift)), int(c)

    def execute(self, call: Call, instruction: dict, state: deque):
        """h writes and c writes, lane by lane with None where nothing is written, and words sent."""
        w = Widths(self.target)
        hidden, cells, sent = [], [], []
        lanes = range(self.target.gates)
        final, every_h = call.final, call.every_h and call.top
        written = set(lanes) if call.op is GateOp.STATE else {0}
        if call.frames:
            written = {lane for lane in lanes if call.frames[lane][0]}
            final = call.frames[0][2] and call.top
        for k, (at, of) in enumerate(walk(instruction["z"], call.count, w.result)):
            u, last = call.first + k, int(k == call.count - 1)
            if call.op is GateOp.EMIT:
                sent.append((OutputKind.LOGIT, last, int(self.results[at, of])))
                continue
            for lane in written:
                if call.op is GateOp.STEP:
                    offsets = (0, instruction["f"], instruction["g"], instruction["o"])
                    words = [int(self.results[(at + offset) % (1 << w.result), of + lane]) for offset in offsets]
                    before = 0 if call.frames and call.frames[lane][1] else self.cells[lane, u]
                    h, c = self.update(words, before)
                else:
                    h, c = (state.popleft(), state.popleft()) if call.initial and lane == 0 else (0, 0)
                self.hidden[lane, u], self.cells[lane, u] = h, c
            if call.op is GateOp.STEP and (every_h or final):
                sent.append((OutputKind.HIDDEN, last, int(self.hidden[0, u])))
            if call.op is GateOp.STEP and final:
                sent.append((OutputKind.CELL, last, int(self.cells[0, u])))
            for writes, values in ((hidden, self.hidden), (cells, self.cells)):
                writes.append((u, tuple(int(values[lane, u]) if lane in written else None for lane in lanes)))
        return hidden, cells, sent


class Bench:
    """A gate unit that executes instructions back to back, its streams pausing at random, and what is seen of it.

    Args:
        calls: the instructions.
        seed: of tables, results, states and pauses.
        pauses: share of the cycles in which a stream pauses.
        real: sigmoid and tanh in the tables, in the place of random ones.
    """

    def __init__(self, target: Target, calls: list[Call], seed: int, pauses: float, real: bool):
        self.target, self.calls, self.pauses = target, calls, pauses
        self.rng = random.Random(seed)
        self.gate = GateUnit(target)
        formats = target.gate_formats
        if real:
            self.tables = sigmoid_table(formats.z, formats.activation), tanh_table(formats.z, formats.activation)
        else:
            self.tables = random_tables(target, self.rng)
        words = 1 << Widths(target).result
        self.results = np.array([[self.value() for _ in range(target.columns)] for _ in range(words)])
        self.program = [encode(target, call, self.rng) for call in calls]
        states = sum(2 * call.count for call in calls if call.initial and call.op is GateOp.STATE)
        self.supply = [self.value() for _ in range(states)]
        self.waiting = deque([*self.supply, self.value()])  # the last word must stay where it is
        self.cycle = 0
        self.offered = False
        self.shown: tuple | None = None  # the word on `out` that waits
        self.sent: list[tuple[int, tuple]] = []
        self.seen: list[Seen] = []
        self.starts: list[int] = []
        self.kept: list[list[int]] = [[] for _ in range(target.gates)]
        self.kept_for_head: list[list[int]] = [[] for _ in range(target.gates)]

    def value(self) -> int:
        """Any number of the data format; the lowest and the highest often."""
        data = self.target.data
        return self.rng.choice(
            [data.min, data.max, self.rng.randint(data.min, data.max), self.rng.randint(data.min, data.max)]
        )

    async def run(self, ctx) -> None:
        """All of it: tables, instructions, a quiet time, and h of every unit."""
        await self.fill_tables(ctx)
        for call, instruction in zip(self.calls, self.program, strict=True):
            for _ in range(call.gap):
                await self.tick(ctx)
            await self.execute(ctx, call, instruction)
        before = self.seen[-1].lost
        for _ in range(QUIET + int(QUIET * 10 * self.pauses)):
            assert not ctx.get(self.gate.done)
            await self.tick(ctx)
        assert self.seen[-1].lost == before, "lost cycles are counted while nothing is executed"
        await self.read_hidden(ctx)

    async def fill_tables(self, ctx) -> None:
        fill, width = self.gate.table_fill, self.target.data_width
        ctx.set(fill.enable, 1)
        for address, word in enumerate(table_words(*self.tables, width)):
            ctx.set(fill.address, address)
            for part in range(words_for(table_width(width))):
                ctx.set(fill.part, part)
                ctx.set(fill.data, word >> WORD * part & (1 << WORD) - 1)
                await ctx.tick()
        ctx.set(fill.enable, 0)

    async def execute(self, ctx, call: Call, instruction: dict) -> None:
        """One instruction, from `start` to the cycle after `done`."""
        gate = self.gate
        ctx.set(gate.instruction.as_value(), gate_instruction(self.target).pack(instruction))
        ctx.set(gate.final_step, call.final)
        ctx.set(gate.every_h, call.every_h)
        ctx.set(gate.initial, call.initial)
        self.know(ctx, call.frames)
        ctx.set(gate.start, 1)
        self.starts.append(self.cycle)
        self.seen.append(Seen())
        while not ctx.get(gate.done):
            await self.tick(ctx)
            ctx.set(gate.start, 0)
            self.know(ctx)
            assert self.cycle - self.starts[-1] < 5000, "never done"
        self.seen[-1].done = self.cycle - self.starts[-1] - self.seen[-1].lost
        await self.tick(ctx)

    def know(self, ctx, frames: tuple = ()) -> None:
        """What is said of the streams; anything, when nobody looks."""
        if self.target.streams > 1:
            frames = frames or tuple([self.rng.random() < 0.5 for _ in range(3)] for _ in range(self.target.gates))
            for lane, frame in enumerate(frames):
                for name, value in zip(("present", "begins", "ends"), frame, strict=True):
                    ctx.set(self.gate.frames[lane][name], value)

    async def read_hidden(self, ctx) -> None:
        units = self.target.hidden // self.target.gates
        for unit in range(units):
            ctx.set(self.gate.h_address, unit)
            for lane, kept in enumerate(self.kept_for_head):
                if self.target.streams > 1:  # while h of another is read
                    ctx.set(self.gate.head_address, units - 1 - unit)
                    if self.target.gates > 1:
                        ctx.set(self.gate.head_lane, lane)
                for _ in range(timing.hidden(self.target)):
                    await ctx.tick()
                if self.target.streams > 1:
                    kept.insert(0, ctx.get(self.gate.head_data))
            for lane, value in enumerate(self.lanes(ctx, self.gate.h_data)):
                self.kept[lane].append(value)

    def lanes(self, ctx, values) -> list[int]:
        """A value of each of the gates that are computed side by side."""
        gates = self.target.gates
        return [ctx.get(values)] if gates == 1 else [ctx.get(values[lane]) for lane in range(gates)]

    def written(self, ctx, name: str) -> tuple[int | None, ...]:
        """Of each of them, what is written of `hidden` or `cell`."""
        mask = ctx.get(getattr(self.gate, f"{name}_mask")) if self.target.gates > 1 else 1
        values = self.lanes(ctx, getattr(self.gate, f"{name}_data"))
        return tuple(value if mask >> lane & 1 else None for lane, value in enumerate(values))

    async def tick(self, ctx) -> None:
        """A cycle: what is seen in it, and what the memory and the streams bring in the next."""
        self.watch_writes(ctx)
        self.watch_output(ctx)
        gate = self.gate
        if self.offered and ctx.get(gate.state.ready):
            self.waiting.popleft()
            self.offered = False
        address = ctx.get(gate.result_address)
        await ctx.tick()
        self.cycle += 1
        for lane in range(self.target.columns):
            ctx.set(gate.result_data[lane], int(self.results[address, lane]))
        self.offered = bool(self.waiting) and (self.offered or self.rng.random() >= self.pauses)
        ctx.set(gate.state.valid, self.offered)
        ctx.set(gate.state.payload, self.waiting[0] if self.offered else self.value())
        ctx.set(gate.out.ready, self.rng.random() >= self.pauses)

    def watch_writes(self, ctx) -> None:
        """Also between instructions: what comes then belongs to the one before."""
        gate = self.gate
        if not self.seen:
            assert not ctx.get(gate.hidden_valid) and not ctx.get(gate.cell_valid)
            return
        seen = self.seen[-1]
        now = self.cycle - self.starts[-1] - seen.lost
        if ctx.get(gate.hidden_valid):
            seen.hidden.append((now, (ctx.get(gate.hidden_address), self.written(ctx, "hidden"))))
        if ctx.get(gate.cell_valid):
            seen.cell.append((now, (ctx.get(gate.cell_address), self.written(ctx, "cell"))))
        seen.lost += ctx.get(gate.stalled)

    def watch_output(self, ctx) -> None:
        out = self.gate.out
        payload = ctx.get(out.payload)
        word = (OutputKind(payload.kind), payload.last, payload.value)
        if ctx.get(out.valid):
            assert self.shown in (None, word), "a word changed while it waited"
            self.shown = word
            if ctx.get(out.ready):
                self.sent.append((self.cycle, word))
                self.shown = None
        else:
            assert self.shown is None, "a word was withdrawn"

    def compare(self) -> None:
        """Everything that was seen, with the golden values in the cycles that fdht.spec.timing gives."""
        golden, state, words = Golden(self.target, self.tables, self.results), deque(self.supply), []
        for call, instruction, got, start in zip(self.calls, self.program, self.seen, self.starts, strict=True):
            hidden, cells, out = golden.execute(call, instruction, state)
            times = timing.gate(self.target, call.op, call.count)
            assert got.hidden == list(zip(times.hidden.tolist(), hidden, strict=True))
            assert got.cell == list(zip(times.cell.tolist(), cells, strict=True))
            assert got.done == times.done
            if not self.pauses and call.op is not GateOp.STATE and got.lost == 0 and out:
                kinds = len(out) // call.count
                exact = [start + int(time) + 3 * kind for time in times.sent for kind in range(kinds)]
                assert [cycle for cycle, _ in self.sent[len(words) : len(words) + len(out)]] == exact
            words += out
        assert [word for _, word in self.sent] == words
        assert self.kept == golden.hidden.tolist()
        assert self.target.streams == 1 or self.kept_for_head == golden.hidden.tolist()
        assert len(self.waiting) == 1, f"{len(self.waiting) - 1} words of state too few were taken"


def check(target: Target, calls: list[Call], seed: int, pauses: float, real: bool = False) -> list[Seen]:
    """Runs instructions back to back and compares everything; returns what was seen."""
    bench = Bench(target, calls, seed, pauses, real)
    simulator = Simulator(bench.gate)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench.run)
    simulator.run()
    bench.compare()
    return bench.seen


def calls(target: Target) -> st.SearchStrategy[Call]:
    hidden = target.hidden // target.gates
    count = st.one_of(st.integers(1, 4), st.integers(1, hidden), st.just(hidden))
    flag = st.booleans()

    def call(op: GateOp, count: int, first: int, frames: list, top: bool, *options) -> Call:
        present = any(frame[0] for frame in frames) and op is GateOp.STEP and target.streams > 1
        top = top and not (present and target.gates > 1)  # of several gates none sends anything
        return Call(op, count, first % (hidden - count + 1), top, *options, frames=tuple(frames) if present else ())

    frames = st.lists(st.tuples(flag, flag, flag), min_size=target.gates, max_size=target.gates)
    return st.builds(
        call, st.sampled_from(GateOp), count, st.integers(0, hidden), frames, flag, flag, flag, flag, st.integers(1, 9)
    )


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=4)
@given(data=st.data(), seed=st.integers(0, 1 << 32), pauses=st.sampled_from([0.0, 0.3, 0.9]))
def test_any_instructions_back_to_back(name, data, seed, pauses):
    target = TARGETS[name]
    check(target, data.draw(st.lists(calls(target), min_size=1, max_size=6)), seed, pauses)


def schedules() -> list[GateSchedule]:
    """Those that the rules accept of registers anywhere in the slots of either preset."""
    accepted = []
    places = product((0, 2), (0, 1), (0, 1, 2), (0, 1), (0, 1), (False, True))
    for (address, *registers), base, step, logit in product(places, (DIRECT, REGISTERED), range(BEAT), range(BEAT)):
        with suppress(SpecError):
            accepted.append(GateSchedule(base.slots, step, logit, address, *registers))
    return accepted


@pytest.mark.parametrize("count", [6, pytest.param(120, marks=pytest.mark.slow)])
def test_a_schedule_that_is_accepted_works(count):
    """In exact cycles, with pauses and without."""
    draw, accepted = random.Random(count), schedules()
    assert len(accepted) > 100 and DIRECT in accepted and REGISTERED in accepted
    for schedule in draw.sample(accepted, count):
        target = replace(SMALL, columns=2, hidden=6, pipeline=replace(COMPACT, gate=schedule))
        steps = [Call(GateOp.STEP, 6, every_h=True), Call(GateOp.STEP, 6), Call(GateOp.EMIT, 5)]
        run = [Call(GateOp.STATE, 6, initial=True), *steps, Call(GateOp.STEP, 6, final=True)]
        run += [Call(GateOp.EMIT, 1), Call(GateOp.EMIT, 4), Call(GateOp.STEP, 1, final=True)]
        for pauses in (0.0, 0.85):
            check(target, run, draw.randrange(1 << 16), pauses)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("pauses", [0.0, 0.85])
def test_a_run(name, pauses):
    """Initial state, three steps, logits, then zero state and again: with pauses on both streams and without."""
    target = TARGETS[name]
    n = target.hidden // target.gates
    run = [
        Call(GateOp.STATE, n, initial=True),
        Call(GateOp.STEP, n, every_h=True),
        Call(GateOp.STEP, n),
        Call(GateOp.STEP, n, final=True),
        Call(GateOp.EMIT, 5),
        Call(GateOp.STATE, n),
        Call(GateOp.STEP, n - 1, final=True, every_h=True),
    ]
    check(target, run, 1, pauses)


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.streams > 1])
@pytest.mark.parametrize("pauses", [0.0, 0.85])
def test_streams_come_and_go(name, pauses):
    """Present, new, at their end; sent only of the top layer, h and c at the end. What is said later is ignored."""
    target, draw = TARGETS[name], random.Random(4)
    n, flags = target.hidden // target.gates, (False, True)
    options = [frame for frame in product(flags, repeat=3) if frame[0] or target.gates > 1]
    run = [Call(GateOp.STATE, n, initial=True)]
    asked = list(product(flags, flags)) if target.gates == 1 else [(False, True)]  # several gates send nothing
    for first, (top, every_h) in product(options, asked):
        frames = [first, *(draw.choice(options) for _ in range(target.gates - 1))]
        frames[-1] = (True, *frames[-1][1:])
        run.append(Call(GateOp.STEP, 3, 1, top, draw.random() < 0.5, every_h, frames=tuple(frames)))
        run.append(Call(GateOp.EMIT, 2))
    check(target, [*run, Call(GateOp.STATE, n), run[-2]], 5, pauses)


@pytest.mark.parametrize("name", TARGETS)
def test_the_functions_themselves(name):
    """Real tables: sigmoid and tanh."""
    n = TARGETS[name].hidden // TARGETS[name].gates
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
        for n in range(len(pairs) + MULTIPLY - 1):
            a, b = pairs[min(n, len(pairs) - 1)]
            ctx.set(multiplier.a, a)
            ctx.set(multiplier.b, b)
            await ctx.tick()
            if n >= MULTIPLY - 1:
                a, b = pairs[n - MULTIPLY + 1]
                assert ctx.get(multiplier.o) == a * b

    simulator = Simulator(multiplier)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
