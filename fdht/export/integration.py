"""What an integrator gets beside the Verilog of the IP block: all of it derived from the block and its registers."""

from collections.abc import Iterable
from typing import Any

from fdht.hw.shell.axi import RESULT_WIDTH, AXIAccelerator, Result
from fdht.spec.fixed import Fixed
from fdht.spec.formats import InputFormat
from fdht.spec.instructions import Widths
from fdht.spec.protocol import target_id, word_bytes
from fdht.spec.registers import (
    ADDRESS_BITS,
    BYTES,
    IDENTIFICATION,
    MAP_VERSION,
    OFFSET,
    REGISTERS,
    Field,
    Needs,
    Register,
    registers_of,
)
from fdht.spec.rounds import PACKET_FLAGS
from fdht.spec.tallies import tallies
from fdht.spec.target import Target
from fdht.spec.task import Task

_NEEDS = {Needs.STREAMS: "has several streams", Needs.TALLIES: "has `tallies`"}
"""What the marks in the register map mean."""

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
        "as 0. W1C: set by the block, cleared by writing 1. WO: each write hands a value on. After aresetn all are 0 "
        "except those that identify the block, and IMAGE_CRC and STATUS.LOADED, which stay with the image. An access "
        "to any other address, a write to a register that is read only, or a read of one that is written only, is "
        "answered by SLVERR and does nothing.",
        *(
            f"{needs.value}: only in blocks whose engine {what}; in others there is no such register or field."
            for needs, what in _NEEDS.items()
            if any(field.needs is needs for register in registers for field in register.fields)
        ),
        "",
        "| address | register | bits | field | access | what it is |",
        "|---|---|---|---|---|---|",
    ]
    for register in registers:
        address = f"0x{OFFSET[register.name]:02X}"
        if _lone(register):
            (field,) = register.fields
            access, text = field.access.value, f"{register.text}{_mark(field)}"
            lines.append(f"| {address} | {register.name} | {field.bits} | | {access} | {text} |")
            continue
        lines.append(f"| {address} | {register.name} | | | | {register.text} |")
        lines += [f"| | | {f.bits} | {f.name} | {f.access.value} | {f.text}{_mark(f)} |" for f in register.fields]
    return "\n".join(lines) + "\n"


def _mark(field: Field) -> str:
    """What stands behind a field that not every block has."""
    return f" {field.needs.value}" if field.needs else ""


def c_header(name: str, block: AXIAccelerator) -> str:
    """Addresses, masks, sizes and number formats for C and C++; every macro begins with the name in capitals."""
    target = block.target
    registers = registers_of(target)
    lines = [
        f"#define {{}}REGISTER_BYTES {OFFSET[registers[-1].name] + BYTES}u",
        f"#define {{}}IDENTIFICATION {IDENTIFICATION:#010x}u",
        f"#define {{}}MAP_VERSION {MAP_VERSION}u",
        f"#define {{}}TARGET_ID {target_id(target):#010x}u",
        f"#define {{}}X_BYTES {len(block.s_axis_x_tkeep)}u /* of a beat of s_axis_x */",
        f"#define {{}}X_WORD_BYTES {word_bytes(target.input_width)}u /* of a word of a frame */",
        f"#define {{}}STATE_BYTES {len(block.s_axis_state_tkeep)}u /* of a beat of s_axis_state */",
        f"#define {{}}RESULT_BYTES {RESULT_WIDTH // 8}u /* of a beat of m_axis_result, a signed number */",
        "",
        "/* A number is a word divided by two to the power of its fraction bits. */",
        f"#define {{}}H_FRACTION {target.gate_formats.hidden.frac}",
        f"#define {{}}C_FRACTION {target.gate_formats.cell.frac}",
        "",
        "/* tid of m_axis_result */",
        *(f"#define {{}}TID_{kind.name} {kind.value}u" for kind in Result),
    ]
    if target.streams > 1:
        lines += [
            "",
            "/* tuser of s_axis_x, of a packet's first beat; its tid, and tdest of m_axis_result, are the stream. */",
            *(f"#define {{}}TUSER_{flag.upper()} {1 << bit}u" for bit, flag in enumerate(PACKET_FLAGS)),
        ]
    if target.build.features.tallies:
        lines += [
            "",
            "/* For TALLY_INDEX: steps of stream 0, those of the others behind; words that the first array instruction",
            "   has clipped, those of the others behind. */",
            "#define {}TALLY_STEPS 0u",
            f"#define {{}}TALLY_CLIPPED {target.streams}u",
            f"#define {{}}TALLIES {tallies(target)}u /* counts that there are */",
        ]
    for register in registers:
        lines += ["", f"/* {register.text} */", f"#define {{}}{register.name} {OFFSET[register.name]:#04x}u"]
        if not _lone(register):
            for field in register.fields:
                lines += _field_lines(f"{{}}{register.name}_{field.name}", field)
    return header(name, f"Registers of {name}, an fdht engine for target {target.name}", lines)


