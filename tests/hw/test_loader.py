"""The ways into the memories against small models of what their texts promise: what is written, where and when."""

import random
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import pytest
from amaranth.sim import Simulator
from pipelines import BETWEEN

from fdht.compiler.nest import Loop, encode_nest, walk
from fdht.hw.engine.loader import ImageLoader, InputLoader, InputPacker
from fdht.spec import timing
from fdht.spec.activation import table_width
from fdht.spec.instructions import WORD, LoaderOp, Segment, segment_width, words_for
from fdht.spec.pipeline import COMPACT
from fdht.spec.rounds import NOBODY, Frame
from fdht.spec.target import FRAME_FLAGS, Target

PAUSES = (0.0, 0.5)


def simulate(dut, *benches, background=()) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    for bench in background:
        simulator.add_testbench(bench, background=True)
    simulator.run()


@pytest.mark.parametrize("lanes", [1, 2, 4, 8])
@pytest.mark.parametrize("into", PAUSES)
@pytest.mark.parametrize("out", PAUSES)
def test_the_packer_makes_beats_of_words(lanes, into, out):
    """Every word once and in its lane, with pauses on either side; without any, a word in every cycle."""
    draw = random.Random(lanes)
    dut = InputPacker(Target("test", 2, lanes, input_lanes=lanes))
    words = [draw.randrange(256) for _ in range(20 * lanes)]
    beats, cycles = [], []

    async def source(ctx):
        for word in words:
            while draw.random() < into:
                ctx.set(dut.i.payload, draw.randrange(256))  # means nothing: it is not valid
                await ctx.tick()
            ctx.set(dut.i.payload, word)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def sink(ctx):
        cycle = 0
        while True:
            ctx.set(dut.o.ready, draw.random() >= out)
            _, _, moved, beat = await ctx.tick().sample(dut.o.valid & dut.o.ready, dut.o.payload)
            cycle += 1
            if moved:
                beats.append([int(word) for word in beat])
                cycles.append(cycle)

    simulate(dut, source, background=(sink,))
    assert beats == [words[k : k + lanes] for k in range(0, len(words), lanes)]
    assert bool(into or out) or cycles == list(range(lanes, len(words) + 1, lanes))


@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("shape", [(8, 1), (4, 3)])
def test_the_image_loader_writes_every_word_to_its_place(shape, pause):
    """Blocks for every segment in any order, empty ones too; 16 bits of one memory word per word of the stream."""
    draw = random.Random(shape[0])
    target = Target("test", *shape, factor_width=12, input_lanes=1)
    dut = ImageLoader(target, table_width(target.data_width))
    stream, expected, seen = [], [], []
    segments = [*Segment, *draw.choices(list(Segment), k=10)]
    draw.shuffle(segments)
    for segment in segments:
        address, count = draw.randrange(1 << 12), draw.choice([0, 1, 1, 2, 5])
        stream += [segment, address, count]
        for k in range(count):
            for part in range(words_for(segment_width(target, segment, table_width(target.data_width)))):
                stream.append(draw.randrange(1 << WORD))
                expected.append((1 << segment, address + k, part, stream[-1]))

    async def bench(ctx):
        for word in stream:
            while draw.random() < pause:
                ctx.set(dut.image.payload, draw.randrange(1 << WORD))
                assert not ctx.get(dut.write)
                await ctx.tick()
            ctx.set(dut.image.payload, word)
            ctx.set(dut.image.valid, 1)
            assert ctx.get(dut.image.ready), "always taken"
            if ctx.get(dut.write):
                seen.append(tuple(ctx.get(member) for member in (dut.write, dut.address, dut.part, dut.data)))
            await ctx.tick()
            ctx.set(dut.image.valid, 0)
        assert not ctx.get(dut.write)

    simulate(dut, bench)
    assert seen == expected


