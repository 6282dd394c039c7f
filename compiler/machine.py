"""The engine in numpy: decodes an image's programs and executes them, word for word and cycle for cycle.

A machine is given the words of an image and nothing else of what the compiler knew: memory contents, addresses and
shifts come out of them, so that a wrong encoding is executed wrongly here and disagrees with the golden model. With the
compiler it shares what words mean (fdht.spec.instructions, fdht.compiler.segments, `walk`) and when instructions run
(fdht.compiler.schedule); the RTL is held against both.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np

from fdht.compiler.nest import walk
from fdht.compiler.schedule import Attendance, Contraction, Executed, Fields, schedule, sets_state, units_of
from fdht.compiler.segments import Segments, unpack
from fdht.spec import timing
from fdht.spec.activation import PiecewiseLinear
from fdht.spec.clips import in_sending_order
from fdht.spec.fixed import round_shift
from fdht.spec.formats import GateFormats
from fdht.spec.instructions import UNITS, WORD, Condition, GateOp, LoaderOp, Record, Segment
from fdht.spec.protocol import OutputKind
from fdht.spec.rounds import Frame, Round, rounds
from fdht.spec.target import Target


def decode(words: np.ndarray, record: Record) -> list[dict]:
    """The instructions of a program."""
    size = record.words
    return [record.decode([int(w) for w in words[k : k + size]]) for k in range(0, len(words), size)]


def sums(contraction: Contraction, scratchpad: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The accumulators that a contraction keeps, in the order they leave the array (rows × Q).

    Args:
        scratchpad: words × Q. factors: words × P.
    """
    weights = factors[contraction.factor_addresses][:, :, ::-1]  # row p of the array leaves as row P - 1 - p
    operands = scratchpad[contraction.data_addresses]
    result = np.matmul(weights.transpose(0, 2, 1), operands)[contraction.kept]
    limit = 1 << contraction.target.accumulator_width - 1
    assert result.min() >= -limit and result.max() < limit, "an accumulator wrapped"
    return result


def results(
    contraction: Contraction, scratchpad: np.ndarray, factors: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, int]:
    """The words that a contraction writes, in order (words × Q), and how many of the requantised ones had a lane
    clipped.

    Args:
        scratchpad: words × Q. factors: words × P. bias: words × Q.
    """
    instruction, target = contraction.instruction, contraction.target
    accumulators = sums(contraction, scratchpad, factors)
    biases = bias[instruction["bias"] + instruction["bias_step"] * np.arange(len(accumulators))]
    rounded = round_shift(accumulators, instruction["shift"]) + biases
    words = target.data.saturate(rounded)
    clipped = int((words != rounded).any(axis=1).sum())
    if instruction["transpose"]:
        blocks = words.reshape(-1, target.columns, target.columns).transpose(0, 2, 1)
        words = blocks[:, : instruction["emit"] + 1].reshape(-1, target.columns)
    return words, clipped


@dataclass
class Events:
    """Writes of one kind in a run, in order of their cycles; cycle 0 is that of `start`.

    Attributes:
        cycle: when. where: integers that say where (columns as in the trace's fields). data: what.
    """

    cycle: np.ndarray
    where: np.ndarray
    data: np.ndarray


@dataclass
class Run:
    """What the engine does with one clip.

    Attributes:
        cycles: from the one after `start` to the last one busy.
        array, results, hidden, cell: everything written: (address,) with words, by the array to the scratchpad and in
            the result memory; (unit,) with h and with c.
        outputs: the words of the output stream: (kind, value, last).
        started: start and done cycle of every instruction: (unit, step, index, start, done).
        array_busy: cycles the array was fed.
        saturations: words with a lane clipped by a requantiser, and sums in the result memory with one.
        clipped: the same by array instruction. steps: of each stream.
        memory: as it is afterwards.
    """

    cycles: int
    array: Events
    results: Events
    hidden: Events
    cell: Events
    outputs: list[tuple[int, int, int]]
    started: list[tuple[Segment, int, int, int, int]] = field(default_factory=list)
    array_busy: int = 0
    saturations: int = 0
    clipped: Counter[int] = field(default_factory=Counter)
    steps: Counter[int] = field(default_factory=Counter)
    memory: "Memory | None" = None


@dataclass
class Memory:
    """What a run leaves behind: scratchpad and result memory (words × Q), hidden and cell states; where several gates
    are computed side by side, those of each after those of the one before.
    """

    scratchpad: np.ndarray
    results: np.ndarray
    hidden: np.ndarray
    cell: np.ndarray


