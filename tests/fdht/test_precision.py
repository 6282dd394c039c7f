"""fdht precision: the rows are those of models that were trained, rounded and trained on; nothing is done twice."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fdht.model.checkpoint import load_checkpoint
from fdht.model.data import load
from fdht.model.qat import QuantisedClassifier
from fdht.model.quantise import CALIBRATION_CLIPS, quantise
from fdht.model.train import predict
from fdht.spec.target import find_target
from fdht.studies import accuracy, precision
from fdht.workflow.compilation import arithmetic
from tests.fdht.tiny import TINY

WORDS = ("precision", TINY.name, "--factor-width", 4, "--factor-width", 6, "--data-width", 16, "--data-width", 8)
RESULTS = ("-o", "rows.json")


@pytest.fixture
def swept(fdht):
    outcome = fdht(*WORDS, "--seed", 0, "--seed", 1, *RESULTS, "--json")
    assert outcome.code == 0, outcome.err
    return outcome.figures


def test_rows(swept):
    rows = accuracy.load(Path("rows.json"))
    # Per seed a row in floating point; a seed of 6/16 and 6/8, two of 4/16 and 4/8; each rounded and trained on.
    assert len(rows) == 2 + 2 * (2 + 2 * 2) == len({row.key for row in rows})
    assert {row.study for row in rows} == {"precision"} and {row.data for row in rows} == {"digits"}
    assert {row.clips for row in rows} == {4 * (2 + 1)}  # 2 epochs of 4 clips, and one more
    assert {(row.model, row.target) for row in rows if row.bits == "float"} == {("float", "")}
    assert {(row.model, row.target) for row in rows if row.bits != "float"} == {("golden", "ulx3s-85f")}
    assert sorted((row.bits, row.qat) for row in rows if row.seed == 1) == [
        ("4/16", False), ("4/16", True), ("4/8", False), ("4/8", True), ("float", False)
    ]  # fmt: skip
    mean = np.mean([row.accuracy for row in rows if row.bits == "4/8" and row.qat])
    assert swept["accuracy"]["4/8"]["trained"]["mean"] == mean and swept["accuracy"]["4/8"]["trained"]["seeds"] == 2
    assert swept["logits_compared"] == 6 * 360 * 10 and swept["mismatches"] == 0
    with Image.open(swept["picture"]) as picture:
        assert picture.format == "PNG" and picture.width > 1000


def test_what_a_row_was_measured_on(swept):
    """One of each kind again, from the checkpoints and without the command."""
    (row_rounded,), (row_trained,) = (
        [r for r in accuracy.load(Path("rows.json")) if (r.bits, r.qat, r.seed) == ("4/8", qat, 1)]
        for qat in (False, True)
    )
    data, on = load("digits"), arithmetic(TINY.spec, find_target("ulx3s-85f"), 4, 8)
    kept = {path.name: load_checkpoint(path) for path in precision.CACHE.glob("*seed1*.checkpoint")}
    (floating,) = (c for name, c in kept.items() if "float-longer" in name)
    (integers,) = (c for name, c in kept.items() if "4-8-longer" in name)
    assert floating.epochs == integers.epochs == 1 and integers.recipe["start"] is not None
    assert integers.quantisation is not None and integers.quantisation.arithmetic == on
    bundle, _ = quantise(
        floating.model,
        on.stage_lists,
        data.test.clips,
        data.test.labels,
        calibration=data.final.spread(CALIBRATION_CLIPS),
        factor_width=4,
        gate=on.gate,
    )
    assert np.array_equal(row_rounded.correct_clips, bundle.logits.argmax(1) == data.test.labels)
    found = predict(QuantisedClassifier(integers.model, integers.quantisation), data.test.clips)
    assert np.array_equal(row_trained.correct_clips, found == data.test.labels)


def test_clips_of_different_length_are_compared_at_their_own_last_step(swept):
    (kept,) = precision.CACHE.glob("*seed1-4-8-longer*.checkpoint")
    trained, data = load_checkpoint(kept), load("digits")
    lengths = np.arange(len(data.test)) % data.test.clips.shape[1] + 1
    ragged = replace(data, test=replace(data.test, lengths=lengths))
    on = arithmetic(TINY.spec, find_target("ulx3s-85f"), 4, 8)
    compared = precision.compare(trained, precision.golden_logits(trained, on, ragged), ragged)
    assert compared == {"logits": 360 * 10, "mismatches": 0}


def test_what_is_kept_is_named_by_the_content_of_a_file_of_data(tmp_path):
    paths = set()
    for seed in (0, 1, 1):
        x = np.random.default_rng(seed).normal(size=(40, 6, 4))
        np.savez(tmp_path / "mine.npz", x=x, y=np.arange(40) % 2)
        precision.packaged.cache_clear()
        training = precision.Training(replace(TINY, data=str(tmp_path / "mine.npz")), 0)
        paths.add((training.path, precision.Point(training, None).path))
    assert len(paths) == 2
    assert precision.picture_of(str(tmp_path / "mine.npz"), "engines/small.json") == "precision-mine-small.png"


def test_nothing_is_done_twice(fdht, swept, monkeypatch):
    before = Path("rows.json").read_text()
    Path("rows.json").unlink()
    monkeypatch.setattr("fdht.model.train.train", None)
    monkeypatch.setattr(precision, "quantise", None)
    again = fdht(*WORDS, "--seed", 0, "--seed", 1, *RESULTS, "--json")
    assert again.figures == swept and Path("rows.json").read_text() == before


def test_an_interrupted_sweep_goes_on(fdht, monkeypatch):
    calls = []

    def interrupted(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return quantise(*arguments, **options)

    monkeypatch.setattr(precision, "quantise", interrupted)
    outcome = fdht(*WORDS, "--seed", 0, *RESULTS)
    assert outcome.code == 130 and "3 of 9 points are measured" in outcome.err
    assert len(accuracy.load(Path("rows.json"))) == 3
    outcome = fdht(*WORDS, "--seed", 0, *RESULTS)
    assert outcome.code == 0 and len(accuracy.load(Path("rows.json"))) == 9


def test_a_difference_to_the_golden_model_is_an_error(fdht, monkeypatch):
    forward = QuantisedClassifier.forward
    monkeypatch.setattr(QuantisedClassifier, "forward", lambda self, x, **options: forward(self, x, **options) + 0.5)
    outcome = fdht("precision", TINY.name, "--factor-width", 4, "--data-width", 16, "--seed", 0, *RESULTS)
    assert outcome.code == 1 and "3600 of 3600 logits" in outcome.sentence
    assert "3,600 mismatches" in outcome.out


def test_wrong_requests(fdht):
    for words, sentence in (
        (("precision", "nothing"), "no preset 'nothing'"),
        (("precision", TINY.name, "--factor-width", 2), "a factor width of 2 is outside 4..18 bits"),
        (("precision", TINY.name, "--target", "pdp11"), "no target 'pdp11'"),
    ):
        outcome = fdht(*words)
        assert outcome.code == 1 and sentence in outcome.sentence
    assert not Path("docs").exists()
