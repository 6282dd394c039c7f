"""The golden model against evaluations that share none of its code: dense, exact, or within a derived bound."""

from dataclasses import replace
from fractions import Fraction
from math import exp, tanh

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdht.model import golden
from fdht.model.contraction import left_to_right
from fdht.model.golden import GoldenLSTM
from fdht.model.layers import Classifier
from fdht.model.quantise import quantise
from fdht.spec.activation import tabulate
from fdht.spec.bundle import Bundle
from fdht.spec.errors import SpecError
from fdht.spec.fixed import Fixed
from fdht.spec.formats import Formats, GateFormats, InputFormat, StageFormat
from fdht.spec.lstm import LSTMSpec, chains
from fdht.spec.stages import StageList, StageLists, stages_of
from tests.model.networks import block_term_lstm, dense, lstms, models, small_lstm, stage_lists

WIDE = GateFormats(Fixed(30, 12), Fixed(30, 12), Fixed(30, 12), Fixed(30, 12))
"""One scale everywhere, and so wide that nothing saturates: stages neither shift nor clip."""


def _sigmoid(x: float) -> float:
    return 1 / (1 + exp(-min(max(x, -30), 30)))  # the range of WIDE overflows exp


def unshifted(layers: tuple[LSTMSpec, ...], lists: StageLists, seed: int) -> tuple[Bundle, list[np.ndarray]]:
    """A bundle of tiny integer weights in which no stage shifts, and per chain its dense weight (4H rows)."""
    rng = np.random.default_rng(seed)
    whole, z = Fixed(24, 0), StageFormat(Fixed(24, 0), WIDE.z)
    weights, matrices, of_chains = [], [], []
    for chain, listed in zip(chains(layers), stages_of(chains(layers), lists), strict=True):
        network = chain.network
        tensors = {f.name: rng.integers(-2, 3, network.shape(f.indices)) for f in network.factors}
        weights.append(
            tuple(
                dense(network, {name: tensors[name] for name in stage.factors}, stage.weight).astype(np.int32)
                for stage in listed
            )
        )
        of_chains.append((*(StageFormat(whole, Fixed(40, 12)) for _ in listed[1:]), z))
        matrix = dense(network, tensors, (*network.outputs, *network.inputs)).reshape(np.prod(network.output_shape), -1)
        columns = [region.flat(network.input_shape) for region in (chain.x, chain.h) if region is not None]
        matrices.append(matrix[np.ix_(layers[chain.layer].z_positions, np.concatenate(columns))])
    spec = layers[-1]
    formats = Formats(
        input=InputFormat(Fixed(8, 12, signed=False), 128),
        gate=WIDE,
        chains=tuple(of_chains),
        head=StageFormat(Fixed(8, 3), Fixed(32, 15)),
        sigmoid=tabulate(_sigmoid, WIDE.z, WIDE.activation),
        tanh=tabulate(tanh, WIDE.z, WIDE.activation),
    )
    assert all(formats.shift(c, s) == 0 for c, chain in enumerate(of_chains) for s in range(len(chain)))
    bundle = Bundle(
        layers=layers,
        stage_lists=lists,
        formats=formats,
        weights=tuple(weights),
        biases=tuple(rng.integers(-(2**12), 2**12, (4, each.hidden)) for each in layers),
        head_weight=rng.integers(-128, 128, (spec.classes, spec.hidden)),
        head_bias=rng.integers(-(2**15), 2**15, spec.classes),
        clips=rng.integers(0, 256, (3, 4, layers[0].inputs), dtype=np.uint8),
        labels=np.zeros(3, dtype=np.int64),
        logits=np.zeros((3, spec.classes), dtype=np.int64),
        hidden=np.zeros((3, spec.hidden), dtype=np.int64),
    )
    return bundle, matrices


