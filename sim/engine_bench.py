"""The test bench that runs inside the simulator: drivers, monitors, scoreboard.

Signals are driven and sampled at falling edges of the clock, in the middle of a cycle, where every simulator
agrees on their values. Cycle 0 of a run is the one in which `start` is high.
"""

import json
import os
import random
from collections import defaultdict
from math import prod
from pathlib import Path

import cocotb
import numpy as np
from amaranth.hdl import Shape
from amaranth.lib.data import StructLayout
from cocotb.clock import Clock
from cocotb.simtime import get_sim_time
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge, SimTimeoutError, ValueChange, with_timeout

from fdht.compiler.image import Image
from fdht.compiler.machine import Events, Run
from fdht.hw.engine.signatures import output_word
from fdht.hw.engine.tally import LATENCY
from fdht.hw.engine.trace import array_event, cell_event, hidden_event, result_event, unit_event
from fdht.sim.scoreboard import Scoreboard
from fdht.spec.clips import in_sending_order
from fdht.spec.instructions import UNITS
from fdht.spec.protocol import OutputKind
from fdht.spec.rounds import Frame, framed, rounds
from fdht.spec.tallies import tallies

PERIOD = 10
"""Nanoseconds of a clock cycle; any would do."""

WATCH_ON = 64
"""Cycles to keep watching for results too many after the last."""


@cocotb.test()
async def run(dut) -> None:
    """Runs every job folder in the order of their numbers and leaves a report.json in each."""
    work = Path(os.environ["FDHT_JOBS"])
    cocotb.start_soon(Clock(dut.clk, PERIOD, unit="ns").start())
    for folder in sorted((path for path in work.iterdir() if path.name.isdigit()), key=lambda path: int(path.name)):
        await run_job(dut, folder)
    (work / "finished").touch()


async def run_job(dut, folder: Path) -> None:
    """Resets the engine, loads an image, runs its clips."""
    job = json.loads((folder / "job.json").read_text())
    image = Image.load(folder / "expected.image")
    clips = np.load(folder / "clips.npy")
    initial = np.load(folder / "initial.npy") if (folder / "initial.npy").exists() else None
    bench = Bench(dut, image, job["pauses"])
    await bench.reset()
    await bench.load(np.load(folder / "loaded.npy"))
    report = defaultdict(list)
    before = None
    for number, clip in enumerate(clips):
        frames = image.known(map(Frame.of, job["frames"][number])) if "frames" in job else None
        if frames is None:
            expected = image.machine.run(clip, initial, job["every_h"], before)
        else:
            expected = image.machine.run_streams(frames, clip, job["every_h"], before)
        options = initial, job["every_h"], before is not None, frames
        for name, value in (await bench.run(clip, expected, *options)).items():
            report[name].append(value)
        before = expected if job["keep"] else None
        (folder / f"clip-{number}").touch()
    bench.stop()
    board = bench.scoreboard
    totals = {"words_compared": board.compared, "words_expected": board.expected, "mismatches": board.mismatches}
    (folder / "report.json").write_text(json.dumps(report | totals))


