"""Tiles: the first stages of a step carried out piece by piece.

A tile is a few indices of one input mode that the first stages leave alone (a column in each). If that mode is the
slowest of the input order, a tile of a picture is a band of it: it needs the band's inputs only, which come while the
array works on the band before, and leaves a part of the tensor that the following stages read whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from fdht.spec.lstm import Chain, Region
from fdht.spec.network import TensorNetwork
from fdht.spec.stages import Stage


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


def left_over(of_tile: Sequence[Part | None], tile: int, slots: int) -> Region | None:
    """What is to be cleared of a tile's place before a vector's part is put there: the box of the part that was there
    before, unless the new one covers that.
    """
    before, part = of_tile[tile - slots], of_tile[tile]  # the last tiles of the step before come before the first
    if before is None:
        return None
    if part is not None and part.region.count >= before.region.count:
        covered = replace(part.region, count=before.region.count) == before.region
        return None if covered else before.region
    return before.region


def streamed(region: Region, names: Sequence[str], lane: str | None, lanes: int) -> Region:
    """The order in which the inputs are best sent: with the lane index last, so that a beat is a word, if it can be.

    Args:
        lanes: raw words of a beat.
    """
    mode = next((k for k, name in enumerate(names) if name == lane), None)
    full = region.count == prod(region.shape)
    if lanes == 1 or mode is None or region.order.count(mode) > 1 or region.shape[mode] % lanes or not full:
        return region
    moved = sorted(region.parts, key=lambda part: part[0] == mode)
    return replace(region, order=tuple(k for k, _ in moved), sizes=tuple(size for _, size in moved))


def cut_index(chain: Chain) -> str | None:
    """The mode a chain can be cut along: the slowest of the order of x, and of h if that is there too."""
    if chain.x is None:
        return None
    mode = chain.x.order[0]
    index = chain.network.inputs[mode]
    slowest = all(
        region.order.count(mode) == 1 and next(k for k, n in region.parts if n > 1 or k == mode) == mode
        for region in (chain.x, chain.h)
        if region is not None
    )
    return index if slowest and chain.x.shape[mode] == chain.network.size[index] else None


def tilings(
    chain: Chain, stages: Sequence[Stage], lanes: Sequence[str | None], slots: Sequence[int] = (2,)
) -> Iterator[Tiling]:
    """Every way to cut a chain."""
    index = cut_index(chain)
    if chain.x is None or index is None:
        return
    mode, size = chain.network.inputs.index(index), chain.network.size[index]
    free = next((s for s, stage in enumerate(stages) if index in stage.weight), len(stages))
    for count in range(1, min(free, len(stages) - 1) + 1):
        if index in lanes[: count + 1]:
            break
        for group in (g for g in range(1, size) if size % g == 0):
            tiles = size // group
            if None in parts(chain.x, mode, group, tiles):
                continue
            for held in sorted({*slots, tiles}):
                # Places are free again in the order in which they were filled, so all have to be used equally often.
                if tiles % held == 0:
                    yield Tiling(index, group, count, held)
