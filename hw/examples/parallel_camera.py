"""A camera with a parallel port, as OV7670, OV2640 or OV5640: its pins in, a class after every frame or clip.

    PCLK, HREF, VSYNC, D[7:0] ──► ParallelCamera ──► CameraToClass ──► number, done

docs/wiring.md has the pins, and what the camera must be told.
"""

from collections.abc import Sequence

import numpy as np
from amaranth.hdl import Cat, ClockDomain, ClockSignal, Module, Signal
from amaranth.lib import data
from amaranth.lib.fifo import AsyncFIFO
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.hw.shell.camera import CLASSES, CameraToClass
from fdht.spec.errors import SpecError
from fdht.spec.target import Target

GREY, RGB = 1, 3
"""Channels of a pixel: the brightness of YUV 4:2:2, or red, green and blue of RGB565."""


class ParallelCamera(Component):
    """Pixels of a parallel camera, two bytes each, brought to the clock of the design.

    Of the lines every `every`-th is taken, of their pixels every `every`-th, and of these `width` a line: so that a
    camera that sends more than the model sees needs no set-up.

    Args:
        width, height: of a frame, in pixels that are taken.
        channels: `GREY` or `RGB`. every: see above.
        luma: which of a pixel's two bytes is its brightness, 0 (Y first, YUYV) or 1 (UYVY); of `GREY` alone.

    Members:
        pclk, vsync, href, d (In): the camera's pins. Bytes are taken at rising edges of `pclk` while `href` is high; a
            frame begins after `vsync`.
        pixel (Out): `channels` of 8 bits, red in the lowest ones; valid (Out): there is one. first (Out): a frame's.

    Costs: a pixel per 2 cycles; a byte of the camera per cycle of `pclk`, which must be slower than 2 · every cycles of
        the design's clock.

    Raises:
        SpecError: other channels.
    """

    def __init__(self, width: int, height: int, channels: int = GREY, *, every: int = 1, luma: int = 0):
        if channels not in (GREY, RGB):
            raise SpecError(f"a parallel camera's pixels have 1 channel or 3, not {channels}")
        self._width, self._height, self._channels, self._every, self._luma = width, height, channels, every, luma
        super().__init__(
            {
                "pclk": In(1),
                "vsync": In(1),
                "href": In(1),
                "d": In(8),
                "pixel": Out(data.ArrayLayout(8, channels)),
                "valid": Out(1),
                "first": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.domains += ClockDomain("camera", reset_less=True, local=True)
        m.d.comb += ClockSignal("camera").eq(self.pclk)
        m.submodules.crossing = crossing = AsyncFIFO(width=17, depth=8, w_domain="camera", r_domain="sync")

        # A byte, whether it is a pixel's second, how many pixels and lines ago one was taken, and how many were.
        second, started = Signal(), Signal()
        pixels, lines = Signal(range(self._every)), Signal(range(self._every))
        column, before, inside = Signal(range(self._width + 1)), Signal(8), Signal()
        row = Signal(range(self._height + 1))
        kept = Signal()
        m.d.comb += kept.eq((pixels == 0) & (lines == 0) & (column != self._width) & (row != self._height))
        m.d.camera += inside.eq(self.href)
        with m.If(self.href):
            m.d.camera += [second.eq(~second), before.eq(self.d)]
            with m.If(second):
                m.d.camera += pixels.eq(pixels + 1)
                with m.If(pixels == self._every - 1):
                    m.d.camera += pixels.eq(0)
                with m.If(kept):
                    m.d.camera += [column.eq(column + 1), started.eq(1)]
        with m.Elif(inside):  # a line has ended
            m.d.camera += [second.eq(0), pixels.eq(0), column.eq(0), lines.eq(lines + 1)]
            with m.If(lines == self._every - 1):
                m.d.camera += lines.eq(0)
            with m.If((lines == 0) & (row != self._height)):
                m.d.camera += row.eq(row + 1)
        with m.If(self.vsync):
            m.d.camera += [second.eq(0), pixels.eq(0), lines.eq(0), column.eq(0), row.eq(0), started.eq(0)]
        m.d.comb += [
            crossing.w_data.eq(Cat(self.d, before, ~started)),
            crossing.w_en.eq(self.href & second & kept),
            crossing.r_en.eq(crossing.r_rdy),
            self.valid.eq(crossing.r_rdy),
            self.first.eq(crossing.r_data[16]),
        ]
        low, high = crossing.r_data[:8], crossing.r_data[8:16]
        if self._channels == GREY:
            m.d.comb += self.pixel[0].eq(low if self._luma else high)
        else:  # five, six and five bits; the highest again below them, so that all ones are 255
            red, green, blue = high[3:], Cat(low[5:], high[:3]), low[:5]
            for into, colour in zip(self.pixel, (red, green, blue), strict=True):
                m.d.comb += into.eq(Cat(colour[2 * len(colour) - 8 :], colour))
        return m


class ParallelCameraToClass(Component):
    """All of it: a parallel camera's pins in, classes out.

    Args:
        target, image, order, steps: see fdht.hw.shell.camera.CameraToClass.
        width, height, channels, every, luma: see ParallelCamera; the words of a frame are width · height · channels.

    Members:
        pclk, vsync, href, d (In): the camera's pins, see ParallelCamera.
        restart (In), ready, failed, number, done, faulty, skipped (Out): see fdht.hw.shell.camera.CameraToClass.

    Costs: those of its parts.
    """

    def __init__(
        self,
        target: Target,
        image: Sequence[int],
        order: np.ndarray | None,
        width: int,
        height: int,
        channels: int,
        steps: int | None,
        *,
        every: int = 1,
        luma: int = 0,
    ):
        self._camera = ParallelCamera(width, height, channels, every=every, luma=luma)
        self._classifier = CameraToClass(target, image, order, width * height, channels, steps)
        super().__init__(
            {
                "pclk": In(1),
                "vsync": In(1),
                "href": In(1),
                "d": In(8),
                "restart": In(1),
                **CLASSES,
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.camera = camera = self._camera
        m.submodules.classifier = classifier = self._classifier
        m.d.comb += [
            *(getattr(camera, pin).eq(getattr(self, pin)) for pin in ("pclk", "vsync", "href", "d")),
            *(getattr(classifier, name).eq(getattr(camera, name)) for name in ("valid", "first")),
            *(into.eq(word) for into, word in zip(classifier.pixel, camera.pixel, strict=True)),
            classifier.restart.eq(self.restart),
        ]
        for name in CLASSES:
            m.d.comb += getattr(self, name).eq(getattr(classifier, name))
        return m
