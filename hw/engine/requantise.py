"""From accumulators to data words."""

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed
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
        width, result, pipeline = self._target.accumulator_width, self._target.data, self._target.pipeline
        m.d.comb += self.o_valid.eq(delay(m, self.i_valid, timing.requantise(self._target), "valid", reset_less=False))

        # Shifted in parts, the upper bits of the shift first, to halves of the result's last bit.
        value: Value = delay(m, self.i, pipeline.requantise, "i") << 1
        shift = delay(m, self.shift, pipeline.requantise, "shift", keep=True)  # constant: a copy near by
        above = len(shift)
        for name, later in (("coarse", 4), ("middle", 2), ("half", 0))[-pipeline.shift :]:
            part = Signal(signed(width + 1), name=name, reset_less=True)
            m.d.sync += part.eq(value >> Cat(C(0, later), shift[later:above]))
            value, above = part, later

        total = Signal(signed(width + 2), reset_less=True)
        m.d.sync += total.eq((value + Cat(C(1, 1), self.bias).as_signed()) >> 1)
        outside = total[result.width - 1 :]
        judged = pipeline.saturate - 1
        low, negative, clipped = (
            delay(m, part, judged, name)
            for part, name in (
                (total[: result.width].as_signed(), "low"),
                (total[-1], "negative"),
                (outside != total[-1].replicate(len(outside)), "clipped"),
            )
        )
        m.d.comb += [
            self.o.eq(delay(m, Mux(clipped, Mux(negative, result.min, result.max), low), 1, "o")),
            self.o_saturated.eq(delay(m, clipped, 1, "o_saturated")),
        ]
        return m


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
