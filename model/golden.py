"""The golden model: integers only, the definition of what the hardware computes."""

from collections import Counter
from dataclasses import dataclass
from math import prod

import numpy as np
import torch

from model.contraction import absorb
from spec.bundle import Bundle
from spec.errors import SpecError
from spec.fixed import Fixed, round_shift

_EXACT_IN_FLOAT64 = 1 << 53


@dataclass(frozen=True)
class Trace:
    """What the golden model makes of B clips of T steps; int64 tensors in the formats of the bundle.

    Attributes:
        z: B × T × 4 × H, gates in the order i, f, g, o; `formats.gate.z`.
        h: B × T × H, after each step; `formats.gate.hidden`.
        c: B × T × H, after each step; `formats.gate.cell`.
        logits: B × classes, of the last step; B × 0 without a head.
        classes: B, the lowest index of the largest logit; -1 without a head.
        stage_results: per step and stage, B × `Stage.result`; empty unless asked for.
        saturations: how often a value was clipped: "x", "stage 0", ..., "z" (the last stage), "c", "tanh(c)" (c in
            the format of the table's input), "h", "logits".
        values: how many values could have been.
    """

    z: torch.Tensor
    h: torch.Tensor
    c: torch.Tensor
    logits: torch.Tensor
    classes: torch.Tensor
    stage_results: list[list[torch.Tensor]]
    saturations: dict[str, int]
    values: dict[str, int]


class GoldenLSTM:
    """Runs a bundle in exact integers.

    Every step: x and h are placed into the data tensor, each stage is contracted exactly and requantised once, the
    bias enters the last stage at its accumulator's scale, and the gates follow `spec.formats.GateFormats`.
    """

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self.stages = bundle.stages
        spec, formats = bundle.spec, bundle.formats
        self._x_positions = torch.from_numpy(spec.x_positions)
        self._h_positions = torch.from_numpy(spec.h_positions)
        self._z_positions = torch.from_numpy(spec.z_positions)
        self._weights = [
            _exact(weight, len(stage.batch) + len(stage.rows), formats.source(s))
            for s, (stage, weight) in enumerate(zip(self.stages, bundle.weights, strict=True))
        ]
        self._head = None if bundle.head_weight is None else _exact(bundle.head_weight, 1, formats.gate.hidden)
        self._tables = [
            (table, torch.tensor(table.base), torch.tensor(table.slope)) for table in (formats.sigmoid, formats.tanh)
        ]

    def run(
        self,
        clips: np.ndarray | torch.Tensor,
        h0: torch.Tensor | None = None,
        c0: torch.Tensor | None = None,
        *,
        zero_h: bool = False,
        stage_results: bool = False,
    ) -> Trace:
        """Runs clips from their initial state.

        Args:
            clips: raw input words, B × T × N, any integer dtype.
            h0, c0: B × H integers in the formats of h and c; zero when left out.
            zero_h: put 0 where h would be placed (the ablation: what is h worth?).
            stage_results: keep every stage's result (much memory for many clips).

        Raises:
            SpecError: clips or states of a shape that does not fit the network, or without a step.
        """
        raw = torch.as_tensor(clips).to(torch.int64)
        spec, gate = self.bundle.spec, self.bundle.formats.gate
        if raw.ndim != 3 or raw.shape[1] < 1 or raw.shape[2] != spec.inputs:
            raise SpecError(
                f"clips of shape {tuple(raw.shape)} are not clips x steps x {spec.inputs} with a step or more"
            )
        state = (raw.shape[0], spec.hidden)
        h = torch.zeros(state, dtype=torch.int64) if h0 is None else h0.to(torch.int64)
        c = torch.zeros(state, dtype=torch.int64) if c0 is None else c0.to(torch.int64)
        for name, tensor in (("h0", h), ("c0", c)):
            if tuple(tensor.shape) != state:
                raise SpecError(f"{name} has shape {tuple(tensor.shape)}, not {state}")
        for name, tensor, format in (("h0", h, gate.hidden), ("c0", c, gate.cell)):
            if not torch.equal(tensor, format.saturate(tensor)):
                raise SpecError(f"{name} leaves the range of its format {format}, {format.min}..{format.max}")

        clipping, hs, cs, zs, kept = _Clipping(), [], [], [], []
        for step in range(raw.shape[1]):
            x = clipping.saturate("x", gate.hidden, self._shifted(raw[:, step]))
            z, results = self._stages(x, torch.zeros_like(h) if zero_h else h, clipping)
            h, c = self._gates(z, c, clipping)
            zs.append(z)
            hs.append(h)
            cs.append(c)
            if stage_results:
                kept.append(results)
        logits = self._classify(h, clipping)
        return Trace(
            z=torch.stack(zs, 1),
            h=torch.stack(hs, 1),
            c=torch.stack(cs, 1),
            logits=logits,
            classes=first_largest(logits),
            stage_results=kept,
            saturations=dict(clipping.clipped),
            values=dict(clipping.values),
        )

    def _shifted(self, raw: torch.Tensor) -> torch.Tensor:
        input = self.bundle.formats.input
        return (raw - input.offset) << input.shift(self.bundle.formats.gate.hidden)

    def _stages(self, x: torch.Tensor, h: torch.Tensor, clipping: "_Clipping"):
        """z (B × 4 × H) and every stage's result, of the placed x and h."""
        spec, formats = self.bundle.spec, self.bundle.formats
        network = spec.network
        data = torch.zeros(len(x), prod(network.input_shape), dtype=torch.int64)
        data[:, self._x_positions] = x
        data[:, self._h_positions] = h
        data = data.reshape(-1, *network.input_shape)
        indices, results = network.inputs, []
        last = len(self.stages) - 1
        for s, (stage, weight) in enumerate(zip(self.stages, self._weights, strict=True)):
            accumulator = absorb(stage, weight, data.to(weight.dtype), indices).to(torch.int64)
            if s == last:
                accumulator = accumulator + self._placed_bias(stage.result)
            name = "z" if s == last else f"stage {s}"
            data = clipping.requantise(name, formats.stages[s].result, accumulator, formats.shift(s))
            indices = stage.result
            results.append(data)
        z = data.permute(0, *(1 + indices.index(name) for name in network.outputs)).flatten(1)
        return z[:, self._z_positions].reshape(-1, 4, spec.hidden), results

    def _placed_bias(self, indices: tuple[str, ...]) -> torch.Tensor:
        """The bias at the last accumulator's scale, as a tensor like the last stage's result; 0 where no gate lives."""
        network = self.bundle.spec.network
        placed = torch.zeros(prod(network.output_shape), dtype=torch.int64)
        bias = torch.from_numpy(self.bundle.bias.astype(np.int64)).flatten()
        placed[self._z_positions] = bias << self.bundle.formats.shift(len(self.stages) - 1)
        return placed.reshape(network.output_shape).permute(*(network.outputs.index(name) for name in indices))

    def _gates(self, z: torch.Tensor, c: torch.Tensor, clipping: "_Clipping"):
        gate = self.bundle.formats.gate
        (sigmoid, *sigmoid_arrays), (tanh, *tanh_arrays) = self._tables
        i, f, o = (sigmoid(z[:, k], *sigmoid_arrays) for k in (0, 1, 3))
        g = tanh(z[:, 2], *tanh_arrays)
        c = clipping.requantise("c", gate.cell, (f * c << gate.forget_shift) + i * g, gate.cell_shift)
        t = tanh(clipping.requantise("tanh(c)", gate.z, c, gate.tanh_shift), *tanh_arrays)
        return clipping.requantise("h", gate.hidden, o * t, gate.hidden_shift), c

    def _classify(self, h: torch.Tensor, clipping: "_Clipping") -> torch.Tensor:
        formats, bias = self.bundle.formats, self.bundle.head_bias
        if formats.head is None or self._head is None or bias is None:
            return torch.zeros(len(h), 0, dtype=torch.int64)
        accumulator = (h.to(self._head.dtype) @ self._head.T).to(torch.int64)
        accumulator = accumulator + (torch.from_numpy(bias.astype(np.int64)) << formats.head_shift)
        return clipping.requantise("logits", formats.head.result, accumulator, formats.head_shift)


