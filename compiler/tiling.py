"""Tiles: the first stages of a step carried out piece by piece.

A tile is a few indices of one input mode that the first stages leave alone (a column in each). If that mode is the
slowest of the input order, a tile of a picture is a band of it: it needs the band's inputs only, which come while the
array works on the band before, and leaves a part of the tensor that the following stages read whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from spec.lstm import Chain, Region
from spec.network import TensorNetwork
from spec.stages import Stage


@dataclass(frozen=True)
class Tiling:
    """How the first chain of a model is cut.

    Attributes:
        index: the mode.
        group: indices of it per tile; divides its size.
        stages: how many stages run tile by tile.
        slots: tiles of the data tensor that are in memory at the same time.
    """

    index: str
    group: int
    stages: int
    slots: int

    def count(self, network: TensorNetwork) -> int:
        return network.size[self.index] // self.group

    def network(self, whole: TensorNetwork) -> TensorNetwork:
        """The network as a tile sees it. Its weights have no index of the mode as long as `stages` go."""
        return replace(whole, sizes=tuple((n, self.group if n == self.index else size) for n, size in whole.sizes))


@dataclass(frozen=True)
class Part:
    """The part of a vector that belongs to a tile: `region.count` entries from entry `first` on."""

    first: int
    region: Region


def parts(region: Region, mode: int, group: int, tiles: int) -> list[Part | None]:
    """The part of a vector in each tile of `group` indices of a mode, which is the slowest of the region's order."""
    start, inner = region.start[mode], prod(region.shape) // region.shape[mode]
    result = list[Part | None]()
    for tile in range(tiles):
        low, high = max(tile * group, start), min((tile + 1) * group, start + region.shape[mode])
        first = (low - start) * inner
        count = min(region.count - first, (high - low) * inner)
        if high <= low or count <= 0:
            result.append(None)
            continue

        def with_mode(values: tuple[int, ...], value: int) -> tuple[int, ...]:
            return tuple(value if k == mode else other for k, other in enumerate(values))

        sizes = tuple(high - low if k == mode else size for k, size in region.parts)
        cut = replace(
            region,
            start=with_mode(region.start, low - tile * group),
            shape=with_mode(region.shape, high - low),
            count=count,
            sizes=sizes,
        )
        result.append(Part(first, cut))
    return result


def tilings(
    chain: Chain, stages: Sequence[Stage], lanes: Sequence[str | None], slots: Sequence[int] = (2,)
) -> Iterator[Tiling]:
    """Every way to cut a chain: what is cut is the slowest mode of the order of x, and of h if that is there too."""
    regions = [region for region in (chain.x, chain.h) if region is not None]
    if chain.x is None:
        return
    mode = chain.x.order[0]
    index = chain.network.inputs[mode]
    size = chain.network.size[index]
    slowest = all(
        r.order.count(mode) == 1 and next(k for k, n in r.parts if n > 1 or k == mode) == mode for r in regions
    )
    if not slowest or chain.x.shape[mode] != size:
        return
    free = next((s for s, stage in enumerate(stages) if index in stage.weight), len(stages))
    for count in range(1, min(free, len(stages) - 1) + 1):
        if index in lanes[: count + 1]:
            break
        for group in (g for g in range(1, size) if size % g == 0):
            for held in sorted({*(min(n, size // group) for n in slots), size // group}):
                yield Tiling(index, group, count, held)
