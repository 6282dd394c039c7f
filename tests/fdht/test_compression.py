"""`fdht compress` and `fdht export --dense`: plain PyTorch's models in and out, what each rank loses and regains."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fdht.console import percent
from fdht.model.checkpoint import digest, load_checkpoint
from fdht.model.data import Source, here
from fdht.model.data import load as load_data
from fdht.model.objective import distilled
from fdht.model.train import TrainingOptions, predict, train
from fdht.spec.errors import SpecError
from fdht.spec.lstm import fdht_lstm
from fdht.spec.scaling import TAKEN
from fdht.spec.task import Task
from fdht.studies import compression
from fdht.studies.accuracy import load
from tests.fdht.tiny import TINY

EXACT = 50
"""A rank that no node of the tiny model's tree can have: nothing is lost."""


@pytest.fixture
def plain(fdht, checkpoint_file) -> Path:
    """The tiny model as a state dict, as its user would have it."""
    assert fdht("export", "--dense", checkpoint_file, "-o", "plain.pt").code == 0
    return Path("plain.pt")


def test_out_and_in_again_is_the_same_model(fdht, plain, checkpoint_file):
    """At full rank nothing is lost but rounding: the same accuracy, and a checkpoint that compiles."""
    outcome = fdht("compress", plain, "--data", "digits", "--ranks", EXACT, "--epochs", 0, "--json")
    assert outcome.code == 0
    figures, accuracy = outcome.figures, load_checkpoint(checkpoint_file).accuracy
    (point,) = figures["points"]
    assert figures["accuracy"] == point["truncated"] == accuracy and point["error"] < 1e-6
    assert "tuned" not in point and max(point["ranks"].values()) < EXACT
    assert load_checkpoint(point["checkpoint"]).accuracy == accuracy
    assert fdht("compile", point["checkpoint"]).code == 0


def test_ranks_are_traded_for_accuracy(fdht, plain):
    options = ("compress", plain, "--data", "digits", "--ranks", "1,2,4", "--results", "rows.json")
    outcome = fdht(*options, "--epochs", 2, "--learning-rate", 0.02, "--json")
    assert outcome.code == 0
    figures = outcome.figures
    points = figures["points"]
    assert [point["rank"] for point in points] == [1, 2, 4]
    assert points[0]["error"] > points[1]["error"] > points[2]["error"]
    assert points[0]["factors"] < points[1]["factors"] < points[2]["factors"]
    assert figures["parameters"] == 4 * 4 * (8 + 4 + 1) + 10 * 5
    assert Path(figures["picture"]).read_bytes().startswith(b"\x89PNG")
    for point in points:
        tuned = load_checkpoint(point["checkpoint"])
        assert tuned.complete and tuned.epoch == 2 and tuned.accuracy == point["tuned"]
        assert tuned.spec.network.parameters == point["factors"]
    rows = {(row.recipe, row.factors): row for row in load(Path("rows.json"))}
    assert len(rows) == 1 + 2 * len(points)
    assert rows["dense", 16 * 12].accuracy == figures["accuracy"]
    for point in points:
        assert rows["distilled", point["factors"]].accuracy == point["tuned"]
        assert rows["truncated", point["factors"]].accuracy == point["truncated"]
        assert rows["distilled", point["factors"]].error == pytest.approx(point["error"], abs=1e-6)
        assert rows["distilled", point["factors"]].clips == 2 * TINY.clips_per_epoch


def test_the_table_is_for_people(fdht, plain):
    outcome = fdht("compress", plain, "--data", "digits", "--ranks", 2, "--epochs", 1, "--learning-rate", 1e-12)
    assert (
        outcome.code == 0
        and "258 parameters, accuracy" in outcome.out
        and "build/plain-rank2.checkpoint" in outcome.out
    )


def test_fine_tuning_starts_from_the_truncated_model(fdht, plain):
    """With steps of nothing the accuracy stays as it is; it does not begin at random."""
    options = ("compress", plain, "--data", "digits", "--ranks", EXACT, "--epochs", 1, "--learning-rate", 1e-12)
    (point,) = fdht(*options, "--json").figures["points"]
    assert point["tuned"] == point["truncated"] > 0.1


