"""Sampled values instead of pixels: a sensor's samples become words of frames, as the training data's did, and every
window of them a step.

    samples ──► SampleScaler ──► CameraToClass ──► a class after every window, the states carried on
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from amaranth.hdl import Array, Module, Mux, ResetInserter, Shape, Signal, signed
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from fdht.hw.component import Component
from fdht.hw.shell.camera import CLASSES, CameraToClass
from fdht.spec.errors import SpecError
from fdht.spec.fixed import Fixed
from fdht.spec.scaling import Scaling
from fdht.spec.target import Target

FINEST_SHIFT, COARSEST_SHIFT = 44, 8
"""Fraction bits of the lines that are tried, from the fewest on."""

_ROOM = 1 << 62
"""Bound of the numbers with which lines are found."""


def lines(scaling: Scaling, unit: float, bits: int) -> tuple[int, list[tuple[int, int]]]:
    """Straight lines that take samples to raw words, exactly as Scaling.to_words does: clip((a · v + b) >> shift).

    Args:
        unit: the value, in terms of the training data, of a sample of 1.
        bits: of a sample v, which is signed. For each that there can be the line is checked.

    Returns:
        The shift, and a and b of each centre and step of the scaling.

    Raises:
        SpecError: a unit that is no positive number, or no line does.
    """
    if not (np.isfinite(unit) and unit > 0):
        raise SpecError(f"a sample of 1 stands for {unit}; say a positive number")
    raw = scaling.input_format.raw
    samples = np.arange(-1 << bits - 1, 1 << bits - 1)
    words = [
        Scaling((centre,), (step,), scaling.bits, scaling.signed).to_words((samples * unit)[:, None])[:, 0]
        for centre, step in zip(scaling.centre, scaling.step, strict=True)
    ]
    for shift in range(COARSEST_SHIFT, FINEST_SHIFT + 1, 4):
        found = []
        for given, step in zip(words, scaling.step, strict=True):
            a = round(unit / step * (1 << shift))
            if a << bits >= _ROOM or raw.width + shift >= _ROOM.bit_length():
                raise _no_line(unit, bits)
            given = given.astype(np.int64)
            low, high = given > raw.min, given < raw.max  # beyond its range a word is clipped
            least = max(((given << shift) - a * samples)[low], default=0)
            most = min((((given + 1) << shift) - a * samples)[high], default=least + 1)
            if least >= most:
                break
            found.append((a, int(least + most) // 2))
        else:
            return shift, found
    raise _no_line(unit, bits)


def _no_line(unit: float, bits: int) -> SpecError:
    return SpecError(
        f"no line takes samples of {bits} bits, {unit} each, to the model's words; scale the training data to the "
        "sensor's own numbers, with a unit of 1"
    )


class SampleScaler(Component):
    """Scales a sensor's samples to raw words, as the training data were (see `lines`).

    Args:
        raw: format of a word.
        scaling: of the model; None: samples are words, clipped to their range.
        unit: the value of a sample of 1.
        channels, bits: values of a sample, signed, of so many bits.

    Members:
        sample (In): the values; valid (In): pulse: there is one. A further one while it is being scaled is lost.
        first (In): it is a window's first.
        words (Out): its words, the first channel's in the lowest bits; done (Out): pulse: they are there.

    Costs: (bits + 3) · channels cycles a sample, an addition a cycle; a table of the lines.

    Raises:
        SpecError: see lines.
    """

    def __init__(self, raw: Fixed, scaling: Scaling | None, unit: float, channels: int, bits: int):
        self._raw, self._channels, self._bits = raw, channels, bits
        self._shift, self._lines = (0, [(1, 0)]) if scaling is None else lines(scaling, unit, bits)
        super().__init__(
            {
                "sample": In(data.ArrayLayout(signed(bits), channels)),
                "valid": In(1),
                "first": In(1),
                "words": Out(data.ArrayLayout(Shape(raw.width, raw.signed), channels)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits, channels, raw = self._bits, self._channels, self._raw
        far = [a * v + b for a, b in self._lines for v in (-1 << bits - 1, (1 << bits - 1) - 1, 0)]
        width = 1 + max(value.bit_length() for value in far)
        shape = data.StructLayout({"a": signed(width), "b": signed(width)})
        rows: Any = [{"a": a, "b": b} for a, b in self._lines]
        m.submodules.table = table = memory.Memory(shape=shape, depth=len(rows), init=rows)
        line = table.read_port()
        kept = Signal(data.ArrayLayout(signed(bits), channels))
        channel, row, turn = Signal(range(channels)), Signal(range(len(rows))), Signal(range(bits))
        sum_, addend, left = Signal(signed(width)), Signal(signed(width)), Signal(bits)
        word = Signal(signed(width))
        m.d.comb += [line.addr.eq(row), word.eq(sum_ >> self._shift)]
        m.d.sync += self.done.eq(0)
        with m.FSM():
            with m.State("WAIT"), m.If(self.valid):
                m.d.sync += [kept.eq(self.sample), channel.eq(0)]
                with m.If(self.first):
                    m.d.sync += row.eq(0)
                m.next = "LOOK"
            with m.State("LOOK"):
                m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.sync += [
                    sum_.eq(line.data.b),
                    addend.eq(line.data.a),
                    left.eq(Array(kept)[channel] if channels > 1 else kept[0]),
                    turn.eq(0),
                ]
                m.next = "ADD"
            with m.State("ADD"):
                part = Mux(left[0], addend, 0)
                last = turn == bits - 1  # the sign's weight is negative
                m.d.sync += [
                    sum_.eq(Mux(last, sum_ - part, sum_ + part)),
                    addend.eq(addend << 1),
                    left.eq(left >> 1),
                    turn.eq(turn + 1),
                ]
                with m.If(last):
                    m.next = "CLIP"
            with m.State("CLIP"):
                clipped = Mux(word < raw.min, raw.min, Mux(word > raw.max, raw.max, word))
                for k in range(channels):
                    with m.If(channel == k):
                        m.d.sync += self.words[k].eq(clipped)
                m.d.sync += [channel.eq(channel + 1), row.eq(Mux(row == len(rows) - 1, 0, row + 1))]
                m.next = "LOOK"
                with m.If(channel == channels - 1):
                    m.d.sync += self.done.eq(1)
                    m.next = "WAIT"
        return m


class SamplesToClass(Component):
    """A sensor's samples in, a class after every window of them out; the engine carries its states on.

    Args:
        target, image, order: see fdht.hw.shell.camera.CameraToClass.
        raw, scaling, unit, channels, bits: see SampleScaler.
        window: samples of a frame; the frame's words are window · channels, sample by sample.

    Members:
        sample, valid (In): see SampleScaler; ignored until `ready`.
        restart (In): pulse: the next sample begins a window, and a sequence.
        ready, failed, number, done, faulty, skipped (Out): see fdht.hw.shell.camera.CameraToClass.

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
        unit: float,
        window: int,
        channels: int,
        bits: int,
    ):
        self._window = window
        self._scaler = SampleScaler(raw, scaling, unit, channels, bits)
        self._classifier = CameraToClass(target, image, order, window, channels, None)
        super().__init__(
            {
                "sample": In(data.ArrayLayout(signed(bits), channels)),
                "valid": In(1),
                "restart": In(1),
                **CLASSES,
            }
        )

    def elaborate(self, platform):
        m = Module()
        scaler = self._scaler
        m.submodules.scaler = ResetInserter(self.restart)(scaler)
        m.submodules.classifier = classifier = self._classifier
        at, now = Signal(range(self._window)), Signal(range(self._window))  # of the sample that is scaled, or the next
        m.d.comb += now.eq(Mux(scaler.done, Mux(at == self._window - 1, 0, at + 1), at))
        m.d.sync += at.eq(Mux(self.restart, 0, now))
        m.d.comb += [
            scaler.sample.eq(self.sample),
            scaler.valid.eq(self.valid & self.ready),
            scaler.first.eq(now == 0),
            classifier.valid.eq(scaler.done),
            classifier.first.eq(at == 0),
            classifier.restart.eq(self.restart),
            *(into.eq(word) for into, word in zip(classifier.pixel, scaler.words, strict=True)),
        ]
        for name in CLASSES:
            m.d.comb += getattr(self, name).eq(getattr(classifier, name))
        return m
