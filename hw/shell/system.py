"""The engine behind its host link: all of a board's design but the clock and the pads."""

from amaranth.hdl import C, Cat, ClockDomain, ClockSignal, Const, DomainRenamer, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component, delay
from fdht.hw.engine.accelerator import Accelerator
from fdht.hw.engine.loader import InputPacker
from fdht.hw.shell.flash_loader import FlashLoader
from fdht.hw.shell.link import HostLink
from fdht.hw.shell.spi import SPIPeripheral
from fdht.hw.shell.uart import UARTReceiver, UARTTransmitter
from fdht.spec.flash import FlashPlan, header
from fdht.spec.protocol import FLAG
from fdht.spec.target import Target


class StreamBuffer(Component):
    """A register between two streams, so that neither waits for the other's logic.

    Args:
        shape: of a payload.

    Members:
        i (In), o (Out): payloads.

    Costs: latency 1; a payload every other cycle.
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid)
        with m.If(self.o.valid):
            m.d.sync += self.o.valid.eq(~self.o.ready)
        with m.Else():
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        return m


def flash_pins(plan: FlashPlan) -> dict[str, wiring.Member]:
    """Members of a design that loads itself from a flash."""
    pins = {"flash_clock": Out(1), "flash_select": Out(1), "flash_copi": Out(1), "flash_cipo": In(1)}
    return {**pins, "first": In(range(plan.slots))}


class LinkedEngine(Component):
    """The engine behind its host link, bytes in and out.

    The link's reset request resets the engine alone, so that the host can always end a run.

    Args:
        target: of the engine.
        build: 32 bits that identify the bitstream.
        flash: from which it loads itself; None: a host loads it.

    Members:
        rx (In), tx (Out): bytes from and to the host. lost (In): pulse: a byte was lost on its way here.
        flash_clock, flash_select, flash_copi (Out), flash_cipo (In): the flash's pins; first (In): the slot to load
            after power-up, see fdht.hw.shell.flash_loader; only with `flash`.

    Costs: those of engine and link.
    """

    def __init__(self, target: Target, build: int = 0, flash: FlashPlan | None = None):
        self._target = target
        self._engine = Accelerator(target)
        self._flash = flash
        self._link = HostLink(target, build, slots=flash.slots if flash else 0)
        pins = {"rx": In(stream.Signature(8)), "tx": Out(stream.Signature(8)), "lost": In(1)}
        super().__init__({**pins, **(flash_pins(flash) if flash else {})})

    @property
    def multipliers(self) -> int:
        return self._engine.multipliers

    @property
    def block_rams(self) -> int:
        return self._engine.block_rams + self._link.block_rams

    @property
    def sprams(self) -> int:
        return self._engine.sprams

    def elaborate(self, platform):
        m = Module()
        link, engine = self._link, self._engine
        image = link.image
        if self._flash is None:
            m.submodules.link = link
            wiring.connect(m, wiring.flipped(self.rx), link.rx)
            wiring.connect(m, wiring.flipped(self.tx), link.tx)
            m.d.comb += link.lost.eq(self.lost)
        else:
            image = self._alone(m, self._flash)
        # The link resets the engine at the very start too. One register, not logic, drives so many flip-flops.
        m.domains += ClockDomain("engine", local=True)
        packer = InputPacker(self._target)
        m.submodules.engine = DomainRenamer("engine")(engine)
        m.submodules.packer = DomainRenamer("engine")(packer)
        reset = Signal(init=1)
        m.d.sync += reset.eq(link.reset)
        m.d.comb += [ClockSignal("engine").eq(ClockSignal("sync")), ResetSignal("engine").eq(reset)]

        wiring.connect(m, link.x, packer.i)
        waiting: Value = C(0, 1)  # a word that has left the engine
        for name, source, sink in (
            ("image", image, engine.image),
            ("x", packer.o, engine.x),
            ("state", link.state, engine.state),
            ("out", engine.out, link.out),
        ):
            if self._target.pipeline.ports:
                buffer = StreamBuffer(source.payload.shape())
                m.submodules[f"{name}_buffer"] = DomainRenamer("engine")(buffer)
                wiring.connect(m, source, buffer.i)
                source = buffer.o
                waiting = source.valid  # of the last one, `out`
            wiring.connect(m, source, sink)
        for name in ("start", "steps", "use_state", "every_h", "keep"):
            m.d.comb += getattr(engine, name).eq(getattr(link, name))
        busy = engine.busy | waiting  # so many states that the link looks at them a cycle later
        m.d.comb += link.busy.eq(delay(m, busy, self._target.pipeline.ports, "busy", reset_less=False))
        for name in ("cycles", "stalls", "saturations", "collision"):
            m.d.comb += getattr(link, name).eq(getattr(engine, name))
        if self._target.build.features.tallies:
            m.d.comb += [engine.tally_index.eq(link.tally_index), link.tally.eq(engine.tally)]
        return m

    def _alone(self, m: Module, plan: FlashPlan):
        """The link behind a block that plays slots of the flash into it; the image words that go on."""
        link = self._link
        m.submodules.flash = flash = FlashLoader(header(self._target), plan)
        m.domains += ClockDomain("link", local=True)
        m.submodules.link = DomainRenamer("link")(link)
        reset = Signal(init=1)
        m.d.sync += reset.eq(flash.reset)
        m.d.comb += [ClockSignal("link").eq(ClockSignal("sync")), ResetSignal("link").eq(reset)]

        loading = flash.loading
        m.d.comb += [
            self.flash_clock.eq(flash.clock),
            self.flash_select.eq(flash.select),
            self.flash_copi.eq(flash.copi),
            flash.cipo.eq(self.flash_cipo),
            flash.first.eq(self.first),
            link.rx.valid.eq(Mux(loading, flash.sent.valid, self.rx.valid)),
            link.rx.payload.eq(Mux(loading, flash.sent.payload, self.rx.payload)),
            self.rx.ready.eq(loading | link.rx.ready),
            link.lost.eq(self.lost & ~loading),
            self.tx.valid.eq(link.tx.valid & ~loading),
            self.tx.payload.eq(link.tx.payload),
            link.tx.ready.eq(self.tx.ready | loading),
            flash.reply.valid.eq(link.tx.valid & loading),
            flash.reply.payload.eq(link.tx.payload),
            flash.request.eq(link.chosen),
            flash.slot.eq(link.slot),
            flash.image.eq(link.loaded),
            flash.running.eq(link.busy),
            flash.moved.eq(
                (link.x.valid & link.x.ready)
                | (link.state.valid & link.state.ready)
                | (link.out.valid & link.out.ready)
            ),
            link.flash.eq(
                Cat(flash.state, Const(0, 2), flash.loaded_slot, Const(0, 4 - len(flash.loaded_slot)), flash.firings)
            ),
        ]
        through = stream.Signature(16).create(path=("image_through",))
        m.d.comb += [
            through.payload.eq(link.image.payload),
            through.valid.eq(link.image.valid & ~flash.trial),
            link.image.ready.eq(through.ready | flash.trial),
        ]
        return through


class System(Component):
    """Engine and host link on a serial port and, if wanted, an SPI port.

    Bytes are taken from both ports; replies go to the one that the last byte came from.

    Args:
        target: of the engine.
        divisor: clock cycles per bit of the serial port.
        build: 32 bits that identify the bitstream.
        spi: there is an SPI port.
        flash: from which it loads itself; None: a host loads it.

    Members:
        rx (In), tx (Out): the serial line.
        spi_clock, spi_select, spi_copi (In), spi_cipo (Out): the SPI port's pins, see fdht.hw.shell.spi; only with
            `spi`.
        flash_clock, flash_select, flash_copi, flash_cipo, first: as those of LinkedEngine; only with `flash`.

    Costs: those of the engine and its link (`engine`), and logic for the ports.
    """

    def __init__(self, target: Target, divisor: int, build: int = 0, spi: bool = False, flash: FlashPlan | None = None):
        self._divisor, self._spi, self._flash = divisor, spi, flash
        self.engine = LinkedEngine(target, build, flash)
        pins = {"spi_clock": In(1), "spi_select": In(1), "spi_copi": In(1), "spi_cipo": Out(1)}
        alone = flash_pins(flash) if flash else {}
        super().__init__({"rx": In(1), "tx": Out(1), **(pins if spi else {}), **alone})

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = self.engine
        m.submodules.receiver = receiver = UARTReceiver(self._divisor)
        m.submodules.transmitter = transmitter = UARTTransmitter(self._divisor)
        m.d.comb += [receiver.pin.eq(self.rx), self.tx.eq(transmitter.pin), engine.lost.eq(receiver.overrun)]
        if self._flash is not None:
            for name, member in flash_pins(self._flash).items():
                here, there = getattr(self, name), getattr(engine, name)
                m.d.comb += there.eq(here) if member.flow is In else here.eq(there)
        received, sent = receiver.bytes, transmitter.bytes
        if not self._spi:
            wiring.connect(m, received, engine.rx)
            wiring.connect(m, engine.tx, sent)
            return m
        m.submodules.spi = spi = SPIPeripheral(idle=FLAG)
        chosen = Signal()  # the last byte came through SPI
        with m.If(spi.o.valid | received.valid):
            m.d.sync += chosen.eq(spi.o.valid)
        m.d.comb += [
            spi.clock.eq(self.spi_clock),
            spi.select.eq(self.spi_select),
            spi.copi.eq(self.spi_copi),
            self.spi_cipo.eq(spi.cipo),
            spi.o.ready.eq(1),
            received.ready.eq(~spi.o.valid),
            engine.rx.valid.eq(spi.o.valid | received.valid),
            engine.rx.payload.eq(Mux(spi.o.valid, spi.o.payload, received.payload)),
            spi.i.payload.eq(engine.tx.payload),
            spi.i.valid.eq(engine.tx.valid & chosen),
            sent.payload.eq(engine.tx.payload),
            sent.valid.eq(engine.tx.valid & ~chosen),
            engine.tx.ready.eq(Mux(chosen, spi.i.ready, sent.ready)),
        ]
        return m
