"""Plain PyTorch models in and out: the same logits, and one sentence for what is no LSTM."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fdht.model.dense import read_dense, write_dense
from fdht.model.layers import Classifier
from fdht.spec.errors import FdhtError, FileError, SpecError
from fdht.spec.formats import PIXELS
from fdht.spec.lstm import LSTMSpec, dense_lstm, fdht_lstm, lstm_on
from fdht.spec.network import dense_network, tt_network

CLOSE = {"rtol": 0, "atol": 1e-5}
"""float32: sums of some dozen terms of about 1."""

N, H, CLASSES = 12, 8, 3
SPEC = fdht_lstm(N, H, CLASSES, (5, 4), (8, 4), 2)
FULL = 1000

LSTM_NAMES = [f"lstm__{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


class Plain(nn.Module):
    """What a user of PyTorch writes."""

    def __init__(self, layers: int = 1, inputs: int = N):
        super().__init__()
        self.lstm = nn.LSTM(inputs, H, layers, batch_first=True)
        self.head = nn.Linear(H, CLASSES)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


@pytest.fixture
def plain() -> Plain:
    torch.manual_seed(0)
    return Plain().eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(5, 4, N, generator=torch.Generator().manual_seed(1)) * 2 - 1


def saved(state: object, path: Path) -> Path:
    torch.save(state, path)
    return path


def test_a_state_dict_gives_the_same_logits(plain, x, tmp_path):
    """Dense, and compressed without loss; from torch.save and from safetensors, beside an epoch and an optimiser."""
    save_file(plain.state_dict(), tmp_path / "a.safetensors")
    saved(plain.state_dict(), tmp_path / "b.pt")
    saved({"epoch": 3, "model": plain.state_dict(), "optimiser": {"state": {}}}, tmp_path / "c.pth")
    saved({name.replace("lstm", "net.rnn"): t.double() for name, t in plain.state_dict().items()}, tmp_path / "d.pt")
    with torch.no_grad():
        expected = plain(x).numpy()
        for path in sorted(tmp_path.iterdir()):
            read = read_dense(path)
            np.testing.assert_allclose(read.classifier(PIXELS)(x).numpy(), expected, **CLOSE)
            model, decomposition = read.compressed(SPEC, PIXELS, ranks=FULL)
            np.testing.assert_allclose(model(x).numpy(), expected, **CLOSE)
            assert decomposition.error < 1e-12


def test_a_bare_lstm_has_no_head(plain, x, tmp_path):
    read = read_dense(saved(plain.lstm.state_dict(), tmp_path / "a.pt"))
    assert read.head is None
    model, _ = read.compressed(SPEC, PIXELS, ranks=FULL)
    with torch.no_grad():
        np.testing.assert_allclose(model.lstm(x)[0].numpy(), plain.lstm(x)[0].numpy(), **CLOSE)
    with pytest.raises(SpecError, match="no classes"):
        read.classifier(PIXELS)


def test_an_lstm_without_biases(x, tmp_path):
    torch.manual_seed(2)
    lstm = nn.LSTM(N, H, bias=False, batch_first=True)
    model, _ = read_dense(saved(lstm.state_dict(), tmp_path / "a.pt")).compressed(SPEC, PIXELS, ranks=FULL)
    with torch.no_grad():
        np.testing.assert_allclose(model.lstm(x)[0].numpy(), lstm(x)[0].numpy(), **CLOSE)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-128.0, 127.0), (1.0, -2.0)])
def test_other_inputs_are_folded_in(plain, low, high, bias, tmp_path):
    """The model on what it was trained on gives what the rescaled one gives on the format's numbers."""
    lstm = nn.LSTM(N, H, bias=bias, batch_first=True)
    with torch.no_grad():
        lstm.weight_ih_l0 /= max(abs(low), abs(high))
    state = {f"lstm.{name}": t for name, t in lstm.state_dict().items()} | changed(plain, **dict.fromkeys(LSTM_NAMES))
    model = read_dense(saved(state, tmp_path / "a.pt"))
    raw = torch.randint(0, 256, (5, 4, N), generator=torch.Generator().manual_seed(4))
    own = model.rescaled(PIXELS, low, high).classifier(PIXELS)
    with torch.no_grad():
        expected = plain.head(lstm(low + raw / 255 * (high - low))[0][:, -1])
        np.testing.assert_allclose(own(own.widen(raw)).numpy(), expected.numpy(), **CLOSE)


