"""`fdht synth`: what there is, and builds held against their baselines. Builds themselves are planted."""

import json

import pytest

from fdht.boards import BOARDS, baseline, closed, find_board
from fdht.boards.parts import CLOSED
from fdht.boards.synthesis import Netlist
from fdht.hw.component import ask
from fdht.spec.costs import Resources
from fdht.spec.protocol import target_id
from fdht.spec.target import PART_TARGETS
from fdht.workflow import bitstream

BOARD = find_board("icebreaker")
CYCLES = {"digits": 4792, "faces": None}


@pytest.fixture
def build(monkeypatch, tmp_path):
    """A dictionary: the next build's figures."""
    figures = {
        "board": BOARD.name,
        "target": BOARD.target,
        "bitstream": "icebreaker.bin",
        "routed": "icebreaker.asc",
        "cached": False,
        "fmax_mhz": 27.0,
        "fmax_mhz_median": 26.0,
        "fmax_mhz_seeds": {"1": 25.0, "2": 27.0, "3": None},
        "fmax_mhz_nextpnr": 29.0,
        "fmax_mhz_nextpnr_seeds": {"1": 28.0, "2": 29.0, "3": None},
        "fmax_mhz_icetime": None,
        "timing_source": "nextpnr, its delays corrected",
        "timing_uncovered": {"MULT": {"cells": 2, "pins": ["A", "B"], "room_ns": 6.5}},
        "seeds_met": 2,
        "seeds_routed": 2,
        "clock_mhz": 24,
        "luts": 3600,
        "ffs": 2400,
        "multipliers": 8,
        "block_rams": 30,
        "sprams": 4,
        "utilisation": {"ICESTORM_LC": [4800, 5280]},
        "seconds": 1.0,
        "tools": {"yosys": "1"},
    }
    (tmp_path / "boards").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(baseline, "FOLDER", tmp_path / "boards" / "baselines")
    monkeypatch.setattr(bitstream, "preset_cycles", lambda board: dict(CYCLES))
    monkeypatch.setattr(bitstream, "synthesise", lambda board, out, seeds, progress: figures | {"seeds": list(seeds)})
    return figures


def test_boards_are_listed(fdht):
    outcome = fdht("synth", "--list")
    assert outcome.code == 0 and all(name in outcome.out for name in BOARDS)
    rows = fdht("synth", "--list", "--json").figures
    assert [row["board"] for row in rows if row["board"]] == list(BOARDS)
    assert [row["part"] for row in rows if row["board"] is None] == list(CLOSED) == list(PART_TARGETS)
    assert all(part in outcome.out for part in CLOSED)


def test_a_slower_clock_is_a_build_of_its_own(fdht, build, monkeypatch):
    """In a folder of its own, with a serial port that its clock can make; there are no baselines of it."""
    built = {}
    synthesise = bitstream.synthesise
    monkeypatch.setattr(
        bitstream,
        "synthesise",
        lambda board, out, seeds, progress: (
            built.update(board=board, out=out) or synthesise(board, out, seeds, progress)
        ),
    )
    outcome = fdht("synth", "--board", BOARD.name, "--clock", 5.5)
    assert outcome.code == 0 and "921,600 baud" in outcome.out
    assert built["board"].clock_mhz == 5.5 and str(built["out"]) == "build/icebreaker-5.5MHz"
    for option in ("--check", "--accept"):
        refused = fdht("synth", "--board", BOARD.name, "--clock", 5.5, option)
        assert refused.code and "baselines are of a board's own clock" in refused.err
    assert "choose one above 0 and up to that" in fdht("synth", "--board", BOARD.name, "--clock", 99).sentence


def test_a_build_becomes_the_baseline_and_is_held_against_it(fdht, build, tmp_path):
    check = ("synth", "--board", BOARD.name, "--check")
    assert "has no baseline" in fdht(*check).sentence
    usual = ("synth", "--board", BOARD.name, "--json")
    assert fdht(*usual).figures["seeds"] == [1]
    outcome = fdht(*usual, "--seed", 1, "--seed", 2, "--accept")
    kept = json.loads((tmp_path / "boards" / "baselines" / "icebreaker" / "icebreaker.json").read_text())
    assert outcome.figures["baseline"] == str(tmp_path / "boards" / "baselines" / "icebreaker" / "icebreaker.json")
    assert kept["seeds"] == [1, 2] and kept["cycles_per_step"] == CYCLES
    assert fdht(*usual).figures["seeds"] == [2], "the fastest of the baseline"
    assert fdht(*usual, "--accept").figures["seeds"] == [1, 2]

    outcome = fdht(*check)
    assert outcome.code == 0 and "3: not routed" in outcome.out and "no worse than the baseline" in outcome.err
    assert "4,792" in outcome.out and f"presets that do not fit {BOARD.target}: faces" in outcome.err
    assert (
        "27 MHz reached (nextpnr says 29)" in outcome.out
        and "2 MULT: A, B (their own delays; up to 6.5 ns" in outcome.out
    )
    assert "ICESTORM_LC: logic cells, each of which holds a LUT, a flip-flop or one of both" in outcome.out
    build["luts"] = 3000
    outcome = fdht(*check, "--json")
    assert outcome.code == 0 and outcome.figures["seeds"] == [1, 2]
    assert outcome.figures["better"] == ["luts: 3000, not 3600 (-16.7 %)"]
    build["ffs"] = 3000
    outcome = fdht(*check, "--json")
    assert outcome.code == 1 and "ffs: 3000, not 2400" in outcome.sentence and not outcome.out


