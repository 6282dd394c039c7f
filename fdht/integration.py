"""What an integrator gets beside the Verilog of the IP block: all of it derived from the block and its registers."""

from collections.abc import Iterable

from hw.axi import RESULT_WIDTH, AXIAccelerator, Result
from spec.registers import ADDRESS_BITS, BYTES, IDENTIFICATION, OFFSET, REGISTERS, Field, Register

Port = tuple[str, str, int]
"""Name, `input` or `output`, bits."""


def ports(block: AXIAccelerator) -> list[Port]:
    """The ports of the module."""
    members = block.signature.flatten(block)
    return [(path[0], member.flow.name.lower() + "put", len(value)) for path, member, value in members]


def registers_page(registers: Iterable[Register] = REGISTERS, level: int = 1) -> str:
    """The register map in Markdown.

    Args:
        level: of its heading.
    """
    lines = [
        f"{'#' * level} Registers",
        "",
        "32 bits each, by byte address. RO: read only. RW: read and written. W1: writing 1 does something once, reads "
        "as 0. W1C: set by the block, cleared by writing 1. WO: each write hands a value on, reads as 0. After aresetn "
        "all are 0 except those that identify the block. An access to any other address, or a write to a register that "
        "is read only, is answered by SLVERR and does nothing.",
        "",
        "| address | register | bits | field | access | what it is |",
        "|---|---|---|---|---|---|",
    ]
    for register in registers:
        address = f"0x{OFFSET[register.name]:02X}"
        if _lone(register):
            (field,) = register.fields
            lines.append(f"| {address} | {register.name} | {field.bits} | | {field.access.value} | {register.text} |")
            continue
        lines.append(f"| {address} | {register.name} | | | | {register.text} |")
        lines += [f"| | | {f.bits} | {f.name} | {f.access.value} | {f.text} |" for f in register.fields]
    return "\n".join(lines) + "\n"


def c_header(name: str, block: AXIAccelerator) -> str:
    """Addresses, masks and sizes for C and C++."""
    guard = f"{name.upper()}_H"
    lines = [
        f"/* Registers of {name}, an fdht engine for target {block.target.name}. Generated: do not edit. */",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        f"#define FDHT_REGISTER_BYTES {BYTES * len(REGISTERS)}u",
        f"#define FDHT_IDENTIFICATION {IDENTIFICATION:#010x}u",
        f"#define FDHT_X_BYTES {len(block.s_axis_x_tkeep)}u /* of a beat of s_axis_x */",
        f"#define FDHT_STATE_BYTES {len(block.s_axis_state_tkeep)}u /* of a beat of s_axis_state */",
        f"#define FDHT_RESULT_BYTES {RESULT_WIDTH // 8}u /* of a beat of m_axis_result, a signed number */",
        "",
        "/* tid of m_axis_result */",
        *(f"#define FDHT_TID_{kind.name} {kind.value}u" for kind in Result),
    ]
    for register in REGISTERS:
        lines += ["", f"/* {register.text} */", f"#define FDHT_{register.name} {OFFSET[register.name]:#04x}u"]
        if not _lone(register):
            for field in register.fields:
                lines += _field_lines(f"FDHT_{register.name}_{field.name}", field)
    return "\n".join([*lines, "", f"#endif /* {guard} */", ""])


def _field_lines(name: str, field: Field) -> list[str]:
    return [
        f"#define {name} {field.mask:#010x}u /* {field.access.value}: {field.text} */",
        f"#define {name}_SHIFT {field.low}u",
    ]


def _lone(register: Register) -> bool:
    """Whether a register is one field of the same name."""
    return len(register.fields) == 1 and register.fields[0].name == register.name


def template(name: str, block: AXIAccelerator) -> str:
    """A module that instantiates the block and has its ports."""
    every = ports(block)
    declared = [
        f"    {direction} wire {f'[{width - 1}:0] ' if width > 1 else ''}{port}" for port, direction, width in every
    ]
    connected = [f"        .{port}({port})" for port, _, _ in every]
    return "\n".join(
        (
            f"// How {name} is instantiated: copy the instance, and connect what you need.",
            "// Where no initial state is sent, tie s_axis_state_tvalid to 0; where frames fill whole beats,",
            "// s_axis_x_tkeep to 1s.",
            f"module {name}_template (",
            ",\n".join(declared),
            ");",
            f"    {name} {name}_i (",
            ",\n".join(connected),
            "    );",
            "endmodule",
            "",
        )
    )


