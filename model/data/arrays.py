"""Data sets made of arrays: sequences of real values, with labels or targets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from fdht.model.data.room import check_room
from fdht.model.data.sets import DataSet, Split
from fdht.model.data.splitting import deal
from fdht.spec.bundle import MOST_STEPS
from fdht.spec.errors import SpecError, no_such
from fdht.spec.formats import PIXELS
from fdht.spec.lstm import LONGEST_VECTOR
from fdht.spec.named import called
from fdht.spec.scaling import BITS, Scaling, blocks
from fdht.spec.task import Task

MOST_LABELS = 1000
"""Most different integers that are taken for labels where nobody has said what they are."""

PARTS = ("validation", "test")
"""What may be given beside what trains, as `x_test` and `y_test`."""


def from_arrays(
    x: Any,
    y: Any,
    *,
    lengths: Any = None,
    groups: Any = None,
    x_validation: Any = None,
    y_validation: Any = None,
    lengths_validation: Any = None,
    x_test: Any = None,
    y_test: Any = None,
    lengths_test: Any = None,
    class_names: Sequence[str] | None = None,
    value_names: Sequence[str] | None = None,
    task: str | None = None,
    bits: int = BITS[0],
    fold: int = 0,
    name: str = "arrays",
    content: str = "",
) -> DataSet:
    """The data set of sequences and of what is true of them.

    All may be numpy arrays, torch tensors or lists, of any real type and byte order.

    Args:
        x: samples × steps × values of a step; samples × steps where a step is one value; samples × steps × height ×
            width (× channels) where it is a picture. A list of arrays steps × values where sequences differ in length,
            or all of them one after the other, with `lengths`.
        y: what is true of each sample. Labels are integers or words: samples, or samples × steps for a label after
            each step. Targets are real numbers: samples, samples × K, or samples × steps × K. Integers are labels where
            they repeat (no more than half as many as samples, and no more than `MOST_LABELS`), else targets.
        lengths: steps of each sample that are its own, where x is padded.
        groups: one of each sample: those of one group (a person, a recording) are on one side of the split.
        x_validation, x_test: samples that do not train, with y and lengths of their own. What is missing is dealt from
            x, see fdht.model.data.splitting.deal.
        class_names: what labels 0, 1, ... are called; the labels themselves when left out.
        value_names: what the values of a step are called.
        task: see fdht.spec.task.Task; what y looks like when left out.
        bits: of the raw words that values are scaled to, see fdht.spec.scaling.Scaling. Bytes (uint8) that use more
            than the lower half of their range are raw words as they are.
        fold: of the splits that are dealt, 0 to 4.
        name: of the data set, also in errors.
        content: hash of all this, see `DataSet`.

    Raises:
        SpecError: what no model can be trained on.
    """
    given = {"": (x, y, lengths), "_validation": (x_validation, y_validation, lengths_validation)}
    given["_test"] = (x_test, y_test, lengths_test)
    parts, truths = dict[str, _Sequences](), dict[str, np.ndarray]()
    for ending, (values, truth, own) in given.items():
        if values is None and truth is None and own is None and ending:
            continue
        for what, array in (("x", values), ("y", truth)):
            if array is None:
                raise SpecError(f"{name} has no {what}{ending}; samples (x) and what is true of them (y) go in pairs")
        parts[ending] = _sequences(values, own, f"x{ending} of {name}")
        truths[ending] = _truth(truth, parts[ending], f"y{ending} of {name}")
    main, kind = parts[""], _task(truths[""], parts[""], task, class_names is not None, f"y of {name}")
    for ending, part in parts.items():
        if part.values.shape[2] != main.values.shape[2]:
            raise SpecError(
                f"a step has {part.values.shape[2]:,} values in x{ending} of {name} and {main.values.shape[2]:,} in x; "
                "all samples have the same"
            )
        _check_finite(part, f"x{ending} of {name}")
    if kind.real:
        names, targets = (), {e: _targets(truths[e], parts[e], kind, f"y{e} of {name}") for e in parts}
        if len({truth.shape[-1] for truth in targets.values()}) > 1:
            raise SpecError(f"the y of {name} have {[t.shape[-1] for t in targets.values()]} targets; all have as many")
        if np.nanmin(targets[""]) == np.nanmax(targets[""]):
            raise SpecError(f"y of {name} is always {np.nanmin(targets['']):g}; there is nothing to learn")
    else:
        names, targets = _labels(truths, parts, kind, class_names, name)
    strata = targets[""] if kind is Task.CLASSIFY else np.zeros(len(main), dtype=int)
    if groups is not None:
        groups = _plain(groups, f"groups of {name}")
        if groups.shape != (len(main),) or groups.dtype.kind not in "biufSU":
            raise SpecError(
                f"groups of {name} are {groups.dtype} {groups.shape}; there is a number or a word for each of "
                f"{len(main)} samples"
            )
    wanted = [part for part in ("test", "validation") if f"_{part}" not in parts]
    guessed = task is None and class_names is None and truths[""].dtype.kind in "iu"
    hint = "; if y are measurements and no classes, say task='regress' beside x and y" if guessed else ""
    if fold and not wanted:
        raise SpecError(f"{name} has samples of its own for test and validation; a fold of {fold} changes nothing")
    dealt = np.full(len(main), "train") if not wanted else deal(strata, groups, wanted, fold, names, hint)
    called = () if value_names is None else tuple(map(str, _plain(value_names, f"value_names of {name}").ravel()))
    if value_names is not None and len(called) != main.values.shape[2]:
        raise SpecError(f"{name} has {len(called)} value_names for {main.values.shape[2]:,} values of a step")
    made = _made(parts, targets, dealt, names, kind, bits, name, content)
    return replace(made, value_names=called, rising=_rising(main))


@dataclass(frozen=True, eq=False)
class Samples:
    """Sequences for a module of the user's own, which says itself what it takes.

    Attributes:
        x: samples × steps × whatever a step was; what lies behind a sequence's own steps means nothing.
        lengths: own steps of each, where they differ.
        y: what is true of each, if that is known.
        task: what y looks like.
    """

    x: np.ndarray
    lengths: np.ndarray | None
    y: np.ndarray | None
    task: Task | None


def samples(
    x: Any,
    y: Any = None,
    *,
    lengths: Any = None,
    class_names: Sequence[str] | None = None,
    task: str | None = None,
    name: str = "arrays",
) -> Samples:
    """Checks sequences, and what is true of them if that is given, as `from_arrays` does; values stay as they are.

    Raises:
        SpecError: what `from_arrays` refuses of such arrays.
    """
    part = _sequences(x, lengths, f"x of {name}")
    _check_finite(part, f"x of {name}")
    truth = None if y is None else _truth(y, part, f"y of {name}")
    kind = None if truth is None else _task(truth, part, task, class_names is not None, f"y of {name}")
    if truth is not None and kind is not None and kind.real:
        truth = _targets(truth, part, kind, f"y of {name}")
    if (part.lengths == part.steps).all():
        values = _plain(x, f"x of {name}")
        return Samples(values if values.ndim > 2 else part.values, None, truth, kind)
    values = part.values.reshape(*part.values.shape[:2], *(part.picture or (-1,)))
    return Samples(values, part.lengths, truth, kind)


def class_numbers(
    labels: Any, classes: int, names: tuple[str, ...], each_step: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as numbers of classes, -1 for what is not known, and the classes' names, where they have some.

    Args:
        labels: numbers from 0, or -1; or words, or as many other whole numbers as there are classes, in the order of
            `names` or their own.
        classes: that there are. names: of these, if they have some.
        each_step: whether a sequence has a label for each step.

    Raises:
        SpecError: something else.
    """
    found = _plain(labels, "labels")
    if found.dtype.kind == "O" and all(isinstance(value, str) for value in found.flat):
        found = found.astype(str)
    if found.dtype.kind not in "biufSU":
        raise SpecError(f"labels hold {found.dtype}; they are whole numbers or words")
    if found.dtype.kind == "S":
        found = np.char.decode(found, "utf-8", "replace")
    if found.dtype.kind == "f":
        wrong = found[~(found == np.floor(found)) | np.isinf(found)]
        if wrong.size:
            raise SpecError(f"labels hold {wrong[0]}, which is none; they are whole numbers or words")
    if found.dtype.kind != "U":
        found = found.astype(np.int64)
        used = np.unique(found)
        both_signs = not each_step and classes == 2 and used.tolist() == [-1, 1]
        if used.size == 0 or (used[0] >= -1 and used[-1] < classes and not both_signs):
            return found, names
        known = used
    else:
        known = np.array([*names]) if len(names) else np.array(sorted(np.unique(found).tolist(), key=_by_number))
    strange = np.setdiff1d(found, known)
    if len(known) != classes or len(strange):
        shown = ", ".join(map(str, (strange if len(strange) else known)[:8].tolist()))
        raise SpecError(f"labels are {shown}; of {classes} classes they are 0 to {classes - 1}, or {classes} words")
    by_value = np.argsort(known)
    numbers = by_value[np.searchsorted(known, found, sorter=by_value)]
    return numbers, names or tuple(str(each) for each in known.tolist())


