"""Lattice iCE40 UltraPlus: SB_MAC16 and SB_SPRAM256KA."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Signal, Value

from fdht.hw.component import extend
from fdht.spec.costs import SPRAM_WIDTH
from fdht.spec.target import MULTIPLIERS, Technology

MAC16_WIDTH, MAC16_SUM = MULTIPLIERS[Technology.ICE40]


def sb_mac16(a: Value, b: Value, valid: Value, total: Value) -> Instance:
    """SB_MAC16 as a signed 16 × 16 multiplier and a 32-bit accumulator: registers at its inputs, behind the
    multiplier and behind the adder.

    Args:
        a, b: operands, at most 16 bits.
        valid: the product counts, gate_schedule.MULTIPLY cycles after its operands; without, the accumulator is loaded
            with 0.
        total: 32 bits: the accumulator.

    Parameters after Lattice's iCE40 Technology Library, "MAC16 configurations".
    """
    low = ("CI", "ACCUMCI", "SIGNEXTIN", "AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP")
    low += ("ORSTBOT", "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT")
    product, carry, registered = Const(2, 2), Const(3, 2), Const(1, 2)
    return Instance(
        "SB_MAC16",
        p_A_REG=Const(1, 1),
        p_B_REG=Const(1, 1),
        p_PIPELINE_16x16_MULT_REG2=Const(1, 1),
        p_TOPADDSUB_LOWERINPUT=product,
        p_BOTADDSUB_LOWERINPUT=product,
        p_TOPADDSUB_CARRYSELECT=carry,
        p_TOPOUTPUT_SELECT=registered,
        p_BOTOUTPUT_SELECT=registered,
        p_A_SIGNED=Const(1, 1),
        p_B_SIGNED=Const(1, 1),
        i_CLK=ClockSignal(),
        i_CE=Const(1),
        i_A=extend(a, MAC16_WIDTH),
        i_B=extend(b, MAC16_WIDTH),
        i_C=Const(0, MAC16_WIDTH),
        i_D=Const(0, MAC16_WIDTH),
        i_OLOADTOP=~valid,
        i_OLOADBOT=~valid,
        o_O=total,
        **{f"i_{pin}": Const(0) for pin in low},
    )


def sb_spram256ka(address: Value, select: Value, write: Value, write_data: Value, read_data: Signal) -> Instance:
    """SB_SPRAM256KA that never sleeps: 16,384 words of 16 bits, read or written in a cycle.

    Args:
        address: of a word. select: there is an access. write: it is a write.
        write_data: at most 16 bits.
        read_data: 16 bits, in the cycle after a read.
    """
    return Instance(
        "SB_SPRAM256KA",
        i_CLOCK=ClockSignal(),
        i_CHIPSELECT=select,
        i_WREN=write,
        i_MASKWREN=Const(0b1111, 4),
        i_ADDRESS=address,
        i_DATAIN=Cat(write_data, Const(0, SPRAM_WIDTH))[:SPRAM_WIDTH],
        i_STANDBY=Const(0),
        i_SLEEP=Const(0),
        i_POWEROFF=Const(1),  # active low
        o_DATAOUT=read_data,
    )
