"""A serial port: 8 data bits, no parity, 1 stop bit."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from hw.component import Component
from spec.errors import SpecError


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
        bytes (Out): what was received. A byte not taken before the next is complete is lost.
        overrun (Out): pulse: a byte was lost, or its stop bit was missing.

    Costs: a byte is out half a bit after the start of its stop bit; no memory.
    """

    def __init__(self, divisor: int):
        assert divisor >= 4
        self._divisor = divisor
        super().__init__({"pin": In(1), "bytes": Out(stream.Signature(8)), "overrun": Out(1)})

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.pin, line, init=1)
        timer = Signal(range(self._divisor + self._divisor // 2))
        bits = Signal(range(10))  # still to come, the stop bit included
        shift = Signal(8)
        with m.If(self.bytes.ready):
            m.d.sync += self.bytes.valid.eq(0)
        with m.If(bits == 0):
            m.d.sync += timer.eq(self._divisor + self._divisor // 2 - 2)
            with m.If(~line):
                m.d.sync += bits.eq(9)
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [timer.eq(self._divisor - 1), bits.eq(bits - 1)]
            with m.If(bits != 1):
                m.d.sync += shift.eq(Cat(shift[1:], line))
            with m.Else():
                m.d.comb += self.overrun.eq(~line | (self.bytes.valid & ~self.bytes.ready))
                with m.If(line):
                    m.d.sync += [self.bytes.payload.eq(shift), self.bytes.valid.eq(1)]
        return m


class UARTTransmitter(Component):
    """Bytes to a serial line.

    Args:
        divisor: clock cycles per bit, at least 2.

    Members:
        bytes (In): what to send.
        pin (Out): the line; registered.

    Costs: a byte per 10 bits and one cycle; no memory.
    """

    def __init__(self, divisor: int):
        assert divisor >= 2
        self._divisor = divisor
        super().__init__({"bytes": In(stream.Signature(8)), "pin": Out(1)})

    def elaborate(self, platform):
        m = Module()
        timer = Signal(range(self._divisor))
        bits = Signal(range(11))
        shift = Signal(9)
        pin = Signal(init=1)
        m.d.comb += self.pin.eq(pin)
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(bits != 0):
            m.d.sync += [timer.eq(self._divisor - 1), bits.eq(bits - 1)]
            m.d.sync += [pin.eq(shift[0]), shift.eq(Cat(shift[1:], Const(1, 1)))]
        with m.Else():
            m.d.comb += self.bytes.ready.eq(1)
            with m.If(self.bytes.valid):
                m.d.sync += [shift.eq(Cat(Const(0, 1), self.bytes.payload)), bits.eq(10)]
        return m
