"""From a float model and a stage list to a bundle: formats, integers and golden vectors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import floor, isfinite, log2, prod

import numpy as np
import torch

from fdht.model.contraction import absorb, stage_weights
from fdht.model.golden import GoldenLSTM
from fdht.model.layers import Classifier
from fdht.spec.bundle import Bundle
from fdht.spec.errors import SpecError
from fdht.spec.fixed import Fixed
from fdht.spec.formats import Formats, GateFormats, InputFormat, StageFormat
from fdht.spec.lstm import Chain, chains
from fdht.spec.scaling import Scaling
from fdht.spec.stages import Stage, StageLists, accumulator_bits, stages_of

HEADROOM = 2.0
"""A result's format holds this many times the largest value seen in calibration."""

MUCH_CLIPPED = 0.01
"""The share of clipped values in calibration from which on it is worth a warning: where inputs are of about ±1, a few
thousandths are usual.
"""

CALIBRATION_CLIPS = 40
"""Training clips that formats are chosen on, spread over the split."""

SHIFT_LIMIT = 24
"""Most bits an accumulator is finer than its result."""


@dataclass(frozen=True)
class SaturationReport:
    """What is clipped, by place.

    Attributes:
        clipped, values: per place (those of fdht.model.golden.Trace) how many of how many values the golden model
            clipped on the calibration clips.
        weights: per weight or bias ("stage 0", ..., "bias", "head", "head bias") how many entries its format clips;
            with several chains "chain 0 stage 0", ..., with several layers "layer 0 bias", ....
    """

    clipped: Mapping[str, int]
    values: Mapping[str, int]
    weights: Mapping[str, int]

    @property
    def rates(self) -> dict[str, float]:
        """Fraction of clipped values by place."""
        return {place: self.clipped[place] / self.values[place] for place in self.values}

    @property
    def share(self) -> float:
        """Fraction of clipped values, of all places together."""
        return sum(self.clipped.values()) / max(1, sum(self.values.values()))

    @property
    def summary(self) -> str:
        """The share, of how many values, and the places that clip: "21.4 % of 314,600 values (z 43.1 %, c 2.7 %)"."""
        places = sorted(self.rates.items(), key=lambda item: -item[1])
        named = ", ".join(f"{place} {100 * rate:.1f} %" for place, rate in places if rate)
        return f"{100 * self.share:.1f} % of {sum(self.values.values()):,} values" + (f" ({named})" if named else "")

    @property
    def trouble(self) -> str:
        """A sentence where more than `MUCH_CLIPPED` of the values are clipped, else nothing."""
        if self.share <= MUCH_CLIPPED:
            return ""
        return (
            f"{self.summary} are clipped in calibration, which costs accuracy: inputs, or the weights on them, are too "
            "large for the engine's formats; train on inputs of mean 0 and deviation 1"
        )