def test_of_an_engine_that_no_preset_fits_that_is_all_that_is_said(fdht, build, monkeypatch):
    monkeypatch.setattr(bitstream, "preset_cycles", lambda board: dict.fromkeys(CYCLES))
    outcome = fdht("synth", "--board", BOARD.name, "--accept")
    assert outcome.code == 0 and "Cycles per step" not in outcome.out
    assert f"no preset fits {BOARD.target}; how long a step of another model takes there" in outcome.err


def test_an_installed_copy_records_no_baseline(fdht, build, tmp_path, monkeypatch):
    """And says so before it builds; the sources are told also where a link of fdht/ leads to them."""
    (tmp_path / "boards" / "baselines").mkdir()
    (tmp_path / "fdht").mkdir()
    (tmp_path / "fdht" / "boards").symlink_to("../boards")
    monkeypatch.setattr(baseline, "FOLDER", tmp_path / "fdht" / "boards" / "baselines")
    accept = ("synth", "--board", BOARD.name, "--accept")
    assert fdht(*accept).code == 0
    (tmp_path / "pyproject.toml").unlink()
    monkeypatch.setattr(bitstream, "synthesise", lambda *_, **__: pytest.fail("built"))
    outcome = fdht(*accept)
    assert outcome.code == 1 and "this is an installed copy" in outcome.sentence


def test_a_part_with_closed_tools(fdht, monkeypatch):
    """What the block takes, beside what is predicted; Yosys is planted."""
    engine = PART_TARGETS["xc7a35t"]
    given = []

    def measure(part, verilog, top):
        given.append((part, verilog, top))
        return Netlist(Resources(65, 73), 9000, 12000)

    monkeypatch.setattr(bitstream, "convert", lambda block, name, assertions: f"{name} of {ask(block).target.name}")
    monkeypatch.setattr(closed, "measure", measure)
    outcome = fdht("synth", "--part", "xc7a35t", "--netlist", "--json")
    assert given == [(CLOSED["xc7a35t"], "fdht_axi of xc7a35t", "fdht_axi")]
    assert outcome.figures | {"yosys": "1"} == {
        "board": None,
        "target": "xc7a35t",
        "target_id": target_id(engine),
        "luts": 9000,
        "ffs": 12000,
        "multipliers": 65,
        "block_rams": 73,
        "sprams": 0,
        "predicted": {"multipliers": 65, "block_rams": 71, "sprams": 0},
        "part": "XC7A35T",
        "available": {"luts": 20800, "ffs": 41600, "multipliers": 90, "block_rams": 100, "sprams": 0},
        "yosys": "1",
    }
    shown = fdht("synth", "--part", "XC7A100T", "--target", "tangnano9k", "--netlist").out
    assert "tangnano9k on the XC7A100T" in shown and "predicted" in shown and "270" in shown
    monkeypatch.setattr(closed, "measure", lambda *_: Netlist(Resources(65, 71), 20801, 12000))
    assert "LUTs of the XC7A35T, by Yosys: 20801 needed" in fdht("synth", "--part", "xc7a35t", "--netlist").sentence


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--part", "xc7a35t"), 2, "add --netlist for what the block takes of it; fdht export --axi --target xc7a35t"),
        (("--part", "xc7a35t", "--board", BOARD.name), 2, "--board and --part exclude each other"),
        (("--part", "xc7a35t", "--netlist", "--clock", "5"), 2, "no clock is known; leave out --clock"),
        (("--part", "xc7a15t"), 1, "no part 'xc7a15t' (did you mean xc7a35t?); known: xc7a35t, xc7a100t,"),
        (("--part", "xc7a15t", "--netlist"), 1, "no part 'xc7a15t' (did you mean xc7a35t?); known: xc7a35t, xc7a100t,"),
        (
            ("--part", "xc7a35t", "-t", "ulx3s-85f", "--netlist"),
            1,
            "129 needed, 90 available; ulx3s-85f fits with rows",
        ),
        (("--part", "xc7a35t", "-t", "xc7a15t", "--netlist"), 1, "known: icebreaker, ulx3s-85f"),
        (("--part", "xc7a35t", "--seed", "1", "--netlist"), 2, "--netlist leaves no build"),
    ],
)
def test_what_cannot_be_asked_of_a_part(fdht, options, code, sentence):
    outcome = fdht("synth", *options)
    assert outcome.code == code and sentence in " ".join(outcome.err.split())


@pytest.mark.parametrize("options", [(), ("--board", BOARD.name, "--check", "--accept")])
def test_wrong_usage(fdht, options):
    outcome = fdht("synth", *options)
    assert outcome.code == 2 and outcome.sentence


def test_presets_are_planned_for_the_board(fdht):
    cycles = bitstream.preset_cycles(find_board("tangnano9k"))
    assert cycles["digits"] and cycles["faces"] is None
