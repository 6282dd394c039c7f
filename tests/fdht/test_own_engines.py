"""Engines in files, and boards of one's own, through every command that takes them, down to the pins in simulation."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import random_bundle

from fdht.boards import BOARDS, baseline, find_board
from fdht.boards.fitting import engine_on
from fdht.boards.synthesis import Netlist
from fdht.compiler.planner import plan
from fdht.explore.space import engine_for
from fdht.model import data
from fdht.model.golden import GoldenLSTM
from fdht.sim.simulated_board import SimulatedBoard
from fdht.spec.bundle import Bundle
from fdht.spec.costs import Resources
from fdht.spec.errors import FileError
from fdht.spec.lstm import fdht_lstm
from fdht.spec.protocol import target_id
from fdht.spec.target import TARGETS, Target, find_target
from fdht.workflow import bitstream, running
from tests.fdht.tiny import TINY

BOARD = find_board("icebreaker")
ENGINE = replace(engine_for(BOARD, 4, 1, 16, 8), name="found", hidden=16, bias_words=64, result_words=64)
"""As a search finds them, with less memory for the simulator's sake."""

MODULE = """
from amaranth_boards.icesugar import ICESugarPlatform
from fdht.boards.outside import board_on

BOARD = board_on(ICESugarPlatform, name="mine")
"""


@pytest.fixture
def engine_file(tmp_path) -> Path:
    path = tmp_path / "found.json"
    path.write_bytes(ENGINE.to_file())
    return path


@pytest.fixture(scope="module")
def small() -> Bundle:
    """A few digits on a small network that the engine runs; vectors of the golden model."""
    spec, clips = fdht_lstm(8, 4, 10, (4, 3), (4, 4), 2), data.load("digits").test
    bundle = random_bundle(np.random.default_rng(1), spec, plan(spec, ENGINE), factor_width=8)
    bundle = replace(
        bundle,
        clips=clips.clips[:2],
        labels=clips.labels[:2],
        logits=np.zeros((2, spec.classes), dtype=np.int64),
        hidden=np.zeros((2, spec.hidden), dtype=np.int64),
    )
    golden = GoldenLSTM(bundle).run(bundle.clips)
    return replace(bundle, logits=golden.logits.numpy(), hidden=golden.h[:, -1].numpy())


def test_a_file_says_an_engine(engine_file):
    """Every field, also after a person has edited it; what is left out is as usual."""
    assert find_target(str(engine_file)) == ENGINE
    fields = json.loads(engine_file.read_text())
    assert fields["version"] == 1 and next(iter(fields)) == "version"
    engine_file.write_text('{"name": "short", "rows": 2, "columns": 4, "input_lanes": 4}')
    assert find_target(str(engine_file)) == Target("short", 2, 4, input_lanes=4)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 2}, "it is of version 2, and this fdht reads version 1"),
        ({"version": 0}, "it is of version 0, and this fdht reads version 1"),
        ({"version": "1"}, "it is of version '1', and this fdht reads version 1"),
        ({"threads": 4}, "threads: "),
        ({"rows": 65}, "rows = 65 is outside 1..64"),
        ({"rows": "8"}, "rows: "),
        ({"name": ""}, "it has no name"),
        ({"name": "../x"}, "a target is called '../x'"),
    ],
)
def test_files_that_say_none(engine_file, change, sentence):
    engine_file.write_text(json.dumps(json.loads(engine_file.read_text()) | change))
    with pytest.raises(FileError) as failure:
        find_target(str(engine_file))
    text = str(failure.value)
    assert text.startswith(f"no target in {engine_file} (") and sentence in text
    assert "fdht explore --take writes one, and docs/engines.md says what its fields are" in text


def test_an_engine_may_not_take_the_name_of_another(engine_file):
    """Images, baselines and rows of results are told apart by it."""
    own = TARGETS["icebreaker"]
    engine_file.write_bytes(own.to_file())
    assert find_target(str(engine_file)) == own
    engine_file.write_bytes(replace(own, rows=4).to_file())
    with pytest.raises(FileError, match="another engine than fdht's own icebreaker, by the same name"):
        find_target(str(engine_file))


