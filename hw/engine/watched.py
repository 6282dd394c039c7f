"""The engine with wires to see its units at work: what runs in a page."""

from amaranth.hdl import Cat, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.hw.engine.accelerator import Accelerator
from fdht.hw.engine.signatures import output_word
from fdht.spec.instructions import UNITS, WORD
from fdht.spec.target import Target


class WatchedEngine(Component):
    """An Accelerator, and beside its results when each unit begins and ends an instruction.

    Args:
        target: what is built.

    Members:
        image, x, out, start, steps, busy, running: as the Accelerator's. Every run begins
            with h and c of zero, and of h sends what the image's task has at its end.
        started, ended (Out): a bit for each unit, in the order of fdht.spec.instructions.UNITS: in this cycle it begins
            an instruction, and has done one. Instructions end in the order in which they began.

    Costs: those of the Accelerator; latency 0 from a unit to its bit.
    """

    def __init__(self, target: Target):
        self._engine = Accelerator(target)
        super().__init__(
            {
                "image": In(stream.Signature(WORD)),
                "x": In(stream.Signature(data.ArrayLayout(target.input_width, target.input_lanes))),
                "out": Out(stream.Signature(output_word(target))),
                "start": In(1),
                "steps": In(16),
                "busy": Out(1),
                "running": Out(1),
                "started": Out(len(UNITS)),
                "ended": Out(len(UNITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = self._engine
        for name in ("image", "x"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(engine, name))
        wiring.connect(m, engine.out, wiring.flipped(self.out))
        units = [engine.sequencers[unit] for unit in UNITS]
        m.d.comb += [
            engine.start.eq(self.start),
            engine.steps.eq(self.steps),
            self.started.eq(Cat(unit.start for unit in units)),
            self.ended.eq(Cat(unit.done & unit.busy for unit in units)),  # a loader that was reset says so at once
            self.busy.eq(engine.busy),
            self.running.eq(engine.running),
        ]
        return m