TARGETS = {
    "compact": Target("test", 4, 4, pipeline=COMPACT, bank_words=64),
    "compact, 4 lanes": Target("test", 4, 4, pipeline=COMPACT, bank_words=64, input_lanes=4),
    "compact, a column": Target("test", 4, 1, pipeline=COMPACT, bank_words=64),
    "late": Target("test", 4, 3, bank_words=64),
    **{name: Target("test", 4, 3, pipeline=pipeline, bank_words=64) for name, pipeline in BETWEEN.items()},
    "h alone late": Target(
        "test", 4, 2, pipeline=replace(COMPACT, request=1, bank=1, factors=2, hidden=1), bank_words=64
    ),
    "h later": Target(
        "test", 4, 2, pipeline=replace(COMPACT, request=1, bank=1, factors=2, hidden=1, load=1), bank_words=64
    ),
    "late, 4 lanes": Target("test", 4, 4, bank_words=64, input_lanes=4),
    "streams": Target("test", 4, 4, pipeline=COMPACT, bank_words=64, streams=5),
    "streams, late, 4 lanes": Target("test", 4, 4, bank_words=64, input_lanes=4, streams=3),
    "gates": Target("test", 4, 8, pipeline=COMPACT, bank_words=64, streams=7, gates=4),
    **{
        f"gates, {name}": Target("test", 4, 4, pipeline=pipeline, bank_words=64, streams=4, gates=2)
        for name, pipeline in BETWEEN.items()
    },
}

HEADER = {"wait": 0, "give": 0, "loop_end": 0, "back": 0, "halt": 0, "chained": 0, "stream": 0, "condition": 0}
"""Of an instruction, and what it says of streams."""


@dataclass(frozen=True)
class Step:
    """What an instruction does.

    Attributes:
        writes: addresses, masks and lanes.
        wants: cycles in which it takes words, or looks at them.
        admits: of an ADMIT: whether a frame is there, begins and ends a sequence.
        takes: of an ADMIT: it takes the word that it looks at.
    """

    writes: list[tuple[int, int, list[int]]]
    wants: int = 0
    admits: tuple[int, int, int] | None = None
    takes: bool = False


class Frames:
    """Words in front of frames as they come, and what ADMIT makes of them."""

    def __init__(self, target: Target, draw: random.Random):
        self._target, self._draw = target, draw
        self._closed = False
        self.waiting: Frame | None = None  # its word has been sent, and nobody has taken it
        self.admitted = True

    def admit(self, instruction: dict, stream: list[list[int]], last: bool = False) -> Step:
        """An ADMIT of a stream, which this chooses; the last one finds what waits, or a number that is of no stream."""
        draw = self._draw
        instruction["opens"] = int(last or draw.random() < 0.5)
        instruction["stream"] = draw.randrange(self._target.streams)
        if instruction["opens"]:
            self._closed = False
        if self._closed:
            self.admitted = False
            return Step([], admits=(0, 0, 0))
        if self.waiting is None:
            found = draw.choice([instruction["stream"], draw.randrange(self._target.streams)])
            if last:
                found = instruction["stream"] + (1 << self._target.input_width - FRAME_FLAGS - 1)
            self.waiting = Frame(found, *(draw.random() < 0.5 for _ in range(3)))
            if draw.random() < 0.3 and not last:
                self.waiting = NOBODY
            others = [draw.randrange(1 << self._target.input_width) for _ in range(self._target.input_lanes - 1)]
            stream.append([self.waiting.word & (1 << self._target.input_width) - 1, *others])
        elif last or draw.random() < 0.5:
            instruction["stream"] = self.waiting.stream
        frame = self.waiting
        if frame == NOBODY:
            self.waiting, self._closed, self.admitted = None, True, False
            return Step([], 1, (0, 0, 0), takes=True)
        self.admitted = frame.stream == instruction["stream"]
        if not self.admitted:
            return Step([], 1, (0, 0, 0))
        self.waiting, self._closed = None, frame.closes
        return Step([], 1, (1, int(frame.begins), int(frame.ends)), takes=True)


