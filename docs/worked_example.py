"""Writes docs/worked-example.md: every number on that page is computed here.

    .venv/bin/python -m docs.worked_example

A test holds the page against this program, and the RTL against the numbers.
"""

from math import prod
from pathlib import Path

import numpy as np
import torch

from fdht.compiler.arithmetic import useful_macs
from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.listing import listing
from fdht.compiler.planner import plan
from fdht.model.golden import GoldenLSTM, Trace
from fdht.model.layers import Classifier
from fdht.model.presets import find_preset
from fdht.model.quantise import quantise
from fdht.spec.bundle import Bundle
from fdht.spec.lstm import GATES, LSTMSpec, fdht_lstm, stack
from fdht.spec.network import TensorNetwork
from fdht.spec.stages import stage_macs
from fdht.spec.target import Target

PAGE = Path(__file__).with_name("worked-example.md")

SPEC = fdht_lstm(16, 4, 2, input_modes=(3, 2, 2, 2), output_modes=(2, 2, 2, 2), rank=2)
"""A 4 × 4 picture per step, 4 hidden units, 2 classes."""

TARGET = Target("tiny", rows=2, columns=2, bank_words=64, factor_words=64, result_words=16, hidden=4)
"""An engine of 2 × 2 multipliers."""

STEPS = 3


def drawn() -> tuple[Classifier, np.ndarray]:
    """The float model, whose weights are drawn and not trained, and a clip: 1 × STEPS × 16 pixels."""
    rng = np.random.default_rng(4)
    model = Classifier(SPEC).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(0, 0.5, tuple(parameter.shape))))
    return model, rng.integers(0, 256, (1, STEPS, SPEC.inputs), dtype=np.uint8)


def example() -> tuple[Bundle, Image]:
    """The bundle and its image."""
    model, clips = drawn()
    bundle, _ = quantise(model, plan(SPEC, TARGET), clips, np.array([-1]))
    return bundle, compile_bundle(bundle, TARGET)


def page() -> str:
    """The page, as Markdown."""
    bundle, image = example()
    trace = GoldenLSTM(bundle).run(bundle.clips, stage_results=True)
    sections = (_network(SPEC), _placement(bundle), _stages(bundle), _numbers(bundle, trace), _program(image))
    return "\n".join((_OPENING, *sections, _result(bundle, image, trace)))


_OPENING = """\
# A worked example

From modes to stage list to program to result, on a network small enough to follow by hand: 16 inputs (a 4 × 4
picture per step), 4 hidden units, 2 classes, a tree over d = 4 modes with all ranks 2, on an engine of 2 × 2
multipliers. Its weights are drawn at random. Every number below is computed by
[worked_example.py](worked_example.py), which writes this page; a test fails when the two differ, another when the
RTL computes anything else.
"""


def _table(header: tuple[str, ...], rows: list[tuple]) -> str:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (header, ("---",) * len(header), *rows)]
    return "\n".join(lines) + "\n"


def _times(numbers) -> str:
    return " × ".join(map(str, numbers)) or "1"


def _network(spec: LSTMSpec) -> str:
    network = spec.network
    dense = 4 * spec.hidden * (spec.inputs + spec.hidden)
    (faces,) = stack(find_preset("faces").spec)
    factors = [
        (f"`{f.name}`", f"`{', '.join(f.indices)}`", _times(network.shape(f.indices)), prod(network.shape(f.indices)))
        for f in network.factors
    ]
    return f"""\
## 1. Modes and factors

The dense LSTM would have a matrix W of {4 * spec.hidden} × {spec.inputs + spec.hidden} = {dense} numbers. Here W is a
tensor with input modes n = ({", ".join(map(str, network.input_shape))}), which hold {prod(network.input_shape)} entries
for the {spec.inputs} inputs and {spec.hidden} hidden units, and output modes
m = ({", ".join(map(str, network.output_shape))}), which hold {prod(network.output_shape)} entries for
four gates of {spec.hidden} units. It is stored as the factors of a dimension tree:

                 B1234
                /     \\
             B12       B34          transfer tensors, joined by bonds of the rank
            /   \\     /   \\
          U1     U2 U3     U4       leaf factors, one per mode

{_table(("factor", "indices", "shape", "numbers"), factors)}
Together {network.parameters} numbers. (So small a network gains little; that of the faces preset replaces
{4 * faces.hidden * (faces.inputs + faces.hidden):,} numbers by {faces.network.parameters:,}.)
An index that starts with `n` is contracted with the data, one with `m`
remains in the result, one with `r` is a bond between two factors.
"""


