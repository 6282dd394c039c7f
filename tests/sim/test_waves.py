"""Icarus writes a trace as Verilator does: a VCD with names that the layouts find."""

import shutil

import pytest

from fdht.sim import waves
from fdht.sim.build import build_verilog
from fdht.sim.simulate import run_module

COUNTER = r"""
module counter(input clk, output reg [3:0] \count.value , output busy);
  assign busy = \count.value [1];
  initial \count.value = 0;
  always @(posedge clk) \count.value <= \count.value + 1;
endmodule
"""

BENCH = """
import cocotb
from cocotb.triggers import Timer

@cocotb.test()
async def four(dut):
    for _ in range(4):
        dut.clk.value = 0
        await Timer(5, "ns")
        dut.clk.value = 1
        await Timer(5, "ns")
"""


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus is not installed")
def test_icarus_writes_a_trace(tmp_path, monkeypatch):
    built = build_verilog("counter", b"", lambda: COUNTER, "icarus", waves=True, cache=tmp_path / "kept")
    (tmp_path / "four_clocks.py").write_text(BENCH)
    (tmp_path / "work").mkdir()
    trace = tmp_path / "counter.vcd"
    monkeypatch.syspath_prepend(tmp_path)
    run_module(built, "four_clocks", tmp_path / "work", {}, trace)
    assert "$var reg 4 " in trace.read_text() and " count_value [3:0] $end" in trace.read_text()
    assert waves.run_of(trace, "counter") == (15_000, 40_000)
