"""The rules about clips: order of words, class of logits, which of many."""

from types import SimpleNamespace
from typing import cast

import numpy as np

from fdht.compiler.image import Image
from fdht.host.device import Result
from fdht.spec.clips import classes_of, in_sending_order, spread_over
from fdht.spec.protocol import Status
from fdht.spec.task import Task


def test_the_class_is_the_first_of_the_largest_logits():
    assert classes_of(np.array([[1, 7, 7], [3, 3, 3], [-9, -8, -7]])).tolist() == [1, 0, 2]
    assert int(classes_of(np.array([-4, -2, -2]))) == 1


def test_without_a_head_the_class_is_minus_one():
    assert classes_of(np.zeros((2, 0), dtype=np.int64)).tolist() == [-1, -1]
    assert int(classes_of(np.zeros(0, dtype=np.int64))) == -1


def test_a_device_names_the_first_of_equal_logits():
    none, rest = np.zeros(0, dtype=np.int64), {"every_h": None, "status": Status.parse(bytes(Status.SIZE))}
    image = cast(Image, SimpleNamespace(task=Task.CLASSIFY))
    assert Result(np.array([2, 5, 5]), image, none, none, **rest).predicted == 1
    assert Result(none, image, none, none, **rest).predicted == -1


def test_words_are_sent_in_the_order_that_names_their_positions():
    clip = np.array([[10, 11, 12], [20, 21, 22]])
    assert in_sending_order(clip, np.array([2, 0, 1])).tolist() == [[12, 10, 11], [22, 20, 21]]
    assert in_sending_order(clip[0], np.array([2, 0, 1])).tolist() == [12, 10, 11]
    assert in_sending_order(clip, None) is clip


def test_clips_are_spread_from_the_first_to_the_last():
    assert spread_over(9, 3).tolist() == [0, 4, 8]
    assert spread_over(2, 4).tolist() == [0, 0, 0, 1]
