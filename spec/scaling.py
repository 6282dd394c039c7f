"""How real values become an engine's raw words, and back: affine, per value of a step."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

import numpy as np

from fdht.spec.errors import SpecError
from fdht.spec.fixed import Fixed
from fdht.spec.formats import InputFormat
from fdht.spec.record import Checked

DEVIATIONS = 4
"""Standard deviations of a value that the range of words reaches on either side, where values lie so far out."""

BITS = (8, 16)
"""Bits of the raw words that real values are scaled to: 8 unsigned, which the boards' engines take, or 16 signed."""

MOST_CHANNELS = 1 << 16
"""Most values of a step that have centre and step of their own; larger steps share one."""

LARGEST_VALUE = 1e100
"""Largest magnitude of a value that is scaled: its square, summed over any data, still is a number."""

FINEST = 2.0**-40
"""Least step, relative to the centre: float64 then tells all words apart."""

TAKEN = ("values", "standardised", "words")
"""What a trained model may take for real values: these themselves; less their mean, in deviations; or what the words
that they are scaled to stand for in the engine.
"""

_BLOCK = 1 << 20
"""Values that are converted at once."""


@dataclass(frozen=True)
class Scaling(Checked):
    """Real values of a step as raw words: word = ⌊(value − centre) / step + ½⌋ + zero, saturated to the words' range.

    All of it is computed in float64, so every driver that does so has the same words. The centre becomes the number 0,
    and 2^frac steps beside it are ±1, in the terms of the engine's `input_format`.

    Attributes:
        centre, step: of each value of a step, or a single one for all.
        bits: of a word.
        signed: whether words are; then they reach twice as far as ±1.

    Raises:
        SpecError: lengths that differ, numbers that are none, steps that are not positive or finer than float64 tells
            apart, or words of fewer than 2 or more than 16 bits.
    """

    centre: tuple[float, ...]
    step: tuple[float, ...]
    bits: int = 8
    signed: bool = False

    def __post_init__(self):
        if not self.centre or len(self.centre) != len(self.step):
            raise SpecError(f"a scaling of {len(self.centre)} centres and {len(self.step)} steps; they go in pairs")
        if not 2 <= self.bits <= BITS[-1]:
            raise SpecError(f"raw words of {self.bits} bits; real values are scaled to 2 to {BITS[-1]}")
        for centre, step in zip(self.centre, self.step, strict=True):
            if not (isfinite(centre) and isfinite(step) and step > 0 and step >= FINEST * abs(centre)):
                raise SpecError(
                    f"a centre of {centre} with a step of {step}; a step is positive and at least {FINEST:.2g} of it"
                )

    @property
    def input_format(self) -> InputFormat:
        """What the engine takes the words for."""
        if self.signed:
            return InputFormat(Fixed(self.bits, self.bits - 2), 0)
        return InputFormat(Fixed(self.bits, self.bits - 1, signed=False), 1 << (self.bits - 1))

    def check(self, inputs: int, input_format: InputFormat) -> None:
        """Whether it scales to the words of a model.

        Raises:
            SpecError: it has another number of values, or words of another format.
        """
        if len(self.centre) not in (1, inputs):
            raise SpecError(f"a scaling of {len(self.centre)} values for steps of {inputs}; it has one each, or one")
        if self.input_format != input_format:
            raise SpecError(f"a scaling to words {self.input_format.raw}, where the model takes {input_format.raw}")

    def to_words(self, values: np.ndarray) -> np.ndarray:
        """Values (… × N) as raw words, the nearest there are; halves are rounded up.

        Raises:
            SpecError: values of another number, or one that is no number.
        """
        values = np.asarray(values)
        if values.dtype.kind not in "biuf":
            raise SpecError(f"values of {values.dtype}; real numbers are scaled")
        if values.ndim < 1 or (len(self.centre) > 1 and values.shape[-1] != len(self.centre)):
            raise SpecError(f"values of shape {values.shape}; the last dimension is {len(self.centre)}")
        raw = self.input_format.raw
        words = np.empty(values.shape, np.int16 if raw.signed else np.uint8 if raw.width <= 8 else np.uint16)
        rows, flat = values.reshape(-1, values.shape[-1]), words.reshape(-1, values.shape[-1])
        for part in blocks(rows):
            scaled = self._rounded(rows[part])
            if np.isnan(scaled).any():
                raise SpecError("a value that is no number (NaN) has no word; leave such samples out or fill them in")
            flat[part] = np.clip(scaled, raw.min, raw.max).astype(words.dtype)
        return words

    def to_values(self, words: np.ndarray) -> np.ndarray:
        """The values (float64) that raw words stand for."""
        steps = np.asarray(words, np.int64) - self.input_format.offset
        return np.asarray(self.centre) + np.asarray(self.step) * steps

    def saturated(self, values: np.ndarray) -> int:
        """How many of the values (… × N) lie outside the words' range."""
        raw, rows, found = self.input_format.raw, values.reshape(-1, values.shape[-1]), 0
        for part in blocks(rows):
            scaled = self._rounded(rows[part])
            found += int(((scaled < raw.min) | (scaled > raw.max)).sum())
        return found

    def fitted(self, to: InputFormat) -> "Scaling":
        """The scaling to words of a coarser format that `InputFormat.fitted` gives.

        Raises:
            SpecError: it is no coarser one.
        """
        lost = self.bits - to.raw.width
        coarser = Scaling(self.centre, tuple(step * 2.0**lost for step in self.step), to.raw.width, self.signed)
        if coarser.input_format != to:
            raise SpecError(f"words {to.raw} are no coarser form of {self.input_format.raw}")
        return coarser

    def _rounded(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):  # beyond all words, and saturated; NaN is looked for
            scaled = (values.astype(np.float64) - np.asarray(self.centre)) / np.asarray(self.step)
            return np.floor(scaled + 0.5) + self.input_format.offset

    @staticmethod
    def fit(
        rows: np.ndarray, bits: int = BITS[0], chosen: np.ndarray | None = None, *, alike: bool = False
    ) -> "Scaling":
        """The scaling of values (rows × N, finite) of what trains: of all rows, or of the chosen ones, by number.

        The centre of each is its mean. It reaches as far as the furthest value lies from it, but no further than
        `DEVIATIONS` standard deviations: single outliers saturate, and do not take the words from all others. A value
        that never changes reaches as far as its own size, at least 1.

        Args:
            alike: one step for all, the largest: what a model that was trained on the values themselves can take.

        Raises:
            SpecError: other bits than `BITS`, no row, or a value beyond `LARGEST_VALUE`.
        """
        if bits not in BITS:
            raise SpecError(f"words of {bits} bits; real values are scaled to {' or '.join(map(str, BITS))}")
        if rows.ndim != 2 or not rows.size:
            raise SpecError(f"values of shape {rows.shape} to fit a scaling to; there must be rows of values")
        chosen = np.arange(len(rows)) if chosen is None else chosen
        shared = rows.shape[1] > MOST_CHANNELS
        channels = 1 if shared else rows.shape[1]
        count = len(chosen) * (rows.shape[1] if shared else 1)

        def pieces() -> Iterator[np.ndarray]:
            each = max(1, _BLOCK // rows.shape[1])
            for start in range(0, len(chosen), each):
                yield rows[chosen[start : start + each]].astype(np.float64).reshape(-1, channels)

        low, high, mean = (np.full(channels, start) for start in (np.inf, -np.inf, 0.0))
        for values in pieces():
            low, high = np.minimum(low, values.min(0)), np.maximum(high, values.max(0))
            mean += values.sum(0) / count
        largest = max(abs(low.min()), abs(high.max()))
        if not largest <= LARGEST_VALUE:
            raise SpecError(f"values up to {largest:.3g}; up to {LARGEST_VALUE:g} are scaled: divide them before")
        mean = np.clip(mean, low, high)  # that of equal values, too, is exactly theirs
        variance = sum(np.square(values - mean).sum(0) / count for values in pieces())
        reach = np.minimum(np.maximum(mean - low, high - mean), DEVIATIONS * np.sqrt(variance))
        still = (low == high) | (reach == 0)
        reach = np.where(still, np.maximum(np.abs(mean), 1.0), reach)
        signed = bits > 8
        furthest = 1 << (bits - 2) if signed else (1 << (bits - 1)) - 1  # words to either side of the centre's
        step = np.maximum(reach / furthest, np.maximum(FINEST * np.abs(mean), np.finfo(np.float64).tiny))
        if alike:
            step = np.full_like(step, step[~still].max() if (~still).any() else step.max())
        return Scaling(tuple(mean.tolist()), tuple(step.tolist()), bits, signed)


def blocks(rows: np.ndarray) -> Iterator[slice]:
    """Slices of rows that hold few enough values to be converted at once."""
    each = max(1, _BLOCK // max(1, rows.shape[1]))
    for start in range(0, len(rows), each):
        yield slice(start, start + each)
