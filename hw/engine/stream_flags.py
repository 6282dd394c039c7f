"""Streams: what the engine knows of each, so that every unit knows which instructions it carries out."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.spec.instructions import Widths
from fdht.spec.target import Target

FRAME = data.StructLayout({"present": 1, "begins": 1, "ends": 1})
"""What is known of a stream: a frame of it is there, and what fdht.spec.rounds.Frame says of that one."""


class StreamFlags(Component):
    """Keeps of each stream what the last ADMIT said, what of that holds for the step that is computed, and whether its
    last STEP was carried out.

    Streams whose gates are computed side by side form a group: as many as there are gates, from a multiple of that on.

    Args:
        target: of the engine, with several streams.

    Members:
        clear (In): of no stream is there anything.
        loaded (In): the stream of the loader's instruction. admits (In), frame (In): an ADMIT of it ends so. opens
            (In): a step of it begins, `together` (In): and of its whole group. fresh (Out): of the group of `loaded`,
            whose sequence begins with the frame that the last ADMIT found.
        stepped (In): the stream of the gate unit's instruction. steps (In): that is a STEP on the condition that it is
            present, carried out or not. frames (Out): of the group of `stepped`.
        present, were_stepped, ended (Out): a bit per stream, or more up to a whole group: see
            fdht.spec.instructions.Condition.

    Costs: latency 1 from `admits`, `opens` and `steps`; no memory.
    """

    def __init__(self, target: Target):
        self._gates = gates = target.gates
        self._count = flags(target)
        stream = Widths(target).stream
        super().__init__(
            {
                "clear": In(1),
                "loaded": In(stream),
                "admits": In(1),
                "frame": In(FRAME),
                "opens": In(1),
                "together": In(1),
                "fresh": Out(gates),
                "stepped": In(stream),
                "steps": In(1),
                "frames": Out(data.ArrayLayout(FRAME, gates)),
                "present": Out(self._count),
                "were_stepped": Out(self._count),
                "ended": Out(self._count),
            }
        )

    def elaborate(self, platform):
        m = Module()
        gates, inside = self._gates, (self._gates - 1).bit_length()
        pending, now = ([Signal(FRAME, name=f"{name}_{k}") for k in range(self._count)] for name in ("pending", "now"))
        loaded, stepped = self.loaded[inside:], self.stepped[inside:]
        fresh = Cat(frame.begins for frame in pending)
        m.d.comb += self.fresh.eq(fresh.word_select(loaded, gates))
        for lane, frame in enumerate(self.frames):
            for name in FRAME.members:
                each = Cat(of[name] for of in now[lane::gates])
                m.d.comb += frame[name].eq(each.bit_select(stepped, 1))
        for k in range(self._count):
            of_loaded, beside = self.loaded == k, loaded == k // gates
            with m.If(self.admits & of_loaded):
                m.d.sync += pending[k].eq(self.frame)
            with m.If(self.opens & Mux(self.together, beside, of_loaded)):
                m.d.sync += now[k].eq(pending[k])
            with m.If(self.steps & (stepped == k // gates)):
                m.d.sync += [
                    self.were_stepped[k].eq(now[k].present),
                    self.ended[k].eq(now[k].present & now[k].ends),
                ]
            m.d.comb += self.present[k].eq(now[k].present)
        with m.If(self.clear):
            m.d.sync += [frame.eq(0) for frame in (*pending, *now)]
            m.d.sync += [self.were_stepped.eq(0), self.ended.eq(0)]
        return m


def flags(target: Target) -> int:
    """How many streams are told apart: those of the target, up to a whole group."""
    return -(-target.streams // target.gates) * target.gates
