"""Quantisation-aware training: the golden model's arithmetic on real numbers, with gradients.

A value is an integer times a power of two, as everywhere. Data words and weights fit float32, in which they are kept and
differentiated; products, sums and gates are float64, in which they are exact. So the forward pass gives the integers of
`model.golden`, bit for bit. The gradient passes a rounding as if it were none (straight through, Bengio et al. 2013)
where nothing is clipped, and is 0 where something is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log2, prod

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from model.contraction import absorb, stage_weights
from model.layers import Classifier, place
from model.quantise import choose_formats, real_weights, within
from spec.activation import PiecewiseLinear
from spec.errors import SpecError
from spec.fixed import Fixed
from spec.formats import Formats, GateFormats
from spec.lstm import Chain, LSTMSpec, Region, chains
from spec.stages import Stage, StageLists, stages_of

_EXACT_BITS = 53
"""Bits of an integer that float64 holds exactly, whatever its sign."""

_IFOG = [0, 1, 3, 2]
"""The gates with the three sigmoids first."""


@dataclass(frozen=True)
class Arithmetic:
    """What an engine computes a model with, but for the scales.

    Attributes:
        target: whose it is, for people.
        stage_lists: the order of contraction, one per chain.
        factor_width: bits of stage weights and head weights.
        accumulator_width: bits of an accumulator.
        gate: formats of the gate unit; `gate.hidden.width` is the width of every data word.
    """

    target: str
    stage_lists: StageLists
    factor_width: int
    accumulator_width: int
    gate: GateFormats

    @property
    def data_width(self) -> int:
        return self.gate.hidden.width


@dataclass(frozen=True)
class Quantisation:
    """What a model is trained on: the arithmetic, and the formats as they are now."""

    arithmetic: Arithmetic
    formats: Formats

    def dump(self) -> dict:
        """As JSON has it."""
        return _QUANTISATION.dump_python(self, mode="json")

    @staticmethod
    def load(description: dict) -> "Quantisation":
        """The opposite of `dump`.

        Raises:
            ValueError: pydantic's, of something else.
        """
        return _QUANTISATION.validate_python(description)


_QUANTISATION = TypeAdapter(Quantisation)


class QuantisedClassifier(nn.Module):
    """A classifier that computes as the hardware does; its parameters are those of the float model it is made of.

    Inputs are rounded to raw words, so that any picture is one that a camera could send. Dropout is the float model's.
    What h does not reach of a stage is computed for all steps at once: sums are exact, so it makes no difference when
    they are formed, as long as each is rounded whole.

    Args:
        model: the float model, trained further by training this one.
        arithmetic: the engine's.
        formats: every format; `calibrate` chooses them when they are left out.

    Raises:
        SpecError: sums that float64 may not hold exactly, or what `stages_of` refuses.
    """

    def __init__(self, model: Classifier, arithmetic: Arithmetic, formats: Formats | None = None):
        super().__init__()
        self.model, self.arithmetic, self._formats = model, arithmetic, formats
        every = chains(model.layers)
        self._chains = [
            _Chain(chain, listed) for chain, listed in zip(every, stages_of(every, arithmetic.stage_lists), strict=True)
        ]
        depths = [prod(c.chain.network.shape(stage.reduction)) for c in self._chains for stage in c.stages]
        bits = arithmetic.factor_width + arithmetic.data_width + log2(max(*depths, model.layers[-1].hidden))
        if bits > _EXACT_BITS:
            raise SpecError(
                f"sums of {max(depths):,} products of {arithmetic.factor_width} and {arithmetic.data_width} bits are not "
                f"exact in the {_EXACT_BITS} bits of float64; choose narrower words or other stages"
            )

    @property
    def formats(self) -> Formats:
        """Every format the model computes with now.

        Raises:
            SpecError: none was chosen yet.
        """
        if self._formats is None:
            raise SpecError("this model has no formats yet; calibrate it")
        return self._formats

    @formats.setter
    def formats(self, formats: Formats) -> None:
        self._formats = formats

    @property
    def quantisation(self) -> Quantisation:
        return Quantisation(self.arithmetic, self.formats)

    def calibrate(self, clips: np.ndarray) -> None:
        """Chooses all formats by the rules of `quantise`, on raw clips (B × T × N) and the parameters as they are."""
        a = self.arithmetic
        self._formats = choose_formats(
            self.model,
            a.stage_lists,
            clips,
            factor_width=a.factor_width,
            accumulator_width=a.accumulator_width,
            gate=a.gate,
        )

    def fit_accumulators(self) -> None:
        """Takes bits from weights whose sums have grown beyond the accumulators since the formats were chosen."""
        a, formats = self.arithmetic, self.formats

        def fitted(fixed: Fixed, weight: np.ndarray, depth: int, shift: int) -> Fixed:
            coarser = within(fixed, weight, depth, a.data_width, a.accumulator_width)
            return replace(fixed, frac=max(coarser.frac, fixed.frac - shift))  # the accumulator stays no coarser

        weights = real_weights(self.model, a.stage_lists)
        of_chains = tuple(
            tuple(
                replace(
                    of_stage,
                    weight=fitted(
                        of_stage.weight,
                        weight,
                        prod(chain.chain.network.shape(stage.reduction)),
                        formats.shift(c, s),
                    ),
                )
                for s, (stage, of_stage, weight) in enumerate(
                    zip(chain.stages, formats.chains[c], weights[c], strict=True)
                )
            )
            for c, chain in enumerate(self._chains)
        )
        head = formats.head
        assert head is not None
        of_head = self.model.head.weight.detach().cpu().double().numpy()
        head = replace(head, weight=fitted(head.weight, of_head, of_head.shape[1], formats.head_shift))
        self._formats = replace(formats, chains=of_chains, head=head)

    @property
    def head(self) -> nn.Linear:
        return self.model.head

    def widen(self, raw: Tensor) -> Tensor:
        """Raw words of the float model's input format as real numbers."""
        return self.model.widen(raw)

    def forward(self, x: Tensor, *, zero_h: bool = False) -> Tensor:
        """Logits (B × classes) of clips of real numbers (B × T × N), in the dtype of x.

        Args:
            zero_h: put 0 in place of the previous h in every step.
        """
        with torch.autocast(x.device.type, enabled=False):
            head = self.formats.head
            assert head is not None
            h = self.model.dropout(self.hidden(x, zero_h=zero_h)[:, -1])
            weight = _rounded(self.model.head.weight.double(), head.weight, torch.float32)
            bias = _rounded(self.model.head.bias.double(), head.result)
            return _rounded(_product(h, weight.t()) + bias, head.result).to(x.dtype)

    def hidden(self, x: Tensor, *, zero_h: bool = False) -> Tensor:
        """The last layer's h after every step (B × T × H, float32) of clips of real numbers (B × T × N)."""
        formats = self.formats
        tables = [_Table(table, x.device) for table in (formats.sigmoid, formats.tanh)]
        weights = [
            [
                _rounded(weight, of_stage.weight, torch.float32)
                for weight, of_stage in zip(
                    stage_weights(
                        each.chain.network,
                        each.stages,
                        {name: factor.double() for name, factor in network.factors.items()},
                    ),
                    formats.chains[c],
                    strict=True,
                )
            ]
            for c, (each, network) in enumerate(zip(self._chains, self.model.networks, strict=True))
        ]
        vectors = self._raw(x)
        for number, (spec, layer) in enumerate(zip(self.model.layers, self.model.lstm_layers, strict=True)):
            parts = [
                _Pass(each, weights[c], formats, c) for c, each in enumerate(self._chains) if each.chain.layer == number
            ]
            vectors = _layer(spec, layer.bias, parts, formats.gate, tables, vectors, zero_h)
        return vectors

    def _raw(self, x: Tensor) -> Tensor:
        """Real numbers as the nearest that a raw input word stands for, within the data format."""
        input, data = self.formats.input, self.formats.gate.hidden
        low, high = input.raw.min - input.offset, input.raw.max - input.offset
        words = x.mul(2.0**input.raw.frac).add_(0.5).floor_().clamp_(low, high).mul_(input.raw.lsb)
        return words.clamp_(data.min * data.lsb, data.max * data.lsb).to(torch.float32)


