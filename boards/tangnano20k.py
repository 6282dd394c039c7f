"""Tang Nano 20K: Gowin GW2AR-18C, 27 MHz, BL616.

Pins after two sources that agree: sipeed_tang_nano_20k.py of litex-boards, and uart/src/top.cst of Sipeed's
TangNano-20K-example (clock 4, RX 70, TX 69).
"""

from amaranth.build import Attrs, Clock, Pins, Resource
from amaranth.vendor import GowinPlatform
from amaranth_boards.resources import UARTResource

from fdht.boards.board import GOWIN, Board
from fdht.boards.clocks import GowinClock
from fdht.spec.target import TARGETS


class TangNano20kPlatform(GowinPlatform):
    """What the engine needs of the board; amaranth-boards does not have it."""

    part = "GW2AR-LV18QN88C8/I7"
    family = "GW2AR-18C"
    default_clk = "clk27"
    resources = (
        Resource("clk27", 0, Pins("4", dir="i"), Clock(27e6), Attrs(IO_TYPE="LVCMOS33")),
        UARTResource(0, rx="70", tx="69", attrs=Attrs(PULL_MODE="UP", IO_TYPE="LVCMOS33")),
    )
    connectors = ()


BOARD = Board(
    "tangnano20k",
    engine=TARGETS["tangnano20k"],
    family=GOWIN,
    part=("--device", TangNano20kPlatform.part, "--vopt", "family=GW2A-18C"),
    platform=TangNano20kPlatform,
    # gowin_pll -i 27 -o 54 -d "GW2AR-18 C8/I7"
    clock=lambda: GowinClock(
        "clk27", input_mhz=27, output_mhz=54, input_divider=1, feedback=2, output=16, vco_mhz=(500, 1250)
    ),
    clock_mhz=54,
    baud=3_000_000,
    pack=("-d", "GW2A-18C"),
)
