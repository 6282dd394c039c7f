"""An ADXL345 accelerometer on SPI: three axes in, a class after every window of samples.

    INT1, SDO ──► ADXL345Reader ──► SamplesToClass ──► number, done
    CS, SCL, SDI ◄──┘

The sensor is set up from here; no processor is needed. docs/wiring.md has its pins.
"""

from collections.abc import Sequence

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.hw.shell.camera import CLASSES
from fdht.hw.shell.samples import SamplesToClass
from fdht.spec.fixed import Fixed
from fdht.spec.scaling import Scaling
from fdht.spec.target import Target

AXES, BITS = 3, 16

FULL_RESOLUTION_G = 0.0039
"""What a sample of 1 stands for, in g, in every range of full resolution."""

SETUP = (
    (0x2C, 0x0A),  # BW_RATE: 100 samples a second
    (0x31, 0x0B),  # DATA_FORMAT: full resolution, ±16 g, four wires
    (0x2F, 0x00),  # INT_MAP: all to INT1
    (0x2E, 0x80),  # INT_ENABLE: DATA_READY
    (0x2D, 0x08),  # POWER_CTL: measure
)
"""Registers of the ADXL345, and what is written to them."""

READ_AXES = 0xC0 | 0x32
"""Read several registers, from DATAX0 on."""


class ADXL345Reader(Component):
    """Sets an ADXL345 up, and reads a sample whenever it says that there is one.

    SPI in mode 3 with four wires. The sensor takes a clock of up to 5 MHz and wants 150 ns between transfers.

    Args:
        half: cycles of half a clock of SPI, at least 4.
        setup: registers and what is written to them, before the first sample is read.

    Members:
        clock, select, copi (Out), cipo (In): SPI; `select` is high while the sensor is selected.
        ready (In): INT1, DATA_READY.
        sample (Out): x, y, z; valid (Out): pulse: they are new.

    Costs: 114 · half cycles from `ready` to `valid`, and some.
    """

    def __init__(self, half: int, setup: Sequence[tuple[int, int]] = SETUP):
        assert half >= 4  # what comes is synchronised
        self._half, self._setup = half, setup
        super().__init__(
            {
                "clock": Out(1, init=1),
                "select": Out(1),
                "copi": Out(1),
                "cipo": In(1),
                "ready": In(1),
                "sample": Out(data.ArrayLayout(signed(BITS), AXES)),
                "valid": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        write_bits, read_bits = 16, 8 + AXES * BITS
        there, ready = Signal(), Signal()
        m.submodules.cipo = FFSynchronizer(self.cipo, there)
        m.submodules.ready = FFSynchronizer(self.ready, ready)
        timer, left = Signal(range(4 * self._half)), Signal(range(read_bits + 1))
        sent, got = Signal(read_bits + 1), Signal(AXES * BITS)  # the highest bit is that before the first clock
        done = Signal(range(len(self._setup) + 1))  # writes
        m.d.comb += self.copi.eq(sent[-1])
        m.d.sync += [self.valid.eq(0), timer.eq(Mux(timer == 0, 0, timer - 1))]
        with m.FSM():
            with m.State("IDLE"), m.If(timer == 0):
                with m.Switch(done):
                    for k, (register, value) in enumerate(self._setup):
                        with m.Case(k):
                            bits = (register << 8 | value) << read_bits - write_bits
                            m.d.sync += [sent.eq(bits), left.eq(write_bits)]
                    with m.Default():
                        m.d.sync += [sent.eq(READ_AXES << read_bits - 8), left.eq(read_bits)]
                with m.If((done < len(self._setup)) | ready):
                    m.d.sync += [self.select.eq(1), timer.eq(self._half - 1)]
                    m.next = "HIGH"
            with m.State("HIGH"), m.If(timer == 0):  # the end of a clock, or the time before the first
                m.d.sync += timer.eq(self._half - 1)
                with m.If(left == 0):
                    m.d.sync += [self.select.eq(0), timer.eq(4 * self._half - 1)]
                    m.next = "END"
                with m.Else():
                    m.d.sync += [self.clock.eq(0), sent.eq(sent << 1)]
                    m.next = "LOW"
            with m.State("LOW"), m.If(timer == 0):
                m.d.sync += [timer.eq(self._half - 1), self.clock.eq(1), left.eq(left - 1), got.eq(Cat(there, got))]
                m.next = "HIGH"
            with m.State("END"):
                with m.If(done < len(self._setup)):
                    m.d.sync += done.eq(done + 1)
                with m.Else():
                    m.d.sync += self.valid.eq(1)
                    for axis in range(AXES):  # the low byte of the first axis came first
                        low, high = (got.word_select(2 * (AXES - axis) - k, 8) for k in (1, 2))
                        m.d.sync += self.sample[axis].eq(Cat(low, high))
                m.next = "IDLE"
        return m


class AccelerometerToClass(Component):
    """All of it: an ADXL345's pins in, classes out.

    Args:
        target, image, order, raw, scaling, window: see fdht.hw.shell.samples.SamplesToClass.
        half: see ADXL345Reader.
        unit: the value of a sample of 1 in the training data; those of the sensor are `FULL_RESOLUTION_G`.

    Members:
        clock, select, copi (Out), cipo (In), int1 (In): the sensor's pins, see ADXL345Reader.
        restart (In), ready, failed, number, done, faulty, skipped (Out): see fdht.hw.shell.samples.SamplesToClass.

    Costs: those of its parts.
    """

    def __init__(
        self,
        target: Target,
        image: Sequence[int],
        order: np.ndarray | None,
        raw: Fixed,
        scaling: Scaling | None,
        *,
        window: int,
        half: int,
        unit: float = FULL_RESOLUTION_G,
    ):
        self._reader = ADXL345Reader(half)
        self._classifier = SamplesToClass(
            target, image, order, raw, scaling, unit=unit, window=window, channels=AXES, bits=BITS
        )
        super().__init__(
            {
                "clock": Out(1),
                "select": Out(1),
                "copi": Out(1),
                "cipo": In(1),
                "int1": In(1),
                "restart": In(1),
                **CLASSES,
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = self._reader
        m.submodules.classifier = classifier = self._classifier
        m.d.comb += [
            *(getattr(self, pin).eq(getattr(reader, pin)) for pin in ("clock", "select", "copi")),
            *(getattr(self, name).eq(getattr(classifier, name)) for name in CLASSES),
            reader.cipo.eq(self.cipo),
            reader.ready.eq(self.int1 & classifier.ready),
            classifier.sample.eq(reader.sample),
            classifier.valid.eq(reader.valid),
            classifier.restart.eq(self.restart),
        ]
        return m
