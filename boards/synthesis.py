"""From a board to a bitstream, and a report that can fail."""

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from amaranth.build.run import BuildPlan

from fdht.boards import static_timing, tools
from fdht.boards.board import Board, Family
from fdht.boards.fitting import check_room
from fdht.boards.top import BoardTop
from fdht.spec.cache import cache_folder
from fdht.spec.costs import Resources
from fdht.spec.errors import CapacityError, FdhtError, Resource

CACHE = cache_folder() / "boards"
"""Where finished builds are kept, in the user's cache folder, each in a folder named by what it was made of."""

_REPORT = 3
"""Version of the kept reports' fields; those of another are not taken for a finished build."""

_NAME = "top"

AFTER_READ = "\n".join(
    (
        "chformal -remove",  # assertions are for simulation
        # From a register's wire to its cell, where Yosys looks before it merges equal ones.
        "attrmvcp -copy -attr keep",
        # No memory is read and written at one address in one cycle (asserted in simulation): the logic that defines
        # what is read then costs 35 LUTs and 44 flip-flops a memory.
        "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2",
    )
)
_STATISTICS = "tee -q -o stat.json stat -json"


class Design(Protocol):
    """What can be built: elaborates to everything but the pins, and knows what it takes."""

    @property
    def resources(self) -> Resources: ...

    def elaborate(self, platform) -> Any: ...


@dataclass(frozen=True)
class Netlist:
    """What synthesis has made of a design.

    Attributes:
        blocks: multipliers, block RAMs and SPRAMs. luts, ffs: see `count_logic`.
    """

    blocks: Resources
    luts: int
    ffs: int


class SynthesisError(FdhtError):
    """A design that was built, but not as it must be: resources missing, or too slow."""


def count_cells(family: Family, cells: dict[str, int]) -> Resources:
    """Blocks in a netlist, from Yosys's number of cells by type."""

    def count(types: Sequence[str]) -> int:
        return sum(cells.get(kind, 0) for kind in types)

    return Resources(count(family.multipliers), count(family.block_rams), count(family.sprams))


def resources_of(component: object) -> Resources:
    """What a component says that it takes; nothing of what it does not mention."""
    return Resources(*(getattr(component, name, 0) for name in ("multipliers", "block_rams", "sprams")))


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


def check_logic(board: Board, made: Netlist) -> None:
    """Compares a netlist with the part, which saves nextpnr the trouble.

    Raises:
        CapacityError: more LUTs or flip-flops than there are.
    """
    part = board.room
    for needed, available, name in ((made.luts, part.luts, "LUTs"), (made.ffs, part.ffs, "flip-flops")) if part else ():
        if needed > available:
            raise CapacityError(
                Resource.CELLS,
                needed,
                available,
                "choose a smaller array, a pipeline with fewer registers, or fewer features (docs/engines.md)",
                f"{name} of the {part.name} on {board.name}",
            )


def read_fmax(board: Board, clocks: dict[str, dict]) -> float:
    """Highest clock in MHz at which the routed design would meet timing: the lowest of all its clock domains that
    are asked for as much as the system clock.

    Args:
        clocks: `achieved` and `constraint` of each, in MHz.

    Raises:
        SynthesisError: no clock is constrained to the board's.
    """
    wanted = [clock for clock in clocks.values() if clock["constraint"] >= board.clock_mhz * (1 - 1e-3)]
    if not wanted:
        raise SynthesisError(
            f"no clock of {board.name} is constrained to {board.clock_mhz:g} MHz; its PLL is missing or wrong"
        )
    return min(clock["achieved"] for clock in wanted)


def check_timing(board: Board, clocks: dict[str, dict]) -> None:
    """Compares every clock of a routed design with its constraint; see `read_fmax` for the arguments.

    Raises:
        SynthesisError: one is missed.
    """
    for clock in clocks.values():
        if clock["achieved"] < clock["constraint"] * (1 - 1e-3):
            raise SynthesisError(
                f"{board.name} reaches {clock['achieved']:.1f} MHz where {clock['constraint']:.1f} MHz are needed;"
                f" try other seeds (--seed) or a smaller array{_slower(board, clock)}"
            )


