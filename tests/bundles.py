"""Random bundles: small networks of every shape, with random integers in formats as quantisation would choose."""

from contextlib import suppress
from dataclasses import replace
from math import prod

import numpy as np

from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.machine import decode
from fdht.compiler.mapping import map_step
from fdht.compiler.resolved import resolve
from fdht.compiler.tiling import tilings
from fdht.spec.bundle import Bundle
from fdht.spec.errors import CapacityError, SpecError
from fdht.spec.fixed import Fixed
from fdht.spec.formats import PIXELS, Formats, GateFormats, InputFormat, StageFormat
from fdht.spec.instructions import Segment, array_instruction
from fdht.spec.lstm import Chain, LSTMSpec, Region, chains, fdht_lstm, lstm_on, stack
from fdht.spec.network import TensorNetwork, bt_network, dense_network, ht_network, tr_network, tree_from, tt_network
from fdht.spec.stages import StageList, StageLists, stages
from fdht.spec.target import Target
from fdht.spec.task import Task

RECURRENT = ("tt + dense", "balanced + dense", "dense + balanced", "tree + tree")
"""Kinds of the input-to-hidden and of a separate hidden-to-hidden network."""

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
            spec = lstm_on(random_network(rng, kind, inputs, outputs), size, hidden, int(rng.integers(0, 6)))
        except SpecError:
            continue
        chance = rng.random()
        if chance < 0.5:
            spec = replace(spec, x=random_order(rng, spec.x))
            if chance < 0.4:  # h in the same order of modes, so that both can be cut
                order = tuple(dict.fromkeys(spec.x.order))
                spec = replace(spec, h=replace(spec.h, order=order, sizes=()))
        return spec


def banded_spec() -> LSTMSpec:
    """A small LSTM whose step is worth cutting along mode 2: x comes band by band, h is in the last one."""
    spec = fdht_lstm(288, 4, 0, (13, 24), (2, 8), 1)
    return replace(spec, x=replace(spec.x, order=(1, 0)), h=Region((12, 20), (1, 4), (1, 0), 4))


def paper_spec() -> LSTMSpec:
    """A network of the size of the published ones, bands of the picture in mode 3, h in the last ones."""
    ranks = {"1": 16, "2": 4, "3": 8, "4": 4, "12": 8, "34": 8}
    spec = fdht_lstm(57600, 256, 11, (61, 15, 8, 8), (1, 2, 16, 32), ranks)
    order = (2, 1, 3, 0)
    return replace(spec, x=replace(spec.x, order=order), h=Region((60, 0, 5, 0), (1, 15, 3, 8), order, 256))


