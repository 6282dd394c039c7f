"""Programs: fetching instructions, repeating the loop body, meeting other units through tokens."""

from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component, delay
from fdht.hw.engine.layout import layout
from fdht.hw.engine.memories import ImageMemory
from fdht.hw.engine.signatures import image_write
from fdht.hw.engine.stream_flags import flags
from fdht.spec import costs, timing
from fdht.spec.instructions import TOKEN_BITS, WORD, Condition, Record, Token
from fdht.spec.target import Target

COPY_BITS = 64
"""Bits of an instruction's register that are enabled by one flip-flop."""


class Sequencer(Component):
    """Fetches the instructions of one unit and hands them over one at a time.

    It waits for an instruction's tokens, starts the unit, gives tokens when the unit is done, and after `loop_end` goes
    on at `back`, once per time step. Of an instruction it knows the header (see fdht.spec.instructions) and fields that
    some have: with `early` the token Z_READY is given when the unit starts; `delay` is the number of cycles between the
    tokens and the start.

    If the pipeline says `prefetch`, the next instruction is fetched while the unit is at work, and what decides a start
    is registered. A `chained` instruction then starts as soon as the one before is issued; two are under way at most.

    An instruction whose condition is not met (see fdht.spec.instructions.Condition) is skipped: it starts, but the unit
    is to do nothing, and it is done timing.KEPT later.

    Args:
        target: of the engine.
        record: of the unit's instructions.
        conditional: some have a condition.

    Members:
        fill (In): see fdht.hw.engine.signatures.image_write.
        run (In): start from address 0. steps (In): turns of the loop, at least 1; stable while busy.
        busy (Out): from the cycle after `run` until the instruction with `halt` is done.
        available (In): tokens that can be taken. take, give (Out): tokens taken and given in this cycle.
        instruction (Out): the record; stable from `start` to `done`, or, with another one chained to it, to `issued`.
        start (Out), issued (In), done (In): pulses; `issued` (of chained instructions only) and `done` in the order of
            the instructions.
        final_step (Out): the instruction belongs to the loop's last turn, or follows it.
        present, stepped, ended (In), skip, sets_off (Out): with `conditional` and several streams: see
            fdht.hw.engine.stream_flags.StreamFlags; what a condition asks is stable from the tokens of its instruction
            to the start. With `start`, what is started is skipped. sets_off: it is not, so that the unit starts.

    Costs: latency timing.fetch() from the end of an instruction to the next being there, timing.start() from there to
    `start`; block RAM as fdht.spec.costs.program_memory.
    """

    def __init__(self, target: Target, record: Record, conditional: bool = False):
        self._target = target
        self._conditional = conditional and target.streams > 1
        self._depth = target.program_words
        self._record = record
        self._memory = ImageMemory(target.build.technology, WORD, target.program_words, timing.program(target))
        tokens = len(Token)
        super().__init__(
            {
                "fill": In(image_write(target.program_words, WORD)),
                "run": In(1),
                "steps": In(16),
                "busy": Out(1),
                "available": In(tokens),
                "take": Out(tokens),
                "give": Out(tokens),
                "instruction": Out(layout(record)),
                "start": Out(1),
                "issued": In(1),
                "done": In(1),
                "final_step": Out(1),
            }
            | (
                {
                    "present": In(flags(target)),
                    "stepped": In(flags(target)),
                    "ended": In(flags(target)),
                    "skip": Out(1),
                    "sets_off": Out(1),
                }
                if self._conditional
                else {}
            )
        )

    @property
    def block_rams(self) -> int:
        return costs.program_memory(self._target).block_rams

    def elaborate(self, platform):
        m = Module()
        words = self._record.words
        m.submodules.memory = memory = self._memory
        wiring.connect(m, wiring.flipped(self.fill), memory.fill)
        address = Signal(range(self._depth))
        last = timing.fetch(self._target, self._record) - 1
        fetched = Signal(range(last + 1))
        turn = Signal(16, init=1)
        asked = Signal()  # for a word
        buffer = Signal(words * WORD, reset_less=True)
        record = data.View(self.instruction.shape(), buffer[: self._record.bits])
        last_turn, there, again = Signal(), Signal(), Signal()  # there: the tokens it waits for
        ready = Signal()  # the buffer's instruction waits for nothing but the unit
        dispatch, retire = Signal(), Signal()  # it is handed over; it need not be kept any more
        under_way = Signal(2)  # instructions
        delayed = "delay" in self._record.fields
        waited = Signal.like(record.delay) if delayed else C(0, 1)
        due = there & (waited == record.delay) if delayed else there
        done = self.done
        if self._conditional:
            skipped = Signal()
            m.d.sync += skipped.eq(self.start & self.skip)
            done = done | skipped
        m.d.comb += [
            memory.read_enable.eq(1),
            memory.read_address.eq(address),
            there.eq(~(record.wait & ~self.available).any()),
            again.eq(record.loop_end & ~last_turn),
            self.take.eq(Mux(dispatch, record.wait, 0)),
        ]
        with m.If(retire):
            m.d.sync += fetched.eq(0)
            with m.If(again):
                m.d.sync += [turn.eq(turn + 1), address.eq(record.back)]
        m.d.sync += last_turn.eq(turn == self.steps)  # long before it is looked at
        with m.If(delay(m, asked, timing.program(self._target), "shifting", reset_less=False)):
            m.d.sync += buffer.eq(data_shift(buffer, memory.read_data))
        with m.FSM() as machine:
            with m.State("IDLE"), m.If(self.run):
                m.d.sync += [address.eq(0), turn.eq(turn.init), fetched.eq(0)]
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += asked.eq(fetched < words)
                m.d.sync += [address.eq(address + asked), fetched.eq(fetched + 1)]
                with m.If(fetched == last):
                    m.next = "WAIT"
            if not self._target.pipeline.prefetch:
                with m.State("WAIT"), m.If(due):
                    m.d.comb += dispatch.eq(1)
                    m.next = "EXECUTE"
                with m.State("EXECUTE"), m.If(done):
                    m.d.comb += retire.eq(1)
                    m.next = "FETCH"
                    with m.If(record.halt & ~again):
                        m.next = "IDLE"
            else:
                with m.State("WAIT"):
                    m.d.comb += ready.eq(due & ~dispatch)
                    with m.If(dispatch):
                        m.next = "NEXT"
                        with m.If(record.halt & ~again):
                            m.next = "END"
                with m.State("NEXT"):
                    m.d.comb += retire.eq(1)
                    m.next = "FETCH"
                with m.State("END"), m.If(done & (under_way == 1)):
                    m.next = "IDLE"
        m.d.comb += self.busy.eq(~machine.ongoing("IDLE"))
        if delayed:
            with m.If(dispatch):
                m.d.sync += waited.eq(0)
            with m.Elif(machine.ongoing("WAIT") & there & ~due):
                m.d.sync += waited.eq(waited + 1)

        early, late = self._gives(self.instruction)
        if not self._target.pipeline.prefetch:  # the instruction stays in the buffer until it is done
            m.d.comb += [
                self.start.eq(dispatch),
                self.instruction.eq(record),
                self.final_step.eq(last_turn),
                self.give.eq(Mux(self.start, early, 0) | Mux(done, late, 0)),
            ]
            if self._conditional:
                m.d.comb += [self.skip.eq(self._unmet(m, record)), self.sets_off.eq(self.start & ~self.skip)]
            return m

        # The instruction moves to a register of its own, and the buffer takes the next. That it may is decided a cycle
        # ahead, and kept once for every few bits of that register: they lie far apart.
        instruction: Any = Signal.like(self.instruction, reset_less=True)
        issued, issued_next = Signal(), Signal()
        under_way_next = Signal.like(under_way)
        earlier = Signal.like(self.give)  # what the first of two gives
        free = (under_way_next == 0) | ((under_way_next == 1) & issued_next & record.chained)
        dispatches = [
            delay(m, ready, 1, f"ready_{k}", reset_less=False, keep=True)
            & delay(m, free, 1, f"free_{k}", reset_less=False, keep=True)
            for k in range(0, len(buffer), COPY_BITS)
        ]
        m.d.comb += [
            dispatch.eq(dispatches[0]),
            under_way_next.eq(under_way + dispatch - done),
            issued_next.eq((issued | self.issued) & ~dispatch),
            self.instruction.eq(instruction),
            self.give.eq(Mux(self.start, early, 0) | Mux(done, Mux(under_way == 2, earlier, late), 0)),
        ]
        m.d.sync += [self.start.eq(dispatch), under_way.eq(under_way_next), issued.eq(issued_next)]
        with m.If(dispatch):
            m.d.sync += [self.final_step.eq(last_turn), earlier.eq(late)]
        for k, dispatches_here in enumerate(dispatches):
            bits = slice(k * COPY_BITS, (k + 1) * COPY_BITS)
            with m.If(dispatches_here):
                m.d.sync += Value.cast(instruction)[bits].eq(Value.cast(record)[bits])
        if self._conditional:
            unmet = delay(m, self._unmet(m, record), 1, "unmet", reset_less=False)
            m.d.sync += self.sets_off.eq(dispatch & ~unmet)  # a register of its own: many look at it
            with m.If(dispatch):
                m.d.sync += self.skip.eq(unmet)
        return m

    def _unmet(self, m: Module, record) -> Value:
        """Whether an instruction's condition is not met."""
        gates, unmet = self._target.gates, Signal()
        groups = Cat(self.present[first : first + gates].any() for first in range(0, len(self.present), gates))
        with m.Switch(record.condition):
            for condition, among, number in (
                (Condition.PRESENT, groups, record.stream[(gates - 1).bit_length() :]),
                (Condition.STEPPED, self.stepped, record.stream),
                (Condition.ENDED, self.ended, record.stream),
            ):
                with m.Case(condition):
                    m.d.comb += unmet.eq(~among.bit_select(number, 1))
        return unmet

    def _gives(self, record) -> tuple[Value, Value]:
        """What an instruction gives when it starts, and when it is done."""
        if "early" not in self._record.fields:
            return C(0, len(Token)), record.give
        early = record.early.replicate(len(Token)) & (1 << Token.Z_READY)
        return record.give & early, record.give & ~early


