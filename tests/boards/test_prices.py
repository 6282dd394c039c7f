"""The table of what an engine contains: its blocks are those that the specification predicts."""

import json
from dataclasses import asdict

import pytest

from docs.prices import BOARD, CHANGES, PAGE, RESULTS, page
from fdht.boards import find_board
from fdht.boards.baseline import load
from fdht.boards.top import BoardTop
from fdht.hw.component import ask

KEPT = json.loads(RESULTS.read_text())


def test_the_page_has_the_tables_of_what_is_kept():
    assert PAGE.read_text() == page(), "write it anew: .venv/bin/python -m docs.prices --page"


def test_the_engine_is_the_boards():
    """What was measured is what its baseline recorded."""
    recorded = load(find_board(BOARD))
    assert KEPT["yosys"] == recorded["tools"]["yosys"]
    assert KEPT["engine"] == {name: recorded[name] for name in KEPT["engine"]}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_moves_the_blocks_that_are_predicted(name):
    board = find_board(BOARD)
    before, after = (asdict(ask(BoardTop(each)).resources) for each in (board, CHANGES[name][1](board)))
    assert {kind: after[kind] - before[kind] for kind in before} == {
        kind: KEPT["changes"][name][kind] for kind in before
    }
    assert set(KEPT["changes"]) == set(CHANGES)
