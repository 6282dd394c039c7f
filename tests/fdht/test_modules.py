"""`fdht compile mine:model`: a module in a file of the user's, and a file of samples."""

import re

import numpy as np
import pytest

from fdht.spec.bundle import Bundle

MINE = """
import torch
from torch import nn
from fdht import FDHTLSTM, fdht_lstm

class Net(nn.Module):
    def __init__(self, lstm, outputs=3):
        super().__init__()
        self.lstm, self.head = lstm, nn.Linear(8, outputs)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])

def model():
    torch.manual_seed(1)
    return Net(FDHTLSTM(fdht_lstm(4, 8, 0, (4, 3), (4, 8), 3), batch_first=True))

dense = Net(nn.LSTM(4, 8, batch_first=True), 2)
gru = Net(nn.GRU(4, 8, batch_first=True))
number = 7
print("a line of the user's")

def two():
    torch.manual_seed(1)
    return Net(FDHTLSTM(fdht_lstm(4, 8, 0, (4, 3), (4, 8), 3), batch_first=True), 2)

def broken():
    return {}["weights"]

class Raises(Net):
    def forward(self, x):
        assert x.shape[1] == 99, "99 steps are wanted"

raises = Raises(nn.LSTM(4, 8, batch_first=True))
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with a module of the user's and their samples; the module is another in every test."""
    rng = np.random.default_rng(1)
    name = f"mine_{tmp_path.name}".replace("-", "_").replace("[", "_").replace("]", "_")
    (tmp_path / f"{name}.py").write_text(MINE)
    x = rng.normal(size=(40, 6, 4)).astype(np.float32)
    np.savez(tmp_path / "mine.npz", x=x, y=np.arange(40) % 3, x_test=x[:9], y_test=np.arange(9) % 3)
    np.savez(tmp_path / "plain.npz", x=x, y=rng.normal(size=(40, 2)))
    return name


def test_a_module_becomes_a_bundle_that_is_simulated(fdht, mine, tmp_path):
    made = fdht("compile", f"{mine}:model", "--data", "mine.npz", "--json")
    assert made.code == 0, made.err
    bundle = Bundle.load(tmp_path / "build/model.bundle")
    assert bundle.labels.tolist() == [0, 1, 2] * 3 and bundle.scaling is not None
    assert made.figures["bundle"] == "build/model.bundle" and made.figures["same class as the float model"] > 0.5
    assert (tmp_path / made.figures["image"]).is_file()
    golden = bundle.logits.argmax(1)
    assert made.figures["accuracy"]["golden"] == (golden == bundle.labels).mean()
    simulated = fdht("simulate", "build/model.bundle", "--clips", 1, "--json")
    assert simulated.code == 0 and simulated.figures["mismatches"] == 0


def test_an_lstm_of_torch_for_a_regression(fdht, mine, tmp_path):
    made = fdht("compile", f"{mine}:dense", "--data", "plain.npz", "--regression", "-o", "here/own.bundle", "--json")
    assert made.code == 0, made.err
    assert Bundle.load(tmp_path / "here/own.bundle").labels.shape == (40, 2)
    assert made.figures["image"] == "here/own.ulx3s-85f.image" and (tmp_path / made.figures["image"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{}:model", "--data", "mine.npz", "-o", "own.image"], "name a folder, or the file: own.bundle"),
        (["{}:model"], "needs samples to choose its number formats on; say which file has them with --data"),
        (["{}:model", "--data", "none.npz"], "there is no file none.npz"),
        (["{}:model", "--data", "mine.txt"], "there is no file mine.txt"),
        (["{}:none", "--data", "mine.npz"], "cannot be imported"),
        (["{}:number", "--data", "mine.npz"], "is a int; name a torch.nn.Module"),
        (["{}:gru", "--data", "mine.npz"], "lstm is a GRU: train an FDHTLSTM"),
        (["{}:model", "--data", "plain.npz"], "labels of shape"),
        (["{}:model", "--data", "mine.npz", "--explain"], "is a module; leave out"),
        (["m.checkpoint", "--regression"], "is a checkpoint; --host, --ranks and --regression are for a module"),
    ],
)
def test_what_cannot_be_compiled_is_said(fdht, mine, tmp_path, arguments, words):
    outcome = fdht("compile", *(argument.format(mine) for argument in arguments))
    assert outcome.code == 1 and words in outcome.sentence
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    ("y", "more", "labels"),
    [
        (np.array([-1, 1]), {}, [0, 1]),
        (np.array([1, 2]), {}, [0, 1]),
        (np.array(["no", "yes"]), {}, [0, 1]),
        (np.array(["no", "yes"]), {"class_names": np.array(["yes", "no"])}, [1, 0]),
        (np.array([0, 1]), {"class_names": np.array([7, 8]), "value_names": np.array([*"abcd"])}, [0, 1]),
    ],
    ids=str,
)
def test_labels_are_what_they_are_to_training(fdht, mine, tmp_path, y, more, labels):
    x = np.random.default_rng(2).normal(size=(24, 6, 4))
    np.savez(tmp_path / "two.npz", x=x, y=y[np.arange(24) % 2], **more)
    assert fdht("data", "two.npz").code == 0
    made = fdht("compile", f"{mine}:two", "--data", "two.npz", "-t", "icebreaker", "--json")
    assert made.code == 0, made.err
    bundle, named = Bundle.load(tmp_path / "build/two.bundle"), more.get("class_names", np.sort(y)).astype(str).tolist()
    assert bundle.labels.tolist() == labels * 12 and bundle.about["classes"] == named
    assert bundle.about["values"] == [*more.get("value_names", [])]


def test_padding_whole_numbers_and_a_task_of_their_own(fdht, mine, tmp_path):
    x = np.random.default_rng(2).integers(-9, 9, (24, 6, 4))
    lengths = np.arange(24) % 3 + 4
    x[np.arange(6) >= lengths[:, None]] = 1000
    np.savez(tmp_path / "ints.npz", x=x, y=np.arange(24) % 2, lengths=lengths)
    made = fdht("compile", f"{mine}:two", "--data", "ints.npz", "-t", "icebreaker", "--json")
    assert made.code == 0 and "Warning" not in made.err, made.err
    assert "are clipped in calibration, which costs accuracy" in made.err
    bundle = Bundle.load(tmp_path / "build/two.bundle")
    assert bundle.lengths is not None and bundle.lengths.tolist() == lengths.tolist()
    assert bundle.scaling is not None and max(bundle.scaling.step) < 1  # what is padded has no part in it
    np.savez(tmp_path / "real.npz", x=x / 9, y=np.random.default_rng(3).normal(size=(24, 2)))
    made = fdht("compile", f"{mine}:two", "--data", "real.npz", "-t", "icebreaker", "--json")
    assert made.code == 0, made.err
    assert Bundle.load(tmp_path / "build/two.bundle").spec.task.real


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("broken", r":broken raised KeyError: 'weights' \(mine_.*\.py, line 28\); mend that"),
        ("raises", r"Raises raised AssertionError \(99 steps are wanted\) with samples of"),
    ],
)
def test_what_the_users_code_raises_is_said(fdht, mine, what, words):
    outcome = fdht("compile", f"{mine}:{what}", "--data", "mine.npz")
    assert outcome.code == 1 and re.search(words, outcome.sentence), outcome.sentence
