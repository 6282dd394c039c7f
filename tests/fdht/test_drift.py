"""What a device has clipped, by stage: held against the golden model, and told when it is too much."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from bundles import random_bundle

from fdht.compiler.clipping import by_place, with_clipping, words_of
from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import plan
from fdht.host.connection import Connection
from fdht.host.drift import ENOUGH, Drift, DriftWarning, Inputs
from fdht.model.golden import GoldenLSTM
from fdht.spec.bundle import Bundle
from fdht.spec.errors import SpecError
from fdht.spec.formats import PIXELS
from fdht.spec.lstm import LSTMSpec, dense_lstm, fdht_lstm, stack
from fdht.spec.protocol import TALLIES
from fdht.spec.scaling import DEVIATIONS, Scaling
from fdht.spec.tallies import tallies
from fdht.spec.target import ALL, GENERIC, Levels, Target

TARGET = Target(
    "drift",
    4,
    1,
    bank_words=256,
    hidden=64,
    levels=Levels.each(6),
    build=replace(GENERIC, features=replace(ALL, tallies=True)),
)
MODELS: dict[str, tuple[LSTMSpec, ...]] = {
    "one": (fdht_lstm(40, 8, 3, (8, 6), (4, 8), 3),),
    "two layers": stack((fdht_lstm(40, 8, 0, (8, 6), (4, 8), 3), dense_lstm(8, 8, 3))),
}


def compiled(name: str) -> tuple[Bundle, Image]:
    layers = MODELS[name]
    bundle = random_bundle(np.random.default_rng(7), layers, plan(layers, TARGET), clips=2, steps=4)
    return bundle, compile_bundle(bundle, TARGET)


@pytest.mark.parametrize("name", MODELS)
def test_places_are_the_golden_model_s(name):
    """With one lane a word is a value: as many clip, by the same names."""
    bundle, image = compiled(name)
    trace = GoldenLSTM(bundle).run(bundle.clips)
    found = [by_place(image, image.machine.run(clip).clipped) for clip in bundle.clips]
    total = {place: sum(each[place] for each in found) for place in image.places}
    assert total == {place: trace.saturations[place] for place in image.places} and any(total.values())


class Board:
    """Answers with counts."""

    def __init__(self, image: Image, steps: int, times: int = 1):
        run = image.machine.run(np.zeros((steps, image.inputs), np.int64))
        clipped = [times * run.clipped[k] for k in range(tallies(image.target) - 1)]
        self.counts = [steps, *clipped] + [0] * TALLIES

    def tallies(self, first: int) -> list[int]:
        return self.counts[first : first + TALLIES]


def test_what_is_usual_is_not_told():
    bundle, image = compiled("one")
    image = with_clipping(image, bundle)
    steps = sum(len(clip) for clip in bundle.clips)
    total = {place: round(share * steps) for place, share in image.clipping.items()}
    drift, board = Drift(image), Board(image, steps)
    by_number = {image.places.index(place): count for place, count in total.items()}
    board.counts[1 : 1 + len(image.places)] = [by_number.get(k, 0) for k in range(len(image.places))]
    drift.add(cast("Connection", board))
    drift.add(cast("Connection", board))
    assert drift.clipped == {place: 2 * count for place, count in total.items()} and drift.steps == {0: 2 * steps}


def test_a_stage_that_clips_too_much_is_told_once():
    """By name; by a warning of its own, which a program can turn into an error."""
    _, image = compiled("one")
    place = image.places[0]
    image, board = replace(image, clipping=dict.fromkeys(image.places, 0.0)), Board(image, 10, 0)
    drift = Drift(image)
    board.counts[1] = int(words_of(image)[place] * 10 * 0.01)
    with pytest.warns(DriftWarning, match=f"{place} clips .* where it clipped 0 on the bundle's clips; look whether"):
        drift.add(cast("Connection", board))
    drift.add(cast("Connection", board))


def test_an_image_that_nobody_has_looked_at_tells_nothing():
    _, image = compiled("one")
    board = Board(image, 10, 0)
    board.counts[1] = 1 << 20
    drift = Drift(image)
    drift.add(cast("Connection", board))
    assert drift.clipped[image.places[0]] == 1 << 20


def test_an_image_keeps_places_and_clipping(tmp_path):
    bundle, image = compiled("one")
    image = with_clipping(image, bundle)
    image.save(tmp_path / "a.image")
    again = Image.load(tmp_path / "a.image")
    assert (again.places, again.clipping) == (image.places, image.clipping) and again.clipping


def scaled() -> Image:
    _, image = compiled("one")
    scaling = Scaling((10.0,), (2 * DEVIATIONS / 256,))  # 4 deviations of 1
    return replace(image, scaling=scaling, input=scaling.input_format)


def test_real_values_beyond_the_words_are_told_once():
    """Five times as far from the mean as in training; every engine has it, since the driver clips them."""
    image, rng = scaled(), np.random.default_rng(1)
    inputs, clips = Inputs(image), 10 + 5 * rng.standard_normal((30, 2, image.inputs))
    words = np.floor((clips - 10) / (2 * DEVIATIONS / 256) + 0.5) + 128
    shares = [(words[: k + 1] < 0) | (words[: k + 1] > 255) for k in range(len(clips))]
    told = next(k for k, beyond in enumerate(shares) if beyond.size >= ENOUGH)
    for clip in clips[:told]:
        inputs.words(clip)
    with pytest.warns(DriftWarning, match=rf"{shares[told].sum():,} of {shares[told].size:,} real values lie beyond"):
        inputs.words(clips[told])
    for clip in clips[told + 1 :]:
        inputs.words(clip)
    assert (inputs.beyond, inputs.values) == (shares[-1].sum(), clips.size)


def test_real_values_as_in_training_and_raw_words_are_not_told():
    image, rng = scaled(), np.random.default_rng(2)
    inputs = Inputs(image)
    values = 10 + rng.standard_normal((200, image.inputs))
    assert np.array_equal(inputs.words(values), cast("Scaling", image.scaling).to_words(values))
    raw = np.full((200, image.inputs), 255, np.uint8)
    assert inputs.words(raw) is raw and inputs.values == values.size


@pytest.mark.parametrize(
    ("clip", "sentence"),
    [
        ([0, 256], "a raw word of 256, where those of u8.7 lie between 0 and 255"),
        ([-1, 255], "a raw word of -1, where"),
        (["0"], "are no raw words; pass integers of u8.7"),
    ],
)
def test_what_is_no_raw_word_is_refused(clip, sentence):
    """It would lose its high bits on the way, and be another one. The least, the largest and none at all are taken."""
    inputs = Inputs(cast(Image, SimpleNamespace(input=PIXELS)))
    with pytest.raises(SpecError, match=sentence):
        inputs.words(np.array(clip))
    for words in (np.array([[0, 255]]), np.empty((0, 2), int)):
        assert inputs.words(words) is words
