"""How full a part may be: as full as the fullest build of its family that was routed and met its clock.

Blocks are predicted exactly and LUTs and flip-flops nearly, but neither says whether nextpnr finds a way. What it has
found is in the boards' baselines; beyond that nothing is known, so nothing beyond is proposed. Whoever asks for an
engine by name or file gets it tried.
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache

from fdht.boards import baseline
from fdht.boards.board import Board
from fdht.boards.catalogue import BOARDS
from fdht.boards.parts import Part
from fdht.boards.top import BoardTop
from fdht.hw.component import ask
from fdht.spec import costs
from fdht.spec.costs import Resources
from fdht.spec.errors import CapacityError, Resource
from fdht.spec.target import Target

KINDS = {
    "luts": (Resource.CELLS, "LUTs"),
    "ffs": (Resource.CELLS, "flip-flops"),
    "multipliers": (Resource.MULTIPLIERS, "multipliers"),
    "block_rams": (Resource.BLOCK_RAMS, "block RAMs"),
    "sprams": (Resource.SPRAMS, "SPRAMs"),
}
"""What a part has of, with the resource it counts as and its name in sentences."""


@cache
def routed(family: str) -> dict[str, float]:
    """Of each kind the largest share of a part that a recorded build takes which met its clock, by a family's name.

    Empty for a family without builds: nothing is known there.
    """
    shares: dict[str, float] = {}
    for board in BOARDS.values():
        part = board.room
        if board.family.name != family or part is None or not baseline.path_of(board).is_file():
            continue
        build = baseline.load(board)
        if max(mhz or 0 for mhz in build["fmax_mhz_seeds"].values()) < build["clock_mhz"]:
            continue
        for kind, there in available(part).items():
            if there:
                shares[kind] = max(shares.get(kind, 0.0), build[kind] / there)
    return shares


def available(part: Part) -> dict[str, int]:
    """What a part has of each kind."""
    return {"luts": part.luts, "ffs": part.ffs, **asdict(part.blocks)}


def limits(board: Board) -> dict[str, int]:
    """What engines on a board may take of each kind at most; empty where nothing is known of its part."""
    part = board.room
    if part is None:
        return {}
    shares = routed(board.family.name)
    return {kind: round(shares.get(kind, 1.0) * there) for kind, there in available(part).items()}


def logic_of(board: Board, engine: Target) -> dict[str, int]:
    """LUTs and flip-flops of a board's design with an engine, as predicted; empty where no engines like it were
    measured.
    """
    logic = costs.logic(engine, spi=board.spi_mhz is not None)
    return {} if logic is None else asdict(logic)


def check(board: Board, takes: Mapping[str, int], way_out: str) -> None:
    """Holds what a design takes against the limits.

    Args:
        takes: how many of each kind; what is not in it is not known.

    Raises:
        CapacityError: too many of a kind.
    """
    most, part = limits(board), board.room
    for kind, taken in takes.items():
        if part is None or taken <= most[kind]:
            continue
        resource, name = KINDS[kind]
        share = routed(board.family.name).get(kind, 1.0)
        named = f"{name} of the {part.name} on {board.name}, of which {100 * share:.0f} % were routed"
        raise CapacityError(resource, taken, most[kind], way_out, named)


def around(board: Board) -> Resources:
    """Blocks of what surrounds the engine in a board's design."""
    whole, alone = ask(BoardTop(board)).resources, costs.engine(board.engine)
    return Resources(*(getattr(whole, name) - getattr(alone, name) for name in asdict(whole)))
