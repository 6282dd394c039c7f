"""OrangeCrab r0.2 with either part: ECP5 LFE5U-25F or -85F, 48 MHz, native USB.

There is no USB-UART on it: the link is a serial port on the header, RX at its pin 0 and TX at its pin 1, where a
Feather has its serial port, for an adapter of 3.3 V. Pins as GPIO 0 and 1 of litex-boards' gsd_orangecrab.py (r0.2, its
`feather_serial`), the same as connector io 0 of amaranth-boards. Its flash begins with a bootloader, by which
openFPGALoader writes bitstreams and nothing else.
"""

from dataclasses import replace

from amaranth.build import Attrs, Pins, PinsN, Resource, Subsignal
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_25FPlatform, OrangeCrabR0_2_85FPlatform
from amaranth_boards.resources import UARTResource

from fdht.boards.board import ECP5, Board, Flash
from fdht.boards.clocks import ECP5Clock
from fdht.boards.lfe5u_85f import FloorPlan
from fdht.spec.target import TARGETS

_UART = UARTResource(0, rx="0", tx="1", conn=("io", 0), attrs=Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP"))

# Its clock is no ordinary pin, so the resource of amaranth-boards, which names it as one, cannot be taken.
_FLASH = Resource(
    "flash",
    0,
    Subsignal("cs", PinsN("U17", dir="o")),
    Subsignal("copi", Pins("U18", dir="o")),
    Subsignal("cipo", Pins("T18", dir="i")),
    Subsignal("wp", PinsN("R18", dir="o")),
    Subsignal("hold", PinsN("N18", dir="o")),
    Attrs(IO_TYPE="LVCMOS33"),
)


class Platform25F(OrangeCrabR0_2_25FPlatform):
    resources = (*OrangeCrabR0_2_25FPlatform.resources, _UART, _FLASH)


class Platform85F(FloorPlan, OrangeCrabR0_2_85FPlatform):
    resources = (*OrangeCrabR0_2_85FPlatform.resources, _UART, _FLASH)


_85F = Board(
    "orangecrab-85f",
    engine=TARGETS["ulx3s-85f"],
    family=ECP5,
    part=("--85k", "--package", "CSFBGA285", "--speed", "8"),
    platform=Platform85F,
    # ecppll -i 48 -o 96
    clock=lambda: ECP5Clock("clk", input_mhz=48, output_mhz=96, input_divider=1, feedback=2, output=6),
    clock_mhz=96,
    baud=3_000_000,
    loader="orangeCrab",
    flash=Flash("flash", size=16 << 20, slots_at=4 << 20, bitstream_at=0x80000, write=()),
)

_ROOMY = replace(ECP5, route=("--router", "router2", "--placer-heap-timingweight", "5", "--placer-heap-beta", "0.7"))
"""Placement that leaves room. The 25F is full: placed for timing like the others, it stays at 2,200 overused wires."""

_25F = replace(
    _85F,
    name="orangecrab-25f",
    engine=TARGETS["orangecrab-25f"],
    family=_ROOMY,
    part=("--25k", *_85F.part[1:]),
    platform=Platform25F,
    # ecppll -i 48 -o 72
    clock=lambda: ECP5Clock("clk", input_mhz=48, output_mhz=72, input_divider=2, feedback=3, output=8),
    clock_mhz=72,
)

BOARDS = (_25F, _85F)
