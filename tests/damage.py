"""Damaged files of every kind, by the thousand: each is refused in one sentence, or does no harm where it is used.

    python -m tests.damage --each 2000                      every kind, in one process
    python -m tests.damage --each 10000 --out docs/results/trust.json
    python -m tests.damage --each 1 --kind image --first 4711 --show    one case again

A case follows from the seed, the kind and its number. Half are blind: bits, bytes, pieces cut out, put in or cut off.
The other half know the format: a field of the JSON or a tensor becomes something else, and the content hash is made to
fit, so that only what a file says can give it away. What is accepted is used as a command would use it.

Memory is limited, so that an allocation that follows a file's word shows as a MemoryError; what takes too long is a
hang. Strings that would be code if anybody ran them are among what is put in; none may leave its mark.
"""

import argparse
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import torch
from optuna.distributions import IntDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial
from safetensors import safe_open
from safetensors.numpy import save_file

sys.path.insert(0, str(Path(__file__).parent))  # where pytest looks, too

from bundles import random_bundle

from docs.results import bench_table, cpu_table, epoch_table
from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.listing import listing
from fdht.compiler.planner import plan
from fdht.console import Output
from fdht.explore import exploration, study
from fdht.explore.exploration import Figures
from fdht.explore.study import FIGURES, REFUSAL, Study
from fdht.host.device import Outputs
from fdht.model import data
from fdht.model.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from fdht.model.data import Source
from fdht.model.dense import read_dense, write_dense
from fdht.model.golden import GoldenLSTM
from fdht.model.layers import Classifier
from fdht.model.presets import PRESETS, find_preset
from fdht.model.qat import Arithmetic, Quantisation, QuantisedClassifier
from fdht.model.quantise import quantise
from fdht.model.train import predict
from fdht.spec import container
from fdht.spec.bundle import Bundle
from fdht.spec.errors import FdhtError
from fdht.spec.formats import GateFormats
from fdht.spec.lstm import fdht_lstm, lstm_on
from fdht.spec.network import balanced_tree, dense_network, ht_network
from fdht.spec.scaling import Scaling
from fdht.spec.target import TARGETS, Target, find_target
from fdht.spec.task import OutputScaling, Task
from fdht.studies import accuracy, bench, measurements
from fdht.workflow import information, training
from fdht.workflow.golden_vectors import float_class, golden_score, own, said, shown, truth
from tests.contents import contents

SEED = 16
ROOM = 1 << 30
"""Bytes of memory that reading and using a damaged file may take beside what the program has anyway."""

PATIENCE = 20
"""Seconds after which a file counts as a hang."""

TARGET = Target(
    "small", 4, 2, factor_width=8, bank_words=256, factor_words=512, result_words=128, bias_words=64, hidden=32
)
QUESTION = {"of": "damage"}
DIRECTIONS = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
OTHERS = tuple(task for task in Task if task is not Task.CLASSIFY)
SCALING, OUTPUTS = Scaling((3.0,), (0.01,)), OutputScaling((1.5, -20.0, 0.0), (2.0, 0.25, 1e3))
MARKER = "ran"
"""A file that code of ours would leave, if a file could have it run."""


# The files that are damaged


