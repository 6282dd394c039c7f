"""Training on integers: the golden model's numbers, bit for bit, and gradients that lead somewhere."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import MODELS, random_layers, random_stage_list
from hypothesis import given, settings
from hypothesis import strategies as st
from occurrences import SEED, assert_occurred
from torch.nn import functional

from fdht.model import qat
from fdht.model import train as training
from fdht.model.checkpoint import load_checkpoint
from fdht.model.contraction import left_to_right
from fdht.model.data import DATA_SETS, Source, load
from fdht.model.golden import GoldenLSTM
from fdht.model.layers import Classifier, Masks
from fdht.model.presets import PRESETS, Preset, find_preset
from fdht.model.qat import Arithmetic, Quantisation, QuantisedClassifier
from fdht.model.quantise import CALIBRATION_CLIPS, choose_formats, quantise
from fdht.model.rounding import Table, product, rounded
from fdht.model.train import TrainingInterrupted, TrainingOptions, evaluate, train
from fdht.spec.activation import PiecewiseLinear, sigmoid_table
from fdht.spec.bundle import Bundle
from fdht.spec.errors import FileError, SpecError
from fdht.spec.fixed import Fixed
from fdht.spec.formats import Formats, GateFormats
from fdht.spec.lstm import Region, chains, dense_lstm, fdht_lstm
from fdht.spec.stages import StageLists, accumulator_bits
from tests.contents import contents
from tests.model.networks import models, small_lstm, stage_lists


def arithmetic(lists: StageLists, factor_width: int = 8, data_width: int = 16, accumulator_width: int = 40):
    return Arithmetic("test", lists, factor_width, accumulator_width, GateFormats.of_width(data_width))


def random_classifier(layers, seed: int, scale: float = 1.3) -> Classifier:
    """Random weights, the larger the more is clipped."""
    torch.manual_seed(seed)
    model = Classifier(layers).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def random_clips(layers, seed: int, clips: int = 3, steps: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (clips, steps, layers[0].inputs), dtype=np.uint8)


def simple_lists(layers) -> StageLists:
    return tuple(left_to_right(chain.network) for chain in chains(layers))


def quantised(layers, lists: StageLists | None = None, seed: int = 0, **widths) -> QuantisedClassifier:
    """A random model with formats chosen on clips of an eighth of the contrast, so that results are clipped."""
    lists = simple_lists(layers) if lists is None else lists
    network = QuantisedClassifier(random_classifier(layers, seed), Quantisation(arithmetic(lists, **widths))).eval()
    network.calibrate(random_clips(layers, seed) // 8 + 112)
    return network


def assert_golden(network: QuantisedClassifier, raw: np.ndarray) -> tuple[Bundle, Counter[str]]:
    """Every h of the last layer and all logits are the golden model's; returns the bundle, and what was clipped."""
    lists = network.arithmetic.stage_lists
    bundle, _ = quantise(network.model, lists, raw, np.zeros(len(raw)), formats=network.formats)
    x, formats = network.widen(torch.from_numpy(raw)), bundle.formats
    assert formats.head is not None
    for zero_h in (False, True):
        trace = GoldenLSTM(bundle).run(bundle.clips, zero_h=zero_h)
        masks = Masks(None, torch.zeros(len(bundle.layers), len(raw), bundle.spec.hidden), None)
        h = network.hidden(x, masks=masks) if zero_h else network.hidden(x)
        assert torch.equal(h.double(), trace.h * formats.gate.hidden.lsb)
        assert torch.equal(network(x, zero_h=zero_h).double(), trace.logits * formats.head.result.lsb)
    return bundle, Counter(place.split()[-1] for place, clipped in trace.saturations.items() if clipped)


@settings(max_examples=30)
@given(st.data())
def test_forward_is_the_golden_model(data):
    layers = data.draw(models())
    lists = tuple(data.draw(stage_lists(chain.network)) for chain in chains(layers))
    seed, factor_width = data.draw(st.integers(0, 1000)), data.draw(st.integers(4, 18))
    network = quantised(
        layers, lists, seed, factor_width=factor_width, data_width=data.draw(st.sampled_from([4, 6, 8, 10, 12, 16, 18]))
    )
    assert_golden(network, random_clips(layers, seed))


