"""The systolic array: P × Q multiply-accumulators, output-stationary, wired neighbour to neighbour."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from hw.component import Component
from hw.technology import MultiplyAccumulate
from spec import timing
from spec.target import Target


class ProcessingElement(Component):
    """One multiply-accumulator and its place in the drain chain of its column.

    Factors come from the left, data from above; both leave one cycle later, in a compact array data at once. `valid`
    and `last` ride with the factors, so the element needs no other control: a finished sum goes to the drain register.
    In the cycles of `shift` the drain register takes over the one above.

    Members:
        factor_i, data_i (In), factor_o, data_o (Out): operands.
        control_i (In), control_o (Out): last and valid of the operands in the same cycle.
        shift_i (In), shift_o (Out): drain window of the row.
        drain_i (In), drain_o (Out): the column's drain chain, towards the last row.

    Costs: 1 multiplier; one multiply-accumulate per cycle; operands to drain register timing.accumulate() + 1 cycles.
    """

    def __init__(self, target: Target):
        self._target = target
        control = data.StructLayout({"valid": 1, "last": 1})
        operand, factor = signed(target.data_width), signed(target.factor_width)
        accumulator = signed(target.accumulator_width)
        super().__init__(
            {
                "factor_i": In(factor),
                "factor_o": Out(factor),
                "data_i": In(operand),
                "data_o": Out(operand),
                "control_i": In(control),
                "control_o": Out(control),
                "shift_i": In(1),
                "shift_o": Out(1),
                "drain_i": In(accumulator),
                "drain_o": Out(accumulator),
            }
        )

    def elaborate(self, platform):
        m = Module()
        target = self._target
        m.submodules.mac = mac = MultiplyAccumulate(
            target.data_width, target.factor_width, target.accumulator_width, target.compact, target.technology
        )
        m.d.comb += [
            mac.a.eq(self.data_i),
            mac.b.eq(self.factor_i),
            mac.valid.eq(self.control_i.valid),
            mac.last.eq(self.control_i.last),
        ]
        m.d.sync += [
            self.factor_o.eq(self.factor_i),
            self.control_o.eq(self.control_i),
            self.shift_o.eq(self.shift_i),
        ]
        if target.compact:
            m.d.comb += self.data_o.eq(self.data_i)
        else:
            m.d.sync += self.data_o.eq(self.data_i)
        drain = Signal.like(self.drain_o, reset_less=True)
        m.d.comb += self.drain_o.eq(drain)
        with m.If(mac.finished):
            m.d.sync += drain.eq(mac.o)
        with m.Elif(self.shift_i):
            m.d.sync += drain.eq(self.drain_i)
        return m


class SystolicArray(Component):
    """P × Q processing elements with the skew of their operands and the drain of their results.

    A word of P factors and a word of Q data enter together; row p sees its factor p cycles later, column q
    its data q cycles later. Tiles may follow each other every timing.period() cycles.

    In a compact array all rows see their operands at once, finish together and leave by the same chain. In others,
    row p of a column finishes p cycles after row 0. The last row's sum leaves at once; then the chain shifts P - 1
    times, row p only during the first p of these cycles, so that it is free for the next tile's sum. One counter at
    the array's left edge opens these windows, which travel right with the operands: exact for every K >= P, without
    any collision. The words leave in the order of rows P - 1 ... 0, which the compiler undoes by loading row P - 1 - p
    with the factors of row p.

    Members:
        factors (In): P factors. data (In): Q data lanes.
        control (In): valid and last of a tile's K operand pairs.
        o (Out): one row of Q accumulators; o_valid (Out): in this cycle.

    Costs: P × Q multipliers; first row of a tile timing.drain() - timing.READ cycles after its `last`
    operands, then one row per cycle.
    """

    def __init__(self, target: Target):
        self._target = target
        super().__init__(
            {
                "factors": In(data.ArrayLayout(signed(target.factor_width), target.rows)),
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
        rows, columns = self._target.rows, self._target.columns

        def row_skew(row: int) -> int:
            return timing.row_skew(self._target, row)

        def delay(value, cycles: int, name: str, *, reset_less: bool = False):
            for k in range(cycles):
                register = Signal(value.shape(), name=f"{name}_{k}", reset_less=reset_less)
                m.d.sync += register.eq(value)
                value = register
            return value

        def skew(value, cycles: int, name: str):
            return delay(value, cycles, name, reset_less=True)

        elements = [[ProcessingElement(self._target) for _ in range(columns)] for _ in range(rows)]
        control = self.control
        for p in range(rows):
            for q in range(columns):
                element = elements[p][q]
                m.submodules[f"element_{p}_{q}"] = element
                left = elements[p][q - 1] if q else None
                above = elements[p - 1][q] if p else None
                m.d.comb += [
                    element.factor_i.eq(left.factor_o if left else skew(self.factors[p], row_skew(p), f"factor_{p}")),
                    element.control_i.eq(left.control_o if left else control),
                    element.data_i.eq(above.data_o if above else skew(self.data[q], q, f"data_{q}")),
                    element.drain_i.eq(above.drain_o if above else 0),
                ]
            control = delay(control, row_skew(1), f"control_{p}")

        # `finished` is high in the cycle in which the last row of column 0 shows its sum.
        last = self.control.valid & self.control.last
        finished = delay(last, row_skew(rows - 1) + timing.accumulate(self._target) + 1, "finished")
        shifts = Signal(range(rows + 1), init=rows)
        window = Signal(range(rows + 1))
        leaving = Signal()
        m.d.comb += [window.eq(Mux(finished, 0, shifts)), leaving.eq(window < rows)]
        with m.If(finished):
            m.d.sync += shifts.eq(1)
        with m.Elif(shifts != rows):
            m.d.sync += shifts.eq(shifts + 1)
        for p in range(rows):
            m.d.comb += elements[p][0].shift_i.eq(leaving if self._target.compact else window < p)
            for q in range(1, columns):
                m.d.comb += elements[p][q].shift_i.eq(elements[p][q - 1].shift_o)

        m.d.comb += [
            self.o_valid.eq(delay(leaving, columns - 1, "leaving")),
        ]
        for q in range(columns):
            m.d.comb += self.o[q].eq(skew(elements[rows - 1][q].drain_o, columns - 1 - q, f"result_{q}"))
        return m
