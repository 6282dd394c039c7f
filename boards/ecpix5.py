"""ECPIX-5 with the large part: ECP5 LFE5UM5G-85F, 100 MHz, FT2232H."""

from amaranth.build import Attrs, Pins, PinsN, Resource, Subsignal
from amaranth_boards.ecpix5 import ECPIX585Platform

from fdht.boards.board import ECP5, Board, Flash
from fdht.boards.clocks import ECP5Clock
from fdht.boards.lfe5u_85f import FloorPlan
from fdht.spec.target import TARGETS


class Platform(FloorPlan, ECPIX585Platform):
    """The platform of amaranth-boards, with places for the array's multipliers."""

    # After the maker's page on the flash, and litex-boards. amaranth-boards has the two data pins the other way round,
    # and names the clock as an ordinary pin, which it is not.
    resources = (
        *ECPIX585Platform.resources,
        Resource(
            "flash",
            0,
            Subsignal("cs", PinsN("AA2", dir="o")),
            Subsignal("copi", Pins("AE2", dir="o")),
            Subsignal("cipo", Pins("AD2", dir="i")),
            Subsignal("wp", PinsN("AF2", dir="o")),
            Subsignal("hold", PinsN("AE1", dir="o")),
            Attrs(IO_TYPE="LVCMOS33"),
        ),
    )


BOARD = Board(
    "ecpix5-85f",
    engine=TARGETS["ulx3s-85f"],
    family=ECP5,
    part=("--um5g-85k", "--package", "CABGA554", "--speed", "8"),
    platform=Platform,
    # ecppll -i 100 -o 100
    clock=lambda: ECP5Clock("clk100", input_mhz=100, output_mhz=100, input_divider=1, feedback=1, output=6),
    clock_mhz=100,
    baud=3_000_000,
    loader="ecpix5",
    flash=Flash("flash", size=16 << 20, slots_at=4 << 20),
)