def _placement(bundle: Bundle) -> str:
    spec = bundle.spec
    gates = [(f"`{name}`", f"`{gate.start}`", f"`{gate.shape}`") for name, gate in zip(GATES, spec.gates, strict=True)]
    stage, network = bundle.stages[0][0], spec.network
    terms = prod(network.shape(stage.reduction))
    of_h = terms // network.size["n1"]
    return f"""\
## 2. Where x, h and the gates live

Each step's data tensor is filled from two boxes: x from `{spec.x.start}` with shape `{spec.x.shape}`, h from
`{spec.h.start}` with shape `{spec.h.shape}`, of which the {spec.h.count} units fill the first {spec.h.count} places;
the rest is zero. So h needs no stage of its own: as one more index of the first mode it adds {of_h} terms to each sum
of the first stage below, {terms} in place of {terms - of_h}. The result tensor's boxes are the gates:

{_table(("gate", "start", "shape"), gates)}"""


def _named(indices: tuple[str, ...], network: TensorNetwork) -> str:
    return f"`{', '.join(indices)}`: {_times(network.shape(indices))}"


def _stages(bundle: Bundle) -> str:
    spec, (first, second) = bundle.spec, bundle.stages[0]
    network = spec.network
    one_by_one = stage_macs(network, (("U1",), ("U2",), ("B12",), ("U3",), ("U4",), ("B34",), ("B1234",)))
    rows = []
    for number, stage in enumerate((first, second)):
        factors = " ∘ ".join(f"`{name}`" for name in stage.factors)
        indices = (_named(part, network) for part in (stage.rows, stage.reduction, stage.columns))
        rows.append((number, factors, *indices, stage.macs(network)))
    row_count, entries, filled = (
        prod(network.shape(first.rows)),
        prod(network.input_shape),
        spec.inputs + spec.hidden,
    )
    ((at_first, later),) = useful_macs(spec, bundle.stage_lists)
    return f"""\
## 3. The stage list

The planner looks for the order of contraction, and for the factors to merge beforehand, with the fewest cycles on this
engine. It finds:

{_table(("stage", "absorbs", "rows", "K", "columns", "multiplications"), rows)}
A stage multiplies a weight (rows × K) with the data (K × columns): rows are the indices the weight adds, K those summed
over, columns everything else; of several indices the last runs fastest. The data of stage 1 are the result of stage 0,
in the order columns, rows.

Together {bundle.macs} multiplications per step; one factor at a time from the left it would be {one_by_one}, the dense
matrix {4 * spec.hidden * (spec.inputs + spec.hidden)}. The engine carries out all {bundle.macs}, but only
{at_first + later} of them are useful: x and h fill {filled} of the {entries} entries of the data tensor, and the other
{entries - filled} are zero in every step. Each entry meets the {row_count} rows of stage 0, which so has
{filled} × {row_count} = {at_first} useful multiplications in place of
{entries} × {row_count} = {first.macs(network)}; stage 1 has no such zeros.
The listing and the utilisation below count the {at_first + later}.

So in a network this small the tree saves numbers ({network.parameters} in place of
{4 * spec.hidden * (spec.inputs + spec.hidden)}), not multiplications. Those it saves in large ones: the order that is
planned for `ucf11` on the ULX3S multiplies 999,424 times a step, its dense matrix 59,244,544 times.
"""


