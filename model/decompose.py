"""From dense weights to hierarchical Tucker: the hierarchical SVD, and the conversion of torch's own layers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import frexp, ldexp, prod, sqrt

import numpy as np
import torch
from torch import Tensor, nn

from fdht.model.layers import FDHTLSTM, HTLinear, NetworkWeight
from fdht.spec.errors import SpecError
from fdht.spec.lstm import LSTMSpec
from fdht.spec.network import TensorNetwork, TreeNode, ht_network, ht_tree

_NOISE = 1e-14
"""Singular values below this part of the matrix's norm count as zero: they are rounding of float64."""


@dataclass(frozen=True)
class Decomposition:
    """A matrix in hierarchical Tucker form. Errors are Frobenius norms, relative to that of the matrix.

    Attributes:
        network: `ht_network` with the ranks that were kept.
        factors: its tensors by name, float64. All but the root's are orthonormal; the root's holds the norm.
        errors: per node but the root, what its truncation removed. The root's second child counts 0: it shares one
            matrix, and so one truncation, with the first.
    """

    network: TensorNetwork
    factors: dict[str, Tensor]
    errors: dict[str, float]

    @property
    def error(self) -> float:
        """The error of the whole. What the truncations remove is pairwise orthogonal, so the squares add up.

        At most sqrt(2d-3) times the error of the best tensor with the same ranks, for d of 2 and more.
        """
        return sqrt(sum(error**2 for error in self.errors.values()))


def from_dense(
    matrix: Tensor | np.ndarray,
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    tree: TreeNode,
    ranks: int | Mapping[str, int] | None = None,
    error: float | None = None,
) -> Decomposition:
    """Hierarchical SVD of a matrix (Grasedyck 2010), from the leaves to the root.

    The matrix is read as a tensor whose mode k is the pair (m_k, n_k). Each node in turn keeps the leading left
    singular vectors of the tensor as truncated so far, its own modes against all others; the tensor then shrinks to
    its coefficients in that basis. Earlier truncations are orthogonal projections and only lower singular values, so
    a node removes at most what the best matrix of its rank would miss of the original, and the error of the whole is
    at most the root of the sum of these squares: 2d-3 of them, as the root's two children share one matrix.

    Args:
        matrix: prod(outputs) × prod(inputs), both in C order; any real dtype.
        inputs, outputs: n_1..n_d and m_1..m_d.
        tree: the dimension tree over d modes.
        ranks: the largest rank of every node, or of those named (`{"12": 8}`); the tree's own ranks if neither
            `ranks` nor `error` is given.
        error: the largest relative error of the whole, 0 for a copy to float64 tolerance. Every node keeps as few
            vectors as its share of what is left of it allows. Where `ranks` allow fewer they win, so look at
            `Decomposition.error`.

    Ranks end lower than asked where the tensor has no more.

    Raises:
        SpecError: a matrix that does not fit the modes or is not finite, a rank below 1 or of an unknown node, an
            error outside 0 <= error < 1.
    """
    ht_network(inputs, outputs, tree)  # refuses modes and a tree that disagree
    tensor = torch.as_tensor(matrix).detach().to("cpu", torch.float64)
    if tuple(tensor.shape) != (prod(outputs), prod(inputs)):
        raise SpecError(
            f"a matrix of shape {tuple(tensor.shape)} does not fit output modes {outputs} and input modes {inputs}, "
            f"which hold {prod(outputs)} x {prod(inputs)}; change the modes or pad the matrix with zeros"
        )
    if not tensor.isfinite().all():
        raise SpecError("the matrix holds infinities or NaN; a decomposition needs finite entries")
    if error is not None and not 0 <= error < 1:
        raise SpecError(f"a relative error of {error} is outside 0 <= error < 1; to truncate further give ranks")

    order = len(inputs)
    size = ldexp(1.0, frexp(tensor.abs().max().item() or 1.0)[1] - 1)
    tensor = tensor / size  # exactly; squares of what is very large or small are no numbers
    truncation = _Truncation(tree, ranks, error, tensor.norm().item())
    factors: dict[str, Tensor] = {}

    def store(node: TreeNode, basis: Tensor) -> None:
        """Makes a basis (the node's modes or its children's bonds, flattened, × rank) the node's factor."""
        if node.children is None:
            rows = (outputs[node.first - 1], inputs[node.first - 1])
        else:
            rows = tuple(truncation.kept[child.name] for child in node.children)
        up = () if node is tree else (truncation.kept[node.name],)
        factors[_factor_name(node)] = basis.T.reshape(*up, *rows).contiguous()

    # The core's dimensions: `done` nodes whose parent is still to come, then the modes that are not yet visited.
    core = tensor.reshape(*outputs, *inputs).permute([axis for k in range(order) for axis in (k, order + k)])
    core = core.reshape([m * n for m, n in zip(outputs, inputs, strict=True)])
    done, top = 0, tree.children or ()
    for node in tree.walk():
        if node is tree:
            break
        if node.children is not None:
            done -= 2
            core = core.flatten(done, done + 1)
        if node not in top:
            unfolded = core.movedim(done, 0).flatten(1)
            # The left singular vectors of A are those of R', where A' = Q R; R is small.
            basis, values, _ = torch.linalg.svd(torch.linalg.qr(unfolded.T, mode="r").R.T, full_matrices=False)
            basis = basis[:, : truncation.rank(values, node)]
            store(node, basis)
            core = (core.movedim(done, -1) @ basis).movedim(-1, done)
        done += 1
    if top:
        left, values, right = torch.linalg.svd(core, full_matrices=False)
        rank = truncation.rank(values, *top)
        store(top[0], left[:, :rank])
        store(top[1], right[:rank].T)
        core = values[:rank].diag()
    store(tree, size * core.reshape(-1, 1))
    network = ht_network(inputs, outputs, _with_ranks(tree, truncation.kept))
    return Decomposition(network, {factor.name: factors[factor.name] for factor in network.factors}, truncation.errors)


