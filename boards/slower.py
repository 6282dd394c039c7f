"""Any board at a slower clock: for a rate of steps that needs no more, see fdht.compiler.effort."""

from dataclasses import replace
from fractions import Fraction
from functools import partial
from math import isfinite
from typing import Any

from fdht.boards.board import Board
from fdht.boards.clocks import Divided
from fdht.boards.outside import BAUDS, can
from fdht.hw.component import ask
from fdht.spec.errors import SpecError

MOST = 64
"""What a clock is divided by at most behind the PLL."""

FURTHEST = 2
"""A clock that is more times as fast as the wanted one is not what was wanted."""


def at_clock(board: Board, mhz: float) -> Board:
    """A board whose clock is the nearest one not below a wanted one that its PLL and a counter make.

    Its serial port has the fastest rate that this clock makes, but none faster than the board's; its SPI port takes no
    faster clock than this one.

    Args:
        mhz: the wanted clock.

    Raises:
        SpecError: it is no slower clock, one that nothing makes, or one that makes no serial port's rate.
    """
    own = board.clock_mhz
    if not isfinite(mhz) or not 0 < mhz <= own:
        raise SpecError(
            f"a clock of {mhz:g} MHz on {board.name}, whose engine is built for {own:g} MHz; choose one above 0 and up "
            "to that"
        )
    if mhz == own:
        return board
    wanted, clock, platform = Fraction(str(mhz)), ask(board.clock()), board.platform()
    source: Any = platform.lookup(clock.resource).clock
    if source is None:
        raise SpecError(
            f"the frequency of {board.name}'s {clock.resource} is not known; say Clock(...) in that resource"
        )
    rates = {}
    for rate, make in clock.rates(Fraction(str(source.frequency)) / 10**6):
        rates.setdefault(rate, make)  # the first of those that do the same
    there = sorted((rate / by, by) for rate in rates for by in range(1, min(rate // wanted, MOST) + 1))
    served = ((made, by, _baud(board, made)) for made, by in there if made < own)
    chosen = next((each for each in served if each[2]), None)
    if chosen is None:
        raise SpecError(
            f"no clock near {mhz:g} MHz can be made on {board.name} from its {source.frequency / 1e6:g} MHz that also "
            f"makes one of {', '.join(map(str, reversed(BAUDS)))} baud; choose a faster one, or leave --clock out for "
            f"{own:g} MHz"
        )
    made, by, baud = chosen
    slow = float(made)
    if made > FURTHEST * wanted:
        raise SpecError(
            f"a clock of {mhz:g} MHz on {board.name}, where the nearest above it that also makes a serial port's rate "
            f"is {slow:.4g} MHz; choose that"
        )
    return replace(
        board,
        clock=partial(rates[made * by], divided=Divided(by, slow) if by > 1 else None),
        clock_mhz=slow,
        baud=baud,
        spi_mhz=None if board.spi_mhz is None else min(board.spi_mhz, slow),
        said=f"{board.options} --clock {mhz:g}",
        other_clock=True,
    )


def _baud(board: Board, mhz: Fraction) -> int:
    """The fastest rate of a board's serial port at another clock; 0 if there is none."""
    return next((baud for baud in BAUDS if baud <= board.baud and can(round(mhz * 10**6), baud)), 0)
