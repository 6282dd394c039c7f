"""The host link: the device's side of fdht.spec.protocol, between a byte stream and the engine's ports."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.hw.engine.signatures import output_word
from fdht.hw.shell.link_frames import FrameReceiver, FrameWalker
from fdht.hw.shell.link_replies import FLASH_BITS, ReplyBytes, ResultBuffer
from fdht.hw.shell.link_requests import Dispatcher, LoadedCRC, PayloadWords, RequestOrder
from fdht.spec.protocol import CHECK, Request, lacking, target_id
from fdht.spec.tallies import INDEX_BITS, TALLY_BITS
from fdht.spec.target import Target

_STANDALONE = {"chosen": Out(1), "loaded": Out(32), "flash": In(FLASH_BITS)}


class HostLink(Component):
    """Carries out the host's requests (see fdht.spec.protocol) on the engine's ports.

    A frame in work is read twice: first to check its CRC, then to carry it out. The reply goes through the same byte
    register and the same CRC, four bits per cycle. A second CRC is taken of image words as the engine takes them.

    Args:
        target: of the engine.
        build: 32 bits that identify the bitstream.
        patience: cycles the engine may let a word wait before the frame is refused for now; a power of two.
        slots: of the flash from which the engine can load itself; 0: it cannot.

    Members:
        rx (In), tx (Out): bytes from and to the host.
        lost (In): pulse: a byte was lost on its way here.
        image, x, state, out, start, steps, use_state, every_h, keep, busy, cycles, stalls, saturations, collision,
        tally_index, tally: the engine's (see fdht.hw.engine.accelerator.Accelerator), in the opposite direction.
        reset (Out): pulse, also after power-up: the engine (but not this link) is to be reset.
        chosen (Out): pulse: the slot `slot` (Out) is to be loaded. loaded (Out): the CRC of the image words. flash
            (In): what STATUS reports of the flash. The four only with `slots`.

    Costs: at most 11 cycles per byte of a request and 3 per word, 7 per byte of a reply; 2 block RAMs.
    """

    def __init__(self, target: Target, build: int = 0, patience: int = 1 << 12, slots: int = 0):
        self._slots = slots
        self._receiver = FrameReceiver(target.build.technology)
        self._words = PayloadWords(target, patience)
        self._results = ResultBuffer(target)
        features = target.build.features
        self._tallies = features.tallies
        self._reply = ReplyBytes(target_id(target), build, lacking(features), slots, features.tallies)
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
                **(_STANDALONE | {"slot": Out(range(slots))} if slots else {}),
            }
            | ({"tally_index": Out(INDEX_BITS), "tally": In(TALLY_BITS)} if self._tallies else {})
        )

    @property
    def block_rams(self) -> int:
        return 2

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = self._receiver
        m.submodules.walker = walker = FrameWalker()
        m.submodules.dispatcher = dispatcher = Dispatcher(self._slots)
        m.submodules.order = order = RequestOrder()
        m.submodules.words = words = self._words
        m.submodules.loaded = loaded = LoadedCRC()
        m.submodules.results = results = self._results
        m.submodules.reply = reply = self._reply

        def give(sink: Component, source: Component, *names: str):
            m.d.comb += [getattr(sink, name).eq(getattr(source, name)) for name in names]

        wiring.connect(m, wiring.flipped(self.rx), receiver.bytes)
        wiring.connect(m, wiring.flipped(self.tx), walker.tx)
        wiring.connect(m, wiring.flipped(self.out), results.out)
        for name in ("image", "x", "state"):
            wiring.connect(m, getattr(words, name), wiring.flipped(getattr(self, name)))
        give(self, words, "start", "steps", "use_state", "every_h", "keep")
        give(self, dispatcher, "reset")

        # A frame and its number.
        errors = Signal(8, reset_less=True)
        with m.If(self.lost | receiver.dropped | dispatcher.damaged):
            m.d.sync += errors.eq(errors + 1)
        give(receiver, dispatcher, "take")
        give(walker, dispatcher, "idle", "checking", "opening", "replying", "closing", "ending")
        m.d.comb += [
            receiver.address.eq(Mux(dispatcher.acting, words.taken, walker.index)),
            order.number.eq(receiver.data[4:]),
            order.accept.eq(reply.granted & dispatcher.numbered),
            walker.ended.eq(Mux(dispatcher.checking, walker.index == receiver.length, reply.ended)),
            walker.i.eq(reply.o),
            walker.take.eq(words.load),
        ]

        # What becomes of it.
        give(dispatcher, receiver, "valid", "data")
        give(dispatcher, walker, "done", "match")
        give(dispatcher, order, "repeated", "following")
        give(dispatcher, words, "misfit", "complete", "whole", "moved", "tired")
        give(dispatcher, self, "busy")
        m.d.comb += dispatcher.sent.eq(self.tx.ready)
        give(words, dispatcher, "kind", "restart", "gather", "offer")
        give(words, receiver, "length", "data")
        give(words, walker, "byte")
        give(loaded, receiver, "data")
        give(loaded, dispatcher, "anew")
        m.d.comb += [
            loaded.loading.eq(dispatcher.kind == Request.IMAGE),
            loaded.begin.eq(dispatcher.loading),
            loaded.valid.eq(words.advance),
        ]

        # Its reply.
        give(results, dispatcher, "rewind", "forget")
        give(results, reply, "take")
        give(reply, dispatcher, "kind", "reason", "replying")
        give(reply, walker, "index", "load")
        give(reply, results, "more")
        give(reply, order, "last")
        give(reply, self, "busy", "collision", "cycles", "stalls", "saturations")
        if self._tallies:
            give(reply, receiver, "length")
            give(self, reply, "tally_index")
            give(reply, self, "tally")
        m.d.comb += [
            results.clear.eq(dispatcher.reset),
            reply.frame.eq(receiver.data),
            reply.result.eq(results.data),
            reply.errors.eq(errors),
            reply.image.eq(loaded.value),
        ]
        if self._slots:
            give(self, dispatcher, "chosen", "slot")
            give(reply, self, "flash")
            m.d.comb += [self.loaded.eq(loaded.value), dispatcher.addressed.eq(receiver.length == CHECK + 1)]
        return m
