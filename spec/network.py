"""Tensor networks, and the dimension trees of hierarchical Tucker.

A weight tensor is written as a set of *factors* whose *indices* are named: a name in `inputs` is a mode of
the data tensor, one in `outputs` a mode of the result, any other a bond. HT, TT, TR, BT and dense weights
are all of this one type; only their constructors differ.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TypeAlias

import numpy as np

from fdht.spec.errors import SpecError
from fdht.spec.record import Checked, check_name

MOST_INDICES = 52
"""Most modes and, counted twice, bonds of a network, and most factors: a letter each in a contraction by letters."""

_FACTOR_NAME, _INDEX_NAME = re.compile("[A-Z][A-Za-z0-9]{0,39}"), re.compile("[A-Za-z][A-Za-z0-9_]{0,39}")
_LIKE = {"factor": "U1 or B12", "index": "n1 or r12"}
"""Factors become attributes of torch's modules, whose own begin with a small letter or an underscore."""

MOST_ENTRIES = 1 << 26
"""Most entries of a data tensor or of a result."""


@dataclass(frozen=True)
class Factor(Checked):
    """One stored tensor: its name and the names of its indices, in storage (C) order."""

    name: str
    indices: tuple[str, ...]


@dataclass(frozen=True)
class TensorNetwork(Checked):
    """A weight tensor held as factors that share named indices.

    Attributes:
        kind: the format's name (`ht`, `dense`, ...), for people.
        inputs: indices contracted with the data, in placement order.
        outputs: indices of the result, in placement order.
        sizes: (index, size) pairs.
        factors: the stored tensors.

    Raises:
        SpecError: a size below 1, an index nobody stores, a bond that joins nothing, a name used twice; more indices,
            factors or entries than a network may have (`MOST_INDICES`, `MOST_ENTRIES`).
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sizes: tuple[tuple[str, int], ...]
    factors: tuple[Factor, ...]

    def __post_init__(self):
        check_name("a kind of network", self.kind)
        modes = len(self.inputs) + len(self.outputs)
        letters = modes + 2 * max(len(self.sizes) - modes, 0)  # where a network meets itself, its bonds count twice
        for what, count in (("modes and pairs of bonds", letters), ("factors", len(self.factors))):
            if count > MOST_INDICES:
                raise SpecError(f"a network of {count} {what}; at most {MOST_INDICES} are contracted")
        for what, pattern, given in (
            ("factor", _FACTOR_NAME, [factor.name for factor in self.factors]),
            ("index", _INDEX_NAME, [index for index, _ in self.sizes]),
        ):
            for name in given:
                if not pattern.fullmatch(name):
                    raise SpecError(f"{name[:40]!r} is no name of a {what}; it would be like {_LIKE[what]}")
        names = [factor.name for factor in self.factors]
        if len(set(names)) != len(names) or not names:
            raise SpecError(f"factor names {names} must be present and distinct")
        if len(self.size) != len(self.sizes) or set(self.inputs) & set(self.outputs):
            raise SpecError("every index needs one size, and none may be both input and output")
        used = [index for factor in self.factors for index in factor.indices]
        for index in self.size:
            if self.size[index] < 1:
                raise SpecError(f"index {index} has size {self.size[index]}; modes and ranks start at 1")
            is_mode = index in self.inputs or index in self.outputs
            if used.count(index) < (1 if is_mode else 2):
                raise SpecError(f"index {index} occurs {used.count(index)} times: a mode needs one factor, a bond two")
        for index in (*used, *self.inputs, *self.outputs):
            if index not in self.size:
                raise SpecError(f"index {index} has no size")
        for factor in self.factors:
            if len(set(factor.indices)) != len(factor.indices):
                raise SpecError(f"factor {factor.name} names an index twice; each of its indices is another one")
        for what, indices in (("inputs", self.inputs), ("outputs", self.outputs)):
            if not indices or len(set(indices)) != len(indices):
                raise SpecError(f"the {what} {indices} of a network must be some, and distinct")
            if prod(self.shape(indices)) > MOST_ENTRIES:
                raise SpecError(
                    f"the modes {self.shape(indices)} have {prod(self.shape(indices)):,} entries, more than "
                    f"{MOST_ENTRIES:,}; choose smaller ones"
                )

    @cached_property
    def size(self) -> Mapping[str, int]:
        return dict(self.sizes)

    @cached_property
    def factor(self) -> Mapping[str, Factor]:
        return {factor.name: factor for factor in self.factors}

    def shape(self, indices: Iterable[str]) -> tuple[int, ...]:
        return tuple(self.size[index] for index in indices)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.shape(self.inputs)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.shape(self.outputs)

    @property
    def parameters(self) -> int:
        """Stored numbers: the `factors` figure of a model."""
        return sum(prod(self.shape(factor.indices)) for factor in self.factors)

    @property
    def ranks(self) -> dict[str, int]:
        """The ranks by their places: nodes of a dimension tree (`12`), bonds of a train or a ring (`1`)."""
        return {name[1:]: size for name, size in self.sizes if name.startswith("r")}


@dataclass(frozen=True)
class TreeNode:
    """A node of a dimension tree: the modes first..last (1-based, inclusive), its rank towards its parent.

    A leaf covers one mode and has no children; an inner node has two, which split its modes in order.
    """

    first: int
    last: int
    rank: int
    children: "tuple[TreeNode, TreeNode] | None" = None

    def __post_init__(self):
        if self.rank < 1:
            raise SpecError(f"node {self.name} has rank {self.rank}; ranks start at 1")
        if self.children is None:
            if self.first != self.last:
                raise SpecError(f"node {self.name} covers several modes and needs two children")
        else:
            left, right = self.children
            if (left.first, left.last + 1, right.last) != (self.first, right.first, self.last):
                raise SpecError(f"the children of node {self.name} must split its modes in order")

    @property
    def name(self) -> str:
        return "".join(str(mode) for mode in range(self.first, self.last + 1))

    @property
    def bond(self) -> str:
        return f"r{self.name}"

    @property
    def split(self) -> "Split":
        """The tree below without its ranks, as `tree_from` takes it."""
        return self.first if self.children is None else (self.children[0].split, self.children[1].split)

    def walk(self) -> Iterable["TreeNode"]:
        for child in self.children or ():
            yield from child.walk()
        yield self


Split: TypeAlias = "int | tuple[Split, Split]"
"""A dimension tree without ranks: a mode (1-based), or the two halves of a node, as in ((1, 2), (3, (4, 5)))."""


def tree_from(split: Split, rank: int | Mapping[str, int]) -> TreeNode:
    """A dimension tree of any shape.

    Args:
        split: nested pairs with the modes 1..d in order, d at most 9; `1` is the tree of a single leaf.
        rank: one rank for every node, or a rank per node name (`"1"`, `"12"`, ...); the root's is 1.

    Raises:
        SpecError: no pairs, modes missing or out of order, a node without a rank, a rank below 1.
    """

    def modes(split: Split) -> list[int]:
        if isinstance(split, int):
            return [split]
        if not isinstance(split, tuple) or len(split) != 2:
            raise SpecError(f"{split!r} is no node of a binary tree; give a mode, or a pair as in ((1, 2), 3)")
        return [mode for half in split for mode in modes(half)]

    every = modes(split)
    if every != list(range(1, len(every) + 1)):
        raise SpecError(f"a tree with the leaves {every} is no dimension tree; name the modes 1..d, in order")
    if len(every) > 9:
        raise SpecError(f"a dimension tree over {len(every)} modes is outside 1..9")

    def build(split: Split) -> TreeNode:
        covered = modes(split)
        name = "".join(map(str, covered))
        if covered == every:
            own = 1
        elif isinstance(rank, int | np.integer):
            own = rank
        elif name in rank:
            own = rank[name]
        else:
            raise SpecError(f"no rank given for node {name}")
        children = None if isinstance(split, int) else (build(split[0]), build(split[1]))
        return TreeNode(covered[0], covered[-1], own, children)

    return build(split)


def balanced_tree(order: int, rank: int | Mapping[str, int]) -> TreeNode:
    """The balanced dimension tree over modes 1..order (left half never smaller than the right); ranks as `tree_from`.

    Raises:
        SpecError: an order outside 1..9, or what `tree_from` refuses.
    """

    def halves(first: int, last: int) -> Split:
        middle = (first + last) // 2
        return first if first == last else (halves(first, middle), halves(middle + 1, last))

    _check_order(order)
    return tree_from(halves(1, order), rank)


def linear_tree(order: int, rank: int | Mapping[str, int]) -> TreeNode:
    """The linear dimension tree (1, (2, (3, ...))), the shape of a tensor train (Grasedyck 2010, TT-tree).

    Args and errors are those of `balanced_tree`.
    """
    _check_order(order)
    split: Split = order
    for mode in range(order - 1, 0, -1):
        split = (mode, split)
    return tree_from(split, rank)


def _check_order(order: int) -> None:
    if not 1 <= order <= 9:
        raise SpecError(f"a dimension tree over {order} modes is outside 1..9")


def ht_network(inputs: tuple[int, ...], outputs: tuple[int, ...], tree: TreeNode) -> TensorNetwork:
    """Hierarchical Tucker over a dimension tree (FDHT-LSTM, CVPR 2021, section 3).

    Args:
        inputs: n_1..n_d, input modes.
        outputs: m_1..m_d, output modes.
        tree: a dimension tree over d modes.

    Leaf factors U<k> are r_k × m_k × n_k, transfer tensors B<t> r_t × r_left × r_right; the root has no r_t.
    """
    if not len(inputs) == len(outputs) == tree.last or tree.first != 1:
        raise SpecError(f"{len(inputs)} input modes, {len(outputs)} output modes and a tree of {tree.last} must agree")
    bonds, factors = {}, []
    for node in tree.walk():
        up = () if node is tree else (node.bond,)
        if node is not tree:
            bonds[node.bond] = node.rank
        if node.children is None:
            factors.append(Factor(f"U{node.name}", (*up, f"m{node.first}", f"n{node.first}")))
        else:
            factors.append(Factor(f"B{node.name}", (*up, *(child.bond for child in node.children))))
    return _network("ht", inputs, outputs, bonds, factors)


def ht_tree(network: TensorNetwork) -> TreeNode:
    """The dimension tree that `ht_network` made a network from.

    Raises:
        SpecError: a network of another kind, or with other factors.
    """
    no_tree = SpecError(f"a network of kind {network.kind} has no dimension tree; make it with ht_network")

    def build(name: str) -> TreeNode:
        rank = network.size.get(f"r{name}", 1)
        if f"U{name}" in network.factor:
            return TreeNode(int(name), int(name), rank)
        left, right = (bond[1:] for bond in network.factor[f"B{name}"].indices[-2:])
        if len(left) + len(right) != len(name):  # so it ends
            raise no_tree
        children = build(left), build(right)
        return TreeNode(children[0].first, children[1].last, rank, children)

    try:
        tree = build("".join(str(mode) for mode in range(1, len(network.inputs) + 1)))
        same = network.kind == "ht" and ht_network(network.input_shape, network.output_shape, tree) == network
    except (KeyError, ValueError):
        raise no_tree from None
    if not same:
        raise no_tree
    return tree


def tt_network(inputs: tuple[int, ...], outputs: tuple[int, ...], ranks: int | tuple[int, ...]) -> TensorNetwork:
    """Tensor train (Oseledets 2011; matrices as in TT-RNN, Yang et al. 2017): cores in a chain.

    Args:
        inputs, outputs: n_1..n_d and m_1..m_d.
        ranks: one rank, or r_1..r_{d-1}; bond r<k> joins the cores k and k+1.

    Cores G<k> are r_{k-1} × m_k × n_k × r_k, without the missing bond at either end.
    """
    order = len(inputs)
    bonds = _bonds(order - 1, ranks)
    cores = [
        Factor(f"G{k}", (*((f"r{k - 1}",) if k > 1 else ()), f"m{k}", f"n{k}", *((f"r{k}",) if k < order else ())))
        for k in range(1, order + 1)
    ]
    return _network("tt", inputs, outputs, bonds, cores)


def tr_network(inputs: tuple[int, ...], outputs: tuple[int, ...], ranks: int | tuple[int, ...]) -> TensorNetwork:
    """Tensor ring (Zhao et al. 2016; TR-LSTM, Pan et al. 2019): a chain of cores whose ends are joined.

    Args:
        inputs, outputs: n_1..n_d and m_1..m_d, d at least 2 (a single core would be bonded to itself).
        ranks: one rank, or r_1..r_d; bond r<k> joins the cores k and k+1, r<d> the last and the first.

    Cores G<k> are r_{k-1} × m_k × n_k × r_k, where r_0 is r_d.
    """
    order = len(inputs)
    if order < 2:
        raise SpecError(f"a ring of {order} cores is none; use dense_network for one mode, or two modes and more")
    bonds = _bonds(order, ranks)
    cores = [Factor(f"G{k}", (f"r{k - 1 if k > 1 else order}", f"m{k}", f"n{k}", f"r{k}")) for k in range(1, order + 1)]
    return _network("tr", inputs, outputs, bonds, cores)


def bt_network(
    inputs: tuple[int, ...], outputs: tuple[int, ...], blocks: int, ranks: int | tuple[int, ...]
) -> TensorNetwork:
    """Block terms (De Lathauwer 2008; BT-LSTM, Ye et al. 2018): a sum of Tucker blocks.

    Args:
        inputs, outputs: n_1..n_d and m_1..m_d.
        blocks: blocks in the sum, the size of index b.
        ranks: one rank, or r_1..r_d; bond r<k> joins A<k> and the core.

    Factors A<k> are b × m_k × n_k × r_k, the core C is b × r_1 × ... × r_d. All of them share b: it is a batch index
    for each stage but the last, which sums over it.
    """
    bonds = _bonds(len(inputs), ranks)
    factors = [Factor(f"A{k}", ("b", f"m{k}", f"n{k}", f"r{k}")) for k in range(1, len(inputs) + 1)]
    return _network("bt", inputs, outputs, {"b": blocks, **bonds}, [*factors, Factor("C", ("b", *bonds))])


def _bonds(count: int, ranks: int | tuple[int, ...]) -> dict[str, int]:
    """Sizes of the bonds r1..r<count>, given one rank for all or one for each."""
    every = (ranks,) * count if isinstance(ranks, int | np.integer) else tuple(ranks)
    if len(every) != count:
        raise SpecError(f"{len(every)} ranks for {count} bonds; give one per bond, or a single number for all")
    return {f"r{k}": rank for k, rank in enumerate(every, 1)}


def _network(
    kind: str, inputs: tuple[int, ...], outputs: tuple[int, ...], bonds: Mapping[str, int], factors: Iterable[Factor]
) -> TensorNetwork:
    """A network with the modes n1..nd and m1..md."""
    if len(inputs) != len(outputs) or not inputs:
        raise SpecError(
            f"{len(inputs)} input modes and {len(outputs)} output modes must agree, and there is at least one"
        )
    n = {f"n{k}": size for k, size in enumerate(inputs, 1)}
    m = {f"m{k}": size for k, size in enumerate(outputs, 1)}
    return TensorNetwork(kind, tuple(n), tuple(m), tuple({**n, **m, **bonds}.items()), tuple(factors))


def dense_network(inputs: int, outputs: int | tuple[int, ...]) -> TensorNetwork:
    """An ordinary matrix: a tree with one leaf. Its rows may be numbered by several modes m_1..m_d."""
    m = {f"m{k}": size for k, size in enumerate((outputs,) if isinstance(outputs, int) else outputs, 1)}
    return TensorNetwork("dense", ("n1",), tuple(m), (("n1", inputs), *m.items()), (Factor("W", (*m, "n1")),))
