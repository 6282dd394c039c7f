"""How many multiplications a step needs: those of a stage list, and the fewest of any.

Counted are useful ones: on the entries of the data tensor that x and h fill (the rest is zero for ever) and on true
modes, without what a target pads. Merging weights is done once, offline, and costs nothing.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import count
from math import prod

import numpy as np

from fdht.spec.errors import SpecError
from fdht.spec.lstm import Chain, LSTMSpec, chains, stack
from fdht.spec.network import TensorNetwork
from fdht.spec.stages import Stage, StageList, StageLists, absorb, stages_of

MOST_GROUPS = 3000
"""Most sets of connected factors that are looked at; a balanced dimension tree of 9 modes has 1,571."""

MOST_STATES = 20_000
"""Most sets of absorbed factors (and lanes) that a search goes through; that tree has 11,124."""


def connected_groups(network: TensorNetwork, limit: int) -> list[tuple[str, ...]]:
    """Sets of at most `limit` factors that hang together by shared indices, smaller ones first.

    Raises:
        SpecError: more than `MOST_GROUPS`, so that orders of contraction cannot be compared in reasonable time.
    """
    indices = {name: set(factor.indices) for name, factor in network.factor.items()}
    position = {name: k for k, name in enumerate(network.factor)}
    groups = [{frozenset((name,)) for name in indices}]  # by size
    while len(groups) < limit:
        larger = {
            group | {name}
            for group in groups[-1]
            for name in indices
            if name not in group and any(indices[name] & indices[other] for other in group)
        }
        groups.append(larger)
        if sum(map(len, groups)) > MOST_GROUPS:
            raise SpecError(
                f"the {len(indices)} factors of the network hang together in more than {MOST_GROUPS:,} ways; let fewer "
                "of them share an index"
            )
    ordered = [sorted(sorted(position[name] for name in group) for group in of_size) for of_size in groups]
    names = list(network.factor)
    return [tuple(names[k] for k in group) for of_size in ordered for group in of_size]


def check_states(states: int, factors: int) -> None:
    """Whether a search over orders of contraction may go on.

    Raises:
        SpecError: it has gone through more than `MOST_STATES`.
    """
    if states > MOST_STATES:
        raise SpecError(
            f"the {factors} factors of the network can be contracted in more orders than are compared "
            f"({MOST_STATES:,} states); let fewer of them share an index"
        )


class Absorptions:
    """The stages of a network that may follow a set of absorbed factors, each worked out once.

    Args:
        limit: factors merged into one weight at most.
    """

    def __init__(self, network: TensorNetwork, limit: int):
        self.network = network
        self._groups = connected_groups(network, limit)
        self._data = {frozenset[str](): network.inputs}
        self._stages: dict[frozenset[str], list[Stage]] = {}

    def after(self, done: frozenset[str]) -> list[Stage]:
        """The stages after a set that has been reached by others of this object's."""
        if done not in self._stages:
            network = self.network
            found = [absorb(network, self._data[done], done, g) for g in self._groups if done.isdisjoint(g)]
            # What neither sums nor shares an index with the data only makes it larger.
            found = [stage for stage in found if stage.reduction or stage.batch or len(network.factors) == 1]
            for stage in found:
                self._data.setdefault(done | set(stage.factors), stage.result)
            self._stages[done] = found
        return self._stages[done]


class Occupancy:
    """Which entries of a chain's data tensor ever differ from zero, before and after its contractions."""

    def __init__(self, chain: Chain):
        self._network = chain.network
        filled = np.zeros(chain.network.input_shape, dtype=bool)
        for region in (chain.x, chain.h):
            if region is not None:
                filled.reshape(-1)[region.flat(filled.shape)] = True
        self._filled = {chain.network.inputs: filled}
        self._counts: dict[tuple[str, ...], int] = {}

    def entries(self, indices: Sequence[str]) -> int:
        """How many entries of a data tensor with these indices are not zero for ever."""
        inputs = self._network.inputs
        left = tuple(index for index in inputs if index in indices)
        if left not in self._counts:
            axes = tuple(k for k, index in enumerate(inputs) if index not in left)
            self._counts[left] = int(self._filled[inputs].any(axis=axes).sum())
        return self._counts[left] * prod(self._network.shape(index for index in indices if index not in inputs))

    def macs(self, stage: Stage) -> int:
        """Useful multiplications of a stage: every entry of its data meets every row of its weight."""
        return self.entries(stage.data) * prod(self._network.shape(stage.rows))


def useful_macs(layers: LSTMSpec | Sequence[LSTMSpec], stage_lists: StageLists) -> tuple[tuple[int, ...], ...]:
    """Per chain the useful multiplications of each stage."""
    every = chains(stack(layers))
    return macs_of(every, stages_of(every, stage_lists))


def macs_of(every: Sequence[Chain], stages: Sequence[Sequence[Stage]]) -> tuple[tuple[int, ...], ...]:
    """The same of chains and their stages."""
    result = []
    for chain, of_chain in zip(every, stages, strict=True):
        occupancy = Occupancy(chain)
        result.append(tuple(occupancy.macs(stage) for stage in of_chain))
    return tuple(result)


def step_macs(layers: LSTMSpec | Sequence[LSTMSpec], stage_lists: StageLists) -> int:
    """The useful multiplications of a step, all stages of all chains together."""
    return sum(map(sum, useful_macs(layers, stage_lists)))


def fewest_macs(layers: LSTMSpec | Sequence[LSTMSpec]) -> tuple[int, StageLists]:
    """The fewest useful multiplications a step can do with, and stage lists that do.

    A shortest path over sets of absorbed factors, any number of which may be merged; memories and lanes do not count.
    """
    found = [_fewest(chain) for chain in chains(stack(layers))]
    return sum(macs for macs, _ in found), tuple(stage_list for _, stage_list in found)


def _fewest(chain: Chain) -> tuple[int, StageList]:
    network = chain.network
    absorptions, occupancy, numbers = Absorptions(network, len(network.factors)), Occupancy(chain), count()
    queue: list[tuple[int, int, frozenset[str], StageList]] = [(0, next(numbers), frozenset(), ())]
    settled = set[frozenset[str]]()
    while True:
        macs, _, done, path = heappop(queue)
        if len(done) == len(network.factors):
            return macs, path
        if done in settled:
            continue
        settled.add(done)
        check_states(len(settled), len(network.factors))
        for stage in absorptions.after(done):
            after = done | set(stage.factors)
            heappush(queue, (macs + occupancy.macs(stage), next(numbers), after, (*path, stage.factors)))
