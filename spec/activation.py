"""Sigmoid and tanh as piecewise-linear tables: one definition for training, golden model and hardware."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import exp, tanh

from fdht.spec.errors import SpecError
from fdht.spec.fixed import Fixed, round_shift
from fdht.spec.record import Checked

SEGMENTS = 128
"""Segments per function; they cover the whole range of the input format, so no index saturates."""

TABLE_INPUT_BITS = SEGMENTS.bit_length()
"""Fewest bits of a table's input: the segment's number and one below it."""


@dataclass(frozen=True)
class PiecewiseLinear(Checked):
    """y = base[s] + round(slope[s] * t / 2**fraction_bits), where the input code splits into segment s and offset t.

    Attributes:
        input, output: the formats of x and y.
        base: y at the left end of each segment.
        slope: rise of y over each segment.

    Raises:
        SpecError: not equally many bases and slopes, or one that is no number of the output's format.
    """

    input: Fixed
    output: Fixed
    base: tuple[int, ...]
    slope: tuple[int, ...]

    def __post_init__(self):
        segments = len(self.base)
        if segments != len(self.slope) or segments & segments - 1 or segments >= 1 << self.input.width:
            raise SpecError(
                f"{segments} bases and {len(self.slope)} slopes: a table needs equally many, a power of two"
            )
        for name, values in (("base", self.base), ("slope", self.slope)):
            for segment, value in enumerate(values):
                if not self.output.min <= value <= self.output.max:
                    raise SpecError(
                        f"{name} {value} of segment {segment} leaves the range {self.output.min}..{self.output.max} of "
                        f"its format {self.output}"
                    )

    def agrees(self, other: "PiecewiseLinear") -> bool:
        """Whether two tables are of one function, made on machines whose exp and tanh may round differently."""
        if (self.input, self.output, len(self.base)) != (other.input, other.output, len(other.base)):
            return False
        pairs = [*zip(self.base, other.base, strict=True), *zip(self.slope, other.slope, strict=True)]
        return all(abs(a - b) <= 2 for a, b in pairs)

    @property
    def fraction_bits(self) -> int:
        """Bits of the input code below the segment number."""
        return self.input.width - (len(self.base).bit_length() - 1)

    def segment(self, code):
        """Segment number of input codes (ints, numpy or torch); the code's sign bit is inverted, so it counts up."""
        return (code >> self.fraction_bits) + len(self.base) // 2

    def offset(self, code):
        """Place of input codes in their segment, from 0; its left end is where `base` is the value."""
        return code & (1 << self.fraction_bits) - 1

    def __call__(self, code, base=None, slope=None):
        """Evaluates input codes; pass the tables as arrays of the caller's own kind (numpy, torch) to index them."""
        base = self.base if base is None else base
        slope = self.slope if slope is None else slope
        segment = self.segment(code)
        return base[segment] + round_shift(slope[segment] * self.offset(code), self.fraction_bits)


def tabulate(function: Callable[[float], float], input: Fixed, output: Fixed) -> PiecewiseLinear:
    """Chords of a function over equal segments of a signed input format."""
    step = 1 << input.width - (SEGMENTS.bit_length() - 1)
    knots = [int(output.quantise(function((input.min + k * step) * input.lsb))) for k in range(SEGMENTS + 1)]
    slopes = tuple(right - left for left, right in pairwise(knots))
    return PiecewiseLinear(input, output, tuple(knots[:-1]), slopes)


@cache
def sigmoid_table(input: Fixed, output: Fixed) -> PiecewiseLinear:
    return tabulate(lambda x: 1 / (1 + exp(-min(max(x, -700.0), 700.0))), input, output)  # beyond, exp is no number


@cache
def tanh_table(input: Fixed, output: Fixed) -> PiecewiseLinear:
    return tabulate(tanh, input, output)


def check_tables(sigmoid: PiecewiseLinear, tanh: PiecewiseLinear, input: Fixed, output: Fixed) -> None:
    """Whether the tables of a file are those of sigmoid and tanh.

    Raises:
        SpecError: they are of other functions or other formats.
    """
    for name, table, right in (
        ("sigmoid", sigmoid, sigmoid_table(input, output)),
        ("tanh", tanh, tanh_table(input, output)),
    ):
        if not table.agrees(right):
            raise SpecError(f"its table of {name} is not that of {name} from {input} to {output}")


def table_width(width: int) -> int:
    """Bits of a table word: base and slope, both signed and of the data width."""
    return 2 * width


def table_words(sigmoid: PiecewiseLinear, tanh: PiecewiseLinear, width: int) -> list[int]:
    """Contents of the gate unit's table memory: sigmoid's segments, then tanh's; base in the low bits."""
    mask = (1 << width) - 1
    return [
        (slope & mask) << width | base & mask
        for table in (sigmoid, tanh)
        for base, slope in zip(table.base, table.slope, strict=True)
    ]
