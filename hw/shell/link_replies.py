"""Replies of the host link, byte by byte: results, and what STATUS reports."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.hw.engine.signatures import output_word
from fdht.hw.technology import RegisteredMemory
from fdht.spec.protocol import (
    CHECK,
    MAX_PAYLOAD,
    REFUSED,
    SLOTS_BIT,
    STATUS_BYTES,
    TALLIES,
    VERSION,
    Request,
    Status,
    result_bytes,
)
from fdht.spec.tallies import INDEX_BITS, TALLY_BITS
from fdht.spec.target import Target


class ResultBuffer(Component):
    """The engine's results as bytes, kept until the host is known to have them.

    Args:
        target: of the engine.

    Members:
        out (In): results.
        data (Out): the byte to read next, two cycles after it changed. more (Out): there is one.
        take (In): pulse: go on to the next.
        forget (In): pulse: the host has what was taken. rewind (In): pulse: it has not, go back to it.
        clear (In): pulse: forget everything; once before any use.

    Costs: latency 2 of `data`; a word per 1 + ceil(data width / 8) cycles; 512 bytes of block RAM, of which up to 32
    stay unused, so that whether it is full needs no subtraction.
    """

    _DEPTH, _BLOCK = 512, 4

    def __init__(self, target: Target):
        self._bytes = result_bytes(target.data_width)
        self._store = RegisteredMemory(8, self._DEPTH, target.build.technology)
        super().__init__(
            {
                "out": In(stream.Signature(output_word(target))),
                "data": Out(8),
                "more": Out(1),
                "take": In(1),
                "forget": In(1),
                "rewind": In(1),
                "clear": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = self._store
        width = range(self._DEPTH)
        head, at, tail = (Signal(width, name=name, reset_less=True) for name in ("head", "at", "tail"))
        word = self.out.payload
        value = Signal(signed(8 * (self._bytes - 1)))
        image = Cat(word.kind, word.last, Const(0, 5), value)
        part = Signal(range(self._bytes), reset_less=True)
        room = Signal()
        m.d.comb += [
            value.eq(word.value),
            room.eq((head[self._BLOCK :] + 1)[: len(head) - self._BLOCK] != tail[self._BLOCK :]),
            store.write_address.eq(head),
            store.write_data.eq(image.word_select(part, 8)),
            store.write_enable.eq(self.out.valid & room),
            self.out.ready.eq(room & (part == self._bytes - 1)),
            store.read_address.eq(at),
            self.data.eq(store.read_data),
            self.more.eq(at != head),
        ]
        with m.If(store.write_enable):
            m.d.sync += [head.eq(head + 1), part.eq(Mux(part == self._bytes - 1, 0, part + 1))]
        with m.If(self.rewind | self.take):
            m.d.sync += at.eq(Mux(self.rewind, tail, at + Cat(Const(1, 1), self.rewind.replicate(len(at) - 1))))
        with m.If(self.forget):
            m.d.sync += tail.eq(at)
        with m.If(self.clear):
            m.d.sync += [head.eq(0), at.eq(0), tail.eq(0), part.eq(0)]
        return m


def _select(m: Module, index: Value, a: Value, b: Value, c: Value, d: Value) -> Value:
    """One of four bytes, two cycles late, in two LUT4 per bit.

    Between `a` and `b` the first LUT chooses, and the second passes its result on. Between `c` and `d` the second
    chooses, by the index's lower bit, which the first passes on. Each LUT is followed by the flip-flop of its own cell,
    so synthesis cannot make one larger multiplexer of the two.
    """
    first, second = Signal(8, reset_less=True), Signal(8, reset_less=True)
    m.d.sync += first.eq(Mux(index[1], index[0].replicate(8), Mux(index[0], b, a)))
    m.d.sync += second.eq(Mux(index[1], (first & d) | (~first & c), first))
    return second


FLASH_BITS = 16
"""Of what STATUS reports of the flash: the last slot and what became of it, and the watchdog's firings."""

