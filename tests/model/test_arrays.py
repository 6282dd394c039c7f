"""Data sets made of arrays: what is taken, how it is split and scaled, and what is refused, each in a sentence."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import fdht.model.data
from fdht.model.data import DataSet, arrays, from_arrays, from_dataset, here, load, room
from fdht.model.data.arrays import class_numbers
from fdht.spec.errors import SpecError
from fdht.spec.formats import PIXELS
from fdht.spec.task import Task

SPLITS = ("train", "validation", "final", "test")


def some(count: int = 30, steps: int = 5, inputs: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, steps, inputs))


LABELS = np.arange(30) % 3


def sizes(data: DataSet) -> list[int]:
    return [len(getattr(data, part)) for part in SPLITS]


def samples(data: DataSet, part: str) -> set[int]:
    """Which samples of x a split has, of those that are dealt."""
    split = getattr(data, part)
    return set((split.order[:, 0] // data.steps).tolist())


def test_the_sides_share_no_sample_and_lose_none():
    for fold in range(5):
        data = from_arrays(some(), LABELS, fold=fold)
        assert sizes(data) == [18, 6, 24, 6]
        train, validation, final, test = (samples(data, part) for part in SPLITS)
        assert not train & validation and final == train | validation and final | test == set(range(30))
        assert np.array_equal(np.bincount(data.test.labels), [2, 2, 2])
    tested = [samples(from_arrays(some(), LABELS, fold=fold), "test") for fold in range(5)]
    assert set().union(*tested) == set(range(30))


def test_two_classes_of_three_samples_are_enough():
    assert sizes(from_arrays(some(6), [0, 0, 0, 1, 1, 1])) == [2, 2, 4, 2]


def test_words_are_scaled_by_what_trains_alone():
    x = some()
    data = from_arrays(x, LABELS)
    assert data.scaling is not None and data.input_format == PIXELS == data.scaling.input_format
    train = sorted(samples(data, "train"))
    assert np.allclose(data.scaling.centre, x[train].mean((0, 1)))
    for part in SPLITS:
        assert np.array_equal(getattr(data, part).clips, data.scaling.to_words(x[sorted(samples(data, part))]))
    validation = x[sorted(samples(data, "validation"))]
    assert data.saturated == data.scaling.saturated(validation) / validation.size
    others = x.copy()
    others[sorted(samples(data, "test"))] *= 100
    assert from_arrays(others, LABELS).scaling == data.scaling


def test_sixteen_bits():
    data = from_arrays(some(), LABELS, bits=16)
    assert data.test.frames.dtype == np.int16 and data.input_format.raw.width == 16
    assert data.scaling is not None
    assert np.abs(data.scaling.to_values(data.train.frames).reshape(30, 5, 3) - some()).max() < 1e-3


def test_bytes_are_words_where_they_use_their_range():
    pictures = np.random.default_rng(0).integers(0, 256, (30, 4, 6, 8), dtype=np.uint8)
    data = from_arrays(pictures, LABELS)
    assert data.scaling is None and data.saturated is None and data.image_shape == (6, 8)
    assert np.array_equal(data.train.frames.reshape(pictures.shape), pictures)
    grey = from_arrays(pictures // 16, LABELS)  # 0 to 15, as digits have: too dark as words
    assert grey.scaling is not None and grey.train.frames.max() > 250


def test_groups_stay_on_one_side():
    groups = np.repeat(np.arange(10), 3)
    for fold in range(5):
        data = from_arrays(some(), LABELS, groups=groups, fold=fold)  # each has all classes
        sides = [{int(groups[sample]) for sample in samples(data, part)} for part in ("train", "validation", "test")]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
        assert sizes(data)[3] == 6
    own = np.array([f"{label} {number // 6}" for number, label in enumerate(LABELS)])  # five a class
    assert np.array_equal(np.bincount(from_arrays(some(), LABELS, groups=own).test.labels), [2, 2, 2])


def test_what_is_given_apart_is_not_dealt():
    data = from_arrays(some(), LABELS, x_test=some(4, 7, seed=1), y_test=[0, 1, 2, 2])
    assert sizes(data) == [24, 6, 30, 4] and data.steps == 7
    assert data.test.labels.tolist() == [0, 1, 2, 2]
    assert data.train.lengths is not None and set(data.train.lengths) == {5} and set(data.test.lengths) == {7}
    both = from_arrays(
        some(), LABELS, x_test=some(4), y_test=[0, 1, 2, 2], x_validation=some(5), y_validation=[0, 1, 2, 0, 1]
    )
    assert sizes(both) == [30, 5, 35, 4]
    assert np.array_equal(both.final.clips[30:], both.validation.clips)


FORMS = {
    "lists": lambda x, y: (x.tolist(), y.tolist()),
    "tensors": lambda x, y: (torch.tensor(x), torch.tensor(y)),
    "a list of tensors": lambda x, y: ([torch.tensor(each) for each in x], list(torch.tensor(y))),
    "big-endian": lambda x, y: (x.astype(">f8"), y.astype(">i2")),
    "small labels": lambda x, y: (x, y.astype(np.uint8)),
    "labels in a column": lambda x, y: (x, y[:, None]),
    "Fortran": lambda x, y: (np.asfortranarray(x), y),
    "words": lambda x, y: (x, [str(each) for each in y]),
    "bytes": lambda x, y: (x, y.astype("S")),
    "numpy words": lambda x, y: (x, np.array([str(each) for each in y], dtype=object)),
}


@pytest.mark.parametrize("form", FORMS)
def test_arrays_of_any_kind(form):
    """The same samples are the same data set."""
    x, y = FORMS[form](some(), LABELS)
    data, plain = from_arrays(x, y), from_arrays(some(), LABELS)
    assert data.fingerprint == plain.fingerprint and data.class_names == ("0", "1", "2")
    assert np.array_equal(data.train.clips, plain.train.clips)


def test_other_real_types():
    whole = (10 * some()).astype(np.int64)
    reference = from_arrays(whole.astype(float), LABELS)
    for kind in ("i2", "i4", "f4", ">i4"):
        assert np.array_equal(from_arrays(whole.astype(kind), LABELS).train.frames, reference.train.frames)
    half = torch.tensor(whole, dtype=torch.bfloat16)
    assert np.array_equal(from_arrays(half, LABELS).train.frames, reference.train.frames)


def test_sequences_of_different_lengths():
    """As a list, padded with anything at all, or one after the other: the same data set."""
    lengths = 1 + np.arange(30) % 5
    pieces = [each[:length] for each, length in zip(some(), lengths, strict=True)]
    padded = some()
    padded[np.arange(5) >= lengths[:, None]] = np.nan
    ways = [
        from_arrays(pieces, LABELS),
        from_arrays([torch.tensor(piece) for piece in pieces], LABELS),
        from_arrays(padded, LABELS, lengths=lengths),
        from_arrays(np.concatenate(pieces), LABELS, lengths=lengths),
    ]
    for data in ways:
        assert data.fingerprint == ways[0].fingerprint and data.scaling == ways[0].scaling
        assert np.array_equal(data.train.clips, ways[0].train.clips)
    train = ways[0].train
    assert train.lengths is not None
    for clip, length in zip(train.clips, train.lengths, strict=True):
        assert (clip[length:] == clip[length - 1]).all()
    scaling = ways[0].scaling
    chosen = (train.order[:, 0] // 5).tolist()
    assert scaling is not None and np.allclose(
        scaling.centre, np.concatenate([pieces[number] for number in chosen]).mean(0)
    )


def test_steps_of_one_value_need_no_dimension():
    data = from_arrays(some()[:, :, 0], LABELS)
    assert (data.steps, data.inputs) == (5, 1)


def test_torch_data_sets():
    pairs = torch.utils.data.TensorDataset(torch.tensor(some()), torch.tensor(LABELS))
    assert from_dataset(pairs).fingerprint == from_arrays(some(), LABELS).fingerprint
    split = from_dataset(pairs, test=torch.utils.data.Subset(pairs, range(6)))
    assert len(split.test) == 6 and len(split.final) == 30
    targets = [(each, float(number)) for number, each in enumerate(some())]
    assert from_dataset(targets).task is Task.REGRESS
    with pytest.raises(SpecError, match="sample 0 of arrays is no pair"):
        from_dataset([some()])
    with pytest.raises(SpecError, match="gives a generator, which has no length"):
        from_dataset(iter([]) and (pair for pair in []))


@pytest.mark.parametrize(
    ("y", "task", "shape", "classes"),
    [
        (LABELS, Task.CLASSIFY, (18,), 3),
        (LABELS.astype(bool), Task.CLASSIFY, (18,), 2),
        (np.array(["yes", "no"])[LABELS % 2], Task.CLASSIFY, (18,), 2),
        (np.arange(150).reshape(30, 5) % 4, Task.LABEL_STEPS, (18, 5), 4),
        (np.arange(150).reshape(30, 5, 1) % 4, Task.LABEL_STEPS, (18, 5), 4),
        (np.arange(30), Task.REGRESS, (18, 1), 1),
        (np.linspace(0, 1, 30), Task.REGRESS, (18, 1), 1),
        (np.linspace(0, 1, 60).reshape(30, 2), Task.REGRESS, (18, 2), 2),
        (np.linspace(0, 1, 300).reshape(30, 5, 2), Task.REGRESS_STEPS, (18, 5, 2), 2),
        (np.arange(300).reshape(30, 5, 2), Task.REGRESS_STEPS, (18, 5, 2), 2),
    ],
)
def test_the_task_follows_from_y(y, task, shape, classes):
    data = from_arrays(some(), y)
    assert (data.task, data.train.labels.shape, data.classes) == (task, shape, classes)
    assert len(data.class_names) == (0 if task.real else classes)


def test_a_task_that_is_said_counts():
    assert from_arrays(some(), np.arange(30) % 3 + 0.0, task="classify").class_names == ("0", "1", "2")
    assert from_arrays(some(), np.arange(30) % 3, task="regress").task is Task.REGRESS
    each = from_arrays(some(), np.linspace(0, 1, 150).reshape(30, 5), task="regress-steps")
    assert each.train.labels.shape == (18, 5, 1)


def test_what_is_true_of_steps_that_are_not_there():
    lengths = 1 + np.arange(30) % 5
    inside = np.arange(5) < lengths[:, None]
    labels = np.where(inside, np.arange(5) % 2, 77)
    targets = np.where(inside, np.arange(150.0).reshape(30, 5), np.nan)[..., None]
    for data, unknown in (
        (from_arrays(some(), labels, lengths=lengths), lambda found: found == -1),
        (from_arrays(some(), targets, lengths=lengths), lambda found: np.isnan(found[..., 0])),
    ):
        own = np.arange(5) < data.train.lengths[:, None]
        assert np.array_equal(unknown(data.train.labels), ~own)
    ragged = [row[:length] for row, length in zip(labels, lengths, strict=True)]
    pieces = [each[:length] for each, length in zip(some(), lengths, strict=True)]
    assert from_arrays(pieces, ragged).fingerprint == from_arrays(some(), labels, lengths=lengths).fingerprint


def test_names_of_classes():
    assert from_arrays(some(), LABELS, class_names=np.array(["a", "b", "c"])).class_names == ("a", "b", "c")
    assert from_arrays(some(), np.array(list("cab"))[LABELS], class_names=["c", "b", "a"]).test.labels.max() == 2
    numbers = np.array(["10", "9", "2.5"])[LABELS]
    assert from_arrays(some(), numbers).class_names == ("2.5", "9", "10")


def holed(value: float) -> np.ndarray:
    x = some()
    x[17, 3, 2] = value
    return x


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"y": None}, "arrays has no y; samples .x. and what is true of them .y. go in pairs"),
        ({"y_test": LABELS}, "arrays has no x_test"),
        ({"x": holed(np.nan)}, "sample 17 of x of arrays holds nan at step 3, value 2; leave the sample out, or fill"),
        ({"x": holed(-np.inf)}, "sample 17 of x of arrays holds -inf at step 3, value 2"),
        ({"x": np.where(np.arange(5)[:, None] < 3, some(), np.nan)}, "if that is padding, pass lengths"),
        ({"x": np.ma.masked_greater(some(), 0.5)}, "x of arrays has masked values; fill them in"),
        ({"y": np.ma.masked_equal(LABELS, 1)}, "y of arrays has masked values"),
        ({"x_test": holed(np.nan), "y_test": LABELS}, "sample 17 of x_test of arrays holds nan"),
        ({"x": some().astype(str)}, "x of arrays holds text .'.*'., not numbers; convert it first: x.astype.float."),
        ({"x": some().astype(complex)}, "holds complex128, not real numbers"),
        ({"x": [[1, "a"], [2, "b"]]}, "holds text"),
        ({"x": np.zeros((30, 0, 3))}, r"shape \(30, 0, 3\): no steps; there must be at least one"),
        ({"x": np.zeros((0, 5, 3))}, "no samples; there must be at least one"),
        ({"x": np.zeros((30, 5, 0))}, "no values in a step"),
        ({"x": np.zeros(30)}, r"has shape \(30,\); make it samples × steps × values"),
        ({"x": np.zeros((1, 70_000, 1), np.float16)}, "70,000 steps; an engine counts 65,535: cut or thin"),
        ({"x": [np.zeros((2, 3)), np.zeros((3, 4))]}, "all have the same"),
        ({"x_test": some(inputs=4), "y_test": LABELS}, "a step has 4 values in x_test of arrays and 3 in x"),
        ({"y": LABELS[:29]}, r"y of arrays has shape \(29,\) and x has 30 samples"),
        ({"y": np.zeros(30, int)}, "y of arrays has one class, 0; there must be two or more to tell apart"),
        ({"y": np.ones(30)}, "y of arrays is always 1; there is nothing to learn"),
        (
            {"y": np.where(np.arange(30) == 4, np.nan, np.arange(30))},
            "sample 4 of y of arrays holds no number",
        ),
        ({"y": np.eye(3, dtype=int)[LABELS]}, r"of one-hot labels take y.argmax\(1\)"),
        ({"y": np.eye(3)[LABELS]}, r"y of arrays of shape \(30, 3\) is one-hot; for classes pass y.argmax\(-1\)"),
        ({"y": np.where(np.arange(30) == 4, np.inf, 0.5)}, "sample 4 of y of arrays holds an infinity"),
        ({"y": np.full((30, 5), -1)}, "y of arrays has no label, and -1 stands for what is not known"),
        ({"class_names": ["a", "b", "a"]}, "class_names of arrays are a, b, a; each class has a name of its own"),
        ({"y": [None] * 30}, "y of arrays holds object; labels are whole numbers or words"),
        (
            {"y": np.r_[LABELS[:28], 7, 7]},
            "class 7 has 2 samples; 3 are needed, one each to train, test, validate; if y are measurements and no "
            "classes, say task='regress' beside x and y$",
        ),
        ({"y": np.r_[LABELS[:28], 7, 7], "task": "classify"}, "one each to train, test, validate$"),
        ({"y": np.array([*"aabb" * 7, "c", "c"])}, "class c has 2 samples; 3 .* train, test, validate$"),
        ({"y_test": LABELS + 1, "x_test": some()}, "class 3 of arrays is in no sample that trains"),
        ({"y_test": ["a"] * 30, "x_test": some()}, "some labels of arrays are words and some are numbers"),
        ({"y": LABELS + 0.5, "task": "classify"}, "y of arrays holds 0.5, which is no label"),
        ({"task": "guess"}, "there is no task 'guess'; known: classify, label-steps, regress, regress-steps"),
        ({"y": np.array(["a", "b"])[LABELS % 2], "task": "regress"}, "which are no targets; pass numbers"),
        ({"class_names": ["a", "b"]}, "arrays has a label 2; with 2 class_names it is one of these"),
        ({"lengths": np.full(30, 6)}, "lengths for x of arrays are 30 from 6 to 6; there are 30 samples, of 1 to 5"),
        ({"lengths": np.full(29, 5)}, "lengths for x of arrays are 29"),
        ({"lengths": np.full(30, 5.0)}, "lengths for x of arrays are float64"),
        ({"groups": np.arange(29)}, "groups of arrays are int64 .29,."),
        ({"groups": np.zeros(30, int)}, "the data set has 1 group; 3 are needed"),
        ({"fold": 5}, "there is no fold 5; folds are 0 to 4"),
        (
            {"x_test": some(), "y_test": LABELS, "x_validation": some(), "y_validation": LABELS, "fold": 1},
            "samples of its own for test and validation; a fold of 1 changes nothing",
        ),
        ({"bits": 12}, "words of 12 bits; real values are scaled to 8 or 16"),
        ({"x": np.full((30, 5, 3), 1e200)}, "x of arrays: values up to 1e.200"),
    ],
)
def test_what_is_refused(change, sentence):
    with pytest.raises(SpecError, match=sentence):
        from_arrays(**{"x": some(), "y": LABELS, **change})


def test_classes_that_no_group_trains_on():
    y = np.repeat([0, 1, 2], 10)
    groups = np.where(y == 2, 9, np.arange(30) % 7)
    groups[0] = 9
    with pytest.raises(SpecError, match="class 2 is in none of the groups that train"):
        for fold in range(5):
            from_arrays(some(), y, groups=groups, fold=fold)


def test_what_memory_does_not_hold_is_refused_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(room, "room", lambda: 1000)
    ragged = [np.zeros((number + 1, 3)) for number in range(30)]
    with pytest.raises(SpecError, match="x of arrays takes 21,600 bytes, and there is room for 1,000, half of this"):
        from_arrays(ragged, LABELS)
    with pytest.raises(SpecError, match="x of arrays, if all are like its first sample, takes 3,600 bytes"):
        from_dataset([(each, 0) for each in some()])


def test_the_fingerprint_knows_content_lengths_and_targets():
    plain = from_arrays(some(), np.linspace(0, 1, 30))
    assert plain.fingerprint != from_arrays(some(), np.linspace(0, 2, 30)).fingerprint
    assert plain.fingerprint != replace(plain, content="a").fingerprint
    lengths = np.full(30, 5)
    lengths[0] = 4
    assert plain.fingerprint != from_arrays(some(), np.linspace(0, 1, 30), lengths=lengths).fingerprint


def test_many_different_integers_are_targets(monkeypatch):
    y = np.arange(30) % 9
    assert from_arrays(some(), y, x_test=some(), y_test=y).task is Task.CLASSIFY
    monkeypatch.setattr(arrays, "MOST_LABELS", 8)
    assert from_arrays(some(), y).task is Task.REGRESS


def test_a_data_set_of_this_process_has_a_source(monkeypatch):
    monkeypatch.setattr(fdht.model.data, "_OWN", {})
    data = from_arrays(some(), LABELS, name="mine")
    source = here(data)
    assert str(source) == "here:mine" and load(source).fingerprint == data.fingerprint
    with pytest.raises(SpecError, match="is code of somebody's own"):
        load("here:yours")


def test_what_is_not_known_of_a_step_or_a_target():
    """-1 and NaN teach nothing; they are no class and no number."""
    steps = np.arange(150).reshape(30, 5) % 3 - (np.arange(150).reshape(30, 5) % 3 == 2) * 3
    data = from_arrays(some(), steps)
    assert data.class_names == ("0", "1") and data.task is Task.LABEL_STEPS
    assert {*np.unique(data.final.labels)} == {-1, 0, 1}
    targets = np.arange(60.0).reshape(30, 2)
    targets[::4, 1] = np.nan
    known = from_arrays(some(), targets)
    every = np.concatenate([known.final.labels, known.test.labels])
    assert known.task is Task.REGRESS and np.isnan(every).sum() == 8


@pytest.mark.parametrize(
    ("labels", "classes", "names", "expected", "called"),
    [
        ([0, 2, -1], 3, (), [0, 2, -1], ()),
        ([0, 2, -1], 3, ("p", "q", "r"), [0, 2, -1], ("p", "q", "r")),
        ([-1, 1, 1], 2, (), [0, 1, 1], ("-1", "1")),
        ([1, 2, 1], 2, (), [0, 1, 0], ("1", "2")),
        ([1, 2, 1], 2, ("p", "q"), [0, 1, 0], ("p", "q")),
        (["b", "a"], 2, (), [1, 0], ("a", "b")),
        (["b", "a"], 3, ("b", "x", "a"), [0, 2], ("b", "x", "a")),
        (np.array([b"q", b"p"]), 2, (), [1, 0], ("p", "q")),
        (torch.tensor([1.0, 0.0], requires_grad=True), 2, (), [1, 0], ()),
        ([True, False], 2, (), [1, 0], ()),
    ],
)
def test_labels_become_numbers_of_classes(labels, classes, names, expected, called):
    numbers, found = class_numbers(labels, classes, names, False)
    assert numbers.tolist() == expected and found == called


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0.7, 1], "labels hold 0.7, which is none"),
        ([np.nan, 1], "labels hold nan, which is none"),
        ([3, 4, 5], "labels are 3, 4, 5; of 2 classes they are 0 to 1, or 2 words"),
        (["a", "b", "c"], "labels are a, b, c; of 2 classes"),
        ([1 + 1j], "labels hold complex128"),
    ],
)
def test_labels_that_are_none(labels, words):
    with pytest.raises(SpecError, match=words):
        class_numbers(labels, 2, (), False)
