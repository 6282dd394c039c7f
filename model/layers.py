"""Torch layers whose weight is a tensor network: forward and backward never form the dense matrix."""

from math import prod, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.contraction import absorb, left_to_right, mean_square, merge, stage_weights
from spec.errors import SpecError
from spec.formats import PIXELS, InputFormat
from spec.lstm import LSTMSpec, Region
from spec.network import TensorNetwork
from spec.stages import StageList, stages


class NetworkWeight(nn.Module):
    """The factors of a tensor network, and the contraction of data with them.

    Args:
        network: the weight; its matrix has prod(output modes) rows and prod(input modes) columns.
        stage_list: order of contraction; `left_to_right` when left out.
        variance: mean square of the dense matrix's entries at initialisation.

    Initialisation: an entry of the dense matrix is a sum over all bonds of products of one entry per factor. With
    independent factors of mean 0 its variance is (product of the factors' variances) × (product of the bonds'
    sizes). Each factor therefore gets the variance prod over its bonds of size**(-1/k) for a bond that k factors
    share, which cancels the sum over that bond. That holds on average over draws; one draw strays further with
    every factor, so all factors are then scaled alike to give exactly the wanted mean square.

    Raises:
        SpecError: a stage list that does not name every factor once.
    """

    def __init__(self, network: TensorNetwork, stage_list: StageList | None = None, variance: float = 1.0):
        super().__init__()
        self.network = network
        self.stage_list = left_to_right(network) if stage_list is None else stage_list
        self.stages = stages(network, self.stage_list)
        self.factors = nn.ParameterDict(
            {factor.name: nn.Parameter(torch.empty(network.shape(factor.indices))) for factor in network.factors}
        )
        self.reset_parameters(variance)

    def reset_parameters(self, variance: float) -> None:
        """Draws all factors anew, so that the dense matrix has the given mean square entry."""
        modes = {*self.network.inputs, *self.network.outputs}
        uses = [index for factor in self.network.factors for index in factor.indices]
        tensors = dict(self.factors.items())
        with torch.no_grad():
            for factor in self.network.factors:
                bonds = [index for index in factor.indices if index not in modes]
                spread = prod(self.network.size[index] ** (-1 / uses.count(index)) for index in bonds)
                tensors[factor.name].normal_(std=sqrt(spread))
            scale = (variance / mean_square(self.network, tensors)) ** (0.5 / len(tensors))
            for parameter in tensors.values():
                parameter.mul_(scale)

    def stage_weights(self) -> list[Tensor]:
        """The merged weight of every stage, dimensions in the order of `Stage.weight`; differentiable."""
        return stage_weights(self.network, self.stages, dict(self.factors.items()))

    def contract(self, data: Tensor, weights: list[Tensor]) -> Tensor:
        """Contracts data (samples × input modes) with stage weights to samples × output modes."""
        indices = self.network.inputs
        for stage, weight in zip(self.stages, weights, strict=True):
            data, indices = absorb(stage, weight, data, indices), stage.result
        return data.permute(0, *(1 + indices.index(name) for name in self.network.outputs))

    def cut(self, weights: list[Tensor], box: Region) -> list[Tensor]:
        """Stage weights for data that is zero outside a box of the input modes: the same result from less data."""
        result = []
        for stage, weight in zip(self.stages, weights, strict=True):
            for mode, name in enumerate(self.network.inputs):
                if name in stage.weight:
                    weight = weight.narrow(stage.weight.index(name), box.start[mode], box.shape[mode])
            result.append(weight)
        return result

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

    Entries of W start with variance 1 / in_features, so y has x's variance.

    Raises:
        SpecError: a stage list that does not name every factor once.
    """

    def __init__(self, network: TensorNetwork, bias: bool = True, stage_list: StageList | None = None):
        super().__init__()
        self.in_features, self.out_features = prod(network.input_shape), prod(network.output_shape)
        self.weight = NetworkWeight(network, stage_list, 1 / self.in_features)
        self.bias = nn.Parameter(torch.zeros(self.out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps x, any leading dimensions × in_features, to the same × out_features."""
        data = x.reshape(-1, *self.weight.network.input_shape)
        y = self.weight.contract(data, self.weight.stage_weights()).reshape(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    def to_dense(self) -> Tensor:
        """W as a matrix: out_features × in_features."""
        return self.weight.dense()


class FDHTLSTM(nn.Module):
    """One LSTM layer whose eight matrices are one tensor network (FDHT-LSTM, CVPR 2021).

    Conventions are those of `torch.nn.LSTM` with one layer: gates in the order i, f, g, o, sequences T × B × N (or
    B × T × N with `batch_first`, or T × N unbatched), states 1 × B × H (1 × H unbatched). torch's two biases, which
    only ever occur as their sum, are one here: `bias`, 4 × H.

    Args:
        spec: sizes, network and placements. Its head is not this layer's business.
        batch_first: the batch dimension of x and output comes first.
        stage_list: order of contraction; a simple one when left out.

    W starts with entries of variance 1 / (N + H), so z has the mean square of [x, h] for any depth and rank; the
    forget gate's bias starts at 1, the others at 0.
    """

    _z_positions: Tensor

    def __init__(self, spec: LSTMSpec, batch_first: bool = False, stage_list: StageList | None = None):
        super().__init__()
        self.spec, self.batch_first = spec, batch_first
        self.weight = NetworkWeight(spec.network, stage_list, 1 / (spec.inputs + spec.hidden))
        self.bias = nn.Parameter(torch.zeros(4, spec.hidden))
        with torch.no_grad():
            self.bias[1] = 1
        self.register_buffer("_z_positions", torch.from_numpy(spec.z_positions), persistent=False)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None, *, zero_h: bool = False):
        """Runs sequences.

        Args:
            x: T × B × N, B × T × N with `batch_first`, or T × N.
            state: (h_0, c_0), each 1 × B × H, or 1 × H for an unbatched x; zeros when left out.
            zero_h: put 0 in place of the previous h in every step (the ablation: what is h worth?).

        Returns:
            output, (h_n, c_n): h of every step laid out like x, and the final states laid out like `state`.

        Raises:
            SpecError: x or a state of a shape that does not fit.
        """
        if x.dim() not in (2, 3) or x.shape[-1] != self.spec.inputs:
            raise SpecError(f"x of shape {tuple(x.shape)} has no steps of {self.spec.inputs} inputs")
        batched = x.dim() == 3
        sequences = x.unsqueeze(0) if not batched else x if self.batch_first else x.transpose(0, 1)
        size = (len(sequences), self.spec.hidden)
        if state is None:
            h, c = x.new_zeros(size), x.new_zeros(size)
        else:
            for name, tensor in zip(("h_0", "c_0"), state, strict=True):
                if tuple(tensor.shape) != ((1, *size) if batched else size):
                    raise SpecError(f"{name} has shape {tuple(tensor.shape)}, not {(1, *size) if batched else size}")
            h, c = (tensor.reshape(size) for tensor in state)

        weights = self.weight.stage_weights()
        # W [x; h] = W_x x + W_h h: all steps' W_x x at once, and only h's box of the data tensor step by step.
        of_x = self._project(sequences.flatten(0, 1), self.spec.x, weights).unflatten(0, sequences.shape[:2])
        of_x = of_x + self.bias
        h_weights = self.weight.cut(weights, self.spec.h)
        outputs = []
        for step in range(sequences.shape[1]):
            z = of_x[:, step]
            if not zero_h:
                z = z + self._gather(self.weight.contract(_place(h, self.spec.h), h_weights))
            i, f, g, o = z.unbind(1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        output = torch.stack(outputs, 1)
        if not batched:
            return output[0], (h, c)
        return output if self.batch_first else output.transpose(0, 1), (h.unsqueeze(0), c.unsqueeze(0))

    def to_dense(self) -> Tensor:
        """W as torch.nn.LSTM knows it: 4H × (N + H), columns [weight_ih | weight_hh]."""
        matrix = self.weight.dense()[self._z_positions]
        return torch.cat([matrix[:, self.spec.x_positions], matrix[:, self.spec.h_positions]], 1)

    def _project(self, vectors: Tensor, region: Region, weights: list[Tensor]) -> Tensor:
        return self._gather(self.weight.contract(_place(vectors, region), self.weight.cut(weights, region)))

    def _gather(self, result: Tensor) -> Tensor:
        """samples × 4 × H out of samples × output modes."""
        return result.flatten(1)[:, self._z_positions].unflatten(1, (4, self.spec.hidden))


class Classifier(nn.Module):
    """An FDHTLSTM and a linear head on its last hidden state: clips in, logits out.

    Args:
        spec: sizes, network and placements, with at least one class.
        input_format: how raw words become numbers.
        dropout: probability of zeroing an entry of the hidden state before the head, in training.
        stage_list: order of contraction; a simple one when left out.

    Raises:
        SpecError: a specification without classes.
    """

    def __init__(
        self,
        spec: LSTMSpec,
        input_format: InputFormat = PIXELS,
        dropout: float = 0.0,
        stage_list: StageList | None = None,
    ):
        super().__init__()
        if spec.classes < 1:
            raise SpecError("a classifier needs at least one class; the specification has none")
        self.spec, self.input_format = spec, input_format
        self.lstm = FDHTLSTM(spec, batch_first=True, stage_list=stage_list)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(spec.hidden, spec.classes)

    def widen(self, raw: Tensor) -> Tensor:
        """Raw words (any dtype and shape) as the real numbers they stand for, in the parameters' dtype."""
        return (raw.to(self.head.weight.dtype) - self.input_format.offset) * self.input_format.raw.lsb

    def forward(self, x: Tensor, *, zero_h: bool = False) -> Tensor:
        """Logits (B × classes) of clips of real numbers (B × T × N)."""
        _, (h, _) = self.lstm(x, zero_h=zero_h)
        return self.head(self.dropout(h[0]))


def _place(vectors: Tensor, region: Region) -> Tensor:
    """samples × count as samples × the region's box, modes in their order, zero where the vector ends early."""
    padded = functional.pad(vectors, (0, prod(region.shape) - region.count))
    box = padded.unflatten(1, [region.shape[mode] for mode in region.order])
    return box.permute(0, *(1 + region.order.index(mode) for mode in range(len(region.order))))
