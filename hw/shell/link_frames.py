"""Frames of the host link, byte by byte: their CRC, those that were received, and the way through them."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.hw.technology import RegisteredMemory
from fdht.spec.protocol import CHECK, ESCAPE, FLAG, INVERT, SLOT_BYTES
from fdht.spec.target import Technology


class CRC32(Component):
    """CRC-32/ISO-HDLC, four bits per cycle, low bits first; its register can also be shifted out.

    The register holds the complement, so that it begins at zero. Four neighbours of the polynomial have at most three
    ones, so each bit of the register is a function of four: one LUT4.

    Members:
        clear (In): start over, as after a reset.
        step (In): take the bits `i` (In). drain (In): instead of taking them, shift the register.
        value (Out): the CRC. After each step with `drain` its low bits are the next four.
        match (Out): what was taken ends in its own right CRC.

    Costs: latency 1; four bits per cycle; 46 LUT4 and 32 flip-flops of an iCE40, 34 LUT4 where neither `drain` nor
    `match` is used. amaranth.lib.crc with 4 bits of data takes 103 (with a multiplexer in the place of `drain`) and 62,
    and a HostLink of the iCEBreaker with it 639 instead of 551 (Yosys 0.70, synth_ice40).
    """

    BITS, POLYNOMIAL, RESIDUE = 4, 0xEDB88320, 0xDEBB20E3

    def __init__(self):
        super().__init__(
            {"clear": In(1), "step": In(1), "drain": In(1), "i": In(self.BITS), "value": Out(32), "match": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        register, bits = self.value, self.BITS
        feedback = Signal(bits)
        m.d.comb += [
            feedback.eq(Mux(self.drain, 0, ~register[:bits] ^ self.i)),
            self.match.eq(register == ~self.RESIDUE & 0xFFFFFFFF),
        ]
        shifted = Cat(register[bits:], Const(~0, bits))
        for k, bit in enumerate(reversed(feedback)):  # each only shifts what the ones after it add: low bits are zeros
            shifted ^= Mux(bit, self.POLYNOMIAL >> k, 0)
        with m.If(self.clear):
            m.d.sync += register.eq(0)
        with m.Elif(self.step):
            m.d.sync += register.eq(shifted)
        return m


class FrameReceiver(Component):
    """Cuts a byte stream into frames and keeps two: the one in work and the one after it.

    Frames longer than a slot overwrite themselves and so fail their CRC.

    Args:
        technology: of the part.

    Members:
        bytes (In): what was received; always taken.
        valid (Out): a frame is complete; until it is taken up what follows is dropped.
        take (In): pulse, while `valid`: it becomes the one in work, the one before is forgotten.
        length (Out): of the one in work; its bytes less 1.
        address (In), data (Out): its bytes, two cycles later; the header is at -1, the payload begins at 0.
        dropped (Out): pulse: a byte was dropped.

    Costs: latency 1 from a frame's closing flag to `valid`; a byte per cycle; 512 bytes of block RAM.
    """

    def __init__(self, technology: Technology = Technology.GENERIC):
        self._store = RegisteredMemory(8, 2 * SLOT_BYTES, technology)
        super().__init__(
            {
                "bytes": In(stream.Signature(8)),
                "valid": Out(1),
                "take": In(1),
                "length": Out(8),
                "address": In(8),
                "data": Out(8),
                "dropped": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = self._store
        slot = Signal()  # written to; the other one is in work
        count = Signal(8, reset_less=True)
        inside, escape = Signal(), Signal()
        flag, escapes = self.bytes.payload == FLAG, self.bytes.payload == ESCAPE
        length = Signal(8, reset_less=True)
        m.d.comb += [
            self.bytes.ready.eq(1),
            self.dropped.eq(self.bytes.valid & self.valid & ~flag),
            store.write_address.eq(Cat(count, slot)),
            store.write_data.eq(self.bytes.payload ^ Mux(escape, INVERT, 0)),
            store.write_enable.eq(self.bytes.valid & ~self.valid & ~flag & ~(escapes & ~escape)),
            store.read_address.eq(Cat(self.address, ~slot)),
            self.data.eq(store.read_data),
            self.length.eq(length),
        ]
        with m.If(~inside):
            m.d.sync += count.eq(~0)
        with m.If(store.write_enable):
            m.d.sync += [count.eq(count + 1), inside.eq(1)]
        with m.If(self.bytes.valid):
            m.d.sync += escape.eq(escapes & ~escape)
            with m.If(flag & inside):
                m.d.sync += self.valid.eq(1)
        with m.If(self.take):
            m.d.sync += [self.valid.eq(0), inside.eq(0), slot.eq(~slot), length.eq(count)]
        return m


class FrameWalker(Component):
    """Goes through a frame byte by byte: through a received one to check it, through a reply to send it.

    Each byte passes a register, out of which both halves of it go to the CRC; behind a reply the CRC's own bytes come
    through the same register.

    Members:
        idle (In): no frame is in work. checking (In): the received frame is gone through, and nothing sent. opening
            (In): the flag in front of the reply is sent. replying (In): its header and payload are. closing (In): its
            CRC is. ending (In): the flag behind it is. At most one of these is high; flags are sent with `tx.ready`.
        ended (In): while `checking` or `replying`: there is no byte `index` in this part.
        done (Out): while `checking`, `replying` or `closing`: that part is through; `index` begins anew.
        index (Out): of the next byte; the header's is -1. Changes while the byte before is on its way.
        i (In): byte `index`, at the latest 5 cycles after that went on.
        load (Out): `i` is taken, and `index` goes on.
        take (In): take `i` for its own sake: neither CRC nor `index` know of it.
        byte (Out): what was taken last, except while it goes to the CRC.
        match (Out): the received frame's CRC was right.
        tx (Out): bytes to the host.

    Costs: latency 5 from `opening` to a reply's header on `tx`; 6 cycles per byte, 7 if it is escaped.
    """

    def __init__(self):
        phases = ("idle", "checking", "opening", "replying", "closing", "ending")
        super().__init__(
            {
                **{name: In(1) for name in phases},
                "ended": In(1),
                "done": Out(1),
                "index": Out(8),
                "i": In(8),
                "load": Out(1),
                "take": In(1),
                "byte": Out(8),
                "match": Out(1),
                "tx": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = CRC32()
        index, byte = Signal(8, reset_less=True), Signal(8, reset_less=True)
        high = Signal(reset_less=True)  # the byte's second half is next
        escaped, escaping = Signal(), Signal()
        flag, ended = self.opening | self.ending, Signal()
        special = (byte == FLAG) | (byte == ESCAPE)
        assert CHECK == 4
        m.d.comb += [
            self.index.eq(index),
            self.byte.eq(byte),
            self.match.eq(crc.match),
            crc.clear.eq(self.idle | self.opening),
            crc.i.eq(byte),
            crc.drain.eq(self.closing),
            ended.eq(Mux(self.closing, index[:2].all() & ~index[7], self.ended)),
            self.tx.payload.eq(Mux(escaping | flag, Mux(flag, FLAG, ESCAPE), byte ^ Mux(escaped, INVERT, 0))),
        ]
        with m.If(self.load | self.take):
            m.d.sync += byte.eq(self.i)
        with m.FSM():
            with m.State("NEXT"):
                m.d.comb += self.done.eq(ended)
                part = self.checking | self.replying | self.closing
                with m.If((self.opening & self.tx.ready) | (part & ~ended)):
                    m.next = "READ"
            with m.State("READ"):
                m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += self.load.eq(1)
                m.d.sync += index.eq(index + 1)
                m.next = "SHIFT"
            with m.State("SHIFT"):
                m.d.comb += crc.step.eq(1)
                m.d.sync += [byte.eq(Cat(byte[4:], Mux(self.closing, crc.value[:4], byte[:4]))), high.eq(~high)]
                with m.If(high):
                    m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += [self.tx.valid.eq(~self.checking), escaping.eq(special & ~escaped)]
                with m.If(self.checking):
                    m.next = "NEXT"
                with m.Elif(self.tx.ready):
                    m.d.sync += escaped.eq(escaping)
                    with m.If(~escaping):
                        m.next = "NEXT"
        with m.If(flag):
            m.d.comb += self.tx.valid.eq(1)
        with m.If(self.idle | self.done):
            m.d.sync += index.eq(~0)
        return m
