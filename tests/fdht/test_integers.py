"""fdht train --qat: what was trained on integers is what is compiled, and wrong requests are refused."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from fdht.cli import main
from fdht.model.checkpoint import load_checkpoint
from fdht.model.data import load
from fdht.model.train import TrainingOptions, predict, train
from fdht.spec.bundle import Bundle
from fdht.spec.target import find_target
from fdht.studies.side_by_side import rows
from fdht.workflow.comparison import ClipRun
from fdht.workflow.compilation import arithmetic
from tests.fdht.tiny import TINY


@pytest.fixture(scope="module")
def integers_file(tmp_path_factory, checkpoint_file) -> Path:
    """The tiny model, fine-tuned on 4-bit factors of the iCEBreaker."""
    path = tmp_path_factory.mktemp("qat") / "tiny.checkpoint"
    words = f"train {TINY.name} --qat --target icebreaker --factor-width 4 --from {checkpoint_file} --out {path}"
    assert main(words.split()) == 0
    return path


def test_the_bundle_has_the_formats_and_the_classes_of_training(fdht, integers_file):
    outcome = fdht("compile", integers_file, "-t", "icebreaker", "-o", ".", "--json")
    assert outcome.code == 0
    checkpoint, bundle = load_checkpoint(integers_file), Bundle.load("tiny.bundle")
    quantisation, test = checkpoint.quantisation, load("digits").test
    assert quantisation is not None and bundle.formats == quantisation.formats
    assert bundle.stage_lists == quantisation.arithmetic.stage_lists
    assert bundle.formats.head is not None
    network = checkpoint.network
    with torch.no_grad():
        logits = network(network.widen(torch.from_numpy(test.clips)))
    assert np.array_equal(logits.double().numpy(), bundle.formats.head.result.dequantise(bundle.logits))
    assert np.array_equal(predict(network, test.clips), bundle.logits.argmax(1))
    assert outcome.figures["accuracy"]["golden"] == checkpoint.accuracy
    assert bundle.about["trained_on"] == "integers of 4/16 bits, icebreaker"


def test_the_bundle_keeps_the_stages_of_training(fdht, integers_file):
    """Whatever the planner would choose."""
    on = arithmetic(TINY.spec, find_target("icebreaker"), 8)
    factor_by_factor = (tuple((name,) for name in TINY.spec.network.factor),)
    assert factor_by_factor != on.stage_lists
    train(TINY, "c.checkpoint", TrainingOptions(arithmetic=replace(on, stage_lists=factor_by_factor)))
    assert fdht("compile", "c.checkpoint", "-t", "icebreaker").code == 0
    assert Bundle.load("c.bundle").stage_lists == factor_by_factor


def test_simulated_words_are_those_of_training(fdht, integers_file):
    assert fdht("compile", integers_file, "-t", "icebreaker", "-o", ".").code == 0
    outcome = fdht("simulate", "tiny.bundle", "-t", "icebreaker", "--clips", "2", "--json")
    assert outcome.code == 0 and outcome.figures["mismatches"] == 0 < outcome.figures["words_compared"]


def test_rows_of_results_say_so(fdht, integers_file, checkpoint_file):
    for path, qat in ((integers_file, True), (checkpoint_file, False)):
        assert fdht("compile", path, "-t", "icebreaker", "-o", ".").code == 0
        run = cast(ClipRun, SimpleNamespace(rtl=1, label=1))
        every = rows(Bundle.load("tiny.bundle"), find_target("icebreaker"), [run])
        assert [row.qat for row in every] == [qat] * 3 and every[1].bits == ("4/16" if qat else "12/16")


def test_it_says_what_it_was_trained_on(fdht, integers_file, checkpoint_file):
    assert fdht("info", integers_file, "--json").figures["trained_on"] == "integers of 4/16 bits, icebreaker"
    assert fdht("info", checkpoint_file, "--json").figures["trained_on"] is None


def test_other_factors_than_it_was_trained_on(fdht, integers_file):
    outcome = fdht("compile", integers_file, "-t", "icebreaker", "--factor-width", "8")
    assert outcome.code == 1 and "trained on factors of 4 bits, which it keeps" in outcome.sentence


def test_words_that_the_target_does_not_have(fdht, checkpoint_file):
    outcome = fdht(
        "train", TINY.name, "--qat", "--data-width", "10", "--from", checkpoint_file, "-o", "c", "--epochs", 1
    )
    assert outcome.code == 0 and "can be evaluated, but not compiled" in outcome.err
    outcome = fdht("compile", "c")
    assert outcome.code == 1 and "are not those of target ulx3s-85f" in outcome.sentence
    assert not Path("c.bundle").exists()


def test_formats_that_are_still_to_come(fdht, monkeypatch):
    monkeypatch.setattr("fdht.model.train.FLOATING", 0.99)
    assert fdht("train", TINY.name, "--qat", "-o", "c", "--epochs", 2).code == 0
    monkeypatch.setattr("fdht.model.qat.QuantisedClassifier.calibrate", interrupt)
    assert fdht("train", TINY.name, "--qat", "-o", "begun", "--epochs", 2).code == 130
    outcome = fdht("compile", "begun")
    assert outcome.code == 1 and "still in floating point; go on with --resume" in outcome.sentence


def interrupt(network, clips):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--factor-width 8", "add --qat"),
        ("--target icebreaker", "add --qat"),
        ("--qat --factor-width 3", "a factor width of 3 is outside 4..18 bits"),
        ("--qat --data-width 20", "a data width of 20 is outside 4..18 bits"),
        ("--qat --target pdp11", "there is no target 'pdp11'"),
        ("--qat --compile", "cannot be compiled"),
        ("--from missing.checkpoint", "missing.checkpoint"),
        ("--from c -o c", "would be written over itself"),
        ("--from x/../c -o c", "would be written over itself"),
    ],
)
def test_wrong_requests(fdht, words, sentence):
    outcome = fdht("train", TINY.name, *words.split())
    assert outcome.code == 1 and sentence in outcome.sentence
    assert not list(Path().glob("**/*.checkpoint"))
