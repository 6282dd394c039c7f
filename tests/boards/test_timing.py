"""The analysis of routed designs, on what the real tools make of a tiny one and on graphs drawn by hand."""

import json
import os
import re
from pathlib import Path

import pytest

from fdht.boards import find_board, gowin_delays, ice40_delays, static_timing, synthesis
from fdht.boards.static_timing import (
    CORRECTED,
    NEXTPNR,
    Setup,
    TimingGraph,
    agree,
    critical_paths,
    examine,
    read_sdf,
    uncovered,
)
from fdht.boards.synthesis import prepare
from fdht.boards.tools import ToolError, is_there
from tests.boards.tiny_design import Tiny

FAMILIES = {"ice40": "icebreaker", "gowin": "tangnano9k", "ecp5": "ulx3s-85f"}
"""A board of each family."""

ICESTORM = Path("/usr/share/fpga-icestorm/chipdb/timings_up5k.txt")
"""Where Debian has icestorm's delays."""

RECORDED = Path(__file__).parent / "timings_up5k.txt"
"""An extract of them."""

CLOCK = ("clock", "O")


class Routed:
    """The tiny design, placed and routed for a board: what the flow leaves in its folder."""

    def __init__(self, folder: Path, name: str):
        self.board = find_board(name)
        design = Tiny(board=self.board)
        plan = prepare(self.board, design)
        self.report = synthesis._build(self.board, plan, folder, (1,), design.resources, lambda message: None)
        self.folder, self.sdf = folder, folder / "1.sdf"
        self.clocks = json.loads((folder / "1.json").read_text())["fmax"]
        file = folder / self.board.family.design.format(seed=1)
        self.file = file if file.is_file() else None

    @property
    def design(self) -> dict:
        assert self.file is not None
        return json.loads(self.file.read_text())

    def examine(self, **changes):
        family = self.board.family
        arguments = dict(
            clocks=self.clocks,
            sdf=self.sdf,
            design=self.file,
            refine=family.refine,
            part=self.board.part,
            outside=family.outside,
        )
        return examine(**(arguments | changes))


@pytest.fixture(scope="module")
def routed(tmp_path_factory):
    """By family; each is built once, when it is first asked for."""
    kept: dict[str, Routed] = {}

    def build(family: str) -> Routed:
        if family not in kept:
            kept[family] = Routed(tmp_path_factory.mktemp(family), FAMILIES[family])
        return kept[family]

    return build


@pytest.mark.parametrize("family", FAMILIES)
def test_with_nextpnrs_own_delays_the_analysis_finds_its_clocks(routed, family):
    design = routed(family)
    found = sorted(path.mhz for path in critical_paths(read_sdf(design.sdf)).values())
    reported = sorted(clock["achieved"] for clock in design.clocks.values())
    assert found == pytest.approx(reported, rel=static_timing.AGREEMENT)


@pytest.mark.parametrize("family", ["ice40", "gowin"])
def test_corrected_delays_are_never_faster(routed, family):
    design = routed(family)
    found = design.examine()
    assert found.source == CORRECTED and found.nextpnr == design.clocks
    for name, clock in found.clocks.items():
        assert clock["achieved"] < design.clocks[name]["achieved"]
    assert design.report["fmax_mhz"] == round(min(clock["achieved"] for clock in found.clocks.values()), 2)


def test_ecp5_multipliers_and_block_rams_are_in_nextpnrs_figure(routed):
    design = routed("ecp5")
    found, graph = design.examine(), read_sdf(design.sdf)
    assert (found.source, found.clocks, found.uncovered) == (NEXTPNR, design.clocks, {})
    kinds = {kind: cell for cell, kind in graph.types.items()}
    product, memory = kinds["MULT18X18D"], kinds["DP16KD"]
    assert graph.arcs[product]["CLK0", "P0"] > 0 and graph.setups[product]["A0", "CLK0"].ns > 0
    assert any(clock == "CLKB" and data.startswith("DOB") for clock, data in graph.arcs[memory])


