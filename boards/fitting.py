"""Any engine on a board, if its part has what that takes."""

from collections.abc import Iterator
from dataclasses import fields, replace

from fdht.boards.board import Board
from fdht.boards.parts import Part
from fdht.boards.top import BoardTop
from fdht.hw.technology import multiplier_site
from fdht.spec import costs
from fdht.spec.costs import Resources
from fdht.spec.errors import CapacityError, Resource
from fdht.spec.target import Target, Technology

SHARES = (1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25)
"""Sizes that are tried for memories that are too large, as parts of what was wanted; the first that fits is taken."""

_BLOCKS = {
    "multipliers": Resource.MULTIPLIERS,
    "block_rams": Resource.BLOCK_RAMS,
    "sprams": Resource.SPRAMS,
}
_MEMORIES = ("factor_words", "result_words", "bias_words", "program_words")


def engine_on(board: Board, engine: Target, said: str = "") -> Board:
    """A board with another engine, made of its part's primitives; images do not depend on these.

    Args:
        said: how a command line names the engine; "" if it does by name.

    Raises:
        CapacityError: the part has too little of something; says what would fit.
        SpecError: an engine that cannot be made of the part's primitives, or at the places of its floor plan.
    """
    pinned = engine.build.pinned and engine.build.technology is board.technology
    made = engine.made_of(board.technology)
    made = replace(made, build=replace(made.build, pinned=pinned))
    if made == board.engine:
        return board
    options = f"{board.options} --target {said or engine.name}"
    other = replace(board, engine=made, said=options, other_engine=True)
    if pinned:
        multiplier_site(other.platform(), engine.columns, engine.rows - 1, engine.columns - 1)
    check_room(other)
    return other


def check_room(board: Board) -> None:
    """Compares what a board's engine takes with what its part has, before anything is built.

    Raises:
        CapacityError: there is too little of something.
    """
    part = board.room
    if part is None:
        return
    takes = BoardTop(board).resources
    lacks = _lacks(takes, part)
    if not lacks:
        return
    name = lacks[0]
    near = nearest(board.engine, part, takes)
    raise CapacityError(
        _BLOCKS[name],
        getattr(takes, name),
        getattr(part.blocks, name),
        f"nothing like {board.target} fits; choose a larger part"
        if near is None
        else f"{board.target} fits with {_changes(board.engine, near)}",
        _BLOCKS[name].value.replace("the part", f"the {part.name} on {board.name}"),
    )


def nearest(engine: Target, part: Part, takes: Resources) -> Target | None:
    """An engine like another with fewer rows, or columns, and smaller memories, so that a part holds it.

    Args:
        takes: all that the whole design with the other one takes.

    Returns:
        None if there is none.
    """
    alone = costs.engine(engine)
    around = Resources(*(getattr(takes, name) - getattr(alone, name) for name in _BLOCKS))
    for smaller in _smaller(engine, part.blocks.multipliers - (alone.multipliers - engine.multipliers)):
        if not _lacks(costs.engine(smaller) + around, part):
            return smaller
    return None


def _smaller(engine: Target, multipliers: int) -> Iterator[Target]:
    """An engine with an array of so many multipliers at most; then the same with less memory."""
    if multipliers < 1:
        return
    columns = min(engine.columns, multipliers)
    lanes = {"columns": columns, "input_lanes": 1 if engine.input_lanes == 1 else columns}
    array = replace(engine, rows=min(engine.rows, multipliers // columns), **lanes)
    pinned = engine.build.pinned and array.multipliers == engine.multipliers
    array = replace(array, build=replace(array.build, pinned=pinned))
    one_depth = engine.build.technology is Technology.ICE40 and engine.single_port  # SPRAMs
    for share in SHARES:
        words = {name: max(16, int(share * getattr(engine, name))) for name in _MEMORIES}
        if one_depth:
            words["banks"] = max(2, int(share * engine.banks))
        else:
            words["bank_words"] = max(2, 1 << int(share * engine.bank_words).bit_length() - 1)
        yield replace(array, **words)


def _lacks(takes: Resources, part: Part) -> list[str]:
    return [name for name in _BLOCKS if getattr(takes, name) > getattr(part.blocks, name)]


def _changes(engine: Target, other: Target) -> str:
    """The fields in which two engines differ, as a target's file has them; how they are built left out."""
    changed = {field.name: getattr(other, field.name) for field in fields(Target) if field.name != "build"}
    return ", ".join(f"{name} = {value}" for name, value in changed.items() if value != getattr(engine, name))
