"""From a file of arrays to an accelerator without a preset: what is proposed fits, what is written can be edited."""

import re
import tomllib

import numpy as np
import pytest

from fdht.compiler.planner import plan
from fdht.model.data import from_arrays
from fdht.model.presets import find_preset
from fdht.model.project import Project
from fdht.spec.errors import CapacityError, FileError, SpecError
from fdht.spec.target import find_target
from fdht.spec.task import Task
from fdht.workflow.proposal import ROOM, SIZES, propose, trained


def arrays(count: int = 30, steps: int = 4, values: int = 3, classes: int = 3) -> dict[str, np.ndarray]:
    """Samples whose class shows."""
    rng = np.random.default_rng(3)
    y = np.arange(count) % classes
    return {"x": (rng.normal(size=(count, steps, values)) + 2 * y[:, None, None]).astype(np.float32), "y": y}


@pytest.fixture
def mine(fdht, tmp_path):
    """An empty folder with mine.npz."""
    np.savez(tmp_path / "mine.npz", **arrays())
    return tmp_path


def test_three_commands_lead_from_arrays_to_checked_gateware(fdht, mine):
    outcome = fdht("train", "--data", "mine.npz", "--epochs", 20, "-o", "mine.checkpoint", "--json")
    assert outcome.code == 0 and outcome.figures["accuracy"] > 0.5, outcome.err
    assert "mine: 3 values a step, 64 hidden units" in outcome.err
    assert fdht("compile", "mine.checkpoint", "--json").code == 0
    simulated = fdht("simulate", "mine.bundle", "--clips", 1, "--json")
    assert simulated.code == 0 and simulated.figures["mismatches"] == 0
    assert simulated.figures["cycles"]["predicted"] == simulated.figures["cycles"]["simulated"]


def test_a_proposal_on_other_modes(fdht, mine):
    """As many as are said, with the rank that is said."""
    options = ("--hidden", 8, "--epochs", 1, "--input-modes", "6,2,2", "--output-modes", "2,2,8", "-o", "a.checkpoint")
    refused = fdht("train", "--data", "mine.npz", *options)
    assert refused.code == 1 and "need a rank; add --rank" in refused.sentence
    made = fdht("train", "--data", "mine.npz", *options, "--rank", 2, "--json")
    assert made.code == 0, made.err
    (network,) = fdht("info", "a.checkpoint", "--json").figures["model"]["networks"]
    assert (network["input_modes"], network["output_modes"], set(network["ranks"].values())) == (
        [6, 2, 2],
        [2, 2, 8],
        {2},
    )


def test_a_project_is_written_edited_and_trained(fdht, mine):
    made = fdht("new", "--data", "mine.npz", "--board", "icebreaker", "--json")
    assert made.code == 0 and made.figures["project"] == "mine.toml", made.err
    first = made.figures["proposals"][0]
    assert first["fullest"] <= ROOM and first["cycles_per_step"] > made.figures["proposals"][1]["cycles_per_step"]
    written = tomllib.loads((mine / "mine.toml").read_text())
    assert written["data"] == {"file": "mine.npz", "inputs": 3, "outputs": 3, "task": "classify"}
    text = (mine / "mine.toml").read_text()
    (mine / "mine.toml").write_text(text.replace("hidden = 64", "hidden = 16").replace("rank = 12", "rank = 4"))
    outcome = fdht("train", "mine.toml", "--epochs", 1, "--json")
    assert outcome.code == 0 and outcome.figures["parameters"]["bias"] == 64, outcome.err
    again = fdht("new", "--data", "mine.npz")
    assert again.code == 1 and "mine.toml is there already; name another file with --out" in again.sentence


def test_a_project_elsewhere_finds_its_data(fdht, mine, monkeypatch):
    assert fdht("new", "--data", "mine.npz", "-o", "sub/other.toml", "--hidden", 8, "--rank", 2, "--json").code == 0
    assert Project.read(mine / "sub/other.toml").data.file == "../mine.npz"
    assert fdht("train", "sub/other.toml", "--epochs", 1, "-o", "other.checkpoint", "--json").code == 0


@pytest.mark.parametrize("board", ["icebreaker", "ulx3s-85f", "tangnano9k"])
@pytest.mark.parametrize("values", [1, 28, 700])
def test_what_is_proposed_fits_with_room_to_spare(board, values):
    data, target = from_arrays(**arrays(values=values)), find_target(board)
    best = next(propose(data, target))
    assert best.spec.inputs == values and best.spec.classes == 3 and plan(best.spec, target)
    assert best.fullest[1] <= ROOM
    hidden, rank = SIZES[-1]
    (asked,) = propose(data, target, hidden=hidden, rank=rank)
    assert asked.spec.hidden == hidden and asked.cycles < best.cycles