def random_order(rng: np.random.Generator, region: Region) -> Region:
    """The same box filled in another order, its first mode that can be split in two parts."""
    parts = []
    for mode, size in enumerate(region.shape):
        part = next((k for k in range(2, size) if size % k == 0 and len(parts) == mode), 1)
        parts += [(mode, size // part), (mode, part)] if part > 1 else [(mode, size)]
    chosen = [parts[k] for k in rng.permutation(len(parts))]
    return replace(region, order=tuple(mode for mode, _ in chosen), sizes=tuple(size for _, size in chosen))


MODELS = (*KINDS, *RECURRENT, "2 layers", "3 layers")
"""Layers of one network of every kind, of two networks, and stacks."""


def random_layers(
    rng: np.random.Generator, kind: str = "balanced", orders: tuple[int, int] = (2, 4)
) -> tuple[LSTMSpec, ...]:
    """A small model of a kind of MODELS; `orders` are the fewest and most modes of a single network."""
    if kind in RECURRENT:
        return (random_recurrent_spec(rng, kind),)
    if kind.endswith("layers"):
        return random_stack(rng, int(kind.split()[0]))
    return (random_spec(rng, kind, orders),)


def with_task(
    rng: np.random.Generator, layers: LSTMSpec | tuple[LSTMSpec, ...], task: Task, outputs: int = 9
) -> tuple[LSTMSpec, ...]:
    """The same layers for a task, with a head of up to so many outputs if they have none."""
    (*lower, last) = stack(layers)
    return (*lower, replace(last, task=task, classes=last.classes or int(rng.integers(1, outputs + 1))))


def random_recurrent_spec(rng: np.random.Generator, kinds: str, orders: tuple[int, int] = (2, 3)) -> LSTMSpec:
    """A small LSTM with a hidden-to-hidden network of its own; `kinds` as in RECURRENT."""
    of_x, of_h = kinds.split(" + ")
    while True:
        order = 1 if "dense" in (of_x, of_h) and of_x == "dense" else int(rng.integers(orders[0], orders[1] + 1))
        outputs = tuple(int(m) for m in rng.integers(1, 9 if order > 1 else 60, order))
        hidden = max(1, prod(outputs) // 4 - int(rng.integers(0, 3)))
        inputs = tuple(int(n) for n in rng.integers(1, 9, order))
        if not 2 <= hidden <= 24 or prod(inputs) > 200:
            continue
        root = tuple(int(np.ceil(hidden ** (1 / order))) for _ in range(order))
        recurrent = dense_network(hidden, outputs) if of_h == "dense" else random_network(rng, of_h, root, outputs)
        network = (
            dense_network(prod(inputs), outputs) if of_x == "dense" else random_network(rng, of_x, inputs, outputs)
        )
        try:
            return lstm_on(network, prod(inputs), hidden, int(rng.integers(0, 6)), recurrent)
        except SpecError:
            continue


def random_stack(rng: np.random.Generator, layers: int) -> tuple[LSTMSpec, ...]:
    """Layers of any kind on top of each other."""
    spec = random_spec(rng, "balanced", (2, 3))
    while spec.hidden > 16:
        spec = random_spec(rng, "balanced", (2, 3))
    result = [replace(spec, classes=0)]
    hidden = result[0].hidden
    while len(result) < layers:
        kind = str(rng.choice(KINDS))
        order = 1 if kind == "dense" else int(rng.integers(2, 4))
        outputs = (2, *(1 for _ in range(order - 2)), 2 * hidden) if order > 1 else (4 * hidden,)
        inputs = (
            (int(rng.integers(2, 5)), *(int(n) for n in rng.integers(1, 7, order - 1))) if order > 1 else (2 * hidden,)
        )
        classes = int(rng.integers(0, 6)) if len(result) + 1 == layers else 0
        try:
            result.append(lstm_on(random_network(rng, kind, inputs, outputs), hidden, hidden, classes))
        except SpecError:
            continue
    return tuple(result)


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
        return tr_network(inputs, outputs, (*ranks[:-1], 1 + ranks[-1]))  # a ring that is closed
    if kind == "bt":
        return bt_network(inputs, outputs, int(rng.integers(2, 6)), ranks)

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


def louder(image: Image) -> Image:
    """The image with stages that shift their sums by less than they should, so that some clip."""
    record = array_instruction(image.target)
    program = decode(image.segments[Segment.ARRAY_PROGRAM], record)
    loud = [record.encode(each | {"shift": max(each["shift"] - 2, 0)}) for each in program]
    words = np.array([word for each in loud for word in each], dtype=object)
    return replace(image, segments={**image.segments, Segment.ARRAY_PROGRAM: words})


def random_bundle(
    rng: np.random.Generator,
    layers: LSTMSpec | tuple[LSTMSpec, ...],
    stage_lists: StageLists,
    *,
    factor_width: int = 8,
    clips: int = 1,
    steps: int = 3,
    input_format: InputFormat = PIXELS,
) -> Bundle:
    """Random integers for a network, or for layers of them.

    Formats are chosen on random data so that every stage fills its range and clips now and then.
    """
    layers = stack(layers)
    spec, gate, limit = layers[-1], GateFormats(), 1 << factor_width - 1
    parts = [
        _random_chain(rng, chain, stage_list, factor_width)
        for chain, stage_list in zip(chains(layers), stage_lists, strict=True)
    ]
    head = (
        StageFormat(Fixed(factor_width, factor_width - 1), Fixed(16, int(rng.integers(12, 16))))
        if spec.classes
        else None
    )
    return Bundle(
        layers=layers,
        stage_lists=stage_lists,
        formats=Formats(input_format, gate, tuple(formats for _, formats in parts), head),
        weights=tuple(weights for weights, _ in parts),
        biases=tuple(rng.integers(-4096, 4096, (4, each.hidden), dtype=np.int32) for each in layers),
        head_weight=rng.integers(-limit, limit, (spec.classes, spec.hidden), dtype=np.int32) if head else None,
        head_bias=rng.integers(-2048, 2048, spec.classes, dtype=np.int32) if head else None,
        clips=rng.integers(
            input_format.raw.min,
            input_format.raw.max,
            (clips, steps, layers[0].inputs),
            dtype=np.uint8 if input_format == PIXELS else np.int32,
            endpoint=True,
        ),
        labels=np.full((clips, *spec.task.truth_shape(steps, spec.classes)), np.nan if spec.task.real else -1),
        logits=np.zeros((clips, *spec.task.shape(steps, spec.classes)), dtype=np.int64),
        hidden=np.zeros((clips, spec.hidden), dtype=np.int64),
    )


def random_image(rng: np.random.Generator, bundle: Bundle, target: Target) -> Image:
    """An image of a bundle, cut into tiles at random if it can be.

    Raises:
        CapacityError: it does not fit.
    """
    resolved = resolve(bundle.layers, bundle.stage_lists, target)
    ways = list(tilings(resolved.chains[0], resolved.stages[0], resolved.lanes[0], slots=(1, 2)))
    drawn = [ways[k] for k in rng.permutation(len(ways))]
    if rng.integers(2):  # places that are taken in turn are few among them
        drawn.sort(key=lambda way: not 1 < way.slots < way.count(resolved.chains[0].network))
    for way in drawn[:3]:
        with suppress(CapacityError):
            step = map_step(resolved, way)
            return compile_bundle(bundle, target, step=step)
    return compile_bundle(bundle, target)


def _random_chain(
    rng: np.random.Generator, chain: Chain, stage_list: StageList, factor_width: int
) -> tuple[tuple[np.ndarray, ...], tuple[StageFormat, ...]]:
    """Random weights of a chain, and their formats."""
    network, gate, limit = chain.network, GateFormats(), 1 << factor_width - 1
    data = np.zeros(prod(network.input_shape))
    if chain.x is not None:
        x = rng.integers(-8192, 8192, chain.x.count) if chain.layer else rng.integers(-128, 128, chain.x.count) << 7
        data[chain.x.flat(network.input_shape)] = x
    if chain.h is not None:
        data[chain.h.flat(network.input_shape)] = rng.integers(-8192, 8192, chain.h.count)
    data, order = data.reshape(network.input_shape), network.inputs
    axis = {index: k for k, index in enumerate(network.size)}
    weights, formats, frac = [], [], gate.hidden.frac
    every = stages(network, stage_list)
    for stage in every:
        weight = rng.integers(-limit, limit, network.shape(stage.weight), dtype=np.int32)
        data = np.einsum(
            weight, [axis[i] for i in stage.weight], data, [axis[i] for i in order], [axis[i] for i in stage.result]
        )
        order = stage.result
        last = stage is every[-1]
        # z spreads over about ±1.5, sometimes over its whole range, other results over half of it.
        spread = rng.choice([1.5, 1.5, 1.5, 5]) * 2**gate.z.frac if last else 2**14
        shift = max(0, round(np.log2(max(data.std(), 1) / spread)))
        data = np.clip(np.floor(data / 2**shift), -(1 << 15), (1 << 15) - 1)
        result = gate.z if last else Fixed(16, frac)
        formats.append(StageFormat(Fixed(factor_width, result.frac + shift - frac), result))
        weights.append(weight)
        frac = result.frac
    return tuple(weights), tuple(formats)
