"""A board in simulation that loads itself from the SPI flash of PicoSoC, a model by another hand."""

from pathlib import Path

import pythondata_cpu_picorv32

from fdht.sim.build import Simulator, build_verilog
from fdht.sim.simulated_board import Pins, SimulatedBoard, system_verilog
from fdht.spec.target import Target

MODEL = Path(pythondata_cpu_picorv32.data_location, "picosoc", "spiflash.v")
"""Claire Xenia Wolf's model of the iCEBreaker's flash (ISC licence). It sleeps until it is woken."""

BOARD = """
module board(input clk, input rst, input rx, output tx, input first);
  wire clock, select, copi, cipo, wp, hold;
  system system(
    .clk(clk), .rst(rst), .rx(rx), .tx(tx), .first(first),
    .flash_clock(clock), .flash_select(select), .flash_copi(copi), .flash_cipo(cipo)
  );
  spiflash flash(.csb(~select), .clk(clock), .io0(copi), .io1(cipo), .io2(wp), .io3(hold));
endmodule
"""


def build_board(target: Target, pins: Pins) -> Simulator:
    """Compiles an engine at its pins, with a flash at those of it."""
    what, system = system_verilog(target, pins)
    model = f"/*verilator timing_off*/\n{MODEL.read_text()}\n/*verilator timing_on*/\n"
    return build_verilog("board", what + (model + BOARD).encode(), lambda: system() + model + BOARD)


BLOCK = 64
"""Bytes that the model is told at once; where they are erased it is not told."""


def board_with(built: Simulator, pins: Pins, flash: bytes) -> SimulatedBoard:
    """The board with a flash that holds this."""
    lines = ["@0 FF"]
    for at in range(0, len(flash), BLOCK):
        block = flash[at : at + BLOCK]
        if block.strip(b"\xff"):
            lines.append(f"@{at:X} {block.hex(' ')}")
    return SimulatedBoard(built, pins, {"firmware.hex": "\n".join(lines) + "\n"})
