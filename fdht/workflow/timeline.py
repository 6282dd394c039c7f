"""What every unit and every memory does when: the pieces of work of a run, their tokens, and who reads and writes."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from fdht.compiler.image import Image
from fdht.compiler.nest import walk
from fdht.compiler.pace import STEPS, WARM_UP, step_ends
from fdht.compiler.schedule import Attendance, Contraction, Executed, Fields
from fdht.spec import timing
from fdht.spec.instructions import GateOp, LoaderOp, Segment, Token
from fdht.spec.rounds import Round
from fdht.spec.target import Target

UNITS = {Segment.LOADER_PROGRAM: "input", Segment.ARRAY_PROGRAM: "array", Segment.GATE_PROGRAM: "gate unit"}
"""The units, as pictures and traces call them."""

RESULTS = "results"
"""The result memory, beside the banks of the scratchpad."""


@dataclass(frozen=True)
class Piece:
    """An instruction that is carried out.

    Attributes:
        unit, number, step: whose, which of its program, in which time step (of several streams, which round).
        name: what it is called: of the array its stage, and its tile if there are several.
        start, done: cycles of the unit's pulses.
        busy: first cycle and number of cycles in which the array is fed, the loader writes or the gate unit is at work.
        facts: sizes and banks by their names.
        takes: tokens that it waits for, each with the number of the piece that gave it.
        gives: tokens, each with the cycle in which it is given.
        skipped: its unit does nothing, as the stream it is for has no frame.
    """

    unit: Segment
    number: int
    step: int
    name: str
    start: int
    done: int
    busy: tuple[int, int]
    facts: dict[str, int | str]
    takes: tuple[tuple[Token, int], ...]
    gives: tuple[tuple[Token, int], ...]
    skipped: bool = False


@dataclass(frozen=True)
class Visit:
    """Accesses of one kind: to the scratchpad or else the result memory, writes or else reads, words and cycles."""

    scratchpad: bool
    writes: bool
    addresses: np.ndarray
    cycles: np.ndarray


@dataclass
class Accesses:
    """In which cycles of a window each bank, and the result memory, is read and written."""

    reads: dict[str, np.ndarray] = field(default_factory=dict)
    writes: dict[str, np.ndarray] = field(default_factory=dict)


def pieces(image: Image, executed: Sequence[Executed], taken: Sequence[Round] | None = None) -> list[Piece]:
    """The pieces of a run, in the order in which its schedule has them.

    Args:
        executed: from the image's machine, or with the cycles that the RTL took.
        taken: of several streams, which have a frame in each round.
    """
    programs, target, names = image.machine.programs, image.target, stage_names(image)
    numbers = {id(each): (unit, k) for unit, program in programs.items() for k, each in enumerate(program)}
    facts = {
        place: facts_of(place[0], programs[place[0]][place[1]], target, image.machine.contraction)
        for place in numbers.values()
    }
    attendance, given, waiting = Attendance(target, taken), defaultdict[Token, list[int]](list), Counter[Token]()
    result = list[Piece]()
    for unit, step, instruction, start, done in executed:
        takes = []
        for token in (token for token in Token if instruction["wait"] >> token & 1):
            takes.append((token, given[token][waiting[token]]))
            waiting[token] += 1
        gives = []
        for token in (token for token in Token if instruction["give"] >> token & 1):
            early = token is Token.Z_READY and instruction.get("early")
            given[token].append(len(result))
            gives.append((token, start if early else done))
        place = numbers[id(instruction)]
        name = names[place[1]] if unit is Segment.ARRAY_PROGRAM else operation(unit, instruction).name.lower()
        skipped = attendance.takes_part(unit, step, instruction) is None
        busy = (start, 0) if skipped else at_work(unit, instruction, start, done, target, image.machine.contraction)
        found = {"stream": instruction["stream"], **facts[place]} if image.streams else facts[place]
        result.append(Piece(unit, place[1], step, name, start, done, busy, found, tuple(takes), tuple(gives), skipped))
    return result


def operation(unit: Segment, instruction: Fields) -> LoaderOp | GateOp:
    """What an instruction of the loader or the gate unit does."""
    return (LoaderOp if unit is Segment.LOADER_PROGRAM else GateOp)(instruction["op"])


def stage_names(image: Image) -> list[str]:
    """What each instruction of the array is called: its stage, counted from 1, and its tile if there are several."""
    program = image.machine.programs[Segment.ARRAY_PROGRAM]
    places = image.places or tuple(f"contraction {k + 1}" for k in range(len(program)))
    every, seen, result = Counter(places), Counter[str](), list[str]()
    for place in places:
        seen[place] += 1
        result.append(f"{place} tile {seen[place]}" if every[place] > 1 else place)
    return result


def facts_of(unit: Segment, instruction: Fields, target: Target, contraction=None) -> dict[str, int | str]:
    """Sizes of an instruction's work, and the banks it reads and writes."""
    if unit is Segment.ARRAY_PROGRAM:
        work = contraction(instruction) if contraction else Contraction(instruction, target)
        rows = instruction["rows"] + 1
        into = RESULTS if instruction["to_results"] else _banks(work.write_addresses, target)
        return {
            "rows": rows,
            "K": work.depth,
            "words of data": len(work.data_addresses) // -(-rows // target.rows),
            "reads banks": _banks(work.data_addresses, target),
            "writes banks": into,
        }
    if unit is Segment.LOADER_PROGRAM:
        if instruction["op"] == LoaderOp.ADMIT:
            return {}
        count = instruction["count"] + 1
        return {"words": count, "writes banks": _banks(walk(instruction["nest"], count)["word"], target)}
    return {"first": instruction["first"], "last": instruction["last"]}


