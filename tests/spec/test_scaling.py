"""Real values as raw words: nearest, saturated, there and back."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdht.spec.errors import SpecError
from fdht.spec.formats import PIXELS
from fdht.spec.record import dump, parse
from fdht.spec.scaling import MOST_CHANNELS, Scaling

REAL = st.floats(-1e30, 1e30, width=64)


@given(st.lists(st.lists(REAL, min_size=3, max_size=3), min_size=1, max_size=20), st.sampled_from([8, 16]))
def test_words_stand_for_themselves(rows, bits):
    """Whatever it was fitted to, every word leads to a value that leads back to it."""
    scaling = Scaling.fit(np.array(rows), bits)
    raw = scaling.input_format.raw
    words = np.linspace(raw.min, raw.max, 99).astype(int)[:, None].repeat(3, 1)
    assert np.array_equal(scaling.to_words(scaling.to_values(words)), words)
    assert scaling.saturated(scaling.to_values(words)) == 0


@given(st.lists(REAL, min_size=2, max_size=30), st.sampled_from([8, 16]))
def test_what_fits_is_off_by_half_a_step_at_most(values, bits):
    column = np.array(values)[:, None]
    scaling = Scaling.fit(column, bits)
    words = scaling.to_words(column)
    inside = (words > scaling.input_format.raw.min) & (words < scaling.input_format.raw.max)
    off = np.abs(scaling.to_values(words) - column) / scaling.step[0]
    assert (off[inside] <= 0.5 + 1e-6).all()


def test_halves_are_rounded_up_and_what_is_beyond_saturates():
    scaling = Scaling((1.0,), (2.0,))
    values = np.array([[-1000.0], [0.0], [1.0], [1.999], [2.0], [4.0], [1e300]])
    assert scaling.to_words(values).ravel().tolist() == [0, 128, 128, 128, 129, 130, 255]
    assert scaling.to_words(values).dtype == np.uint8 and scaling.input_format == PIXELS
    assert scaling.saturated(values) == 2
    signed = Scaling((1.0,), (2.0,), 16, signed=True)
    assert signed.to_words(values).ravel().tolist() == [-500, 0, 0, 0, 1, 2, 32767]


def test_each_value_has_a_scale_of_its_own_and_single_outliers_none():
    generator = np.random.default_rng(0)
    rows = np.stack([generator.uniform(-3, 5, 10_000), 1e-4 * generator.normal(size=10_000), np.full(10_000, 7.0)], 1)
    rows[0, 1] = 1e-2
    scaling = Scaling.fit(rows)
    words = scaling.to_words(rows).astype(int)
    assert words[:, 0].min() <= 2 and words[:, 0].max() >= 254  # bounded values use all words
    assert words[1:, 1].std() > 3 and words[0, 1] == 255  # an outlier saturates
    assert set(words[:, 2]) == {128} and scaling.to_words(np.array([[0.0, 0, 14]]))[0, 2] == 255  # a constant


def test_only_the_chosen_rows_are_looked_at():
    rows = np.array([[0.0], [1.0], [1000.0]])
    assert Scaling.fit(rows, chosen=np.array([0, 1])) == Scaling.fit(rows[:2])


def test_a_wide_step_shares_one_scale():
    rows = np.zeros((2, MOST_CHANNELS + 1), np.float32)
    rows[1] = 1
    assert Scaling.fit(rows).centre == (0.5,)
    Scaling.fit(rows).check(MOST_CHANNELS + 1, PIXELS)


def test_it_goes_through_json_without_a_change():
    scaling = Scaling.fit(np.random.default_rng(0).normal(size=(50, 4)) * [1e-9, 1, 0.1, 1e9])
    assert parse(Scaling, json.dumps(dump(scaling))) == scaling


def test_a_coarser_format_has_coarser_steps():
    scaling = Scaling.fit(np.linspace(-1, 1, 99)[:, None], 16)
    for bits in (12, 8):
        from fdht.spec.fixed import Fixed

        to = scaling.input_format.fitted(Fixed(bits, bits - 2))
        coarse = scaling.fitted(to)
        assert coarse.input_format == to and coarse.step[0] == scaling.step[0] * 2 ** (16 - bits)
    with pytest.raises(SpecError, match="are no coarser form of"):
        scaling.fitted(PIXELS)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Scaling((), ()), "0 centres and 0 steps"),
        (lambda: Scaling((1.0,), (0.0,)), "a step is positive"),
        (lambda: Scaling((1.0,), (float("inf"),)), "a step is positive"),
        (lambda: Scaling((1e9,), (1e-9,)), "at least"),
        (lambda: Scaling((0.0,), (1.0,), 17), "raw words of 17 bits"),
        (lambda: Scaling.fit(np.zeros((3, 2)), 12), "words of 12 bits; real values are scaled to 8 or 16"),
        (lambda: Scaling.fit(np.zeros((0, 2))), "there must be rows"),
        (lambda: Scaling.fit(np.full((3, 2), 1e200)), "values up to 1e.200; up to 1e.100 are scaled"),
        (lambda: Scaling((0.0, 1.0), (1.0, 1.0)).to_words(np.zeros((2, 3))), "the last dimension is 2"),
        (lambda: Scaling((0.0,), (1.0,)).to_words(np.array([[np.nan]])), "no number"),
        (lambda: Scaling((0.0,), (1.0,)).to_words(np.array([["1"]])), "real numbers are scaled"),
        (lambda: Scaling((0.0,) * 3, (1.0,) * 3).check(4, PIXELS), "a scaling of 3 values for steps of 4"),
        (lambda: Scaling((0.0,), (1.0,), 16, True).check(4, PIXELS), "where the model takes"),
    ],
)
def test_what_is_refused(make, sentence):
    with pytest.raises(SpecError, match=sentence):
        make()
