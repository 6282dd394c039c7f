"""Torch layers whose weight is a tensor network; the dense matrix is formed only where it is small."""

import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from math import prod, sqrt
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from fdht.model.contraction import (
    START,
    BoxContraction,
    cut,
    cut_network,
    in_order,
    join_stages,
    joining,
    left_to_right,
    mean_square,
    merge,
    stage_weights,
    take,
)
from fdht.model.recipe import RECURRENT_START
from fdht.model.recurrence import Kept, autocast_off, autocast_on, can_fuse, fused, steps
from fdht.spec.cards import card, lstm_facts, lstm_parts
from fdht.spec.choose import Modes, Ranks, Tree, chosen_network, chosen_stack
from fdht.spec.errors import SpecError
from fdht.spec.formats import PIXELS, InputFormat
from fdht.spec.lstm import MOST_PARAMETERS, LSTMSpec, Region, stack
from fdht.spec.network import TensorNetwork
from fdht.spec.stages import Stage, StageList, check_sizes, stages
from fdht.spec.task import OutputScaling, Task, check_outputs

Device = torch.device | str | int | None
"""Where parameters are made, as torch's layers take it."""

MOST_FORMED = 1 << 17
"""Most entries of a W that is formed for x; beyond, x is contracted with the factors (measured: decisions)."""

MOST_KEPT = 1 << 18
"""Most entries of a W_h that is formed to be kept, where no gradients are asked for (measured: decisions)."""

MOST_ON_THE_WAY = 1 << 20
"""Most entries of a tensor on the way to such a W."""


