"""When instructions run: what each one takes, and how the three programs wait for each other.

The planner counts cycles with this, and fdht.compiler.machine executes by it. No values are computed here.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fdht.compiler.nest import walk
from fdht.spec import timing
from fdht.spec.errors import SpecError
from fdht.spec.instructions import UNITS, Condition, GateOp, LoaderOp, Segment, Token
from fdht.spec.rounds import Frame, Round
from fdht.spec.target import Target

Fields = Mapping[str, Any]
"""An instruction by the names of its fields: one of the compiler's, or a decoded one."""

Instructions = Mapping[Segment, Sequence[Fields]]
"""The programs of a step, unit by unit."""


def parts(program: Sequence[Fields], size: int) -> tuple[Sequence[Fields], Sequence[Fields], Sequence[Fields]]:
    """The instructions, of `size` words each, before, in and after the loop over time steps."""
    last = next(k for k, instruction in enumerate(program) if instruction["loop_end"])
    first = program[last]["back"] // size
    return program[:first], program[first : last + 1], program[last + 1 :]


def unroll(program: Sequence[Fields], size: int, steps: int) -> Iterator[tuple[int, Fields]]:
    """The instructions, of `size` words each, in the order a sequencer runs them, with the time step of each (0
    before the loop).
    """
    before, body, after = parts(program, size)
    yield from ((0, instruction) for instruction in before)
    for step in range(steps):
        yield from ((step, instruction) for instruction in body)
    yield from ((steps - 1, instruction) for instruction in after)


Executed = tuple[Segment, int, Fields, int, int]
"""Unit, time step, instruction, start and done cycle."""


def schedule(
    programs: Instructions,
    target: Target,
    steps: int,
    keep: bool = False,
    contraction: Callable[[Fields], "Contraction"] | None = None,
    rounds: Sequence[Round] | None = None,
) -> list[Executed]:
    """Start and done cycle of every instruction of a run.

    Inputs and outputs are taken to be always ready. With `keep`, states are neither cleared nor set.

    Args:
        steps: turns of the loop: time steps, or rounds of several streams.
        rounds: which streams have a frame in each; all of them, in the middle of a sequence, when left out.

    Raises:
        SpecError: the programs wait for each other forever.
    """
    contraction = contraction or (lambda instruction: Contraction(instruction, target))
    fetch = {unit: timing.fetch(target, record(target)) for unit, record in UNITS.items()}
    queues = {unit: list(unroll(program, UNITS[unit](target).words, steps)) for unit, program in programs.items()}
    position = dict.fromkeys(queues, 0)
    fetched = {unit: timing.begin(target) + 1 + cycles for unit, cycles in fetch.items()}  # the next instruction
    past = {unit: [_NEVER, _NEVER] for unit in queues}  # issued and done cycles of the last two
    given: dict[Token, list[int]] = defaultdict(list)
    taken: dict[Token, int] = defaultdict(int)
    spans: dict[int, tuple[int, int]] = {}  # start to issued and done, by instruction
    attendance = Attendance(target, rounds)
    result = []
    while any(position[unit] < len(queues[unit]) for unit in queues):
        for unit, queue in queues.items():
            if position[unit] == len(queue):
                continue
            step, instruction = queue[position[unit]]
            waits = [token for token in Token if instruction["wait"] >> token & 1]
            if any(taken[token] >= len(given[token]) for token in waits):
                continue
            (_, earlier), (issued, last) = past[unit]
            free = max(earlier, issued) if instruction["chained"] else last
            there = max([fetched[unit], *(given[token][taken[token]] + timing.token(target) for token in waits)])
            start = max(there + instruction.get("delay", 0), free) + timing.start(target)
            for token in waits:
                taken[token] += 1
            if attendance.takes_part(unit, step, instruction) is None or (keep and sets_state(unit, instruction)):
                span = timing.KEPT, timing.KEPT
            else:
                if id(instruction) not in spans:
                    spans[id(instruction)] = _span(unit, instruction, target, contraction)
                span = spans[id(instruction)]
            done = start + span[1]
            for token in Token:
                if instruction["give"] >> token & 1:
                    early = token is Token.Z_READY and instruction.get("early")
                    given[token].append(start if early else done)
            past[unit] = [past[unit][1], (start + span[0], done)]
            fetched[unit] = (start if target.pipeline.prefetch else done) + 1 + fetch[unit]
            position[unit] += 1
            result.append((unit, step, instruction, start, done))
            break
        else:
            raise SpecError("the programs wait for each other forever")
    return result