def check_every_kind(kind: str, count: int) -> Counter[str]:
    rng, seen = np.random.default_rng([SEED, 60, *kind.encode()]), Counter[str]()
    for number in range(count):
        layers = random_layers(rng, kind)
        layers = (*layers[:-1], replace(layers[-1], classes=1 + int(rng.integers(4))))
        lists = tuple(random_stage_list(rng, chain.network) for chain in chains(layers))
        widths = {"factor_width": int(rng.integers(4, 17)), "data_width": int(rng.choice([8, 12, 16]))}
        network = quantised(layers, lists, number, **widths)
        seen += assert_golden(network, random_clips(layers, number))[1]
        for chain in network._chains:  # how h and x meet in the stages
            for s, whole in enumerate(chain.whole[:-1]):
                part = chain.reached[s] is not None
                seen += Counter({"whole": whole, "part": part and not whole, "padded": part and any(chain.padding[s])})
    return seen


def test_every_kind_of_network_is_the_golden_model():
    seen = Counter[str]()
    for kind in MODELS:
        seen += check_every_kind(kind, 4)
    assert_occurred(seen, {"0": 20, "1": 5, "z": 1, "whole": 10, "part": 1})


@pytest.mark.parametrize(
    ("x", "h"),
    [  # start and shape of the boxes; h fills 4 places, so two columns of its second box
        (((0, 0), (4, 3)), ((4, 0), (2, 5))),  # h reaches further than x
        (((0, 2), (4, 3)), ((4, 0), (2, 5))),  # on one side only
        (((0, 0), (4, 3)), ((4, 3), (2, 2))),  # where x is not
        (((2, 0), (4, 5)), ((0, 1), (2, 2))),  # in the middle of x
    ],
)
def test_wherever_x_and_h_lie(x, h):
    spec = small_lstm(2)
    count = int(np.prod(x[1])) - 1
    spec = replace(spec, inputs=count, x=Region(*x, (0, 1), count), h=Region(*h, (0, 1), 4))
    for lists in ((("U1",), ("U2", "B12")), (("U2",), ("U1",), ("B12",))):
        assert_golden(quantised((spec,), (lists,), 6), random_clips((spec,), 6))


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_many_of_every_kind_are_the_golden_model(kind):
    check_every_kind(kind, 150)


class Smooth:
    """In the place of a table, the function it was made of."""

    def __init__(self, table: PiecewiseLinear, device: torch.device):
        self.function = torch.sigmoid if min(table.base) >= 0 else torch.tanh

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_are_those_of_the_float_model_where_nothing_is_coarse(kind, monkeypatch):
    """Every parameter's, with the widest words and smooth gates."""
    monkeypatch.setattr(qat, "Table", Smooth)
    rng = np.random.default_rng([SEED, 61, *kind.encode()])
    layers = random_layers(rng, kind)
    layers = (*layers[:-1], replace(layers[-1], classes=3))
    lists = tuple(random_stage_list(rng, chain.network) for chain in chains(layers))
    model, raw = random_classifier(layers, 1, scale=1.0), random_clips(layers, 1, clips=8)
    network = QuantisedClassifier(model, Quantisation(arithmetic(lists, 18, 18, 50))).eval()
    network.calibrate(raw)
    x, labels, gradients = network.widen(torch.from_numpy(raw)), torch.arange(8) % 3, []
    for each in (model, network):
        model.zero_grad()
        functional.cross_entropy(each(x), labels).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    expected, found = gradients
    assert found.keys() == {name for name, _ in model.named_parameters()}
    for name, gradient in expected.items():
        assert gradient.norm() > 0
        assert (found[name] - gradient).norm() < 0.01 * gradient.norm(), name