def number_format(format: Fixed | InputFormat | None) -> dict[str, Any] | None:
    """What turns words into numbers: (word - offset) / 2**fraction_bits."""
    if format is None:
        return None
    raw, offset = (format.raw, format.offset) if isinstance(format, InputFormat) else (format, 0)
    return {"bits": raw.width, "signed": raw.signed, "offset": offset, "fraction_bits": raw.frac}


def image_header(name: str, facts: dict[str, Any], target: Target) -> str:
    """What fdht.export.ip_block.image_facts says of an image, for C and C++.

    Args:
        target: of the block.
    """
    formats, cycles, streams, stages = facts["formats"], facts["cycles"], facts["streams"], facts["stages"]
    x, logits = formats["x"], formats["logits"]
    lines = [
        f"#define {{}}MODEL_TARGET_ID {facts['target_id']:#010x}u",
        f"#define {{}}MODEL_WORDS {facts['words']}u /* of {name}_image.bin, 16 bits each, low byte first */",
        f"#define {{}}MODEL_CRC {facts['crc']:#010x}u /* for IMAGE_CHECK */",
        f"#define {{}}MODEL_FRAME_WORDS {facts['frame_words']}u",
        f"#define {{}}MODEL_STATE_WORDS {facts['state_words']}u",
        f"#define {{}}MODEL_HIDDEN {facts['hidden']}u",
        f"#define {{}}MODEL_LAYERS {facts['layers']}u",
        f"#define {{}}MODEL_CLASSES {facts['classes']}u",
        f"#define {{}}MODEL_STEPS {facts['steps']}u /* frames of a clip in training; a run may have 1 to 65535 */",
        f"#define {{}}MODEL_STREAMS {streams['register']:#x}u /* for STREAMS, where it is: {streams['count']} */",
        "",
        f"/* Clock cycles of a run of n {'rounds of all streams' if streams['count'] else 'frames'} while nothing is "
        "waited for. */",
        f"#define {{}}MODEL_CYCLES(n) ({cycles['1 step']}u + ((n) - 1u) * {cycles['each further step']}u)",
        "",
        "/* A word of a frame stands for (word - MODEL_X_OFFSET) / 2^MODEL_X_FRACTION; one that is lacking is 0. */",
        f"#define {{}}MODEL_X_BITS {x['bits']}",
        f"#define {{}}MODEL_X_SIGNED {int(x['signed'])}",
        f"#define {{}}MODEL_X_OFFSET {x['offset']}",
        f"#define {{}}MODEL_X_FRACTION {x['fraction_bits']}",
    ]
    if facts["scaling"]:
        centre, step = facts["scaling"]["centre"], facts["scaling"]["step"]
        lines += [
            "",
            "/* A real value v is sent as the word floor((v - centre) / step + 0.5) + MODEL_X_OFFSET, clipped to the",
            "   words' range. Centre and step are of each value of a frame in its own order, or one of all values. */",
            f"#define {{}}MODEL_X_SCALES {len(centre)}",
            f"#define {{}}MODEL_X_CENTRE {initialiser(centre)}",
            f"#define {{}}MODEL_X_STEP {initialiser(step)}",
        ]
    if logits:
        lines += [f"#define {{}}MODEL_LOGIT_FRACTION {logits['fraction_bits']}"]
    if facts["task"] != Task.CLASSIFY:
        lines += [
            "",
            f"#define {{}}MODEL_EVERY_STEP {int(facts['every_step'])} /* logits of every step, or of the last */",
        ]
    if outputs := facts["outputs"]:
        lines += [
            "/* Logit k / 2^MODEL_LOGIT_FRACTION * MODEL_OUTPUT_SCALES[k] + MODEL_OUTPUT_MEANS[k] is the number. */",
            *(f"#define {{}}MODEL_OUTPUT_{name.upper()} {initialiser(outputs[name])}" for name in ("scales", "means")),
        ]
    if target.build.features.tallies and stages["names"]:
        lines += [
            "",
            "/* Steps of stream k: count TALLY_STEPS + k * MODEL_STREAM_PLACES. What stage k has clipped: the sum of",
            "   counts TALLY_CLIPPED + i of all instructions i of which MODEL_STAGE_OF_INSTRUCTIONS[i] is k. */",
            f"#define {{}}MODEL_STREAM_PLACES {streams['apart']}u",
            f"#define {{}}MODEL_INSTRUCTIONS {len(stages['of_instructions'])}u",
            f"#define {{}}MODEL_STAGES {len(stages['names'])}u",
            f"#define {{}}MODEL_STAGE_NAMES {{{', '.join(map(c_string, stages['names']))}}}",
            f"#define {{}}MODEL_STAGE_OF_INSTRUCTIONS {{{', '.join(map(str, stages['of_instructions']))}}}",
        ]
    return header(f"{name}_image", f"The image in {name}_image.bin", lines, prefix=name)


