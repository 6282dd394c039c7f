"""Tang Nano 9K: Gowin GW1NR-9C, 27 MHz, BL702 (3 Mbaud: sipeed/TangNano-9K-example, issue 7)."""

from amaranth_boards.tang_nano_9k import TangNano9kPlatform

from fdht.boards.board import GOWIN, Board
from fdht.boards.clocks import GowinClock
from fdht.spec.target import TARGETS

BOARD = Board(
    "tangnano9k",
    engine=TARGETS["tangnano9k"],
    family=GOWIN,
    part=("--device", "GW1NR-LV9QN88PC6/I5", "--vopt", "family=GW1N-9C"),
    platform=TangNano9kPlatform,
    # gowin_pll -i 27 -o 45 -d "GW1NR-9 C6/I5"
    clock=lambda: GowinClock(
        "clk27", input_mhz=27, output_mhz=45, input_divider=3, feedback=5, output=16, vco_mhz=(400, 1200)
    ),
    clock_mhz=45,
    baud=3_000_000,
    pack=("-d", "GW1N-9C"),
)
