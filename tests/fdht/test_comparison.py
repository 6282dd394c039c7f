"""`fdht simulate` and `fdht compare`: the figures they promise, and that they fail when anything differs."""

from dataclasses import replace
from pathlib import Path

import pytest

from docs.worked_example import TARGET
from fdht.compiler.arithmetic import useful_macs
from fdht.report.collected import Collected
from fdht.spec.errors import FdhtError
from fdht.spec.target import TARGETS
from fdht.studies.accuracy import load
from fdht.workflow import comparison
from fdht.workflow.golden_vectors import disagreements, shown, with_name

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def engine(monkeypatch) -> str:
    """A target that is compiled in seconds, once for all tests that use it."""
    monkeypatch.setitem(TARGETS, TARGET.name, TARGET)
    return TARGET.name


def test_compare_holds_float_golden_and_rtl_side_by_side(fdht, engine, bundle_file, small_bundle):
    outcome = fdht("compare", bundle_file, "--target", engine, "--clips", 2, "--json")
    assert outcome.code == 0, outcome.err
    figures = outcome.figures
    assert figures["words_compared"] == figures["words_expected"] > 0 and figures["mismatches"] == 0
    cycles, steps = figures["cycles"], figures["steps"]
    assert cycles["predicted"] == cycles["simulated"] and cycles["stalls"] == 0
    macs = sum(map(sum, useful_macs(small_bundle.layers, small_bundle.stage_lists)))
    assert figures["macs"] == macs < small_bundle.macs and figures["multipliers"] == TARGET.multipliers
    assert figures["utilisation"] == pytest.approx(macs * steps * 2 / (TARGET.multipliers * cycles["simulated"]))
    assert figures["rtl_equals_golden"] == 1 and [clip["clip"] for clip in figures["clips"]] == [0, 4]
    golden = small_bundle.logits.argmax(1)
    assert figures["accuracy"]["golden"] == (golden == small_bundle.labels).mean()
    assert figures["accuracy"]["float"] is None and figures["disagreements"] is None, "it notes no float model"


def test_rows_of_results_are_what_was_compared(fdht, engine, bundle_file, small_bundle):
    """Float and golden on all clips, RTL on those that were simulated; a bundle without float classes has no rows."""
    options = ("compare", bundle_file, "--target", engine, "--clips", 2, "--results", "rows.json")
    about = {"preset": "small", "data": "digits", "seed": 3, "clips": 40}
    for noted, lacks in (({}, "rows of results tell trainings apart"), (about, "the float model's classes")):
        replace(small_bundle, about=noted).save(bundle_file)
        outcome = fdht(*options)
        assert outcome.code == 1 and lacks in outcome.sentence and not Path("rows.json").exists()
    replace(small_bundle, about=about | {"float_classes": [0, 1, 1, 0, 0]}).save(bundle_file)
    assert fdht(*options).code == 0
    rows = {row.model: row for row in load(Path("rows.json"))}
    golden = small_bundle.logits.argmax(1) == small_bundle.labels
    assert rows["float"].correct_clips.tolist() == [True, True, False, False, True]
    assert rows["golden"].correct_clips.tolist() == golden.tolist()
    assert rows["rtl"].correct_clips.tolist() == golden[[0, 4]].tolist()
    assert {(row.study, row.data, row.seed, row.clips) for row in rows.values()} == {("presets", "digits", 3, 40)}
    assert (rows["float"].bits, rows["golden"].bits, rows["rtl"].target) == ("float", "16/16", engine)


def test_pauses_change_cycles_and_no_value(fdht, engine, bundle_file):
    outcome = fdht("simulate", bundle_file, "--target", engine, "--pauses", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.figures["mismatches"] == 0
    assert outcome.figures["cycles"]["simulated"] > outcome.figures["cycles"]["predicted"]


@pytest.mark.parametrize("vectors", ["logits", "hidden"])
def test_vectors_of_another_model_are_found_in_the_rtl(fdht, engine, small_bundle, tmp_path, vectors):
    changed = getattr(small_bundle, vectors).copy()
    changed[0, 1] += 1
    replace(small_bundle, **{vectors: changed}).save(tmp_path / "changed.bundle")
    outcome = fdht("simulate", "changed.bundle", "--target", engine, "--json")
    assert outcome.code == 1 and "1 of" in outcome.sentence and "golden model" in outcome.sentence
    assert outcome.figures["mismatches"] == 1, "the figures are printed all the same"
    outcome = fdht("compare", "changed.bundle", "--target", engine)
    assert outcome.code == 1 and "no longer gives the vectors" in outcome.sentence


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"mismatches": 1, "first_mismatches": ["cycle 7"]}, "cycle 7"),
        ({"words_compared": 9}, "the RTL wrote 9 words"),
        ({"rtl_equals_golden": 0.5}, "different classes"),
        ({"cycles": {"predicted": 100, "simulated": 101, "stalls": 0}}, "101 cycles"),
    ],
)
def test_every_kind_of_difference_is_an_error(change, complaint):
    cycles = {"predicted": 100, "simulated": 103, "stalls": 3}
    good = {
        "mismatches": 0,
        "first_mismatches": [],
        "words_compared": 10,
        "words_expected": 10,
        "rtl_equals_golden": 1.0,
    }
    comparison.check({**good, "cycles": cycles})
    with pytest.raises(FdhtError, match=complaint):
        comparison.check({**good, "cycles": cycles, **change})


def test_classes_are_shown_with_their_names(small_bundle):
    """As far as the bundle has one each that says more than the number."""
    golden = small_bundle.logits.argmax(1).tolist()
    bundle = replace(small_bundle, about={"classes": ["rest", "1"], "float_classes": [1 - k for k in golden]})
    assert [with_name(bundle, k) for k in (-1, 0, 1, 2)] == [-1, "0 rest", 1, 2]
    assert with_name(small_bundle, 0) == 0 and shown(bundle, 0, None) is None
    figures = {"accuracy": dict.fromkeys(comparison.MODELS), "clips_in_bundle": 5}
    output = Collected()
    comparison.report_accuracy(output, bundle, {**figures, "disagreements": disagreements(bundle)})
    assert output.tables[0].rows[-1][1] == "5" and len(output.tables[1].rows) == 5
    of_first = [int(bundle.labels[0]), 1 - golden[0], golden[0]]
    assert output.tables[1].rows[0] == ["0", *(["0 rest", "1"][k] for k in of_first)]
    output = Collected()
    comparison.report_accuracy(output, small_bundle, {**figures, "disagreements": disagreements(small_bundle)})
    assert output.tables[0].rows[-1][1] == "-" and len(output.tables) == 1
