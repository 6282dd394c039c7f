"""Files from outside: whatever they say is refused in one sentence or does no harm, and nothing in them is ever run."""

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from occurrences import SEED
from safetensors import safe_open
from safetensors.numpy import save

from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.machine import decode
from fdht.compiler.planner import plan
from fdht.compiler.verifier import MOST_TURNS
from fdht.console import Output
from fdht.model.checkpoint import OPTIMISER, load_checkpoint, read_checkpoint
from fdht.model.data import Source
from fdht.model.layers import Classifier
from fdht.model.presets import find_preset
from fdht.model.quantise import quantise
from fdht.spec import container
from fdht.spec.bundle import Bundle
from fdht.spec.errors import FdhtError, FileError, SpecError
from fdht.spec.instructions import UNITS, Segment, Token, Widths
from fdht.spec.lstm import Region, fdht_lstm, lstm_on
from fdht.spec.network import Factor, TensorNetwork
from fdht.spec.record import JSON_BYTES
from fdht.spec.target import TARGETS, find_target
from fdht.studies import measurements
from fdht.studies.accuracy import load as load_accuracies
from tests import damage as damaged
from tests.contents import contents
from tests.damage import CONTAINERS, KINDS, TARGET
from tests.fdht.tiny import TINY

ROOT = Path(__file__).parent.parent.parent
GROUPS = {"containers": (*CONTAINERS, "dense"), "files of one's own": ("preset", "target", "study"), "results": ()}
GROUPS["results"] = tuple(kind for kind in KINDS if kind not in sum(GROUPS.values(), ()))


