"""Builds a SoC with the exported LiteX example for simulation: `python litex_soc.py EXPORTED OUT`.

No CPU, but the pins of a manager of the bus, `host_*`; memory at `main_ram`. OUT gets gateware/soc.v and the headers of
LiteX's software.
"""

import importlib.util
import os
import sys
from pathlib import Path

from litex.build.generic_platform import Pins
from litex.build.io import CRG
from litex.build.sim import SimPlatform
from litex.soc.integration.builder import Builder
from litex.soc.integration.soc_core import SoCMini
from litex.soc.interconnect import wishbone


class Platform(SimPlatform):
    """Writes the Verilog and runs no tool."""

    def build(self, fragment, build_dir, **_):
        folder = Path(build_dir)
        folder.mkdir(parents=True, exist_ok=True)
        here = os.getcwd()
        os.chdir(folder)  # where LiteX leaves the contents of memories
        try:
            self.get_verilog(fragment, name="soc").write("soc.v")
        finally:
            os.chdir(here)


def main(exported: Path, out: Path) -> None:
    described = importlib.util.spec_from_file_location("example", exported / "fdht_axi_litex.py")
    assert described is not None and described.loader is not None
    example = importlib.util.module_from_spec(described)
    described.loader.exec_module(example)
    bus = wishbone.Interface(data_width=32, address_width=32, addressing="word")
    platform = Platform("SIM", [("sys_clk", 0, Pins(1)), ("sys_rst", 0, Pins(1)), *bus.get_ios("host")])
    soc = SoCMini(platform, clk_freq=int(1e6))
    soc.crg = CRG(platform.request("sys_clk"), rst=platform.request("sys_rst"))
    soc.bus.add_master("host", master=bus)
    soc.comb += bus.connect_to_pads(platform.request("host"), mode="slave")
    soc.add_ram("main_ram", origin=0x4000_0000, size=0x1000)
    example.add_fdht(soc, exported / "fdht_axi.v", origin=0x9000_0000)
    Builder(soc, output_dir=str(out), compile_software=False, compile_gateware=False).build(run=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
