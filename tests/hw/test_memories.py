"""The memories against small models of what their texts promise: what is read, when, and which accesses collide."""

import random
from collections import deque

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Value
from amaranth.hdl._ir import Fragment
from amaranth.sim import Simulator
from pipelines import BETWEEN

from fdht.hw.engine.memories import FactorMemory, ImageMemory, ResultMemory, Scratchpad
from fdht.spec import timing
from fdht.spec.instructions import WORD, bits_for, words_for
from fdht.spec.pipeline import COMPACT, PIPELINED
from fdht.spec.target import Build, Target, Technology

TARGETS = {
    "compact, one port": Target("test", 4, 1, 10, 8, pipeline=COMPACT, bank_words=16, single_port=True),
    "compact, lanes in pairs": Target(
        "test", 4, 4, pipeline=COMPACT, banks=3, bank_words=512, build=Build(Technology.GOWIN), input_lanes=4
    ),
    "registered": Target("test", 4, 3, 10, 8, banks=5, bank_words=16),
    **{name: Target("test", 4, 2, 10, 8, pipeline=pipeline, bank_words=16) for name, pipeline in BETWEEN.items()},
    "registered, one port": Target("test", 4, 2, 10, 8, bank_words=16, single_port=True),
}


def simulate(dut: Elaboratable | Fragment, bench) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_scratchpad_reads_what_was_written(target):
    """A word read, a word of the array and lanes of the loader written in every cycle, each in a bank of its own for a
    burst; where banks have two ports, read and written in one as well.
    """
    dut, draw, data = Scratchpad(target), random.Random(1), target.data
    offset = bits_for(target.bank_words)
    half = target.bank_words // 2
    words = np.zeros((target.scratchpad_words, target.columns), dtype=np.int64)
    counts = {"checked": 0, "beside": 0, "same bank": 0}

    async def bench(ctx):
        coming: deque[list[int] | None] = deque([None] * timing.read(target))

        async def cycle(read=None, array=None, loader=None):
            for name, access in (("read", read), ("array", array), ("loader", loader)):
                enable = "read_enable" if name == "read" else f"{name}_valid"
                ctx.set(getattr(dut, enable), access is not None)
                ctx.set(getattr(dut, f"{name}_address"), draw.randrange(len(words)) if access is None else access[0])
            if array:
                ctx.set(dut.array_data, array[1])
            if loader:
                ctx.set(dut.loader_data, loader[1])
                ctx.set(dut.loader_mask, loader[2])
            due = coming.popleft()
            if due is not None:
                assert [ctx.get(dut.read_data[lane]) for lane in range(target.columns)] == due
                counts["checked"] += 1
            assert not ctx.get(dut.collision)
            coming.append(None if read is None else words[read[0]].tolist())
            await ctx.tick()

        for _ in range(60):
            banks = draw.sample(range(target.banks), 3)
            beside = not target.single_port and draw.random() < 0.5  # the array writes where is read, in the other half
            for _ in range(draw.randrange(4, 20)):
                at = {}
                for name, bank in zip(("read", "array", "loader"), banks, strict=True):
                    if draw.random() < 0.8:
                        bank = banks[0] if beside and name == "array" else bank
                        place = draw.randrange(half) + half * (name == "array")
                        at[name] = bank << offset | (place if beside else draw.randrange(target.bank_words))
                row = [
                    draw.choice([data.min, data.max, draw.randint(data.min, data.max)]) for _ in range(target.columns)
                ]
                mask = draw.randrange(1 << target.columns)
                await cycle(
                    (at["read"],) if "read" in at else None,
                    (at["array"], row) if "array" in at else None,
                    (at["loader"], row[::-1], mask) if "loader" in at else None,
                )
                counts["beside"] += len(at) == 3
                counts["same bank"] += beside and {"read", "array"} <= at.keys()
                if "array" in at:
                    words[at["array"]] = row
                if "loader" in at:
                    lanes = [lane for lane in range(target.columns) if mask >> lane & 1]
                    words[at["loader"], lanes] = np.array(row[::-1])[lanes]
            for _ in range(timing.read(target)):  # so that nothing is read before it is there
                await cycle()

    simulate(dut, bench)
    assert counts["checked"] > 300 and counts["beside"] > 100
    assert (counts["same bank"] > 100) != target.single_port


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_bank_asked_for_too_much_is_a_collision(target):
    """Every two accesses, in one bank and in two, at one address and at two."""
    dut, size = Scratchpad(target), target.bank_words
    counts = {False: 0, True: 0}

    async def bench(ctx):
        ctx.set(dut.loader_mask, 1 << target.columns - 1)
        for pair in (("array", "loader"), ("read", "array"), ("read", "loader")):
            for first, second in ((3, 3), (3, 4), (3, size + 3), (size - 1, size), (2 * size, 2 * size), (0, size - 1)):
                one_bank = first // size == second // size
                collides = one_bank and ("read" not in pair or target.single_port or first == second)
                for name, address in zip(pair, (first, second), strict=True):
                    ctx.set(getattr(dut, "read_enable" if name == "read" else f"{name}_valid"), 1)
                    ctx.set(getattr(dut, f"{name}_address"), address)
                seen = ctx.get(dut.collision)
                await ctx.tick()
                for name in pair:
                    ctx.set(getattr(dut, "read_enable" if name == "read" else f"{name}_valid"), 0)
                for _ in range(timing.read(target)):
                    seen |= ctx.get(dut.collision)
                    await ctx.tick()
                assert seen == collides, f"{pair} at {first} and {second}"
                assert not ctx.get(dut.collision), "a pulse"
                counts[collides] += 1

    simulate(Fragment.get(dut, object()), bench)  # for something that is not simulated: no assertion stops it
    assert min(counts.values()) >= 5