def random_instruction(rng: np.random.Generator, target: Target, op: LoaderOp, flush: bool) -> dict:
    """One that visits lanes or, of whole words, words; `flush` makes it a frame's last."""
    lanes, whole = target.columns, op in (LoaderOp.ZERO, LoaderOp.CLEAR)
    together = op is LoaderOp.COPY and target.gates > 1 and rng.random() < 0.6
    beats = op is LoaderOp.LOAD and target.input_lanes > 1 and rng.random() < 0.5
    loops = [Loop(int(rng.integers(1, 6)), {"word": int(rng.integers(1, 7)), "lane": 0}) for _ in range(2)]
    lane = int(rng.integers(0, lanes - target.gates + 1)) if together else 0
    visited = (lanes - lane) // target.gates if together else lanes
    if lanes > 1 and not (whole or beats):
        stride = target.gates if together else 1
        loops.insert(int(rng.integers(0, 3)), Loop(visited, {"word": 0, "lane": stride}, fixed=True))
    nest = encode_nest(loops, {"word": int(rng.integers(0, 100)), "lane": lane}, target.levels.x)
    count = int(rng.integers(1, 1 + np.prod([loop.count for loop in loops])))
    first = int(rng.integers(0, 50))
    if op is LoaderOp.COPY:
        count = min(count, target.hidden // target.gates - first)  # units that there are
    if op is LoaderOp.LOAD and not beats and not flush:
        count = max(1, count // target.input_lanes) * target.input_lanes  # it ends with a beat
        count = min(count, int(np.prod([loop.count for loop in loops])))
        if count % target.input_lanes:
            flush = True
    signed = bool(rng.integers(2))
    stream = int(rng.integers(0, target.streams)) if target.streams > 1 else 0
    return HEADER | {
        "op": op,
        "opens": int(op is LoaderOp.COPY and target.streams > 1 and rng.random() < 0.5),
        "together": int(together),
        "stream": stream - stream % target.gates if together else stream,
        "first": first,
        "count": count - 1,
        "whole": int(beats),
        "flush": int(flush and target.input_lanes > 1),
        "offset": int(rng.integers(-100, 100)),
        "signed": int(signed),
        "shift": int(rng.integers(0, 7)),
        "nest": nest,
    }


@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_loader_places_inputs_and_states(target, pause):
    """Random instructions one after the other: every write, the cycle of each and of `done`, what is taken of the
    stream and when it starves.
    """
    rng, draw = np.random.default_rng(7), random.Random(7)
    several = target.streams > 1
    ops = [op for op in LoaderOp if several or op is not LoaderOp.ADMIT] * 8
    ops += [LoaderOp.ADMIT, LoaderOp.ADMIT, LoaderOp.LOAD] * (12 if several else 0)
    draw.shuffle(ops)
    ops += [LoaderOp.ADMIT] if several else []
    instructions = [random_instruction(rng, target, op, bool(rng.integers(2))) for op in ops]
    keeps = [draw.random() < 0.5 for _ in ops]
    states = rng.integers(target.data.min, target.data.max, (target.gates, 256)).tolist()
    fresh = [[draw.randrange(2) for _ in range(target.gates)] for _ in ops]
    assert {i["op"] for i, keep in zip(instructions, keeps, strict=True) if keep} == set(ops)

    stream: list[list[int]] = []  # beats
    frames, begins, expected = Frames(target, draw), [False] * len(ops), list[Step]()
    for k, (instruction, keep) in enumerate(zip(instructions, keeps, strict=True)):
        op, count = instruction["op"], instruction["count"] + 1
        if op is LoaderOp.LOAD and not frames.admitted and frames.waiting is None:
            begins[k] = frames.admitted = bool(draw.randrange(2))  # another run
        nest = walk(instruction["nest"], count)
        everywhere = (1 << target.columns) - 1
        writes = []
        if op is LoaderOp.ADMIT:
            expected.append(frames.admit(instruction, stream, k == len(ops) - 1))
            continue
        if op is LoaderOp.COPY:
            writes = list(copied(instruction, nest, states, fresh[k], target))
        elif op is not LoaderOp.LOAD:
            if not (keep and op is LoaderOp.ZERO):
                writes = [(word, everywhere, [0] * target.columns) for word in nest["word"]]
        elif frames.admitted:
            beats = count if instruction["whole"] else -(-count // target.input_lanes)
            taken = rng.integers(0, 1 << target.input_width, (beats, target.input_lanes)).tolist()
            stream += taken
            wide = [[widened(raw, instruction, target) for raw in beat] for beat in taken]
            if instruction["whole"]:
                writes = [(word, everywhere, beat) for word, beat in zip(nest["word"], wide, strict=True)]
            else:
                flat = [value for beat in wide for value in beat][:count]
                writes = [(w, 1 << lane, [v] * target.columns) for w, lane, v in zip(*nest.values(), flat, strict=True)]
        expected.append(Step(writes, count if op is LoaderOp.LOAD and writes else 0))

    dut = InputLoader(target)
    given = deque(stream)
    seen: list[list] = [[] for _ in instructions]
    counts = {"starved": 0, "taken": 0}

    async def bench(ctx):
        asked = deque([0] * timing.hidden(target))
        now, current, started, left, done_at, looked_at = 0, -1, 0, 0, 0, 0
        admitted: list[tuple[int, ...]] = []

        async def cycle():
            nonlocal now, left, done_at, looked_at
            asked.append(ctx.get(dut.h_address))
            unit = asked.popleft() % 256
            h = [each[unit] for each in states]
            ctx.set(dut.h_data, h if target.gates > 1 else h[0])
            valid = bool(given) and draw.random() >= pause
            ctx.set(dut.x.valid, valid)
            ctx.set(dut.x.payload, given[0] if valid else [draw.randrange(256)] * target.input_lanes)
            wants = left > 0 and now - started >= timing.TAKEN
            assert ctx.get(dut.starved) == (wants and not valid)
            counts["starved"] += wants and not valid
            assert not ctx.get(dut.x.ready) or wants
            if wants and valid:
                left -= 1
                looked_at = now
                assert expected[current].admits is None or ctx.get(dut.x.ready) == expected[current].takes
                if ctx.get(dut.x.ready):
                    given.popleft()
                    counts["taken"] += 1
            if ctx.get(dut.write_valid):
                mask = ctx.get(dut.write_mask)
                lanes = [ctx.get(dut.write_data[lane]) for lane in range(target.columns)]
                seen[current].append((now - started, ctx.get(dut.write_address), mask, lanes))
            if ctx.get(dut.done):
                done_at = now
            if several:
                opens = now == started and current >= 0 and instructions[current]["opens"]
                assert ctx.get(dut.opens) == (opens and instructions[current]["op"] == LoaderOp.COPY)
                if ctx.get(dut.admits):
                    admitted.append(tuple(ctx.get(dut.frame[name]) for name in ("present", "begins", "ends")))
            await ctx.tick()
            now += 1

        for current, instruction in enumerate(instructions):
            if begins[current]:
                ctx.set(dut.begin, 1)
                started = now + 1
                await cycle()
                ctx.set(dut.begin, 0)
            started, left, done_at = now, expected[current].wants, 0
            looked_at = started + timing.TAKEN
            known = {name: instruction[name] for name, _ in dut.instruction.shape()}
            ctx.set(dut.instruction, {name: int(v) if name != "nest" else v for name, v in known.items()})
            ctx.set(dut.keep, keeps[current])
            ctx.set(dut.start, 1)
            if several:
                ctx.set(dut.fresh, sum(bit << k for k, bit in enumerate(fresh[current])))
            await cycle()
            ctx.set(dut.start, 0)
            while not done_at:
                await cycle()
                assert now - started < 2000, "never done"
            writes, op = seen[current], instruction["op"]
            lanes = [
                [lane if mask >> k & 1 else None for k, lane in enumerate(written)] for *_, mask, written in writes
            ]
            assert [(at, mask) for _, at, mask, _ in writes] == [(at, mask) for at, mask, _ in expected[current].writes]
            assert lanes == [
                [lane if mask >> k & 1 else None for k, lane in enumerate(written)]
                for _, mask, written in expected[current].writes
            ]
            if op is LoaderOp.ADMIT:
                assert done_at - looked_at == timing.ADMITTED - timing.TAKEN
                continue
            if not writes:
                assert done_at - started == timing.KEPT
                continue
            assert done_at - started == writes[-1][0] + timing.DONE
            if not (pause and op is LoaderOp.LOAD):
                first = timing.copy(target) if op is LoaderOp.COPY else timing.load(target)
                assert [cycle for cycle, *_ in writes] == list(range(first, first + len(writes)))
        for _ in range(20):
            await cycle()
        assert admitted == [step.admits for step in expected if step.admits is not None]

    simulate(dut, bench)
    assert counts["taken"] == len(stream) - len(given) and len(given) == (frames.waiting is not None)
    assert (counts["starved"] > 10) == bool(pause)
    assert [len(writes) for writes in seen] == [len(step.writes) for step in expected], "none too many"
    if several:
        admits = [step for step in expected if step.admits is not None]
        assert any(step.takes and not any(step.admits) for step in admits if step.admits)
        assert all(
            kind in {(step.wants, step.takes) for step in admits} for kind in ((0, False), (1, False), (1, True))
        )
        assert any(i["op"] is LoaderOp.LOAD and not s.wants for i, s in zip(instructions, expected, strict=True))


def copied(instruction: dict, nest: dict, states: list[list[int]], fresh: list[int], target: Target):
    """Writes of a COPY: zeros in the place of h where a sequence begins."""
    of = range(target.gates) if instruction["together"] else [instruction["stream"] % target.gates]
    for k, (word, lane) in enumerate(zip(nest["word"], nest["lane"], strict=True)):
        h = [0 if instruction["opens"] and fresh[gate] else states[gate][instruction["first"] + k] for gate in of]
        lanes = [0] * target.columns
        lanes[lane : lane + len(h)] = h
        yield word, ((1 << len(h)) - 1) << lane, lanes


def widened(raw: int, instruction: dict, target: Target) -> int:
    """A raw word as a data word: see fdht.spec.instructions.loader_instruction."""
    if instruction["signed"] and raw >> target.input_width - 1:
        raw -= 1 << target.input_width
    value = (raw - instruction["offset"]) << instruction["shift"]
    assert target.data.min <= value <= target.data.max
    return value


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_an_image_fills_single_lanes_through_the_loader(target):
    dut, draw = InputLoader(target), random.Random(9)
    given = [(draw.randrange(256), draw.randrange(target.columns), draw.randrange(1 << WORD)) for _ in range(40)]
    seen = []

    async def bench(ctx):
        for entry in [*given, None]:
            ctx.set(dut.fill.enable, entry is not None)
            if entry is not None:
                for member, value in zip(("address", "part", "data"), entry, strict=True):
                    ctx.set(getattr(dut.fill, member), value)
            await ctx.tick()
            if ctx.get(dut.write_valid):
                lane = ctx.get(dut.write_mask).bit_length() - 1
                assert ctx.get(dut.write_mask) == 1 << lane
                word = ctx.get(dut.write_data[lane]) & (1 << WORD) - 1
                seen.append((ctx.get(dut.write_address), lane, word))

    simulate(dut, bench)
    assert seen == given
