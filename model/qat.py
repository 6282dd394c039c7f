"""Quantisation-aware training: the golden model's integers, bit for bit, from a forward pass that has gradients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log2, prod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fdht.model.contraction import absorb, stage_weights
from fdht.model.layers import NO_MASKS, Classifier, Masks, own_last, place
from fdht.model.quantise import choose_formats, real_weights, within
from fdht.model.rounding import Table, parted, product, rounded
from fdht.spec.errors import SpecError
from fdht.spec.fixed import Fixed
from fdht.spec.formats import Formats, GateFormats
from fdht.spec.lstm import Chain, LSTMSpec, Region, chains
from fdht.spec.record import Checked, Text
from fdht.spec.stages import Stage, StageLists, stages_of
from fdht.spec.task import OutputScaling, Task

_EXACT_BITS = 53
"""Bits of an integer that float64 holds exactly, whatever its sign."""

_IFOG = [0, 1, 3, 2]
"""The gates with the three sigmoids first."""


@dataclass(frozen=True)
class Arithmetic(Checked):
    """What an engine computes a model with, but for the scales.

    Attributes:
        target: whose it is, for people.
        stage_lists: the order of contraction, one per chain.
        factor_width: bits of stage weights and head weights.
        accumulator_width: bits of an accumulator.
        gate: formats of the gate unit; `gate.hidden.width` is the width of every data word.

    Raises:
        SpecError: bits that no engine has.
    """

    target: Text
    stage_lists: StageLists
    factor_width: int
    accumulator_width: int
    gate: GateFormats

    def __post_init__(self):
        if not 1 <= self.factor_width < self.accumulator_width < 64:
            raise SpecError(
                f"factors of {self.factor_width} bits and accumulators of {self.accumulator_width}: no engine has them"
            )

    @property
    def data_width(self) -> int:
        return self.gate.hidden.width

    @property
    def bits(self) -> str:
        """Widths of factors and data words, as `8/16`."""
        return f"{self.factor_width}/{self.data_width}"

    def __str__(self) -> str:
        return f"integers of {self.bits} bits, {self.target}"


@dataclass(frozen=True)
class Quantisation(Checked):
    """What a model is trained on: the arithmetic, and the formats if they are chosen already."""

    arithmetic: Arithmetic
    formats: Formats | None = None


class QuantisedClassifier(nn.Module):
    """A classifier that computes as the hardware does; its parameters are those of the float model it is made of.

    Before it has formats it computes as the float model. Inputs are rounded to raw words, so that any picture is one
    that a camera could send. Dropout is the float model's. What h does not reach of a stage is computed for all steps
    at once: sums are exact, so it makes no difference when they are formed, as long as each is rounded whole. Products
    are float64, which autocast leaves alone.

    Args:
        model: the float model, trained further by training this one.
        quantisation: the engine's arithmetic and, where there are any yet, the formats.

    Attributes:
        formats: every format; None before they are chosen.

    Raises:
        SpecError: sums that float64 may not hold exactly, or what `stages_of` refuses.
    """

    def __init__(self, model: Classifier, quantisation: Quantisation):
        super().__init__()
        self.model, self.arithmetic, self.formats = model, quantisation.arithmetic, quantisation.formats
        every, a = chains(model.layers), self.arithmetic
        self._chains = [
            _Chain(chain, listed) for chain, listed in zip(every, stages_of(every, a.stage_lists), strict=True)
        ]
        depths = [prod(c.chain.network.shape(stage.reduction)) for c in self._chains for stage in c.stages]
        deepest = max(*depths, model.layers[-1].hidden)
        if a.factor_width + a.data_width + log2(deepest) > _EXACT_BITS:
            raise SpecError(
                f"sums of {deepest:,} products of {a.factor_width} and {a.data_width} bits are not exact in the "
                f"{_EXACT_BITS} bits of float64; choose narrower words"
            )

    @property
    def quantisation(self) -> Quantisation:
        return Quantisation(self.arithmetic, self.formats)

    def calibrate(self, clips: np.ndarray) -> None:
        """Chooses all formats by the rules of `quantise`, on raw clips (B × T × N) and the parameters as they are."""
        a = self.arithmetic
        self.formats = choose_formats(
            self.model,
            a.stage_lists,
            clips,
            factor_width=a.factor_width,
            accumulator_width=a.accumulator_width,
            gate=a.gate,
        )

    def fit_accumulators(self) -> None:
        """Takes bits from weights whose sums have grown beyond the accumulators since the formats were chosen."""
        a, formats = self.arithmetic, self._chosen

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
        self.formats = replace(formats, chains=of_chains, head=head)

    @property
    def head(self) -> nn.Linear:
        return self.model.head

    @property
    def task(self) -> Task:
        """See `Classifier`."""
        return self.model.task

    @property
    def outputs(self) -> OutputScaling | None:
        """See `Classifier`."""
        return self.model.outputs

    def widen(self, raw: Tensor) -> Tensor:
        """Raw words of the float model's input format as real numbers."""
        return self.model.widen(raw)

    @property
    def _chosen(self) -> Formats:
        if self.formats is None:
            raise SpecError("this model has no formats yet; calibrate it")
        return self.formats

    def forward(
        self, x: Tensor, *, zero_h: bool = False, masks: Masks | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """Logits of clips of real numbers (B × T × N); arguments and shape as for `Classifier`."""
        if self.formats is None:
            return self.model(x, zero_h=zero_h, masks=masks, lengths=lengths)
        head = self.formats.head
        assert head is not None
        if masks is None:
            masks = self.model.masks_for(x)
        h = self.hidden(x, zero_h=zero_h, masks=masks)
        if not self.task.every_step:
            h = h[:, -1] if lengths is None else own_last(h, lengths)
        if masks.head is not None:
            h = h * (masks.head[:, None] if self.task.every_step else masks.head)
        weight = rounded(self.model.head.weight.double(), head.weight, torch.float32)
        bias = rounded(self.model.head.bias.double(), head.result)
        sums = product(h.flatten(0, -2), weight.t()).unflatten(0, h.shape[:-1])
        return rounded(sums + bias, head.result, torch.float32)

    def hidden(self, x: Tensor, *, zero_h: bool = False, masks: Masks = NO_MASKS) -> Tensor:
        """The last layer's h after every step (B × T × H, float32) of clips of real numbers (B × T × N).

        Raises:
            SpecError: there are no formats yet.
        """
        formats = self._chosen
        tables = [Table(table, x.device) for table in (formats.sigmoid, formats.tanh)]
        weights = [
            [
                rounded(weight, of_stage.weight, torch.float32)
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
        vectors = self._raw(x if masks.x is None else x * masks.x[:, None])
        for number, (spec, layer) in enumerate(zip(self.model.layers, self.model.lstm_layers, strict=True)):
            parts = [
                _Pass(each, weights[c], formats, c) for c, each in enumerate(self._chains) if each.chain.layer == number
            ]
            mask = x.new_zeros(()) if zero_h else None if masks.h is None else masks.h[number]
            vectors = _layer(spec, layer.bias, parts, formats.gate, tables, vectors, mask)
        return vectors

    def _raw(self, x: Tensor) -> Tensor:
        """Real numbers as the nearest that a raw input word stands for, within the data format."""
        input, data = self._chosen.input, self._chosen.gate.hidden
        low, high = input.raw.min - input.offset, input.raw.max - input.offset
        words = x.mul(2.0**input.raw.frac).add_(0.5).floor_().clamp_(low, high).mul_(input.raw.lsb)
        return words.clamp_(data.min * data.lsb, data.max * data.lsb).to(torch.float32)


Network = Classifier | QuantisedClassifier
"""A model as it computes: in floating point, or on integers."""


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
            sum_ = absorb(stage, weight, data, indices, product)
            if s == len(self._of_x) - 1:
                sums.append(self._in_order(sum_) if self.chain.h is None else sum_)
                break
            if self._chain.whole[s]:
                sums.append(sum_)
                break
            data, reached = parted(sum_, self._formats[s].result, self._chain.reached[s])
            sums.append(reached)
            indices = stage.result
        return [each.unflatten(0, x.shape[:2]) for each in sums]

    def step(self, h: Tensor, of_x: Sequence[Tensor]) -> Tensor:
        """The last stage's sums (B × output modes) of h (B × H) and of this step's x, as `of_all_steps` has them."""
        assert self._of_h is not None
        data, indices = self._placed(h, self.chain.h, self._chain.h), self._inputs
        for s, (stage, weight) in enumerate(zip(self._chain.stages, self._of_h, strict=True)):
            sum_ = absorb(stage, weight, data, indices, product)
            if s < len(of_x) and self._chain.reached[s] is not None:
                padding = self._chain.padding[s]
                sum_ = sum_ + (functional.pad(of_x[s], padding) if any(padding) else of_x[s])
            indices = stage.result
            if s < len(self._of_h) - 1:
                data = rounded(sum_, self._formats[s].result, torch.float32)
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


def _layer(
    spec: LSTMSpec,
    bias: Tensor,
    parts: Sequence[_Pass],
    gate: GateFormats,
    tables: Sequence[Table],
    x: Tensor,
    mask: Tensor | None,
) -> Tensor:
    """One layer: h after every step (B × T × H) of x (B × T × N); the h that goes back is multiplied by the mask."""
    sigmoid, tanh = tables
    positions = torch.from_numpy(spec.z_positions.reshape(4, -1)[_IFOG].flatten()).to(x.device)
    of_bias = rounded(bias.double(), gate.z)[_IFOG].flatten()
    of_x = [part.of_all_steps(x) for part in parts]

    def gathered(part: _Pass, accumulators: Tensor) -> Tensor:
        """What a chain adds to z, samples × 4H."""
        found = accumulators.flatten(1).index_select(1, positions)
        return found if part.chain.x is None else found + of_bias

    # A chain that h does not enter has its whole result already.
    known = [
        rounded(gathered(part, sums[-1].flatten(0, 1)), gate.z).unflatten(0, x.shape[:2])
        for part, sums in zip(parts, of_x, strict=True)
        if part.chain.h is None
    ]
    h = x.new_zeros(len(x), spec.hidden)
    c = h.double()
    outputs = []
    for step in range(x.shape[1]):
        previous = h if mask is None else h * mask
        found = [
            rounded(gathered(part, part.step(previous, [each[:, step] for each in sums])), gate.z)
            for part, sums in zip(parts, of_x, strict=True)
            if part.chain.h is not None
        ]
        z = found[0] if not known else rounded(known[0][:, step] + found[0], gate.z)
        z = z.view(-1, 4, spec.hidden)
        i, f, o = sigmoid(z[:, :3]).unbind(1)
        c = rounded(f * c + i * tanh(z[:, 3]), gate.cell)
        h = rounded(o * tanh(c if gate.cell == gate.z else rounded(c, gate.z)), gate.hidden, torch.float32)
        outputs.append(h)
    return torch.stack(outputs, 1)


def _box(names: Sequence[str], region: Region | None) -> Mapping[str, slice] | None:
    """Per input mode the range that a vector really fills."""
    if region is None:
        return None
    at = region.coordinates()
    return {name: slice(int(low), int(high) + 1) for name, low, high in zip(names, at.min(0), at.max(0), strict=True)}


def _cut_weights(stages: Sequence[Stage], weights: Sequence[Tensor], box: Mapping[str, slice]) -> list[Tensor]:
    """Stage weights for data that is zero outside a box of the input modes."""
    return [
        weight[tuple(box.get(name, slice(None)) for name in stage.weight)]
        for stage, weight in zip(stages, weights, strict=True)
    ]
