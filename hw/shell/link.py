"""The host link: the device's side of fdht.spec.protocol, between a byte stream and the engine's ports."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.hw.engine.signatures import output_word
from fdht.hw.technology import RegisteredMemory
from fdht.spec.protocol import (
    CHECK,
    ESCAPE,
    FLAG,
    INVERT,
    MAX_PAYLOAD,
    REFUSED,
    SLOT_BYTES,
    VERSION,
    Reason,
    Request,
    Status,
    result_bytes,
    target_id,
    word_bytes,
)
from fdht.spec.target import Target, Technology


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


def _latest(word: Value, size: int) -> Value:
    """The last `size` bytes that entered `word` at its top."""
    return word[len(word) - 8 * size :]


class HostLink(Component):
    """Carries out the host's requests (see fdht.spec.protocol) on the engine's ports.

    A frame in work is read twice: first to check its CRC, then to carry it out. The reply goes through the same byte
    register and the same CRC, four bits per cycle. A second CRC is taken of image words as the engine takes them.

    Args:
        target: of the engine.
        build: 32 bits that identify the bitstream.
        patience: cycles the engine may let a word wait before the frame is refused for now; a power of two.

    Members:
        rx (In), tx (Out): bytes from and to the host.
        lost (In): pulse: a byte was lost on its way here.
        image, x, state, out, start, steps, use_state, every_h, keep, busy, cycles, stalls, saturations, collision: the
            engine's (see fdht.hw.engine.accelerator.Accelerator), in the opposite direction.
        reset (Out): pulse, also after power-up: the engine (but not this link) is to be reset.

    Costs: at most 11 cycles per byte of a request and 3 per word, 7 per byte of a reply; 2 block RAMs.
    """

    def __init__(self, target: Target, build: int = 0, patience: int = 1 << 12):
        assert patience & patience - 1 == 0
        self._target = target
        self._build = build
        self._patience = patience
        super().__init__(
            {
                "rx": In(stream.Signature(8)),
                "tx": Out(stream.Signature(8)),
                "lost": In(1),
                "image": Out(stream.Signature(16)),
                "x": Out(stream.Signature(target.input_width)),
                "state": Out(stream.Signature(signed(target.data_width))),
                "out": In(stream.Signature(output_word(target))),
                "start": Out(1),
                "steps": Out(16),
                "use_state": Out(1),
                "every_h": Out(1),
                "keep": Out(1),
                "busy": In(1),
                "collision": In(1),
                "cycles": In(32),
                "stalls": In(32),
                "saturations": In(32),
                "reset": Out(1),
            }
        )

    @property
    def block_rams(self) -> int:
        return 2

    def elaborate(self, platform):
        m = Module()
        target = self._target
        m.submodules.receiver = receiver = FrameReceiver(target.build.technology)
        m.submodules.crc = crc = CRC32()
        m.submodules.check = check = CRC32()  # of the image
        m.submodules.results = results = ResultBuffer(target)
        wiring.connect(m, wiring.flipped(self.rx), receiver.bytes)
        wiring.connect(m, wiring.flipped(self.out), results.out)

        sizes = {
            Request.IMAGE: 2,
            Request.START: 2,
            Request.X: word_bytes(target.input_width),
            Request.STATE: word_bytes(target.data_width),
        }
        ready = {
            Request.IMAGE: self.image.ready,
            Request.START: Const(1),
            Request.X: self.x.ready,
            Request.STATE: self.state.ready,
        }
        index = Signal(8, reset_less=True)  # of the next byte in the frame or the reply; the header's is -1
        taken = Signal(8, reset_less=True)  # bytes of the payload that are done
        byte, high = Signal(8, reset_less=True), Signal(reset_less=True)  # high: its second half is next
        earlier = Signal(8 * (max(sizes.values()) - 2), reset_less=True)  # of the word, before `byte`
        kind, last = Signal(3, reset_less=True), Signal(4, reset_less=True)
        reason, fresh, escaped = Signal(3, reset_less=True), Signal(reset_less=True), Signal()
        errors = Signal(8, reset_less=True)
        waited = Signal(range(self._patience + 1), reset_less=True)
        steps, options = Signal(16, reset_less=True), Signal(3, reset_less=True)
        acting, damaged, reset = Signal(), Signal(), Signal(init=1)
        complete = Signal(reset_less=True)  # all of the payload was done a cycle ago
        anew = Signal()  # the next image word begins another image
        checking, opening, replying, closing, ended = (Signal() for _ in range(5))
        data, number = receiver.data, receiver.data[4:]
        m.d.comb += [
            receiver.address.eq(Mux(acting, taken, index)),
            self.reset.eq(reset),
            results.clear.eq(reset),
            self.steps.eq(steps),
            Cat(self.use_state, self.every_h, self.keep).eq(options),
        ]
        with m.If(self.lost | receiver.dropped | damaged):
            m.d.sync += errors.eq(errors + 1)

        # What a reply consists of.
        refused = reason.any()
        reading = (kind == Request.READ) & ~refused
        assert MAX_PAYLOAD == 0xF0
        beyond = index[4:].all()  # MAX_PAYLOAD, unless it is -1
        header = beyond & index[0]
        load, use_data, use_results, use_status = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            use_data.eq(~replying | header),
            use_results.eq(replying & ~header & reading),
            use_status.eq(replying & ~header & ~reading),
        ]
        counts = [
            _select(m, index[:2], *(count[8 * k : 8 * k + 8] for k in range(4)))
            for count in (self.cycles, self.stalls, self.saturations)
        ]
        identity = Cat(Const(target_id(target), 32), Const(self._build, 32))
        checked = _select(m, index[:2], *(check.value[8 * k : 8 * k + 8] for k in range(4)))
        misc = Cat(reason, self.busy, last, errors, self.collision, Const(0, 7), Const(VERSION, 8))
        other = Signal(8, reset_less=True)
        constant = Mux(index[4], identity.word_select(index[:3], 8), misc.word_select(index[:2], 8))
        m.d.sync += other.eq(Mux(index[3:5].all(), checked, constant))
        place = index[2:4] & (use_status & ~index[4]).replicate(2)
        status = _select(m, place, other & use_status.replicate(8), *counts)
        memories = (data | Mux(replying & refused, REFUSED, 0)) & use_data.replicate(8)
        memories |= results.data & use_results.replicate(8)
        with m.If(load):
            m.d.sync += byte.eq(status | memories)
        with m.If(checking):
            m.d.comb += ended.eq(index == receiver.length)
        with m.Elif(closing):
            m.d.comb += ended.eq(index[:2].all() & ~index[7])
        with m.Elif(reading):
            m.d.comb += ended.eq(~results.more | beyond)
        with m.Elif(kind[1:] == Request.STATUS >> 1):
            assert Status.SIZE == 0b11100
            m.d.comb += ended.eq(index[2:5].all())
        with m.Else():
            m.d.comb += ended.eq(index[0])

        # What a request does.
        word = Cat(earlier, byte, data)
        mask, accepted, for_run = Signal(2), Signal(), kind[2]
        with m.Switch(kind):
            for request, size in sizes.items():
                with m.Case(request):
                    m.d.comb += [mask.eq(size - 1), accepted.eq(ready[request])]
        pushing, moved, advance, advanced = (Signal() for _ in range(4))
        m.d.comb += [
            self.image.payload.eq(_latest(word, sizes[Request.IMAGE])),
            self.image.valid.eq(pushing & (kind == Request.IMAGE)),
            self.x.payload.eq(_latest(word, sizes[Request.X])),
            self.x.valid.eq(pushing & (kind == Request.X)),
            self.state.payload.eq(_latest(word, sizes[Request.STATE])),
            self.state.valid.eq(pushing & (kind == Request.STATE)),
        ]
        # The engine's ready comes late: it is looked at a cycle later.
        m.d.sync += complete.eq(taken + CHECK == receiver.length)
        m.d.sync += [
            self.start.eq(0),
            reset.eq(0),
            moved.eq(pushing & accepted),
            advanced.eq(advance),
        ]
        with m.If(advance):
            m.d.sync += taken.eq(taken + 1)
        # `data` is still there in the cycle after: time for the byte's two halves.
        m.d.comb += [
            check.step.eq((advance | advanced) & (kind == Request.IMAGE)),
            check.i.eq(Mux(advanced, data[4:], data[:4])),
        ]
        ahead = Signal(4, reset_less=True)
        m.d.sync += ahead.eq(number - last)

        def reply(why: Reason | None = None):
            if why is not None:
                m.d.sync += reason.eq(why)
            m.next = "OPEN"

        # A byte of the frame or the reply and its CRC.
        done = Signal()  # with the frame or this part of the reply
        special = (byte == FLAG) | (byte == ESCAPE)
        escaping, flag = Signal(), Signal()
        m.d.comb += self.tx.payload.eq(Mux(escaping | flag, Mux(flag, FLAG, ESCAPE), byte ^ Mux(escaped, INVERT, 0)))
        with m.FSM():
            with m.State("NEXT"):
                m.d.comb += done.eq(ended)
                with m.If(opening | ((checking | replying | closing) & ~ended)):
                    m.next = "READ"
            with m.State("READ"):
                m.next = "LOAD"
            with m.State("LOAD"):
                m.d.sync += index.eq(index + 1)
                m.d.comb += [load.eq(1), results.take.eq(use_results)]
                with m.If(replying & header & fresh & ~refused):
                    m.d.sync += last.eq(number)
                m.next = "SHIFT"
            with m.State("SHIFT"):
                m.d.comb += [crc.step.eq(1), crc.i.eq(byte), crc.drain.eq(closing)]
                m.d.sync += [byte.eq(Cat(byte[4:], Mux(closing, crc.value[:4], byte[:4]))), high.eq(~high)]
                with m.If(high):
                    m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += [self.tx.valid.eq(~checking), escaping.eq(special & ~escaped)]
                with m.If(checking):
                    m.next = "NEXT"
                with m.Elif(self.tx.ready):
                    m.d.sync += escaped.eq(escaping)
                    with m.If(~escaping):
                        m.next = "NEXT"

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [crc.clear.eq(1), receiver.take.eq(receiver.valid)]
                m.d.sync += [index.eq(~0), reason.eq(0), fresh.eq(0)]
                with m.If(~self.busy):
                    m.d.sync += taken.eq(0)
                with m.If(receiver.valid):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += checking.eq(1)
                with m.If(done):
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.next = "READ"
            with m.State("READ"):
                m.next = "LATCH"
            with m.State("LATCH"):
                m.d.sync += kind.eq(data)
                m.next = "DECIDE"
            with m.State("DECIDE"):
                with m.If(~crc.match):
                    m.d.comb += damaged.eq(1)
                    reply(Reason.DAMAGED)
                with m.Elif(kind == Request.STATUS):
                    reply()
                with m.Elif(kind == Request.IDENTIFY):
                    m.d.sync += fresh.eq(1)
                    reply()
                with m.Elif((ahead == 0) | ahead[-1]):
                    m.d.comb += results.rewind.eq(kind == Request.READ)
                    reply()
                with m.Elif(ahead != 1):
                    reply(Reason.SEQUENCE)
                with m.Else():
                    m.d.sync += fresh.eq(1)
                    m.next = "BYTE"
            with m.State("BYTE"):
                m.d.comb += acting.eq(1)
                m.next = "FETCH"
                with m.If(kind == Request.READ):
                    m.d.comb += results.forget.eq(1)
                    reply()
                with m.Elif(kind == Request.RESET):
                    m.d.sync += [reset.eq(1), anew.eq(1)]
                    reply()
                with m.Elif(
                    (receiver.length & mask).any() | ((kind == Request.START) & (receiver.length != CHECK + 4))
                ):
                    reply(Reason.LENGTH)
            with m.State("FETCH"):
                m.d.comb += acting.eq(1)
                m.next = "WORD"
                with m.If(complete):
                    m.d.sync += taken.eq(0)
                    reply()
                with m.Elif(self.busy != for_run):
                    reply(Reason.BUSY)
                    m.d.sync += reason[0].eq(for_run)
                with m.Elif(kind == Request.IMAGE):
                    m.d.comb += check.clear.eq(anew)
                    m.d.sync += anew.eq(0)
            with m.State("WORD"):
                m.d.comb += acting.eq(1)
                m.d.sync += waited.eq(0)
                m.next = "PUSH"
                with m.If((taken & mask) != mask):
                    m.d.comb += [load.eq(1), advance.eq(1)]
                    m.d.sync += earlier.eq(Cat(earlier, byte)[8:])
                    m.next = "BYTE"
            with m.State("PUSH"):
                m.d.comb += [acting.eq(1), pushing.eq(~moved & ~waited[-1])]
                m.d.sync += waited.eq(waited + 1)
                with m.If(moved):
                    m.d.comb += advance.eq(1)
                    m.next = "BYTE"
                    with m.If(kind == Request.START):
                        with m.If(taken[1]):
                            m.d.sync += [self.start.eq(1), options.eq(byte)]
                        with m.Else():
                            m.d.sync += steps.eq(_latest(word, 2))
                with m.Elif(waited[-1]):
                    m.d.sync += taken[:2].eq(taken[:2] ^ mask)
                    reply(Reason.WAIT)
            with m.State("OPEN"):
                m.d.comb += [self.tx.valid.eq(1), flag.eq(1), crc.clear.eq(1), opening.eq(self.tx.ready)]
                with m.If(self.tx.ready):
                    m.next = "REPLY"
            with m.State("REPLY"):
                m.d.comb += replying.eq(1)
                with m.If(done):
                    m.next = "CLOSE"
            with m.State("CLOSE"):
                m.d.comb += closing.eq(1)
                with m.If(done):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += [self.tx.valid.eq(1), flag.eq(1)]
                with m.If(self.tx.ready):
                    m.next = "IDLE"
        with m.If(done):
            m.d.sync += index.eq(~0)
        return m