def test_at_narrow_words_gradients_still_reach_every_factor():
    for kind in MODELS:
        layers = random_layers(np.random.default_rng([SEED, 62, *kind.encode()]), kind)
        layers = (*layers[:-1], replace(layers[-1], classes=3))
        network = quantised(layers, factor_width=4, data_width=8)
        loss = functional.cross_entropy(
            network(network.widen(torch.from_numpy(random_clips(layers, 3, 8)))), torch.arange(8) % 3
        )
        loss.backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), (kind, name)


def test_rounding_is_half_up_and_lets_gradients_through_where_it_does_not_clip():
    fixed = Fixed(4, 1)
    values = torch.tensor(
        [-5.0, -4.25, -4.26, -0.25, 0.25, 1.0, 3.74, 3.75, 9.0], dtype=torch.float64, requires_grad=True
    )
    result = rounded(values, fixed, torch.float32)
    assert result.dtype == torch.float32
    assert result.tolist() == fixed.dequantise(fixed.quantise(values.detach())).tolist()
    assert result.tolist() == [-4.0, -4.0, -4.0, 0.0, 0.5, 1.0, 3.5, 3.5, 3.5]
    result.backward(torch.arange(1.0, 10.0))
    assert values.grad is not None
    assert values.grad.tolist() == [0, 2, 0, 4, 5, 6, 7, 0, 0]


def test_products_are_exact_where_float32_is_not():
    a, b = (torch.full((1, 3), value, dtype=torch.float32, requires_grad=True) for value in (32767.0, 2047.0))
    result = product(a, b.t())
    assert result.item() == 3 * 32767 * 2047 != (a @ b.t()).double().item()
    result.sum().backward()
    assert a.grad is not None and a.grad.dtype == torch.float32 and a.grad.tolist() == [[2047.0] * 3]


def test_tables_give_their_chords_slope():
    table = sigmoid_table(Fixed(16, 12), Fixed(16, 14))
    codes = torch.arange(table.input.min, table.input.max + 1, 97)
    x = (codes * table.input.lsb).double().requires_grad_()
    y = Table(table, x.device)(x)
    assert torch.equal(y, torch.tensor([table(int(code)) for code in codes]) * table.output.lsb)
    y.sum().backward()
    assert x.grad is not None
    exact = torch.sigmoid(x.detach()) * (1 - torch.sigmoid(x.detach()))
    assert (x.grad - exact).abs().max() < 0.012  # half a segment of 1/8 times the largest second derivative, 0.096


def clipped_entries(network: QuantisedClassifier, factor: torch.Tensor) -> torch.Tensor:
    assert network.formats is not None
    fixed = network.formats.chains[0][0].weight
    return torch.from_numpy((factor.numpy() > fixed.max * fixed.lsb) | (factor.numpy() < fixed.min * fixed.lsb))


def test_clipped_weights_and_results_have_no_gradient():
    spec = dense_lstm(6, 5, 3)
    network = quantised((spec,), seed=4)
    weight, bias = network.model.networks[0].factors["W"], network.model.lstm_layers[0].bias
    with torch.no_grad():
        weight[0, 0, 2] = 100.0
        weight[2, 3, 1] = -100.0
        bias[3, 4] = 7.9  # with it z of this gate is clipped in every step
        weight[3, 4] = 0.1
    x = torch.full((4, 3, 6), 0.9)
    functional.cross_entropy(network(x), torch.tensor([0, 1, 2, 0])).backward()
    clipped = clipped_entries(network, weight.detach())
    assert clipped.sum() == 2 and weight.grad is not None and bias.grad is not None
    assert not weight.grad[clipped].any()
    assert not weight.grad[3, 4].any() and bias.grad[3, 4] == 0
    others = ~clipped
    others[3, 4] = False
    assert (weight.grad[others] != 0).float().mean() > 0.9


