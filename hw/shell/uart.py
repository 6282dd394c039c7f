"""A serial port: 8 data bits, no parity, 1 stop bit."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.spec.errors import SpecError


def divisor(clock_hz: int, baud: int) -> int:
    """Clock cycles per bit.

    Raises:
        SpecError: fewer than 4, or more than 2 % away from what was asked for.
    """
    cycles = round(clock_hz / baud)
    if cycles < 4 or abs(clock_hz / cycles - baud) > 0.02 * baud:
        raise SpecError(
            f"{baud} baud cannot be made from a clock of {clock_hz} Hz; choose a rate that divides it by 4 or more"
        )
    return cycles


class UARTReceiver(Component):
    """Bytes from a serial line.

    Args:
        divisor: clock cycles per bit, at least 4.

    Members:
        pin (In): the line; high when idle.
        bytes (Out): what was received. A byte not taken before the next begins is lost.
        overrun (Out): pulse: a byte was lost, or its stop bit was missing.

    Costs: latency: a byte is out in the middle of its stop bit; a byte per 10 bits.
    """

    def __init__(self, divisor: int):
        assert divisor >= 4
        self._divisor = divisor
        super().__init__({"pin": In(1), "bytes": Out(stream.Signature(8)), "overrun": Out(1)})

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.pin, line, init=1)
        timer = Signal(range(self._divisor + self._divisor // 2), reset_less=True)
        receiving = Signal()
        shift = Signal(9, reset_less=True)  # a one ahead of the bits is at its end when they are all there
        m.d.comb += self.bytes.payload.eq(shift[1:])
        with m.If(self.bytes.ready):
            m.d.sync += self.bytes.valid.eq(0)
        m.d.sync += timer.eq(timer - 1)
        with m.If(~receiving):
            m.d.sync += timer.eq(self._divisor + self._divisor // 2 - 2)
            with m.If(~line):
                m.d.comb += self.overrun.eq(self.bytes.valid & ~self.bytes.ready)
                m.d.sync += [receiving.eq(1), shift.eq(1 << 8), self.bytes.valid.eq(0)]
        with m.Elif(timer == 0):
            m.d.sync += timer.eq(self._divisor - 1)
            with m.If(shift[0]):
                m.d.comb += self.overrun.eq(~line)
                m.d.sync += [receiving.eq(0), self.bytes.valid.eq(line)]
            with m.Else():
                m.d.sync += shift.eq(Cat(shift[1:], line))
        return m


class UARTTransmitter(Component):
    """Bytes to a serial line.

    Args:
        divisor: clock cycles per bit, at least 2.

    Members:
        bytes (In): what to send.
        pin (Out): the line; registered.

    Costs: latency: up to a bit, since bits begin every `divisor` cycles whether or not there is a byte; a byte per 10
    bits.
    """

    def __init__(self, divisor: int):
        assert divisor >= 2
        self._divisor = divisor
        super().__init__({"bytes": In(stream.Signature(8)), "pin": Out(1)})

    def elaborate(self, platform):
        m = Module()
        timer = Signal(range(self._divisor))
        shift = Signal(10, init=1)  # the stop bit is last: a one above zeros
        tick, idle = timer == 0, shift[1:] == 0
        m.d.comb += [self.pin.eq(shift[0]), self.bytes.ready.eq(tick & idle)]
        m.d.sync += timer.eq(Mux(tick, self._divisor - 1, timer - 1))
        with m.If(tick & ~idle):
            m.d.sync += shift.eq(shift >> 1)
        with m.Elif(self.bytes.valid & self.bytes.ready):
            m.d.sync += shift.eq(Cat(Const(0, 1), self.bytes.payload, Const(1, 1)))
        return m
