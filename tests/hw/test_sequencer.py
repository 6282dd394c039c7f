"""The three sequencers and their tokens against the schedule that the compiler predicts, cycle by cycle."""

import random
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import pytest
from amaranth.hdl import Module, Value
from amaranth.lib.wiring import In
from amaranth.sim import Simulator
from pipelines import BETWEEN

from fdht.compiler.schedule import Fields, schedule
from fdht.hw.component import Component
from fdht.hw.engine.sequencer import Sequencer, TokenCounters
from fdht.spec import timing
from fdht.spec.instructions import UNITS, Condition, GateOp, LoaderOp, Segment, Token
from fdht.spec.pipeline import COMPACT
from fdht.spec.target import Levels, Target

TARGETS = {
    "compact": Target("test", 2, 2, pipeline=COMPACT, levels=Levels.each(1), program_words=512),
    **{
        name: Target("test", 2, 2, pipeline=pipeline, levels=Levels.each(1), program_words=512)
        for name, pipeline in BETWEEN.items()
    },
    "pipelined": Target("test", 2, 2, levels=Levels.each(1), program_words=512),
    "streams, compact": Target("test", 2, 2, pipeline=COMPACT, levels=Levels.each(1), program_words=512, streams=4),
    "streams": Target("test", 2, 2, levels=Levels.each(1), program_words=512, streams=4),
    "gates": Target("test", 2, 2, levels=Levels.each(1), program_words=512, streams=8, gates=2),
}

OPS = [LoaderOp.LOAD, LoaderOp.ZERO, LoaderOp.COPY, LoaderOp.CLEAR]
"""Those that are of engines for one sequence too, and take as long whatever comes."""

GIVES = {
    Token.X_FREE: Segment.ARRAY_PROGRAM,
    Token.X_READY: Segment.LOADER_PROGRAM,
    Token.Z_READY: Segment.ARRAY_PROGRAM,
    Token.H_DONE: Segment.GATE_PROGRAM,
    Token.H_READY: Segment.LOADER_PROGRAM,
    Token.LOGITS_READY: Segment.ARRAY_PROGRAM,
}
TAKES = {
    Token.X_FREE: Segment.LOADER_PROGRAM,
    Token.X_READY: Segment.ARRAY_PROGRAM,
    Token.Z_READY: Segment.GATE_PROGRAM,
    Token.H_DONE: Segment.LOADER_PROGRAM,
    Token.H_READY: Segment.ARRAY_PROGRAM,
    Token.LOGITS_READY: Segment.GATE_PROGRAM,
}


@dataclass(frozen=True)
class Span:
    """Cycles from `start` to `issued` and `done`."""

    issued: int
    done: int


class Streams:
    """What is known of the streams, the same all through a run, in the place of fdht.compiler.schedule.Attendance."""

    def __init__(self, target: Target, draw: random.Random):
        self._gates = target.gates
        self.known = {name: draw.getrandbits(target.streams) for name in ("present", "stepped", "ended")}

    def takes_part(self, unit: Segment, step: int, fields: Fields) -> dict | None:
        del step
        stream, condition = fields["stream"], fields["condition"]
        if unit is Segment.LOADER_PROGRAM or condition == Condition.ALWAYS:
            return {}
        if condition == Condition.PRESENT:
            met = self.known["present"] >> stream - stream % self._gates & (1 << self._gates) - 1
        else:
            met = self.known[{Condition.STEPPED: "stepped", Condition.ENDED: "ended"}[condition]] >> stream & 1
        return {} if met else None