def test_gowins_multipliers_and_second_ports_are_not_in_nextpnrs_figure(routed):
    design = routed("gowin")
    graph = read_sdf(design.sdf)
    (product,) = (cell for cell, kind in graph.types.items() if kind == "MULT18X18")
    assert product not in graph.arcs and product not in graph.setups
    left_out = uncovered(graph, design.board.family.outside)
    assert left_out["MULT18X18"] == {"cells": 1, "pins": ["A", "B", "DOUT"]}
    assert left_out["DP"] == {"cells": 1, "pins": ["ADB", "DOB"]}
    assert not {"LUT1", "LUT2", "LUT3"} & left_out.keys()

    (kept,) = design.examine().uncovered.values()
    (clock,) = design.clocks.values()
    assert 0 < kept.pop("room_ns") < 1e3 / clock["constraint"] and kept == left_out["MULT18X18"]
    gowin_delays.refine(graph, design.design, design.board.part)
    assert graph.setups[product]["A0", "CLK"] == Setup(0.0) and graph.arcs[product]["CLK", "DOUT0"] == 0.0
    (memory,) = (cell for cell, kind in graph.types.items() if kind == "DP")
    assert graph.arcs[memory]["CLKB", "DOB0"] == pytest.approx(graph.arcs[memory]["CLKA", "DOA0"])


def test_gowins_clock_is_the_one_asked_for(routed):
    """No constraint comes from the PLL, so nextpnr is told; the clock it is told is that of every register."""
    design = routed("gowin")
    (clock,) = design.clocks.values()
    assert clock["constraint"] == pytest.approx(design.board.clock_mhz)
    graph = read_sdf(design.sdf)
    pins = {(cell, clock) for cell, setups in graph.setups.items() for _, clock in setups}
    drivers = {graph.wires[pin][0] for pin in pins if pin in graph.wires}
    assert [graph.types[cell] for cell, _ in drivers] == ["rPLL"]


def test_a_swapped_lut_input_has_the_delay_of_the_one_that_it_is(routed):
    design = routed("ice40")
    graph, module = read_sdf(design.sdf), static_timing.top_module(design.design)
    before = {cell: dict(arcs) for cell, arcs in graph.arcs.items()}
    ice40_delays.refine(graph, design.design, design.board.part)
    swaps = 0
    for net in module["netnames"].values():
        for switch in net["attributes"].get("ROUTING", "").split(";")[1::3]:
            found = re.fullmatch(r"(X\d+/Y\d+)/.*lutff_(\d):in_(\d)\.->\..*:in_(\d)_lut", switch)
            if found is None or found[3] == found[4]:
                continue
            swaps += 1
            (cell,) = (
                name
                for name, cell in module["cells"].items()
                if cell["attributes"].get("NEXTPNR_BEL") == f"{found[1]}/lc{found[2]}"
            )
            if (f"I{found[4]}", "O") in graph.arcs[cell]:
                now, then = graph.arcs[cell][f"I{found[4]}", "O"], before[cell][f"I{found[4]}", "O"]
                assert now == ice40_delays.LUT[int(found[3])] and then != pytest.approx(now, abs=1e-3)
    assert swaps > 10


def test_a_multiplier_of_the_up5k_is_as_late_as_icestorm_says(routed):
    design = routed("ice40")
    graph = read_sdf(design.sdf)
    (product,) = (cell for cell, kind in graph.types.items() if kind == "ICESTORM_DSP")
    assert set(graph.arcs[product].values()) == {0.1}
    ice40_delays.refine(graph, design.design, design.board.part)
    assert set(graph.arcs[product].values()) == {ice40_delays.CLOCK_TO_OUTPUT["ICESTORM_DSP"] + ice40_delays.SKEW}


@pytest.mark.skipif(not is_there("icetime"), reason="icetime is in no wheel; apt install fpga-icestorm has it")
def test_icetime_is_never_more_careful_than_the_corrected_delays(routed):
    design = routed("ice40")
    second = ice40_delays.icetime(design.board.part, design.folder / "1.asc")
    assert second is not None and design.report["fmax_mhz_icetime"] == second
    careful = min(clock["achieved"] for clock in design.examine().clocks.values())
    assert careful <= second < 1.03 * careful


