"""From a float model and a stage list to a bundle: formats, integers and golden vectors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import floor, log2, prod

import numpy as np
import torch

from model.contraction import absorb, stage_weights
from model.golden import GoldenLSTM
from model.layers import Classifier
from spec.bundle import Bundle
from spec.errors import SpecError
from spec.fixed import Fixed
from spec.formats import Formats, GateFormats, StageFormat
from spec.stages import StageList, accumulator_bits, stages

HEADROOM = 2.0
"""A result's format holds this many times the largest value seen in calibration."""

SHIFT_LIMIT = 24
"""Most bits an accumulator is finer than its result."""


@dataclass(frozen=True)
class SaturationReport:
    """What is clipped, by place.

    Attributes:
        clipped, values: per place ("x", "stage 0", ..., "z", "c", "tanh(c)", "h", "logits") how many of how many
            values the golden model clipped on the calibration clips.
        weights: per weight or bias ("stage 0", ..., "bias", "head", "head bias") how many entries its format clips.
    """

    clipped: Mapping[str, int]
    values: Mapping[str, int]
    weights: Mapping[str, int]

    @property
    def rates(self) -> dict[str, float]:
        """Fraction of clipped values by place."""
        return {place: self.clipped[place] / self.values[place] for place in self.values}


def quantise(
    model: Classifier,
    stage_list: StageList,
    clips: np.ndarray,
    labels: np.ndarray,
    *,
    calibration: np.ndarray | None = None,
    factor_width: int = 16,
    accumulator_width: int = 40,
    gate: GateFormats | None = None,
    about: dict | None = None,
) -> tuple[Bundle, SaturationReport]:
    """Quantises a classifier after training.

    All scales are powers of two. A weight gets the scale with the smallest squared error (at 8 bits and more that is
    the finest that clips nothing, or one that clips a few outliers). The result of a stage gets the finest scale
    that holds `HEADROOM` times the largest magnitude seen in calibration, 0 to `SHIFT_LIMIT` bits coarser than its
    accumulator; z, c, h and the activations have the fixed formats of the gate unit, biases those of z and the
    logits. A weight so large that its sums could leave the accumulator loses bits until they cannot
    (in the last stage, as far as z's scale allows; the compiler refuses the rest).

    Args:
        model: the float model; its input format is taken over.
        stage_list: the order of contraction the integers are made for.
        clips, labels: the golden vectors: raw words (B × T × N) and classes (B, -1 if unknown).
        calibration: raw clips to choose formats on; `clips` when left out.
        factor_width: bits of stage weights and head weights, 4 to 18.
        accumulator_width: bits of an accumulator.
        gate: formats of the gate unit; `gate.hidden.width` is the width of every data word.
        about: goes into the bundle as it is.

    Returns:
        The bundle with the golden model's logits and hidden states, and the saturations on the calibration clips.

    Raises:
        SpecError: a factor width outside 4..18, or no clips.
    """
    if not 4 <= factor_width <= 18:
        raise SpecError(f"a factor width of {factor_width} is outside 4..18 bits")
    calibration = clips if calibration is None else calibration
    if len(clips) == 0 or len(calibration) == 0:
        raise SpecError("there are no clips to quantise on; pass at least one")
    gate = GateFormats() if gate is None else gate
    spec = model.spec
    chain = stages(spec.network, stage_list)
    real = {name: factor.detach().cpu().double() for name, factor in model.lstm.weight.factors.items()}
    weights = [w.numpy() for w in stage_weights(spec.network, chain, real)]
    largest = _observe(model, stage_list, weights, calibration)

    width, formats = gate.hidden.width, list[StageFormat]()
    source = gate.hidden

    def fitting(weight: np.ndarray, depth: int) -> Fixed:
        fixed = finest(weight, factor_width)
        while accumulator_bits(fixed.quantise(weight), depth, width) > accumulator_width:
            fixed = replace(fixed, frac=fixed.frac - 1)
        return fixed

    for s, (stage, weight) in enumerate(zip(chain, weights, strict=True)):
        last = s == len(weights) - 1
        result = gate.z if last else _result(width, largest[s])
        of_weight = fitting(weight, prod(spec.network.shape(stage.reduction)))
        formats.append(_stage_format(of_weight, source, result, fixed_result=last))
        source = formats[-1].result
    bias = model.lstm.bias.detach().cpu().double().numpy()
    head, head_bias = (p.detach().cpu().double().numpy() for p in (model.head.weight, model.head.bias))
    largest_logit = max(largest[-1], float(np.abs(head_bias).max()))
    of_head = _stage_format(fitting(head, spec.hidden), gate.hidden, _result(width, largest_logit))
    bundle = Bundle(
        spec=spec,
        stage_list=stage_list,
        formats=Formats(model.input_format, gate, tuple(formats), of_head),
        weights=tuple(_integers(f.weight, weight) for f, weight in zip(formats, weights, strict=True)),
        bias=_integers(gate.z, bias),
        head_weight=_integers(of_head.weight, head),
        head_bias=_integers(of_head.result, head_bias),
        clips=clips,
        labels=np.asarray(labels, dtype=np.int64),
        logits=np.zeros((len(clips), spec.classes), dtype=np.int32),
        hidden=np.zeros((len(clips), spec.hidden), dtype=np.int32),
        about=about or {},
    )
    clipped_weights = {
        f"stage {s}": _clipped(f.weight, w) for s, (f, w) in enumerate(zip(formats, weights, strict=True))
    }
    clipped_weights["bias"] = _clipped(gate.z, bias)
    clipped_weights["head"] = _clipped(of_head.weight, head)
    clipped_weights["head bias"] = _clipped(of_head.result, head_bias)
    trace = GoldenLSTM(bundle).run(calibration)
    report = SaturationReport(trace.saturations, trace.values, clipped_weights)
    return with_vectors(bundle, clips, labels), report