def test_an_engine_is_compiled_simulated_and_run_at_the_pins(fdht, small, engine_file, tmp_path):
    """By the same driver and with the same checks as a named one; the signature tells it from others."""
    small.save(tmp_path / "small.bundle")
    outcome = fdht("simulate", "small.bundle", "--target", engine_file, "--json")
    assert outcome.code == 0, outcome.err
    assert (outcome.figures["target"], outcome.figures["mismatches"]) == ("found", 0)
    run = ("run", "small.bundle", "--compare", "--json")
    board = engine_on(BOARD, ENGINE)
    with SimulatedBoard(*running.simulator(board)) as simulated:
        outcome = fdht(*run, "--port", simulated.url)
        signature = f"{target_id(ENGINE):08x}"
        assert outcome.code == 1 and f"is built for target {signature}" in outcome.sentence
        assert "name its file with --target" in outcome.sentence
        outcome = fdht(*run, "--port", simulated.url, "--target", engine_file)
        assert outcome.code == 0, outcome.err
        assert (outcome.figures["target"], outcome.figures["mismatches"]) == ("found", 0)
        outcome = fdht(*run, "--port", simulated.url, "--target", engine_file, "--board", "icebreaker")
        assert outcome.code == 0, outcome.err
        outcome = fdht(*run, "--port", simulated.url, "--board", "icebreaker")
        assert outcome.code == 1 and "load it with: fdht program --board" in outcome.sentence
    outcome = fdht(*run, "--simulate", "--board", "icebreaker", "--target", engine_file, "--clips", 1)
    assert outcome.code == 0 and outcome.figures["mismatches"] == 0, outcome.err


@pytest.fixture
def built(monkeypatch, tmp_path) -> list:
    """Builds are planted: what was asked for, a (board, folder) each."""
    asked = []

    def synthesise(board, folder, seeds, progress):
        asked.append((board, Path(folder)))
        names = ("bitstream", "routed", "timing_source")
        known = {"board": board.name, "target": board.target, "clock_mhz": board.clock_mhz, "seeds": list(seeds)}
        known |= dict.fromkeys(names, "x") | {"tools": {}, "cached": False, "seconds": 1, "timing_uncovered": {}}
        known |= {"fmax_mhz": 30.0, "fmax_mhz_median": 30.0, "fmax_mhz_nextpnr": 30.0, "fmax_mhz_icetime": None}
        known |= {"fmax_mhz_seeds": {"1": 30.0}, "fmax_mhz_nextpnr_seeds": {"1": 30.0}, "utilisation": {}}
        blocks = {"multipliers": board.engine.multipliers, "block_rams": 2, "sprams": 4}
        return known | {"seeds_met": 1, "seeds_routed": 1, "luts": 100, "ffs": 50} | blocks

    monkeypatch.setattr(bitstream, "synthesise", synthesise)
    monkeypatch.setattr(bitstream, "preset_cycles", lambda board: {"digits": 1})
    return asked


def test_an_engine_of_ones_own_is_built_and_has_a_baseline(fdht, built, engine_file, tmp_path):
    """In the current folder, beside nothing of fdht's; another engine of the same name is noticed."""
    command = ("synth", "--board", "icebreaker", "--target", "found.json")
    assert "icebreaker-found has no baseline; fdht synth --board icebreaker --target found.json --accept" in (
        fdht(*command, "--check").sentence
    )
    outcome = fdht(*command, "--accept", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.figures["target_id"] == target_id(ENGINE)
    assert outcome.figures["baseline"] == str(Path("baselines", "icebreaker", "found.json"))
    board, folder = built[-1]
    assert (board.engine, folder) == (ENGINE, Path("build", "icebreaker-found"))
    assert fdht(*command, "--check").code == 0
    engine_file.write_bytes(replace(ENGINE, program_words=128).to_file())
    outcome = fdht(*command, "--check")
    assert outcome.code == 1 and "is of another engine that is called found, too; give this one" in outcome.sentence
    assert baseline.path_of(find_board("icebreaker")).parent.parent == baseline.FOLDER


def test_an_installed_copy_records_baselines_of_ones_own(fdht, built, engine_file, tmp_path, monkeypatch):
    monkeypatch.setattr(baseline, "FOLDER", tmp_path / "boards" / "baselines")
    assert "installed copy" in fdht("synth", "--board", "icebreaker", "--accept").sentence
    assert fdht("synth", "--board", "icebreaker", "--target", engine_file, "--accept").code == 0


def test_an_engine_that_is_too_large_is_not_built(fdht, built, engine_file):
    engine_file.write_bytes(replace(ENGINE, rows=9).to_file())
    outcome = fdht("synth", "--board", "icebreaker", "--target", engine_file)
    assert outcome.code == 1 and not built
    assert "of the iCE40UP5K on icebreaker: 9 needed, 8 available; found fits with rows = 8" in outcome.sentence


def test_its_bitstream_is_loaded(fdht, engine_file, tmp_path, monkeypatch):
    tool = tmp_path / "bin" / "openFPGALoader"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\necho "$@" > called\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    command = ("program", "--board", "icebreaker", "--target", "found.json")
    assert "make it with: fdht synth --board icebreaker --target found.json" in fdht(*command).sentence
    path = tmp_path / "build" / "icebreaker-found" / "icebreaker.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\0")
    assert fdht(*command).code == 0
    assert (tmp_path / "called").read_text().split()[-1] == "build/icebreaker-found/icebreaker.bin"


