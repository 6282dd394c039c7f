"""Torch layers whose weight is a tensor network: forward and backward never form the dense matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod, sqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from fdht.model.contraction import absorb, join_stages, left_to_right, mean_square, merge, stage_weights
from fdht.spec.errors import SpecError
from fdht.spec.formats import PIXELS, InputFormat
from fdht.spec.lstm import LSTMSpec, Region, stack
from fdht.spec.network import TensorNetwork
from fdht.spec.stages import StageList, check_sizes, stages
from fdht.spec.task import OutputScaling, Task, check_outputs

Device = torch.device | str | int | None
"""Where parameters are made, as torch's layers take it."""


class BoxContraction:
    """Contracts data that is zero outside a box of a network's input modes: only the box, with the factors cut to it.

    Args:
        network: the weight.
        box: its shape is that of the data, its start where the data lies in the input modes.
        stage_list: order of contraction.

    Raises:
        SpecError: a stage list that does not name every factor once.
    """

    def __init__(self, network: TensorNetwork, box: Region, stage_list: StageList):
        self._box, self._network = box, _cut(network, box)
        self._stages = stages(self._network, stage_list)
        self._to_outputs = (0, *(1 + self._stages[-1].result.index(name) for name in network.outputs))

    def weights(self, factors: Mapping[str, Tensor]) -> list[Tensor]:
        """The merged weight of every stage, dimensions in the order of `Stage.weight`; differentiable."""
        cut = _cut_factors(self._network, self._box, factors)
        return [weight.contiguous() for weight in stage_weights(self._network, self._stages, cut)]

    def __call__(self, data: Tensor, weights: list[Tensor]) -> Tensor:
        """Contracts data (samples × the box) with stage weights to samples × output modes."""
        indices = self._network.inputs
        for stage, weight in zip(self._stages, weights, strict=True):
            data, indices = absorb(stage, weight, data, indices), stage.result
        return data.permute(self._to_outputs)


