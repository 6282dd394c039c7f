"""The catalogue, and what each board's design is made of."""

import pytest

from boards import BOARDS, find_board
from boards.top import build_id
from hw.uart import divisor
from spec.errors import SpecError
from spec.target import TARGETS


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_consistent(name):
    board = find_board(name)
    assert board.name == name
    assert board.target in TARGETS
    assert divisor(board.clock_hz, board.baud) >= 4
    assert abs(board.clock_hz / divisor(board.clock_hz, board.baud) / board.baud - 1) < 0.005


def test_an_unknown_board_is_named_with_those_there_are():
    with pytest.raises(SpecError, match=r"'nexys'; known: icebreaker, ulx3s-85f"):
        find_board("nexys")


def test_build_ids_differ():
    assert len({build_id(board) for board in BOARDS.values()}) == len(BOARDS)
