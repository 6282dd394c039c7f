"""An SPI peripheral: bytes both ways under the host's clock."""

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Module, Mux, ResetSignal, Signal
from amaranth.lib import stream
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component

BITS = 8


class SPIPeripheral(Component):
    """Bytes from and to an SPI controller: mode 0, 8 bits, high bit first, both directions at once.

    The shift register runs on the host's clock, which may thus be as fast as that of `sync`. Only whole bytes cross to
    `sync`, each held in a register while a bit that changes with it is synchronised. Where the host clocks and nothing
    is to be sent, it gets `idle`. A byte is dropped if the peripheral is deselected within it.

    Args:
        idle: what is sent between bytes.

    Members:
        clock, select, copi (In): the pins; `select` is high while the peripheral is selected.
        cipo (Out): a register that changes with the clock's falling edge. The first byte after power-up has any value.
        i (In): bytes to send.
        o (Out): bytes received; always taken.

    Costs: a byte per 8 clocks of the host, without `idle` between bytes if each is there 8 clocks of the host after the
    one before was taken.
    """

    def __init__(self, idle: int):
        self._idle = idle
        super().__init__(
            {
                "clock": In(1),
                "select": In(1),
                "copi": In(1),
                "cipo": Out(1),
                "i": In(stream.Signature(BITS)),
                "o": Out(stream.Signature(BITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.domains += [
            ClockDomain("rise", reset_less=True, local=True),
            ClockDomain("fall", clk_edge="neg", reset_less=True, local=True),
            ClockDomain("selected", clk_edge="neg", async_reset=True, local=True),
        ]
        m.d.comb += [ClockSignal(domain).eq(self.clock) for domain in ("rise", "fall", "selected")]
        m.d.comb += ResetSignal("selected").eq(~self.select)

        bit = Signal(reset_less=True)
        shift = Signal(BITS, reset_less=True)
        count = Signal(range(BITS))  # all that a deselection resets
        received = Signal(BITS, reset_less=True)
        sent = Signal(BITS, reset_less=True)
        # Each side flips its bit when it has put down or taken a byte.
        put, arrived = Signal(reset_less=True), Signal()
        filled, taken = Signal(reset_less=True), Signal(reset_less=True)
        filled_there, taken_here = Signal(), Signal()
        m.submodules.arrival = FFSynchronizer(put, arrived)
        m.submodules.taking = FFSynchronizer(taken, taken_here)
        m.submodules.filling = FFSynchronizer(filled, filled_there, o_domain="fall")

        m.d.rise += bit.eq(self.copi)
        whole = Cat(bit, shift[:-1])
        m.d.selected += count.eq(count + 1)
        m.d.fall += shift.eq(whole)
        with m.If(count.all()):
            available = filled_there ^ taken
            m.d.fall += [
                received.eq(whole),
                put.eq(~put),
                shift.eq(Mux(available, sent, self._idle)),
                taken.eq(filled_there),
            ]
        m.d.comb += self.cipo.eq(shift[-1])

        seen = Signal(reset_less=True)
        m.d.sync += seen.eq(arrived)
        m.d.comb += [
            self.o.payload.eq(received),
            self.o.valid.eq(arrived ^ seen),
            self.i.ready.eq(filled == taken_here),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [sent.eq(self.i.payload), filled.eq(~filled)]
        return m
