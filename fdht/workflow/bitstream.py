"""`fdht synth`: a bitstream, what it uses, and whether that is worse than it was."""

from dataclasses import asdict
from pathlib import Path

from fdht.boards import baseline, closed, tools
from fdht.boards.board import Board
from fdht.boards.catalogue import BOARDS, find_board, installed
from fdht.boards.fullness import available
from fdht.boards.parts import CLOSED
from fdht.boards.synthesis import Netlist, measure, synthesise
from fdht.console import Output, percent
from fdht.hw.shell.axi import NAME, AXIAccelerator
from fdht.sim.build import convert
from fdht.spec.errors import CapacityError, SpecError
from fdht.spec.protocol import target_id
from fdht.spec.target import PART_TARGETS

TAKEN = {
    "luts": "LUTs",
    "ffs": "flip-flops",
    "multipliers": "multipliers",
    "block_rams": "block RAMs",
    "sprams": "SPRAMs",
}
"""What a netlist takes of a part, by the names in `--json`."""


def boards(output: Output) -> list[dict]:
    """The boards there are, and parts without one; of boards of installed packages that are none, a sentence."""
    every = [*BOARDS.values()]
    for name in installed():
        try:
            every.append(find_board(name))
        except SpecError as error:
            output.say(str(error))
    return [
        {
            "board": board.name,
            "part": board.family.name,
            "target": board.target,
            "multipliers": board.engine.multipliers,
            "clock_mhz": board.clock_mhz,
            "baud": board.baud,
        }
        for board in every
    ] + [
        {
            "board": None,
            "part": part,
            "target": PART_TARGETS[part].name,
            "multipliers": PART_TARGETS[part].multipliers,
            "clock_mhz": None,
            "baud": None,
        }
        for part in CLOSED
    ]


CELLS = {"ICESTORM_LC": "ICESTORM_LC: logic cells, each of which holds a LUT, a flip-flop or one of both"}
"""Types of cells whose number is neither that of the LUTs nor that of the flip-flops, as a table calls them."""


def folder_of(board: Board, build: Path) -> Path:
    """Where a board's build is left, below the folder of all."""
    return build / board.design


def run(
    output: Output,
    board: Board,
    folder: Path,
    seeds: list[int],
    check: bool = False,
    accept: bool = False,
) -> dict:
    """Builds and returns the figures of the report.

    Args:
        seeds: of the placement; if empty the fastest of the baseline, or all of the baseline's where it is checked or
            replaced; 1 without one.
        check: hold the build against the board's baseline; `cycles_per_step` and `better` join the figures.
        accept: make it the baseline; `cycles_per_step` and `baseline` join the figures.

    Raises:
        BaselineError: the build is worse than its baseline, or this is an installed copy, which keeps none.
    """
    if accept:
        baseline.refuse_installed(board)
    if not seeds:
        seeds = baseline.load(board)["seeds"] if check else baseline.usual_seeds(board, every=accept)
    with output.progress(f"bitstream for {board.design}") as advance:
        figures = synthesise(board, folder, seeds, progress=lambda message: advance(note=message))
    figures |= {"target_id": target_id(board.engine), "baud": board.baud}
    if check or accept:
        with output.progress(f"cycles of the presets on {board.target}"):
            figures["cycles_per_step"] = cycles = preset_cycles(board)
        if check:
            figures["better"] = baseline.compare(board, figures, cycles)
        if accept:
            figures["baseline"] = str(baseline.record(board, figures, cycles))
    return figures


def netlist(output: Output, board: Board) -> dict:
    """What a board's design takes of its part after synthesis, without placing and routing it.

    Raises:
        CapacityError, SynthesisError, ToolError: see fdht.boards.synthesis.measure.
    """
    with output.progress(f"netlist for {board.design}") as advance:
        made = measure(board, progress=lambda message: advance(note=message))
    part, taken = board.room, _taken(made)
    there = dict.fromkeys(taken) if part is None else available(part)
    return {
        "board": board.name,
        "target": board.target,
        "target_id": target_id(board.engine),
        **taken,
        "part": None if part is None else part.name,
        "available": there,
    }


def netlist_in(output: Output, part_name: str, target: str | None) -> dict:
    """What the generic block takes of a part with closed tools after Yosys's synthesis for its family.

    Raises:
        SpecError: no such part or target.
        FileError: no target in the file.
        CapacityError: the part has too little of something.
        ToolError: Yosys is missing or failed.
    """
    part, engine = closed.engine_in(part_name, target)
    with output.progress(f"the block of {engine.name} in Verilog"):
        verilog = convert(AXIAccelerator(engine), NAME, assertions=False)
    with output.progress(f"netlist for the {part.name}"):
        made = closed.measure(part, verilog, NAME)
    closed.check(part, made)
    return {
        "board": None,
        "target": engine.name,
        "target_id": target_id(engine),
        **_taken(made),
        "predicted": asdict(closed.resources(part, engine)),
        "part": part.name,
        "available": available(part),
        "yosys": tools.version("yosys"),
    }