def _layer(
    spec: LSTMSpec,
    bias: Tensor,
    parts: "Sequence[_Pass]",
    gate: GateFormats,
    tables: "Sequence[_Table]",
    x: Tensor,
    zero_h: bool,
) -> Tensor:
    """One layer: h after every step (B × T × H) of x (B × T × N)."""
    sigmoid, tanh = tables
    positions = torch.from_numpy(spec.z_positions.reshape(4, -1)[_IFOG].flatten()).to(x.device)
    of_bias = _rounded(bias.double(), gate.z)[_IFOG].flatten()
    of_x = [part.of_all_steps(x) for part in parts]

    def gathered(part: "_Pass", accumulators: Tensor) -> Tensor:
        """What a chain adds to z, samples × 4H."""
        found = accumulators.flatten(1).index_select(1, positions)
        return found if part.chain.x is None else found + of_bias

    # A chain that h does not enter has its whole result already.
    known = [
        _rounded(gathered(part, sums[-1].flatten(0, 1)), gate.z).unflatten(0, x.shape[:2])
        for part, sums in zip(parts, of_x, strict=True)
        if part.chain.h is None
    ]
    h = x.new_zeros(len(x), spec.hidden)
    c = h.double()
    outputs = []
    for step in range(x.shape[1]):
        previous = torch.zeros_like(h) if zero_h else h
        found = [
            _rounded(gathered(part, part.step(previous, [each[:, step] for each in sums])), gate.z)
            for part, sums in zip(parts, of_x, strict=True)
            if part.chain.h is not None
        ]
        z = found[0] if not known else _rounded(known[0][:, step] + found[0], gate.z)
        z = z.view(-1, 4, spec.hidden)
        i, f, o = sigmoid(z[:, :3]).unbind(1)
        c = _rounded(f * c + i * tanh(z[:, 3]), gate.cell)
        h = _rounded(o * tanh(c if gate.cell == gate.z else _rounded(c, gate.z)), gate.hidden, torch.float32)
        outputs.append(h)
    return torch.stack(outputs, 1)


