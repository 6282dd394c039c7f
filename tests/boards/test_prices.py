"""The table of what an engine contains: its blocks are those that the specification predicts."""

import json
from dataclasses import asdict

import pytest

from docs.prices import CHANGES, PAGE, RESULTS, page
from fdht.boards import find_board
from fdht.boards.baseline import load
from fdht.boards.top import BoardTop
from fdht.hw.component import ask

KEPT = json.loads(RESULTS.read_text())


def test_the_page_has_the_tables_of_what_is_kept():
    assert PAGE.read_text() == page(), "write it anew: .venv/bin/python -m docs.prices --page"


@pytest.mark.parametrize("board", CHANGES)
def test_the_engine_is_the_boards(board):
    """What was measured is what its baseline recorded."""
    recorded, kept = load(find_board(board)), KEPT[board]
    assert kept["yosys"] == recorded["tools"]["yosys"]
    assert kept["engine"] == {name: recorded[name] for name in kept["engine"]}


@pytest.mark.parametrize(("board_name", "name"), [(board, name) for board in CHANGES for name in CHANGES[board]])
def test_a_change_moves_the_blocks_that_are_predicted(board_name, name):
    board, kept = find_board(board_name), KEPT[board_name]["changes"]
    change = CHANGES[board_name][name][1]
    before, after = (asdict(ask(BoardTop(each)).resources) for each in (board, change(board)))
    assert {kind: after[kind] - before[kind] for kind in before} == {kind: kept[name][kind] for kind in before}
    assert set(kept) == set(CHANGES[board_name])
