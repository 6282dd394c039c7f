"""The golden model: integers only, the definition of what the hardware computes."""

from collections import Counter
from dataclasses import dataclass
from math import prod

import numpy as np
import torch

from fdht.model.contraction import absorb
from fdht.spec.bundle import Bundle
from fdht.spec.errors import SpecError
from fdht.spec.fixed import Fixed, round_shift
from fdht.spec.lstm import LSTMSpec

_EXACT_IN_FLOAT64 = 1 << 53


@dataclass(frozen=True)
class LayerTrace:
    """What one layer makes of B clips of T steps.

    Attributes:
        z: B × T × 4 × H, gates in the order i, f, g, o; `formats.gate.z`.
        h: B × T × H, after each step; `formats.gate.hidden`.
        c: B × T × H, after each step; `formats.gate.cell`.
    """

    z: torch.Tensor
    h: torch.Tensor
    c: torch.Tensor


@dataclass(frozen=True)
class Trace:
    """What the golden model makes of B clips of T steps; int64 tensors in the formats of the bundle.

    Attributes:
        layers: of each layer; `z`, `h` and `c` are those of the last.
        last: B × H, h of the last layer after each clip's own last step.
        logits: B × classes, of that h, or B × T × classes, of h of every step, as the task says; B × 0 without a head.
            Of a regression its outputs, as integers of the head's format.
        classes: B, or B × T, the lowest index of the largest logit; -1 without a head, and of a regression.
        stage_results: per step and stage (of all chains), B × `Stage.result`; empty unless asked for.
        saturations: how often a value was clipped: "x", "stage 0", ..., "z" (the last stage), "c", "tanh(c)" (c in
            the format of the table's input), "h", "logits". A recurrent network of its own has "h stage 0", ..., "h z"
            and their sum "z sum"; in a stack all but x and logits start with the layer, as "layer 1 z".
        values: how many values could have been.
    """

    layers: list[LayerTrace]
    last: torch.Tensor
    logits: torch.Tensor
    classes: torch.Tensor
    stage_results: list[list[torch.Tensor]]
    saturations: dict[str, int]
    values: dict[str, int]

    @property
    def z(self) -> torch.Tensor:
        return self.layers[-1].z

    @property
    def h(self) -> torch.Tensor:
        return self.layers[-1].h

    @property
    def c(self) -> torch.Tensor:
        return self.layers[-1].c


class GoldenLSTM:
    """Runs a bundle in exact integers.

    Every step, layer by layer: x and h are placed into the data tensor, each stage is contracted exactly and
    requantised once, the bias enters the last stage at its accumulator's scale, and the gates follow
    `fdht.spec.formats.GateFormats`. With a recurrent network of its own, W_x x + b and W_h h are requantised apart,
    and z is their saturated sum. The head sees h of the last layer after the last step, or after every step.
    """

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        formats = bundle.formats
        numbers = range(len(bundle.chains))
        self._layers = [
            [_Chain(bundle, number) for number in numbers if bundle.chains[number].layer == layer]
            for layer in range(len(bundle.layers))
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
        lengths: np.ndarray | None = None,
    ) -> Trace:
        """Runs clips from their initial state.

        Args:
            clips: raw input words, B × T × N, any integer dtype.
            h0, c0: layers × B × H integers in the formats of h and c; zero when left out.
            zero_h: put 0 where h would be placed (the ablation: what is h worth?).
            stage_results: keep every stage's result (much memory for many clips).
            lengths: steps of each clip that are its own, B of 1 to T, after the last of which the head looks; all when
                left out.

        Raises:
            SpecError: clips, lengths or states of a shape that does not fit the network, or without a step.
        """
        raw = torch.as_tensor(clips).to(torch.int64)
        layers, gate = self.bundle.layers, self.bundle.formats.gate
        if raw.ndim != 3 or raw.shape[1] < 1 or raw.shape[2] != layers[0].inputs:
            raise SpecError(
                f"clips of shape {tuple(raw.shape)} are not clips x steps x {layers[0].inputs} with a step or more"
            )
        own = np.full(len(raw), raw.shape[1]) if lengths is None else np.asarray(lengths)
        if own.shape != (len(raw),) or (len(own) and not 1 <= own.min() <= own.max() <= raw.shape[1]):
            raise SpecError(
                f"lengths {own.shape} for {len(raw)} clips of {raw.shape[1]} steps; each has 1 of them or more"
            )
        state = (len(layers), raw.shape[0], layers[0].hidden)
        h = torch.zeros(state, dtype=torch.int64) if h0 is None else h0.to(torch.int64)
        c = torch.zeros(state, dtype=torch.int64) if c0 is None else c0.to(torch.int64)
        for name, tensor in (("h0", h), ("c0", c)):
            if tuple(tensor.shape) != state:
                raise SpecError(f"{name} has shape {tuple(tensor.shape)}, not {state}")
        for name, tensor, format in (("h0", h, gate.hidden), ("c0", c, gate.cell)):
            if not torch.equal(tensor, format.saturate(tensor)):
                raise SpecError(f"{name} leaves the range of its format {format}, {format.min}..{format.max}")

        clipping, kept = _Clipping(), []
        task = self.bundle.spec.task
        hs, cs, steps = list(h), list(c), [[] for _ in layers]
        for step in range(raw.shape[1]):
            x = clipping.saturate("x", gate.hidden, self._shifted(raw[:, step]))
            results = []
            for number, (spec, chains) in enumerate(zip(layers, self._layers, strict=True)):
                clipping.prefix = f"layer {number} " if len(layers) > 1 else ""
                h = torch.zeros_like(hs[number]) if zero_h else hs[number]
                z = self._sum(spec, [chain.run(x, h, clipping, results) for chain in chains], clipping)
                hs[number], cs[number] = self._gates(z, cs[number], clipping)
                steps[number].append((z, hs[number], cs[number]))
                x = hs[number]
            clipping.prefix = ""
            if stage_results:
                kept.append(results)
        every = torch.stack([h for _, h, _ in steps[-1]], 1)
        last = every[torch.arange(len(raw)), torch.from_numpy(own.astype(np.int64)) - 1]
        logits = self._head_outputs(every if task.every_step else last, clipping)
        return Trace(
            layers=[LayerTrace(*(torch.stack(parts, 1) for parts in zip(*each, strict=True))) for each in steps],
            last=last,
            logits=logits,
            classes=torch.from_numpy(task.classes_of(logits.numpy())),
            stage_results=kept,
            saturations=dict(clipping.clipped),
            values=dict(clipping.values),
        )

    def _shifted(self, raw: torch.Tensor) -> torch.Tensor:
        input = self.bundle.formats.input
        return (raw - input.offset) << input.shift(self.bundle.formats.gate.hidden)

    def _sum(self, spec: LSTMSpec, parts: list[torch.Tensor], clipping: "_Clipping") -> torch.Tensor:
        """z (B × 4 × H) of the results of a layer's chains."""
        total = parts[0]
        for part in parts[1:]:
            total = clipping.saturate("z sum", self.bundle.formats.gate.z, total + part)
        return total[:, torch.from_numpy(spec.z_positions)].reshape(-1, 4, spec.hidden)

    def _gates(self, z: torch.Tensor, c: torch.Tensor, clipping: "_Clipping"):
        gate = self.bundle.formats.gate
        (sigmoid, *sigmoid_arrays), (tanh, *tanh_arrays) = self._tables
        i, f, o = (sigmoid(z[:, k], *sigmoid_arrays) for k in (0, 1, 3))
        g = tanh(z[:, 2], *tanh_arrays)
        c = clipping.requantise("c", gate.cell, (f * c << gate.forget_shift) + i * g, gate.cell_shift)
        t = tanh(clipping.requantise("tanh(c)", gate.z, c, gate.tanh_shift), *tanh_arrays)
        return clipping.requantise("h", gate.hidden, o * t, gate.hidden_shift), c

    def _head_outputs(self, h: torch.Tensor, clipping: "_Clipping") -> torch.Tensor:
        formats, bias = self.bundle.formats, self.bundle.head_bias
        if formats.head is None or self._head is None or bias is None:
            return torch.zeros(len(h), 0, dtype=torch.int64)
        accumulator = (h.to(self._head.dtype) @ self._head.T).to(torch.int64)
        accumulator = accumulator + (torch.from_numpy(bias.astype(np.int64)) << formats.head_shift)
        return clipping.requantise("logits", formats.head.result, accumulator, formats.head_shift)


