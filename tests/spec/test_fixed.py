"""Number formats: rounding, saturation, and the tables."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fdht.spec.activation import PiecewiseLinear, sigmoid_table, table_words, tanh_table
from fdht.spec.errors import SpecError
from fdht.spec.fixed import Fixed, round_shift, signed_bits
from fdht.spec.formats import PIXELS, Formats, GateFormats, InputFormat, StageFormat

FORMATS = st.builds(Fixed, st.integers(1, 24), st.integers(-4, 24), st.booleans())


@given(st.integers(-(1 << 40), 1 << 40), st.integers(0, 30))
def test_round_shift_is_round_half_up(value, shift):
    exact, rest = divmod(value, 1 << shift)
    assert round_shift(value, shift) == exact + (2 * rest >= 1 << shift and shift > 0)
    assert round_shift(np.int64(value), shift) == round_shift(value, shift)
    assert int(round_shift(torch.tensor(value), shift)) == round_shift(value, shift)


@given(FORMATS, st.integers(-(1 << 40), 1 << 40), st.integers(0, 12))
def test_requantise_saturates_alike_everywhere(fixed, value, shift):
    expected = min(max(round_shift(value, shift), fixed.min), fixed.max)
    assert int(fixed.requantise(np.array(value), shift)) == expected
    assert int(fixed.requantise(torch.tensor(value), shift)) == expected


@given(FORMATS, st.floats(-1e6, 1e6))
def test_quantise_is_the_nearest_code(fixed, real):
    code = int(fixed.quantise(real))
    assert fixed.min <= code <= fixed.max
    if fixed.min < code < fixed.max:
        assert abs(real - float(fixed.dequantise(code))) <= fixed.lsb / 2
    assert int(fixed.quantise(fixed.dequantise(code))) == code


@given(st.integers(-(1 << 60), 0), st.integers(0, 1 << 60))
def test_signed_bits_is_the_smallest_width(low, high):
    bits = signed_bits(low, high)
    assert -(1 << bits - 1) <= low and high < 1 << bits - 1
    assert bits == 1 or low < -(1 << bits - 2) or high >= 1 << bits - 2


@pytest.mark.parametrize("width", [0, 65, -3])
def test_width_is_checked(width):
    with pytest.raises(SpecError, match=rf"{width} is outside 1..64"):
        Fixed(width, 0)


@pytest.mark.parametrize(
    ("make", "function", "bound"),
    [(sigmoid_table, lambda x: 1 / (1 + np.exp(-x)), 0.0003), (tanh_table, np.tanh, 0.0016)],
    ids=["sigmoid", "tanh"],
)
def test_tables_follow_their_functions(make, function, bound):
    """Every code of z's range; the bound is half a segment squared times the largest curvature, and an lsb."""
    gate = GateFormats()
    table = make(gate.z, gate.activation)
    codes = np.arange(gate.z.min, gate.z.max + 1)
    values = table(codes, np.array(table.base), np.array(table.slope))
    assert np.abs(gate.activation.dequantise(values) - function(gate.z.dequantise(codes))).max() < bound
    assert values.min() >= gate.activation.min and values.max() <= gate.activation.max
    assert (np.diff(values) >= 0).all()


def test_table_words_hold_both_tables():
    gate = GateFormats()
    sigmoid, tanh = sigmoid_table(gate.z, gate.activation), tanh_table(gate.z, gate.activation)
    words = table_words(sigmoid, tanh, 16)
    halves = [((word ^ 0x80008000) & 0xFFFF) - 0x8000 for word in words]
    assert halves == [*sigmoid.base, *tanh.base]
    assert [((word >> 16) ^ 0x8000) - 0x8000 for word in words] == [*sigmoid.slope, *tanh.slope]


def test_a_table_needs_a_power_of_two():
    with pytest.raises(SpecError, match="3 bases"):
        PiecewiseLinear(Fixed(8, 4), Fixed(8, 6), (0, 1, 2), (1, 1, 1))


def test_pixels_become_exactly_their_value():
    gate = GateFormats()
    raw = np.arange(256)
    assert (gate.hidden.dequantise(PIXELS.widen(raw, gate.hidden)) == (raw - 128) / 128).all()


@pytest.mark.parametrize(
    "change",
    [
        {"input": InputFormat(Fixed(16, 15))},
        {"chains": ((),)},
        {"chains": ((StageFormat(Fixed(8, 7), Fixed(16, 11)),),)},
        {"chains": ((StageFormat(Fixed(8, -3), GateFormats().z),),)},
        {"head": StageFormat(Fixed(8, -5), Fixed(16, 10))},
    ],
    ids=["fine input", "no stage", "z's format", "negative shift", "fine logits"],
)
def test_formats_that_hardware_cannot_do_are_refused(change):
    good = {
        "input": PIXELS,
        "gate": GateFormats(),
        "chains": ((StageFormat(Fixed(8, 7), GateFormats().z),),),
    }
    Formats(**good)
    with pytest.raises(SpecError):
        Formats(**good | change)
