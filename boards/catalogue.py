"""The boards there are: those here, those of installed packages, and those that a user names."""

from importlib.metadata import EntryPoint, entry_points

from fdht.boards import ecpix5, icebreaker, orangecrab, tangnano9k, tangnano20k, ulx3s
from fdht.boards.board import Board
from fdht.boards.fitting import engine_on
from fdht.boards.outside import WANTED, board_of
from fdht.boards.slower import at_clock
from fdht.spec.errors import SpecError, no_such
from fdht.spec.named import named
from fdht.spec.target import Target, find_target

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
"""Those of this package."""

GROUP = "fdht.boards"
"""The group of entry points in which an installed package names its boards."""

_OWN: dict[str, Board] = {}
"""What the user of this process has named, by `module:name`."""


def installed() -> dict[str, EntryPoint]:
    """Boards of installed packages, not yet imported; a name that is taken here does not count."""
    return {each.name: each for each in entry_points(group=GROUP) if each.name not in BOARDS}


def own(name: str) -> None:
    """Imports a board of one's own, so that `find_board` knows it by this name.

    To be called with what the user has said, never with what a file says: a module's code runs when it is imported.

    Args:
        name: `module:name`, see fdht.boards.outside.WANTED; modules are found in the current folder, too.

    Raises:
        SpecError: it cannot be imported, is no board, or is called as one of those here.
    """
    board = board_of(named(name, WANTED), name)
    if board.name in BOARDS:
        raise SpecError(f"{name} is called {board.name}, as one of fdht's own; give it another name, or take that one")
    _OWN[name] = board


def find_board(name: str, target: str | None = None, clock_mhz: float | None = None) -> Board:
    """A board by name; one of one's own by `module:name`, once `own` was told.

    Args:
        target: name or file of another engine that it is to have than its own.
        clock_mhz: of a slower clock than its own.

    Raises:
        SpecError: no such board; names those there are. Or one of somebody's own that `own` was not told, or one of an
            installed package that is none. No such target, or no such clock.
        FileError: no target in the file.
        CapacityError: the board's part does not hold the engine.
    """
    board = _found(name)
    if target is not None:
        board = engine_on(board, find_target(target), target)
    return board if clock_mhz is None else at_clock(board, clock_mhz)


def boards_with(engine: Target) -> list[Board]:
    """Boards of this package that come with an engine."""
    return [board for board in BOARDS.values() if board.engine == engine]


def _with_another_part(name: str) -> str:
    """Boards that are called so but for the size of their part, as ulx3s-85f is for ulx3s-12f; empty without one."""
    digits = lambda part: "".join(filter(str.isdigit, part))  # noqa: E731
    own, _, part = name.lower().rpartition("-")
    alike = [each.rpartition("-") for each in BOARDS if own and each.rpartition("-")[0] == own]
    sizes = {digits(size) for *_, size in alike}
    return ", ".join("".join(each) for each in alike) if digits(part) and digits(part) not in sizes else ""


def _found(name: str) -> Board:
    known = BOARDS.get(name) or _OWN.get(name)
    if known is not None:
        return known
    if ":" in name:
        raise SpecError(
            f"{name} is code of somebody's own, which no file may name to be run; if it is yours, say so on the "
            f"command line with --board {name}"
        )
    others = installed()
    if name not in others:
        if larger := _with_another_part(name):
            raise SpecError(
                f"there is no board {name!r}, only {larger}, which has another part: a bitstream for that is none for "
                "yours; docs/adding-a-board.md (the same board with a smaller part) says it in a few lines of Python"
            )
        raise no_such("board", name, [*BOARDS, *others], ", and module:name for one of your own")
    try:
        found = others[name].load()
    except (ImportError, AttributeError, NameError, SyntaxError, TypeError, ValueError) as error:
        raise SpecError(
            f"{name} cannot be imported ({error}); the entry point {others[name].value} of its package is wrong"
        ) from None
    _OWN[name] = board_of(found, name)
    return _OWN[name]