class Sequencers(Component):
    """The sequencers of the three units, around their tokens."""

    def __init__(self, target: Target):
        self._target = target
        self.units = {
            unit: Sequencer(target, record(target), conditional=unit is not Segment.LOADER_PROGRAM)
            for unit, record in UNITS.items()
        }
        super().__init__({"run": In(1), "steps": In(16)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.tokens = tokens = TokenCounters(self._target, len(self.units))
        m.d.comb += tokens.clear.eq(self.run)
        for k, (unit, sequencer) in enumerate(self.units.items()):
            m.submodules[unit.name.lower()] = sequencer
            m.d.comb += [
                sequencer.run.eq(self.run),
                sequencer.steps.eq(self.steps),
                sequencer.available.eq(tokens.available),
                tokens.gives[k].eq(sequencer.give),
                tokens.takes[k].eq(sequencer.take),
            ]
        return m


def random_programs(draw: random.Random, target: Target) -> dict[Segment, list[dict]]:
    """Instructions before, in and after the loop. They wait only for what others have given earlier in one order of
    all, so that no two wait for each other.
    """
    programs: dict[Segment, list[dict]] = {unit: [] for unit in UNITS}
    before, body, after = (
        {unit: draw.randrange(low, high) for unit in UNITS} for low, high in ((0, 3), (1, 5), (0, 3))
    )
    for part in (before, body, after):
        given: Counter[Token] = Counter()
        order = draw.sample([unit for unit, count in part.items() for _ in range(count)], sum(part.values()))
        for unit in order:
            record = UNITS[unit](target)
            fields = record.unpack(draw.getrandbits(record.bits))
            waits = [t for t in Token if TAKES[t] is unit and given[t] and draw.random() < 0.7]
            gives = [t for t in Token if GIVES[t] is unit and given[t] < 3 and draw.random() < 0.6]
            given.subtract(waits)
            given.update(gives)
            fields |= {"wait": sum(1 << t for t in waits), "give": sum(1 << t for t in gives), "loop_end": 0, "halt": 0}
            if unit is Segment.LOADER_PROGRAM or draw.random() < 0.6:
                fields |= {"condition": 0}
            fields |= {
                "chained": draw.randrange(2) if unit is Segment.ARRAY_PROGRAM and target.pipeline.prefetch else 0
            }
            if unit is Segment.ARRAY_PROGRAM and target.streams > 1:
                fields |= {"chained": 0} if fields["condition"] else {}
            if unit is Segment.GATE_PROGRAM:
                units = draw.randrange(1, 4)
                fields |= {"op": draw.choice(list(GateOp)), "delay": draw.choice([0, 0, 1, 5, 40])}
                fields |= {"first": 5, "last": 5 + units - 1}
            if unit is Segment.LOADER_PROGRAM:
                fields |= {"op": draw.choice(OPS), "count": draw.randrange(30)}
            programs[unit].append(fields)
    for unit, program in programs.items():
        program[before[unit] + body[unit] - 1]["loop_end"] = 1
        for fields in program:
            fields["back"] = before[unit] * UNITS[unit](target).words
        program[-1]["halt"] = 1
    return programs


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_instruction_in_its_cycle(target, monkeypatch):
    """Starts, tokens, what is handed over and for how long, the last step, what is skipped, and when each unit is at
    rest.
    """
    seen: Counter[str] = Counter()
    for seed in range(10):
        draw = random.Random(seed)
        streams = Streams(target, draw)
        monkeypatch.setattr("fdht.compiler.schedule.Attendance", lambda *_, of=streams: of)
        check_random_programs(draw, target, streams, seen)
    wanted = ["late by a token", "given early", "delayed", "steps", "given twice"]
    wanted += [f"{unit.name} skipped" for unit in (Segment.ARRAY_PROGRAM, Segment.GATE_PROGRAM) if target.streams > 1]
    few = {name for name in wanted if seen[name] < 3}
    assert not few and (seen["two under way"] >= 3) == target.pipeline.prefetch


def check_random_programs(draw: random.Random, target: Target, streams: Streams, seen: Counter[str]) -> None:
    programs, steps = random_programs(draw, target), draw.choice([1, 2, 3])
    spans: dict[int, Span] = {}
    for fields in programs[Segment.ARRAY_PROGRAM]:
        done = draw.randrange(12, 60)  # so that a chained one, which may start at `issued`, is done after it
        spans[id(fields)] = Span(draw.randrange(done - 10, done + 1), done)
    predicted = schedule(programs, target, steps, contraction=lambda fields: spans[id(fields)])
    expected = {unit: [entry for entry in predicted if entry[0] is unit] for unit in UNITS}
    dut = Sequencers(target)

    def skipped(unit: Segment, fields: Fields) -> bool:
        return streams.takes_part(unit, 0, fields) is None

    started = {unit: [] for unit in UNITS}
    array = expected[Segment.ARRAY_PROGRAM]
    every = [fields for _, _, fields, *_ in predicted]
    hasty = {unit: [fields | {"wait": 0} for fields in program] for unit, program in programs.items()}
    spans |= {
        id(fields): spans[id(slow)]
        for fields, slow in zip(*(p[Segment.ARRAY_PROGRAM] for p in (hasty, programs)), strict=True)
    }
    soonest = schedule(hasty, target, steps, contraction=lambda fields: spans[id(fields)])
    seen["late by a token"] += sum(start for *_, start, _ in soonest) < sum(start for *_, start, _ in predicted)
    seen["given early"] += any(fields.get("early") and fields["give"] >> Token.Z_READY & 1 for fields in every)
    seen["delayed"] += any(fields.get("delay") for fields in every)
    seen["two under way"] += any(start < done for (*_, done), (*_, start, _) in pairwise(array))
    seen["steps"] += steps > 1
    for unit, _, fields, *_ in predicted:
        seen[f"{unit.name} skipped"] += skipped(unit, fields)
    seen["given twice"] += any(fields["give"].bit_count() > 1 for fields in every)

    async def bench(ctx):
        for unit, sequencer in dut.units.items():
            words = [word for fields in programs[unit] for word in UNITS[unit](target).encode(fields)]
            for address, word in enumerate(words):
                for member, value in (("enable", 1), ("address", address), ("data", word)):
                    ctx.set(getattr(sequencer.fill, member), value)
                await ctx.tick()
            ctx.set(sequencer.fill.enable, 0)
            if target.streams > 1 and unit is not Segment.LOADER_PROGRAM:
                for name, known in streams.known.items():
                    ctx.set(getattr(sequencer, name), known)
        assert not any(ctx.get(sequencer.busy) for sequencer in dut.units.values())
        ctx.set(dut.steps, steps)
        ctx.set(dut.run, 1)
        held = {unit: (0, 0, 0) for unit in UNITS}  # what is handed over, from when, and until when it stays
        end = max(done for *_, done in predicted) + 20
        # The engine's programs begin `begin` cycles after its `start`, in whose cycle 0 the schedule begins.
        for now in range(timing.begin(target), end):
            for unit, sequencer in dut.units.items():  # what the units say
                at_work = [entry for entry in expected[unit] if not skipped(unit, entry[2])]
                ctx.set(sequencer.done, any(done == now for *_, done in at_work))
                if unit is Segment.ARRAY_PROGRAM:
                    issued = any(start + spans[id(fields)].issued == now for _, _, fields, start, _ in at_work)
                    ctx.set(sequencer.issued, issued)
            for unit, sequencer in dut.units.items():
                starts = {start: k for k, (*_, start, _) in enumerate(expected[unit])}
                number = starts.get(now)
                gives = 0
                assert ctx.get(sequencer.start) == (number is not None), f"{unit.name} in cycle {now}"
                for _, _, fields, start, done in expected[unit]:
                    early = 1 << Token.Z_READY if fields.get("early") else 0
                    if start == now:
                        gives |= fields["give"] & early
                    if done == now:
                        gives |= fields["give"] & ~early
                assert ctx.get(sequencer.give) == gives, f"{unit.name} in cycle {now}"
                if number is not None:
                    _, step, fields, start, done = expected[unit][number]
                    following = expected[unit][number + 1][3] if number + 1 < len(expected[unit]) else done + 1
                    held[unit] = (UNITS[unit](target).pack(fields), now, min(done, following - 1))
                    started[unit].append(number)
                    assert ctx.get(sequencer.final_step) == (step == steps - 1)
                    if target.streams > 1 and unit is not Segment.LOADER_PROGRAM:
                        assert ctx.get(sequencer.skip) == skipped(unit, fields)
                handed, since, until = held[unit]
                if handed and since <= now <= until:
                    assert ctx.get(Value.cast(sequencer.instruction)) == handed, f"{unit.name} in cycle {now}"
                last = expected[unit][-1][4]
                assert ctx.get(sequencer.busy) == (timing.begin(target) < now <= last), f"{unit.name} in cycle {now}"
            await ctx.tick()
            ctx.set(dut.run, 0)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert started == {unit: list(range(len(entries))) for unit, entries in expected.items()}
