"""Whether programs that came from a file can run: every address inside its memory, every wait answered, an end.

The compiler's own programs need none of this. Those of an image may have been changed by anybody, and neither the
machine here nor an engine should be sent to places that do not exist.
"""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from fdht.compiler.machine import Machine
from fdht.compiler.nest import walk
from fdht.compiler.schedule import Contraction, Fields, parts
from fdht.spec.errors import SpecError
from fdht.spec.fixed import LARGEST_SHIFT
from fdht.spec.instructions import (
    UNITS,
    Condition,
    GateOp,
    LoaderOp,
    Segment,
    gate_instruction,
    loader_instruction,
)
from fdht.spec.rounds import check_streams
from fdht.spec.target import Target

MOST_TURNS = 1 << 22
"""Most turns of all loop nests of a program together: more than a second of work at 4 MHz for a single step."""

MOST_RESULTS = 1 << 24
"""Most sums of one instruction."""

_PIECE = 1 << 20
"""Factors whose magnitudes are added up at once."""


def verify(
    machine: Machine,
    *,
    inputs: int,
    hidden: int,
    classes: int,
    every_step: bool = False,
    streams: int = 0,
    apart: int = 1,
) -> None:
    """Checks the programs of a machine.

    Args:
        inputs: raw words of a frame. hidden: units of all layers together. classes: logits; 0 for no head.
        every_step: logits are sent after every step, not after the last one.
        streams: that are served at the same time; 0 for one sequence alone. apart: from the number of one to the next.

    Raises:
        SpecError: the first thing that cannot be; says in which instruction.
    """
    target = machine.target
    check_streams(streams * apart, target)
    hidden *= -(-max(streams, 1) * apart // target.gates)
    if hidden > target.hidden // target.gates:
        raise SpecError(f"{hidden} hidden units, where the target has cell states for {target.hidden // target.gates}")
    for unit, check in _CHECKS.items():
        program, name = machine.programs[unit], unit.name.lower().removesuffix("_program")
        _check_order(name, program, UNITS[unit](machine.target).words)
        _check_turns(name, program)
        for number, instruction in enumerate(program):
            try:
                check(machine, instruction, hidden)
            except SpecError as error:
                raise SpecError(f"instruction {number} of {name}: {error}") from None
    if streams:
        _check_streams(machine, inputs, classes, every_step, range(0, streams * apart, apart))
    else:
        _check_counts(machine, inputs, classes, every_step)
    machine.schedule(1)  # says if they wait for each other


def _check_order(name: str, program: Sequence[Fields], size: int) -> None:
    """One loop, one end."""
    ends = [k for k, instruction in enumerate(program) if instruction["loop_end"]]
    halts = [k for k, instruction in enumerate(program) if instruction["halt"]]
    if len(ends) != 1 or halts != [len(program) - 1]:
        raise SpecError(f"the program of {name} ends its loop at {ends} and itself at {halts}, which each happens once")
    back = program[ends[0]]["back"]
    if back % size or back // size > ends[0]:
        raise SpecError(f"the loop of {name} goes back to word {back}, where no instruction of it begins")


def _nests(instruction: Mapping) -> list[Mapping]:
    return [instruction[name] for name in ("read", "write", "nest", "z") if name in instruction]


def _check_turns(name: str, program: Sequence[Fields]) -> None:
    """So few turns that they can be walked."""
    turns = sum(_turns(nest) for instruction in program for nest in _nests(instruction))
    if turns > MOST_TURNS:
        raise SpecError(f"the loops of {name} make {turns:,} turns; at most {MOST_TURNS:,} are followed")


def _turns(nest: Mapping) -> int:
    """Turns of a nest's loops. A level with a tail ends early in the last turn of the one around it."""
    counts = [level["count"] + 1 for level in nest["levels"]]
    tailed = nest.get("tail_level", 0)
    if tailed & (tailed - 1) or tailed.bit_length() >= len(counts) + (not tailed):
        raise SpecError(f"a tail on levels {tailed:b}; one of them, below another, has one")
    if tailed and nest["tail"] + 1 > counts[tailed.bit_length() - 1]:
        raise SpecError(f"a tail of {nest['tail'] + 1} turns where there are {counts[tailed.bit_length() - 1]}")
    return prod(counts)


def _within(what: str, addresses: np.ndarray, limit: int) -> None:
    if addresses.size and not 0 <= addresses.min() <= addresses.max() < limit:
        raise SpecError(f"{what} {addresses.min()}..{addresses.max()} of 0..{limit - 1}")


def _check_contraction(machine: Machine, instruction: Fields, hidden: int) -> None:
    target, rows = machine.target, instruction["rows"] + 1
    if instruction["reduction"] >= target.levels.read:
        raise SpecError(f"K is {instruction['reduction'] + 1} of {target.levels.read} loops")
    if instruction["shift"] > LARGEST_SHIFT:
        raise SpecError(f"a shift of {instruction['shift']} bits; at most {LARGEST_SHIFT}")
    levels = instruction["read"]["levels"]
    each = prod(level["count"] + 1 for level in levels[instruction["reduction"] + 1 :])
    if each * target.multipliers > MOST_RESULTS:
        raise SpecError(
            f"{each:,} passes of {target.rows} × {target.columns}; at most {MOST_RESULTS:,} sums are followed"
        )
    work = machine.contraction(instruction)
    passes, of_rows = len(work.data_addresses), -(-rows // target.rows)
    if passes % of_rows:
        raise SpecError(f"{passes} passes for {rows} rows on {target.rows}")
    kept = passes // of_rows * rows
    if instruction["transpose"] and (kept % target.columns or instruction["emit"] >= target.columns):
        raise SpecError(f"{kept} rows transposed, {instruction['emit'] + 1} of {target.columns} lanes kept")
    words = kept // target.columns * (instruction["emit"] + 1) if instruction["transpose"] else kept
    if words != len(work.write_addresses):
        raise SpecError(f"{words} words for {len(work.write_addresses)} addresses")
    if instruction["hidden"] and rows != 1:
        raise SpecError(f"{rows} rows of h are kept; only the first holds anything")
    _within("words of data", work.data_addresses, target.scratchpad_words)
    _within("factor words", work.factor_addresses, hidden if instruction["hidden"] else len(machine.factors))
    into = target.result_words if instruction["to_results"] else target.scratchpad_words
    _within("words written", work.write_addresses, into)
    last = instruction["bias"] + instruction["bias_step"] * (kept - 1)
    _within("bias words", np.array([instruction["bias"], last]), len(machine.bias))
    _check_sums(machine, work)


def _check_sums(machine: Machine, work: Contraction) -> None:
    """No sum leaves the accumulator, whatever the data; of the head, whose weights are data, whatever h."""
    target = machine.target
    weights, addresses = machine.factors, work.factor_addresses
    if work.instruction["hidden"]:
        weights, first = machine.constants, target.scratchpad_words - len(machine.constants)
        addresses = work.data_addresses - first
        _within("words of the head's weights", addresses, len(weights))
    magnitudes, step = np.abs(weights), max(1, _PIECE // (work.depth * weights.shape[1]))
    largest = max(int(magnitudes[addresses[k : k + step]].sum(axis=1).max()) for k in range(0, len(addresses), step))
    if largest << target.data_width - 1 > 1 << target.accumulator_width - 1:
        raise SpecError(f"factors that sum up to {largest} do not fit {target.accumulator_width} bits of accumulator")


def _check_load(machine: Machine, instruction: Fields, hidden: int) -> None:
    target, count = machine.target, instruction["count"] + 1
    nest = walk(instruction["nest"], count)
    if len(nest["word"]) != count:
        raise SpecError(f"{count} words for {len(nest['word'])} addresses")
    _within("scratchpad words", nest["word"], target.scratchpad_words)
    op = instruction["op"]
    if op not in list(LoaderOp):
        raise SpecError(f"there is no operation {op}")
    if op in (LoaderOp.LOAD, LoaderOp.COPY) and not instruction["whole"]:
        _within("lanes", nest["lane"] + (target.gates - 1 if instruction["together"] else 0), target.columns)
    if instruction["op"] == LoaderOp.COPY:
        _within("units", instruction["first"] + np.arange(count), hidden)


def _check_gate(machine: Machine, instruction: Fields, hidden: int) -> None:
    target, count = machine.target, instruction["last"] - instruction["first"] + 1
    if instruction["op"] not in list(GateOp):
        raise SpecError(f"there is no operation {instruction['op']}")
    if count < 1:
        raise SpecError(f"units {instruction['first']}..{instruction['last']} are none")
    if instruction["op"] != GateOp.EMIT:
        _within("units", np.array([instruction["first"], instruction["last"]]), hidden)
    if instruction["op"] == GateOp.STATE:
        return
    z = walk(instruction["z"], count)
    if len(z["word"]) != count:
        raise SpecError(f"{count} units for {len(z['word'])} addresses")
    offsets = (0, *(instruction[gate] for gate in ("f", "g", "o"))) if instruction["op"] == GateOp.STEP else (0,)
    for offset in offsets:
        _within("result words", z["word"] + offset, target.result_words)
    _within("lanes", z["lane"], target.columns)


_CHECKS = {
    Segment.ARRAY_PROGRAM: _check_contraction,
    Segment.LOADER_PROGRAM: _check_load,
    Segment.GATE_PROGRAM: _check_gate,
}


def _check_counts(machine: Machine, inputs: int, classes: int, every_step: bool) -> None:
    """A step takes a frame, and ends in new states; it, or a run, ends in as many logits as there are classes."""
    loader, gates = (
        parts(machine.programs[unit], UNITS[unit](machine.target).words)
        for unit in (Segment.LOADER_PROGRAM, Segment.GATE_PROGRAM)
    )
    taken = [_raw_words(machine.target, part) for part in loader]
    if taken != [0, inputs, 0]:
        raise SpecError(f"{taken} raw words are taken before, in and after a step of {inputs}")
    if not any(instruction["op"] == GateOp.STEP for instruction in gates[1]):
        raise SpecError("no step ends in new states")
    sent = [sum(i["last"] - i["first"] + 1 for i in part if i["op"] == GateOp.EMIT) for part in gates]
    if sent != ([0, classes, 0] if every_step else [0, 0, classes]):
        raise SpecError(f"{sent} logits are sent before, in and after the steps; there are {classes} classes")


def _check_streams(machine: Machine, inputs: int, classes: int, every_step: bool, streams: range) -> None:
    """A round asks for a frame of each stream in turn, takes it whole, and ends in new states and logits of each."""
    target = machine.target
    before, body, after = parts(machine.programs[Segment.LOADER_PROGRAM], loader_instruction(target).words)
    if any(instruction["op"] not in (LoaderOp.ZERO, LoaderOp.CLEAR) for instruction in (*before, *after)):
        raise SpecError("before and after the rounds the loader does more than clear")
    admitted, taken, opened = list[int](), list[int](), list[int]()
    for instruction in body:
        if instruction["op"] == LoaderOp.ADMIT:
            admitted.append(instruction["stream"])
            opened.append(instruction["opens"])
            taken.append(0)
        elif instruction["op"] == LoaderOp.LOAD:
            if not taken:
                raise SpecError("raw words are taken before a stream is asked for a frame")
            taken[-1] += _raw_words(target, [instruction])
    if admitted != list(streams) or opened != [1] + [0] * (len(streams) - 1):
        raise SpecError(f"a round asks for frames of {admitted}; the streams are {list(streams)}, in their order")
    if taken != [inputs] * len(streams):
        raise SpecError(f"{taken} raw words of the streams are taken in a round; a frame has {inputs}")
    _, body, after = parts(machine.programs[Segment.GATE_PROGRAM], gate_instruction(target).words)
    stepped = {
        stream for i in body if i["op"] == GateOp.STEP for stream in range(i["stream"], i["stream"] + target.gates)
    }
    if not stepped >= set(streams):
        raise SpecError(f"no step ends in new states of streams {sorted(set(streams) - stepped)}")
    sent = dict.fromkeys(streams, 0)
    for number, instruction in enumerate((*body, *after)):
        of_step = Condition.PRESENT if instruction["op"] == GateOp.STEP else Condition.ALWAYS
        emits = instruction["op"] == GateOp.EMIT
        if instruction["condition"] != (Condition.of_logits(every_step) if emits else of_step):
            raise SpecError(f"an operation {instruction['op']} under condition {instruction['condition']}")
        if emits and instruction["stream"] not in streams:
            raise SpecError(f"logits of stream {instruction['stream']}; the streams are {list(streams)}")
        if emits and number < len(body):
            sent[instruction["stream"]] += instruction["last"] - instruction["first"] + 1
    if set(sent.values()) != {classes}:
        raise SpecError(f"{sent} logits of the streams are sent; there are {classes} classes")


def _raw_words(target: Target, program: Sequence[Fields]) -> int:
    """Words of frames that instructions of the loader take."""
    loads = [instruction for instruction in program if instruction["op"] == LoaderOp.LOAD]
    return sum((i["count"] + 1) * (target.columns if i["whole"] else 1) for i in loads)
