"""Small random LSTMs for the tests of the model, and their dense weights by plain numpy."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from spec.lstm import LSTMSpec, fdht_lstm, lstm_on
from spec.network import Factor, TensorNetwork
from spec.stages import StageList

SHAPES = {
    1: ((30,), (16,)),
    2: ((6, 5), (4, 4)),
    3: ((4, 3, 3), (2, 4, 2)),
    4: ((3, 3, 3, 2), (2, 2, 2, 2)),
    5: ((3, 3, 2, 2, 2), (2, 2, 2, 2, 1)),
    6: ((3, 2, 2, 2, 2, 2), (2, 2, 2, 2, 1, 1)),
}
"""Input and output modes for 20 inputs and 4 hidden units, by depth."""


def small_lstm(depth: int, rank: int = 3, classes: int = 5) -> LSTMSpec:
    """20 inputs, 4 hidden units, on a balanced tree of the given depth."""
    return fdht_lstm(20, 4, classes, *SHAPES[depth], rank)


def block_term_lstm() -> LSTMSpec:
    """20 inputs, 4 hidden units on a block-term weight: the block index b is shared by all factors."""
    factors = (Factor("X", ("b", "m1", "n1")), Factor("Y", ("b", "m2", "n2")))
    sizes = (("b", 3), ("n1", 6), ("n2", 5), ("m1", 4), ("m2", 4))
    return lstm_on(TensorNetwork("bt", ("n1", "n2"), ("m1", "m2"), sizes, factors), 20, 4, 5)


@st.composite
def lstms(draw) -> LSTMSpec:
    """Random FDHT-LSTMs: depth, modes, ranks, sizes, and the orders in which x and h fill their boxes."""
    depth = draw(st.integers(1, 4))
    outputs = [draw(st.integers(1, 3)) for _ in range(depth)]
    outputs[draw(st.integers(0, depth - 1))] *= 4
    inputs = [draw(st.integers(2 if k == 0 else 1, 4)) for k in range(depth)]
    rest = int(np.prod(inputs[1:]))
    of_h = draw(st.integers(1, inputs[0] - 1))
    hidden = draw(st.integers(1, min(of_h * rest, int(np.prod(outputs)) // 4)))
    x = draw(st.integers(1, (inputs[0] - of_h) * rest))
    spec = fdht_lstm(x, hidden, draw(st.integers(1, 4)), tuple(inputs), tuple(outputs), draw(st.integers(1, 3)))
    orders = [tuple(draw(st.permutations(range(depth)))) for _ in range(2)]
    return replace(spec, x=replace(spec.x, order=orders[0]), h=replace(spec.h, order=orders[1]))


@st.composite
def stage_lists(draw, network: TensorNetwork) -> StageList:
    """Random stage lists: any order of the factors, any groups."""
    names = draw(st.permutations([factor.name for factor in network.factors]))
    cuts = [k for k in range(1, len(names)) if draw(st.booleans())]
    return tuple(tuple(names[a:b]) for a, b in zip([0, *cuts], [*cuts, len(names)], strict=True))


def dense(network: TensorNetwork, tensors: dict[str, np.ndarray], indices: tuple[str, ...]) -> np.ndarray:
    """All given factors contracted at once by numpy: independent of stage lists and of torch. Exact for integers."""
    number = {index: k for k, index in enumerate(network.size)}
    arguments = []
    for name, tensor in tensors.items():
        arguments += [tensor, [number[index] for index in network.factor[name].indices]]
    return np.einsum(*arguments, [number[index] for index in indices], optimize="greedy")
