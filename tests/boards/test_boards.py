"""The catalogue, and what each board's design is made of."""

import gc
from dataclasses import replace
from pathlib import Path
from textwrap import indent
from types import SimpleNamespace

import pytest
from amaranth._unused import MustUse
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Elaboratable, Module, Signal

from fdht.boards import BOARDS, find_board
from fdht.boards.baseline import EXACT, FOLDER, load, path_of
from fdht.boards.board import Board
from fdht.boards.fitting import engine_on
from fdht.boards.lfe5u_85f import SITES, multiplier_site
from fdht.boards.synthesis import prepare
from fdht.boards.top import BoardTop, buffers, build_id
from fdht.hw.engine.array import ProcessingElement
from fdht.hw.shell.uart import divisor
from fdht.spec.costs import Resources
from fdht.spec.errors import SpecError
from fdht.spec.flash import STRIDE
from fdht.spec.target import MOST_SLOTS, TARGETS, Standalone, Technology, find_target

ROOT = Path(__file__).parent.parent.parent

RECORDED = {
    f"{file.parent.name}/{file.stem}": engine_on(find_board(file.parent.name), find_target(file.stem))
    for file in sorted(FOLDER.glob("*/*.json"))
}
"""Boards with a baseline, with the engine of each that has one."""

PARTS = {
    "--up5k": (8, 30, 4),
    "--25k": (28, 56, 0),
    "--85k": (156, 208, 0),
    "--um5g-85k": (156, 208, 0),
    "GW1NR-LV9QN88PC6/I5": (20, 26, 0),
    "GW2AR-LV18QN88C8/I7": (48, 46, 0),
}
"""Multipliers, block RAMs and SPRAMs of each part, after the makers' data sheets."""


@pytest.fixture(autouse=True)
def _asked_for_their_cost_only(monkeypatch):
    """Components need not be used."""
    monkeypatch.setattr(MustUse, "_MustUse__silence", True)
    yield
    gc.collect()


class Wire(Elaboratable):
    """Clock and serial port of a board, and a flip-flop between."""

    def __init__(self, board: Board):
        self._board = board

    def elaborate(self, platform):
        m = Module()
        m.domains += ClockDomain("sync")
        m.submodules.clock = self._board.clock()
        uart = buffers(m, platform, "uart", "rx", "tx")
        late = Signal()
        m.d.sync += late.eq(uart["rx"].i)
        m.d.comb += uart["tx"].o.eq(late)
        return m


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_consistent(name):
    board = find_board(name)
    assert board.name == name
    assert board.target in TARGETS
    assert board.engine.build.technology is Technology(board.family.name)
    assert divisor(board.clock_hz, board.baud) >= 4
    off = board.clock_hz / divisor(board.clock_hz, board.baud) / board.baud - 1
    assert abs(off) < 0.0125  # an eighth of a bit after ten


@pytest.mark.parametrize("name", BOARDS)
def test_the_engine_fits_the_part(name):
    board = find_board(name)
    (part,) = (PARTS[option] for option in board.part if option in PARTS)
    need = BoardTop(board).resources
    assert board.room is not None and board.room.blocks == Resources(*part)
    assert need.multipliers <= part[0] and need.block_rams <= part[1] and need.sprams <= part[2]


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_has_a_clock_and_a_serial_port(name):
    """Constraints name both pins and the board's clock; a netlist has the PLL."""
    board = find_board(name)
    plan = prepare(board, Wire(board))
    (constraints,) = (
        text
        for file, text in plan.files.items()
        if any(option.endswith(file.replace("top", "{name}")) for option in board.family.constraints)
    )
    constraints = constraints if isinstance(constraints, str) else constraints.decode()
    for pin in ("uart_0__rx__io", "uart_0__tx__io", "clk"):
        assert pin in constraints
    netlist = plan.files["top.il"]
    netlist = netlist if isinstance(netlist, str) else netlist.decode()
    assert any(cell in netlist for cell in ("SB_PLL40_PAD", "EHXPLLL", "rPLL"))


class FlashWire(Wire):
    """The same, and what connects a flash, with nothing behind it."""

    def elaborate(self, platform):
        m, board = super().elaborate(platform), self._board
        names = ("flash_select", "flash_clock", "flash_copi", "flash_cipo", "first")
        system = SimpleNamespace(**{name: Signal(name=name) for name in names})
        assert board.flash is not None
        BoardTop(board).add_flash(m, platform, system, board.flash)
        return m


