"""The factorised layers against torch's own dense ones."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.contraction import left_to_right, mean_square
from model.layers import FDHTLSTM, Classifier, HTLinear
from spec.errors import SpecError
from spec.lstm import fdht_lstm
from spec.network import balanced_tree, ht_network
from tests.model.networks import SHAPES, block_term_lstm, dense, lstms, small_lstm, stage_lists

EXACT = {"rtol": 0, "atol": 1e-12}
"""float64 sums in another order: the only tolerance between factorised and dense."""


def torch_lstm(layer: FDHTLSTM) -> torch.nn.LSTM:
    """torch's LSTM with the same, dense, weights."""
    lstm = torch.nn.LSTM(layer.spec.inputs, layer.spec.hidden, batch_first=layer.batch_first).double()
    matrix = layer.to_dense().detach()
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(matrix[:, : layer.spec.inputs])
        lstm.weight_hh_l0.copy_(matrix[:, layer.spec.inputs :])
        lstm.bias_ih_l0.copy_(layer.bias.flatten())
        lstm.bias_hh_l0.zero_()
    return lstm


@settings(max_examples=60)
@given(st.data())
def test_lstm_is_torchs_lstm(data):
    spec = data.draw(lstms())
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    stage_list = data.draw(st.none() | stage_lists(spec.network))
    layer = FDHTLSTM(spec, batch_first=data.draw(st.booleans()), stage_list=stage_list).double()
    x = torch.randn(3, 2, spec.inputs, dtype=torch.float64)
    batch = x.shape[0 if layer.batch_first else 1]
    state = torch.randn(2, 1, batch, spec.hidden, dtype=torch.float64).unbind() if data.draw(st.booleans()) else None
    output, (h, c) = layer(x, state)
    expected, (expected_h, expected_c) = torch_lstm(layer)(x, state)
    torch.testing.assert_close(output, expected, **EXACT)
    torch.testing.assert_close(h, expected_h, **EXACT)
    torch.testing.assert_close(c, expected_c, **EXACT)


def test_unbatched_like_torch():
    torch.manual_seed(0)
    layer = FDHTLSTM(small_lstm(4)).double()
    x, state = torch.randn(6, 20).double(), (torch.randn(1, 4).double(), torch.randn(1, 4).double())
    output, (h, c) = layer(x, state)
    expected, (expected_h, expected_c) = torch_lstm(layer)(x, state)
    for got, wanted in ((output, expected), (h, expected_h), (c, expected_c)):
        torch.testing.assert_close(got, wanted, **EXACT)


@pytest.mark.parametrize("depth", SHAPES)
def test_to_dense_is_the_network_contracted_by_numpy(depth):
    torch.manual_seed(depth)
    spec = small_lstm(depth)
    layer = FDHTLSTM(spec).double()
    tensors = {name: factor.detach().numpy() for name, factor in layer.weight.factors.items()}
    network = spec.network
    matrix = dense(network, tensors, (*network.outputs, *network.inputs)).reshape(np.prod(network.output_shape), -1)
    columns = np.concatenate([spec.x_positions, spec.h_positions])
    np.testing.assert_allclose(layer.to_dense().detach(), matrix[np.ix_(spec.z_positions, columns)], **EXACT)


