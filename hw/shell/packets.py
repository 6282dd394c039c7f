"""Streams of packets at the edge of a design: cut from their neighbours' logic, checked for their length, told apart by
whose they are.
"""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.spec.instructions import Widths
from fdht.spec.rounds import PACKET_FLAGS
from fdht.spec.target import FRAME_FLAGS, Target


class RegisterSlice(Component):
    """Two registers between two streams: none of its outputs depends on an input in the same cycle.

    Args:
        shape: of a payload.

    Members:
        i (In), o (Out): payloads.

    Costs: latency 1; a payload per cycle; two registers of a payload.
    """

    def __init__(self, shape: Any):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        spare = Signal.like(self.i.payload, name="spare", reset_less=True)  # what came when the output had to wait
        full = Signal()
        opened = Signal()
        m.d.sync += opened.eq(1)  # nothing is taken during a reset
        m.d.comb += self.i.ready.eq(opened & ~full)
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [self.o.valid.eq(full | (self.i.valid & self.i.ready)), full.eq(0)]
            with m.If(full):
                m.d.sync += self.o.payload.eq(spare)
            with m.Else():
                m.d.sync += self.o.payload.eq(self.i.payload)
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += [spare.eq(self.i.payload), full.eq(1)]
        return m


def beat(width: int, lanes: int) -> data.StructLayout:
    """A beat of a packet: words, which of them are there, and whether the packet ends."""
    return data.StructLayout({"words": data.ArrayLayout(width, lanes), "keep": lanes, "last": 1})


def checked_beat(width: int, lanes: int) -> data.StructLayout:
    """A beat of a packet that has the right length, and whether it had a wrong one."""
    return data.StructLayout({"words": data.ArrayLayout(width, lanes), "faulty": 1})


def whose_beat(target: Target) -> data.StructLayout:
    """A beat of a packet of frames of several streams: also which stream's it is, and its PACKET_FLAGS (see
    fdht.spec.rounds).
    """
    return data.StructLayout(
        {
            **dict(beat(target.input_width, target.input_lanes).members),
            "stream": Widths(target).stream,
            "flags": len(PACKET_FLAGS),
        }
    )


