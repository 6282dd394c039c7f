"""Choosing a network for a problem: modes, placements, tree and ranks out of N, H and a rank or a number of factors.

The rule. Of a family of modes, the one with the smallest product of three numbers: estimated cycles of a step on an
array of one column, the same on a wide array, and factors. The family is all modes with

* depth 2 or 3 on a balanced tree, 4 too for more than `DEEP` entries of x and h, 1 for less than `SHALLOW`; input modes
  n_2.. and output modes m_2.. out of `SIDES`, m_1 out of 1, 2 and 4;
* n_1 = ceil(N / R) + ceil(H / R) with R = n_2 · n_3 ..: x is in the first indices of mode 1 and h in its last, so that
  less than R entries of each are padding, whatever N and H are;
* m_d the smallest that gives four equal boxes of H units;
* no result of a stage with fewer than min(N + H, 4H) entries at `NOMINAL` rank: through a narrower one W could not have
  its full rank, however its factors are chosen.

So mode 1 sums over most of x before the outputs multiply, which is where a step's multiplications are. x fills it
fastest: what is summed arrives together, and lies together in memory. Measured against
the presets' modes and a search around the rule's: docs/decisions/spec.md.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from math import prod
from typing import TypeAlias, TypeVar

import numpy as np

from fdht.spec.errors import SpecError, no_such
from fdht.spec.lstm import MOST_LAYERS, LSTMSpec, check_sizes, dense_lstm, lstm_on, place_gates
from fdht.spec.network import (
    Split,
    TensorNetwork,
    TreeNode,
    balanced_tree,
    bt_network,
    dense_network,
    ht_network,
    linear_tree,
    tr_network,
    tree_from,
    tt_network,
)

Modes = tuple[Sequence[int], Sequence[int]]
"""Input modes and output modes."""

Ranks = int | Mapping[str, int] | Sequence[int]
"""One rank, or one per node of a tree, or one per bond of a train, a ring or block terms."""

Tree: TypeAlias = "str | Split | None"
"""balanced (so is None), linear, or pairs of modes as `tree_from` takes them."""

T = TypeVar("T")

FORMATS = ("ht", "tt", "tr", "bt", "dense")

NOMINAL = 12
"""The rank that modes are chosen for; the modes of a problem are the same for all ranks and formats."""

LARGEST_RANK = 64
"""The largest rank that `max_factors` leads to."""

BLOCKS = 2
"""Blocks of a network of block terms."""

SIDES = (1, 2, 4, 8, 16)
"""Sizes of modes other than n_1 and m_d."""

NARROW, WIDE = (8, 1), (16, 8)
"""Rows and columns of the two arrays that cycles are estimated for."""

DEEPEST, DEEP = 4, 1024
"""Modes are at most 3, or 4 for more input entries than `DEEP`: there a further one costs little and saves factors."""

SHALLOW = 8
"""For fewer input entries than this, a network of one mode and factor is looked at, too."""

GATES = 10
"""Cycles per hidden unit that the rule counts for the gate unit, which takes 8."""


def choose_modes(inputs: int, hidden: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Input modes and output modes for the matrices of an LSTM of N inputs and H hidden units.

    Raises:
        SpecError: no inputs or hidden units.
    """
    check_sizes(inputs, hidden)
    return _lstm_modes(inputs, hidden)