def test_what_is_done_is_not_repeated(fdht, plain, monkeypatch):
    options = ("compress", plain, "--data", "digits", "--ranks", "2,3", "--epochs", 3, "--json")
    whole = fdht(*options, "--out", "whole").figures
    begun = []

    def stopped(preset, path, options, **rest):
        begun.append(Path(path).name)
        if len(begun) == 2:
            rest["progress"] = interrupt
        return train(preset, path, options, **rest)

    def interrupt(epoch, epochs, records):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(compression, "train", stopped)
        outcome = fdht(*options)
    assert outcome.code == 130 and "go on with --resume" in outcome.sentence
    first = Path("build/plain-rank2.checkpoint").read_bytes()
    again = fdht(*options, "--resume").figures
    assert Path("build/plain-rank2.checkpoint").read_bytes() == first
    assert [point["tuned"] for point in again["points"]] == [point["tuned"] for point in whole["points"]]
    assert len(load_checkpoint("build/plain-rank3.checkpoint").history) == 3


def test_another_model_of_the_same_name_is_not_taken_for_done(fdht, plain):
    options = ("compress", plain, "--data", "digits", "--ranks", 2, "--epochs", 1)
    assert fdht(*options).code == 0
    state = torch.load(plain, weights_only=True)
    torch.save({name: 2 * value for name, value in state.items()}, plain)
    outcome = fdht(*options, "--resume")
    assert outcome.code == 1 and "was trained with start = " in outcome.sentence
    assert fdht(*options).code == fdht(*options, "--resume").code == 0


def test_a_model_without_a_head_gets_one(fdht, tmp_path):
    torch.manual_seed(0)
    torch.save(nn.LSTM(8, 4).state_dict(), tmp_path / "bare.pt")
    options = ("compress", "bare.pt", "--data", "digits", "--ranks", 3)
    assert "add --epochs" in fdht(*options, "--epochs", 0).sentence
    figures = fdht(*options, "--epochs", 1, "--json").figures
    assert "accuracy" not in figures and "truncated" not in figures["points"][0] and "tuned" in figures["points"][0]


def test_a_model_that_took_its_inputs_otherwise(fdht, plain):
    """For half the numbers, with twice the weights: the same model; as it stands: another one."""
    state = torch.load(plain, weights_only=True)
    torch.save(state | {"lstm.weight_ih_l0": 2 * state["lstm.weight_ih_l0"]}, "half.pt")
    clips = torch.from_numpy(load_data("digits").test.clips[:20])

    def logits(*arguments: object) -> torch.Tensor:
        options = ("--data", "digits", "--ranks", EXACT, "--epochs", 0, "--json")
        (point,) = fdht("compress", *arguments, *options).figures["points"]
        model = load_checkpoint(point["checkpoint"]).model
        with torch.no_grad():
            return model(model.widen(clips))

    expected = logits(plain)
    assert torch.allclose(logits("half.pt", "--input-range=-0.5,0.49609375"), expected, atol=1e-5)
    assert not torch.allclose(logits("half.pt"), expected, atol=1e-2)


@pytest.fixture
def sensor(tmp_path) -> nn.ModuleDict:
    """A model of 3 inputs and 5 hidden units, of which there is no preset, for real values of some tens, each about a
    mean of its own; and a file of these values, whose classes are what the model makes of them.
    """
    torch.manual_seed(3)
    model = nn.ModuleDict({"lstm": nn.LSTM(3, 5, batch_first=True), "head": nn.Linear(5, 2)})
    x = np.random.default_rng(3).normal(size=(60, 4, 3)) * (30, 2, 0.1) + (0, 9.81, -1)
    with torch.no_grad():
        model["lstm"].weight_ih_l0 *= torch.tensor([0.03, 0.5, 10])
        of_x = said(model, x)
        model["head"].bias[1] += (of_x[:, 0] - of_x[:, 1]).median()
    torch.save(model.state_dict(), tmp_path / "sensor.pt")
    np.savez(tmp_path / "sensor.npz", x=x, y=said(model, x).argmax(1).numpy())
    return model


