"""Requests of the host link: their order, their payload, and who decides what becomes of them."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.hw.shell.link_frames import CRC32
from fdht.spec.protocol import CHECK, Reason, Request, word_bytes
from fdht.spec.target import Target


class RequestOrder(Component):
    """Where a request stands among those that are numbered.

    Members:
        number (In): its number.
        repeated (Out): a cycle later: it is the number of the last request that was done, or of the 8 before.
        following (Out): a cycle later: it is the next.
        accept (In): pulse: the request is done.
        last (Out): number of the last that was done.

    Costs: latency 1; a number per cycle.
    """

    def __init__(self):
        super().__init__({"number": In(4), "repeated": Out(1), "following": Out(1), "accept": In(1), "last": Out(4)})

    def elaborate(self, platform):
        m = Module()
        last, ahead = Signal(4, reset_less=True), Signal(4, reset_less=True)
        m.d.sync += ahead.eq(self.number - last)
        with m.If(self.accept):
            m.d.sync += last.eq(self.number)
        m.d.comb += [self.last.eq(last), self.repeated.eq((ahead == 0) | ahead[-1]), self.following.eq(ahead == 1)]
        return m


def _latest(word: Value, size: int) -> Value:
    """The last `size` bytes that entered `word` at its top."""
    return word[len(word) - 8 * size :]


class PayloadWords(Component):
    """A request's payload as words: of an image, inputs or states to the engine, of START to the registers of a run.

    A word's bytes are gathered one after the other, all but its last; the last is offered with them, until the engine
    has taken the word or was given enough time.

    Args:
        target: of the engine.
        patience: cycles the engine may let a word wait; a power of two.

    Members:
        kind (In): of the request.
        length (In): of its frame, see FrameReceiver. misfit (Out): it does not suit the kind. complete (Out): a cycle
            ago all of the payload was done.
        restart (In): no byte is done.
        taken (Out): bytes that are done. data (In): the byte that comes after them, two cycles after that changed; it
            stays for another cycle when it is done.
        gather (In): pulse, with each byte. whole (Out): it is its word's last, the word is to be offered; else it is
            done now, and `load` (Out) asks for it as `byte` (In) from the next cycle on.
        offer (In): the word is offered, until either of the two that follow.
        moved (Out): the engine took it a cycle ago; its last byte is done now.
        tired (Out): it has waited long enough; none of its bytes is done.
        advance (Out): a byte is done now.
        image, x, state (Out): words to the engine.
        start (Out): pulse, a cycle after START's last word is `moved`. steps, use_state, every_h, keep (Out): what it
            says, until the next.

    Costs: latency 0 from `offer` to a stream; a cycle per byte, 2 more per word.
    """

    def __init__(self, target: Target, patience: int):
        assert patience & patience - 1 == 0
        self._patience = patience
        self._sizes = {
            Request.IMAGE: 2,
            Request.START: 2,
            Request.X: word_bytes(target.input_width),
            Request.STATE: word_bytes(target.data_width),
        }
        super().__init__(
            {
                "kind": In(3),
                "length": In(8),
                "misfit": Out(1),
                "complete": Out(1),
                "restart": In(1),
                "taken": Out(8),
                "data": In(8),
                "gather": In(1),
                "whole": Out(1),
                "load": Out(1),
                "byte": In(8),
                "offer": In(1),
                "moved": Out(1),
                "tired": Out(1),
                "advance": Out(1),
                "image": Out(stream.Signature(16)),
                "x": Out(stream.Signature(target.input_width)),
                "state": Out(stream.Signature(signed(target.data_width))),
                "start": Out(1),
                "steps": Out(16),
                "use_state": Out(1),
                "every_h": Out(1),
                "keep": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        sizes, kind = self._sizes, self.kind
        taken, complete = Signal(8, reset_less=True), Signal(reset_less=True)
        earlier = Signal(8 * (max(sizes.values()) - 2), reset_less=True)  # of the word, before `byte`
        waited = Signal(range(self._patience + 1), reset_less=True)
        steps, options = Signal(16, reset_less=True), Signal(3, reset_less=True)
        mask, pushing, accepted = Signal(2), Signal(), Signal()  # mask: bytes of a word less 1
        word = Cat(earlier, self.byte, self.data)
        streams = {Request.IMAGE: self.image, Request.X: self.x, Request.STATE: self.state}
        m.d.comb += [
            self.taken.eq(taken),
            self.complete.eq(complete),
            self.misfit.eq((self.length & mask).any() | ((kind == Request.START) & (self.length != CHECK + 4))),
            self.whole.eq((taken & mask) == mask),
            self.load.eq(self.gather & ~self.whole),
            self.tired.eq(waited[-1]),
            self.advance.eq(self.load | (self.offer & self.moved)),
            pushing.eq(self.offer & ~self.moved & ~self.tired),
            self.steps.eq(steps),
            Cat(self.use_state, self.every_h, self.keep).eq(options),
        ]
        with m.Switch(kind):
            for request, size in sizes.items():
                with m.Case(request):
                    ready = streams[request].ready if request in streams else 1
                    m.d.comb += [mask.eq(size - 1), accepted.eq(ready)]
        for request, words in streams.items():
            m.d.comb += [words.payload.eq(_latest(word, sizes[request])), words.valid.eq(pushing & (kind == request))]
        m.d.sync += [
            complete.eq(taken + CHECK == self.length),
            self.moved.eq(pushing & accepted),  # the engine's ready comes late: it is looked at a cycle later
            self.start.eq(0),
        ]
        with m.If(self.gather):
            m.d.sync += waited.eq(0)
        with m.If(self.load):
            m.d.sync += earlier.eq(Cat(earlier, self.byte)[8:])
        with m.If(self.advance):
            m.d.sync += taken.eq(taken + 1)
        with m.If(self.offer):
            m.d.sync += waited.eq(waited + 1)
            with m.If(self.moved):
                with m.If((kind == Request.START) & taken[1]):
                    m.d.sync += [self.start.eq(1), options.eq(self.byte)]
                with m.Elif(kind == Request.START):
                    m.d.sync += steps.eq(_latest(word, 2))
            with m.Elif(self.tired):
                m.d.sync += taken[:2].eq(taken[:2] ^ mask)
        with m.If(self.restart):
            m.d.sync += taken.eq(0)
        return m


class LoadedCRC(Component):
    """The CRC of the image words that the engine has taken.

    Members:
        loading (In): the request in work brings image words.
        data (In), valid (In): a byte that is done. `data` stays for another cycle, in which its second half is taken.
        anew (In): pulse: the next word begins another image, and forgets this one.
        begin (In): pulse, before a byte: of the image's words one follows.
        value (Out): the CRC.

    Costs: latency 2; a byte per two cycles.
    """

    def __init__(self):
        super().__init__(
            {"loading": In(1), "data": In(8), "valid": In(1), "anew": In(1), "begin": In(1), "value": Out(32)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = CRC32()
        second, anew = Signal(), Signal()
        m.d.sync += second.eq(self.valid)
        m.d.comb += [
            crc.step.eq((self.valid | second) & self.loading),
            crc.i.eq(Mux(second, self.data[4:], self.data[:4])),
            crc.clear.eq(self.begin & anew),
            self.value.eq(crc.value),
        ]
        with m.If(self.begin):
            m.d.sync += anew.eq(0)
        with m.If(self.anew):
            m.d.sync += anew.eq(1)
        return m


class Dispatcher(Component):
    """Carries out one request after the other: checks the frame, decides, has its words moved, and has it answered.

    Args:
        slots: of the flash from which the engine can load itself; 0: it cannot.

    Members:
        valid (In), take (Out), data (In): a frame, see FrameReceiver.
        idle, checking, opening, replying, closing, ending (Out): where the frame or its reply is, see FrameWalker.
            done (In): this part is through. sent (In): a flag is, while `opening` or `ending`. match (In): the CRC is
            right.
        damaged (Out): pulse: it is not.
        kind (Out): of the request. reason (Out): why it is refused, 0 if it is not. numbered (Out): if it is not, its
            number is that of the last request done.
        repeated, following (In): of the request's number, see RequestOrder.
        acting (Out): the payload is carried out: `data` is to be the byte behind those that are done.
        busy (In): the engine's.
        misfit, complete, whole, moved, tired (In), restart, gather, offer (Out): see PayloadWords.
        loading (Out): pulse: a byte of an image follows.
        rewind, forget (Out): see ResultBuffer.
        reset (Out): the engine is to be reset: a pulse, also after power-up. anew (Out): the same, but not after
            power-up, and a cycle earlier.
        addressed (In): a RESET in work names a slot. chosen (Out): pulse, behind the reply to it. slot (Out): its
            number. The three only with `slots`.

    Costs: latency from the end of a frame's check 7 to `gather` of its first byte, 5 to a reply, 6 to that to READ and
    RESET, 9 to that to a RESET with a slot; 3 cycles per byte that is gathered, 2 more per word that the engine takes
    at once.
    """

    def __init__(self, slots: int = 0):
        self._slots = slots
        flags_in = ("valid", "done", "sent", "match", "repeated", "following", "busy")
        words_in = ("misfit", "complete", "whole", "moved", "tired")
        phases = ("idle", "checking", "opening", "replying", "closing", "ending")
        flags_out = ("take", "damaged", "numbered", "acting", "restart", "gather", "offer", "loading", "rewind")
        super().__init__(
            {
                **{name: In(1) for name in (*flags_in, *words_in)},
                **{name: Out(1) for name in (*phases, *flags_out)},
                "data": In(8),
                "kind": Out(3),
                "reason": Out(3),
                "forget": Out(1),
                "anew": Out(1),
                "reset": Out(1, init=1),
                **({"addressed": In(1), "chosen": Out(1), "slot": Out(range(slots))} if slots else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        kind, reason = Signal(3, reset_less=True), Signal(3, reset_less=True)
        numbered, for_run = Signal(reset_less=True), kind[2]
        choosing = Signal()
        m.d.comb += [self.kind.eq(kind), self.reason.eq(reason), self.numbered.eq(numbered)]
        m.d.sync += self.reset.eq(self.anew)

        def reply(why: Reason | None = None):
            if why is not None:
                m.d.sync += reason.eq(why)
            m.next = "OPEN"

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(1), self.take.eq(self.valid), self.restart.eq(~self.busy)]
                m.d.sync += [reason.eq(0), numbered.eq(0)]
                with m.If(self.valid):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += self.checking.eq(1)
                with m.If(self.done):
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.next = "READ"
            with m.State("READ"):
                m.next = "LATCH"
            with m.State("LATCH"):
                m.d.sync += kind.eq(self.data)
                m.next = "DECIDE"
            with m.State("DECIDE"):
                with m.If(~self.match):
                    m.d.comb += self.damaged.eq(1)
                    reply(Reason.DAMAGED)
                with m.Elif(kind == Request.STATUS):
                    reply()
                with m.Elif(kind == Request.IDENTIFY):
                    m.d.sync += numbered.eq(1)
                    reply()
                with m.Elif(self.repeated):
                    m.d.comb += self.rewind.eq(kind == Request.READ)
                    reply()
                with m.Elif(~self.following):
                    reply(Reason.SEQUENCE)
                with m.Else():
                    m.d.sync += numbered.eq(1)
                    m.next = "BYTE"
            with m.State("BYTE"):
                m.d.comb += self.acting.eq(1)
                m.next = "FETCH"
                with m.If(kind == Request.READ):
                    m.d.comb += self.forget.eq(1)
                    reply()
                with m.Elif(kind == Request.RESET):
                    m.d.comb += self.anew.eq(1)
                    reply()
                    if self._slots:
                        m.d.comb += self.restart.eq(1)
                        with m.If(self.addressed):
                            m.next = "SLOT"
                with m.Elif(self.misfit):
                    reply(Reason.LENGTH)
            if self._slots:
                number = Signal.like(self.slot, reset_less=True)
                m.d.comb += self.slot.eq(number)
                for state, following in (("SLOT", "SLOT-FETCH"), ("SLOT-FETCH", "SLOT-LATCH")):
                    with m.State(state):
                        m.d.comb += self.acting.eq(1)
                        m.next = following
                with m.State("SLOT-LATCH"):
                    m.d.comb += self.acting.eq(1)
                    m.d.sync += [number.eq(self.data), choosing.eq(1)]
                    reply()
            with m.State("FETCH"):
                m.d.comb += self.acting.eq(1)
                m.next = "WORD"
                with m.If(self.complete):
                    m.d.comb += self.restart.eq(1)
                    reply()
                with m.Elif(self.busy != for_run):
                    reply(Reason.BUSY)
                    m.d.sync += reason[0].eq(for_run)  # IDLE
                with m.Elif(kind == Request.IMAGE):
                    m.d.comb += self.loading.eq(1)
            with m.State("WORD"):
                m.d.comb += [self.acting.eq(1), self.gather.eq(1)]
                m.next = "PUSH"
                with m.If(~self.whole):
                    m.next = "BYTE"
            with m.State("PUSH"):
                m.d.comb += [self.acting.eq(1), self.offer.eq(1)]
                with m.If(self.moved):
                    m.next = "BYTE"
                with m.Elif(self.tired):
                    reply(Reason.WAIT)
            with m.State("OPEN"):
                m.d.comb += self.opening.eq(1)
                with m.If(self.sent):
                    m.next = "REPLY"
            with m.State("REPLY"):
                m.d.comb += self.replying.eq(1)
                with m.If(self.done):
                    m.next = "CLOSE"
            with m.State("CLOSE"):
                m.d.comb += self.closing.eq(1)
                with m.If(self.done):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += self.ending.eq(1)
                with m.If(self.sent):
                    m.next = "IDLE"
                    if self._slots:
                        m.d.comb += self.chosen.eq(choosing)
                        m.d.sync += choosing.eq(0)
        return m
