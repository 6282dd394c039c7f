"""From accumulators to data words."""

from amaranth.hdl import C, Cat, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component, delay
from fdht.spec import timing
from fdht.spec.instructions import Widths
from fdht.spec.target import Target


class Requantiser(Component):
    """result = saturate(round(accumulator >> shift) + bias), rounding half up.

    One lane; no flow control.

    Args:
        target: of the engine.

    Members:
        i, i_valid (In): accumulator. bias (In): its bias, timing.bias() later; 0 for none.
        shift (In): constant while anything is in flight.
        o, o_valid (Out): the result. o_saturated (Out): it was clipped.

    Costs: latency timing.requantise(); a word per cycle.
    """

    def __init__(self, target: Target):
        self._target = target
        super().__init__(
            {
                "i": In(signed(target.accumulator_width)),
                "i_valid": In(1),
                "bias": In(signed(target.data_width)),
                "shift": In(Widths(target).shift),
                "o": Out(signed(target.data_width)),
                "o_valid": Out(1),
                "o_saturated": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        if not self._target.compact:
            self._elaborate_pipelined(m)
            return m
        data = self._target.data
        half = Signal(signed(self._target.accumulator_width + 1), reset_less=True)  # halves of the result's last bit
        total = Signal(signed(self._target.accumulator_width + 2), reset_less=True)
        valid = Signal(timing.requantise(self._target))
        above = total[data.width - 1 :]
        clipped = above != total[-1].replicate(len(above))
        m.d.comb += self.o_valid.eq(valid[-1])
        m.d.sync += [
            valid.eq((valid << 1) | self.i_valid),
            half.eq((self.i << 1) >> self.shift),
            total.eq((half + Cat(C(1, 1), self.bias).as_signed()) >> 1),
            self.o.eq(Mux(clipped, Mux(total[-1], data.min, data.max), total)),
            self.o_saturated.eq(clipped),
        ]
        return m

    def _elaborate_pipelined(self, m: Module) -> None:
        width, data = self._target.accumulator_width, self._target.data
        valid = delay(m, self.i_valid, timing.requantise(self._target), "valid", reset_less=False)
        i = delay(m, self.i, 1, "i")
        shift = delay(m, self.shift, 1, "shift", keep=True)  # constant: a copy near by
        coarse, middle, half = (
            Signal(signed(width + 1), name=name, reset_less=True) for name in ("coarse", "middle", "half")
        )
        total = Signal(signed(width + 2), reset_less=True)
        low = Signal(signed(data.width), reset_less=True)
        negative, clipped = Signal(reset_less=True), Signal(reset_less=True)
        above = total[data.width - 1 :]
        m.d.sync += [
            coarse.eq((i << 1) >> Cat(C(0, 4), shift[4:])),
            middle.eq(coarse >> Cat(C(0, 2), shift[2:4])),
            half.eq(middle >> shift[:2]),
            total.eq((half + Cat(C(1, 1), self.bias).as_signed()) >> 1),
            low.eq(total),
            negative.eq(total[-1]),
            clipped.eq(above != total[-1].replicate(len(above))),
        ]
        result = Mux(clipped, Mux(negative, data.min, data.max), low)
        m.d.comb += [
            self.o_valid.eq(valid),
            self.o.eq(delay(m, result, 1, "o")),
            self.o_saturated.eq(delay(m, clipped, 1, "o_saturated")),
        ]


class Transposer(Component):
    """Turns every Q rows of Q lanes into Q words whose lanes are rows.

    A block is collected row by row, handed over whole, and sent while the next is collected. Only the first
    `emit` + 1 words are sent: the old lanes in use.

    Args:
        target: of the engine.

    Members:
        i, i_valid (In): rows; at most one per cycle, in multiples of Q.
        emit (In): words per block, less one; constant while anything is in flight.
        o, o_valid (Out): words, on consecutive cycles.

    Costs: latency timing.TRANSPOSE from a block's last row to its first word; a row and a word per cycle; 2 Q² data
    registers.
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
        late = delay(m, self.i, 1, "late")
        collected = [Signal(word, name=f"collected_{k}", reset_less=True) for k in range(size - 1)]
        block = [Signal(word, name=f"block_{k}", reset_less=True) for k in range(size)]
        rows = [*collected, late]
        count = Signal(range(size))
        left = Signal(range(size + 1))

        arrived = [self.i_valid & (count == k) for k in range(size)]
        complete = delay(m, arrived[-1], 1, "complete", reset_less=False)
        m.d.comb += self.o.eq(block[0])
        # `left` falls in every cycle: what is 2 or more now is not 0 in the next, in which o_valid is seen.
        m.d.sync += self.o_valid.eq(complete | (left[1:] != 0))
        with m.If(self.i_valid):
            m.d.sync += count.eq(Mux(count == size - 1, 0, count + 1))
        for k in range(size - 1):
            with m.If(delay(m, arrived[k], 1, f"arrived_{k}", reset_less=False)):
                m.d.sync += collected[k].eq(late)
        with m.If(complete):
            m.d.sync += left.eq(self.emit + 1)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        for k in range(size):  # each word has its own copy of what so many registers look at
            with m.If(delay(m, arrived[-1], 1, f"complete_{k}", keep=True)):
                m.d.sync += [block[k][row].eq(rows[row][k]) for row in range(size)]
            with m.Elif(k + 1 < size):  # also when nothing is left: an enable for so many would come late
                m.d.sync += block[k].eq(block[(k + 1) % size])
        return m
