"""Rates by size: how far a network moves and decays, whatever its depth, rank and scale."""

from math import sqrt

import pytest
import torch
from torch import nn

from fdht import FDHTLSTM, HTLinear, fdht_lstm, parameter_groups
from fdht.model.optimiser import BETAS, REACH, REST_DECAY, set_rate
from fdht.model.recipe import ALIKE
from fdht.spec.errors import SpecError
from fdht.spec.network import balanced_tree, bt_network, dense_network, ht_network, tt_network

NETWORKS = {
    "ht of 2": ht_network((4, 4), (4, 4), balanced_tree(2, 4)),
    "ht of 5": ht_network((2, 3, 2, 2, 2), (2, 2, 2, 2, 2), balanced_tree(5, 6)),
    "tt of 4": tt_network((2, 2, 2, 2), (2, 2, 2, 2), 3),
    "blocks": bt_network((4, 4), (4, 4), 3, 4),
    "dense": dense_network(16, (16,)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_a_step_changes_every_network_by_as_much(name, scale):
    """Adam moves every entry by its rate; the shares of k factors add up to 1 to sqrt(k) times one network's."""
    torch.manual_seed(1)
    layer = HTLinear(NETWORKS[name], bias=False)
    with torch.no_grad():
        for factor in layer.weight.factors.values():
            factor.mul_(scale)
    before = layer.to_dense().detach().clone()
    optimiser = torch.optim.AdamW(parameter_groups(layer, 0.01, weight_decay=0))
    (layer.to_dense() * torch.randn_like(before)).sum().backward()
    optimiser.step()
    change = (layer.to_dense().detach() - before).norm() / before.norm()
    assert 0.5 < change / (0.01 * REACH) < sqrt(len(layer.weight.factors)) + 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_decay_shrinks_the_product_and_not_each_factor(name):
    torch.manual_seed(1)
    layer = HTLinear(NETWORKS[name], bias=False)
    before = layer.to_dense().detach().clone()
    optimiser = torch.optim.AdamW(parameter_groups(layer, 0.01, weight_decay=2.0))
    layer.to_dense().sum().mul(0).backward()  # no gradient: decay alone
    optimiser.step()
    torch.testing.assert_close(layer.to_dense(), before * 0.98, rtol=1e-3, atol=0)


def test_all_else_moves_by_the_rate_itself():
    model = nn.Sequential(FDHTLSTM(fdht_lstm(8, 4, 0, (4, 3), (4, 4), 2)), nn.Linear(4, 3))
    groups = parameter_groups(model, 0.01, weight_decay=0.5)
    factors = {id(parameter) for name, parameter in model.named_parameters() if "factors" in name}
    rest = [group for group in groups if id(group["params"][0]) not in factors]
    assert len(groups) == len(factors) + 1 and len(rest) == 1
    assert (rest[0]["lr"], rest[0]["weight_decay"], len(rest[0]["params"])) == (0.01, REST_DECAY, 3)
    assert all(group["betas"] == BETAS for group in groups)
    set_rate(groups, 0.02)
    assert rest[0]["lr"] == 0.02 and all(group["lr"] == 0.02 * group["share"] for group in groups)
    (alike,) = parameter_groups(model, 0.01, 0.5, ALIKE)
    assert (alike["lr"], alike["weight_decay"], len(alike["params"])) == (0.01, 0.5, len(factors) + 3)


def test_a_factor_of_zeros_has_a_rate_that_is_a_number():
    layer = HTLinear(NETWORKS["ht of 2"])
    for factor in layer.weight.factors.values():
        nn.init.zeros_(factor)
    assert all(group["lr"] > 0 and group["weight_decay"] < float("inf") for group in parameter_groups(layer, 0.01))


@pytest.mark.parametrize("arguments", [(nn.Linear(2, 2), "a"), (nn.Linear(2, 2), float("nan")), (nn.Linear(2, 2), 0)])
def test_a_rate_that_is_none(arguments):
    with pytest.raises(SpecError, match="it is a number above 0"):
        parameter_groups(*arguments)


def test_parameters_in_place_of_a_module():
    with pytest.raises(SpecError, match="pass the module itself"):
        parameter_groups(nn.Linear(2, 2).parameters(), 0.01)  # type: ignore[arg-type]
