"""Latencies in clock cycles, used by the cycle model and by the components that have them."""

from dataclasses import dataclass

import numpy as np

from fdht.spec.instructions import GateOp, Record
from fdht.spec.target import Target

MULTIPLY = 2
"""Operands at the gate unit's multiplier to product: input registers, output register."""

TRANSPOSE = 2
"""Last row of a block to the block's first transposed word: input register, block register."""

DONE = 1
"""Last write of the loader or the contraction unit to its `done`."""

KEPT = 1
"""`start` to `done` of ZERO and STATE, which do nothing, in a run that keeps the states of the one before."""


def token(target: Target) -> int:
    """A unit's `done` to the tokens it gives being seen. Where the array is not compact, what is given and taken waits
    in two registers in front of the counters.
    """
    return 1 if target.compact else 3


def address(target: Target) -> int:
    """Step of an address generator to the address it is taken from. Where the array is not compact, the level that
    stepped and its jump wait in registers on the way to the adder.
    """
    return 0 if target.compact else 2


def hidden(target: Target) -> int:
    """Number of a unit at the gate unit's memory to its h: memory and, where the array is not compact, the register
    behind it.
    """
    return 1 if target.compact else 2


TAKEN = 1
"""`start` of the loader to the first inputs it takes: its counter is set."""


def load(target: Target) -> int:
    """`start` of the loader to its first write: count, address, write register. Where the array is not compact, also
    two registers in front of the address generator.
    """
    return 2 if target.compact else 2 + address(target) + 2


def copy(target: Target) -> int:
    """`start` of the loader to its first write of h, which is read from a memory first. Where the array is not compact,
    that is done while the address is on its way.
    """
    return max(3, load(target))


def read(target: Target) -> int:
    """Address of a scratchpad or factor word to operand at the array's edge: memory, output register. Where the array
    is not compact, also three registers at the address and two behind each block RAM.
    """
    return 2 if target.compact else 7


def drain(target: Target) -> int:
    """Step to a pass's last operands to its first row at the array's output: address, read, the first sum's way past
    the other rows, the skew of columns, multiply and accumulate, one register.
    """
    rise = 0 if target.compact else target.rows - 1
    return address(target) + read(target) + rise + column_skew(target, target.columns - 1) + accumulate(target) + 1


def row_skew(target: Target, row: int) -> int:
    """Cycles a row of the array sees its operands later than row 0: two per hop, of which sums on their way down
    need one.
    """
    return 0 if target.compact else 2 * row


def column_skew(target: Target, column: int) -> int:
    """Cycles a column of the array sees its operands later than column 0."""
    return column if target.compact else 2 * column


def multiply(compact: bool) -> int:
    """Operands at a multiplier of the array to product: input and output registers. Where the array is not compact,
    also one in the middle of the multiplier and one near the adder.
    """
    return 2 if compact else 4


def accumulate(target: Target) -> int:
    """Last operands of a sum at a multiplier to the finished sum."""
    return multiply(target.compact) + int(target.compact)


def bias(target: Target) -> int:
    """Address of a bias word, which comes with the accumulators at the requantisers, to the word: memory and, where the
    array is not compact, registers at the address and behind the memory.
    """
    return 1 if target.compact else 4


def requantise(target: Target) -> int:
    """Accumulator at the requantiser to result: shift, round and add the bias, saturate. Where the array is not
    compact, also a register in front, two in the shift and one in the middle of the saturation.
    """
    return 3 if target.compact else 7


def write(target: Target) -> int:
    """Result to the write port: its address and, where the array is not compact, a register on either side."""
    return 0 if target.compact else address(target) + 2


def store(target: Target) -> int:
    """A result word at the result memory to it being stored: what was there, to be added, is read. Where the array is
    not compact, also a register behind the memory and one for the sum.
    """
    return 1 if target.compact else 3


def visible(target: Target) -> int:
    """A result word at the result memory to the first cycle in which the gate unit may ask for it."""
    return store(target) + (1 if target.compact else 2)


def rest(target: Target) -> int:
    """Cycles without operands between two sums."""
    return int(target.compact)


def period(target: Target, depth: int) -> int:
    """Cycles from a pass with K = depth to the next: its operands and rest, but never less than its P rows take to
    leave.
    """
    return max(depth + rest(target), target.rows)


def begin(target: Target) -> int:
    """`start` of a run to `run` of its sequencers: where the array is not compact, a register."""
    return 0 if target.compact else 1


def program(target: Target) -> int:
    """Address of a program word to the word: memory and, where the array is not compact, the register behind it."""
    return 1 if target.compact else 2


def fetch(target: Target, instruction: Record) -> int:
    """First cycle of a fetch to the first in which the instruction may be handed over: one per word, and one read."""
    return instruction.words + program(target)


def start(target: Target) -> int:
    """The last of what an instruction waits for (its fetch, its tokens, the unit) to its `start`. Where the array is
    not compact, a register for the decision and one for `start`.
    """
    return 0 if target.compact else 2


LATCH = 3
"""Least cycles from `done` of an array instruction to the first row of the one chained to it: the drain is free, the
instruction is copied to it, its counters are set."""


def least_chained(target: Target, transposed: bool) -> int:
    """Least K with which an instruction can be chained to another: its first row must leave the array LATCH cycles
    after the last word of the other is written.

    Args:
        transposed: the other's rows are.
    """
    transposing = TRANSPOSE + target.columns if transposed else 0
    last_rows = target.rows - 1 + requantise(target) + transposing + write(target) + DONE
    return last_rows + LATCH - start(target)


def lookahead(target: Target) -> int:
    """Cycles by which the gate unit asks for z earlier than in a compact engine: the address comes late, there are
    registers for the offset, behind the result memory (two) and behind the tables, and g has another slot.
    """
    return 0 if target.compact else address(target) + 5


GATE_UNIT = 8
"""Cycles per hidden unit in the gate unit's STEP (its products, on one multiplier), and per logit in EMIT."""


def asks(target: Target) -> dict[str, int]:
    """`start` of STEP to the cycle in which it asks the result memory for each gate of its first unit; those of the
    others follow every GATE_UNIT.
    """
    return {"g": 2, "f": 3, "i": 4, "o": 6} if target.compact else {"g": 4, "f": 6, "i": 7, "o": 8}


GATE_STATE = 2
"""Cycles per hidden unit in the gate unit's STATE."""


@dataclass(frozen=True)
class GateTiming:
    """When a gate instruction does what, in cycles after its `start`, if `state` and `out` are always ready.

    Attributes:
        hidden: of the writes of h.
        cell: of the writes of c.
        sent: of the first word of each unit (h) or logit on the output stream, if it is sent; c follows 3 later.
        done: of `done`.
    """

    hidden: np.ndarray
    cell: np.ndarray
    sent: np.ndarray
    done: int


def gate(target: Target, op: GateOp, count: int) -> GateTiming:
    """Times of a gate instruction over `count` units or logits."""
    units = np.arange(count)
    nothing = units[:0]
    late = lookahead(target)
    if op is GateOp.EMIT:
        sent = late + 9 + GATE_UNIT * units
        return GateTiming(nothing, nothing, sent, int(sent[-1]))
    if op is GateOp.STATE:
        first, cell, sent = 4 + GATE_STATE * units, 5 + GATE_STATE * units, nothing
    else:
        first, cell = late + 25 + GATE_UNIT * units, late + 19 + GATE_UNIT * units
        sent = first
    return GateTiming(first, cell, sent, int(first[-1]) + 1)
