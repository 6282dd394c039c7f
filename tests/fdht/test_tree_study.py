"""Changes to a tree: what they leave as it is, and what a natural gradient is."""

from dataclasses import replace
from math import sqrt
from typing import cast

import numpy as np
import pytest
import torch

from docs import tree_study
from docs.study_sets import SETS, Places
from docs.tree_study import CHANGES, Apart, Change, Natural, by_correlation, fitted_by, four_modes, orthogonal
from fdht.model.data import DataSet, Split
from fdht.model.layers import Classifier, NetworkWeight
from fdht.model.optimiser import BETAS, REACH, parameter_groups
from fdht.spec.choose import chosen_lstm
from fdht.spec.formats import PIXELS
from fdht.spec.lstm import LSTMSpec
from fdht.spec.network import balanced_tree, ht_network, ht_tree


@pytest.fixture
def weight() -> NetworkWeight:
    torch.manual_seed(1)
    return NetworkWeight(ht_network((3, 2, 4), (2, 3, 2), balanced_tree(3, {"1": 3, "2": 2, "12": 4, "3": 4})))


@pytest.fixture(scope="module")
def spec() -> LSTMSpec:
    return chosen_lstm(13, 64, 10, rank=12)


def test_every_change_has_about_as_many_factors_for_the_same_problem(spec):
    for what, change in CHANGES.items():
        changed = change.spec(spec)
        assert (changed.inputs, changed.hidden, changed.classes) == (spec.inputs, spec.hidden, spec.classes)
        assert 0.8 * spec.network.parameters <= changed.network.parameters <= spec.network.parameters, what
    networks = [change.spec(spec).network for change in CHANGES.values()]
    assert len({*networks}) == 6  # as it is, another tree, other modes, more of them, two ways to share out ranks


def test_the_natural_gradient_is_that_of_the_metric_of_the_product(weight):
    for parameter in weight.factors.values():
        parameter.grad = torch.randn_like(parameter)
    given = {name: parameter.grad.flatten() for name, parameter in weight.factors.items()}
    Natural(weight, damping=0.0).apply()
    for name, parameter in weight.factors.items():
        tensors = dict(weight.factors.items())

        def product(own, name=name, tensors=tensors):
            return torch.func.functional_call(weight, {f"factors.{name}": own}, ())

        weight.forward = weight.dense
        jacobian = torch.autograd.functional.jacobian(product, parameter.detach()).reshape(-1, parameter.numel())
        wanted = torch.linalg.solve(jacobian.T @ jacobian, given[name])
        assert parameter.grad.norm().item() == pytest.approx(given[name].norm().item(), rel=1e-5)
        cosine = torch.nn.functional.cosine_similarity(wanted, parameter.grad.flatten(), dim=0)
        assert cosine.item() == pytest.approx(1, abs=1e-4), name


def test_damping_is_in_parts_of_the_metric(weight):
    """Much of it leaves a gradient as it is; some does the same to larger factors."""
    given = {name: torch.randn_like(parameter) for name, parameter in weight.factors.items()}

    def changed(damping: float) -> list[torch.Tensor]:
        for name, parameter in weight.factors.items():
            parameter.grad = given[name].clone()
        Natural(weight, damping).apply()
        return [cast(torch.Tensor, parameter.grad) for parameter in weight.factors.values()]

    for own, before in zip(changed(1e4), given.values(), strict=True):
        torch.testing.assert_close(own, before, rtol=0.01, atol=0.01)
    some = changed(0.5)
    assert not torch.allclose(some[0], next(iter(given.values())), atol=0.1)
    with torch.no_grad():
        for parameter in weight.factors.values():
            parameter.mul_(10)
    for own, before in zip(changed(0.5), some, strict=True):
        torch.testing.assert_close(own, before, rtol=1e-4, atol=1e-4)


def test_an_orthogonal_start_keeps_the_size_of_the_matrix(weight):
    before = weight.mean_square().item()
    orthogonal(weight)
    assert weight.mean_square().item() == pytest.approx(before, rel=1e-5)
    *rest, _ = weight.network.factors
    for factor in rest:
        own = weight.factors[factor.name].detach().flatten(1)
        assert torch.allclose(own @ own.T, torch.eye(len(own)), atol=1e-5), factor.name


def test_values_that_go_together_become_neighbours():
    draws = np.random.default_rng(0).normal(size=(500, 3))
    frames = draws[:, [0, 1, 2, 0, 1, 2]] + 0.1 * np.random.default_rng(1).normal(size=(500, 6))
    order = by_correlation(Split(frames, np.arange(500)[:, None], np.zeros(500, int)), 6)
    assert sorted(order) == list(range(6)) and [pair[0] % 3 for pair in order.reshape(3, 2)] == [
        pair[1] % 3 for pair in order.reshape(3, 2)
    ]