def test_the_task_follows_from_the_data():
    x = arrays()["x"]
    data = from_arrays(x, np.random.default_rng(1).normal(size=(30, 4, 2)))
    proposal = next(propose(data, find_target("icebreaker")))
    assert proposal.spec.task is Task.REGRESS_STEPS and proposal.spec.classes == 2
    preset = trained(data, proposal.spec, "mine", "mine.npz")
    assert preset.batch == 16 and preset.epochs * -(-len(data.final) // preset.batch) >= 600


def test_a_board_too_small_is_said_with_what_lacks():
    data = from_arrays(**arrays())
    with pytest.raises(CapacityError, match="available; choose --hidden 64 --rank 12, which fits icebreaker"):
        list(propose(data, find_target("icebreaker"), hidden=512))
    wide = from_arrays(**arrays(), bits=16)
    with pytest.raises(SpecError, match="raw words of 16 bits, icebreaker takes 8; read it with --input-bits 8"):
        next(propose(wide, find_target("icebreaker")))


@pytest.mark.slow
def test_where_nothing_fits_a_board_is_named_that_takes_the_data(fdht, tmp_path):
    x = np.random.default_rng(0).normal(size=(9, 2, 12_000))
    np.savez(tmp_path / "wide.npz", x=x.astype(np.float32), y=np.arange(9) % 3)
    refused = fdht("new", "--data", "wide.npz", "--board", "tangnano9k")
    words = re.search("4096 available; --board (.+) takes a model for wide", refused.sentence)
    assert refused.code == 1 and words, refused.sentence
    assert fdht("new", "--data", "wide.npz", "--board", words[1]).code == 0


def test_the_board_of_a_project_counts(fdht, mine):
    """It is explored for that board, and a model that does not fit it is told of."""
    assert fdht("new", "--data", "mine.npz", "--board", "icebreaker", "--hidden", 8, "--rank", 2).code == 0
    project, text = mine / "mine.toml", (mine / "mine.toml").read_text()
    explored = fdht("explore", "mine.toml", "--trials", 0, "--json")
    assert explored.code == 0 and explored.figures["board"] == "icebreaker", explored.err
    project.write_text(text.replace("rank = 2", "rank = 64").replace("hidden = 8", "hidden = 256"))
    grown = re.sub(r"put_modes = .*", lambda found: "put_modes = [2, 4, 512]", project.read_text())
    project.write_text(grown.replace("input_modes = [2, 4, 512]", "input_modes = [8, 8, 64]"))
    trained = fdht("train", "mine.toml", "--epochs", 1)
    assert "this model does not fit the icebreaker, which the project is for: " in trained.err
    project.write_text(text.replace('"icebreaker"', '"mine"'))
    for command in ("train", "explore"):
        refused = fdht(command, "mine.toml")
        assert refused.code == 1 and "mine.toml: there is no board 'mine'; known: icebreaker" in refused.sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "is no TOML"),
        ("name = 'a'", "is no project (board"),
        ("name = 1", "is no project (name"),
        ("name = 2026-11-29", "is no project (board"),
        ("import = 'os'", "is no project"),
    ],
)
def test_a_file_that_is_no_project_is_refused(tmp_path, text, words):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(FileError) as refused:
        find_preset(str(tmp_path / "a.toml"))
    assert words in str(refused.value) and "mend it, or make one with fdht new" in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["new"], "which data? name a file with --data"),
        (["new", "--data", "digits"], "is in no file; a project names one"),
        (["new", "--data", "none.npz"], "there is no file"),
        (["new", "--data", "mine.npz", "-o", "gestures"], "name it gestures.toml"),
        (["train", "--epochs", "3"], "say what to train: a preset, a project, or --data"),
        (["new", "--data", "mine.npz", "--board", "mine"], "there is no board 'mine'"),
        (["new", "--data", "mine.npz", "--hidden", "4000"], "which fits ulx3s-85f"),
        (
            ["train", "digits", "--hidden", "8"],
            "digits has its own size; --hidden and --board are for",
        ),
    ],
)
def test_what_cannot_be_proposed_is_said(fdht, mine, arguments, words):
    outcome = fdht(*arguments)
    assert outcome.code == 1 and words in outcome.sentence
    assert {path.name for path in mine.iterdir()} == {"mine.npz"}


def test_what_is_proposed_is_explored(fdht, mine):
    """Also where the search space does not hold the proposal: Optuna's warning is nothing to the user."""
    options = ("--board", "icebreaker", "--own-engine", "--trials", 1, "--epochs", 1)
    outcome = fdht("explore", "--data", "mine.npz", *options, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.figures["preset"] == "mine" and outcome.figures["trained"] == 1
    assert outcome.figures["data"]["name"] == "mine.npz"
    refused = fdht("explore", *options)
    assert refused.code == 1 and "what is to be explored? name a preset, a project, or data" in refused.sentence


@pytest.mark.parametrize(
    ("was", "now"),
    [('task = "classify"', 'task = "regress"'), ("outputs = 3", "outputs = 5"), ("inputs = 2", "inputs = 1")],
)
def test_a_project_that_does_not_fit_its_data(fdht, tmp_path, was, now):
    x = np.random.default_rng(0).normal(size=(30, 5, 2))
    np.savez(tmp_path / "mine.npz", x=x, y=np.arange(30) % 3)
    assert fdht("new", "--data", "mine.npz", "--hidden", 8, "--rank", 2).code == 0
    text = (tmp_path / "mine.toml").read_text()
    assert was in text
    (tmp_path / "mine.toml").write_text(text.replace(was, now))
    refused = fdht("train", "mine.toml")
    assert refused.code == 1 and "set task, inputs and outputs to these" in refused.err
    assert not list((tmp_path / "build").glob("*.checkpoint"))


def test_a_rank_of_none_and_a_table_of_none(fdht, tmp_path):
    (tmp_path / "mine.csv").write_text("sequence,a,label\n")
    refused = fdht("data", "mine.csv")
    assert refused.code == 1 and "has no rows that train" in refused.err
    np.savez(tmp_path / "mine.npz", x=np.random.default_rng(0).normal(size=(30, 5, 2)), y=np.arange(30) % 3)
    refused = fdht("train", "--data", "mine.npz", "--rank", 0)
    assert refused.code == 1 and "rank 0; ranks start at 1" in refused.err
