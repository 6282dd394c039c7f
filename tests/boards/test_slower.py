"""Boards at slower clocks: what there can be, and what depends on it."""

from dataclasses import replace
from math import inf, nan

import pytest

from fdht.boards import BOARDS, find_board
from fdht.boards.board import Board
from fdht.boards.clocks import ECP5Clock, GowinClock, ICE40Clock, PinClock
from fdht.boards.outside import BAUDS, can
from fdht.boards.slower import at_clock
from fdht.boards.synthesis import prepare
from fdht.boards.top import build_id
from fdht.hw.component import ask
from fdht.spec.errors import SpecError
from tests.boards.tiny_design import Tiny

WANTED = (1, 2.5, 5.5, 7.3, 12)


def made(board: Board) -> tuple[float, float]:
    """The clock that a board's PLL makes, by the formula of its own maker, and that of `sync`: in MHz."""
    clock = ask(board.clock())
    source = board.platform().lookup(clock.resource).clock.frequency / 1e6
    has = getattr(clock, "_parameters", {})
    if isinstance(clock, ICE40Clock):
        r, f, q, filter_range = (has[f"p_{name}"].value for name in ("DIVR", "DIVF", "DIVQ", "FILTER_RANGE"))
        detected, vco = source / (r + 1), source / (r + 1) * (f + 1)
        assert 10 <= detected <= 133 and 533 <= vco <= 1066 and 16 <= vco / 2**q <= 275
        assert filter_range == next(k for k, bound in enumerate((17, 26, 44, 66, 101, inf), 1) if detected < bound)
        out = vco / 2**q
    elif isinstance(clock, ECP5Clock):
        detected = source / has["p_CLKI_DIV"]
        out = detected * has["p_CLKFB_DIV"]
        assert 10 <= detected <= 400 and 400 <= out * has["p_CLKOP_DIV"] <= 800 and 10 <= out <= 400
        assert 0 <= has["p_CLKOP_CPHASE"] < has["p_CLKOP_DIV"] <= 128
    else:
        assert isinstance(clock, GowinClock)
        detected = source / (has["p_IDIV_SEL"] + 1)
        out = detected * (has["p_FBDIV_SEL"] + 1)
        low, high = clock._vco_mhz
        assert 3 <= detected <= 400 and low <= out * has["p_ODIV_SEL"] <= high
    return out, out if clock._divided is None else out / clock._divided.by


@pytest.mark.parametrize("name", ["icebreaker", "ulx3s-85f", "orangecrab-25f", "tangnano9k", "tangnano20k"])
def test_a_slower_clock(name):
    """Within the maker's limits, not below what was wanted and near it; with what depends on it."""
    own = BOARDS[name]
    for wanted in WANTED:
        board = at_clock(own, wanted)
        _, clock = made(board)
        assert clock == pytest.approx(board.clock_mhz) and wanted <= board.clock_mhz < wanted * 1.15 < own.clock_mhz
        assert board.baud in BAUDS and board.baud <= own.baud and can(board.clock_hz, board.baud)
        assert not any(can(board.clock_hz, baud) for baud in BAUDS if board.baud < baud <= own.baud)
        assert board.spi_mhz is None or board.spi_mhz <= board.clock_mhz
        assert board.options == f"--board {name} --clock {wanted:g}" and board.design != own.design


def test_the_wanted_clock_itself_if_there_can_be_one():
    assert [at_clock(BOARDS["icebreaker"], mhz).clock_mhz for mhz in (5.5, 12, 16.5)] == [5.5, 12, 16.5]


def test_the_board_s_own_clock_is_the_board():
    board = BOARDS["icebreaker"]
    assert at_clock(board, 24) is board is find_board("icebreaker", None, 24)


def test_a_slower_clock_reaches_the_tools():
    """Pin, PLL and counter are in the design, the divided clock is constrained, and the bitstream is another one."""
    slow = find_board("icebreaker", clock_mhz=5.5)
    files = prepare(slow, Tiny(board=slow)).files
    constraints = "".join(str(text) for name, text in files.items() if name.endswith((".pcf", ".sdc", ".py")))
    assert "5.5" in constraints and "divided_clock" in constraints
    assert build_id(slow) != build_id(BOARDS["icebreaker"])


def test_a_clock_from_a_pin_is_divided():
    own = replace(BOARDS["icebreaker"], clock=lambda: PinClock("clk12"), clock_mhz=12)
    slow = at_clock(own, 2.9)
    assert slow.clock_mhz == 3 and ask(slow.clock())._divided.by == 4


@pytest.mark.parametrize("mhz", [0, -1, nan, inf, 24.1])
def test_a_clock_that_is_none_is_refused(mhz):
    with pytest.raises(SpecError, match="whose engine is built for 24 MHz; choose one above 0 and up to that"):
        at_clock(BOARDS["icebreaker"], mhz)


def test_a_clock_that_nothing_comes_near_is_refused():
    with pytest.raises(SpecError, match=r"a clock of 1e-09 MHz on icebreaker, .* is 0.4554 MHz; choose that"):
        at_clock(BOARDS["icebreaker"], 1e-9)
    assert at_clock(BOARDS["icebreaker"], 0.3).clock_mhz == pytest.approx(0.4554, abs=1e-4)


def test_a_clock_too_slow_for_any_serial_port_says_what_else():
    own = replace(BOARDS["icebreaker"], clock=lambda: PinClock("clk12"), clock_mhz=12, baud=115_200)
    with pytest.raises(SpecError, match=r"no clock near 11 MHz .* choose a faster one, or leave --clock out"):
        at_clock(own, 11)
