"""How the streams of an image share an engine.

Streams that are computed *together* lie side by side in the tensors of a step: the data tensor and z have one more mode,
STREAM, that no factor has, so that it is a column of every stage and may be what the lanes of a word hold. Groups of
such streams follow each other within a round: while the gate unit computes the states of one group, the array is at
work on the next. The integers of a stream depend on neither.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

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
    """

    streams: int = 0
    together: int = 1
    woven: int = 1

    @property
    def groups(self) -> int:
        return -(-self.streams // self.together) or 1

    @property
    def sets(self) -> int:
        """Sets of woven groups, which follow each other."""
        return -(-self.groups // self.woven)

    def of(self, group: int) -> range:
        """The streams of a group; stream 0 where there are none."""
        first = group * self.together
        return range(first, min(first + self.together, self.streams or 1))


MOST_WOVEN = 4
"""Most groups whose stages take turns: more have never been faster."""

ALONE = Sharing()
"""One sequence has the engine to itself."""


def sharings(layers: Sequence[LSTMSpec], streams: int, target: Target) -> Iterator[Sharing]:
    """The ways in which so many streams may share an engine; one, if there are none.

    What goes from layer to layer, or is added to z, goes for all streams at once: they are one group.
    """
    if not streams:
        yield ALONE
        return
    together = {-(-(-(-streams // groups)) // target.gates) * target.gates for groups in range(1, streams + 1)}
    for size in sorted(together, reverse=True):
        of_size = Sharing(streams, size)
        if of_size.groups > 1 and (len(layers) > 1 or layers[0].recurrent is not None):
            continue
        yield from (replace(of_size, woven=woven) for woven in range(1, min(of_size.groups, MOST_WOVEN) + 1))


class _Network(TensorNetwork):
    """A network with STREAM, which no factor has, among its inputs and its outputs."""

    def __post_init__(self):
        """It has been checked without."""


class _Layer(LSTMSpec):
    """A layer on such a network."""

    def __post_init__(self):
        """It has been checked without."""


def widened(spec: LSTMSpec, together: int) -> LSTMSpec:
    """A layer of which so many streams are computed at once. Its regions are those of the first of them."""
    if together == 1:
        return spec

    def network(of: TensorNetwork) -> TensorNetwork:
        sizes = (*of.sizes, (STREAM, together))
        return _Network(of.kind, (*of.inputs, STREAM), (STREAM, *of.outputs), sizes, of.factors)

    i, f, g, o = (_first_mode(gate) for gate in spec.gates)
    return _Layer(
        spec.inputs,
        spec.hidden,
        spec.classes,
        network(spec.network),
        _last_mode(spec.x),
        _last_mode(spec.h),
        (i, f, g, o),
        spec.recurrent and network(spec.recurrent),
        spec.task,
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
