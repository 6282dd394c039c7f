"""Fixed-point formats: the only number type between training, golden model and hardware."""

from dataclasses import dataclass

import numpy as np

from fdht.spec.errors import SpecError
from fdht.spec.record import Checked

WIDEST, FINEST = 64, 256
"""Most bits of a format, and most bits its point may be away from the last one, on either side."""

LARGEST_SHIFT = 62
"""Most bits a number is shifted at once: more would leave nothing of 64."""


def round_shift(value, shift: int):
    """Divide integers by 2**shift, rounding half up: add half, arithmetic shift right.

    Works alike on Python ints, numpy int64 arrays and torch int64 tensors.
    """
    return (value + (1 << shift >> 1)) >> shift


@dataclass(frozen=True)
class Fixed(Checked):
    """An integer of `width` bits that stands for itself times 2**-frac.

    Rounding is half up and overflow saturates, always. `frac` may be negative or exceed `width`.

    Raises:
        SpecError: width outside 1..64, frac outside -256..256.
    """

    width: int
    frac: int
    signed: bool = True

    def __post_init__(self):
        if not 1 <= self.width <= WIDEST:
            raise SpecError(f"a fixed-point width of {self.width} is outside 1..{WIDEST} bits")
        if abs(self.frac) > FINEST:
            raise SpecError(f"{self.frac} fractional bits are outside -{FINEST}..{FINEST}")

    @property
    def min(self) -> int:
        return -(1 << self.width - 1) if self.signed else 0

    @property
    def max(self) -> int:
        return (1 << self.width - self.signed) - 1

    @property
    def lsb(self) -> float:
        return 2.0**-self.frac

    def saturate(self, value):
        """Clip integers (numpy array, numpy scalar or torch tensor) to the range of the format."""
        return value.clip(self.min, self.max)

    def requantise(self, value, shift: int):
        """Bring integers `shift` bits finer than this format into it: round half up, then saturate."""
        return self.saturate(round_shift(value, shift))

    def quantise(self, real) -> np.ndarray:
        """The integers (int64) nearest to real numbers, half rounded up, saturated."""
        scaled = np.floor(np.asarray(real, dtype=np.float64) * 2.0**self.frac + 0.5)
        return np.clip(scaled, float(self.min), float(self.max)).astype(np.int64)

    def dequantise(self, integers) -> np.ndarray:
        """The real numbers (float64) that integers of this format stand for."""
        return np.asarray(integers, dtype=np.float64) * self.lsb

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.width}.{self.frac}"


def signed_bits(low: int, high: int) -> int:
    """Fewest bits of a two's complement integer that holds every value from low to high."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1
