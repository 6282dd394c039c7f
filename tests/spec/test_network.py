"""Dimension trees, and the constructors of every kind of network against the formulas of their papers."""

from itertools import product
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdht.spec.errors import SpecError
from fdht.spec.lstm import LSTMSpec, lstm_on
from fdht.spec.network import (
    Split,
    TensorNetwork,
    TreeNode,
    balanced_tree,
    bt_network,
    dense_network,
    ht_network,
    ht_tree,
    linear_tree,
    tr_network,
    tree_from,
    tt_network,
)
from fdht.spec.stages import stages
from tests.model.networks import dense, lstms, trees

N, M = (3, 2, 4), (2, 3, 1)


def filled(network: TensorNetwork) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {factor.name: rng.integers(-9, 10, network.shape(factor.indices)) for factor in network.factors}


def check_entries(network: TensorNetwork, tensors: dict[str, np.ndarray], entry) -> None:
    """Every entry of the weight is `entry(m, n)`, exactly."""
    tensor = dense(network, tensors, (*network.outputs, *network.inputs))
    assert tensor.shape == (*M, *N)
    for m in product(*map(range, M)):
        for n in product(*map(range, N)):
            assert tensor[(*m, *n)] == entry(m, n)


@pytest.mark.parametrize("ranks", [3, (2, 4)])
def test_an_entry_of_a_train_is_a_product_of_matrices(ranks):
    network = tt_network(N, M, ranks)
    tensors = filled(network)
    g1, g2, g3 = (tensors[f"G{k}"] for k in (1, 2, 3))
    r1, r2 = (3, 3) if ranks == 3 else ranks
    assert (g1.shape, g2.shape, g3.shape) == ((2, 3, r1), (r1, 3, 2, r2), (r2, 1, 4))
    check_entries(network, tensors, lambda m, n: g1[m[0], n[0]] @ g2[:, m[1], n[1]] @ g3[:, m[2], n[2]])


@pytest.mark.parametrize("ranks", [3, (2, 4, 5)])
def test_an_entry_of_a_ring_is_a_trace(ranks):
    network = tr_network(N, M, ranks)
    tensors = filled(network)
    g1, g2, g3 = (tensors[f"G{k}"] for k in (1, 2, 3))
    r1, r2, r3 = (3, 3, 3) if ranks == 3 else ranks
    assert (g1.shape, g2.shape, g3.shape) == ((r3, 2, 3, r1), (r1, 3, 2, r2), (r2, 1, 4, r3))
    check_entries(network, tensors, lambda m, n: np.trace(g1[:, m[0], n[0]] @ g2[:, m[1], n[1]] @ g3[:, m[2], n[2]]))


@pytest.mark.parametrize("ranks", [3, (2, 4, 5)])
def test_an_entry_of_block_terms_is_a_sum_of_tucker_blocks(ranks):
    network = bt_network(N, M, 2, ranks)
    tensors = filled(network)
    a1, a2, a3, core = (tensors[name] for name in ("A1", "A2", "A3", "C"))
    assert core.shape == (2, *((3, 3, 3) if ranks == 3 else ranks))
    assert a2.shape == (2, 3, 2, core.shape[2])

    def entry(m, n):
        vectors = [a[:, m[k], n[k]] for k, a in enumerate((a1, a2, a3))]
        return sum(np.einsum("ijk,i,j,k", core[b], *(vector[b] for vector in vectors)) for b in range(2))

    check_entries(network, tensors, entry)


def test_an_entry_of_a_tree_joins_its_halves():
    network = ht_network(N, M, tree_from((1, (2, 3)), {"1": 2, "2": 3, "3": 4, "23": 5}))
    tensors = filled(network)
    u1, u2, u3, b23, b123 = (tensors[name] for name in ("U1", "U2", "U3", "B23", "B123"))
    assert (b23.shape, b123.shape, u3.shape) == ((5, 3, 4), (2, 5), (4, 1, 4))
    check_entries(
        network,
        tensors,
        lambda m, n: u1[:, m[0], n[0]] @ b123 @ (b23 @ u3[:, m[2], n[2]] @ u2[:, m[1], n[1]]),
    )


def test_trees_have_the_shape_they_were_given():
    names = [node.name for node in tree_from(((1, 2), (3, (4, 5))), 2).walk()]
    assert names == ["1", "2", "12", "3", "4", "5", "45", "345", "12345"]
    assert tree_from(((1, 2), (3, 4)), 3) == balanced_tree(4, 3)
    assert tree_from((1, (2, (3, 4))), 3) == linear_tree(4, 3)
    assert tree_from(1, 7) == balanced_tree(1, 7) == linear_tree(1, 7) == TreeNode(1, 1, 1)
    uneven = tree_from((1, (2, 3)), {"1": 4, "2": 5, "3": 6, "23": 7})
    assert {node.name: node.rank for node in uneven.walk()} == {"1": 4, "2": 5, "3": 6, "23": 7, "123": 1}


