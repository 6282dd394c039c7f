"""`fdht explore`: figures that hold, models that can be taken, searches that are interrupted, shared and taken up."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import FixedTrial, TrialState

from fdht.boards import find_board, fullness
from fdht.compiler.planner import candidates
from fdht.console import Output
from fdht.explore import exploration
from fdht.explore.exploration import STUDY, Exploration, Question
from fdht.explore.space import Candidate
from fdht.model import data, train
from fdht.model.checkpoint import load_checkpoint
from fdht.model.data import Source
from fdht.model.golden import GoldenLSTM
from fdht.model.presets import Preset, find_preset
from fdht.model.quantise import quantise
from fdht.spec import costs
from fdht.spec.errors import FileError, SpecError
from fdht.spec.target import Target, find_target
from fdht.workflow.datasets import options
from tests.fdht.tiny import TINY

ROOT = Path(__file__).parent.parent.parent
FOLDER = Path("build/explore/tiny-icebreaker")
EXPLORE = ("explore", TINY.name, "--board", "icebreaker", "--epochs", 1)


def exploring(folder: Path, preset: Preset = TINY, own_engine: bool = False) -> Exploration:
    question = Question(preset, Source(preset.data), "icebreaker", 1, own_engine, ("cycles", "parameters"), 0)
    return Exploration(question, folder)


def chosen_for(row: dict) -> dict:
    """What was chosen for a trial of the study in FOLDER."""
    return next(each.params for each in exploring(FOLDER).study.finished if each.number == row["trial"])


def trained(figures: dict) -> list[dict]:
    return [row for row in figures["trials"] if "accuracy" in row]


def test_figures_are_those_of_the_models(fdht, tmp_path):
    """Plans, trains, quantises anew what each row says, and gets its figures."""
    outcome = fdht(*EXPLORE, "--trials", 6, "--json")
    assert outcome.code == 0, outcome.err
    figures = outcome.figures
    rows = trained(figures)
    assert figures["finished"] == len(figures["trials"]) == 6 and figures["trained"] == len(rows) >= 3
    assert sum(figures["refused"].values()) == 6 - len(rows)
    assert {row["trial"] for row in rows} >= set(figures["front"]) and (FOLDER / exploration.PICTURE).is_file()
    study, source = exploring(FOLDER), data.load("digits")
    for row in rows[:2]:
        candidate = study.candidate(row["trial"])
        preset = replace(TINY, spec=candidate.spec)
        result = train.train(preset, tmp_path / "again", train.TrainingOptions(epochs=1, choose=True))
        best = candidates(candidate.spec, candidate.target)[0]
        calibration = np.linspace(0, len(source.train) - 1, exploration.CALIBRATION_CLIPS).astype(int)
        bundle, _ = quantise(
            load_checkpoint(tmp_path / "again").model,
            best.stage_lists,
            source.validation.clips,
            source.validation.labels,
            calibration=source.train.clips[calibration],
            factor_width=row["factor_width"],
            accumulator_width=candidate.target.accumulator_width,
            gate=candidate.target.gate_formats,
        )
        classes = GoldenLSTM(bundle).run(source.validation.clips).classes.numpy()
        assert row["accuracy"] == float((classes == source.validation.labels).mean())
        assert row["float_accuracy"] == result.accuracy
        assert (row["cycles"], row["parameters"]) == (best.cycles, candidate.spec.network.parameters)
        assert row["multipliers"] == row["rows"] * row["columns"] == candidate.target.multipliers


def test_a_model_is_taken_trained_and_compiled(fdht):
    """Down to an image whose program takes the cycles that were promised."""
    found = fdht(*EXPLORE, "--trials", 6, "--json").figures
    others = [row for row in trained(found) if row["target"] != "icebreaker"]
    row = others[0]
    people = fdht(*EXPLORE, "--trials", 0, "--take", row["trial"])
    assert people.code == 0 and "fdht compile" in people.out and "of the 6" not in people.err
    taken = fdht(*EXPLORE, "--trials", 0, "--take", row["trial"], "--json").figures["taken"]
    name = f"tiny-{row['trial']}"
    assert fdht("train", taken["model"], "--epochs", 1).code == 0
    assert load_checkpoint(f"build/{name}.checkpoint").spec == exploring(FOLDER).candidate(row["trial"]).spec
    options = ("--target", taken["target"], "--factor-width", taken["factor_width"])
    compiled = fdht("compile", f"build/{name}.checkpoint", *options, "--json")
    assert compiled.code == 0, compiled.err
    image = fdht("info", compiled.figures["image"], "--json").figures
    target, room = find_target(taken["target"]), exploring(FOLDER).space.choose(FixedTrial(chosen_for(row)))
    assert target.name == row["target"] == f"{name}-engine" and Path(taken["target"]).stem == target.name
    assert row["takes"] == fullness.on_board(find_board("icebreaker")).takes(target)
    assert costs.engine(target).block_rams < costs.engine(room.target).block_rams
    assert image["cycles_per_step"] == row["cycles"] and compiled.figures["multipliers"] == row["multipliers"]


def test_a_preset_that_was_edited_is_another_question(fdht):
    Path("mine.json").write_text(replace(TINY, name="mine").to_json())
    explore = ("explore", "mine.json", "--board", "icebreaker", "--epochs", 1, "--trials", 0)
    assert fdht(*explore).code == fdht(*explore).code == 0
    Path("mine.json").write_text(replace(TINY, name="mine", learning_rate=0.03).to_json())
    outcome = fdht(*explore)
    assert outcome.code == 1 and "is a study with model and recipe = " in outcome.sentence


def test_a_taken_model_says_where_its_clips_are():
    """What is printed for fdht train is what was searched on."""
    source = Source("folder", "/my clips", 4, "clip", 2)
    assert options(source) == ["--data-folder", "'/my clips'", "--frames", "4", "--split", "clip", "--fold", "2"]
    assert options(Source("digits")) == []


def test_what_does_not_fit_is_not_trained(tmp_path, monkeypatch):
    """The faces need 520 words of factors, the iCEBreaker has 512 (boards/README.md)."""
    monkeypatch.setattr(train, "train", lambda *_, **__: pytest.fail("trained"))
    study = exploring(tmp_path, find_preset("faces"), own_engine=True)
    study.run(1, lambda done: None)
    figures = exploration.figures(study)
    assert figures["refused"] == {"factor words": 1} and not figures["front"]
    assert "520 needed, 512 available" in figures["trials"][0]["refused"]


def test_what_diverges_is_not_measured(tmp_path, monkeypatch):
    """The search goes on with other models."""

    going = train.train

    def first_diverges(preset, path, options, **rest):
        if not times:
            times.append(1)
            raise train.TrainingDiverged("a loss that is no number in epoch 1")
        return going(preset, path, options, **rest)

    times, study = [], exploring(tmp_path, own_engine=True)
    monkeypatch.setattr(train, "train", first_diverges)
    study.run(3, lambda done: None)
    assert study.study.refusals == {"a finite loss": 1} and len(study.study.finished) == 3


def test_the_preset_is_the_first_trial(tmp_path, monkeypatch):
    """And is shown, whether it is surpassed or not."""
    digits = replace(find_preset("digits"), clips_per_epoch=64)
    study, output = exploring(tmp_path, digits), Output(as_json=False)
    assert study.own is None
    study.run(3, lambda done: None)
    assert study.own == 0 and study.candidate(0).spec == digits.spec
    found = exploration.figures(study)
    assert found["trials"][0]["cycles"] == candidates(digits.spec, find_board("icebreaker").engine)[0].cycles
    for front in ([0], [1]):
        shown = []
        monkeypatch.setattr(output, "table", lambda title, columns, rows, into=shown: into.append((title, rows)))
        exploration.report(output, {**found, "front": front})
        assert "preset" in [row[0] for row in shown[0][1]] and ("and the preset" in shown[0][0]) == (front == [1])


def test_a_shape_is_trained_once(tmp_path, monkeypatch):
    """Whatever its widths and its engine; another shape is another training."""
    times, study, going = [], exploring(tmp_path), train.train
    monkeypatch.setattr(train, "train", lambda *a, **b: times.append(1) or going(*a, **b))
    board = find_board("icebreaker").engine
    for spec, target, width in (
        (TINY.spec, board, 12),
        (TINY.spec, board, 4),
        (TINY.spec, replace(board, rows=4), 8),
        (replace(TINY.spec, hidden=4, classes=9), board, 12),
    ):
        study._trained(Candidate(spec, target, width))
    assert len(times) == 2


def test_an_interrupted_search_goes_on(fdht, monkeypatch):
    """Finished trials stay; what was chosen for the unfinished one is tried again, and no training is repeated."""
    real = train.train
    calls = []

    def third_is_interrupted(*arguments, **options):
        calls.append(arguments[1])
        if len(calls) == 3:
            raise train.TrainingInterrupted("by Ctrl-C")
        return real(*arguments, **options)

    monkeypatch.setattr(train, "train", third_is_interrupted)
    outcome = fdht(*EXPLORE, "--trials", 8)
    assert outcome.code == 130 and "the same command goes on" in outcome.sentence
    monkeypatch.setattr(train, "train", lambda *a, **b: calls.append(a[1]) or real(*a, **b))
    figures = fdht(*EXPLORE, "--trials", 8, "--json").figures
    states = [trial.state for trial in exploring(FOLDER).study.trials.get_trials()]
    assert figures["finished"] == 8 and states.count(TrialState.FAIL) == 1 and len(states) == 9
    assert calls[3] == calls[2] and len(set(calls)) == len(calls) - 1, "only the interrupted one begins twice"


@pytest.mark.slow
def test_two_processes_on_one_search(tmp_path):
    """Together they look at as many as were asked for, and both show the same front."""
    program = "import sys, tests.fdht.tiny, fdht.cli; sys.exit(fdht.cli.main(sys.argv[1:]))"
    arguments = [*map(str, EXPLORE), "--trials", "6", "--json", "--out", str(tmp_path)]
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], [errors for _, errors in outputs]
    assert {path.name for path in tmp_path.iterdir()} == {STUDY, exploration.PICTURE, "trained"}
    trials = exploring(tmp_path).study.trials.get_trials()
    finished = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len(finished) == 6 and not [trial for trial in trials if not trial.state.is_finished()]
    assert outputs[0][0] == outputs[1][0]


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (("cats", "-b", "icebreaker"), "no preset 'cats'; known: digits"),
        (("tiny", "-b", "vax"), "no board 'vax'; known: icebreaker"),
        (("tiny", "-b", "icebreaker", "--data", "cats"), "no data set 'cats'; known: digits"),
        (("tiny", "-b", "icebreaker", "--data", "faces"), "a step of faces has 19,200 values"),
        (("tiny", "-b", "icebreaker", "--minimise", "price"), "price cannot be minimised; choose of cycles"),
        (("tiny", "-b", "icebreaker", "--epochs", "0"), "0 epochs"),
        (("nowhere.json", "-b", "icebreaker"), "no preset in nowhere.json"),
    ],
)
def test_questions_that_cannot_be(fdht, tmp_path, arguments, complaint):
    outcome = fdht("explore", *arguments)
    assert outcome.code == 1 and complaint in outcome.sentence
    assert not list(tmp_path.rglob("*"))


def test_studies_that_are_none(fdht):
    assert fdht(*EXPLORE, "--trials", 1).code == 0
    outcome = fdht(*EXPLORE[:-1], 2, "--trials", 1)
    assert outcome.code == 1 and "is a study with epochs = 1, not 2" in outcome.sentence
    outcome = fdht(*EXPLORE, "--trials", 0, "--take", 17)
    assert outcome.code == 1 and "trial 17 has no model; those of the front are" in outcome.sentence
    (FOLDER / STUDY).write_text("no journal\n")
    outcome = fdht(*EXPLORE, "--trials", 1)
    assert outcome.code == 1 and "study.journal is no study" in outcome.sentence


def test_presets_and_targets_in_files(tmp_path):
    preset, target, path = find_preset("faces"), find_target("ulx3s-85f"), tmp_path / "it.json"
    path.write_text(preset.to_json())
    assert find_preset(str(path)) == preset == Preset.from_json(preset.to_json())
    with pytest.raises(FileError, match=r"no target in .*it\.json"):
        find_target(str(path))
    path.write_text(target.to_json())
    assert find_target(str(path)) == target
    with pytest.raises(FileError, match=r"no preset in .*it\.json"):
        find_preset(str(path))
    with pytest.raises(SpecError, match="not a target"):
        Target.from_json(target.to_json().replace('"rows": 16', '"rows": 1600'))
