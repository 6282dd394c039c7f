"""Nested affine loops that produce addresses, one step per cycle."""

from collections.abc import Sequence
from functools import reduce
from operator import and_, or_

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.hw.engine.layout import layout
from fdht.spec.instructions import Array, Record


class AddressGenerator(Component):
    """Walks a loop nest; every level that steps adds its own jump to each address.

    Compilers turn strides into jumps (stride of the level less the distance its inner levels have covered),
    so that one adder per address serves any depth.

    Args:
        nest: record of the nest (see fdht.spec.instructions): bases, levels, and optionally a tail.
        registers: between a step and its address: 0, or 2 (which level stepped, and its jump).

    Members:
        nest (In): the nest; must be stable from `load` to the last step.
        load (In): start over; the first step may come in the next cycle.
        step (In): advance; at most one per cycle.
        address (Out): one registered field per address: where a step is taken from, `registers` after it.
        ends (Out): bit l: level l and all levels inside it are in their last iteration. They change in the cycle after
            `load` or `step`.
        last (Out): the whole nest is.

    Costs: latency 1 + `registers`; an address per cycle; an adder for each address of the nest.
    """

    def __init__(self, nest: Record, registers: int):
        levels = nest.fields["levels"]
        assert isinstance(levels, Array)
        self._bases = {name: nest.fields[name].bits for name in levels.element.fields if name != "count"}
        self._count_width = levels.element.fields["count"].bits
        self._tail = "tail_level" in nest.fields and nest.fields["tail_level"].bits > 0
        super().__init__(
            {
                "nest": In(layout(nest)),
                "load": In(1),
                "step": In(1),
                "address": Out(data.StructLayout({name: unsigned(width) for name, width in self._bases.items()})),
                "ends": Out(levels.length),
                "last": Out(1),
            }
        )
        self._levels = levels.length
        self._late = registers > 0

    def elaborate(self, platform):
        m = Module()
        levels = [self.nest.levels[k] for k in range(self._levels)]
        # A level's turn counts from 1, so that it is the next turn's index; whether that is the last one is decided a
        # step ahead, which keeps comparisons out of the way to the addresses.
        at_end = [Signal(name=f"at_end_{k}", reset_less=True) for k in range(self._levels)]
        ends = [reduce(and_, at_end[: k + 1]) for k in range(self._levels)]
        turns = [Signal(self._count_width, init=1, name=f"turn_{k}", reset_less=True) for k in range(self._levels)]
        restarts = [self.load | (self.step & end) for end in ends]
        steps = [self.load | (self.step & inner) for inner in (C(1, 1), *ends[:-1])]

        def after(k: int, limit: Value) -> Value:
            """Whether level k, if it steps, is then in the last of some number of turns."""
            return Mux(restarts[k], limit == 0, turns[k] == limit)

        for k, level in enumerate(levels):
            ending = after(k, level.count)
            if self._tail and k + 1 < self._levels:  # the level above, in its last turn, may shorten this one
                above, count = Signal(name=f"in_last_{k + 1}", reset_less=True), levels[k + 1].count
                above_next = Mux(steps[k + 1], after(k + 1, count), above)
                m.d.sync += above.eq(above_next)
                ending = Mux(self.nest.tail_level[k] & above_next, after(k, self.nest.tail), ending)
            with m.If(steps[k]):
                m.d.sync += [turns[k].eq(Mux(restarts[k], 1, turns[k] + 1)), at_end[k].eq(ending)]
        m.d.comb += self.ends.eq(Cat(ends))
        m.d.comb += self.last.eq(ends[-1])

        if self._late:
            self._elaborate_late(m, levels, ends)
            return m
        for name in self._bases:
            address = self.address[name]
            jump = Signal(levels[0][name].shape(), name=f"jump_{name}")
            m.d.comb += jump.eq(levels[-1][name])
            for k in reversed(range(self._levels - 1)):
                with m.If(~ends[k]):
                    m.d.comb += jump.eq(levels[k][name])
            with m.If(self.load):
                m.d.sync += address.eq(self.nest[name])
            with m.Elif(self.step):
                m.d.sync += address.eq(address + jump)
        return m

    def _elaborate_late(self, m: Module, levels: list, ends: Sequence[Value]) -> None:
        """Which level steps, or that all start over, waits in a register, what is then added in another."""
        stepped = Signal(self._levels, reset_less=True)
        first = Signal(reset_less=True)
        inner = [C(1, 1), *ends[:-1]]
        m.d.sync += [
            first.eq(self.load),
            stepped.eq(Cat(self.step & inside & ~end for inside, end in zip(inner, ends, strict=True))),
        ]
        for name, width in self._bases.items():
            address = self.address[name]
            jump = Signal(width, name=f"jump_{name}", reset_less=True)
            restart = Signal(name=f"restart_{name}", reset_less=True)
            choices = [(first, self.nest[name]), *zip(stepped, (level[name] for level in levels), strict=True)]
            chosen = [value[:width] & chooses.replicate(width) for chooses, value in choices]
            m.d.sync += [
                jump.eq(reduce(or_, chosen)),
                restart.eq(first),
                address.eq(Mux(restart, 0, address) + jump),
            ]