class NetworkWeight(nn.Module):
    """The factors of a tensor network, and the contraction of data with them.

    Args:
        network: the weight; its matrix has prod(output modes) rows and prod(input modes) columns.
        stage_list: order of contraction; `left_to_right` when left out.
        variance: mean square of the dense matrix's entries at initialisation, of its columns in `box` if there is one.
        box: of the input modes.
        device, dtype: of the parameters, as torch's layers take them; torch's defaults when left out.

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
        ranges = zip(self.network.inputs, box.start, box.shape, other.start, other.shape, strict=True)
        mode, start, size = next((i, a, m) for i, a, m, b, n in ranges if a + m <= b or b + n <= a)
        factor = next(factor for factor in self.network.factors if mode in factor.indices)
        with torch.no_grad():
            met = self.factors[factor.name].narrow(factor.indices.index(mode), start, size)
            met.mul_(torch.sqrt(variance / self.mean_square(box)))

    def mean_square(self, box: Region | None = None) -> Tensor:
        """The mean square entry of the dense matrix, or of its columns in a box of the input modes."""
        network, factors = self.network, dict(self.factors.items())
        if box is not None:
            network = _cut(network, box)
            factors = _cut_factors(network, box, factors)
        return mean_square(network, factors)

    def on(self, box: Region, *, join: bool = False) -> BoxContraction:
        """The contraction of data that fills a box; with `join`, in fewer stages where that takes less time."""
        stage_list = join_stages(_cut(self.network, box), self.stage_list) if join else self.stage_list
        return BoxContraction(self.network, box, stage_list)

    def weights(self, contraction: BoxContraction) -> list[Tensor]:
        """Stage weights of a contraction."""
        return contraction.weights(dict(self.factors.items()))

    def dense(self) -> Tensor:
        """The dense matrix: prod(output modes) × prod(input modes), both in C order."""
        network = self.network
        tensor = merge(network, list(network.factor), dict(self.factors.items()), (*network.outputs, *network.inputs))
        return tensor.reshape(prod(network.output_shape), prod(network.input_shape))


class HTLinear(nn.Module):
    """A linear layer y = W x + b whose W is a tensor network (hierarchical Tucker, or any other kind).

    Args:
        network: W; `in_features` is the product of its input modes, `out_features` of its output modes.
        bias: add a bias of `out_features` entries.
        stage_list: order of contraction; a simple one when left out.
        device, dtype: of the parameters, as `torch.nn.Linear` takes them.

    Entries of W start with variance 1 / in_features, so y has x's variance.

    Raises:
        SpecError: a stage list that does not name every factor once.
    """

    def __init__(
        self,
        network: TensorNetwork,
        bias: bool = True,
        stage_list: StageList | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.in_features, self.out_features = prod(network.input_shape), prod(network.output_shape)
        self.weight = NetworkWeight(network, stage_list, 1 / self.in_features, None, device, dtype)
        modes, shape = range(len(network.inputs)), network.input_shape
        self._contraction = self.weight.on(Region((0,) * len(modes), shape, tuple(modes), self.in_features))
        self.bias = nn.Parameter(torch.zeros(self.out_features, device=device, dtype=dtype)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps x, any leading dimensions × in_features, to the same × out_features."""
        data = x.reshape(-1, *self.weight.network.input_shape)
        y = self._contraction(data, self.weight.weights(self._contraction))
        y = y.reshape(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    def to_dense(self) -> Tensor:
        """W as a matrix: out_features × in_features."""
        return self.weight.dense()


class FDHTLSTM(nn.Module):
    """One LSTM layer whose eight matrices are one tensor network (FDHT-LSTM, CVPR 2021), or two: W_x and W_h.

    Conventions are those of `torch.nn.LSTM` with one layer: gates in the order i, f, g, o, sequences T × B × N (or
    B × T × N with `batch_first`, or T × N unbatched) or packed, states 1 × B × H (1 × H unbatched). torch's two
    biases, which only ever occur as their sum, are one here: `bias`, 4 × H.

    Args:
        spec: sizes, network and placements. Its head is not this layer's business.
        batch_first: the batch dimension of x and output comes first.
        stage_list: order of contraction of `fdht.spec.network`; a simple one when left out.
        bidirectional: refused; it is here to say so.
        device, dtype: of the parameters, as `torch.nn.LSTM` takes them.

    W_x starts with entries of variance 1 / N and W_h with 1 / H, so each brings the mean square of x and h into z, for
    any depth and rank. The forget gate's bias starts at 1, the others at 0.

    Raises:
        SpecError: a stage list that does not name every factor once, or `bidirectional`.
    """

    _z_positions: Tensor

    def __init__(
        self,
        spec: LSTMSpec,
        batch_first: bool = False,
        stage_list: StageList | None = None,
        bidirectional: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        _refuse_bidirectional(bidirectional)
        self.spec, self.batch_first = spec, batch_first
        self.weight = NetworkWeight(spec.network, stage_list, 1 / spec.inputs, spec.x, device, dtype)
        of_h = 1 / spec.hidden
        self.recurrent = None
        if spec.recurrent is not None:
            self.recurrent = NetworkWeight(spec.recurrent, None, of_h, spec.h, device, dtype)
        if self.recurrent is None:
            self.weight.scale_apart(spec.h, spec.x, of_h)
        self._of_x = self.weight.on(spec.x)
        # h's box is small; to start a stage takes longer there than its multiplications.
        self._of_h = (self.recurrent or self.weight).on(spec.h, join=True)
        self.bias = nn.Parameter(torch.zeros(4, spec.hidden, device=device, dtype=dtype))
        with torch.no_grad():
            self.bias[1] = 1
        self.register_buffer("_z_positions", torch.from_numpy(spec.z_positions).to(device), persistent=False)
        self._in_order = spec.z_positions.tolist() == list(range(prod(spec.network.output_shape)))

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: tuple[Tensor, Tensor] | None = None,
        *,
        zero_h: bool = False,
        mask_h: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        """Runs sequences.

        Args:
            x: T × B × N, B × T × N with `batch_first`, or T × N; or a PackedSequence of B sequences of any lengths.
            state: (h_0, c_0), each 1 × B × H, or 1 × H for an unbatched x; zeros when left out.
            zero_h: put 0 in place of the previous h in every step (the ablation: what is h worth?).
            mask_h: B × H, or H for an unbatched x: what the previous h is multiplied by in every step, before it meets
                its weights (dropout in the sense of Gal & Ghahramani 2016: one mask per sequence).

        Returns:
            output, (h_n, c_n): h of every step laid out like x, and the states after each sequence's own last step,
            laid out like `state`.

        Raises:
            SpecError: x or a state of a shape that does not fit.
        """
        data = x.data if isinstance(x, PackedSequence) else x
        if data.dim() not in ((2,) if isinstance(x, PackedSequence) else (2, 3)) or data.shape[-1] != self.spec.inputs:
            raise SpecError(f"x of shape {tuple(data.shape)} has no steps of {self.spec.inputs} inputs")
        # W [x; h] = W_x x + W_h h: all steps' W_x x at once, and only h's box of the data tensor step by step.
        h_weights = None if zero_h else (self.recurrent or self.weight).weights(self._of_h)
        if isinstance(x, PackedSequence):
            h, c = self._states(state, int(x.batch_sizes[0]), True, data)
            if x.sorted_indices is not None:
                h, c = h[x.sorted_indices], c[x.sorted_indices]
                mask_h = None if mask_h is None else mask_h[x.sorted_indices]
            of_x = self._gates_of_x(data).split(x.batch_sizes.tolist())
            outputs, h, c = self._run(of_x, h, c, h_weights, mask_h)
            if x.unsorted_indices is not None:
                h, c = h[x.unsorted_indices], c[x.unsorted_indices]
            output = PackedSequence(torch.cat(outputs), x.batch_sizes, x.sorted_indices, x.unsorted_indices)
            return output, (h.unsqueeze(0), c.unsqueeze(0))

        batched, time = x.dim() == 3, 1 if self.batch_first else 0
        sequences = x if batched else x.unsqueeze(1 - time)
        if sequences.shape[time] < 1:
            raise SpecError(f"x of shape {tuple(x.shape)} has no steps; a sequence has at least one")
        h, c = self._states(state, sequences.shape[1 - time], batched, x)
        of_x = self._gates_of_x(sequences.flatten(0, 1)).unflatten(0, sequences.shape[:2])
        mask_h = mask_h if mask_h is None or batched else mask_h.unsqueeze(0)
        outputs, h, c = self._run(of_x.unbind(time), h, c, h_weights, mask_h)
        output = torch.stack(outputs, time)
        if not batched:
            return output.squeeze(1 - time), (h, c)
        return output, (h.unsqueeze(0), c.unsqueeze(0))

    def _states(self, state: tuple[Tensor, Tensor] | None, batch: int, batched: bool, like: Tensor) -> list[Tensor]:
        """h_0 and c_0 as B × H, checked; zeros of the dtype and device of `like` when there are none."""
        size = (batch, self.spec.hidden)
        if state is None:
            return [like.new_zeros(size), like.new_zeros(size)]
        for name, tensor in zip(("h_0", "c_0"), state, strict=True):
            if tuple(tensor.shape) != ((1, *size) if batched else size):
                raise SpecError(f"{name} has shape {tuple(tensor.shape)}, not {(1, *size) if batched else size}")
        return [tensor.reshape(size) for tensor in state]

    def _run(
        self, of_x: Sequence[Tensor], h: Tensor, c: Tensor, h_weights: list[Tensor] | None, mask_h: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """The recurrence.

        Args:
            of_x: W_x x + b, per step b × 4 × H. b may shrink from step to step: the last sequences have then ended.
            h, c: B × H before the first step.
            h_weights: stage weights of what h meets; None puts 0 in place of h.
            mask_h: B × H, what h is multiplied by before it meets them.

        Returns:
            h after every step (b × H each), and each sequence's last h and c (B × H).
        """
        outputs, ended = [], []
        for z in of_x:
            if len(z) < len(h):
                ended.append((h[len(z) :], c[len(z) :]))
                h, c = h[: len(z)], c[: len(z)]
            if h_weights is not None:
                kept = h if mask_h is None else h * mask_h[: len(h)]
                z = z + self._gather(self._of_h(place(kept, self.spec.h), h_weights))
            g = torch.tanh(z[:, 2])
            i, f, _, o = torch.sigmoid(z).unbind(1)
            c = torch.addcmul(f * c, i, g)
            h = o * torch.tanh(c)
            outputs.append(h)
        last_h, last_c = zip((h, c), *reversed(ended), strict=True)
        return outputs, torch.cat(last_h), torch.cat(last_c)

    def to_dense(self) -> Tensor:
        """W as torch.nn.LSTM knows it: 4H × (N + H), columns [weight_ih | weight_hh]."""
        of_x = self.weight.dense()[self._z_positions]
        of_h = of_x if self.recurrent is None else self.recurrent.dense()[self._z_positions]
        return torch.cat([of_x[:, self.spec.x_positions], of_h[:, self.spec.h_positions]], 1)

    def _gates_of_x(self, x: Tensor) -> Tensor:
        """W_x x + b, samples × 4 × H, of x (samples × N)."""
        weights = self.weight.weights(self._of_x)
        return self._gather(self._of_x(place(x, self.spec.x), weights)) + self.bias

    def _gather(self, result: Tensor) -> Tensor:
        """samples × 4 × H out of samples × output modes."""
        flat = result.flatten(1)
        found = flat if self._in_order else flat.index_select(1, self._z_positions)
        return found.view(-1, 4, self.spec.hidden)


class StackedFDHTLSTM(nn.Module):
    """Layers of FDHTLSTM, each fed with the output of the one below, in the conventions of torch.nn.LSTM.

    Args:
        specs: one per layer, all with the same hidden units H; from the second layer on there are H inputs.
        batch_first: as for `FDHTLSTM`.
        stage_lists: one order of contraction per layer; simple ones when left out.
        bidirectional: refused; it is here to say so.
        device, dtype: of the parameters, as `torch.nn.LSTM` takes them.

    Raises:
        SpecError: no layer, sizes that do not follow each other, or `bidirectional`.
    """

    def __init__(
        self,
        specs: Sequence[LSTMSpec],
        batch_first: bool = False,
        stage_lists: Sequence[StageList | None] | None = None,
        bidirectional: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        _refuse_bidirectional(bidirectional)
        specs = stack(specs)
        lists = [None] * len(specs) if stage_lists is None else list(stage_lists)
        if len(lists) != len(specs):
            raise SpecError(f"{len(lists)} stage lists for {len(specs)} layers; give one per layer, or none at all")
        self.layers = nn.ModuleList(
            FDHTLSTM(spec, batch_first, each, device=device, dtype=dtype)
            for spec, each in zip(specs, lists, strict=True)
        )

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: tuple[Tensor, Tensor] | None = None,
        *,
        zero_h: bool = False,
        mask_h: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        """Runs sequences; x and `zero_h` as for `FDHTLSTM`, states and `mask_h` layers × B × H (layers × H unbatched).

        Returns:
            output, (h_n, c_n): h of the last layer in every step, and the final states of all layers.

        Raises:
            SpecError: x or a state of a shape that does not fit.
        """
        for name, tensor in () if state is None else zip(("h_0", "c_0"), state, strict=True):
            if len(tensor) != len(self.layers):
                raise SpecError(f"{name} has states for {len(tensor)} layers, not {len(self.layers)}")
        finals = []
        for k, layer in enumerate(self.layers):
            own = None if state is None else (state[0][k : k + 1], state[1][k : k + 1])
            x, final = layer(x, own, zero_h=zero_h, mask_h=None if mask_h is None else mask_h[k])
            finals.append(final)
        h, c = zip(*finals, strict=True)
        return x, (torch.cat(h), torch.cat(c))


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
    ):
        super().__init__()
        self.layers = stack(layers)
        spec = self.layers[-1]
        if spec.classes < 1:
            raise SpecError("a classifier needs at least one class; the specification has none")
        check_outputs(outputs, spec.task, spec.classes)
        self.input_format, self.outputs = input_format, outputs
        self.lstm = StackedFDHTLSTM(self.layers, batch_first=True)
        self.dropout, self.input_dropout, self.hidden_dropout = dropout, input_dropout, hidden_dropout
        self.head = nn.Linear(spec.hidden, spec.classes)

    @property
    def task(self) -> Task:
        """What the outputs mean, and when there are any."""
        return self.layers[-1].task

    @property
    def lstm_layers(self) -> list[FDHTLSTM]:
        """The layers, the lowest first."""
        return [layer for layer in self.lstm.layers if isinstance(layer, FDHTLSTM)]

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
    return each[torch.arange(len(each), device=each.device), lengths.to(each.device) - 1]


def _cut(network: TensorNetwork, box: Region) -> TensorNetwork:
    """The network with input modes as large as a box."""
    return replace(network, sizes=tuple({**network.size, **dict(zip(network.inputs, box.shape, strict=True))}.items()))


def _cut_factors(cut: TensorNetwork, box: Region, factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The factors of a network cut to a box: views of those of the whole."""
    result, starts = dict(factors), dict(zip(cut.inputs, box.start, strict=True))
    for factor in cut.factors:
        for dim, name in enumerate(factor.indices):
            if name in starts:
                result[factor.name] = result[factor.name].narrow(dim, starts[name], cut.size[name])
    return result


def place(vectors: Tensor, region: Region) -> Tensor:
    """Vectors (samples × count) as samples × the region's box, modes in their order, zero where a vector ends early."""
    missing, sizes, by_mode = _filling(region)
    padded = functional.pad(vectors, (0, missing)) if missing else vectors
    return padded.view(-1, *sizes).permute(by_mode).reshape(-1, *region.shape)


@lru_cache(maxsize=256)
def _filling(region: Region) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Entries a vector lacks to fill a region's box, its parts in the vector's order, and their order by mode."""
    by_mode = sorted(range(len(region.order)), key=lambda position: region.order[position])
    sizes = tuple(size for _, size in region.parts)
    return prod(region.shape) - region.count, sizes, (0, *(1 + position for position in by_mode))


def _refuse_bidirectional(bidirectional: bool) -> None:
    if bidirectional:
        raise SpecError(
            "bidirectional=True is not supported: the backward direction needs the end of a sequence before its first "
            "output; run a second layer on the reversed sequences and concatenate both outputs"
        )
