"""Random bundles: small networks of every shape, with random integers in formats as quantisation would choose."""

from math import prod

import numpy as np

from spec.bundle import Bundle
from spec.errors import SpecError
from spec.fixed import Fixed
from spec.formats import PIXELS, Formats, GateFormats, InputFormat, StageFormat
from spec.lstm import LSTMSpec, lstm_on
from spec.network import (
    TensorNetwork,
    bt_network,
    dense_network,
    ht_network,
    tr_network,
    tree_from,
    tt_network,
)
from spec.stages import StageList, stages

KINDS = ("balanced", "linear", "tree", "tt", "tr", "bt", "dense")


def random_spec(rng: np.random.Generator, kind: str = "balanced", orders: tuple[int, int] = (2, 4)) -> LSTMSpec:
    """A small LSTM on a network of a kind: modes and ranks that divide by nothing, with or without a head.

    Args:
        orders: fewest and most modes (one for dense, a ring has at least two).
    """
    while True:
        fewest = max(orders[0], 2 if kind == "tr" else 1)
        order = 1 if kind == "dense" else int(rng.integers(fewest, max(fewest, orders[1]) + 1))
        top = {1: 60, 2: 18, 3: 12, 4: 7}.get(order, 4)
        inputs = tuple(int(n) for n in rng.integers(1, top, order))
        outputs = tuple(int(m) for m in rng.integers(1, top, order))
        hidden = max(1, prod(outputs) // 4 - int(rng.integers(0, 3)))
        size = prod(inputs) - hidden - int(rng.integers(0, 5))
        if not 2 <= hidden <= 40 or not 1 <= size <= 400:
            continue
        try:
            return lstm_on(random_network(rng, kind, inputs, outputs), size, hidden, int(rng.integers(0, 6)))
        except SpecError:
            continue


def random_network(
    rng: np.random.Generator, kind: str, inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> TensorNetwork:
    """A network of a kind with random ranks from 1 to 4 (and, for `tree`, a random tree)."""
    order = len(inputs)
    ranks = tuple(int(r) for r in rng.integers(1, 5, order))
    if kind == "dense":
        return dense_network(prod(inputs), prod(outputs))
    if kind == "tt":
        return tt_network(inputs, outputs, ranks[:-1])
    if kind == "tr":
        return tr_network(inputs, outputs, ranks)
    if kind == "bt":
        return bt_network(inputs, outputs, int(rng.integers(1, 6)), ranks)

    def split(first: int, last: int):
        if first == last:
            return first
        middle = {"balanced": (first + last) // 2, "linear": first}.get(kind, int(rng.integers(first, last)))
        return split(first, middle), split(middle + 1, last)

    of_node = {"".join(map(str, range(a, b))): int(rng.integers(1, 5)) for a in range(1, 9) for b in range(a + 1, 10)}
    return ht_network(inputs, outputs, tree_from(split(1, order), of_node))


def random_stage_list(rng: np.random.Generator, network: TensorNetwork) -> StageList:
    """Factors in any order, in groups of one or two: plans that no planner would choose."""
    names = [str(name) for name in rng.permutation(list(network.factor))]
    groups = []
    while names:
        size = int(rng.integers(1, 3))
        groups.append(tuple(names[:size]))
        names = names[size:]
    return tuple(groups)


def random_bundle(
    rng: np.random.Generator,
    spec: LSTMSpec,
    stage_list: StageList,
    *,
    factor_width: int = 8,
    clips: int = 1,
    steps: int = 3,
    input_format: InputFormat = PIXELS,
) -> Bundle:
    """Random integers for a network.

    Formats are chosen on random data so that every stage fills its range and clips now and then.
    """
    gate, limit = GateFormats(), 1 << factor_width - 1
    data = np.zeros(prod(spec.network.input_shape))
    data[spec.x_positions] = rng.integers(-128, 128, spec.inputs) << 7
    data[spec.h_positions] = rng.integers(-8192, 8192, spec.hidden)
    data, order = data.reshape(spec.network.input_shape), spec.network.inputs
    axis = {index: k for k, index in enumerate(spec.network.size)}
    weights, formats, frac = [], [], gate.hidden.frac
    chain = stages(spec.network, stage_list)
    for stage in chain:
        weight = rng.integers(-limit, limit, spec.network.shape(stage.weight), dtype=np.int32)
        data = np.einsum(
            weight, [axis[i] for i in stage.weight], data, [axis[i] for i in order], [axis[i] for i in stage.result]
        )
        order = stage.result
        last = stage is chain[-1]
        # z spreads over about ±1.5, sometimes over its whole range, other results over half of it.
        spread = rng.choice([1.5, 1.5, 1.5, 5]) * 2**gate.z.frac if last else 2**14
        shift = max(0, round(np.log2(max(data.std(), 1) / spread)))
        data = np.clip(np.floor(data / 2**shift), -(1 << 15), (1 << 15) - 1)
        result = gate.z if last else Fixed(16, frac)
        formats.append(StageFormat(Fixed(factor_width, result.frac + shift - frac), result))
        weights.append(weight)
        frac = result.frac
    head = (
        StageFormat(Fixed(factor_width, factor_width - 1), Fixed(16, int(rng.integers(12, 16))))
        if spec.classes
        else None
    )
    return Bundle(
        spec=spec,
        stage_list=stage_list,
        formats=Formats(
            input_format,
            gate,
            tuple(formats),
            head,
        ),
        weights=tuple(weights),
        bias=rng.integers(-4096, 4096, (4, spec.hidden), dtype=np.int32),
        head_weight=rng.integers(-limit, limit, (spec.classes, spec.hidden), dtype=np.int32) if head else None,
        head_bias=rng.integers(-2048, 2048, spec.classes, dtype=np.int32) if head else None,
        clips=rng.integers(
            input_format.raw.min,
            input_format.raw.max,
            (clips, steps, spec.inputs),
            dtype=np.uint8 if input_format == PIXELS else np.int32,
            endpoint=True,
        ),
        labels=np.full(clips, -1),
        logits=np.zeros((clips, spec.classes), dtype=np.int64),
        hidden=np.zeros((clips, spec.hidden), dtype=np.int64),
    )