class _Chain:
    """A chain, and what of its tensors x and h fill, stage by stage.

    Attributes:
        x, h: per input mode the range that x and h fill; None for what the chain does not take.
        reached: per stage, the part of x's result that h reaches, as slices of samples × result; None for nothing.
        padding: per stage, what lacks of that part to h's own (in the order of `functional.pad`).
        whole: per stage, whether h reaches all of it.
    """

    def __init__(self, chain: Chain, stages: tuple[Stage, ...]):
        self.chain, self.stages = chain, stages
        inputs = chain.network.inputs
        self.x, self.h = _box(inputs, chain.x), _box(inputs, chain.h)
        self.reached: list[tuple[slice, ...] | None] = []
        self.padding: list[list[int]] = []
        self.whole: list[bool] = []
        for stage in stages:
            slices, padding, whole = [slice(None)], list[int](), self.x is not None and self.h is not None
            meet = whole
            for name in stage.result:
                if self.x is None or self.h is None or name not in self.x:
                    slices.append(slice(None))
                    padding = [0, 0, *padding]
                    continue
                x, h = self.x[name], self.h[name]
                low, high = max(x.start, h.start), min(x.stop, h.stop)
                meet = meet and low < high
                slices.append(slice(low - x.start, high - x.start))
                padding = [low - h.start, h.stop - high, *padding]
                whole = whole and (low, high) == (x.start, x.stop)
            self.reached.append(tuple(slices) if meet else None)
            self.padding.append(padding)
            self.whole.append(whole)


class _Pass:
    """A chain with its rounded weights, for one forward pass."""

    def __init__(self, chain: _Chain, weights: Sequence[Tensor], formats: Formats, number: int):
        self._chain, self.chain, self._formats = chain, chain.chain, formats.chains[number]
        self._inputs = chain.chain.network.inputs
        self._of_x = None if chain.x is None else _cut_weights(chain.stages, weights, chain.x)
        self._of_h = None if chain.h is None else _cut_weights(chain.stages, weights, chain.h)

    def of_all_steps(self, x: Tensor) -> list[Tensor]:
        """Sums that x alone gives, before any rounding, per stage: B × T × (the part of the result that h reaches).

        All of the result in the last stage. Stages that x reaches only through h are missing.
        """
        if self._of_x is None or self.chain.x is None:
            return []
        data, indices, sums = self._placed(x.flatten(0, 1), self.chain.x, self._chain.x), self._inputs, []
        for s, (stage, weight) in enumerate(zip(self._chain.stages, self._of_x, strict=True)):
            sum_ = absorb(stage, weight, data, indices, _product)
            if s == len(self._of_x) - 1:
                sums.append(self._in_order(sum_) if self.chain.h is None else sum_)
                break
            if self._chain.whole[s]:
                sums.append(sum_)
                break
            data, reached = _Parted.apply(sum_, self._formats[s].result, self._chain.reached[s])
            sums.append(reached)
            indices = stage.result
        return [each.unflatten(0, x.shape[:2]) for each in sums]

    def step(self, h: Tensor, of_x: Sequence[Tensor]) -> Tensor:
        """The last stage's sums (B × output modes) of h (B × H) and of this step's x, as `of_all_steps` has them."""
        assert self._of_h is not None
        data, indices = self._placed(h, self.chain.h, self._chain.h), self._inputs
        for s, (stage, weight) in enumerate(zip(self._chain.stages, self._of_h, strict=True)):
            sum_ = absorb(stage, weight, data, indices, _product)
            if s < len(of_x) and self._chain.reached[s] is not None:
                padding = self._chain.padding[s]
                sum_ = sum_ + (functional.pad(of_x[s], padding) if any(padding) else of_x[s])
            indices = stage.result
            if s < len(self._of_h) - 1:
                data = _rounded(sum_, self._formats[s].result, torch.float32)
            else:
                return self._in_order(sum_)
        raise AssertionError("a chain has a stage")

    def _placed(self, vectors: Tensor, region: Region | None, box: Mapping[str, slice] | None) -> Tensor:
        """Vectors (samples × count) in the box of the data tensor that they really fill."""
        assert region is not None and box is not None
        inside = [
            slice(box[name].start - start, box[name].stop - start)
            for name, start in zip(self._inputs, region.start, strict=True)
        ]
        return place(vectors, region)[(slice(None), *inside)]

    def _in_order(self, result: Tensor) -> Tensor:
        indices = self._chain.stages[-1].result
        return result.permute(0, *(1 + indices.index(name) for name in self.chain.network.outputs))