@pytest.mark.parametrize(
    "program, message",
    [
        ("echo no data base >&2; exit 1", "icetime failed: no data base; give it its chip data base"),
        ("echo nothing", "icetime gives no clock for 1.asc"),
    ],
)
def test_an_icetime_that_does_not_work_is_named(tmp_path, monkeypatch, program, message):
    (tmp_path / "icetime").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "icetime").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ToolError, match=message):
        ice40_delays.icetime(find_board("icebreaker").part, tmp_path / "1.asc")


def test_icetime_is_asked_only_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ice40_delays.icetime(find_board("icebreaker").part, tmp_path / "1.asc") is None
    (tmp_path / "icetime").write_text('#!/bin/sh\necho "Total path delay: 40.00 ns (25.00 MHz) $@"\n')
    (tmp_path / "icetime").chmod(0o755)
    assert ice40_delays.icetime(find_board("icebreaker").part, tmp_path / "1.asc") == 25.0
    assert "-d up5k -i -m -t 1.asc" in (tmp_path / "1.icetime").read_text()


def icestorms_lines(file: Path) -> list[tuple[str, list[str]]]:
    """Lines of delays in icestorm's format, each with its cell."""
    cell, lines = "", []
    for words in map(str.split, file.read_text().splitlines()):
        if words[:1] == ["CELL"]:
            cell = words[1]
        elif words and words[0] in ("IOPATH", "SETUP", "RECOVERY"):
            lines.append((cell, words))
    return lines


def slowest(words: list[str]) -> float:
    """The longest delay of a line, in ps."""
    return max(float(ps.split(":")[2]) for ps in words[3:] if not ps.endswith("*"))


def ports_of(words: list[str]) -> tuple[str, ...]:
    """What a line is about, bits of a bus and edges alike."""
    ports = [re.sub(r"^(posedge|negedge):|\[\d+\]", "", port) for port in words[1:3]]
    return words[0], *(ports if words[0] == "IOPATH" else ports[:1])


def test_the_up5ks_delays_are_icestorms():
    delays: dict[tuple[str, ...], float] = {}
    for cell, words in icestorms_lines(RECORDED):
        kind, *ports = ports_of(words)
        key = cell, "SETUP" if kind == "RECOVERY" else kind, *ports
        delays[key] = max(delays.get(key, 0), slowest(words))
    cells = {
        "ICESTORM_LC": "LogicCell40",
        "ICESTORM_RAM": "SB_RAM40_4K",
        "ICESTORM_SPRAM": "SB_SPRAM256KA",
        "ICESTORM_DSP": "SB_MAC16_MAC_U_16X16_ALL_PIPELINE",
    }
    names = {"CEN": "ce", "SR": "sr"}
    here: dict[tuple[str, ...], float] = {}
    for kind, setups in ice40_delays.SETUP.items():
        here |= {(cells[kind], "SETUP", names.get(port, port)): ns for port, ns in setups.items()}
    for number in range(4):
        here["LogicCell40", "IOPATH", f"in{number}", "lcout"] = ice40_delays.LUT[number]
        here["LogicCell40", "SETUP", f"in{number}"] = ice40_delays.LUT_SETUP[number]
    outputs = {"ICESTORM_LC": ("clk", "lcout"), "ICESTORM_RAM": ("RCLK", "RDATA")}
    outputs |= {"ICESTORM_SPRAM": ("CLOCK", "DATAOUT"), "ICESTORM_DSP": ("CLK", "O")}
    for kind, path in outputs.items():
        here[cells[kind], "IOPATH", *path] = ice40_delays.CLOCK_TO_OUTPUT[kind]
    wires = {"Odrv4": "ODRV4", "Span4Mux_h4": "SPAN4_H", "IoInMux": "IO_IN_MUX"}
    wires |= {"Glb2LocalMux": "GLB2LOCAL", "GlobalMux": "GLOBAL_MUX"}
    for cell, name in wires.items():
        here[cell, "IOPATH", "I", "O"] = getattr(ice40_delays, name)
    assert here == {key: pytest.approx(delays[key] / 1e3) for key in here}


