"""Random bundles: networks of every shape with integers at random, as quantisation would leave them."""

from math import prod

import numpy as np

from spec.bundle import Bundle
from spec.errors import SpecError
from spec.fixed import Fixed
from spec.formats import PIXELS, Formats, GateFormats, StageFormat
from spec.lstm import LSTMSpec, fdht_lstm
from spec.stages import StageList, stages


def random_spec(rng: np.random.Generator) -> LSTMSpec:
    """A small FDHT-LSTM: d from 2 to 4, modes and ranks that divide by nothing, with or without a head."""
    while True:
        order = int(rng.integers(2, 5))
        inputs = tuple(int(n) for n in rng.integers(1, 7, order))
        outputs = tuple(int(m) for m in rng.integers(1, 7, order))
        hidden = max(1, prod(outputs) // 4 - int(rng.integers(0, 3)))
        size = prod(inputs) - hidden - int(rng.integers(0, 5))
        ranks = {"".join(map(str, range(a, b))): int(rng.integers(1, 5)) for a in range(1, 5) for b in range(a + 1, 6)}
        if not 2 <= hidden <= 40 or not 1 <= size <= 400:
            continue
        try:
            return fdht_lstm(size, hidden, int(rng.integers(0, 6)), inputs, outputs, ranks)
        except SpecError:
            continue


def random_bundle(
    rng: np.random.Generator, spec: LSTMSpec, stage_list: StageList, factor_width: int = 8, clips: int = 1, steps: int = 3
) -> Bundle:
    """Random integers for a network, scaled so that every stage uses most of its range and a little more."""
    chain = stages(spec.network, stage_list)
    gate = GateFormats()
    weights, formats, frac = [], [], gate.hidden.frac
    for s, stage in enumerate(chain):
        limit = 1 << factor_width - 1
        weights.append(rng.integers(-limit, limit, spec.network.shape(stage.weight), dtype=np.int32))
        # The sum of K products of uniform numbers has about this spread; one bit of headroom, so some clip.
        growth = factor_width - 2 + np.log2(prod(spec.network.shape(stage.reduction))) / 2
        last = s + 1 == len(chain)
        shift = max(0, round(growth) - (2 if last else 1))
        result = gate.z if last else Fixed(16, frac + factor_width - shift)
        weight_frac = shift + result.frac - frac
        formats.append(StageFormat(Fixed(factor_width, weight_frac), result))
        frac = result.frac
    accumulator = frac if len(chain) == 0 else formats[-1].weight.frac + (formats[-2].result.frac if len(chain) > 1 else gate.hidden.frac)
    bias_format = Fixed(16, min(12, accumulator))
    bias = rng.integers(-4096, 4096, (4, spec.hidden), dtype=np.int32)
    head = StageFormat(Fixed(factor_width, factor_width - 1), Fixed(16, 10)) if spec.classes else None
    head_weight = head_bias = None
    if spec.classes:
        head_weight = rng.integers(-(1 << factor_width - 1), 1 << factor_width - 1, (spec.classes, spec.hidden), dtype=np.int32)
        head_bias = rng.integers(-2048, 2048, spec.classes, dtype=np.int32)
    return Bundle(
        spec=spec,
        stage_list=stage_list,
        formats=Formats(PIXELS, gate, tuple(formats), bias_format, head, Fixed(16, 10) if head else None),
        weights=tuple(weights),
        bias=bias,
        head_weight=head_weight,
        head_bias=head_bias,
        clips=rng.integers(0, 256, (clips, steps, spec.inputs), dtype=np.uint8),
        labels=np.full(clips, -1),
        logits=np.zeros((clips, spec.classes), dtype=np.int64),
        hidden=np.zeros((clips, spec.hidden), dtype=np.int64),
    )
