"""Boards that are not in the package: named on the command line, or shipped by an installed one; and what is none."""

import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest
from amaranth_boards.icesugar import ICESugarPlatform

from fdht.boards import find_board
from fdht.boards.board import Flash
from fdht.boards.catalogue import installed, own
from fdht.boards.clocks import ECP5Clock, GowinClock, PinClock
from fdht.boards.outside import board_of, board_on, check
from fdht.boards.synthesis import prepare, synthesise
from fdht.spec.errors import SpecError
from tests.boards.tiny_design import Tiny

MODULE = """
    from dataclasses import replace

    from amaranth.build import Attrs, Clock, Pins, Resource
    from amaranth.vendor import LatticeICE40Platform
    from amaranth_boards.resources import UARTResource

    from fdht.boards.board import ICE40, Board
    from fdht.boards.clocks import PinClock
    from fdht.boards.outside import board_on
    from fdht.spec.target import TARGETS


    class GreenPlatform(LatticeICE40Platform):
        device, package, default_clk = "iCE40UP5K", "SG48", "clk12"
        resources = (
            Resource("clk12", 0, Pins("35", dir="i"), Clock(12e6), Attrs(GLOBAL=True, IO_STANDARD="SB_LVCMOS")),
            UARTResource(0, rx="6", tx="9", attrs=Attrs(IO_STANDARD="SB_LVCMOS")),
        )
        connectors = ()


    BOARD = Board(
        "green",
        engine=replace(TARGETS["icebreaker"], name="green", rows=4),
        family=ICE40,
        part=("--up5k", "--package", "sg48"),
        platform=GreenPlatform,
        clock=lambda: PinClock("clk12"),
        clock_mhz=12,
        baud=3_000_000,
    )


    def board():
        return BOARD


    taken = replace(BOARD, name="icebreaker")
    number = 7


    def broken():
        raise RuntimeError("a mistake\\nof mine")


    class UnknownPlatform(GreenPlatform):
        device = "iCE40XX"


    class UnnamedClockPlatform(GreenPlatform):
        default_clk = "clk99"


    def misspelt():
        return board_on(GreenPlatform, bauds=1)
"""


@pytest.fixture
def module(tmp_path, monkeypatch) -> str:
    """Its name; it lies in the current folder."""
    name = f"outside_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(dedent(MODULE))
    monkeypatch.chdir(tmp_path)
    return name


@pytest.mark.parametrize("attribute", ["BOARD", "board"])
def test_a_board_that_the_user_names(module, attribute):
    name = f"{module}:{attribute}"
    with pytest.raises(SpecError, match=f"no file may name to be run; .* with --board {name}"):
        find_board(name)
    assert module not in sys.modules, "nothing runs until the user says so"
    own(name)
    board = find_board(name)
    assert (board.name, board.target, board.options) == ("green", "green", f"--board {name}")
    assert "top.pcf" in prepare(board, Tiny(board=board)).files


def test_a_platform_is_enough_to_start_from(module):
    """Part, pins and clock are its own; the engine is the largest of fdht's that the part holds."""
    own(f"{module}:GreenPlatform")
    board = find_board(f"{module}:GreenPlatform")
    assert (board.name, board.part, board.clock_mhz) == ("green", ("--up5k", "--package", "sg48"), 12)
    assert (board.baud, board.target) == (3_000_000, "icebreaker")


@pytest.mark.parametrize(
    ("platform", "part", "target", "baud"),
    [
        ("versa_ecp5:VersaECP5Platform", ("--um-45k", "--package", "CABGA381", "--speed", "8"), "orangecrab-25f", 3e6),
        ("tang_primer_20k:TangPrimer20kPlatform", ("--device", "GW2A-LV18PG256C8/I7"), "tangnano20k", 3e6),
        ("ulx3s:ULX3S_85F_Platform", ("--85k", "--package", "CABGA381", "--speed", "6"), "ulx3s-85f", 1e6),
    ],
)
def test_platforms_of_every_family(platform, part, target, baud):
    name = f"amaranth_boards.{platform}"
    own(name)
    board = find_board(name)
    assert board.part[: len(part)] == part and (board.target, board.baud) == (target, baud)


