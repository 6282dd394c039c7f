"""The boards there are."""

from boards import icebreaker, ulx3s
from boards.board import Board
from spec.errors import SpecError

BOARDS: dict[str, Board] = {module.BOARD.name: module.BOARD for module in (icebreaker, ulx3s)}


def find_board(name: str) -> Board:
    """A board by name.

    Raises:
        SpecError: no such board; names those there are.
    """
    if name not in BOARDS:
        raise SpecError(f"there is no board {name!r}; known: {', '.join(BOARDS)}")
    return BOARDS[name]
