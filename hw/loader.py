"""The two ways into the engine: inputs into the scratchpad, an image into the memories."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from hw.address import AddressGenerator
from hw.component import Component
from hw.layout import layout
from spec.program import WORD, LoaderOp, Segment, Widths, loader_instruction, segment_width, words_for
from spec.target import Target


class InputLoader(Component):
    """Executes loader instructions: places raw input words in the data tensor, or clears it.

    Members:
        instruction (In): see spec.program.loader_instruction. start (In), done (Out): pulses.
        keep (In): ZERO changes nothing and is done in the next cycle.
        x (In): raw words.
        write_valid, write_address, write_mask, write_data (Out), write_ready (In): scratchpad; may be refused.
        starved (Out): a word was wanted and none came in this cycle.

    Costs: one lane (LOAD) or word (ZERO) per cycle, the first timing.LOAD after `start`; `done` timing.DONE after
    the last. All towards the scratchpad is registered: x may come late in a cycle.
    """

    def __init__(self, target: Target):
        self._target = target
        self._record = loader_instruction(target)
        super().__init__(
            {
                "instruction": In(layout(self._record)),
                "start": In(1),
                "done": Out(1),
                "keep": In(1),
                "x": In(stream.Signature(target.input_width)),
                "write_valid": Out(1),
                "write_ready": In(1),
                "write_address": Out(Widths(target).address),
                "write_mask": Out(target.columns),
                "write_data": Out(signed(target.data_width)),
                "starved": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        instruction, width = self.instruction, self._target.input_width
        m.submodules.addresses = addresses = AddressGenerator(self._record.record("nest"))
        active = Signal()
        count = Signal.like(instruction.count)
        loading = instruction.op == LoaderOp.LOAD
        negative = instruction.signed & self.x.payload[-1]
        raw = Signal(signed(width + 1))
        value = Signal(signed(width + 2))
        room = ~self.write_valid | self.write_ready
        taken = Signal()
        m.d.comb += [
            addresses.nest.eq(instruction.nest),
            addresses.load.eq(self.start),
            addresses.step.eq(taken),
            taken.eq(active & room & (self.x.valid | ~loading)),
            self.x.ready.eq(active & loading & room),
            self.starved.eq(self.x.ready & ~self.x.valid),
            raw.eq(Cat(self.x.payload, negative)),
            value.eq(raw - instruction.offset),
        ]
        with m.If(room):
            m.d.sync += [
                self.write_valid.eq(taken),
                self.write_address.eq(addresses.address.word),
                self.write_mask.eq(Mux(loading, 1 << addresses.address.lane, ~0)),
                self.write_data.eq(Mux(loading, value << instruction.shift, 0)),
            ]
        kept = self.keep & ~loading
        m.d.sync += self.done.eq((self.write_valid & self.write_ready & ~active) | (self.start & kept))
        with m.If(self.start):
            m.d.sync += [active.eq(~kept), count.eq(0)]
        with m.Elif(taken):
            m.d.sync += [count.eq(count + 1), active.eq(count != instruction.count)]
        return m


class ImageLoader(Component):
    """Fills memories from a stream of 16-bit words.

    The stream is a sequence of blocks: segment number (see spec.program.Segment), first address, number of
    memory words, then the words, each as 16-bit words from its least significant bits.

    Members:
        image (In): the stream; always taken.
        write (Out): one bit per segment. address, part, data (Out): which 16 bits of which memory word are written.

    Costs: 16 bits per cycle.
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
