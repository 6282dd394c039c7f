"""From a board to a bitstream, and a report that can fail."""

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from boards import tools
from boards.board import Board, Family
from boards.top import BoardTop, Resources
from spec.errors import CapacityError, FdhtError

CACHE = Path("build/boards")
"""Where finished builds are kept, below the current directory, each in a folder named by what it was made of."""

_NAME = "top"

AFTER_READ = "\n".join(
    (
        "chformal -remove",  # assertions are for simulation
        "attrmvcp -copy -attr keep",  # from a register's wire to its cell, where Yosys looks before it merges equal ones
        # No memory is read and written at one address in one cycle (asserted in simulation): the logic that defines
        # what is read then costs 35 LUTs and 44 flip-flops a memory.
        "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2",
    )
)
_AFTER_SYNTHESIS = "tee -q -o stat.json stat -json"


class Design(Protocol):
    """What can be built: elaborates to everything but the pins, and knows what it takes."""

    @property
    def resources(self) -> Resources: ...

    def elaborate(self, platform) -> Any: ...


class SynthesisError(FdhtError):
    """A design that was built, but not as it must be: resources missing, or too slow."""


def count_cells(family: Family, cells: dict[str, int]) -> Resources:
    """Blocks in a netlist, from Yosys's number of cells by type."""

    def count(types: Sequence[str]) -> int:
        return sum(cells.get(kind, 0) for kind in types)

    return Resources(count(family.multipliers), count(family.block_rams), count(family.sprams))


def check_resources(board: Board, predicted: Resources, found: Resources) -> None:
    """Compares a netlist with the prediction.

    Raises:
        SynthesisError: other numbers of multipliers, block RAMs or SPRAMs than predicted, or no memory at all.
    """
    for resource in ("multipliers", "block_rams", "sprams"):
        need, have = getattr(predicted, resource), getattr(found, resource)
        if need != have:
            raise SynthesisError(
                f"the netlist of {board.name} has {have} {resource.replace('_', ' ')}, {need} are predicted;"
                " the design or its cost functions have changed"
            )
    if found.multipliers == 0 or found.block_rams + found.sprams == 0:
        raise SynthesisError(f"the netlist of {board.name} has no multipliers or no memory; the array is gone")


def read_fmax(board: Board, report: dict) -> float:
    """Highest clock in MHz at which the routed design meets timing: the lowest of all its clock domains that are
    asked for as much as the system clock.

    Raises:
        SynthesisError: no clock is constrained to the board's, or timing is not met.
    """
    clocks = {
        name: clock for name, clock in report["fmax"].items() if clock["constraint"] >= board.clock_mhz * (1 - 1e-3)
    }
    if not clocks:
        raise SynthesisError(
            f"no clock of {board.name} is constrained to {board.clock_mhz:g} MHz; its PLL is missing or wrong"
        )
    for clock in report["fmax"].values():
        if clock["achieved"] < clock["constraint"] * (1 - 1e-3):
            raise SynthesisError(
                f"{board.name} reaches {clock['achieved']:.1f} MHz where {clock['constraint']:.1f} MHz are needed;"
                " try other seeds or a smaller array"
            )
    return min(clock["achieved"] for clock in clocks.values())


def check_fit(board: Board, log: str) -> None:
    """Looks for what a part has too little of in nextpnr's log.

    Raises:
        CapacityError: a design that does not fit.
    """
    for line in log.splitlines():
        used = re.search(r"Info:\s+(\w+):\s*(\d+)/\s*(\d+)\s", line)
        if used and int(used[2]) > int(used[3]):
            raise CapacityError(
                f"{used[1]} of {board.name}", int(used[2]), int(used[3]), "choose a target with less of everything"
            )


def check_loops(board: Board, log: str) -> None:
    """Looks for combinational loops in nextpnr's log.

    Raises:
        SynthesisError: there is one.
    """
    for line in log.splitlines():
        if "combinational loop" in line.lower():
            raise SynthesisError(f"the design of {board.name} has a combinational loop ({line.strip()}); break it")


def check_constraints(board: Board, log: str) -> None:
    """Looks for clock constraints that nextpnr has dropped in its log.

    Raises:
        SynthesisError: there is one.
    """
    for line in log.splitlines():
        if "ignoring clock constraint" in line:
            raise SynthesisError(
                f"a clock of {board.name} is not constrained ({line.strip()}); keep the name of its signal"
            )


def count_logic(cells: dict[str, int]) -> tuple[int, int]:
    """LUTs and flip-flops of a netlist; a carry that needs no LUT of its own is not counted."""
    luts = sum(n for kind, n in cells.items() if kind in ("SB_LUT4", "LUT4")) + 2 * cells.get("CCU2C", 0)
    ffs = sum(n for kind, n in cells.items() if kind.startswith(("SB_DFF", "TRELLIS_FF")))
    return luts, ffs


