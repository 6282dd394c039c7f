"""LUTs and flip-flops of engines: what is predicted, held against what was measured."""

from dataclasses import replace

import pytest
from amaranth_boards.icesugar import ICESugarPlatform

from docs import logic
from docs.logic import Case
from fdht.boards import find_board
from fdht.boards.board import Board
from fdht.boards.fitting import engine_on
from fdht.boards.outside import board_on
from fdht.boards.synthesis import measure
from fdht.spec import costs
from fdht.spec.pipeline import COMPACT, PIPELINED
from fdht.spec.target import PART_TARGETS, TARGETS, Technology

CLOSE = {Technology.ICE40: 0.02, Technology.ECP5: 0.02, Technology.GOWIN: 0.04}
"""Relative error of engines that the coefficients were fitted to."""

NEAR = 0.1
"""Of others."""

FAMILIES = logic.families()
KEPT = [each for engines in FAMILIES.values() for each in engines]

ICESUGAR = board_on(ICESugarPlatform, name="icesugar", engine=TARGETS["icebreaker"])
SMALL = replace(TARGETS["icebreaker"], name="small", rows=4, banks=2, result_words=256, bias_words=512)

SMALLEST = replace(
    SMALL,
    name="smallest",
    rows=1,
    factor_words=4224,
    bias_words=267,
    hidden=64,
    program_words=78,
)
"""What fdht fit finds for the digits."""


def predicted(board: Board) -> costs.Logic:
    found = costs.logic(board.engine, spi=board.spi_mhz is not None)
    assert found is not None
    return found


def test_the_coefficients_are_those_of_the_measurements():
    assert list(costs._LOGIC) == list(FAMILIES)
    assert {technology for technology, _ in FAMILIES} == {Technology.ICE40, Technology.ECP5, Technology.GOWIN}
    for key, engines in FAMILIES.items():
        family = costs._LOGIC[key]
        assert len({tuple(each.counts.values()) for each in engines}) >= 12 > logic.ENOUGH
        assert (family.luts, family.ffs) == (logic.fit(engines, "luts"), logic.fit(engines, "ffs"))
        assert family.columns == max(each.board.engine.columns for each in engines)


@pytest.mark.parametrize("each", KEPT, ids=lambda each: each.name)
def test_a_measured_engine_is_predicted(each):
    found, close = predicted(each.board), CLOSE[each.board.technology]
    assert found.luts == pytest.approx(each.luts, rel=close)
    assert found.ffs == pytest.approx(each.ffs, rel=close)


@pytest.mark.parametrize("key", FAMILIES, ids=lambda key: key[0].value)
@pytest.mark.parametrize("kind", logic.KINDS)
def test_an_engine_is_predicted_by_the_others(key, kind):
    """Each is left out of the fit in turn."""
    assert all(abs(each.left_out) < NEAR for each in logic.compared(FAMILIES[key], kind))


def test_boards_with_one_engine_are_left_out_together():
    engines = FAMILIES[Technology.ECP5, PIPELINED]
    twins = [k for k, each in enumerate(engines) if each.board.name in ("ulx3s-85f", "orangecrab-85f", "ecpix5-85f")][
        :3
    ]
    first = logic.compared(engines, "ffs")[twins[0]]
    alone = logic.compared([each for k, each in enumerate(engines) if k not in twins[1:]], "ffs")[twins[0]]
    assert len(twins) == 3 and first.left_out == pytest.approx(alone.left_out)


def test_registers_between_elements_are_counted():
    """Of an array of 3 × 2 with 4-bit factors and 8-bit data: the factors' one hop, the data's two, skews at the edges,
    and a product's fourth register.
    """
    small = replace(TARGETS["orangecrab-25f"], name="", rows=3, columns=2, input_lanes=2, data_width=8, factor_width=9)
    factors = 3 * 2 + (0 + 2 + 4)
    data = 2 * 4 + (0 + 2)
    assert costs.hops(small) == 9 * factors + 8 * data + 6 * (8 + 9) + 2 * small.accumulator_width
    compact = replace(small, pipeline=COMPACT)
    assert costs.hops(compact) == 9 * 3 + 8 + small.accumulator_width


def test_the_page_has_the_tables_of_what_is_kept():
    assert logic.PAGE.read_text() == logic.page(), "write it anew: .venv/bin/python -m docs.logic --page"


@pytest.mark.parametrize(
    ("board", "luts", "ffs"),
    [
        (ICESUGAR, 3681, 2492),
        (engine_on(ICESUGAR, SMALL), 3302, 2245),
        (engine_on(find_board("icebreaker"), SMALLEST), 3262, 2144),
    ],
    ids=["shipped", "small", "smallest"],
)
def test_an_engine_on_a_board_that_no_coefficient_was_fitted_to(board, luts, ffs):
    """Those of docs/adding-a-board.md and docs/decisions/boards.md, and the smallest of docs/engines.md."""
    found = predicted(board)
    assert found.luts == pytest.approx(luts, rel=NEAR) and found.ffs == pytest.approx(ffs, rel=NEAR)


@pytest.mark.parametrize(
    "target",
    [
        PART_TARGETS["xc7a35t"],
        replace(TARGETS["icebreaker"], name="", rows=2, columns=3),
        replace(TARGETS["ulx3s-85f"], name="", rows=8, columns=16, input_lanes=16),
        replace(TARGETS["icebreaker"], name="", pipeline=replace(COMPACT, prefetch=True)),
        replace(TARGETS["tangnano9k"], name="", pipeline=PIPELINED),
        replace(TARGETS["orangecrab-25f"], name="", pipeline=COMPACT),
    ],
)
def test_of_engines_that_were_not_measured_nothing_is_said(target):
    assert costs.logic(target) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [Case("icebreaker", 7, 1, 14, 10), Case("tangnano9k", 5, 2, 14, 12), Case("orangecrab-25f", 5, 3, 16, 14)],
    ids=lambda case: case.name,
)
def test_engines_that_no_coefficient_was_fitted_to(case):
    assert case not in logic.CASES
    board = case.on_board
    made, found = measure(board), predicted(board)
    assert found.luts == pytest.approx(made.luts, rel=NEAR) and found.ffs == pytest.approx(made.ffs, rel=NEAR)


def test_a_case_is_an_engine_of_its_board():
    assert Case("icebreaker", 5, 1).on_board.engine.rows == 5 and find_board("icebreaker").engine.rows == 8
