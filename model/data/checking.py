"""Whether what gives data gave a data set, and help for a function of one's own."""

import inspect
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from fdht.model.data.arrays import as_array, from_arrays, from_dataset
from fdht.model.data.sets import DataSet, Split
from fdht.spec.errors import SpecError
from fdht.spec.task import Task

_FOR = {"test": "test", "train": "train", "validation": "validate", "final": "train finally"}
"""The splits, and what their clips are there to do; the test's sizes are those that the others are held against."""


def checked(name: str, data: Any) -> DataSet:
    """What a user's function gives, or fdht's own, as a data set that all else can rely on.

    Arrays may be of any kind that numpy reads, and of any byte order; names may be anything that can be written.

    Raises:
        SpecError: it is no data set, or one that contradicts itself.
    """
    data = _data_set(name, data)
    for what in _FOR:
        if not len(getattr(data, what)):
            raise SpecError(f"{name} has no clips to {_FOR[what]}; its split {what} must have at least one")
        if fault := _fault(data, getattr(data, what)):
            raise SpecError(f"the split {what} of {name} {fault}")
    if data.scaling is not None:
        data.scaling.check(data.inputs, data.input_format)
    return data


def _data_set(name: str, data: Any) -> DataSet:
    """A data set of what a function returned: one with arrays of any kind in it, arrays, or a torch Dataset."""
    arrays = "x and y as from_arrays takes them, or a torch Dataset"
    short = name.rpartition(":")[2]
    if isinstance(data, dict):
        strange = sorted(map(str, set(data) - set(inspect.signature(from_arrays).parameters)))
        if strange or not {"x", "y"} <= data.keys():
            raise SpecError(f"{name} gives {strange[0] if strange else 'no x or no y'}; return a DataSet, or {arrays}")
        return from_arrays(**{"name": short, **data})
    if isinstance(data, tuple) and len(data) == 2:
        return from_arrays(*data, name=short)
    if not isinstance(data, DataSet) and hasattr(data, "__getitem__") and not isinstance(data, str | list | tuple):
        return from_dataset(data, name=short)
    if not isinstance(data, DataSet):
        raise SpecError(
            f"{name} gives a {type(data).__name__}; a function for a data set returns a DataSet, or {arrays}"
        )
    done = dict[int, np.ndarray]()

    def plain(what: str, array: Any) -> np.ndarray:
        """Arrays that splits share stay one."""
        if id(array) not in done:
            try:
                done[id(array)] = as_array(array)
            except (ValueError, TypeError, RuntimeError) as error:
                why = str(error).splitlines()[0]
                raise SpecError(f"the {what} of {name} are no array ({why}); make them F × N, B × T and B") from None
        found = done[id(array)]
        if found.ndim == 0:
            raise SpecError(f"the {what} of {name} are a single {found.dtype}; make them F × N, B × T and B")
        if found.dtype.kind in "iu" and (what != "frames" or (found.dtype.kind == "u" and found.dtype.itemsize > 1)):
            found = done[id(array)] = found.astype(np.int64)  # what torch reckons and indexes with
        return found

    parts = dict[str, Split]()
    for what in _FOR:
        split = getattr(data, what)
        if not isinstance(split, Split):
            raise SpecError(f"the split {what} of {name} is a {type(split).__name__}; make it a Split")
        parts[what] = Split(
            plain("frames", split.frames),
            plain("order", split.order),
            plain("labels", split.labels),
            None if split.lengths is None else plain("lengths", split.lengths),
        )
    names = tuple(str(each) for each in data.class_names)
    return replace(data, **parts, class_names=names, task=Task(data.task))


def _fault(data: DataSet, split: Split) -> str | None:
    """What is wrong with a split of one's own, in words that follow its name."""
    frames, order, labels, raw = split.frames, split.order, split.labels, data.input_format.raw
    if frames.ndim != 2 or order.ndim != 2 or labels.shape[:1] != order.shape[:1]:
        return f"has frames {frames.shape}, order {order.shape} and labels {labels.shape}; make them F × N, B × T and B"
    if frames.shape[1] != data.inputs or order.shape[1] != data.steps:
        return f"has other steps than the test's, which are {data.steps} of {data.inputs} words"
    if 0 in frames.shape or 0 in order.shape:
        return f"has frames {frames.shape} and order {order.shape}, which hold nothing"
    of_labels = "f" if data.task.real else "iu"
    if any(array.dtype.kind not in kinds for array, kinds in ((frames, "iu"), (order, "iu"), (labels, of_labels))):
        real = "; real values are for from_arrays, which scales them" if frames.dtype.kind == "f" else ""
        kinds = "frames and order" if data.task.real else "all"
        return (
            f"has frames of {frames.dtype}, order of {order.dtype}, labels of {labels.dtype}; {kinds} are whole numbers"
            f"{real}"
        )
    if frames.min() < raw.min or frames.max() > raw.max:
        return f"has words from {frames.min()} to {frames.max()}; its format has {raw.min} to {raw.max}"
    if order.min() < 0 or order.max() >= len(frames):
        return f"asks for frames {order.min()} to {order.max()} of 0 to {len(frames) - 1}"
    shape = (len(order), *[data.steps] * data.task.every_step, *[data.classes] * data.task.real)
    if labels.shape != shape:
        return f"has labels {labels.shape}; to {data.task} they are {shape}"
    lengths = split.lengths
    if lengths is not None:
        if lengths.shape != labels.shape[:1] or lengths.dtype.kind not in "iu":
            return f"has lengths of {lengths.dtype} {lengths.shape}; a whole number is needed for each clip"
        if lengths.min() < 1 or lengths.max() > data.steps:
            return f"has lengths from {lengths.min()} to {lengths.max()}; clips have 1 to {data.steps} steps"
    own = labels[_own(split)] if data.task.every_step else labels
    if data.task.real and np.isinf(own).any():
        return "has targets that are infinite; make those that nobody knows NaN, or leave their clips out"
    if not data.task.real and (own.min() < -int(data.task.every_step) or own.max() >= data.classes):
        return f"has labels from {own.min()} to {own.max()}; {data.classes} classes are 0 to {data.classes - 1}"
    if prod(data.image_shape) not in (data.inputs, data.inputs * data.steps):
        return f"has pictures of {data.image_shape}, which are neither a step of {data.inputs} words nor a clip"
    return None


def _own(split: Split) -> np.ndarray:
    """Which steps are a clip's own, B × T."""
    steps = split.order.shape[1]
    return np.arange(steps) < (np.full(len(split), steps) if split.lengths is None else split.lengths)[:, None]