def test_pictures_are_rounded_to_raw_words():
    """What is between two raw words, or outside their range, counts as the nearest raw word."""
    layers = (small_lstm(3),)
    for width in (16, 8):  # at 8 bits h has 6 fractional bits, and a pixel one less than it came with
        network, raw = quantised(layers, data_width=width), random_clips(layers, 5)
        x = network.widen(torch.from_numpy(raw))
        moved = x + torch.from_numpy(np.random.default_rng(5).uniform(-0.0038, 0.0038, x.shape)).float()
        if width == 16:
            assert not torch.equal(network.model(x), network.model(moved))
            assert torch.equal(network(x), network(moved))
        beyond = network.widen(torch.where(torch.from_numpy(raw) > 128, 255, 0))
        assert torch.equal(network(beyond), network(torch.where(beyond > 0, 1.7, -1.7)))
        bundle, _ = assert_golden(network, raw)
        assert bundle.formats.input.raw.width == {16: 8, 8: 7}[width]
        assert bundle.clips.max() == {16: raw.max(), 8: min(127, round(int(raw.max()) / 2 + 0.1))}[width]


def test_autocast_changes_nothing():
    network = quantised((small_lstm(4),))
    x = network.widen(torch.from_numpy(random_clips(network.model.layers, 2)))
    expected, of_float = network(x), network.model(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(x), expected)
        assert not torch.equal(network.model(x).float(), of_float)


def test_without_formats_it_is_the_float_model():
    model = random_classifier((small_lstm(3),), 0)
    network = QuantisedClassifier(model, Quantisation(arithmetic(simple_lists(model.layers)))).eval()
    x = network.widen(torch.from_numpy(random_clips(model.layers, 0)))
    assert torch.equal(network(x), model(x))
    with pytest.raises(SpecError, match="no formats yet"):
        network.hidden(x)


def test_dropout_is_the_float_models():
    network = quantised((small_lstm(3),), data_width=18, factor_width=18)
    network.calibrate(random_clips(network.model.layers, 0))
    x, hidden = network.widen(torch.from_numpy(random_clips(network.model.layers, 0))), network.model.layers[0].hidden
    rng = torch.Generator().manual_seed(0)
    masks = Masks(
        *(torch.empty(shape).bernoulli_(0.5, generator=rng) for shape in ((3, 20), (1, 3, hidden), (3, hidden)))
    )
    none, both = network(x), network(x, masks=masks)
    assert (both - network.model(x, masks=masks)).abs().max() < 0.01 < (both - none).abs().max()


def test_formats_lose_bits_when_sums_outgrow_the_accumulator():
    spec = dense_lstm(30, 100, 3)
    network = quantised((spec,), factor_width=12, accumulator_width=32)
    before = network.formats
    network.fit_accumulators()
    assert before is not None and before.head is not None and network.formats == before
    with torch.no_grad():
        network.model.networks[0].factors["W"].mul_(4)
        network.model.head.weight.mul_(4)
    network.fit_accumulators()
    assert network.formats is not None and network.formats.head is not None
    assert network.formats.head.weight.frac < before.head.weight.frac
    assert network.formats.chains[0][0].weight.frac < before.chains[0][0].weight.frac
    bundle, _ = assert_golden(network, random_clips((spec,), 0))
    assert bundle.head_weight is not None and accumulator_bits(bundle.head_weight, 100, 16) <= 32
    assert accumulator_bits(bundle.weights[0][0], 130, 16) <= 32


def test_sums_that_float64_cannot_hold_are_refused():
    model = random_classifier((dense_lstm(60, 300, 2),), 0)
    gate = GateFormats(Fixed(26, 20), Fixed(26, 20), Fixed(26, 24), Fixed(26, 24))
    with pytest.raises(SpecError, match="360 products of 26 and 26 bits are not exact"):
        QuantisedClassifier(model, Quantisation(Arithmetic("wide", simple_lists(model.layers), 26, 63, gate)))


@pytest.fixture
def tiny(monkeypatch):
    """A preset that trains in no time; of its 6 epochs on integers, 1 is in floating point."""
    spec = fdht_lstm(8, 8, 10, (4, 2, 2), (4, 4, 2), 3)
    preset = replace(find_preset("digits"), name="tiny", spec=spec, epochs=6, clips_per_epoch=40, batch=20)
    monkeypatch.setitem(PRESETS, "tiny", preset)
    return preset


