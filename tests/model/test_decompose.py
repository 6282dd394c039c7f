"""The hierarchical SVD against numpy's SVD of every matricisation, and converted layers against torch's own."""

from dataclasses import replace
from math import prod, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdht.model.decompose import Decomposition, from_dense, linear_from_dense, lstm_from_dense
from fdht.spec.errors import SpecError
from fdht.spec.lstm import fdht_lstm, lstm_on
from fdht.spec.network import (
    TreeNode,
    balanced_tree,
    dense_network,
    ht_network,
    ht_tree,
    linear_tree,
    tree_from,
    tt_network,
)
from tests.model.networks import dense, trees

EXACT = {"rtol": 0, "atol": 1e-12}
"""float64: entries are about 1, sums a few hundred terms long."""

MODES = {
    1: ((7,), (5,)),
    2: ((4, 3), (3, 4)),
    3: ((3, 2, 2), (2, 3, 1)),
    4: ((2, 3, 2, 1), (2, 1, 3, 4)),
    5: ((2, 2, 1, 3, 2), (2, 1, 2, 1, 2)),
    6: ((2, 2, 1, 2, 2, 1), (1, 2, 2, 1, 2, 2)),
}
"""Input and output modes, by order."""

SHAPES = {"balanced": balanced_tree, "linear": linear_tree}


def matrix(result: Decomposition) -> np.ndarray:
    """The matrix a decomposition stands for, by plain numpy."""
    network = result.network
    tensors = {name: factor.numpy() for name, factor in result.factors.items()}
    return dense(network, tensors, (*network.outputs, *network.inputs)).reshape(prod(network.output_shape), -1)


def tails(weight: np.ndarray, inputs: tuple[int, ...], outputs: tuple[int, ...], node: TreeNode) -> np.ndarray:
    """Error of the best rank-r approximation of a node's matricisation, for r = 0, 1, ... (Eckart and Young)."""
    order = len(inputs)
    own = [k for k in range(order) if node.first <= k + 1 <= node.last]
    others = [k for k in range(order) if k not in own]
    axes = [axis for k in own + others for axis in (k, order + k)]
    rows = prod(inputs[k] * outputs[k] for k in own)
    values = np.linalg.svd(weight.reshape(*outputs, *inputs).transpose(axes).reshape(rows, -1), compute_uv=False)
    return np.sqrt(np.append(np.cumsum(values[::-1] ** 2)[::-1], 0))


def first_truncated(tree: TreeNode) -> TreeNode:
    """The first node that meets the whole tensor; the root's children come last."""
    return next(node for node in tree.walk() if node not in (tree.children or ()) or tree.last == 2)


