"""Latencies in clock cycles, used by the cycle model and by the components that have them: each is composed of the
registers of the target's pipeline.
"""

from dataclasses import dataclass

import numpy as np

from fdht.spec.gate_schedule import BEAT, MOVE, WRITE_CELL
from fdht.spec.instructions import GateOp, Record
from fdht.spec.target import Target

TRANSPOSE = 2
"""Last row of a block to the block's first transposed word: input register, block register."""

DONE = 1
"""Last write of the loader or the contraction unit to its `done`."""

KEPT = 1
"""`start` to `done` of what does nothing: ZERO and STATE in a run that keeps the states of the one before, a LOAD of a
stream that was not admitted, an instruction whose condition is not met."""

ADMITTED = 2
"""`start` to `done` of ADMIT, if the next frame is there or the round is over."""


def token(target: Target) -> int:
    """A unit's `done` to the tokens it gives being seen: registers, counter."""
    return target.pipeline.tokens + 1


def address(target: Target) -> int:
    """Step of the address generators of array and loader to the address it is taken from."""
    return target.pipeline.address


def hidden(target: Target) -> int:
    """Number of a unit at the gate unit's memory to its h."""
    return 1 + target.pipeline.hidden


TAKEN = 1
"""`start` of the loader to the first inputs it takes: its counter is set."""


def load(target: Target) -> int:
    """`start` of the loader to its first write: count, address, write register."""
    return TAKEN + target.pipeline.loading + 1


def copy(target: Target) -> int:
    """`start` of the loader to its first write of h, which is read from a memory first, while the address is on its
    way.
    """
    return max(TAKEN + hidden(target) + 1, load(target))


def read(target: Target) -> int:
    """Address of a scratchpad or factor word to operand at the array's edge."""
    return target.pipeline.read


def drain(target: Target) -> int:
    """Step to a pass's last operands to its first row at the array's output: address, read, the first sum's way past
    the other rows, the skew of columns, multiply and accumulate, one register.
    """
    rise = target.rows - 1 if target.pipeline.row_hop else 0
    return address(target) + read(target) + rise + column_skew(target, target.columns - 1) + accumulate(target) + 1


def row_skew(target: Target, row: int) -> int:
    """Cycles a row of the array sees its operands later than row 0."""
    return target.pipeline.row_hop * row


def column_skew(target: Target, column: int) -> int:
    """Cycles a column of the array sees its operands later than column 0."""
    return target.pipeline.column_hop * column


def accumulate(target: Target) -> int:
    """Last operands of a sum at a multiplier to the finished sum."""
    return target.pipeline.multiply + rest(target)


def bias(target: Target) -> int:
    """Address of a bias word, which comes with the accumulators at the requantisers, to the word, which is needed when
    they have been shifted.
    """
    return target.pipeline.requantise + target.pipeline.shift


def requantise(target: Target) -> int:
    """Accumulator at the requantiser to result: shift, round and add the bias, saturate."""
    return bias(target) + 1 + target.pipeline.saturate


def write(target: Target) -> int:
    """Result to the write port: its address, and registers on either side."""
    return target.pipeline.write_request + address(target) + target.pipeline.write_port


def store(target: Target) -> int:
    """A result word at the result memory to it being stored: what was there, to be added, is read."""
    return 1 + target.pipeline.result_read + target.pipeline.result_sum


def visible(target: Target) -> int:
    """A result word at the result memory to the first cycle in which the gate unit may ask for it."""
    return store(target) + 1 + int(target.pipeline.result_copy)


def rest(target: Target) -> int:
    """Cycles without operands between two sums."""
    return int(target.pipeline.sums_inside)


def period(target: Target, depth: int) -> int:
    """Cycles from a pass with K = depth to the next: its operands and rest, but never less than its P rows take to
    leave.
    """
    return max(depth + rest(target), target.rows)


def begin(target: Target) -> int:
    """`start` of a run to `run` of its sequencers."""
    return target.pipeline.begin


def program(target: Target) -> int:
    """Address of a program word to the word."""
    return 1 + target.pipeline.program


def fetch(target: Target, instruction: Record) -> int:
    """First cycle of a fetch to the first in which the instruction may be handed over: one per word, and one read."""
    return instruction.words + program(target)


def start(target: Target) -> int:
    """The last of what an instruction waits for (its fetch, its tokens, the unit) to its `start`. Where instructions
    are fetched ahead, a register for the decision and one for `start`.
    """
    return 2 if target.pipeline.prefetch else 0


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
    """Times of a gate instruction over `count` units or logits: c of a unit is written in the beat after that of its
    lookups, h in the one after that.
    """
    units = np.arange(count)
    nothing = units[:0]
    beats = target.pipeline.gate.begins + BEAT * units
    if op is GateOp.EMIT:
        sent = beats + MOVE + 1
        return GateTiming(nothing, nothing, sent, int(sent[-1]))
    if op is GateOp.STATE:
        first, cell, sent = MOVE + 1 + GATE_STATE * units, MOVE + 2 + GATE_STATE * units, nothing
    else:
        first, cell = beats + 2 * BEAT + MOVE + 1, beats + BEAT + WRITE_CELL
        sent = first
    return GateTiming(first, cell, sent, int(first[-1]) + 1)
