"""Latencies in clock cycles, used by the cycle model and by the components that have them."""

from spec.program import Record
from spec.target import Target

READ = 2
"""Address of a scratchpad or factor word to operand at the array's edge: memory, output register."""

MULTIPLY = 2
"""Operands at a multiplier to product: input registers, output register."""

REQUANTISE = 2
"""Accumulator at the requantiser to result: add, then shift and saturate."""

TOKEN = 1
"""A unit's `done` to the tokens it gives being seen."""


def drain(target: Target) -> int:
    """Address of a tile's last operands to its first row at the array's output: read, the skew of rows and
    columns, multiply, accumulate.
    """
    return READ + (target.rows - 1) + (target.columns - 1) + MULTIPLY + 1


def fetch(instruction: Record) -> int:
    """First cycle of a fetch to the first cycle the instruction may start: one per word, one memory read."""
    return instruction.words + 1
