"""Useful multiplications: counted one by one, the fewest found by going through everything, and opt_einsum's."""

from itertools import combinations
from math import prod

import numpy as np
import opt_einsum
import pytest
from bundles import KINDS, paper_spec, random_spec, random_stage_list
from occurrences import SEED

from fdht.compiler.arithmetic import connected_groups, fewest_macs, useful_macs
from fdht.compiler.explain import TOLERANCE, explain
from fdht.compiler.planner import plan
from fdht.spec.lstm import LSTMSpec, chains, fdht_lstm, lstm_on
from fdht.spec.network import (
    TensorNetwork,
    balanced_tree,
    bt_network,
    dense_network,
    ht_network,
    tr_network,
    tt_network,
)
from fdht.spec.stages import stage_macs, stages
from fdht.spec.target import Levels, Target, find_target


def target(rows: int, columns: int) -> Target:
    sizes = {"bank_words": 4096, "factor_words": 8192, "result_words": 1024, "program_words": 1024}
    return Target(f"test-{rows}x{columns}", rows, columns, levels=Levels.each(9), **sizes)


def counted(spec: LSTMSpec, stage_list) -> int:
    """Multiplications whose datum is not zero for ever, one stage after the other on a tensor of what may differ."""
    network = spec.network
    axis = {index: k for k, index in enumerate(network.size)}
    data = np.zeros(prod(network.input_shape), dtype=np.int64)
    data[spec.x_positions] = data[spec.h_positions] = 1
    data, order, total = data.reshape(network.input_shape), network.inputs, 0
    for stage in stages(network, stage_list):
        assert set(order) == set(stage.data)
        total += int((data > 0).sum()) * prod(network.shape(stage.rows))
        weight = np.ones(network.shape(stage.weight), dtype=np.int64)
        labels = ([axis[i] for i in stage.weight], [axis[i] for i in order], [axis[i] for i in stage.result])
        data, order = np.minimum(np.einsum(weight, labels[0], data, labels[1], labels[2]), 1), stage.result
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_useful_macs_are_those_on_entries_that_are_filled(kind):
    rng = np.random.default_rng([SEED, 11])
    for _ in range(20):
        spec = random_spec(rng, kind)
        stage_list = random_stage_list(rng, spec.network)
        (of_stages,) = useful_macs(spec, (stage_list,))
        assert sum(of_stages) == counted(spec, stage_list)
        assert sum(of_stages) <= stage_macs(spec.network, stage_list)


def every_stage_list(names: tuple[str, ...]):
    """Every ordered partition into groups of any size."""
    if not names:
        yield ()
    for size in range(1, len(names) + 1):
        for group in combinations(names, size):
            rest = tuple(name for name in names if name not in group)
            yield from ((group, *others) for others in every_stage_list(rest))


def test_no_stage_list_needs_fewer():
    """All ordered partitions of networks of up to five factors."""
    rng = np.random.default_rng([SEED, 12])
    specs = [random_spec(rng, kind) for kind in (*KINDS, "balanced", "bt") for _ in range(6)]
    specs = [spec for spec in specs if len(spec.network.factors) <= 5 and min(size_of_bonds(spec.network)) > 1]
    assert len(specs) > 15
    for spec in specs:
        macs, stage_lists = fewest_macs(spec)
        assert macs == sum(useful_macs(spec, stage_lists)[0])
        names = tuple(spec.network.factor)
        assert macs == min(sum(useful_macs(spec, (each,))[0]) for each in every_stage_list(names))


def size_of_bonds(network: TensorNetwork) -> list[int]:
    """With bonds or modes of one, an outer product of weights may save a stage; nobody plans these."""
    return list(network.size.values())


def on_the_datas_path(network: TensorNetwork) -> int:
    """Multiplications of opt_einsum's optimal path in which the data takes part."""
    letter = {index: opt_einsum.get_symbol(k) for k, index in enumerate(network.size)}
    terms = [network.inputs, *(factor.indices for factor in network.factors)]
    equation = ",".join("".join(letter[i] for i in term) for term in terms)
    equation += "->" + "".join(letter[i] for i in network.outputs)
    path, _ = opt_einsum.contract_path(equation, *map(network.shape, terms), shapes=True, optimize="optimal")
    operands: list[tuple[set[str], bool]] = [(set(term), k == 0) for k, term in enumerate(terms)]
    total = 0
    for step in path:
        taken = [operands.pop(k) for k in sorted(step, reverse=True)]
        joined = set[str]().union(*(indices for indices, _ in taken))
        with_data = any(data for _, data in taken)
        total += prod(network.shape(joined)) if with_data else 0
        needed = set(network.outputs).union(*(indices for indices, _ in operands))
        operands.append((joined & needed, with_data))
    return total


SPECS = [
    lstm_on(ht_network((7, 6, 5, 4), (4, 4, 5, 6), balanced_tree(4, 3)), 720, 120, 0),
    lstm_on(ht_network((16, 12, 8), (4, 8, 12), balanced_tree(3, 4)), 1440, 96, 0),
    fdht_lstm(896, 128, 0, (8, 16, 8), (4, 16, 8), 5),
    lstm_on(tt_network((9, 8, 7), (4, 7, 8), 3), 448, 56, 0),
    lstm_on(tr_network((9, 8, 7), (4, 7, 8), 3), 448, 56, 0),
    lstm_on(bt_network((9, 8, 7), (4, 7, 8), 2, 3), 448, 56, 0),
    lstm_on(dense_network(60, 80), 40, 20, 0),
]
"""All without an entry of the data tensor that stays zero."""


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.network.kind)
@pytest.mark.parametrize("shape", [(8, 1), (4, 4), (16, 8)], ids=str)
def test_a_plan_has_few_multiplications_or_a_reason(spec, shape):
    """At most 3 % above the fewest and above opt_einsum's optimum, unless memory or cycles force it."""
    on = target(*shape)
    (stage_list,) = plan(spec, on)
    macs, fewest = stage_macs(spec.network, stage_list), on_the_datas_path(spec.network)
    why = explain(spec, on)
    assert (why.macs, why.stage_lists) == (macs, (stage_list,)) and why.fewest <= fewest
    if macs > TOLERANCE * fewest:
        assert why.excess.startswith(("memory: ", "cycles: "))
    assert bool(why.excess) == (macs > TOLERANCE * why.fewest)


def test_what_forces_more_multiplications_is_named():
    """At paper size: merging everything in the first modes fills the large array better; for the small one it leaves
    too many factors.
    """
    assert explain(paper_spec(), find_target("ulx3s-85f")).excess.startswith("cycles: ")
    assert explain(paper_spec(), find_target("icebreaker")).excess.startswith("memory: ")


def test_connected_groups():
    """All sets of factors that hang together, each once."""
    network = chains((fdht_lstm(60, 10, 0, (4, 5, 4), (2, 2, 10), 3),))[0].network
    found = connected_groups(network, 5)
    assert len(found) == len(set(found))
    neighbours = {frozenset(pair) for pair in (("U1", "B12"), ("U2", "B12"), ("B12", "B123"), ("U3", "B123"))}

    def hangs_together(group: tuple[str, ...]) -> bool:
        reached = {group[0]}
        for _ in group:
            reached |= {b for a in reached for b in group if frozenset((a, b)) in neighbours}
        return reached == set(group)

    names = tuple(network.factor)
    every = [group for size in range(1, 6) for group in combinations(names, size) if hangs_together(group)]
    assert found == every
    assert connected_groups(network, 2) == [group for group in every if len(group) <= 2]
