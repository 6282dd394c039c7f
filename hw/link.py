"""The host link: a framed, checked protocol between a byte stream and the engine's ports.

Framing is that of RFC 1662 (HDLC-like): a frame lies between two FLAG bytes; FLAG and ESCAPE inside it are sent
as ESCAPE and the byte with bit 5 inverted. Inside are

    kind (1 byte), sequence number (1 byte), payload (0 to MAX_PAYLOAD bytes), CRC-32 (4 bytes, low byte first)

The CRC is CRC-32/ISO-HDLC, Python's zlib.crc32, over kind, number and payload. A FLAG always starts over, so
whatever was lost or damaged, the next good frame is understood. A frame is acted on only once its CRC is right:
a damaged one changes nothing.

**Requests and replies.** The device speaks only when asked. Each frame of the host, good or bad, has one reply,
in order: of kind `request | REPLY` with the request's number, or of kind REFUSED, whose payload is the `Reason`
and the number of the last request done. Silence of `timeout` cycles inside a frame ends it as a bad one.

**Sequence numbers.** IDENTIFY starts numbering anew at its own number. IMAGE, START, X, STATE and RESET are done only
if their number is the last one's plus 1 (modulo 256); one of the 128 numbers before is a repeat whose reply
was lost, answered and not done again; others are refused (SEQUENCE). STATUS and READ have no place in the order.

**Flow control.** Two frames fit into the device: the host may send a second before the reply to the first, not
a third. The reply to IMAGE, X and STATE comes when the engine has taken the last byte. An engine that takes
nothing for `patience` cycles (it is computing, or its results wait to be read) makes the link refuse with WAIT:
send the same payload again later, the bytes already taken are skipped. So every request is answered in bounded
time, and READ, STATUS and RESET always get through. Results wait in a buffer of RESULT_BYTES, then the engine waits.

**Run.** START; then, if it asks for the initial state, STATE frames; then X frames, while READ collects results.
A time step may be cut into frames anywhere between words.

| request | payload | reply |
|---|---|---|
| IDENTIFY | | version, 3 zeros, target (4), build (4) |
| IMAGE | 16-bit words | |
| START | steps (2), flags (1: bit 0 use_state, bit 1 every_h), zero | |
| X | raw words: 1 byte each up to 8 bits, else 2 | |
| STATE | signed words: 2 bytes each up to 16 bits, else 4 | |
| READ | | result bytes so far; those of the READ before are forgotten, unless the number is the same |
| STATUS | | flags (bit 0 busy, bit 1 collision), bad frames, lost, zero; cycles, stalls, saturations (4 each) |
| RESET | | ends the run, empties the buffers; what was loaded stays |

A result is kind (bits 0-1: hw.signatures.OutputKind, bit 2: last) and value (2 bytes up to 16 bits, else 3, signed).
All numbers are little-endian. The counts of bad frames and of lost bytes and frames are 8 bits and wrap; those of
the engine are read byte by byte, and exact when it is not busy.
"""

import hashlib
import zlib
from enum import IntEnum

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.component import Component
from hw.signatures import output_word
from spec.target import Target

VERSION = 1
FLAG, ESCAPE, INVERT = 0x7E, 0x7D, 0x20
REPLY = 0x80
REFUSED = 0xFF
SLOT_BYTES = 256
"""Bytes of a received frame's place in the buffer; there are two."""

MAX_PAYLOAD = 240
"""Fits a slot with its header and CRC, and holds whole words of 1, 2, 3 and 4 bytes."""

RESULT_BYTES = 512
HEADER, CHECK = 2, 4


class Request(IntEnum):
    """Kinds of frames from the host."""

    IDENTIFY = 1
    IMAGE = 2
    START = 3
    X = 4
    STATE = 5
    READ = 6
    STATUS = 7
    RESET = 8


class Reason(IntEnum):
    """Why a frame was refused."""

    DAMAGED = 1
    """CRC, length or end wrong; the number of this reply means nothing."""
    UNKNOWN = 2
    """No such kind."""
    SEQUENCE = 3
    """A frame before it is missing."""
    BUSY = 4
    """Not while a run is under way."""
    IDLE = 5
    """Only while a run is under way."""
    WAIT = 6
    """The engine did not take all of it yet: send it again."""
    LENGTH = 7
    """Not a whole number of words."""