class PacketGate(Component):
    """Gives every packet the length it must have, and says when it had another.

    A packet that ends early is filled with zeros. One that goes on after its last word is cut there, and what comes up
    to its end is dropped. A beat without any words is ignored, or ends its packet if it is `last`.

    Args:
        width: bits of a word.
        lanes: words of a beat, of which only a packet's last may have fewer, the first of them.
        count_width: bits of the number of words of a packet.

    Members:
        i (In): see beat. o (Out): see checked_beat; words behind a packet's last one have any value.
        length (In): words of a packet; with 0, nothing is taken.
        open (In): beats are taken and sent; without, neither.
        abort (In): start over, but with `inside` (In) drop what comes up to a packet's end first. Not while `open`.
        short (Out): pulse: a packet ended early or lacked words. long (Out): pulse: one did not end where it should.
        ended (Out): pulse: a packet's last word is sent.

    Costs: latency 0; a beat per cycle. `o.payload.faulty` comes late in a cycle.
    """

    def __init__(self, width: int, lanes: int, count_width: int):
        self._lanes = lanes
        self._count_width = count_width
        super().__init__(
            {
                "i": In(stream.Signature(beat(width, lanes))),
                "o": Out(stream.Signature(checked_beat(width, lanes))),
                "length": In(count_width),
                "open": In(1),
                "abort": In(1),
                "inside": In(1),
                "short": Out(1),
                "long": Out(1),
                "ended": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes, given = self._lanes, self.i.payload
        left = Signal(self._count_width)  # words still to come; without `begun`, of the next packet
        begun, usable = Signal(), Signal()
        needed = Signal(lanes)
        some, all_, more, final = Signal(), Signal(), Signal(), Signal()
        passed, ended = Signal(), self.ended
        m.d.comb += [needed[k].eq(left > k) for k in range(lanes)]
        m.d.comb += [
            usable.eq(self.open & left.any()),
            some.eq(given.keep.any()),
            all_.eq((given.keep & needed) == needed),
            more.eq((given.keep & ~needed).any()),
            final.eq(left <= lanes),
            self.o.payload.words.eq(given.words),
        ]

        def begin_anew():
            with m.If(self.abort & self.inside):
                m.next = "DROP"
            with m.Elif(self.abort):
                m.next = "PASS"

        with m.FSM():
            with m.State("PASS"):
                m.d.comb += [
                    self.o.valid.eq(self.i.valid & some & usable),
                    self.i.ready.eq((self.o.ready | ~some) & usable),
                    passed.eq(self.i.valid & self.i.ready & some),
                    ended.eq(passed & final),
                    self.o.payload.faulty.eq(~all_ | more | (final & ~given.last) | (~final & given.last)),
                ]
                with m.If(passed):
                    m.d.comb += [
                        self.short.eq(~all_ | (given.last & ~final)),
                        self.long.eq(more | (final & ~given.last)),
                    ]
                    with m.If(final & ~given.last):
                        m.next = "DROP"
                    with m.Elif(given.last & ~final):
                        m.next = "FILL"
                with m.Elif(self.i.valid & self.i.ready & given.last):
                    m.d.comb += self.short.eq(1)
                    m.next = "FILL"
                begin_anew()
            with m.State("FILL"):
                m.d.comb += [
                    self.o.valid.eq(self.open),
                    self.o.payload.words.eq(0),
                    self.o.payload.faulty.eq(1),
                    passed.eq(self.o.valid & self.o.ready),
                    ended.eq(passed & final),
                ]
                with m.If(ended):
                    m.next = "PASS"
                begin_anew()
            with m.State("DROP"):
                m.d.comb += self.i.ready.eq(self.open)
                with m.If(self.i.valid & self.i.ready & given.last):
                    m.next = "PASS"
                begin_anew()

        with m.If(ended | self.abort):
            m.d.sync += [begun.eq(0), left.eq(self.length)]
        with m.Elif(passed):
            m.d.sync += [begun.eq(1), left.eq(left - lanes)]
        with m.Elif(~begun):
            m.d.sync += left.eq(self.length)
        return m


class StreamGate(Component):
    """A `PacketGate` for frames of several streams: in front of each comes a beat with the word that says whose it is.

    A packet that is nobody's becomes that beat alone, whatever its stream and length. A frame of a stream that there is
    not is dropped. A packet's first beat says whose it is, whether it has words or not.

    Args:
        target: of the engine, with several streams.
        count_width: bits of the number of words of a packet.

    Members:
        i (In): see whose_beat. o (Out): see checked_beat.
        count (In): streams that there are; with 0, nothing is put in front, and no stream looked at. apart (In): the
            engine knows a stream by its number times its gates. Both stay while frames come.
        length, open, abort, inside (In), short, long (Out): see PacketGate.
        stream (Out): of which `short` and `long` speak.
        unknown (Out): pulse: a frame is dropped.

    Costs: latency 0, or 1 of a frame that has a beat in front; a beat per cycle.
    """

    def __init__(self, target: Target, count_width: int):
        self._target = target
        self._gate = PacketGate(target.input_width, target.input_lanes, count_width)
        super().__init__(
            {
                "i": In(stream.Signature(whose_beat(target))),
                "o": Out(stream.Signature(checked_beat(target.input_width, target.input_lanes))),
                "count": In(target.streams.bit_length()),
                "apart": In(1),
                "length": In(count_width),
                "open": In(1),
                "abort": In(1),
                "inside": In(1),
                "short": Out(1),
                "long": Out(1),
                "stream": Out(Widths(target).stream),
                "unknown": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.gate = gate = self._gate
        given, several = self.i.payload, self.count.any()
        nobody = given.flags[PACKET_FLAGS.index("nobody")]
        word = Cat(
            given.flags[:FRAME_FLAGS],
            Mux(self.apart, given.stream << (self._target.gates - 1).bit_length(), given.stream),
        )
        over, sent = Signal(), Signal()  # a packet was taken, and its words were sent
        over_now, sent_now = Signal(), Signal()
        m.d.comb += [
            gate.length.eq(self.length),
            gate.open.eq(self.open),
            gate.abort.eq(self.abort),
            self.short.eq(gate.short),
            self.long.eq(gate.long),
            over_now.eq(over | (self.i.valid & self.i.ready & given.last)),
            sent_now.eq(sent | gate.ended),
        ]
        for name in ("words", "keep", "last"):
            m.d.comb += gate.i.payload[name].eq(given[name])

        def passes() -> None:
            m.d.comb += [gate.i.valid.eq(self.i.valid), self.i.ready.eq(gate.i.ready)]
            wiring.connect(m, gate.o, wiring.flipped(self.o))

        def begin_anew() -> None:
            with m.If(self.abort):
                m.d.sync += [over.eq(0), sent.eq(0)]
                m.next = "HEAD"
                with m.If(self.inside):
                    m.next = "DROP"

        with m.FSM():
            with m.State("HEAD"):
                with m.If(~several):
                    passes()
                with m.Elif(self.i.valid & self.open & self.length.any()):
                    with m.If(nobody):
                        m.d.comb += [self.o.valid.eq(1), self.o.payload.words[0].eq(~0)]
                        with m.If(self.o.ready):
                            m.next = "DROP"
                    with m.Elif(given.stream < self.count):
                        m.d.comb += [self.o.valid.eq(1), self.o.payload.words[0].eq(word)]
                        m.d.sync += self.stream.eq(given.stream)
                        with m.If(self.o.ready):
                            m.next = "FRAME"
                    with m.Else():
                        m.d.comb += self.unknown.eq(1)
                        m.next = "DROP"
                begin_anew()
            with m.State("FRAME"):
                passes()
                m.d.sync += [over.eq(over_now & ~sent_now), sent.eq(sent_now & ~over_now)]
                with m.If(over_now & sent_now):
                    m.next = "HEAD"
                begin_anew()
            with m.State("DROP"):
                m.d.comb += self.i.ready.eq(self.open)
                with m.If(self.i.valid & self.i.ready & given.last):
                    m.next = "HEAD"
                begin_anew()
        return m
