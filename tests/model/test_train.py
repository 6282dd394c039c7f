"""Training: exact resuming, honest checkpoints, and the accuracy the presets promise."""

import os
import re
import resource
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from math import pi, prod

import numpy as np
import pytest
import torch

from fdht.model import data as data_sets
from fdht.model import presets
from fdht.model import train as training
from fdht.model.checkpoint import load_checkpoint
from fdht.model.contraction import left_to_right
from fdht.model.data import load
from fdht.model.golden import GoldenLSTM
from fdht.model.presets import Augmentation, find_preset
from fdht.model.quantise import quantise
from fdht.model.recipe import SCHEDULES, one_cycle
from fdht.model.train import (
    TrainingDiverged,
    TrainingInterrupted,
    TrainingOptions,
    ensure_trained,
    evaluate,
    predict,
    train,
)
from fdht.spec import container
from fdht.spec.errors import FileError, SpecError
from fdht.spec.lstm import fdht_lstm
from fdht.spec.stages import stage_macs
from fdht.spec.target import find_target
from fdht.workflow.compilation import compile_checkpoint
from tests.contents import contents


@pytest.fixture
def tiny(monkeypatch):
    """A preset that trains in no time, with everything random that real ones have."""
    preset = replace(
        find_preset("digits"),
        name="tiny",
        spec=fdht_lstm(8, 8, 10, (4, 2, 2), (4, 4, 2), 3),
        epochs=4,
        clips_per_epoch=40,
        batch=20,
        dropout=0.3,
        input_dropout=0.1,
        hidden_dropout=0.2,
    )
    monkeypatch.setitem(presets.PRESETS, "tiny", preset)
    return preset


def arrays(path) -> dict[str, np.ndarray]:
    return contents(path)[2]


def same(a, b) -> bool:
    a, b = arrays(a), arrays(b)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_result_and_checkpoint_agree(tiny, tmp_path):
    seen = []
    result = train("tiny", tmp_path / "c", progress=lambda done, of, records: seen.append((done, of, records[-1])))
    assert [(done, of) for done, of, _ in seen] == [(k, 4) for k in (1, 2, 3, 4)]
    assert [record for _, _, record in seen] == result.history and result.split == "test"
    # Two batches per epoch: the last step of epoch k starts after (k - 1/2) / 4 of the training.
    rates = [tiny.learning_rate * one_cycle((k - 0.5) / 4) for k in (1, 2, 3, 4)]
    assert [record["learning_rate"] for record in result.history] == rates
    checkpoint = load_checkpoint(tmp_path / "c", "tiny")
    assert checkpoint.complete and checkpoint.spec == tiny.spec and checkpoint.history == result.history
    test = load("digits").test
    assert result.accuracy == checkpoint.accuracy == evaluate(checkpoint.model, test.clips, test.labels)
    assert checkpoint.model.input_format == load("digits").input_format


@pytest.mark.parametrize("ends", ["well", "in an error"])
def test_training_leaves_the_callers_threads_alone(tiny, tmp_path, ends):
    """It computes on one thread: sums, and so weights, are then the same on every number of cores."""
    before, during = torch.get_num_threads(), []
    torch.set_num_threads(3)
    try:

        def progress(*_):
            during.append(torch.get_num_threads())
            if ends != "well":
                raise KeyboardInterrupt

        with nullcontext() if ends == "well" else pytest.raises(TrainingInterrupted):
            train("tiny", tmp_path / "c", TrainingOptions(epochs=1), progress=progress)
        with pytest.raises(SpecError):
            train("tiny", tmp_path / "d", TrainingOptions(precision="float8"))
        assert during == [1] and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_training_that_is_finished_is_not_repeated(tiny, tmp_path):
    path, epochs = tmp_path / "c", []

    def progress(done, *_):
        epochs.append(done)
        if epochs == [1, 2]:
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted):
        ensure_trained(tiny, path, progress=progress)
    done = ensure_trained(tiny, path, progress=progress)
    assert done.complete and epochs == list(range(1, 1 + tiny.epochs))
    assert ensure_trained(tiny, path, progress=progress).accuracy == done.accuracy and len(epochs) == tiny.epochs
    assert not [name for name in arrays(path) if name.startswith("optimiser.")], "two thirds of the file"


