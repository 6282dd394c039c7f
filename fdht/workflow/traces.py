"""Runs as Chrome trace events, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

A unit is a thread, an instruction a slice, a token a flow from the slice that gives it to the one that waited for it.
One clock cycle is shown as one microsecond. Viewers join a counter's name with that of its value. The format: "Trace
Event Format", the JSON object form.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fdht.compiler.image import Image
from fdht.compiler.schedule import Executed
from fdht.spec.container import write_whole
from fdht.spec.instructions import Segment
from fdht.spec.rounds import Round, in_turn, rounds
from fdht.spec.version import VERSION
from fdht.workflow.golden_vectors import Disagreement
from fdht.workflow.timeline import Piece, live_words, pieces

LOADER, ARRAY, RESULTS, GATES = 1001, 1002, 1003, 1004
"""Threads. The array has two: while the last results of an instruction leave it, operands of the next may enter.
Numbers are beyond those of processes: Perfetto takes a thread that has its process's number for the main one.
"""

THREADS = {LOADER: "loader", ARRAY: "array: operands in", RESULTS: "array: results out", GATES: "gate unit"}

UNIT_THREADS = {Segment.LOADER_PROGRAM: LOADER, Segment.ARRAY_PROGRAM: ARRAY, Segment.GATE_PROGRAM: GATES}

INSIDE = 0.25
"""Cycles before its end in which a flow leaves a slice: a slice does not hold its end."""


@dataclass(frozen=True)
class Traced:
    """A run: what it is called, its instructions with their cycles, and of several streams who has which round."""

    name: str
    executed: Sequence[Executed]
    taken: Sequence[Round] | None = None


def planned(image: Image, steps: int) -> Traced:
    """The run of a clip as the machine predicts it; of several streams, one of which each has such a clip."""
    taken = None
    if image.streams:
        taken = rounds(image.known(in_turn([steps] * image.streams)), image.target.streams)
    return Traced(f"plan of {steps} steps", image.machine.schedule(steps, taken=taken), taken)


def simulated(
    image: Image,
    name: str,
    seen: Mapping[str, Sequence[Sequence[int]]],
    steps: int,
    taken: Sequence[Round] | None = None,
) -> Traced:
    """The run of a clip with the cycles that the RTL took.

    Args:
        seen: one of `Simulation.executed`.

    Raises:
        Disagreement: the RTL carried out more or fewer instructions than there are.
    """
    predicted = image.machine.schedule(steps, taken=taken)
    expected = Counter(unit for unit, *_ in predicted)
    for unit, count in expected.items():
        if len(seen[unit.name]) != count:
            raise Disagreement(
                f"the RTL carried out {len(seen[unit.name])} instructions of the {unit.name.lower()}, the program has "
                f"{count}; look at the words that differ"
            )
    following = {unit: iter(seen[unit.name]) for unit in expected}
    executed = list[Executed]()
    for unit, step, instruction, _, _ in predicted:
        start, done = next(following[unit])
        executed.append((unit, step, instruction, start, done))
    return Traced(name, executed, taken)


def write(path: Path, image: Image, runs: Sequence[Traced], source: str) -> None:
    """Writes runs, a process each.

    Args:
        source: what was run, for people.

    Raises:
        FileError: the file cannot be written.
    """
    write_whole(path, (json.dumps(trace(image, runs, source)) + "\n").encode())


def trace(image: Image, runs: Sequence[Traced], source: str) -> dict[str, Any]:
    """The trace as JSON has it."""
    events = [event for process, run in enumerate(runs, 1) for event in _events(image, run, process)]
    flows = {key: k for k, key in enumerate(dict.fromkeys(each["id"] for each in events if "id" in each), 1)}
    for event in events:
        if "id" in event:
            event["id"] = flows[event["id"]]
    return {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {
            "source": source,
            "target": image.target.name,
            "unit of time": "one clock cycle is shown as 1 us",
            "written by": f"fdht {VERSION}",
        },
    }


def _events(image: Image, run: Traced, process: int) -> Iterator[dict[str, Any]]:
    def event(kind: str, name: str, at: float, thread: int = 0, **more: Any) -> dict[str, Any]:
        return {"ph": kind, "name": name, "pid": process, "tid": thread, "ts": at, **more}

    yield event("M", "process_name", 0, args={"name": run.name})
    for thread, name in THREADS.items():
        yield event("M", "thread_name", 0, thread, args={"name": name})
        yield event("M", "thread_sort_index", 0, thread, args={"sort_index": thread})
    every, drained = pieces(image, run.executed, run.taken), 0
    predicted = {
        (unit, k): start
        for unit, starts in _by_unit(image.machine.schedule(every[-1].step + 1, taken=run.taken)).items()
        for k, start in enumerate(starts)
    }
    passed, behind, waiting = Counter[Segment](), Counter[Segment](), Counter[str]()
    counted = list[tuple[float, str, int]]()
    for number, piece in enumerate(every):
        thread = UNIT_THREADS[piece.unit]
        name, category = piece.name + (" (skipped)" if piece.skipped else ""), THREADS[thread].partition(":")[0]
        issued = piece.done if thread != ARRAY or piece.skipped else piece.start + _issued(image, piece)
        facts = {"step": piece.step, "instruction": piece.number, "start": piece.start, "done": piece.done}
        facts |= piece.facts
        facts |= {"waits for": ", ".join(token.name for token, _ in piece.takes)} if piece.takes else {}
        facts |= {"gives": ", ".join(token.name for token, _ in piece.gives)} if piece.gives else {}
        yield event("X", name, piece.start, thread, dur=issued - piece.start, cat=category, args=facts)
        if issued < piece.done:
            begins = max(issued, drained)
            yield event("X", name, begins, RESULTS, dur=piece.done - begins, cat=category, args=facts)
        drained = piece.done if thread == ARRAY else drained
        for token, giver in piece.takes:
            of = next(cycle for each, cycle in every[giver].gives if each is token)
            flow = process, giver, token, number
            from_thread, leaves = UNIT_THREADS[every[giver].unit], of - INSIDE
            if of == every[giver].start:  # given early
                leaves = of
            elif from_thread == ARRAY and not every[giver].skipped:
                from_thread = RESULTS
            yield event("s", token.name, leaves, from_thread, id=flow, cat="token")
            yield event("f", token.name, piece.start, thread, id=flow, cat="token", bp="e")
            counted.append((piece.start, token.name, -1))
        counted += [(cycle, token.name, 1) for token, cycle in piece.gives]
        late = piece.start - predicted[piece.unit, passed[piece.unit]]
        passed[piece.unit] += 1
        if late or behind[piece.unit]:
            behind[piece.unit] = late
            yield event("C", f"behind the plan: {category}", piece.start, args={"cycles": late})
    for cycle, token, change in sorted(counted):
        waiting[token] += change
        yield event("C", f"token {token}", cycle, args={"waits": waiting[token]})
    at, words = live_words(run.executed, image.target, image.machine.contraction)
    marks = np.unique([cycle for piece in every for cycle in (piece.start, piece.done)])
    for cycle, k in zip(marks.tolist(), (np.searchsorted(at, marks, side="right") - 1).tolist(), strict=True):
        yield event("C", "scratchpad", cycle, args={"words in use": int(words[k]) if k >= 0 else 0})


def _by_unit(executed: Sequence[Executed]) -> dict[Segment, list[int]]:
    result: dict[Segment, list[int]] = {}
    for unit, _, _, start, _ in executed:
        result.setdefault(unit, []).append(start)
    return result


def _issued(image: Image, piece: Piece) -> int:
    """Cycles from the start of an array instruction until its last operands are asked for."""
    return image.machine.contraction(image.machine.programs[piece.unit][piece.number]).issued