def test_what_a_netlist_takes_is_shown_beside_what_the_part_has(fdht, engine_file, monkeypatch):
    made = Netlist(Resources(4, 20, 4), 3000, 2000)
    monkeypatch.setattr(bitstream, "measure", lambda board, progress: made)
    command = ("synth", "--board", "icebreaker", "--target", engine_file, "--netlist")
    figures = fdht(*command, "--json").figures
    assert (figures["part"], figures["luts"], figures["available"]["luts"]) == ("iCE40UP5K", 3000, 5280)
    assert figures["target_id"] == target_id(ENGINE)
    assert "56.8 %" in fdht(*command).out
    assert fdht(*command, "--check").code == 2


def test_an_engine_of_ones_own_in_the_performance_table(fdht, built, engine_file):
    """Without a board there is no clock; with one it is the board's, and the baseline says what was reached."""
    options = ("--no-rtl", "--part", "table", "--json", "--target", "found.json", "--preset", TINY.name)
    rows = json.loads(fdht("bench", *options).out)
    assert {row["target"] for row in rows} == {"found"} and {row["fmax_mhz"] for row in rows} == {None}
    on_board = (*options, "--board", "icebreaker")
    (row,) = json.loads(fdht("bench", *on_board).out)
    assert row["fmax_mhz"] is None and row["fits"] and row["clock_mhz"] == 24
    assert fdht("synth", "--board", "icebreaker", "--target", "found.json", "--accept").code == 0
    (row,) = json.loads(fdht("bench", *on_board).out)
    assert row["fmax_mhz"] == 30.0 and row["step_us"] == row["cycles_per_step"] / 24


def test_other_engines_of_fdhts_in_the_performance_table(fdht):
    options = ("bench", "--no-rtl", "--part", "table", "--json", "--preset", TINY.name)
    (row,) = json.loads(fdht(*options, "--target", "tangnano9k").out)
    assert row["target"] == "tangnano9k" and row["fmax_mhz"]
    (row,) = json.loads(fdht(*options, "--board", "orangecrab-85f").out)
    assert row["target"] == "ulx3s-85f"
    assert row["fmax_mhz"] == baseline.load(BOARDS["orangecrab-85f"])["fmax_mhz_median"]


def test_a_board_of_ones_own_goes_wherever_a_board_does(fdht, built, tmp_path):
    """The user names its module; it lies in the current folder."""
    (tmp_path / "ownboard.py").write_text(MODULE)
    board = ("--board", "ownboard:BOARD")
    assert fdht("synth", *board, "--accept").code == 0
    made, folder = built[-1]
    assert (made.name, made.target, folder) == ("mine", "icebreaker", Path("build", "mine"))
    assert Path("baselines", "mine", "icebreaker.json").is_file()
    assert "make it with: fdht synth --board ownboard:BOARD" in fdht("program", *board).sentence
    outcome = fdht("bench", "--no-rtl", "--part", "table", "--preset", TINY.name, *board, "--json")
    assert json.loads(outcome.out)[0]["fmax_mhz"] == 30.0
    found = fdht("explore", TINY.name, *board, "--epochs", 1, "--trials", 0, "--json")
    assert found.code == 0 and Path("build", "explore", "tiny-mine").is_dir(), found.err
    np.savez(tmp_path / "values.npz", x=np.random.default_rng(0).normal(size=(40, 4, 6)), y=np.arange(40) % 2)
    assert fdht("new", "--data", "values.npz", *board, "--rank", 2, "--hidden", 4).code == 0
    assert 'board = "ownboard:BOARD"' in Path("values.toml").read_text()
    assert fdht("train", "values.toml", "--epochs", 1).code == 0
    assert "for which board? name one with --board" in fdht("explore", "values.toml", "--trials", 0).sentence
    assert "no file may name to be run" not in fdht("synth", *board, "--check").err
    assert "cannot be imported" in fdht("synth", "--board", "ownboard:NOTHING").sentence