class _Table:
    """A table of the gate unit as a function with a gradient: the slope of its chord."""

    def __init__(self, table: PiecewiseLinear, device: torch.device):
        self.table = table
        self.base, self.slope = (torch.tensor(each, device=device) for each in (table.base, table.slope))

    def __call__(self, x: Tensor) -> Tensor:
        y = _Looked.apply(x, self)
        assert isinstance(y, Tensor)
        return y


class _Looked(Function):
    """What a table makes of float64 values of its input format."""

    @staticmethod
    def forward(ctx, x: Tensor, of: _Table) -> Tensor:
        table = of.table
        code = x.mul(2.0**table.input.frac).long()
        ctx.save_for_backward(of.slope[table.segment(code)])
        ctx.scale = table.output.lsb / (table.input.lsb * (1 << table.fraction_bits))
        return table(code, of.base, of.slope).double().mul_(table.output.lsb)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (slope,) = ctx.saved_tensors
        return grad * slope * ctx.scale, None


class _Rounded(Function):
    """Values as the nearest ones of a format, half rounded up, saturated."""

    @staticmethod
    def forward(ctx, value: Tensor, fixed: Fixed, dtype: torch.dtype) -> Tensor:
        code = value.mul(2.0**fixed.frac).add_(0.5).floor_()
        kept = code.clamp(fixed.min, fixed.max)
        ctx.save_for_backward(code == kept)
        return kept.mul_(fixed.lsb).to(dtype)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (inside,) = ctx.saved_tensors
        return grad * inside, None, None


class _Parted(Function):
    """Sums in two parts: rounded where h does not reach (0 elsewhere), and as they are where it does."""

    @staticmethod
    def forward(ctx, value: Tensor, fixed: Fixed, reached: tuple[slice, ...] | None) -> tuple[Tensor, Tensor]:
        code = value.mul(2.0**fixed.frac).add_(0.5).floor_()
        kept = code.clamp(fixed.min, fixed.max)
        inside = code == kept
        rest = value.new_zeros(len(value), 0) if reached is None else value[reached].clone()
        if reached is not None:
            kept[reached], inside[reached] = 0, False
        ctx.save_for_backward(inside)
        ctx.reached = reached
        return kept.mul_(fixed.lsb).to(torch.float32), rest

    @staticmethod
    def backward(ctx, grad: Tensor, of_rest: Tensor):
        (inside,) = ctx.saved_tensors
        grad = grad * inside
        if ctx.reached is not None:
            grad[ctx.reached] = of_rest.to(grad.dtype)
        return grad, None, None


class _Product(Function):
    """Products of float32 matrices, exact in float64; the gradient is float32."""

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return torch.matmul(a.double(), b.double())

    @staticmethod
    def backward(ctx, grad: Tensor):
        a, b = ctx.saved_tensors
        grad = grad.to(a.dtype)
        of_a = torch.matmul(grad, b.mT) if ctx.needs_input_grad[0] else None
        of_b = torch.matmul(a.mT, grad) if ctx.needs_input_grad[1] else None
        return of_a, of_b


def _rounded(value: Tensor, fixed: Fixed, dtype: torch.dtype = torch.float64) -> Tensor:
    result = _Rounded.apply(value, fixed, dtype)
    assert isinstance(result, Tensor)
    return result


def _product(a: Tensor, b: Tensor) -> Tensor:
    result = _Product.apply(a, b)
    assert isinstance(result, Tensor)
    return result


def _box(names: Sequence[str], region: Region | None) -> Mapping[str, slice] | None:
    """Per input mode the range that a vector really fills."""
    if region is None:
        return None
    at = region.coordinates()
    return {
        name: slice(int(low), int(high) + 1) for name, low, high in zip(names, at.min(0), at.max(0), strict=True)
    }


def _cut_weights(stages: Sequence[Stage], weights: Sequence[Tensor], box: Mapping[str, slice]) -> list[Tensor]:
    """Stage weights for data that is zero outside a box of the input modes."""
    return [
        weight[tuple(box.get(name, slice(None)) for name in stage.weight)]
        for stage, weight in zip(stages, weights, strict=True)
    ]
