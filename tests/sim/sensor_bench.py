"""What runs inside the simulator to test designs that begin at a sensor's pins: models of the sensors after their data
sheets, and a look at the classes."""

import json
import os
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer, with_timeout

WORK = Path(os.environ["FDHT_SENSOR"])
PERIOD = 10
"""Nanoseconds of the design's clock."""

LIMIT = 100_000
"""Cycles after which what does not come is missing."""


async def begin(dut, *pins: str) -> list:
    """Clock and reset, until the design is ready; the list that classes will be put into."""
    for pin in (*pins, "restart"):
        getattr(dut, pin).value = 0
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, PERIOD, unit="ns").start())
    for _ in range(4):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    seen: list[int] = []
    cocotb.start_soon(_watch(dut, seen))
    if not dut.ready.value:
        await with_timeout(RisingEdge(dut.ready), LIMIT * PERIOD, "ns")
        await FallingEdge(dut.clk)
    assert int(dut.ready.value) and not int(dut.failed.value)
    return seen


async def _watch(dut, seen: list) -> None:
    while True:
        await RisingEdge(dut.done)
        await FallingEdge(dut.clk)
        while dut.done.value:
            seen.append(int(dut.number.value))
            await FallingEdge(dut.clk)


async def until(dut, seen: list, count: int) -> None:
    """Waits for so many classes."""
    for _ in range(LIMIT):
        if len(seen) >= count:
            return
        await FallingEdge(dut.clk)
    raise AssertionError(f"{len(seen)} classes of {count}")


async def restart(dut) -> None:
    """A sequence begins."""
    dut.restart.value = 1
    await FallingEdge(dut.clk)
    dut.restart.value = 0
    for _ in range(100):
        await FallingEdge(dut.clk)


class ADXL345:
    """An accelerometer on SPI, mode 3: INT1 is high from a sample on until it is read."""

    def __init__(self, dut):
        self._dut = dut
        self.registers: dict[int, int] = {}
        self.sample = (0, 0, 0)
        cocotb.start_soon(self._serve())

    async def _serve(self) -> None:
        dut = self._dut
        while True:
            await RisingEdge(dut.select)
            assert int(dut.clock.value), "mode 3: the clock rests high"
            command = await self._bits(8)
            if command & 0x80:
                address, several = command & 0x3F, command & 0x40
                assert address == 0x32 and several, "from DATAX0 on, all in one transfer"
                data = b"".join(value.to_bytes(2, "little", signed=True) for value in self.sample)
                for byte in data:
                    await self._bits(8, byte)
                dut.int1.value = 0
            else:
                self.registers[command & 0x3F] = await self._bits(8)
            await FallingEdge(dut.select)

    async def _bits(self, count: int, answer: int = 0) -> int:
        got = 0
        for bit in reversed(range(count)):
            await FallingEdge(self._dut.clock)
            self._dut.cipo.value = answer >> bit & 1
            await RisingEdge(self._dut.clock)
            got = got << 1 | int(self._dut.copi.value)
        return got

    async def show(self, sample: tuple[int, int, int]) -> None:
        """A sample is there, and is read."""
        assert self.registers.get(0x2D) == 0x08 and self.registers.get(0x2E) == 0x80, "it was not told to measure"
        self.sample = sample
        self._dut.int1.value = 1
        await with_timeout(FallingEdge(self._dut.int1), LIMIT * PERIOD, "ns")
        for _ in range(60):
            await FallingEdge(self._dut.clk)


@cocotb.test()
async def accelerometer(dut) -> None:
    """Plays the samples of `samples.npy` (sequences × samples × axes)."""
    task = json.loads((WORK / "task.json").read_text())
    sensor = ADXL345(dut)
    seen = await begin(dut, "cipo", "int1")
    await Timer(4000 * PERIOD, "ns")
    classes = []
    for samples in np.load(WORK / "samples.npy"):
        seen.clear()
        for sample in samples.tolist():
            await sensor.show(tuple(sample))
        await until(dut, seen, len(samples) // task["window"])
        classes.append(list(seen))
        await sensor.show((1, 2, 3))  # of a window that is never whole
        await restart(dut)
    (WORK / "seen.json").write_text(json.dumps(classes))


@cocotb.test()
async def camera(dut) -> None:
    """Shows the frames of `bytes.npy` (clips × frames × lines × bytes), the clock of the camera its own."""
    task = json.loads((WORK / "task.json").read_text())
    half = Timer(task["half_ps"], "ps")
    seen = await begin(dut, "pclk", "vsync", "href", "d")

    async def clocks(count: int) -> None:
        for _ in range(count):
            await half
            dut.pclk.value = 1
            await half
            dut.pclk.value = 0

    classes = []
    for clip in np.load(WORK / "bytes.npy"):
        seen.clear()
        for number, frame in enumerate(clip):
            dut.vsync.value = 1
            await clocks(6)
            dut.vsync.value = 0
            await clocks(20)
            for line in frame.tolist():
                for byte in line:
                    dut.href.value, dut.d.value = 1, byte
                    await clocks(1)
                dut.href.value = 0
                await clocks(12)
            await until(dut, seen, number + 1)
        classes.append(list(seen))
        await restart(dut)
    (WORK / "seen.json").write_text(json.dumps(classes))