def test_a_package_ships_a_board(module, tmp_path, monkeypatch):
    """Its entry point names it; a broken one is said, and a name that is taken here stays what it is."""
    info = tmp_path / "green_boards-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: green-boards\nVersion: 1.0\n")
    points = {"green": f"{module}:BOARD", "broken": "nowhere:BOARD", "odd": f"{module}:number", "icebreaker": "no:no"}
    (info / "entry_points.txt").write_text("[fdht.boards]\n" + "".join(f"{n} = {v}\n" for n, v in points.items()))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert set(installed()) == {"green", "broken", "odd"} and module not in sys.modules
    board = find_board("green")
    assert (board.name, board.options) == ("green", "--board green")
    assert find_board("icebreaker").name == "icebreaker"
    with pytest.raises(SpecError, match=r"broken cannot be imported .*; the entry point nowhere:BOARD of its package"):
        find_board("broken")
    with pytest.raises(SpecError, match="odd is a int; name a"):
        find_board("odd")
    with pytest.raises(SpecError, match=r"no board 'blue'; known: icebreaker, .*green, .*and module:name"):
        find_board("blue")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "{module}:nothing",
            "cannot be imported .*; name a fdht.boards.board.Board, an Amaranth platform",
        ),
        ("nowhere:BOARD", "nowhere:BOARD cannot be imported"),
        ("hasty:BOARD", r"hasty:BOARD raised ZeroDivisionError: .* \(hasty.py, line 1\); mend that"),
        ("leaving:BOARD", r"leaving:BOARD raised SystemExit: 3 \(leaving.py, line 1\); mend that"),
        ("{module}:number", "is a int; name a fdht.boards.board.Board"),
        ("{module}:taken", "is called icebreaker, as one of fdht's own; give it another name"),
        ("{module}:broken", r"broken raised RuntimeError: a mistake \(outside_.*\.py, line 44\); mend that"),
        ("{module}:misspelt", "misspelt raised TypeError: .*'bauds'"),
        ("{module}:UnknownPlatform", "unknown has a part iCE40XX; Amaranth knows .*iCE40UP5K"),
        ("{module}:UnnamedClockPlatform", "unnamedclock has no default clock with a frequency; say default_clk"),
        ("amaranth_boards.fomu_pvt:FomuPVTPlatform", "fomupvt has no resource uart 0; add one with the pins rx, tx"),
        ("amaranth_boards.arty_a7:ArtyA7_35Platform", "of no family that is built here; .*fdht export --axi"),
    ],
)
def test_what_is_no_board(module, name, sentence):
    Path("hasty.py").write_text("1 / 0\n")
    Path("leaving.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(SpecError, match=sentence):
        own(name.format(module=module))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "../green"}, "a board is called '../green'"),
        ({"platform": lambda: None}, "the platform of icebreaker is a NoneType; name a class of Amaranth's"),
        ({"clock": lambda: None}, "the clock of icebreaker is a NoneType; take one of fdht.boards.clocks"),
        ({"clock": lambda: PinClock("clk9")}, "icebreaker has no clock clk9; name a resource"),
        ({"baud": 7_000_000}, "7000000 baud cannot be made from the 24 MHz of icebreaker; choose a rate"),
        ({"baud": 1_875_000}, "1875000 baud cannot be made from .* to 1.25 %"),
        ({"baud": 0}, "0 baud cannot be made from the 24 MHz of icebreaker; choose a rate"),
        ({"clock_mhz": float("nan")}, "a clock of nan MHz on icebreaker; choose one above 0"),
        ({"engine": "icebreaker"}, "the engine of icebreaker is a str; take a fdht.spec.target.Target"),
        (
            {"platform": lambda: 1 // 0},
            r"platform of icebreaker raised ZeroDivisionError: .* \(test_outside.py, line",
        ),
        (
            {"platform": find_board("ulx3s-85f").platform},
            "family ice40, and its platform .* is not; take a Silicon",
        ),
        ({"platform": ICESugarPlatform}, "icebreaker has no resource spi 0"),
        ({"flash": Flash("flash", 4 << 20, 2 << 20)}, "icebreaker has no resource flash 0; add one with the pins cs,"),
        ({"flash": Flash("spi_flash_2x", 4 << 20, 2 << 20)}, "spi_flash_2x 0 of icebreaker has no pin copi; it needs"),
    ],
)
def test_boards_that_lack_something(changes, sentence):
    with pytest.raises(SpecError, match=sentence):
        check(replace(find_board("icebreaker"), **changes))


def test_a_platform_without_a_clock(module):
    own(f"{module}:GreenPlatform")
    platform = find_board(f"{module}:GreenPlatform").platform
    silent = type("SilentPlatform", (platform,), {"default_clk": None})
    with pytest.raises(SpecError, match="silent has no default clock with a frequency; say default_clk"):
        board_on(silent)
    assert board_of(
        board_on(platform, name="fast", clock_mhz=6, clock=find_board(f"{module}:GreenPlatform").clock), "x"
    )


def test_dividers_that_make_another_clock():
    with pytest.raises(SpecError, match="the PLL makes 75 MHz of 25, not 100; take its dividers from yowasp-ecppll"):
        ECP5Clock("clk25", input_mhz=25, output_mhz=100, input_divider=1, feedback=3, output=6)
    with pytest.raises(SpecError, match=r"VCO that runs at 216 MHz, outside 500\.\.1250"):
        GowinClock("c", input_mhz=27, output_mhz=54, input_divider=1, feedback=2, output=4, vco_mhz=(500, 1250))


def test_a_clock_without_a_pll_is_constrained(module, tmp_path: Path):
    """Down to a bitstream of a tiny design: its clock is the pin's, and what nextpnr is asked for."""
    own(f"{module}:BOARD")
    board = find_board(f"{module}:BOARD")
    report = synthesise(board, tmp_path / "out", design=Tiny(board=board))
    assert report["fmax_mhz"] >= report["clock_mhz"] == 12
