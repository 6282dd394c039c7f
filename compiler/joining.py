"""Output modes that an engine walks as one index.

Small modes fill words badly: two of size 4 fill half of a word of 8 lanes each. Where one stage brings both, they may
be *joined*: one index of 16, which fills two words. If no other factor has them, nobody tells them apart later: the
gate unit finds the units of a gate in the joined mode, too. Only addresses change, and the order of factor and bias
words; integers do not.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from math import ceil, prod
from typing import Any, Self

from fdht.spec.lstm import LSTMSpec, Region
from fdht.spec.network import TensorNetwork
from fdht.spec.stages import Stage
from fdht.spec.target import Target

Joins = Mapping[str, tuple[str, ...]]
"""Modes that are, or may be, joined: the name of the joined mode, and those it is made of, the slowest first."""


class NetworkView(TensorNetwork):
    """A network as an engine walks it: with modes that no factor has. It has been checked as it is."""

    def __post_init__(self):
        pass

    @classmethod
    def of(cls, network: TensorNetwork, **changes: Any) -> Self:
        return cls(**_fields(network) | changes)


class LayerView(LSTMSpec):
    """A layer on such a network."""

    def __post_init__(self):
        pass

    @classmethod
    def of(cls, spec: LSTMSpec, **changes: Any) -> Self:
        return cls(**_fields(spec) | changes)


def _fields(of: TensorNetwork | LSTMSpec) -> dict[str, Any]:
    return {field.name: getattr(of, field.name) for field in fields(of)}


def possible_joins(spec: LSTMSpec, target: Target) -> Joins:
    """Neighbouring output modes of a layer that may be joined, and fill fewer words so than if one of them alone lay in
    the lanes. Layers with a hidden-to-hidden matrix of its own have none: both their networks bring the output modes.
    """
    network, found = spec.network, dict[str, tuple[str, ...]]()
    if spec.recurrent is not None:
        return found
    factors_with = Counter(index for factor in network.factors for index in factor.indices)
    for first in range(len(network.outputs)):
        for end in range(first + 2, len(network.outputs) + 1):
            modes = network.outputs[first:end]
            if any(factors_with[mode] != 1 for mode in modes):  # of streams none; of two, the second is a later stage's
                continue
            sizes = network.shape(modes)
            alone = min(ceil(size / target.columns) * (prod(sizes) // size) for size in sizes)
            if ceil(prod(sizes) / target.columns) < alone and all(
                _joined_region(gate, first, sizes) is not None for gate in spec.gates
            ):
                found["·".join(modes)] = modes
    return found


def named(lanes: Collection[str | None], joins: Joins) -> Joins:
    """Those joins that are the lane index somewhere."""
    return {name: modes for name, modes in joins.items() if name in lanes}


def with_joins(network: TensorNetwork, joins: Joins) -> TensorNetwork:
    """A network that knows the sizes of joined modes."""
    if not joins:
        return network
    sizes = ((name, prod(network.shape(modes))) for name, modes in joins.items())
    return NetworkView.of(network, sizes=(*network.sizes, *sizes))


def joined_stage(stage: Stage, joins: Joins) -> Stage:
    """A stage whose rows or columns hold joined modes. Modes that it does not have side by side stay as they are."""
    rows, columns = stage.rows, stage.columns
    for name, modes in joins.items():
        rows, columns = _joined(rows, name, modes), _joined(columns, name, modes)
    return replace(stage, rows=rows, columns=columns)


def joined_layer(spec: LSTMSpec, joins: Joins) -> LSTMSpec:
    """A layer whose result has joined modes."""
    for name, modes in joins.items():
        network, first = spec.network, spec.network.outputs.index(modes[0])
        gates = [_joined_region(gate, first, network.shape(modes)) for gate in spec.gates]
        i, f, g, o = (gate for gate in gates if gate is not None)
        network = with_joins(network, {name: modes})
        network = replace(network, outputs=_joined(network.outputs, name, modes))
        spec = LayerView.of(spec, network=network, gates=(i, f, g, o))
    return spec


def _joined(indices: tuple[str, ...], name: str, modes: tuple[str, ...]) -> tuple[str, ...]:
    """Indices with a joined mode in place of those it is made of, where they follow each other."""
    for k in range(len(indices) - len(modes) + 1):
        if indices[k : k + len(modes)] == modes:
            return (*indices[:k], name, *indices[k + len(modes) :])
    return indices


def _joined_region(region: Region, first: int, sizes: Sequence[int]) -> Region | None:
    """A region where modes of some sizes, from `first` on, are one; None if it is no box then, or its order is none."""
    joined: Region | None = region
    for size in sizes[1:]:
        joined = joined and _of_two(joined, first, size)
    return joined


def _of_two(region: Region, k: int, size: int) -> Region | None:
    """A region where mode k and the next one, of a size, are one."""
    slow, fast = region.shape[k : k + 2]
    if slow > 1 and fast < size:  # it would have gaps
        return None
    parts = [(mode, count) for mode, count in region.parts if mode not in (k, k + 1) or count > 1]
    order = [mode for mode, _ in parts if mode in (k, k + 1)]
    if order != sorted(order):  # the upper part of the joined mode would not come first
        return None
    parts = parts if order else [*parts, (k, 1)]  # every mode is named
    merged = list[tuple[int, int]]()
    for mode, count in ((mode - (mode > k), count) for mode, count in parts):
        if merged and merged[-1][0] == mode == k:
            count *= merged.pop()[1]
        merged.append((mode, count))
    start = region.start[k] * size + region.start[k + 1]
    return Region(
        (*region.start[:k], start, *region.start[k + 2 :]),
        (*region.shape[:k], slow * fast, *region.shape[k + 2 :]),
        tuple(mode for mode, _ in merged),
        region.count,
        tuple(count for _, count in merged),
    )