def with_vectors(bundle: Bundle, clips: np.ndarray, labels: np.ndarray) -> Bundle:
    """The same bundle with other golden vectors: raw clips (B × T × N) and their classes (B)."""
    trace = GoldenLSTM(bundle).run(clips)
    return replace(
        bundle,
        clips=clips,
        labels=np.asarray(labels, dtype=np.int64),
        logits=trace.logits.numpy().astype(np.int32),
        hidden=trace.h[:, -1].numpy().astype(np.int32),
    )


def finest(values: np.ndarray, width: int) -> Fixed:
    """The signed format of a width that represents real values with the smallest squared error.

    Tried are the finest scale that clips nothing and the two beyond it.
    """
    start = _holding(float(np.abs(values).max(initial=0)), width)
    candidates = [Fixed(width, frac) for frac in range(start, start + 3)]
    return min(candidates, key=lambda fixed: float(np.square(fixed.dequantise(fixed.quantise(values)) - values).sum()))


def _result(width: int, largest: float) -> Fixed:
    return Fixed(width, _holding(HEADROOM * largest, width))


def _stage_format(of_weight: Fixed, source: Fixed, result: Fixed, *, fixed_result: bool = False) -> StageFormat:
    """The formats of a stage, such that its accumulator is 0 to SHIFT_LIMIT bits finer than its result.

    An accumulator too fine means products far below the result's last bit: the weight may lose bits. One too coarse
    makes the result coarser; if that is fixed, the weight is made finer and clips.
    """
    of_weight = _not_finer(of_weight, result.frac + SHIFT_LIMIT - source.frac)
    if fixed_result:
        return StageFormat(replace(of_weight, frac=max(of_weight.frac, result.frac - source.frac)), result)
    return StageFormat(of_weight, _not_finer(result, source.frac + of_weight.frac))


def _holding(magnitude: float, width: int) -> int:
    """The most fractional bits with which a signed format of a width holds values up to a magnitude."""
    if magnitude == 0:
        return width - 1
    return floor(log2(Fixed(width, 0).max / magnitude))


def _not_finer(fixed: Fixed, frac: int) -> Fixed:
    return replace(fixed, frac=min(fixed.frac, frac))


def _integers(fixed: Fixed, values: np.ndarray) -> np.ndarray:
    return fixed.quantise(values).astype(np.int32)


def _clipped(fixed: Fixed, values: np.ndarray) -> int:
    rounded = np.floor(values / fixed.lsb + 0.5)
    return int(((rounded < fixed.min) | (rounded > fixed.max)).sum())


def _observe(model: Classifier, stage_list: StageList, weights: list[np.ndarray], clips: np.ndarray) -> list[float]:
    """Largest magnitude of every stage's result (no bias), and of the logits, of the float model on raw clips."""
    spec, network = model.spec, model.spec.network
    x = model.widen(torch.as_tensor(clips, device=model.head.weight.device))
    with torch.no_grad():
        h, _ = model.lstm(x)
        logits = model.head(h[:, -1])
    x, h = x.cpu().double(), h.cpu().double()
    positions = torch.from_numpy(np.concatenate([spec.x_positions, spec.h_positions]))
    largest = [0.0] * len(weights)
    for step in range(x.shape[1]):
        before = h[:, step - 1] if step else torch.zeros_like(h[:, 0])
        data = torch.zeros(len(x), prod(network.input_shape), dtype=torch.float64)
        data[:, positions] = torch.cat([x[:, step], before], 1)
        data, indices = data.reshape(-1, *network.input_shape), network.inputs
        for s, (stage, weight) in enumerate(zip(stages(network, stage_list), weights, strict=True)):
            data, indices = absorb(stage, torch.from_numpy(weight), data, indices), stage.result
            largest[s] = max(largest[s], float(data.abs().max()))
    return [*largest, float(logits.abs().max())]
