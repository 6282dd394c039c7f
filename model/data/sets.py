"""What a data set is: clips of raw words, their classes, and which of them train, validate and test."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fdht.spec.clips import spread_over
from fdht.spec.formats import InputFormat
from fdht.spec.scaling import Scaling
from fdht.spec.task import Task

FRAME_WIDTH, FRAME_HEIGHT = 160, 120
"""Frames are landscape like the published video sets: 160 pixels wide, 120 high, rows one after the other."""

FRAME_SHAPE = (FRAME_HEIGHT, FRAME_WIDTH, 3)
"""A frame of the published video sets: 57,600 values, channel fastest."""


@dataclass(frozen=True, eq=False)
class Split:
    """Clips as rows of frame numbers, so that clips may share frames.

    Attributes:
        frames: raw words, F × N.
        order: frame numbers of each clip, B × T; where a clip has fewer steps, its last one is repeated.
        labels: what is true of each clip, as the task says (see fdht.spec.task.Truth): its class, B integers, unless
            the task is another.
        lengths: steps of each clip, B of 1 to T; None where all have T.
    """

    frames: np.ndarray
    order: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.order)

    @property
    def clips(self) -> np.ndarray:
        """Raw words of all clips, B × T × N (a copy; large for a training split of many orders)."""
        return self.frames[self.order]

    def spread(self, count: int) -> np.ndarray:
        """Raw words of `count` clips from the first to the last, B × T × N; some more than once if there are fewer."""
        return self.frames[self.order[spread_over(len(self), count)]]


@dataclass(frozen=True, eq=False)
class DataSet:
    """Clips, what is to be said of them, and which of them train, validate and test.

    Attributes:
        name: how users call it.
        input_format: how raw words become numbers.
        class_names: what the classes are called, in the order of the labels; none where targets are real numbers.
        train, validation: for choosing hyperparameters: train on the one, compare on the other.
        final: for the final training: train and validation, of faces-hard train alone.
        test: opened once.
        image_shape: height × width of a picture, × channels if there are any: a frame, or a whole clip if its steps
            are the rows of one.
        skipped: files that could not be used, each with the reason.
        clip_names: what the clips of a folder are called, in the order of their frames; none for data that stay as
            they are.
        task: what is asked of a clip.
        scaling: how real values became raw words, fitted on `train`; None where raw words came.
        saturated: share of the values of `validation` that the scaling saturates; None without one.
        content: hash of what the clips show, where that may change unnoticed: data in a file.
        value_names: what the values of a step are called; none where nobody said.
        rising: numbers of the values that rise from step to step in every sequence, as a time does.
    """

    name: str
    input_format: InputFormat
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    final: Split
    test: Split
    image_shape: tuple[int, ...]
    skipped: tuple[str, ...] = ()
    clip_names: tuple[str, ...] = ()
    task: Task = Task.CLASSIFY
    scaling: Scaling | None = None
    saturated: float | None = None
    content: str = ""
    value_names: tuple[str, ...] = ()
    rising: tuple[int, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of names, classes and splits: a checkpoint notes it, so that no clip changes sides unnoticed."""
        digest = hashlib.sha256(json.dumps([self.class_names, self.clip_names]).encode())
        digest.update(self.content.encode())
        for split in (self.train, self.validation, self.final, self.test):
            for numbers in (split.order, split.labels, split.lengths):
                if numbers is not None:
                    kept = "<f8" if numbers.dtype.kind == "f" else "<i8"
                    digest.update(f"{numbers.shape}".encode() + numbers.astype(kept).tobytes())
        return digest.hexdigest()

    @property
    def classes(self) -> int:
        """What a head has for them: a class each, or a number each where targets are real numbers."""
        return self.test.labels.shape[-1] if self.task.real else len(self.class_names)

    @property
    def inputs(self) -> int:
        """N, raw words per step."""
        return self.test.frames.shape[1]

    @property
    def steps(self) -> int:
        """T, steps per clip."""
        return self.test.order.shape[1]
