"""docs/bundle.md is enough to compute a bundle: its program has the golden model's words, and needs all it says."""

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from docs.worked_example import example
from fdht.model.contraction import left_to_right
from fdht.model.golden import GoldenLSTM, Trace
from fdht.model.layers import Classifier
from fdht.model.quantise import quantise, with_vectors
from fdht.spec import container
from fdht.spec.activation import SEGMENTS
from fdht.spec.bundle import Bundle
from fdht.spec.fixed import Fixed
from fdht.spec.formats import PIXELS, Formats, GateFormats, InputFormat, StageFormat
from fdht.spec.lstm import LSTMSpec, Region, chains, lstm_on
from fdht.spec.network import bt_network, dense_network, tr_network, tt_network
from fdht.spec.scaling import Scaling
from fdht.spec.task import OutputScaling, Task
from tests.bundles import MODELS, random_bundle, random_layers, random_stage_list
from tests.model.networks import small_lstm

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "bundle.md").read_text()
(PROGRAM,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)

INPUTS = (PIXELS, InputFormat(Fixed(12, 9), -3), InputFormat(Fixed(16, 12), 100))
"""The last one leaves the range of h's format."""

GATES = (
    GateFormats(),
    GateFormats(Fixed(16, 11), Fixed(16, 12), Fixed(16, 14), Fixed(16, 15)),
    GateFormats(Fixed(14, 10), Fixed(18, 11), Fixed(16, 13), Fixed(16, 14)),
)
"""Another scale for z, c, the tables and h each; with the second h can leave its range, with the third c that of z."""

SCALING = OutputScaling((3.25, -100.0, 0.0), (0.125, 7.5, 1e-3))


def program(text: str = PROGRAM) -> dict[str, Any]:
    """The names that the page's program defines."""
    names = {"__name__": "golden"}
    exec(compile(text, "golden.py", "exec"), names)
    return names


def with_gates(bundle: Bundle, gate: GateFormats) -> Bundle:
    """The same integers, read in other formats of the gate unit."""
    old = bundle.formats
    of_chains = tuple((*chain[:-1], replace(chain[-1], result=gate.z)) for chain in old.chains)
    biases = tuple(gate.z.saturate(bias) for bias in bundle.biases)
    return replace(bundle, formats=Formats(old.input, gate, of_chains, old.head), biases=biases)


