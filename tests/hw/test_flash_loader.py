"""The block that loads images from a flash, at its pins and in front of a real link: waveforms, times, its watchdog.

Whole boards with another's model of a flash: tests/fdht/test_standalone.py.
"""

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter
from amaranth.sim import Simulator

from fdht.hw.shell.flash_loader import FlashLoader
from fdht.hw.shell.link import HostLink
from fdht.spec.errors import SpecError
from fdht.spec.flash import (
    HEADER,
    READ,
    STRIDE,
    WAKE,
    WAKE_S,
    FlashPlan,
    SlotState,
    header,
    load_cycles,
    plan,
    slot_bytes,
)
from fdht.spec.target import Standalone, Target

TARGET = Target("stub", rows=2, columns=2)
PERIOD = 1e-6
WORDS = np.random.default_rng(1).integers(0, 256, 250).astype(np.uint8).tobytes()
"""More than a frame of them."""


class Flash:
    """A flash of 25 series, mode 0: reads while it is awake, and notes every command and each edge's spacing."""

    def __init__(self, memory: dict[int, bytes], pins: FlashLoader):
        self.memory, self.pins, self.commands = memory, pins, []
        self.awake, self.shortest, self.deselected = False, [], []

    def at(self, address: int) -> int:
        for begin, held in self.memory.items():
            if begin <= address < begin + len(held):
                return held[address - begin]
        return 0xFF

    async def bench(self, ctx):
        pins = self.pins
        before, since, bits, shift, high, now = (0, 0), 0, 0, 0, 0, 0
        address = None
        while True:
            await ctx.tick()
            now += 1
            selected, clock = ctx.get(pins.select), ctx.get(pins.clock)
            if (selected, clock) == before:
                continue
            if selected and not before[0]:
                assert clock == 0, "mode 0"
                self.deselected.append(now - high)
                bits = shift = 0
                address = None
            elif not selected and before[0]:
                assert clock == 0 and bits % 8 == 0, "whole bytes"
                high = now
                if bits == 8:
                    self.commands.append((shift & 0xFF, None))
                    self.awake = self.awake or shift & 0xFF == WAKE
            if selected and clock and not before[1]:
                self.shortest.append(now - since)
                shift, bits = shift << 1 | ctx.get(pins.copi), bits + 1
                if bits == 32 and self.awake and shift >> 24 & 0xFF == READ:
                    address = shift & 0xFFFFFF
                    self.commands.append((READ, address))
            if selected and before[1] and not clock:
                self.shortest.append(now - since)
                if address is not None:
                    ctx.set(pins.cipo, self.at(address + (bits - 32) // 8) >> 7 - bits % 8 & 1)
            before, since = (selected, clock), now


class Bench:
    """Block and link, with an engine's image port that takes every word."""

    def __init__(self, memory: dict[int, bytes], flash_plan: FlashPlan):
        self.loader = FlashLoader(header(TARGET), flash_plan)
        self.link = link = HostLink(TARGET, slots=flash_plan.slots)
        self.flash = Flash(memory, self.loader)
        self.loaded, self.resets, self.cycles = bytearray(), 0, 0
        m = Module()
        m.submodules.loader = loader = self.loader
        m.submodules.link = ResetInserter(loader.reset)(link)
        m.d.comb += [
            link.rx.valid.eq(loader.sent.valid),
            link.rx.payload.eq(loader.sent.payload),
            link.tx.ready.eq(1),
            loader.reply.valid.eq(link.tx.valid),
            loader.reply.payload.eq(link.tx.payload),
            loader.image.eq(link.loaded),
            link.image.ready.eq(1),
        ]
        self.sim = Simulator(m)
        self.sim.add_clock(PERIOD)
        self.sim.add_testbench(self.flash.bench, background=True)

    async def until_rest(self, ctx) -> int:
        """Cycles until it no longer loads; notes the words that an engine would have got."""
        loader, link, cycles = self.loader, self.link, 0
        while True:
            await ctx.tick()
            cycles += 1
            if not ctx.get(loader.loading):
                return cycles
            if ctx.get(link.image.valid) and not ctx.get(loader.trial):
                self.loaded += ctx.get(link.image.payload).to_bytes(2, "little")

    def run(self, scenario) -> None:
        self.sim.add_testbench(scenario)
        self.sim.run()


@pytest.mark.parametrize("half, first", [(1, 0), (2, 1)])
def test_it_reads_as_flashes_want_and_in_the_time_that_is_said(half, first):
    """Woken, given its time, read from the slot's address, within its clock; words reach the engine once."""
    chosen, slot = FlashPlan(1 << 20, 2, half, 5, None), slot_bytes(WORDS, TARGET)
    bench = Bench({chosen.address(first): slot}, chosen)

    async def scenario(ctx):
        ctx.set(bench.loader.first, first)
        cycles = await bench.until_rest(ctx)
        assert ctx.get(bench.loader.state) == SlotState.LOADED and ctx.get(bench.loader.loaded_slot) == first
        said = load_cycles(slot, chosen)
        print(cycles, said)
        assert abs(cycles - said) <= 0.01 * cycles

    bench.run(scenario)
    assert bytes(bench.loaded) == WORDS
    read = (READ, chosen.address(first))
    assert bench.flash.commands == [(WAKE, None), read, read]
    assert min(bench.flash.shortest) == half, "no half of a period is shorter"
    assert min(bench.flash.deselected[1:]) >= 1 << chosen.wake


def test_a_slot_that_is_wrong_reaches_no_engine():
    chosen, slot = FlashPlan(1 << 20, 2, 1, 3, None), bytearray(slot_bytes(WORDS, TARGET))
    slot[-30] ^= 4
    bench = Bench({chosen.address(0): bytes(slot), chosen.address(1): slot_bytes(WORDS, TARGET)}, chosen)

    async def scenario(ctx):
        loader = bench.loader
        await bench.until_rest(ctx)
        assert ctx.get(loader.state) == SlotState.DAMAGED and not bench.loaded
        ctx.set(loader.slot, 1)
        ctx.set(loader.request, 1)
        await ctx.tick()
        ctx.set(loader.request, 0)
        assert ctx.get(loader.state) == SlotState.DAMAGED and ctx.get(loader.loading)
        await bench.until_rest(ctx)
        assert ctx.get(loader.state) == SlotState.LOADED and bytes(bench.loaded) == WORDS

    bench.run(scenario)


def test_the_watchdog_wants_something_that_moves():
    """It fires after so many cycles of a run in which nothing did, and at no other time."""
    chosen = FlashPlan(0, 1, 1, 3, 8)
    bench = Bench({}, chosen)

    async def scenario(ctx):
        loader = bench.loader

        async def cycles(count: int) -> int:
            for _ in range(count):
                await ctx.tick()
            return ctx.get(loader.firings)

        await bench.until_rest(ctx)
        assert ctx.get(loader.state) == SlotState.EMPTY
        assert await cycles(600) == 0, "at rest"
        ctx.set(loader.running, 1)
        for _ in range(6):
            assert await cycles(200) == 0, "a word in time"
            ctx.set(loader.moved, 1)
            await ctx.tick()
            ctx.set(loader.moved, 0)
        assert await cycles(255) == 0 and await cycles(3) == 1
        assert ctx.get(loader.loading)
        ctx.set(loader.running, 0)
        await bench.until_rest(ctx)
        assert await cycles(600) == 1

    bench.run(scenario)


def test_the_plan_follows_from_the_clock():
    """No flash is clocked faster than all take, or given less than it needs; 0 ms are no watchdog."""
    for mhz in (12, 24, 45, 54, 72, 96, 100, 120):
        made = plan(Standalone(slots=4, watchdog_ms=250), 1 << 20, mhz * 1e6)
        assert mhz / (2 * made.half) <= 20 < mhz / (2 * made.half - 2) if made.half > 1 else mhz <= 40
        assert WAKE_S <= 2**made.wake / (mhz * 1e6) < 2 * WAKE_S
        assert made.watchdog is not None and 0.25 <= 2**made.watchdog / (mhz * 1e6) < 0.5
    assert plan(Standalone(), 0, 24e6).watchdog is None
    assert made.address(3) == (1 << 20) + 3 * STRIDE
    for wrong in ({"slots": 3}, {"slots": 16}, {"watchdog_ms": -1}, {"watchdog_ms": 10**6}):
        with pytest.raises(SpecError, match="standalone: "):
            Standalone(**wrong)
    assert header(TARGET)[:4] == HEADER
