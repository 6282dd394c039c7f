"""Small random LSTMs for the tests of the model, and their dense weights by plain numpy."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from fdht.spec.lstm import LSTMSpec, Region, fdht_lstm, lstm_on
from fdht.spec.network import (
    Split,
    TensorNetwork,
    TreeNode,
    balanced_tree,
    bt_network,
    dense_network,
    ht_network,
    linear_tree,
    tr_network,
    tree_from,
    tt_network,
)
from fdht.spec.stages import StageList

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
    inputs, outputs = SHAPES[depth]
    return fdht_lstm(20, 4, classes, inputs, outputs, rank)


def block_term_lstm() -> LSTMSpec:
    """20 inputs, 4 hidden units on a block-term weight: the block index b is shared by all factors."""
    return lstm_on(bt_network((6, 5), (4, 4), 3, 2), 20, 4, 5)


def every_kind(depth: int, rank: int = 2) -> dict[str, TensorNetwork]:
    """One network of each kind on SHAPES."""
    inputs, outputs = SHAPES[depth]
    networks = {
        "balanced": ht_network(inputs, outputs, balanced_tree(depth, rank)),
        "linear": ht_network(inputs, outputs, linear_tree(depth, rank)),
        "tt": tt_network(inputs, outputs, rank),
        "bt": bt_network(inputs, outputs, 3, rank),
    }
    return networks | ({"tr": tr_network(inputs, outputs, rank)} if depth > 1 else {"dense": dense_network(30, 16)})


@st.composite
def trees(draw, order: int) -> TreeNode:
    """Random dimension trees: any shape, a rank of its own for every node."""

    def split(first: int, last: int) -> Split:
        if first == last:
            return first
        middle = draw(st.integers(first, last - 1))
        return split(first, middle), split(middle + 1, last)

    shape = split(1, order)
    return tree_from(shape, {node.name: draw(st.integers(1, 3)) for node in tree_from(shape, 1).walk()})


@st.composite
def networks(draw, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> TensorNetwork:
    """Random networks of every kind on given modes, ranks 1 to 3, one for all or one per bond."""
    order = len(inputs)

    def ranks(count: int):
        return draw(st.integers(1, 3) | st.tuples(*[st.integers(1, 3)] * count))

    match draw(st.sampled_from(["balanced", "tree", "linear", "tt", "tr" if order > 1 else "dense", "bt"])):
        case "balanced":
            return ht_network(inputs, outputs, balanced_tree(order, draw(st.integers(1, 3))))
        case "tree":
            return ht_network(inputs, outputs, draw(trees(order)))
        case "linear":
            return ht_network(inputs, outputs, linear_tree(order, draw(st.integers(1, 3))))
        case "tt":
            return tt_network(inputs, outputs, ranks(order - 1))
        case "tr":
            return tr_network(inputs, outputs, ranks(order))
        case "bt":
            return bt_network(inputs, outputs, draw(st.integers(1, 3)), ranks(order))
        case _:
            return dense_network(inputs[0], outputs)


@st.composite
def lstms(draw) -> LSTMSpec:
    """Random LSTMs: kind of weight, depth, modes, ranks, sizes, and the orders in which x and h fill their boxes."""
    depth = draw(st.integers(1, 4))
    outputs = [draw(st.integers(1, 3)) for _ in range(depth)]
    outputs[draw(st.integers(0, depth - 1))] *= 4
    inputs = [draw(st.integers(2 if k == 0 else 1, 4)) for k in range(depth)]
    rest = int(np.prod(inputs[1:]))
    of_h = draw(st.integers(1, inputs[0] - 1))
    hidden = draw(st.integers(1, min(of_h * rest, int(np.prod(outputs)) // 4)))
    x = draw(st.integers(1, (inputs[0] - of_h) * rest))
    network = draw(networks(tuple(inputs), tuple(outputs)))
    spec = lstm_on(network, x, hidden, draw(st.integers(1, 4)))
    return replace(spec, x=draw(orders(spec.x)), h=draw(orders(spec.h)))


@st.composite
def orders(draw, region: Region) -> Region:
    """The same box, its modes or parts of them filled in any order."""
    parts = []
    for mode, size in enumerate(region.shape):
        part = draw(st.sampled_from([k for k in range(1, size + 1) if size % k == 0]))
        parts += [(mode, part), (mode, size // part)]
    chosen = draw(st.permutations(parts))
    return replace(region, order=tuple(mode for mode, _ in chosen), sizes=tuple(size for _, size in chosen))


@st.composite
def models(draw) -> tuple[LSTMSpec, ...]:
    """One or two layers, each with one network for x and h or with two."""
    layers = [draw(lstms())]
    if draw(st.booleans()):
        layers[0], hidden = replace(layers[0], classes=0), layers[0].hidden
        (inputs, outputs), classes = (
            draw(st.sampled_from([((4, hidden), (2, 2 * hidden)), ((2 * hidden,), (4 * hidden,))])),
            2,
        )
        layers.append(lstm_on(draw(networks(inputs, outputs)), hidden, hidden, classes))
    for k, spec in enumerate(layers):
        if draw(st.booleans()):
            modes = spec.network.output_shape
            by_mode = tuple(spec.hidden if k == 0 else 1 for k in range(len(modes)))
            recurrent = dense_network(spec.hidden, modes) if draw(st.booleans()) else draw(networks(by_mode, modes))
            if recurrent.outputs == spec.network.outputs:
                layers[k] = lstm_on(spec.network, spec.inputs, spec.hidden, spec.classes, recurrent)
    return tuple(layers)


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
