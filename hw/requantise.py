"""From accumulators to data words."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from hw.component import Component
from spec import timing
from spec.program import Widths
from spec.target import Target


class Requantiser(Component):
    """result = saturate(round((accumulator + (bias << bias_shift)) >> shift)), rounding half up.

    One lane; no flow control. The bias is one cycle's operand like the accumulator.

    Members:
        i, i_valid (In): accumulator. bias (In): its bias, 0 for none.
        shift, bias_shift (In): constant while anything is in flight.
        o, o_valid (Out): the result. o_saturated (Out): it was clipped.

    Costs: latency timing.REQUANTISE, one word per cycle; no multipliers.
    """

    def __init__(self, target: Target):
        self._target = target
        shift = Widths(target).shift
        super().__init__(
            {
                "i": In(signed(target.accumulator_width)),
                "i_valid": In(1),
                "bias": In(signed(target.data_width)),
                "shift": In(shift),
                "bias_shift": In(shift),
                "o": Out(signed(target.data_width)),
                "o_valid": Out(1),
                "o_saturated": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        wide = signed(self._target.accumulator_width)
        rounded = Signal(wide, reset_less=True)
        bias = Signal(wide, reset_less=True)
        total = Signal(wide, reset_less=True)
        scaled = Signal(wide)
        valid = Signal(timing.REQUANTISE)
        low, high = self._target.data.min, self._target.data.max
        m.d.comb += [
            scaled.eq(total >> self.shift),
            self.o_valid.eq(valid[-1]),
        ]
        half = Signal(self._target.accumulator_width)
        m.d.comb += half.eq((1 << self.shift) >> 1)
        m.d.sync += [
            valid.eq((valid << 1) | self.i_valid),
            rounded.eq(self.i + half.as_signed()),
            bias.eq(self.bias << self.bias_shift),
            total.eq(rounded + bias),
            self.o.eq(Mux(scaled > high, high, Mux(scaled < low, low, scaled))),
            self.o_saturated.eq((scaled > high) | (scaled < low)),
        ]
        return m


class Transposer(Component):
    """Turns every Q rows of Q lanes into Q words whose lanes are rows.

    A block is collected row by row, handed over whole, and sent while the next is collected. Only the first
    `emit` + 1 words are sent: the old lanes in use.

    Members:
        i, i_valid (In): rows; at most one per cycle, in multiples of Q.
        emit (In): words per block, less one; constant while anything is in flight.
        o, o_valid (Out): words, on consecutive cycles.

    Costs: 2 Q² data registers; first word timing.TRANSPOSE after a block's last row.
    """

    def __init__(self, target: Target):
        self._columns = target.columns
        word = data.ArrayLayout(signed(target.data_width), target.columns)
        super().__init__(
            {
                "i": In(word),
                "i_valid": In(1),
                "emit": In(Widths(target).lane),
                "o": Out(word),
                "o_valid": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        size, word = self._columns, self.i.shape()
        collected = [Signal(word, name=f"collected_{k}", reset_less=True) for k in range(size - 1)]
        block = [Signal(word, name=f"block_{k}", reset_less=True) for k in range(size)]
        rows = [*collected, self.i]
        count = Signal(range(size))
        left = Signal(range(size + 1))

        m.d.comb += [self.o.eq(block[0]), self.o_valid.eq(left != 0)]
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
            m.d.sync += [block[k].eq(block[k + 1]) for k in range(size - 1)]
        with m.If(self.i_valid):
            for k in range(size - 1):
                with m.If(count == k):
                    m.d.sync += collected[k].eq(self.i)
            m.d.sync += count.eq(count + 1)
            with m.If(count == size - 1):
                m.d.sync += [count.eq(0), left.eq(self.emit + 1)]
                m.d.sync += [block[lane][row].eq(rows[row][lane]) for lane in range(size) for row in range(size)]
        return m
