"""Trainings that run away, saturate or learn nothing are noticed; others are not."""

from dataclasses import replace
from math import log

import pytest
import torch

from fdht.model import layers
from fdht.model.layers import Classifier
from fdht.model.presets import PRESETS
from fdht.model.train import train
from fdht.model.watch import SHUT, shut, troubles
from fdht.spec.lstm import LSTMSpec, fdht_lstm


def of(*losses: float, epochs: int = 40, classes: int = 10) -> list[str]:
    return troubles(losses, epochs, classes, 0.03)


def test_a_loss_that_rises_for_long_is_said_with_a_lower_rate():
    assert not of(2.3, 1.0, 0.5, 0.9, 0.9, 0.9), "three epochs, and a tenth of 40 are four"
    (sentence,) = of(2.3, 1.0, 0.5, 0.9, 0.9, 0.9, 0.95)
    assert sentence.startswith("the loss has been above its best for 4 epochs: 0.5 after epoch 3, 0.95 now;")
    assert sentence.endswith("train anew with --learning-rate 0.01")
    assert of(2.3, 0.5, 0.9, 0.9, 0.95, epochs=5)


def test_noise_is_no_rise():
    assert not of(2.3, 0.5, 0.6, 0.55, 0.62, 0.58)
    assert not of(2.3, 0.001, 0.03, 0.02, 0.04, 0.03), "small losses jump"
    assert not of(2.3, 0.5, 0.9, 0.9, 0.9, 0.9, 0.5)


def test_a_training_that_ends_where_guessing_is_has_learnt_nothing():
    (sentence,) = of(2.4, 2.3, epochs=2)
    assert "nothing was learnt" in sentence and f"{log(10):.3g}" in sentence
    assert not of(2.4, 2.3, epochs=3), "it has not ended"
    assert not of(2.4, 2.0, epochs=2)
    assert not of(0.1, 0.1, epochs=2, classes=1) and not of(epochs=2)


SMALL = fdht_lstm(6, 8, 3, (4, 4), (4, 8), 3)
RAW = torch.randint(0, 256, (5, 7, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def model_of(*specs: LSTMSpec) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Classifier(specs).eval()


def test_saturated_gates_are_said_with_a_lower_rate():
    assert not troubles([2.3, 1.0], 4, 10, 0.3, closed=SHUT)
    (sentence,) = troubles([2.3, 1.0], 4, 10, 0.3, closed=0.6)
    assert sentence.startswith("gates are saturated: in 60 % of the hidden units' steps")
    assert sentence.endswith("train anew with --learning-rate 0.1")


@pytest.mark.parametrize("formed", [True, False])
def test_the_share_is_that_of_the_gates_one_by_one(monkeypatch, formed):
    """Step by step, with the matrix that nn.LSTM has; whether the layer forms it or contracts with the factors."""
    monkeypatch.setattr(layers, "MOST_FORMED", layers.MOST_FORMED if formed else 0)
    model = model_of(replace(SMALL, classes=0), fdht_lstm(8, 8, 3, (4, 4), (4, 8), 3))
    with torch.no_grad():
        for layer, size in zip(model.lstm_layers, (2.5, 4), strict=True):
            for factor in layer.weight.factors.values():
                factor *= size
    x, shares = model.widen(RAW), []
    for layer in model.lstm_layers:
        h, c = x.new_zeros(2, len(x), 8)
        outputs, flat = [], []
        for step in x.unbind(1):
            z = torch.cat([step, h], 1) @ layer.to_dense().detach().T + layer.biases.detach().flatten()
            i, f, g, o = (z[:, 8 * k : 8 * k + 8] for k in range(4))
            i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
            c = f * c + i * g
            h = o * c.tanh()
            outputs.append(h)
            flat.append(((i - 0.5).abs() > 0.49) & (g.abs() > 0.99) & ((o - 0.5).abs() > 0.49))
        x = torch.stack(outputs, 1)
        shares.append(torch.stack(flat).float().mean().item())
    assert 0 < shares[0] < shares[1] < 1
    assert shut(model, RAW) == pytest.approx(shares[1], abs=1e-6)


def test_a_forget_gate_near_one_alone_is_healthy():
    model = model_of(SMALL)
    assert shut(model, RAW) == 0
    with torch.no_grad():
        model.lstm_layers[0].biases[1] = 30
    assert shut(model, RAW) == 0
    with torch.no_grad():
        model.lstm_layers[0].biases[:] = 30
    assert shut(model, RAW) == 1


@pytest.mark.parametrize("data", ["digits", "spoken-digits"])
def test_a_training_says_it_and_a_healthy_one_does_not(tmp_path, data):
    preset = replace(PRESETS[data], epochs=2, clips_per_epoch=640, batch=32)
    healthy = train(preset, tmp_path / "a")
    assert not healthy.troubles and all(0 <= record["shut"] < 0.05 for record in healthy.history)
    runaway = train(replace(preset, learning_rate=0.3), tmp_path / "b")
    assert runaway.history[-1]["shut"] > 0.5
    assert [each.partition(":")[0] for each in runaway.troubles][:1] == ["gates are saturated"]
