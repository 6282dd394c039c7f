"""A file of one's own through the commands: found again, noticed when it has changed, refused in a sentence."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from fdht.compiler.image import Image
from fdht.model.checkpoint import load_checkpoint
from fdht.model.data import from_arrays
from fdht.spec.bundle import Bundle
from fdht.workflow import datasets
from fdht.workflow.datasets import contact_sheet
from tests.fdht.tiny import TINY

X = np.random.default_rng(0).normal(size=(6, 5, 8))
Y = np.array(["no", "no", "no", "yes", "yes", "yes"])
VALUES = "abcdefgh"


@pytest.fixture
def npz(tmp_path):
    """Two classes of three samples each, the least that there may be."""
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "mine.npz", x=X, y=Y, lengths=[5, 4, 3, 2, 1, 5], value_names=[*VALUES])
    return tmp_path / "data" / "mine.npz"


def test_what_a_file_is_taken_for(fdht, npz, tmp_path):
    figures = fdht("data", npz, "--json").figures
    assert figures["clips"] == {"train": 2, "validation": 2, "final": 4, "test": 2}
    assert (figures["task"], figures["classes"], figures["steps"]) == ("classify", ["no", "yes"], 5)
    assert 0 <= figures["saturated"] <= 1 and (tmp_path / figures["sheet"]).is_file()
    people = fdht("data", npz)
    assert "1 to 5 steps of 8 values" in people.out and "scaled to" in people.out and "8 bits" in people.out
    assert "saturated in validation" in people.out and "dealt into 5 folds" in people.out


def test_the_values_of_a_csv_have_names_and_a_time_among_them_is_pointed_out(fdht, tmp_path):
    rows = [f"{s},{'ab'[s % 2]},{10 * k + s},{(7 * s + k * k) % 5},{k // 2}" for s in range(6) for k in range(4)]
    Path("t.csv").write_text("\n".join(["sequence,label,t_ms,Ax,ay", *rows[1:]]))
    seen = fdht("data", "t.csv")
    assert "3 to 4 steps of 3 values: t_ms, Ax, ay" in seen.out and "build/t.csv.png" in seen.out
    assert "\nt_ms rises with every step of every sequence" in seen.err
    assert fdht("data", "t.csv", "--json").figures["values"] == ["t_ms", "Ax", "ay"]
    made = fdht("new", "--data", "t.csv")
    assert "3 values: t_ms, Ax, ay" in made.out and "leave the column out" in made.err
    times = np.cumsum(np.ones((6, 4, 14)), axis=1)
    np.savez("t.npz", x=times, y=Y, value_names=[f"v{k}" for k in range(14)])
    assert "14 values: v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11 and 2 more" in fdht("data", "t.npz").out
    np.savez("t.npz", x=times[..., :2], y=Y)
    assert "value 0, value 1 rise with every step of every sequence" in fdht("data", "t.npz").err
    assert from_arrays(times[:, :2], Y).rising == (), "of two steps half of all values rise"
    np.savez("t.npz", x=X, y=Y, value_names=["a"])
    assert "t has 1 value_names for 8 values of a step" in fdht("data", "t.npz").sentence


def test_a_folder_of_tables_is_no_data_set_and_how_it_becomes_one(fdht):
    for name in ("idle/a", "idle/b", "idle/c", "run/a", "run/b", "run/c"):
        path = Path("recordings", f"{name}.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("ax,ay\n0,1\n2,0\n1,1\n")
    way = "join tables into one CSV with a column sequence"
    assert f"films or pictures (CLASS/clip.mp4); {way}" in fdht("data", "--data-folder", "recordings").sentence
    assert (
        f"recordings is a folder; of films or pictures (CLASS/clip.mp4) pass it with --data-folder, of tables {way}"
        in (fdht("data", "recordings").sentence)
    )
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    exec(page.partition("### A folder of tables")[2].partition("```python\n")[2].partition("```")[0], {})
    assert fdht("data", "mine.csv", "--json").figures["classes"] == ["idle", "run"]


def test_from_a_file_to_a_bundle_and_back(fdht, npz, tmp_path):
    """With the defaults of every command, from two classes of three samples."""
    trained = fdht("train", TINY.name, "--data", "data/mine.npz", "-o", "build/a.checkpoint", "--json")
    assert trained.code == 0, trained.err
    assert trained.figures["data"] == "mine" and trained.figures["parameters"]["head"] == 2 * (TINY.spec.hidden + 1)
    assert fdht("info", "build/a.checkpoint", "--json").figures["data"] == str(npz)
    compiled = fdht("compile", "build/a.checkpoint", "--json")
    assert compiled.code == 0 and 0 <= compiled.figures["saturated"] <= 1
    bundle, image = Bundle.load("build/a.bundle"), Image.load(compiled.figures["image"])
    scaling = load_checkpoint("build/a.checkpoint").scaling
    assert bundle.scaling == image.scaling == scaling is not None
    assert (
        bundle.lengths is not None
        and bundle.lengths.tolist() == from_arrays(X, Y, lengths=[5, 4, 3, 2, 1, 5]).test.lengths.tolist()
    )
    assert bundle.about["values"] == fdht("info", "build/a.bundle", "--json").figures["values"] == [*VALUES]
    assert "a, b, c, d, e, f, g, h" in fdht("info", "build/a.bundle").out
    assert "input values of validation saturated" in fdht("compile", "build/a.checkpoint").out
    assert fdht("train", TINY.name, "--data", npz, "-o", "build/a.checkpoint", "--resume").code == 0

    # The whole folder moves, then the file alone.
    (tmp_path / "moved").mkdir()
    (tmp_path / "build").rename(tmp_path / "moved" / "build")
    (tmp_path / "data").rename(tmp_path / "moved" / "data")
    assert fdht("compile", "moved/build/a.checkpoint").code == 0
    (tmp_path / "moved" / "data").rename(tmp_path / "elsewhere")
    assert "there is no file" in fdht("compile", "moved/build/a.checkpoint").sentence
    assert fdht("compile", "moved/build/a.checkpoint", "--data", "elsewhere/mine.npz").code == 0
    assert fdht("compile", "moved/build/a.checkpoint", "--data-folder", "elsewhere").code == 0

    np.savez(tmp_path / "elsewhere" / "mine.npz", x=X + 1e-9, y=Y, lengths=[5, 4, 3, 2, 1, 5])
    outcome = fdht("compile", "moved/build/a.checkpoint", "--data", "elsewhere/mine.npz")
    assert outcome.code == 1 and "are not those that tiny was trained on" in outcome.sentence


@pytest.mark.slow
def test_two_classes_of_three_samples_through_the_rest(fdht, npz):
    """With the defaults: at most as many clips as there are are looked at, each with its own steps."""
    assert fdht("train", TINY.name, "--data", npz, "-o", "a.checkpoint").code == 0
    assert fdht("compile", "a.checkpoint", "--target", "icebreaker").code == 0
    for command in (("simulate", "a.bundle"), ("compare", "a.bundle")):
        outcome = fdht(*command, "--target", "icebreaker", "--json")
        assert outcome.code == 0, outcome.err
    assert len(outcome.figures["clips"]) == 2
    outcome = fdht("run", "a.bundle", "--simulate", "--board", "icebreaker", "--compare", "--json")
    assert outcome.code == 0 and outcome.figures["mismatches"] == 0
    assert outcome.figures["frames"] == sum(Bundle.load("a.bundle").lengths)
    assert fdht("precision", "--help").code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("data", "none.npz"), "there is no file"),
        (("train", "tiny", "--data", "none.npz"), "there is no file"),
        (("train", "tiny", "--data", "data/mine.npz", "--frames", 8), "mine.npz has whole sequences"),
        (("train", "tiny", "--input-bits", 16), "--input-bits is about real values in a file; add --data"),
        (("train", "tiny", "--data", "data/mine.npz", "--input-bits", 9), "input words of 9 bits; they have 8 or 16"),
        (("train", "tiny", "--data", "data/mine.npz", "--fold", 7), "there is no fold 7"),
        (("train", "faces", "--data", "data/mine.npz"), "a step of mine has 8 values"),
        (("compile", "none.checkpoint", "--data", "data/mine.npz"), "there is no file none.checkpoint"),
    ],
)
def test_one_sentence(fdht, npz, arguments, sentence):
    outcome = fdht(*arguments)
    assert outcome.code == 1 and sentence in outcome.sentence


def test_a_file_is_never_imported(fdht, tmp_path):
    (tmp_path / "evil.py").write_text("raise SystemExit(7)\n")
    outcome = fdht("data", "evil:x.npz")
    assert outcome.code == 1 and "there is no file" in outcome.sentence


def test_a_file_is_named_again_as_it_was(npz):
    chosen = datasets.source(str(npz), None, 6, "group", 2, 16)
    assert chosen is not None
    assert datasets.options(chosen) == ["--data", str(npz), "--fold", "2", "--input-bits", "16"]
    assert datasets.source("mine.npz", str(npz.parent), 6, "group", 2, 16) == chosen


@pytest.mark.parametrize(
    "y",
    [np.arange(30) % 3, np.linspace(0, 1, 30), np.arange(150).reshape(30, 5) % 2],
    ids=["classes", "targets", "steps"],
)
@pytest.mark.parametrize("bits", [8, 16])
def test_every_kind_of_data_has_a_contact_sheet(y, bits):
    x = np.random.default_rng(0).normal(size=(30, 5, 3))
    assert contact_sheet(from_arrays(x, y, bits=bits)).size[0] > datasets.MARGIN
    pictures = np.random.default_rng(0).integers(0, 256, (30, 5, 6, 4, 2), dtype=np.uint8)
    assert contact_sheet(from_arrays(pictures, y)).size[0] > datasets.MARGIN


def test_what_the_pages_show_holds(fdht, tmp_path):
    """docs/data.md from its arrays to what fdht data says of them, and the arrays of docs/training.md."""
    pages = Path(__file__).resolve().parents[2] / "docs"
    names: dict = {}
    for name in ("data.md", "training.md"):
        for block in re.findall(r"^```python\n(.*?)^```$", (pages / name).read_text(), re.M | re.S):
            with redirect_stdout(io.StringIO()) as shown:
                exec(block, names)
            printed = shown.getvalue().splitlines()
            said = re.findall(r"^print\(.*\)  # (.*)$", block, re.M)
            assert len(printed) == len(said) and all(map(str.startswith, said, printed))
        assert fdht("data", "mine.npz", "--json").figures["clips"]["final"] == 72
        (tmp_path / "mine.npz").unlink()


@pytest.mark.parametrize(
    ("y", "task"), [(np.linspace(0, 1, 30), "regress"), (np.arange(150).reshape(30, 5) % 2, "label-steps")]
)
def test_other_tasks_go_from_a_file_to_a_bundle(fdht, tmp_path, y, task):
    np.savez(tmp_path / "mine.npz", x=np.random.default_rng(0).normal(size=(30, 5, 8)), y=y)
    assert fdht("train", TINY.name, "--data", "mine.npz", "-o", "a.checkpoint").code == 0
    assert fdht("compile", "a.checkpoint").code == 0
    bundle = Bundle.load("a.bundle")
    assert bundle.spec.task == task and bundle.scaling is not None