SLACK = 0.9
"""Of the clock that a seed reached: what is asked for instead should be met by others, too."""


def _slower(board: Board, clock: dict) -> str:
    """The option for a clock that a design is likely to meet, in words; "" for a clock that does not depend on it."""
    wanted = int(clock["achieved"] * SLACK)
    return (
        f", or a slower clock: --clock {wanted}"
        if clock["constraint"] >= board.clock_mhz * (1 - 1e-3) and wanted
        else ""
    )


def check_fit(board: Board, log: str) -> None:
    """Looks for what a part has too little of in nextpnr's log.

    Raises:
        CapacityError: a design that does not fit.
    """
    for line in log.splitlines():
        used = re.search(r"Info:\s+(\w+):\s*(\d+)/\s*(\d+)\s", line)
        if used and int(used[2]) > int(used[3]):
            raise CapacityError(
                Resource.CELLS,
                int(used[2]),
                int(used[3]),
                "choose a target with less of everything",
                f"{used[1]} of {board.name}",
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


def count_logic(family: Family, cells: dict[str, int]) -> tuple[int, int]:
    """LUTs and flip-flops of a netlist; a carry that needs no LUT of its own is not counted."""
    luts = sum(family.luts.get(kind, 0) * n for kind, n in cells.items())
    return luts, sum(n for kind, n in cells.items() if kind.startswith(family.ffs))


def prepare(board: Board, design: Design) -> BuildPlan:
    """Elaborates a design; the files that the tools take."""
    family = board.family
    os.environ.setdefault(f"AMARANTH_ENV_{family.toolchain.upper()}", "")
    platform = board.platform()
    for name, text in family.files.items():
        platform.add_file(name, text)
    return platform.prepare(
        design,
        _NAME,
        debug_verilog=False,
        emit_src=False,
        synth_opts=list(family.synthesis),
        script_after_read=AFTER_READ,
        script_after_synth="\n".join(
            (*(command.format(name=_NAME) for command in family.after_synthesis), _STATISTICS)
        ),
    )


def synthesise(
    board: Board,
    out_dir: Path | str,
    seeds: Sequence[int] = (1,),
    progress: Callable[[str], None] | None = None,
    design: Design | None = None,
) -> dict:
    """Builds a board's bitstream with Yosys and nextpnr.

    The design is synthesised once and placed and routed once for each seed; the fastest that meets timing is kept, and
    the others are reported too. Finished builds are cached below `CACHE` by the netlist's source, constraints, tools
    and seeds. Nothing is left behind by a build that fails.

    A clock is what the more careful of all analyses at hand says: nextpnr's, fdht.boards.static_timing's with
    corrected delays, and icetime's if it is installed.

    Args:
        board: what to build.
        out_dir: gets `<board>.bin`, `.bit` or `.fs`, the routed design that it was packed from (`.asc`, `.config` or
            `.pnr.json`), and `<board>.json`, the report.
        seeds: of the placement.
        progress: told what is being done.
        design: another one than the board's engine.

    Returns:
        The report: board, target, bitstream and routed (paths), fmax_mhz (of the kept one), fmax_mhz_seeds (of each,
        also of those that missed the clock; None if it was not routed), fmax_mhz_median (of the seeds_routed that
        were), fmax_mhz_nextpnr and fmax_mhz_nextpnr_seeds (by its word alone), fmax_mhz_icetime (None without it),
        timing_source (whose word fmax_mhz is), timing_uncovered (what no figure covers, see
        fdht.boards.static_timing), seeds_met (how many met timing), clock_mhz, luts, ffs (after synthesis),
        multipliers, block_rams, sprams, utilisation (nextpnr's: used and available by type), seconds (of the build; of
        the first one if cached), cached, seeds, tools.

    Raises:
        ToolError: a tool is missing or failed.
        CapacityError: it does not fit the part.
        SynthesisError: the netlist lacks or exceeds what is predicted, has combinational loops, or no seed meets
            timing.
    """
    say = progress or (lambda _: None)
    begin = time.monotonic()
    assert seeds
    chosen: Design = BoardTop(board) if design is None else design
    if design is None:
        check_room(board)
    family = board.family
    say(f"{board.name}: elaborating")
    plan = prepare(board, chosen)
    versions = {name: tools.version(name) for name in ("yosys", family.place_and_route)}
    opinions = tools.is_there("icetime") and family.second_opinion is not None
    key = hashlib.sha256(
        repr(
            (_REPORT, plan.digest(), versions, opinions, tuple(seeds), board.part, board.pack, family, board.name)
        ).encode()
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
            for suffix in (family.suffix, family.routed_suffix):
                shutil.copy(folder / f"best{suffix}", finished / f"{board.name}{suffix}")
            (finished / "report.json").write_text(json.dumps(report, indent=2))
            shutil.rmtree(kept, ignore_errors=True)
            finished.replace(kept)
    else:
        say(f"{board.name}: taken from {kept}")
    report = json.loads((kept / "report.json").read_text())
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    files = {"bitstream": out / f"{board.name}{family.suffix}", "routed": out / f"{board.name}{family.routed_suffix}"}
    paths = {name: str(file) for name, file in files.items()}
    report = {"board": board.name, "target": board.target, **paths, "cached": cached, **report}
    for file in files.values():
        shutil.copy(kept / file.name, file)
    (out / f"{board.name}.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def measure(board: Board, design: Design | None = None, progress: Callable[[str], None] | None = None) -> Netlist:
    """What a board's design takes, by Yosys alone: seconds or minutes, where a bitstream takes as long again or more.

    Args:
        design: another one than the board's engine.
        progress: told what is being done.

    Raises:
        ToolError: a tool is missing or failed.
        CapacityError: the part has too little of what is predicted.
        SynthesisError: the netlist lacks or exceeds what is predicted.
    """
    chosen: Design = BoardTop(board) if design is None else design
    if design is None:
        check_room(board)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{board.name}-", dir=CACHE) as scratch:
        return _netlist(board, prepare(board, chosen), Path(scratch), chosen.resources, progress or (lambda _: None))


def _netlist(board: Board, plan: BuildPlan, folder: Path, predicted: Resources, say) -> Netlist:
    """Runs Yosys in `folder` and counts what it has made; leaves the netlist there."""
    plan.extract(folder)  # pyright: ignore[reportAttributeAccessIssue]  # the stubs lack it
    say(f"{board.name}: synthesis")
    tools.call("yosys", ["-q", "-l", "yosys.log", f"{_NAME}.ys"], folder, folder / "yosys.out")
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    netlist = Netlist(count_cells(board.family, cells), *count_logic(board.family, cells))
    check_resources(board, predicted, netlist.blocks)
    check_logic(board, netlist)
    blocks = netlist.blocks
    say(
        f"{board.name}: {netlist.luts} LUTs, {netlist.ffs} flip-flops, {blocks.multipliers} multipliers, "
        f"{blocks.block_rams} block RAMs"
    )
    return netlist


def _build(board: Board, plan: BuildPlan, folder: Path, seeds: Sequence[int], predicted: Resources, say) -> dict:
    """Runs the flow in `folder`; leaves `best` + the family's suffixes there."""
    family = board.family
    netlist = _netlist(board, plan, folder, predicted, say)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        placements = list(pool.map(lambda seed: _place_and_route(board, folder, seed, say), seeds))
    met = [placement for placement in placements if placement.problem is None]
    if not met:
        nearest = max(placements, key=lambda placement: placement.fmax or 0)
        assert nearest.problem is not None
        raise nearest.problem
    best = max(met, key=lambda placement: placement.fmax or 0)
    say(f"{board.name}: packing")
    files = {"routed": best.routed, "bitstream": f"best{family.suffix}"}
    arguments = [*board.pack, *(argument.format(**files) for argument in family.pack_arguments)]
    tools.call(family.pack, arguments, folder, folder / "pack.log")
    shutil.copy(folder / best.routed, folder / f"best{family.routed_suffix}")
    speeds = {placement.seed: placement.fmax for placement in placements}
    routed = [fmax for fmax in speeds.values() if fmax is not None]
    return {
        "fmax_mhz": best.fmax,
        "fmax_mhz_median": round(median(routed), 2),
        "fmax_mhz_seeds": {str(seed): fmax for seed, fmax in speeds.items()},
        "fmax_mhz_nextpnr": best.nextpnr,
        "fmax_mhz_nextpnr_seeds": {str(placement.seed): placement.nextpnr for placement in placements},
        "fmax_mhz_icetime": best.icetime,
        "timing_source": best.source,
        "timing_uncovered": best.uncovered,
        "seeds_met": len(met),
        "seeds_routed": len(routed),
        "clock_mhz": board.clock_mhz,
        "luts": netlist.luts,
        "ffs": netlist.ffs,
        "multipliers": netlist.blocks.multipliers,
        "block_rams": netlist.blocks.block_rams,
        "sprams": netlist.blocks.sprams,
        "utilisation": {
            k: [v["used"], v["available"]] for k, v in best.utilisation.items() if v["used"] and v["available"]
        },
        "seeds": list(seeds),
    }


@dataclass(frozen=True)
class _Placement:
    """What became of one seed.

    Attributes:
        routed: name of the result; only to be used without a problem.
        problem: why it must not be used.
        fmax: in MHz, by the most careful analysis; None if it was not routed. nextpnr: by its own. icetime: by that, if
            it is there.
        source: whose word fmax is. uncovered: what no analysis covers.
        utilisation: nextpnr's.
    """

    seed: int
    routed: str
    problem: FdhtError | None
    fmax: float | None = None
    nextpnr: float | None = None
    icetime: float | None = None
    source: str = ""
    uncovered: dict = field(default_factory=dict)
    utilisation: dict = field(default_factory=dict)


def _place_and_route(board: Board, folder: Path, seed: int, say) -> _Placement:
    """Runs nextpnr in `folder`, and times what it has routed. It fails if a clock is missed, but writes its results all
    the same.

    Raises:
        CapacityError: the design does not fit the part.
        SynthesisError: a combinational loop, or no clock is constrained to the board's.
        ToolError: nextpnr's files cannot be relied upon.
    """
    family = board.family
    say(f"{board.name}: place and route, seed {seed}")
    log, report, sdf = (folder / name for name in (f"nextpnr-{seed}.log", f"{seed}.json", f"{seed}.sdf"))
    netlist, routed = family.netlist.format(name=_NAME), family.routed.format(seed=seed)
    design = folder / family.design.format(seed=seed) if family.design else None
    arguments = [*board.part, *(argument.format(clock_mhz=board.clock_mhz) for argument in family.route)]
    arguments += ["--json", netlist, *(argument.format(name=_NAME) for argument in family.constraints)]
    arguments += ["--seed", str(seed), family.output, routed, "--report", report.name, "--sdf", sdf.name]
    if design is not None and design.name != routed:
        arguments += ["--write", design.name]
    problem: FdhtError | None = None
    try:
        tools.call(family.place_and_route, arguments, folder, log)
    except tools.ToolError as error:
        problem = error
        check_fit(board, log.read_text(errors="replace"))
    check_loops(board, log.read_text(errors="replace"))
    check_constraints(board, log.read_text(errors="replace"))
    if not report.is_file():
        problem = problem or tools.ToolError(f"{family.place_and_route} wrote no report; look for its version")
        return _Placement(seed, routed, problem)
    routing = json.loads(report.read_text())
    read_fmax(board, routing["fmax"])
    found = static_timing.examine(routing["fmax"], sdf, design, family.refine, board.part, family.outside)
    fmax, source = round(read_fmax(board, found.clocks), 2), found.source
    icetime = family.second_opinion(board.part, folder / routed) if family.second_opinion else None
    if icetime is not None and icetime < fmax:
        fmax, source = icetime, "icetime"
    try:
        check_timing(board, found.clocks)
        check_timing(board, {"the slowest": {"achieved": fmax, "constraint": board.clock_mhz}})
    except SynthesisError as error:
        problem = error  # a clearer one than nextpnr's
    return _Placement(
        seed,
        routed,
        problem,
        fmax,
        round(read_fmax(board, found.nextpnr), 2),
        icetime,
        source,
        found.uncovered,
        routing["utilization"],
    )
