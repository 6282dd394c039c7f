"""Quantisation: formats that hold what they must, integers that mean what they should."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdht.model.contraction import left_to_right, stage_weights
from fdht.model.golden import GoldenLSTM
from fdht.model.layers import Classifier
from fdht.model.quantise import SHIFT_LIMIT, SaturationReport, finest, quantise, with_vectors
from fdht.model.train import predict
from fdht.spec.bundle import Bundle
from fdht.spec.errors import SpecError
from fdht.spec.fixed import Fixed
from fdht.spec.formats import GateFormats, InputFormat
from fdht.spec.lstm import chains, fdht_lstm, lstm_on
from fdht.spec.network import balanced_tree, dense_network, ht_network
from tests.model.networks import models, small_lstm, stage_lists


def classifier(spec, seed: int = 0, **options) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(spec, **options)


def random_clips(spec, seed: int = 0, clips: int = 6, steps: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (clips, steps, spec.inputs), dtype=np.uint8)


@settings(max_examples=40)
@given(st.data())
def test_any_network_quantises(data):
    """Formats without negative shifts (the bundle checks them), weights within half a step, no clipped result."""
    layers = data.draw(models())
    width = data.draw(st.integers(4, 18))
    model, clips = classifier(layers, data.draw(st.integers(0, 1000))), random_clips(layers[0])
    lists = tuple(data.draw(stage_lists(chain.network)) for chain in chains(layers))
    bundle, report = quantise(model, lists, clips, np.arange(6) % layers[-1].classes, factor_width=width)
    networks = [
        weight for layer in model.lstm.layers for weight in (layer.weight, layer.recurrent) if weight is not None
    ]
    for c, (chain, listed, weight) in enumerate(zip(bundle.chains, bundle.stages, networks, strict=True)):
        real = stage_weights(chain.network, listed, {name: factor.double() for name, factor in weight.factors.items()})
        prefix = f"chain {c} " if len(networks) > 1 else ""
        for s, (format, exact, integers) in enumerate(
            zip(bundle.formats.chains[c], real, bundle.weights[c], strict=True)
        ):
            assert format.weight.width == width and integers.dtype == np.int32
            off = np.abs(format.weight.dequantise(integers) - exact.detach().numpy())
            assert (off > format.weight.lsb * 0.5001).sum() <= report.weights[f"{prefix}stage {s}"]
    assert not report.clipped["x"]
    assert not any(clipped for place, clipped in report.clipped.items() if re.search(r"stage \d$", place))
    assert set(report.rates) == set(report.values) and max(report.rates.values()) <= 1
    trace = GoldenLSTM(bundle).run(clips)
    assert np.array_equal(bundle.logits, trace.logits) and np.array_equal(bundle.hidden, trace.h[:, -1])


@pytest.mark.parametrize("depth", [1, 2, 4, 6])
def test_wider_factors_come_closer_to_float(depth):
    spec = small_lstm(depth)
    model, clips = classifier(spec, depth), random_clips(spec, depth)
    with torch.no_grad():
        real = model(model.widen(torch.from_numpy(clips))).numpy()
    errors = []
    for width in (6, 9, 16):
        bundle, _ = quantise(model, (left_to_right(spec.network),), clips, np.zeros(6), factor_width=width)
        assert bundle.formats.head is not None
        errors.append(np.abs(bundle.formats.head.result.dequantise(bundle.logits) - real).max())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.004


def test_a_stack_with_a_recurrent_network_comes_close_to_float():
    lower = lstm_on(ht_network((5, 4), (4, 4), balanced_tree(2, 3)), 20, 4, 0, dense_network(4, (4, 4)))
    layers = (lower, fdht_lstm(4, 4, 5, (3, 4), (4, 4), 3))
    model, clips = classifier(layers, 3), random_clips(lower)
    with torch.no_grad():
        real = model(model.widen(torch.from_numpy(clips))).numpy()
    orders = tuple(left_to_right(chain.network) for chain in chains(layers))
    bundle, report = quantise(model, orders, clips, np.zeros(6))
    assert {"layer 0 h z", "layer 0 z sum", "layer 1 z", "logits"} <= set(report.values)
    assert {"chain 1 stage 0", "layer 1 bias"} <= set(report.weights)
    assert bundle.formats.head is not None
    error = np.abs(bundle.formats.head.result.dequantise(bundle.logits) - real).max()
    assert error < 0.004 < np.abs(real - real.mean(0)).max()


def test_finest_holds_the_largest_value_or_pays_for_clipping_it():
    assert finest(np.array([0.5, -0.3]), 16).frac == 15
    assert finest(np.array([100.0]), 8).frac == 0
    assert finest(np.zeros(3), 8).frac == 7
    # One outlier among ten thousand: clipping it costs less than a coarser grid for all the others.
    bulk = np.random.default_rng(0).uniform(-0.4, 0.4, 10_000)
    assert finest(bulk, 4).frac == 4
    assert finest(np.append(bulk, 0.6), 4).frac == 4
    assert finest(np.append(bulk[:10], 27.0), 4).frac == -2


def test_calibration_decides_the_formats():
    spec = small_lstm(4)
    model, loud = classifier(spec), random_clips(spec)
    quiet = np.full_like(loud, 129)
    one, report = quantise(model, (left_to_right(spec.network),), loud, np.zeros(6), calibration=quiet)
    other, _ = quantise(model, (left_to_right(spec.network),), loud, np.zeros(6))
    assert all(
        a.result.frac > b.result.frac for a, b in zip(one.formats.stages[:-1], other.formats.stages, strict=False)
    )
    assert not any(report.clipped[name] for name in report.clipped if name.startswith("stage"))
    saturated = GoldenLSTM(one).run(loud).saturations
    assert any(saturated[name] for name in saturated if name.startswith("stage"))


def test_dead_and_huge_weights():
    spec = small_lstm(3)
    for scale in (0.0, 1e-6, 30.0):
        model = classifier(spec)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(scale)
        for width in (4, 16):
            bundle, _ = quantise(
                model, (left_to_right(spec.network),), random_clips(spec), np.zeros(6), factor_width=width
            )
            shifts = [*(bundle.formats.shift(0, s) for s in range(3)), bundle.formats.head_shift]
            assert min(shifts) >= 0 and max(shifts) <= SHIFT_LIMIT


def test_formats_of_the_caller():
    spec = small_lstm(2)
    gate = GateFormats(Fixed(12, 8), Fixed(12, 8), Fixed(12, 10), Fixed(12, 10))
    signed = InputFormat(Fixed(8, 4), 0)
    model = classifier(spec, input_format=signed)
    clips = np.random.default_rng(0).integers(-128, 128, (2, 3, 20), dtype=np.int8)
    bundle, _ = quantise(model, (left_to_right(spec.network),), clips, np.zeros(2), gate=gate, about={"data": "random"})
    assert bundle.formats.gate == gate and bundle.formats.input == signed and bundle.about == {"data": "random"}
    assert {format.result.width for format in bundle.formats.stages} == {12}


def test_round_trip_and_other_vectors(tmp_path):
    spec = small_lstm(4)
    model, clips = classifier(spec), random_clips(spec)
    bundle, _ = quantise(model, (left_to_right(spec.network),), clips, predict(model, clips))
    bundle.save(tmp_path / "b.fdht")
    loaded = Bundle.load(tmp_path / "b.fdht")
    more = random_clips(spec, 7, steps=2)
    renewed = with_vectors(loaded, more, np.zeros(6))
    trace = GoldenLSTM(bundle).run(more)
    assert np.array_equal(renewed.clips, more)
    assert np.array_equal(renewed.logits, trace.logits) and np.array_equal(renewed.hidden, trace.h[:, -1])
    assert not np.array_equal(renewed.logits, loaded.logits)


def test_bad_arguments():
    spec = small_lstm(2)
    model, clips = classifier(spec), random_clips(spec)
    for width in (3, 19):
        with pytest.raises(SpecError, match=f"factor width of {width} is outside 4..18"):
            quantise(model, (left_to_right(spec.network),), clips, np.zeros(6), factor_width=width)
    with pytest.raises(SpecError, match="no clips"):
        quantise(model, (left_to_right(spec.network),), clips[:0], np.zeros(0))
    with pytest.raises(SpecError, match="2 stage lists for 1 chains"):
        quantise(model, (left_to_right(spec.network),) * 2, clips, np.zeros(6))
    with pytest.raises(SpecError, match="names"):
        quantise(model, ((("U1",),),), clips, np.zeros(6))


def test_more_than_a_hundredth_that_is_clipped_is_trouble():
    assert SaturationReport({"z": 2, "c": 0}, {"z": 100, "c": 100}, {}).trouble == ""
    assert SaturationReport({"z": 2, "c": 1}, {"z": 100, "c": 100}, {}).trouble.startswith(
        "1.50 % of 200 values (z 2.0 %, c 1.0 %) are clipped in calibration, which costs accuracy"
    )