def noisy(inputs: tuple[int, ...], outputs: tuple[int, ...], tree: TreeNode, seed: int, noise: float) -> np.ndarray:
    """A matrix of low rank on a tree, with noise: singular values that fall, of a size of about 1."""
    rng = np.random.default_rng(seed)
    network = ht_network(inputs, outputs, tree)
    tensors = {f.name: rng.standard_normal(network.shape(f.indices)) for f in network.factors}
    low = dense(network, tensors, (*network.outputs, *network.inputs)).reshape(prod(outputs), -1)
    return low / np.abs(low).max() + noise * rng.standard_normal(low.shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", MODES)
def test_full_rank_is_the_matrix(order, shape):
    inputs, outputs = MODES[order]
    weight = np.random.default_rng(order).standard_normal((prod(outputs), prod(inputs)))
    for result in (
        from_dense(weight, inputs, outputs, SHAPES[shape](order, 1), error=0),
        from_dense(torch.from_numpy(weight), inputs, outputs, SHAPES[shape](order, 10**6)),
        from_dense(weight, inputs, outputs, SHAPES[shape](order, 1), ranks=10**6),
        from_dense(weight, inputs, outputs, SHAPES[shape](order, 1), ranks={}),
    ):
        np.testing.assert_allclose(matrix(result), weight, **EXACT)
        assert result.error < 1e-14


@settings(max_examples=80)
@given(st.data())
def test_errors_against_truncated_svds(data):
    """For kept ranks r_t, with e_t the best rank-r_t error of node t's matricisation of the original:

    - node t itself removes at most e_t, and exactly e_t if nothing was truncated before;
    - the whole misses at least max e_t (its matricisation has rank r_t), at most the root of the sum of the e_t²
      (the root's children counted once), so at most sqrt(2d-3) max e_t, which is at most sqrt(2d-3) times the best
      approximation of these ranks;
    - the report is the truth.
    """
    order = data.draw(st.integers(2, 6))
    inputs, outputs = MODES[order]
    tree = data.draw(trees(order) | st.sampled_from([balanced_tree(order, 2), linear_tree(order, 2)]))
    weight = noisy(inputs, outputs, tree, data.draw(st.integers(0, 999)), data.draw(st.sampled_from([0.01, 0.1, 1])))
    norm = float(np.linalg.norm(weight))
    budget = data.draw(st.sampled_from([{"ranks": 1}, {"ranks": 2}, {"ranks": 3}, {}, {"error": 0.2}]))
    result = from_dense(weight, inputs, outputs, tree, **budget)

    kept = ht_tree(result.network)
    assert kept.children
    nodes = [node for node in kept.walk() if node is not kept]
    best = {node.name: tails(weight, inputs, outputs, node)[node.rank] for node in nodes}
    total = float(np.linalg.norm(matrix(result) - weight))
    slack = 1e-12 * norm
    assert result.error * norm == pytest.approx(total, abs=slack)
    assert set(result.errors) == set(best)
    for name, error in result.errors.items():
        assert error * norm <= best[name] + slack
        assert total >= best[name] - slack
    first = first_truncated(kept).name
    assert result.errors[first] * norm == pytest.approx(best[first], abs=slack)
    left, right = (child.name for child in kept.children)
    assert best[left] == pytest.approx(best[right], abs=slack) and result.errors[right] == 0
    squares = [error**2 for name, error in best.items() if name != right]
    assert len(squares) == 2 * order - 3
    assert total <= sqrt(sum(squares)) + slack
    assert sqrt(sum(squares)) <= sqrt(2 * order - 3) * max(best.values()) + slack


@settings(max_examples=40)
@given(st.data())
def test_bases_are_orthonormal_and_the_root_holds_the_norm(data):
    order = data.draw(st.integers(1, 5))
    inputs, outputs = MODES[order]
    tree = data.draw(trees(order))
    weight = noisy(inputs, outputs, tree, data.draw(st.integers(0, 99)), 0.1)
    result = from_dense(weight, inputs, outputs, tree)
    *bases, root = result.factors.values()
    for basis in bases:
        rows = basis.flatten(1)
        torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows), dtype=torch.float64), **EXACT)
    assert root.norm().item() == pytest.approx(np.linalg.norm(matrix(result)))


@settings(max_examples=40)
@given(st.data())
def test_an_error_budget_is_kept_and_used(data):
    order = data.draw(st.integers(2, 6))
    inputs, outputs = MODES[order]
    tree = data.draw(trees(order))
    weight = noisy(inputs, outputs, tree, data.draw(st.integers(0, 999)), 0.2)
    error = data.draw(st.floats(0.01, 0.9))
    result = from_dense(weight, inputs, outputs, tree, error=error)
    kept = ht_tree(result.network)
    norm = np.linalg.norm(weight)
    assert np.linalg.norm(matrix(result) - weight) <= error * norm * (1 + 1e-9)
    # Used: one vector less, and the first node would take more than its share.
    node = first_truncated(kept)
    missed, share = tails(weight, inputs, outputs, node), error * norm / sqrt(2 * order - 3)
    assert missed[node.rank] <= share and (node.rank == 1 or missed[node.rank - 1] > share)