def quantise(
    model: Classifier,
    stage_lists: StageLists,
    clips: np.ndarray,
    labels: np.ndarray,
    *,
    calibration: np.ndarray | None = None,
    factor_width: int = 16,
    accumulator_width: int = 40,
    gate: GateFormats | None = None,
    formats: Formats | None = None,
    about: dict | None = None,
    lengths: np.ndarray | None = None,
    scaling: Scaling | None = None,
) -> tuple[Bundle, SaturationReport]:
    """Quantises a classifier after training.

    Args:
        model: the float model.
        stage_lists: the order of contraction the integers are made for, one per chain.
        clips, labels: the golden vectors: raw words of the model's input format (B × T × N), and what is true of
            them (see fdht.spec.task.Truth). Where the integers have a coarser input format, the bundle's clips are
            rounded to it.
        calibration: raw clips to choose formats on; `clips` when left out.
        factor_width, accumulator_width, gate: as for `choose_formats`.
        formats: every format, as a model trained on them has them; chosen when left out.
        about: goes into the bundle as it is.
        lengths: steps of each golden vector that are its own; all when left out.
        scaling: how real values become raw words of the model's input format, if they do. Of a coarser input format the
            bundle has a coarser scaling.

    Returns:
        The bundle with the golden model's logits and hidden states, and the saturations on the calibration clips.

    Raises:
        SpecError: no clips, parameters that are not finite, or what `choose_formats` refuses.
    """
    calibration = clips if calibration is None else calibration
    if len(clips) == 0 or len(calibration) == 0:
        raise SpecError("there are no clips to quantise on; pass at least one")
    _check_finite(model)
    if formats is None:
        formats = choose_formats(
            model,
            stage_lists,
            calibration,
            factor_width=factor_width,
            accumulator_width=accumulator_width,
            gate=gate,
        )
    layers, head = model.layers, formats.head
    assert head is not None
    spec, several = layers[-1], len(chains(layers)) > 1
    weights = real_weights(model, stage_lists)
    biases = [_real(layer.biases).numpy() for layer in model.lstm_layers]
    head_weight, head_bias = _real(model.head.weight).numpy(), _real(model.head.bias).numpy()
    clips, calibration = (_converted(raw, model.input_format, formats.input) for raw in (clips, calibration))
    bundle = Bundle(
        layers=layers,
        stage_lists=stage_lists,
        formats=formats,
        weights=tuple(
            tuple(_integers(f.weight, weight) for f, weight in zip(of_chain, of_weights, strict=True))
            for of_chain, of_weights in zip(formats.chains, weights, strict=True)
        ),
        biases=tuple(_integers(formats.gate.z, bias) for bias in biases),
        head_weight=_integers(head.weight, head_weight),
        head_bias=_integers(head.result, head_bias),
        clips=clips,
        labels=np.asarray(labels, dtype=np.float64 if spec.task.real else np.int64),
        logits=np.zeros((len(clips), *spec.task.shape(clips.shape[1], spec.classes)), dtype=np.int32),
        hidden=np.zeros((len(clips), spec.hidden), dtype=np.int32),
        about=about or {},
        outputs=model.outputs,
        lengths=lengths,
        scaling=scaling if scaling is None or formats.input == model.input_format else scaling.fitted(formats.input),
    )
    clipped_weights = {
        (f"chain {c} " if several else "") + f"stage {s}": _clipped(f.weight, weight)
        for c, (of_chain, of_weights) in enumerate(zip(formats.chains, weights, strict=True))
        for s, (f, weight) in enumerate(zip(of_chain, of_weights, strict=True))
    }
    for number, bias in enumerate(biases):
        clipped_weights[(f"layer {number} " if len(layers) > 1 else "") + "bias"] = _clipped(formats.gate.z, bias)
    clipped_weights["head"] = _clipped(head.weight, head_weight)
    clipped_weights["head bias"] = _clipped(head.result, head_bias)
    trace = GoldenLSTM(bundle).run(calibration)
    report = SaturationReport(trace.saturations, trace.values, clipped_weights)
    return with_vectors(bundle, clips, labels, lengths), report


def choose_formats(
    model: Classifier,
    stage_lists: StageLists,
    calibration: np.ndarray,
    *,
    factor_width: int = 16,
    accumulator_width: int = 40,
    gate: GateFormats | None = None,
) -> Formats:
    """Every format of a model's integers.

    All scales are powers of two. A weight gets the scale with the smallest squared error (at 8 bits and more that is
    the finest that clips nothing, or one that clips a few outliers). The result of a stage gets the finest scale
    that holds `HEADROOM` times the largest magnitude seen in calibration, 0 to `SHIFT_LIMIT` bits coarser than its
    accumulator; z, c, h and the activations have the fixed formats of the gate unit, biases those of z and the
    logits. A weight so large that its sums could leave the accumulator loses bits until they cannot
    (in the last stage, as far as z's scale allows; the compiler refuses the rest). Inputs have the model's format, or
    one as coarse as that of h.

    Args:
        model: the float model.
        stage_lists: the order of contraction, one per chain.
        calibration: raw clips (B × T × N).
        factor_width: bits of stage weights and head weights, 4 to 18.
        accumulator_width: bits of an accumulator.
        gate: formats of the gate unit; `gate.hidden.width` is the width of every data word.

    Raises:
        SpecError: a factor width outside 4..18.
    """
    if not 4 <= factor_width <= 18:
        raise SpecError(f"a factor width of {factor_width} is outside 4..18 bits")
    gate = GateFormats() if gate is None else gate
    every = chains(model.layers)
    parts = [
        _Part(chain, listed, weights)
        for chain, listed, weights in zip(
            every, stages_of(every, stage_lists), real_weights(model, stage_lists), strict=True
        )
    ]
    largest, largest_logit = _observe(model, parts, calibration)
    width = gate.hidden.width

    def fitting(weight: np.ndarray, depth: int) -> Fixed:
        return within(finest(weight, factor_width), weight, depth, width, accumulator_width)

    formats = list[tuple[StageFormat, ...]]()
    for part, magnitudes in zip(parts, largest, strict=True):
        source, of_chain = gate.hidden, list[StageFormat]()
        for s, (stage, weight) in enumerate(zip(part.stages, part.weights, strict=True)):
            last = s == len(part.weights) - 1
            result = gate.z if last else _result(width, magnitudes[s])
            of_weight = fitting(weight, prod(part.chain.network.shape(stage.reduction)))
            of_chain.append(_stage_format(of_weight, source, result, fixed_result=last))
            source = of_chain[-1].result
        formats.append(tuple(of_chain))
    head, head_bias = _real(model.head.weight).numpy(), _real(model.head.bias).numpy()
    largest_logit = max(largest_logit, float(np.abs(head_bias).max()))
    of_head = _stage_format(fitting(head, model.layers[-1].hidden), gate.hidden, _result(width, largest_logit))
    return Formats(model.input_format.fitted(gate.hidden), gate, tuple(formats), of_head)