def _banks(addresses: np.ndarray, target: Target) -> str:
    return ", ".join(map(str, np.unique(addresses // target.bank_words)))


def at_work(
    unit: Segment, instruction: Fields, start: int, done: int, target: Target, contraction=None
) -> tuple[int, int]:
    """First cycle and number of cycles in which the array is fed, the loader writes, or the gate unit is at work."""
    if unit is Segment.ARRAY_PROGRAM:
        work = contraction(instruction) if contraction else Contraction(instruction, target)
        return start + 1, work.busy
    if unit is Segment.GATE_PROGRAM or instruction["op"] == LoaderOp.ADMIT:
        return start, done - start
    copy = instruction["op"] == LoaderOp.COPY
    return start + (timing.copy(target) if copy else timing.load(target)), instruction["count"] + 1


def visits(executed: Iterable[Executed], target: Target, contraction=None) -> Iterator[Visit]:
    """Who reads and writes which word of the scratchpad and of the result memory when."""
    for unit, _, instruction, start, done in executed:
        if unit is Segment.ARRAY_PROGRAM:
            work = contraction(instruction) if contraction else Contraction(instruction, target)
            of_pass = np.arange(len(work.data_addresses))[:, None] * timing.period(target, work.depth)
            cycles = start + 1 + of_pass + np.arange(work.depth)
            yield Visit(True, False, work.data_addresses.ravel(), cycles.ravel())
            if instruction["to_results"]:
                yield Visit(False, True, work.write_addresses, start + work.offsets + timing.store(target))
            else:
                yield Visit(True, True, work.write_addresses, start + work.offsets)
        elif unit is Segment.LOADER_PROGRAM:
            if instruction["op"] != LoaderOp.ADMIT:
                first, count = at_work(unit, instruction, start, done, target)
                yield Visit(True, True, walk(instruction["nest"], count)["word"], first + np.arange(count))
        elif instruction["op"] == GateOp.STEP:
            cycles = np.arange(start, done)
            yield Visit(False, False, np.zeros_like(cycles), cycles)


def accesses(executed: Sequence[Executed], target: Target, first: int, last: int, contraction=None) -> Accesses:
    """When each memory is read and written from cycle `first` to `last`; cycles count from `first`."""
    names = [f"bank {bank}" for bank in range(target.banks)]
    result = Accesses(
        *({name: np.zeros(last - first, dtype=bool) for name in (*names, RESULTS)} for _ in range(2)),
    )
    near = [each for each in executed if each[4] >= first and each[3] < last]
    for visit in visits(near, target, contraction):
        where = result.writes if visit.writes else result.reads
        inside = (visit.cycles >= first) & (visit.cycles < last)
        cycles = visit.cycles[inside] - first
        if not visit.scratchpad:
            where[RESULTS][cycles] = True
            continue
        banks = visit.addresses[inside] // target.bank_words
        for bank in np.unique(banks):
            where[names[bank]][cycles[banks == bank]] = True
    return result


def live_words(executed: Sequence[Executed], target: Target, contraction=None) -> tuple[np.ndarray, np.ndarray]:
    """How many words of the scratchpad hold something that is still to be read: cycles, and how many from each on.

    A word is in use from the first write after it was last read to the last read before it is written again.
    """
    every = [visit for visit in visits(executed, target, contraction) if visit.scratchpad]
    addresses = np.concatenate([visit.addresses for visit in every])
    cycles = np.concatenate([visit.cycles for visit in every])
    writes = np.concatenate([np.full(len(visit.cycles), visit.writes) for visit in every])
    order = np.lexsort((writes, cycles, addresses))  # what is read and written in one cycle is read first
    addresses, cycles, writes = addresses[order], cycles[order], writes[order]
    same = np.r_[False, addresses[1:] == addresses[:-1]]
    begins = writes & ~(same & np.r_[False, writes[:-1]])
    ends = ~writes & ~(np.r_[same[1:], False] & np.r_[~writes[1:], False])
    lives = begins | ~same
    first = np.where(writes[lives], cycles[lives], 0)  # what is read before it is written came with the image
    born = first[np.cumsum(lives)[ends] - 1]
    changes = np.concatenate([born, cycles[ends] + 1])
    sign = np.repeat([1, -1], len(born))
    at, which = np.unique(changes, return_inverse=True)
    return at, np.cumsum(np.bincount(which, sign, len(at)).astype(np.int64))


@dataclass(frozen=True)
class Step:
    """A step in steady state, from the last h of the step before to its own last h.

    Attributes:
        first, last: its first cycle in the run, and the first that is no longer its own.
        pieces: of the whole run; those of the window are `inside`.
        accesses: in the window.
    """

    first: int
    last: int
    pieces: list[Piece]
    accesses: Accesses

    @property
    def cycles(self) -> int:
        return self.last - self.first

    @property
    def inside(self) -> list[tuple[int, Piece]]:
        """The pieces of the window with their numbers in `pieces`."""
        return [(k, each) for k, each in enumerate(self.pieces) if each.done >= self.first and each.start < self.last]


def steady_step(image: Image) -> Step:
    """The step that pictures show."""
    machine, target = image.machine, image.target
    ends = step_ends(machine.programs, target)
    first, last = ends[WARM_UP] + 1, ends[WARM_UP + 1] + 1
    executed = machine.schedule(STEPS)
    return Step(first, last, pieces(image, executed), accesses(executed, target, first, last, machine.contraction))
