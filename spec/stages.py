"""Stage lists: the order in which factors meet the data tensor, and which are merged beforehand.

A stage absorbs one weight (a few factors, merged offline) into the data tensor:

    result[batch, columns, rows] = sum over reduction of
        weight[batch, rows, reduction] * data[batch, columns, reduction]

The integers a network computes depend on its stage list and formats only, never on a target.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from fdht.spec.errors import SpecError
from fdht.spec.fixed import signed_bits
from fdht.spec.lstm import Chain
from fdht.spec.network import MOST_ENTRIES, TensorNetwork

StageList = tuple[tuple[str, ...], ...]
"""Names of the factors that each stage merges, stage by stage."""

StageLists = tuple[StageList, ...]
"""One per chain of a model (see fdht.spec.lstm.chains)."""


@dataclass(frozen=True)
class Stage:
    """One contraction, by index names.

    Attributes:
        factors: what is merged into the weight.
        rows: indices the weight adds to the data.
        reduction: indices summed over (K).
        columns: indices of the data that the weight does not touch.
        batch: indices in weight, data and result.
    """

    factors: tuple[str, ...]
    rows: tuple[str, ...]
    reduction: tuple[str, ...]
    columns: tuple[str, ...]
    batch: tuple[str, ...]

    @property
    def weight(self) -> tuple[str, ...]:
        """Indices of the merged weight, in storage order."""
        return (*self.batch, *self.rows, *self.reduction)

    @property
    def data(self) -> tuple[str, ...]:
        return (*self.batch, *self.columns, *self.reduction)

    @property
    def result(self) -> tuple[str, ...]:
        return (*self.batch, *self.columns, *self.rows)

    def macs(self, network: TensorNetwork) -> int:
        """Multiplications of the stage on its true modes."""
        return prod(network.shape((*self.weight, *self.columns)))


def absorb(network: TensorNetwork, data: tuple[str, ...], done: frozenset[str], group: tuple[str, ...]) -> Stage:
    """The stage that absorbs `group` into a data tensor with indices `data`, after the factors in `done`."""
    weight = dict.fromkeys(index for name in group for index in network.factor[name].indices)
    needed = set(network.outputs)
    for factor in network.factors:
        if factor.name not in done and factor.name not in group:
            needed.update(factor.indices)
    return Stage(
        factors=tuple(group),
        rows=tuple(index for index in weight if index not in data and index in needed),
        reduction=tuple(index for index in data if index in weight and index not in needed),
        columns=tuple(index for index in data if index not in weight),
        batch=tuple(index for index in data if index in weight and index in needed),
    )


def stages(network: TensorNetwork, stage_list: StageList) -> tuple[Stage, ...]:
    """Resolves a stage list against its network.

    Raises:
        SpecError: a factor missing, named twice or unknown.
    """
    named = sorted(name for group in stage_list for name in group)
    if named != sorted(network.factor):
        raise SpecError(f"the stage list names {named}, the network has {sorted(network.factor)}")
    data, done, result = network.inputs, frozenset[str](), []
    for group in stage_list:
        stage = absorb(network, data, done, group)
        result.append(stage)
        data, done = stage.result, done | set(group)
    return tuple(result)


def check_sizes(network: TensorNetwork, resolved: Sequence[Stage]) -> None:
    """Whether the stages of a file can be carried out: no merged weight and no result is too large to be held.

    Raises:
        SpecError: a merged weight or a result of more than `MOST_ENTRIES` entries.
    """
    for number, stage in enumerate(resolved):
        for what, indices in (("merged weight", stage.weight), ("result", stage.result)):
            entries = prod(network.shape(indices))
            if entries > MOST_ENTRIES:
                raise SpecError(
                    f"the {what} of stage {number} has {entries:,} entries, more than {MOST_ENTRIES:,}; merge fewer "
                    "factors, or choose smaller ranks"
                )


def stages_of(chains: Sequence[Chain], stage_lists: StageLists) -> tuple[tuple[Stage, ...], ...]:
    """Per chain its stages.

    Raises:
        SpecError: too few or too many stage lists, or what `stages` refuses.
    """
    if len(stage_lists) != len(chains):
        raise SpecError(f"{len(stage_lists)} stage lists for {len(chains)} chains; give one per chain")
    return tuple(stages(chain.network, each) for chain, each in zip(chains, stage_lists, strict=True))


def accumulator_bits(weight: np.ndarray, depth: int, data_width: int) -> int:
    """Bits that hold every sum of a stage, whatever its data: the largest row of |weight| times the largest datum.

    Args:
        weight: integers; each `depth` consecutive ones (the reduction, K) meet in one sum.
        data_width: bits of a datum.
    """
    rows = np.abs(weight.astype(np.int64)).reshape(-1, depth).sum(axis=1)
    worst = int(rows.max()) << data_width - 1
    return signed_bits(-worst, worst)


def stage_macs(network: TensorNetwork, stage_list: StageList) -> int:
    """Multiplications per step of a stage list, padding of the target not counted."""
    return sum(stage.macs(network) for stage in stages(network, stage_list))
