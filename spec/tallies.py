"""What an engine with the feature `tallies` counts in a run, and in which order a host reads it.

First the steps of each stream (of an image of several, its frames that were admitted), then the words of which each
array instruction has clipped a lane: in a requantiser, or in the sum in the result memory; instructions in the order of
their program. All begin at zero with every run, as the other counts do, also with one that keeps the states of the run
before.
"""

from fdht.spec.instructions import array_instruction
from fdht.spec.target import Target

TALLY_BITS = 32
"""Bits of a count."""

STEP_BITS = 16
"""Bits of a number of steps: those of a run's."""

INDEX_BITS = 16
"""Bits of a number of a count."""


def instruction_tallies(target: Target) -> int:
    """Array instructions that there can be."""
    return target.program_words // array_instruction(target).words


def tallies(target: Target) -> int:
    """Counts of an engine."""
    return target.streams + instruction_tallies(target)
