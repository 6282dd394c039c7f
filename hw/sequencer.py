"""Programs: fetching instructions, repeating the loop body, meeting other units through tokens."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.component import Component
from hw.layout import layout
from spec.program import WORD, Record, Token, bits_for
from spec.target import Target


class Sequencer(Component):
    """Fetches the instructions of one unit and hands them over one at a time.

    Knows only the header of an instruction (see spec.program): it waits for tokens, starts the unit, gives
    tokens when the unit is done, and repeats from `loop_start` to `loop_end` once per time step.

    Members:
        write_enable, write_address, write_data (In): fills the program memory.
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
        tokens = len(Token)
        super().__init__(
            {
                "write_enable": In(1),
                "write_address": In(bits_for(target.program_words)),
                "write_data": In(WORD),
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

    def elaborate(self, platform):
        m = Module()
        words = self._record.words
        m.submodules.memory = memory = Memory(shape=WORD, depth=self._depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
        ]
        address = Signal(range(self._depth))
        body = Signal(range(self._depth))
        here = Signal(range(self._depth))
        fetched = Signal(range(words + 1))
        turn = Signal(16)
        buffer = Signal(words * WORD)
        record = data.View(self.instruction.shape(), buffer[: self._record.bits])
        last_turn = Signal()
        m.d.comb += [
            read.addr.eq(address),
            self.instruction.eq(record),
            last_turn.eq(turn + 1 == self.steps),
            self.final_step.eq(last_turn),
        ]
        with m.FSM():
            with m.State("IDLE"), m.If(self.run):
                m.d.sync += [address.eq(0), here.eq(0), turn.eq(0), fetched.eq(0)]
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += self.busy.eq(1)
                m.d.sync += [
                    address.eq(address + (fetched != words)),
                    fetched.eq(fetched + 1),
                ]
                with m.If(fetched != 0):
                    m.d.sync += buffer.eq(data_shift(buffer, read.data))
                with m.If(fetched == words):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += self.busy.eq(1)
                with m.If(~(record.wait & ~self.available).any()):
                    m.d.comb += [self.start.eq(1), self.take.eq(record.wait)]
                    m.next = "EXECUTE"
            with m.State("EXECUTE"):
                m.d.comb += self.busy.eq(1)
                with m.If(self.done):
                    again = record.loop_end & ~last_turn
                    m.d.comb += self.give.eq(record.give)
                    with m.If(record.loop_start):
                        m.d.sync += body.eq(here)
                    follow = Mux(again, Mux(record.loop_start, here, body), address)
                    m.d.sync += [fetched.eq(0), address.eq(follow), here.eq(follow)]
                    with m.If(again):
                        m.d.sync += turn.eq(turn + 1)
                    with m.If(record.halt & ~again):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "FETCH"
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
            count = Signal(4, name=f"{token.name.lower()}")
            more = sum((self.gives[unit][token] for unit in range(self._units)), 0)
            less = sum((self.takes[unit][token] for unit in range(self._units)), 0)
            m.d.sync += count.eq(Mux(self.clear, 0, count + more - less))
            m.d.comb += self.available[token].eq(count != 0)
        return m