class NetworkWeight(nn.Module):
    """The factors of a tensor network, and the contraction of data with them.

    Args:
        network: the weight; its matrix has prod(output modes) rows and prod(input modes) columns.
        stage_list: order of contraction; `left_to_right` when left out.
        variance: mean square of the dense matrix's entries at initialisation, of its columns in `box` if there is one.
        box: of the input modes.
        device, dtype: of the parameters, as torch's layers take them; torch's defaults when left out.

    Attributes:
        whole: the stage that merges all factors.

    Initialisation: an entry of the dense matrix is a sum over all bonds of products of one entry per factor. With
    independent factors of mean 0 its variance is (product of the factors' variances) × (product of the bonds'
    sizes). Each factor therefore gets the variance prod over its bonds of size**(-1/k) for a bond that k factors
    share, which cancels the sum over that bond. That holds on average over draws; one draw strays further with
    every factor, so all factors are then scaled alike to give exactly the wanted mean square.

    Raises:
        SpecError: a stage list that does not name every factor once.
    """

    def __init__(
        self,
        network: TensorNetwork,
        stage_list: StageList | None = None,
        variance: float = 1.0,
        box: Region | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.network = network
        self.stage_list = left_to_right(network) if stage_list is None else stage_list
        check_sizes(network, stages(network, self.stage_list))
        self.whole = stages(network, (tuple(network.factor),))
        self.factors = nn.ParameterDict(
            {
                factor.name: nn.Parameter(torch.empty(network.shape(factor.indices), device=device, dtype=dtype))
                for factor in network.factors
            }
        )
        self.reset_parameters(variance, box)

    def reset_parameters(self, variance: float, box: Region | None = None) -> None:
        """Draws all factors anew, so that the dense matrix, or its columns in a box, have entries of a mean square."""
        modes = {*self.network.inputs, *self.network.outputs}
        uses = [index for factor in self.network.factors for index in factor.indices]
        tensors = dict(self.factors.items())
        with torch.no_grad():
            for factor in self.network.factors:
                bonds = [index for index in factor.indices if index not in modes]
                spread = prod(self.network.size[index] ** (-1 / uses.count(index)) for index in bonds)
                tensors[factor.name].normal_(std=sqrt(spread))
            scale = (variance / self.mean_square(box)) ** (0.5 / len(tensors))
            for parameter in tensors.values():
                parameter.mul_(scale)

    def scale_apart(self, box: Region, other: Region, variance: float) -> None:
        """Gives the columns in a box entries of a mean square and leaves those in another, disjoint one alone.

        In some mode the two share no index; the factor of that mode is scaled where it meets the first.
        """
        name, axis, mode = self.parting(box, other)
        with torch.no_grad():
            met = self.factors[name].narrow(axis, box.start[mode], box.shape[mode])
            met.mul_(torch.sqrt(variance / self.mean_square(box)))

    def parting(self, box: Region, other: Region) -> tuple[str, int, int]:
        """Where two disjoint boxes share no index: a factor, its axis, and which input mode that is, from 0."""
        ranges = enumerate(zip(box.start, box.shape, other.start, other.shape, strict=True))
        mode = next(k for k, (a, m, b, n) in ranges if a + m <= b or b + n <= a)
        index = self.network.inputs[mode]
        factor = next(factor for factor in self.network.factors if index in factor.indices)
        return factor.name, factor.indices.index(index), mode

    def mean_square(self, box: Region | None = None) -> Tensor:
        """The mean square entry of the dense matrix, or of its columns in a box of the input modes."""
        network, factors = self.network, dict(self.factors.items())
        if box is not None:
            factors = {
                name: cut(network, box, factors[name], factor.indices) for name, factor in network.factor.items()
            }
            network = cut_network(network, box)
        return mean_square(network, factors)

    def merged(self, groups: Iterable[Stage]) -> list[Tensor]:
        """The factors of every stage merged: dimensions as `Stage.weight`; differentiable."""
        return stage_weights(self.network, groups, dict(self.factors.items()))

    @property
    def dtype(self) -> torch.dtype:
        """Of the factors."""
        return next(iter(self.factors.values())).dtype

    @property
    def small(self) -> bool:
        """Whether the dense weight is small enough to form it in every call."""
        network = self.network
        if prod(network.input_shape) * prod(network.output_shape) > MOST_FORMED:
            return False
        names = tuple(factor.indices for factor in network.factors)
        order = (*network.outputs, *network.inputs)
        return joining(names, tuple(map(network.shape, names)), order, MOST_PARAMETERS).largest <= MOST_ON_THE_WAY

    def formed(self, merged: Iterable[Tensor], box: Region) -> Tensor:
        """The columns of the dense weight in a box, out of all factors merged: output modes × the box's modes."""
        (tensor,), (stage,) = merged, self.whole
        network, indices = self.network, stage.weight
        return cut(network, box, tensor, indices).permute(
            [indices.index(name) for name in (*network.outputs, *network.inputs)]
        )

    def on(self, box: Region, start: int) -> BoxContraction:
        """The contraction of vectors in a box, in fewer stages where that takes less time (see `join_stages`)."""
        listed = self.stage_list if self.small else join_stages(self.network, box, self.stage_list, start)
        return BoxContraction(self.network, box, listed)

    def dense(self) -> Tensor:
        """The dense matrix: prod(output modes) × prod(input modes), both in C order."""
        network = self.network
        tensor = merge(network, list(network.factor), dict(self.factors.items()), (*network.outputs, *network.inputs))
        return tensor.reshape(prod(network.output_shape), prod(network.input_shape))


class HTLinear(nn.Module):
    """A linear layer y = W x + b whose W is a tensor network (hierarchical Tucker, or any other kind).

    Arguments are those of `torch.nn.Linear`, by the same names and in the same order, and the size of the network.

    Args:
        in_features, out_features: sizes of x and y; or, in place of both, a network, whose modes then say them.
        bias: add a bias of `out_features` entries.
        device, dtype: of the parameters.
        rank, max_factors, modes, tree, format: of the network, as for `FDHTLSTM`.
        network: W itself, with modes that hold at least so many features.
        stage_list: order of contraction; a simple one when left out.

    Entries of W start with variance 1 / in_features, so y has x's variance.

    Raises:
        SpecError: sizes, modes or ranks that make no network, a stage list that does not name every factor once.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int | TensorNetwork | None = None,
        out_features: int | None = None,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        rank: Ranks | None = None,
        max_factors: int | None = None,
        modes: Modes | None = None,
        tree: Tree = None,
        format: str = "ht",
        network: TensorNetwork | None = None,
        stage_list: StageList | None = None,
    ):
        super().__init__()
        if isinstance(in_features, TensorNetwork):
            if out_features is not None:
                raise SpecError("a network says the sizes; pass bias, device and dtype by name")
            in_features, network = None, in_features
        if network is None:
            inputs, outputs = _counts(in_features=in_features, out_features=out_features)
            network = chosen_network(
                inputs, outputs, rank=rank, max_factors=max_factors, modes=modes, tree=tree, format=format
            )
        else:
            _refuse_both("network", rank=rank, max_factors=max_factors, modes=modes, tree=tree)
            inputs = prod(network.input_shape) if in_features is None else _count("in_features", in_features)
            outputs = prod(network.output_shape) if out_features is None else _count("out_features", out_features)
        for what, count, shape in (
            ("in_features", inputs, network.input_shape),
            ("out_features", outputs, network.output_shape),
        ):
            if count > prod(shape):
                raise SpecError(f"{what} = {count} does not fit modes {shape}, which hold {prod(shape)}; enlarge one")
        self.in_features, self.out_features = inputs, outputs
        self._x, self._y = (
            Region((0,) * len(shape), shape, tuple(range(len(shape))), count)
            for shape, count in ((network.input_shape, inputs), (network.output_shape, outputs))
        )
        self.weight = NetworkWeight(network, stage_list, 1 / inputs, None, device, dtype)
        self._forms, self._of_x, self._kept = self.weight.small, self.weight.on(self._x, START // 20), Kept()
        self.register_parameter(
            "bias", nn.Parameter(torch.zeros(outputs, device=device, dtype=dtype)) if bias else None
        )

    def reset_parameters(self) -> None:
        """Draws the parameters anew."""
        self.weight.reset_parameters(1 / self.in_features)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Maps the input, any leading dimensions × in_features, to the same × out_features."""
        _check_vectors("input", input, self.in_features, "features", self.weight)
        with autocast_off(input.device):
            matrices = self._kept(self.weight.factors.values(), self._weights)
        if self._forms:
            return functional.linear(input, matrices[0], self.bias)
        data = input.reshape(-1, self.in_features)
        y = take(self._of_x(data, matrices), self._y, 1).reshape(*input.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def to_dense(self) -> Tensor:
        """W as a matrix: out_features × in_features."""
        dense = self.weight.formed(self.weight.merged(self.weight.whole), self._x)
        return take(take(dense, self._y, 0), self._x, 1)

    def _weights(self, _kept: bool) -> list[Tensor]:
        """What the input meets: W, or the matrices of a contraction."""
        return [self.to_dense()] if self._forms else self._of_x.matrices(self.weight.merged(self._of_x.stages))

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class FDHTLSTMLayer(nn.Module):
    """A layer of `FDHTLSTM`: its eight matrices are one tensor network (FDHT-LSTM, CVPR 2021), or two: W_x and W_h.

    torch's two biases, which only ever occur as their sum, are one here: `bias`, 4 × H, gates in the order i, f, g, o.

    Args:
        spec: sizes, network and placements. Its head is not this layer's business.
        stage_list: order of contraction of `spec.network`; a simple one when left out.
        bias: have one.
        device, dtype: of the parameters.
        recurrent_start: mean square of the entries of W_h at the start, times H.

    W_x starts with entries of variance 1 / N, so it brings the mean square of x into z, and W_h with
    `recurrent_start` / H, for any depth and rank. The forget gate's bias starts at 1, the others at 0.

    Where W is small it is formed once per call, differentiably, and torch's own LSTM does the rest. Otherwise x of all
    steps is contracted with the factors at once, and h step by step. The numbers are the same to rounding.

    Raises:
        SpecError: a stage list that does not name every factor once.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        spec: LSTMSpec,
        stage_list: StageList | None = None,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
        recurrent_start: float = RECURRENT_START,
    ):
        super().__init__()
        self.spec, self._variance_of_h = spec, recurrent_start / spec.hidden
        self.weight = NetworkWeight(spec.network, stage_list, 1 / spec.inputs, spec.x, device, dtype)
        self.recurrent = None
        if spec.recurrent is not None:
            self.recurrent = NetworkWeight(spec.recurrent, None, self._variance_of_h, spec.h, device, dtype)
        self.register_parameter(
            "bias", nn.Parameter(torch.empty(4, spec.hidden, device=device, dtype=dtype)) if bias else None
        )
        self._spread()
        self._gates_in_order = spec.z_positions.tolist() == list(range(prod(spec.network.output_shape)))
        of_h = self.recurrent or self.weight
        self._forms = self.weight.small and of_h.small
        self._of_x = self.weight.on(spec.x, START // 20)
        self._of_h = of_h.on(spec.h, START)
        self._kept = Kept()

    def reset_parameters(self) -> None:
        """Draws the parameters anew."""
        self.weight.reset_parameters(1 / self.spec.inputs, self.spec.x)
        if self.recurrent is not None:
            self.recurrent.reset_parameters(self._variance_of_h, self.spec.h)
        self._spread()

    def _spread(self) -> None:
        """Gives W_h its own variance, where it is in one network with W_x, and the bias its start."""
        if self.recurrent is None:
            self.weight.scale_apart(self.spec.h, self.spec.x, self._variance_of_h)
        if self.bias is not None:
            with torch.no_grad():
                self.bias.zero_()
                self.bias[1] = 1

    def forward(
        self,
        x: Tensor,
        state: tuple[Tensor, Tensor] | None = None,
        *,
        batch_sizes: Tensor | None = None,
        batch_first: bool = False,
        zero_h: bool = False,
        mask_h: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Runs sequences.

        Args:
            x: T × B × N, or B × T × N with `batch_first`; with `batch_sizes`, the data of a packed sequence.
            state: h and c before the first step, B × H; zeros when left out.
            batch_sizes: sequences per step.
            zero_h, mask_h: as for `FDHTLSTM`; the mask is B × H.

        Returns:
            h after every step, laid out as x, and h and c after each sequence's last step, B × H.
        """
        time = 1 if batch_first and batch_sizes is None else 0
        if state is None:
            zeros = x.new_zeros(x.shape[1 - time] if batch_sizes is None else int(batch_sizes[0]), self.spec.hidden)
            state = zeros, zeros
        h, c = state
        with autocast_off(x.device):
            of_x, of_h = self._kept(self._factors(), self._weights)
        bias = None if self.bias is None else self.bias.flatten()
        if self._forms and not zero_h and mask_h is None and can_fuse(x):
            biases = () if bias is None else (bias,)
            output, h, c = fused(x, batch_sizes, h, c, (*of_x, *of_h, *biases), batch_first)
            return output, (h, c)
        data = x if batch_sizes is not None else x.flatten(0, 1)
        z = self._met_by_x(data, of_x)
        z = z.to(h.dtype) if bias is None else z + bias
        every = z.split(batch_sizes.tolist()) if batch_sizes is not None else z.unflatten(0, x.shape[:2]).unbind(time)

        feedback = None if zero_h else partial(self._met_by_h, of_h=of_h)
        outputs, h, c = steps(every, h, c, feedback, mask_h)
        return torch.stack(outputs, time) if batch_sizes is None else torch.cat(outputs), (h, c)

    def preactivations(self, x: Tensor, h: Tensor) -> Tensor:
        """z = W_x x + W_h h + b of vectors (… × N, and h before them, … × H): … × 4H, gates in the order i, f, g, o."""
        of_x, of_h = self._kept(self._factors(), self._weights)
        z = self._met_by_x(x.reshape(-1, self.spec.inputs), of_x)
        z = z + self._met_by_h(h.reshape(-1, self.spec.hidden), of_h) + self.biases.flatten()
        return z.reshape(*h.shape[:-1], -1)

    @property
    def biases(self) -> Tensor:
        """The bias, 4 × H; zeros if there is none."""
        return self._factors()[0].new_zeros(4, self.spec.hidden) if self.bias is None else self.bias

    def to_dense(self) -> Tensor:
        """W as torch.nn.LSTM knows it: 4H × (N + H), columns [weight_ih | weight_hh]."""
        source = self.recurrent or self.weight
        of_x, of_h = self.weight.merged(self.weight.whole), source.merged(source.whole)
        return torch.cat([self._matrix(self.weight, of_x, self.spec.x), self._matrix(source, of_h, self.spec.h)], 1)

    def _factors(self) -> list[Tensor]:
        every = (self.weight, self.recurrent)
        return [factor for weight in every if weight is not None for factor in weight.factors.values()]

    def _met_by_x(self, x: Tensor, of_x: list[Tensor]) -> Tensor:
        """W_x x: b × 4H of b × N."""
        return functional.linear(x, of_x[0]) if self._forms else self._gates(self._of_x(x, of_x), 1)

    def _met_by_h(self, h: Tensor, of_h: list[Tensor] | Tensor) -> Tensor:
        """W_h h: b × 4H of b × H."""
        if isinstance(of_h, Tensor):
            return h @ of_h
        return functional.linear(h, of_h[0]) if self._forms else self._gates(self._of_h(h, of_h), 1)

    def _weights(self, kept: bool) -> tuple[list[Tensor], list[Tensor] | Tensor]:
        """What x and h meet: each a matrix (4H × N, 4H × H), or those of a contraction. Where it is kept, h may meet
        its matrix though x does not: H × 4H.
        """
        of_h = self.recurrent or self.weight
        if self._forms:
            merged = self.weight.merged(self.weight.whole)
            x = self._matrix(self.weight, merged, self.spec.x)
            if self.recurrent is not None:
                merged = of_h.merged(of_h.whole)
            return [x], [self._matrix(of_h, merged, self.spec.h)]
        merged = self.weight.merged(self._of_x.stages)
        x = self._of_x.matrices(merged)
        if self._of_h.stages != self._of_x.stages or self.recurrent is not None:
            merged = of_h.merged(self._of_h.stages)
        matrices, hidden = self._of_h.matrices(merged), self.spec.hidden
        if kept and 4 * hidden**2 <= MOST_KEPT:
            ones = torch.eye(hidden, dtype=x[0].dtype, device=x[0].device)
            return x, self._met_by_h(ones, matrices).contiguous()
        return x, matrices

    def _matrix(self, weight: NetworkWeight, merged: list[Tensor], box: Region) -> Tensor:
        """4H × what is in a box, out of all factors merged."""
        parts = in_order(weight.formed(merged, box), box, len(self.spec.network.outputs))
        rows = parts if self._gates_in_order else self._gates(parts, 0)
        matrix = rows.reshape(4 * self.spec.hidden, -1)
        return matrix.narrow(1, 0, box.count) if matrix.shape[1] > box.count else matrix

    def _gates(self, tensor: Tensor, first: int) -> Tensor:
        """The output modes, dimensions from `first` on, as one dimension of 4H."""
        last = first + len(self.spec.network.outputs) - 1
        if self._gates_in_order:
            return tensor.flatten(first, last)
        return torch.cat([take(tensor, gate, first) for gate in self.spec.gates], first)


class FDHTLSTM(nn.Module):
    """`torch.nn.LSTM` whose weights are tensor networks (FDHT-LSTM, CVPR 2021).

    Arguments are those of `torch.nn.LSTM`, by the same names and in the same order, and the size of the network:
    `rank` or `max_factors`. So are the conventions: gates in the order i, f, g, o, sequences T × B × N (or B × T × N
    with `batch_first`, or T × N unbatched) or packed, states layers × B × H (layers × H unbatched).

    Args:
        input_size, hidden_size: N and H; or, in place of both, a specification, or one per layer.
        num_layers: layers, each fed with the output of the one below.
        bias: have biases (one per layer; torch's two only ever occur as their sum).
        batch_first: the batch dimension of input and output comes first.
        dropout: probability of zeroing an entry of a layer's output before the next layer, in training.
        bidirectional, proj_size: refused; they are here to say so.
        device, dtype: of the parameters.
        rank: of all bonds, or one per bond (by node of an HT tree, in order for TT, TR and BT).
        max_factors: in place of `rank`: the largest one with which the networks of all layers have at most so many
            stored numbers together.
        modes: input modes and output modes of the network, for one layer; chosen by `fdht.spec.choose` when left out.
        tree: of HT, as pairs of modes (((1, 2), 3)); balanced when left out.
        format: ht, tt, tr, bt or dense.
        spec: a specification of what otherwise follows from the above, or one per layer, the lowest first.
        stage_lists: one order of contraction per layer; simple ones when left out.
        recurrent_start: mean square of the entries of W_h at the start, times H; nn.LSTM's when left out.

    Raises:
        SpecError: sizes, modes or ranks that make no layer, layers that do not follow each other, a stage list that
            does not name every factor once, `bidirectional` or `proj_size`.
    """

    def __init__(
        self,
        input_size: int | LSTMSpec | Sequence[LSTMSpec] | None = None,
        hidden_size: int | None = None,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        rank: Ranks | None = None,
        max_factors: int | None = None,
        modes: Modes | None = None,
        tree: Tree = None,
        format: str = "ht",
        spec: LSTMSpec | Sequence[LSTMSpec] | None = None,
        stage_lists: Sequence[StageList | None] | None = None,
        recurrent_start: float = RECURRENT_START,
    ):
        super().__init__()
        _refuse(bidirectional, proj_size)
        if isinstance(input_size, LSTMSpec) or (isinstance(input_size, Sequence) and not isinstance(input_size, str)):
            if hidden_size is not None or spec is not None:
                raise SpecError("a specification says the sizes; pass batch_first and the like by name")
            input_size, spec = None, input_size
        if spec is None:
            inputs, hidden = _counts(input_size=input_size, hidden_size=hidden_size)
            layers = _count("num_layers", num_layers)
            specs = chosen_stack(
                inputs, hidden, layers, rank=rank, max_factors=max_factors, modes=modes, tree=tree, format=format
            )
        else:
            _refuse_both("spec", rank=rank, max_factors=max_factors, modes=modes, tree=tree)
            if not isinstance(spec, LSTMSpec) and not all(isinstance(each, LSTMSpec) for each in spec):
                raise SpecError("spec is an LSTMSpec, or one per layer; chosen_lstm, fdht_lstm or lstm_on make one")
            specs = stack(spec)
            for name, given, own in (
                ("input_size", input_size, specs[0].inputs),
                ("hidden_size", hidden_size, specs[0].hidden),
                ("num_layers", None if num_layers == 1 else num_layers, len(specs)),
            ):
                if given is not None and given != own:
                    raise SpecError(f"{name} = {given} beside a specification of {own}; leave it out")
        if not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
            raise SpecError(f"dropout = {dropout} is no probability from 0 to 1")
        lists = [None] * len(specs) if stage_lists is None else list(stage_lists)
        if len(lists) != len(specs):
            raise SpecError(f"{len(lists)} stage lists for {len(specs)} layers; give one per layer, or none at all")
        if dropout and len(specs) == 1:
            warnings.warn(
                f"dropout={dropout} is applied between layers, and there is one; give num_layers, or leave it out",
                stacklevel=2,
            )
        self.input_size, self.hidden_size, self.num_layers = specs[0].inputs, specs[0].hidden, len(specs)
        self.bias, self.batch_first, self.dropout = bool(bias), bool(batch_first), float(dropout)
        self.bidirectional, self.proj_size, self.specs = False, 0, specs
        self.layers = nn.ModuleList(
            FDHTLSTMLayer(each, order, self.bias, device, dtype, recurrent_start)
            for each, order in zip(specs, lists, strict=True)
        )
        self.register_load_state_dict_pre_hook(_take_over)

    @property
    def spec(self) -> LSTMSpec:
        """The lowest layer's specification."""
        return self.specs[0]

    @property
    def lstm_layers(self) -> list[FDHTLSTMLayer]:
        """The layers, the lowest first."""
        return [layer for layer in self.layers if isinstance(layer, FDHTLSTMLayer)]

    def _repr_html_(self) -> str:
        return card("FDHTLSTM", lstm_facts(self.specs), *(part for each in self.specs for part in lstm_parts(each)))

    def reset_parameters(self) -> None:
        """Draws the parameters anew."""
        for layer in self.lstm_layers:
            layer.reset_parameters()

    def flatten_parameters(self) -> None:
        """Does nothing: there is no memory to put in order. It is here for code that calls it."""

    def to_dense(self, layer: int = 0) -> Tensor:
        """W of a layer as torch.nn.LSTM knows it: 4H × (N + H), columns [weight_ih | weight_hh]."""
        return self.lstm_layers[layer].to_dense()

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
        *,
        zero_h: bool = False,
        mask_h: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        """Runs sequences.

        Args:
            input: T × B × N, B × T × N with `batch_first`, or T × N; or a PackedSequence of B sequences of any lengths.
            hx: (h_0, c_0), each layers × B × H, or layers × H for an unbatched input; zeros when left out.
            zero_h: put 0 in place of the previous h in every step (the ablation: what is h worth?).
            mask_h: as h_0 (or without its first dimension, for one layer): what the previous h is multiplied by in
                every step, before it meets its weights (dropout in the sense of Gal & Ghahramani 2016: one mask per
                sequence).

        Returns:
            output, (h_n, c_n): the last layer's h of every step laid out like the input, and all layers' states after
            each sequence's own last step, laid out like `hx`.

        Raises:
            SpecError: an input, a state or a mask of a form, size or dtype that does not fit.
        """
        packed = input if isinstance(input, PackedSequence) else None
        data = input if packed is None else packed.data
        _check_vectors("input", data, self.input_size, "inputs", self.lstm_layers[0].weight)
        batched = packed is not None or data.dim() == 3
        if data.dim() not in ((2, 3) if packed is None else (2,)):
            raise SpecError(f"input of shape {tuple(data.shape)} has no steps of {self.input_size} inputs")
        time = 1 if self.batch_first else 0
        sequences = data if packed is not None or batched else data.unsqueeze(1 - time)
        if packed is None and sequences.shape[time] < 1:
            raise SpecError(f"input of shape {tuple(data.shape)} has no steps; a sequence has at least one")
        batch = sequences.shape[1 - time] if packed is None else int(packed.batch_sizes[0])
        size = (self.num_layers, batch, self.hidden_size) if batched else (self.num_layers, self.hidden_size)
        state, mask = _state_of(hx, size, data), _mask_of(mask_h, size)
        if not batched:
            state, mask = (
                state and (state[0].unsqueeze(1), state[1].unsqueeze(1)),
                mask and [m.unsqueeze(0) for m in mask],
            )
        if packed is not None and packed.sorted_indices is not None:
            order = packed.sorted_indices
            state, mask = state and (state[0][:, order], state[1][:, order]), mask and [m[order] for m in mask]

        finals, output = [], sequences
        for number, layer in enumerate(self.lstm_layers):
            if number and self.dropout:
                output = functional.dropout(output, self.dropout, self.training)
            output, final = layer(
                output,
                state and (state[0][number], state[1][number]),
                batch_sizes=None if packed is None else packed.batch_sizes,
                batch_first=self.batch_first,
                zero_h=zero_h,
                mask_h=mask and mask[number],
            )
            finals.append(final)
        h, c = (torch.stack(each) for each in zip(*finals, strict=True))
        if packed is not None:
            if packed.unsorted_indices is not None:
                h, c = h[:, packed.unsorted_indices], c[:, packed.unsorted_indices]
            output = PackedSequence(output, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
            return output, (h, c)
        return (output, (h, c)) if batched else (output.squeeze(1 - time), (h.squeeze(1), c.squeeze(1)))

    def extra_repr(self) -> str:
        """As `torch.nn.LSTM` shows itself: sizes, and what is not as by default."""
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0}
        changed = [f"{name}={getattr(self, name)}" for name, usual in defaults.items() if getattr(self, name) != usual]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *changed])


