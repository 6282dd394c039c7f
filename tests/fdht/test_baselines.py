"""`fdht baselines`: all formats trained alike, each once; a table that says where FDHT is not better."""

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fdht.model import train as training
from fdht.model.checkpoint import load_checkpoint
from fdht.model.data import load as load_data
from fdht.model.presets import PRESETS, find_preset
from fdht.model.train import TrainingInterrupted, predict, train
from fdht.spec.errors import FileError
from fdht.studies import baselines
from fdht.studies.accuracy import FORMATS, Row, hits, load
from fdht.studies.baselines import Training, standings
from fdht.workflow.datasets import packaged
from tests.fdht.tiny import TINY

RESULTS = Path("build/results/accuracy.json")
QUICK = ("baselines", "--data", "digits", "--training-clips", 12, "--seed", 3, "--seed", 4)


@pytest.fixture
def tiny(monkeypatch):
    """The preset of the digits, so small that it trains in no time."""
    preset = replace(TINY, name="digits")
    monkeypatch.setitem(PRESETS, "digits", preset)
    return preset


@pytest.fixture
def trained(monkeypatch) -> list[Path]:
    """The checkpoints that were trained, in order."""
    paths = []

    def noted(preset, path, *options, **rest):
        paths.append(path)
        return train(preset, path, *options, **rest)

    monkeypatch.setattr("fdht.model.train.train", noted)
    return paths


def known(rows: list[Row]) -> list[Row]:
    return [replace(row, seconds=0.0) for row in rows]


def test_every_format_is_trained_once(fdht, tiny, trained):
    quick = (*QUICK, "--learning-rate", 0.02, "--learning-rate", 0.01)
    outcome = fdht(*quick, "--json")
    assert outcome.code == 0
    rows = load(RESULTS)
    assert {(row.format, row.recurrent) for row in rows} == {
        *((format, "whole") for format in FORMATS if format != "ht-input"),
        *((format, "dense") for format in ("tt", "tr", "bt", "ht-input")),
    }
    assert {row.seed for row in rows if row.format == "dense"} == {3}
    assert all({r.seed for r in rows if r.format == f} == {3, 4} for f in FORMATS if f != "dense")
    assert all((row.clips, row.total, row.model, row.bits) == (12, 360, "float", "float") for row in rows)
    assert len(trained) == len(set(trained)) == 3 * len(rows), "at two rates to choose, and once more"
    before = RESULTS.read_text()
    again = fdht(*quick, "--json")
    assert again.figures == outcome.figures and RESULTS.read_text() == before
    assert len(trained) == len(set(trained)), "nothing is trained twice"
    assert fdht(*quick, "--seed", 5, "--format", "tt").code == 0
    assert len(trained) == 3 * (len(rows) + 2) and len(load(RESULTS)) == len(rows) + 2


def test_rows_are_what_the_checkpoints_do(fdht, tiny):
    assert fdht(*QUICK, "--format", "tt", "--learning-rate", 0.02).code == 0
    test = load_data("digits").test
    found = {}
    for path in Path("build/baselines").glob("*.checkpoint"):
        checkpoint = load_checkpoint(path)
        assert checkpoint.complete and checkpoint.data.name == "digits"
        correct = predict(checkpoint.model, test.clips) == test.labels
        found[checkpoint.spec.recurrent is None, checkpoint.seed] = correct.tolist()
    rows = load(RESULTS)
    assert {(row.recurrent == "whole", row.seed): row.correct_clips.tolist() for row in rows} == found
    assert all(row.settings == "learning rate 0.02, weight decay 0.01" for row in rows)


def test_a_learning_rate_is_chosen_on_validation(fdht, tiny, trained, monkeypatch):
    """One that trains nothing is not taken, and a choice leaves no checkpoint behind."""
    monkeypatch.setitem(PRESETS, "digits", replace(tiny, clips_per_epoch=400, batch=10))
    asked = []
    monkeypatch.setattr(baselines, "predict", lambda model, clips, **_: asked.append(clips) or predict(model, clips))
    options = ("baselines", "--data", "digits", "--training-clips", 1200, "--seed", 0, "--seed", 1, "--format", "fdht")
    assert fdht(*options, "--learning-rate", 1e-9, "--learning-rate", 0.02).code == 0
    assert {row.settings.split(",")[0] for row in load(RESULTS)} == {"learning rate 0.02"}
    trials = [path for path in trained if "choose" in path.name]
    assert len(trials) == 4 and not any(path.exists() for path in trials)
    data = load_data("digits")
    shown = [data.validation.clips] * 4 + [data.test.clips] * 2
    assert all(np.array_equal(a, b) for a, b in zip(asked, shown, strict=True)), "the test is opened once, at the end"