def quantised(
    spec: LSTMSpec,
    stage_list: StageList,
    seed: int,
    factor_width: int = 16,
    steps: int = 4,
    gate: GateFormats | None = None,
) -> Bundle:
    """A random model, with feedback strong enough to be seen, quantised on random clips."""
    torch.manual_seed(seed)
    model = Classifier(spec)
    with torch.no_grad():
        model.lstm.layers[0].weight.reset_parameters(4 / (spec.inputs + spec.hidden))
    clips = np.random.default_rng(seed).integers(0, 256, (5, steps, spec.inputs), dtype=np.uint8)
    return quantise(model, (stage_list,), clips, np.zeros(5), factor_width=factor_width, gate=gate)[0]


def check_dense_and_exact(data):
    """z is W [x; h] + b, or W_x x + W_h h + b, in exact integers, whatever the stage lists, in every layer."""
    layers = data.draw(models())
    lists = tuple(data.draw(stage_lists(chain.network)) for chain in chains(layers))
    bundle, matrices = unshifted(layers, lists, data.draw(st.integers(0, 1000)))
    trace = GoldenLSTM(bundle).run(bundle.clips, stage_results=True)
    assert not any(trace.saturations.values())
    x = bundle.clips.astype(object) - 128
    for number, (spec, layer) in enumerate(zip(layers, trace.layers, strict=True)):
        parts = [part for part, chain in zip(matrices, chains(layers), strict=True) if chain.layer == number]
        matrix = np.concatenate(parts, 1).astype(object)
        h = np.zeros((3, spec.hidden), dtype=object)
        for step in range(4):
            z = np.concatenate([x[:, step], h], 1) @ matrix.T + bundle.biases[number].astype(object).flatten()
            assert (layer.z[:, step].flatten(1).numpy() == z).all()
            h = layer.h[:, step].numpy().astype(object)
        x = layer.h.numpy().astype(object)
    h = x[:, -1]
    logits = h @ bundle.head_weight.astype(object).T + bundle.head_bias.astype(object)
    assert (trace.logits.numpy() == logits).all()
    assert (trace.classes.numpy() == [list(row).index(max(row)) for row in logits]).all()
    shapes = [
        (3, *chain.network.shape(stage.result))
        for chain, listed in zip(bundle.chains, bundle.stages, strict=True)
        for stage in listed
    ]
    assert all([tuple(result.shape) for result in results] == shapes for results in trace.stage_results)


@settings(max_examples=40)
@given(st.data())
def test_dense_and_exact_where_nothing_shifts(data):
    check_dense_and_exact(data)


@pytest.mark.slow
@settings(max_examples=2500, deadline=None)
@given(st.data())
def test_many_are_dense_and_exact_where_nothing_shifts(data):
    check_dense_and_exact(data)


def test_gates_in_python_integers():
    """c and h from the golden z, number by number, each rounded once; every format has a scale of its own."""
    gate = GateFormats(Fixed(16, 11), Fixed(16, 12), Fixed(16, 14), Fixed(16, 13))
    spec = small_lstm(3)
    bundle = quantised(spec, left_to_right(spec.network), 4, gate=gate)
    trace = GoldenLSTM(bundle).run(bundle.clips)
    sigmoid, tanh = bundle.formats.sigmoid, bundle.formats.tanh

    def rounded(value: Fraction, format: Fixed) -> int:
        return min(max((value * 2**format.frac + Fraction(1, 2)).__floor__(), format.min), format.max)

    for clip, unit in np.ndindex(5, spec.hidden):
        c = Fraction(0)
        for step in range(4):
            z = [int(code) for code in trace.z[clip, step, :, unit]]
            i, f, g, o = (
                Fraction(table(code), 2**gate.activation.frac)
                for table, code in zip((sigmoid, sigmoid, tanh, sigmoid), z, strict=True)
            )
            code = rounded(f * c + i * g, gate.cell)
            assert int(trace.c[clip, step, unit]) == code
            c = Fraction(code, 2**gate.cell.frac)
            t = Fraction(tanh(rounded(c, gate.z)), 2**gate.activation.frac)
            assert int(trace.h[clip, step, unit]) == rounded(o * t, gate.hidden)


