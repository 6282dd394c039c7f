"""The ways into the memories: inputs and hidden states into the scratchpad, an image everywhere else."""

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component, delay
from fdht.hw.engine.address import AddressGenerator
from fdht.hw.engine.layout import layout
from fdht.hw.engine.signatures import image_write
from fdht.hw.engine.stream_flags import FRAME
from fdht.spec import timing
from fdht.spec.instructions import WORD, LoaderOp, Segment, Widths, loader_instruction, segment_width, words_for
from fdht.spec.target import FRAME_FLAGS, Target


class InputLoader(Component):
    """Executes loader instructions: places raw inputs and hidden states in data tensors, or clears them.

    A beat of `x` is `input_lanes` raw words. Either it becomes a word of the scratchpad as a whole, or its words are
    placed one by one; the rest of a frame's last beat is then dropped. Of the beat in front of a stream's frame the
    first word counts; see fdht.spec.rounds.

    Args:
        target: of the engine.

    Members:
        instruction (In): see fdht.spec.instructions.loader_instruction. start (In), done (Out): pulses.
        keep (In): ZERO changes nothing and is done in the next cycle.
        fill (In): see fdht.hw.engine.signatures.image_write; the parts of a word are its lanes. Not while an
            instruction runs.
        x (In): raw words.
        h_address (Out), h_data (In): h of a unit, timing.hidden() cycles later.
        write_valid, write_address, write_mask, write_data (Out): scratchpad.
        starved (Out): a word was wanted and none came in this cycle.
        begin (In), admits, frame, opens (Out), fresh (In): with several streams: a run begins, and what
            fdht.hw.engine.stream_flags.StreamFlags is told and says of the instruction's. With several gates `h_data`
            has h of the unit of each.

    Costs: latency timing.load() (COPY: timing.copy()) from `start` to the first write, timing.DONE from the last to
    `done`, timing.ADMITTED from `start` of ADMIT to `done` if a word is there or the round is over; a lane (LOAD, COPY)
    or a word (ZERO, CLEAR, LOAD of whole words) per cycle. Outputs to the scratchpad are registers, so x may come late
    in a cycle.
    """

    def __init__(self, target: Target):
        self._target = target
        self._record = loader_instruction(target)
        w = Widths(target)
        width, gates = target.data_width, target.gates
        super().__init__(
            {
                "instruction": In(layout(self._record)),
                "start": In(1),
                "done": Out(1),
                "keep": In(1),
                "fill": In(image_write(target.scratchpad_words, target.columns * WORD)),
                "x": In(stream.Signature(data.ArrayLayout(target.input_width, target.input_lanes))),
                "h_address": Out(w.unit),
                "h_data": In(signed(width) if gates == 1 else data.ArrayLayout(signed(width), gates)),
                "write_valid": Out(1),
                "write_address": Out(w.address),
                "write_mask": Out(target.columns),
                "write_data": Out(data.ArrayLayout(signed(target.data_width), target.columns)),
                "starved": Out(1),
            }
            | (
                {"begin": In(1), "admits": Out(1), "frame": Out(FRAME), "opens": Out(1), "fresh": In(gates)}
                if target.streams > 1
                else {}
            )
        )

    def elaborate(self, platform):
        m = Module()
        instruction, target = self.instruction, self._target
        m.submodules.addresses = addresses = AddressGenerator(self._record.record("nest"), target.pipeline.address)
        lead, extra = target.pipeline.load, target.pipeline.loading  # registers in front of the address, and of a word
        active = Signal()
        count = Signal.like(instruction.count)
        loading, copying = instruction.op == LoaderOp.LOAD, instruction.op == LoaderOp.COPY
        taken, stepped, last = Signal(), Signal(), Signal()
        position = Signal(range(target.input_lanes))
        whole = instruction.whole if target.input_lanes > 1 else C(0, 1)
        beat_ends = whole | (position == target.input_lanes - 1) | (last & instruction.flush)
        m.d.comb += [
            last.eq(count == instruction.count),
            taken.eq(active & (self.x.valid | ~loading)),
            addresses.nest.eq(instruction.nest),
            addresses.load.eq(self.start),
            addresses.step.eq(stepped),
            self.x.ready.eq(active & loading & beat_ends),
            self.starved.eq(active & loading & ~self.x.valid),
        ]

        # The address waits for h if that comes later than inputs.
        step = delay(m, taken, lead, "step", reset_less=False)
        asked = [Signal(name=f"asked_{k}") for k in range(timing.hidden(target) - extra)]
        for register, before in zip(asked, (step & copying, *asked), strict=False):
            m.d.sync += register.eq(before)
        m.d.comb += stepped.eq(Mux(copying, asked[-1], step) if asked else step)

        # While the address is on its way, so is what is placed there: as it came, chosen, less its offset, shifted.
        chosen, widening, shifting = (int(extra > k) for k in range(3))
        placing = extra - chosen - widening - shifting
        beat, turn = delay(m, self.x.payload, chosen, "beat"), delay(m, position, chosen, "turn")
        words = Signal.like(self.x.payload)
        single = beat[turn] if target.input_lanes > 1 else beat[0]
        m.d.comb += [word.eq(Mux(whole, beat[k], single)) for k, word in enumerate(words)]
        words = delay(m, words, widening, "words")

        def widened(lane: int) -> Value:
            raw = words[lane]
            difference = Cat(raw, instruction.signed & raw[-1]).as_signed() - instruction.offset
            value = Signal(signed(target.data_width), name=f"value_{lane}")
            m.d.comb += value.eq(delay(m, difference, shifting, f"difference_{lane}") << instruction.shift)
            return delay(m, value, placing, f"value_{lane}")

        values = [widened(lane) for lane in range(target.input_lanes)] * (target.columns // target.input_lanes)
        late = max(extra - timing.hidden(target), 0)
        if target.streams > 1:
            hs, marked = self._copied(m, late, addresses.address.lane)
        else:
            hs, marked = [delay(m, self.h_data, late, "h")], C(1, 1)
        placed = delay(m, stepped, timing.address(target), "placed", reset_less=False)
        loads, copies = (delay(m, op, min(extra, 1), name) for op, name in ((loading, "loads"), (copying, "copies")))
        m.d.sync += [
            self.write_address.eq(addresses.address.word),
            self.write_mask.eq(Mux((loads & ~whole) | copies, marked << addresses.address.lane, ~0)),
        ]
        for column, (value, written) in enumerate(zip(values, self.write_data, strict=True)):
            m.d.sync += written.eq(Mux(loads, value, Mux(copies, hs[column % len(hs)], 0)))
        with m.If(self.fill.enable):
            m.d.sync += [self.write_address.eq(self.fill.address), self.write_mask.eq(1 << self.fill.part)]
            m.d.sync += [lane.eq(self.fill.data.as_signed()) for lane in self.write_data]
        m.d.sync += self.write_valid.eq(placed | self.fill.enable)

        kept = self.keep & (instruction.op == LoaderOp.ZERO)
        busy, ended = ~kept, self.start & kept
        if target.streams > 1:
            kept = kept | (loading & ~self._admit(m))
            busy, ended = ~(kept | (instruction.op == LoaderOp.ADMIT)), (self.start & kept) | self.admits
            m.d.comb += self.opens.eq(self.start & copying & instruction.opens)
        if extra:
            finished = delay(m, taken & last, extra + 1, "finished", reset_less=False)
            if asked:
                finished = Mux(copying, delay(m, finished, len(asked), "h_finished", reset_less=False), finished)
        else:
            finished = self.write_valid & ~active & ~Cat(asked).any()
        m.d.sync += self.done.eq(finished | ended)
        with m.If(self.start):
            m.d.sync += [active.eq(busy), count.eq(0), self.h_address.eq(instruction.first)]
        with m.Elif(taken):
            m.d.sync += [count.eq(count + 1), active.eq(~last), self.h_address.eq(self.h_address + 1)]
            with m.If(loading):
                m.d.sync += position.eq(Mux(beat_ends, 0, position + 1))
        return m

    def _copied(self, m: Module, late: int, lane: Value) -> tuple[list[Value], Value]:
        """What COPY writes to the first lanes, and to the others in turn, and which it marks from `lane` on.

        Args:
            late: registers on the way of h.
        """
        instruction, gates = self.instruction, self._target.gates
        blank = self.fresh & instruction.opens.replicate(gates)
        before, last = max(late - 1, 0), min(late, 1)
        h: Any = delay(m, self.h_data, before, "h")
        if gates == 1:
            blanks = Signal()
            with m.If(self.start):
                m.d.sync += blanks.eq(blank)
            return [delay(m, Mux(blanks, 0, h), last, "last_h")], C(1, 1)
        # Whose h it is holds for the whole instruction, and is chosen before the last register; then they are turned.
        inside = (gates - 1).bit_length()
        each, one = Signal(gates), Signal(gates)  # those that go to lanes of their own; the one that goes to all
        with m.If(self.start):
            m.d.sync += [
                each.eq(Mux(instruction.together, ~blank, 0)),
                one.eq(Mux(instruction.together, 0, (1 << instruction.stream[:inside]) & ~blank)),
            ]

        def of(k: int, which: Value) -> Value:
            return Value.cast(h[k]) & which[k].replicate(len(h[k]))

        common = reduce(or_, (of(k, one) for k in range(gates)))
        turned = [delay(m, (of(k, each) | common).as_signed(), last, f"last_h_{k}") for k in range(gates)]
        for bit in reversed(range(inside)):
            turned = [Mux(lane[bit], turned[k - (1 << bit)], turned[k]) for k in range(gates)]
        return turned, Mux(instruction.together, (1 << gates) - 1, 1)

    def _admit(self, m: Module) -> Value:
        """ADMIT; whether the last one found a frame of its stream."""
        instruction, word = self.instruction, Value.cast(self.x.payload[0])
        begins, ends, closes = word[:FRAME_FLAGS]
        admitting, admitted, closed = Signal(), Signal(init=1), Signal()
        waits, taken, nobody = Signal(), Signal(), Signal()
        m.d.comb += [
            waits.eq(admitting & ~closed & ~self.x.valid),
            taken.eq(admitting & ~closed & (word[FRAME_FLAGS:] == instruction.stream)),
            nobody.eq(admitting & ~closed & word.all()),
            self.admits.eq(admitting & ~waits),
            self.frame.present.eq(taken),
            self.frame.begins.eq(taken & begins),
            self.frame.ends.eq(taken & ends),
        ]
        with m.If(waits):
            m.d.comb += self.starved.eq(1)
        with m.If(taken | nobody):
            m.d.comb += self.x.ready.eq(1)
        with m.If(self.admits):
            m.d.sync += [admitting.eq(0), admitted.eq(taken)]
            with m.If(taken):
                m.d.sync += closed.eq(closes)
            with m.Elif(nobody):
                m.d.sync += closed.eq(1)
        with m.If(self.start):
            m.d.sync += admitting.eq(instruction.op == LoaderOp.ADMIT)
            with m.If(instruction.opens & (instruction.op == LoaderOp.ADMIT)):
                m.d.sync += closed.eq(0)
        with m.If(self.begin):
            m.d.sync += admitted.eq(1)
        return admitted


class InputPacker(Component):
    """Makes beats of `input_lanes` raw words, for what brings them one by one.

    Args:
        target: of the engine.

    Members:
        i (In): raw words; a frame that does not fill its last beat is followed by words of any value that do.
        o (Out): beats.

    Costs: latency 0; a word per cycle; `input_lanes` - 1 registers of a word.
    """

    def __init__(self, target: Target):
        self._lanes = target.input_lanes
        super().__init__(
            {
                "i": In(stream.Signature(target.input_width)),
                "o": Out(stream.Signature(data.ArrayLayout(target.input_width, target.input_lanes))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        collected = [Signal.like(self.i.payload, name=f"word_{k}", reset_less=True) for k in range(self._lanes - 1)]
        position = Signal(range(self._lanes))
        full = position == self._lanes - 1
        m.d.comb += [
            self.o.payload.eq(Cat(*collected, self.i.payload)),
            self.o.valid.eq(self.i.valid & full),
            self.i.ready.eq(~full | self.o.ready),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += position.eq(Mux(full, 0, position + 1))
            for k, word in enumerate(collected):
                with m.If(position == k):
                    m.d.sync += word.eq(self.i.payload)
        return m


class ImageLoader(Component):
    """Fills memories from a stream of 16-bit words.

    The stream is a sequence of blocks: segment number (see fdht.spec.instructions.Segment), first address, number of
    memory words, then the words, each as 16-bit words from its least significant bits.

    Args:
        target: of the engine.
        table_width: bits of a word of the tables.

    Members:
        image (In): the stream; always taken.
        write (Out): one bit per segment. address, part, data (Out): which 16 bits of which memory word are written.

    Costs: latency 0; 16 bits per cycle.
    """

    def __init__(self, target: Target, table_width: int):
        self._widths = {segment: segment_width(target, segment, table_width) for segment in Segment}
        self._parts = {segment: words_for(width) for segment, width in self._widths.items()}
        super().__init__(
            {
                "image": In(stream.Signature(WORD)),
                "write": Out(len(Segment)),
                "address": Out(WORD),
                "part": Out(range(max(self._parts.values()))),
                "data": Out(WORD),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word = self.image.payload
        segment = Signal(Segment)
        left = Signal(WORD)
        last_part = Signal.like(self.part)
        m.d.comb += [self.image.ready.eq(1), self.data.eq(word)]
        with m.Switch(segment):
            for known, count in self._parts.items():
                with m.Case(known):
                    m.d.comb += last_part.eq(count - 1)
        with m.FSM():
            with m.State("SEGMENT"), m.If(self.image.valid):
                m.d.sync += segment.eq(word)
                m.next = "ADDRESS"
            with m.State("ADDRESS"), m.If(self.image.valid):
                m.d.sync += self.address.eq(word)
                m.next = "COUNT"
            with m.State("COUNT"), m.If(self.image.valid):
                m.d.sync += left.eq(word)
                m.next = "WORDS"
                with m.If(word == 0):
                    m.next = "SEGMENT"
            with m.State("WORDS"), m.If(self.image.valid):
                m.d.comb += self.write.eq(1 << segment)
                m.d.sync += self.part.eq(self.part + 1)
                with m.If(self.part == last_part):
                    m.d.sync += [self.part.eq(0), self.address.eq(self.address + 1), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "SEGMENT"
        return m