def on(preset: Preset, **widths) -> Arithmetic:
    return arithmetic((left_to_right(preset.spec.network),), **widths)


def formats_of(path) -> Formats | None:
    quantisation = load_checkpoint(path).quantisation
    return None if quantisation is None else quantisation.formats


def test_a_training_on_integers_ends_as_the_golden_model(tiny, tmp_path):
    result = train("tiny", tmp_path / "c", TrainingOptions(arithmetic=on(tiny, factor_width=4)))
    checkpoint, test = load_checkpoint(tmp_path / "c"), load("digits").test
    assert checkpoint.quantisation is not None and checkpoint.quantisation.arithmetic == on(tiny, factor_width=4)
    lists, formats = checkpoint.quantisation.arithmetic.stage_lists, checkpoint.quantisation.formats
    bundle, _ = quantise(checkpoint.model, lists, test.clips, test.labels, formats=formats)
    golden = (bundle.logits.argmax(1) == test.labels).mean()
    assert result.accuracy == checkpoint.accuracy == golden == evaluate(checkpoint.network, test.clips, test.labels)


def test_first_in_floating_point_then_in_formats_that_are_held(tiny, tmp_path, monkeypatch):
    chosen_for = []

    def noted(model, *arguments, **options):
        chosen_for.append(model)
        return choose_formats(model, *arguments, **options)

    monkeypatch.setattr(qat, "choose_formats", noted)
    coarse = on(tiny, factor_width=4, data_width=8)
    train("tiny", tmp_path / "float")
    train("tiny", tmp_path / "scratch", TrainingOptions(arithmetic=coarse))
    floats, integers = (load_checkpoint(tmp_path / name).history for name in ("float", "scratch"))
    assert floats[0]["loss"] == integers[0]["loss"] and floats[1]["loss"] != integers[1]["loss"]
    assert len(chosen_for) == 1
    train("tiny", tmp_path / "tuned", TrainingOptions(arithmetic=coarse, start=tmp_path / "float", epochs=3))
    started, clips = load_checkpoint(tmp_path / "float").model, load("digits").final.spread(CALIBRATION_CLIPS)
    chosen = choose_formats(started, coarse.stage_lists, clips, factor_width=4, gate=coarse.gate)
    assert formats_of(tmp_path / "tuned") == chosen and len(chosen_for) == 2
    train("tiny", tmp_path / "on in float", TrainingOptions(start=tmp_path / "float", epochs=1))
    assert load_checkpoint(tmp_path / "on in float").history[0]["loss"] < floats[0]["loss"]


def interrupted(done: int):
    """Progress that is interrupted after an epoch."""

    def progress(epoch: int, epochs: int, history: list[dict]) -> None:
        if epoch == done:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("done", [1, 3])  # before formats are chosen, and after
