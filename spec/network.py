"""Tensor networks, and the dimension trees of hierarchical Tucker.

A weight tensor is written as a set of *factors* whose *indices* are named: a name in `inputs` is a mode of
the data tensor, one in `outputs` a mode of the result, any other a bond. HT, TT, TR, BT and dense weights
are all of this one type; only their constructors differ.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

from spec.errors import SpecError


@dataclass(frozen=True)
class Factor:
    """One stored tensor: its name and the names of its indices, in storage (C) order."""

    name: str
    indices: tuple[str, ...]


@dataclass(frozen=True)
class TensorNetwork:
    """A weight tensor held as factors that share named indices.

    Attributes:
        kind: the format's name (`ht`, `dense`, ...), for people.
        inputs: indices contracted with the data, in placement order.
        outputs: indices of the result, in placement order.
        sizes: (index, size) pairs.
        factors: the stored tensors.

    Raises:
        SpecError: a size below 1, an index nobody stores, a bond that joins nothing, a name used twice.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sizes: tuple[tuple[str, int], ...]
    factors: tuple[Factor, ...]

    def __post_init__(self):
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

    def walk(self) -> Iterable["TreeNode"]:
        for child in self.children or ():
            yield from child.walk()
        yield self


def balanced_tree(order: int, rank: int | Mapping[str, int]) -> TreeNode:
    """The balanced dimension tree over modes 1..order (left half never smaller than the right).

    Args:
        order: number of modes d, 1..9.
        rank: one rank for every node, or a rank per node name (`"1"`, `"12"`, ...); the root's is 1.
    """
    if not 1 <= order <= 9:
        raise SpecError(f"a dimension tree over {order} modes is outside 1..9")

    def build(first: int, last: int) -> TreeNode:
        name = "".join(str(mode) for mode in range(first, last + 1))
        if last - first + 1 == order:
            own = 1
        elif isinstance(rank, int):
            own = rank
        elif name in rank:
            own = rank[name]
        else:
            raise SpecError(f"no rank given for node {name}")
        if first == last:
            return TreeNode(first, last, own)
        middle = (first + last) // 2
        return TreeNode(first, last, own, (build(first, middle), build(middle + 1, last)))

    return build(1, order)


def ht_network(inputs: tuple[int, ...], outputs: tuple[int, ...], tree: TreeNode) -> TensorNetwork:
    """Hierarchical Tucker over a dimension tree (FDHT-LSTM, CVPR 2021, section 3).

    Args:
        inputs: n_1..n_d, input modes.
        outputs: m_1..m_d, output modes.
        tree: a dimension tree over d modes.

    Leaf factors U<k> are r_k × m_k × n_k, transfer tensors B<t> r_t × r_left × r_right; the root has no r_t.
    """
    if not len(inputs) == len(outputs) == tree.last:
        raise SpecError(f"{len(inputs)} input modes, {len(outputs)} output modes and a tree of {tree.last} must agree")
    order = len(inputs)
    sizes = [(f"n{k}", n) for k, n in enumerate(inputs, 1)] + [(f"m{k}", m) for k, m in enumerate(outputs, 1)]
    factors = []
    for node in tree.walk():
        up = () if node is tree else (node.bond,)
        if node is not tree:
            sizes.append((node.bond, node.rank))
        if node.children is None:
            factors.append(Factor(f"U{node.name}", (*up, f"m{node.first}", f"n{node.first}")))
        else:
            factors.append(Factor(f"B{node.name}", (*up, *(child.bond for child in node.children))))
    modes = range(1, order + 1)
    return TensorNetwork(
        "ht", tuple(f"n{k}" for k in modes), tuple(f"m{k}" for k in modes), tuple(sizes), tuple(factors)
    )


def dense_network(inputs: int, outputs: int) -> TensorNetwork:
    """An ordinary matrix: a tree with one leaf."""
    return TensorNetwork("dense", ("n1",), ("m1",), (("n1", inputs), ("m1", outputs)), (Factor("W", ("m1", "n1")),))