def make_files(folder: Path) -> dict[str, list[Path]]:
    """Right files of every kind, some of each."""
    (folder / "mine.py").write_text(
        f"import pathlib\ndef touch(*_):\n    pathlib.Path({str(folder / MARKER)!r}).touch()\ntouch()\n"
    )
    rng = np.random.default_rng(SEED)
    headed = fdht_lstm(16, 4, 3, (3, 2, 2, 2), (2, 2, 2, 2), 2)
    lower = lstm_on(ht_network((4, 4, 3), (2, 2, 6), balanced_tree(3, 2)), 48, 6, 0, dense_network(6, (2, 2, 6)))
    models = [(headed,), (lower, fdht_lstm(6, 6, 2, (4, 4), (4, 6), 2)), (replace(headed, classes=0),)]
    bundles = [random_bundle(rng, layers, plan(layers, TARGET), clips=2, steps=2) for layers in models]
    bundles[0] = replace(
        bundles[0],
        about={"preset": "tiny", "data": "digits", "seed": 1, "epochs": 2, "clips": 8, "float_classes": [0, 1]}
        | {"accuracy": {"float": 0.5, "golden": 0.5}},
    )
    bundles += [_of_task(rng, task) for task in OTHERS]
    files: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for number, bundle in enumerate(bundles):
        files["bundle"].append(folder / f"{number}.bundle")
        digest = bundle.save(files["bundle"][-1])
        files["image"].append(folder / f"{number}.image")
        compile_bundle(bundle, TARGET, digest).save(files["image"][-1])
    files["checkpoint"] = _checkpoints(folder)
    preset = replace(PRESETS["digits"], name="mine", spec=fdht_lstm(8, 4, 10, (4, 3), (4, 4), 2))
    files["preset"] = [_text(folder / "preset.json", preset.to_json())]
    files["target"] = [_text(folder / f"{t.name}.json", t.to_json()) for t in (TARGET, TARGETS["icebreaker"])]
    files["dense"] = [folder / "dense.safetensors"]
    write_dense(files["dense"][0], Classifier(headed))
    files["study"] = [_study(folder / "study.journal")]
    results = Path(__file__).parent.parent / "docs" / "results"
    for kind, name in (("bench", "bench.json"), ("builds", "builds.json"), ("accuracy", "accuracy.json")):
        rows = json.loads((results / name).read_text())
        files[kind] = [_text(folder / name, json.dumps(rows[:2] + rows[len(rows) // 2 :: 40] + rows[-2:]))]
    return files


def _of_task(rng: np.random.Generator, task: Task) -> Bundle:
    """A bundle of a task, with clips of different lengths, real values for x, and labels of which some are unknown."""
    spec = replace(fdht_lstm(16, 4, 3, (3, 2, 2, 2), (2, 2, 2, 2), 2), task=task)
    bundle = random_bundle(rng, spec, plan(spec, TARGET), clips=2, steps=3)
    labels = rng.normal(size=bundle.labels.shape) if task.real else rng.integers(0, 3, bundle.labels.shape)
    if task.every_step:
        labels[0, 2] = np.nan if task.real else -1
    kind = "rmse" if task.real else "accuracy"
    return replace(
        bundle,
        labels=labels,
        lengths=np.array([2, 3]),
        scaling=SCALING,
        outputs=OUTPUTS if task.real else None,
        about={"preset": "tiny", "data": "mine.npz", "saturated": 0.01, kind: {"float": 0.5, "golden": 0.5}},
    )


def _text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _checkpoints(folder: Path) -> list[Path]:
    torch.manual_seed(SEED)
    spec, preset = fdht_lstm(8, 4, 10, (4, 3), (4, 4), 2), PRESETS["digits"]
    model = Classifier(spec).eval()
    figures = {"loss": 2.0, "accuracy": 0.1, "validation": None, "learning_rate": 0.01}
    record = figures | {"shut": 0.0, "seconds": 0.5}
    plain = Checkpoint(
        "tiny", Source("digits"), "00" * 32, spec, model, 0, 1, 1, False, preset.recipe, [record], accuracy=0.1
    )
    state = {
        f"optimiser.{part}.{name}": np.ones(1 if part == "step" else tuple(p.shape), dtype=np.float32)
        for name, p in model.named_parameters()
        for part in ("step", "exp_avg", "exp_avg_sq")
    }
    clips = np.random.default_rng(SEED).integers(0, 256, (2, 3, 8), dtype=np.uint8)
    lists = plan(spec, TARGET)
    arithmetic = Arithmetic("small", lists, 8, 40, GateFormats.of_width(16))
    bundle, _ = quantise(model, lists, clips, np.zeros(2), factor_width=8)
    trained = replace(plain, quantisation=Quantisation(arithmetic, bundle.formats), accuracy=None)
    films = replace(plain, data=Source("folder", str(folder), 4, "group", 1))
    every = [(plain, {}), (trained, state), (films, {}), *((_checkpoint_of(plain, task), {}) for task in OTHERS)]
    paths = [folder / f"{number}.checkpoint" for number in range(len(every))]
    for path, (checkpoint, arrays) in zip(paths, every, strict=True):
        write_checkpoint(path, checkpoint, arrays)
    return paths


def _checkpoint_of(plain: Checkpoint, task: Task) -> Checkpoint:
    """A checkpoint of a task, of real values in a file."""
    spec = replace(plain.spec, classes=3, task=task)
    outputs = OUTPUTS if task.real else None
    figures = {"accuracy": None, "rmse": 1.5, "r2": 0.25} if task.real else {"accuracy": 0.5}
    history = [record | ({"accuracy": None} if task.real else {}) for record in plain.history]
    model = Classifier(spec, SCALING.input_format, outputs=outputs).eval()
    source = Source("mine.npz", bits=SCALING.bits)
    return replace(plain, data=source, spec=spec, model=model, history=history, scaling=SCALING, **figures)


def _study(path: Path) -> Path:
    made = Study(path, QUESTION, DIRECTIONS, 0, {"r1": 3}, Figures)
    distributions = {"r1": IntDistribution(1, 9)}
    for number in range(4):
        made.trials.add_trial(
            create_trial(
                params={"r1": number + 1},
                distributions=distributions,
                values=[number / 8, 100 + number],
                user_attrs={FIGURES: _figures(number / 8, 100 + number)},
            )
        )
    refusal = {REFUSAL: {"reason": "factor words", "sentence": "9 needed, 8 available"}, "seen": time.time()}
    made.trials.add_trial(create_trial(state=TrialState.PRUNED, user_attrs=refusal))
    return path


def _figures(right: float, cycles: float) -> dict:
    return {
        "accuracy": right, "float_accuracy": right, "parameters": 9, "cycles": cycles, "memory": 1024,
        "multipliers": 8, "takes": {"LUTs": 900}, "frames_per_s": 9.5, "input_modes": [4, 3],
        "output_modes": [4, 4], "tree": "(1 2)",
        "ranks": {"1": 2, "2": 2}, "factor_width": 8, "data_width": 16, "rows": 4, "columns": 2, "target": "small",
    }  # fmt: skip


# What a command would do with a file


def use_bundle(path: Path) -> None:
    information.describe(path, False)[1](SILENT)
    bundle = Bundle.load(path)
    with refusals():
        compile_bundle(bundle, TARGET, container.hash_of(path)).cycles(1)
    if len(bundle.clips) and bundle.clips.shape[1] < 100:
        GoldenLSTM(bundle).run(bundle.clips[:1], lengths=None if bundle.lengths is None else bundle.lengths[:1])
    if len(bundle.clips) and bundle.formats.head is not None:
        golden_score(bundle)
        json.dumps([truth(bundle, 0), said(bundle, own(bundle, 0, bundle.logits)), float_class(bundle, 0)])
        shown(bundle, 0, said(bundle, own(bundle, 0, bundle.logits)))


def use_image(path: Path) -> None:
    image = Image.load(path)
    information.describe(path, True)[1](SILENT)
    image.stream()
    listing(image)
    image.machine.run(np.zeros((2, image.inputs), dtype=np.int64))
    if image.scaling is not None:
        image.scaling.to_words(np.zeros((1, 1, image.inputs)))
    if image.logits is not None:
        logits = np.zeros((1, *image.task.shape(2, image.classes)), dtype=np.int64)
        assert np.isfinite(Outputs(logits, image).values).all()


def use_checkpoint(path: Path) -> None:
    information.describe(path, False)[1](SILENT)
    checkpoint, _ = read_checkpoint(path)
    with refusals():
        data.load(checkpoint.data, cache=None)
    with refusals():
        read_checkpoint(path, PRESETS["digits"])
    if checkpoint.spec.inputs * checkpoint.spec.hidden < 1 << 16:
        clips = np.full((1, 2, checkpoint.spec.inputs), 3, dtype=np.uint8)
        predict(checkpoint.model, clips)
        if checkpoint.quantisation is not None and checkpoint.quantisation.formats is not None:
            predict(QuantisedClassifier(checkpoint.model, checkpoint.quantisation), clips)
        with refusals():
            task, outputs = checkpoint.spec.task, checkpoint.spec.classes
            labels = np.zeros((1, *task.truth_shape(2, outputs)), dtype=float if task.real else int)
            quantise(checkpoint.model, plan(checkpoint.spec, TARGET), clips, labels)


def use_dense(path: Path) -> None:
    model = read_dense(path)
    assert all(bool(torch.isfinite(parameter).all()) for parameter in model.lstm.parameters())


def use_preset(path: Path) -> None:
    preset = find_preset(str(path))
    with refusals():
        data.load(preset.data)
    with refusals():
        training.reshaped(preset.spec, None, None, 2)
    if preset.spec.parameters["factors"] + preset.spec.parameters["head"] < 1 << 20:
        with refusals():
            Classifier(preset.spec)


def use_target(path: Path) -> None:
    target = find_target(str(path))
    with refusals():
        compile_bundle(BUNDLE, target).cycles(1)


def use_study(path: Path) -> None:
    opened = Study(path, QUESTION, DIRECTIONS, 0, None, Figures)
    question = SimpleNamespace(figures=lambda: {"preset": "mine", "board": "small"})
    found = exploration.figures(SimpleNamespace(study=opened, question=question, folder=path, own=None))  # type: ignore[arg-type]
    exploration.report(SILENT, found)
    json.dumps(found, allow_nan=False)


def use_bench(path: Path) -> None:
    rows = measurements.load(path)
    bench.report(SILENT, [row for row in rows if row["kind"] in ("engine", "scaling")])
    for table in (bench_table, cpu_table, epoch_table):
        table(rows)
    bench.merge(path, rows[:1])


def use_builds(path: Path) -> None:
    builds = bench.Builds(path)
    record = builds.of(TARGETS["icebreaker"])
    if record is not None:
        100 / record["fmax_mhz"]


def use_accuracy(path: Path) -> None:
    for rows in accuracy.by_series(accuracy.load(path)).values():
        assert all(0 <= row.accuracy == row.correct_clips.mean() for row in rows)
    accuracy.merge([], path)


KINDS: dict[str, Callable[[Path], None]] = {
    "bundle": use_bundle,
    "image": use_image,
    "checkpoint": use_checkpoint,
    "dense": use_dense,
    "preset": use_preset,
    "target": use_target,
    "study": use_study,
    "bench": use_bench,
    "builds": use_builds,
    "accuracy": use_accuracy,
}
CONTAINERS = ("bundle", "image", "checkpoint")

SILENT = Output(True, quiet=True)
BUNDLE = random_bundle(
    np.random.default_rng(SEED),
    fdht_lstm(16, 4, 3, (3, 2, 2, 2), (2, 2, 2, 2), 2),
    plan(fdht_lstm(16, 4, 3, (3, 2, 2, 2), (2, 2, 2, 2), 2), TARGET),
    clips=1,
    steps=1,
)


@contextmanager
def refusals():
    """What is right in itself may still not be possible here."""
    try:
        yield
    except FdhtError as error:
        assert_sentence(error)


def assert_sentence(error: FdhtError) -> None:
    """An error that can be shown, on one line."""
    text = str(error)
    assert text and text.isprintable() and len(text) < 2000, f"no sentence: {text[:300]!r}"


# Damage


ODD = (
    None, True, False, 0, -1, 1, 2, 3, 7, 255, 256, 65535, 65536, 1 << 27, 1 << 31, 1 << 40, 1 << 63, -(1 << 63),
    1 << 200, 0.5, -0.5, 1e-300, 1e300, float("inf"), float("-inf"), float("nan"), "", "x", "1",
    "os:abort", "mine:touch", "builtins:print", "../../x", "/dev/stdin", "/dev/zero", "\x1b[31m\x07", "a\nb",
    "{0.__class__}", "%s%n", "[/red]", "é" * 5, "x" * 100_000, [], {}, [[]], {"": {}}, [1, 2, 3], ["m1"],
    {"width": 8, "frac": 0},
)  # fmt: skip
"""What a field may become."""

TYPES = ("int8", "uint8", "int16", "uint16", "int32", "int64", "uint64", "float16", "float32", "float64", "bool")


def blind(draw: random.Random, content: bytes) -> bytes:
    """Bits, bytes and pieces, without knowing what they are."""
    changed = bytearray(content)
    # Headers and text are where most of the meaning is, so half of the damage is near the beginning.
    at = draw.randrange(len(content)) if draw.random() < 0.5 else min(int(draw.expovariate(1 / 400)), len(content) - 1)
    match draw.randrange(7):
        case 0:
            for _ in range(draw.randrange(1, 4)):
                place = draw.randrange(len(content)) if draw.random() < 0.3 else at
                changed[place] ^= 1 << draw.randrange(8)
        case 1:
            changed[at] = draw.randrange(256)
        case 2:
            size = min(draw.randrange(1, 40), len(content) - at)
            changed[at : at + size] = draw.randbytes(size)
        case 3:
            del changed[at:]
        case 4:
            del changed[at : at + draw.randrange(1, 40)]
        case 5:
            changed[at:at] = draw.choice([draw.randbytes(draw.randrange(1, 40)), b"[" * 3000, b"9" * 6000, b"\x00" * 9])
        case 6:
            changed += draw.randbytes(draw.randrange(1, 200))
    return bytes(changed)


def change_json(draw: random.Random, value):
    """Something inside becomes something else; most often a leaf."""
    if isinstance(value, dict) and value and draw.random() < 0.95:
        name = draw.choice(list(value))
        match draw.randrange(20):
            case 0:
                return {k: v for k, v in value.items() if k != name}
            case 1:
                return {**value, draw.choice(["extra", "\x1b", "", name + "s"]): draw.choice(ODD)}
            case 2:
                return {(k if k != name else draw.choice(["", "x", "\x00", k * 2])): v for k, v in value.items()}
        return {**value, name: change_json(draw, value[name])}
    if isinstance(value, list) and value and draw.random() < 0.95:
        at = draw.randrange(len(value))
        match draw.randrange(20):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value[: at + 1] + value[at:]
            case 2:
                return value[::-1]
        return [*value[:at], change_json(draw, value[at]), *value[at + 1 :]]
    if isinstance(value, int) and not isinstance(value, bool) and draw.random() < 0.6:
        return value + draw.choice([-1, 1, 2, -2, value, -2 * value, 1 << draw.randrange(40)])
    if isinstance(value, str) and value and draw.random() < 0.3:
        at = draw.randrange(len(value))
        return value[:at] + draw.choice(["", "\x00", "é", "\u202e", value]) + value[at + 1 :]
    return draw.choice(ODD)


def change_arrays(draw: random.Random, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A tensor becomes another one, goes or comes."""
    name = draw.choice(list(arrays))
    array = arrays[name]
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        match draw.randrange(8):
            case 0:
                return {k: v for k, v in arrays.items() if k != name}
            case 1:
                return {**arrays, draw.choice(["extra", "\x1b[0m", "order", "optimiser.x", f"{name}.0"]): array}
            case 2:
                return {**arrays, name: array.astype(draw.choice(TYPES))}
            case 3:
                shape = draw.choice([array.shape[::-1], (*array.shape, 1), array.ravel().shape, (0,), ()])
                return {**arrays, name: np.resize(array, shape)}
            case 4:
                return {**arrays, name: array[: len(array) // 2] if array.ndim else array}
        changed = array.copy()
        if changed.size:
            for _ in range(draw.choice([1, 1, 1, 3, 30])):
                place = draw.randrange(changed.size)
                if changed.dtype.kind == "f":
                    changed.flat[place] = draw.choice([float("nan"), float("inf"), -float("inf"), 1e30, -1, 0])
                else:
                    info = np.iinfo(changed.dtype)
                    near = int(changed.flat[place]) ^ 1 << draw.randrange(info.bits - 1)
                    changed.flat[place] = draw.choice([info.min, info.max, 0, min(max(near, info.min), info.max)])
    return {**arrays, name: changed}


def knowing(draw: random.Random, kind: str, path: Path, into: Path) -> None:
    """A file whose hash is right and whose content is not."""
    if kind == "dense":
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        save_file(change_arrays(draw, arrays), into)
    elif kind in CONTAINERS:
        name, description, arrays = contents(path)
        for _ in range(draw.choice([1, 1, 2])):
            if draw.random() < 0.6:
                description = change_json(draw, description)
            elif arrays:
                arrays = change_arrays(draw, arrays)
        name = name if draw.random() < 0.98 else draw.choice(["bundle", "image", "checkpoint", "k", ""])
        container.write(into, name, description, arrays)
    elif kind == "study":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        changed = change_json(draw, lines)
        lines = changed if isinstance(changed, list) else [changed]
        into.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    else:
        into.write_text(json.dumps(change_json(draw, json.loads(path.read_text()))))


# The runs


@dataclass
class Found:
    """What became of damaged files: how many were refused, accepted and harmless, and what went wrong."""

    refused: int = 0
    accepted: int = 0
    tracebacks: int = 0
    hangs: int = 0


class _Hang(BaseException):
    """Not to be caught by anything on the way."""


def run(kinds: list[str], each: int, seed: int = SEED, first: int = 0, show: bool = False) -> dict:
    """Damages `each` files of every kind, and reads and uses them.

    Returns:
        `damaged`, `refused`, `accepted`, `tracebacks`, `hangs`, `code_run`, `seconds`, `seed`, `room_mb` (most memory
        taken beside what the program had), `kinds` and `faults`, the first of them in words.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    study.SOON = 0.0  # nobody else is about to finish what a damaged study lacks
    begin, found, faults = time.monotonic(), {kind: Found() for kind in kinds}, Counter[str]()
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.chdir(folder)
        try:
            files = make_files(folder)
            for kind in kinds:
                for path in files[kind]:
                    KINDS[kind](_copy(path, folder / "right"))  # also loads what is loaded late
            with _limits() as used:
                for kind in kinds:
                    for number in range(first, first + each):
                        _case(kind, files, number, seed, folder, found[kind], faults, show)
        finally:
            os.chdir(here)
        ran = (folder / MARKER).exists()
    totals = {name: sum(getattr(f, name) for f in found.values()) for name in vars(Found())}
    return {
        "damaged": sum(totals.values()),
        **totals,
        "code_run": ran,
        "seconds": round(time.monotonic() - begin, 1),
        "seed": seed,
        "room_mb": used[0],
        "kinds": {kind: vars(f) for kind, f in found.items()},
        "faults": [f"{count} × {text}" for text, count in faults.most_common(20)],
    }


def _copy(path: Path, to: Path) -> Path:
    to = to.with_suffix(path.suffix)
    to.write_bytes(path.read_bytes())
    return to


def _case(
    kind: str,
    files: dict[str, list[Path]],
    number: int,
    seed: int,
    folder: Path,
    found: Found,
    faults: Counter[str],
    show: bool,
) -> None:
    draw = random.Random(f"{seed} {kind} {number}")
    right = draw.choice(files[kind])
    path = folder / f"damaged{right.suffix}"
    for left in folder.glob("damaged*"):  # with a study's lock
        left.unlink()
    if draw.random() < 0.5:
        path.write_bytes(blind(draw, right.read_bytes()))
    else:
        try:
            knowing(draw, kind, right, path)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            path.write_bytes(blind(draw, right.read_bytes()))  # JSON or safetensors cannot say it
    try:
        with _alarm():
            KINDS[kind](path)
        found.accepted += 1
        outcome = "accepted"
    except FdhtError as error:
        assert_sentence(error)
        found.refused += 1
        outcome = f"refused: {error}"
    except _Hang:
        found.hangs += 1
        outcome = "hangs"
        faults[f"{kind} {number}: hangs"] += 1
    except Exception as error:
        found.tracebacks += 1
        outcome = traceback.format_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        faults[f"{kind}, as in {number}: {type(error).__name__} at {Path(where.filename).name}:{where.lineno}"] += 1
    if show:
        print(f"{kind} {number}: {outcome}")


@contextmanager
def _alarm():
    def ring(*_):
        raise _Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _limits():
    """Limits memory to ROOM beyond what is used now; gives a list that will hold the megabytes that were taken."""
    used, (soft, hard) = [0], resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, hard))
    try:
        yield used
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        used[0] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=2000, help="damaged files of each kind")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only these kinds")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--show", action="store_true", help="print what became of each")
    parser.add_argument("--out", type=Path, help="write the summary into this JSON file, too")
    given = parser.parse_args(arguments)
    summary = run(given.kind or list(KINDS), given.each, given.seed, given.first, given.show)
    print(json.dumps(summary, indent=2))
    if given.out is not None:
        given.out.write_text(json.dumps(summary, indent=2) + "\n")
    return int(bool(summary["tracebacks"] or summary["hangs"] or summary["code_run"]))


if __name__ == "__main__":
    sys.exit(main())
