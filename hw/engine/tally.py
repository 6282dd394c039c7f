"""Counts that a host can read out: words that each stage has clipped, and steps of each stream."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component, delay
from fdht.hw.technology import RegisteredMemory
from fdht.spec import timing
from fdht.spec.tallies import INDEX_BITS, STEP_BITS, TALLY_BITS, instruction_tallies
from fdht.spec.target import Target

LATENCY = 3
"""Cycles from the number of a count to the count."""


class Tallies(Component):
    """Counts of a run; see fdht.spec.tallies for their order.

    Args:
        target: of the engine.

    Members:
        clear (In): all are zero.
        start (In): pulse: an array instruction begins. skip (In): it is not carried out. again (In): the loop's first
            follows it.
        done (In): pulse, of each that is carried out. Clipped words may come until its sums are stored.
        clipped (In): words of which a lane was clipped a cycle ago.
        finished (In): streams of which a step is finished, or a frame is admitted.
        index (In): of a count. value (Out): the count, LATENCY cycles later; exact when no run is under way.

    Costs: latency 4 from the last clipped word of an instruction to its count; an instruction per 7 cycles, block RAM
    as fdht.spec.costs.tallies.
    """

    def __init__(self, target: Target):
        self._target = target
        self._store = RegisteredMemory(TALLY_BITS, instruction_tallies(target), target.build.technology)
        super().__init__(
            {
                "clear": In(1),
                "start": In(1),
                "skip": In(1),
                "again": In(1),
                "done": In(1),
                "clipped": In(2),
                "finished": In(target.streams),
                "index": In(INDEX_BITS),
                "value": Out(TALLY_BITS),
            }
        )

    @property
    def block_rams(self) -> int:
        return self._store.block_rams

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = self._store
        many, streams = instruction_tallies(self._target), self._target.streams

        # Instructions by their numbers: the next one, those under way, the one whose sums are still being stored.
        following, older, newer, storing = (
            Signal(range(many), name=n) for n in ("following", "older", "newer", "storing")
        )
        under_way, begins = Signal(2), Signal()
        m.d.comb += begins.eq(self.start & ~self.skip)
        m.d.sync += under_way.eq(under_way + begins - self.done)
        with m.If(self.start):
            m.d.sync += following.eq(Mux(self.again, 0, following + 1))
        with m.If(self.done):
            m.d.sync += [storing.eq(older), older.eq(newer)]
        with m.If(begins):
            m.d.sync += newer.eq(following)
            with m.If(under_way == self.done):
                m.d.sync += older.eq(following)

        # Its clipped words, added to those of its other turns.
        closes = delay(m, self.done, timing.store(self._target) + 1, "closes", reset_less=False)
        count, total = Signal(TALLY_BITS), Signal(TALLY_BITS)
        place, seen = Signal(range(many)), Signal(many)
        adding, added, writes = (delay(m, closes, k, f"closed_{k}", reset_less=False) for k in (1, 3, 4))
        m.d.sync += count.eq(Mux(closes, 0, count) + self.clipped)
        with m.If(closes):
            m.d.sync += [total.eq(count), place.eq(storing)]
        with m.If(added):
            m.d.sync += total.eq(total + Mux(seen.bit_select(place, 1), store.read_data, 0))
        with m.If(writes):
            m.d.sync += seen.eq(seen | (1 << place))
        asked = Signal(INDEX_BITS)
        m.d.comb += [
            asked.eq(self.index - streams),
            store.read_address.eq(Mux(adding, place, asked)),
            store.write_address.eq(place),
            store.write_data.eq(total),
            store.write_enable.eq(writes),
        ]

        steps = [Signal(STEP_BITS, name=f"steps_{k}") for k in range(streams)]
        for k, of_stream in enumerate(steps):
            m.d.sync += of_stream.eq(of_stream + self.finished[k])
        known = Mux(asked < many, Mux(seen.bit_select(asked[: len(place)], 1), store.read_data, 0), 0)
        m.d.sync += self.value.eq(Mux(self.index < streams, Array(steps)[self.index], known))
        with m.If(self.clear):
            m.d.sync += [following.eq(0), under_way.eq(0), count.eq(0), seen.eq(0)]
            m.d.sync += [of_stream.eq(0) for of_stream in steps]
        return m