def target_id(target: Target) -> int:
    """32 bits that tell targets apart."""
    return int.from_bytes(hashlib.sha256(repr(target).encode()).digest()[:4], "little")


def word_bytes(width: int) -> int:
    """Bytes of a word of `width` bits in a payload: 1, 2 or 4."""
    return 1 if width <= 8 else 2 if width <= 16 else 4


def encode(kind: int, sequence: int, payload: bytes = b"") -> bytes:
    """A frame as it is sent, flags included."""
    body = bytes([kind, sequence & 0xFF]) + payload
    body += zlib.crc32(body).to_bytes(CHECK, "little")
    escaped = b"".join(bytes([ESCAPE, b ^ INVERT]) if b in (FLAG, ESCAPE) else bytes([b]) for b in body)
    return bytes([FLAG]) + escaped + bytes([FLAG])


def decode(body: bytes) -> tuple[int, int, bytes] | None:
    """Kind, number and payload of what was received between two flags; None if it is damaged."""
    plain, escape = bytearray(), False
    for byte in body:
        if byte == ESCAPE and not escape:
            escape = True
        else:
            plain.append(byte ^ INVERT if escape else byte)
            escape = False
    if escape or len(plain) < HEADER + CHECK:
        return None
    if zlib.crc32(plain[:-CHECK]).to_bytes(CHECK, "little") != plain[-CHECK:]:
        return None
    return plain[0], plain[1], bytes(plain[HEADER:-CHECK])


class SerialCRC(Component):
    """CRC-32/ISO-HDLC, a bit per cycle, low bit first; its register can also be shifted out.

    Members:
        clear (In): start over.
        step (In): take the bit `i`. drain (In): instead of taking it, shift the register.
        low (Out): the CRC's low byte; after 8 drained bits the next.
        match (Out): what was taken ends in its own right CRC.

    Costs: 32 flip-flops.
    """

    POLYNOMIAL, RESIDUE = 0xEDB88320, 0xDEBB20E3

    def __init__(self):
        super().__init__({"clear": In(1), "step": In(1), "drain": In(1), "i": In(1), "low": Out(8), "match": Out(1)})

    def elaborate(self, platform):
        m = Module()
        register = Signal(32, init=0xFFFFFFFF)
        feedback = (register[0] ^ self.i) & ~self.drain
        with m.If(self.clear):
            m.d.sync += register.eq(register.init)
        with m.Elif(self.step):
            m.d.sync += register.eq((register >> 1) ^ Mux(feedback, self.POLYNOMIAL, 0))
        m.d.comb += [self.low.eq(~register), self.match.eq(register == self.RESIDUE)]
        return m


