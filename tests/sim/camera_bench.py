"""What runs inside the simulator to test the camera example: a camera that never waits, and a look at the classes."""

import json
import os
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

WORK = Path(os.environ["FDHT_CAMERA"])
PERIOD = 10
LIMIT = 400_000
"""Cycles after which what does not come is missing."""


@cocotb.test()
async def film(dut) -> None:
    """Shows the frames of `film.npy` (frames × pixels × channels) and notes the classes.

    Each frame comes once the engine is done with what it needs, or (`hurry`) at once; lines and pixels have gaps.
    """
    task = json.loads((WORK / "task.json").read_text())
    frames, draw = np.load(WORK / "film.npy"), random.Random(task["seed"])
    for name in ("pixel", "valid", "first"):
        getattr(dut, name).value = 0
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, PERIOD, unit="ns").start())
    for _ in range(4):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    for _ in range(LIMIT):
        await FallingEdge(dut.clk)
        if int(dut.ready.value):
            break
    assert int(dut.ready.value) and not int(dut.failed.value)
    seen, skipped = [], []
    watching = cocotb.start_soon(_watch(dut, seen, skipped))
    for number, frame in enumerate(frames):
        torn = task["torn"] and draw.random() < 0.5
        for shown in ([frame[: draw.randrange(1, len(frame))]] if torn else []) + [frame]:
            await _show(dut, shown, draw)
        extra = draw.randrange(3)  # pixels after the frame's last are ignored
        await _show(dut, frame[:extra], draw, first=False)
        for _ in range(0 if task["hurry"] else task["cycles"]):
            await FallingEdge(dut.clk)
        assert task["hurry"] or len(seen) >= (number + 1) // task["steps"] - 1
    for _ in range(2 * task["cycles"]):
        await FallingEdge(dut.clk)
    watching.cancel()
    (WORK / "seen.json").write_text(json.dumps({"classes": seen, "skipped": skipped}))


async def _show(dut, pixels: np.ndarray, draw: random.Random, first: bool = True) -> None:
    """Pixels of a frame, with gaps."""
    for k, pixel in enumerate(pixels.tolist()):
        while draw.random() < 0.2:
            dut.valid.value = 0
            await FallingEdge(dut.clk)
        dut.valid.value = 1
        dut.first.value = int(first and k == 0)
        dut.pixel.value = sum(word << 8 * channel for channel, word in enumerate(pixel))
        await FallingEdge(dut.clk)
    dut.valid.value = 0


async def _watch(dut, seen: list, skipped: list) -> None:
    while True:
        await FallingEdge(dut.clk)
        if int(dut.done.value):
            seen.append([int(dut.number.value), int(dut.faulty.value)])
        if int(dut.skipped.value):
            skipped.append(len(seen))