def initialiser(numbers: Iterable[float]) -> str:
    """Numbers as C initialises an array with them."""
    return "{" + ", ".join(repr(float(number)) for number in numbers) + "}"


def c_string(text: str) -> str:
    """Text as C writes it, whatever it is: bytes of UTF-8, of which those that may mean something to C are octal."""
    plain = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz -."
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def header(file: str, title: str, lines: Iterable[str], prefix: str = "") -> str:
    """A C header; `{}` in a line becomes the prefix of macros, a file's own name if there is no other."""
    guard, macros = f"{file.upper()}_H", f"{(prefix or file).upper()}_"
    body = [line.replace("{}", macros) for line in lines]
    head = [f"/* {title}. Generated: do not edit. */", f"#ifndef {guard}", f"#define {guard}", ""]
    return "\n".join([*head, *body, "", f"#endif /* {guard} */", ""])


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
            *(
                [
                    "// s_axis_x_tid is the stream of a frame. s_axis_x_tuser: a sequence of it begins (bit 0) or ends",
                    "// (1) with the frame; no frame after it is waited for (2); the packet has no frame (3).",
                ]
                if block.target.streams > 1
                else []
            ),
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
    return _LITEX.format(
        name=name,
        x=len(block.s_axis_x_tdata),
        s=len(block.s_axis_state_tdata),
        a=ADDRESS_BITS,
        **{part: text if block.target.streams > 1 else "" for part, text in _LITEX_STREAMS.items()},
    ).replace("STREAM_BITS", str(Widths(block.target).stream))


_LITEX_STREAMS = {
    "whose": f'("id", STREAM_BITS), ("user", {len(PACKET_FLAGS)})',
    "whose_ports": "\n            i_s_axis_x_tid=sink.id,\n            i_s_axis_x_tuser=sink.user,",
    "dest": ', ("dest", STREAM_BITS)',
    "dest_port": "\n            o_m_axis_result_tdest=source.dest,",
    "whose_register": """
        text = "Of the next frame: stream (bits 7:0), its sequence begins (8), ends (9), closes (10); none (11)."
        self.stream = CSRStorage(12, description=text)
        self.comb += [source.id.eq(self.stream.storage), source.user.eq(self.stream.storage[8:])]""",
    "and_dest": ', "dest"',
}
"""What the LiteX module has beside the rest if the engine has several streams, by its places."""