class Attendance:
    """Which instructions are carried out in a run, as streams come and go.

    It is asked in an order in which each instruction comes after those whose tokens it takes.

    Args:
        rounds: see `schedule`.
    """

    def __init__(self, target: Target, rounds: Sequence[Round] | None = None):
        self._target, self._rounds = target, rounds
        self._admitted = True
        self._pending: dict[int, Frame] = {}
        self._present: dict[int, Frame] = {}
        self._stepped: dict[int, Frame] = {}

    def takes_part(self, unit: Segment, step: int, instruction: Fields) -> dict[int, Frame] | None:
        """The frames of those streams of an instruction's that it is carried out for; None if it is not carried out."""
        stream, condition = instruction["stream"], instruction["condition"]
        if unit is Segment.LOADER_PROGRAM:
            return self._load(stream, step, instruction)
        if condition == Condition.ALWAYS:
            return {}
        if condition == Condition.PRESENT:
            beside = range(stream, stream + self._target.gates)
            met = _those(self._present, beside)
            if unit is Segment.GATE_PROGRAM:
                _move(self._stepped, self._present, beside)
        else:
            ended = condition == Condition.ENDED
            met = {k: frame for k, frame in _those(self._stepped, [stream]).items() if frame.ends or not ended}
        return met or None

    def _load(self, stream: int, step: int, instruction: Fields) -> dict[int, Frame] | None:
        op = instruction["op"]
        if op == LoaderOp.ADMIT:
            coming = {stream: Frame(stream)} if self._rounds is None else self._rounds[step]
            self._admitted = stream in coming
            _move(self._pending, coming, [stream])
        elif op == LoaderOp.COPY and instruction["opens"]:
            beside = range(stream, stream + (self._target.gates if instruction["together"] else 1))
            _move(self._present, self._pending, beside)
            return _those(self._pending, beside)
        return {} if self._admitted or op != LoaderOp.LOAD else None


def _those(frames: Mapping[int, Frame], streams: Iterable[int]) -> dict[int, Frame]:
    return {stream: frames[stream] for stream in streams if stream in frames}


def _move(to: dict[int, Frame], frames: Mapping[int, Frame], streams: Iterable[int]) -> None:
    """Makes what is known of some streams the same."""
    for stream in streams:
        to.pop(stream, None)
        if stream in frames:
            to[stream] = frames[stream]


_NEVER: tuple[int, int] = (0, 0)
"""Issued and done cycle that stand for an instruction before the first."""


def _span(
    unit: Segment, instruction: Fields, target: Target, contraction: Callable[[Fields], "Contraction"]
) -> tuple[int, int]:
    """Cycles from an instruction's start to it being issued, and to its `done`."""
    if unit is Segment.ARRAY_PROGRAM:
        return contraction(instruction).issued, contraction(instruction).done
    if unit is Segment.GATE_PROGRAM:
        done = timing.gate(target, GateOp(instruction["op"]), units_of(instruction)).done
    elif instruction["op"] == LoaderOp.ADMIT:
        done = timing.ADMITTED
    else:
        first = timing.copy(target) if instruction["op"] == LoaderOp.COPY else timing.load(target)
        done = first + instruction["count"] + timing.DONE
    return done, done


class Contraction:
    """An array instruction: what it reads and writes, and when, relative to its start."""

    def __init__(self, instruction: Fields, target: Target):
        self.instruction, self.target = instruction, target
        read = walk(instruction["read"])
        levels = instruction["read"]["levels"]
        self.depth = int(np.prod([level["count"] + 1 for level in levels[: instruction["reduction"] + 1]]))
        self.data_addresses = read["data"].reshape(-1, self.depth)
        self.factor_addresses = read["factor"].reshape(-1, self.depth)
        self.write_addresses = walk(instruction["write"])["word"]

    @cached_property
    def kept(self) -> np.ndarray:
        """For each pass, which of its P rows are kept."""
        rows, size = self.instruction["rows"] + 1, self.target.rows
        passes = -(-rows // size)
        column = np.arange(passes * size) < rows
        return np.tile(column.reshape(passes, size), (len(self.data_addresses) // passes, 1))

    @cached_property
    def _rows(self) -> np.ndarray:
        """Cycle in which each pass's rows leave the array, relative to `start`: passes × P."""
        period = timing.period(self.target, self.depth)
        pass_end = 1 + np.arange(len(self.data_addresses)) * period + self.depth - 1
        return pass_end[:, None] + timing.drain(self.target) + np.arange(self.target.rows)

    @cached_property
    def offsets(self) -> np.ndarray:
        """Cycle of each write, relative to `start`."""
        target = self.target
        row = self._rows[self.kept] + timing.requantise(target) + timing.write(target)
        if not self.instruction["transpose"]:
            return row
        block_end = row.reshape(-1, target.columns)[:, -1]
        return (block_end[:, None] + timing.TRANSPOSE + np.arange(self.instruction["emit"] + 1)).ravel()

    @property
    def issued(self) -> int:
        """Cycle in which the addresses of the last operands are issued, relative to `start`."""
        return (len(self.data_addresses) - 1) * timing.period(self.target, self.depth) + self.depth

    @property
    def done(self) -> int:
        """Cycle of `done`, relative to `start`: after the last write, and after the last row of padding."""
        return int(max(self.offsets[-1] + timing.DONE, self._rows[-1, -1] + 1))

    @property
    def busy(self) -> int:
        """Cycles in which the array is fed or rests between passes."""
        return len(self.data_addresses) * timing.period(self.target, self.depth)


def units_of(instruction: Fields) -> int:
    """Units, or logits, of a gate instruction."""
    return instruction["last"] - instruction["first"] + 1


def sets_state(unit: Segment, instruction: Fields) -> bool:
    """Whether a run that keeps its states skips an instruction."""
    setting = {Segment.LOADER_PROGRAM: LoaderOp.ZERO, Segment.GATE_PROGRAM: GateOp.STATE}
    return unit in setting and instruction["op"] == setting[unit]