def test_a_rate_at_which_training_diverges_is_not_chosen(fdht, tiny):
    options = ("baselines", "--data", "digits", "--training-clips", 40, "--seed", 0, "--format", "tt")
    assert fdht(*options, "--learning-rate", 1e38, "--learning-rate", 0.02).code == 0
    assert {row.settings.split(",")[0] for row in load(RESULTS)} == {"learning rate 0.02"}
    outcome = fdht(*options, "--learning-rate", 1e38, "--out", "other.json")
    assert outcome.code == 1 and "gradient of nan" in outcome.sentence


def test_no_training_is_lost_where_its_result_cannot_be_written(tiny, trained, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    training = Training(tiny, "fdht", "whole", 0, choose=True)
    with monkeypatch.context() as patch:
        patch.setattr(baselines, "write_whole", lambda *_: (_ for _ in ()).throw(FileError("no room")))
        with pytest.raises(FileError):
            training.run()
    assert training.path.exists() and training.run()["total"] == 360 and len(trained) == 1


def test_an_interrupted_table_goes_on(fdht, tiny, trained, monkeypatch):
    """Ctrl-C in the middle of the second training: the first is not repeated, the second ends in the same numbers."""
    options = (*QUICK, "--format", "tr", "--learning-rate", 0.02)
    assert fdht(*options, "--out", "whole.json").code == 0
    Path("build/baselines").rename("unbroken")
    del trained[:]
    going = training.train

    def broken(preset, path, options, **_):
        def progress(epoch, epochs, record):
            if len(trained) == 2 and epoch == 1:
                raise KeyboardInterrupt

        return going(preset, path, options, progress=progress)

    with monkeypatch.context() as patch:
        patch.setattr("fdht.model.train.train", broken)
        outcome = fdht(*options)
    assert outcome.code == 130 and "1 of 4 models are done and kept" in outcome.err and outcome.sentence
    assert len(load(RESULTS)) == 1 and len(trained) == 2
    epochs = []

    def counted(preset, path, options, **_):
        return going(preset, path, options, progress=lambda epoch, of, record: epochs.append(epoch))

    monkeypatch.setattr("fdht.model.train.train", counted)
    assert fdht(*options).code == 0
    assert trained[1:3] == [trained[1]] * 2 and len(set(trained)) == 4
    assert epochs == [2, 3, *[1, 2, 3] * 2]
    assert known(load(RESULTS)) == known(load(Path("whole.json")))


def test_a_result_that_was_lost_is_found_from_its_checkpoint(fdht, tiny, trained):
    options = (*QUICK, "--format", "ht-input", "--learning-rate", 0.02)
    assert fdht(*options).code == 0
    before = RESULTS.read_text()
    for path in Path("build/baselines").glob("*.json"):
        path.unlink()
    assert fdht(*options).code == 0
    assert RESULTS.read_text() == before and len(trained) == 2


def test_a_process_that_is_gone_is_said(fdht, tiny, monkeypatch):
    def killed(*_):
        raise BrokenProcessPool("A process in the process pool was terminated abruptly")

    monkeypatch.setattr("fdht.studies.baselines.as_completed", killed)
    monkeypatch.setattr("fdht.studies.baselines.ProcessPoolExecutor.submit", lambda *_: Future())
    outcome = fdht(*QUICK, "--format", "bt", "--jobs", 2)
    assert outcome.code == 1 and "a training was killed, probably because memory ran out" in outcome.sentence


@pytest.mark.slow
def test_two_processes_give_the_same_rows(fdht, tiny):
    options = (*QUICK, "--format", "bt", "--learning-rate", 0.02)
    assert fdht(*options, "--jobs", 1).code == 0
    Path("build/baselines").rename("one")
    assert fdht(*options, "--jobs", 2, "--out", "two.json").code == 0
    assert known(load(Path("two.json"))) == known(load(RESULTS))


def test_a_training_is_named_by_all_it_depends_on(tiny):
    training = Training(tiny, "fdht", "whole", 0, False)
    others = [
        replace(training, seed=1),
        replace(training, choose=True),
        replace(training, preset=replace(tiny, epochs=3)),
        replace(training, preset=replace(tiny, learning_rate=0.5)),
        replace(training, preset=replace(tiny, spec=PRESETS["faces"].spec)),
    ]
    assert len({each.path for each in [training, *others]}) == len(others) + 1


def rows_of(format: str, accuracy: float, recurrent: str = "whole", seeds: int = 3) -> list[Row]:
    correct = np.arange(400) < 400 * accuracy
    sizes = {"factors": 10, "parameters": 20, "clips": 4800}
    return [Row("baselines", "faces", format, recurrent, **sizes, seed=k, **hits(correct)) for k in range(seeds)]


def test_the_table_says_where_fdht_is_not_better(capfd):
    rows = [*rows_of("fdht", 0.8), *rows_of("tt", 0.7), *rows_of("tt", 0.9, "dense"), *rows_of("dense", 0.8, seeds=1)]
    (compared,) = standings(rows).values()
    verdicts = {(s.rows[0].format, s.rows[0].recurrent): s.fdht_minus_it for s in compared}
    assert verdicts["fdht", "whole"] is None
    found = {name: gap.verdict for name, gap in verdicts.items() if gap}
    assert found == {("tt", "whole"): "better", ("tt", "dense"): "worse", ("dense", "whole"): "open"}
    assert {name: gap.seeds for name, gap in verdicts.items() if gap} == {
        ("tt", "whole"): 3,
        ("tt", "dense"): 3,
        ("dense", "whole"): 1,
    }
    assert verdicts["tt", "dense"].mean == pytest.approx(-0.1)
    baselines.report(baselines.Output(False), rows)
    table = capfd.readouterr().out
    assert "-10.0 [" in table and "worse" in table and "+10.0 [" in table and table.count("open, 1 seed") == 1


@pytest.mark.parametrize(
    "options, complaint",
    [
        (("--data", "cats"), "no preset made for data set 'cats'"),
        (("--data", "faces-rgb-11"), "no preset made for data set 'faces-rgb-11'"),
        (("--format", "cp"), "no format 'cp'; known: dense, tt"),
        (("--learning-rate", 0), "each needs one at least"),
    ],
)
def test_what_cannot_be_compared(fdht, options, complaint, tmp_path):
    outcome = fdht("baselines", *options)
    assert outcome.code == 1 and complaint in outcome.sentence
    assert not list(tmp_path.iterdir())


def test_trainings_interrupted_by_themselves_are_interruptions(fdht, tiny, monkeypatch):
    def stop(*_, **__):
        raise TrainingInterrupted("in the middle")

    monkeypatch.setattr("fdht.model.train.train", stop)
    assert fdht(*QUICK).code == 130


def own_data(path: Path, kind: str = "classes", seed: int = 0) -> None:
    """Sequences of 2 to 6 steps in a file, and a class or a number of each."""
    rng, y = np.random.default_rng(seed), np.arange(40) % 2
    x = (rng.normal(size=(40, 6, 3)) + y[:, None, None]).astype(np.float32)
    np.savez(path, x=x, y=y if kind == "classes" else x.sum((1, 2)), lengths=rng.integers(2, 7, 40))


def test_data_of_ones_own_are_compared_from_a_project(fdht, trained, monkeypatch, tmp_path):
    """The model is the project's, each clip is looked at after its own last step, and changed data are trained anew."""
    own_data(tmp_path / "mine.npz")
    asked = []
    monkeypatch.setattr(
        baselines, "predict", lambda *of, lengths=None: asked.append(lengths) or predict(*of, lengths=lengths)
    )
    assert fdht("new", "--data", "mine.npz", "-b", "icebreaker", "--hidden", 8, "--rank", 2).code == 0
    options = ("--format", "fdht", "--seed", 0, "--learning-rate", 0.01, "--training-clips", 48)
    outcome = fdht("baselines", "--data", "mine.toml", *options)
    assert outcome.code == 0, outcome.err
    (row,), (path,) = load(RESULTS), trained
    data, spec = load_data(str(tmp_path / "mine.npz")), find_preset("mine.toml").spec
    assert data.test.lengths is not None and len(asked) == 1 and np.array_equal(asked[0], data.test.lengths)
    assert row.data == str(tmp_path / "mine.npz") and row.factors == spec.parameters["factors"]
    classes = predict(load_checkpoint(path).model, data.test.clips, lengths=data.test.lengths)
    assert row.correct_clips.tolist() == (classes == data.test.labels).tolist()
    assert fdht("baselines", "--data", "mine.toml", *options).code == 0 and len(trained) == 1
    own_data(tmp_path / "mine.npz", seed=1)
    packaged.cache_clear()
    assert fdht("baselines", "--data", "mine.toml", *options).code == 0 and len(trained) == 2


def test_a_model_is_proposed_for_a_file(fdht, tmp_path):
    own_data(tmp_path / "mine.npz")
    options = ("--format", "tt", "--seed", 0, "--learning-rate", 0.01, "--training-clips", 32)
    outcome = fdht("baselines", "--data", "mine.npz", *options, "--json")
    assert outcome.code == 0, outcome.err
    assert [figures["recurrent"] for figures in outcome.figures] == ["whole", "dense"]
    assert "minutes left, if all take as long as mine-tt-" in outcome.err
    assert {row.clips for row in load(RESULTS)} == {32}


def test_only_classes_are_compared(fdht, tmp_path):
    own_data(tmp_path / "mine.npz", "numbers")
    outcome = fdht("baselines", "--data", "mine.npz")
    assert outcome.code == 1 and "compares models by the classes of clips; mine is for the task regress" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.npz"]
