"""Differences over draws of sets: how wide the intervals are, and what they say."""

import numpy as np
import pytest

from fdht.spec.errors import SpecError
from fdht.studies.pooling import Gap, gap, pooled

DRAWS = 10


def drawn(seed: int, samples: int = 200, of_draws: float = 0.0, of_samples: float = 0.0, better: float = 0.0):
    """Two models, DRAWS times on a fifth of the samples: right by luck, by draw and by sample."""
    generator = np.random.default_rng(seed)
    hard = of_samples * generator.normal(size=(2, samples))
    ours, theirs, units = [], [], []
    for _ in range(DRAWS):
        chosen = generator.choice(samples, samples // 5, replace=False)
        shift = of_draws * generator.normal(size=2)
        a, b = (generator.random(len(chosen)) < 0.8 + shift[k] + hard[k, chosen] + better * (k == 0) for k in (0, 1))
        ours.append(a)
        theirs.append(b)
        units.append(chosen)
    return ours, theirs, units


def test_a_model_against_itself_is_no_difference():
    ours, _, units = drawn(0)
    same = gap(ours, ours, units)
    assert same.mean == 0 and same.interval == (0, 0) and same.verdict == "equal within 1 point"


def test_the_mean_is_over_draws_of_means_over_clips():
    found = gap(
        [np.array([True, True]), np.array([False])],
        [np.array([False, True]), np.array([True])],
        [np.array([3, 9]), np.array([3])],
    )
    assert found.mean == (1 / 2 - 1) / 2


@pytest.mark.parametrize("kind", ["of_draws", "of_samples"])
def test_draws_and_samples_that_differ_widen_the_interval(kind):
    plain = np.mean([gap(*drawn(seed)).half_width for seed in range(5)])
    assert (
        np.mean(
            [gap(*drawn(seed, **{kind: {"of_draws": 0.1, "of_samples": 0.6}[kind]})).half_width for seed in range(5)]
        )
        > 1.2 * plain
    )


def test_clips_of_one_unit_count_as_one():
    ours, theirs, units = drawn(1)
    twenty = [each % 20 for each in units]
    alone, together = gap(ours, theirs, units), gap(ours, theirs, twenty)
    assert alone.mean == together.mean
    copied = gap(*([np.repeat(each, 9) for each in of] for of in (ours, theirs, units)))
    assert copied.half_width == pytest.approx(alone.half_width, rel=1e-9)


@pytest.mark.parametrize("effects", [{"of_draws": 0.1}, {"of_samples": 0.6}, {"of_draws": 0.1, "of_samples": 0.6}])
def test_the_variance_is_that_of_draws_and_units_less_that_of_both(effects):
    """Added up clip by clip, each sum of n with n / (n - 1)."""
    ours, theirs, units = drawn(3, **effects)
    found, sums = gap(ours, theirs, units), [dict[tuple, float]() for _ in range(3)]
    for draw, (a, b, of) in enumerate(zip(ours, theirs, units, strict=True)):
        for right, other, unit in zip(a.tolist(), b.tolist(), of.tolist(), strict=True):
            off = (right - other - found.mean) / (len(a) * DRAWS)
            for part, key in zip(sums, ((draw,), (unit,), (draw, unit)), strict=True):
                part[key] = part.get(key, 0.0) + off
    draws, samples, both = (sum(each**2 for each in s.values()) * len(s) / (len(s) - 1) for s in sums)
    assert found.variance == pytest.approx(max(draws + samples - both, draws, samples))
    assert found.freedom == DRAWS - 1 and draws + samples - both > max(draws, samples)


def test_a_variance_is_never_less_than_that_of_draws_or_of_units():
    one, other = np.array([True, False]), np.array([False, True])
    assert gap([one, other], [other, one], [np.arange(2)] * 2).variance == 0


@pytest.mark.parametrize("effects", [{}, {"of_draws": 0.1}, {"of_samples": 0.3}])
def test_intervals_hold_the_true_difference_as_often_as_they_say(effects):
    held = [low <= 0 <= high for seed in range(200) for low, high in [gap(*drawn(seed, **effects)).interval]]
    assert 0.92 <= np.mean(held) <= 0.995


def test_degrees_of_freedom_are_those_of_satterthwaite():
    assert Gap(0.0, 1.0, 1).half_width == pytest.approx(12.7062, rel=1e-5)  # of Student's t, not of a normal one
    whole = pooled([Gap(0.1, 1.0, 2), Gap(0.3, 4.0, 9)])
    assert (whole.mean, whole.variance) == (pytest.approx(0.2), 5 / 4)
    assert whole.freedom == pytest.approx(5**2 / (1**2 / 2 + 4**2 / 9))
    assert pooled([Gap(0.1, 0.0, 2), Gap(0.3, 0.0, 9)]) == Gap(0.2, 0.0, 2)


def test_pooling_narrows():
    gaps = [gap(*drawn(seed)) for seed in range(9)]
    whole = pooled(gaps)
    assert whole.mean == pytest.approx(np.mean([each.mean for each in gaps]))
    assert whole.half_width == pytest.approx(np.mean([each.half_width for each in gaps]) / 3, rel=0.2)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 0.009, "better"),
        (-0.2, -0.1, "worse"),
        (-0.0098, 0.0098, "equal within 1 point"),
        (-0.0102, 0.002, "undecided"),
        (-0.002, 0.0102, "undecided"),
    ],
)
def test_verdicts(low, high, verdict):
    found = Gap((low + high) / 2, ((high - low) / 2 / 1.96) ** 2, 1e6)
    assert found.interval == pytest.approx((low, high), rel=1e-3) and found.verdict == verdict


def test_a_small_difference_is_seen():
    assert pooled([gap(*drawn(seed, samples=2000, better=0.05)) for seed in range(5)]).verdict == "better"


def test_only_the_same_clips_are_paired():
    ours, theirs, units = drawn(0)
    for of in ((ours, theirs[1:], units), (ours, theirs, units[:-1])):
        with pytest.raises(SpecError, match="only draws of the same clips"):
            gap(*of)
    for of in ([], [], []), (ours[:1], theirs[:1], units[:1]):
        with pytest.raises(SpecError, match="a spread needs two"):
            gap(*of)
    with pytest.raises(SpecError, match="no set"):
        pooled([])
