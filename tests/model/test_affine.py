"""Parts in front of the first layer that scale and shift values, and those that do anything else."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fdht.model.affine import folded
from fdht.model.placed import Placed
from fdht.spec.errors import SpecError
from fdht.spec.scaling import Scaling

MEAN, DEVIATION = torch.tensor([9.81, -3.0, 0.2, 1e3, 0.0]), torch.tensor([0.7, 20.0, 1e-3, 5.0, 1.0])


@pytest.fixture
def x() -> Tensor:
    """30 × 7 × 5 values of about ±2, one of which is 0 here and there."""
    x = np.random.default_rng(4).normal(size=(30, 7, 5)) * 0.7 + np.arange(5) / 3
    return torch.from_numpy(np.where(x < -1, 0, x).astype(np.float32))


def found(part: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Scaling | None, Scaling, np.ndarray]:
    """The scaling of a part's inputs, that of its outputs, and these."""
    values = part(x).numpy()
    scaling = Scaling.fit(values.reshape(-1, values.shape[-1]), alike=True)
    return folded(cast(Placed, SimpleNamespace(inputs=part)), x, values, scaling), scaling, values


FOLDED = {
    "a mean and a deviation": lambda x: (x * DEVIATION + MEAN, lambda x: (x - MEAN) / DEVIATION),
    "a factor and a shift": lambda x: (1e5 + 6 * x, lambda x: x * (1 / 3) - 1e5 / 3),
    "a value that stands still": lambda x: (torch.cat([x[..., :4], 0 * x[..., 4:] + 5], -1), lambda x: x / 2 + 1),
    "pictures": lambda x: (x[..., :4].reshape(30, 7, 2, 2), lambda x: (x / 2 + 1).flatten(2)),
    "float64": lambda x: (x.double(), lambda x: x / 2 + 1),
}


@pytest.mark.parametrize("kind", FOLDED)
def test_words_are_those_of_the_values_behind_the_part(x, kind):
    given, part = FOLDED[kind](x)
    ours, behind, values = found(part, given)
    assert ours is not None
    apart = ours.to_words(given.numpy().reshape(values.shape)).astype(int) - behind.to_words(values)
    assert np.abs(apart).max() <= 1 and (apart != 0).mean() < 0.05  # float32 rounds


def raises(x: Tensor) -> Tensor:
    if x.max() > 6:
        raise SpecError("no value is above 6")
    return x


KEPT: dict[str, Callable[[Tensor], Tensor]] = {
    "a mixture": lambda x: x @ torch.eye(5).roll(1, 0) * 0.1 + x,
    "one bends": lambda x: torch.cat([x[..., :4], torch.tanh(x[..., 4:])], -1),
    "a sign turns": lambda x: x * torch.tensor([1.0, 1, 1, 1, -1]),
    "one is left out": lambda x: x * torch.tensor([1.0, 1, 1, 1, 0]),
    "differences": lambda x: torch.cat([x[:, :1], x[:, 1:] - x[:, :-1]], 1),
    "each step another": lambda x: x + 0.1 * torch.arange(7.0)[:, None],
    "LayerNorm": nn.LayerNorm(5, elementwise_affine=False),
    "another order": lambda x: x.flip(-1),
    "a bound": lambda x: x.clamp(-4, 4),
    "0 is what is missing": lambda x: torch.where(x == 0, 2.0, x),
    "fewer steps": lambda x: x[:, 1:],
    "no number beyond": lambda x: torch.where(x > 6, torch.inf, x),
    "no value beyond": raises,
    "fewer steps beyond": lambda x: x[:, : 7 if x.max() < 6 else 5],
}


@pytest.mark.parametrize("kind", KEPT)
def test_what_else_a_part_does_keeps_it_on_the_host(x, kind):
    assert found(KEPT[kind], x)[0] is None


def test_a_part_is_tried_beyond_the_calibration(x):
    """Up to four times its range: there a bound just below leaves what is seen of it as it is."""
    low, high = x.amin((0, 1)), x.amax((0, 1))
    for times, straight in ((3.97, False), (4.03, True)):
        least, most = ((low + high) / 2 + sign * times * (high - low) / 2 for sign in (-1, 1))
        ours = found(lambda x, least=least, most=most: torch.clamp(x, least, most), x)[0]
        assert (ours is not None) == straight
    tried = list[Tensor]()
    assert found(lambda x: (tried.append(x), x)[1], x)[0] is not None
    furthest = tried[-1].amax((0, 1)) - 0.004 * (high - low) / 2  # half a word's step less than the furthest
    assert found(lambda x: torch.minimum(x, furthest), x)[0] is None


def test_a_part_is_tried_as_far_as_words_reach(x):
    """Which is further where a value is small beside the others, whose step it has."""
    small = x * torch.tensor([1.0, 1, 1, 1, 1e-4])
    for bound, straight in ((0.1, False), (10.0, True)):
        part = lambda x, bound=bound: torch.cat([x[..., :4], x[..., 4:].clamp(-bound, bound)], -1)  # noqa: E731
        assert (found(part, small)[0] is not None) == straight


def test_steps_too_fine_for_their_centre_stay_on_the_host(x):
    assert found(lambda x: x - 1e15, x.double() + 1e15)[0] is None


def test_values_that_share_a_centre_keep_their_parts_on_the_host(x, monkeypatch):
    assert found(lambda x: x / 2 + 1, x)[0] is not None
    monkeypatch.setattr("fdht.spec.scaling.MOST_CHANNELS", 4)
    assert found(lambda x: x / 2 + 1, x)[0] is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int64])
def test_coarse_values_stay_on_the_host(x, dtype):
    assert found(lambda x: x.float(), (8 * x).to(dtype))[0] is None