def vivado_notes(name: str, block: AXIAccelerator) -> str:
    """Constraints for Vivado, as comments where they depend on the design around the block."""
    target = block.target
    operands = f"{target.data_width} x {target.factor_width}"
    return _VIVADO.format(name=name, multipliers=block.multipliers, operands=operands)


_VIVADO = """\
# Notes for Vivado on {name}. Add {name}.v as a Verilog source; no other file is needed for synthesis.
# Export with --technology generic: multipliers and memories are then inferred.

# Clock. All of the block runs on aclk. Inside a design, the clock is constrained where it comes from; for
# synthesis out of context (-mode out_of_context):
# create_clock -period 10.000 -name aclk [get_ports aclk]

# Reset. aresetn is sampled by aclk, low for a cycle or more. Take it from proc_sys_reset or another synchroniser
# in the domain of aclk, and set no false path on it. One register drives all of the engine's resets; if its
# fan-out is what limits the clock:
# set_property MAX_FANOUT 1000 [get_nets -hierarchical -filter {{NAME =~ *engine_rst}}]

# False paths, clock crossings: there are none in the block. Put axi_clock_converter or axis_data_fifo in front of
# an interface that has another clock.

# Memories carry (* ram_style = "block" *). No word is read and written in one cycle where the result would matter,
# so every write mode is right. A small memory in LUTs instead, or a large one in UltraRAM:
# set_property RAM_STYLE distributed [get_cells -hierarchical -filter {{NAME =~ *engine/bias/memory_reg*}}]

# Multipliers: {multipliers} signed products of {operands} bits with registers before and behind them. To see to it
# that each becomes a DSP48:
# set_property USE_DSP yes [get_cells -hierarchical -filter {{NAME =~ *engine/contraction/array/*multiplier*}}]

# Copies of registers, made for speed, carry (* keep = 1 *). Should they be merged all the same, name them:
# set_property KEEP true [get_cells -hierarchical -filter {{NAME =~ *engine/*_0_reg*}}]
"""


def litex_example(name: str, block: AXIAccelerator) -> str:
    """A LiteX module with the block, and a SoC that has it."""
    return _LITEX.format(name=name, x=len(block.s_axis_x_tdata), s=len(block.s_axis_state_tdata), a=ADDRESS_BITS)


