"""Where every tensor of a step lies: order of dimensions, addresses. Lane indices come from fdht.compiler.lanes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fdht.compiler.allocation import allocate, allocate_tiled, banks, least, whole_banks
from fdht.compiler.lanes import SMALLER, Lanes, keeps_padding, lane_words
from fdht.compiler.nest import Loop, encode_nest, merge
from fdht.compiler.resolved import Resolved
from fdht.compiler.sharing import STREAM
from fdht.compiler.tiling import Part, Tiling, left_over, parts, streamed
from fdht.spec.errors import CapacityError, Resource
from fdht.spec.instructions import Widths
from fdht.spec.lstm import Chain, LSTMSpec, Region
from fdht.spec.network import TensorNetwork
from fdht.spec.stages import Stage
from fdht.spec.target import Target


@dataclass(frozen=True)
class Layout:
    """A tensor in memory.

    Attributes:
        lane: the lane index, or None: then only lane 0 is used.
        order: indices, the slowest first; the stage that reads the tensor walks its reduction contiguously.
        stride: words between neighbours of each index; for the lane index between words.
        words: size.
        base: first word address.
    """

    lane: str | None
    order: tuple[str, ...]
    stride: Mapping[str, int]
    words: int
    base: int

    @property
    def end(self) -> int:
        return self.base + self.words

    @property
    def place(self) -> range:
        """Its words."""
        return range(self.base, self.end)


@dataclass(frozen=True)
class Tile:
    """What is done piece by piece: a part of x (and of h), and the first stages on it.

    Attributes:
        network: sizes as the tile sees them.
        tensors: layout of the data of each tiled stage, then of the last one's result. Without tiled stages of the
            data tensor alone.
        x, h: the parts placed in it.
        slot: which of the data tensor's places it takes.
        clear: boxes of the place to be cleared before, since the tile before it there was filled otherwise.
    """

    network: TensorNetwork
    tensors: tuple[Layout, ...]
    x: Part | None
    h: Part | None
    slot: int
    clear: tuple[Region, ...] = ()


@dataclass(frozen=True)
class ChainMap:
    """A chain in memory.

    Attributes:
        chain: what is contracted.
        stages: the stages.
        tiles: the tiles, in order; one if the chain is not tiled.
        tensors: layout of the data of each stage after the tiled ones, then of z (in the result memory).
    """

    chain: Chain
    stages: tuple[Stage, ...]
    tiles: tuple[Tile, ...]
    tensors: tuple[Layout, ...]

    @property
    def tiled(self) -> int:
        """Stages that run tile by tile."""
        return len(self.tiles[0].tensors) - 1


@dataclass(frozen=True)
class StepMap:
    """The memory map of one step.

    From address 0 on the scratchpad holds what lasts from step to step: the places of the first chain's data tensor,
    then the data tensors of the others. The head's weights, which the image brings, are its last words.

    Attributes:
        resolved: the model.
        chains: all chains, in the order they are carried out; x of the first in the order in which it is sent.
        slots: first address and words of each place of the first chain's data tensor.
        others: first address of the other data tensors.
        others_end: end of the other data tensors.
        persistent: first word of the scratchpad that does not last.
        x_free_after: the stage, counted over all chains and then the head, after which the next step's inputs may
            overwrite x, if the first chain is not tiled; else a tile's first stage.
        logits: first result word of the head's results. A head after every step has words of its own for them, behind
            z, if there are any; else they take the place of z, as those of a head after the last step do. Those of
            several streams follow each other behind all z.
        distance: words from the data tensors of a group of streams, of which the others are, to those of the next; 0
            where they are in tiles, whose places all groups share.
        room_words: words that the results of a group's stages may take, from `persistent` on; those of woven groups
            follow each other.
        z_words: result words from z of a group to that of the next.
        logits_words: result words of the logits of a stream.
    """

    resolved: Resolved
    chains: tuple[ChainMap, ...]
    slots: tuple[tuple[int, int], ...]
    others: int
    others_end: int
    persistent: int
    x_free_after: int
    logits: int = 0
    distance: int = 0
    room_words: int = 0
    z_words: int = 0
    logits_words: int = 0

    @property
    def logits_leave_first(self) -> bool:
        """Whether the logits of a step must have been sent before the next step may begin: its z takes their place, or
        is added up in the result memory, which then is not read for the gate unit.
        """
        return not self.logits or any(spec.recurrent is not None for spec in self.resolved.layers)

    def of_group(self, address: int, group: int) -> int:
        """Where a group of streams has what the first one has at an address of the scratchpad."""
        if address < self.persistent:
            return address + group * self.distance
        return address + group % self.resolved.sharing.woven * self.room_words

    def logits_of(self, stream: int) -> int:
        """First result word of the logits of a stream, counted from that of stream 0."""
        return stream // self.resolved.sharing.apart * self.logits_words

    def unit(self, stream: int) -> int:
        """Number of a stream's first unit."""
        return stream // self.resolved.target.gates * sum(spec.hidden for spec in self.resolved.layers)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Those of all chains, one after the other."""
        return tuple(stage for chain in self.chains for stage in chain.stages)


