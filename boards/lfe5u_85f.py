"""The floor plan of an array in an LFE5U-85F or LFE5UM5G-85F, which have one die: where its multipliers lie.

A platform of such a part inherits from `FloorPlan`; fdht.hw.technology.multiplier_site asks it if the target says that
its multipliers are `pinned`.
"""

from fdht.spec.errors import SpecError

ROWS, SITES = 16, 9
"""Rows and columns of an array, at most, for which there are places."""


def multiplier_site(columns: int, row: int, column: int) -> str:
    """nextpnr's name of the place of an array's multiplier, for at most 16 × 9.

    The part has three rows of 52 MULT18X18D (nextpnr-ecp5 --write names them for a placed design); the array's rows
    lie along them, a third of its columns on each.

    Raises:
        SpecError: a larger array.
    """
    if row >= ROWS or columns > SITES:
        raise SpecError(
            f"the floor plan has places for {ROWS} × {SITES} multipliers, not for {row + 1} × {columns}; say in the "
            "target's file that build.pinned is false"
        )
    each = -(-columns // 3)
    index = each * row + column % each
    block, number = divmod(index, 4)
    x = 4 + 9 * block + 2 * (block >= 7) + (0, 1, 4, 5)[number]
    return f"X{x}/Y{(10, 34, 58)[column // each]}/MULT18_{(0, 1, 4, 5)[number]}"


class FloorPlan:
    """What a platform of the part inherits beside what it is."""

    multiplier_site = staticmethod(multiplier_site)
