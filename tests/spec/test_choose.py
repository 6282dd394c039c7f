"""The rule that finds modes, places, tree and ranks for a problem."""

from math import prod

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fdht.compiler.planner import candidates
from fdht.spec.choose import FORMATS, NOMINAL, choose_modes, chosen_lstm, chosen_network, chosen_stack
from fdht.spec.errors import SpecError
from fdht.spec.lstm import MOST_LAYERS, fdht_lstm
from fdht.spec.stages import stages
from fdht.spec.target import find_target

MODES = {size: choose_modes(*size) for size in ((1, 1), (1, 20), (7, 7), (13, 61), (28, 64), (127, 31), (784, 128))}
"""Of a few sizes, odd and prime ones among them."""


@pytest.mark.parametrize("size", MODES)
@pytest.mark.parametrize("rank", [1, NOMINAL])
def test_modes_hold_the_problem_and_little_more(size, rank):
    (n, m), (inputs, hidden) = MODES[size], size
    spec = chosen_lstm(inputs, hidden, 3, rank=rank)
    assert (spec.network.input_shape, spec.network.output_shape) == (n, m)
    assert (spec.inputs, spec.hidden, spec.classes) == (inputs, hidden, 3)
    rest = prod(n[1:])
    assert prod(spec.x.shape) - inputs < rest and prod(spec.h.shape) - hidden < rest
    assert prod(n) - inputs - hidden <= 2 * (rest - 1) and prod(m) - 4 * hidden < 4 * prod(m[:-1])
    # Mode 1 is first contracted and, in x, runs fastest.
    assert spec.x.order[-1] == 0 and spec.h.start[0] == spec.x.shape[0]


@pytest.mark.parametrize("size", MODES)
def test_no_stage_is_narrower_than_the_matrix(size):
    network = chosen_lstm(*size, rank=NOMINAL).network
    order = (("U1",), ("B12", "U2"), ("B123", "U3"))[: len(network.inputs)]
    *before, _ = stages(network, order)
    assert all(prod(network.shape(stage.result)) >= min(sum(size), 4 * size[1]) for stage in before)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 300), st.integers(1, 200), st.sampled_from(FORMATS[:-1]), st.integers(1, 6))
@example(57_600, 256, "ht", 2)
@example(1, 1024, "tt", 2)
@example(12, 4000, "ht", 2)
@example(1 << 24, 1 << 15, "ht", 1)
def test_any_size_has_a_network(inputs, hidden, format, rank):
    """The specification checks itself: nothing overlaps or leaves its tensor."""
    spec = chosen_lstm(inputs, hidden, rank=rank, format=format)
    assert spec.network.kind == format and (spec.inputs, spec.hidden) == (inputs, hidden)


@pytest.mark.parametrize(("inputs", "n"), [(8, (9, 2, 4)), (28, (12, 2, 4))])
def test_it_takes_fewer_cycles_than_modes_made_by_hand(inputs, n):
    """At fewer factors; by the product over a narrow and a wide array, which is what the rule weighs."""
    ours, theirs = chosen_lstm(inputs, 64, 10, rank=12), fdht_lstm(inputs, 64, 10, n, (4, 4, 16), 12)
    assert ours.network.parameters < theirs.network.parameters
    targets = [find_target("icebreaker"), find_target("ulx3s-85f")]
    cycles = [[candidates(spec, target)[0].cycles or 0.0 for target in targets] for spec in (ours, theirs)]
    assert prod(cycles[0]) < prod(cycles[1])
    assert cycles[0][0] < cycles[1][0] and cycles[0][1] < 1.03 * cycles[1][1]


def test_ranks_are_what_their_modes_can_carry():
    network = chosen_lstm(8, 8, rank=50, modes=((8, 4, 2), (4, 4, 2))).network
    assert network.ranks == {"1": 32, "2": 16, "12": 4, "3": 4}
    assert chosen_lstm(8, 8, rank=50, modes=((8, 4, 2), (4, 4, 2)), format="tt").network.ranks == {"1": 32, "2": 4}
    ranks = {"1": 50, "2": 3, "3": 2, "12": 2}
    assert chosen_lstm(8, 8, rank=ranks, modes=((8, 4, 2), (4, 4, 2))).network.ranks == ranks
    assert chosen_lstm(8, 8, rank=np.int64(3), modes=((8, 8), (8, 4)), format="tr").network.ranks == {"1": 3, "2": 3}


@pytest.mark.parametrize("most", [400, 2000, 20_000])
def test_the_largest_rank_within_a_number_of_factors(most):
    spec = chosen_lstm(28, 64, max_factors=most)
    rank = max(spec.network.ranks.values())
    assert spec == chosen_lstm(28, 64, rank=rank) and spec.network.parameters <= most
    assert chosen_lstm(28, 64, rank=rank + 1).network.parameters > most
    layers = chosen_stack(28, 64, 2, 5, max_factors=most)
    assert sum(layer.network.parameters for layer in layers) <= most
    assert [layer.classes for layer in layers] == [0, 5] and [layer.inputs for layer in layers] == [28, 64]


def test_a_matrix_has_modes_of_its_own():
    network = chosen_network(30, 17, rank=3)
    assert prod(network.input_shape) >= 30 and prod(network.output_shape) >= 17
    assert chosen_network(30, 17, format="dense").parameters == 510


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: choose_modes(0, 4), "needs at least one of each"),
        (lambda: chosen_stack(4, 4, MOST_LAYERS + 1, rank=2), "65 layers; there are 1 to 64"),
        (lambda: chosen_lstm(4, 4, format="dense", rank=2), "neither ranks nor modes"),
        (lambda: chosen_lstm(4, 4, rank="large"), "rank = 'large' is none"),
        (lambda: chosen_lstm(4, 4, rank=(2, 2)), "ranks of a tree are one, or one per node by name"),
        (lambda: chosen_lstm(4, 4, rank={"1": 2}, format="tt"), "ranks by node are those of a tree"),
        (lambda: chosen_lstm(4, 4, rank=0), "ranks start at 1"),
        (lambda: chosen_lstm(4, 4, rank=2, modes=((4, 4), (16,))), "2 input modes and 1 output modes must agree"),
        (lambda: chosen_lstm(4, 4, rank=2, modes=((2, 2), (4, 4))), "fewer than 4 inputs"),
    ],
)
def test_what_is_refused(call, says):
    with pytest.raises(SpecError, match=says):
        call()