def test_resuming_ends_in_the_same_bits(tiny, tmp_path, done):
    integers = on(tiny, factor_width=4)
    train("tiny", tmp_path / "whole", TrainingOptions(arithmetic=integers))
    with pytest.raises(TrainingInterrupted):
        train("tiny", tmp_path / "parts", TrainingOptions(arithmetic=integers), progress=interrupted(done))
    assert (formats_of(tmp_path / "parts") is None) == (done == 1)
    train("tiny", tmp_path / "parts", TrainingOptions(arithmetic=integers, resume=True))
    whole, parts = (contents(tmp_path / name)[2] for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(np.array_equal(whole[name], parts[name]) for name in whole)
    assert formats_of(tmp_path / "whole") == formats_of(tmp_path / "parts") is not None
    for other in (on(tiny, factor_width=5), None):
        with pytest.raises(FileError, match="integers of 4/16 bits"):
            train("tiny", tmp_path / "parts", TrainingOptions(arithmetic=other, resume=True))
    other = replace(integers, stage_lists=(tuple((name,) for name in tiny.spec.network.factor),))
    with pytest.raises(FileError, match="other stages"):
        train("tiny", tmp_path / "parts", TrainingOptions(arithmetic=other, resume=True))


def test_with_patience_the_epochs_in_floating_point_are_not_kept(tiny, tmp_path, monkeypatch):
    """They are more accurate: data words of 4 bits can be trained on, but not in three epochs."""
    monkeypatch.setattr(training, "FLOATING", 0.7)
    preset = replace(tiny, patience=6, epochs=10, clips_per_epoch=400)
    result = train(
        preset, tmp_path / "c", TrainingOptions(arithmetic=on(tiny, factor_width=4, data_width=4), choose=True)
    )
    validation = [record["validation"] for record in result.history]
    assert max(validation[:7]) > max(validation[7:]) == validation[result.best_epoch - 1] and result.best_epoch > 7
    checkpoint, split = load_checkpoint(tmp_path / "c"), load("digits").validation
    assert checkpoint.accuracy == max(validation[7:]) == evaluate(checkpoint.network, split.clips, split.labels)


def test_a_start_has_not_seen_what_is_measured_on(tiny, tmp_path, monkeypatch):
    both, apart = tmp_path / "both", tmp_path / "apart"
    train("tiny", both, TrainingOptions(epochs=1))
    train("tiny", apart, TrainingOptions(epochs=1, choose=True))
    for preset, choose in ((tiny, True), (replace(tiny, patience=2), False)):
        with pytest.raises(FileError, match="was trained on the validation split, too"):
            train(preset, tmp_path / "c", TrainingOptions(epochs=1, start=both, choose=choose))
        assert not (tmp_path / "c").exists()
        train(preset, tmp_path / "d", TrainingOptions(epochs=1, start=apart, choose=choose))
    train(tiny, tmp_path / "d", TrainingOptions(epochs=1, start=both))
    monkeypatch.setitem(DATA_SETS, "others", DATA_SETS["digits"])
    with pytest.raises(FileError, match="was trained on digits, not others, and may have seen clips of the test"):
        train(tiny, tmp_path / "c", TrainingOptions(epochs=1, start=both, source=Source("others")))


def test_a_resumed_training_began_where_it_began(tiny, tmp_path):
    for seed, name in enumerate("ab"):
        train("tiny", tmp_path / name, TrainingOptions(epochs=1, seed=seed))
    with pytest.raises(TrainingInterrupted):
        train("tiny", tmp_path / "c", TrainingOptions(start=tmp_path / "a"), progress=interrupted(1))
    with pytest.raises(FileError, match="was trained with start = "):
        train("tiny", tmp_path / "c", TrainingOptions(start=tmp_path / "b", resume=True))
    train("tiny", tmp_path / "c", TrainingOptions(start=tmp_path / "a", resume=True))


def test_what_cannot_be(tiny, tmp_path):
    with pytest.raises(SpecError, match="cannot be compiled; leave out --compile"):
        train("tiny", tmp_path / "c", TrainingOptions(arithmetic=on(tiny), compiled=True))
    train("tiny", tmp_path / "other", TrainingOptions(epochs=1))
    with pytest.raises(FileError, match="of preset tiny, not digits"):
        train("digits", tmp_path / "c", TrainingOptions(start=tmp_path / "other"))
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
def test_digits_at_4_bits(tmp_path):
    """Fine-tuning wins back what rounding a trained model to 4 bits has cost: a little of the factors, most of all."""
    digits, data = find_preset("digits"), load("digits")
    train(digits, tmp_path / "float", TrainingOptions(choose=True))
    validation, won = data.validation, {}
    for data_width in (16, 4):
        integers = on(digits, factor_width=4, data_width=data_width)
        after = QuantisedClassifier(load_checkpoint(tmp_path / "float").model, Quantisation(integers))
        after.calibrate(data.train.spread(CALIBRATION_CLIPS))
        slower = replace(digits, learning_rate=0.003, epochs=10)
        tuned = train(
            slower, tmp_path / "tuned", TrainingOptions(choose=True, arithmetic=integers, start=tmp_path / "float")
        )
        won[data_width] = tuned.accuracy - evaluate(after, validation.clips, validation.labels)
    assert won[16] > 0.01 and won[4] > 0.3