_LITEX = '''\
#!/usr/bin/env python3
"""{name} in a LiteX SoC: registers on its bus, frames and results by DMA, an interrupt.

`python3 {name}_litex.py FOLDER` writes the sources of a SoC without a CPU for an Arty A7, ready for Vivado, to show
that all fits together. In a SoC of your own: `add_fdht(self, "{name}.v", origin=0x9000_0000)`.
"""

import sys
from pathlib import Path

from litex.gen import ClockSignal, LiteXModule, ResetSignal
from litex.soc.cores.dma import WishboneDMAReader, WishboneDMAWriter
from litex.soc.integration.soc import SoCRegion
from litex.soc.interconnect import axi, stream, wishbone
from litex.soc.interconnect.csr_eventmanager import EventManager, EventSourceLevel
from migen import Instance

REGISTER_BYTES = 1 << {a}


class FDHT(LiteXModule):
    """The block: `bus` to its registers, `sink` for frames, `state_sink` for initial states, `source` of results.

    A frame is a packet of `sink`, ended by `last`; `source` gives a signed 32-bit number per beat, a packet per run.
    """

    def __init__(self, platform, verilog):
        self.bus = bus = axi.AXILiteInterface(data_width=32, address_width=32)
        self.sink = sink = stream.Endpoint([("data", {x}), ("keep", {x} // 8)])
        self.state_sink = state = stream.Endpoint([("data", {s}), ("keep", {s} // 8)])
        results = stream.EndpointDescription([("data", 32)], [("id", 2), ("user", 1)])
        self.source = source = stream.Endpoint(results)
        self.ev = EventManager()
        self.ev.interrupt = EventSourceLevel(description="IRQ_STATUS & IRQ_ENABLE")
        self.ev.finalize()
        self.specials += Instance(
            "{name}",
            i_aclk=ClockSignal("sys"),
            i_aresetn=~ResetSignal("sys"),
            i_s_axi_awaddr=bus.aw.addr[:{a}],
            i_s_axi_awprot=0,
            i_s_axi_awvalid=bus.aw.valid,
            o_s_axi_awready=bus.aw.ready,
            i_s_axi_wdata=bus.w.data,
            i_s_axi_wstrb=bus.w.strb,
            i_s_axi_wvalid=bus.w.valid,
            o_s_axi_wready=bus.w.ready,
            o_s_axi_bresp=bus.b.resp,
            o_s_axi_bvalid=bus.b.valid,
            i_s_axi_bready=bus.b.ready,
            i_s_axi_araddr=bus.ar.addr[:{a}],
            i_s_axi_arprot=0,
            i_s_axi_arvalid=bus.ar.valid,
            o_s_axi_arready=bus.ar.ready,
            o_s_axi_rdata=bus.r.data,
            o_s_axi_rresp=bus.r.resp,
            o_s_axi_rvalid=bus.r.valid,
            i_s_axi_rready=bus.r.ready,
            i_s_axis_x_tdata=sink.data,
            i_s_axis_x_tkeep=sink.keep,
            i_s_axis_x_tlast=sink.last,
            i_s_axis_x_tvalid=sink.valid,
            o_s_axis_x_tready=sink.ready,
            i_s_axis_state_tdata=state.data,
            i_s_axis_state_tkeep=state.keep,
            i_s_axis_state_tlast=state.last,
            i_s_axis_state_tvalid=state.valid,
            o_s_axis_state_tready=state.ready,
            o_m_axis_result_tdata=source.data,
            o_m_axis_result_tid=source.id,
            o_m_axis_result_tuser=source.user,
            o_m_axis_result_tlast=source.last,
            o_m_axis_result_tvalid=source.valid,
            i_m_axis_result_tready=source.ready,
            o_interrupt=self.ev.interrupt.trigger,
        )
        platform.add_source(str(verilog))


def add_fdht(soc, verilog, origin):
    """Adds the block to a SoC: registers at `origin`, a DMA that reads frames, one that writes results.

    One transfer of the reader is one frame. It reads whole words of the bus: where they do not divide a frame, drive
    `sink.keep` by what is left of it.
    """
    soc.fdht = block = FDHT(soc.platform, verilog)
    soc.bus.add_slave("fdht", block.bus, SoCRegion(origin=origin, size=REGISTER_BYTES, cached=False))
    if soc.irq.enabled:
        soc.irq.add("fdht", use_loc_if_exists=True)
    width = soc.bus.data_width
    soc.fdht_frames = frames = WishboneDMAReader(wishbone.Interface(data_width=width), with_csr=True)
    soc.fdht_results = results = WishboneDMAWriter(wishbone.Interface(data_width=width), with_csr=True)
    soc.bus.add_master("fdht_frames", master=frames.bus)
    soc.bus.add_master("fdht_results", master=results.bus)
    soc.fdht_narrow = narrow = stream.Converter(width, len(block.sink.data))
    soc.fdht_wide = wide = stream.Converter(32, width)
    soc.comb += [
        frames.source.connect(narrow.sink),
        narrow.source.connect(block.sink, omit={{"keep", "valid_token_count"}}),
        block.sink.keep.eq(~0),
        block.source.connect(wide.sink, omit={{"id", "user"}}),
        wide.source.connect(results.sink, omit={{"valid_token_count"}}),
    ]


def main():
    from litex.build.generic_platform import IOStandard, Pins
    from litex.build.io import CRG
    from litex.build.xilinx import XilinxPlatform
    from litex.soc.integration.builder import Builder
    from litex.soc.integration.soc_core import SoCMini

    clock = ("clk100", 0, Pins("E3"), IOStandard("LVCMOS33"))
    platform = XilinxPlatform("xc7a35ticsg324-1L", [clock], toolchain="vivado")
    soc = SoCMini(platform, clk_freq=int(100e6))
    soc.crg = CRG(platform.request("clk100"))
    soc.add_ram("main_ram", origin=0x4000_0000, size=0x1000)
    add_fdht(soc, Path(__file__).with_name("{name}.v"), origin=0x9000_0000)
    folder = sys.argv[1] if len(sys.argv) > 1 else "build"
    Builder(soc, output_dir=folder, compile_software=False, compile_gateware=False).build(run=False)


if __name__ == "__main__":
    main()
'''