@pytest.mark.parametrize("spec", [small_lstm(1), small_lstm(4), block_term_lstm()], ids=["dense", "ht", "bt"])
def test_float64_and_int64_products_are_the_same(spec, monkeypatch):
    bundle = quantised(spec, left_to_right(spec.network), 3)
    fast = GoldenLSTM(bundle).run(bundle.clips)
    monkeypatch.setattr(golden, "_EXACT_IN_FLOAT64", 0)
    slow = GoldenLSTM(bundle)
    assert all(weight.dtype == torch.int64 for weight in slow._layers[0][0]._weights)
    slow = slow.run(bundle.clips)
    assert torch.equal(fast.z, slow.z) and torch.equal(fast.logits, slow.logits)


@settings(max_examples=40)
@given(st.data())
def test_within_the_rounding_bound_elsewhere(data):
    """Each stage adds half a bit of its result's scale; later stages multiply that by at most their |weight| row sums.

    Held against the dense weight of the integers, in float64, on the golden model's own x and h of every step.
    """
    spec = data.draw(lstms())
    stage_list = data.draw(stage_lists(spec.network))
    factor_width = data.draw(st.sampled_from([6, 12, 16]))
    bundle = quantised(spec, stage_list, data.draw(st.integers(0, 1000)), factor_width)
    formats, (listed,) = bundle.formats, bundle.stages
    trace = GoldenLSTM(bundle).run(bundle.clips)
    if any(clipped for name, clipped in trace.saturations.items() if name not in ("c", "tanh(c)", "h", "logits")):
        return
    error, whole, indices = 0.0, None, None
    for stage, weight, format in zip(listed, bundle.weights[0], formats.chains[0], strict=True):
        real = format.weight.dequantise(weight)
        reach = np.abs(real).reshape(*real.shape[: len(stage.batch) + len(stage.rows)], -1).sum(-1).max()
        error = error * reach + (format.result.lsb / 2 if formats.shift(0, listed.index(stage)) else 0)
    for stage, weight, format in zip(listed, bundle.weights[0], formats.chains[0], strict=True):
        part = (format.weight.dequantise(weight), stage.weight)
        whole, indices = part if whole is None else _joined(spec, (whole, indices), part, listed, stage)
    network = spec.network
    matrix = np.moveaxis(
        whole, [indices.index(name) for name in (*network.outputs, *network.inputs)], range(whole.ndim)
    ).reshape(np.prod(network.output_shape), -1)
    matrix = matrix[np.ix_(spec.z_positions, np.concatenate([spec.x_positions, spec.h_positions]))]
    x = (bundle.clips.astype(np.float64) - 128) / 128
    h = formats.gate.hidden.dequantise(trace.h)
    h = np.concatenate([np.zeros_like(h[:, :1]), h[:, :-1]], 1)
    exact = np.concatenate([x, h], 2) @ matrix.T + formats.gate.z.dequantise(bundle.biases[0]).flatten()
    off = np.abs(formats.gate.z.dequantise(trace.z.flatten(2)) - exact).max()
    assert off <= error + 1e-9


def _joined(spec, done, part, listed, stage):
    """Two partial products of stage weights contracted by numpy; keeps the indices that later stages or W need."""
    later = {i for s in listed[listed.index(stage) + 1 :] for i in s.weight}
    needed = {*spec.network.inputs, *spec.network.outputs} | later
    kept = tuple(i for i in dict.fromkeys(done[1] + part[1]) if i in needed)
    number = {index: k for k, index in enumerate(spec.network.size)}
    codes = [[number[i] for i in names] for names in (done[1], part[1], kept)]
    return np.einsum(done[0], codes[0], part[0], codes[1], codes[2]), kept