def from_dataset(train: Any, test: Any = None, validation: Any = None, **options: Any) -> DataSet:
    """The data set of torch Datasets, or of anything with a length and pairs (x, y) in it.

    Args:
        train: pairs of a sequence (steps × values) and its label or target.
        test, validation: the same; dealt from `train` when left out.
        options: others of `from_arrays`.

    Raises:
        SpecError: no pairs in it, or what `from_arrays` refuses.
    """
    given = dict[str, Any]()
    for ending, pairs in (("", train), ("_test", test), ("_validation", validation)):
        if pairs is not None:
            given |= dict(zip((f"x{ending}", f"y{ending}"), _pairs(pairs, options.get("name", "arrays")), strict=True))
    return from_arrays(**given, **options)


def _pairs(dataset: Any, name: str) -> tuple[list[Any], list[Any]]:
    kind = type(dataset).__name__
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise SpecError(f"{name} gives a {kind}, which has no length; pass a Dataset of pairs (x, y), or x and y")
    xs, ys = list[Any](), list[Any]()
    for number in range(len(dataset)):
        pair = called(dataset.__getitem__, f"sample {number} of {name}", number)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise SpecError(f"sample {number} of {name} is no pair (x, y); a {kind} must hold pairs")
        one, truth = pair
        xs.append(_plain(one, f"sample {number} of {name}"))
        ys.append(_plain(truth, f"the y of sample {number} of {name}"))
        if number == 0:
            check_room(f"x of {name}, if all are like its first sample,", xs[0].nbytes * len(dataset))
    return xs, ys


