"""Where the results of stages lie in what is left of the scratchpad, and how much of it they need. Only sizes count."""

from collections.abc import Callable, Iterable, Sequence

from fdht.spec.target import Target


def whole_banks(words: int, target: Target) -> int:
    """Words of the banks that so many words fill."""
    return -(-words // target.bank_words) * target.bank_words


def banks(place: range, target: Target) -> range:
    """The banks that a place touches."""
    return range(place.start // target.bank_words, (place.stop - 1) // target.bank_words + 1)


def allocate(
    sizes: Sequence[int], x: range, room: range, target: Target, apart: range | None = None
) -> list[range] | None:
    """Places for the results of all stages of a chain but the last; None if there is no way.

    First each result in the first free place outside the banks of x, so that the next inputs can come early. If that
    leaves too little, results alternate between the ends of what is free, which finds a way if there is one: of two
    that must not meet, one can always be moved up to the lower end and the other to the upper.

    Args:
        sizes: words of each result.
        x: where the data tensor is.
        room: words that may be used.
        apart: where a tensor is that is in use all the time, and written by the stage after those.
    """

    def free(number: int, place: range, source: range) -> bool:
        for other, at_once in ((source, True), (apart, number + 1 == len(sizes))):  # at work in the same cycles
            if other is None:
                continue
            if place.start < other.stop and other.start < place.stop:
                return False
            if at_once and target.single_port and _meet(banks(place, target), banks(other, target)):
                return False
        return room.start <= place.start and place.stop <= room.stop

    def early(number: int, source: range) -> range | None:
        starts = {source.stop, room.start, *([apart.stop] if apart else [])}
        starts.update(bank * target.bank_words for bank in range(target.banks))
        places = (range(start, start + sizes[number]) for start in sorted(starts))
        fitting = [place for place in places if free(number, place, source)]
        return min(fitting, key=lambda place: _meet(banks(place, target), banks(x, target)), default=None)

    def ends(number: int) -> Iterable[range]:
        spans = [room] if apart is None else [range(room.start, apart.start), range(apart.stop, room.stop)]
        words, bank = sizes[number], target.bank_words
        low = [start for span in spans for start in (span.start, whole_banks(span.start, target))]
        high = [stop - words for span in reversed(spans) for stop in (span.stop, span.stop // bank * bank)]
        for start in [*low, *high] if number % 2 else [*high, *low]:
            yield range(start, start + words)

    hopeless = set[tuple[int, int]]()

    def squeezed(number: int, source: range) -> list[range] | None:
        if number == len(sizes):
            return []
        if (number, source.start) not in hopeless:
            for place in ends(number):
                if free(number, place, source) and (rest := squeezed(number + 1, place)) is not None:
                    return [place, *rest]
            hopeless.add((number, source.start))
        return None

    result, source = list[range](), x
    for number in range(len(sizes)):
        place = early(number, source)
        if place is None:
            return squeezed(0, x)
        result.append(place)
        source = place
    return result


def _meet(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop


def allocate_tiled(
    whole: int, inner: Sequence[int], after: Sequence[int], x: range, room: range, target: Target
) -> tuple[range, list[range], list[range]] | None:
    """Places for the tensors of a chain that is cut: for what all tiles leave together, for the results within a tile
    and for those of the stages after the tiles; None if there is no way.
    """
    first = allocate([whole], x, room, target)
    if first is None:
        return None
    for start in dict.fromkeys((first[0].start, room.start, room.stop - whole)):
        result = range(start, start + whole)
        of_tile, of_rest = allocate(inner, x, room, target, result), allocate(after, result, room, target)
        if of_tile is not None and of_rest is not None:
            return result, of_tile, of_rest
    return None


def least(fits: Callable[[int], bool], words: int) -> int:
    """The fewest words that something fits, if `words` are too few and more never hurt."""
    more = 1
    while not fits(words + more):
        more *= 2
    low, high = words + more // 2, words + more  # the least is above low, unless one word more is enough
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