def first_largest(logits: torch.Tensor) -> torch.Tensor:
    """The class of each row of logits: the lowest index of the largest, -1 without classes."""
    if logits.shape[1] == 0:
        return torch.full((len(logits),), -1, dtype=torch.int64)
    return logits.argmax(1)


class _Clipping:
    """Requantises, and counts what was clipped."""

    def __init__(self):
        self.clipped: Counter[str] = Counter()
        self.values: Counter[str] = Counter()

    def saturate(self, name: str, format: Fixed, value: torch.Tensor) -> torch.Tensor:
        self.clipped[name] += int(((value < format.min) | (value > format.max)).sum())
        self.values[name] += value.numel()
        return format.saturate(value)

    def requantise(self, name: str, format: Fixed, value: torch.Tensor, shift: int) -> torch.Tensor:
        return self.saturate(name, format, round_shift(value, shift))


def _exact(weight: np.ndarray, rows: int, source: Fixed) -> torch.Tensor:
    """Weights in the fastest dtype whose products and sums stay exact.

    float64 when no sum over the dimensions after the first `rows` can reach 2**53, whatever data of format `source`
    comes (then every partial sum is an exact integer in any order); int64 otherwise, which torch multiplies slowly.
    """
    magnitude = np.abs(weight.astype(np.int64)).reshape(*weight.shape[:rows], -1).sum(-1).max(initial=0)
    bound = int(magnitude) * max(-source.min, source.max)
    return torch.from_numpy(weight.astype(np.float64 if bound < _EXACT_IN_FLOAT64 else np.int64))