class Masks(NamedTuple):
    """What dropout multiplies the entries of a batch by: 0, or 1 / (1 - p) for those it keeps; None for no dropout.

    Attributes:
        x: B × N, the same in every step.
        h: layers × B × H, the h that goes back into its layer, the same in every step.
        head: B × H, the hidden state before the head, the same in every step.
    """

    x: Tensor | None
    h: Tensor | None
    head: Tensor | None

    def of(self, samples: Tensor, device: torch.device) -> "Masks":
        """Those of some samples of the batch, on a device."""
        chosen = (None if mask is None else mask[..., samples, :].to(device) for mask in self)
        return Masks(*chosen)


NO_MASKS = Masks(None, None, None)


class Classifier(nn.Module):
    """Layers of FDHTLSTM and a linear head on h: clips in, logits out, or the outputs of a regression.

    Args:
        layers: one specification, or several, the lowest first; the last one with at least one class. Its task says
            whether the head sees the last hidden state or that of every step.
        input_format: how raw words become numbers.
        dropout: probability of zeroing an entry of the hidden state before the head, in training; one mask for all
            steps of a clip.
        input_dropout: the same of an entry of x, with one mask for all steps of a clip.
        hidden_dropout: the same of the h that goes back into its layer.
        outputs: how the head's outputs become the numbers of a regression.
        recurrent_start: as for FDHTLSTM.

    Raises:
        SpecError: a specification without classes, layers that do not follow each other, or a scaling of other outputs.
    """

    def __init__(
        self,
        layers: LSTMSpec | Sequence[LSTMSpec],
        input_format: InputFormat = PIXELS,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        outputs: OutputScaling | None = None,
        recurrent_start: float = RECURRENT_START,
    ):
        super().__init__()
        self.layers = stack(layers)
        spec = self.layers[-1]
        if spec.classes < 1:
            raise SpecError("a classifier needs at least one class; the specification has none")
        check_outputs(outputs, spec.task, spec.classes)
        self.input_format, self.outputs = input_format, outputs
        self.lstm = FDHTLSTM(self.layers, batch_first=True, recurrent_start=recurrent_start)
        self.dropout, self.input_dropout, self.hidden_dropout = dropout, input_dropout, hidden_dropout
        self.head = nn.Linear(spec.hidden, spec.classes)

    @property
    def task(self) -> Task:
        """What the outputs mean, and when there are any."""
        return self.layers[-1].task

    @property
    def lstm_layers(self) -> list[FDHTLSTMLayer]:
        """The layers, the lowest first."""
        return self.lstm.lstm_layers

    @property
    def networks(self) -> list[NetworkWeight]:
        """The weights, one per chain (see fdht.spec.lstm.chains)."""
        every = [weight for layer in self.lstm_layers for weight in (layer.weight, layer.recurrent)]
        return [weight for weight in every if weight is not None]

    def widen(self, raw: Tensor) -> Tensor:
        """Raw words (any dtype and shape) as the real numbers they stand for, in the parameters' dtype."""
        return (raw.to(self.head.weight.dtype) - self.input_format.offset) * self.input_format.raw.lsb

    def masks(self, batch: int, generator: torch.Generator | None = None) -> Masks:
        """Draws the masks of a batch on the CPU, so that they are the same wherever the model is."""

        def draw(probability: float, *shape: int) -> Tensor | None:
            if probability == 0:
                return None
            return torch.empty(shape).bernoulli_(1 - probability, generator=generator).div_(1 - probability)

        hidden = self.layers[-1].hidden
        return Masks(
            draw(self.input_dropout, batch, self.layers[0].inputs),
            draw(self.hidden_dropout, len(self.layers), batch, hidden),
            draw(self.dropout, batch, hidden),
        )

    def masks_for(self, x: Tensor) -> Masks:
        """Masks of its own draw for clips x in training, none otherwise."""
        return self.masks(len(x)).of(torch.arange(len(x)), x.device) if self.training else NO_MASKS

    def forward(
        self, x: Tensor, *, zero_h: bool = False, masks: Masks | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """Logits (B × classes, or B × T × classes of a task after every step) of clips of real numbers (B × T × N).

        Args:
            zero_h: put 0 in place of the previous h in every step.
            lengths: steps of each clip that are its own, B; all when left out.
            masks: of dropout, on x's device; in training they are drawn when left out, otherwise there are none.
        """
        if masks is None:
            masks = self.masks_for(x)
        seen = x if masks.x is None else x * masks.x[:, None]
        each, (h, _) = self.lstm(seen, zero_h=zero_h, mask_h=masks.h)
        if self.task.every_step:
            return self.head(each if masks.head is None else each * masks.head[:, None])
        last = h[-1] if lengths is None else own_last(each, lengths)
        return self.head(last if masks.head is None else last * masks.head)


def own_last(each: Tensor, lengths: Tensor) -> Tensor:
    """Of what there is after each step (B × T × H), what is there after each clip's own last one (B × H)."""
    return each[torch.arange(len(each), device=each.device), lengths.to(each.device, torch.int64) - 1]


def _refuse(bidirectional: bool, proj_size: int) -> None:
    if bidirectional:
        raise SpecError(
            "bidirectional=True is not supported: the backward direction needs the end of a sequence before its first "
            "output; run a second layer on the reversed sequences and concatenate both outputs"
        )
    if proj_size:
        raise SpecError(
            f"proj_size={proj_size} is not supported: the weights are compressed already; choose a smaller hidden_size"
        )


def _refuse_both(what: str, **others: object) -> None:
    for name, value in others.items():
        if value is not None:
            raise SpecError(f"{name} beside a {what}, which says it already; give one of the two")


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise SpecError(f"{name} = {value!r} is no count; give an integer from 1")
    return int(value)


def _counts(**named: object) -> list[int]:
    for name, value in named.items():
        if value is None:
            raise SpecError(f"no {name}; give {' and '.join(named)}, or a specification of the network")
    return [_count(name, value) for name, value in named.items()]


def _check_vectors(what: str, data: object, count: int, of: str, weight: NetworkWeight) -> None:
    """Whether the last dimension is of `count` entries, in floating point as the parameters are."""
    if not isinstance(data, Tensor):
        raise SpecError(f"{what} is a {type(data).__name__}; pass a tensor, as from torch.as_tensor")
    if data.dim() < 1 or data.shape[-1] != count:
        raise SpecError(f"{what} of shape {tuple(data.shape)} ends in no dimension of {count} {of}")
    if not data.is_floating_point():
        raise SpecError(f"{what} of dtype {data.dtype}; a layer takes floating point: convert it, as by {what}.float()")
    if data.dtype != weight.dtype and not autocast_on(data.device):
        raise SpecError(f"{what} of dtype {data.dtype} for parameters of {weight.dtype}; convert one of the two")


def _state_of(hx: object, size: tuple[int, ...], data: Tensor) -> tuple[Tensor, Tensor] | None:
    """h_0 and c_0, checked."""
    if hx is None:
        return None
    if not isinstance(hx, tuple | list) or len(hx) != 2 or not all(isinstance(each, Tensor) for each in hx):
        what = f"{len(hx)} of them" if isinstance(hx, tuple | list) and len(hx) != 2 else type(hx).__name__
        if isinstance(hx, tuple | list) and len(hx) == 2:
            what = f"({', '.join(type(each).__name__ for each in hx)})"
        raise SpecError(f"a state is a pair of tensors (h_0, c_0), not {what}; leave it out for zeros")
    for name, tensor in zip(("h_0", "c_0"), hx, strict=True):
        if tuple(tensor.shape) != size:
            raise SpecError(f"{name} has shape {tuple(tensor.shape)}, not {size}")
        if tensor.dtype != data.dtype and not autocast_on(data.device):
            raise SpecError(f"{name} of dtype {tensor.dtype} for an input of {data.dtype}; convert one of the two")
    return hx[0], hx[1]


def _mask_of(mask_h: Tensor | None, size: tuple[int, ...]) -> list[Tensor] | None:
    """The mask of every layer, checked."""
    if mask_h is None:
        return None
    shape = tuple(mask_h.shape)
    if size[0] == 1 and shape == size[1:]:
        return [mask_h]
    if shape != size:
        alone = f" or {size[1:]}" if size[0] == 1 else ""
        raise SpecError(f"mask_h has shape {shape}, not {size}{alone}")
    return list(mask_h)


def _take_over(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Renames the parameters of a layer that was saved alone, without `layers.0.`."""
    own = [name for name in state if name.startswith(prefix) and not name.startswith(f"{prefix}layers.")]
    for name in own:
        if name.removeprefix(prefix).split(".")[0] in ("weight", "recurrent", "bias"):
            state[f"{prefix}layers.0.{name.removeprefix(prefix)}"] = state.pop(name)
