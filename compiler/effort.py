"""What a step's energy is made of: multiplications, memory accesses and cycles, and what a rate of steps asks of the
clock.

No board has been measured, so nothing here is in watts.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

from fdht.compiler.image import Image
from fdht.compiler.pace import cycles_per_step, lone_frame, step_ends
from fdht.compiler.schedule import Contraction, Fields, parts, units_of
from fdht.spec.errors import SpecError
from fdht.spec.gate_schedule import BEAT
from fdht.spec.instructions import UNITS, Condition, GateOp, LoaderOp, Segment
from fdht.spec.target import Target

MEMORIES = ("scratchpad", "factors", "bias", "results", "cell", "hidden", "tables", "programs")
"""Memories whose accesses are counted, each in words of its own width: Q lanes, P factors, one state, one entry of a
table, 16 bits of a program."""

_LOOKUPS, _GATES = 5, 4
"""Of a unit: entries of the tables, and words of z."""


@dataclass(frozen=True)
class Counts:
    """What some instructions do.

    Attributes:
        performed: multiplications of the array, of padding too.
        gate: multiplications of the gate unit.
        fed: cycles in which the array is fed or rests between passes.
        reads, writes: words, by memory.
    """

    performed: float
    gate: float
    fed: float
    reads: dict[str, float]
    writes: dict[str, float]

    @property
    def accesses(self) -> float:
        return sum(self.reads.values()) + sum(self.writes.values())


@dataclass(frozen=True)
class Effort:
    """What steps of an image take, when every stream has a frame in every round.

    Attributes:
        useful: multiplications per step that the network asks for.
        step: counts per step. once: of what is done once in a run or at the end of a sequence, per stream: states that
            are cleared, and a head after the last step.
        cycles: per step, in steady state.
        latency: cycles from the last inputs of a lone frame to the last word that comes of them.
    """

    useful: int
    step: Counts
    once: Counts
    cycles: float
    latency: int

    def clock_mhz(self, rate: float) -> float:
        """The least clock for so many steps per second, those of all streams together.

        Frames must then be there whenever they can be taken: the next is loaded while one is computed. At such a clock
        a frame's results come up to `latency` cycles after it, and that may be later than the next frame.
        """
        check_rate(rate)
        return self.cycles * rate / 1e6

    def duty(self, rate: float, clock_mhz: float) -> float:
        """The share of a clock's cycles in which steps are under way; above 1, the clock is too slow."""
        return self.clock_mhz(rate) / clock_mhz


def check_rate(rate: float) -> None:
    """Refuses a rate that is none.

    Raises:
        SpecError: it is not above zero.
    """
    if not (isfinite(rate) and rate > 0):
        raise SpecError(f"a rate of {rate:g} steps per second; choose one above 0")


def effort(image: Image) -> Effort:
    """What an image's steps take, counted from its programs."""
    programs, target = image.machine.programs, image.target
    step, once = list[tuple[Segment, Fields]](), list[tuple[Segment, Fields]]()
    for unit, program in programs.items():
        before, loop, after = parts(program, UNITS[unit](target).words)
        once += ((unit, instruction) for instruction in (*before, *after))
        for instruction in loop:
            (once if instruction["condition"] == Condition.ENDED else step).append((unit, instruction))
    taken, sent = lone_frame(programs, target)
    return Effort(
        image.macs,
        _counts(step, image),
        _counts(once, image),
        _whole(cycles_per_step(step_ends(programs, target)) / max(image.streams, 1)),
        sent - taken,
    )


def _counts(instructions: list[tuple[Segment, Fields]], image: Image) -> Counts:
    """Of instructions, shared by all streams."""
    target, streams = image.target, max(image.streams, 1)
    known = range(0, streams * image.apart, image.apart)
    total = Counter[tuple[str, str]]()
    for unit, instruction in instructions:
        total["reads", "programs"] += UNITS[unit](target).words
        for kind, what, count in _of(unit, instruction, target, known):
            total[kind, what] += count
    each = {key: _whole(count / streams) for key, count in total.items()}
    reads, writes = ({name: each.get((kind, name), 0) for name in MEMORIES} for kind in ("reads", "writes"))
    return Counts(*(each.get(("", what), 0) for what in ("performed", "gate", "fed")), reads, writes)


def _whole(count: float) -> float:
    return int(count) if count == int(count) else count


def _of(unit: Segment, instruction: Fields, target: Target, known: range) -> Iterator[tuple[str, str, int]]:
    """What an instruction does: reads, writes or "", of what, how often.

    Args:
        known: the streams, as the engine knows them.
    """
    beside = sum(stream in known for stream in range(instruction["stream"], instruction["stream"] + target.gates))
    if unit is Segment.ARRAY_PROGRAM:
        contraction = Contraction(instruction, target)
        operands, results = contraction.data_addresses.size, len(contraction.write_addresses)
        yield "", "performed", operands * target.multipliers
        yield "", "fed", contraction.busy
        yield "reads", "scratchpad", operands
        yield "reads", "hidden" if instruction["hidden"] else "factors", operands
        yield "reads", "bias", int(contraction.kept.sum())
        yield "writes", "results" if instruction["to_results"] else "scratchpad", results
        if instruction["add"]:
            yield "reads", "results", results
    elif unit is Segment.LOADER_PROGRAM:
        if instruction["op"] == LoaderOp.ADMIT:
            return
        count = instruction["count"] + 1
        yield "writes", "scratchpad", count
        if instruction["op"] == LoaderOp.COPY:
            yield "reads", "hidden", count * (beside if instruction["together"] else 1)
    else:
        units = units_of(instruction)
        if instruction["op"] == GateOp.EMIT:
            yield "reads", "results", units
            return
        states = units * (target.gates if instruction["op"] == GateOp.STATE else max(beside, 1))
        yield "writes", "cell", states
        yield "writes", "hidden", states
        if instruction["op"] == GateOp.STEP:
            yield "reads", "results", _GATES * units
            yield "reads", "cell", states
            yield "reads", "tables", _LOOKUPS * states
            yield "", "gate", BEAT * states