@pytest.mark.skipif(not ICESTORM.is_file(), reason="icestorm is in no wheel; apt install fpga-icestorm-chipdb has it")
def test_what_is_recorded_of_icestorm_is_its_slowest():
    whole = icestorms_lines(ICESTORM)
    for cell, words in icestorms_lines(RECORDED):
        group = [line for name, line in whole if name == cell and ports_of(line) == ports_of(words)]
        assert words in group
        if cell != "LogicCell40" or words[1] != "sr":  # both edges of a reset have a line, one of them empty
            assert slowest(words) == max(map(slowest, group))


def test_files_that_are_not_what_they_should_be_are_refused(routed, tmp_path):
    design = routed("ice40")
    (tmp_path / "empty.sdf").write_text("(DELAYFILE\n)\n")
    with pytest.raises(ToolError, match=r"empty.sdf has no delays"):
        design.examine(sdf=tmp_path / "empty.sdf")
    (name,) = design.clocks
    faster = {name: {**design.clocks[name], "achieved": 1.01 * design.clocks[name]["achieved"]}}
    with pytest.raises(ToolError, match=r"nextpnr says .* MHz of clock clk and its delays add up to"):
        design.examine(clocks=faster)
    with pytest.raises(ToolError, match="reports a clock other that clocks nothing"):
        design.examine(clocks={"other": design.clocks[name]})
    with pytest.raises(ToolError, match="the delays of up5k and not of --hx8k"):
        design.examine(part=("--hx8k",))


@pytest.mark.parametrize(
    "family, kind, name, message",
    [
        ("ice40", "ICESTORM_DSP", "TOPOUTPUT_SELECT", "TOPOUTPUT_SELECT of the SB_MAC16 .* is not 1"),
        ("gowin", "MULT18X18", "OUT_REG", "OUT_REG of the MULT18X18 .* is not 1"),
    ],
)
def test_a_multiplier_without_registers_is_refused(routed, family, kind, name, message):
    design = routed(family)
    changed = design.design
    (cell,) = (each for each in static_timing.top_module(changed)["cells"].values() if each["type"] == kind)
    cell["parameters"][name] = "0"
    with pytest.raises(ToolError, match=message):
        design.board.family.refine(read_sdf(design.sdf), changed, design.board.part)


def test_a_part_that_apicula_does_not_know_is_refused(routed):
    design = routed("gowin")
    for part, message in (
        (("--device", "GW9-LV9C6/I5", "--vopt", "family=GW9"), "apycula has no data of GW9"),
        (("--device", "GW1NR-LV9QN88P", "--vopt", "family=GW1N-9C"), "does not end in a speed"),
        (("--device", "GW1NR-LV9QN88PC3/I9", "--vopt", "family=GW1N-9C"), "no delays of GW1N-9C at speed C3/I9; known"),
    ):
        with pytest.raises(ToolError, match=message):
            design.examine(part=part)


def drawn(*registers: str, falling: tuple[str, ...] = ()) -> TimingGraph:
    """Registers on one clock, 1 ns from the clock to their outputs, half a ns of set-up time."""
    graph = TimingGraph()
    for name in registers:
        graph.types[name] = "FF"
        graph.arcs[name]["C", "Q"] = 1.0
        graph.setups[name]["D", "C"] = Setup(0.5, name in falling)
        graph.wires[name, "C"] = CLOCK, 0.0
    return graph


def logic(graph: TimingGraph, name: str, *inputs: tuple[tuple[str, str], float], ns: float = 1.0) -> None:
    graph.types[name] = "LUT"
    for number, (driver, wire) in enumerate(inputs):
        graph.wires[name, f"I{number}"] = driver, wire
        graph.arcs[name][f"I{number}", "O"] = ns


def test_the_longest_path_is_found_and_told():
    graph = drawn("a", "b", "c")
    logic(graph, "short", (("a", "Q"), 0.25))
    logic(graph, "long", (("short", "O"), 2.0), (("b", "Q"), 4.0))
    graph.wires["c", "D"] = ("long", "O"), 0.5
    path = critical_paths(graph)[CLOCK]
    assert path.period == 1 + 4 + 1 + 0.5 + 0.5 and path.mhz == 1e3 / 7
    assert path.outputs == ((("b", "Q"), 1.0), (("long", "O"), 6.0)) and path.end == ("c", "D")