def test_seeds(tiny, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train("tiny", tmp_path / name, TrainingOptions(seed=seed, epochs=1))
    assert same(tmp_path / "a", tmp_path / "b") and not same(tmp_path / "a", tmp_path / "c")


def test_training_leaves_the_callers_generator_alone(tiny, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train("tiny", tmp_path / "c", TrainingOptions(epochs=1))
    assert torch.equal(torch.rand(3), expected)


def interrupt_after(epochs: int):
    """A progress callback that presses Ctrl-C."""

    def progress(done, of, records):
        if done == epochs:
            os.kill(os.getpid(), signal.SIGINT)

    return progress


@pytest.mark.parametrize("patience", [None, 4])
def test_resumed_training_is_the_unbroken_one(tiny, tmp_path, monkeypatch, patience):
    """With a patience, the weights to go on with are not those that are kept."""
    monkeypatch.setitem(presets.PRESETS, "tiny", replace(tiny, patience=patience, learning_rate=0.05))
    whole = train("tiny", tmp_path / "whole")
    with pytest.raises(TrainingInterrupted, match="holds epoch 2 of 4; go on with --resume"):
        train("tiny", tmp_path / "broken", progress=interrupt_after(2))
    assert load_checkpoint(tmp_path / "broken").epoch == 2
    assert not same(tmp_path / "whole", tmp_path / "broken")
    resumed = train("tiny", tmp_path / "broken", TrainingOptions(resume=True))
    assert same(tmp_path / "whole", tmp_path / "broken")
    assert resumed.accuracy == whole.accuracy
    assert [r["loss"] for r in resumed.history] == [r["loss"] for r in whole.history]
    assert (
        train("tiny", tmp_path / "broken", TrainingOptions(resume=True)).accuracy == whole.accuracy
    )  # nothing left to do
    assert resumed.best_epoch == whole.best_epoch


def test_interrupted_before_anything_was_saved(tiny, tmp_path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(training.objective, "loss", interrupt)
    with pytest.raises(TrainingInterrupted, match="nothing was saved"):
        train("tiny", tmp_path / "c")
    assert not list(tmp_path.iterdir())


def test_resuming_needs_the_same_training(tiny, tmp_path):
    with pytest.raises(FileError, match="no file"):
        train("tiny", tmp_path / "c", TrainingOptions(resume=True))
    train("tiny", tmp_path / "c", TrainingOptions(epochs=1))
    with pytest.raises(FileError, match="epochs = 1, not 4"):
        train("tiny", tmp_path / "c", TrainingOptions(resume=True))
    with pytest.raises(FileError, match="seed = 0, not 3"):
        train("tiny", tmp_path / "c", TrainingOptions(epochs=1, seed=3, resume=True))
    with pytest.raises(FileError, match="batch = 20, not 10"):
        train(replace(tiny, batch=10), tmp_path / "c", TrainingOptions(epochs=1, resume=True))
    with pytest.raises(FileError, match="precision = float32, not bfloat16"):
        train("tiny", tmp_path / "c", TrainingOptions(epochs=1, precision="bfloat16", resume=True))
    teacher = load_checkpoint(tmp_path / "c").model
    train("tiny", tmp_path / "taught", TrainingOptions(epochs=1, teacher=teacher))
    with pytest.raises(FileError, match=r"teacher = [0-9a-f]+, not None"):
        train("tiny", tmp_path / "taught", TrainingOptions(epochs=1, resume=True))


def test_what_is_no_picture_is_not_changed_as_one(tiny, tmp_path, monkeypatch):
    flat = replace(load("digits"), image_shape=(8,))
    monkeypatch.setitem(data_sets.DATA_SETS, "digits", lambda: flat)
    assert tiny.augmentation is not None
    with pytest.raises(
        SpecError, match=r"changes its training clips as pictures.* digits are \(8,\); give their image"
    ):
        train("tiny", tmp_path / "c")
    train(replace(tiny, augmentation=None), tmp_path / "c", TrainingOptions(epochs=1))


def test_of_our_own_sets_some_classes_may_never_be_met(tiny, tmp_path, monkeypatch):
    """As those of the videos of faces, which a user has or has not: what was trained can be used all the same."""
    more = replace(tiny, spec=replace(tiny.spec, classes=12))
    monkeypatch.setitem(presets.PRESETS, "tiny", more)
    train("tiny", tmp_path / "c", TrainingOptions(epochs=1))
    checkpoint = load_checkpoint(tmp_path / "c")
    checkpoint.check(load("digits"))
    assert compile_checkpoint(tmp_path / "c", find_target("ulx3s-85f"), vectors=5).bundle.spec.classes == 12
    with pytest.raises(FileError, match="8 values and 13 classes, the model takes 8 and has 12"):
        checkpoint.check(replace(load("digits"), class_names=tuple("abcdefghijklm")))


def test_patience_keeps_the_best_epoch(tiny, tmp_path):
    """Training stops when the validation split has not been answered better for so long; nothing later is kept."""
    eager = replace(tiny, patience=3, epochs=30, learning_rate=0.05, schedule="constant")
    result = train(eager, tmp_path / "c")
    found = [record["validation"] for record in result.history]
    best = found.index(max(found)) + 1
    assert result.best_epoch == best == len(found) - 3 < 27, "the test needs a training that stops early"
    checkpoint, data = load_checkpoint(tmp_path / "c"), load("digits")
    assert checkpoint.complete and checkpoint.best_epoch == best and checkpoint.epoch == best + 3
    for split, expected in ((data.validation, max(found)), (data.test, result.accuracy)):
        assert evaluate(checkpoint.model, split.clips, split.labels) == expected
    alone = train(replace(eager, patience=None), tmp_path / "d", TrainingOptions(epochs=30, choose=True))
    losses = [[record["loss"] for record in history] for history in (result.history, alone.history)]
    assert losses[0] == losses[1][: best + 3], "only the train split is trained on, and validating changes nothing"


def break_off(monkeypatch, done: float):
    """A schedule that leaps beyond all numbers after a fraction of the training."""
    monkeypatch.setitem(SCHEDULES, "constant", lambda now: 1e38 if now >= done else 1.0)


@pytest.mark.parametrize(("done", "says"), [(0.5, "tiny.c holds epoch 2 of 4$"), (0, "nothing was saved")])
def test_a_loss_that_is_no_number(tiny, tmp_path, monkeypatch, done, says):
    break_off(monkeypatch, done)
    with pytest.raises(TrainingDiverged, match=f"gradient of nan in epoch {4 * done + 1:.0f}, step 2 of 2.*{says}"):
        train(replace(tiny, schedule="constant"), tmp_path / "tiny.c")
    if done:
        checkpoint = load_checkpoint(tmp_path / "tiny.c")
        assert checkpoint.epoch == 2 and all(p.isfinite().all() for p in checkpoint.model.parameters())


def test_a_full_disk(tiny, tmp_path):
    """What was written last stays, and nothing half-written beside it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def progress(done, of, records):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))

    try:
        with pytest.raises(
            FileError, match=r"cannot write .*; choose another place; .* holds epoch 1 of 4; go on with"
        ):
            train("tiny", tmp_path / "c", progress=progress)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["c"] and load_checkpoint(tmp_path / "c").epoch == 1
    train("tiny", tmp_path / "whole")
    train("tiny", tmp_path / "c", TrainingOptions(resume=True))
    assert same(tmp_path / "c", tmp_path / "whole")


def test_a_checkpoint_of_another_version(tiny, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(container, "VERSION", container.VERSION - 1)
        train("tiny", tmp_path / "c", TrainingOptions(epochs=1))
    with pytest.raises(FileError, match=f"version {container.VERSION - 1}, fdht .* reads {container.VERSION}; make"):
        train("tiny", tmp_path / "c", TrainingOptions(epochs=1, resume=True))


def test_products_in_bfloat16(tiny, tmp_path):
    """Coarser, so the losses are near those of float32 and not the same; the parameters stay float32."""
    losses = []
    for precision in ("float32", "bfloat16"):
        losses.append(
            train("tiny", tmp_path / precision, TrainingOptions(epochs=1, precision=precision)).history[0]["loss"]
        )
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.02)
    assert {a.dtype for a in arrays(tmp_path / "bfloat16").values()} == {np.dtype("float32")}


@pytest.mark.slow
def test_compiling_without_a_compiler(tmp_path):
    """In a process of its own: torch remembers where it has found a compiler, and where not."""
    environment = os.environ | {"PATH": str(tmp_path / "empty"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    words = ("train", "digits", "--epochs", "1", "--clips-per-epoch", "8", "--batch", "4", "--compile")
    command = [sys.executable, "-W", "ignore", "-m", "fdht", *words]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.search(r"cannot be compiled on this machine \(.+\); leave out --compile", done.stderr), done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those that torch.compile makes within torch
def test_compiled_training_is_training(tiny, tmp_path):
    losses = [
        train("tiny", tmp_path / "c", TrainingOptions(epochs=1, compiled=way)).history[0]["loss"]
        for way in (False, True)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_checkpoints_of_something_else(tiny, tmp_path, monkeypatch):
    path = tmp_path / "c"
    train("tiny", path, TrainingOptions(epochs=1))
    with pytest.raises(FileError, match="preset tiny, not digits"):
        load_checkpoint(path, "digits")
    monkeypatch.setitem(presets.PRESETS, "tiny", replace(tiny, spec=fdht_lstm(8, 8, 10, (4, 2, 2), (4, 4, 2), 2)))
    with pytest.raises(FileError, match="another shape"):
        load_checkpoint(path, "tiny")
    _, description, parameters = contents(path)
    del parameters["model.head.bias"]
    container.write(tmp_path / "lacking", "checkpoint", description, parameters)
    with pytest.raises(FileError, match="not a consistent checkpoint"):
        load_checkpoint(tmp_path / "lacking")
    (tmp_path / "short").write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileError, match="damaged"):
        load_checkpoint(tmp_path / "short")


def test_bad_arguments(tiny, tmp_path):
    with pytest.raises(
        SpecError, match=r"no preset 'ucf' \(did you mean ucf11\?\); known: digits, spoken-digits, faces"
    ):
        train("ucf", tmp_path / "c")
    with pytest.raises(SpecError, match=r"no precision 'float8' \(did you mean float32\?\); known: float32, bfloat16"):
        train("tiny", tmp_path / "c", TrainingOptions(precision="float8"))
    with pytest.raises(SpecError, match="0 epochs"):
        train("tiny", tmp_path / "c", TrainingOptions(epochs=0))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"schedule": "linear"}, "no schedule 'linear'; known: one-cycle, trapezoid, cosine, constant"),
        ({"batch": 0}, "0 clips in a batch"),
        ({"patience": 0}, "0 epochs of patience"),
        ({"input_dropout": 1.0}, "input_dropout = 1.0 is no probability"),
        ({"learning_rate": 0.0}, "a learning rate of 0.0"),
        ({"weight_decay": float("nan")}, "weight decay of nan"),
        ({"augmentation": {"per": "frame"}}, "augmentation per 'frame'"),
    ],
)
def test_settings_that_cannot_be(settings, says):
    augmentation = settings.pop("augmentation", None)
    with pytest.raises(SpecError, match=says):
        replace(find_preset("digits"), **settings)
        Augmentation(0, 0, 0, 0, 0, **augmentation)


def test_data_of_ones_own_with_nothing_in_a_split(tiny, tmp_path, monkeypatch):
    whole = load("digits")
    nothing = replace(whole.train, order=whole.train.order[:0], labels=whole.train.labels[:0])
    monkeypatch.setitem(data_sets.DATA_SETS, "digits", lambda: replace(whole, train=nothing))
    with pytest.raises(SpecError, match="digits has no clips to train"):
        train("tiny", tmp_path / "c")


@pytest.mark.parametrize(("name", "classes"), [("faces-rgb", 40), ("ucf11", 11), ("youtube-faces", 47)])
def test_the_video_model_is_of_the_papers_size(name, classes):
    """Its parameters lie between the paper's smallest and largest model, and a step is cheap."""
    spec = find_preset(name).spec
    assert spec.classes == classes >= load(find_preset(name).data).classes
    assert (spec.inputs, spec.hidden) == (57600, 256) and 3132 <= spec.parameters["factors"] <= 8808
    assert stage_macs(spec.network, left_to_right(spec.network)) <= 1_500_000
    bands = spec.x_positions.reshape(8, -1) % prod(spec.network.input_shape[2:]) // spec.network.input_shape[3]
    assert all((band == number).all() for number, band in enumerate(bands))


def test_schedules():
    rates = {name: [schedule(k / 100) for k in range(101)] for name, schedule in SCHEDULES.items()}
    assert max(rates["one-cycle"]) == rates["one-cycle"][30] == 1
    assert rates["one-cycle"][0] == 1 / 25 and rates["one-cycle"][100] < 1e-9
    assert rates["trapezoid"][0] == 1 / 25 and set(rates["trapezoid"][10:51]) == {1} and rates["trapezoid"][100] < 1e-9
    assert sum(rates["trapezoid"]) == pytest.approx(1.4 * sum(rates["one-cycle"]), rel=0.02)
    assert rates["cosine"][0] == 1 and rates["cosine"][50] == pytest.approx(0.5) and rates["cosine"][100] < 1e-9
    assert rates["cosine"] == sorted(rates["cosine"], reverse=True)
    assert set(rates["constant"]) == {1}


def moved(augmentation: Augmentation, pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pictures (B × height × width, or × channels), as clips of one."""
    clips = pictures[:, None, :, :, None] if pictures.dim() == 3 else pictures[:, None]
    return augmentation(clips, augmentation.draw(len(clips), 1, generator)).reshape(pictures.shape)


def test_augmentation_moves_pixels_as_told():
    """Turned by 90 degrees, a square picture is its rotated self; nothing asked for, nothing changed."""
    pictures = torch.rand(3, 6, 9) * 2 - 1
    generator = torch.Generator().manual_seed(0)
    still = moved(Augmentation(0, 0, 0, 0, 0), pictures, generator)
    torch.testing.assert_close(still, pictures, rtol=0, atol=1e-5)

    square = torch.rand(1, 7, 7) * 2 - 1
    seed = 3
    angle = 2 * torch.rand(1, 1, 1, generator=torch.Generator().manual_seed(seed)).item() - 1
    turned = moved(Augmentation(pi / 2 / angle, 0, 0, 0, 0), square, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(turned[0], torch.rot90(square[0]), rtol=0, atol=1e-5)
    dot = torch.full((1, 41, 81), -1.0)
    dot[0, 20 + 9, 40 + 12] = 1  # a quarter turn takes right to up and down to right, in a picture of any aspect
    turned = moved(Augmentation(pi / 2 / angle, 0, 0, 0, 0), dot, torch.Generator().manual_seed(seed))
    assert divmod(int(turned.argmax()), 81) == (20 - 12, 40 + 9)
    loud = moved(Augmentation(0.1, 0.1, 0.1, 0.5, 0.5), pictures, generator)
    assert loud.shape == pictures.shape and loud.abs().max() <= 1


def test_augmentation_treats_channels_alike():
    pictures = torch.rand(3, 6, 9, 2) * 2 - 1
    augmentation = Augmentation(0.3, 0.2, 0.2, 0.3, 0.3)
    together = moved(augmentation, pictures, torch.Generator().manual_seed(0))
    for channel in range(2):
        alone = moved(augmentation, pictures[..., channel], torch.Generator().manual_seed(0))
        torch.testing.assert_close(together[..., channel], alone)


def test_augmentation_of_clips():
    """Per clip, equal pictures of a clip stay equal; per picture, they do not; clips differ either way."""
    clips = (torch.rand(1, 1, 6, 9, 2) * 2 - 1).expand(3, 4, 6, 9, 2)
    for per in ("clip", "picture"):
        augmentation = Augmentation(0.3, 0.2, 0.2, 0.3, 0.3, per)
        drawn = augmentation.draw(3, 4, torch.Generator().manual_seed(0))
        changed = augmentation(clips, drawn)
        assert torch.equal(changed[:, :1].expand_as(changed), changed) == (per == "clip")
        assert not torch.allclose(changed[0], changed[1])
        torch.testing.assert_close(augmentation(clips[1:], drawn[1:]), changed[1:], msg="a share of a batch")
        one = augmentation(clips[1:2, 2:3], drawn[1:2, :1] if per == "clip" else drawn[1:2, 2:3])
        torch.testing.assert_close(one[0, 0], changed[1, 2], msg="each picture as if alone")


def agree(path, *, factor_width: int = 16) -> tuple[float, float]:
    """Float and golden accuracy of a checkpoint on its test split."""
    checkpoint = load_checkpoint(path)
    data = load(find_preset(checkpoint.preset).data)
    clips, labels = data.test.clips, data.test.labels
    bundle, report = quantise(
        checkpoint.model,
        (left_to_right(checkpoint.spec.network),),
        clips[:1],
        labels[:1],
        calibration=data.final.frames[data.final.order[:: max(1, len(data.final) // 80)]],
        factor_width=factor_width,
    )
    # z may clip at ±8, where both tables are flat; nothing else may.
    assert max(rate for place, rate in report.rates.items() if place != "z") < 1e-3
    golden = GoldenLSTM(bundle).run(clips).classes.numpy()
    assert evaluate(checkpoint.model, clips, labels) == (predict(checkpoint.model, clips) == labels).mean()
    return float(evaluate(checkpoint.model, clips, labels)), float((golden == labels).mean())


def test_digits_reach_95_percent(tmp_path):
    result = train("digits", tmp_path / "c")
    real, golden = agree(tmp_path / "c")
    assert result.accuracy == real >= 0.95
    assert abs(golden - real) <= 0.005
    assert result.parameters["factors"] == find_preset("digits").spec.network.parameters


@pytest.mark.slow
def test_faces_reach_95_percent(tmp_path):
    result = train("faces", tmp_path / "c")
    real, golden = agree(tmp_path / "c")
    assert result.accuracy == real >= 0.95
    assert abs(golden - real) <= 0.005
    assert result.parameters["factors"] <= 8808


@pytest.mark.slow
def test_the_order_of_frames_is_learnt(tmp_path):
    """A model that ignores it is right in exactly half of the clips (see test_data.py)."""
    assert train("playing-direction", tmp_path / "c", TrainingOptions(choose=True)).accuracy > 0.8
