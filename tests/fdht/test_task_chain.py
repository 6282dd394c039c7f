"""Every task from the command line: the same chain, with the figures of the task."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sequences import INPUTS, STEPS, sequences

from docs.worked_example import TARGET
from fdht.model import data, presets
from fdht.model.presets import Preset
from fdht.spec.bundle import Bundle
from fdht.spec.lstm import fdht_lstm
from fdht.spec.target import TARGETS
from fdht.spec.task import Task


@pytest.fixture
def trained(fdht, monkeypatch):
    """`trained(task)`: a checkpoint of the task, whose model the worked example's engine takes."""
    monkeypatch.setitem(TARGETS, TARGET.name, TARGET)

    def made(task: Task) -> str:
        spec = replace(fdht_lstm(INPUTS, 4, 2, (4, 2), (4, 4), 2), task=task)
        monkeypatch.setitem(data.DATA_SETS, "sums", lambda: sequences(task, clips=24))
        monkeypatch.setitem(presets.PRESETS, "sums", Preset("sums", "sums", spec, 2, clips_per_epoch=24, batch=12))
        outcome = fdht("train", "sums", "-o", f"{task}.checkpoint", "--json")
        assert outcome.code == 0, outcome.err
        figures = outcome.figures
        assert [figures[kind] is None for kind in ("accuracy", "rmse", "r2")] == [task.real, *2 * [not task.real]]
        return f"{task}.checkpoint"

    return made


@pytest.mark.parametrize("task", [task for task in Task if task is not Task.CLASSIFY], ids=str)
def test_the_chain_of_a_task(fdht, trained, task):
    checkpoint = trained(task)
    kinds = ("rmse", "r2") if task.real else ("accuracy",)
    compiled = fdht("compile", checkpoint, "--target", TARGET.name, "--json")
    assert compiled.code == 0, compiled.err
    bundle = Bundle.load(f"{task}.bundle")
    assert bundle.logits.shape == (8, *task.shape(STEPS, 2)) and bundle.spec.task is task
    for kind in kinds:
        assert compiled.figures[kind] == bundle.about[kind]
    compared = fdht("compare", f"{task}.bundle", "--target", TARGET.name, "--clips", 2, "--json")
    assert compared.code == 0, compared.err
    figures = compared.figures
    assert figures["mismatches"] == 0 and figures["rtl_equals_golden"] == 1
    assert figures["cycles"]["predicted"] == figures["cycles"]["simulated"]
    for clip in figures["clips"]:
        assert clip["golden"] == clip["rtl"]
        assert np.shape(clip["rtl"]) == (task.shape(STEPS, 2) if task.real else (STEPS,)) == np.shape(clip["label"])
    assert {kind: figures[kind]["golden"] for kind in kinds} == {kind: bundle.about[kind]["golden"] for kind in kinds}
    shown = fdht("compare", f"{task}.bundle", "--target", TARGET.name, "--clips", 1)
    assert shown.code == 0 and ("RMSE" if task.real else f"of {STEPS}") in shown.out
    for file in (checkpoint, f"{task}.bundle", f"{task}.{TARGET.name}.image"):
        described = fdht("info", file, "--json").figures
        assert described.get("model", described)["task"] == task
        assert str(task) in fdht("info", file).out


def test_what_compares_classes_alone_says_so(fdht, trained):
    checkpoint = trained(Task.REGRESS)
    assert fdht("compile", checkpoint, "--target", TARGET.name).code == 0
    for arguments in (
        ("explore", "sums", "--board", "icebreaker", "--trials", 1),
        ("precision", "sums"),
        ("demo", "--preset", "sums"),
        ("compare", "regress.bundle", "--target", TARGET.name, "--results", "rows.json"),
    ):
        outcome = fdht(*arguments)
        assert outcome.code == 1
        assert "compares models by the classes of clips; sums is for the task regress: use fdht" in outcome.sentence
    assert not Path("rows.json").exists()