def data_shift(buffer, word):
    """A buffer of words after another came in at its top; when the last has come, the first is at the bottom."""
    return (word << len(buffer) - WORD) | (buffer >> WORD)


class TokenCounters(Component):
    """One counter per token; any unit may give or take any of them in any cycle.

    Args:
        target: of the engine.
        units: how many give and take.

    Members:
        clear (In): all become zero. gives, takes (In): a mask of tokens per unit.
        available (Out): tokens whose counter is not zero. What was taken shows as late as what was given; no unit waits
            for that token meanwhile.

    Costs: latency timing.token().
    """

    def __init__(self, target: Target, units: int):
        self._late = timing.token(target) - 1
        self._units = units
        masks = data.ArrayLayout(len(Token), units)
        super().__init__({"clear": In(1), "gives": In(masks), "takes": In(masks), "available": Out(len(Token))})

    def elaborate(self, platform):
        m = Module()
        gives, takes = (
            delay(m, masks, int(self._late > 0), name, reset_less=False)
            for masks, name in ((self.gives, "gives"), (self.takes, "takes"))
        )
        for token in Token:
            count = Signal(TOKEN_BITS, name=f"{token.name.lower()}")
            more = sum((gives[unit][token] for unit in range(self._units)), 0)
            less = sum((takes[unit][token] for unit in range(self._units)), 0)
            change = delay(m, more - less, max(self._late - 1, 0), f"{token.name.lower()}_change", reset_less=False)
            m.d.sync += count.eq(Mux(self.clear, 0, count + change))
            m.d.comb += self.available[token].eq(count != 0)
        return m
