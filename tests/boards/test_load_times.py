"""The tables of docs/standing-alone.md: those of what is kept, and what is kept is what a slot takes."""

import json

import pytest

from docs.standing_alone import FLASHES, PAGE, RESULTS, page, row, slot
from fdht.boards import find_board

KEPT = json.loads(RESULTS.read_text())


def test_the_page_has_the_tables_of_what_is_kept():
    assert PAGE.read_text() == page(), "write it anew: .venv/bin/python -m docs.standing_alone --page"
    assert {row["board"] for row in KEPT} == set(FLASHES)


@pytest.mark.parametrize("name", ["icebreaker", "ulx3s-85f"])
def test_a_slot_takes_what_is_kept(name):
    """But for the bytes of drawn weights that are escaped; on a narrow array and on a wide one."""
    board = find_board(name)
    held = slot("digits", board.engine)
    assert held is not None
    made = row(board, "digits", held)
    (kept,) = (row for row in KEPT if (row["board"], row["preset"]) == (board.name, "digits"))
    assert all(abs(made[name] / kept[name] - 1) < 0.01 for name in ("bytes", "load_ms"))