def test_from_one_edge_to_the_other_a_path_has_half_a_period():
    graph = drawn("a", "b", falling=("b",))
    graph.wires["b", "D"] = ("a", "Q"), 1.0
    assert critical_paths(graph)[CLOCK].period == 2 * 2.5
    graph = drawn("a", "b", falling=("a", "b"))
    graph.wires["b", "D"] = ("a", "Q"), 1.0
    assert critical_paths(graph)[CLOCK].period == 2.5


def test_paths_between_clocks_limit_none():
    graph = drawn("a", "b", "c")
    graph.wires["b", "C"] = ("other", "O"), 0.0
    graph.wires["b", "D"] = ("a", "Q"), 50.0
    graph.wires["c", "D"] = ("a", "Q"), 1.0
    assert {clock: path.period for clock, path in critical_paths(graph).items()} == {CLOCK: 2.5}


def test_a_loop_is_refused():
    graph = drawn("a")
    logic(graph, "one", (("two", "O"), 0.0), (("a", "Q"), 0.0))
    logic(graph, "two", (("one", "O"), 0.0))
    graph.wires["a", "D"] = ("two", "O"), 0.0
    with pytest.raises(ToolError, match="combinational loop"):
        critical_paths(graph)


def test_what_no_path_has_is_named():
    graph = drawn("a", "b")
    graph.types |= {"block": "MULT", "pad": "PAD", "constant": "ONE"}
    graph.wires["block", "A_7"] = ("a", "Q"), 1.0
    graph.wires["b", "D"] = ("block", "P12"), 1.0
    graph.wires["block", "SIGN"] = ("constant", "O"), 1.0
    graph.wires["block", "B_0"] = ("pad", "O"), 1.0
    assert uncovered(graph, ("PAD",)) == {"MULT": {"cells": 1, "pins": ["A", "P"]}}
    graph.setups["block"]["A_7", "C"] = Setup(0.0)
    assert uncovered(graph, ("PAD",)) == {"MULT": {"cells": 1, "pins": ["P"]}}
    graph.assumed.add("MULT")
    assert uncovered(graph, ("PAD",)) == {"MULT": {"cells": 1, "pins": ["A", "P"]}}


def test_room_is_what_unknown_delays_may_take():
    """4 ns lead to the block, 2.5 ns from it, and it is not in the longest path."""
    graph = drawn("a", "b", "block", "c")
    graph.arcs["block"]["C", "Q"], graph.setups["block"]["D", "C"] = 0.0, Setup(0.0)
    graph.types["block"] = "MULT"
    graph.assumed.add("MULT")
    graph.wires["block", "D"] = ("a", "Q"), 3.0
    graph.wires["b", "D"] = ("block", "Q"), 2.0
    graph.wires["c", "D"] = ("a", "Q"), 7.0
    assert critical_paths(graph)[CLOCK].period == 8.5
    assert static_timing.room(graph, "MULT", {CLOCK: 10.0}) == 10 - 4
    graph.wires["b", "D"] = ("block", "Q"), 11.0
    assert static_timing.room(graph, "MULT", {CLOCK: 10.0}) == 10 - 11.5


def test_the_analysis_must_agree_with_nextpnr():
    graph = drawn("a", "b")
    graph.wires["b", "D"] = ("a", "Q"), 1.0
    paths = {"clk": critical_paths(graph)[CLOCK]}
    agree(paths, {"clk": {"achieved": 1e3 / 2.5}})
    for clocks in ({"clk": {"achieved": 0.99e3 / 2.5}}, {"clk": {"achieved": 1.01e3 / 2.5}}):
        with pytest.raises(ToolError, match=r"add up to 400\.00 MHz"):
            agree(paths, clocks)
    with pytest.raises(ToolError, match="add up to no path"):
        agree({}, {"clk": {"achieved": 400.0}})