@pytest.mark.parametrize("low, high", [(1, 1), (0, float("inf")), (float("nan"), 1)])
def test_inputs_of_no_range(plain, low, high, tmp_path):
    with pytest.raises(SpecError, match="no range"):
        read_dense(saved(plain.state_dict(), tmp_path / "a.pt")).rescaled(PIXELS, low, high)


def test_truncation_says_what_it_loses(plain, tmp_path):
    """The error is that of the matrix; factors are balanced, so that training goes on as it begins elsewhere."""
    read = read_dense(saved(plain.state_dict(), tmp_path / "a.pt"))
    exact = torch.cat([plain.lstm.weight_ih_l0, plain.lstm.weight_hh_l0], 1).detach()
    errors = []
    for rank in (1, 2, 4, 8):
        model, decomposition = read.compressed(SPEC, PIXELS, ranks=rank)
        lost = (model.lstm.layers[0].to_dense().detach() - exact).norm() / exact.norm()
        assert decomposition.error == pytest.approx(lost.item(), abs=1e-5)
        sizes = [factor.square().mean().item() for factor in model.lstm.layers[0].weight.factors.values()]
        assert max(sizes) == pytest.approx(min(sizes), rel=1e-4)
        errors.append(decomposition.error)
    assert errors[0] > errors[1] > errors[2] > errors[3]


SPECS = {
    "fdht": (SPEC,),
    "papers": (lstm_on(tt_network((4, 3), (8, 4), 2), N, H, CLASSES, dense_network(H, (8, 4))),),
    "dense": (dense_lstm(N, H, CLASSES),),
    "stack": (fdht_lstm(N, H, 0, (5, 4), (8, 4), 2), fdht_lstm(H, H, CLASSES, (4, 4), (8, 4), 3)),
}


