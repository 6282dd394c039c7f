"""A digital microphone on I2S, as INMP441 or SPH0645: sound in, one sample at a time, for fdht.hw.shell.samples."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component

SLOT = 32
"""Clocks of I2S in which a channel is sent."""


class I2SMicrophone(Component):
    """Clocks one microphone, or two on the same wires, and gives their samples.

    The microphone sends a sample's highest bit one clock after `word_select` has changed, each bit from a falling edge
    of `clock` on; here it is read at the next falling edge, when it has been stable for half a clock.

    Args:
        half: cycles of half a clock of I2S, at least 4; there are 64 clocks a sample.
        channels: 1, the microphone whose pin L/R (or SELECT) is low; 2, also the one where it is high.
        bits: of a sample, the highest of those that the microphone sends.

    Members:
        clock, word_select (Out), data (In): the microphone's pins SCK (or BCLK), WS (or LRCL) and SD (or DOUT).
        sample (Out): left, right; valid (Out): pulse: they are new.

    Costs: a sample every 128 · half cycles.
    """

    def __init__(self, half: int, channels: int = 1, bits: int = 16):
        assert half >= 4  # what comes is synchronised
        self._half, self._channels, self._bits = half, channels, bits
        super().__init__(
            {
                "clock": Out(1),
                "word_select": Out(1),
                "data": In(1),
                "sample": Out(data.ArrayLayout(signed(bits), channels)),
                "valid": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        there = Signal()
        m.submodules.data = FFSynchronizer(self.data, there)
        timer, at = Signal(range(self._half)), Signal(range(2 * SLOT))  # the bit whose clock is under way
        got, kept = Signal(self._bits), Signal(self._bits)
        m.d.sync += [self.valid.eq(0), timer.eq(Mux(timer == 0, self._half - 1, timer - 1))]
        m.d.comb += self.word_select.eq(at >= SLOT)
        with m.If(timer == 0):
            m.d.sync += self.clock.eq(~self.clock)
            with m.If(self.clock):  # falls
                m.d.sync += [at.eq(at + 1), got.eq(Cat(there, got))]
                samples = [kept, Cat(there, got)][-self._channels :]
                with m.If(at == self._bits):  # bit 0 is that of the clock after the change
                    m.d.sync += kept.eq(Cat(there, got))
                with m.If(at == self._bits + (SLOT if self._channels == 2 else 0)):
                    m.d.sync += [self.sample[k].eq(sample[: self._bits]) for k, sample in enumerate(samples)]
                    m.d.sync += self.valid.eq(1)
        return m
