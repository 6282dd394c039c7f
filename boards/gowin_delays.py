"""Delays that nextpnr-himbaechel leaves out of its figure on Gowin's parts, where Apicula knows them.

nextpnr takes its delays from Apicula's data base, but has none at all for

- LUTs of fewer than four inputs (there are none after LUT4_TECHMAP), and the LUTs that it puts before flip-flops in the
  end: a path that leads through one is in no figure;
- a block RAM's second port, through which it is read here: neither its address nor its data;
- multipliers. Apicula has no delays of them either, so that they count 0 here, and the wires to and from them in full.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fdht.boards import tools
from fdht.boards.static_timing import Setup, TimingGraph, top_module

LUT = {"I0": "a_f", "I1": "b_f", "I2": "c_f", "I3": "d_f"}
"""Apicula's name of the delay from a LUT's input."""

LUT4_TECHMAP = """
module LUT1(output F, input I0);
  parameter [1:0] INIT = 0;
  LUT4 #(.INIT({8{INIT}})) _TECHMAP_REPLACE_ (.F(F), .I0(I0));
endmodule
module LUT2(output F, input I0, I1);
  parameter [3:0] INIT = 0;
  LUT4 #(.INIT({4{INIT}})) _TECHMAP_REPLACE_ (.F(F), .I0(I0), .I1(I1));
endmodule
module LUT3(output F, input I0, I1, I2);
  parameter [7:0] INIT = 0;
  LUT4 #(.INIT({2{INIT}})) _TECHMAP_REPLACE_ (.F(F), .I0(I0), .I1(I1), .I2(I2));
endmodule
"""
"""Makes a LUT4 of each smaller LUT, which is what the part has, so that nextpnr sees its delay when it places."""

MULTIPLIER = "MULT18X18"

_BLOCK_RAM = re.compile(r"DPX?9?B?$")
_SECOND_PORT = "CLKB"


def refine(graph: TimingGraph, design: dict, part: tuple[str, ...]) -> None:
    """Adds to the delays of a routed design; see fdht.boards.static_timing.Refine.

    Raises:
        ToolError: a part that Apicula does not know, or a multiplier without registers at operands and product.
    """
    delays = _delays(*_names(part))
    ports: dict[str, set[str]] = {}
    for sink, (driver, _) in graph.wires.items():
        for cell, port in (sink, driver):
            ports.setdefault(cell, set()).add(port)
    cells = top_module(design)["cells"]
    for cell, used in ports.items():
        kind = graph.types[cell]
        if kind.startswith("LUT") and cell not in graph.arcs:
            graph.arcs[cell] = {(port, "F"): delays["lut"][LUT[port]] for port in used if port in LUT}
        elif _BLOCK_RAM.match(kind):
            for port in used:
                if port.startswith("DOB"):
                    graph.arcs[cell].setdefault((_SECOND_PORT, port), delays["bram"]["clkb_dob_bypass"])
                elif port.startswith("ADB"):
                    graph.setups[cell].setdefault((port, _SECOND_PORT), Setup(delays["bram"]["clkb_adb_set"]))
        elif kind == MULTIPLIER:
            _check_registers(cell, cells[cell]["parameters"])
            graph.assumed.add(kind)
            for port in used - {"CLK"}:
                if port.startswith("DOUT"):
                    graph.arcs[cell]["CLK", port] = 0.0
                else:
                    graph.setups[cell][port, "CLK"] = Setup(0.0)


def _names(part: tuple[str, ...]) -> tuple[str, str]:
    """Apicula's names of a part and of its speed, from nextpnr's options."""
    device = part[part.index("--device") + 1]
    family = next(option.removeprefix("family=") for option in part if option.startswith("family="))
    speed = re.search(r"C\d/I\d$", device)
    if speed is None:
        raise tools.ToolError(f"{device} does not end in a speed such as C6/I5; name the whole part")
    return family, speed[0]


@cache
def _delays(family: str, speed: str) -> dict[str, dict[str, float]]:
    """Apicula's delays of a part, in ns, the longest of its four for rising and falling edges."""
    from apycula.chipdb import load_chipdb  # half a second, and only builds of Gowin's parts need it

    package = find_spec("apycula")
    assert package is not None and package.origin is not None
    file = Path(package.origin).parent / f"{family}.msgpack.xz"
    if not file.is_file():
        raise tools.ToolError(f"apycula has no data of {family}; pip install a newer one")
    timing = load_chipdb(str(file)).timing
    if speed not in timing:
        raise tools.ToolError(f"apycula has no delays of {family} at speed {speed}; known: {', '.join(sorted(timing))}")
    return {
        group: {name: max(values) for name, values in arcs.items() if isinstance(values, list | tuple)}
        for group, arcs in timing[speed].items()
    }


def _check_registers(cell: str, parameters: dict) -> None:
    for name in ("AREG", "BREG", "OUT_REG"):
        if int(parameters.get(name, "0"), 2) != 1:
            raise tools.ToolError(
                f"{name} of the {MULTIPLIER} {cell} is not 1, so that paths lead through it whose delay nobody knows;"
                " put registers at its operands and its product"
            )