@pytest.mark.parametrize("latency", [1, 2, 4])
@pytest.mark.parametrize("width", [8, 16, 40])
def test_an_image_memory_is_filled_in_parts_and_read_as_words(latency, width):
    """In every order, some words filled anew; reading stops and goes on where the latency allows."""
    depth, draw = 12, random.Random(width + latency)
    dut = ImageMemory(Technology.GENERIC, width, depth, latency)
    words = [0] * depth
    counts = {"moved": 0, "stopped": 0}

    async def bench(ctx):
        ctx.set(dut.read_enable, 1)
        for turn in range(4):
            places = [(at, part) for at in range(depth) for part in range(words_for(width))]
            for at, part in draw.sample(places, len(places) if turn == 0 else 9):
                value = draw.randrange(1 << WORD)
                for member, setting in (("enable", 1), ("address", at), ("part", part), ("data", value)):
                    ctx.set(getattr(dut.fill, member), setting)
                words[at] = words[at] & ~((1 << WORD) - 1 << WORD * part) | value << WORD * part
                await ctx.tick()
            ctx.set(dut.fill.enable, 0)
            await ctx.tick().repeat(latency)
            coming: deque[int | None] = deque([None] * latency)
            for _ in range(60):
                enable = latency == 4 or draw.random() < 0.7
                address = draw.randrange(depth)
                ctx.set(dut.read_enable, enable)
                ctx.set(dut.read_address, address)
                if coming[0] is not None:
                    assert ctx.get(Value.cast(dut.read_data)) == words[coming[0]] & (1 << width) - 1
                if enable:
                    coming.append(address)
                    coming.popleft()
                counts["moved" if enable else "stopped"] += 1
                await ctx.tick()

    simulate(dut, bench)
    assert counts["moved"] > 100 and (counts["stopped"] > 30) == (latency < 4)


@pytest.mark.parametrize("gates", [1, 2])
@pytest.mark.parametrize("pipeline", [COMPACT, PIPELINED, *BETWEEN.values()])
def test_factors_come_with_h_in_their_last_lane(pipeline, gates):
    target = Target("test", 3, 2, 16, 8, pipeline=pipeline, factor_words=20, hidden=24, streams=gates, gates=gates)
    dut, draw = FactorMemory(target), random.Random(3)
    units = target.hidden // gates
    factors = [[draw.randrange(-128, 128) for _ in range(3)] for _ in range(20)]
    states = [draw.randint(target.data.min, target.data.max) for _ in range(24)]
    counts = {False: 0, True: 0}

    async def bench(ctx):
        for at, word in enumerate(factors):
            bits = sum((factor & 255) << 8 * lane for lane, factor in enumerate(word))
            for part in range(words_for(24)):
                for member, setting in (("enable", 1), ("address", at), ("part", part)):
                    ctx.set(getattr(dut.fill, member), setting)
                ctx.set(dut.fill.data, bits >> WORD * part & (1 << WORD) - 1)
                await ctx.tick()
        ctx.set(dut.fill.enable, 0)
        await ctx.tick().repeat(timing.read(target))
        coming: deque[list | None] = deque([None] * timing.read(target))
        answers = deque([0] * timing.hidden(target))
        for _ in range(300):
            hidden = draw.random() < 0.4
            address = draw.randrange(len(states) if hidden else len(factors))
            lane = address // units if hidden else draw.randrange(gates)
            ctx.set(dut.read_address, address % units if hidden else address)
            ctx.set(dut.hidden, hidden)
            if gates > 1:
                ctx.set(dut.hidden_lane, lane)
                lane = ctx.get(dut.h_lane)
            asked = ctx.get(dut.h_asked)
            answers.append(states[units * lane * (gates > 1) + ctx.get(dut.h_address)] if asked else 0)
            ctx.set(dut.h_data, answers.popleft())
            due = coming.popleft()
            if due is not None:
                word = [ctx.get(dut.read_data[lane]) for lane in range(3)]
                assert word[-1] == due[-1] and (len(due) == 1 or word == due)
            coming.append([states[address]] if hidden else factors[address])
            counts[hidden] += 1
            await ctx.tick()

    simulate(dut, bench)
    assert min(counts.values()) > 50


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

    simulate(memory, bench)
    assert min(counts.values()) > 10