def damage(kinds: tuple[str, ...], each: int, seed: int = damaged.SEED) -> dict:
    """The summary of a run in a process of its own, whose memory is limited."""
    command = [sys.executable, "-m", "tests.damage", "--each", str(each), "--seed", str(seed)]
    command += [part for kind in kinds for part in ("--kind", kind)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.stdout, result.stderr
    return json.loads(result.stdout)


def assert_harmless(summary: dict, each: int) -> None:
    assert (summary["tracebacks"], summary["hangs"], summary["code_run"]) == (0, 0, False), summary["faults"]
    assert summary["room_mb"] < 1000
    for kind, found in summary["kinds"].items():
        assert found["refused"] + found["accepted"] == each
        assert each / 100 < found["accepted"] < each / 2, f"{kind}: damage that is too wild, or too tame, tests nothing"


@pytest.mark.parametrize("group", GROUPS)
def test_damaged_files(group):
    assert_harmless(damage(GROUPS[group], 200), 200)


@pytest.mark.slow
def test_other_damage_every_day():
    """With the seed of the day."""
    assert_harmless(damage(tuple(KINDS), 2000, SEED), 2000)


def test_the_kept_summary_is_of_as_many_files_as_promised():
    kept = json.loads((ROOT / "docs" / "results" / "trust.json").read_text())
    assert kept["damaged"] >= 100_000 and set(kept["kinds"]) == set(KINDS)
    assert_harmless(kept, kept["damaged"] // len(KINDS))


# No code from a file


@pytest.fixture
def trap(tmp_path, monkeypatch) -> Path:
    """A module where the command is called; importing it, or calling its function, leaves a marker."""
    marker = tmp_path / "ran"
    (tmp_path / "trap.py").write_text(
        f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
        f"def spring():\n    Path({str(marker)!r}).touch()\n"
        "    from fdht.model.data import load\n    return load('digits')\n"
    )
    monkeypatch.chdir(tmp_path)
    yield marker
    sys.modules.pop("trap", None)


def with_data(checkpoint: Path, name: str, to: Path) -> Path:
    kind, description, arrays = contents(checkpoint)
    container.write(to, kind, description | {"data": description["data"] | {"name": name}}, arrays)
    return to


@pytest.mark.parametrize("name", ["trap:spring", "os:abort", "builtins:print"])
def test_a_checkpoint_has_nothing_run(fdht, checkpoint_file, trap, tmp_path, name):
    path = with_data(checkpoint_file, name, tmp_path / "a.checkpoint")
    assert fdht("info", path).code == 0
    outcome = fdht("compile", path)
    assert outcome.code == 1 and f"with --data {name}" in outcome.sentence
    for options in (("--resume", "-o", path), ("--from", path, "-o", "b.checkpoint")):
        outcome = fdht("train", TINY.name, *options)
        assert outcome.code == 1 and f"was trained on {name}, not digits" in outcome.sentence
    assert not trap.exists() and "trap" not in sys.modules


def test_a_preset_has_nothing_run(fdht, trap, tmp_path):
    (tmp_path / "mine.json").write_text(replace(TINY, name="mine", data="trap:spring").to_json())
    for command in (("train", "mine.json"), ("explore", "mine.json", "--board", "icebreaker", "--trials", 1)):
        outcome = fdht(*command)
        assert outcome.code == 1 and "with --data trap:spring" in outcome.sentence
    assert not trap.exists() and "trap" not in sys.modules


def test_what_the_user_names_is_run(fdht, checkpoint_file, trap, tmp_path):
    """And the fingerprint still says whether these are the clips."""
    path = with_data(checkpoint_file, "trap:spring", tmp_path / "a.checkpoint")
    assert fdht("compile", path, "--data", "trap:spring").code == 0 and trap.exists()
    (tmp_path / "other.py").write_text("from fdht.model.data import load\ndef clips(): return load('spoken-digits')\n")
    outcome = fdht("compile", path, "--data", "other:clips")
    assert outcome.code == 1 and "pass what it was trained on" in outcome.sentence


# What a reader of the files' formats has found


def rewritten(path: Path, description=lambda d: d, arrays=lambda a: a) -> Path:
    """The file with another description and other tensors, and the hash of these."""
    kind, was, tensors = contents(path)
    container.write(path, kind, description(was), arrays(tensors))
    return path


def put(*names, value) -> Callable[[dict], dict]:
    """A description in which one field has another value."""

    def change(description):
        *way, last = names
        place = description
        for name in way:
            place = place[name]
        place[last] = value
        return description

    return change


def at(name: str, place: int, value) -> Callable[[dict], dict]:
    """Tensors of which one number is another."""

    def change(arrays):
        array = arrays[name].astype(type(value)) if isinstance(value, float) else arrays[name].copy()
        array.flat[place] = value
        return {**arrays, name: array}

    return change


BUNDLE_CHANGES = {
    "a label beyond the classes": (None, at("labels", 0, 99), "labels: 0..99 leaves the range -1..1 of 2 classes"),
    "a label below -1": (None, at("labels", 0, -7), "labels: -7..1 leaves"),
    "labels that are no numbers": (None, at("labels", 0, float("nan")), "labels holds float64, not integers"),
    "clips of floating point": (None, at("clips", 0, 0.5), "clips holds float64, not integers or unsigned integers"),
    "logits beyond their format": (None, at("logits", 0, 1 << 20), "logits: "),
    "a table's entry of 64 bits": (
        put("formats", "tanh", "base", 3, value=1 << 63),
        None,
        "base 9223372036854775808",
    ),
    "a table's entry of 32 bits": (put("formats", "tanh", "base", 3, value=1 << 31), None, "base 2147483648 of"),
    "a slope of an end segment": (
        put("formats", "tanh", "slope", 127, value=40),
        None,
        "its table of tanh is",
    ),
    "a spec of 2^27 classes": (put("layers", 0, "classes", value=1 << 27), None, "134217728 classes; a head has 1 to"),
    "hidden units by the billion": (
        put("layers", 0, "hidden", value=1 << 40),
        None,
        "placements hold 16 and 4",
    ),
    "a mode that fills memory": (
        put("layers", 0, "network", "sizes", 0, 1, value=1 << 50),
        None,
        "more than 67,108,864",
    ),
    "a field nobody knows": (put("formats", "round", value=1), None, "formats.round: Unexpected keyword argument"),
    "a number as a string": (
        put("layers", 0, "inputs", value="16"),
        None,
        "layers.0.inputs: Input should be",
    ),
    "about what is none": (put("about", value=5), None, "about: Input should be an object"),
    "an accuracy of 810 %": (
        put("about", value={"accuracy": {"float": 8.1}}),
        None,
        "about its accuracy: float",
    ),
    "an accuracy in words": (put("about", value={"accuracy": {"float": "1"}}), None, "about its accuracy: float"),
    "control characters": (put("about", value={"preset": "\x1b[2J"}), None, "holds characters that cannot be shown"),
}


@pytest.mark.parametrize("change", BUNDLE_CHANGES)
def test_a_bundle_says_what_it_is_or_is_refused(fdht, bundle_file, change):
    description, arrays, sentence = BUNDLE_CHANGES[change]
    rewritten(bundle_file, description or (lambda d: d), arrays or (lambda a: a))
    for command in ("info", "simulate"):
        outcome = fdht(command, bundle_file)
        assert outcome.code == 1 and sentence in outcome.sentence, outcome.sentence


CHECKPOINT_CHANGES = {
    "a factor that is no number": (
        None,
        at("model.lstm.layers.0.bias", 0, float("nan")),
        "holds what is no finite number",
    ),
    "an infinite head": (None, at("model.head.weight", 3, float("-inf")), "model.head.weight holds what is no finite"),
    "an accuracy of words": (put("accuracy", value="good"), None, "accuracy: Input should be a valid number"),
    "a history that is a number": (put("history", value=5), None, "history: Input should be a valid array"),
    "a seed that is a list": (put("seed", value=[1]), None, "seed: Input should be a valid integer"),
    "data without a name": (put("data", value={"folder": "x"}), None, "data.name: Field required"),
    "an input format of nothing": (put("input_format", value={}), None, "input_format.raw: Field required"),
    "a preset that is a path": (put("preset", value="../../x"), None, "is called '../../x'; a name has"),
    "the optimiser's state of another shape": (
        None,
        lambda a: {k: v[:1] if k.startswith(f"{OPTIMISER}exp_avg.") else v for k, v in a.items()},
        "has shape (1,",
    ),
}


@pytest.mark.parametrize("change", CHECKPOINT_CHANGES)
def test_a_checkpoint_says_what_it_is_or_is_refused(fdht, checkpoint_file, tmp_path, change):
    description, arrays, sentence = CHECKPOINT_CHANGES[change]
    path = tmp_path / "a.checkpoint"
    path.write_bytes(checkpoint_file.read_bytes())
    rewritten(path, description or (lambda d: d), arrays or (lambda a: a))
    for command in (("info", path), ("compile", path), ("train", TINY.name, "--resume", "-o", path)):
        outcome = fdht(*command)
        assert outcome.code == 1 and sentence in outcome.sentence, outcome.sentence


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_command_takes_a_checkpoint_with_numbers_that_are_none(fdht, checkpoint_file, tmp_path, value):
    """Wherever they are: in a factor, bias or head, or in what the optimiser keeps; and nothing is written."""
    path = tmp_path / "a.checkpoint"
    _, _, tensors = contents(checkpoint_file)
    assert any(name.startswith(OPTIMISER) for name in tensors) and "model.head.bias" in tensors
    for name in tensors:
        path.write_bytes(checkpoint_file.read_bytes())
        content = rewritten(path, arrays=at(name, 0, value)).read_bytes()
        for command in (
            ("info", path),
            ("compile", path),
            ("train", TINY.name, "--resume", "-o", path),
            ("train", TINY.name, "--from", path, "-o", "b.checkpoint"),
            ("export", "--dense", path, "-o", "dense.pt"),
        ):
            outcome = fdht(*command)
            assert outcome.code == 1 and f"{name} holds what is no finite number" in outcome.sentence, outcome.sentence
        assert [each.name for each in tmp_path.iterdir()] == [path.name] and path.read_bytes() == content


@pytest.fixture
def image_file(small_bundle, tmp_path) -> Path:
    path = tmp_path / "small.image"
    compile_bundle(small_bundle, TARGETS["ulx3s-85f"]).save(path)
    return path


def ones(segment: Segment) -> Callable[[dict], dict]:
    return lambda arrays: {**arrays, segment.name: np.full_like(arrays[segment.name], 255)}


IMAGE_CHANGES = {
    "no end of a program": (
        None,
        lambda a: {**a, "GATE_PROGRAM": a["GATE_PROGRAM"] * 0},
        "the program of gate ends",
    ),
    "loops without end": (None, ones(Segment.ARRAY_PROGRAM), "the program of array ends its loop at"),
    "wider words than the memory's": (None, ones(Segment.TABLES), "its table memory holds other tables"),
    "a segment too long": (
        None,
        lambda a: {**a, "BIAS": np.repeat(a["BIAS"], 999, axis=0)},
        "words of bias, where",
    ),
    "no segment": (None, lambda a: {k: v for k, v in a.items() if k != "FACTORS"}, "FACTORS is missing"),
    "another frame": (put("inputs", value=17), None, "raw words are taken before, in and after a step of 17"),
    "more classes": (put("classes", value=3), None, "logits are sent before, in and after the steps; there are 3"),
    "a hash with letters": (put("bundle_hash", value="z"), None, "bundle_hash: String should match pattern"),
}


@pytest.mark.parametrize("change", IMAGE_CHANGES)
def test_an_image_can_run_or_is_refused(fdht, image_file, change):
    description, arrays, sentence = IMAGE_CHANGES[change]
    rewritten(image_file, description or (lambda d: d), arrays or (lambda a: a))
    outcome = fdht("info", image_file)
    assert outcome.code == 1 and sentence in outcome.sentence, outcome.sentence


def test_programs_that_wait_for_each_other_are_refused(small_bundle, tmp_path):
    """Also one that the engine would wait in for ever, and one that would take hours."""
    target = TARGETS["ulx3s-85f"]
    image = compile_bundle(small_bundle, target)

    def changed(segment: Segment, change: Callable[[list[dict]], None]) -> Path:
        record = UNITS[segment](target)
        program = decode(image.segments[segment], record)
        change(program)
        words = np.array([word for instruction in program for word in record.encode(instruction)], dtype=object)
        path = tmp_path / "changed.image"
        replace(image, segments={**image.segments, segment: words}).save(path)
        return path

    def never_given(program):
        for instruction in program:
            instruction["give"] &= ~(1 << Token.Z_READY)

    def endless(program):
        for level in program[0]["read"]["levels"]:
            level["count"] = (1 << Widths(target).count) - 1

    def elsewhere(program):
        program[0]["write"]["word"] = target.scratchpad_words - 1

    for segment, change, sentence in (
        (Segment.ARRAY_PROGRAM, never_given, "wait for each other forever"),
        (Segment.ARRAY_PROGRAM, endless, f"at most {MOST_TURNS:,} are followed"),
        (Segment.ARRAY_PROGRAM, elsewhere, "instruction 0 of array: words written"),
    ):
        with pytest.raises(FileError, match=sentence):
            Image.load(changed(segment, change))


def test_factors_that_no_sum_can_hold_are_refused(tmp_path):
    """An engine whose accumulators have not a bit more than what was compiled needs."""
    spec = fdht_lstm(16, 4, 2, (3, 2, 2, 2), (2, 2, 2, 2), 2)
    torch.manual_seed(1)
    model, tight = Classifier(spec).eval(), replace(TARGET, accumulator_width=24)
    clips = np.zeros((1, 2, 16), dtype=np.uint8)
    bundle, _ = quantise(model, plan(spec, tight), clips, np.zeros(1), factor_width=8, accumulator_width=24)
    path = tmp_path / "tight.image"
    compile_bundle(bundle, tight).save(path)
    assert Image.load(path).cycles(1) > 0
    rewritten(path, arrays=lambda a: {**a, "FACTORS": np.full_like(a["FACTORS"], 0x80)})
    with pytest.raises(FileError, match="do not fit 24 bits of accumulator"):
        Image.load(path)


def network(sizes: dict[str, int], **factors: tuple[str, ...]) -> TensorNetwork:
    """A network with the input n, the output m and these factors."""
    return TensorNetwork("mine", ("n",), ("m",), tuple(sizes.items()), tuple(Factor(*f) for f in factors.items()))


def star(points: int) -> TensorNetwork:
    """Factors that all share one bond: any of them may be merged with any others."""
    ends = {f"X{k}": ("b",) for k in range(points)}
    return network({"n": 12, "m": 16, "b": 2}, A=("n", "b"), Z=("m", "b"), **ends)


def test_a_network_with_too_many_orders_is_not_planned():
    begin = time.monotonic()
    with pytest.raises(SpecError, match="hang together in more than 3,000 ways"):
        plan(lstm_on(star(14), 8, 4, 2), TARGET)
    assert time.monotonic() - begin < 20


def test_networks_that_would_fill_memory_on_the_way():
    """Few numbers are stored, and many would be made of them."""
    wide = network({"n": 12, "m": 64, "r": 1 << 21}, A=("n", "r"), C=("r",), M=("m",))
    with pytest.raises(SpecError, match=r"stage \d has [\d,]+ entries, more than 67,108,864"):
        Classifier(lstm_on(wide, 8, 4, 2))
    corners = {f"b{a}{b}": 14 for a in range(6) for b in range(a)}
    clique = {f"F{k}": tuple(bond for bond in corners if str(k) in bond[1:]) for k in range(6)}
    clique["F0"], clique["F1"] = ("n", *clique["F0"]), ("m", *clique["F1"])
    with pytest.raises(SpecError, match="entries, more than"):
        Classifier(lstm_on(network({"n": 12, "m": 16, **corners}, **clique), 8, 4, 2))
    many = {f"b{k}": 1 for k in range(30)}
    with pytest.raises(SpecError, match="62 modes and pairs of bonds; at most 52"):
        network({"n": 12, "m": 16, **many}, F=("m", "n", *many), G=tuple(many))


def test_placements_that_leave_nearly_all_empty():
    with pytest.raises(SpecError, match="hold 1,048,576 entries for 12 of x and h; choose smaller ones"):
        lstm_on(network({"n": 1 << 20, "m": 16}, W=("m", "n")), 8, 4, 2)
    begin = time.monotonic()
    with pytest.raises(SpecError, match="16,777,216 hidden units; a layer has at most 1,048,576"):
        spec = fdht_lstm(16, 4, 2, (3, 2, 2, 2), (2, 2, 2, 2), 2)
        replace(spec, hidden=1 << 24, h=Region((0,), (1 << 24,), (0,), 1 << 24))
    assert time.monotonic() - begin < 5


def test_a_tail_that_is_longer_than_its_loop(image_file):
    """A nest's walk would be longer than its turns say."""
    image = Image.load(image_file)
    program = image.machine.programs[Segment.LOADER_PROGRAM]
    nest = program[0]["nest"]
    nest["levels"][0]["count"], nest["tail"], nest["tail_level"] = 0, image.target.columns - 1, 1
    with pytest.raises(SpecError, match="a tail of 8 turns where there are 1"):
        image.verify()


@pytest.mark.parametrize("frames", [0, 1 << 40])
def test_clips_of_no_frames_and_of_too_many(frames):
    with pytest.raises(SpecError, match="frames in a clip; it has 1 to 4,096"):
        Source("folder", "x", frames)


def test_a_clip_of_more_steps_than_an_engine_counts(small_bundle):
    long = np.zeros((1, 1 << 16, 16), dtype=np.uint8)
    with pytest.raises(SpecError, match="1 to 65,535"):
        replace(small_bundle, clips=long)


def test_a_study_is_refused_for_choices_that_are_none(fdht, tmp_path):
    """Also for those of a trial that is still to come, and what is no file."""
    assert fdht("explore", TINY.name, "--board", "icebreaker", "--epochs", 1, "--trials", 1, "-o", "right").code == 0
    right = (tmp_path / "right" / "study.journal").read_text()
    for name, value in (("modes", 77), ("modes", "abc"), ("n2", -1), ("nothing", [1])):
        waiting = {"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": None, "state": 4}
        waiting["system_attrs"] = {"fixed_params": {name: value}}
        path = tmp_path / f"{name}-{value}" / "study.journal"
        path.parent.mkdir()
        path.write_text(f"{right}{json.dumps(waiting)}\n")
        outcome = fdht("explore", TINY.name, "--board", "icebreaker", "--epochs", 1, "--trials", 2, "-o", path.parent)
        assert outcome.code == 1 and "is no study, or a damaged one" in outcome.sentence, outcome.sentence
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "study.journal")
    outcome = fdht("explore", TINY.name, "--board", "icebreaker", "--epochs", 1, "--trials", 1, "-o", "pipe")
    assert outcome.code == 1 and "it is no file" in outcome.sentence


def test_lack_of_memory_is_a_sentence(fdht, monkeypatch):
    for error in (
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    ):

        def run_out(path, error=error):
            raise error

        monkeypatch.setattr(Bundle, "load", staticmethod(run_out))
        outcome = fdht("simulate", "any.bundle")
        assert outcome.code == 1 and "more memory than there is" in outcome.sentence


def test_flipped_bits_in_the_header(bundle_file):
    """Kind, version, hash, description, names of tensors: every fifth byte of the header, one bit each; in five days
    all.
    """
    content = bytearray(bundle_file.read_bytes())
    end = 8 + int.from_bytes(content[:8], "little")
    for place in range(SEED % 5, end, 5):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        bundle_file.write_bytes(changed)
        with pytest.raises(FileError) as caught:
            Bundle.load(bundle_file)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 1200


def test_deep_nesting(bundle_file):
    kind, _, arrays = contents(bundle_file)
    metadata = {"kind": kind, "version": str(container.VERSION), "hash": "", "description": "[" * 100_000}
    bundle_file.write_bytes(save(arrays, metadata=metadata))
    with pytest.raises(FileError, match="recursion limit exceeded"):
        Bundle.load(bundle_file)


def test_types_that_numpy_lacks(bundle_file):
    from safetensors.torch import save_file

    with safe_open(bundle_file, framework="numpy") as file:
        metadata = file.metadata()
    for dtype, name in ((torch.bfloat16, "BF16"), (torch.float8_e4m3fn, "F8_E4M3")):
        save_file({"clips": torch.zeros(3).to(dtype)}, bundle_file, metadata)
        with pytest.raises(FileError, match=f"tensor clips is of type {name}, which no fdht file holds"):
            container.kind_of(bundle_file)


@pytest.mark.parametrize("version", ["9" * 1_000_000, "\x1b[31m5"])
def test_a_version_that_is_none(bundle_file, version):
    _, _, arrays = contents(bundle_file)
    bundle_file.write_bytes(save(arrays, {"kind": "bundle", "version": version, "hash": "", "description": "{}"}))
    with pytest.raises(FileError) as caught:
        Bundle.load(bundle_file)
    assert "format version" in str(caught.value) and str(caught.value).isprintable() and len(str(caught.value)) < 1100


@pytest.mark.parametrize("size, sentence", [(256 << 20, "not a consistent bundle"), (20 << 30, "a bundle has at most")])
def test_a_sparse_file_takes_no_memory(tmp_path, size, sentence):
    """Its header says that it holds as much as it does; the tensor is not what the description asks for."""
    description = json.dumps({"layers": []})
    digest = hashlib.sha256(f"bundle {container.VERSION} {description}".encode())
    path, count = tmp_path / "sparse.bundle", size // 8
    digest.update(f"clips int64 ({count},)".encode())
    if size < 1 << 30:
        for _ in range(size >> 20):
            digest.update(bytes(1 << 20))
    header = json.dumps(
        {
            "__metadata__": {
                "kind": "bundle",
                "version": str(container.VERSION),
                "hash": digest.hexdigest(),
                "description": description,
            },
            "clips": {"dtype": "I64", "shape": [count], "data_offsets": [0, size]},
        }
    ).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    program = f"from fdht.spec.bundle import Bundle\nBundle.load({str(path)!r})"
    limit = lambda: resource.setrlimit(resource.RLIMIT_DATA, (400 << 20, 400 << 20))  # noqa: E731
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, preexec_fn=limit, env=environment
    )
    assert "FileError" in result.stderr.splitlines()[-1] and sentence in result.stderr, result.stderr


