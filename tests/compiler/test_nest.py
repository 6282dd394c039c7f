"""Loop nests: merging, jumps and the walk of the address generator say the same as plain loops."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdht.compiler.nest import Loop, encode_nest, merge, walk
from fdht.spec.errors import CapacityError

LOOPS = st.lists(st.tuples(st.integers(1, 4), st.integers(-5, 20), st.integers(-5, 20)), max_size=5)


def plain(loops: list[Loop], bases: dict[str, int], tail: int | None = None) -> list[tuple[int, ...]]:
    """Nested loops as written down, outermost first in the iteration."""
    fixed = next((k for k, loop in enumerate(loops) if loop.fixed), None)
    result = []
    for turns in product(*(range(loop.count) for loop in reversed(loops))):
        turn = turns[::-1]
        in_last_turn = tail is not None and fixed is not None and turn[fixed + 1] == loops[fixed + 1].count - 1
        if in_last_turn and turn[fixed] >= tail:
            continue
        moved = {name: sum(t * loop.strides[name] for t, loop in zip(turn, loops, strict=True)) for name in bases}
        result.append(tuple(bases[name] + moved[name] for name in bases))
    return result


@given(LOOPS, st.integers(0, 9), st.integers(0, 9))
def test_walk_is_the_plain_loops(loops, a, b):
    loops = [Loop(count, {"data": x, "factor": y}) for count, x, y in loops]
    nest = encode_nest(merge(loops, 1000), {"data": a, "factor": b}, 6)
    seen = walk(nest)
    assert list(zip(seen["data"], seen["factor"], strict=True)) == plain(loops, {"data": a, "factor": b})


@given(LOOPS, LOOPS, st.integers(1, 4), st.integers(2, 4), st.integers(1, 9), st.data())
def test_walk_with_a_tail(inner, outer, lanes, words, stride, data):
    tail = data.draw(st.integers(1, lanes))
    loops = [Loop(count, {"word": x, "lane": 0}) for count, x, _ in inner[:2]]
    loops.append(Loop(lanes, {"word": 0, "lane": 1}, fixed=True))
    loops.append(Loop(words, {"word": stride, "lane": 0}, fixed=True))
    loops += [Loop(count, {"word": x, "lane": 0}) for count, x, _ in outer[:2]]
    bases = {"word": 3, "lane": 0}
    seen = walk(encode_nest(merge(loops, 1000), bases, 8, tail))
    assert list(zip(seen["word"], seen["lane"], strict=True)) == plain(loops, bases, tail)


def test_merge_joins_what_walks_as_one_loop():
    loops = [Loop(4, {"word": 1}), Loop(1, {"word": 99}), Loop(3, {"word": 4}), Loop(2, {"word": 20})]
    assert merge(loops, 1000) == [Loop(12, {"word": 1}), Loop(2, {"word": 20})]


def test_too_many_levels_are_refused():
    loops = [Loop(2, {"word": stride}) for stride in (1, 10, 100)]
    with pytest.raises(CapacityError, match="loop levels of an address generator: 3 needed, 2 available"):
        encode_nest(merge(loops, 1000), {"word": 0}, 2)
