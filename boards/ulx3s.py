"""ULX3S with the large part: ECP5 LFE5U-85F, 25 MHz, FT231X."""

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from fdht.boards.board import ECP5, Board, Flash
from fdht.boards.clocks import ECP5Clock
from fdht.boards.lfe5u_85f import FloorPlan
from fdht.spec.target import TARGETS


class Platform(FloorPlan, ULX3S_85F_Platform):
    """The platform of amaranth-boards, with places for the array's multipliers."""


BOARD = Board(
    "ulx3s-85f",
    engine=TARGETS["ulx3s-85f"],
    family=ECP5,
    part=("--85k", "--package", "CABGA381", "--speed", "6"),
    platform=Platform,
    # ecppll -i 25 -o 100
    clock=lambda: ECP5Clock("clk25", input_mhz=25, output_mhz=100, input_divider=1, feedback=4, output=6),
    clock_mhz=100,
    baud=3_000_000,
    loader="ulx3s",
    flash=Flash("spi_flash", size=4 << 20, slots_at=2 << 20, button=("button_fire", 0)),  # some have 16 MB
)
