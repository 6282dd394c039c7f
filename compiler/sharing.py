"""How the streams of an image share an engine.

Streams that are computed *together* lie side by side in the tensors of a step: the data tensor and z have one more
mode, STREAM, that no factor has, so that it is a column of every stage and may be what the lanes of a word hold. Groups
of such streams follow each other within a round: while the gate unit computes the states of one group, the array is at
work on the next. The integers of a stream depend on neither.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

from fdht.compiler.joining import LayerView, NetworkView
from fdht.spec.errors import SpecError
from fdht.spec.lstm import LSTMSpec, Region
from fdht.spec.network import TensorNetwork
from fdht.spec.target import Target

STREAM = "stream"
"""Index of the streams that are computed together. It is the last mode of the data tensor, and the first of z."""


@dataclass(frozen=True)
class Sharing:
    """How streams are computed.

    Attributes:
        streams: how many there are; 0 for an engine that is given frames of one sequence, without a word in front.
        together: streams of a group, which lie side by side.
        woven: groups whose stages take turns, so that none waits for results of its own to leave the array.
        apart: from the number by which the engine knows a stream to that of the next: 1, or as many as have their gates
            computed side by side, where each stream is computed alone.
        early: the heads of a group come before the last stage of the next one, not after it.
    """

    streams: int = 0
    together: int = 1
    woven: int = 1
    apart: int = 1
    early: bool = False

    @property
    def groups(self) -> int:
        return -(-self.streams // self.together) or 1

    def of(self, group: int) -> range:
        """The streams of a group, by the numbers that the engine knows them by; stream 0 where there are none."""
        first = group * self.together
        return range(first * self.apart, min(first + self.together, self.streams or 1) * self.apart, self.apart)


MOST_WOVEN = 4
"""Most groups whose stages take turns: more have never been faster."""

ALONE = Sharing()
"""One sequence has the engine to itself."""


def sharings(layers: Sequence[LSTMSpec], streams: int, target: Target) -> Iterator[Sharing]:
    """The ways in which so many streams may share an engine; one, if there are none.

    What goes from layer to layer, or is added to z, goes for all streams at once: they are one group.

    Raises:
        SpecError: there is none.
    """
    if not streams:
        yield ALONE
        return
    headed, whole = layers[-1].classes > 0, len(layers) > 1 or layers[0].recurrent is not None
    equal = (ceil(streams / groups) for groups in range(1, streams + 1))
    together = {ceil(size / target.gates) * target.gates for size in equal}
    found = [Sharing(streams, size) for size in sorted(together, reverse=True) if headed or target.gates == 1]
    if target.gates > 1 and streams * target.gates <= target.streams:
        found.append(Sharing(streams, apart=target.gates))
    found = [each for each in found if each.groups == 1 or not whole]
    if not found:  # h of the first alone is sent
        raise SpecError(
            f"{streams} streams of a model without a head, on target {target.name}, which computes the gates of "
            f"{target.gates} side by side; give the model a head, or take a target with gates = 1, or fewer streams"
        )
    for each in found:
        woven = range(1, min(each.groups, MOST_WOVEN) + 1)
        early = (False, True) if headed and each.groups > 1 else (False,)
        yield from (replace(each, woven=count, early=when) for count in woven for when in early)


def widened(spec: LSTMSpec, together: int) -> LSTMSpec:
    """A layer of which so many streams are computed at once. Its regions are those of the first of them."""
    if together == 1:
        return spec

    def network(of: TensorNetwork) -> TensorNetwork:
        return NetworkView.of(
            of, inputs=(*of.inputs, STREAM), outputs=(STREAM, *of.outputs), sizes=(*of.sizes, (STREAM, together))
        )

    i, f, g, o = (_first_mode(gate) for gate in spec.gates)
    return LayerView.of(
        spec,
        network=network(spec.network),
        x=_last_mode(spec.x),
        h=_last_mode(spec.h),
        gates=(i, f, g, o),
        recurrent=spec.recurrent and network(spec.recurrent),
    )


def _last_mode(region: Region) -> Region:
    """A region of a data tensor, in that of several streams."""
    order, sizes = (*region.order, len(region.shape)), region.sizes and (*region.sizes, 1)
    return Region((*region.start, 0), (*region.shape, 1), order, region.count, sizes)


def _first_mode(region: Region) -> Region:
    """A region of z, in that of several streams."""
    order, sizes = (0, *(mode + 1 for mode in region.order)), region.sizes and (1, *region.sizes)
    return Region((0, *region.start), (1, *region.shape), order, region.count, sizes)


def of_stream(region: Region, names: tuple[str, ...], place: int) -> Region:
    """The region of the stream at a place among those together, instead of the first."""
    if STREAM not in names:
        return region
    mode = names.index(STREAM)
    return replace(region, start=(*region.start[:mode], place, *region.start[mode + 1 :]))