@lru_cache(maxsize=256)
def _lstm_modes(inputs: int, hidden: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    def modes_of(rest: int) -> int:
        return -(-inputs // rest) + -(-hidden // rest)

    def last(others: tuple[int, ...]) -> int | None:
        size = -(-4 * hidden // prod(others))
        for m in range(size, size + 4):
            try:
                place_gates((*others, m), hidden)
            except SpecError:
                continue
            return m
        return None

    return _chosen(modes_of, last, min(inputs + hidden, 4 * hidden), GATES * hidden)


@lru_cache(maxsize=256)
def _linear_modes(inputs: int, outputs: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return _chosen(lambda rest: -(-inputs // rest), lambda others: -(-outputs // prod(others)), min(inputs, outputs), 0)


def _chosen(
    first: Callable[[int], int], last: Callable[[tuple[int, ...]], int | None], least: int, fixed: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The best of the family.

    Args:
        first: n_1, given the product of the others.
        last: m_d, given the others; None if there is none.
        least: entries that the result of a stage has at least.
        fixed: cycles that do not depend on the modes.
    """
    best: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = []
    for depth in range(1 if first(1) < SHALLOW else 2, DEEPEST + (first(1) > DEEP)):
        outputs = [(*m, end) for m in _outputs(depth) if (end := last(m)) is not None]
        for rest in product(SIDES, repeat=depth - 1):
            n = (first(prod(rest)), *rest)
            best += [(_score(n, m, fixed), n, m) for m in outputs if _narrowest(n, m) >= least]
        best = [min(best)] if best else []
    if not best:
        raise SpecError("no network of these modes is known for so many units; give a layer's modes, or fewer units")
    ((_, n, m),) = best
    return n, m


def _outputs(depth: int) -> Iterator[tuple[int, ...]]:
    """m_1 to m_{d-1}."""
    return product(*([(1, 2, 4), SIDES, SIDES][: depth - 1]))


def _ranks(n: Sequence[int], m: Sequence[int], rank: int) -> list[int]:
    """r_1 .. r_d and that of the root's children, none larger than what its modes can carry."""
    leaves = [min(rank, a * b) for a, b in zip(n, m, strict=True)]
    sides = {1: leaves, 2: leaves, 3: [prod(leaves[:2]), leaves[-1]], 4: [prod(leaves[:2]), prod(leaves[2:])]}
    top = min(rank, *sides[len(leaves)])
    if len(leaves) == 2:
        leaves = [top, top]
    if len(leaves) == 3:
        leaves[2] = top
    return [*leaves, top]


def _walk(n: Sequence[int], m: Sequence[int]) -> list[tuple[int, int, int]]:
    """K, rows and columns of the stages on a balanced tree."""
    *r, top = _ranks(n, m, NOMINAL)
    if len(n) == 1:
        return [(n[0], m[0], 1)]
    result = [(n[0], r[0] * m[0], prod(n[1:]))]
    if len(n) == 2:
        return [*result, (r[0] * n[1], m[1], m[0])]
    result.append((r[0] * n[1], top * m[1], m[0] * prod(n[2:])))
    if len(n) == 3:
        return [*result, (top * n[2], m[2], m[0] * m[1])]
    result.append((top * n[2], r[3] * m[2], m[0] * m[1] * n[3]))
    return [*result, (r[3] * n[3], m[3], prod(m[:3]))]


def _narrowest(n: Sequence[int], m: Sequence[int]) -> int:
    return min((rows * columns for _, rows, columns in _walk(n, m)[:-1]), default=1 << 62)


def _score(n: Sequence[int], m: Sequence[int], fixed: int) -> int:
    stages = _walk(n, m)
    cycles = [
        fixed + sum(k * -(-rows // height) * -(-columns // width) for k, rows, columns in stages)
        for height, width in (NARROW, WIDE)
    ]
    *r, top = _ranks(n, m, NOMINAL)
    if len(n) == 1:
        return prod(cycles) * n[0] * m[0]
    factors = sum(a * b * c for a, b, c in zip(r, n, m, strict=True)) + top * top
    if len(n) > 2:
        factors += r[0] * r[1] * top
    if len(n) > 3:
        factors += r[2] * r[3] * top
    return prod(cycles) * factors


def chosen_lstm(
    inputs: int,
    hidden: int,
    classes: int = 0,
    *,
    rank: Ranks | None = None,
    max_factors: int | None = None,
    modes: Modes | None = None,
    tree: Tree = None,
    format: str = "ht",
) -> LSTMSpec:
    """An LSTM of a size on a network of a size: what is left out is chosen.

    Args:
        inputs, hidden, classes: N, H and outputs of the head, 0 for none.
        rank: of all bonds, or one per bond; one rank is lowered where a bond can carry no more (HT and TT).
        max_factors: in place of `rank`, the largest one up to `LARGEST_RANK` with at most so many stored numbers.
        modes: input modes and output modes, which hold N+H and 4H; `choose_modes` when left out.
        tree: of HT; balanced when left out.
        format: one of `FORMATS`.

    Raises:
        SpecError: neither or both of rank and max_factors, or what makes no network.
    """
    return chosen_stack(
        inputs, hidden, 1, classes, rank=rank, max_factors=max_factors, modes=modes, tree=tree, format=format
    )[0]


def chosen_stack(
    inputs: int,
    hidden: int,
    layers: int,
    classes: int = 0,
    *,
    rank: Ranks | None = None,
    max_factors: int | None = None,
    modes: Modes | None = None,
    tree: Tree = None,
    format: str = "ht",
) -> tuple[LSTMSpec, ...]:
    """Layers on top of each other, all of one rank; arguments and errors are those of `chosen_lstm`.

    With `max_factors`, the networks of all layers have at most so many stored numbers together.
    """
    check_sizes(inputs, hidden)
    if modes is not None and layers > 1:
        raise SpecError(
            f"modes are those of one layer, not of {layers}; give a specification per layer, or leave them out"
        )
    if not 1 <= layers <= MOST_LAYERS:
        raise SpecError(f"{layers} layers; there are 1 to {MOST_LAYERS}")

    def made(rank: Ranks | None) -> tuple[LSTMSpec, ...]:
        result = []
        for number in range(layers):
            below, outputs = hidden if number else inputs, classes if number == layers - 1 else 0
            if format == "dense":
                result.append(dense_lstm(below, hidden, outputs))
                continue
            chosen = choose_modes(below, hidden) if modes is None else _checked(modes)
            spec = lstm_on(_network(format, chosen, rank, tree), below, hidden, outputs)
            if modes is None:
                spec = replace(spec, x=replace(spec.x, order=(*range(1, len(spec.x.shape)), 0)))
            result.append(spec)
        return tuple(result)

    return _of_size(
        made, lambda specs: sum(spec.network.parameters for spec in specs), rank, max_factors, modes, tree, format
    )


def chosen_network(
    inputs: int,
    outputs: int,
    *,
    rank: Ranks | None = None,
    max_factors: int | None = None,
    modes: Modes | None = None,
    tree: Tree = None,
    format: str = "ht",
) -> TensorNetwork:
    """A network for a matrix of `outputs` rows and `inputs` columns; arguments and errors as those of `chosen_lstm`."""

    def made(rank: Ranks | None) -> TensorNetwork:
        if format == "dense":
            return dense_network(inputs, outputs)
        return _network(format, _linear_modes(inputs, outputs) if modes is None else _checked(modes), rank, tree)

    return _of_size(made, lambda network: network.parameters, rank, max_factors, modes, tree, format)


def _of_size(
    made: Callable[[Ranks | None], T],
    factors: Callable[[T], int],
    rank: Ranks | None,
    max_factors: int | None,
    modes: Modes | None,
    tree: Tree,
    format: str,
) -> T:
    """What is made of a rank, or of the largest rank that keeps to a number of factors."""
    if format not in FORMATS:
        raise no_such("format", format, FORMATS)
    if format == "dense":
        given = {"rank": rank, "max_factors": max_factors, "modes": modes}
        if any(value is not None for value in given.values()):
            raise SpecError("a dense matrix has neither ranks nor modes; leave them out")
        return made(None)
    if tree is not None and format != "ht":
        raise SpecError(f"a network of format {format} has no tree; leave it out, or choose format ht")
    if rank is not None and max_factors is not None:
        raise SpecError("rank and max_factors say the same in two ways; give one of them")
    if rank is not None:
        return made(rank)
    if max_factors is None:
        raise SpecError("how large a network? give rank (12, say), or max_factors")
    best = made(1)
    if factors(best) > max_factors:
        raise SpecError(
            f"max_factors = {max_factors:,}: with ranks of 1 there are {factors(best):,} already; allow more, or give "
            "modes"
        )
    for larger in range(2, LARGEST_RANK + 1):
        try:
            found = made(larger)
        except SpecError:  # so large a layer there is not
            break
        if factors(found) > max_factors:
            break
        best = found
    return best


def _checked(modes: Modes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    try:
        inputs, outputs = (tuple(int(size) for size in each) for each in modes)
    except (TypeError, ValueError):
        raise SpecError(
            f"modes {modes!r} are no pair of input modes and output modes, as ((9, 2, 4), (4, 4, 16))"
        ) from None
    return inputs, outputs


def _network(
    format: str, modes: tuple[tuple[int, ...], tuple[int, ...]], rank: Ranks | None, tree: Tree
) -> TensorNetwork:
    n, m = modes
    if format == "tr" and len(n) == 1:  # a ring has two cores
        n, m = (*n, 1), (*m, 1)
    bonds: Ranks = _rank(rank)
    if len(n) != len(m):
        raise SpecError(f"{len(n)} input modes and {len(m)} output modes must agree")
    if format == "ht":
        if not isinstance(bonds, int | Mapping):
            raise SpecError(f"ranks of a tree are one, or one per node by name, not {rank!r}")
        shape = _tree(len(n), tree)
        return ht_network(
            n,
            m,
            capped(tree_from(shape.split, bonds), n, m) if isinstance(bonds, int) else tree_from(shape.split, bonds),
        )
    if isinstance(bonds, Mapping):
        raise SpecError(f"ranks by node are those of a tree; format {format} takes one, or one per bond in order")
    each = bonds if isinstance(bonds, int) else tuple(_rank(one) for one in bonds)  # type: ignore[misc]
    if format == "tt":
        if isinstance(each, int):
            ends = [a * b for a, b in zip(n, m, strict=True)]
            each = tuple(min(each, prod(ends[:k]), prod(ends[k:])) for k in range(1, len(n)))
        return tt_network(n, m, each)
    return tr_network(n, m, each) if format == "tr" else bt_network(n, m, BLOCKS, each)


def _rank(rank: object) -> Ranks:
    if isinstance(rank, int | np.integer) and not isinstance(rank, bool):
        return int(rank)
    if isinstance(rank, Mapping) or (isinstance(rank, Sequence) and not isinstance(rank, str)):
        return rank
    raise SpecError(f"rank = {rank!r} is none; give an integer from 1, or one per bond")


def _tree(depth: int, tree: Tree) -> TreeNode:
    if tree is None or tree == "balanced":
        return balanced_tree(depth, 1)
    if isinstance(tree, str):
        if tree != "linear":
            raise SpecError(f"there is no tree {tree!r}; known: balanced, linear, and pairs of modes as ((1, 2), 3)")
        return linear_tree(depth, 1)
    return tree_from(tree, 1)


def capped(tree: TreeNode, n: Sequence[int], m: Sequence[int]) -> TreeNode:
    """The tree with its ranks, or with what the modes and bonds below a node can carry, where that is less."""
    ranks: dict[str, int] = {}
    for node in tree.walk():
        if node.children is None:
            below = n[node.first - 1] * m[node.first - 1]
        else:
            below = prod(ranks[child.name] for child in node.children)
        ranks[node.name] = min(node.rank, below)
    if tree.children is not None:  # the root's two bonds are the two sides of one matrix
        least = min(ranks[child.name] for child in tree.children)
        ranks.update({child.name: least for child in tree.children})
    return tree_from(tree.split, ranks)