def synthesise(
    board: Board,
    out_dir: Path | str,
    seeds: Sequence[int] = (1,),
    progress: Callable[[str], None] | None = None,
    design: Design | None = None,
) -> dict:
    """Builds a board's bitstream with Yosys and nextpnr.

    The design is synthesised once and placed and routed once for each seed; the fastest is kept. Finished builds
    are cached below `CACHE` by the netlist's source, constraints, tools and seeds. Nothing is left behind by a build
    that fails.

    Args:
        board: what to build.
        out_dir: gets `<board>.bin` or `.bit` and `<board>.json`, the report.
        seeds: of the placement.
        progress: told what is being done.
        design: another one than the board's engine.

    Returns:
        The report: board, target, bitstream (path), fmax_mhz (of the kept one; fmax_mhz_seeds: of each, and
        fmax_mhz_median), clock_mhz, luts, ffs (after synthesis), multipliers, block_rams, sprams,
        utilisation (nextpnr's: used and available by type), seconds (of the build; of the first one if cached),
        cached, seeds, tools.

    Raises:
        ToolError: a tool is missing or failed.
        CapacityError: it does not fit the part.
        SynthesisError: the netlist lacks or exceeds what is predicted, has combinational loops or misses timing.
    """
    say = progress or (lambda _: None)
    begin = time.monotonic()
    assert seeds
    chosen: Design = BoardTop(board) if design is None else design
    family = board.family
    say(f"{board.name}: elaborating")
    os.environ.setdefault("AMARANTH_ENV_" + ("TRELLIS" if family.name == "ecp5" else "ICESTORM"), "")
    plan = board.platform().prepare(
        chosen,
        _NAME,
        debug_verilog=False,
        emit_src=False,
        script_after_read=AFTER_READ,
        script_after_synth=_AFTER_SYNTHESIS,
    )
    versions = {name: tools.version(name) for name in ("yosys", family.place_and_route)}
    key = hashlib.sha256(
        repr((plan.digest(), versions, tuple(seeds), board.part, board.family, board.name)).encode()
    ).hexdigest()
    kept = CACHE / f"{board.name}-{key[:16]}"
    cached = (kept / "report.json").is_file()
    if not cached:
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{board.name}-", dir=CACHE) as scratch:
            folder = Path(scratch)
            report = _build(board, plan, folder, seeds, chosen.resources, say)
            report |= {"seconds": round(time.monotonic() - begin, 1), "tools": versions}
            finished = folder / "finished"
            finished.mkdir()
            shutil.copy(folder / f"best{family.suffix}", finished / f"{board.name}{family.suffix}")
            (finished / "report.json").write_text(json.dumps(report, indent=2))
            shutil.rmtree(kept, ignore_errors=True)
            finished.replace(kept)
    else:
        say(f"{board.name}: taken from {kept}")
    report = json.loads((kept / "report.json").read_text())
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    bitstream = out / f"{board.name}{family.suffix}"
    report = {"board": board.name, "target": board.target, "bitstream": str(bitstream), "cached": cached, **report}
    shutil.copy(kept / bitstream.name, bitstream)
    (out / f"{board.name}.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def _build(board: Board, plan, folder: Path, seeds: Sequence[int], predicted: Resources, say) -> dict:
    """Runs the flow in `folder`; leaves `best` + the family's suffix there."""
    family = board.family
    plan.extract(folder)
    say(f"{board.name}: synthesis")
    tools.call("yosys", ["-q", "-l", "yosys.log", f"{_NAME}.ys"], folder, folder / "yosys.out")
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    found = count_cells(family, cells)
    check_resources(board, predicted, found)
    luts, ffs = count_logic(cells)
    say(f"{board.name}: {luts} LUTs, {ffs} flip-flops, {found.multipliers} multipliers, {found.block_rams} block RAMs")

    option, constraints = family.constraints
    output, routed = family.output
    speeds, utilisation = {}, {}
    failure = None
    for seed in seeds:
        say(f"{board.name}: place and route, seed {seed}")
        log = folder / f"nextpnr-{seed}.log"
        arguments = [
            *board.part,
            *family.route,
            "--json",
            f"{_NAME}.json",
            option,
            f"{_NAME}{constraints}",
            "--seed",
            str(seed),
        ]
        arguments += [output, f"{seed}{routed}", "--report", f"{seed}.json"]
        problem: FdhtError | None = None
        try:
            tools.call(family.place_and_route, arguments, folder, log)
        except tools.ToolError as error:
            problem = error
            check_fit(board, log.read_text(errors="replace"))
        check_loops(board, log.read_text(errors="replace"))
        check_constraints(board, log.read_text(errors="replace"))
        if (folder / f"{seed}.json").is_file():
            routing = json.loads((folder / f"{seed}.json").read_text())
            try:
                fmax = read_fmax(board, routing)
            except SynthesisError as error:
                problem = error  # a clearer one than nextpnr's
            else:
                if problem is None:
                    speeds[seed], utilisation[seed] = fmax, routing["utilization"]
        elif problem is None:
            problem = tools.ToolError(f"{family.place_and_route} wrote no report; look for its version")
        failure = problem or failure
    if not speeds:
        assert failure is not None
        raise failure
    best = max(speeds, key=lambda seed: speeds[seed])
    say(f"{board.name}: packing")
    arguments = [*family.pack_arguments, f"{best}{routed}", f"best{family.suffix}"]
    tools.call(family.pack, arguments, folder, folder / "pack.log")
    return {
        "fmax_mhz": round(speeds[best], 2),
        "fmax_mhz_median": round(median(speeds.values()), 2),
        "fmax_mhz_seeds": {str(seed): round(speed, 2) for seed, speed in speeds.items()},
        "clock_mhz": board.clock_mhz,
        "luts": luts,
        "ffs": ffs,
        "multipliers": found.multipliers,
        "block_rams": found.block_rams,
        "sprams": found.sprams,
        "utilisation": {k: [v["used"], v["available"]] for k, v in utilisation[best].items() if v["used"]},
        "seeds": list(seeds),
    }