@pytest.mark.parametrize("name", [name for name, board in BOARDS.items() if board.flash])
def test_a_flash_has_its_pins_and_room(name):
    """Each pin that the flash needs, the clock as a pin or, of an ECP5, through the one cell that reaches it."""
    board = find_board(name)
    flash, alone = board.flash, replace(board.engine.build, standalone=Standalone(slots=MOST_SLOTS))
    plan = replace(board, engine=replace(board.engine, build=alone)).plan
    assert flash is not None and plan is not None and board.plan is None
    assert plan.address(MOST_SLOTS - 1) + STRIDE <= flash.size and flash.bitstream_at < plan.address(0)
    files = prepare(board, FlashWire(board)).files
    texts = {file: text if isinstance(text, str) else text.decode() for file, text in files.items()}
    (constraints,) = (text for file, text in texts.items() if file in ("top.pcf", "top.lpf"))
    ecp5 = board.family.name == "ecp5"
    assert ("USRMCLK" in texts["top.il"]) == ecp5
    wanted = ("cs", "copi", "cipo", "wp", "hold", *([] if ecp5 else ["clk"]))
    assert all(f"{flash.resource}_0__{pin}__io" in constraints for pin in wanted)
    assert f"{flash.resource}_0__clk" not in constraints or not ecp5
    assert flash.button is None or f"{flash.button[0]}_{flash.button[1]}__io" in constraints


def test_an_engine_that_stands_alone_wants_a_flash():
    board = find_board("tangnano9k")
    build = replace(board.engine.build, standalone=Standalone())
    with pytest.raises(SpecError, match=r"tangnano9k has no flash .*; leave build\.standalone out"):
        _ = replace(board, engine=replace(board.engine, build=build)).plan


def test_boards_with_their_own_target_are_named_after_it():
    """Every target is built by the board of its name; others may share it."""
    assert set(TARGETS) <= set(BOARDS) and all(BOARDS[name].target == name for name in TARGETS)


def test_the_page_on_adding_a_board_shows_a_real_one():
    page = (ROOT / "docs/adding-a-board.md").read_text()
    source = (ROOT / "boards/tangnano20k.py").read_text()
    assert indent(source.rstrip(), "    ") in page


def test_every_board_has_a_baseline_and_every_baseline_a_board():
    """Also an engine of several streams may have one, where engines of fdht's own have theirs."""
    kept = {path_of(board) for board in RECORDED.values()}
    assert set(FOLDER.glob("**/*.json")) == kept >= {path_of(board) for board in BOARDS.values()}
    assert path_of(engine_on(find_board("orangecrab-85f"), find_target("ulx3s-85f-streams"))).parents[1] == FOLDER


@pytest.mark.parametrize("name", RECORDED)
def test_the_baseline_of_a_board_is_what_the_specification_predicts(name):
    board = RECORDED[name]
    kept, predicted = load(board), BoardTop(board).resources
    assert {each: kept[each] for each in EXACT} == {each: getattr(predicted, each) for each in EXACT}
    assert (kept["target"], kept["clock_mhz"]) == (board.target, board.clock_mhz)
    assert max(speed or 0 for speed in kept["fmax_mhz_seeds"].values()) >= board.clock_mhz
    assert any(cycles is not None for cycles in kept["cycles_per_step"].values()), "no preset fits"


def test_an_unknown_board_is_named_with_those_there_are():
    with pytest.raises(SpecError, match=rf"'nexys'; known: {', '.join(BOARDS)}"):
        find_board("nexys")


@pytest.mark.slow
def test_build_ids_differ():
    assert len({build_id(board) for board in BOARDS.values()}) == len(BOARDS)


@pytest.mark.parametrize("columns", [8, SITES])
def test_every_element_of_an_array_has_a_place_of_its_own(columns):
    places = [multiplier_site(columns, row, column) for row in range(16) for column in range(columns)]
    assert len(set(places)) == len(places)
    assert places[0] == "X4/Y10/MULT18_0" and multiplier_site(8, 15, 7) == "X109/Y58/MULT18_4"


@pytest.mark.parametrize("name", BOARDS)
def test_multipliers_lie_where_the_boards_floor_plan_says(name):
    board = find_board(name)
    last = board.engine.rows - 1, board.engine.columns - 1
    netlist = rtlil.convert(ProcessingElement(board.engine, last), platform=board.platform())
    part_has_a_plan = any(option in ("--85k", "--um5g-85k") for option in board.part)
    assert ("MULT18_4" in netlist and multiplier_site(board.engine.columns, *last) in netlist) == part_has_a_plan
    assert "/MULT18_" not in rtlil.convert(ProcessingElement(board.engine, last)), "no place without a platform"


@pytest.mark.slow
def test_another_floor_plan_is_another_build(monkeypatch):
    board = find_board("ulx3s-85f")
    before = build_id(board)
    elsewhere = staticmethod(lambda columns, row, column: f"X{row}/Y{column}/MULT18_0")
    monkeypatch.setattr(board.platform, "multiplier_site", elsewhere)
    assert build_id(board) != before