@settings(max_examples=40)
@given(st.data())
def test_a_tensor_of_low_rank_gets_it_back(data):
    """Ranks end at those of the matricisations, whatever was asked for beyond."""
    order = data.draw(st.integers(1, 6))
    inputs, outputs = MODES[order]
    tree = data.draw(trees(order))
    weight = noisy(inputs, outputs, tree, data.draw(st.integers(0, 999)), 0)
    result = from_dense(weight, inputs, outputs, tree, **data.draw(st.sampled_from([{"error": 0}, {"ranks": 99}])))
    for node in ht_tree(result.network).walk():
        values = tails(weight, inputs, outputs, node)
        assert node.rank == (1 if node.name == tree.name else (values > 1e-11 * values[0]).sum())
    np.testing.assert_allclose(matrix(result), weight, **EXACT)


def test_two_modes_give_the_truncated_svd():
    inputs, outputs = MODES[2]
    weight = np.random.default_rng(0).standard_normal((prod(outputs), prod(inputs)))
    leaf = balanced_tree(2, 5).children
    assert leaf
    result = from_dense(weight, inputs, outputs, balanced_tree(2, 5))
    best = tails(weight, inputs, outputs, leaf[0])[5]
    assert np.linalg.norm(matrix(result) - weight) == pytest.approx(best, rel=1e-12)


def test_ranks_by_name_and_the_smaller_of_the_roots_children():
    inputs, outputs = MODES[4]
    weight = np.random.default_rng(0).standard_normal((prod(outputs), prod(inputs)))
    result = from_dense(weight, inputs, outputs, balanced_tree(4, 1), ranks={"1": 2, "12": 5, "34": 3})
    assert {name: size for name, size in result.network.sizes if name[0] == "r"} == {
        "r1": 2, "r2": 3, "r12": 3, "r3": 6, "r4": 4, "r34": 3,
    }  # fmt: skip
    both = from_dense(weight, inputs, outputs, balanced_tree(4, 1), ranks={"1": 2}, error=1e-9)
    assert both.network.size["r1"] == 2 and both.network.size["r3"] == 6 and both.error > 1e-9


def test_nothing_becomes_nothing():
    result = from_dense(np.zeros((6, 12)), (3, 2, 2), (2, 3, 1), balanced_tree(3, 2))
    assert result.error == 0 and not matrix(result).any() and result.network.size["r12"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"matrix": np.zeros((6, 11))}, r"shape \(6, 11\) does not fit .* which hold 6 x 12; change the modes or pad"),
        ({"matrix": np.full((6, 12), np.nan)}, "infinities or NaN"),
        ({"tree": balanced_tree(2, 2)}, "must agree"),
        ({"error": -0.1}, "relative error of -0.1 is outside 0 <= error < 1"),
        ({"error": 1.0}, "outside 0 <= error < 1; to truncate further give ranks"),
        ({"ranks": 0}, "node 1 has rank 0; ranks start at 1"),
        ({"ranks": {"23": 4}}, "no rank can be set for node 23; the tree has 1, 2, 12, 3"),
        ({"ranks": {"123": 4}}, "no rank can be set for node 123"),
    ],
)
def test_errors_say_what_is_wrong(arguments, says):
    inputs, outputs = MODES[3]
    good = {"matrix": np.ones((6, 12)), "inputs": inputs, "outputs": outputs, "tree": balanced_tree(3, 2)}
    with pytest.raises(SpecError, match=says):
        from_dense(**(good | arguments))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "tree", [tree_from(1, 1), balanced_tree(2, 1), linear_tree(3, 1), tree_from(((1, 2), (3, (4, 5))), 1)], ids=str
)
def test_a_converted_lstm_is_the_lstm(tree, bias):
    """Sizes that fill neither tensor, placements in an order of their own."""
    inputs, outputs = {1: ((30,), (20,)), 2: ((6, 5), (5, 4)), 3: ((4, 3, 3), (2, 4, 3)), 5: ((3,) * 5, (2,) * 5)}[
        tree.last
    ]
    spec = lstm_on(ht_network(inputs, outputs, tree), 17, 5, 0)
    spec = replace(spec, x=replace(spec.x, order=spec.x.order[::-1]), h=replace(spec.h, order=spec.h.order[::-1]))
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(17, 5, bias=bias, batch_first=bias).double()
    layer, result = lstm_from_dense(lstm, spec, error=0)
    assert result.error < 1e-14 and layer.spec == replace(spec, network=result.network)
    x = torch.randn(3, 4, 17).double()
    state = torch.randn(2, 1, 3 if bias else 4, 5).double().unbind()
    for got, wanted in zip(layer(x, state)[1], lstm(x, state)[1], strict=True):
        torch.testing.assert_close(got, wanted, **EXACT)
    torch.testing.assert_close(layer(x)[0], lstm(x)[0], **EXACT)
    # Places that hold nothing are 0.
    whole = layer.lstm_layers[0].weight.dense().detach().clone()
    columns = np.concatenate([spec.x_positions, spec.h_positions])
    assert whole.abs().max() > 0.1
    whole[np.ix_(spec.z_positions, columns)] = 0
    assert whole.abs().max() < 1e-12