@dataclass
class _EventLists:
    """Writes of a run, instruction by instruction: times, places, data."""

    array: list = field(default_factory=list)
    results: list = field(default_factory=list)
    hidden: list = field(default_factory=list)
    cell: list = field(default_factory=list)


class Machine:
    """Executes an image.

    Args:
        target: what it was compiled for.
        segments: memory contents by segment.
        sigmoid, tanh: the gate unit's tables.
        order: positions in a frame of the raw words in the order they are sent; None for their own.
    """

    def __init__(
        self,
        target: Target,
        segments: Segments,
        sigmoid: PiecewiseLinear,
        tanh: PiecewiseLinear,
        order: np.ndarray | None = None,
    ):
        self.target, self._order = target, order
        self.gate_formats: GateFormats = target.gate_formats
        self.tables = [(t, np.array(t.base), np.array(t.slope)) for t in (sigmoid, tanh)]
        self.programs = {unit: decode(segments[unit], record(target)) for unit, record in UNITS.items()}
        self.factors = unpack(segments[Segment.FACTORS], target.rows, target.factor_width)
        self.bias = unpack(segments[Segment.BIAS], target.columns, target.data_width)
        self.constants = unpack(segments[Segment.SCRATCHPAD], target.columns, WORD)
        self._contractions: dict[int, Contraction] = {}

    @property
    def streams(self) -> int:
        """One more than the number of the last stream whose frames are looked for; 0 in a program of one sequence."""
        loader = self.programs[Segment.LOADER_PROGRAM]
        return max((each["stream"] + 1 for each in loader if each["op"] == LoaderOp.ADMIT), default=0)

    def contraction(self, instruction: Fields) -> Contraction:
        key = id(instruction)
        if key not in self._contractions:
            self._contractions[key] = Contraction(instruction, self.target)
        return self._contractions[key]

    # Timing

    def schedule(self, steps: int, keep: bool = False, taken: Sequence[Round] | None = None) -> list[Executed]:
        """What every instruction does when: see the function of this name."""
        return schedule(self.programs, self.target, steps, keep, self.contraction, taken)

    def cycles(self, steps: int, keep: bool = False, taken: Sequence[Round] | None = None) -> int:
        """Cycles of a run, from the one after `start` to the last one busy."""
        return max(done for *_, done in self.schedule(steps, keep, taken))

    # Execution

    def run(
        self,
        clip: np.ndarray,
        initial: np.ndarray | None = None,
        every_h: bool = False,
        after: Run | None = None,
    ) -> Run:
        """Executes a clip.

        Args:
            clip: raw inputs, steps × N.
            initial: h and c of each unit of each layer, layers H × 2; zeros when left out.
            every_h: also send the last layer's h after every step but the last (when all layers' are always sent).
            after: a run whose states are kept; `initial` is then not looked at.
        """
        sent = in_sending_order(clip, self._order)
        return self._run([{0: frame} for frame in sent], None, initial, every_h, after)

    def run_streams(
        self, frames: Sequence[Frame], x: np.ndarray, every_h: bool = False, after: Run | None = None
    ) -> Run:
        """Executes frames of several streams.

        Args:
            frames: whose they are, in the order in which they come.
            x: their raw inputs, frames × N.
            every_h: also send h of the last layer after every step, if there is no head.
            after: a run whose states are kept.
        """
        sent, taken = iter(in_sending_order(x, self._order)), rounds(frames, self.streams)
        return self._run([{stream: next(sent) for stream in each} for each in taken], taken, None, every_h, after)

    def _run(
        self,
        sent: Sequence[Mapping[int, np.ndarray]],
        taken: Sequence[Round] | None,
        initial: np.ndarray | None,
        every_h: bool,
        after: Run | None,
    ) -> Run:
        """Executes a run.

        Args:
            sent: raw words of the frames of each step or round, by their streams.
            taken: the rounds, if there are streams.
        """
        if after is not None and after.memory is not None:
            memory = deepcopy(after.memory)
        else:
            lanes, above = self.target.columns, self.target.scratchpad_words - len(self.constants)
            memory = Memory(
                np.concatenate([np.zeros((above, lanes), dtype=np.int64), self.constants]),
                np.zeros((self.target.result_words, lanes), dtype=np.int64),
                np.zeros(self.target.hidden, dtype=np.int64),
                np.zeros(self.target.hidden, dtype=np.int64),
            )
        steps, keep = len(sent), after is not None
        schedule = self._attended(self.schedule(steps, keep, taken), taken)
        run = Run(max(entry[4] for entry, _ in schedule), *(_no_events() for _ in range(4)), outputs=[], memory=memory)
        events = _EventLists()
        loaded = 0  # raw words of a frame that are placed
        admitted = 0
        numbers = {id(each): k for program in self.programs.values() for k, each in enumerate(program)}
        for (unit, step, instruction, start, done), attended in schedule:
            index = numbers[id(instruction)]
            run.started.append((unit, step, index, start, done))
            if attended is None or (keep and sets_state(unit, instruction)):
                continue
            if unit is Segment.ARRAY_PROGRAM:
                run.clipped[index] += self._contract(instruction, start, run, memory, events)
            elif unit is Segment.LOADER_PROGRAM:
                if instruction["op"] == LoaderOp.ADMIT:
                    admitted = instruction["stream"]
                    run.steps[admitted] += admitted in sent[step]
                elif instruction["op"] == LoaderOp.LOAD:
                    loaded = self._load(instruction, sent[step][admitted], loaded, memory)
                else:
                    self._place(instruction, attended, memory)
            elif instruction["condition"] == Condition.PRESENT:
                for stream, frame in attended.items():
                    sends = instruction["top"] and (frame.ends, frame.ends or every_h)
                    begins = frame.begins
                    lane = stream - instruction["stream"]
                    self._step(instruction, lane, start, begins, sends or (False, False), run, memory, events)
            elif instruction["op"] == GateOp.STEP:
                run.steps[0] += instruction["top"]
                final = step == steps - 1
                sends = final, final or (every_h and bool(instruction["top"]))
                self._step(instruction, 0, start, False, sends, run, memory, events)
            else:
                self._gate(instruction, start, initial, run, memory, events)
        run.array, run.results, run.hidden, run.cell = (
            _join(parts) for parts in (events.array, events.results, events.hidden, events.cell)
        )
        return run

    def _attended(
        self, executed: list[Executed], taken: Sequence[Round] | None
    ) -> list[tuple[Executed, dict[int, Frame] | None]]:
        """Instructions in the order in which they start, each with the frames of the streams that it is carried out
        for, of those it asks; None if it is not.
        """
        attendance, result = Attendance(self.target, taken), list[tuple[Executed, dict[int, Frame] | None]]()
        for entry in executed:
            unit, step, instruction, *_ = entry
            frames = attendance.takes_part(unit, step, instruction)
            result.append((entry, frames))
        return sorted(result, key=lambda each: each[0][3])

    def _contract(self, instruction: Fields, start: int, run: Run, memory: Memory, events: "_EventLists") -> int:
        """Returns how many words had a lane clipped."""
        contraction = self.contraction(instruction)
        factors = self.factors
        if instruction["hidden"]:  # of the first row; the others are dropped
            lane, size = instruction["stream"] % self.target.gates, self.target.hidden // self.target.gates
            h = memory.hidden[lane * size :][:size]
            factors = np.pad(h[:, None], ((0, 0), (self.target.rows - 1, 0)))
        words, clipped = results(contraction, memory.scratchpad, factors, self.bias)
        addresses, times = contraction.write_addresses, start + contraction.offsets
        if instruction["to_results"]:
            if instruction["add"]:
                total = words + memory.results[addresses]
                words = self.target.data.saturate(total)
                clipped += int((words != total).any(axis=1).sum())
            memory.results[addresses] = words
            events.results.append((times + timing.store(self.target), addresses[:, None], words))
        else:
            memory.scratchpad[addresses] = words
            events.array.append((times, addresses[:, None], words))
        run.saturations += clipped
        run.array_busy += contraction.busy
        return clipped

    def _load(self, instruction: Fields, frame: np.ndarray, loaded: int, memory: Memory) -> int:
        """Executes a LOAD; returns how many raw words of the frame are placed, 0 after the last."""
        count = instruction["count"] + 1
        nest = walk(instruction["nest"], count)
        words, lanes = nest["word"], nest["lane"]
        if instruction["whole"]:
            words, lanes = np.repeat(words, self.target.columns), np.tile(np.arange(self.target.columns), count)
        end = loaded + len(words)
        raw = frame[loaded:end].astype(np.int64)
        memory.scratchpad[words, lanes] = (raw - instruction["offset"]) << instruction["shift"]
        return 0 if end == len(frame) else end

    def _place(self, instruction: Fields, frames: Mapping[int, Frame], memory: Memory) -> None:
        """Executes another instruction of the loader: zeros, or h.

        Args:
            frames: those of the streams of which a step begins.
        """
        count = instruction["count"] + 1
        nest = walk(instruction["nest"], count)
        words, lanes = nest["word"], nest["lane"]
        if instruction["op"] in (LoaderOp.ZERO, LoaderOp.CLEAR):
            memory.scratchpad[words] = 0
            return
        stream, gates = instruction["stream"], self.target.gates
        for lane in range(gates if instruction["together"] else 1):
            begins = instruction["opens"] and stream + lane in frames and frames[stream + lane].begins
            h = memory.hidden[self._units((stream + lane) % gates, instruction["first"], count)]
            memory.scratchpad[words, lanes + lane] = 0 if begins else h

    def _units(self, lane: int, first: int, count: int) -> np.ndarray:
        """Places of states in the memories of h and c."""
        return lane * (self.target.hidden // self.target.gates) + first + np.arange(count)

    def _gate(
        self,
        instruction: Fields,
        start: int,
        initial: np.ndarray | None,
        run: Run,
        memory: Memory,
        events: "_EventLists",
    ) -> None:
        """Executes STATE or EMIT."""
        op, count = GateOp(instruction["op"]), units_of(instruction)
        if op is GateOp.EMIT:
            z = walk(instruction["z"], count)
            values = memory.results[z["word"], z["lane"]]
            run.outputs += [(OutputKind.LOGIT, int(value), int(u == count - 1)) for u, value in enumerate(values)]
            return
        units = self._units(0, instruction["first"], count)
        state = np.zeros((count, 2), dtype=np.int64) if initial is None else initial[units]
        for lane in range(self.target.gates):
            h, c = state.T if lane == 0 else np.zeros((2, count), dtype=np.int64)
            self._update(instruction, lane, start, h, c, memory, events)

    def _step(
        self,
        instruction: Fields,
        lane: int,
        start: int,
        begins: bool,
        sends: tuple[bool, bool],
        run: Run,
        memory: Memory,
        events: "_EventLists",
    ) -> None:
        """Executes STEP for a stream.

        Args:
            lane: of the gates that are computed side by side.
            begins: c before is zero.
            sends: whether c and h are sent.
        """
        count = units_of(instruction)
        z = walk(instruction["z"], count)
        i, f, g, o = (
            memory.results[z["word"] + offset, z["lane"] + lane]
            for offset in (0, instruction["f"], instruction["g"], instruction["o"])
        )
        before = memory.cell[self._units(lane, instruction["first"], count)]
        h, c = self._cell_update(i, f, g, o, 0 * before if begins else before)
        for u in range(count):
            last = int(u == count - 1)
            if sends[1]:
                run.outputs.append((OutputKind.HIDDEN, int(h[u]), last))
            if sends[0]:
                run.outputs.append((OutputKind.CELL, int(c[u]), last))
        self._update(instruction, lane, start, h, c, memory, events)

    def _update(
        self,
        instruction: Fields,
        lane: int,
        start: int,
        h: np.ndarray,
        c: np.ndarray,
        memory: Memory,
        events: "_EventLists",
    ) -> None:
        """Writes states."""
        units = self._units(lane, instruction["first"], len(h))
        times = timing.gate(self.target, GateOp(instruction["op"]), len(h))
        memory.hidden[units], memory.cell[units] = h, c
        events.hidden.append((start + times.hidden, units[:, None], h))
        events.cell.append((start + times.cell, units[:, None], c))

    def _cell_update(self, i, f, g, o, c) -> tuple[np.ndarray, np.ndarray]:
        formats, ((sigmoid, *s), (tanh, *t)) = self.gate_formats, self.tables
        total = (sigmoid(f, *s) * c << formats.forget_shift) + sigmoid(i, *s) * tanh(g, *t)
        c = formats.cell.requantise(total, formats.cell_shift)
        squashed = tanh(formats.z.requantise(c, formats.tanh_shift), *t)
        return formats.hidden.requantise(sigmoid(o, *s) * squashed, formats.hidden_shift), c


def _no_events() -> Events:
    nothing = np.zeros(0, dtype=np.int64)
    return Events(nothing, nothing, nothing)


def _join(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Events:
    if not parts:
        return _no_events()
    cycle, where, data = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(cycle, kind="stable")  # several gates write at once
    return Events(cycle[order], where[order], data[order])