def real_weights(model: Classifier, stage_lists: StageLists) -> list[list[np.ndarray]]:
    """Per chain the merged weight of every stage, in float64: what is rounded to integers."""
    every = chains(model.layers)
    return [
        [
            weight.numpy()
            for weight in stage_weights(
                chain.network, listed, {name: _real(factor) for name, factor in network.factors.items()}
            )
        ]
        for chain, listed, network in zip(every, stages_of(every, stage_lists), model.networks, strict=True)
    ]


def within(fixed: Fixed, weight: np.ndarray, depth: int, data_width: int, accumulator_width: int) -> Fixed:
    """A weight's format with fewer fractional bits, if its sums of `depth` products would leave the accumulator."""
    while accumulator_bits(fixed.quantise(weight), depth, data_width) > accumulator_width:
        fixed = replace(fixed, frac=fixed.frac - 1)
    return fixed


def with_vectors(bundle: Bundle, clips: np.ndarray, labels: np.ndarray, lengths: np.ndarray | None = None) -> Bundle:
    """The same bundle with other golden vectors: raw clips (B × T × N), what is true of them and, if they differ, own
    steps (B).
    """
    trace = GoldenLSTM(bundle).run(clips, lengths=lengths)
    return replace(
        bundle,
        clips=clips,
        labels=np.asarray(labels, dtype=np.float64 if bundle.spec.task.real else np.int64),
        logits=trace.logits.numpy().astype(np.int32),
        hidden=trace.last.numpy().astype(np.int32),
        lengths=lengths,
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
    if not isfinite(magnitude):
        raise SpecError("the model's numbers grow beyond all measure on its own data; train it anew with a lower rate")
    return floor(log2(Fixed(width, 0).max / magnitude))


def _not_finer(fixed: Fixed, frac: int) -> Fixed:
    return replace(fixed, frac=min(fixed.frac, frac))


def _integers(fixed: Fixed, values: np.ndarray) -> np.ndarray:
    return fixed.quantise(values).astype(np.int32)


def _clipped(fixed: Fixed, values: np.ndarray) -> int:
    rounded = np.floor(values / fixed.lsb + 0.5)
    return int(((rounded < fixed.min) | (rounded > fixed.max)).sum())


@dataclass(frozen=True, eq=False)
class _Part:
    """A chain in real numbers: its stages and their merged weights."""

    chain: Chain
    stages: tuple[Stage, ...]
    weights: list[np.ndarray]

    def largest(self, x: torch.Tensor, h: torch.Tensor) -> list[float]:
        """Largest magnitude of every stage's result (no bias) for some x (B × N) and h (B × H)."""
        network = self.chain.network
        data = torch.zeros(len(x), prod(network.input_shape), dtype=torch.float64)
        for region, vector in ((self.chain.x, x), (self.chain.h, h)):
            if region is not None:
                data[:, torch.from_numpy(region.flat(network.input_shape))] = vector
        data, indices, largest = data.reshape(-1, *network.input_shape), network.inputs, []
        for stage, weight in zip(self.stages, self.weights, strict=True):
            data, indices = absorb(stage, torch.from_numpy(weight), data, indices), stage.result
            largest.append(float(data.abs().max()))
        return largest


def _check_finite(model: Classifier) -> None:
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise SpecError(f"{name} holds infinities or NaN, for which there are no integers; train the model anew")


def _real(parameter: torch.Tensor) -> torch.Tensor:
    return parameter.detach().cpu().double()


def _converted(raw: np.ndarray, source: InputFormat, to: InputFormat) -> np.ndarray:
    return raw if source == to else to.converted(raw.astype(np.int64), source).astype(raw.dtype)


def _observe(model: Classifier, parts: list[_Part], clips: np.ndarray) -> tuple[list[list[float]], float]:
    """Largest magnitudes of the float model on raw clips: of each stage's result (no bias) per chain, of the logits."""
    x = model.widen(torch.as_tensor(clips, device=model.head.weight.device))
    vectors = [x]
    with torch.no_grad():
        for layer in model.lstm_layers:
            vectors.append(layer(vectors[-1], batch_first=True)[0])
        logits = model.head(vectors[-1] if model.task.every_step else vectors[-1][:, -1])
    vectors = [vector.cpu().double() for vector in vectors]
    largest = [[0.0] * len(part.stages) for part in parts]
    for step in range(x.shape[1]):
        for number, part in enumerate(parts):
            below, own = vectors[part.chain.layer : part.chain.layer + 2]
            before = own[:, step - 1] if step else torch.zeros_like(own[:, 0])
            largest[number] = [
                max(pair) for pair in zip(largest[number], part.largest(below[:, step], before), strict=True)
            ]
    return largest, float(logits.abs().max())