@pytest.mark.parametrize("ending", [".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize("kind", SPECS)
def test_models_leave_as_plain_ones(kind, ending, x, tmp_path):
    """Into a module of plain PyTorch, strictly, with the same logits; and back again."""
    layers: tuple[LSTMSpec, ...] = SPECS[kind]
    torch.manual_seed(3)
    model, path = Classifier(layers).eval(), tmp_path / f"model{ending}"
    shapes = write_dense(path, model)
    plain = Plain(len(layers)).eval()
    if ending == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, weights_only=True)
    plain.load_state_dict(state)
    assert shapes == {name: tuple(t.shape) for name, t in plain.state_dict().items()}
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with torch.no_grad():
        np.testing.assert_allclose(plain(x).numpy(), model(x).numpy(), **CLOSE)
        if len(layers) == 1:
            back = read_dense(path).classifier(PIXELS)
            np.testing.assert_allclose(back(x).numpy(), model(x).numpy(), **CLOSE)


class Anything:
    def __reduce__(self):
        return (print, ("this code must not run",))


def test_pickled_objects_are_refused(plain, tmp_path, capfd):
    for number, content in enumerate((plain, Anything(), {"model": plain.state_dict(), "args": Anything()})):
        path = saved(content, tmp_path / f"{number}.pt")
        with pytest.raises(FileError, match=r"pickled objects.*state_dict\(\) instead"):
            read_dense(path)
    assert "must not run" not in capfd.readouterr().out


def changed(plain: Plain, **changes) -> dict:
    """The state dict with entries replaced (or, None, left out) by names whose dots are written __."""
    state = copy.deepcopy(dict(plain.state_dict()))
    for name, value in changes.items():
        key = name.replace("__", ".")
        if value is None:
            del state[key]
        else:
            state[key] = value
    return state


@pytest.mark.parametrize(
    "make, complaint",
    [
        (lambda p: changed(p, lstm__weight_ih_l0=None), "holds no weight_ih_l0"),
        (lambda p: changed(p, lstm__weight_hh_l0=None), "no lstm.weight_hh_l0"),
        (lambda p: changed(p, lstm__bias_hh_l0=None), "one of the LSTM's two biases"),
        (lambda p: changed(p, lstm__bias_ih_l0=None), "one of the LSTM's two biases"),
        (lambda p: changed(p, lstm__weight_hh_l0=torch.zeros(4 * H, H + 1)), "weight_.h_l0 .* has shape"),
        (lambda p: changed(p, lstm__weight_ih_l0=torch.zeros(3 * H, N)), "weight_ih_l0 .* has shape .* GRU"),
        (lambda p: changed(p, lstm__bias_hh_l0=torch.zeros(H)), "bias_hh_l0 .* has shape"),
        (lambda p: changed(p, head__bias=torch.zeros(CLASSES + 1)), "head.bias .* has shape"),
        (lambda p: changed(p, other__weight=torch.zeros(2, H)), "several matrices on 8 hidden units: head, other"),
        (lambda p: changed(p, two__weight_ih_l0=torch.zeros(4 * H, N)), r"2 LSTMs \(lstm., two.\)"),
        (lambda p: Plain(2).state_dict(), "several layers"),
        (lambda p: nn.LSTM(N, H, bidirectional=True).state_dict(), "two directions"),
        (lambda p: nn.LSTM(N, H, proj_size=4).state_dict(), "projection"),
        (lambda p: nn.GRU(N, H).state_dict(), "GRU"),
        (lambda p: nn.Linear(N, H).state_dict(), r"holds no weight_ih_l0.*\(it has weight, bias"),
        (lambda p: torch.zeros(3), r"holds no weight_ih_l0.*\(it is a Tensor"),
        (lambda p: [1, 2], "it is a list"),
    ],
)
def test_what_is_no_lstm_is_refused(make, complaint, plain, tmp_path):
    with pytest.raises(SpecError, match=complaint):
        read_dense(saved(make(plain), tmp_path / "a.pt"))


def test_a_head_can_be_named(plain, tmp_path):
    other = torch.arange(2.0 * H).reshape(2, H)
    path = saved(changed(plain, other__weight=other), tmp_path / "a.pt")
    head = read_dense(path, head="other").head
    assert head is not None and torch.equal(head.weight, other) and not head.bias.any()
    with pytest.raises(SpecError, match="no head 'fc' on 8 hidden units; it has head, other"):
        read_dense(path, head="fc")


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"this is no checkpoint" * 20, b"PK\x03\x04 half a zip"])
def test_files_of_something_else(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match="no checkpoint of PyTorch"):
        read_dense(tmp_path / name)


def test_a_truncated_checkpoint(plain, tmp_path):
    path = saved(plain.state_dict(), tmp_path / "a.pt")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FileError, match="save its state dict anew"):
        read_dense(path)
    with pytest.raises(FileError, match="there is no file"):
        read_dense(tmp_path / "b.pt")
    with pytest.raises(FileError, match="there is no file"):
        read_dense(tmp_path)


@pytest.mark.parametrize("name", ["lstm.weight_ih_l0", "lstm.bias_ih_l0", "head.weight", "head.bias"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers(plain, tmp_path, name, value):
    broken = plain.state_dict()[name].clone()
    broken.view(-1)[-1] = value
    state = changed(plain, **{name.replace(".", "__"): broken})
    with pytest.raises(SpecError, match=f"{name} in .* holds infinities or NaN"):
        read_dense(saved(state, tmp_path / "a.pt"))


def test_sizes_that_do_not_fit(plain, tmp_path):
    read = read_dense(saved(plain.state_dict(), tmp_path / "a.pt"))
    with pytest.raises(SpecError, match="head of 3 outputs does not fit 4 classes"):
        read.compressed(fdht_lstm(N, H, 4, (5, 4), (8, 4), 2), PIXELS)
    with pytest.raises(SpecError, match="does not fit a specification"):
        read.compressed(fdht_lstm(N + 1, H, CLASSES, (6, 4), (8, 4), 2), PIXELS)


def test_places_that_cannot_be_written(tmp_path):
    model = Classifier(SPEC)
    (tmp_path / "file").write_text("in the way")
    for path, error in ((tmp_path / "a.onnx", SpecError), (tmp_path / "file" / "a.pt", FileError)):
        with pytest.raises(error) as raised:
            write_dense(path, model)
        assert isinstance(raised.value, FdhtError)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