def test_zero_h_is_zero_weights_for_h():
    spec = small_lstm(4)
    bundle = quantised(spec, left_to_right(spec.network), 5)
    start, count = spec.h.start[0], spec.h.shape[0]
    first = bundle.weights[0][0].copy()
    first[..., start : start + count] = 0  # h lives in the last indices of the first mode only
    blind = replace(bundle, weights=((first, *bundle.weights[0][1:]),))
    ablated = GoldenLSTM(bundle).run(bundle.clips, zero_h=True)
    assert torch.equal(ablated.z, GoldenLSTM(blind).run(bundle.clips).z)
    full = GoldenLSTM(bundle).run(bundle.clips)
    assert torch.equal(full.z[:, 0], ablated.z[:, 0])
    assert (full.z[:, 1:] != ablated.z[:, 1:]).flatten(2).any(-1).all()


def test_states_carry_over():
    spec = small_lstm(3)
    bundle = quantised(spec, left_to_right(spec.network), 1, steps=6)
    model = GoldenLSTM(bundle)
    whole = model.run(bundle.clips)
    first = model.run(bundle.clips[:, :2])
    second = model.run(bundle.clips[:, 2:], first.h[None, :, -1], first.c[None, :, -1])
    assert torch.equal(whole.h[:, 2:], second.h) and torch.equal(whole.logits, second.logits)
    assert not torch.equal(whole.h[:, 2:], model.run(bundle.clips[:, 2:]).h)


def test_integers_depend_on_the_stage_list():
    """Where results are rounded is part of the definition: another order gives other integers, close by."""
    spec = small_lstm(4)
    one = quantised(spec, left_to_right(spec.network), 2)
    other = quantised(spec, tuple((factor.name,) for factor in spec.network.factors), 2)
    z, other_z = (GoldenLSTM(bundle).run(one.clips).z for bundle in (one, other))
    assert not torch.equal(z, other_z)
    assert (z - other_z).abs().max() * one.formats.gate.z.lsb < 0.02


def test_saturations_are_counted():
    spec = small_lstm(2)
    bundle = quantised(spec, left_to_right(spec.network), 0)
    quiet = GoldenLSTM(bundle).run(bundle.clips)
    assert not any(quiet.saturations.values()) and all(quiet.values.values())
    # Ask for 16 times finer results than calibration allowed.
    first, second = bundle.formats.chains[0]
    finer = replace(first, result=replace(first.result, frac=first.result.frac + 4))
    second = replace(second, weight=replace(second.weight, frac=second.weight.frac - 6))
    loud = replace(bundle, formats=replace(bundle.formats, chains=((finer, second),)))
    trace = GoldenLSTM(loud).run(bundle.clips, stage_results=True)
    format = finer.result
    at_the_rail = sum(int(((r[0] == format.min) | (r[0] == format.max)).sum()) for r in trace.stage_results)
    assert 0 < trace.saturations["stage 0"] <= at_the_rail <= trace.values["stage 0"]
    assert trace.saturations["z"] > 0


def test_ties_go_to_the_lowest_class():
    spec = small_lstm(2)
    bundle = quantised(spec, left_to_right(spec.network), 0)
    assert bundle.head_weight is not None and bundle.head_bias is not None
    weight, bias = np.zeros_like(bundle.head_weight), np.array([-5, 3, 3, -1, 0], dtype=bundle.head_bias.dtype)
    trace = GoldenLSTM(replace(bundle, head_weight=weight, head_bias=bias)).run(bundle.clips)
    assert (trace.logits[:, 1] == trace.logits[:, 2]).all() and set(trace.classes.tolist()) == {1}


def test_bad_input():
    spec = small_lstm(2)
    bundle = quantised(spec, left_to_right(spec.network), 0)
    model = GoldenLSTM(bundle)
    with pytest.raises(SpecError, match="20"):
        model.run(bundle.clips[..., :-1])
    with pytest.raises(SpecError, match="steps"):
        model.run(bundle.clips[:, :0])
    with pytest.raises(SpecError, match="h0 has shape"):
        model.run(bundle.clips, h0=torch.zeros(5, 3))
    with pytest.raises(SpecError, match="c0 leaves the range"):
        model.run(bundle.clips, c0=torch.full((1, 5, 4), 1 << 15))
