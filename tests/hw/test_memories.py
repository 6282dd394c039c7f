"""The result memory: words stored, and words added to what is there."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw.memories import ResultMemory
from spec import timing
from spec.target import Target


@pytest.mark.parametrize("columns", [1, 3])
def test_words_are_stored_or_added(columns):
    """In bursts without pauses, as the array writes them, at the ends of the range and in between."""
    target = Target("test", 2, columns, result_words=8)
    memory = ResultMemory(target)
    rng, data = random.Random(columns), target.data
    words = {}
    counts = {"stored": 0, "added": 0, "clipped": 0}

    async def bench(ctx):
        expected = None  # of the cycle before
        for burst in range(60):
            add = burst > 0 and rng.random() < 0.5
            for address in rng.sample(range(8), 8 if burst == 0 else rng.randint(1, 8)):
                value = [rng.choice([data.min, data.max, rng.randint(data.min, data.max)]) for _ in range(columns)]
                total = np.array(value) + (words[address] if add else 0)
                words[address] = data.saturate(total)
                clipped = words[address] != total
                for member, setting in (("valid", 1), ("add", add), ("address", address)):
                    ctx.set(getattr(memory, f"write_{member}"), setting)
                for lane in range(columns):
                    ctx.set(memory.write_data[lane], value[lane])
                check(ctx, expected)
                expected = (address, words[address].tolist(), clipped.tolist())
                counts["added" if add else "stored"] += 1
                counts["clipped"] += int(clipped.any())
                await ctx.tick().repeat(timing.store(target))
            ctx.set(memory.write_valid, 0)
            check(ctx, expected)
            expected = None
            address = rng.randrange(8)
            ctx.set(memory.read_address, address)
            await ctx.tick().repeat(3)
            assert [ctx.get(memory.read_data[lane]) for lane in range(columns)] == words[address].tolist()

    def check(ctx, expected):
        assert ctx.get(memory.stored_valid) == (expected is not None)
        if expected is not None:
            lanes = range(columns)
            seen = (ctx.get(memory.stored_address), [ctx.get(memory.stored_data[lane]) for lane in lanes])
            assert (*seen, [bool(ctx.get(memory.saturated[lane])) for lane in lanes]) == expected

    simulator = Simulator(memory)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert min(counts.values()) > 10
