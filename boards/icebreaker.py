"""iCEBreaker: iCE40UP5K, 12 MHz, FT2232H."""

from amaranth.build import Attrs, Pins, PinsN, Resource, Subsignal
from amaranth_boards.icebreaker import ICEBreakerPlatform

from fdht.boards.board import ICE40, Board, Flash
from fdht.boards.clocks import ICE40Clock
from fdht.spec.target import TARGETS

PMOD = ("pmod", 0)  # PMOD1A
SPI = Resource(
    "spi",
    0,
    # The lower row in the order of Digilent's Pmod Interface Specification, type 2: select, to the board, from it,
    # clock. That puts the clock on the part's pin 44, which leads to a global buffer.
    Subsignal("cs", PinsN("7", dir="i", conn=PMOD), Attrs(PULLUP=1)),
    Subsignal("copi", Pins("8", dir="i", conn=PMOD)),
    Subsignal("cipo", Pins("9", dir="oe", conn=PMOD)),
    Subsignal("clk", Pins("10", dir="i", conn=PMOD), Attrs(GLOBAL=True)),
    Attrs(IO_STANDARD="SB_LVCMOS"),
)


def platform() -> ICEBreakerPlatform:
    """The platform of amaranth-boards with an SPI peripheral on a PMOD."""
    pins = ICEBreakerPlatform()
    pins.add_resources([SPI])
    return pins


BOARD = Board(
    "icebreaker",
    engine=TARGETS["icebreaker"],
    family=ICE40,
    part=("--up5k", "--package", "sg48"),
    platform=platform,
    clock=lambda: ICE40Clock("clk12", divr=0, divf=63, divq=5, filter_range=1),  # icepll -i 12 -o 24
    clock_mhz=24,
    baud=3_000_000,
    loader="ice40_generic",
    spi_mhz=20,
    flash=Flash("spi_flash_1x", size=16 << 20, slots_at=2 << 20, button=("button", 0)),  # W25Q128JV
)