_REPORTED = {
    "busy": In(1),
    "last": In(4),
    "errors": In(8),
    "collision": In(1),
    "cycles": In(32),
    "stalls": In(32),
    "saturations": In(32),
    "image": In(32),
}
"""What STATUS reports beside the reason of a refusal."""


class StatusBytes(Component):
    """What STATUS reports, byte by byte (see fdht.spec.protocol); its first byte, the `state`, begins every reply.

    Args:
        target_id: that of the target, see fdht.spec.protocol.target_id.
        build: 32 bits that identify the bitstream.
        lacking: what the engine was built without, see fdht.spec.protocol.lacking.
        slots: of the flash from which the engine can load itself; 0: it cannot.

    Members:
        index (In): of a byte.
        active (In): it is wanted.
        o (Out): the byte `index` of 5 cycles before, or, if not `active` 2 cycles before, 0.
        reason, busy, last, errors, collision, cycles, stalls, saturations, image (In): what is reported; the CRC of the
            image is `image`.
        flash (In): what is reported of the flash; only with `slots`.

    Costs: as above; a byte per 5 cycles.
    """

    def __init__(self, target_id: int, build: int, lacking: int = 0, slots: int = 0):
        self._identity = Const(target_id, 32), Const(build, 32)
        self._lacking = Const(lacking | slots << SLOTS_BIT - 1, 7)
        self._slots = slots
        super().__init__(
            {
                "index": In(5),
                "active": In(1),
                "o": Out(8),
                "reason": In(3),
                **_REPORTED,
                **({"flash": In(FLASH_BITS)} if slots else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        index = self.index

        def byte_of(count: Value) -> Value:
            return _select(m, index[:2], *(count[8 * k : 8 * k + 8] for k in range(4)))

        counts = [byte_of(count) for count in (self.cycles, self.stalls, self.saturations)]
        identity, image = Cat(*self._identity), byte_of(self.image)
        misc = Cat(self.reason, self.busy, self.last, self.errors, self.collision, self._lacking, Const(VERSION, 8))
        other = Signal(8, reset_less=True)  # not a count of the engine's
        constant = Mux(index[4], identity.word_select(index[:3], 8), misc.word_select(index[:2], 8))
        if self._slots:
            image = Mux(index[2], self.flash.word_select(index[:1], 8) & ~index[1].replicate(8), image)
        m.d.sync += other.eq(Mux(index[3:5].all(), image, constant))
        place = index[2:4] & (self.active & ~index[4]).replicate(2)
        m.d.comb += self.o.eq(_select(m, place, other & self.active.replicate(8), *counts))
        return m


class ReplyBytes(Component):
    """The bytes of a reply's header and payload: which they are, and how many.

    Args:
        target_id: that of the target, see fdht.spec.protocol.target_id.
        build: 32 bits that identify the bitstream.
        lacking: what the engine was built without, see fdht.spec.protocol.lacking.
        slots: of the flash from which the engine can load itself; 0: it cannot.
        tallies: whether it has tallies, see fdht.spec.tallies.

    Members:
        kind (In): of the request in work. reason (In): why it was refused, or 0.
        replying (In): the reply is sent.
        index (In), load (In): the next byte, and a pulse when it is taken, see FrameWalker.
        frame (In): byte `index` of the request.
        result, more (In), take (Out): see ResultBuffer.
        o (Out): while `replying`: byte `index` of the reply; else `frame`.
        ended (Out): the reply has no byte `index`; not to be asked for its header.
        granted (Out): pulse: the header of a reply to a request that was not refused is taken.
        length (In), tally_index (Out), tally (In): with `tallies`: of the request's frame, see FrameReceiver; the
            number of a tally, and the tally, up to 4 cycles later.
        busy, last, errors, collision, cycles, stalls, saturations, image, flash (In): see StatusBytes.

    Costs: latency 5 from `index` to `o`; 0 from `frame` and `result`; a byte per 5 cycles.
    """

    def __init__(self, target_id: int, build: int, lacking: int = 0, slots: int = 0, tallies: bool = False):
        self._status = StatusBytes(target_id, build, lacking, slots)
        self._reported = [*_REPORTED, *(["flash"] if slots else [])]
        self._slots, self._tallies = slots, tallies
        super().__init__(
            {
                "kind": In(3),
                "reason": In(3),
                "replying": In(1),
                "index": In(8),
                "load": In(1),
                "frame": In(8),
                "result": In(8),
                "more": In(1),
                "take": Out(1),
                "o": Out(8),
                "ended": Out(1),
                "granted": Out(1),
                **_REPORTED,
                **({"flash": In(FLASH_BITS)} if slots else {}),
            }
            | ({"length": In(8), "tally_index": Out(INDEX_BITS), "tally": In(TALLY_BITS)} if tallies else {})
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.status = status = self._status
        for name in ("reason", *self._reported):
            m.d.comb += getattr(status, name).eq(getattr(self, name))
        index, refused = self.index, self.reason.any()
        reading = (self.kind == Request.READ) & ~refused
        assert MAX_PAYLOAD == 0xF0
        beyond = index[4:].all()  # MAX_PAYLOAD, unless it is -1
        header = beyond & index[0]
        payload, results, frame = (Signal(name=name) for name in ("payload", "results", "from_frame"))
        m.d.comb += [
            payload.eq(self.replying & ~header),
            results.eq(payload & reading),
            frame.eq(~payload),
            status.index.eq(index),
            status.active.eq(payload & ~reading & ~self._beyond_status if self._tallies else payload & ~reading),
        ]
        byte = (self.frame | Mux(self.replying & refused, REFUSED, 0)) & frame.replicate(8)
        byte |= self.result & results.replicate(8)
        if self._tallies:
            byte |= self._tally_byte(m)
        m.d.comb += [
            self.o.eq(status.o | byte),
            self.take.eq(self.load & results),
            self.granted.eq(self.load & self.replying & header & ~refused),
        ]
        with m.If(reading):
            m.d.comb += self.ended.eq(~self.more | beyond)
        with m.Elif(self.kind[1:] == Request.STATUS >> 1):  # or IDENTIFY
            assert Status.SIZE == 0b11100 and Status.STANDALONE_SIZE == 0b100000
            m.d.comb += self.ended.eq(index[5] if self._slots else index[2:5].all())
            if self._tallies:
                with m.If(self._asked):
                    m.d.comb += self.ended.eq(index == STATUS_BYTES + TALLIES * TALLY_BITS // 8)
        with m.Else():
            m.d.comb += self.ended.eq(index[0])
        return m

    @property
    def _beyond_status(self) -> Value:
        """Whether byte `index` of the reply is one of a tally."""
        index = self.index
        assert STATUS_BYTES == 1 << 5
        behind = index[5:].any() & ~index[4:].all()  # and before MAX_PAYLOAD, nor the header
        return behind & self._asked

    @property
    def _asked(self) -> Value:
        """Whether the request is a STATUS with the number of a tally."""
        return (self.kind == Request.STATUS) & ~self.reason.any() & (self.length == CHECK + INDEX_BITS // 8)

    def _tally_byte(self, m: Module) -> Value:
        """The byte, if it is one of a tally. While the first bytes are sent, the request's number passes by."""
        index, first, found = self.index, Signal(INDEX_BITS, reset_less=True), Signal(8, reset_less=True)
        for k in range(INDEX_BITS // 8):
            with m.If(self.replying & self.load & (index == k)):
                m.d.sync += first.word_select(k, 8).eq(self.frame)
        words_before = STATUS_BYTES * 8 // TALLY_BITS
        m.d.comb += self.tally_index.eq(first + index[2:] - words_before)
        m.d.sync += found.eq(self.tally.word_select(index[:2], 8))
        return found & (self.replying & self._beyond_status).replicate(8)
