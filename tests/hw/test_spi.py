"""The SPI peripheral at its pins, under host clocks of many rates, with pauses and cut bytes."""

import random

import pytest
from amaranth.sim import Simulator

from fdht.hw.shell.spi import BITS, SPIPeripheral

IDLE = 0x7E
PERIOD = 1e-6
COUNT = 60


class Controller:
    """Clocks bytes: mode 0, high bit first."""

    def __init__(self, ctx, pins: SPIPeripheral, half: float):
        self.ctx, self.pins, self.half = ctx, pins, half

    async def select(self, on: int):
        self.ctx.set(self.pins.select, on)
        await self.ctx.delay(self.half)

    async def exchange(self, byte: int, bits: int = BITS) -> int:
        received = 0
        for bit in list(reversed(range(BITS)))[:bits]:
            self.ctx.set(self.pins.copi, byte >> bit & 1)
            await self.ctx.delay(self.half)
            received = received << 1 | self.ctx.get(self.pins.cipo)
            self.ctx.set(self.pins.clock, 1)
            await self.ctx.delay(self.half)
            self.ctx.set(self.pins.clock, 0)
        return received


def run(scenario, wanted: list[int], ratio: float, wait: int = 0):
    """What `scenario` sent as the design saw it; `wanted` is to be sent, a byte every `wait` cycles at most."""
    pins, seen, done = SPIPeripheral(IDLE), [], []

    async def host(ctx):
        await scenario(Controller(ctx, pins, PERIOD / ratio / 2))
        await ctx.delay(10 * PERIOD)
        done.append(True)

    async def receive(ctx):
        async for _, _, valid, byte in ctx.tick().sample(pins.o.valid, pins.o.payload):
            if valid:
                seen.append(byte)

    async def send(ctx):
        for byte in wanted:
            ctx.set(pins.i.payload, byte)
            ctx.set(pins.i.valid, 1)
            await ctx.tick().until(pins.i.ready)
            ctx.set(pins.i.valid, 0)
            for _ in range(wait):
                await ctx.tick()

    sim = Simulator(pins)
    sim.add_clock(PERIOD)
    sim.add_testbench(host)
    sim.add_testbench(receive, background=True)
    sim.add_testbench(send, background=True)
    sim.run()
    assert done
    return seen


def without_idle(received: list[int]) -> list[int]:
    return [byte for byte in received if byte != IDLE]


@pytest.mark.parametrize("ratio", [0.05, 0.31, 0.5, 20 / 24, 0.97, 1.0])
def test_bytes_both_ways_at_once(ratio):
    draw = random.Random(1)
    sent, wanted = ([draw.choice([0, 0x55, 0xFF, draw.randrange(IDLE)]) for _ in range(COUNT)] for _ in range(2))
    received = []

    async def scenario(host: Controller):
        await host.select(1)
        await host.exchange(IDLE)
        for byte in sent:
            received.append(await host.exchange(byte))
        for _ in range(4):
            received.append(await host.exchange(IDLE))
        await host.select(0)

    # a byte whenever the link makes one: 7 of its cycles after the one before
    assert [IDLE, *sent, *[IDLE] * 4] == run(scenario, wanted, ratio, wait=7)
    first = next(k for k, byte in enumerate(received) if byte != IDLE)
    assert received[first : first + COUNT] == wanted, "nothing lost, and no idle byte inside"


def test_pauses_and_deselections_between_bytes_lose_nothing():
    draw = random.Random(2)
    sent, wanted = ([draw.randrange(IDLE) for _ in range(COUNT)] for _ in range(2))
    received = []

    async def scenario(host: Controller):
        for byte in [*sent, *[IDLE] * COUNT]:
            await host.select(1)
            received.append(await host.exchange(byte))
            if draw.random() < 0.4:
                await host.select(0)
            await host.ctx.delay(draw.randrange(1, 60) * PERIOD / 4)

    assert without_idle(run(scenario, wanted, 0.7, wait=30)) == sent
    assert without_idle(received[1:]) == wanted  # the first is what the register holds after power-up


@pytest.mark.parametrize("bits", range(1, BITS))
def test_a_byte_that_is_cut_is_dropped_and_the_next_is_whole(bits):
    async def scenario(host: Controller):
        for byte in (0x12, 0x34):
            await host.select(1)
            await host.exchange(byte)
            await host.exchange(0xFF, bits)
            await host.select(0)

    assert run(scenario, [], 0.8) == [0x12, 0x34]


def test_without_selection_nothing_is_taken():
    async def scenario(host: Controller):
        await host.exchange(0x12)
        await host.select(1)
        await host.exchange(0x34)

    assert run(scenario, [], 0.8) == [0x34]
