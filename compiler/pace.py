"""How fast programs run: cycles per step in steady state, and the latency of a lone frame."""

from collections.abc import Sequence

from fdht.compiler.schedule import Instructions, schedule, units_of
from fdht.spec import timing
from fdht.spec.instructions import GateOp, LoaderOp, Segment
from fdht.spec.target import Target

WARM_UP, STEADY, QUEUED = 2, 4, 2
"""Steps whose cycles are counted (STEADY), and steps before and after them."""

STEPS = WARM_UP + STEADY + QUEUED
"""Steps of a clip that shows the steady state."""


def step_ends(programs: Instructions, target: Target) -> list[int]:
    """Cycle of the last h word of each of STEPS steps, inputs always ready."""
    ends = dict[int, int]()
    for unit, step, instruction, start, _ in schedule(programs, target, STEPS):
        if unit is Segment.GATE_PROGRAM and instruction["op"] == GateOp.STEP:
            ends[step] = start + int(timing.gate(target, GateOp.STEP, units_of(instruction)).hidden[-1])
    return [ends[step] for step in sorted(ends)]


def cycles_per_step(ends: Sequence[int]) -> float:
    """The mean distance between the last h word of one step and of the next, in steady state."""
    return whole((ends[WARM_UP + STEADY - 1] - ends[WARM_UP - 1]) / STEADY)


def whole(cycles: float) -> float:
    """As a whole number, if it is one."""
    return int(cycles) if cycles == int(cycles) else cycles


def lone_frame(programs: Instructions, target: Target) -> tuple[int, int]:
    """The cycle of a run of one step in which its last inputs are taken, and that in which its last logit is sent (its
    last h, without a head).
    """
    taken = sent = 0
    for unit, _, instruction, start, _ in schedule(programs, target, 1):
        if unit is Segment.LOADER_PROGRAM and instruction["op"] == LoaderOp.LOAD:
            taken = max(taken, start + timing.TAKEN + instruction["count"])
        elif unit is Segment.GATE_PROGRAM and instruction["op"] != GateOp.STATE:
            sent = max(
                sent, start + int(timing.gate(target, GateOp(instruction["op"]), units_of(instruction)).sent[-1])
            )
    return taken, sent
