"""`fdht train`: its options, its log and its curves, and several processes."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from fdht.model.checkpoint import load_checkpoint
from fdht.model.data import load
from fdht.model.presets import PRESETS
from fdht.spec.errors import SpecError
from fdht.spec.network import ht_network, ht_tree, linear_tree
from fdht.workflow.training import reshaped
from tests.fdht.tiny import TINY

ROOT = Path(__file__).parent.parent.parent


def rows(path: Path) -> list[dict]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_log_and_curves(fdht, tmp_path):
    figures = fdht("train", TINY.name, "--patience", 2, "--json").figures
    records = [{name: "" if value is None else str(value) for name, value in r.items()} for r in figures["history"]]
    assert rows(tmp_path / figures["log"]) == [{"epoch": str(k), **record} for k, record in enumerate(records, 1)]
    assert records[0]["validation"] and figures["best_epoch"]
    with Image.open(tmp_path / figures["curves"]) as picture:
        assert picture.format == "PNG" and picture.width > 1000


def test_a_resumed_training_has_the_whole_log(fdht, tmp_path):
    fdht("train", TINY.name, "-o", "a.checkpoint")
    (tmp_path / "a.csv").unlink()
    assert fdht("train", TINY.name, "-o", "a.checkpoint", "--resume").code == 0
    assert len(rows(tmp_path / "a.csv")) == TINY.epochs


def test_settings_reach_the_training(fdht, tmp_path):
    options = {
        "--schedule": "cosine",
        "--learning-rate": 0.02,
        "--weight-decay": 0.5,
        "--batch": 3,
        "--clips-per-epoch": 6,
        "--dropout": 0.1,
        "--input-dropout": 0.2,
        "--hidden-dropout": 0.3,
        "--patience": 7,
        "--precision": "bfloat16",
    }
    arguments = [part for option in options.items() for part in option]
    assert fdht("train", TINY.name, *arguments, "--no-augment", "--choose", "-o", "a.checkpoint").code == 0
    checkpoint = load_checkpoint(tmp_path / "a.checkpoint")
    for option, value in options.items():
        assert checkpoint.recipe[option.removeprefix("--").replace("-", "_")] == value
    assert checkpoint.recipe["augmentation"] is None and checkpoint.choose


def test_a_bundle_says_how_many_clips_its_factors_learnt_from(fdht):
    """All that there are, if an epoch takes more; a training with patience keeps those of validation apart."""
    learnt = dict[str, int]()
    for name, options in (("whole", ()), ("part", ("--patience", 1))):
        sizes = ("--epochs", 1, "--clips-per-epoch", 10_000, "--batch", 512)
        assert fdht("train", TINY.name, *sizes, *options, "-o", name).code == 0
        bundle = fdht("compile", name, "-o", f"{name}-compiled", "--json").figures["bundle"]
        learnt[name] = fdht("info", bundle, "--json").figures["about"]["clips"]
    digits = load(TINY.data)
    assert learnt == {"whole": len(digits.final), "part": len(digits.train)}


def test_logs_have_the_name_of_their_checkpoint(fdht, tmp_path):
    """Whatever that is called: neither is written over another's, nor over the checkpoint."""
    for name in ("rate0.01", "rate0.003", "run.csv"):
        assert fdht("train", TINY.name, "--epochs", 1, "-o", name).code == 0
        assert load_checkpoint(tmp_path / name).complete
        assert len(rows(tmp_path / f"{name}.csv")) == 1 and (tmp_path / f"{name}.curves.png").is_file()


def test_presets_are_listed(fdht):
    people, figures = fdht("train"), fdht("train", "--json").figures
    assert people.code == 0 and all(name in people.out for name in PRESETS)
    assert {row["name"]: row["factors"] for row in figures} == {
        name: preset.spec.parameters["factors"] for name, preset in PRESETS.items()
    }


def test_another_rank_keeps_tree_and_places():
    spec = PRESETS["faces"].spec
    same = reshaped(spec, None, None, 8)
    assert same == spec, "8 is the preset's own"
    other = reshaped(spec, None, "4,2,4,32", 3)
    assert (other.x, other.h, other.network.output_shape) == (spec.x, spec.h, (4, 2, 4, 32))
    network = ht_network((16, 20, 8, 8), (2, 2, 8, 32), linear_tree(4, 2))
    linear = reshaped(replace(spec, network=network), None, None, 5)
    assert ht_tree(linear.network) == linear_tree(4, 5)


def test_other_input_modes_are_filled_in_c_order():
    spec = reshaped(PRESETS["faces"].spec, "31,20,4,8", None, None)
    assert spec.network.input_shape == (31, 20, 4, 8) and spec.x.order == (0, 1, 2, 3)
    with pytest.raises(SpecError, match="2 modes instead of 4 need a rank"):
        reshaped(spec, "160,160", "32,32", None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--learning-rate", "1e38"), "gradient of nan in epoch 1, step 2 of 2"),
        (("--schedule", "linear"), "known: one-cycle, trapezoid, cosine, constant"),
        (("--precision", "int4"), "known: float32, bfloat16"),
        (("--dropout", 2), "no probability"),
        (("-o", "."), f". is a folder; name the file for the checkpoint: {TINY.name}.checkpoint"),
        (("-o", "/"), f"name the file for the checkpoint: /{TINY.name}.checkpoint"),
        (("--data-folder", "."), "does not look like folder"),
        (("--data-folder", "nowhere"), "nowhere; pass the one that holds folder"),
    ],
)
def test_one_sentence_and_nothing_left(fdht, tmp_path, arguments, sentence):
    outcome = fdht("train", TINY.name, *arguments)
    assert outcome.code == 1 and sentence in outcome.sentence
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def train(folder: Path, launcher: tuple[str, ...]) -> tuple[list[dict], subprocess.CompletedProcess]:
    """Three batches of 49, 49 and 1 clips in each of two epochs, with everything random; 3 of 2 processes idle."""
    folder.mkdir()
    arguments = "train digits --epochs 2 --clips-per-epoch 99 --batch 49 --input-dropout 0.1 --hidden-dropout 0.2"
    process = subprocess.run(
        [*launcher, "-m", "fdht", *arguments.split(), "--dropout", "0.3", "--patience", "3", "--json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)["history"], process


@pytest.mark.slow
def test_two_processes_train_like_one(tmp_path):
    """Each takes its share of every batch, and draws for the whole: the losses differ by rounding alone."""
    alone, _ = train(tmp_path / "one", (sys.executable,))
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    together, process = train(tmp_path / "two", launcher)
    for one, two in zip(alone, together, strict=True):
        for name in ("loss", "accuracy", "validation", "learning_rate"):
            assert two[name] == pytest.approx(one[name], rel=1e-5), name
    assert process.stderr.count("training digits ...\n") == 1, "the second process is silent"
    weights = [load_checkpoint(tmp_path / name / "build/digits.checkpoint").model for name in ("one", "two")]
    for a, b in zip(*(model.parameters() for model in weights), strict=True):
        assert a.detach().numpy() == pytest.approx(b.detach().numpy(), rel=1e-3, abs=1e-5)
