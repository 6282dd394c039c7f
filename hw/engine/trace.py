"""What a simulation watches: every result the engine writes, with the cycle it was written in."""

from amaranth.hdl import Module, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.spec.instructions import UNITS, Widths
from fdht.spec.target import Target


def array_event(target: Target) -> data.StructLayout:
    """A word written to the scratchpad by the contraction unit."""
    word = data.ArrayLayout(signed(target.data_width), target.columns)
    return data.StructLayout({"address": Widths(target).address, "data": word})


def result_event(target: Target) -> data.StructLayout:
    """A word stored in the result memory."""
    word = data.ArrayLayout(signed(target.data_width), target.columns)
    return data.StructLayout({"address": Widths(target).result, "data": word})


def hidden_event(target: Target) -> data.StructLayout:
    """A hidden state written by the gate unit: h."""
    return _state_event(target)


def cell_event(target: Target) -> data.StructLayout:
    """A cell state written by the gate unit: c."""
    return _state_event(target)


def unit_event(target: Target) -> data.StructLayout:
    """Instructions that begin and end in one cycle: a bit for each unit, in the order of fdht.spec.instructions.UNITS.
    Those of a unit end in the order in which they began.
    """
    return data.StructLayout({"started": len(UNITS), "ended": len(UNITS)})


def _state_event(target: Target) -> data.StructLayout:
    """A state; where several gates are computed side by side, one of each, and which of them are written."""
    unit, state = Widths(target).unit, signed(target.data_width)
    if target.gates == 1:
        return data.StructLayout({"address": unit, "data": state})
    return data.StructLayout({"address": unit, "mask": target.gates, "data": data.ArrayLayout(state, target.gates)})


class EventPort(Component):
    """Holds the last event and counts them, so that a change of `count` is an event in the cycle before.

    Args:
        shape: of an event.

    Members:
        valid (In), i (In): an event, in this cycle.
        count (Out), event (Out): how many there were, modulo 2^16, and the last.

    Costs: latency 1; nothing in a bitstream, where its outputs are left open, so that synthesis removes it.
    """

    def __init__(self, shape: data.StructLayout):
        super().__init__({"valid": In(1), "i": In(shape), "count": Out(16), "event": Out(shape)})

    def elaborate(self, platform):
        m = Module()
        with m.If(self.valid):
            m.d.sync += [self.count.eq(self.count + 1), self.event.eq(self.i)]
        return m
