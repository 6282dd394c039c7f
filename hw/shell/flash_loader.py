"""Standing alone: the block that reads an image from a board's SPI flash and plays it into the host link."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.spec.flash import ADDRESS_BITS, FRAME_BYTES, READ, STRIDE, WAKE, FlashPlan, SlotState
from fdht.spec.protocol import FLAG, REFUSED

_REFUSED_BIT = REFUSED.bit_length() - 1
FIRINGS_BITS = 8


def _sent_at(word: int, width: int, count: Value) -> Value:
    """Bit `count` of a word that is sent high bit first."""
    assert width & width - 1 == 0
    return Const(word, width).bit_select(~count[: (width - 1).bit_length()], 1)


class FlashLoader(Component):
    """Loads a slot of an SPI flash after power-up, when it is asked to, and when the engine stands still.

    See fdht.spec.flash for what a slot holds. It is played twice: first as a trial, with the link's image words going
    nowhere, then into the engine. Where something is wrong in the trial, the engine keeps what it has, and the link
    begins anew without an image.

    Args:
        header: what a slot for this engine begins with.
        plan: of the flash.

    Members:
        clock, select, copi (Out), cipo (In): the flash's pins, in mode 0; `select` is high while it is selected.
        first (In): the slot to load after power-up.
        request (In): pulse: load the slot `slot` (In). Not while `loading`.
        loading (Out): the link's bytes are this block's: those that it sends (`sent`, Out; always taken) and those that
            come back (`reply`, In; always taken).
        trial (Out): the image words that the link has are to go nowhere.
        reset (Out): pulse: the link, and with it the engine, is to be reset.
        image (In): the link's CRC of the image words.
        running (In): a run is under way. moved (In): a word went into the engine or came out.
        state (Out): what became of the last slot, see fdht.spec.flash.SlotState. loaded_slot (Out): which one that is.
        firings (Out): how often the watchdog had it loaded anew; wraps.

    Costs: see fdht.spec.flash.load_cycles; no block RAM.
    """

    def __init__(self, header: bytes, plan: FlashPlan):
        self._header, self._plan = header, plan
        slot = range(plan.slots)
        super().__init__(
            {
                "clock": Out(1),
                "select": Out(1),
                "copi": Out(1),
                "cipo": In(1),
                "first": In(slot),
                "request": In(1),
                "slot": In(slot),
                "loading": Out(1),
                "sent": Out(stream.Signature(8, always_ready=True)),
                "reply": In(stream.Signature(8, always_ready=True)),
                "trial": Out(1),
                "reset": Out(1),
                "image": In(32),
                "running": In(1),
                "moved": In(1),
                "state": Out(SlotState),
                "loaded_slot": Out(slot),
                "firings": Out(FIRINGS_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        plan, header = self._plan, self._header
        begins = Const(int.from_bytes(header, "big"), 8 * len(header))
        assert len(begins) == 64
        count = Signal(3 + FRAME_BYTES.bit_length() - 1, reset_less=True)  # bits that are done, of what is read now
        byte = Signal(8, reset_less=True)
        half = Signal(range(plan.half), reset_less=True)
        timer = Signal(max(plan.wake, plan.watchdog or 0) + 1)
        found, right, wrong = Signal(), Signal(), Signal(reset_less=True)
        trial, slot = Signal(reset_less=True), Signal.like(self.slot, reset_less=True)

        # Bits: a half of the clock's period low, in whose end the flash's bit is taken, and a half high.
        selected, clocking, expected = Signal(), Signal(), Signal()
        tick, taken, passed, ended, endless = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.sync += self.select.eq(selected)
        m.d.comb += [
            tick.eq(clocking & self.select & (half == plan.half - 1)),
            taken.eq(tick & ~self.clock),
            passed.eq(tick & self.clock),
            ended.eq(passed & count[:3].all()),
            endless.eq(passed & count.all()),
        ]
        m.d.sync += half.eq(Mux(clocking & self.select & ~tick, half + 1, 0))
        with m.If(tick):
            m.d.sync += self.clock.eq(~self.clock)
        with m.If(taken):
            m.d.sync += byte.eq(Cat(self.cipo, byte))
        with m.If(passed):
            m.d.sync += count.eq(count + 1)

        place = STRIDE.bit_length() - 1
        base = Const(READ << ADDRESS_BITS | plan.offset, 32)
        assert plan.offset % (plan.slots * STRIDE) == 0
        command = base | Cat(Const(0, place), slot[: (plan.slots - 1).bit_length()])
        flag = byte == FLAG
        m.d.comb += [
            self.loading.eq(1),
            self.trial.eq(trial),
            self.sent.payload.eq(byte),
            self.loaded_slot.eq(slot),
            self.state.eq(Cat(found, right)),
        ]
        m.d.sync += timer.eq(0)

        def compare(bit: Value):
            m.d.comb += expected.eq(bit)
            with m.If(taken & (self.cipo != expected)):
                m.d.sync += wrong.eq(1)

        with m.FSM():
            with m.State("POWER-UP"):
                m.d.sync += [slot.eq(self.first), trial.eq(1)]
                m.next = "RESET"
            with m.State("RESET"):
                m.d.comb += self.reset.eq(1)
                m.d.sync += [count.eq(0), wrong.eq(0)]
                m.next = "WAIT"
                with m.If(trial):
                    m.d.sync += [found.eq(0), right.eq(0)]
                    m.next = "WAKE"
            with m.State("WAKE"):
                m.d.comb += [selected.eq(1), clocking.eq(1), self.copi.eq(_sent_at(WAKE, 8, count))]
                with m.If(ended):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += [timer.eq(timer + 1), count.eq(0)]
                with m.If(timer[plan.wake]):
                    m.next = "COMMAND"
            with m.State("COMMAND"):
                m.d.comb += [selected.eq(1), clocking.eq(1), self.copi.eq(command.bit_select(~count[:5], 1))]
                with m.If(ended & count[3:5].all()):
                    m.d.sync += count.eq(0)
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += [selected.eq(1), clocking.eq(1)]
                compare(begins.bit_select(~count[:6], 1))
                with m.If(passed & count[:6].all()):
                    m.next = "EMPTY"
                    with m.If(~wrong):
                        m.d.sync += found.eq(1)
                        m.next = "BETWEEN"
            with m.State("BETWEEN"):  # frames: what comes next is the flag before one, its first byte or END
                m.d.comb += [selected.eq(1), clocking.eq(1)]
                with m.If(ended):
                    m.d.comb += self.sent.valid.eq(flag | ~byte[_REFUSED_BIT])
                    with m.If(~flag):
                        m.d.sync += count.eq(0)
                        m.next = "FRAME"
                    with m.If(~flag & byte[_REFUSED_BIT]):
                        m.next = "CHECK"
                with m.If(endless):
                    m.next = "EMPTY"
            with m.State("FRAME"):
                m.d.comb += [selected.eq(1), clocking.eq(1)]
                with m.If(ended):
                    m.d.comb += self.sent.valid.eq(1)
                    with m.If(flag):
                        m.next = "REPLY"
                with m.If(endless):
                    m.next = "EMPTY"
            with m.State("REPLY"):
                m.d.comb += selected.eq(1)
                with m.If(self.reply.valid):
                    m.next = "REPLY-HEADER"
            with m.State("REPLY-HEADER"):
                m.d.comb += selected.eq(1)
                with m.If(self.reply.valid):
                    m.next = "REPLY-END"
                    with m.If(self.reply.payload[_REFUSED_BIT]):
                        m.next = "EMPTY"
            with m.State("REPLY-END"):
                m.d.comb += selected.eq(1)
                with m.If(self.reply.valid & (self.reply.payload == FLAG)):
                    m.next = "BETWEEN"
            with m.State("CHECK"):
                m.d.comb += [selected.eq(1), clocking.eq(1)]
                compare(self.image.bit_select(Cat(~count[:3], count[3:5]), 1))
                with m.If(ended & count[3:5].all()):
                    m.d.sync += trial.eq(0)
                    m.next = "RESET"
                    with m.If(wrong):
                        m.next = "EMPTY"
                    with m.Elif(~trial):
                        m.d.sync += right.eq(1)
                        m.next = "REST"
            with m.State("EMPTY"):
                m.d.comb += self.reset.eq(1)
                m.next = "REST"
            with m.State("REST"):
                m.d.comb += [self.loading.eq(0), self.trial.eq(0)]
                with m.If(self.request):
                    m.d.sync += slot.eq(self.slot)
                if plan.watchdog is not None:
                    with m.If(self.running & ~self.moved):
                        m.d.sync += timer.eq(timer + 1)
                    with m.If(timer[plan.watchdog]):
                        m.d.sync += self.firings.eq(self.firings + 1)
                with m.If(self.request | (timer[plan.watchdog] if plan.watchdog is not None else 0)):
                    m.d.sync += [trial.eq(1), timer.eq(0)]
                    m.next = "RESET"
        return m