@dataclass(frozen=True, eq=False)
class _Sequences:
    """Sequences side by side.

    Attributes:
        values: samples × steps × values; what lies behind a sequence's own steps means nothing.
        lengths: own steps of each.
        picture: shape of a step, if that is a picture.
        together: they came one after the other, without padding.
    """

    values: np.ndarray
    lengths: np.ndarray
    picture: tuple[int, ...] | None = None
    together: bool = False

    def __len__(self) -> int:
        return len(self.values)

    @property
    def steps(self) -> int:
        return self.values.shape[1]

    @property
    def own(self) -> np.ndarray:
        """Which steps are a sequence's own, samples × steps."""
        return np.arange(self.steps) < self.lengths[:, None]


def as_array(array: Any) -> np.ndarray:
    """A numpy array of a torch tensor, a list or an array, in this machine's byte order.

    Raises:
        ValueError, TypeError: what has no such form.
    """
    if isinstance(array, list | tuple) and any(hasattr(item, "__array__") for item in array):
        array = [as_array(item) for item in array]
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        array = (array.float() if str(array.dtype) == "torch.bfloat16" else array).numpy()
    found = np.asarray(array)
    return found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))


def _plain(array: Any, what: str) -> np.ndarray:
    if np.ma.is_masked(array):
        raise SpecError(f"{what} has masked values; fill them in (x.filled(0)) or leave such samples out")
    try:
        return as_array(array)
    except (ValueError, TypeError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        raise SpecError(f"{what} is no array ({why}); pass a numpy array, a tensor or a list of numbers") from None


def is_ragged(array: Any) -> bool:
    """Whether something is a list of arrays that differ in length."""
    if isinstance(array, np.ndarray):
        return array.dtype.kind == "O" and array.ndim == 1 and all(np.ndim(item) > 0 for item in array)
    if not isinstance(array, list | tuple):
        return False
    lengths = {len(item) if np.ndim(item) > 0 else None for item in array}
    return len(lengths) > 1 and None not in lengths


def padded(items: Sequence[Any], what: str) -> tuple[np.ndarray, np.ndarray]:
    """Arrays of different lengths side by side, and their lengths."""
    arrays = [_plain(item, f"sample {number} of {what}") for number, item in enumerate(items)]
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1 or any(array.ndim == 0 for array in arrays):
        raise SpecError(f"the samples of {what} have steps of {sorted(map(str, shapes))} values; all have the same")
    lengths = np.array([len(array) for array in arrays])
    shape, kind = (len(arrays), int(lengths.max()), *shapes.pop()), np.result_type(*{array.dtype for array in arrays})
    check_room(what, prod(shape) * kind.itemsize)
    side_by_side = np.zeros(shape, dtype=kind)
    for number, array in enumerate(arrays):
        side_by_side[number, : len(array)] = array
    return side_by_side, lengths


def _sequences(x: Any, lengths: Any, what: str) -> _Sequences:
    together = False
    if is_ragged(x):
        if lengths is not None:
            raise SpecError(f"{what} is a list of sequences that have lengths of their own; leave out lengths")
        values, own = padded(list(x), what)
    else:
        values, own = _plain(x, what), None
    if values.dtype.kind in "US" or (values.dtype.kind == "O" and any(isinstance(v, str) for v in values.flat)):
        first = values.flat[0] if values.size else ""
        raise SpecError(f"{what} holds text ({str(first)[:40]!r}), not numbers; convert it first: x.astype(float)")
    if values.dtype.kind not in "biuf":
        raise SpecError(f"{what} holds {values.dtype}, not real numbers; pass samples × steps × values of these")
    if lengths is not None:
        own = _plain(lengths, f"lengths for {what}")
        if own.dtype.kind not in "iu" or own.ndim != 1:
            raise SpecError(f"lengths for {what} are {own.dtype} {own.shape}; pass one whole number per sample")
        own = own.astype(np.int64)
        together = values.ndim == 2 and own.size > 0 and own.min() > 0 and own.sum() == len(values) != len(own)
        if together:
            values, own = padded(np.split(values, np.cumsum(own)[:-1]), what)
    if values.ndim == 2:
        values = values[:, :, None]
    if not 3 <= values.ndim <= 5:
        raise SpecError(f"{what} has shape {values.shape}; make it samples × steps × values")
    for size, word in zip(values.shape, ("samples", "steps", "values in a step"), strict=False):
        if size == 0:
            raise SpecError(f"{what} has shape {values.shape}: no {word}; there must be at least one")
    if values.shape[1] > MOST_STEPS:
        raise SpecError(f"{what} has {values.shape[1]:,} steps; an engine counts {MOST_STEPS:,}: cut or thin them")
    if prod(values.shape[2:]) > LONGEST_VECTOR:
        raise SpecError(f"a step of {what} has {prod(values.shape[2:]):,} values; at most {LONGEST_VECTOR:,} are taken")
    picture = values.shape[2:] if values.ndim > 3 else None
    own = np.full(len(values), values.shape[1]) if own is None else own
    if own.shape != (len(values),) or own.min() < 1 or own.max() > values.shape[1]:
        found = f"{len(own)} from {own.min()} to {own.max()}" if len(own) else "none"
        raise SpecError(
            f"lengths for {what} are {found}; there are {len(values)} samples, of 1 to {values.shape[1]} steps"
        )
    return _Sequences(values.reshape(*values.shape[:2], -1), own, picture, together)


def _check_finite(part: _Sequences, what: str) -> None:
    """Refuses what is no number, except in padding."""
    if part.values.dtype.kind != "f":
        return
    rows, own = part.values.reshape(-1, part.values.shape[2]), part.own.reshape(-1)
    for some in blocks(rows):
        wrong = np.argwhere(~np.isfinite(rows[some]) & own[some, None])
        if len(wrong):
            row, value = wrong[0].tolist()
            sample, step = divmod(some.start + row, part.steps)
            behind = part.values[sample, step : part.lengths[sample]]
            padding = "; if that is padding, pass lengths" if np.isnan(behind).all() and step else ""
            raise SpecError(
                f"sample {sample} of {what} holds {rows[some][row, value]} at step {step}, value {value}; leave the "
                f"sample out, or fill the value in{padding}"
            )


def _truth(y: Any, part: _Sequences, what: str) -> np.ndarray:
    """What is true of samples, as an array whose first dimension are these; a ragged one is padded."""
    if is_ragged(y):
        values, lengths = padded(list(y), what)
        wrong = np.flatnonzero(lengths != part.lengths) if len(lengths) == len(part) else np.arange(1)
        if len(wrong):
            raise SpecError(f"{what} has other lengths than x, first in sample {wrong[0]}; each step has one")
        return values
    found = _plain(y, what)
    if found.dtype.kind == "O" and found.ndim == 1 and all(isinstance(value, str) for value in found):
        found = found.astype(str)
    if found.dtype.kind == "S":
        found = np.char.decode(found, "utf-8", "replace")
    if found.dtype.kind not in "biufU":
        raise SpecError(f"{what} holds {found.dtype}; labels are whole numbers or words, targets are real numbers")
    if part.together and found.ndim >= 1 and len(found) == part.lengths.sum() != len(part):
        return padded(np.split(found, np.cumsum(part.lengths)[:-1]), what)[0]
    if found.ndim == 0 or len(found) != len(part):
        raise SpecError(
            f"{what} has shape {found.shape} and x has {len(part)} samples; there is a label or a target for each"
        )
    if 0 in found.shape:
        raise SpecError(f"{what} has shape {found.shape}, which holds nothing; there is a label or a target for each")
    if found.ndim == 2 and found.shape[1] == 1 and found.dtype.kind != "f" and part.steps != 1:
        found = found[:, 0]
    if found.ndim == 3 and found.shape[1:] == (part.steps, 1) and found.dtype.kind != "f":
        found = found[:, :, 0]
    return found


def _task(y: np.ndarray, part: _Sequences, asked: str | None, named: bool, what: str) -> Task:
    """What is asked of the samples: as said, or as it looks."""
    if asked is not None and str(asked) not in [*Task]:
        raise no_such("task", str(asked), Task)
    each = y.ndim >= 2 and y.shape[1] == part.steps
    if asked is not None:
        found = Task(str(asked))
    elif y.dtype.kind == "f":
        if y.ndim > 1 and y.shape[-1] > 1 and np.isin(y, (0, 1)).all() and (y.sum(axis=-1) == 1).all():
            raise SpecError(
                f"{what} of shape {y.shape} is one-hot; for classes pass y.argmax(-1), for numbers task='regress'"
            )
        found = Task.REGRESS_STEPS if y.ndim == 3 else Task.REGRESS
    elif y.ndim == 1:
        distinct = len(np.unique(y)) if y.dtype.kind in "iu" and not named else 0
        found = Task.CLASSIFY if distinct <= min(MOST_LABELS, len(y) // 2) else Task.REGRESS
    else:
        found = Task.LABEL_STEPS if y.ndim == 2 else Task.REGRESS_STEPS
    wanted = {
        Task.CLASSIFY: (y.ndim == 1, "samples"),
        Task.LABEL_STEPS: (y.ndim == 2 and each, f"samples × {part.steps} steps"),
        Task.REGRESS: (y.ndim <= 2, "samples, or samples × targets"),
        Task.REGRESS_STEPS: (y.ndim in (2, 3) and each, f"samples × {part.steps} steps × targets"),
    }
    right, shape = wanted[found]
    if not right:
        hot = " (of one-hot labels take y.argmax(1))" if y.ndim == 2 and found is Task.LABEL_STEPS else ""
        raise SpecError(f"{what} has shape {y.shape}; to {found} it is {shape}{hot}")
    return found


def _targets(y: np.ndarray, part: _Sequences, task: Task, what: str) -> np.ndarray:
    """Targets, B × K or B × T × K, NaN where none is known and behind a sequence's own steps."""
    _check_like(y, part, task, what)
    wanted = 3 if task.every_step else 2
    targets = (y[..., None] if y.ndim < wanted else y).astype(np.float64)
    if task.every_step:
        targets[~part.own] = np.nan
    endless, known = np.isinf(targets).any((*range(1, wanted),)), np.isfinite(targets).any((*range(1, wanted),))
    if (endless | ~known).any():
        first = int((endless | ~known).argmax())
        holds = "an infinity" if endless[first] else "no number (NaN stands for what is not known)"
        raise SpecError(f"sample {first} of {what} holds {holds}; leave the sample out, or fill the target in")
    return targets


def _labels(
    truths: dict[str, np.ndarray], parts: dict[str, _Sequences], task: Task, names: Sequence[str] | None, name: str
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Names of the classes, and labels from 0; of steps -1 where none is known, and behind a sequence's own."""
    for ending, part in parts.items():
        _check_like(truths[ending], part, task, f"y{ending} of {name}")
    whole, known_steps = dict[str, np.ndarray](), dict[str, np.ndarray]()
    for ending, part in parts.items():
        truth = truths[ending]
        known_steps[ending] = (
            part.own if truth.dtype.kind == "U" else part.own & (truth != -1 if task.every_step else True)
        )
        own = truth[known_steps[ending]] if task.every_step else truth
        if own.dtype.kind == "f" and not (own == np.floor(own)).all():
            wrong = own[own != np.floor(own)][0]
            raise SpecError(f"y{ending} of {name} holds {wrong}, which is no label; labels are whole numbers")
        whole[ending] = own.astype(np.int64) if own.dtype.kind == "f" else own
    if len({of.dtype.kind == "U" for of in whole.values()}) > 1:
        raise SpecError(f"some labels of {name} are words and some are numbers; make all of one kind")
    used = np.unique(np.concatenate([np.unique(of) for of in whole.values()]))
    if names is None:
        known = np.array(sorted(used.tolist(), key=_by_number)) if used.dtype.kind == "U" else used
        names = tuple(str(each) for each in known.tolist())
    else:
        names = tuple(str(each) for each in _plain(names, f"class_names of {name}").ravel().tolist())
        if len({*names}) < len(names):
            raise SpecError(f"class_names of {name} are {', '.join(names)}; each class has a name of its own")
        known = np.array(names) if used.dtype.kind == "U" else np.arange(len(names))
        strange = np.setdiff1d(used, known)
        if len(strange):
            raise SpecError(
                f"{name} has a label {strange[0]}; with {len(names)} class_names it is one of these, or a whole number "
                f"from 0 to {len(names) - 1}"
            )
    if len(names) < 2:
        has = f"one class, {names[0]}" if names else "no label, and -1 stands for what is not known"
        raise SpecError(f"y of {name} has {has}; there must be two or more to tell apart")
    new = np.setdiff1d(used, whole[""])
    if len(new):
        raise SpecError(f"class {new[0]} of {name} is in no sample that trains; give some, or leave it out")
    found, by_value = dict[str, np.ndarray](), np.argsort(known)
    for ending, part in parts.items():
        numbers = by_value[np.searchsorted(known, whole[ending], sorter=by_value)]
        if task.every_step:
            found[ending] = np.full(part.own.shape, -1)
            found[ending][known_steps[ending]] = numbers
        else:
            found[ending] = numbers
    return names, found


def _by_number(word: str) -> tuple[float, str]:
    """Words that are numbers in their order, before all others."""
    try:
        return float(word), word
    except ValueError:
        return np.inf, word


def _check_like(y: np.ndarray, part: _Sequences, task: Task, what: str) -> None:
    """Whether what is true of a part suits the task, which follows from the first."""
    if y.ndim > 3 or (task.every_step and (y.ndim < 2 or y.shape[1] != part.steps)):
        raise SpecError(f"{what} has shape {y.shape}; to {task} it has {part.steps} steps for each sample, as x has")
    if task is Task.CLASSIFY and y.ndim != 1:
        raise SpecError(f"{what} has shape {y.shape}; to {task} it has one label for each sample")
    if task.real and y.dtype.kind == "U":
        raise SpecError(f"{what} holds words ({str(y.flat[0])[:40]!r}), which are no targets; pass numbers")


def _made(
    parts: dict[str, _Sequences],
    targets: dict[str, np.ndarray],
    dealt: np.ndarray,
    names: tuple[str, ...],
    task: Task,
    bits: int,
    name: str,
    content: str,
) -> DataSet:
    main, steps = parts[""], max(part.steps for part in parts.values())
    numbers = {part: np.flatnonzero(dealt == part) for part in ("train", *PARTS)}
    raw = all(part.values.dtype == np.uint8 for part in parts.values()) and int(main.values.max()) > PIXELS.offset
    scaling, saturated = None, None
    if raw:
        words = {ending: part.values.reshape(-1, part.values.shape[2]) for ending, part in parts.items()}
    else:
        scaling = _fitted(main, numbers["train"], bits, name)
        words = {ending: scaling.to_words(_filled(part)) for ending, part in parts.items()}
        checked = parts.get("_validation")
        rows = (
            main.values[numbers["validation"]][main.own[numbers["validation"]]]
            if checked is None
            else checked.values[checked.own]
        )
        saturated = scaling.saturated(rows) / rows.size

    some_are_short = not all((part.lengths == steps).all() for part in parts.values())

    def split(*wanted: str) -> Split:
        whole = [part for part in wanted if f"_{part}" in parts]
        own = np.sort(np.concatenate([numbers[part] for part in wanted if part not in whole] or [[]])).astype(int)
        pieces = [("", own)] * bool(len(own)) + [(f"_{p}", np.arange(len(parts[f"_{p}"]))) for p in whole]
        frames = words[pieces[0][0]] if len(pieces) == 1 else np.concatenate([words[ending] for ending, _ in pieces])
        order, first = list[np.ndarray](), 0
        for ending, chosen in pieces:
            part = parts[ending]
            inside = np.minimum(np.arange(steps), part.lengths[chosen][:, None] - 1)
            order.append(first + part.steps * chosen[:, None] + inside)
            first += len(words[ending])
        lengths = np.concatenate([parts[ending].lengths[chosen] for ending, chosen in pieces])
        truths = [_lengthened(targets[ending][chosen], task, steps) for ending, chosen in pieces]
        return Split(frames, np.concatenate(order), np.concatenate(truths), lengths if some_are_short else None)

    return DataSet(
        name=name,
        input_format=PIXELS if scaling is None else scaling.input_format,
        class_names=names,
        train=split("train"),
        validation=split("validation"),
        final=split("train", "validation"),
        test=split("test"),
        image_shape=main.picture or (steps, main.values.shape[2]),
        task=task,
        scaling=scaling,
        saturated=saturated,
        content=content,
    )


def _rising(part: _Sequences) -> tuple[int, ...]:
    """Numbers of the values that rise with every step of every sequence; none where no sequence has three steps."""
    if int(part.lengths.max()) < 3:
        return ()
    left = np.arange(part.values.shape[2])
    for values, length in zip(part.values, part.lengths, strict=True):
        own = np.asarray(values[:length])[:, left]
        left = left[(own[1:] > own[:-1]).all(axis=0)]
        if not len(left):
            break
    return tuple(left.tolist())


def _fitted(main: _Sequences, train: np.ndarray, bits: int, name: str) -> Scaling:
    rows = main.values.reshape(-1, main.values.shape[2])
    chosen = (main.steps * train[:, None] + np.arange(main.steps))[main.own[train]]
    try:
        return Scaling.fit(rows, bits, chosen)
    except SpecError as error:
        raise SpecError(f"x of {name}: {error}") from None


def _filled(part: _Sequences) -> np.ndarray:
    """All steps, with numbers in the padding, too."""
    rows = part.values.reshape(-1, part.values.shape[2])
    if (part.lengths == part.steps).all() or rows.dtype.kind != "f":
        return rows
    return np.where(part.own.reshape(-1, 1), rows, 0)


def _lengthened(truth: np.ndarray, task: Task, steps: int) -> np.ndarray:
    """What is true of each step, for as many steps as the longest part has."""
    if not task.every_step or truth.shape[1] == steps:
        return truth
    padding = [(0, 0), (0, steps - truth.shape[1]), *[(0, 0)] * (truth.ndim - 2)]
    return np.pad(truth, padding, constant_values=np.nan if task.real else -1)
