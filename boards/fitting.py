"""Any engine on a board, if its part has what that takes."""

from collections.abc import Callable
from dataclasses import fields, replace
from math import gcd
from typing import TypeAlias

from fdht.boards.board import Board
from fdht.boards.parts import Part
from fdht.boards.top import BoardTop
from fdht.hw.component import ask
from fdht.hw.technology import multiplier_site
from fdht.spec import costs
from fdht.spec.costs import Resources
from fdht.spec.errors import CapacityError, Resource
from fdht.spec.target import Target

_BLOCKS = {
    "multipliers": Resource.MULTIPLIERS,
    "block_rams": Resource.BLOCK_RAMS,
    "sprams": Resource.SPRAMS,
}
_MEMORIES = ("factor_words", "result_words", "bias_words", "program_words", "bank_words")
"""Sizes of memories that may be smaller."""

LEAST_WORDS, LEAST_BANKS = 16, 2
"""Below which no memory is smaller."""


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
    takes = ask(BoardTop(board)).resources
    lacks = _lacks(takes, part)
    if not lacks:
        return
    name = lacks[0]
    raise CapacityError(
        _BLOCKS[name],
        getattr(takes, name),
        getattr(part.blocks, name),
        nearest_changes(board.engine, part, takes),
        _BLOCKS[name].value.replace("the part", f"the {part.name} on {board.name}"),
    )


Count: TypeAlias = Callable[[Target], Resources]
"""What an engine takes, without what surrounds it."""


def nearest_changes(engine: Target, part: Part, takes: Resources, blocks: Count = costs.engine) -> str:
    """The way out of an engine that is too large for a part, in words; arguments are those of `nearest`."""
    near = nearest(engine, part, takes, blocks)
    if near is None:
        return f"nothing like {engine.name} fits; choose a larger part"
    return f"{engine.name} fits with {_changes(engine, near)}"


def nearest(engine: Target, part: Part, takes: Resources, blocks: Count = costs.engine) -> Target | None:
    """An engine like another with fewer rows, or columns, and smaller memories, so that a part holds it.

    Args:
        takes: all that the whole design with the other one takes.
        blocks: what one takes of the part alone.

    Returns:
        None if there is none.
    """
    alone = blocks(engine)
    around = Resources(*(getattr(takes, name) - getattr(alone, name) for name in _BLOCKS))
    most = part.blocks.multipliers - (takes.multipliers - engine.multipliers)
    if most < 1:
        return None
    columns = min(engine.columns, most)
    while columns:
        made: Target | None = _with_array(engine, most, columns)
        while made is not None and _lacks(blocks(made) + around, part):
            made = _with_less_memory(made, blocks)
        if made is not None:
            return made
        columns //= 2
    return None


def _with_array(engine: Target, multipliers: int, columns: int) -> Target:
    """With so many multipliers at most, in so many columns; with fewer gates where these are no columns any more."""
    rows, lanes = min(engine.rows, multipliers // columns), 1 if engine.input_lanes == 1 else columns
    pinned = engine.build.pinned and (rows, columns) == (engine.rows, engine.columns)
    build, gates = replace(engine.build, pinned=pinned), gcd(engine.gates, columns)
    return replace(engine, rows=rows, columns=columns, input_lanes=lanes, gates=gates, build=build)


def _with_less_memory(engine: Target, blocks: Count) -> Target | None:
    """With the memory halved that gives most; with a bank less where none gives anything; None where that is not enough
    either.
    """
    sizes: list[Target] = []
    for name in _MEMORIES:
        if name == "bank_words" and costs.scratchpad(engine).sprams:
            continue  # SPRAMs have one depth
        words = getattr(engine, name) // 2
        while words >= LEAST_WORDS and not _saved(engine, smaller := replace(engine, **{name: words}), blocks):
            words //= 2
        if words >= LEAST_WORDS:
            sizes.append(smaller)
    if sizes:
        return max(sizes, key=lambda smaller: _saved(engine, smaller, blocks))
    return replace(engine, banks=engine.banks - 1) if engine.banks > LEAST_BANKS else None


def _saved(engine: Target, smaller: Target, blocks: Count) -> int:
    return blocks(engine).block_rams - blocks(smaller).block_rams


def _lacks(takes: Resources, part: Part) -> list[str]:
    return [name for name in _BLOCKS if getattr(takes, name) > getattr(part.blocks, name)]


def _changes(engine: Target, other: Target) -> str:
    """The fields in which two engines differ, as a target's file has them; how they are built left out."""
    changed = {field.name: getattr(other, field.name) for field in fields(Target) if field.name != "build"}
    return ", ".join(f"{name} = {value}" for name, value in changed.items() if value != getattr(engine, name))