class _Chain:
    """One chain of a bundle: its stages in exact integers."""

    def __init__(self, bundle: Bundle, number: int):
        self._number, self._formats = number, bundle.formats
        self._chain, self._stages = bundle.chains[number], bundle.stages[number]
        self._spec = bundle.layers[self._chain.layer]
        self._bias = bundle.biases[self._chain.layer] if self._chain.x else np.zeros((4, self._spec.hidden), np.int64)
        self._weights = [
            _exact(weight, len(stage.batch) + len(stage.rows), bundle.formats.source(number, s))
            for s, (stage, weight) in enumerate(zip(self._stages, bundle.weights[number], strict=True))
        ]

    def run(self, x: torch.Tensor, h: torch.Tensor, clipping: "_Clipping", results: list[torch.Tensor]) -> torch.Tensor:
        """The network's result, B × output modes in C order, of the placed x and h; appends every stage's result."""
        network, number = self._chain.network, self._number
        data = torch.zeros(len(x), prod(network.input_shape), dtype=torch.int64)
        for region, vector in ((self._chain.x, x), (self._chain.h, h)):
            if region is not None:
                data[:, torch.from_numpy(region.flat(network.input_shape))] = vector
        data = data.reshape(-1, *network.input_shape)
        indices, last = network.inputs, len(self._stages) - 1
        prefix = "" if self._chain.x else "h "
        for s, (stage, weight) in enumerate(zip(self._stages, self._weights, strict=True)):
            accumulator = absorb(stage, weight, data.to(weight.dtype), indices).to(torch.int64)
            if s == last:
                accumulator = accumulator + self._placed_bias(stage.result)
            name = prefix + ("z" if s == last else f"stage {s}")
            result = self._formats.chains[number][s].result
            data = clipping.requantise(name, result, accumulator, self._formats.shift(number, s))
            indices = stage.result
            results.append(data)
        return data.permute(0, *(1 + indices.index(name) for name in network.outputs)).flatten(1)

    def _placed_bias(self, indices: tuple[str, ...]) -> torch.Tensor:
        """The bias at the last accumulator's scale, as a tensor like the last stage's result; 0 where no gate lives."""
        network = self._chain.network
        placed = torch.zeros(prod(network.output_shape), dtype=torch.int64)
        bias = torch.from_numpy(self._bias.astype(np.int64)).flatten()
        placed[self._spec.z_positions] = bias << self._formats.shift(self._number, len(self._stages) - 1)
        return placed.reshape(network.output_shape).permute(*(network.outputs.index(name) for name in indices))


class _Clipping:
    """Requantises, and counts what was clipped."""

    def __init__(self):
        self.prefix = ""
        self.clipped: Counter[str] = Counter()
        self.values: Counter[str] = Counter()

    def saturate(self, name: str, format: Fixed, value: torch.Tensor) -> torch.Tensor:
        self.clipped[self.prefix + name] += int(((value < format.min) | (value > format.max)).sum())
        self.values[self.prefix + name] += value.numel()
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
