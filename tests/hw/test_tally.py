"""Counts by instruction and by stream, of starts, ends and clipped words as a contraction unit gives them."""

import random
from collections import Counter, defaultdict

import pytest
from amaranth.sim import Simulator

from fdht.hw.engine.tally import Tallies
from fdht.spec import timing
from fdht.spec.pipeline import COMPACT, PIPELINED
from fdht.spec.tallies import instruction_tallies, tallies
from fdht.spec.target import Target

ALONE = Target("alone", 2, 2, program_words=256, pipeline=COMPACT)
CHAINED = Target("chained", 2, 2, program_words=256, pipeline=PIPELINED, streams=3)
APART = 7
"""Least cycles from one `done` to the next."""


def schedule(
    draw: random.Random, target: Target, loop: int, after: int, turns: int
) -> tuple[dict[int, Counter], Counter]:
    """Pulses by their cycles, of a loop of instructions and others after it; the clipped words of each."""
    events, clipped = defaultdict[int, Counter](Counter), Counter[int]()
    order = [*list(range(loop)) * turns, *range(loop, loop + after)]
    begins, done, store = 10, 0, timing.store(target)
    for number, ordinal in enumerate(order):
        events[begins].update(start=1, again=number + 1 < loop * turns and (number + 1) % loop == 0)
        if target.streams > 1 and begins > done and draw.random() < 0.3:
            events[begins]["skip"] = 1
            begins += 3
            continue
        before, done = done, max(begins, done + 1) + draw.randrange(APART, 30)
        events[done]["done"] = 1
        for _ in range(draw.randrange(6)):  # the earliest and the latest that there can be, and others
            earliest = max(begins, before) + store + 1
            when = draw.choice((earliest, done + store, draw.randrange(earliest, done + store + 1)))
            if events[when]["clipped"] < 2:
                events[when]["clipped"] += 1
                clipped[ordinal] += 1
        chained = target.pipeline.prefetch and draw.random() < 0.5
        begins = draw.randrange(max(begins + 2, before + 1), done) if chained else done + 3
    return events, clipped


@pytest.mark.parametrize("target", [ALONE, CHAINED], ids=lambda target: target.name)
def test_every_instruction_counts_its_own(target):
    """Of two runs, each from zero; steps of streams too."""
    draw, dut = random.Random(target.name), Tallies(target)
    assert instruction_tallies(target) >= 5

    async def bench(ctx):
        for turns in (4, 2):
            events, clipped = schedule(draw, target, 3, 2, turns)
            expected = [0] * target.streams + [clipped[k] for k in range(instruction_tallies(target))]
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            for cycle in range(max(events) + 12):
                what = events[cycle]
                for name in ("start", "skip", "again", "done", "clipped"):
                    ctx.set(getattr(dut, name), int(what[name]))
                finished = draw.randrange(1 << target.streams) if draw.random() < 0.2 else 0
                ctx.set(dut.finished, finished)
                for stream in range(target.streams):
                    expected[stream] += finished >> stream & 1
                await ctx.tick()
            ctx.set(dut.finished, 0)
            found = []
            for index in range(tallies(target)):
                ctx.set(dut.index, index)
                await ctx.tick().repeat(3)
                found.append(ctx.get(dut.value))
            assert found == expected and any(expected[target.streams :])
            ctx.set(dut.index, tallies(target))
            await ctx.tick().repeat(3)
            assert ctx.get(dut.value) == 0, "there is no such count"

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
