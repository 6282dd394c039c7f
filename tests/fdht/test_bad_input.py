"""What a new user gets wrong: one sentence, an exit code, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fdht.model import presets, train
from fdht.model.checkpoint import load_checkpoint
from fdht.spec import container
from fdht.spec.bundle import Bundle
from fdht.spec.lstm import dense_lstm
from fdht.spec.target import TARGETS
from tests.fdht.tiny import TINY

ROOT = Path(__file__).parent.parent.parent


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", ["simulate", "compare", "info"])
def test_missing_bundle(fdht, command):
    outcome = fdht(command, "nowhere.bundle")
    assert outcome.code == 1 and "no file nowhere.bundle" in outcome.sentence


@pytest.mark.parametrize("command", ["simulate", "compare", "info"])
def test_truncated_bundle(fdht, bundle_file, command):
    bundle_file.write_bytes(bundle_file.read_bytes()[:-100])
    outcome = fdht(command, bundle_file)
    assert outcome.code == 1 and "damaged" in outcome.sentence


@pytest.mark.parametrize("command", ["simulate", "compare", "info"])
def test_tampered_bundle(fdht, bundle_file, command):
    content = bytearray(bundle_file.read_bytes())
    content[-1] ^= 1
    bundle_file.write_bytes(content)
    outcome = fdht(command, bundle_file)
    assert outcome.code == 1 and "content hash" in outcome.sentence


def test_a_text_file_is_no_bundle(fdht, tmp_path):
    (tmp_path / "notes.txt").write_text("not a bundle")
    outcome = fdht("simulate", tmp_path / "notes.txt")
    assert outcome.code == 1 and "damaged or not an fdht file" in outcome.sentence


def test_info_of_what_is_no_file_of_fdht_says_what_takes_it(fdht, bundle_file, tmp_path):
    (tmp_path / "clips" / "yes").mkdir(parents=True)
    for name in ("mine.npz", "walk.csv", "mine.toml", "dense.pt", "notes.txt"):
        (tmp_path / name).write_text("some text that is longer than a header's length")
    for name, sentence in (
        (".", f". is a folder; name a file in it: {bundle_file.name}"),
        ("clips", "clips is a folder; name a file; if it holds clips, fdht data --data-folder clips says"),
        ("mine.npz", "mine.npz is a file of data; fdht data mine.npz says what is in it"),
        ("walk.csv", "fdht data walk.csv says"),
        ("mine.toml", "mine.toml is a project, none of .bundle, .checkpoint, .image; fdht train mine.toml trains it"),
        ("dense.pt", "fdht compress dense.pt --data NAME reads it"),
        ("notes.txt", "notes.txt is damaged or not an fdht file"),
        ("clip", "there is no file clip; check the path"),
    ):
        outcome = fdht("info", name)
        assert outcome.code == 1 and sentence in outcome.sentence


def test_waves_under_the_name_of_their_layout(fdht, bundle_file, tmp_path):
    outcome = fdht("simulate", bundle_file, "--waves", "run.gtkw")
    assert outcome.code == 1 and "beside them; name them run.vcd" in outcome.sentence
    assert files(tmp_path) == {bundle_file.name}


def test_checkpoint_where_a_bundle_is_asked(fdht, checkpoint_file):
    outcome = fdht("simulate", checkpoint_file)
    assert outcome.code == 1 and "is a checkpoint, not a bundle" in outcome.sentence


def test_bundle_where_a_checkpoint_is_asked(fdht, bundle_file, tmp_path):
    outcome = fdht("compile", bundle_file)
    assert outcome.code == 1 and "is a bundle, not a checkpoint" in outcome.sentence
    assert files(tmp_path) == {bundle_file.name}


def test_resuming_the_checkpoint_of_another_model(fdht, checkpoint_file, tmp_path):
    before = checkpoint_file.read_bytes()
    outcome = fdht("train", TINY.name, "--resume", "--rank", 3, "--out", checkpoint_file)
    assert outcome.code == 1 and "another shape" in outcome.sentence
    assert checkpoint_file.read_bytes() == before


@pytest.mark.parametrize(
    "arguments, named",
    [
        (("train", "cats"), "digits, faces"),
        (("demo", "--preset", "cats"), "digits, faces"),
        (("demo", "--target", "vax"), "icebreaker, ulx3s-85f"),
        (("compile", "any.checkpoint", "--target", "vax"), "icebreaker, ulx3s-85f"),
        (("simulate", "any.bundle", "--target", "vax"), "icebreaker, ulx3s-85f"),
        (("synth", "--board", "vax"), "icebreaker, ulx3s-85f"),
    ],
)
def test_unknown_names_are_answered_with_those_there_are(fdht, arguments, named, tmp_path):
    outcome = fdht(*arguments)
    assert outcome.code == 1 and "there is no" in outcome.sentence and named in outcome.sentence
    assert "did you mean" not in outcome.sentence
    assert not files(tmp_path)


@pytest.mark.parametrize(
    "code, arguments, sentence",
    [
        (1, ("train", "digts"), "there is no preset 'digts' (did you mean digits?); known: digits, "),
        (1, ("train", "DIGITS"), "(did you mean digits?)"),
        (1, ("synth", "--board", "icebraker"), "there is no board 'icebraker' (did you mean icebreaker?); known: ice"),
        (1, ("fit", "digits", "--board", "ulx3s-45F"), "'ulx3s-45F', only ulx3s-85f, which has another part"),
        (1, ("fit", "digits", "--board", "ulx3s-85"), "there is no board 'ulx3s-85' (did you mean ulx3s-85f?)"),
        (1, ("simulate", "any.bundle", "--target", "ulx3s"), "there is no target 'ulx3s' (did you mean ulx3s-85f?)"),
        (1, ("data", "spoken-digit"), "there is no data set 'spoken-digit' (did you mean spoken-digits?)"),
        (1, ("fit", "digits", "--part", "xc7a35"), "there is no part 'xc7a35' (did you mean xc7a35t?)"),
        (1, ("train", "digits", "--schedule", "cosin"), "there is no schedule 'cosin' (did you mean cosine?)"),
        (1, ("simulate", "any.bundle", "--simulator", "verilog"), "no simulator 'verilog' (did you mean verilator?)"),
        (2, ("trian",), "there is no command 'trian' (did you mean train?); fdht --help shows what there is"),
        (2, ("train", "--bord", "x"), "there is no option '--bord' (did you mean --board?); fdht train --help shows"),
        (2, ("train", "--zzz"), "there is no option '--zzz'; fdht train --help shows what there is"),
    ],
)
def test_of_names_that_are_nearly_right_the_right_one_is_said(fdht, code, arguments, sentence, bundle_file):
    bundle_file.rename("any.bundle")
    outcome = fdht(*arguments)
    assert outcome.code == code and sentence in outcome.sentence


@pytest.mark.parametrize(
    "options, complaint",
    [
        (
            ("--input-modes", "3,2,2,2", "--output-modes", "4,4,4,4", "--rank", 2),
            "fewer than 8 inputs + 64 hidden units",
        ),
        (("--input-modes", "9,2,2,2", "--output-modes", "4,4,4,2", "--rank", 2), "no four equal boxes of 64 units"),
        (("--rank", 0), "rank 0"),
        (("--rank", -2), "rank -2"),
        (("--input-modes", "9,2,2,two"), "not whole numbers"),
        (("--input-modes", "9,8"), "need a rank"),
        (("--input-modes", "9,8", "--rank", 2), "must agree"),
        (("--epochs", 0), "0 epochs"),
    ],
)
def test_models_that_cannot_be(fdht, options, complaint, tmp_path):
    outcome = fdht("train", "digits", *options)
    assert outcome.code == 1 and complaint in outcome.sentence
    assert not files(tmp_path)


def test_the_demo_trains_nothing_that_does_not_fit(fdht, tmp_path):
    outcome = fdht("demo", "--preset", "faces", "--target", "icebreaker")
    assert outcome.code == 1 and "520 needed, 512 available" in outcome.sentence
    assert not files(tmp_path)


def test_model_too_large_for_the_target(fdht, tmp_path, monkeypatch):
    units = TARGETS["icebreaker"].hidden + 1
    large = replace(TINY, name="large", spec=dense_lstm(8, units, 10), epochs=1)
    with monkeypatch.context() as patch:
        patch.setitem(presets.PRESETS, large.name, large)
        assert fdht("train", large.name).code == 0
        before = files(tmp_path)
        outcome = fdht("compile", "build/large.checkpoint", "--target", "icebreaker")
    assert outcome.code == 1 and "needed" in outcome.sentence and "available" in outcome.sentence
    assert files(tmp_path) == before


def test_more_clips_than_the_bundle_holds(fdht, bundle_file):
    outcome = fdht("simulate", bundle_file, "--clips", 6)
    assert outcome.code == 1 and "holds 5" in outcome.sentence


@pytest.mark.parametrize("command", [("simulate",), ("compare",), ("demo",)])
def test_no_compiler(fdht, bundle_file, tmp_path, monkeypatch, command):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    arguments = command if command == ("demo",) else (*command, bundle_file)
    outcome = fdht(*arguments)
    assert outcome.code == 1 and "g++" in outcome.sentence and "apt install" in outcome.sentence
    assert files(tmp_path) == {bundle_file.name}, "asked before training starts"


def test_training_interrupted_before_the_first_checkpoint(fdht, tmp_path, monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(train._Run, "one_epoch", interrupt)
    outcome = fdht("train", TINY.name)
    assert outcome.code == 130 and "nothing was saved" in outcome.sentence
    assert not files(tmp_path)


def test_interrupted_training_leaves_a_whole_checkpoint(tmp_path):
    path = tmp_path / "tiny.checkpoint"
    program = "import sys, tests.fdht.tiny, fdht.cli; sys.exit(fdht.cli.main(sys.argv[1:]))"
    arguments = [sys.executable, "-c", program, "train", TINY.name, "--epochs", "100000", "--out", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(arguments, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not path.with_suffix(".csv").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors and "--resume" in errors.splitlines()[-1]
    assert files(tmp_path) == {path.name, "tiny.csv"}
    assert not load_checkpoint(path).complete


def test_image_or_checkpoint_of_nobody(fdht, tmp_path):
    container.write(tmp_path / "odd", "bundle", {"stage_list": []}, {})
    outcome = fdht("info", tmp_path / "odd")
    assert outcome.code == 1 and "not a consistent bundle" in outcome.sentence


def test_a_folder_that_cannot_be_written(fdht, checkpoint_file, tmp_path):
    (tmp_path / "file").write_text("in the way")
    outcome = fdht("train", TINY.name, "--out", tmp_path / "file" / "tiny.checkpoint")
    assert outcome.code == 1 and "cannot write" in outcome.sentence


@pytest.mark.parametrize("arguments", [("explode",), ("compile",), ("train", "digits", "--epochs", "many"), ("synth",)])
def test_wrong_usage(fdht, arguments):
    outcome = fdht(*arguments)
    assert outcome.code == 2 and outcome.sentence and not outcome.out


def test_with_json_an_error_leaves_stdout_empty(fdht):
    outcome = fdht("info", "nowhere.bundle", "--json")
    assert outcome.code == 1 and outcome.sentence and not outcome.out


def test_any_interruption_is_one_sentence(fdht, bundle_file, monkeypatch):
    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(Bundle, "load", staticmethod(interrupt))
    outcome = fdht("simulate", bundle_file)
    assert outcome.code == 130 and "interrupted" in outcome.sentence