def lstm_from_dense(
    lstm: nn.LSTM,
    spec: LSTMSpec,
    ranks: int | Mapping[str, int] | None = None,
    error: float | None = None,
) -> tuple[FDHTLSTM, Decomposition]:
    """A trained torch.nn.LSTM as an FDHTLSTM of the same behaviour, up to the error of the decomposition.

    Args:
        lstm: one layer, one direction, no projection; with or without biases, whose sum is kept.
        spec: sizes, modes, dimension tree and placements. The places of the tensor that hold nothing are 0.
        ranks, error: as for `from_dense`; the specification's own ranks when both are left out.

    Returns:
        The layer, in the LSTM's dtype, on its device and with its `batch_first`; its `spec` has the ranks that were
        kept. And the decomposition of the placed weight: of W_x alone, if the specification has a recurrent network,
        which takes W_h over as it is.

    Raises:
        SpecError: no LSTM, one of another kind or size than the specification, a network that is not HT, a recurrent
            one that is not dense, or what `from_dense` refuses.
    """
    if not isinstance(lstm, nn.LSTM):
        raise SpecError(f"a {type(lstm).__name__} is no torch.nn.LSTM; only its cell can be taken over")
    if lstm.num_layers != 1 or lstm.bidirectional or lstm.proj_size:
        raise SpecError(
            f"an LSTM of {lstm.num_layers} layers, bidirectional={lstm.bidirectional}, proj_size={lstm.proj_size} is "
            "not one plain layer; convert each layer and direction on its own"
        )
    if (lstm.input_size, lstm.hidden_size) != (spec.inputs, spec.hidden):
        raise SpecError(
            f"an LSTM of {lstm.input_size} inputs and {lstm.hidden_size} hidden units does not fit a specification of "
            f"{spec.inputs} and {spec.hidden}; make the specification for the LSTM's sizes"
        )
    network, recurrent = spec.network, spec.recurrent
    if recurrent is not None and recurrent.kind != "dense":
        raise SpecError(f"a recurrent network of kind {recurrent.kind} cannot take over W_h; make it dense")
    of_x, of_h, *biases = (parameter.detach() for parameter in lstm.all_weights[0])
    if not all(bool(tensor.isfinite().all()) for tensor in (of_h, *biases)):
        raise SpecError("the LSTM holds infinities or NaN; a decomposition needs finite entries")

    def placed(of: TensorNetwork, *columns: tuple[np.ndarray, torch.Tensor]) -> torch.Tensor:
        matrix = torch.zeros(prod(of.output_shape), prod(of.input_shape), dtype=torch.float64)
        for positions, weight in columns:
            matrix[np.ix_(spec.z_positions, positions)] = weight.to("cpu", torch.float64)
        return matrix

    x, h = (spec.x_positions, of_x), (spec.h_positions, of_h)
    matrix = placed(network, x, h) if recurrent is None else placed(network, x)
    result = from_dense(matrix, network.input_shape, network.output_shape, ht_tree(network), ranks, error)

    layers = FDHTLSTM(replace(spec, network=result.network), batch_first=lstm.batch_first).to(of_x)
    (layer,) = layers.lstm_layers
    _fill(layer.weight, result)
    with torch.no_grad():
        if recurrent is not None and layer.recurrent is not None:
            factor = layer.recurrent.factors["W"]
            factor.copy_(placed(recurrent, h).reshape(factor.shape))
        layer.biases.copy_(sum(biases, of_x.new_zeros(4 * spec.hidden)).unflatten(0, (4, spec.hidden)))
    return layers, result


