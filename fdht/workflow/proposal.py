"""A model from data and an engine: sizes that fit with room to spare, and how to train them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, log2

from fdht.compiler.explain import fill
from fdht.compiler.planner import candidates
from fdht.model.data import DataSet
from fdht.model.presets import Preset
from fdht.model.recipe import UNTUNED
from fdht.spec.choose import chosen_lstm
from fdht.spec.errors import CapacityError, SpecError
from fdht.spec.lstm import LSTMSpec
from fdht.spec.target import Target

SIZES = ((64, 12), (64, 8), (48, 8), (32, 8), (32, 6), (24, 6), (16, 6), (16, 4), (8, 4), (8, 2), (4, 2), (2, 1))
"""Hidden units and rank, the largest first. The first is what the recipe was measured with (docs/training.md)."""

ROOM = 0.9
"""The part of a memory that a proposed model fills at most."""

BATCHES = (16, 64)
"""Fewest and most clips per step of the optimiser, where there are as many."""

STEPS, EPOCHS, LONG = 1_000, (10, 60), 12_000
"""Steps that a training has at least; epochs, fewest and most, and about how many steps they are where there are many
clips.
"""


@dataclass(frozen=True)
class Proposal:
    """A model that fits an engine.

    Attributes:
        spec: the model. rank: of its bonds, where they can carry as much.
        cycles: per step. fill: words used and available of each memory.
    """

    spec: LSTMSpec
    rank: int
    cycles: float
    fill: dict[str, tuple[int, int]]

    @property
    def fullest(self) -> tuple[str, float]:
        """The memory that is filled most, and the part of it."""
        name, (used, there) = max(self.fill.items(), key=lambda item: item[1][0] / item[1][1])
        return name, used / there


def propose(data: DataSet, target: Target, *, hidden: int | None = None, rank: int | None = None) -> Iterator[Proposal]:
    """Models for a data set that an engine runs, the largest first.

    Args:
        hidden, rank: where the user has said; then only these.

    Raises:
        CapacityError: none fits, or not the one asked for; says what lacks.
        SpecError: sizes that make no model.
    """
    if data.input_format.raw.width > target.input_width:
        raise SpecError(
            f"{data.name} has raw words of {data.input_format.raw.width} bits, {target.name} takes "
            f"{target.input_width}; read it with --input-bits {target.input_width}"
        )

    def model(h: int, r: int) -> LSTMSpec:
        h, r = h if hidden is None else hidden, r if rank is None else rank
        return replace(chosen_lstm(data.inputs, h, data.classes, rank=r), task=data.task)

    smallest, seen = model(*SIZES[-1]), set[LSTMSpec]()
    found, refusal = False, None
    for h, r in SIZES:
        spec = model(h, r)
        if spec in seen:  # bonds that cannot carry a larger rank
            continue
        seen.add(spec)
        try:
            proposal = _planned(spec, r if rank is None else rank, target)
        except CapacityError as error:
            if refusal is None and (hidden, rank) == (None, None):
                _planned(smallest, 0, target)  # if that does not fit either, what it lacks is what there is to say
            refusal = refusal or error
            continue
        if proposal.fullest[1] <= ROOM or spec == smallest:
            found = True
            yield proposal
    if not found:
        assert refusal is not None
        nearest = next(propose(data, target))
        way_out = f"choose --hidden {nearest.spec.hidden} --rank {nearest.rank}, which fits {target.name}"
        raise refusal.advising(way_out)


def _planned(spec: LSTMSpec, rank: int, target: Target) -> Proposal:
    """A model on an engine.

    Raises:
        CapacityError: it does not fit.
    """
    way = candidates(spec, target)[0].ways[0]
    return Proposal(spec, rank, way.cycles, fill(way.programs, target))


def trained(data: DataSet, spec: LSTMSpec, name: str, source: str) -> Preset:
    """How a model is trained where nobody says more: the recipe that needs no tuning (docs/training.md).

    Args:
        name: of the model. source: of the data.
    """
    clips = len(data.final)
    batch = min(clips, max(BATCHES[0], min(BATCHES[1], 1 << int(log2(max(1, clips // 8))))))
    steps = ceil(clips / batch)
    epochs = max(ceil(STEPS / steps), min(EPOCHS[1], max(EPOCHS[0], ceil(LONG / steps))))
    return Preset(
        name,
        data=source,
        spec=spec,
        epochs=epochs,
        clips_per_epoch=clips,
        batch=batch,
        **UNTUNED,
    )
