"""Lattice ECP5: MULT18X18D, DP16KD and USRMCLK."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Value

from fdht.hw.component import Component
from fdht.spec.costs import DP16K_WIDTH
from fdht.spec.target import MULTIPLIERS, Technology

MULT18_WIDTH, _ = MULTIPLIERS[Technology.ECP5]

MULT18_STAGES = 3
"""Registers on the way through an MULT18X18D."""


def mult18x18d(a: Value, b: Value, product: Value, stages: int, site: str) -> Instance:
    """MULT18X18D as a signed multiplier with registers at its inputs or (`stages` = 3) also in its middle and at its
    output.

    Parameters after Lattice's simulation model of it. CLK0_DIV stays at its default, ENABLED, which is one step per
    rising edge. Never two registers, because nextpnr-ecp5 only knows the timing of a block with none, with those at
    the inputs or the output, or with all.
    """
    deep = "CLK0" if stages == MULT18_STAGES else "NONE"
    pins = {}
    for name, operand in (("A", a), ("B", b)):
        for k in range(MULT18_WIDTH):
            pins[f"i_{name}{k}"] = operand[min(k, len(operand) - 1)]
    return Instance(
        "MULT18X18D",
        p_REG_INPUTA_CLK="CLK0",
        p_REG_INPUTB_CLK="CLK0",
        p_REG_PIPELINE_CLK=deep,
        p_REG_OUTPUT_CLK=deep,
        i_CLK0=ClockSignal(),
        i_CE0=Const(1),
        i_RST0=Const(0),
        i_SIGNEDA=Const(1),
        i_SIGNEDB=Const(1),
        i_SOURCEA=Const(0),
        i_SOURCEB=Const(0),
        **pins,
        **{f"o_P{k}": product[k] for k in range(len(product))},
        **({"a_BEL": site} if site else {}),
    )


def usrmclk(clock: Value) -> Instance:
    """USRMCLK: the clock of the flash that the part is configured from, whose pin no ordinary buffer reaches."""
    return Instance("USRMCLK", i_USRMCLKI=clock, i_USRMCLKTS=Const(0))


def dp16kd(ports: Component, bits: int, write_data: Value, read_data: Value) -> Instance:
    """DP16KD of `bits` per word, written through port A and read through port B and its output register.

    Args:
        ports: addresses and enables, named as those of fdht.hw.technology.RegisteredMemory.
        write_data, read_data: at most `bits` of the memory's.

    Parameters and pins after the way in which Yosys maps memories to it (lattice/brams_map_16kd.v): addresses begin
    above those of the bits in a word; 18 bits have two byte enables in the lowest two.
    """
    low = {1: 0, 2: 1, 4: 2, 9: 3, 18: 4}[bits]
    enables = Cat(Const(3, 2), Const(0, 2)) if bits == DP16K_WIDTH else Const(0, low)
    pins = {}
    for port, address in (("A", ports.write_address), ("B", ports.read_address)):
        whole = Cat(enables, address)
        for k in range(14):
            pins[f"i_AD{port}{k}"] = whole[k] if k < len(whole) else Const(0)
        for k in range(3):
            pins[f"i_CS{port}{k}"] = Const(0)
        pins |= {
            f"p_DATA_WIDTH_{port}": bits,
            f"p_CSDECODE_{port}": "0b000",
            f"p_WRITEMODE_{port}": "NORMAL",
            f"i_CLK{port}": ClockSignal(),
            f"i_RST{port}": Const(0),
        }
    return Instance(
        "DP16KD",
        p_REGMODE_A="NOREG",
        p_REGMODE_B="OUTREG",
        p_RESETMODE="SYNC",
        p_GSR="AUTO",
        i_CEA=ports.write_enable,
        i_WEA=ports.write_enable,
        i_CEB=ports.enable,
        i_OCEA=Const(1),
        i_OCEB=ports.enable,
        i_WEB=Const(0),
        **pins,
        **{f"i_DIA{k}": write_data[k] for k in range(len(write_data))},
        **{f"o_DOB{k}": read_data[k] for k in range(len(read_data))},
    )
