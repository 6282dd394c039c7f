"""The address generator visits what fdht.compiler.nest.walk says, and ends where it says."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from fdht.compiler.nest import Loop, encode_nest, walk
from fdht.hw.engine.address import AddressGenerator
from fdht.spec import timing
from fdht.spec.instructions import array_instruction, loader_instruction
from fdht.spec.pipeline import COMPACT
from fdht.spec.target import Target

TARGETS = {
    "compact": Target("test", 4, 5, pipeline=COMPACT, bank_words=256),
    "late": Target("test", 4, 5, bank_words=256),
}
LEVELS = TARGETS["late"].levels.read


def drive(target: Target, record, nests: list[dict], pause: float, seed: int) -> list[list[tuple[int, ...]]]:
    """Addresses of each nest in turn, stepping with random pauses."""
    dut = AddressGenerator(record, timing.address(target))
    names = [name for name in nests[0]["levels"][0] if name != "count"]
    seen: list[list[tuple[int, ...]]] = []
    rng = random.Random(seed)

    async def bench(ctx):
        late = timing.address(target)
        stepped: list[list | None] = [None] * late  # of the last cycles, where the address of a step belongs

        async def cycle(addresses: list | None):
            stepped.append(addresses)
            if (due := stepped.pop(0)) is not None:
                due.append(tuple(ctx.get(dut.address[name]) for name in names))
            await ctx.tick()

        for nest in nests:
            ctx.set(dut.nest, nest)
            ctx.set(dut.load, 1)
            await cycle(None)
            ctx.set(dut.load, 0)
            seen.append([])
            last = False
            while not last:
                assert len(seen[-1]) < 1 << 14, "it never ends"
                step = rng.random() >= pause
                ctx.set(dut.step, step)
                if step:
                    last = ctx.get(dut.last)
                    assert last == ctx.get(dut.ends) >> LEVELS - 1
                await cycle(seen[-1] if step else None)
            ctx.set(dut.step, 0)
        for _ in range(late):
            await cycle(None)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


def expected(nest: dict) -> list[tuple[int, ...]]:
    addresses = walk(nest)
    return list(zip(*(values.tolist() for values in addresses.values()), strict=True))


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("pause", [0, 0.4], ids=["steady", "pauses"])
def test_two_addresses(target, pause):
    """Nests of every depth, up to all levels there are, of loops that are really walked."""
    rng = np.random.default_rng(3)
    nests = []
    for depth in [*range(1, LEVELS + 1), *(LEVELS,) * 4]:
        counts = rng.integers(2, 5 if depth < 5 else 4, depth)
        strides = rng.integers(0, 40, (depth, 2)).tolist()
        loops = [
            Loop(int(count), {"data": data, "factor": factor})
            for count, (data, factor) in zip(counts, strides, strict=True)
        ]
        nests.append(encode_nest(loops, {"data": 7, "factor": 1}, LEVELS))
    assert all(min(nest["levels"][k]["count"] for nest in nests[-5:]) > 0 for k in range(LEVELS))
    record = array_instruction(target).record("read")
    assert drive(target, record, nests, pause, 1) == [expected(nest) for nest in nests]


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("pause", [0, 0.4], ids=["steady", "pauses"])
def test_lanes_with_a_tail(target, pause):
    """The lane loop ends early in the last turn of the loop around it, at whichever level they are, with loops inside
    and outside of them on all the others.
    """
    rng = np.random.default_rng(4)
    nests = []
    for inside in [*range(LEVELS - 1), *range(LEVELS - 1)]:
        lanes, words = int(rng.integers(2, 6)), int(rng.integers(2, 4))
        around = [
            Loop(int(rng.integers(2, 4)), {"word": int(rng.integers(1, 9)), "lane": 0}) for _ in range(LEVELS - 2)
        ]
        loops = [
            *around[:inside],
            Loop(lanes, {"word": 0, "lane": 1}, fixed=True),
            Loop(words, {"word": 1, "lane": 0}, fixed=True),
            *around[inside : inside + int(rng.integers(0, LEVELS))],
        ]
        tail = int(rng.integers(1, lanes + 1))
        nests.append(encode_nest(loops, {"word": 9, "lane": 0}, LEVELS, tail))
    assert {nest["tail_level"] for nest in nests} == {1 << level for level in range(LEVELS - 1)}
    assert any(nest["levels"][-1]["count"] for nest in nests)
    record = loader_instruction(target).record("nest")
    assert drive(target, record, nests, pause, 2) == [expected(nest) for nest in nests]