def _taken(made: Netlist) -> dict[str, int]:
    """What a netlist takes, by the names of `TAKEN`."""
    return {"luts": made.luts, "ffs": made.ffs, **asdict(made.blocks)}


def report_netlist(output: Output, figures: dict) -> None:
    """The table of a netlist: what it takes, what was predicted where that may differ, and what the part has."""
    part, predicted = figures["part"] or "the part", figures.get("predicted")
    rows = [
        (
            name,
            figures[kind],
            *([] if predicted is None else [predicted.get(kind)]),
            there,
            percent(figures[kind] / there) if there else None,
        )
        for kind, name in TAKEN.items()
        for there in [figures["available"][kind]]
    ]
    title = f"{figures['target']} on {figures['board'] or f'the {part}'}: after synthesis"
    columns = ("of", "taken", *([] if predicted is None else ["predicted"]), f"{part} has", "share")
    output.table(title, columns, rows)


def preset_cycles(board: Board) -> dict[str, float | None]:
    """Cycles per step of every preset on the board's engine, as planned; None if it does not fit."""
    from fdht.compiler.planner import candidates
    from fdht.model.presets import PRESETS

    cycles: dict[str, float | None] = {}
    for preset in PRESETS.values():
        try:
            cycles[preset.name] = candidates(preset.spec, board.engine)[0].cycles
        except CapacityError:
            cycles[preset.name] = None
    return cycles


def by_seed(figures: dict) -> str:
    """What every seed reached, how many met the clock, and the median of those that were routed."""
    speeds = figures["fmax_mhz_seeds"]
    each = ", ".join(f"{seed}: {'not routed' if mhz is None else f'{mhz:g} MHz'}" for seed, mhz in speeds.items())
    routed = figures["seeds_routed"]
    some = "" if routed == len(speeds) else f" of the {routed} routed"
    met = f"{figures['seeds_met']} of {len(speeds)} met the clock"
    return f"{each}; {met}, median{some} {figures['fmax_mhz_median']:g} MHz"


def by_others(figures: dict) -> str:
    """What analyses less careful than the one that decides say of the kept seed, in brackets."""
    said = {"nextpnr": figures["fmax_mhz_nextpnr"], "icetime": figures["fmax_mhz_icetime"]}
    others = [f"{who} says {mhz:g}" for who, mhz in said.items() if mhz is not None and mhz > figures["fmax_mhz"]]
    return f" ({', '.join(others)})" if others else ""


def uncovered(kinds: dict[str, dict]) -> str:
    """What a clock's figure says nothing about: how many of which cells, their pins, and what their own delays may be
    before that matters."""
    sentences = []
    for kind, each in kinds.items():
        room = f" (their own delays; up to {each['room_ns']:g} ns would do no harm)" if "room_ns" in each else ""
        sentences.append(f"{each['cells']} {kind}: {', '.join(each['pins'])}{room}")
    return "; ".join(sentences) or "nothing"


def report(output: Output, figures: dict) -> None:
    """The table of a finished build."""
    taken = " (of an earlier, equal build)" if figures["cached"] else ""
    output.facts(
        f"{figures['board']}: bitstream",
        {
            "bitstream": figures["bitstream"],
            "routed design": figures["routed"],
            "clock": f"{figures['clock_mhz']:g} MHz wanted, {figures['fmax_mhz']:g} MHz reached{by_others(figures)}",
            "serial port": f"{figures['baud']:,} baud",
            "by seed": by_seed(figures),
            "not in these figures": uncovered(figures["timing_uncovered"]),
            "LUTs, flip-flops": f"{figures['luts']:,}, {figures['ffs']:,}",
            "multipliers": figures["multipliers"],
            "block RAMs, SPRAMs": f"{figures['block_rams']}, {figures['sprams']}",
            "seconds": f"{figures['seconds']}{taken}",
        },
    )
    used = figures["utilisation"].items()
    rows = [(CELLS.get(kind, kind), count, of, f"{100 * count / of:.0f} %") for kind, (count, of) in used if count]
    output.table("Used of the part, after place and route", ("type", "used", "of", "share"), rows)
    if "cycles_per_step" in figures:
        cycles, target = figures["cycles_per_step"], figures["target"]
        rows = [(name, each) for name, each in cycles.items() if each is not None]
        refused = [name for name, each in cycles.items() if each is None]
        if rows:
            output.table("Cycles per step", ("preset", "cycles"), rows)
        if refused and rows:
            output.say(f"presets that do not fit {target}: {', '.join(refused)}")
        elif refused:
            output.say(f"no preset fits {target}; how long a step of another model takes there, fdht compile says")
    if "better" in figures:
        output.say("no worse than the baseline")
    for sentence in figures.get("better", ()):
        output.say(f"better: {sentence}; the same with --accept keeps it as the baseline")
    if "baseline" in figures:
        output.say(f"the baseline is now in {figures['baseline']}")


def report_boards(output: Output, rows: list[dict]) -> None:
    """The table of boards and parts."""
    columns = ("board", "family or part", "target", "multipliers", "MHz", "baud")
    output.table("Boards, and parts for --part", columns, [list(row.values()) for row in rows])
