"""`fdht data`, and training on a folder of clips: what a user sees, and what goes wrong."""

import numpy as np
import pytest
from PIL import Image

from fdht.model.data import DATA_SETS, FOLDERS, Source, load
from fdht.model.presets import PRESETS, find_preset, fitted
from fdht.spec.errors import SpecError
from fdht.workflow import datasets
from fdht.workflow.datasets import contact_sheet
from tests.model.videos import write_garbage, write_video


@pytest.fixture
def clips(tmp_path):
    """A folder of 3 clips in each of 2 classes, and one file that is no video."""
    folder = tmp_path / "clips"
    for number in range(3):
        write_video(folder / "dark" / f"{number}.avi")
        write_video(folder / "light" / f"{number}.avi", shade=100)
    write_garbage(folder / "light" / "noise.avi")
    return folder


def test_all_data_sets_are_listed(fdht):
    names = [row["name"] for row in fdht("data", "--json").figures]
    assert names == [*DATA_SETS, *FOLDERS]
    people = fdht("data")
    assert all(name in people.out for name in names)


def test_a_data_set_is_described_and_shown(fdht, tmp_path):
    figures = fdht("data", "digits", "--json").figures
    assert figures["clips"] == {"train": 1077, "validation": 360, "final": 1437, "test": 360}
    assert figures["protocol"].startswith("scikit-learn's 1,797 handwritten digits")
    with Image.open(tmp_path / figures["sheet"]) as sheet:
        assert sheet.format == "PNG"
    people = fdht("data", "digits", "--out", "elsewhere/digits.png")
    assert "A fixed shuffle: 1,077 train" in people.out and "final clips (all but the test's)" in people.out
    assert (tmp_path / "elsewhere" / "digits.png").is_file()


@pytest.mark.parametrize("name", ["digits", "faces"])
def test_a_contact_sheet_shows_the_clips(name):
    """Every picture of the sheet's last row is that of a test clip of the last class."""
    data = load(name)
    sheet = np.asarray(contact_sheet(data))
    a_clip_is_a_picture = name == "digits"
    clips = np.flatnonzero(data.test.labels == data.classes - 1)[: datasets.SHOWN_CLIPS if a_clip_is_a_picture else 1]
    pictures = data.test.frames[data.test.order[clips]].reshape(-1, *data.image_shape)
    size = (72, 72) if a_clip_is_a_picture else (96, 72)
    way = Image.Resampling.NEAREST if a_clip_is_a_picture else Image.Resampling.BILINEAR
    pitch = size[0] + datasets.GAP
    top = len(sheet) - size[1] - datasets.GAP
    for column, picture in enumerate(pictures):
        left = datasets.MARGIN + column * pitch
        shown = sheet[top : top + size[1], left : left + size[0]]
        expected = np.asarray(Image.fromarray(picture).resize(size, way))
        assert np.array_equal(shown, np.repeat(expected[..., None], 3, axis=2))


def test_a_folder_of_clips(fdht, clips):
    figures = fdht("data", "--data-folder", clips, "--frames", 4, "--json").figures
    assert (figures["name"], figures["classes"], figures["steps"]) == ("folder", ["dark", "light"], 4)
    assert figures["clips"] == {"train": 2, "validation": 2, "final": 4, "test": 2}
    (reason,) = figures["skipped"]
    assert "noise.avi cannot be decoded" in reason
    assert "1; the first:" in fdht("data", "--data-folder", clips).out


def test_training_on_a_folder_of_clips_and_compiling(fdht, clips, tmp_path, monkeypatch):
    """The checkpoint knows its data: compiling needs no folder, from wherever it is called."""
    outcome = fdht("train", "ucf11", "--data-folder", "clips", "--epochs", 1, "--out", "a.checkpoint", "--json")
    assert outcome.code == 0, outcome.err
    figures = outcome.figures
    assert figures["data"] == "folder" and len(figures["skipped"]) == 1
    assert figures["parameters"]["head"] == 2 * (find_preset("ucf11").spec.hidden + 1)
    checkpoint = fdht("info", "a.checkpoint", "--json").figures
    assert checkpoint["data"] == f"folder in {clips} (6 frames, split by group, fold 0)"
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    compiled = fdht("compile", "../a.checkpoint", "--json")
    assert compiled.code == 0, compiled.err
    monkeypatch.chdir(tmp_path)
    resumed = fdht(
        "train", "ucf11", "--data-folder", clips, "--fold", 1, "--epochs", 1, "-o", "a.checkpoint", "--resume"
    )
    assert resumed.code == 1 and "was trained on folder in" in resumed.sentence


def test_clips_that_came_or_went_are_noticed(fdht, clips):
    """They let others change sides: what was trained on would be tested on."""
    options = ("train", "ucf11", "--data-folder", "clips", "--epochs", 1)
    assert fdht(*options, "-o", "a.checkpoint").code == 0
    write_video(clips / "dark" / "9.avi")
    for command in (
        (*options, "-o", "a.checkpoint", "--resume"),
        (*options, "-o", "b.checkpoint", "--from", "a.checkpoint"),
        ("compile", "a.checkpoint"),
    ):
        outcome = fdht(*command)
        assert outcome.code == 1 and "are not those that ucf11 was trained on" in outcome.sentence
    (clips / "dark" / "9.avi").unlink()
    assert fdht("compile", "a.checkpoint").code == 0


@pytest.mark.parametrize("preset", ["spoken-digits", "faces-hard"])
def test_presets_have_the_size_of_their_data(preset):
    data, spec = load(find_preset(preset).data), find_preset(preset).spec
    assert (spec.inputs, spec.classes) == (data.inputs, data.classes)


def test_data_of_another_size(fdht):
    with pytest.raises(
        SpecError, match=r"a step of digits has 8 values, the model of preset faces takes 19,200; presets"
    ):
        fitted(find_preset("faces"), load("digits"))
    outcome = fdht("train", "faces", "--data", "digits")
    assert outcome.code == 1 and "presets of that size: digits" in outcome.sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("data", "nothing"), "there is no data set 'nothing'; known: digits"),
        (("data", "ucf11"), "ucf11 is read from a folder; say which with --data-folder"),
        (("data", "ucf11", "--data-folder", "nowhere"), "there is no folder"),
        (("data", "hmdb51", "--data-folder", "."), "does not look like hmdb51"),
        (("data", "--frames", 8), "--frames, --split and --fold are about clips in a folder; add --data-folder"),
        (("data", "digits", "--fold", 1), "digits has clips and splits of its own"),
        (("train", "ucf11", "--data", "ucf11"), "ucf11 is read from a folder"),
        (("train", "faces", "--split", "clip"), "add --data-folder"),
    ],
)
def test_one_sentence_and_nothing_left(fdht, tmp_path, arguments, sentence):
    outcome = fdht(*arguments)
    assert outcome.code == 1 and sentence in outcome.sentence
    assert not list(tmp_path.iterdir())


def test_options_that_name_no_data():
    assert datasets.source(None, None, 6, "group", 0) is None
    assert datasets.source("faces", None, 6, "group", 0) == Source("faces")
    assert datasets.source(None, "/clips", 3, "clip", 2) == Source("folder", "/clips", 3, "clip", 2)
    assert PRESETS["ucf11"].data in DATA_SETS
