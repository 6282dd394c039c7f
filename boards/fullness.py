"""How full a part may be: as full as the fullest build of its family that was routed and met its clock.

Blocks are predicted exactly and LUTs and flip-flops nearly, but neither says whether nextpnr finds a way. What it has
found is in the boards' baselines; beyond that nothing is known, so nothing beyond is proposed. Whoever asks for an
engine by name or file gets it tried.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
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
        if board.family.name != family or part is None or not _was_routed(board):
            continue
        build = baseline.load(board)
        for kind, there in available(part).items():
            if there:
                shares[kind] = max(shares.get(kind, 0.0), build[kind] / there)
    return shares


def _was_routed(board: Board) -> bool:
    """Whether one of fdht's own boards has a recorded build that met its clock."""
    if BOARDS.get(board.name) != board or not baseline.path_of(board).is_file():
        return False
    build = baseline.load(board)
    return max(mhz or 0 for mhz in build["fmax_mhz_seeds"].values()) >= build["clock_mhz"]


def available(part: Part) -> dict[str, int]:
    """What a part has of each kind."""
    return {"luts": part.luts, "ffs": part.ffs, **asdict(part.blocks)}


@dataclass(frozen=True, eq=False)
class Ground:
    """What an engine is to fit: a part, what surrounds the engine there, and how full the part may be.

    Attributes:
        name: for people, and for the names of engines. own: how they call the engine that it comes with.
        engine: that one.
        part: None if nothing is known of it. where: it, in sentences.
        shares: of each kind the largest share that may be taken; all of what is not in it. why: said of a share.
        clock_mhz: None where no clock is known.
        blocks: multipliers, block RAMs and SPRAMs of the whole design with an engine.
        logic: LUTs and flip-flops of it, as predicted; empty where no engines like it were measured.
        routed: those predicted for an engine that was routed there. As many may be taken, whatever predictions are off.
    """

    name: str
    own: str
    engine: Target
    part: Part | None
    where: str
    shares: Mapping[str, float]
    why: str
    clock_mhz: float | None
    blocks: Callable[[Target], Resources]
    logic: Callable[[Target], dict[str, int]]
    routed: Mapping[str, int] = field(default_factory=dict)

    @property
    def available(self) -> dict[str, int]:
        """What its part has of each kind; empty where nothing is known of it."""
        return {} if self.part is None else available(self.part)

    @property
    def limits(self) -> dict[str, int]:
        """What engines may take of each kind at most; empty where nothing is known of the part."""
        return {
            kind: max(round(self.shares.get(kind, 1.0) * there), self.routed.get(kind, 0))
            for kind, there in self.available.items()
        }

    def takes(self, engine: Target) -> dict[str, int]:
        """What the whole design with an engine takes of each kind."""
        return {**self.logic(engine), **asdict(self.blocks(engine))}

    def check(self, takes: Mapping[str, int], way_out: str) -> None:
        """Holds what a design takes against the limits.

        Args:
            takes: how many of each kind; what is not in it is not known.

        Raises:
            CapacityError: too many of a kind.
        """
        most = self.limits
        for kind, taken in takes.items() if most else ():
            if taken > most[kind]:
                resource, name = KINDS[kind]
                named = f"{name} of {self.where}, of which {100 * self.shares.get(kind, 1.0):.0f} % {self.why}"
                raise CapacityError(resource, taken, most[kind], way_out, named)


def on_board(board: Board) -> Ground:
    """A board, filled no more than what was routed."""
    part = board.room

    def logic(engine: Target) -> dict[str, int]:
        found = costs.logic(engine, spi=board.spi_mhz is not None)
        return {} if found is None else asdict(found)

    @cache
    def beside() -> Resources:
        return around(board)

    return Ground(
        name=board.name,
        own="the board's own",
        engine=board.engine,
        part=part,
        where=f"the {'part' if part is None else part.name} on {board.name}",
        shares=routed(board.family.name),
        why="were routed",
        clock_mhz=board.clock_mhz,
        blocks=lambda engine: costs.engine(engine) + beside(),
        logic=logic,
        routed=logic(board.engine) if _was_routed(board) else {},
    )


def around(board: Board) -> Resources:
    """Blocks of what surrounds the engine in a board's design."""
    whole, alone = ask(BoardTop(board)).resources, costs.engine(board.engine)
    return Resources(*(getattr(whole, name) - getattr(alone, name) for name in asdict(whole)))
