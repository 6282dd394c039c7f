"""The boards there are."""

from fdht.boards import ecpix5, icebreaker, orangecrab, tangnano9k, tangnano20k, ulx3s
from fdht.boards.board import Board
from fdht.spec.errors import SpecError

BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        icebreaker.BOARD,
        ulx3s.BOARD,
        *orangecrab.BOARDS,
        ecpix5.BOARD,
        tangnano9k.BOARD,
        tangnano20k.BOARD,
    )
}


def find_board(name: str) -> Board:
    """A board by name.

    Raises:
        SpecError: no such board; names those there are.
    """
    if name not in BOARDS:
        raise SpecError(f"there is no board {name!r}; known: {', '.join(BOARDS)}")
    return BOARDS[name]
