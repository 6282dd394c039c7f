"""What parts have, after their makers' data sheets, so that what does not fit is said before anything is built.

nextpnr counts again, and by its own figures: a part that is not here is only checked later.
"""

import re
from dataclasses import dataclass

from fdht.spec.costs import Inferred, Resources
from fdht.spec.errors import no_such


@dataclass(frozen=True)
class Part:
    """A part.

    Attributes:
        name: its maker's.
        blocks: multipliers (16 × 16, 18 × 18 or 25 × 18), block RAMs and SPRAMs.
        luts: of four inputs; of six in the 7 series; of a Cyclone V halves of an ALM. ffs: flip-flops.
        family: of those for which nothing is instantiated; None of all others.
    """

    name: str
    blocks: Resources
    luts: int
    ffs: int
    family: Inferred | None = None


_PARTS = {
    "--up3k": Part("iCE40UP3K", Resources(4, 20, 4), 2800, 2800),
    "--up5k": Part("iCE40UP5K", Resources(8, 30, 4), 5280, 5280),
    "--lp1k": Part("iCE40LP1K", Resources(0, 16), 1280, 1280),
    "--hx1k": Part("iCE40HX1K", Resources(0, 16), 1280, 1280),
    "--lp8k": Part("iCE40LP8K", Resources(0, 32), 7680, 7680),
    "--hx8k": Part("iCE40HX8K", Resources(0, 32), 7680, 7680),
    "--12k": Part("LFE5U-12F", Resources(28, 56), 24288, 24288),  # sold as the smaller; the die is that of the 25F
    "--25k": Part("LFE5U-25F", Resources(28, 56), 24288, 24288),
    "--45k": Part("LFE5U-45F", Resources(72, 108), 43848, 43848),
    "--85k": Part("LFE5U-85F", Resources(156, 208), 83640, 83640),
}
"""By nextpnr's option; those of an ECP5 with transceivers have `um-` or `um5g-` in it and the same die."""

_GOWIN = {
    r"GW1NR?-(LV|UV)4": Part("GW1N-4", Resources(16, 10), 4608, 3456),
    r"GW1NR?-(LV|UV)9": Part("GW1N-9", Resources(20, 26), 8640, 6480),
    r"GW2AR?-LV18": Part("GW2A-18", Resources(48, 46), 20736, 15552),
}
"""By how the name begins that nextpnr is given with --device; the R has memory in its package, and the same die."""

CLOSED = {
    "xc7a35t": Part("XC7A35T", Resources(90, 100), 20800, 41600, Inferred.XC7),
    "xc7a100t": Part("XC7A100T", Resources(240, 270), 63400, 126800, Inferred.XC7),
    "xc7z020": Part("XC7Z020", Resources(220, 280), 53200, 106400, Inferred.XC7),
    "5ceba4": Part("5CEBA4", Resources(132, 308), 36960, 73920, Inferred.CYCLONE_V),
}
"""Parts whose bitstreams only their makers' tools make, after the data sheets DS180, DS190 and CV-51001. A RAMB36 is
two RAMB18 and counts as two block RAMs; a variable-precision DSP block counts as two multipliers."""


def find_closed(name: str) -> Part:
    """One of `CLOSED` by name, however it is written.

    Raises:
        SpecError: no such part; names those there are.
    """
    if name.lower() not in CLOSED:
        raise no_such("part", name, CLOSED, "; of parts with open tools name a board with --board")
    return CLOSED[name.lower()]


def find_part(options: tuple[str, ...]) -> Part | None:
    """The part that nextpnr's options name; None if nothing is known of it."""
    for option in options:
        if option in _PARTS or (option := re.sub(r"^--um(5g)?-", "--", option)) in _PARTS:
            return _PARTS[option]
        for name, part in _GOWIN.items():
            if re.match(name, option):
                return part
    return None