def _numbers(bundle: Bundle, trace: Trace) -> str:
    formats, (stage, _) = bundle.formats, bundle.stages[0]
    network = bundle.spec.network
    rows = []
    for s, each in enumerate(formats.stages):
        largest = int(trace.stage_results[0][s].abs().max())
        rows.append(
            (s, f"`{formats.source(0, s)}`", f"`{each.weight}`", f"`{each.result}`", formats.shift(0, s), largest)
        )
    of_rows, depth = (prod(network.shape(part)) for part in (stage.rows, stage.reduction))
    matrix = bundle.weights[0][0].reshape(of_rows, depth)
    weight = "\n".join("    " + "".join(f"{number:8}" for number in row) for row in matrix)
    pixels = bundle.clips[0, 0, ::4]
    column = [*formats.input.widen(pixels.astype(int), formats.gate.hidden).tolist(), 0, 0]
    total, shift = int(matrix[0] @ column), formats.shift(0, 0)
    return f"""\
## 4. Integers

`s16.14` is a signed integer of 16 bits that stands for itself × 2⁻¹⁴. All scales are powers of two, so bringing a sum
into the next format is a shift, rounded half up and saturated. Pixels enter as (pixel − {formats.input.offset}),
shifted up by {formats.input.shift(formats.gate.hidden)} bits. Every rounding is explained in
[What a bundle is](bundle.md).

{_table(("stage", "data", "weight", "result", "shift", "largest result of step 0"), rows)}
The weight of stage 0 ({" ∘ ".join(stage.factors)}) in integers, {of_rows} rows × {depth}:
down run `{", ".join(stage.rows)}`, across `{", ".join(stage.reduction)}`.

{weight}

The first column of the data in step 0 (`n3` = `n4` = 0) holds the pixels 0, 4, 8 and 12, which are
{", ".join(map(str, pixels))}, then h of unit 0 and an entry that nothing fills, both 0:
{", ".join(map(str, column))}. The first row times this column is {total},
and ({total} + 2^{shift - 1}) >> {shift} = {(total + (1 << shift - 1)) >> shift} is the first entry of the result.
"""


def _program(image: Image) -> str:
    text = "\n".join(f"    {line}".rstrip() for line in listing(image).splitlines())
    return f"""\
## 5. The program

Three units run side by side: the loader brings pixels into the scratchpad, the array runs the stages, the gate unit
turns z into c and h. They wait for each other by tokens. `fdht info FILE --listing` prints this of any image:

{text}

In brackets are the cycles from the start of an instruction to its last result. The reading loops of the first are
2 × 4 × 6 = 48 cycles long; the other 33 pass until the first operands are at the multipliers and the last sums in
memory.
"""


def _result(bundle: Bundle, image: Image, trace: Trace) -> str:
    rows = []
    for step in range(STEPS):
        z, c, h = (
            ", ".join(map(str, tensor[0, step].flatten().tolist())) for tensor in (trace.z[:, :, 0], trace.c, trace.h)
        )
        rows.append((step, z, c, h))
    logits = ", ".join(map(str, trace.logits[0].tolist()))
    cycles = image.cycles(STEPS)
    return f"""\
## 6. The result

{_table(("step", "z of gate i", "c", "h"), rows)}
After step {STEPS - 1} the head gives the logits {logits}: class {int(trace.classes[0])}. The program is predicted to
take {cycles} cycles for the {STEPS} steps and the head, and takes exactly that many in the RTL, where every word above
appears at the address and in the cycle foretold. Useful multiplications ÷ (multipliers × cycles) =
{image.macs} × {STEPS} ÷ ({image.target.multipliers} × {cycles}) = {100 * image.utilisation(STEPS):.1f} %: a network
this small spends its time filling and draining the array, not multiplying.
"""


if __name__ == "__main__":
    PAGE.write_text(page())