@given(st.data())
def test_a_network_remembers_its_tree(data):
    order = data.draw(st.integers(1, 8))
    tree = data.draw(trees(order))
    network = ht_network((3,) * order, (2,) * order, tree)
    assert ht_tree(network) == tree
    inner = [node for node in tree.walk() if node.children]
    assert network.parameters == sum(6 * leaf.rank for leaf in tree.walk() if not leaf.children) + sum(
        node.rank * node.children[0].rank * node.children[1].rank for node in inner if node.children
    )


@given(lstms())
def test_every_kind_survives_json(spec):
    assert LSTMSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("order", range(1, 9))
def test_one_call_gives_an_lstm_of_any_kind_and_order(order):
    """DESIGN 1: d = 1 (dense) to 8; 4H = 16 outputs of 2^4, the other output modes 1."""
    inputs, outputs = (6,) + (2,) * (order - 1), (16,) + (1,) * (order - 1)
    kinds = [
        ht_network(inputs, outputs, balanced_tree(order, 2)),
        ht_network(inputs, outputs, linear_tree(order, 2)),
        tt_network(inputs, outputs, 2),
        bt_network(inputs, outputs, 2, 2),
        tr_network(inputs, outputs, 2) if order > 1 else dense_network(6, 16),
    ]
    for network in kinds:
        spec = lstm_on(network, 2, 4, 3)
        assert spec.parameters["factors"] == sum(tensor.size for tensor in filled(network).values())


def test_a_ring_bond_is_born_as_a_row_and_dies_in_the_last_reduction():
    first, second, third = stages(tr_network(N, M, (2, 4, 5)), (("G1",), ("G2",), ("G3",)))
    assert "r3" in first.rows and "r3" in second.columns and "r3" in third.reduction


def test_the_block_index_is_a_batch_index_until_the_last_stage():
    first, *middle, last = stages(bt_network(N, M, 2, 3), (("A1",), ("A2",), ("A3",), ("C",)))
    assert "b" in first.rows and all("b" in stage.batch for stage in middle) and "b" in last.reduction


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: tree_from(cast(Split, (1, 2, 3)), 2), r"\(1, 2, 3\) is no node of a binary tree"),
        (lambda: tree_from(cast(Split, (1, "2")), 2), "'2' is no node"),
        (lambda: tree_from((2, 1), 2), r"leaves \[2, 1\] is no dimension tree; name the modes 1..d, in order"),
        (lambda: tree_from((2, 3), 2), r"leaves \[2, 3\]"),
        (lambda: tree_from((1, (2, 3)), {"1": 2, "2": 2, "3": 2}), "no rank given for node 23"),
        (lambda: tree_from((1, (2, 3)), {"1": 2, "2": 2, "3": 2, "23": 0}), "node 23 has rank 0"),
        (lambda: linear_tree(0, 2), "over 0 modes is outside 1..9"),
        (lambda: linear_tree(10, 2), "over 10 modes is outside 1..9"),
        (lambda: balanced_tree(10, 2), "over 10 modes is outside 1..9"),
        (lambda: ht_tree(tt_network(N, M, 2)), "kind tt has no dimension tree"),
        (lambda: tt_network(N, M, (2, 2, 2)), "3 ranks for 2 bonds; give one per bond"),
        (lambda: tr_network(N, M, (2, 2)), "2 ranks for 3 bonds"),
        (lambda: bt_network(N, M, 2, (2,)), "1 ranks for 3 bonds"),
        (lambda: tt_network(N, M, (2, 0)), "r2 has size 0; modes and ranks start at 1"),
        (lambda: bt_network(N, M, 0, 2), "index b has size 0"),
        (lambda: tr_network((6,), (4,), 2), "ring of 1 cores is none; use dense_network"),
        (lambda: tt_network(N, M[:2], 2), "3 input modes and 2 output modes must agree"),
        (lambda: bt_network((), (), 2, 2), "there is at least one"),
        (lambda: lstm_on(tt_network(N, M, 2), 0, 4, 2), "at least one of each"),
    ],
)
def test_errors_say_what_is_wrong(make, says):
    with pytest.raises(SpecError, match=says):
        make()