_LITEX = '''\
#!/usr/bin/env python3
"""{name} in a LiteX SoC: registers on its bus, frames and results by DMA, an interrupt.

`python3 {name}_litex.py FOLDER` writes the sources of a SoC without a CPU for an Arty A7, ready for Vivado, to show
that all fits together. In a SoC of your own: `add_fdht(self, "{name}.v", origin=0x9000_0000)`.

For every frame, with the functions of generated/csr.h: `{name}_frames_enable` 0, `base` and `length` (bytes, whole
words of the bus), `enable` 1, until `done`. The same for every packet of results, `enable` 1 before the run begins.
`{name}_frame_bytes` is written once.
"""

import sys
from pathlib import Path

from litex.gen import ClockSignal, LiteXModule, ResetSignal
from litex.soc.cores.dma import WishboneDMAReader, WishboneDMAWriter
from litex.soc.integration.soc import SoCRegion
from litex.soc.interconnect import axi, stream, wishbone
from litex.soc.interconnect.csr import CSRStorage
from litex.soc.interconnect.csr_eventmanager import EventManager, EventSourceLevel
from migen import Constant, If, Instance, Mux, Signal

REGISTER_BYTES = 1 << {a}


def frame_beats(size):
    """Beats of `size` bytes of a frame."""
    return stream.EndpointDescription([("data", 8 * size), ("keep", size)], [{whose}])


class FDHT(LiteXModule):
    """The block: `bus` to its registers, `sink` for frames, `state_sink` for initial states, `source` of results.

    A frame is a packet of `sink`, ended by `last`; `source` gives a signed 32-bit number per beat, a packet per run.
    """

    def __init__(self, platform, verilog):
        self.bus = bus = axi.AXILiteInterface(data_width=32, address_width=32)
        self.sink = sink = stream.Endpoint(frame_beats({x} // 8))
        self.state_sink = state = stream.Endpoint([("data", {s}), ("keep", {s} // 8)])
        results = stream.EndpointDescription([("data", 32)], [("id", 2), ("user", 1){dest}])
        self.source = source = stream.Endpoint(results)
        self.ev = EventManager()
        self.ev.interrupt = EventSourceLevel(description="IRQ_STATUS & IRQ_ENABLE")
        self.ev.finalize()
        self.specials += Instance(
            "{name}",
            i_aclk=ClockSignal("sys"),
            i_aresetn=~ResetSignal("sys"),
            i_s_axi_awaddr=bus.aw.addr[:{a}],
            i_s_axi_awprot=Constant(0, 3),
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
            i_s_axi_arprot=Constant(0, 3),
            i_s_axi_arvalid=bus.ar.valid,
            o_s_axi_arready=bus.ar.ready,
            o_s_axi_rdata=bus.r.data,
            o_s_axi_rresp=bus.r.resp,
            o_s_axi_rvalid=bus.r.valid,
            i_s_axi_rready=bus.r.ready,
            i_s_axis_x_tdata=sink.data,
            i_s_axis_x_tkeep=sink.keep,
            i_s_axis_x_tlast=sink.last,
            i_s_axis_x_tvalid=sink.valid,{whose_ports}
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
            o_m_axis_result_tvalid=source.valid,{dest_port}
            i_m_axis_result_tready=source.ready,
            o_interrupt=self.ev.interrupt.trigger,
        )
        platform.add_source(str(verilog))


class FrameEnds(LiteXModule):
    """Ends a frame after `bytes` bytes, and drops what is left of the transfer: a DMA reads whole words of the bus.

    `sink` gives beats of `size` bytes, a packet per transfer of the DMA; `source` has `keep` beside them.
    """

    def __init__(self, size):
        self.sink = sink = stream.Endpoint([("data", 8 * size)])
        self.source = source = stream.Endpoint(frame_beats(size))
        self.bytes = CSRStorage(32, description="Bytes of a frame."){whose_register}
        first, rest, left = Signal(reset=1), Signal(32), Signal(32)
        self.comb += [
            left.eq(Mux(first, self.bytes.storage, rest)),
            source.valid.eq(sink.valid & (left != 0)),
            source.data.eq(sink.data),
            source.last.eq(sink.last | (left <= size)),
            sink.ready.eq(source.ready | (left == 0)),
            *(source.keep[k].eq(left > k) for k in range(size)),
        ]
        self.sync += If(
            sink.valid & sink.ready,
            first.eq(sink.last),
            If(left > size, rest.eq(left - size)).Else(rest.eq(0)),
        )


def add_fdht(soc, verilog, origin, name="{name}"):
    """Adds the block to a SoC: registers at `origin`, a DMA that reads frames, one that writes results.

    A transfer of the reader is a frame, one of the writer a packet of results. Both say endianness="big", by which
    LiteX means that bytes stay where they are.
    """
    block = FDHT(soc.platform, verilog)
    width = soc.bus.data_width
    frames = WishboneDMAReader(wishbone.Interface(data_width=width), endianness="big", with_csr=True)
    results = WishboneDMAWriter(wishbone.Interface(data_width=width), endianness="big")
    results.add_ctrl(ready_on_idle=0)  # by default it takes what comes while it is not enabled, and drops it
    results.add_csr()
    ends = FrameEnds(len(block.sink.data) // 8)
    narrow, wide = stream.Converter(width, len(block.sink.data)), stream.Converter(32, width)
    parts = {{"": block, "_frames": frames, "_results": results, "_frame": ends, "_narrow": narrow, "_wide": wide}}
    for suffix, part in parts.items():
        soc.add_module(name=f"{{name}}{{suffix}}", module=part)
    soc.bus.add_slave(name, block.bus, SoCRegion(origin=origin, size=REGISTER_BYTES, cached=False))
    soc.bus.add_master(f"{{name}}_frames", master=frames.bus)
    soc.bus.add_master(f"{{name}}_results", master=results.bus)
    if soc.irq.enabled:
        soc.irq.add(name, use_loc_if_exists=True)
    soc.comb += [
        frames.source.connect(narrow.sink),
        narrow.source.connect(ends.sink, omit={{"valid_token_count"}}),
        ends.source.connect(block.sink),
        block.source.connect(wide.sink, omit={{"id", "user"{and_dest}}}),
        wide.source.connect(results.sink, omit={{"valid_token_count"}}),
    ]
    return block


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
