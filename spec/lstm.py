"""LSTM layers on tensor networks: shapes, and where x, h and the gates live in the tensors."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod
from typing import ClassVar

import numpy as np

from fdht.spec.cards import card, lstm_facts, lstm_parts
from fdht.spec.errors import SpecError
from fdht.spec.network import MOST_INDICES, TensorNetwork, balanced_tree, dense_network, ht_network
from fdht.spec.record import Checked, JsonRecord
from fdht.spec.task import Task

GATES = ("i", "f", "g", "o")
"""The gates in the order of torch.nn.LSTM."""

LONGEST_VECTOR, MOST_HIDDEN = 1 << 24, 1 << 20
"""Most entries of x and most hidden units: what the registers of an engine count, and more than any engine has."""

MOST_LAYERS = 64
"""Most layers of a stack."""

SPARE, SPARE_TIMES = 1 << 16, 16
"""A data tensor has at most SPARE entries more than SPARE_TIMES as many as are placed in it."""

MOST_PARAMETERS = 1 << 28
"""Most stored numbers of a layer: 1 GB as they are trained."""

MOST_CLASSES = (1 << 16) - 1
"""Most classes, or outputs, of a head: their number is a 16-bit word of the engine."""


@dataclass(frozen=True)
class Region(Checked):
    """A box inside a tensor, and the order in which a vector fills it.

    Entry j of the vector is the j-th point of the box when mode `order[0]` runs slowest and `order[-1]`
    fastest; only the first `count` points are used. A mode may be split: it is then named once per part, the upper part
    first, and `sizes` says how large each part is. So a mode can number the places (row, column) inside the fields of a
    picture while another one numbers the fields: `order=(1, 0, 2, 0)`, `sizes=(rows of fields, 15, columns, 6)`.

    Attributes:
        start, shape: the box, per mode.
        order: positions of the modes, slowest first.
        count: length of the vector.
        sizes: iterations of each entry of `order`; those of `shape` when left out.
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]
    order: tuple[int, ...]
    count: int
    sizes: tuple[int, ...] = ()

    def __post_init__(self):
        modes = range(len(self.shape))
        if len(self.shape) > MOST_INDICES or len(self.order) > MOST_INDICES:
            raise SpecError(
                f"a box of {len(self.shape)} modes in {len(self.order)} parts; at most {MOST_INDICES} are filled"
            )
        if len(self.start) != len(self.shape) or set(self.order) != set(modes):
            raise SpecError(f"region {self.start}+{self.shape} in order {self.order}: one entry per mode is needed")
        if len(self.sizes) not in (0, len(self.order)) or any(size < 1 for size in self.sizes):
            raise SpecError(
                f"region {self.start}+{self.shape}: {self.order} needs a size from 1 for each, not {self.sizes}"
            )
        parts = [prod(size for mode, size in self.parts if mode == k) for k in modes]
        if (*parts,) != self.shape:
            raise SpecError(f"region {self.start}+{self.shape}: {self.order} of {self.sizes} do not make up its modes")
        if self.count > LONGEST_VECTOR:
            raise SpecError(f"a vector of {self.count:,} entries; at most {LONGEST_VECTOR:,} are counted")
        if not modes or min(self.start) < 0 or min(self.shape) < 1 or not 1 <= self.count <= prod(self.shape):
            raise SpecError(f"a box of {self.shape} at {self.start} cannot hold {self.count} entries")

    @property
    def parts(self) -> tuple[tuple[int, int], ...]:
        """Mode and size of each entry of `order`."""
        return tuple(zip(self.order, self.sizes or [self.shape[mode] for mode in self.order], strict=True))

    @property
    def strides(self) -> tuple[int, ...]:
        """How far each entry of `order` moves within its mode: the product of the sizes of the mode's later parts."""
        return tuple(
            prod(size for other, size in self.parts[position + 1 :] if other == mode)
            for position, (mode, _) in enumerate(self.parts)
        )

    def coordinates(self) -> np.ndarray:
        """Mode coordinates of the vector's entries: count × d."""
        columns = [self._walk([int(mode == k) for k in range(len(self.shape))]) for mode in range(len(self.shape))]
        return np.stack(columns, axis=1)

    def flat(self, shape: tuple[int, ...]) -> np.ndarray:
        """C-order positions of the vector's entries in a tensor of `shape`."""
        if len(shape) != len(self.shape) or any(
            a + b > c for a, b, c in zip(self.start, self.shape, shape, strict=True)
        ):
            raise SpecError(f"a box of {self.shape} at {self.start} leaves the tensor of {shape}")
        return self._walk([prod(shape[mode + 1 :]) for mode in range(len(shape))])

    def _walk(self, weights: Sequence[int]) -> np.ndarray:
        """For each entry of the vector, the sum over all modes of coordinate × weight."""
        result = np.array([sum(first * weight for first, weight in zip(self.start, weights, strict=True))])
        for position, ((mode, size), stride) in enumerate(zip(self.parts, self.strides, strict=True)):
            faster = prod(later for _, later in self.parts[position + 1 :])
            wanted = -(-self.count // faster)  # no more than are used
            result = (result[:, None] + np.arange(min(size, wanted)) * (stride * weights[mode])).ravel()[:wanted]
        return result


@dataclass(frozen=True)
class Chain:
    """A tensor network of a layer and what it is contracted with, stage after stage.

    Attributes:
        layer: number of the layer.
        network: the weight.
        x, h: where the layer's inputs and previous hidden state are placed in the data tensor; None for what another
            chain of the layer takes.
    """

    layer: int
    network: TensorNetwork
    x: Region | None
    h: Region | None


@dataclass(frozen=True)
class LSTMSpec(JsonRecord):
    """One LSTM layer on tensor networks, and its classifier head.

    The mega weight W (4H × (N+H)) is one network. Or, with `recurrent`, `network` is W_x (4H × N) and `recurrent` is
    W_h (4H × H): compressed inputs beside a hidden-to-hidden matrix of its own, as most papers before FDHT had it.

    Attributes:
        inputs: N, entries of x per step.
        hidden: H, hidden units.
        classes: outputs of the dense head on h: classes, or real numbers; 0 for no head.
        network: the weight of x and h, or of x alone.
        x, h: where the inputs and the previous hidden state are placed in their data tensor; the rest is zero.
        gates: where the units of gates i, f, g, o are found in the result; equal boxes.
        recurrent: the weight of h alone; its output modes are those of `network`.
        task: what the head's outputs mean, and whether there are some after every step; CLASSIFY without a head.

    Raises:
        SpecError: regions that overlap, leave their tensor or differ between gates, output modes that differ.
    """

    KIND: ClassVar[str] = "an LSTM specification"

    inputs: int
    hidden: int
    classes: int
    network: TensorNetwork
    x: Region
    h: Region
    gates: tuple[Region, Region, Region, Region]
    recurrent: TensorNetwork | None = None
    task: Task = Task.CLASSIFY

    def __post_init__(self):
        if self.x.count != self.inputs or self.h.count != self.hidden:
            raise SpecError(
                f"placements hold {self.x.count} and {self.h.count} entries, not {self.inputs} and {self.hidden}"
            )
        if not 0 <= self.classes <= MOST_CLASSES:
            raise SpecError(f"{self.classes} classes; a head has 1 to {MOST_CLASSES:,}, 0 means no head")
        if self.task is not Task.CLASSIFY and not self.classes:
            raise SpecError(
                f"a layer without a head for the task {self.task}; give it as many classes as it has outputs"
            )
        stored = sum(self.parameters.values())
        if stored > MOST_PARAMETERS:
            raise SpecError(
                f"a layer of {stored:,} numbers; at most {MOST_PARAMETERS:,} are stored, choose smaller modes or ranks"
            )
        if self.recurrent is not None and (self.recurrent.outputs, self.recurrent.output_shape) != (
            self.network.outputs,
            self.network.output_shape,
        ):
            raise SpecError(
                f"the recurrent network has output modes {self.recurrent.output_shape}, the other one "
                f"{self.network.output_shape}; give both the same"
            )
        if self.hidden > MOST_HIDDEN:
            raise SpecError(f"{self.hidden:,} hidden units; a layer has at most {MOST_HIDDEN:,}")
        if self.recurrent is None:
            placed = [("x and h", self.network.input_shape, [self.x, self.h])]
        else:
            placed = [("x", self.network.input_shape, [self.x]), ("h", self.recurrent.input_shape, [self.h])]
        for name, shape, regions in (*placed, ("gates", self.network.output_shape, list(self.gates))):
            entries, count = prod(shape), sum(region.count for region in regions)
            if entries > SPARE + SPARE_TIMES * count:
                raise SpecError(f"modes {shape} hold {entries:,} entries for {count:,} of {name}; choose smaller ones")
            filled = np.zeros(entries, dtype=bool)
            for region in regions:
                filled[region.flat(shape)] = True
            if np.count_nonzero(filled) != count:
                raise SpecError(f"the placements of {name} overlap")
        first = self.gates[0]
        if any((g.shape, g.parts, g.count) != (first.shape, first.parts, self.hidden) for g in self.gates):
            raise SpecError(
                "the four gates need boxes of one shape, filled in one order, with one entry per hidden unit"
            )

    @property
    def x_positions(self) -> np.ndarray:
        return self.x.flat(self.network.input_shape)

    @property
    def h_positions(self) -> np.ndarray:
        return self.h.flat((self.recurrent or self.network).input_shape)

    @property
    def z_positions(self) -> np.ndarray:
        """C-order positions in the result of z[gate, unit], flattened gate-major: 4H entries."""
        return np.concatenate([gate.flat(self.network.output_shape) for gate in self.gates])

    @property
    def parameters(self) -> dict[str, int]:
        """Stored numbers, never added together without saying so: `factors`, `recurrent` (if it has a network of its
        own), `bias`, `head`.
        """
        return {
            "factors": self.network.parameters,
            **({"recurrent": self.recurrent.parameters} if self.recurrent else {}),
            "bias": 4 * self.hidden,
            "head": (self.hidden + 1) * self.classes,
        }

    def _repr_html_(self) -> str:
        return card("LSTMSpec", lstm_facts([self]) | {"outputs": self.classes, "task": self.task}, *lstm_parts(self))


def place_data(shape: tuple[int, ...], inputs: int, hidden: int) -> tuple[Region, Region]:
    """Places x and h in a data tensor: h gets the last indices of one mode, the first if both then fit.

    As further indices of a mode that is contracted early, h joins the accumulators of x at little cost.
    """
    if prod(shape) < inputs + hidden:
        raise SpecError(
            f"input modes {shape} hold {prod(shape)} entries, fewer than {inputs} inputs + {hidden} hidden units; "
            "enlarge a mode"
        )
    order = tuple(range(len(shape)))
    for mode in sorted(order, key=lambda k: (k != 0, -shape[k])):
        rest = prod(shape) // shape[mode]
        for_h = -(-hidden // rest)
        if (shape[mode] - for_h) * rest >= inputs:
            box = list(shape)
            box[mode] -= for_h
            x = Region((0,) * len(shape), tuple(box), order, inputs)
            box[mode], start = for_h, [0] * len(shape)
            start[mode] = shape[mode] - for_h
            return x, Region(tuple(start), tuple(box), order, hidden)
    raise SpecError(
        f"input modes {shape} cannot hold {inputs} inputs and {hidden} hidden units in separate boxes; "
        "enlarge one mode until (mode - k) x others >= inputs and k x others >= hidden for some k"
    )


def place_gates(shape: tuple[int, ...], hidden: int) -> tuple[Region, Region, Region, Region]:
    """Places the four gates as equal boxes: quarters of one mode, or halves of two; the earliest modes that do."""
    order = tuple(range(len(shape)))
    candidates = [(4, (mode,)) for mode in order] + [(2, pair) for pair in combinations(order, 2)]
    for parts, modes in sorted(candidates, key=lambda candidate: (max(candidate[1]), candidate)):
        if any(shape[mode] % parts for mode in modes):
            continue
        box = tuple(m // parts if k in modes else m for k, m in enumerate(shape))
        if prod(box) < hidden:
            continue
        starts = []
        for gate in range(4):
            digits = (gate,) if parts == 4 else (gate >> 1, gate & 1)
            starts.append(tuple(digits[modes.index(k)] * box[k] if k in modes else 0 for k in order))
        i, f, g, o = (Region(start, box, order, hidden) for start in starts)
        return i, f, g, o
    raise SpecError(
        f"output modes {shape} hold no four equal boxes of {hidden} units; make one mode a multiple of 4, or two "
        f"even, with a product of at least {4 * hidden}"
    )


def fdht_lstm(
    inputs: int,
    hidden: int,
    classes: int,
    input_modes: tuple[int, ...],
    output_modes: tuple[int, ...],
    rank: int | dict[str, int],
) -> LSTMSpec:
    """An FDHT-LSTM: one balanced hierarchical-Tucker tensor for all eight matrices of the LSTM.

    Args:
        inputs, hidden: N and H.
        classes: outputs of the head, 0 for none.
        input_modes: n_1..n_d with product >= N+H.
        output_modes: m_1..m_d with product >= 4H.
        rank: one rank, or one per tree node (`{"1": 4, "12": 8, ...}`).
    """
    network = ht_network(input_modes, output_modes, balanced_tree(len(input_modes), rank))
    return lstm_on(network, inputs, hidden, classes)


def dense_lstm(inputs: int, hidden: int, classes: int) -> LSTMSpec:
    """An ordinary LSTM: a tree with one leaf, its rows numbered by gate and unit."""
    check_sizes(inputs, hidden)
    return lstm_on(dense_network(inputs + hidden, (4, hidden)), inputs, hidden, classes)


def lstm_on(
    network: TensorNetwork, inputs: int, hidden: int, classes: int, recurrent: TensorNetwork | None = None
) -> LSTMSpec:
    """An LSTM on a given network, with the default placements.

    One call for any kind of weight, as in `lstm_on(tt_network((31, 24, 10, 8), (2, 2, 16, 16), 8), 57600, 256, 11)`;
    the network's constructor says tree, train, ring or blocks, and its modes hold N+H and 4H. With a `recurrent`
    network, as `dense_network(256, (2, 2, 16, 16))`, they hold N and 4H, and those of `recurrent` H and 4H.
    """
    check_sizes(inputs, hidden)
    if recurrent is None:
        x, h = place_data(network.input_shape, inputs, hidden)
    else:
        x, h = _place_alone(network.input_shape, inputs), _place_alone(recurrent.input_shape, hidden)
    return LSTMSpec(inputs, hidden, classes, network, x, h, place_gates(network.output_shape, hidden), recurrent)


def _place_alone(shape: tuple[int, ...], count: int) -> Region:
    if prod(shape) < count:
        raise SpecError(f"input modes {shape} hold {prod(shape)} entries, fewer than {count}; enlarge a mode")
    order = tuple(range(len(shape)))
    return Region((0,) * len(shape), shape, order, count)


def stack(layers: LSTMSpec | Iterable[LSTMSpec]) -> tuple[LSTMSpec, ...]:
    """Layers on top of each other, the lowest first; one alone is a stack too.

    Raises:
        SpecError: none, sizes that do not follow each other, or a head that is not on the last layer.
    """
    specs = (layers,) if isinstance(layers, LSTMSpec) else tuple(layers)
    if not 1 <= len(specs) <= MOST_LAYERS:
        raise SpecError(
            f"a stack of {len(specs)} layers; it needs at least one specification and at most {MOST_LAYERS}"
        )
    for number, spec in enumerate(specs):
        wanted = spec.inputs if number == 0 else specs[0].hidden
        if (spec.inputs, spec.hidden) != (wanted, specs[0].hidden):
            raise SpecError(
                f"layer {number} has {spec.inputs} inputs and {spec.hidden} hidden units; on top of layers with "
                f"{specs[0].hidden} hidden units it needs {wanted} and {specs[0].hidden}"
            )
        if spec.classes and spec is not specs[-1]:
            raise SpecError(f"layer {number} has a head of {spec.classes} classes; only the last layer may have one")
    return specs


def chains(layers: Iterable[LSTMSpec]) -> tuple[Chain, ...]:
    """All chains of a stack in the order they are carried out: layer by layer, x before h."""
    result = []
    for number, spec in enumerate(layers):
        if spec.recurrent is None:
            result.append(Chain(number, spec.network, spec.x, spec.h))
        else:
            result += [Chain(number, spec.network, spec.x, None), Chain(number, spec.recurrent, None, spec.h)]
    return tuple(result)


def check_sizes(inputs: int, hidden: int) -> None:
    if inputs < 1 or hidden < 1:
        raise SpecError(f"{inputs} inputs and {hidden} hidden units; an LSTM needs at least one of each")