def test_a_converted_lstm_takes_the_ranks_of_its_specification():
    spec = fdht_lstm(20, 4, 5, (3, 3, 3, 2), (2, 2, 2, 2), {"1": 2, "2": 3, "12": 4, "3": 3, "4": 2, "34": 4})
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(20, 4)
    layer, result = lstm_from_dense(lstm, spec)
    assert layer.spec == spec
    assert layer.lstm_layers[0].biases.dtype == torch.float32 and layer(torch.randn(2, 3, 20))[0].dtype == torch.float32
    of_x, of_h, *_ = lstm.all_weights[0]
    whole = torch.cat([of_x, of_h], 1)
    error = (layer.to_dense() - whole).norm() / whole.norm()
    assert 0.1 < error.item() <= result.error + 1e-6  # what is missed at free places does not count here
    loss = layer(torch.randn(2, 3, 20))[0].square().sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in layer.parameters())


def test_a_converted_lstm_keeps_a_dense_hidden_matrix():
    spec = lstm_on(ht_network((5, 4), (4, 4), balanced_tree(2, 20)), 20, 4, 0, dense_network(4, (4, 4)))
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(20, 4).double()
    x = torch.randn(3, 2, 20).double()
    layer, _ = lstm_from_dense(lstm, spec, error=0)
    torch.testing.assert_close(layer(x)[0], lstm(x)[0], **EXACT)
    layer, result = lstm_from_dense(lstm, spec, ranks=2)
    assert result.error > 0.1
    torch.testing.assert_close(layer.to_dense()[:, 20:], lstm.weight_hh_l0, **EXACT)
    other = lstm_on(spec.network, 20, 4, 0, tt_network((2, 2), (4, 4), 1))
    with pytest.raises(SpecError, match="kind tt cannot take over W_h; make it dense"):
        lstm_from_dense(lstm, other, error=0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("order", MODES)
def test_a_converted_linear_is_the_linear(order, bias):
    inputs, outputs = MODES[order]
    torch.manual_seed(order)
    linear = torch.nn.Linear(prod(inputs), prod(outputs), bias=bias).double()
    x = torch.randn(3, prod(inputs)).double()
    layer, result = linear_from_dense(linear, ht_network(inputs, outputs, linear_tree(order, 1)), error=0)
    torch.testing.assert_close(layer(x), linear(x), **EXACT)
    assert layer.weight.network == result.network and (layer.bias is None) != bias
    small, result = linear_from_dense(linear, ht_network(inputs, outputs, balanced_tree(order, 2)))
    assert max((size for name, size in small.weight.network.sizes if name[0] == "r"), default=1) <= 2
    missed = (small.to_dense() - linear.weight).norm() / linear.weight.norm()
    assert missed.item() == pytest.approx(result.error, abs=1e-12)


@pytest.mark.parametrize(
    ("lstm", "says"),
    [
        (torch.nn.LSTM(20, 4, num_layers=2), "2 layers, .* convert each layer and direction on its own"),
        (torch.nn.LSTM(20, 4, bidirectional=True), "bidirectional=True"),
        (torch.nn.LSTM(20, 4, proj_size=2), "proj_size=2"),
        (torch.nn.LSTM(19, 4), "19 inputs and 4 hidden units does not fit a specification of 20 and 4"),
    ],
)
def test_other_lstms_are_refused(lstm, says):
    with pytest.raises(SpecError, match=says):
        lstm_from_dense(lstm, fdht_lstm(20, 4, 0, (6, 5), (4, 4), 2))


def test_other_networks_are_refused():
    network = tt_network((6, 5), (4, 4), 2)
    with pytest.raises(SpecError, match="kind tt has no dimension tree"):
        lstm_from_dense(torch.nn.LSTM(20, 4), lstm_on(network, 20, 4, 0))
    with pytest.raises(SpecError, match="kind tt has no dimension tree"):
        linear_from_dense(torch.nn.Linear(30, 16), network)


@pytest.mark.parametrize("scale", [1e153, 1e300, 1e-200, 1e-300])
def test_matrices_of_any_scale(scale):
    """Squares of their entries are no numbers; ranks and errors are those of the matrix at scale 1."""
    torch.manual_seed(0)
    matrix = torch.randn(4, 6, dtype=torch.float64)
    tree = balanced_tree(2, 9)
    for choice in ({"error": 0.3}, {"ranks": 2}):
        plain = from_dense(matrix, (3, 2), (2, 2), tree, **choice)
        scaled = from_dense(matrix * scale, (3, 2), (2, 2), tree, **choice)
        assert scaled.network == plain.network and 0 < scaled.error < 1
        assert scaled.error == pytest.approx(plain.error)
        for name, factor in plain.factors.items():
            size = scale if name == "B12" else 1
            torch.testing.assert_close(scaled.factors[name] / size, factor, rtol=1e-9, atol=1e-12)


def test_ranks_are_integers_of_any_kind():
    matrix, tree = torch.randn(4, 6), balanced_tree(2, 9)
    expected = from_dense(matrix, (3, 2), (2, 2), tree, 2).network
    assert from_dense(matrix, (3, 2), (2, 2), tree, np.int64(2)).network == expected
    found = from_dense(matrix, (3, 2), (2, 2), tree, {"1": np.int32(2), "2": 2}).network
    assert found == expected and {type(rank) for rank in found.ranks.values()} == {int}
    for ranks, says in (
        (2.5, r"ranks = 2\.5 are none; give an integer, or one per node"),
        ([2, 2], "ranks = .* are none"),
        ({"1": 2.5}, r"node 1 has rank 2\.5, which is no integer"),
    ):
        with pytest.raises(SpecError, match=says):
            from_dense(matrix, (3, 2), (2, 2), tree, ranks)


def test_other_modules_are_refused():
    spec = fdht_lstm(20, 4, 5, (6, 5), (4, 4), 3)
    with pytest.raises(SpecError, match=r"a GRU is no torch\.nn\.LSTM"):
        lstm_from_dense(torch.nn.GRU(20, 4), spec)
    with pytest.raises(SpecError, match=r"a Bilinear is no torch\.nn\.Linear"):
        linear_from_dense(torch.nn.Bilinear(30, 16, 16), spec.network)
    lstm = torch.nn.LSTM(20, 4)
    with torch.no_grad():
        lstm.bias_hh_l0[3] = float("nan")
    with pytest.raises(SpecError, match="infinities or NaN"):
        lstm_from_dense(lstm, spec)
