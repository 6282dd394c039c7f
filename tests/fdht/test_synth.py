"""`fdht synth`: what there is, and builds held against their baselines. Builds themselves are planted."""

import json

import pytest

from fdht.boards import BOARDS, baseline, find_board
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
    assert [row["board"] for row in fdht("synth", "--list", "--json").figures] == list(BOARDS)


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
    outcome = fdht("synth", "--board", BOARD.name, "--seed", 1, "--seed", 2, "--accept", "--json")
    kept = json.loads((tmp_path / "boards" / "baselines" / "icebreaker" / "icebreaker.json").read_text())
    assert outcome.figures["baseline"] == str(tmp_path / "boards" / "baselines" / "icebreaker" / "icebreaker.json")
    assert kept["seeds"] == [1, 2] and kept["cycles_per_step"] == CYCLES

    outcome = fdht(*check)
    assert outcome.code == 0 and "3: not routed" in outcome.out and "no worse than the baseline" in outcome.err
    assert (
        "27 MHz reached (nextpnr says 29)" in outcome.out
        and "2 MULT: A, B (their own delays; up to 6.5 ns" in outcome.out
    )
    build["luts"] = 3000
    outcome = fdht(*check, "--json")
    assert outcome.code == 0 and outcome.figures["seeds"] == [1, 2]
    assert outcome.figures["better"] == ["luts: 3000, not 3600 (-16.7 %)"]
    build["ffs"] = 3000
    outcome = fdht(*check, "--json")
    assert outcome.code == 1 and "ffs: 3000, not 2400" in outcome.sentence and not outcome.out


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


@pytest.mark.parametrize("options", [(), ("--board", BOARD.name, "--check", "--accept")])
def test_wrong_usage(fdht, options):
    outcome = fdht("synth", *options)
    assert outcome.code == 2 and outcome.sentence


def test_presets_are_planned_for_the_board(fdht):
    cycles = bitstream.preset_cycles(find_board("tangnano9k"))
    assert cycles["digits"] and cycles["faces"] is None
