"""What the layers and the stage lists of a model mean on a target, worked out once and passed along."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from fdht.compiler.joining import Joins, joined_layer, joined_stage, named, possible_joins
from fdht.compiler.lanes import Lanes, choose_lanes
from fdht.compiler.sharing import ALONE, Sharing, widened
from fdht.spec.errors import CapacityError
from fdht.spec.lstm import Chain, LSTMSpec, chains, stack
from fdht.spec.stages import Stage, StageLists, stages_of
from fdht.spec.target import Target


@dataclass(frozen=True)
class Resolved:
    """A model, in which order its chains are contracted, and for which target.

    Attributes:
        layers: the lowest first.
        chains: of all layers, in the order they are carried out.
        stage_lists, stages: per chain.
        lanes: per chain the lane index of each stage's data and of z.
        target: whose words the lanes are of.
        sharing: how streams share it; STREAM is a mode of the layers where several are computed together.
        apart: where modes are joined, the same without: its lanes keep the array busy for longer, yet it may need fewer
            loops, or results may come sooner.
    """

    layers: tuple[LSTMSpec, ...]
    chains: tuple[Chain, ...]
    stage_lists: StageLists
    stages: tuple[tuple[Stage, ...], ...]
    lanes: tuple[Lanes, ...]
    target: Target
    sharing: Sharing = ALONE
    apart: "Resolved | None" = None


def resolve(
    layers: LSTMSpec | Sequence[LSTMSpec], stage_lists: StageLists, target: Target, sharing: Sharing = ALONE
) -> Resolved:
    """A model on a target.

    Args:
        layers: without the mode STREAM.

    Raises:
        CapacityError: the stages can run with no lanes, or the factors do not fit.
        SpecError: layers that do not follow each other, or stage lists that are not those of their networks.
    """
    layers = tuple(widened(spec, sharing.together) for spec in stack(layers))
    possible = [possible_joins(spec, target) for spec in layers]
    resolved = _resolve(layers, stage_lists, target, sharing, possible)
    if resolved.layers == layers:
        return resolved
    with suppress(CapacityError):
        return replace(resolved, apart=_resolve(layers, stage_lists, target, sharing, [{} for _ in layers]))
    return resolved


def _resolve(
    layers: tuple[LSTMSpec, ...], stage_lists: StageLists, target: Target, sharing: Sharing, possible: Sequence[Joins]
) -> Resolved:
    """With the modes joined that are best joined, of those that may be."""
    every = chains(layers)
    stages = stages_of(every, stage_lists)
    lanes = choose_lanes(layers, every, stages, possible, target)
    joins = [
        named({lane for chain, own in zip(every, lanes, strict=True) if chain.layer == number for lane in own}, each)
        for number, each in enumerate(possible)
    ]
    layers = tuple(joined_layer(*pair) for pair in zip(layers, joins, strict=True))
    stages = tuple(
        tuple(joined_stage(stage, joins[chain.layer]) for stage in own)
        for chain, own in zip(every, stages, strict=True)
    )
    return Resolved(layers, chains(layers), stage_lists, stages, lanes, target, sharing)
