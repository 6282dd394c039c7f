"""Programs: fetching instructions, repeating the loop body, meeting other units through tokens."""

from amaranth.hdl import C, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.component import Component
from hw.layout import layout
from hw.memories import ImageMemory
from hw.signatures import image_write
from spec.program import WORD, Record, Token
from spec.target import Target

TOKEN_BITS = 4
"""Of a token's counter: no token is given a sixteenth time before it was taken."""


class Sequencer(Component):
    """Fetches the instructions of one unit and hands them over one at a time.

    Knows only the header of an instruction (see spec.program): it waits for tokens, starts the unit, gives
    tokens when the unit is done, and after `loop_end` goes on at `back`, once per time step. And `early`, with which
    the token Z_READY is given when the unit starts, and `delay`, cycles between the tokens and the start.

    Members:
        fill (In): see hw.signatures.image_write.
        run (In): start from address 0. steps (In): turns of the loop, at least 1; stable while busy.
        busy (Out): from the cycle after `run` until the instruction with `halt` is done.
        available (In): tokens that can be taken. take, give (Out): tokens taken and given in this cycle.
        instruction (Out): the record; stable from `start` to `done`. start (Out), done (In): pulses.
        final_step (Out): the loop is in its last turn.

    Costs: timing.fetch() cycles from one instruction's `done` + 1 to the earliest `start` of the next; one
    block of program memory.
    """

    def __init__(self, target: Target, record: Record):
        self._depth = target.program_words
        self._record = record
        self._memory = ImageMemory(target.technology, WORD, target.program_words)
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
                "done": In(1),
                "final_step": Out(1),
            }
        )

    @property
    def block_rams(self) -> int:
        return self._memory.block_rams

    def elaborate(self, platform):
        m = Module()
        words = self._record.words
        m.submodules.memory = memory = self._memory
        wiring.connect(m, wiring.flipped(self.fill), memory.fill)
        address = Signal(range(self._depth))
        fetched = Signal(range(words + 1))
        turn = Signal(16, init=1)
        buffer = Signal(words * WORD)
        record = data.View(self.instruction.shape(), buffer[: self._record.bits])
        last_turn = Signal()
        fields = self._record.fields
        early = Mux(record.early, record.give & 1 << Token.Z_READY, 0) if "early" in fields else 0
        waited = Signal.like(record.delay) if "delay" in fields else C(0, 1)
        due = waited == record.delay if "delay" in fields else 1
        m.d.comb += [
            memory.read_enable.eq(1),
            memory.read_address.eq(address),
            self.instruction.eq(record),
            last_turn.eq(turn == self.steps),
            self.final_step.eq(last_turn),
        ]
        with m.FSM():
            with m.State("IDLE"), m.If(self.run):
                m.d.sync += [address.eq(0), turn.eq(turn.init), fetched.eq(0)]
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += self.busy.eq(1)
                m.d.sync += [
                    address.eq(address + (fetched != words)),
                    fetched.eq(fetched + 1),
                ]
                with m.If(fetched != 0):
                    m.d.sync += buffer.eq(data_shift(buffer, memory.read_data))
                with m.If(fetched == words):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += self.busy.eq(1)
                with m.If(~(record.wait & ~self.available).any()):
                    if "delay" in fields:
                        m.d.sync += waited.eq(Mux(due, 0, waited + 1))
                    with m.If(due):
                        m.d.comb += [self.start.eq(1), self.take.eq(record.wait), self.give.eq(early)]
                        m.next = "EXECUTE"
            with m.State("EXECUTE"):
                m.d.comb += self.busy.eq(1)
                with m.If(self.done):
                    m.d.comb += self.give.eq(record.give & ~early)
                    m.d.sync += fetched.eq(0)
                    m.next = "FETCH"
                    with m.If(record.loop_end & ~last_turn):
                        m.d.sync += [turn.eq(turn + 1), address.eq(record.back)]
                    with m.Elif(record.halt):
                        m.next = "IDLE"
        return m


def data_shift(buffer, word):
    """The next word arrives at the top; after the last, the first has reached the bottom."""
    return (word << len(buffer) - WORD) | (buffer >> WORD)


class TokenCounters(Component):
    """One counter per token; any unit may give or take any of them in any cycle.

    Members:
        clear (In): all to zero. gives, takes (In): masks, one per unit. available (Out): counters not zero.
    """

    def __init__(self, units: int):
        self._units = units
        masks = data.ArrayLayout(len(Token), units)
        super().__init__({"clear": In(1), "gives": In(masks), "takes": In(masks), "available": Out(len(Token))})

    def elaborate(self, platform):
        m = Module()
        for token in Token:
            count = Signal(TOKEN_BITS, name=f"{token.name.lower()}")
            more = sum((self.gives[unit][token] for unit in range(self._units)), 0)
            less = sum((self.takes[unit][token] for unit in range(self._units)), 0)
            m.d.sync += count.eq(Mux(self.clear, 0, count + more - less))
            m.d.comb += self.available[token].eq(count != 0)
        return m