class Bench:
    """One engine under test, loaded with one image."""

    def __init__(self, dut, image: Image, pauses: int | None):
        self.dut, self.image, self.target = dut, image, image.target
        self.random = None if pauses is None else random.Random(pauses)
        self.scoreboard = Scoreboard(check_cycles=pauses is None)
        self.start_time = 0.0
        self.step_ends: list[int] = []
        self.started: dict[str, list[int]] = {}
        self.ended: dict[str, list[int]] = {}
        self.running = 0
        self.last_input = self.last_output = 0
        self._monitors = []

    async def reset(self) -> None:
        dut = self.dut
        for name in ("image__valid", "image__payload", "x__valid", "x__payload", "state__valid", "state__payload"):
            getattr(dut, name).value = 0
        for name in ("start", "steps", "use_state", "every_h", "keep", "out__ready"):
            getattr(dut, name).value = 0
        dut.rst.value = 1
        for _ in range(4):
            await FallingEdge(dut.clk)
        dut.rst.value = 0
        await FallingEdge(dut.clk)
        self._monitors = [
            cocotb.start_soon(monitor)
            for monitor in (
                self._watch("array_trace", self._array_event),
                self._watch("result_trace", self._result_event),
                self._watch("hidden_trace", self._hidden_event),
                self._watch("cell_trace", self._cell_event),
                self._watch("unit_trace", self._unit_event),
                self._watch_output(),
                self._watch_running(),
            )
        ]

    def stop(self) -> None:
        for monitor in self._monitors:
            monitor.cancel()

    async def load(self, words: np.ndarray) -> None:
        dut = self.dut
        dut.image__valid.value = 1
        for word in words.tolist():
            dut.image__payload.value = word
            await FallingEdge(dut.clk)
        dut.image__valid.value = 0
        await FallingEdge(dut.clk)

    async def run(
        self,
        clip: np.ndarray,
        expected: Run,
        initial: np.ndarray | None,
        every_h: bool,
        keep: bool,
        frames: list[Frame] | None = None,
    ) -> dict:
        """Runs one clip and compares everything it writes.

        Args:
            frames: whose its steps are, of an image of several streams.
        """
        dut, image = self.dut, self.image
        self.step_ends = []
        self.started, self.ended = ({unit.name: [] for unit in UNITS} for _ in range(2))
        self.scoreboard.expect("array", expected.array)
        self.scoreboard.expect("results", expected.results)
        self.scoreboard.expect("hidden", expected.hidden)
        self.scoreboard.expect("cell", expected.cell)
        outputs = np.array(expected.outputs, dtype=np.int64).reshape(-1, 3)
        never = np.full(len(outputs), -1)
        self.scoreboard.expect("output", Events(never, outputs[:, ::2], outputs[:, 1]))
        drivers = [cocotb.start_soon(self._drive("x", beats(clip, image, frames)))]
        if initial is not None and not keep:
            words = [int(word) & (1 << self.target.data_width) - 1 for word in initial.ravel()]
            drivers.append(cocotb.start_soon(self._drive("state", words)))

        dut.steps.value = len(clip) if frames is None else len(rounds(frames, image.machine.streams))
        dut.use_state.value = int(initial is not None)
        dut.every_h.value = int(every_h)
        dut.keep.value = int(keep)
        dut.start.value = 1
        self.start_time = get_sim_time("ns") - PERIOD / 2
        await FallingEdge(dut.clk)
        dut.start.value = 0
        # Generous: input and output pauses at most triple the time, plus what the drivers need.
        limit = 4 * expected.cycles + 8 * clip.size + 20_000
        try:
            await with_timeout(_falls(dut.busy, dut.clk), limit * PERIOD, "ns")
            for driver in drivers:
                await with_timeout(driver, limit * PERIOD, "ns")
        except SimTimeoutError:
            self.scoreboard.mismatches.append(f"the run was not over after {limit} cycles")
        for _ in range(WATCH_ON):
            await FallingEdge(dut.clk)
        if int(dut.collision.value):
            self.scoreboard.mismatches.append("the scratchpad saw two accesses that no program may make in one cycle")
        if self.random is None and self.running != expected.cycles:
            self.scoreboard.mismatches.append(f"the run took {self.running} cycles, {expected.cycles} were predicted")
        counts = [int(count.value) for count in (dut.cycles, dut.saturations)]
        wanted = [self.running, expected.saturations] if self.target.build.features.counters else [0, 0]
        if counts != wanted:
            self.scoreboard.mismatches.append(
                f"{counts[0]} cycles and {counts[1]} clipped words were counted, {wanted[0]} and {wanted[1]} expected"
            )
        if self.target.build.features.tallies:
            await self._check_tallies(expected)
        seen = np.array(self.scoreboard.finish()["output"], dtype=np.int64).reshape(-1, 3)
        logits = int((outputs[:, 0] == OutputKind.LOGIT).sum())
        if frames is None:
            logits = prod(image.task.shape(len(clip), image.classes))
        of_layers = 0 if frames is not None else image.layers * image.hidden
        return {
            "cycles_predicted": expected.cycles,
            "cycles_simulated": self.running,
            "stalls": int(dut.stalls.value),
            "step_ends": self.step_ends[-len(clip) :],  # without STATE's
            "last_input": self.last_input,
            "last_output": self.last_output,
            "saturations": int(dut.saturations.value),
            "executed": {unit: list(zip(self.started[unit], self.ended[unit], strict=False)) for unit in self.started},
            "hidden": _last(seen, OutputKind.HIDDEN, of_layers),
            "cells": _last(seen, OutputKind.CELL, of_layers),
            "logits": _last(seen, OutputKind.LOGIT, logits),
        }

    async def _check_tallies(self, expected: Run) -> None:
        """Reads all counts, one after the other."""
        dut, streams = self.dut, self.target.streams
        for index in range(tallies(self.target)):
            dut.tally_index.value = index
            for _ in range(LATENCY + 1):
                await FallingEdge(dut.clk)
            wanted = expected.steps[index] if index < streams else expected.clipped[index - streams]
            if int(dut.tally.value) != wanted:
                what = (
                    f"steps of stream {index}" if index < streams else f"words clipped by instruction {index - streams}"
                )
                self.scoreboard.mismatches.append(f"{int(dut.tally.value)} {what} were counted, {wanted} expected")

    def _cycle(self) -> int:
        """The cycle, counted from `start`, whose end is now: trace registers change one edge after the write."""
        return round((get_sim_time("ns") - self.start_time) / PERIOD) - 1

    def _now(self) -> int:
        """The cycle, counted from `start`, in whose middle it is now."""
        return int((get_sim_time("ns") - self.start_time) // PERIOD)

    async def _watch(self, name: str, handle) -> None:
        count, event = getattr(self.dut, f"{name}_count"), getattr(self.dut, f"{name}_event")
        while True:
            await ValueChange(count)
            await ReadOnly()
            handle(self._cycle(), event.value.to_unsigned())

    def _array_event(self, cycle: int, bits: int) -> None:
        self._word("array", cycle, _split(bits, array_event(self.target)))

    def _result_event(self, cycle: int, bits: int) -> None:
        self._word("results", cycle, _split(bits, result_event(self.target)))

    def _word(self, channel: str, cycle: int, fields: dict[str, int]) -> None:
        lanes = _lanes(fields["data"], self.target.columns, self.target.data_width)
        self.scoreboard.saw(channel, cycle, (fields["address"],), lanes)

    def _hidden_event(self, cycle: int, bits: int) -> None:
        units = self.image.layers * self.image.hidden
        for unit in self._states("hidden", cycle, _split(bits, hidden_event(self.target))):
            if unit % units == units - 1:
                self.step_ends.append(cycle)

    def _cell_event(self, cycle: int, bits: int) -> None:
        self._states("cell", cycle, _split(bits, cell_event(self.target)))

    def _unit_event(self, cycle: int, bits: int) -> None:
        fields = _split(bits, unit_event(self.target))
        for k, unit in enumerate(UNITS):
            for name, cycles in (("started", self.started), ("ended", self.ended)):
                if fields[name] >> k & 1 and unit.name in cycles:  # before the first run nothing is
                    cycles[unit.name].append(cycle)

    def _states(self, channel: str, cycle: int, fields: dict[str, int]) -> list[int]:
        """Takes note of h or c, of each of the gates that are computed side by side; returns the units written."""
        gates, mask = self.target.gates, fields.get("mask", 1)
        values = _lanes(fields["data"], gates, self.target.data_width)
        lanes = [lane for lane in range(gates) if mask >> lane & 1]
        for lane in lanes:
            place = lane * (self.target.hidden // gates) + fields["address"]
            self.scoreboard.saw(channel, cycle, (place,), (values[lane],))
        return [fields["address"]] * len(lanes)

    async def _watch_running(self) -> None:
        """Counts the cycles of each run, beside the engine's own count."""
        running = self.dut.running
        while True:
            await RisingEdge(running)
            began = get_sim_time("ns")
            await FallingEdge(running)
            self.running = round((get_sim_time("ns") - began) / PERIOD)

    async def _watch_output(self) -> None:
        dut = self.dut
        dut.out__ready.value = 1
        while True:
            if self.random is None and not int(dut.out__valid.value):
                await RisingEdge(dut.out__valid)
            await FallingEdge(dut.clk)
            # A transfer happens at the next rising edge if both are high now and stay so.
            ready = 1 if self.random is None else int(self.random.random() < 0.6)
            dut.out__ready.value = ready
            await ReadOnly()
            if int(dut.out__valid.value) and ready:
                fields = _split(int(dut.out__payload.value), output_word(self.target))
                value = _signed(fields["value"], self.target.data_width)
                self.last_output = self._now()
                self.scoreboard.saw("output", -1, (fields["kind"], fields["last"]), (value,))

    async def _drive(self, name: str, words: list[int]) -> None:
        dut = self.dut
        valid, ready, payload = (getattr(dut, f"{name}__{member}") for member in ("valid", "ready", "payload"))
        taken = 0
        for word in words:
            if self.random is not None:
                while self.random.random() < 0.3:
                    valid.value = 0
                    await FallingEdge(dut.clk)
            valid.value = 1
            payload.value = word
            await ReadOnly()
            while not int(ready.value):
                if self.random is None:  # then nothing can raise `ready` at a falling edge, where it would be missed
                    await RisingEdge(ready)
                await FallingEdge(dut.clk)
                await ReadOnly()
            taken = self._now()
            await FallingEdge(dut.clk)
        valid.value = 0
        if name == "x":
            self.last_input = taken


def beats(clip: np.ndarray, image: Image, frames: list[Frame] | None = None) -> list[int]:
    """The beats of the input stream for a clip of raw words (steps × N): each step fills whole ones, and
    so does the word in front of a stream's frame.
    """
    lanes, width = image.target.input_lanes, image.target.input_width
    sent = in_sending_order(clip, image.order).astype(np.int64)
    padded = np.pad(sent, ((0, 0), (0, -sent.shape[1] % lanes)))
    if frames is not None:
        padded = np.concatenate(framed(padded, frames, lanes))
    groups = (padded & (1 << width) - 1).reshape(-1, lanes).tolist()
    return [sum(raw << lane * width for lane, raw in enumerate(group)) for group in groups]


def _last(outputs: np.ndarray, kind: OutputKind, count: int) -> list[int]:
    """The last `count` words of a kind; 0 for what never came (which the scoreboard has reported)."""
    values = outputs[outputs[:, 0] == kind][-count:, 2].tolist() if count else []
    return values + [0] * (count - len(values))


# These do what `layout.from_bits` of Amaranth does, for every word that is written: a word of 8 lanes takes 0.2 ms so,
# and 0.8 ms with from_bits.


def _split(bits: int, layout: StructLayout) -> dict[str, int]:
    """The fields of a packed struct, as unsigned integers."""
    return {str(name): bits >> field.offset & (1 << Shape.cast(field.shape).width) - 1 for name, field in layout}


def _signed(bits: int, width: int) -> int:
    return bits - (1 << width) if bits >> width - 1 else bits


def _lanes(bits: int, lanes: int, width: int) -> tuple[int, ...]:
    return tuple(_signed(bits >> lane * width & (1 << width) - 1, width) for lane in range(lanes))


async def _falls(signal, clock) -> None:
    """Until `signal` is low, looked at in the middle of a cycle."""
    while int(signal.value):
        await ValueChange(signal)
        await FallingEdge(clock)