@torch.no_grad()
def said(model: nn.ModuleDict, x: np.ndarray) -> torch.Tensor:
    return model["head"](model["lstm"](torch.from_numpy(x).float())[0][:, -1])


@pytest.mark.parametrize("inputs", [None, *TAKEN])
def test_a_model_of_real_values_is_given_what_it_was_trained_on(fdht, sensor, inputs):
    """By default the values in the file. Its modes are chosen, as there is no preset of its size."""
    options = () if inputs is None else ("--inputs", inputs)
    options = ("compress", "sensor.pt", "--data", "sensor.npz", "--ranks", EXACT, "--epochs", 0, *options)
    outcome = fdht(*options, "--json")
    assert outcome.code == 0, outcome.err
    data = load_data("sensor.npz")
    assert data.scaling is not None
    rows = data.scaling.to_values(data.final.clips).reshape(-1, 3)
    taken = {
        "values": data.scaling.to_values,
        "standardised": lambda words: (data.scaling.to_values(words) - rows.mean(0)) / rows.std(0),
        "words": lambda words: (words.astype(np.float64) - 128) / 128,
    }[inputs or "values"]
    expected = said(sensor, taken(data.test.clips))
    assert outcome.figures["accuracy"] == (expected.argmax(1).numpy() == data.test.labels).mean()
    model = load_checkpoint(outcome.figures["points"][0]["checkpoint"]).model
    with torch.no_grad():
        torch.testing.assert_close(model(model.widen(torch.from_numpy(data.test.clips))), expected, atol=2e-4, rtol=0)
    assert outcome.figures["inputs"] in outcome.err
    right = (said(sensor, taken(data.final.clips)).argmax(1).numpy() == data.final.labels).mean()
    hint = (
        f"of {len(data.final)} training clips the model gets {percent(right)} right; with --inputs values it would be"
    )
    assert (right < 0.9) == (hint in outcome.err) == (inputs in ("standardised", "words"))


def test_what_has_no_preset_is_trained_as_data_propose(fdht, sensor):
    options = ("compress", "sensor.pt", "--data", "sensor.npz", "--ranks", 2, "--epochs", 1, "--json")
    outcome = fdht(*options)
    assert outcome.code == 0, outcome.err
    tuned = load_checkpoint(outcome.figures["points"][0]["checkpoint"])
    assert (tuned.preset, tuned.spec.inputs, tuned.spec.hidden, tuned.recipe["batch"]) == ("sensor", 3, 5, 16)
    assert fdht("compile", outcome.figures["points"][0]["checkpoint"], "-t", "icebreaker").code == 0


def test_other_modes(fdht, plain):
    options = ("--input-modes", "3,2,2", "--output-modes", "4,2,2", "--ranks", 2, "--epochs", 0, "--json")
    (point,) = fdht("compress", plain, "--data", "digits", *options).figures["points"]
    assert point["factors"] == fdht_lstm(8, 4, 10, (3, 2, 2), (4, 2, 2), 2).network.parameters


