"""Every task in the torch layer, its loss and figures, in training, in quantisation and on integers."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sequences import INPUTS, STEPS, sequences, truth
from torch.nn import functional

from fdht.model import data, objective, presets
from fdht.model.checkpoint import load_checkpoint
from fdht.model.contraction import left_to_right
from fdht.model.golden import GoldenLSTM
from fdht.model.layers import Classifier
from fdht.model.parallel import one_thread
from fdht.model.presets import Preset, fitted
from fdht.model.qat import Arithmetic, Quantisation, QuantisedClassifier
from fdht.model.quantise import quantise
from fdht.model.train import TrainingOptions, evaluate, measure, outputs_of, predict, train
from fdht.spec.bundle import Bundle
from fdht.spec.errors import FileError, SpecError
from fdht.spec.formats import GateFormats
from fdht.spec.lstm import LSTMSpec, fdht_lstm
from fdht.spec.score import Score, errors, score
from fdht.spec.task import OutputScaling, Task

every_task = pytest.mark.parametrize("task", Task, ids=str)


def spec_for(task: Task) -> LSTMSpec:
    return replace(fdht_lstm(INPUTS, 8, 2, (4, 3), (4, 8), 4), task=task)


@pytest.fixture
def preset(monkeypatch):
    """`preset(task)`: one that trains in no time on sequences of that task."""

    def made(task: Task) -> Preset:
        monkeypatch.setitem(data.DATA_SETS, "sums", lambda: sequences(task))
        small = Preset("sums", "sums", spec_for(task), epochs=2, clips_per_epoch=40, batch=20)
        monkeypatch.setitem(presets.PRESETS, "sums", small)
        return small

    return made


def test_what_a_task_says_of_shapes():
    said = {task: (task.shape(5, 3), task.truth_shape(5, 3)) for task in Task}
    assert said == {
        Task.CLASSIFY: ((3,), ()),
        Task.LABEL_STEPS: ((5, 3), (5,)),
        Task.REGRESS: ((3,), (3,)),
        Task.REGRESS_STEPS: ((5, 3), (5, 3)),
    }
    logits = np.array([[1, 3, 3], [2, 1, 0]])
    assert Task.LABEL_STEPS.classes_of(logits).tolist() == [1, 0]
    assert Task.REGRESS_STEPS.classes_of(logits).tolist() == [-1, -1]


def test_outputs_are_scaled_by_what_trains():
    values = np.array([[1.0, 7, np.nan], [3, 7, 2], [5, 7, 4]])
    scaling = OutputScaling.fitted(values)
    assert scaling == OutputScaling((3.0, 7.0, 3.0), (float(np.sqrt(8 / 3)), 1.0, 1.0))
    again = scaling.values(scaling.scaled(values))
    assert np.allclose(again, values, equal_nan=True, rtol=1e-15)
    for wrong, sentence in (
        (lambda: OutputScaling.fitted(np.full((2, 1), np.nan)), "no number to learn"),
        (lambda: OutputScaling((1.0,), ()), "1 means and 0 scales"),
        (lambda: OutputScaling((1.0,), (0.0,)), "scales above 0"),
        (lambda: OutputScaling((float("inf"),), (1.0,)), "finite"),
    ):
        with pytest.raises(SpecError, match=sentence):
            wrong()


def test_losses_are_means_over_what_is_known():
    rng = np.random.default_rng(3)
    logits = torch.from_numpy(rng.normal(size=(4, 5, 3))).float()
    labels = torch.from_numpy(rng.integers(0, 3, (4, 5)))
    labels[0, 2:] = -1
    labels[3] = -1
    each = [functional.cross_entropy(logits[0, :2], labels[0, :2])]
    each += [functional.cross_entropy(logits[k], labels[k]) for k in (1, 2)]
    assert torch.allclose(objective.loss(Task.LABEL_STEPS, logits, labels), sum(each, torch.zeros(())))
    numbers = torch.from_numpy(rng.normal(size=(4, 5, 3))).float()
    numbers[1, 1] = numbers[2, :, 0] = torch.nan
    known = torch.isfinite(numbers)
    by_clip = [((logits[k] - numbers[k])[known[k]] ** 2).mean() for k in range(4)]
    logits.requires_grad_()
    total = objective.loss(Task.REGRESS_STEPS, logits, numbers)
    assert torch.allclose(total, sum(by_clip, torch.zeros(())))
    total.backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all() and (logits.grad[~known] == 0).all()
    whole = objective.loss(Task.CLASSIFY, logits[:, 0], labels[:, 0].clamp(min=0))
    assert torch.equal(whole, functional.cross_entropy(logits[:, 0], labels[:, 0].clamp(min=0), reduction="sum"))


def test_figures():
    found = errors(np.array([[1.0, 5], [2, 5], [3, 9]]), np.array([[1.0, 5], [2, 5], [5, np.nan]]))
    assert found.rmse == pytest.approx(np.sqrt(4 / 5)) and found.accuracy is None
    assert found.r2 == pytest.approx(((1 - 4 / (26 / 3)) + 1) / 2)  # the second never changes, and is met
    assert errors(np.ones((2, 1)), np.zeros((2, 1))) == Score(rmse=1.0, r2=0.0)
    logits = np.array([[[2, 1], [0, 1]], [[2, 1], [2, 1]]])
    assert score(Task.LABEL_STEPS, logits, np.array([[0, 1], [1, -1]]), None) == Score(2 / 3)
    assert score(Task.CLASSIFY, logits[:, 0], np.array([0, 1]), None) == Score(0.5)
    of_scaled = score(Task.REGRESS, np.array([[0.5]]), np.array([[12.0]]), OutputScaling((10.0,), (4.0,)))
    assert of_scaled == Score(rmse=0.0, r2=1.0) and of_scaled.figure == 1.0


@every_task
def test_the_head_sees_what_the_task_says(task):
    torch.manual_seed(2)
    model = Classifier(spec_for(task), dropout=0.5).eval()
    x = torch.rand(4, STEPS, INPUTS)
    found, (h, _) = model.lstm(x)
    expected = model.head(found) if task.every_step else model.head(h[-1])
    assert torch.equal(model(x), expected) and model(x).shape == (4, *task.shape(STEPS, 2))
    masks = model.masks(4)
    assert masks.head is not None
    kept = found * masks.head[:, None]
    masked = model.head(kept if task.every_step else kept[:, -1])
    assert torch.allclose(model(x, masks=masks), masked)


@every_task
def test_training_leaves_a_checkpoint_that_knows_its_task(task, preset, tmp_path):
    result = train(preset(task), tmp_path / "c")
    checkpoint, source = load_checkpoint(tmp_path / "c"), sequences(task)
    assert checkpoint.complete and checkpoint.spec.task is task and checkpoint.model.task is task
    outputs = OutputScaling.fitted(source.train.labels) if task.real else None
    assert checkpoint.model.outputs == outputs
    test = source.test
    found = measure(checkpoint.model, test.clips, test.labels)
    assert found == checkpoint.score == Score(result.accuracy, result.rmse, result.r2)
    assert found.figure == evaluate(checkpoint.model, test.clips, test.labels)
    assert (result.accuracy is None) == (result.rmse is not None) == (result.r2 is not None) == task.real
    assert all((record["accuracy"] is None) == task.real for record in result.history)
    if task.real:
        values = checkpoint.model.outputs.values(outputs_of(checkpoint.model, test.clips))
        assert found.rmse == pytest.approx(np.sqrt(np.square(values - test.labels).mean()))
    else:
        assert found.accuracy == (predict(checkpoint.model, test.clips) == test.labels).mean()
    other = next(each for each in Task if each is not task and each.real == task.real)
    with pytest.raises(
        FileError, match=f"sums is for the task {other}, the model for {task}; pass what it was trained"
    ):
        checkpoint.check(sequences(other))


def test_a_resumed_regression_ends_in_the_same_numbers(preset, tmp_path):
    small = replace(preset(Task.REGRESS_STEPS), patience=2)

    def stop(done: int, *_):
        if done == 1:
            raise KeyboardInterrupt

    whole = train(small, tmp_path / "whole")
    with pytest.raises(Exception, match="interrupted"):
        train(small, tmp_path / "broken", progress=stop)
    resumed = train(small, tmp_path / "broken", TrainingOptions(resume=True))
    assert (resumed.rmse, resumed.r2, resumed.best_epoch) == (whole.rmse, whole.r2, whole.best_epoch)
    assert [record["validation"] for record in resumed.history] == [record["validation"] for record in whole.history]


def test_a_preset_takes_the_task_of_its_data(preset):
    small = preset(Task.CLASSIFY)
    for task in Task:
        spec = fitted(small, sequences(task)).spec
        assert (spec.task, spec.classes) == (task, 2)


@pytest.mark.parametrize("task", [Task.LABEL_STEPS, Task.REGRESS_STEPS], ids=str)
def test_what_is_asked_of_every_step_is_learnt(task):
    """A loop of torch's own: the sum so far, from what was seen so far."""
    torch.manual_seed(1)
    source = sequences(task)
    model = Classifier(spec_for(task), outputs=objective.scaling_of(task, source.train.labels))
    wanted = objective.learnt(task, source.train.labels, model.outputs)
    x, optimiser = model.widen(torch.from_numpy(source.train.clips)), torch.optim.Adam(model.parameters(), lr=0.05)
    with one_thread():
        for _ in range(80):
            optimiser.zero_grad()
            (objective.loss(task, model(x), wanted) / len(x)).backward()
            optimiser.step()
    assert evaluate(model, source.test.clips, source.test.labels) > 0.8


