"""Sequences of different lengths: padding changes no answer, in floating point, in training and on integers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fdht.model.checkpoint import load_checkpoint
from fdht.model.contraction import left_to_right
from fdht.model.data import DATA_SETS, from_arrays
from fdht.model.golden import GoldenLSTM
from fdht.model.layers import Classifier
from fdht.model.presets import Preset
from fdht.model.qat import Arithmetic, Quantisation, QuantisedClassifier
from fdht.model.quantise import choose_formats, quantise
from fdht.model.train import evaluate, predict, train
from fdht.spec.bundle import Bundle
from fdht.spec.container import content_hash
from fdht.spec.errors import SpecError
from fdht.spec.formats import GateFormats
from fdht.spec.lstm import fdht_lstm
from fdht.spec.scaling import Scaling
from tests.model.networks import small_lstm

LENGTHS = np.array([4, 1, 3, 4, 2])
CLIPS = np.random.default_rng(0).integers(0, 256, (5, 4, 20), dtype=np.uint8)


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier(small_lstm(2)).eval()


def made(model: Classifier, **options) -> Bundle:
    lists = (left_to_right(model.layers[0].network),)
    return quantise(model, lists, CLIPS, np.array([0, 1, 2, -1, 4]), lengths=LENGTHS, **options)[0]


def others() -> np.ndarray:
    """The same clips with something else behind them."""
    changed = CLIPS.copy()
    changed[np.arange(4) >= LENGTHS[:, None]] = 77
    return changed


def test_a_float_model_looks_at_each_clips_own_last_step(model):
    x = model.widen(torch.from_numpy(CLIPS))
    logits = model(x, lengths=torch.from_numpy(LENGTHS))
    for clip, length, found in zip(x, LENGTHS, logits, strict=True):
        assert torch.allclose(model(clip[None, :length])[0], found, atol=1e-6)
    assert torch.equal(model(model.widen(torch.from_numpy(others())), lengths=torch.from_numpy(LENGTHS)), logits)
    alone = [predict(model, clip[None, :n])[0] for clip, n in zip(CLIPS, LENGTHS, strict=True)]
    assert predict(model, CLIPS, lengths=LENGTHS).tolist() == alone
    assert evaluate(model, CLIPS, np.array(alone), lengths=LENGTHS) == 1


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16])
def test_lengths_are_of_any_whole_type(model, kind):
    """torch takes bytes for a mask, and refuses other short integers."""
    bundle, lengths = made(model), LENGTHS.astype(kind)
    assert np.array_equal(GoldenLSTM(bundle).run(bundle.clips, lengths=lengths).logits, bundle.logits)
    x = model.widen(torch.from_numpy(CLIPS))
    assert torch.equal(model(x, lengths=torch.from_numpy(lengths)), model(x, lengths=torch.from_numpy(LENGTHS)))


def test_the_golden_model_does_and_so_does_a_model_on_integers(model):
    bundle = made(model)
    golden = GoldenLSTM(bundle)
    for number, (clip, length) in enumerate(zip(CLIPS, LENGTHS, strict=True)):
        alone = golden.run(clip[None, :length])
        assert np.array_equal(bundle.logits[number], alone.logits[0].numpy())
        assert np.array_equal(bundle.hidden[number], alone.h[0, -1].numpy())
        assert np.array_equal(bundle.clip(number), clip[:length])
    assert torch.equal(golden.run(others(), lengths=LENGTHS).logits, torch.from_numpy(bundle.logits).long())
    lists = (left_to_right(model.layers[0].network),)
    quantisation = Quantisation(Arithmetic("none", lists, 16, 40, GateFormats()), bundle.formats)
    integers = QuantisedClassifier(model, quantisation).eval()
    with torch.no_grad():
        found = integers(integers.widen(torch.from_numpy(CLIPS)), lengths=torch.from_numpy(LENGTHS))
    head = bundle.formats.head
    assert head is not None and np.array_equal(found.double().numpy(), head.result.dequantise(bundle.logits))
    for wrong in (LENGTHS[:3], LENGTHS + 1, LENGTHS - 1):
        with pytest.raises(SpecError, match=r"lengths .* for 5 clips of 4 steps"):
            golden.run(CLIPS, lengths=wrong)


def test_a_bundle_keeps_lengths_and_scaling(model, tmp_path):
    scaling = Scaling.fit(np.random.default_rng(1).normal(size=(9, 20)))
    bundle = made(model, scaling=scaling)
    digest = bundle.save(tmp_path / "a.bundle")
    again = Bundle.load(tmp_path / "a.bundle")
    assert again.lengths is not None and np.array_equal(again.lengths, LENGTHS) and again.scaling == scaling
    assert again.save(tmp_path / "b.bundle") == digest != made(model).save(tmp_path / "c.bundle")
    assert content_hash("x", {}, {}) != digest
    for change, sentence in (
        ({"lengths": LENGTHS[:4]}, "do not belong to 5 clips"),
        ({"lengths": LENGTHS - 1}, r"lengths: 0..3 leaves the range 1..4"),
        ({"lengths": LENGTHS / 1}, "lengths holds float64, not integers"),
        ({"scaling": Scaling((0.0, 1.0), (1.0, 1.0))}, "a scaling of 2 values for steps of 20"),
        ({"scaling": Scaling((0.0,), (1.0,), 16, True)}, "where the model takes u8.7"),
    ):
        with pytest.raises(SpecError, match=sentence):
            replace(bundle, **change)


def test_of_a_coarser_input_format_a_bundle_has_a_coarser_scaling():
    """Words of 16 bits on an engine whose h has 12."""
    torch.manual_seed(0)
    scaling = Scaling.fit(np.random.default_rng(1).normal(size=(9, 20)), 16)
    model = Classifier(small_lstm(2), scaling.input_format).eval()
    clips = scaling.to_words(np.random.default_rng(2).normal(size=(3, 4, 20)))
    lists, gate = (left_to_right(model.layers[0].network),), GateFormats.of_width(12)
    formats = choose_formats(model, lists, clips, gate=gate)
    bundle, _ = quantise(model, lists, clips, np.zeros(3, int), formats=formats, gate=gate, scaling=scaling)
    assert bundle.formats.input.raw.width == 12 and bundle.scaling is not None and bundle.scaling.bits == 12
    assert np.abs(bundle.clips - bundle.scaling.to_words(scaling.to_values(clips))).max() <= 1


def test_training_on_sequences_of_different_lengths(monkeypatch, tmp_path):
    """The class is in the last own step, and padding says the opposite: whoever looked at it would learn nothing."""
    generator = np.random.default_rng(0)
    labels, lengths = np.arange(120) % 2, generator.integers(1, 7, 120)
    pieces = [0.1 * generator.normal(size=(n, 3)) for n in lengths]
    for piece, label in zip(pieces, labels, strict=True):
        piece[-1] += 2 * label - 1
    data = from_arrays(pieces, labels)
    swapped = {part: getattr(data, part) for part in ("train", "validation", "final", "test")}
    frames = np.concatenate([swapped["train"].frames, np.uint8([[0] * 3, [255] * 3])])
    for part, split in swapped.items():
        inside = np.arange(data.steps) < split.lengths[:, None]
        order = np.where(inside, split.order, len(frames) - 1 - split.labels[:, None])
        swapped[part] = replace(split, frames=frames, order=order)
    monkeypatch.setitem(DATA_SETS, "pieces", lambda: replace(data, **swapped))
    spec = fdht_lstm(3, 8, 2, (4, 3), (4, 8), 3)
    preset = Preset("pieces", "pieces", spec, epochs=20, clips_per_epoch=96, batch=16)
    result = train(preset, tmp_path / "a.checkpoint")
    checkpoint = load_checkpoint(tmp_path / "a.checkpoint")
    assert result.accuracy == checkpoint.accuracy > 0.9 and checkpoint.scaling == data.scaling
    test = swapped["test"]
    assert evaluate(checkpoint.model, test.clips, test.labels) < 0.9  # without the lengths