@pytest.mark.parametrize("spec", [small_lstm(2), small_lstm(4), small_lstm(5), block_term_lstm()], ids=str)
def test_gradients_are_those_of_the_dense_lstm(spec):
    torch.manual_seed(0)
    layer = FDHTLSTM(spec, batch_first=True).double()
    x = torch.randn(2, 3, 20).double().requires_grad_()
    parameters = [x, *layer.parameters()]
    target = torch.randn(2, 3, 4).double()
    got = torch.autograd.grad((layer(x)[0] - target).square().sum(), parameters)

    # The same loss with the dense matrix in every step; to_dense is differentiable and checked above.
    h = c = torch.zeros(2, 4).double()
    loss = 0
    for step in range(3):
        z = torch.cat([x[:, step], h], 1) @ layer.to_dense().T + layer.bias.flatten()
        i, f, g, o = z.split(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        loss = loss + (h - target[:, step]).square().sum()
    for a, b in zip(got, torch.autograd.grad(loss, parameters), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_gradcheck():
    torch.manual_seed(0)
    network = ht_network((3, 2, 2, 2), (2, 2, 1, 3), balanced_tree(4, 2))
    layer = HTLinear(network).double()
    x = torch.randn(2, layer.in_features, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def apply(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(apply, (x, *layer.parameters()))


@pytest.mark.parametrize("depth", SHAPES)
def test_linear_is_its_dense_self(depth):
    torch.manual_seed(depth)
    layer = HTLinear(ht_network(*SHAPES[depth], balanced_tree(depth, 3))).double()
    with torch.no_grad():
        layer.bias.normal_()
    x = torch.randn(2, 3, layer.in_features).double()
    torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, layer.to_dense(), layer.bias), **EXACT)


def test_a_matrix_too_large_to_exist():
    """4096 × 1,048,576 entries would be 17 GB; forward and backward need a few MB."""
    torch.manual_seed(0)
    layer = HTLinear(ht_network((8,) * 4, (32,) * 4, balanced_tree(4, 2)), bias=False)
    loss = layer(torch.randn(1, 4096)).square().mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in layer.parameters())
    assert 0.2 < loss.item() < 5


@pytest.mark.parametrize("depth", SHAPES)
@pytest.mark.parametrize("rank", [1, 3, 8])
def test_initialisation_keeps_the_variance(depth, rank):
    """z has the mean square of [x, h] for any depth and rank."""
    ratios = []
    for seed in range(10):
        torch.manual_seed(seed)
        layer = FDHTLSTM(small_lstm(depth, rank))
        tensors = dict(layer.weight.factors.items())
        exact = layer.weight.dense().square().mean()
        torch.testing.assert_close(mean_square(layer.spec.network, tensors), exact, rtol=1e-4, atol=0)
        torch.testing.assert_close(exact, torch.tensor(1 / 24), rtol=1e-4, atol=0)
        ratios.append((torch.randn(500, 24) @ layer.to_dense().T).square().mean().item())
        assert torch.equal(layer.bias, torch.tensor([[0.0], [1], [0], [0]]).expand(4, 4))
    assert 0.8 < np.mean(ratios) < 1.25


def test_initial_factors_cancel_the_sums_over_their_bonds():
    """A bond of size r, shared by two, divides the variance of each by sqrt(r): leaves have one, transfers three."""
    torch.manual_seed(0)
    factors = FDHTLSTM(fdht_lstm(190, 16, 0, (12, 3, 3, 2), (4, 4, 2, 2), 16)).weight.factors
    leaf, transfer = factors["U1"].square().mean().item(), factors["B12"].square().mean().item()
    assert leaf / transfer == pytest.approx(16, rel=0.2)


def test_default_stage_list():
    assert left_to_right(small_lstm(4).network) == (("U1",), ("B12", "U2"), ("B1234", "B34", "U3"), ("U4",))
    assert left_to_right(block_term_lstm().network) == (("A1",), ("A2",), ("C",))


def test_zero_h_is_no_feedback():
    torch.manual_seed(0)
    layer = FDHTLSTM(small_lstm(3), batch_first=True).double()
    x = torch.randn(2, 5, 20).double()
    with_h, without_h = layer(x)[0], layer(x, zero_h=True)[0]
    torch.testing.assert_close(with_h[:, 0], without_h[:, 0], rtol=0, atol=0)
    assert (with_h[:, 1:] != without_h[:, 1:]).all(dim=-1).all()
    lstm = torch_lstm(layer)
    with torch.no_grad():
        lstm.weight_hh_l0.zero_()
    torch.testing.assert_close(without_h, lstm(x)[0], **EXACT)


def test_bad_shapes():
    layer = FDHTLSTM(small_lstm(2))
    with pytest.raises(SpecError, match="20 inputs"):
        layer(torch.zeros(3, 2, 19))
    with pytest.raises(SpecError, match=r"h_0 has shape \(1, 3, 4\), not \(1, 2, 4\)"):
        layer(torch.zeros(3, 2, 20), (torch.zeros(1, 3, 4), torch.zeros(1, 2, 4)))
    with pytest.raises(SpecError, match="names"):
        FDHTLSTM(small_lstm(2), stage_list=(("U1",),))
    with pytest.raises(SpecError, match="at least one class"):
        Classifier(small_lstm(2, classes=0))