class FrameReceiver(Component):
    """Finds frames in a byte stream and keeps the two oldest until they are released.

    Args:
        timeout: cycles of silence inside a frame that end it.

    Members:
        bytes (In): what was received.
        valid (Out): a frame is there: the oldest. good (Out): it is whole. end (Out): address after its payload.
        address (In), data (Out): its bytes, kind and number first; one cycle later.
        release (In): pulse: done with it.
        lost (Out): pulse: a third frame came and was dropped.

    Costs: a byte per 9 cycles; 512 bytes of memory.
    """

    def __init__(self, timeout: int):
        self._timeout = timeout
        super().__init__(
            {
                "bytes": In(stream.Signature(8)),
                "valid": Out(1),
                "good": Out(1),
                "end": Out(8),
                "address": In(8),
                "data": Out(8),
                "release": In(1),
                "lost": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = memory.Memory(shape=8, depth=2 * SLOT_BYTES, init=[], attrs={"ram_style": "block"})
        write, read = store.write_port(), store.read_port()
        m.submodules.crc = crc = SerialCRC()

        full, good = Signal(2), Signal(2)
        ends = [Signal(8, name=f"end_{k}") for k in range(2)]
        read_slot, write_slot = Signal(), Signal()
        m.d.comb += [
            self.valid.eq(full.bit_select(read_slot, 1)),
            self.good.eq(good.bit_select(read_slot, 1)),
            self.end.eq(Mux(read_slot, ends[1], ends[0])),
            read.addr.eq(Cat(self.address, read_slot)),
            self.data.eq(read.data),
        ]
        with m.If(self.release):
            m.d.sync += [full.bit_select(read_slot, 1).eq(0), read_slot.eq(~read_slot)]

        free = ~full.bit_select(write_slot, 1)
        count = Signal(8)
        bad, escape, cut, end = Signal(), Signal(), Signal(), Signal()
        silence = Signal(range(self._timeout + 1))
        shift, bits = Signal(8), Signal(range(9))
        taken = self.bytes.valid & self.bytes.ready
        byte = self.bytes.payload ^ Mux(escape, INVERT, 0)
        store_byte = Signal()
        m.d.comb += [
            self.bytes.ready.eq(bits == 0),
            crc.i.eq(shift[0]),
            crc.step.eq(bits != 0),
            crc.clear.eq(end),
            write.addr.eq(Cat(count, write_slot)),
            write.data.eq(byte),
            write.en.eq(store_byte),
        ]
        inside = (count != 0) | bad | escape
        with m.If(bits != 0):
            m.d.sync += [bits.eq(bits - 1), shift.eq(shift >> 1)]
        with m.If(taken | ~inside):
            m.d.sync += silence.eq(0)
        with m.Else():
            m.d.sync += silence.eq(silence + 1)
        with m.If(taken):
            with m.If(self.bytes.payload == FLAG):
                m.d.comb += end.eq(1)
            with m.Elif((self.bytes.payload == ESCAPE) & ~escape):
                m.d.sync += escape.eq(1)
            with m.Else():
                m.d.sync += [escape.eq(0), shift.eq(byte), bits.eq(8)]
                with m.If(free & (count < HEADER + MAX_PAYLOAD + CHECK)):
                    m.d.comb += store_byte.eq(1)
                    m.d.sync += count.eq(count + 1)
                with m.Else():
                    m.d.sync += bad.eq(1)
        with m.Elif(inside & (silence == self._timeout) & (bits == 0)):
            m.d.comb += [end.eq(1), cut.eq(1)]
        with m.If(end):
            m.d.sync += [count.eq(0), bad.eq(0), escape.eq(0)]
            with m.If(inside & free):
                whole = crc.match & ~bad & ~escape & ~cut & (count >= HEADER + CHECK)
                m.d.sync += [
                    full.bit_select(write_slot, 1).eq(1),
                    good.bit_select(write_slot, 1).eq(whole),
                    write_slot.eq(~write_slot),
                ]
                for k, slot_end in enumerate(ends):
                    with m.If(write_slot == k):
                        m.d.sync += slot_end.eq(count - CHECK)
            m.d.comb += self.lost.eq(inside & ~free)
        return m


class FrameSender(Component):
    """Sends one frame.

    Members:
        start (In): pulse, while not busy. kind, sequence, length (In): stable until not busy.
        index (Out), data (In): the payload; `data` may follow `index` one cycle later.
        busy (Out): a frame is on its way.
        bytes (Out): to the host.

    Costs: a byte per 12 cycles at most; no memory.
    """

    def __init__(self):
        super().__init__(
            {
                "start": In(1),
                "kind": In(8),
                "sequence": In(8),
                "length": In(8),
                "index": Out(8),
                "data": In(8),
                "busy": Out(1),
                "bytes": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = SerialCRC()
        part = Signal(range(HEADER + 1 + CHECK))  # kind, number, payload, CRC bytes
        check = part > HEADER
        byte, bits = Signal(8), Signal(range(9))  # the byte turns once around while the CRC takes its bits
        escaped = Signal()
        special = (byte == FLAG) | (byte == ESCAPE)
        m.d.comb += [crc.i.eq(byte[0]), crc.step.eq(bits != 0), crc.drain.eq(check), self.busy.eq(1)]
        with m.If(bits != 0):
            m.d.sync += [bits.eq(bits - 1), byte.eq(Cat(byte[1:], byte[0]))]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.busy.eq(0), crc.clear.eq(1)]
                m.d.sync += [part.eq(0), self.index.eq(0)]
                with m.If(self.start):
                    m.next = "OPEN"
            with m.State("OPEN"):
                m.d.comb += [self.bytes.valid.eq(1), self.bytes.payload.eq(FLAG)]
                with m.If(self.bytes.ready):
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.sync += [bits.eq(8), byte.eq(crc.low)]
                with m.Switch(part):
                    with m.Case(0):
                        m.d.sync += byte.eq(self.kind)
                    with m.Case(1):
                        m.d.sync += byte.eq(self.sequence)
                    with m.Case(HEADER):
                        m.d.sync += byte.eq(self.data)
                m.next = "SEND"
            with m.State("SEND"), m.If(bits == 0):
                m.d.comb += [
                    self.bytes.valid.eq(1),
                    self.bytes.payload.eq(Mux(escaped, byte ^ INVERT, Mux(special, ESCAPE, byte))),
                ]
                with m.If(self.bytes.ready):
                    m.d.sync += escaped.eq(special & ~escaped)
                    with m.If(~special | escaped):
                        m.next = "STEP"
            with m.State("STEP"):
                m.next = "FETCH"
                with m.If(part == HEADER):
                    m.d.sync += self.index.eq(self.index + 1)
                with m.If((part == 1) & (self.length == 0)):
                    m.d.sync += part.eq(HEADER + 1)
                with m.Elif((part != HEADER) | (self.index + 1 == self.length)):
                    m.d.sync += part.eq(part + 1)
                with m.If(part == HEADER + CHECK):
                    m.next = "CLOSE"
            with m.State("FETCH"):
                m.next = "LOAD"
            with m.State("CLOSE"):
                m.d.comb += [self.bytes.valid.eq(1), self.bytes.payload.eq(FLAG)]
                with m.If(self.bytes.ready):
                    m.next = "IDLE"
        return m


class ResultBuffer(Component):
    """The engine's results as bytes, kept until the host is known to have them.

    Members:
        out (In): results.
        next (In): pulse: forget the bytes offered and offer those there are now.
        clear (In): pulse: forget everything.
        length (Out): bytes offered, at most MAX_PAYLOAD; valid two cycles after `next`.
        index (In), data (Out): those bytes, one cycle later.

    Costs: a word per 1 + ceil(data width / 8) cycles; RESULT_BYTES of memory.
    """

    def __init__(self, target: Target):
        self._bytes = 1 + -(-target.data_width // 8)
        super().__init__(
            {
                "out": In(stream.Signature(output_word(target))),
                "next": In(1),
                "clear": In(1),
                "length": Out(8),
                "index": In(8),
                "data": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = memory.Memory(shape=8, depth=RESULT_BYTES, init=[], attrs={"ram_style": "block"})
        write, read = store.write_port(), store.read_port()
        width = range(RESULT_BYTES)
        head, tail = Signal(width), Signal(width)
        level = Signal(width)
        offer = Signal()
        m.d.comb += [
            level.eq(head - tail),
            read.addr.eq(tail + self.index),
            self.data.eq(read.data),
        ]
        with m.If(self.next):
            m.d.sync += tail.eq(tail + self.length)
        m.d.sync += offer.eq(self.next)
        with m.If(offer):
            m.d.sync += self.length.eq(Mux(level > MAX_PAYLOAD, MAX_PAYLOAD, level))

        word = self.out.payload
        value = Signal(signed(8 * (self._bytes - 1)))
        m.d.comb += value.eq(word.value)
        image = Cat(word.kind, word.last, Const(0, 5), value)
        part = Signal(range(self._bytes))
        room = (level + 1)[: len(level)] != 0
        m.d.comb += [
            write.addr.eq(head),
            write.data.eq(image.word_select(part, 8)),
            write.en.eq(self.out.valid & room),
            self.out.ready.eq(room & (part == self._bytes - 1)),
        ]
        with m.If(write.en):
            m.d.sync += [head.eq(head + 1), part.eq(Mux(part == self._bytes - 1, 0, part + 1))]
        with m.If(self.clear):
            m.d.sync += [head.eq(0), tail.eq(0), part.eq(0), self.length.eq(0)]
        return m


def _latest(word: Value, size: int) -> Value:
    """The last `size` bytes that entered `word` at its top."""
    return word[len(word) - 8 * size :]


class HostLink(Component):
    """Carries out the host's requests (see this module's text) on the engine's ports.

    Args:
        target: of the engine.
        build: 32 bits that identify the bitstream.
        timeout: cycles of silence inside a frame that end it.
        patience: cycles the engine may let a word wait before the frame is refused for now.

    Members:
        rx (In), tx (Out): bytes from and to the host.
        lost (In): pulse: a byte was lost on its way here.
        image, x, state, out, start, steps, use_state, every_h, busy, cycles, stalls, saturations, collision: as the
            engine's, the other way round.
        reset (Out): pulse: the engine (but not this link) is to be reset.

    Costs: no multipliers; two block RAMs (`block_rams`).
    """

    def __init__(self, target: Target, build: int = 0, timeout: int = 1 << 20, patience: int = 1 << 12):
        self._target = target
        self._build = build
        self._timeout = timeout
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
        m.submodules.receiver = receiver = FrameReceiver(self._timeout)
        m.submodules.sender = sender = FrameSender()
        m.submodules.results = results = ResultBuffer(target)
        wiring.connect(m, wiring.flipped(self.rx), receiver.bytes)
        wiring.connect(m, sender.bytes, wiring.flipped(self.tx))
        wiring.connect(m, wiring.flipped(self.out), results.out)

        kind, sequence, last = Signal(8), Signal(8), Signal(8)
        read_sequence, was_read = Signal(8), Signal()
        reason = Signal(Reason)
        at = Signal(8)
        resume = Signal(8, init=HEADER)  # where a refused X or STATE goes on
        word, part = Signal(32), Signal(2)  # bytes enter at the top
        waited = Signal(range(self._patience + 1))
        bad_frames, lost, refused = Signal(8), Signal(8), Signal()
        m.d.comb += [receiver.address.eq(at), results.clear.eq(self.reset)]
        with m.If(self.lost | receiver.lost):
            m.d.sync += lost.eq(lost + 1)

        flags = Cat(self.busy, self.collision, Const(0, 6))
        status = Cat(flags, bad_frames, lost, Const(0, 8), self.cycles, self.stalls, self.saturations)
        identity = Cat(Const(VERSION, 32), Const(target_id(target), 32), Const(self._build, 32))
        refusal = Cat(reason, Const(0, 8 - len(reason)), last)
        m.d.comb += [
            results.index.eq(sender.index),
            sender.sequence.eq(sequence),
            sender.kind.eq(Mux(refused, REFUSED, kind | REPLY)),
        ]
        with m.If(refused):
            m.d.comb += [sender.data.eq(refusal.word_select(sender.index[0], 8)), sender.length.eq(len(refusal) // 8)]
        with m.Else(), m.Switch(kind):
            for request, payload in ((Request.STATUS, status), (Request.IDENTIFY, identity)):
                with m.Case(request):
                    m.d.comb += [
                        sender.data.eq(payload.word_select(sender.index, 8)),
                        sender.length.eq(len(payload) // 8),
                    ]
            with m.Case(Request.READ):
                m.d.comb += [sender.data.eq(results.data), sender.length.eq(results.length)]

        sizes = {
            Request.IMAGE: 2,
            Request.START: 4,
            Request.X: word_bytes(target.input_width),
            Request.STATE: word_bytes(target.data_width),
        }
        allowed = {
            Request.IMAGE: ~self.busy,
            Request.START: ~self.busy,
            Request.X: self.busy,
            Request.STATE: self.busy,
        }
        ready = {
            Request.IMAGE: self.image.ready,
            Request.START: Const(1),
            Request.X: self.x.ready,
            Request.STATE: self.state.ready,
        }
        empty = receiver.end == HEADER
        long_start = (kind == Request.START) & (receiver.end != HEADER + sizes[Request.START])
        size_mask, permitted, accepted = Signal(2), Signal(), Signal()
        with m.Switch(kind):
            for request, size in sizes.items():
                with m.Case(request):
                    m.d.comb += [
                        size_mask.eq(size - 1),
                        permitted.eq(allowed[request]),
                        accepted.eq(ready[request]),
                    ]
        pushing, moved, finished = Signal(), Signal(), Signal()
        for_run = (kind == Request.X) | (kind == Request.STATE)
        ahead = Signal(8)
        m.d.comb += [
            ahead.eq(sequence - last),
            finished.eq(at == receiver.end),
            self.image.payload.eq(_latest(word, sizes[Request.IMAGE])),
            self.image.valid.eq(pushing & (kind == Request.IMAGE)),
            self.x.payload.eq(_latest(word, sizes[Request.X])),
            self.x.valid.eq(pushing & (kind == Request.X)),
            self.state.payload.eq(_latest(word, sizes[Request.STATE])),
            self.state.valid.eq(pushing & (kind == Request.STATE)),
        ]
        # The engine's ready comes late: it is looked at a cycle later.
        m.d.sync += [self.start.eq(0), self.reset.eq(0), moved.eq(pushing & accepted)]

        def reply():
            m.d.sync += refused.eq(0)
            m.next = "REPLY"

        def refuse(why):
            m.d.sync += [reason.eq(why), refused.eq(1)]
            m.next = "REPLY"

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [part.eq(0), waited.eq(0)]
                with m.If(receiver.valid):
                    m.next = "KIND"
            with m.State("KIND"):
                m.d.sync += [kind.eq(receiver.data), at.eq(1)]
                m.next = "GAP"
            with m.State("GAP"):
                m.next = "NUMBER"
            with m.State("NUMBER"):
                m.d.sync += [sequence.eq(receiver.data), at.eq(Mux(for_run, resume, HEADER))]
                m.next = "DECIDE"
            with m.State("DECIDE"):
                with m.If(~receiver.good):
                    m.d.sync += bad_frames.eq(bad_frames + 1)
                    refuse(Reason.DAMAGED)
                with m.Else(), m.Switch(kind):
                    with m.Case(Request.IDENTIFY):
                        m.d.sync += [last.eq(sequence), was_read.eq(0), resume.eq(HEADER)]
                        reply()
                    with m.Case(Request.STATUS):
                        reply()
                    with m.Case(Request.READ):
                        m.d.sync += [read_sequence.eq(sequence), was_read.eq(1)]
                        m.d.comb += results.next.eq(~was_read | (read_sequence != sequence))
                        reply()
                    with m.Case(Request.RESET, *sizes):
                        with m.If((ahead == 0) | ahead[-1]):
                            reply()
                        with m.Elif(ahead != 1):
                            refuse(Reason.SEQUENCE)
                        with m.Elif(kind == Request.RESET):
                            m.d.sync += [self.reset.eq(1), last.eq(sequence)]
                            reply()
                        with m.Elif(((receiver.end - HEADER) & size_mask).any() | empty | long_start):
                            refuse(Reason.LENGTH)
                        with m.Elif(~permitted):
                            refuse(Mux(for_run, Reason.IDLE, Reason.BUSY))
                        with m.Else():
                            m.next = "BYTE"
                    with m.Default():
                        refuse(Reason.UNKNOWN)
            with m.State("BYTE"):
                m.d.sync += [word.eq(Cat(word[8:], receiver.data)), at.eq(at + 1), part.eq(part + 1)]
                m.next = "NEXT"
                with m.If(part == size_mask):
                    m.d.sync += part.eq(0)
                    m.next = "PUSH"
            with m.State("NEXT"):
                m.next = "BYTE"
            with m.State("PUSH"):
                m.d.comb += pushing.eq(~moved & (waited != self._patience))
                m.d.sync += waited.eq(waited + 1)
                with m.If(moved):
                    m.d.sync += [resume.eq(at), waited.eq(0)]
                    m.next = "BYTE"
                    with m.If(finished):
                        m.d.sync += [resume.eq(HEADER), last.eq(sequence)]
                        reply()
                    with m.If(kind == Request.START):
                        m.d.sync += [
                            self.start.eq(1),
                            self.steps.eq(word),
                            self.use_state.eq(word[16]),
                            self.every_h.eq(word[17]),
                        ]
                with m.Elif(~permitted):
                    m.d.sync += resume.eq(HEADER)
                    refuse(Reason.IDLE)
                with m.Elif(waited == self._patience):
                    refuse(Reason.WAIT)
            with m.State("REPLY"):  # one cycle for READ to count
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += sender.start.eq(1)
                m.next = "SENDING"
            with m.State("SENDING"), m.If(~sender.busy):
                m.d.comb += receiver.release.eq(1)
                m.d.sync += at.eq(0)
                m.next = "RELEASED"
            with m.State("RELEASED"):
                m.next = "IDLE"
        return m