def test_each_next_value_is_the_one_that_correlates_most_with_the_last():
    """Up or down: a walk, every other value of which is upside down."""
    walk = np.random.default_rng(0).normal(size=(500, 8)).cumsum(1) * (-1) ** np.arange(8)
    order = by_correlation(Split(walk, np.arange(500)[:, None], np.zeros(500, int)), 8).tolist()
    alike = np.abs(np.corrcoef(walk, rowvar=False))
    assert order[0] == alike.sum(0).argmax()
    for last, after, rest in zip(order, order[1:], (order[k:] for k in range(1, 8)), strict=False):
        assert alike[last, after] == alike[last, rest].max()


def test_every_change_reaches_the_training(monkeypatch):
    """Another order is that of other data; the others leave other factors after two steps."""
    data, asked = SETS["digits"].draw(Places(), 0).data, list[tuple[dict[str, torch.Tensor], np.ndarray]]()
    preset = replace(SETS["digits"].training(data), epochs=1, clips_per_epoch=8, batch=4, learning_rate=0.03)

    def keep(model, clips, lengths):
        asked.append((model.state_dict(), clips))
        return data.validation.labels

    monkeypatch.setattr(tree_study, "predict", keep)

    def left(change: Change, of: DataSet) -> tuple[list[torch.Tensor], np.ndarray]:
        assert fitted_by(change, preset, of, 0).all()
        state, clips = asked.pop()
        return [*state.values()], clips

    def same(these: list[torch.Tensor], those: list[torch.Tensor]) -> bool:
        return all(map(torch.equal, these, those))

    plain, _ = left(CHANGES["as it is"], data)
    assert same(plain, left(CHANGES["as it is"], data)[0])
    for what in (
        "natural gradient",
        "orthogonal start",
        "no decay of the product",
        "decay of the product 1",
        "steps for x and h apart",
    ):
        assert not same(plain, left(CHANGES[what], data)[0]), what
    parts = ("train", "validation")
    turned = {part: replace(getattr(data, part), frames=getattr(data, part).frames[:, ::-1].copy()) for part in parts}
    found, clips = left(Change("", order=lambda _, inputs: np.arange(inputs)[::-1].copy()), data)
    wanted, turned_clips = left(CHANGES["as it is"], replace(data, **turned))
    assert same(found, wanted) and not same(found, plain) and np.array_equal(clips, turned_clips)


@pytest.mark.parametrize("inputs", [1, 28])
def test_of_four_modes_no_rank_is_all_that_a_leaf_can_carry(inputs):
    """Else the tree would be a train."""
    network = four_modes(chosen_lstm(inputs, 64, 5, rank=12)).network
    for node in ht_tree(network).walk():
        if node.children is None:
            assert node.rank < network.input_shape[node.first - 1] * network.output_shape[node.first - 1]


def test_steps_are_by_the_size_of_what_they_change():
    """Of the columns of x and of h, each in parts of its own size; what decays does so alike."""
    spec = chosen_lstm(8, 64, 10, rank=12)
    model = Classifier(spec, PIXELS, recurrent_start=1 / 3)
    apart, (weight,) = Apart(model.networks[0], spec), model.networks
    group = next(g for g in parameter_groups(model, 0.01, 0.5) if g["params"][0] is apart.factor)
    optimiser = torch.optim.AdamW([group], betas=BETAS)
    before = apart.factor.detach().clone()
    apart.factor.grad = torch.randn(before.shape)
    apart.step(optimiser)
    moved = apart.factor.detach() - before * (1 - group["lr"] * group["weight_decay"])
    mode = weight.network.inputs.index(next(i for i in apart_indices(weight, apart) if i in weight.network.inputs))
    for region in (spec.x, spec.h):
        part = slice(region.start[mode], region.start[mode] + region.shape[mode])
        axis = apart_indices(weight, apart).index(weight.network.inputs[mode])
        was, by = (t.movedim(axis, 0)[part] for t in (before, moved))
        size = was.square().mean().sqrt()
        assert torch.allclose(by.abs() / size, torch.full_like(by, 0.01 * REACH / sqrt(len(weight.factors))), rtol=1e-3)


def apart_indices(weight: NetworkWeight, apart: Apart) -> tuple[str, ...]:
    return next(f.indices for f in weight.network.factors if weight.factors[f.name] is apart.factor)


@pytest.mark.parametrize("what", ["as it is", "natural gradient"])
def test_a_changed_model_learns(what):
    data = SETS["digits"].draw(Places(), 0).data
    preset = replace(SETS["digits"].training(data), epochs=4, learning_rate=0.03)
    assert fitted_by(CHANGES[what], preset, data, 0).mean() > 0.5