@every_task
def test_integers_are_those_of_quantisation_aware_training(task):
    """The model trained on integers and the golden model have the same outputs, near those of the float model."""
    torch.manual_seed(4)
    source = sequences(task, clips=12)
    model = Classifier(spec_for(task), outputs=objective.scaling_of(task, source.train.labels)).eval()
    lists, clips, labels = (left_to_right(model.layers[0].network),), source.test.clips, source.test.labels
    bundle, report = quantise(model, lists, clips, labels)
    assert bundle.outputs == model.outputs and report.clipped["logits"] == 0
    assert bundle.logits.shape == (len(clips), *task.shape(STEPS, 2)) and np.array_equal(bundle.labels, labels)
    trace = GoldenLSTM(bundle).run(clips)
    assert np.array_equal(trace.logits.numpy(), bundle.logits)
    arithmetic = Arithmetic("none", lists, 16, 40, GateFormats())
    quantised = QuantisedClassifier(copy.deepcopy(model), Quantisation(arithmetic, bundle.formats)).eval()
    head = bundle.formats.head
    assert head is not None and quantised.task is task
    on_integers = outputs_of(quantised, clips)
    assert np.array_equal(on_integers, bundle.logits * head.result.lsb)
    assert np.abs(on_integers - outputs_of(model, clips)).max() < 0.01
    assert trace.values["logits"] == bundle.logits.size


def test_a_bundle_of_every_task_is_read_as_it_was_written(tmp_path):
    for task in Task:
        source = sequences(task, clips=6)
        model = Classifier(spec_for(task), outputs=objective.scaling_of(task, source.train.labels)).eval()
        labels = source.test.labels.copy()
        labels[0] = np.nan if task.real else -1
        bundle, _ = quantise(model, (left_to_right(model.layers[0].network),), source.test.clips, labels)
        bundle.save(tmp_path / "b")
        read = Bundle.load(tmp_path / "b")
        assert read.spec.task is task and read.outputs == bundle.outputs
        assert np.array_equal(read.labels, labels, equal_nan=task.real) and np.array_equal(read.logits, bundle.logits)
        with pytest.raises(SpecError, match="labels"):
            replace(bundle, labels=truth(next(t for t in Task if t.real != task.real), source.test.clips))
        with pytest.raises(SpecError, match="does not belong to 2 of the task"):
            replace(bundle, outputs=OutputScaling((0.0,) * 3, (1.0,) * 3))
    with pytest.raises(SpecError, match="without a head for the task regress"):
        replace(spec_for(Task.REGRESS), classes=0)
