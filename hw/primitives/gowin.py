"""Gowin: MULT18X18."""

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal, Value

from fdht.hw.component import extend
from fdht.spec.target import MULTIPLIERS, Technology

MULT18_WIDTH, _ = MULTIPLIERS[Technology.GOWIN]

MULT18_STAGES = 3
"""Registers on the way through an MULT18X18."""


def mult18x18(m: Module, a: Value, b: Value, product: Signal, stages: int) -> None:
    """MULT18X18 as a signed multiplier with registers at its inputs and its output and (`stages` = 3) in its middle.

    Parameters after Gowin's UG287E, "Gowin Digital Signal Processing", MULT18X18. ASIGN and BSIGN are constant, so they
    need no registers.
    """
    dout = Signal(2 * MULT18_WIDTH)
    m.d.comb += product.eq(dout)
    m.submodules.block = Instance(
        "MULT18X18",
        p_AREG=Const(1, 1),
        p_BREG=Const(1, 1),
        p_PIPE_REG=Const(stages == MULT18_STAGES, 1),
        p_OUT_REG=Const(1, 1),
        i_CLK=ClockSignal(),
        i_CE=Const(1),
        i_RESET=Const(0),
        i_A=extend(a, MULT18_WIDTH),
        i_B=extend(b, MULT18_WIDTH),
        i_ASIGN=Const(1),
        i_BSIGN=Const(1),
        i_ASEL=Const(0),  # operands from A and B, not from the neighbour
        i_BSEL=Const(0),
        i_SIA=Const(0, MULT18_WIDTH),
        i_SIB=Const(0, MULT18_WIDTH),
        o_DOUT=dout,
    )
