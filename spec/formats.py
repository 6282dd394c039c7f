"""The formats of a quantised LSTM: every place where an integer is rounded or clipped."""

from dataclasses import dataclass, field

import numpy as np

from fdht.spec.activation import SEGMENTS, TABLE_INPUT_BITS, PiecewiseLinear, sigmoid_table, tanh_table
from fdht.spec.errors import SpecError
from fdht.spec.fixed import LARGEST_SHIFT, Fixed, round_shift
from fdht.spec.record import Checked

RAW_BITS = 16
"""Most bits of a raw input word: a beat of the engine's image and its registers count in these."""

GATE_BITS = 30
"""Most bits of a number in the gate unit; engines have 18 at most."""


@dataclass(frozen=True)
class InputFormat(Checked):
    """How a raw input word becomes a number: (raw - offset) at the scale of `raw`.

    8-bit pixels are `InputFormat(Fixed(8, 7, signed=False), 128)`: (pixel - 128) / 128.

    Raises:
        SpecError: raw words of more than 16 bits, or an offset beyond twice their range.
    """

    raw: Fixed
    offset: int = 0

    def __post_init__(self):
        if self.raw.width > RAW_BITS:
            raise SpecError(f"raw words of {self.raw.width} bits; an input has at most {RAW_BITS}")
        if not -(1 << self.raw.width) <= self.offset < 1 << self.raw.width:
            raise SpecError(
                f"an offset of {self.offset} is outside ±{1 << self.raw.width}, for words of {self.raw.width} bits"
            )

    def check(self, words: np.ndarray) -> None:
        """Refuses what is no raw word: on the way it would lose its high bits, and be another one.

        Raises:
            SpecError: no integers, or one beyond the range.
        """
        if words.dtype.kind not in "biu":
            raise SpecError(f"clips of {words.dtype} are no raw words; pass integers of {self.raw}")
        for word in (words.min(), words.max()) if words.size else ():
            if not self.raw.min <= word <= self.raw.max:
                raise SpecError(
                    f"a raw word of {word}, where those of {self.raw} lie between {self.raw.min} and {self.raw.max}"
                )

    def shift(self, data: Fixed) -> int:
        """Bits a raw word is shifted up into the data format: exact, the data format is never coarser."""
        return data.frac - self.raw.frac

    def widen(self, raw, data: Fixed):
        """Raw words (numpy or torch integers) as integers of the data format."""
        return data.saturate((raw - self.offset) << self.shift(data))

    def fitted(self, data: Fixed) -> "InputFormat":
        """This format, or one just coarse enough for a data format with fewer fractional bits."""
        bits = max(0, -self.shift(data))
        return InputFormat(Fixed(self.raw.width - bits, self.raw.frac - bits, self.raw.signed), self.offset >> bits)

    def converted(self, raw, finer: "InputFormat"):
        """Raw words of a finer format (numpy or torch integers, wide enough for their difference to its offset) as
        those of this one.
        """
        return self.raw.saturate(round_shift(raw - finer.offset, finer.raw.frac - self.raw.frac) + self.offset)


PIXELS = InputFormat(Fixed(8, 7, signed=False), 128)


@dataclass(frozen=True)
class GateFormats(Checked):
    """Formats inside the gate unit; a build parameter of the gateware, so bundle and target must agree.

    The cell update is exact until it is rounded once: f*c is shifted up to the scale of i*g, the sum is
    brought to c. c is brought to z's format before the tanh table; o*tanh(c) is rounded once to h.

    Attributes:
        z: results of the last stage, input of both tables.
        cell: c.
        activation: results of the tables.
        hidden: h, and x beside it in the data tensor of the first stage.
    """

    z: Fixed = Fixed(16, 12)
    cell: Fixed = Fixed(16, 12)
    activation: Fixed = Fixed(16, 14)
    hidden: Fixed = Fixed(16, 14)

    @staticmethod
    def of_width(width: int) -> "GateFormats":
        """Those of an engine with data words of `width` bits.

        The tables split their input's code into 128 segments, so z, c and the activations have at least
        `TABLE_INPUT_BITS` bits, also where h and the stage results have fewer (no engine does).
        """
        inner = max(width, TABLE_INPUT_BITS)
        coarse = Fixed(inner, inner - 4)
        return GateFormats(coarse, coarse, Fixed(inner, inner - 2), Fixed(width, width - 2))

    def __post_init__(self):
        for name, fixed in vars(self).items():
            if fixed.width > GATE_BITS or not fixed.signed:
                raise SpecError(
                    f"the gate unit's {name} is {fixed}; its numbers are signed, of at most {GATE_BITS} bits"
                )
        shifts = (self.forget_shift, self.cell_shift, self.tanh_shift, self.hidden_shift)
        bits = self.activation.width + max(self.cell.width + self.forget_shift, self.activation.width)
        if max(shifts) > LARGEST_SHIFT or bits > LARGEST_SHIFT:
            raise SpecError(
                f"gate formats that shift by up to {max(shifts)} bits and have products of {bits}; more than "
                f"{LARGEST_SHIFT} do not fit 64-bit sums"
            )
        if not self.z.frac <= self.cell.frac <= self.activation.frac or self.hidden_shift < 0:
            raise SpecError(
                "gate formats need z.frac <= cell.frac <= activation.frac and hidden.frac <= 2 activation.frac"
            )

    @property
    def forget_shift(self) -> int:
        """Bits f*c is shifted up to the scale of i*g."""
        return self.activation.frac - self.cell.frac

    @property
    def cell_shift(self) -> int:
        """Bits f*c + i*g is finer than c."""
        return 2 * self.activation.frac - self.cell.frac

    @property
    def tanh_shift(self) -> int:
        """Bits c is finer than the input of the tanh table."""
        return self.cell.frac - self.z.frac

    @property
    def hidden_shift(self) -> int:
        """Bits o*tanh(c) is finer than h."""
        return 2 * self.activation.frac - self.hidden.frac