@pytest.mark.parametrize(
    "options, complaint",
    [
        (("--data", "digits", "--ranks", "4,none"), "not whole numbers"),
        (("--data", "digits", "--ranks", 0), "rank 0 is below 1"),
        (("--data", "digits", "--epochs", -1), "-1 epochs"),
        (("--data", "faces"), "the LSTM takes 8; pass its own data"),
        (("--data", "digits", "--preset", "cats"), "no preset"),
        (("--data", "digits", "--preset", "digits"), "or say modes with --input-modes"),
        (("--data", "digits", "--input-modes", "2,2", "--output-modes", "4,4"), "fewer than 8 inputs"),
        (("--data", "digits", "--head", "fc"), "no head 'fc'"),
        (("--data", "digits", "--learning-rate", 0), "learning rate of 0"),
        (("--data", "digits", "--input-range", "1"), "no range of two numbers"),
        (("--data", "digits", "--input-range", "1,1"), "no range; say"),
        (("--data", "digits", "--inputs", "pixels"), "no inputs 'pixels'; they are values, standardised, words"),
        (("--data", "digits", "--inputs", "values"), "digits has raw words and no real values"),
        (("--data", "digits", "--inputs", "words", "--input-range", "0,1"), "say the same in two ways"),
        ((), "--data NAME"),
    ],
)
def test_what_cannot_be_compressed(fdht, plain, options, complaint, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    outcome = fdht("compress", plain, *options)
    assert outcome.code == 1 and complaint in outcome.sentence
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_numbers_that_are_none(fdht, plain, tmp_path, value):
    """In any tensor of the state dict, one that is not the LSTM's or the head's included; and nothing is written."""
    state = torch.load(plain, weights_only=True) | {"norm.running_mean": torch.zeros(3)}
    for name in state:
        broken = state[name].clone()
        broken.view(-1)[-1] = value
        torch.save(state | {name: broken}, "broken.pt")
        outcome = fdht("compress", "broken.pt", "--data", "digits", "--ranks", 2, "--epochs", 0)
        assert outcome.code == 1 and f"{name} in broken.pt holds infinities or NaN" in outcome.sentence, (
            outcome.sentence
        )
    assert sorted(each.name for each in tmp_path.iterdir()) == ["broken.pt", "plain.pt"]


def test_classes_of_another_task(fdht, tmp_path):
    model = nn.ModuleDict({"lstm": nn.LSTM(8, 4), "fc": nn.Linear(4, 3)})
    torch.save(model.state_dict(), tmp_path / "three.pt")
    assert "10 classes, the head has 3 outputs" in fdht("compress", "three.pt", "--data", "digits").sentence


@pytest.mark.parametrize("name, content", [("a.pt", b"no checkpoint at all"), ("a.safetensors", b""), ("b.pt", None)])
def test_what_is_no_checkpoint(fdht, name, content, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    outcome = fdht("compress", name, "--data", "digits")
    assert outcome.code == 1 and name in outcome.sentence


def test_exports_that_cannot_be(fdht, checkpoint_file, tmp_path):
    assert fdht("export", "-o", "x").code == 2
    assert fdht("export", "--axi", "--dense", checkpoint_file, "-o", "x").code == 2
    outcome = fdht("export", "--dense", checkpoint_file, "-o", "model.onnx")
    assert outcome.code == 1 and "model.onnx ends in none of .pt" in outcome.sentence
    assert fdht("export", "--dense", "nowhere.checkpoint", "-o", "model.pt").code == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("asked", "options", "words"),
    [
        (("--dense", "a.checkpoint"), ("--technology", "ecp5"), "is for --axi alone"),
        (("--c", "a.bundle"), ("--name", "mine"), "is for --axi alone"),
        (("--web", "a.bundle"), ("--image", "a.image"), "is for --axi alone"),
        (("--dense", "a.checkpoint"), ("-t", "icebreaker"), "is for --axi, --c BUNDLE and --web BUNDLE alone"),
        (("--axi",), ("--clips", 3), "is for --c BUNDLE and --web BUNDLE alone"),
        (("--c", "a.bundle"), ("-b", "icebreaker", "-t", "ulx3s-85f"), "and --target both say the engine"),
    ],
)
def test_options_of_another_export_are_refused(fdht, asked, options, words):
    """And not dropped in silence, before anything is read."""
    refused = fdht("export", *asked, *options, "-o", "x")
    assert refused.code == 2 and words in " ".join(refused.err.replace("│", " ").split())


def test_a_checkpoint_of_fdhts_own_is_named(fdht, checkpoint_file):
    refused = fdht("compress", checkpoint_file, "--data", "digits")
    assert refused.code == 1 and "is a checkpoint of fdht's own; pass the state dict" in refused.err


def test_what_the_dense_model_says_is_learnt_and_not_the_labels(checkpoint_file, tmp_path):
    """With labels that say nothing, what is right of the teacher's classes is learnt all the same; and what has the
    teacher's factors has nothing to learn.
    """
    teacher, data = load_checkpoint(checkpoint_file).model, load_data("digits")
    wrong = replace(data.final, labels=np.roll(data.final.labels, 1))
    preset = replace(TINY, epochs=20, learning_rate=0.02)
    options = TrainingOptions(here(replace(data, final=wrong)), teacher=teacher)
    train(preset, tmp_path / "a.checkpoint", options)
    student = load_checkpoint(tmp_path / "a.checkpoint")
    taught, found = (predict(model, data.test.clips) for model in (teacher, student.model))
    assert (taught == found).mean() > 0.5 and student.history[-1]["loss"] < student.history[0]["loss"] / 2
    assert student.recipe["teacher"] == digest(teacher)
    same = TrainingOptions(Source("digits"), teacher=teacher, start=checkpoint_file)
    train(replace(preset, epochs=1, learning_rate=1e-9), tmp_path / "b.checkpoint", same)
    assert load_checkpoint(tmp_path / "b.checkpoint").history[0]["loss"] < 1e-6


def test_a_teacher_of_another_size(checkpoint_file, tmp_path):
    teacher = load_checkpoint(checkpoint_file).model
    preset = replace(TINY, spec=fdht_lstm(8, 4, 11, (4, 3), (4, 4), 2))
    with pytest.raises(SpecError, match=r"a teacher of \(8, 10, 'classify'\) .* for a model of \(8, 11, "):
        train(preset, tmp_path / "a.checkpoint", TrainingOptions(teacher=teacher))


@pytest.mark.parametrize("task", Task)
def test_steps_that_are_no_clips_own_teach_nothing(task):
    generator = torch.Generator().manual_seed(1)
    outputs, taught = (torch.randn((2, 3, 4) if task.every_step else (2, 4), generator=generator) for _ in range(2))
    lengths = torch.tensor([3, 2])
    whole = distilled(task, outputs, taught, lengths)
    own = [
        [each[k : k + 1, :n] if task.every_step else each[k : k + 1] for each in (outputs, taught)]
        for k, n in ((0, 3), (1, 2))
    ]
    assert whole.item() == pytest.approx(sum(distilled(task, *parts, None).item() for parts in own), rel=1e-6)
    assert whole > 0 and distilled(task, outputs, outputs, lengths).item() == pytest.approx(0, abs=1e-6)


def test_labels_and_random_factors_to_compare_with(fdht, plain):
    options = ("compress", plain, "--data", "digits", "--ranks", 2, "--epochs", 1, "--results", "rows.json", "--json")
    assert fdht(*options, "--scratch").code == 0 and fdht(*options, "--labels").code == 0
    assert {row.recipe for row in load(Path("rows.json"))} == {*compression.RECIPES}
    outcome = fdht("compress", plain, "--data", "digits", "--ranks", 2, "--epochs", 1, "--scratch")
    assert all(word in outcome.out for word in ("training: 1 epochs", "distilled", "from scratch"))


def test_random_factors_that_learn_the_labels_are_trained_once(fdht, plain, monkeypatch):
    monkeypatch.setattr(compression, "NEAR", 0.0)
    options = ("compress", plain, "--data", "digits", "--ranks", 2, "--epochs", 1, "--scratch", "--json")
    point = json.loads(fdht(*options, "--labels", "--results", "rows.json").out)["points"][0]
    assert point["start"] == "random" and point["scratch"] == point["tuned"]
    assert not [*Path().glob("*.scratch.checkpoint")]
    recipes = {row.recipe: row.correct for row in load(Path("rows.json"))}
    assert recipes["from scratch"] == recipes["fine-tuned"]
    fdht(*options, "-o", "apart")
    trained = load_checkpoint(next(Path("apart").glob("*.scratch.checkpoint"))).model
    once = load_checkpoint(Path(point["checkpoint"])).model
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), once.parameters(), strict=True))