def test_texts_are_read_to_a_limit(tmp_path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(JSON_BYTES + 1)
    by_name = (lambda: find_target(str(path)), lambda: find_preset(str(path)))
    for read in (*by_name, lambda: measurements.load(path), lambda: load_accuracies(path)):
        with pytest.raises(FileError, match="more than the 16,777,216 bytes"):
            read()


def test_a_pipe_is_no_file(tmp_path):
    """Reading one would wait for ever."""
    os.mkfifo(tmp_path / "pipe.json")
    begin = time.monotonic()
    for read in (lambda path: find_target(str(path)), Bundle.load, load_checkpoint, Image.load):
        with pytest.raises(FileError, match="there is no file"):
            read(tmp_path / "pipe.json")
    assert time.monotonic() - begin < 10


def test_what_is_shown_is_never_markup(capsys):
    """A name in brackets is a name, on the terminal too."""
    Output(False).facts("[/a]", {"[bold]": "[/red]"})
    Output(False).table("[/c]", ["[b]"], [["[/i]"], [3]])
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("[/a]", "[bold]", "[/red]", "[/c]", "[b]", "[/i]"))


def test_no_clips_no_choice(fdht, bundle_file):
    _, _, arrays = contents(bundle_file)
    empty = {name: arrays[name][:0] for name in ("clips", "labels", "logits", "hidden")}
    rewritten(bundle_file, put("about", value={}), lambda a: {**a, **empty})
    for command in ("simulate", "compare"):
        outcome = fdht(command, bundle_file)
        assert outcome.code == 1 and "the bundle holds no clips; compile the checkpoint anew" in outcome.sentence


def test_errors_are_one_line_that_can_be_shown():
    for kind in (SpecError, FileError):
        text = str(kind("a\x1b[2J\n" + "b" * 5000))
        assert text.isprintable() and text.startswith("a\\x1b[2J\\n") and len(text) < 1100
    assert issubclass(SpecError, FdhtError)


def test_sources_name_data_and_nothing_else(checkpoint_file):
    """What a checkpoint says of its data is a name, a folder and numbers."""
    checkpoint, _ = read_checkpoint(checkpoint_file)
    assert checkpoint.data == Source("digits")