def head_words(spec: LSTMSpec, target: Target) -> int:
    """Scratchpad words of the head's weights, whose lanes are classes."""
    return spec.hidden * -(-spec.classes // target.columns)


def map_step(resolved: Resolved, tiling: Tiling | None = None) -> StepMap:
    """Lays out every tensor of a step.

    Args:
        tiling: how the first chain is cut; not at all when left out.

    Raises:
        CapacityError: the scratchpad, the result memory or the gate unit is too small.
    """
    layers, listed, lanes, target = resolved.layers, resolved.stages, resolved.lanes, resolved.target
    sharing = resolved.sharing
    states = -(-(sharing.streams or 1) * sharing.apart // target.gates)  # of streams, beside each other
    own = sum(spec.hidden for spec in layers) * states
    if own > target.hidden // target.gates:
        units = own * target.gates
        raise CapacityError(Resource.HIDDEN_UNITS, units, target.hidden, "choose a larger target or a smaller model")
    if layers[-1].classes > 1 << Widths(target).unit:  # logits are sent as units are
        raise CapacityError(Resource.CLASSES, layers[-1].classes, 1 << Widths(target).unit, "choose a larger target")

    x = streamed(layers[0].x, layers[0].network.inputs, lanes[0][0], target.input_lanes)
    every = (replace(resolved.chains[0], x=x), *resolved.chains[1:])
    shapes = [
        [_shape(chain.network, own, s, stage.data, of_chain, target) for s, stage in enumerate(own)]
        for chain, own, of_chain in zip(every, listed, lanes, strict=True)
    ]
    data = [shapes[0][0](0)] if tiling is None else _slots(tiling, every[0], listed[0], lanes[0], target)
    # Inputs come while the array works on other tiles, so nothing else may be in their banks.
    end = data[-1].end if tiling is None else whole_banks(data[-1].end, target)
    start, others = end, list[Layout]()
    for first, *_ in shapes[1:]:
        others.append(first(end))
        end = others[-1].end
    others_end = end
    # Tiles of all groups pass through the same places, in their order.
    distance = 0 if tiling is not None else whole_banks(end, target) if target.single_port else end
    if sharing.groups > 1:
        end = whole_banks((sharing.groups - 1) * distance + end, target)
    elif tiling is not None and layers[0].recurrent is not None:  # h comes to its data tensor in the same way
        end = whole_banks(end, target)

    zs = [
        _result(layers[chain.layer], chain, of_chain, len(own), target)
        for chain, own, of_chain in zip(every, listed, lanes, strict=True)
    ]
    of_logits, of_z = -(-layers[-1].classes // target.columns), max(z.end for z in zs)
    results = sharing.groups * of_z + sharing.streams * of_logits if sharing.streams else max(of_logits, of_z)
    if results > target.result_words:
        raise CapacityError(
            Resource.RESULT_WORDS, results, target.result_words, "choose a larger target or fewer outputs"
        )

    in_tile = list[Callable[[int], Layout]]()
    if tiling is not None:
        network = tiling.network(every[0].network)
        in_tile = [_shape(network, listed[0], s, listed[0][s].data, lanes[0], target) for s in range(1, tiling.stages)]
    sizes = [[shape(0).words for shape in of_chain[1:]] for of_chain in shapes]

    def room_words(words: int) -> int:
        """Words of the room of a woven group, in a scratchpad of so many words."""
        each = max(words - head_words(layers[-1], target) - end, 0) // sharing.woven
        return each // target.bank_words * target.bank_words if target.single_port and sharing.woven > 1 else each

    def placed(words: int) -> tuple[list[range], list[list[range]]] | None:
        """In a scratchpad of so many words, the results within a tile, and those of the stages of each chain; all tiled
        stages together have one there.
        """
        room = range(end, words - head_words(layers[-1], target))
        if room.start > room.stop:
            return None
        if sharing.streams:
            room = range(end, end + room_words(words))
            head = range(words - head_words(layers[-1], target), words)
            if target.single_port and head and end > head.start // target.bank_words * target.bank_words:
                return None  # the next inputs may come while the head is read
        inner, results = list[range](), list[list[range]]()
        for source, of_chain in zip((data[0], *others), sizes, strict=True):
            if tiling is not None and not results:
                whole, after = of_chain[tiling.stages - 1], of_chain[tiling.stages :]
                found = allocate_tiled(whole, [shape(0).words for shape in in_tile], after, source.place, room, target)
                if found is None:
                    return None
                result, inner, after = found
                results.append([result, *after])
            else:
                found = allocate(of_chain, source.place, room, target)
                if found is None:
                    return None
                results.append(found)
        return inner, results

    found = placed(target.scratchpad_words)
    if found is None:
        raise CapacityError(
            Resource.SCRATCHPAD_WORDS,
            least(lambda words: placed(words) is not None, target.scratchpad_words),
            target.scratchpad_words,
            SMALLER,
            "scratchpad words (a stage's data and its result in separate banks)" if target.single_port else "",
        )
    inner, places = found
    maps = list[ChainMap]()
    for number, (chain, own, of_chain) in enumerate(zip(every, listed, places, strict=True)):
        if number == 0 and tiling is not None:
            tensors = _at(shapes[0][tiling.stages :], of_chain)
            tiles = _tiles(tiling, chain, data, _at(in_tile, inner), tensors[0])
        else:
            source = others[number - 1] if number else data[0]
            tensors = [source, *_at(shapes[number][1:], of_chain)]
            x, h = (None if region is None else Part(0, region) for region in (chain.x, chain.h))
            tiles = [Tile(chain.network, (source,), x, h, 0)]
        maps.append(ChainMap(chain, own, tuple(tiles), (*tensors, zs[number])))

    x_banks = set(banks(data[0].place, target))
    x_free_after = number = 0
    for each in maps:
        for s, source in enumerate(each.tensors[:-1]):
            touched = set() if s + 2 == len(each.tensors) else set(banks(each.tensors[s + 1].place, target))
            if target.single_port:
                touched |= set(banks(source.place, target))
            if touched & x_banks:
                x_free_after = number
            number += 1
    if (
        layers[-1].task.every_step and target.single_port and not sharing.streams
    ):  # the next step's inputs may come while the head is read
        top = target.scratchpad_words
        head = banks(range(top - head_words(layers[-1], target), top), target)
        x_free_after = number if x_banks & set(head) else x_free_after
    apart = layers[-1].task.every_step and of_z + of_logits <= target.result_words
    slots = tuple((slot.base, slot.words) for slot in data)
    logits = sharing.groups * of_z if sharing.streams else of_z if apart else 0
    return StepMap(
        resolved,
        tuple(maps),
        slots,
        start,
        others_end,
        end,
        x_free_after,
        logits,
        distance,
        room_words(target.scratchpad_words),
        of_z,
        of_logits,
    )


def _slots(tiling: Tiling, chain: Chain, own: Sequence[Stage], lanes: Lanes, target: Target) -> list[Layout]:
    """The places of the data tensor of a tiled chain; with single-port banks, each in banks of its own."""
    place = _shape(tiling.network(chain.network), own, 0, own[0].data, lanes, target)
    distance = place(0).words
    if target.single_port:
        distance = whole_banks(distance, target)
    return [place(slot * distance) for slot in range(tiling.slots)]


def _at(shapes: Sequence[Callable[[int], Layout]], places: Sequence[range]) -> list[Layout]:
    return [shape(place.start) for shape, place in zip(shapes, places, strict=True)]


def _tiles(tiling: Tiling, chain: Chain, data: list[Layout], inner: list[Layout], whole: Layout) -> list[Tile]:
    """The tiles of a chain.

    Args:
        data: the places of its data tensor. inner: the results within a tile. whole: what the tiles leave together.
    """
    assert chain.x is not None
    network, count = tiling.network(chain.network), tiling.count(chain.network)
    mode = chain.network.inputs.index(tiling.index)
    xs, hs = (
        [None] * count if region is None else parts(region, mode, tiling.group, count) for region in (chain.x, chain.h)
    )
    tiles = []
    for tile, (x, h) in enumerate(zip(xs, hs, strict=True)):
        offset = tile * tiling.group * whole.stride[tiling.index]
        result = replace(whole, base=whole.base + offset, words=whole.words - offset)
        slot = tile % tiling.slots
        clear = (left_over(of_tile, tile, tiling.slots) for of_tile in (xs, hs))
        boxes = tuple(box for box in clear if box is not None)
        tiles.append(Tile(network, (data[slot], *inner, result), x, h, slot, boxes))
    return tiles


def _extent(network: TensorNetwork, index: str, s: int, lanes: tuple[str | None, ...], target: Target) -> int:
    """Room for an index in tensor s: words of the lane index, whole old words of one that was it before."""
    if index in lanes[:s] and index != lanes[s] and keeps_padding(network, index, target):
        return -(-network.size[index] // target.columns) * target.columns
    return lane_words(network, index, lanes[s], target)


def _contiguous(
    network: TensorNetwork, order: Sequence[str], lanes: Lanes, s: int, target: Target, base: int = 0
) -> Layout:
    stride, words = {}, 1
    for index in reversed(order):
        stride[index] = words
        words *= _extent(network, index, s, lanes, target)
    return Layout(lanes[s], tuple(order), stride, words, base)


def _result(spec: LSTMSpec, chain: Chain, lanes: Lanes, s: int, target: Target) -> Layout:
    """z, in the order in which the array writes it: if the gate unit can read it then, the modes that tell gates apart
    run fastest, so that units are complete early. The lane index comes last.
    """
    outputs = chain.network.outputs
    starts = zip(*(gate.start for gate in spec.gates), strict=True)
    of_gates = {index for index, start in zip(outputs, starts, strict=True) if len(set(start)) > 1}
    needed = dict[int, Layout]()
    for inner in (of_gates, set[str]()):
        order = sorted(outputs, key=lambda index: (index == lanes[s], index in inner))
        layout = _contiguous(chain.network, order, lanes, s, target)
        try:
            region_nest(spec.gates[0], outputs, layout, target, target.levels.z)
        except CapacityError as refusal:
            needed.setdefault(refusal.needed, layout)
        else:
            return layout
    return needed[min(needed)]  # is refused


def _shape(network, chain, s: int, indices, lanes, target: Target):
    """Tensor s as a function of its base: batch, then columns, those contracted last first, then reduction.

    Of the reduction an index with padding comes first, so that the true entries stay contiguous.
    """
    stage = chain[s]
    contracted = {index: k for k, other in enumerate(chain) for index in other.reduction}

    def lateness(index: str) -> int:
        return -contracted.get(index, len(chain))

    def padding(index: str) -> bool:
        return _extent(network, index, s, lanes, target) == network.size[index]

    order = (
        *stage.batch,
        *sorted(stage.columns, key=lateness),
        *sorted(stage.reduction, key=padding),
    )
    return lambda base: _contiguous(network, order, lanes, s, target, base)


def longest(target: Target) -> int:
    """Iterations of a loop at most."""
    return 1 << Widths(target).count


def region_nest(
    region: Region, names: tuple[str, ...], layout: Layout, target: Target, levels: int, by_word: bool = False
) -> dict:
    """The nest that visits the lanes of a region's entries in order, or `by_word` the words they fill.

    Raises:
        CapacityError: more loops than levels.
    """
    loops: list[Loop] = []
    tail, lane = None, 0
    word = layout.base + sum(
        (start // target.columns if name == layout.lane else start) * layout.stride[name]
        for name, start in zip(names, region.start, strict=True)
    )
    for (k, count), stride in reversed(list(zip(region.parts, region.strides, strict=True))):
        name = names[k]
        if name != layout.lane:
            loops.append(Loop(count, {"word": stride * layout.stride[name], "lane": 0}))
            continue
        if name == STREAM:  # one of them
            lane = region.start[k] % target.columns
            continue
        turns = -(-count // target.columns)
        if by_word:
            loops.append(Loop(turns, {"word": layout.stride[name], "lane": 0}))
            continue
        loops.append(Loop(min(count, target.columns), {"word": 0, "lane": 1}, fixed=True))
        if turns > 1:
            loops.append(Loop(turns, {"word": layout.stride[name], "lane": 0}, fixed=True))
            tail = count - (turns - 1) * target.columns
    return encode_nest(merge(loops, longest(target)), {"word": word, "lane": lane}, levels, tail)
