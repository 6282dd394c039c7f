"""`fdht compile mine:model`: a module in a file of the user's, and a file of samples."""

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
    simulated = fdht("simulate", "build/model.bundle", "--clips", 1, "--json")
    assert simulated.code == 0 and simulated.figures["mismatches"] == 0


def test_an_lstm_of_torch_for_a_regression(fdht, mine, tmp_path):
    made = fdht("compile", f"{mine}:dense", "--data", "plain.npz", "--regression", "-o", "here", "--json")
    assert made.code == 0, made.err
    assert Bundle.load(tmp_path / "here/dense.bundle").labels.shape == (40, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
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
