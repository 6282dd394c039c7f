"""Models that FDHT is compared with: the same cell, modes and places of the pixels, on networks of other formats.

The papers before FDHT compress what the inputs meet, and leave W_h a matrix: that is `dense` below, with their ranks
(TT-LSTM and BT-LSTM 4, the latter in 2 blocks, TR-LSTM 5). `whole` puts all eight matrices into one network, as FDHT
does, with ranks that come as close as can be to its number of factors.

Modes and places are those of FDHT for all formats: what a mode groups together decides how much of a picture a small
rank can see, and the published modes in the order of the raster would put the others at a disadvantage.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

from fdht.spec.errors import SpecError, no_such
from fdht.spec.lstm import LSTMSpec, Region, dense_lstm
from fdht.spec.network import (
    Factor,
    TensorNetwork,
    bt_network,
    dense_network,
    ht_network,
    ht_tree,
    tr_network,
    tt_network,
)
from fdht.studies.accuracy import FORMATS

BLOCKS = 2

PUBLISHED = {"tt": 4, "tr": 5, "bt": 4}
"""Ranks in the papers (Yang et al. 2017, Pan et al. 2019, Ye et al. 2018)."""

Ranks = int | tuple[int, ...]
Modes = tuple[int, ...]

_MAKE: dict[str, Callable[[Modes, Modes, Ranks], TensorNetwork]] = {
    "tt": tt_network,
    "tr": tr_network,
    "bt": lambda inputs, outputs, ranks: bt_network(inputs, outputs, BLOCKS, ranks),
}


@dataclass(frozen=True)
class Model:
    """A row of the comparison: what it is called, and its specification; a variant of a format is said in few words."""

    format: str
    recurrent: str
    spec: LSTMSpec
    variant: str = ""


def models(spec: LSTMSpec, formats: list[str]) -> list[Model]:
    """FDHT, the dense LSTM, and every other format both ways.

    Args:
        spec: the FDHT-LSTM; all others do its job.
        formats: those that are wanted, of FORMATS; all if empty.

    Raises:
        SpecError: an unknown format, or a specification whose network is no HT or does not hold all eight matrices.
    """
    for name in formats:
        if name not in FORMATS:
            raise no_such("format", name, FORMATS)
    if spec.network.kind != "ht" or spec.recurrent is not None:
        raise SpecError(f"the comparison starts from an FDHT-LSTM, not from a network of kind {spec.network.kind}")
    n, m, factors = spec.network.input_shape, spec.network.output_shape, spec.network.parameters
    every = [Model("dense", "whole", dense_lstm(spec.inputs, spec.hidden, spec.classes))]
    for format, make in _MAKE.items():
        every.append(Model(format, "dense", for_inputs(spec, make(spec.x.shape, m, PUBLISHED[format]))))
    every.append(Model("ht-input", "dense", for_inputs(spec, ht_network(spec.x.shape, m, ht_tree(spec.network)))))
    for format, make in _MAKE.items():
        bonds = len(n) - (format == "tt")
        every.append(Model(format, "whole", replace(spec, network=closest(make, n, m, bonds, factors))))
    every.append(Model("fdht", "whole", spec))
    return [model for model in every if not formats or model.format in formats]


APART = "a core for each mode"


def ring_as_published(spec: LSTMSpec) -> Model:
    """TR-LSTM as Pan et al. (2019) have it: a core for each mode, first those of the inputs, then those of the outputs,
    beside a dense W_h. `tr_network` has a core for each pair.
    """
    n, m, rank = spec.x.shape, spec.network.output_shape, PUBLISHED["tr"]
    modes = {f"n{k}": size for k, size in enumerate(n, 1)} | {f"m{k}": size for k, size in enumerate(m, 1)}
    bonds = {f"r{k}": rank for k in range(1, len(modes) + 1)}
    around = [*[*bonds][-1:], *bonds]
    cores = [Factor(f"G{k}", (around[k - 1], mode, around[k])) for k, mode in enumerate(modes, 1)]
    names = tuple(modes)
    ring = TensorNetwork("tr", names[: len(n)], names[len(n) :], tuple({**modes, **bonds}.items()), tuple(cores))
    return Model("tr", "dense", for_inputs(spec, ring), APART)


def for_inputs(spec: LSTMSpec, network: TensorNetwork) -> LSTMSpec:
    """The same job with a network for the inputs alone, of the shape of their box, and a dense W_h."""
    modes, hidden = len(network.inputs), spec.hidden
    return replace(
        spec,
        network=network,
        x=replace(spec.x, start=(0,) * modes),
        h=Region((0,), (hidden,), (0,), hidden),
        recurrent=dense_network(hidden, spec.network.output_shape),
    )


def closest(
    make: Callable[[Modes, Modes, Ranks], TensorNetwork], inputs: Modes, outputs: Modes, bonds: int, factors: int
) -> TensorNetwork:
    """The network whose ranks differ by one at most and whose number of factors is the nearest to a given one."""
    low = 1
    while make(inputs, outputs, low + 1).parameters <= factors:
        low += 1
    every = (make(inputs, outputs, ranks) for ranks in product((low, low + 1), repeat=bonds))
    return min(every, key=lambda network: abs(network.parameters - factors))
