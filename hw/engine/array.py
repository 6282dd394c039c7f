"""The systolic array: P × Q multiply-accumulators, output-stationary, wired neighbour to neighbour."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component, delay
from fdht.hw.technology import MultiplyAccumulate, multiplier_site
from fdht.spec import timing
from fdht.spec.instructions import Widths
from fdht.spec.target import Target


class ProcessingElement(Component):
    """One multiply-accumulator and its place in the drain chain of its column.

    Factors come from the left, data from above; factors leave timing.column_skew(), data timing.row_skew() of a hop
    later. `valid` and `last` ride with the factors, so the element needs no other control: a finished sum goes to the
    drain register, which in all other cycles takes over the one above. Elements of a diagonal have equal controls;
    where rows are skewed each keeps registers of its own, so that wires are short.

    Args:
        target: of the engine.
        at: row and column, for the floor plan.

    Members:
        factor_i, data_i (In), factor_o, data_o (Out): operands.
        control_i (In), control_o (Out): `valid` and `last` of the operands in the same cycle.
        drain_i (In), drain_o (Out): the column's drain chain, towards the last row.

    Costs: latency timing.accumulate() + 1 from a sum's last operands to the drain register; a multiply-accumulate per
    cycle; 1 multiplier.
    """

    def __init__(self, target: Target, at: tuple[int, int]):
        self._target = target
        self._at = at
        control = data.StructLayout({"valid": 1, "last": 1})
        operand, factor = signed(target.data_width), signed(Widths(target).operand)
        accumulator = signed(target.accumulator_width)
        super().__init__(
            {
                "factor_i": In(factor),
                "factor_o": Out(factor),
                "data_i": In(operand),
                "data_o": Out(operand),
                "control_i": In(control),
                "control_o": Out(control),
                "drain_i": In(accumulator),
                "drain_o": Out(accumulator),
            }
        )

    def elaborate(self, platform):
        m = Module()
        target = self._target
        m.submodules.mac = mac = MultiplyAccumulate(
            target.data_width,
            Widths(target).operand,
            target.accumulator_width,
            target.pipeline.multiply,
            target.pipeline.sums_inside,
            target.build.technology,
            multiplier_site(platform, target.columns, *self._at) if target.build.pinned else "",
        )
        drain = Signal.like(self.drain_o, reset_less=True)
        m.d.sync += drain.eq(Mux(mac.finished, mac.o, self.drain_i))
        m.d.comb += [
            mac.a.eq(self.data_i),
            mac.b.eq(self.factor_i),
            mac.valid.eq(self.control_i.valid),
            mac.last.eq(self.control_i.last),
            self.drain_o.eq(drain),
            self.factor_o.eq(delay(m, self.factor_i, timing.column_skew(target, 1), "factor")),
            self.data_o.eq(delay(m, self.data_i, timing.row_skew(target, 1), "data")),
            self.control_o.eq(
                delay(m, self.control_i, timing.column_skew(target, 1), "control", keep=timing.row_skew(target, 1) > 0)
            ),
        ]
        return m


class SystolicArray(Component):
    """P × Q processing elements with the skew of their operands and the drain of their results.

    A word of P factors and a word of Q data enter together; row p sees its factor timing.row_skew(), column q its data
    timing.column_skew() cycles later. Passes may follow each other every timing.period() cycles.

    Finished sums move down their column one row per cycle. Where rows are skewed, operands take two cycles per row, so
    a row's sum is finished just when that of the row above has passed: row 0 leaves first, and nothing waits. Without
    skew all rows finish together, and row P - 1 leaves first. Either way no sum meets another, nor one of the next
    pass, as long as passes are P cycles apart or more.

    Rows so leave in the reverse order of the factor lanes: without skew row p is fed from lane p, with it from lane
    P - 1 - p. The compiler makes up for it by loading every pass's factors upside down.

    Args:
        target: of the engine.

    Members:
        factors (In): P factors. data (In): Q data lanes.
        control (In): `valid` and `last` of a pass's K operand pairs, in consecutive cycles.
        o (Out): one row of Q accumulators. o_valid (Out): there is one in this cycle.

    Costs: latency timing.drain() - timing.address() - timing.read() from a pass's last operands to its first row, then
    a row per cycle; a pass every timing.period() cycles; P × Q multipliers.
    """

    def __init__(self, target: Target):
        self._target = target
        super().__init__(
            {
                "factors": In(data.ArrayLayout(signed(Widths(target).operand), target.rows)),
                "data": In(data.ArrayLayout(signed(target.data_width), target.columns)),
                "control": In(data.StructLayout({"valid": 1, "last": 1})),
                "o": Out(data.ArrayLayout(signed(target.accumulator_width), target.columns)),
                "o_valid": Out(1),
            }
        )

    @property
    def multipliers(self) -> int:
        return self._target.multipliers

    def elaborate(self, platform):
        m = Module()
        target = self._target
        rows, columns = target.rows, target.columns
        elements = [[ProcessingElement(target, (p, q)) for q in range(columns)] for p in range(rows)]
        control = self.control
        for p in range(rows):
            factor = self.factors[rows - 1 - p if timing.row_skew(target, 1) else p]
            for q in range(columns):
                element = elements[p][q]
                m.submodules[f"element_{p}_{q}"] = element
                west = elements[p][q - 1] if q else None
                north = elements[p - 1][q] if p else None
                if west:
                    m.d.comb += [element.factor_i.eq(west.factor_o), element.control_i.eq(west.control_o)]
                else:
                    skewed = delay(m, factor, timing.row_skew(target, p), f"factor_{p}")
                    m.d.comb += [element.factor_i.eq(skewed), element.control_i.eq(control)]
                if north:
                    m.d.comb += [element.data_i.eq(north.data_o), element.drain_i.eq(north.drain_o)]
                else:
                    skewed = delay(m, self.data[q], timing.column_skew(target, q), f"data_{q}")
                    m.d.comb += element.data_i.eq(skewed)
            control = delay(m, control, timing.row_skew(target, 1), f"control_{p}", keep=True)

        # Rows left to leave; set a cycle before a pass's first one does.
        last = self.control.valid & self.control.last
        latency = timing.drain(target) - timing.address(target) - timing.read(target) - 1
        first = delay(m, last, latency, "first", reset_less=False)
        left = Signal(range(rows + 1))
        with m.If(first):
            m.d.sync += left.eq(rows)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        # `left` falls in every cycle: what is 2 or more now is not 0 in the next, in which o_valid is seen.
        m.d.sync += self.o_valid.eq(first | (left[1:] != 0))
        for q in range(columns):
            late = timing.column_skew(target, columns - 1) - timing.column_skew(target, q)
            m.d.comb += self.o[q].eq(delay(m, elements[rows - 1][q].drain_o, late, f"result_{q}"))
        return m
