"""LUTs and flip-flops of engines: what is predicted, held against what was measured."""

from dataclasses import replace

import pytest
from amaranth_boards.icesugar import ICESugarPlatform

from docs.logic import Case, fit, measured
from fdht.boards import find_board
from fdht.boards.board import Board
from fdht.boards.fitting import engine_on
from fdht.boards.outside import board_on
from fdht.boards.synthesis import measure
from fdht.spec import costs
from fdht.spec.pipeline import PIPELINED
from fdht.spec.target import TARGETS, Technology

CLOSE = 0.02
"""Relative error of engines that the coefficients were fitted to."""

NEAR = 0.1
"""Of others."""

KEPT = [each for each in measured() if costs.logic(each.board.engine) is not None]

ICESUGAR = board_on(ICESugarPlatform, name="icesugar", engine=TARGETS["icebreaker"])
SMALL = replace(TARGETS["icebreaker"], name="small", rows=4, banks=2, result_words=256, bias_words=512)


def predicted(board: Board) -> costs.Logic:
    found = costs.logic(board.engine, spi=board.spi_mhz is not None)
    assert found is not None
    return found


def test_the_coefficients_are_those_of_the_measurements():
    assert len(KEPT) >= 12
    family = costs._LOGIC[Technology.ICE40, TARGETS["icebreaker"].pipeline]
    assert (family.luts, family.ffs) == (fit(KEPT, "luts"), fit(KEPT, "ffs"))
    assert family.columns == max(each.board.engine.columns for each in KEPT)


@pytest.mark.parametrize("each", KEPT, ids=lambda each: each.name)
def test_a_measured_engine_is_predicted(each):
    found = predicted(each.board)
    assert found.luts == pytest.approx(each.luts, rel=CLOSE)
    assert found.ffs == pytest.approx(each.ffs, rel=CLOSE)


@pytest.mark.parametrize(
    ("board", "luts", "ffs"),
    [(ICESUGAR, 3681, 2492), (engine_on(ICESUGAR, SMALL), 3302, 2245)],
    ids=["shipped", "small"],
)
def test_an_engine_on_a_board_that_no_coefficient_was_fitted_to(board, luts, ffs):
    """Those of docs/adding-a-board.md and docs/decisions/boards.md."""
    found = predicted(board)
    assert found.luts == pytest.approx(luts, rel=NEAR) and found.ffs == pytest.approx(ffs, rel=NEAR)


@pytest.mark.parametrize(
    "target",
    [
        TARGETS["ulx3s-85f"],
        TARGETS["tangnano9k"],
        replace(TARGETS["icebreaker"], name="", rows=4, columns=2),
        replace(TARGETS["icebreaker"], name="", pipeline=replace(TARGETS["icebreaker"].pipeline, prefetch=True)),
        replace(TARGETS["orangecrab-25f"], name="", pipeline=PIPELINED),
    ],
)
def test_of_engines_that_were_not_measured_nothing_is_said(target):
    assert costs.logic(target) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [Case("icebreaker", 2, 1, 12, 8), Case("icebreaker", 5, 1)], ids=lambda case: case.name
)
def test_engines_measured_anew(case):
    board = case.on_board
    made, found = measure(board), predicted(board)
    assert found.luts == pytest.approx(made.luts, rel=NEAR) and found.ffs == pytest.approx(made.ffs, rel=NEAR)


def test_a_case_is_an_engine_of_its_board():
    assert Case("icebreaker", 5, 1).on_board.engine.rows == 5 and find_board("icebreaker").engine.rows == 8