@dataclass(frozen=True)
class StageFormat(Checked):
    """Formats of one stage: its merged weight and its result."""

    weight: Fixed
    result: Fixed


@dataclass(frozen=True)
class Formats(Checked):
    """Every format of a quantised LSTM.

    The accumulator of a stage has source.frac + weight.frac fractional bits. A bias has the format of z or of the
    logits; so it makes no difference whether it is added before or after the accumulator is rounded to that scale.

    Attributes:
        input: raw input words.
        gate: the formats of the gate unit; `gate.hidden` is also the data format of every chain's first stage.
        chains: per chain (see fdht.spec.lstm.chains) one per stage; the last result has the format of z.
        head: the classifier, a dense stage on h; None without a head.
        sigmoid, tanh: the tables, from z's format to the activations'.
    """

    input: InputFormat
    gate: GateFormats
    chains: tuple[tuple[StageFormat, ...], ...]
    head: StageFormat | None = None
    sigmoid: PiecewiseLinear = field(default=None)  # type: ignore[assignment]
    tanh: PiecewiseLinear = field(default=None)  # type: ignore[assignment]

    def __post_init__(self):
        if self.sigmoid is None:
            object.__setattr__(self, "sigmoid", sigmoid_table(self.gate.z, self.gate.activation))
        if self.tanh is None:
            object.__setattr__(self, "tanh", tanh_table(self.gate.z, self.gate.activation))
        if self.input.shift(self.gate.hidden) < 0:
            raise SpecError(f"the input format {self.input.raw} is finer than the data format {self.gate.hidden}")
        if not all(chain and chain[-1].result == self.gate.z for chain in self.chains):
            raise SpecError(f"the last stage of a chain must result in the format of z, {self.gate.z}")
        for table in (self.sigmoid, self.tanh):
            if (table.input, table.output) != (self.gate.z, self.gate.activation):
                raise SpecError("the activation tables must lead from z's format to the activations'")
            if len(table.base) != SEGMENTS:
                raise SpecError(f"an activation table has {len(table.base)} segments; the gate unit has {SEGMENTS}")
        for c, chain in enumerate(self.chains):
            for s in range(len(chain)):
                if self.shift(c, s) > LARGEST_SHIFT:
                    raise SpecError(
                        f"stage {s} of chain {c} shifts its accumulator by {self.shift(c, s)} bits; at most "
                        f"{LARGEST_SHIFT} leave anything"
                    )
                if self.shift(c, s) < 0:
                    raise SpecError(
                        f"the result of stage {s} of chain {c} has {-self.shift(c, s)} more fractional bits than its "
                        "accumulator"
                    )
        if self.head_shift < 0:
            raise SpecError("the logits have more fractional bits than their accumulator")
        if self.head_shift > LARGEST_SHIFT:
            raise SpecError(
                f"the head shifts its accumulator by {self.head_shift} bits; at most {LARGEST_SHIFT} leave anything"
            )

    @property
    def stages(self) -> tuple[StageFormat, ...]:
        """Those of all chains, one after the other."""
        return tuple(stage for chain in self.chains for stage in chain)

    def source(self, chain: int, stage: int) -> Fixed:
        """Format of the data that a stage reads."""
        return self.chains[chain][stage - 1].result if stage else self.gate.hidden

    def shift(self, chain: int, stage: int) -> int:
        """Bits the accumulator of a stage is finer than its result."""
        formats = self.chains[chain][stage]
        return self.source(chain, stage).frac + formats.weight.frac - formats.result.frac

    @property
    def head_shift(self) -> int:
        return 0 if self.head is None else self.gate.hidden.frac + self.head.weight.frac - self.head.result.frac