def driven(bundle: Bundle) -> Bundle:
    """Units whose c climbs or falls by 1 a step, until it is clipped."""
    z = bundle.formats.gate.z
    rails = np.full((4, bundle.spec.hidden), z.max, dtype=np.int32)
    rails[2, ::2] = z.min
    return replace(
        bundle,
        biases=(*bundle.biases[:-1], rails),
        weights=tuple(tuple(weight // 64 for weight in chain) for chain in bundle.weights),
    )


def undecided(bundle: Bundle) -> Bundle:
    """A head that finds all classes but the first equally likely."""
    assert bundle.head_weight is not None and bundle.head_bias is not None
    bias = np.full_like(bundle.head_bias, 77)
    bias[0] = 5
    return replace(bundle, head_weight=np.zeros_like(bundle.head_weight), head_bias=bias)


def recurrent_stack() -> tuple[LSTMSpec, LSTMSpec]:
    """Two layers of two networks each, no two of one kind."""
    modes = (4, 4)
    lower = lstm_on(tt_network((4, 5), modes, 2), 20, 4, 0, dense_network(4, modes))
    upper = lstm_on(tr_network((2, 2), modes, 3), 4, 4, 3, bt_network((2, 2), modes, 3, 2))
    return lower, upper


def unshifted(bundle: Bundle) -> Bundle:
    """Weights of -1, 0 and 1, scaled such that no sum is shifted; the results of all stages but the last unsigned."""
    formats = bundle.formats
    of_chains = []
    for number, chain in enumerate(formats.chains):
        results = [*(replace(stage.result, signed=False) for stage in chain[:-1]), chain[-1].result]
        fracs = [result.frac - formats.source(number, s).frac for s, result in enumerate(results)]
        of_chains.append(
            tuple(StageFormat(Fixed(2, frac), result) for frac, result in zip(fracs, results, strict=True))
        )
    return replace(
        bundle,
        formats=replace(formats, chains=tuple(of_chains)),
        weights=tuple(tuple(weight % 3 - 1 for weight in chain) for chain in bundle.weights),
    )


def trained(layers: LSTMSpec | tuple[LSTMSpec, ...], seed: int) -> Bundle:
    """A model of torch's, quantised."""
    torch.manual_seed(seed)
    model = Classifier(layers)
    lists = tuple(left_to_right(chain.network) for chain in chains(model.layers))
    clips = np.random.default_rng(seed).integers(0, 256, (3, 5, model.layers[0].inputs), dtype=np.uint8)
    return quantise(model, lists, clips, np.array([0, -1, 1]))[0]


def of_every_task() -> dict[str, Bundle]:
    """Bundles of every task, of one layer and of two."""
    rng, result = np.random.default_rng(1), {}
    for number, task in enumerate(Task):
        (*lower, last) = recurrent_stack() if number % 2 else random_layers(rng, "tree")
        layers = (*lower, replace(last, classes=3, task=task))
        lists = tuple(random_stage_list(rng, chain.network) for chain in chains(layers))
        bundle = random_bundle(rng, layers, lists, clips=2, steps=5)
        lengths = None if number % 2 else np.array([5, 2])
        result[str(task)] = replace(bundle, outputs=SCALING if task is Task.REGRESS else None, lengths=lengths)
    return result


@cache
def bundles() -> dict[str, Bundle]:
    """Bundles of every kind, with the golden model's vectors."""
    rng, result = np.random.default_rng(0), of_every_task() | {"worked example": example()[0]}
    for place, kind in enumerate(MODELS):
        for number in range(6):
            layers = random_layers(rng, kind)
            lists = tuple(random_stage_list(rng, chain.network) for chain in chains(layers))
            bundle = random_bundle(
                rng,
                layers,
                lists,
                factor_width=(8, 12, 5)[number % 3],
                clips=1 + number % 3,
                steps=(1, 4, 18)[number // 2],
                input_format=INPUTS[number % 3],
            )
            bundle = with_gates(bundle, GATES[(number + place) % 3])
            result[f"{kind}, {number}"] = driven(bundle) if number > 3 else bundle
    short = trained(small_lstm(3), 3)
    scaling = Scaling.fit(np.random.default_rng(3).normal(size=(9, short.layers[0].inputs)))
    short = with_vectors(replace(short, scaling=scaling), short.clips, short.labels, np.array([5, 1, 3]))
    result["scaled, of different lengths"] = short
    layers = recurrent_stack()
    lists = tuple(random_stage_list(rng, chain.network) for chain in chains(layers))
    result["recurrent stack"] = random_bundle(rng, layers, lists, clips=2, steps=4)
    with_head = next(bundle for name, bundle in result.items() if bundle.spec.classes > 2 and name.endswith("3"))
    result["equal logits"], result["unshifted"] = undecided(with_head), unshifted(result["tree, 1"])
    upper = replace(small_lstm(2), inputs=4, x=Region((0, 0), (1, 4), (0, 1), 4))
    result["trained"], result["trained, 2 layers"] = (
        trained(small_lstm(4), 1),
        trained((replace(small_lstm(3), classes=0), upper), 2),
    )
    return {name: with_vectors(bundle, bundle.clips, bundle.labels, bundle.lengths) for name, bundle in result.items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    paths = {name: folder / f"{number}.bundle" for number, name in enumerate(bundles())}
    for name, path in paths.items():
        bundles()[name].save(path)
    return paths


@cache
def trace(name: str) -> Trace:
    bundle = bundles()[name]
    return GoldenLSTM(bundle).run(bundle.clips, lengths=bundle.lengths)


def same_words(names: dict[str, Any], name: str, path: Path) -> bool:
    """Whether a program has the golden model's logits, classes or numbers, and z, c and h of every layer and step."""
    _, description, tensors = names["read"](path)
    logits, last, words = names["run"](description, tensors, tensors["clips"])
    golden, bundle = trace(name), bundles()[name]
    if bundle.spec.task.real:
        assert bundle.formats.head is not None
        real = (bundle.outputs or OutputScaling((0.0,) * 3, (1.0,) * 3)).values_of(logits, bundle.formats.head.result)
        same_result = np.allclose(names["numbers"](description, logits), real, rtol=1e-15, atol=0)
    else:
        same_result = np.array_equal(names["classify"](logits), golden.classes.numpy())
    return (
        same_result
        and np.array_equal(logits, golden.logits.numpy())
        and np.array_equal(last, golden.last.numpy())
        and all(
            np.array_equal(words[part], torch.stack([getattr(layer, part) for layer in golden.layers], 2).numpy())
            for part in ("z", "c", "h")
        )
    )


def test_every_word_is_the_golden_models(files):
    names = program()
    assert [name for name, path in files.items() if not same_words(names, name, path)] == []


def test_the_bundles_are_of_every_kind():
    clipped, shifts = Counter[str](), set[int]()
    for name, bundle in bundles().items():
        for place, count in trace(name).saturations.items():
            clipped[re.sub(r"^(layer \d+ )?(h (?=stage|z))?| \d+$", "", place)] += count
        formats = bundle.formats
        shifts |= {formats.shift(c, s) for c, chain in enumerate(formats.chains) for s in range(len(chain))}
    everywhere = {"x", "stage", "z", "z sum", "c", "tanh(c)", "h", "logits"}
    assert everywhere == {place for place in clipped if clipped[place]}
    assert 0 in shifts and max(shifts) > 12
    every = list(bundles().values())
    assert {bundle.spec.classes > 0 for bundle in every} == {True, False}
    assert {bundle.spec.task for bundle in every} == set(Task)
    assert {len(bundle.layers) for bundle in every} == {1, 2, 3}
    assert {layer.network.kind for bundle in every for layer in bundle.layers} == {"ht", "tt", "tr", "bt", "dense"}
    listed = [stage for bundle in every for chain in bundle.stages for stage in chain]
    assert any(stage.batch for stage in listed) and any(len(stage.reduction) > 2 for stage in listed)
    parts = [part for bundle in every for part in zip(bundle.chains, bundle.stages, strict=True)]
    assert any(listed[-1].result != chain.network.outputs for chain, listed in parts)
    assert any(layer.x.sizes for bundle in every for layer in bundle.layers)
    assert len({tuple(row) for row in trace("equal logits").logits[:, 1:].tolist()}) == 1
    assert set(trace("equal logits").classes.tolist()) == {1}


WRONG = {
    "rounded down": ("(value + (1 << shift >> 1)) >> shift", "value >> shift"),
    "half rounded down": ("(1 << shift >> 1)", "max((1 << shift >> 1) - 1, 0)"),
    "half rounded away from 0": ("(1 << shift >> 1)", "((1 << shift >> 1) - ((value < 0) & (shift > 0)))"),
    "rails of equal magnitude": ("-half, half - 1", "1 - half, half - 1"),
    "no sign": ('if fixed["signed"]', "if True"),
    "table rounded down": (" + (1 << bits - 1)) >> bits", ") >> bits"),
    "table from the middle": ("code & (1 << bits) - 1", "(code & (1 << bits) - 1) - (1 << bits - 1)"),
    "places in the order of modes": ('zip(region["order"], sizes', 'zip(sorted(region["order"]), sizes'),
    "lower part of a mode first": ("within[mode] * size + digit", "within[mode] + digit"),
    "places without a start": ("[first + each for first", "[0 * first + each for first"),
    "reduction in the group's order": (
        "[index for index in data if index in of_group and index not in needed]",
        "[index for index in of_group if index in data and index not in needed]",
    ),
    "columns after rows": ("data = batch + columns + rows", "data = batch + rows + columns"),
    "result not transposed": ("(0, *(1 + axis for axis in order))", "(0, *(1 + axis for axis in range(len(order))))"),
    "padding is the raw word 0": ("data = np.zeros((len(placed", "data = -128 + np.zeros((len(placed"),
    "bias unshifted": ("(bias << shift)\n        data", "bias\n        data"),
    "bias in both chains": ('[(layer["h"], h[k])], none)', '[(layer["h"], h[k])], bias)'),
    "sum of two chains wraps": (
        'z = clip(total, gate["z"])',
        'rail = 1 << gate["z"]["width"] - 1; z = ((total + rail) % (2 * rail) - rail)',
    ),
    "x not clipped": ('["raw"]["frac"], gate["hidden"])', '["raw"]["frac"], {"width": 60, "signed": True})'),
    "no offset": ('(raw - first["offset"])', "raw"),
    "gates in another order": ("in (0, 1, 3))", "in (0, 3, 1))"),
    "f · c rounded on its own": (
        '(f * c[k] << frac["activation"] - frac["cell"]) + i * g',
        '((f * c[k] << frac["activation"] - frac["cell"]) >> 12 << 12) + i * g',
    ),
    "tanh of c before it is rounded": (
        'requantise(c[k], frac["cell"] - frac["z"], gate["z"])',
        'requantise(total, 2 * frac["activation"] - frac["z"], gate["z"])',
    ),
    "upper layers take the step before": ("h[k] = x = requantise", "x = h[k].copy(); h[k] = requantise"),
    "head without bias": ("seen @ weight.T + (bias << shift)", "seen @ weight.T"),
    "head on the lowest layer": ("clips.shape[1])) - 1, -1]", "clips.shape[1])) - 1, 0]"),
    "head on the first step": ("np.full(len(clips), clips.shape[1])) - 1", "np.full(len(clips), 1)) - 1"),
    "steps behind a clip's own": ('tensors.get("lengths"', 'tensors.get("nothing"'),
    "head after every step on the lowest layer": ('words["h"][:, :, -1] if', 'words["h"][:, :, 0] if'),
    "head after the last step whatever the task": ('.endswith("-steps")', '.endswith("-")'),
    "last of equal logits": ("logits.argmax(-1)", "logits.shape[-1] - 1 - logits[..., ::-1].argmax(-1)"),
    "outputs at the scale of integers": ('0.5 ** description["formats"]["head"]["result"]["frac"]', "1"),
    "outputs without a mean": (' + np.array(scaling["mean"])', ""),
    "outputs without a scale": ('real * np.array(scaling["scale"])', "real"),
}  # fmt: skip
"""What somebody could have understood otherwise: a piece of the program, and what it would be then."""


@pytest.mark.parametrize("fault", WRONG)
@pytest.mark.filterwarnings("ignore")
def test_no_fact_of_the_page_is_idle(files, fault):
    right, wrong = WRONG[fault]
    assert PROGRAM.count(right) == 1, f"{right!r} is not in the page's program"
    names = program(PROGRAM.replace(right, wrong))
    assert not all(same_words_or_none(names, name, path) for name, path in files.items())


def same_words_or_none(names: dict[str, Any], name: str, path: Path) -> bool:
    """As `same_words`; a shape or an index that does not fit is no answer, and so no proof."""
    try:
        return same_words(names, name, path)
    except (ValueError, IndexError):
        return True


def test_the_hash_covers_what_the_page_says(files):
    names = program()
    for path in files.values():
        assert names["content_hash"](*names["read"](path)) == container.hash_of(path)


def test_the_program_needs_nothing_of_fdht(files, tmp_path):
    imported = set()
    for node in ast.walk(ast.parse(PROGRAM)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported |= {node.module} if isinstance(node, ast.ImportFrom) else {alias.name for alias in node.names}
    assert imported == {"hashlib", "json", "sys", "numpy", "safetensors"}
    (tmp_path / "golden.py").write_text(PROGRAM)
    command = [sys.executable, "-I", "golden.py"]
    done = subprocess.run([*command, files["trained"]], cwd=tmp_path, capture_output=True, text=True)
    classes = trace("trained").classes.tolist()
    assert (done.returncode, done.stdout) == (0, f"3 clips of 5 steps, every word as in the file; classes {classes}\n")
    bundle = bundles()["trained"]
    replace(bundle, hidden=bundle.hidden ^ 1).save(tmp_path / "wrong.bundle")
    done = subprocess.run([*command, "wrong.bundle"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "hidden states differ" in done.stderr


def test_every_field_and_tensor_is_explained(files):
    prose = PAGE.replace(PROGRAM, "")
    for path in files.values():
        with safe_open(path, framework="numpy") as file:
            metadata, tensors = file.metadata(), set(file.keys())
        words = {*metadata, *(re.sub(r"\.\d+\.\d+$", ".<chain>.<stage>", name) for name in tensors)}
        words = {re.sub(r"^bias\.\d+$", "bias.<layer>", word) for word in words}
        words |= keys(json.loads(metadata["description"]))
        assert not {word for word in words if f"`{word}`" not in prose and f'"{word}"' not in prose}


def keys(value: Any) -> set[str]:
    """Names of all fields, but those of people's own in `about`."""
    if isinstance(value, list):
        return set().union(*map(keys, value))
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(keys(part) for name, part in value.items() if name != "about"))


def test_the_numbers_in_its_words():
    prose = PAGE.replace(PROGRAM, "")
    assert f"`version` | `{container.VERSION}`" in prose and f"the text `bundle {container.VERSION} `" in prose
    region = Region((0, 2), (6, 4), (0, 1, 0), 24, (3, 4, 2))
    assert region.coordinates()[13].tolist() == [3, 4]
    assert "13 = 1·8 + 2·2 + 1 has the digits 1, 2, 1: mode 0 is at 0 + (1·2 + 1) = 3, mode 1 at 2 + 2 = 4" in prose
    assert 1 * 8 + 2 * 2 + 1 == 13
    assert f"`base` and `slope`: {SEGMENTS} numbers each" in prose and f"segments from 0 to {SEGMENTS - 1}" in prose
    names = program()
    assert names["requantise"](np.array([-5, 5]), 1, {"width": 8, "signed": True}).tolist() == [-2, 3]
    assert "−2.5 to −2 and 2.5 to 3" in prose
    hidden = GateFormats().hidden
    assert str(hidden) == "s16.14" and PIXELS.widen(np.array([7]), hidden) == (7 - 128) * 128
    assert "(pixel − 128) · 128" in prose and PIXELS.raw.dequantise(0 - PIXELS.offset) == -1