def linear_from_dense(
    linear: nn.Linear,
    network: TensorNetwork,
    ranks: int | Mapping[str, int] | None = None,
    error: float | None = None,
) -> tuple[HTLinear, Decomposition]:
    """A trained torch.nn.Linear as an HTLinear of the same behaviour, up to the error of the decomposition.

    Args:
        linear: with or without bias.
        network: an HT network whose modes hold exactly the layer's features; says modes and dimension tree.
        ranks, error: as for `from_dense`; the network's own ranks when both are left out.

    Returns:
        The layer, in the dtype and on the device of `linear`; its network has the ranks that were kept. And the
        decomposition of its weight.

    Raises:
        SpecError: no linear layer, a network that is not HT, or what `from_dense` refuses.
    """
    if not isinstance(linear, nn.Linear):
        raise SpecError(f"a {type(linear).__name__} is no torch.nn.Linear; only that can be taken over")
    result = from_dense(linear.weight, network.input_shape, network.output_shape, ht_tree(network), ranks, error)
    layer = HTLinear(network=result.network, bias=linear.bias is not None).to(linear.weight)
    _fill(layer.weight, result)
    if layer.bias is not None:
        with torch.no_grad():
            layer.bias.copy_(linear.bias)
    return layer, result


class _Truncation:
    """Chooses ranks within a budget of ranks, of error, or both, and keeps the account.

    Attributes:
        kept: rank of each node that was truncated.
        errors: what that removed, relative to the norm.
    """

    def __init__(self, tree: TreeNode, ranks: int | Mapping[str, int] | None, error: float | None, norm: float):
        nodes = [node for node in tree.walk() if node is not tree]
        if ranks is None and error is None:
            ranks = {node.name: node.rank for node in nodes}
        if isinstance(ranks, int | np.integer):
            ranks = {node.name: int(ranks) for node in nodes}
        if not isinstance(ranks, Mapping | None):
            raise SpecError(f"ranks = {ranks!r} are none; give an integer, or one per node by name")
        limits = dict[str, int](ranks or {})
        for name, limit in limits.items():
            if not isinstance(limit, int | np.integer):
                raise SpecError(f"node {name} has rank {limit!r}, which is no integer")
            if name not in {node.name for node in nodes}:
                raise SpecError(f"no rank can be set for node {name}; the tree has {', '.join(n.name for n in nodes)}")
            if limit < 1:
                raise SpecError(f"node {name} has rank {limit}; ranks start at 1")
        self.kept: dict[str, int] = {}
        self.errors = {node.name: 0.0 for node in nodes}
        self._limits, self._norm = {name: int(limit) for name, limit in limits.items()}, norm
        self._budget = None if error is None else (error * norm) ** 2
        self._waiting = len(nodes) - 1

    def rank(self, values: Tensor, *nodes: TreeNode) -> int:
        """The rank to keep of singular values, for one node or for two that share them."""
        missed = torch.cat([values.square().flip(0).cumsum(0).flip(0), values.new_zeros(1)])  # by rank, from 0 on
        rank = int((values > _NOISE * self._norm).sum())
        if self._budget is not None:
            rank = min(rank, int((missed > max(self._budget, 0) / self._waiting).sum()))
        rank = max(1, min([rank, *(self._limits[node.name] for node in nodes if node.name in self._limits)]))
        lost = missed[rank].item()
        if self._budget is not None:
            self._budget -= lost
        self._waiting -= 1
        self.kept.update({node.name: rank for node in nodes})
        self.errors[nodes[0].name] = sqrt(lost) / (self._norm or 1)
        return rank


def _factor_name(node: TreeNode) -> str:
    return f"{'U' if node.children is None else 'B'}{node.name}"


def _with_ranks(node: TreeNode, ranks: Mapping[str, int]) -> TreeNode:
    """The same tree with other ranks; a node not named gets 1."""
    children = node.children and (_with_ranks(node.children[0], ranks), _with_ranks(node.children[1], ranks))
    return TreeNode(node.first, node.last, ranks.get(node.name, 1), children)


def _fill(weight: NetworkWeight, decomposition: Decomposition) -> None:
    with torch.no_grad():
        for name, factor in decomposition.factors.items():
            weight.factors[name].copy_(factor)
