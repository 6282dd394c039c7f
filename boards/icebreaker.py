"""iCEBreaker: iCE40UP5K, 12 MHz, FT2232H."""

from amaranth_boards.icebreaker import ICEBreakerPlatform

from boards.board import ICE40, Board
from boards.clocks import ICE40Clock

BOARD = Board(
    "icebreaker",
    target="icebreaker",
    family=ICE40,
    part=("--up5k", "--package", "sg48"),
    platform=ICEBreakerPlatform,
    clock=lambda: ICE40Clock("clk12", divr=0, divf=63, divq=5, filter_range=1),  # icepll -i 12 -o 24
    clock_mhz=24,
    baud=3_000_000,
)
